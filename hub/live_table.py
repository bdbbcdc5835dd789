"""The routing table as the database has it now: loaded at start, and again whenever something changed.

A NOTIFY says so at once; under it the count of changes is read every second, since a dropped LISTEN loses messages
silently. While the database is away the last table stays in force.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import structlog

from hub.database import AWAY, Database, DatabaseAway
from hub.embedded_postgres import EmbeddedPostgresError
from parties import store
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


class LiveTable:
    """The current routing table and who keeps it current."""

    def __init__(self, database: Database, keys: SecretKeys) -> None:
        self.table: RoutingTable = EMPTY
        self.is_degraded = False
        """Whether the database was away at the last look."""
        self._database = database
        self._keys = keys
        self._loading = asyncio.Lock()
        self._changed = asyncio.Event()
        self._listener: asyncpg.Connection[asyncpg.Record] | None = None
        self._presented: dict[str | None, Presented] = {}
        """Headers recognised with this table, so that decoding and digesting is done once."""
        self._unknown: dict[bytes, float] = {}
        self._lookups: list[float] = []

    @property
    def is_loaded(self) -> bool:
        """Whether there has been a first table."""
        return self.table is not EMPTY

    async def refresh(self) -> None:
        """Load the table anew if anything changed. Raises DatabaseAway; WrongKey when it is the first one."""
        async with self._loading, self._database.connection() as connection:
            if await store.read_generation(connection) != self.table.generation:
                try:
                    generation, platforms, access = await store.read_members_at_once(connection, self._keys)
                except WrongKey as exc:
                    if not self.is_loaded:
                        raise
                    # Another hub has a newer key already: what is routed here goes on until this one has it too.
                    raise DatabaseAway("The hub cannot read its database with the secret key it has.") from exc
                self.table = make_table(generation, platforms, access)
                self._unknown.clear()
                self._presented.clear()

    async def authenticate(self, authorization: str | None) -> Presented | None:
        """Give whom an Authorization header stands for.

        A member uses a new token within milliseconds, perhaps at another process than the one that made it: so one
        that this process does not know is looked up once in the database, at a limited rate, and an unknown one is
        remembered for a second.
        """
        known = self._presented.get(authorization)
        if known is not None:
            return known
        meant = [
            (Secret(token), is_base64, self._keys.digests(token))
            for token, is_base64 in read_authorization(authorization)
        ]
        found = self._find(meant)
        if found is None and meant and self._may_look_up(meant[0][2][0]):
            try:
                async with self._database.connection() as connection:
                    is_known = await store.knows_token(connection, [each for *_, found in meant for each in found])
                if is_known:
                    await self.refresh()
            except DatabaseAway:
                return None
            found = self._find(meant)
        if found is not None and found.access.expires_at is None and len(self._presented) < MAX_REMEMBERED:
            self._presented[authorization] = found
        return found

    def _find(self, meant: list[tuple[Secret, bool, list[bytes]]]) -> Presented | None:
        for token, is_base64, digests in meant:
            access = self.table.authenticate(digests)
            if access is not None and (access.expires_at is None or access.expires_at > datetime.now(UTC)):
                return Presented(access, token, is_base64)
        return None

    def _may_look_up(self, digest: bytes) -> bool:
        now = time.monotonic()
        if self._unknown.get(digest, 0) > now:
            return False
        self._lookups = [moment for moment in self._lookups if moment > now - 1]
        if len(self._lookups) >= MAX_LOOKUPS_PER_SECOND:
            return False
        self._lookups.append(now)
        if len(self._unknown) > 1000:
            self._unknown = {known: until for known, until in self._unknown.items() if until > now}
        self._unknown[digest] = now + NEGATIVE_CACHE_SECONDS
        return True

    async def run(self) -> None:
        """Keep the table current until cancelled; the first load of all must have succeeded or is tried here too."""
        try:
            while True:
                await self._look()
                self._changed.clear()
                try:
                    await asyncio.wait_for(self._changed.wait(), POLL_SECONDS)
                except TimeoutError:
                    continue
        finally:
            await self._stop_listening()

    async def _look(self) -> None:
        try:
            if self.is_degraded or not self.is_loaded:
                await self._database.open()
            await self.refresh()
            if self._listener is None or self._listener.is_closed():
                self._listener = await self._database.connect()
                await self._listener.add_listener("ocpi_hub_routing", self._on_notify)
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

    def _on_notify(self, *_: object) -> None:
        self._changed.set()

    async def _stop_listening(self) -> None:
        if self._listener is not None and not self._listener.is_closed():
            try:
                await self._listener.close(timeout=1)
            except (*AWAY, asyncpg.PostgresError):
                self._listener.terminate()
