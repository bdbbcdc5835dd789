"""Reading the Sender lists of members, page by page, into the mirror."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from config.ocpi import TOTAL_COUNT, PartyID
from config.settings import Settings
from hub import client as http
from hub.live_table import LiveTable
from hub.metrics import Metrics
from hub.mirror import Mirror
from hub.own_calls import OwnAnswer, OwnCalls, PassedOver
from parties.model import Platform
from routing.objects import Change, ObjectKey
from routing.pulled import Pulled, read_list, read_pulled
from routing.pulling import SenderList, Unreadable, Walk, next_page, read_retry_after, read_total

CHUNK = 100
"""Objects taken in at a time; in between, the event loop has its turn."""
CHUNK_BYTES = 512 * 1024
PAUSE_SECONDS = 0.1
"""Least pause between two pages; it is longer where a page took longer."""
_SILENT = (http.ConnectFailed, http.NoAnswer, http.ClosedUnanswered)


class ReadFailed(Exception):
    """A page could not be read; the message tells the operator why."""

    def __init__(
        self,
        message: str,
        *,
        is_refusal: bool = False,
        is_endless: bool = False,
        is_silence: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.is_refusal = is_refusal
        """Whether the request was at fault: asking for the same again is of no use."""
        self.is_endless = is_endless
        """Whether the list goes in circles."""
        self.is_silence = is_silence
        """Whether the platform could not be reached or did not answer, which concerns all its lists."""
        self.retry_after = retry_after
        """For how many seconds the platform asked to be left alone, if it did."""
        super().__init__(message)


class Busy(Exception):
    """The platform is not to be called just now, which says nothing about its list; try again in so many seconds."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        super().__init__()


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was read and taken in."""

    objects: int
    """On it, those left out included."""
    news: int
    """Those that the mirror did not have like that."""
    left_out: Counter[str]
    """How many were not taken, by why."""
    highest: datetime | None
    """The latest last_updated among those taken."""
    total: int | None
    """X-Total-Count."""
    following: str | None
    """URL of the next page; None: this was the last one."""
    linked: bool
    """Whether a Link said so."""
    seconds: float
    """How long the platform took for it."""


class SenderLists:
    """Asks members for pages and objects: one request at a time per platform."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        mirror: Mirror,
        calls: OwnCalls,
        metrics: Metrics,
        hub: PartyID,
    ) -> None:
        self._settings = settings
        self._live = live
        self._mirror = mirror
        self._calls = calls
        self._metrics = metrics
        self._hub = hub
        self._asking: dict[int, asyncio.Lock] = {}

    async def read_page(
        self, platform: Platform, listed: SenderList, url: str, walk: Walk, *, linked: bool, is_whole: bool = False
    ) -> Page:
        """Read one page of a list and take in what is on it. Raises ReadFailed, Busy and DatabaseAway.

        `is_whole`: it is one of the whole list, so what is on it is noted also where nothing is new.
        """
        started = asyncio.get_running_loop().time()
        answer = await self.ask(platform, listed.party, url)
        seconds = asyncio.get_running_loop().time() - started
        total = read_total(answer.headers.get(TOTAL_COUNT))
        link = ", ".join(answer.headers.get_all("Link"))
        try:
            contents = read_list(answer.body)
            following, linked = next_page(url, link, total, len(contents), listed, platform, linked=linked)
        except Unreadable as exc:
            raise ReadFailed(f"The list was answered, but {exc}.") from exc
        news, left_out, highest = await self.take(platform, listed.module, contents, is_whole=is_whole)
        try:
            walk.step(url, contents, following)
        except Unreadable as exc:
            raise ReadFailed(f"The list has no end: {exc}.", is_endless=True) from exc
        return Page(len(contents), news, left_out, highest, total, following, linked, seconds)

    async def ask(self, platform: Platform, party: PartyID, url: str) -> OwnAnswer:
        """GET something of a party, and give the answer if it is a success. Raises ReadFailed and Busy."""
        settings = self._settings
        async with self._asking.setdefault(platform.id, asyncio.Lock()):
            try:
                answer = await self._calls.call(
                    platform,
                    "GET",
                    url,
                    sender=self._hub,
                    receiver=party,
                    timeout=settings.forward_timeout,
                    limit=settings.max_body,
                )
            except PassedOver as exc:
                raise Busy(settings.breaker_time) from exc
            except http.Saturated as exc:
                raise Busy(settings.in_flight_wait) from exc
            except http.BodyTooLarge as exc:
                raise ReadFailed(f"A page has more than {settings.max_body} bytes (max_body).") from exc
            except http.ClientError as exc:
                is_silence = isinstance(exc, _SILENT)
                raise ReadFailed(f"It could not be read: {_explain(exc)}", is_silence=is_silence) from exc
            except ValueError as exc:
                raise ReadFailed("The URL of a page has something in it that cannot be sent.") from exc
        if not answer.is_success:
            raise _refused(answer)
        return answer

    async def forget_gone(self, platform: Platform, listed: SenderList, since: datetime) -> int:
        """Forget what was not in this list since then; give how many. Raises DatabaseAway."""
        party, module = listed.key
        return await self._mirror.forget_gone(platform.id, module, party, since)

    async def take(
        self,
        platform: Platform,
        module: str,
        contents: Sequence[bytes],
        only: ObjectKey | None = None,
        *,
        is_whole: bool = False,
    ) -> tuple[int, Counter[str], datetime | None]:
        """Give objects to the mirror: how many were news, how many were left out and why, the latest last_updated.

        Raises DatabaseAway.
        """
        left_out: Counter[str] = Counter()
        changes: dict[ObjectKey, Change] = {}
        highest: datetime | None = None
        news = size = 0
        received_at = datetime.now(UTC)
        for number, content in enumerate(contents, 1):
            pulled = read_pulled(content, module, platform, self._is_member, received_at, self._settings.shared_body)
            if not isinstance(pulled, Pulled):
                left_out[pulled] += 1
            elif only is None or pulled.change.key == only:
                # The later one of two with the same key.
                changes[pulled.change.key] = pulled.change
                highest = max((moment for moment in (highest, pulled.last_updated) if moment), default=None)
            size += len(content)
            if number % CHUNK == 0 or size >= CHUNK_BYTES or number == len(contents):
                if changes:
                    news += await self._mirror.take_pulled(list(changes.values()), is_whole=is_whole)
                    self._metrics.pulled(module, len(changes))
                changes, size = {}, 0
                await asyncio.sleep(0)
        return news, left_out, highest

    def _is_member(self, party: PartyID) -> bool:
        return any(party.key in platform.parties for platform in self._live.table.holders.get(party.key, ()))


def _refused(answer: OwnAnswer) -> ReadFailed:
    status = answer.http_status
    if status in (429, 503):
        seconds = read_retry_after(answer.headers.get("Retry-After"), datetime.now(UTC))
        return ReadFailed(f"It asked for fewer requests (HTTP {status}).", retry_after=seconds)
    if status in (401, 403):
        return ReadFailed(f"It refuses the hub's credentials token (HTTP {status}).")
    if answer.status_code is None:
        text = f"It answered with HTTP {status} and something that is no OCPI response."
        return ReadFailed(text, is_refusal=400 <= status < 500)
    is_refusal = 400 <= status < 500 or 2000 <= answer.status_code < 3000
    return ReadFailed(f"It answered with HTTP {status} and status_code {answer.status_code}.", is_refusal=is_refusal)


def _explain(exc: http.ClientError) -> str:
    match exc:
        case http.NoAnswer():
            return "it did not answer in time."
        case http.ClosedUnanswered():
            return "it closed the connection without an answer."
        case http.BodyBroken():
            return "its answer broke off, or came too slowly."
        case http.AnswerBroken():
            return "what it answered is no HTTP."
    return str(exc) or type(exc).__name__
