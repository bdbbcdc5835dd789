"""Calls that the hub makes of its own: broadcast pushes, readings of lists, still-alive checks, ClientInfo.

A circuit breaker stands in for a platform that does not answer. Direct requests never come through here: they say
honestly what became of them.
"""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

from purgatory import AsyncCircuitBreakerFactory
from purgatory.domain.model import ClosedState, OpenedState
from purgatory.service._async.circuitbreaker import AsyncCircuitBreaker

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    PartyID,
    is_success,
)
from config.settings import Settings
from hub import client as http
from hub.bodies import BOM
from hub.ids import new_id
from hub.metrics import Metrics
from hub.redirects import keeping, redirected_to
from parties.model import Platform
from routing.answers import read_status_code

ANSWER_MAX = 64 * 1024 * 1024
"""Largest answer taken whole, in bytes: a page of long locations."""


BODY_SECONDS = 60.0
"""How long the body of an answer may take after its head, however steadily it comes."""


JSON = "application/json"


class PassedOver(Exception):
    """The platform did not answer lately; it is not called until its breaker lets a probe through."""


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """What a platform answered."""

    http_status: int
    status_code: int | None
    """None when it is no OCPI envelope."""
    headers: http.Headers
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is what OCPI calls success: 2xx and 1xxx."""
        return 200 <= self.http_status < 300 and is_success(self.status_code)


class OwnCalls:
    """Sends the hub's own requests."""

    def __init__(self, settings: Settings, client: http.Client, metrics: Metrics) -> None:
        self._settings = settings
        self._client = client
        self._metrics = metrics
        self._breakers = AsyncCircuitBreakerFactory(
            # One failure is enough: whoever is dead costs one short attempt.
            default_threshold=1,
            default_ttl=settings.breaker_time,
            exclude=[asyncio.CancelledError, http.Saturated, http.BodyTooLarge, ValueError],
        )
        self._known: dict[int, AsyncCircuitBreaker] = {}
        """The breakers by platform: asking for one costs as much as sending a request."""
        self._not_closed: set[int] = set()
        """The platforms whose breaker is not closed: looked up for each push, of which there are thousands at once."""
        self.on_answer: Callable[[int], None] = lambda platform_id: None
        """Told of every platform that answered: a sign of life."""
        self.on_silence: Callable[[int], None] = lambda platform_id: None
        """Told of every platform that could not be reached or did not answer in time."""

    async def call(
        self,
        platform: Platform,
        method: str,
        url: str,
        *,
        sender: PartyID | None = None,
        receiver: PartyID | None = None,
        request_id: str | None = None,
        correlation_id: str | None = None,
        content: bytes | None = None,
        content_type: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        guarded: bool = True,
        is_sign: bool = True,
        limit: int = ANSWER_MAX,
        begun: http.Held | None = None,
    ) -> OwnAnswer:
        """Send a request and read its answer whole; routing headers only where sender and receiver are given.

        `guarded`: through the platform's breaker. `is_sign`: its answer is a sign of life, its silence of the opposite.
        `begun`: it was sent already, by `begin`, and told.
        A redirect to the same origin is followed once. Raises PassedOver, http.ClientError, and ValueError for what
        cannot be put on the wire.
        """
        if platform.authorization is None:
            raise PassedOver
        request_id = request_id or new_id()
        fields = write_fields(
            platform.authorization,
            request_id,
            correlation_id or request_id,
            sender=sender,
            receiver=receiver,
            content_type=None if content is None else content_type or JSON,
        )
        request = http.Request(method, url, fields, content)
        seconds = timeout or self._settings.broadcast_timeout
        if not guarded:
            return await self._send(platform, request, seconds, limit, is_sign)
        breaker = self._known.get(platform.id)
        if breaker is None:
            breaker = self._known[platform.id] = await self._breakers.get_breaker(str(platform.id))
        try:
            async with AsyncExitStack() as stack:
                if begun is None:
                    await stack.enter_async_context(breaker)
                else:
                    stack.push_async_exit(breaker)  # it let the request through when that was sent
                return await self._send(platform, request, seconds, limit, is_sign, begun)
        except OpenedState as exc:
            exc.with_traceback(None)  # it is one and the same every time, and would gather all who met it
            raise PassedOver from None
        finally:
            self._look_at(platform.id, breaker)

    def _look_at(self, platform_id: int, breaker: AsyncCircuitBreaker) -> None:
        if breaker.context.state == "closed":
            self._not_closed.discard(platform_id)
        else:
            self._not_closed.add(platform_id)

    def begin(
        self,
        platform_id: int,
        pool_key: http.PoolKey,
        method: str,
        request: bytes,
        *,
        limit: int,
        told: Callable[[], None],
    ) -> http.Held | None:
        """Send a request to a platform through its breaker, if that needs no waiting; else give None.

        `request` is all of it, head and body. Once `told` is called, `end` takes an answer that is plainly there; for
        any other there is `call`.
        """
        if platform_id in self._not_closed:
            return None
        seconds = self._settings.broadcast_timeout
        return self._client.try_send(pool_key, method, request, lane="ordinary", timeout=seconds, hold=limit, told=told)

    def end(self, platform_id: int, held: http.Held, limit: int) -> tuple[int, int | None] | None:
        """Give the HTTP status and the status_code of an answer that is there as a whole; else nothing happens."""
        connection = held.connection
        body, status = connection.whole, connection.status
        if body is None or len(body) > limit or 300 <= status < 400:
            return None
        held.end()
        return status, self._note_answer(platform_id, status, body.removeprefix(BOM), is_sign=True)

    def _note_answer(self, platform_id: int, http_status: int, body: bytes, *, is_sign: bool) -> int | None:
        """Count an answer, and take it for a sign of life; give its status_code."""
        self._metrics.answered(platform_id)
        status_code = read_status_code(body)
        if is_sign and (http_status < 300 or status_code is not None):  # else a proxy in front of it
            self.on_answer(platform_id)
        return status_code

    async def trust(self, platform_id: int) -> None:
        """Let calls through to a platform that is known to be back, whatever its breaker remembers."""
        breaker = await self._breakers.get_breaker(str(platform_id))
        if breaker.context.state != "closed":
            breaker.context.set_state(ClosedState())
        self._look_at(platform_id, breaker)

    async def _send(
        self,
        platform: Platform,
        request: http.Request,
        seconds: float,
        limit: int,
        is_sign: bool,
        begun: http.Held | None = None,
    ) -> OwnAnswer:
        try:
            answer, body = await self._send_once(platform, request, seconds, limit, begun)
            target = redirected_to(answer, request.url, keeping(request.method))
            if target is not None:
                answer, body = await self._send_once(platform, replace(request, url=target), seconds, limit)
        except http.ClientError as exc:
            self._metrics.failed(platform.id)
            if is_sign and isinstance(exc, http.ConnectFailed | http.NoAnswer | http.ClosedUnanswered):
                self.on_silence(platform.id)
            raise
        body = body.removeprefix(BOM)
        status_code = self._note_answer(platform.id, answer.status, body, is_sign=is_sign)
        return OwnAnswer(answer.status, status_code, answer.headers, body)

    async def _send_once(
        self,
        platform: Platform,
        request: http.Request,
        seconds: float,
        limit: int,
        begun: http.Held | None = None,
    ) -> tuple[http.Response, bytes]:
        exchange: http.Exchange
        if begun is None:
            exchange = await self._client.send_held(request, key=platform.id, timeout=seconds)
        else:
            exchange = begun.resumed(request)
        async with exchange as answer:
            body = exchange.whole
            if body is not None and len(body) <= limit:
                return answer, body
            try:
                async with asyncio.timeout(BODY_SECONDS):  # a body may drip in for ever
                    return answer, await answer.read(limit)
            except TimeoutError:
                raise http.BodyBroken("The answer came too slowly.") from None


def write_fields(
    authorization: str,
    request_id: str,
    correlation_id: str,
    *,
    sender: PartyID | None,
    receiver: PartyID | None,
    content_type: str | None,
) -> list[tuple[str, str]]:
    """Give the header fields of a request of the hub's own; a body needs a content type, JSON where it is not plain."""
    fields = [
        (AUTHORIZATION, authorization),
        (REQUEST_ID, request_id),
        (CORRELATION_ID, correlation_id),
        ("Accept-Encoding", "identity"),
    ]
    if receiver is not None:
        fields += [(TO_COUNTRY, receiver.country_code), (TO_PARTY, receiver.party_id)]
    if sender is not None:
        fields += [(FROM_COUNTRY, sender.country_code), (FROM_PARTY, sender.party_id)]
    if content_type is not None:
        is_plain = content_type.isascii() and content_type.isprintable()
        fields.append(("Content-Type", content_type if is_plain else JSON))
    return fields
