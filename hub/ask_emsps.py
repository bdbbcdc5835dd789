"""Ask every eMSP whether a token is theirs: an authorize without OCPI-to headers for a token that nobody announced.

Off unless the operator switched it on (`ask_for_unknown_tokens`), since each eMSP asked learns of the token (T-064).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass

from aiohttp import web

from config.ocpi import OCPIError, ReceiverNotConnected
from config.settings import Settings
from hub import client as http
from hub.bodies import BOM
from hub.client_info import ClientInfos
from hub.coding import decode
from hub.ids import new_id
from hub.liveness import Liveness
from hub.metrics import Metrics
from hub.redirects import redirected_to
from hub.streaming import Waiting, hold
from hub.trace import Trace
from routing.answers import read_status_code
from routing.ask_emsps import Verdict, find_emsps, read_verdict
from routing.headers import answer_headers, check_forward_headers, onward_headers, relayed_headers
from routing.message import Message, MessageIDs
from routing.resolve import Direct
from routing.table import RoutingTable

IN_FLIGHT = 50
"""eMSPs asked at a time about one token."""


class UnknownToken(OCPIError):
    """No eMSP knows this token."""

    status_code = 2004
    http_status = 404  # OCPI 2.2.1, Tokens, POST Method


@dataclass(frozen=True, slots=True)
class _Answer:
    """What one eMSP answered."""

    route: Direct
    request_id: str
    http_status: int
    status_code: int | None
    """None when it is no OCPI envelope."""
    body: bytes
    headers: dict[str, str]
    """Those that are passed on."""
    verdict: Verdict
    seconds: float


class EveryEMSP:
    """Asks all that a sender's contracts allow, in parallel; the first that knows the token answers."""

    def __init__(
        self,
        settings: Settings,
        client: http.Client,
        metrics: Metrics,
        client_infos: ClientInfos,
        liveness: Liveness,
    ) -> None:
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._client_infos = client_infos
        self._liveness = liveness
        self._further_headers = check_forward_headers(settings.forward_headers)

    async def ask(
        self, request: web.BaseRequest, message: Message, body: bytes, table: RoutingTable, trace: Trace
    ) -> web.Response:
        """Give the first AuthorizationInfo, allowed or refused, within `authorize_timeout`; the others are left.

        Raises UnknownToken when those that answered do not know the token (R-255), ReceiverNotConnected (4003) when
        nobody answered.
        """
        deadline = asyncio.get_running_loop().time() + self._settings.authorize_timeout
        routes = find_emsps(message, table)
        places = asyncio.Semaphore(IN_FLIGHT)
        calls = {
            asyncio.create_task(self._ask_in_time(request, message, body, route, places, deadline)) for route in routes
        }
        try:
            with Waiting(trace):
                answer = await _first_that_knows(calls)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        trace.receiver, trace.receiver_platform_id = answer.route.receiver, answer.route.platform.id
        trace.onward_request_id, trace.receiver_seconds = answer.request_id, answer.seconds
        trace.receiver_http_status, trace.receiver_status_code = answer.http_status, answer.status_code
        trace.status_code = answer.status_code
        fields = answer_headers(message.ids, to=message.sender, sender=answer.route.receiver) | answer.headers
        return web.Response(status=answer.http_status, body=answer.body, headers=fields)

    async def _ask_in_time(
        self,
        request: web.BaseRequest,
        message: Message,
        body: bytes,
        route: Direct,
        places: asyncio.Semaphore,
        deadline: float,
    ) -> _Answer | None:
        """Give what one eMSP answers; None when it gives no HTTP answer in time."""
        is_asked = False
        try:
            async with asyncio.timeout_at(deadline), places:
                await self._client_infos.introduce(route.sender, route.platform)
                is_asked = True
                answer = await self._ask_one(request, message, body, route, deadline)
        except (http.BodyTooLarge, OCPIError):
            self._metrics.failed(route.platform.id)  # it lives, but what it says is of no use
        except (http.ClientError, ValueError, TimeoutError) as exc:
            if is_asked and not isinstance(exc, http.Saturated):
                self._metrics.failed(route.platform.id)
                self._liveness.suspect(route.platform.id)
        else:
            (self._metrics.failed if answer.verdict == "useless" else self._metrics.answered)(route.platform.id)
            self._liveness.seen(route.platform.id)
            return answer
        return None

    async def _ask_one(
        self, request: web.BaseRequest, message: Message, body: bytes, route: Direct, deadline: float
    ) -> _Answer:
        request_id, url = new_id(), route.url
        assert route.platform.authorization is not None  # find_emsps leaves such platforms out
        fields = onward_headers(
            request.headers,
            authorization=route.platform.authorization,
            sender=route.sender,
            receiver=route.receiver,
            ids=MessageIDs(request_id, message.ids.correlation),
            has_body=bool(body),
            further=self._further_headers,
        )
        started = time.perf_counter()
        for may_follow in (True, False):
            onward = http.Request(message.operation.method, url, fields, body or None)
            left = deadline - asyncio.get_running_loop().time()
            async with self._client.send(onward, key=route.platform.id, lane="urgent", timeout=left) as answer:
                redirected = redirected_to(answer, url) if may_follow else None
                if redirected is not None:
                    url = redirected
                    continue
                seconds = time.perf_counter() - started
                held = await self._read(answer, left)
                return _Answer(
                    route=route,
                    request_id=request_id,
                    http_status=answer.status,
                    status_code=read_status_code(held),
                    body=held,
                    headers=relayed_headers(answer.headers),
                    verdict=read_verdict(answer.status, held),
                    seconds=seconds,
                )
        raise AssertionError("a second redirect is an answer")

    async def _read(self, answer: http.Response, seconds: float) -> bytes:
        """Read an answer whole. Raises BodyTooLarge, ClientError and OCPIError."""
        chunks: AsyncIterator[bytes] = aiter(answer)
        coding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
        if coding not in ("identity", ""):
            chunks = decode(chunks, coding, self._settings.max_body)
        held, is_whole = await hold(chunks, self._settings.held_body, seconds)
        if not is_whole:
            raise http.BodyTooLarge
        return held.removeprefix(BOM)


async def _first_that_knows(calls: Collection[asyncio.Task[_Answer | None]]) -> _Answer:
    """Give the first AuthorizationInfo, else the first wish for more information."""
    wants_more: _Answer | None = None
    unknown = 0
    for call in asyncio.as_completed(calls):
        answer = await call
        if answer is None:
            continue
        if answer.verdict == "knows":
            return answer
        if answer.verdict == "wants_more":
            wants_more = wants_more or answer
        unknown += answer.verdict == "unknown"
    if wants_more is not None:
        return wants_more
    if not unknown:
        raise ReceiverNotConnected(f"None of the {len(calls)} eMSPs that could know this token gave an answer in time.")
    without = len(calls) - unknown
    raise UnknownToken(f"No eMSP knows this token; {without} gave no usable answer in time." if without else None)
