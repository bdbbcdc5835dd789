"""One round of reading a Sender list: begun or resumed, page by page, finished or failed."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog

from config.settings import Settings
from hub.database import Database
from hub.metrics import Metrics
from hub.processes import Processes
from hub.sender_lists import PAUSE_SECONDS, Busy, Page, ReadFailed, SenderLists
from parties import pulls as store
from parties.model import Platform
from parties.pulls import ListKey, Pull
from routing.pulling import (
    FAILURES_MAX,
    SenderList,
    Walk,
    first_date,
    first_url,
    may_resume,
    next_date,
    reads_whole,
    seconds_to_next_round,
    seconds_to_retry,
)

REST_SECONDS = 5.0
"""After the database was away, or the work lost."""

log = structlog.get_logger()


@dataclass(slots=True)
class Turn:
    """A platform that is being read from."""

    platform: Platform
    """As the latest routing table has it."""
    task: "asyncio.Task[None] | None" = None
    """Set at once, by whoever gives the turn."""
    listed: SenderList | None = None
    """What is being read just now."""
    next_look: float = 0.0
    """Seconds from its end to the next look."""
    has_changed: bool = False
    """Whether the platform is another than when the turn began."""


@dataclass(slots=True)
class Round:
    """A round under way, and what is remembered of it only while it stays with this process."""

    pull: Pull
    was_resumed: bool
    """Begun by another process, or before a failure."""
    walk: Walk = field(default_factory=Walk)
    linked: bool = False
    """Whether the list has Links."""
    left_out: Counter[str] = field(default_factory=Counter)
    news: int = 0

    def add(self, page: Page) -> None:
        """Take note of a page."""
        pull = self.pull
        self.linked = self.linked or page.linked
        self.left_out += page.left_out
        self.news += page.news
        self.pull = replace(
            pull,
            next_url=page.following,
            objects=pull.objects + page.objects,
            total=page.total if page.total is not None else pull.total,
            highest=max((each for each in (pull.highest, page.highest) if each), default=None),
            # A try that came further than the one before; a round begun anew must get to its end for that.
            failures=0 if self.was_resumed else pull.failures,
            # What was left out may be in the mirror as it was before, and it is in the list.
            is_whole=pull.is_whole and not (page.left_out["too_large"] or page.left_out["no_object"]),
        )


class Rounds:
    """The rounds that are under way in this process; the database has how far each has come."""

    def __init__(
        self, settings: Settings, database: Database, processes: Processes, lists: SenderLists, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._database = database
        self._processes = processes
        self._lists = lists
        self._metrics = metrics
        self._rounds: dict[tuple[int, ListKey], Round] = {}

    def forget(self, platform_id: int) -> None:
        """Forget a platform's rounds, which another process may go on with."""
        for each in [key for key in self._rounds if key[0] == platform_id]:
            del self._rounds[each]

    async def read(self, turn: Turn, listed: SenderList, pull: Pull, until: float) -> None:
        """Read a list to its end, or as far as the turn goes. Raises Busy when the platform is to be left alone."""
        key = (turn.platform.id, listed.key)
        current = self._rounds.get(key)
        if current is None or current.pull.next_url != pull.next_url:
            current = await self._begin(turn, listed, pull, resume=may_resume(pull, turn.platform))
        else:
            async with self._database.connection() as connection:
                await store.resume_pull(connection, *key)
        try:
            while not await self._read_page(turn, listed, current):
                if asyncio.get_running_loop().time() >= until:
                    return
        except ReadFailed as exc:
            if exc.is_refusal and current.was_resumed and not current.walk.pages:
                # The page where it was interrupted is not to be had any more: the whole list once more.
                await self._begin(turn, listed, replace(pull, next_url=None), resume=False)
                return
            seconds = await self._fail(turn, listed, current, exc)
            if exc.retry_after is not None:
                raise Busy(seconds) from exc
            if exc.is_silence:
                raise Busy(self._settings.breaker_time) from exc

    async def _read_page(self, turn: Turn, listed: SenderList, current: Round) -> bool:
        """Read the next page of a round and keep how far it has come; give whether that was the last one."""
        platform_id, url = turn.platform.id, current.pull.next_url
        assert url is not None
        page = await self._lists.read_page(
            turn.platform, listed, url, current.walk, linked=current.linked, is_whole=current.pull.is_whole
        )
        if not self._processes.holds(platform_id):
            raise Busy(REST_SECONDS)
        current.add(page)
        if page.following is None:
            await self._finish(turn, listed, current)
            return True
        async with self._database.connection() as connection:
            await store.save_page(connection, platform_id, listed.key, current.pull)
        await asyncio.sleep(max(PAUSE_SECONDS, page.seconds))
        return False

    async def _begin(self, turn: Turn, listed: SenderList, pull: Pull, *, resume: bool) -> Round:
        platform_id, settings = turn.platform.id, self._settings
        if resume:
            async with self._database.connection() as connection:
                await store.resume_pull(connection, platform_id, listed.key)
        else:
            days, now = settings.retention.get(listed.module), datetime.now(UTC)
            is_whole = reads_whole(listed.module, pull, now)
            date_from = first_date(listed.module, None if is_whole else pull.date_from, days, now)
            url = first_url(listed, date_from, settings.page_limit)
            async with self._database.connection() as connection:
                pull = await store.begin_pull(connection, platform_id, listed.key, url, is_whole=is_whole)
        log.info(
            "reading a Sender list",
            action="pull_started",
            **_facts(turn, listed),
            resumed=resume,
            is_first=pull.finished_at is None,
        )
        current = self._rounds[platform_id, listed.key] = Round(pull, resume)
        return current

    async def _finish(self, turn: Turn, listed: SenderList, current: Round) -> None:
        pull = current.pull
        seconds = seconds_to_next_round(self._settings.pull_interval, random.random())  # noqa: S311
        started = pull.started_at or datetime.now(UTC)
        gone = 0
        if pull.is_whole and pull.seen_from is not None:
            # Two rounds must have missed it: who counts pages by offset misses what moves up while one is read.
            gone = await self._lists.forget_gone(turn.platform, listed, pull.seen_from)
        pull = replace(pull, date_from=next_date(pull.date_from, pull.objects, pull.highest, started))
        async with self._database.connection() as connection:
            await store.finish_pull(connection, turn.platform.id, listed.key, pull, seconds)
        self._rounds.pop((turn.platform.id, listed.key), None)
        self._metrics.pull_ended(listed.module, "finished")
        log.info(
            "read a Sender list",
            action="pulled",
            **_facts(turn, listed),
            objects=pull.objects,
            news=current.news,
            gone=gone,
            left_out=dict(current.left_out),
            pages=current.walk.pages,
            next_in_seconds=round(seconds),
        )

    async def _fail(self, turn: Turn, listed: SenderList, current: Round, exc: ReadFailed) -> float:
        """Keep why a round cannot go on; give the seconds until it is tried again."""
        interval, pull = self._settings.pull_interval, current.pull
        failures = pull.failures + 1
        chance = random.random()  # noqa: S311
        seconds = (
            seconds_to_next_round(interval, chance) if exc.is_endless else seconds_to_retry(failures, interval, chance)
        )
        seconds = max(seconds, exc.retry_after or 0)
        # Who only asks for time keeps its place in the list.
        is_lost = exc.is_endless or not pull.objects or (exc.retry_after is None and failures >= FAILURES_MAX)
        pull = replace(pull, next_url=None if is_lost else pull.next_url, failures=failures, problem=str(exc))
        async with self._database.connection() as connection:
            await store.fail_pull(connection, turn.platform.id, listed.key, pull, seconds)
        self._rounds.pop((turn.platform.id, listed.key), None)
        self._metrics.pull_ended(listed.module, "failed")
        log.warning(
            "a Sender list could not be read",
            action="pull_failed",
            **_facts(turn, listed),
            reason=str(exc),
            objects=pull.objects,
            failures=failures,
            next_in_seconds=round(seconds),
        )
        return seconds


def _facts(turn: Turn, listed: SenderList) -> dict[str, object]:
    return {
        "platform": turn.platform.id,
        "name": str(turn.platform),
        "party": str(listed.party),
        "module": listed.module,
    }
