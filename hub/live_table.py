"""The routing table as the database has it now: loaded at start, and again whenever something changed.

A NOTIFY says so at once; under it the count of changes is read every second, since a dropped LISTEN loses messages
silently. While the database is away the last table stays in force, apart from the dates of its contracts.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import asyncpg
import structlog

from config.ocpi import Overloaded
from hub.database import AWAY, Database, DatabaseAway
from hub.embedded_postgres import EmbeddedPostgresError
from parties import store
from parties.contracts import Contracts
from parties.model import Access
from parties.tokens import Secret, SecretKeys, WrongKey, read_authorization
from routing.table import EMPTY, RoutingTable, make_table

POLL_SECONDS = 1.0
NEGATIVE_CACHE_SECONDS = 1.0
MAX_LOOKUPS_PER_SECOND = 50
MAX_REMEMBERED = 10_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Presented:
    """A credentials token that came with a request, recognised."""

    access: Access
    token: Secret
    token_base64: bool
    """Whether it came in Base64, as OCPI says, or raw."""
    digests: list[bytes]
    """Under which it may be stored."""


class LiveTable:
    """The current routing table and who keeps it current."""

    def __init__(
        self, database: Database, keys: SecretKeys, *, is_open: bool = True, custom_modules: Iterable[str] = ()
    ) -> None:
        self.table: RoutingTable = EMPTY
        self.is_degraded = False
        """Whether the database was away at the last look."""
        self._database = database
        self._keys = keys
        self._is_open = is_open
        self._custom_modules = tuple(custom_modules)
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._listener: asyncpg.Connection[asyncpg.Record] | None = None
        self._presented: dict[str | None, Presented] = {}
        """Headers recognised with this table, so that decoding and digesting is done once."""
        self._unknown: dict[bytes, float] = {}
        self._lookups: dict[bytes, asyncio.Task[bool]] = {}
        """Tokens being looked up, by digest."""
        self.on_loaded: list[Callable[[], None]] = []
        """Told of each new table."""
        self.on_notify: dict[str, Callable[[], None]] = {"ocpi_hub_routing": self._changed.set}
        """Who is told of a NOTIFY, by channel."""
        self._recent: list[float] = []
        """When the look-ups of the last second began."""

    @property
    def is_loaded(self) -> bool:
        """Whether there has been a first table."""
        return self.table is not EMPTY

    async def refresh(self) -> None:
        """Load the table anew if anything changed. Raises DatabaseAway; WrongKey when it is the first one."""
        async with self._loading, self._database.connection() as connection:
            if await store.read_generation(connection) != self.table.generation:
                try:
                    found = await store.read_members_at_once(connection, self._keys)
                except WrongKey as exc:
                    if not self.is_loaded:
                        raise
                    # Another hub has a newer key already: what is routed here goes on until this one has it too.
                    raise DatabaseAway("The hub cannot read its database with the secret key it has.") from exc
                contracts = Contracts(
                    found.rules,
                    found.platforms,
                    is_open=self._is_open,
                    now=datetime.now(UTC),
                    custom_modules=self._custom_modules,
                )
                self._unknown.clear()
                self._presented.clear()
                self._put(make_table(found.generation, found.platforms, found.access, contracts))

    def _put(self, table: RoutingTable) -> None:
        self.table = table
        for told in self.on_loaded:
            told()

    def recognise(self, authorization: str | None) -> Presented | None:
        """Give whom an Authorization header stands for by this very table, without asking the database."""
        known = self._presented.get(authorization)
        return known or self._recognise(authorization, self._read(authorization))

    def _read(self, authorization: str | None) -> list[tuple[Secret, bool, list[bytes]]]:
        return [
            (Secret(token), is_base64, self._keys.digests(token))
            for token, is_base64 in read_authorization(authorization)
        ]

    def _recognise(self, authorization: str | None, meant: list[tuple[Secret, bool, list[bytes]]]) -> Presented | None:
        found = self._find(meant)
        if found is not None and found.access.expires_at is None and len(self._presented) < MAX_REMEMBERED:
            self._presented[authorization] = found
        return found

    async def authenticate(self, authorization: str | None) -> Presented | None:
        """Give whom an Authorization header stands for. Raises Overloaded when that cannot be found out just now.

        A member uses a new token within milliseconds, perhaps at another process than the one that made it: so one
        that this process does not know is looked up once in the database, at a limited rate, and an unknown one is
        remembered for a second.
        """
        known = self._presented.get(authorization)
        if known is not None:
            return known
        meant = self._read(authorization)
        found = self._recognise(authorization, meant)
        if found is None and meant:
            digests = [each for *_, its in meant for each in its]
            if await self._is_known(digests):
                await self.refresh()
                found = self._recognise(authorization, meant)
        return found

    def _find(self, meant: list[tuple[Secret, bool, list[bytes]]]) -> Presented | None:
        for token, is_base64, digests in meant:
            access = self.table.authenticate(digests)
            if access is not None and (access.expires_at is None or access.expires_at > datetime.now(UTC)):
                return Presented(access, token, is_base64, digests)
        return None

    async def _is_known(self, digests: list[bytes]) -> bool:
        """Ask the database once, however many requests wait for the answer; an unknown token stays so for a second."""
        token, now = digests[0], time.monotonic()
        if self._unknown.get(token, 0) > now:
            return False
        lookup = self._lookups.get(token)
        if lookup is None:
            self._recent = [moment for moment in self._recent if moment > now - 1]
            if len(self._recent) >= MAX_LOOKUPS_PER_SECOND:
                raise Overloaded("Too many unknown credentials tokens are being looked up; try again shortly.")
            self._recent.append(now)
            lookup = self._lookups[token] = asyncio.create_task(self._look_up(digests))
            lookup.add_done_callback(lambda _: self._lookups.pop(token))
        return await asyncio.shield(lookup)

    async def _look_up(self, digests: list[bytes]) -> bool:
        try:
            async with self._database.connection() as connection:
                is_known = await store.knows_token(connection, digests)
        except DatabaseAway as exc:
            # Not 401: a member would throw a good token away because our database is down.
            raise Overloaded("The hub cannot look this credentials token up just now; try again shortly.") from exc
        if not is_known:
            now = time.monotonic()
            if len(self._unknown) > 1000:
                self._unknown = {known: until for known, until in self._unknown.items() if until > now}
            self._unknown[digests[0]] = now + NEGATIVE_CACHE_SECONDS
        return is_known

    async def run(self) -> None:
        """Keep the table current until cancelled; the first load of all must have succeeded or is tried here too."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_changes())
            group.create_task(self._follow_dates())

    async def _follow_changes(self) -> None:
        try:
            while True:
                self._changed.clear()
                await self._look()
                try:
                    # Not wait_for, which in Python 3.11 can lose a cancellation to a NOTIFY of the same moment.
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._changed.wait()
                except TimeoutError:
                    continue
        finally:
            await self._stop_listening()

    async def _follow_dates(self) -> None:
        """Let contracts begin and end when their time comes, be the database there or not."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            now, due = datetime.now(UTC), self.table.contracts.next_change
            if due is not None and due <= now:
                self._put(replace(self.table, contracts=self.table.contracts.as_of(now)))

    async def _look(self) -> None:
        try:
            if self.is_degraded or not self.is_loaded:
                await self._database.open()
            await self.refresh()
            if self._listener is None or self._listener.is_closed():
                self._listener = await self._database.connect()
                for channel in self.on_notify:
                    await self._listener.add_listener(channel, self._on_notify)
                await self.refresh()
        except (DatabaseAway, EmbeddedPostgresError, *AWAY, asyncpg.PostgresError) as exc:
            if not self.is_degraded:
                log.warning(
                    "the database is away; routing goes on with what is known",
                    action="database_away",
                    reason=type(exc.__cause__ or exc).__name__,
                )
            self.is_degraded = True
            return
        if self.is_degraded:
            log.info("the database is back", action="database_back")
        self.is_degraded = False

    def _on_notify(self, _connection: object, _pid: int, channel: str, _payload: object) -> None:
        self.on_notify[channel]()

    async def _stop_listening(self) -> None:
        if self._listener is not None and not self._listener.is_closed():
            try:
                await self._listener.close(timeout=1)
            except (*AWAY, asyncpg.PostgresError):
                self._listener.terminate()
