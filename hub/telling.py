"""The push of ClientInfo: every change, to every platform that has the Receiver interface, by one process each.

OCPI 2.2.1, HubClientInfo, Push model. Each platform is told one thing after the other; a slow one delays nobody else.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate, zip_longest

import asyncpg
import orjson
import structlog

from config.operations import CLIENT_INFO
from config.settings import Settings
from hub.client import ClientError
from hub.database import Database, DatabaseAway
from hub.live_table import LiveTable
from hub.own_calls import OwnCalls, PassedOver
from hub.processes import Processes
from parties.client_info import ClientInfo, client_infos, in_order_of_telling
from parties.model import Platform
from parties.store import queries
from routing.resolve import join
from routing.table import RoutingTable

DEBOUNCE_SECONDS = 0.25
"""Whoever is back within this time was never gone, as far as others are told (R-218)."""
FIRST_SECONDS = 1.0
"""After registering, a platform first has to take in our answer before it can know our requests (T-095)."""
PAUSE_MAX_SECONDS = 300.0
SAVE_SECONDS = 0.05
IN_FLIGHT = 64
OVERLAP = timedelta(seconds=5)
"""What is in force only some time after the moment it bears: a contract's date of validity that has passed."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Told:
    """How far one platform was told."""

    until: datetime | None
    """Every change up to here, as stored; None: nothing yet."""
    lately: dict[tuple[str, str, str], datetime] = field(default_factory=dict)
    """The last_updated of what it was told of the time shortly before that, and after."""

    @property
    def begin(self) -> datetime | None:
        """What changed up to here it was told for certain."""
        return self.until - OVERLAP if self.until is not None else None

    def missing(self, infos: Iterable[ClientInfo]) -> Iterable[ClientInfo]:
        """Give those of these of which it was not told."""
        return (info for info in infos if self.lately.get(info.key) != info.last_updated)

    def note(self, told: ClientInfo, earliest: datetime | None) -> None:
        """Note that it was told this; of what is still waiting, the earliest bears this time."""
        self.lately[told.key] = told.last_updated
        reached = max(self.lately.values()) if earliest is None else told.last_updated
        if earliest is not None and earliest <= reached:
            reached = earliest - timedelta(microseconds=1)
        if self.until is None or reached > self.until:
            self.until = reached

    def forget(self) -> None:
        """Keep in mind only what `until` does not tell."""
        begin = self.begin
        self.lately = {key: moment for key, moment in self.lately.items() if begin is None or moment > begin}


@dataclass(frozen=True, slots=True)
class _Rest:
    """A pause of one platform that could not be told."""

    until: float
    """In the event loop's time."""
    pause: float
    """Its length in seconds."""
    status_changed_at: datetime | None

    def is_for(self, viewer: Platform) -> bool:
        """Whether the platform is as it was then: it has not gone and come back."""
        return self.status_changed_at == viewer.status_changed_at


