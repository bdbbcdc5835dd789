"""How far each lane has come, saved in batches: where a successor goes on, and what `party show` tells."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import asyncpg

from hub.database import Database, DatabaseAway
from hub.lane import Lane, Outcome
from hub.metrics import Metrics
from hub.processes import Processes
from parties.store import queries

AT_ONCE = 200
"""Lanes looked at before the event loop may do something else."""
IDLE_SAVE_SECONDS = 30.0
"""A lane that had nothing to do is saved this often: nothing would be delivered twice."""


@dataclass(slots=True)
class _Saved:
    progress: int
    waiting: int
    at: float
    counts: dict[Outcome, int] = field(default_factory=dict)


class _Row(NamedTuple):
    lane: Lane
    saved: _Saved
    progress: int
    waiting: int
    oldest_at: datetime | None
    counts: dict[Outcome, int]

    def since(self, outcome: Outcome) -> int:
        """Give how many there were since the last saving."""
        return self.counts[outcome] - self.saved.counts[outcome]


class LaneProgress:
    """Keeps the progress of this process's lanes in the database."""

    def __init__(self, database: Database, processes: Processes, metrics: Metrics) -> None:
        self._database = database
        self._processes = processes
        self._metrics = metrics
        self._saved: dict[int, _Saved] = {}
        self._saving = asyncio.Lock()

    async def read(self, platform_id: int) -> int | None:
        """Give the last broadcast that whoever held this lane was done with. Raises DatabaseAway."""
        async with self._database.connection() as connection:
            progress: int | None = await connection.fetchval(queries("hub")["lane_progress"], platform_id)
            return progress

    def begin(self, lane: Lane) -> None:
        """Follow a lane from now on."""
        self._saved[lane.platform_id] = _Saved(lane.progress, 0, time.monotonic(), dict(lane.counts))

    def end(self, platform_id: int) -> None:
        """Follow a platform's lane no more."""
        self._saved.pop(platform_id, None)

    def is_news(self, lane: Lane) -> bool:
        """Whether something happened in a lane since it was saved."""
        saved = self._saved.get(lane.platform_id)
        if saved is None:
            return False
        idle_for = time.monotonic() - saved.at
        is_busy = lane.counts != saved.counts or lane.waiting != saved.waiting
        return is_busy or (idle_for > IDLE_SAVE_SECONDS and lane.progress > saved.progress)

    async def save(self, lanes: Iterable[Lane]) -> None:
        """Save these lanes; when the database is away, the next time."""
        async with self._saving:  # else what happened since the last time would be counted twice
            await self._save([lane for lane in lanes if lane.platform_id in self._saved])

    async def _save(self, lanes: list[Lane]) -> None:
        if not lanes:
            return
        now = time.monotonic()
        rows: list[_Row] = []
        for number, lane in enumerate(lanes, 1):
            saved = self._saved.get(lane.platform_id)
            if saved is not None:
                rows.append(_Row(lane, saved, lane.progress, lane.waiting, lane.oldest_at, dict(lane.counts)))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        try:
            async with self._database.connection() as connection:
                await connection.execute(
                    queries("hub")["save_lanes"],
                    self._processes.id,
                    [row.lane.platform_id for row in rows],
                    [row.progress for row in rows],
                    [row.waiting for row in rows],
                    [row.oldest_at for row in rows],
                    [row.since("delivered") for row in rows],
                    [row.since("failed") + row.since("refused") for row in rows],
                    [row.since("skipped") for row in rows],
                )
        except (DatabaseAway, asyncpg.PostgresError):
            return  # until then a successor would deliver a little more anew
        self._metrics.count_delivery("collapsed", sum(row.since("collapsed") for row in rows))
        for row in rows:
            lane = row.lane
            lane.tidy()
            if self._saved.get(lane.platform_id) is row.saved:  # else it was lost meanwhile
                self._saved[lane.platform_id] = _Saved(row.progress, row.waiting, now, row.counts)
