"""The hub's processes on one database: which are alive, which table each has, and who does the work of which platform.

Each platform's lane, still-alive checks, pulls and ClientInfo pushes are done by one process at a time, the holder of
the platform's row in `platform_work`. A process that was not seen for seconds holds nothing any more.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4

import asyncpg
import structlog

from hub.database import AWAY, Database, DatabaseAway
from hub.live_table import LiveTable
from parties.store import queries

log = structlog.get_logger()

HEARTBEAT_SECONDS = 1.0
LEASE = timedelta(seconds=4)
"""After this long without a heartbeat, others take a process's work."""
HOLD_SECONDS = 3.0
"""So long after a heartbeat a process trusts that its work is its own: less than LEASE, whatever a stall hides."""
HAND_OVER_SECONDS = 15.0

Told = Callable[[int], None]
"""Told a platform's id."""


@dataclass(frozen=True, slots=True)
class _Watcher:
    gained: Told
    lost: Told
    before_handing_over: Callable[[int], Awaitable[None]] | None


class Processes:
    """This process among all of the same database."""

    def __init__(self, database: Database, live: LiveTable) -> None:
        self.id: UUID = uuid4()
        self.held: frozenset[int] = frozenset()
        """The platforms whose work is this process's."""
        self.is_alone = True
        """Whether no other process was alive on this database at the last look."""
        self._database = database
        self._live = live
        self._watchers: list[_Watcher] = []
        self._trusted_until = 0.0
        self._handing_over: dict[int, asyncio.Task[None]] = {}
        self._given_up: set[int] = set()
        """What is being freed, or was since the last look began: what the look reads of it may be old."""
        self._wake = asyncio.Event()
        self._is_away = False
        live.on_loaded.append(self._wake.set)

    def holds(self, platform_id: int) -> bool:
        """Whether this platform's work is this process's at this very moment; false when the database lost us."""
        return platform_id in self.held and time.monotonic() < self._trusted_until

    def watch(
        self, gained: Told, lost: Told, before_handing_over: Callable[[int], Awaitable[None]] | None = None
    ) -> None:
        """Be told of each platform whose work becomes this process's, and of each that it loses.

        `before_handing_over` is awaited when the work is given up in order; what it leaves undone is for the next one.
        """
        self._watchers.append(_Watcher(gained, lost, before_handing_over))

    async def all_loaded(self, generation: int, seconds: float = 1.0) -> None:
        """Wait until every live process routes by this table or a later one, but not longer than this."""
        self._wake.set()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    async with self._database.connection() as connection:
                        behind = await connection.fetchval(_sql("behind_processes"), LEASE, generation)
                    if not behind:
                        return
                    await asyncio.sleep(0.02)
        except (TimeoutError, DatabaseAway, asyncpg.PostgresError):
            return

    async def run(self) -> None:
        """Tell that this process lives, take what is free and give up what is too much, until cancelled."""
        while True:
            self._wake.clear()
            try:
                await self._look()
                self._is_away = False
            except (DatabaseAway, *AWAY, asyncpg.PostgresError) as exc:
                if not self._is_away:
                    reason = type(exc.__cause__ or exc).__name__
                    log.warning("the shared work rests until the database is back", action="work_rests", reason=reason)
                self._is_away = True
            try:
                async with asyncio.timeout(HEARTBEAT_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _look(self) -> None:
        began = time.monotonic()
        self._given_up &= self._handing_over.keys()
        async with self._database.connection() as connection:
            generation = self._live.table.generation
            await connection.execute(_sql("live_process"), self.id, socket.gethostname(), os.getpid(), generation)
            alive = await connection.fetchval(_sql("live_processes"), LEASE)
            await connection.execute(_sql("forget_processes"))
            row = await connection.fetchrow(_sql("held_work"), self.id)
            assert row is not None
            held = set(row["held"] or ())
            share = -(-row["registered"] // max(alive, 1))
            if len(held) < share:
                free = await connection.fetch(_sql("take_work"), self.id, LEASE, share - len(held))
                held.update(platform_id for (platform_id,) in free)
        held -= self._given_up
        self.is_alone = alive <= 1
        if time.monotonic() < began + HOLD_SECONDS:
            self._trusted_until = began + HOLD_SECONDS
        self._follow(frozenset(held))
        for platform_id in sorted(held)[share:]:
            if platform_id not in self._handing_over:
                self._handing_over[platform_id] = asyncio.create_task(self._hand_over(platform_id))

    def _follow(self, held: frozenset[int]) -> None:
        before, self.held = self.held, held
        for watcher in self._watchers:
            for platform_id in before - held:
                watcher.lost(platform_id)
            for platform_id in held - before:
                watcher.gained(platform_id)

    async def _hand_over(self, platform_id: int) -> None:
        """Give a platform to a process that has fewer, after what is under way there has ended."""
        try:
            for watcher in self._watchers:
                if watcher.before_handing_over is not None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(HAND_OVER_SECONDS):
                            await watcher.before_handing_over(platform_id)
            self._given_up.add(platform_id)
            async with self._database.connection() as connection:
                await connection.execute(_sql("free_work"), self.id, platform_id)
        except (DatabaseAway, asyncpg.PostgresError):
            pass  # it stays this process's in the database, which gives it a fresh start below
        finally:
            self._follow(self.held - {platform_id})
            del self._handing_over[platform_id]

    async def close(self) -> None:
        """Give up everything at once, so that others need not wait."""
        for task in self._handing_over.values():
            task.cancel()
        await asyncio.gather(*self._handing_over.values(), return_exceptions=True)
        self._follow(frozenset())
        try:
            async with asyncio.timeout(2), self._database.connection() as connection:
                await connection.execute(_sql("forget_process"), self.id)
        except (TimeoutError, DatabaseAway, asyncpg.PostgresError):
            pass  # they find out within LEASE


def _sql(name: str) -> str:
    return queries("hub")[name]
