"""Objects of which only a PATCH came: fetched once from whoever owns them, off the road. Nothing is invented."""

import asyncio
from datetime import datetime

import asyncpg
import structlog

from hub.database import DatabaseAway
from hub.live_table import LiveTable
from hub.sender_lists import PAUSE_SECONDS, Busy, ReadFailed, SenderLists
from parties.model import Platform
from routing.objects import Change, ObjectKey
from routing.pulled import read_last_updated, read_single
from routing.pulling import SenderList, Unreadable, Walk, first_url, is_pulled, lists_of
from routing.resolve import join

REMEMBER_SECONDS = 600.0
"""For how long an object is not asked for again, be it that it was found or not."""
REMEMBERED_MAX = 10_000
"""Objects of one platform, so that what one makes up keeps no other's from being asked for."""
WAITING_MAX = 1_000
"""What waits to be asked for at one platform."""
WORKERS = 4
PAGES_MAX = 100
"""Most pages read for what can only be had in a list."""

log = structlog.get_logger()

_Wanted = tuple[str, str, str]
"""A module, an owner, and a location's key; empty for what only a list has (sessions, tokens)."""


class Missing:
    """Fetches what the mirror has not."""

    def __init__(self, live: LiveTable, lists: SenderLists, page_limit: int) -> None:
        self._live = live
        self._lists = lists
        self._page_limit = page_limit
        self._asked: dict[int, dict[ObjectKey, float]] = {}
        """When each object of a platform may be asked for again, the soonest first."""
        self._waiting: dict[int, dict[_Wanted, tuple[Change, datetime | None]]] = {}
        """By platform: a PATCH for each, and the earliest last_updated of all that want the same."""
        self._busy: set[int] = set()
        """Platforms that are being asked: one thing at a time, so that a slow one holds up one worker only."""
        self._arrived = asyncio.Event()

    def want(self, change: Change) -> None:
        """Note that the object of a PATCH is missing; never waits, never raises."""
        key, now = change.key, asyncio.get_running_loop().time()
        asked = self._asked.setdefault(change.platform_id, {})
        while asked and asked[first := next(iter(asked))] <= now:
            del asked[first]
        if key in asked or len(asked) >= REMEMBERED_MAX or self._find(change) is None:
            return
        waiting = self._waiting.get(change.platform_id, {})
        is_location = key.module == "locations"
        wanted = (key.module, key.owner, key.object_key if is_location else "")
        since = read_last_updated(change.body)
        if (since is None and not is_location) or (wanted not in waiting and len(waiting) >= WAITING_MAX):
            return
        asked[key] = now + REMEMBER_SECONDS
        _, earliest = waiting.get(wanted, (change, since))
        waiting[wanted] = (change, min((each for each in (since, earliest) if each), default=None))
        self._waiting[change.platform_id] = waiting
        self._arrived.set()

    async def run(self) -> None:
        """Fetch what is wanted, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while (platform_id := next((each for each in self._waiting if each not in self._busy), None)) is None:
                self._arrived.clear()
                await self._arrived.wait()
            waiting = self._waiting.pop(platform_id)
            change, since = waiting.pop(next(iter(waiting)))
            if waiting:
                self._waiting[platform_id] = waiting  # behind the others
            self._busy.add(platform_id)
            try:
                await self._fetch(change, since)
            finally:
                self._busy.discard(platform_id)
                self._arrived.set()

    async def _fetch(self, change: Change, since: datetime | None) -> None:
        found = self._find(change)
        if found is None:
            return
        platform, listed = found
        facts = {"platform": platform.id, "party": str(listed.party), "module": listed.module}
        try:
            if listed.module == "locations":
                news = await self._fetch_location(platform, listed, change)
            else:
                news = await self._fetch_list(platform, listed, since)
        except (ReadFailed, Unreadable, Busy, DatabaseAway, asyncpg.PostgresError) as exc:
            log.info(
                "an object of which only a PATCH came could not be fetched",
                action="fetch_failed",
                reason=str(exc) or type(exc).__name__,
                **facts,
            )
        else:
            log.info("an object of which only a PATCH came was asked for", action="fetched", news=news, **facts)

    def _find(self, change: Change) -> tuple[Platform, SenderList] | None:
        """Give the owner's platform and list, if they may be asked."""
        platform = self._live.table.platforms.get(change.platform_id)
        if platform is None or not is_pulled(platform):
            return None
        key = (change.key.owner, change.key.module)
        listed = next((each for each in lists_of(platform, lambda module: True) if each.key == key), None)
        return (platform, listed) if listed else None

    async def _fetch_location(self, platform: Platform, listed: SenderList, change: Change) -> int:
        ident = change.path.split("/")[2]
        answer = await self._lists.ask(platform, listed.party, join(listed.endpoint, ident, ""))
        news, _, _ = await self._lists.take(platform, listed.module, [read_single(answer.body)], only=change.key)
        return news

    async def _fetch_list(self, platform: Platform, listed: SenderList, since: datetime | None) -> int:
        news, walk, linked = 0, Walk(), False
        url: str | None = first_url(listed, since, self._page_limit)
        while url is not None and walk.pages < PAGES_MAX:
            page = await self._lists.read_page(platform, listed, url, walk, linked=linked)
            news, url, linked = news + page.news, page.following, page.linked
            await asyncio.sleep(max(PAUSE_SECONDS, page.seconds))
        return news
