"""The broadcasts that a process hears of: its own at once, those that others took in in the order of commits.

Others are woken by a NOTIFY, at most every 50 ms, and look every second anyway.
"""

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from hub.database import Database, DatabaseAway
from hub.lane import Feed
from hub.live_table import LiveTable
from hub.mirror import BroadcastRow, Mirror
from hub.processes import Processes

log = structlog.get_logger()

CHANNEL = "ocpi_hub_broadcast"
NOTIFY_SECONDS = 0.05
POLL_SECONDS = 1.0
READ_ROWS = 500
REST_SECONDS = 1.0


class BroadcastFeed:
    """Offers every broadcast once, those of one object in the order in which they were committed."""

    def __init__(
        self,
        live: LiveTable,
        database: Database,
        mirror: Mirror,
        processes: Processes,
        *,
        offer: Callable[[BroadcastRow], None],
        begun_anew: Callable[[], None],
    ) -> None:
        """`begun_anew`: told when the database has gone back to an earlier state, so that what was read is void."""
        self._database = database
        self._mirror = mirror
        self._processes = processes
        self._offer_row = offer
        self._begun_anew = begun_anew
        self.position: Feed | None = None
        """How far it is; None before the first reading."""
        self._ahead: dict[int, BroadcastRow] = {}
        """Accepted here, offered already, and not yet passed by the reading."""
        self._read_wanted = asyncio.Event()
        self._notify_wanted = asyncio.Event()
        self._reading = asyncio.Lock()
        live.on_notify[CHANNEL] = self._read_wanted.set

    def hand_over(self, row: BroadcastRow) -> None:
        """Take a broadcast that this process has just committed, without a way through the database."""
        if not self._processes.is_alone:
            self._notify_wanted.set()
        position = self.position
        if position is None or row.id <= position.read:
            return
        # Without a previous one it is the first of its object, or of an object that the mirror does not keep: then only
        # the reading tells whether another process took in the one before; both come in their order.
        is_known_next = row.is_complete if row.previous is None else row.previous <= position.read
        if not (is_known_next or row.previous in self._ahead):
            self._read_wanted.set()
            return
        self._ahead[row.id] = row
        self._offer(position, row)

    def _offer(self, position: Feed, row: BroadcastRow) -> None:
        position.offered = max(position.offered, row.id)
        self._offer_row(row)

    def catch_up_with_itself(self) -> None:
        """Let the reading pass what was accepted here, so that the lanes can say that they are done with it."""
        if self._ahead:
            self._read_wanted.set()

    async def run(self) -> None:
        """Read what other processes accepted, and wake them, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read_loop())
            group.create_task(self._notify_loop())

    async def _read_loop(self) -> None:
        while True:
            self._read_wanted.clear()
            try:
                await self.read()
            except (DatabaseAway, asyncpg.PostgresError):
                await asyncio.sleep(REST_SECONDS)
                continue
            try:
                async with asyncio.timeout(POLL_SECONDS):
                    await self._read_wanted.wait()
            except TimeoutError:
                continue

    async def read(self) -> None:
        """Offer everything accepted so far. Raises DatabaseAway."""
        async with self._reading:  # the last reading, at a stop, must not offer what the loop does too
            await self._read_on()

    async def _read_on(self) -> None:
        last = await self._mirror.last_broadcast()
        position = self.position
        if position is None:
            self.position = Feed(last, last)
            return
        if last < position.read:
            # A backup was restored, or a standby took over that had not everything: ids are given out again.
            log.error("the database has lost broadcasts; the lanes begin anew", action="broadcasts_lost")
            self._ahead = {}
            self.position = Feed(last, last)
            self._begun_anew()
            return
        while position.read < last:
            rows = await self._mirror.broadcasts_after(position.read, READ_ROWS, list(self._ahead))
            for row in rows:
                if row.id not in self._ahead:
                    self._offer(position, row)
            # Broadcasts become visible in the order of their ids, so nothing can turn up below what was seen.
            position.read = rows[-1].id if len(rows) == READ_ROWS else max([last, *(row.id for row in rows)])
            position.offered = max(position.offered, position.read)
            self._ahead = {number: row for number, row in self._ahead.items() if number > position.read}
            await asyncio.sleep(0)

    async def _notify_loop(self) -> None:
        """Wake the other processes; a NOTIFY takes a lock at its commit that all share, so never one per push."""
        while True:
            await self._notify_wanted.wait()
            self._notify_wanted.clear()
            try:
                async with self._database.connection() as connection:
                    await connection.execute(f"NOTIFY {CHANNEL}")
            except (DatabaseAway, asyncpg.PostgresError):
                continue  # they look every second anyway
            finally:
                await asyncio.sleep(NOTIFY_SECONDS)
