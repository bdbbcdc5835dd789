"""Reading the members' Sender lists into the mirror: politely, bit by bit, and resumed where it was interrupted."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import asyncpg
import structlog

from config.ocpi import PartyID
from config.settings import Settings
from hub.database import AWAY, Database, DatabaseAway
from hub.live_table import LiveTable
from hub.metrics import Metrics
from hub.mirror import Mirror
from hub.missing import Missing
from hub.own_calls import OwnCalls
from hub.processes import Processes
from hub.pull_rounds import REST_SECONDS, Rounds, Turn
from hub.sender_lists import Busy, SenderLists
from parties.model import Platform
from parties.pulls import Pull, read_pulls
from routing.objects import Change
from routing.pulling import SenderList, is_due, is_pulled, lists_of
from routing.table import EMPTY

AT_A_TIME = 8
"""Platforms that one process reads from at a time."""
TURN_SECONDS = 10.0
"""After so long a platform makes way for others, and a list for others of the platform; it goes on where it was."""
TICK_SECONDS = 0.5
"""How late something due may be noticed."""
LOOK_SECONDS = 600.0
"""How often, at least, the database is asked what is due."""
BROKEN_SECONDS = 60.0
"""For how long a platform is left alone after a fault of the hub's own."""

log = structlog.get_logger()


class Pulls:
    """Pulls from every platform whose work is this process's."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        database: Database,
        mirror: Mirror,
        processes: Processes,
        calls: OwnCalls,
        metrics: Metrics,
        hub: PartyID,
    ) -> None:
        self._settings = settings
        self._live = live
        self._database = database
        self._mirror = mirror
        self._processes = processes
        lists = SenderLists(settings, live, mirror, calls, metrics, hub)
        self._missing = Missing(live, lists, settings.page_limit)
        self._turns: dict[int, Turn] = {}
        self._rounds = Rounds(settings, database, processes, lists, metrics)
        self._look_at: dict[int, float] = {}
        """When to look what is due at each platform, in the event loop's time; now for one that is not here."""
        self._rest_until: dict[int, float] = {}
        """Until when a platform is left alone, whatever else is due."""
        self._failures: dict[int, int] = {}
        """How often in a row the worst list of a platform could not be read."""
        self._table = EMPTY
        self._woken = asyncio.Event()
        live.on_loaded.append(self._woken.set)
        processes.watch(self._gain, self._lose)
        metrics.pull_failures = lambda: self._failures

    def fetch_missing(self, change: Change) -> None:
        """Get an object of which only a PATCH came, once; whoever owns it is asked, nothing is invented."""
        if self._settings.pulls:
            self._missing.want(change)

    async def run(self) -> None:
        """Pull what is due, until cancelled."""
        if not self._settings.pulls:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(self._missing.run())
            while True:
                self._woken.clear()
                self._follow_table()
                self._give_turns(group)
                try:
                    async with asyncio.timeout(TICK_SECONDS):
                        await self._woken.wait()
                except TimeoutError:
                    continue

    # Who has a turn

    def _gain(self, platform_id: int) -> None:
        self._look_at.pop(platform_id, None)
        self._woken.set()

    def _lose(self, platform_id: int) -> None:
        self._end_turn(platform_id)
        self._rounds.forget(platform_id)
        self._failures.pop(platform_id, None)

    def _end_turn(self, platform_id: int) -> None:
        turn = self._turns.get(platform_id)
        if turn is not None and turn.task is not None:
            turn.task.cancel()

    def _follow_table(self) -> None:
        """Stop what may no longer be read, and look anew at every platform that has changed."""
        table, before = self._live.table, self._table
        if table is before:
            return
        self._table = table
        for platform_id, platform in table.platforms.items():
            known = before.platforms.get(platform_id)
            if known == platform and known.status_changed_at == platform.status_changed_at:
                continue
            self._look_at.pop(platform_id, None)
            if turn := self._turns.get(platform_id):
                turn.platform, turn.has_changed = platform, True
                if not is_pulled(platform) or turn.listed not in (None, *self._lists_of(platform)):
                    self._end_turn(platform_id)
        for gone in before.platforms.keys() - table.platforms.keys():
            self._lose(gone)
            self._look_at.pop(gone, None)
            self._rest_until.pop(gone, None)

    def _give_turns(self, group: asyncio.TaskGroup) -> None:
        now = asyncio.get_running_loop().time()
        waiting = [
            each
            for each in self._processes.held
            if each not in self._turns and max(self._look_at.get(each, 0), self._rest_until.get(each, 0)) <= now
        ]
        for platform_id in sorted(waiting, key=lambda each: self._look_at.get(each, 0)):
            if len(self._turns) >= AT_A_TIME:
                return
            platform = self._table.platforms.get(platform_id)
            if platform is None or not is_pulled(platform):
                self._look_at[platform_id] = now + LOOK_SECONDS  # when that changes, so does the table
                self._failures.pop(platform_id, None)
                continue
            turn = self._turns[platform_id] = Turn(platform)
            turn.task = group.create_task(self._take_turn(turn))
            turn.task.add_done_callback(partial(self._after_turn, platform_id, turn))

    def _after_turn(self, platform_id: int, turn: Turn, _: "asyncio.Task[None]") -> None:
        del self._turns[platform_id]
        seconds = 0.0 if turn.has_changed else turn.next_look
        self._look_at[platform_id] = asyncio.get_running_loop().time() + seconds
        self._woken.set()

    async def _take_turn(self, turn: Turn) -> None:
        try:
            await self._read_platform(turn)
        except (DatabaseAway, *AWAY, asyncpg.PostgresError):
            turn.next_look = REST_SECONDS
        except Exception:  # one platform's lists must not end the hub
            log.exception("reading a platform's lists failed", action="pull_broken", platform=turn.platform.id)
            turn.next_look = BROKEN_SECONDS

    # Reading

    async def _read_platform(self, turn: Turn) -> None:
        """Read what is due of a platform, one list after the other."""
        platform_id, loop = turn.platform.id, asyncio.get_running_loop()
        until = loop.time() + TURN_SECONDS
        async with self._database.connection() as connection:
            pulls = await read_pulls(connection, platform_id)
        lists = [(pulls.get(listed.key, Pull()), listed) for listed in self._lists_of(turn.platform)]
        if self._processes.holds(platform_id):
            self._failures[platform_id] = max((pull.failures for pull, _ in lists), default=0)
        next_looks = [LOOK_SECONDS]
        # The one tried longest ago goes first, so that an endless one keeps none from its turn.
        for pull, listed in sorted(lists, key=lambda each: each[0].tried_at or datetime.min.replace(tzinfo=UTC)):
            if not is_due(pull, turn.platform, listed):
                next_looks.append(pull.due_in)
                continue
            turn.listed = listed
            try:
                await self._rounds.read(turn, listed, pull, until)
            except Busy as exc:
                self._rest_until[platform_id] = loop.time() + exc.seconds
                return
            next_looks.append(0.0)  # what came of it is in the database
            if loop.time() >= until:
                break
        turn.listed = None
        turn.next_look = max(0.0, min(next_looks))

    def _lists_of(self, platform: Platform) -> list[SenderList]:
        return lists_of(platform, self._mirror.keeps)
