"""Who is alive: the still-alive check, OFFLINE, and CONNECTED at once on any sign of life (OCPI, HubClientInfo)."""

import asyncio
import contextlib
import random
import time
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import orjson
import structlog

from config.ocpi import OCPIError
from config.settings import Settings
from hub.client import ClientError, Saturated
from hub.database import Database, DatabaseAway
from hub.live_table import LiveTable
from hub.own_calls import OwnAnswer, OwnCalls, PassedOver
from hub.processes import Processes
from parties import store
from parties.model import Platform
from parties.registration import read_data, read_versions
from parties.store import queries

CHECK_SECONDS = 5.0
"""Longest time that a check may take, and that lies between a failed one and the next."""
IN_FLIGHT = 64
PROBE_SECONDS = 1.5
"""Between two checks of a platform that is OFFLINE, at first."""
PROBE_MAX_SECONDS = 30.0
SUSPICION_SECONDS = 1.0
"""How often a platform is suspected at most."""
_ANSWER_MAX = 1024 * 1024

Outcome = Literal["alive", "unusable", "token_refused", "no_answer"]
"""What a still-alive check finds."""

log = structlog.get_logger()


class Liveness:
    """Watches every platform; checks those whose work is this process's."""

    def __init__(
        self, settings: Settings, live: LiveTable, database: Database, processes: Processes, calls: OwnCalls
    ) -> None:
        self._silence = settings.silence
        self._live = live
        self._database = database
        self._processes = processes
        self._calls = calls
        self.checks: dict[str, int] = {"alive": 0, "unusable": 0, "token_refused": 0, "no_answer": 0}
        """How many still-alive checks there were, by what they found."""
        self._seen: dict[int, float] = {}
        """The latest sign of life of each platform, here or at another process, in monotonic time."""
        self._suspected: dict[int, float] = {}
        self._unsaved_seen: set[int] = set()
        self._unsaved_suspected: set[int] = set()
        self._unread: set[int] = set()
        """Platforms of which this process has not read yet when others saw them last."""
        self._not_before: dict[int, float] = {}
        """When a platform may be checked again."""
        self._checking: set[int] = set()
        self._returning: set[int] = set()
        self._slots = {is_online: asyncio.Semaphore(IN_FLIGHT) for is_online in (True, False)}
        """Apart for those that are OFFLINE: waiting for the dead must not hold up the checks of the others."""
        self._look = asyncio.Event()
        self._save = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        processes.watch(self._gained, self._lost)

    # Told by everybody, on the road

    def seen(self, platform_id: int) -> None:
        """Note a sign of life: a request of the platform's, or an answer. Called on the road, so it costs a look-up."""
        self._seen[platform_id] = time.monotonic()
        self._unsaved_seen.add(platform_id)
        platform = self._live.table.platforms.get(platform_id)
        if platform is None or platform.is_online or platform.state != "registered":
            return
        if platform_id not in self._returning:
            self._returning.add(platform_id)
            self._start(self._bring_back(platform))

    def both_seen(self, platform_id: int, other_id: int) -> None:
        """Note a sign of life of two platforms that are online by the present table."""
        self._seen[platform_id] = self._seen[other_id] = time.monotonic()
        self._unsaved_seen.add(platform_id)
        self._unsaved_seen.add(other_id)

    def suspect(self, platform_id: int) -> None:
        """Note that a platform could not be reached or did not answer: worth a check now."""
        now = time.monotonic()
        if now - self._suspected.get(platform_id, float("-inf")) < SUSPICION_SECONDS:
            return
        self._suspected[platform_id] = now
        if self._processes.holds(platform_id):
            self._look.set()
        else:
            self._unsaved_suspected.add(platform_id)
            self._save.set()

    async def _bring_back(self, platform: Platform) -> None:
        """Let a platform that gave a sign of life be CONNECTED everywhere (R-216); the next sign tries again."""
        try:
            with contextlib.suppress(DatabaseAway, asyncpg.PostgresError):
                if await self._set_online(platform.id, online=True):
                    log.info("a platform is back", action="online", platform=platform.id, name=str(platform))
                await self._live.refresh()
        finally:
            self._returning.discard(platform.id)

    async def _set_online(self, platform_id: int, *, online: bool) -> bool:
        async with self._database.changing() as connection:
            return await store.set_online(connection, platform_id, online=online)

    # The checks

    async def run(self) -> None:
        """Check the silent ones and probe those that are OFFLINE, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._save_signs())
                while True:
                    self._look.clear()
                    await self._read_signs()
                    for platform in self._due():
                        self._checking.add(platform.id)
                        group.create_task(self._check(platform.id))
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(min(1.0, self._silence / 4)):
                            await self._look.wait()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _gained(self, platform_id: int) -> None:
        self._unread.add(platform_id)
        self._look.set()

    def _lost(self, platform_id: int) -> None:
        self._unread.discard(platform_id)
        self._not_before.pop(platform_id, None)

    def _due(self) -> list[Platform]:
        """Give the platforms to check now: silent for too long, suspected since they were last seen, or OFFLINE."""
        now, due = time.monotonic(), []
        for platform_id in self._processes.held:
            platform = self._checkable(platform_id)
            if platform is None or platform_id in self._checking or now < self._not_before.get(platform_id, 0):
                continue
            seen = self._seen.setdefault(platform_id, now)
            is_suspected = self._suspected.get(platform_id, float("-inf")) > seen
            if not platform.is_online or is_suspected or now - seen > self._silence:
                due.append(platform)
        return due

    def _checkable(self, platform_id: int) -> Platform | None:
        platform = self._live.table.platforms.get(platform_id)
        if platform is None or platform.state != "registered" or platform_id in self._unread:
            return None
        return platform if platform.versions_url and self._processes.holds(platform_id) else None

    async def _check(self, platform_id: int) -> None:
        """Ask a platform whether it is alive; one that fails to say so twice is OFFLINE from now on (R-218)."""
        began = time.monotonic()
        try:
            for is_last in (False, True):
                platform = self._checkable(platform_id)
                if platform is None:
                    return
                outcome = await self._ask(platform)
                if outcome is None:
                    return
                self.checks[outcome] += 1
                if outcome == "alive":
                    self.seen(platform_id)
                elif is_last and not self._processes.is_alone:
                    await self._read_signs()
                if not platform.is_online or self._seen.get(platform_id, began) > began:
                    return
                if is_last:
                    await self._note_offline(platform, outcome)
                else:
                    await asyncio.sleep(min(max(self._silence / 10, 0.2), CHECK_SECONDS))
        finally:
            self._checking.discard(platform_id)
            self._not_before[platform_id] = time.monotonic() + self._pause(platform_id)

    async def _ask(self, platform: Platform) -> Outcome | None:
        """GET a platform's versions with its token, without routing headers (R-214); None: it could not be asked."""
        assert platform.versions_url is not None
        seconds = min(CHECK_SECONDS, max(self._silence, 1.0))
        try:
            async with self._slots[platform.is_online], asyncio.timeout(seconds):
                answer = await self._calls.call(
                    platform,
                    "GET",
                    platform.versions_url,
                    timeout=seconds,
                    guarded=False,
                    is_sign=False,
                    limit=_ANSWER_MAX,
                )
        except (Saturated, PassedOver):
            return None
        except (ClientError, TimeoutError, ValueError):
            return "no_answer"
        if answer.http_status in (401, 403):
            if platform.is_online:  # later it has been said
                log.error(
                    "a platform refuses the hub's credentials token",
                    action="token_refused",
                    platform=platform.id,
                    name=str(platform),
                    http_status=answer.http_status,
                )
            return "token_refused"
        return "alive" if lists_versions(answer) else "unusable"

    async def _note_offline(self, platform: Platform, outcome: Outcome) -> None:
        """Let a platform be OFFLINE everywhere; when the database is away, the next check tries again."""
        with contextlib.suppress(DatabaseAway, asyncpg.PostgresError):
            if await self._set_online(platform.id, online=False):
                log.warning(
                    "a platform is silent and fails its still-alive checks",
                    action="offline",
                    platform=platform.id,
                    name=str(platform),
                    found=outcome,
                )
            await self._live.refresh()

    def _pause(self, platform_id: int) -> float:
        """Give how long not to check a platform: 1 to 2 s at first, later less often, up to every 30 s (T-094)."""
        platform = self._live.table.platforms.get(platform_id)
        offline_seconds = 0.0
        if platform is not None and not platform.is_online and platform.status_changed_at is not None:
            offline_seconds = (datetime.now(UTC) - platform.status_changed_at).total_seconds()
        pause = min(max(PROBE_SECONDS, offline_seconds / 40), PROBE_MAX_SECONDS, self._silence)
        return pause * random.uniform(0.7, 1.3)  # noqa: S311 # so that not all are called at the same moment

    # What other processes saw

    async def _read_signs(self) -> None:
        """Learn when others saw and suspected this process's platforms; alone, only those it has just gained."""
        wanted = frozenset(self._unread) if self._processes.is_alone else self._processes.held
        if not wanted:
            return
        asked = time.monotonic()
        try:
            async with self._database.connection() as connection:
                rows = await connection.fetch(queries("hub")["signs"], [*wanted])
        except (DatabaseAway, asyncpg.PostgresError):
            return
        self._unread -= wanted
        for platform_id, seen, suspected in rows:
            for known, age in ((self._seen, seen), (self._suspected, suspected)):
                if age is not None:
                    known[platform_id] = max(asked - age, known.get(platform_id, float("-inf")))

    async def _save_signs(self) -> None:
        """Store the latest signs of each platform, in batches; a suspicion at once, for whoever does its checks."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(self._silence / 4, 0.25), 15.0)):
                    await self._save.wait()
            self._save.clear()
            seen, suspected = self._unsaved_seen, self._unsaved_suspected
            if not seen and not suspected:
                continue
            self._unsaved_seen, self._unsaved_suspected = set(), set()
            ids, now = sorted(seen | suspected), time.monotonic()
            seen_ages = [now - self._seen[each] if each in seen else None for each in ids]
            suspected_ages = [now - self._suspected[each] if each in suspected else None for each in ids]
            try:
                async with self._database.connection() as connection:
                    await connection.execute(queries("hub")["save_signs"], ids, seen_ages, suspected_ages)
            except (DatabaseAway, asyncpg.PostgresError):
                self._unsaved_seen |= seen
                self._unsaved_suspected |= suspected

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def lists_versions(answer: OwnAnswer) -> bool:
    """Whether this answer is what a versions endpoint gives: HTTP 200, 1xxx and a list (R-215)."""
    if answer.http_status != 200:
        return False
    try:
        read_versions(read_data(orjson.loads(answer.body)))
    except (orjson.JSONDecodeError, OCPIError):
        return False
    return True
