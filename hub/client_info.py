"""HubClientInfo: the Sender interface, and the introduction of a new party before its first message."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import asyncpg

from config.ocpi import LIMIT, TOTAL_COUNT, PartyID
from config.operations import CLIENT_INFO
from config.settings import Settings
from hub.database import Database, DatabaseAway
from hub.live_table import LiveTable
from hub.own_calls import OwnCalls
from hub.processes import Processes
from hub.telling import Telling, is_told
from parties.client_info import ClientInfo, client_infos
from parties.model import Platform
from routing.paging import read_paging

NEW_SECONDS = 5.0
"""For how long others may still have to be told of a new party before its first message goes to them."""
INTRODUCTION_SECONDS = 1.0


class ClientInfos:
    """Tells members who is connected."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        database: Database,
        processes: Processes,
        calls: OwnCalls,
    ) -> None:
        self._settings = settings
        self._live = live
        self._telling = Telling(settings, live, database, processes, calls)
        self._members: frozenset[tuple[str, str, str]] | None = None
        self._newcomers: dict[tuple[str, str], float] = {}
        """Parties that have just come, and until when they are new in the event loop's time."""
        self._introduced: set[tuple[int, tuple[str, str]]] = set()
        self._introducing: dict[tuple[int, tuple[str, str]], asyncio.Lock] = {}
        """Whoever has it looks how far the telling is; the others of the same sender and receiver wait for that one."""
        live.on_loaded.append(self._look_for_newcomers)

    def list(self, viewer: Platform, raw_query: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Give a page of the ClientInfo a platform may see, and its paging headers. Raises InvalidParameters."""
        maximum = self._settings.page_limit
        paging = read_paging(raw_query, maximum)
        begin, end = paging.date_from, paging.date_to
        seen = [
            info
            for info in self._seen_by(viewer)
            if (begin is None or info.updated >= begin) and (end is None or info.updated < end)
        ]
        page = seen[paging.offset : paging.offset + paging.limit]
        headers = {TOTAL_COUNT: str(len(seen)), LIMIT: str(maximum)}
        if paging.offset + len(page) < len(seen):
            url = f"{self._settings.public_url}/ocpi/{viewer.version}/sender/{CLIENT_INFO}/"
            headers["Link"] = f'<{url}?{paging.next_query(len(page))}>; rel="next"'
        return [info.as_object() for info in page], headers

    def _seen_by(self, viewer: Platform) -> Iterator[ClientInfo]:
        table = self._live.table
        return client_infos(viewer, table.platforms.values(), table.contracts)

    def is_new(self, party: PartyID) -> bool:
        """Whether this party has come so lately that it may have to be introduced."""
        until = self._newcomers.get(party.key) if self._newcomers else None
        return until is not None and until > asyncio.get_running_loop().time()

    async def introduce(self, sender: PartyID, receiver: Platform) -> None:
        """Let a platform hear of a new party before that one's first message reaches it (T-023); a second at most."""
        if not self.is_new(sender):
            return
        meeting = (receiver.id, sender.key)
        if meeting in self._introduced or not is_told(receiver):
            return
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(INTRODUCTION_SECONDS),
                self._introducing.setdefault(meeting, asyncio.Lock()),
            ):
                if meeting not in self._introduced:
                    await self._wait_until_told(receiver, sender)
        self._introduced.add(meeting)
        self._introducing.pop(meeting, None)

    async def _wait_until_told(self, receiver: Platform, sender: PartyID) -> None:
        seen = self._seen_by(receiver)
        latest = max((info.last_updated for info in seen if info.party.key == sender.key), default=None)
        if latest is None:
            return
        with contextlib.suppress(DatabaseAway, asyncpg.PostgresError):
            while (until := await self._telling.reached(receiver.id)) is None or until < latest:
                await asyncio.sleep(0.02)

    def _look_for_newcomers(self) -> None:
        """See who has come with a new table, before anybody sends a message by it."""
        before = self._members
        self._members = frozenset(
            role.key
            for platform in self._live.table.platforms.values()
            for role in platform.roles
            if platform.takes_part(role)
        )
        now = asyncio.get_running_loop().time()
        came = self._members - before if before is not None else frozenset()
        self._newcomers = {key: until for key, until in self._newcomers.items() if until > now}
        self._introduced = {meeting for meeting in self._introduced if meeting[1] in self._newcomers}
        self._introducing = {each: lock for each, lock in self._introducing.items() if each[1] in self._newcomers}
        self._newcomers |= {key[:2]: now + NEW_SECONDS for key in came}
        self._telling.look(at_once=bool(came))

    async def run(self) -> None:
        """Push changes until cancelled."""
        await self._telling.run()
