"""How far each lane has come, saved in batches: where a successor goes on, and what `party show` tells."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import asyncpg

from hub.database import Database, DatabaseAway
from hub.lane import Lane, Outcome
from hub.metrics import Metrics
from hub.processes import Processes
from parties.store import queries

IDLE_SAVE_SECONDS = 30.0
"""A lane that had nothing to do is saved this often: nothing would be delivered twice."""


@dataclass(slots=True)
class _Saved:
    progress: int
    waiting: int
    at: float
    counts: dict[Outcome, int] = field(default_factory=dict)


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
        rows = [(lane, lane.progress, lane.waiting, lane.oldest_at, dict(lane.counts)) for lane in lanes]
        before = [self._saved[lane.platform_id].counts for lane in lanes]

        def since(*outcomes: Outcome) -> list[int]:
            return [
                sum(row[4][outcome] - earlier[outcome] for outcome in outcomes)
                for row, earlier in zip(rows, before, strict=True)
            ]

        try:
            async with self._database.connection() as connection:
                await connection.execute(
                    queries("hub")["save_lanes"],
                    self._processes.id,
                    [lane.platform_id for lane in lanes],
                    [progress for _, progress, *_ in rows],
                    [waiting for _, _, waiting, *_ in rows],
                    [oldest for *_, oldest, _ in rows],
                    since("delivered"),
                    since("failed", "refused"),
                    since("skipped"),
                )
        except (DatabaseAway, asyncpg.PostgresError):
            return  # until then a successor would deliver a little more anew
        self._metrics.count_delivery("collapsed", sum(since("collapsed")))
        for lane, progress, waiting, _, counts in rows:
            lane.tidy()
            if lane.platform_id in self._saved:
                self._saved[lane.platform_id] = _Saved(progress, waiting, now, counts)