class Telling:
    """Tells the platforms whose work is this process's of every change."""

    def __init__(
        self, settings: Settings, live: LiveTable, database: Database, processes: Processes, calls: OwnCalls
    ) -> None:
        self._settings = settings
        self._live = live
        self._database = database
        self._processes = processes
        self._calls = calls
        self._told: dict[int, _Told] = {}
        """Of each platform that this process tells."""
        self._tellers: dict[int, asyncio.Task[None]] = {}
        self._rests: dict[int, _Rest] = {}
        self._slots = asyncio.Semaphore(IN_FLIGHT)
        self._unsaved: dict[int, datetime] = {}
        self._save = asyncio.Event()
        self._table = live.table
        """What is being told: the live table, debounced."""
        self._wake = asyncio.Event()
        self._at_once = asyncio.Event()
        processes.watch(self._gained, self._lost)

    def look(self, *, at_once: bool) -> None:
        """Look what there is to tell, after the moment in which it may change again, or at once."""
        self._wake.set()
        if at_once:
            self._at_once.set()

    async def reached(self, platform_id: int) -> datetime | None:
        """Give up to which change a platform was told, by whichever process. Raises DatabaseAway."""
        told = self._told.get(platform_id)
        return await self._stored(platform_id) if told is None else told.until

    async def run(self) -> None:
        """Push until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._save_what_was_told())
            while True:
                await self._wake.wait()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DEBOUNCE_SECONDS):
                        await self._at_once.wait()
                self._wake.clear()
                self._at_once.clear()
                self._table = self._live.table
                for platform_id in self._processes.held:
                    viewer, teller = self._viewer(platform_id), self._tellers.get(platform_id)
                    if viewer is not None and (teller is None or teller.done()) and not self._rests_at(viewer):
                        self._tellers[platform_id] = group.create_task(self._tell(viewer))
                        await asyncio.sleep(0)  # finding out takes milliseconds where there are many members

    def _viewer(self, platform_id: int) -> Platform | None:
        """Give a platform as it is now, if it is to be told."""
        viewer = self._live.table.platforms.get(platform_id)
        return viewer if viewer is not None and is_told(viewer) else None

    def _gained(self, _: int) -> None:
        self._wake.set()

    def _lost(self, platform_id: int) -> None:
        self._told.pop(platform_id, None)

    async def _tell(self, viewer: Platform) -> None:
        """Tell one platform all it has not heard, and what comes in between."""
        try:
            told = await self._load(viewer)
            if told.until is None:
                await asyncio.sleep(FIRST_SECONDS)
            is_changed = True
            while is_changed and self._processes.holds(viewer.id):
                table = self._table
                now = table.platforms.get(viewer.id, viewer)
                waiting = in_order_of_telling(told.missing(_seen_by(now, table, told.begin)), now)
                if not await self._push_all(viewer.id, told, waiting):
                    return
                if told.until is None:
                    told.until = now.status_changed_at  # nobody was there yet
                    self._store(viewer.id, told.until)
                told.forget()
                self._rests.pop(viewer.id, None)
                is_changed = table is not self._table
        except (DatabaseAway, asyncpg.PostgresError):
            self._look_later(1.0)

    async def _push_all(self, platform_id: int, told: _Told, waiting: Sequence[ClientInfo]) -> bool:
        """Push these one after the other; give whether all are done with."""
        for info, left in zip_longest(waiting, _earliest_left(waiting)):
            viewer = self._viewer(platform_id)
            if viewer is None:
                return False  # it begins again when the platform is back
            if not self._processes.holds(platform_id):
                self._look_later(1.0)  # perhaps only for as long as the database is away
                return False
            if not await self._push(viewer, info):
                self._let_rest(viewer)
                return False
            told.note(info, left)
            self._store(platform_id, told.until)
        return True

    async def _push(self, viewer: Platform, info: ClientInfo) -> bool:
        """PUT one ClientInfo, without routing headers (R-208); give whether it has it or does not want it."""
        below = f"{info.party.country_code}/{info.party.party_id}"
        url = join(viewer.endpoints[(CLIENT_INFO, "RECEIVER")], below, "")
        try:
            async with self._slots:
                answer = await self._calls.call(viewer, "PUT", url, content=orjson.dumps(info.as_object()))
        except (PassedOver, ClientError):
            return False
        except ValueError:
            log.warning("a platform's hubclientinfo endpoint cannot be called", action="not_told", platform=viewer.id)
            return True
        if answer.is_success:
            return True
        log.warning(
            "a platform does not take a ClientInfo",
            action="not_told",
            platform=viewer.id,
            name=str(viewer),
            party=str(info.party),
            http_status=answer.http_status,
            status_code=answer.status_code,
        )
        # What was refused will be refused again; who fails, or does not know the hub's token, may do better later.
        return answer.http_status < 500 and answer.http_status not in (401, 403, 429)

    def _rests_at(self, viewer: Platform) -> bool:
        rest = self._rests.get(viewer.id)
        return rest is not None and rest.is_for(viewer) and asyncio.get_running_loop().time() < rest.until

    def _let_rest(self, viewer: Platform) -> None:
        """Leave a platform in peace that could not be told, for longer each time, unless it goes and comes back."""
        loop = asyncio.get_running_loop()
        before = self._rests.get(viewer.id)
        pause = self._settings.breaker_time + 0.1
        if before is not None and before.is_for(viewer):
            pause = min(2 * before.pause, PAUSE_MAX_SECONDS)
        self._rests[viewer.id] = _Rest(loop.time() + pause, pause, viewer.status_changed_at)
        self._look_later(pause)

    def _look_later(self, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._wake.set)

    # How far it has come

    async def _load(self, viewer: Platform) -> _Told:
        told = self._told.get(viewer.id)
        if told is None:
            told = _Told(await self._stored(viewer.id))
            if told.until is not None:
                # What bears an earlier time was told: nobody is told again after a restart.
                for info in _seen_by(viewer, self._table, told.begin):
                    if info.last_updated <= told.until:
                        told.lately[info.key] = info.last_updated
            self._told[viewer.id] = told
        return told

    async def _stored(self, platform_id: int) -> datetime | None:
        async with self._database.connection() as connection:
            until: datetime | None = await connection.fetchval(queries("hub")["told_until"], platform_id)
            return until

    def _store(self, platform_id: int, until: datetime | None) -> None:
        if until is not None:
            self._unsaved[platform_id] = until
            self._save.set()

    async def _save_what_was_told(self) -> None:
        """Store how far each platform was told, what has gathered meanwhile in one batch; the last on the way out."""
        try:
            while True:
                await self._save.wait()
                await asyncio.sleep(SAVE_SECONDS)
                if not await self._save_batch():
                    await asyncio.sleep(1)
        finally:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._save_batch()

    async def _save_batch(self) -> bool:
        self._save.clear()
        batch, self._unsaved = self._unsaved, {}
        if batch:
            try:
                async with self._database.connection() as connection:
                    await connection.execute(queries("hub")["save_told"], list(batch), list(batch.values()))
            except (DatabaseAway, asyncpg.PostgresError):
                self._unsaved = batch | self._unsaved
                self._save.set()
                return False
        return True


def is_told(platform: Platform) -> bool:
    """Whether a platform is pushed ClientInfo: it is connected and has the Receiver interface (R-207, R-222)."""
    return platform.is_online and bool(platform.active) and (CLIENT_INFO, "RECEIVER") in platform.endpoints


def _seen_by(viewer: Platform, table: RoutingTable, after: datetime | None) -> Iterator[ClientInfo]:
    return client_infos(viewer, table.platforms.values(), table.contracts, after=after)


def _earliest_left(waiting: Sequence[ClientInfo]) -> Sequence[datetime]:
    """Give for each but the last the earliest last_updated of those behind it."""
    backwards = [*accumulate((info.last_updated for info in reversed(waiting)), min)]
    return backwards[-2::-1]
