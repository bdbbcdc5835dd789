"""Direct forwarding: one request to one platform, its answer back byte for byte, but for the URLs that are ours."""

import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeVar

import orjson
import structlog
from aiohttp import web

from config.ocpi import (
    InterfaceRole,
    InvalidJSON,
    NotFound,
    OCPIError,
    Overloaded,
    PartyID,
    ReceiverNotConnected,
    ReceiverTimeout,
    RoutingFailed,
    TooLarge,
    is_success,
)
from config.operations import Operation
from config.settings import Settings
from hub import client as http
from hub.aliases import Aliases
from hub.bodies import BOM, Body, read_body
from hub.client_info import ClientInfos
from hub.coding import decode, is_accepted
from hub.ids import new_id
from hub.liveness import Liveness
from hub.metrics import Metrics
from hub.mirror import Mirror
from hub.own_links import OwnLinks
from hub.redirects import redirected_to
from hub.streaming import Given, ResponseSink, Waiting, chain, hold, stream
from hub.trace import Trace
from parties.model import Platform
from routing.aliases import Alias, split_target
from routing.answers import (
    is_json,
    judge,
    read_status_code,
    starts_like_envelope,
    starts_like_json,
)
from routing.headers import answer_headers, check_forward_headers, onward_headers, relayed_headers
from routing.links import (
    check_response_url,
    has_parameter,
    member_spans,
    put_response_url,
    replace_member,
    take_response_url,
)
from routing.message import Headers, Message, MessageIDs
from routing.objects import Flow, Push, make_push
from routing.resolve import Direct

log = structlog.get_logger()

_DAY = 86400
HOLD_IDLE_TIMEOUTS = 10
"""After the head there is no total limit but this one, which only an answer that drips on purpose can reach."""
_ERRORS: dict[type[http.ClientError], type[OCPIError]] = {
    http.ConnectFailed: ReceiverNotConnected,
    http.NoAnswer: ReceiverTimeout,
    http.ClosedUnanswered: ReceiverTimeout,  # T-048: once the request is written, it may have been carried out
    http.AnswerBroken: RoutingFailed,
    http.BodyBroken: ReceiverTimeout,
    http.BodyTooLarge: RoutingFailed,
    http.Saturated: Overloaded,
}


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Forward:
    """One request on its way to one platform."""

    message: Message
    route: Direct
    pushed: Body
    """Its body as it came."""
    headers: Headers
    """As they came."""
    trace: Trace


class Relay:
    """Carries direct routes out."""

    def __init__(
        self,
        settings: Settings,
        client: http.Client,
        aliases: Aliases,
        metrics: Metrics,
        mirror: Mirror,
        client_infos: ClientInfos,
        liveness: Liveness,
    ) -> None:
        self._settings = settings
        self._client = client
        self._aliases = aliases
        self._own_links = OwnLinks(aliases, settings.link_days)
        self._metrics = metrics
        self._mirror = mirror
        self._client_infos = client_infos
        self._liveness = liveness
        self.further_headers = check_forward_headers(settings.forward_headers)
        """Header fields that go to the receiver beside OCPI's own."""

    async def relay(
        self, request: web.BaseRequest, message: Message, route: Direct, trace: Trace, body: Body | None = None
    ) -> web.StreamResponse:
        """Forward a request and give the receiver's answer. Raises OCPIError where the hub answers instead.

        `body`: what `read_body` gave, where the route was found from it.
        """
        trace.receiver_platform_id = route.platform.id
        await self.introduce(route, trace)
        if body is None:
            body = await self.read_body(request, message, trace)
        pushed = body
        route, body = await self._put_own_response_url(message, route, body)
        forward = Forward(message, route, pushed, request.headers, trace)

        async def give(given: Given) -> web.StreamResponse:
            if given.rest is None:
                return web.Response(status=given.status, body=given.held, headers=given.fields)
            sink = ResponseSink(request)
            with Waiting(trace):
                await stream(sink, given, given.rest, trace, self._settings.idle_timeout)
            return sink.response

        trace.onward_request_id = new_id()
        return await self.carry(forward, self.make_onward(forward, body), give)

    async def introduce(self, route: Direct, trace: Trace) -> None:
        """Let the receiver hear of a new sender before its first message."""
        with Waiting(trace):
            await self._client_infos.introduce(route.sender, route.platform)

    def make_onward(self, forward: Forward, body: Body) -> http.Request:
        """Give the request to the receiver."""
        message, route = forward.message, forward.route
        has_body = bool(body.held)
        fields = onward_headers(
            forward.headers,
            authorization=_authorization(route.platform, route.receiver),
            sender=route.sender,
            receiver=route.receiver,
            ids=MessageIDs(forward.trace.onward_request_id, message.ids.correlation),
            has_body=has_body,
            further=self.further_headers,
        )
        content: bytes | AsyncIterator[bytes] | None = body.stream or (body.held if has_body else None)
        return http.Request(message.operation.method, route.url, fields, content, body.length)

    async def carry(
        self,
        forward: Forward,
        onward: http.Request,
        give: Callable[[Given], Awaitable[T]],
        begun: http.Held | None = None,
    ) -> T:
        """Send a request and give the receiver's answer on. Raises OCPIError where the hub answers instead.

        `begun`: what has been sent already, whatever became of it.
        """
        trace, route = forward.trace, forward.route
        operation = forward.message.operation
        timeout = self.timeout(operation)
        started = time.perf_counter()
        try:
            for may_follow in (not isinstance(onward.body, AsyncIterator), False):
                if begun is not None:
                    exchange: http.Exchange = begun.resumed(onward)
                else:
                    exchange = self._client.send(
                        onward,
                        key=route.platform.id,
                        lane="urgent" if operation.urgent else "ordinary",
                        timeout=timeout,
                    )
                async with exchange as answer:
                    trace.receiver_seconds = answer.elapsed_head if begun else time.perf_counter() - started
                    trace.waited_seconds += trace.receiver_seconds
                    begun, started = None, time.perf_counter()
                    trace.receiver_http_status = answer.status
                    redirected = redirected_to(answer, onward.url) if may_follow else None
                    if redirected is not None:
                        onward = replace(onward, url=redirected)
                        continue
                    try:
                        given = await self._judge(forward, onward.url, answer)
                        result = await give(given)
                    except OCPIError as exc:
                        self.note(route.platform, is_usable=isinstance(exc, NotFound))
                        raise
                    self.note(route.platform, is_usable=trace.outcome != "broken_off")
                    self.take_in(forward)
                    return result
            raise AssertionError("a second redirect is an answer")
        except ValueError as exc:  # what the client would not put on the wire
            raise RoutingFailed("The request has something in it that cannot be forwarded.") from exc
        except http.ClientError as exc:
            if trace.receiver_http_status is None:
                trace.receiver_seconds = time.perf_counter() - (begun.started if begun else started)
                trace.waited_seconds += trace.receiver_seconds
            kind = next(ours for theirs, ours in _ERRORS.items() if isinstance(exc, theirs))
            if kind is not Overloaded:
                self._metrics.failed(route.platform.id)
            if kind in (ReceiverNotConnected, ReceiverTimeout):
                self._liveness.suspect(route.platform.id)
            trace.problem = str(exc)
            raise kind(_explain(kind, route.receiver)) from exc

    def timeout(self, operation: Operation) -> float:
        """Give how many seconds the receiver has for its answer's head."""
        return self._settings.authorize_timeout if operation.authorize else self._settings.forward_timeout

    def note(self, platform: Platform, *, is_usable: bool) -> None:
        """Note how a request to a platform ended."""
        (self._metrics.answered if is_usable else self._metrics.failed)(platform.id)
        if is_usable:  # what a proxy in front of it says is no sign of its life
            self._liveness.seen(platform.id)

    def mirrors(self, operation: Operation) -> bool:
        """Whether `take_in` does anything with requests of this operation."""
        return operation.mirrors != "no" and self._mirror.keeps(operation.module)

    def take_in(self, forward: Forward) -> None:
        """Let the mirror have what the receiver accepted; what is too large to be held is only passed on."""
        message, body = forward.message, forward.pushed
        if not self.mirrors(message.operation) or not is_success(forward.trace.status_code) or body.stream is not None:
            return
        self._mirror.take_addressed(make_push(message, body.held, datetime.now(UTC), forward.route.receiver))

    def take_in_held(self, flow: Flow, path: str, query: str, body: bytes, status_code: int | None) -> None:
        """Let the mirror have a push that it keeps, if the receiver accepted it."""
        if is_success(status_code):
            self._mirror.take_addressed(Push(flow, path, query, body, datetime.now(UTC)))

    async def read_body(self, request: web.BaseRequest, message: Message, trace: Trace) -> Body:
        """Take a request's body in: held and checked to be JSON, or ready to be streamed. Raises OCPIError."""
        with Waiting(trace):
            return await self._read_body(request, message)

    async def _read_body(self, request: web.BaseRequest, message: Message) -> Body:
        operation, settings = message.operation, self._settings
        if operation.body == "none":
            return Body()
        hold = settings.held_body
        if operation.mirrors == "object":
            hold = min(max(hold, settings.shared_body), settings.max_body)
        body = await read_body(request, hold=hold, maximum=settings.max_body, idle_seconds=settings.idle_timeout)
        if not body.held and operation.body == "optional":
            return body  # authorize may come without (T-044)
        if body.stream is not None:
            if operation.response_url == "body":
                raise TooLarge(f"A {operation.label} has at most {settings.held_body} bytes here.")
            if not starts_like_json(body.held):
                raise InvalidJSON
        elif not is_json(body.held):
            raise InvalidJSON
        return body

    async def _put_own_response_url(self, message: Message, route: Direct, body: Body) -> tuple[Direct, Body]:
        """Let the receiver send its result to us (R-227), in the body or in the query."""
        where = message.operation.response_url
        query = route.url.partition("?")[2]
        if where == "query" or (where == "if_present" and has_parameter(query, "response_url")):
            theirs, rest = take_response_url(query)
            ours = await self._stand_in(check_response_url(theirs, message.platform), message, route, body)
            url = f"{route.url.partition('?')[0]}?{put_response_url(rest, ours)}"
            return Direct(route.platform, url, route.receiver, route.sender), body
        if where == "body" or (
            where == "if_present" and body.stream is None and member_spans(body.held, "response_url")
        ):
            content = orjson.loads(body.held)
            value = content.get("response_url") if isinstance(content, dict) else None
            ours = await self._stand_in(check_response_url(value, message.platform), message, route, body)
            return route, Body(replace_member(body.held, "response_url", ours))
        return route, body

    async def _stand_in(self, url: str, message: Message, route: Direct, body: Body) -> str:
        origin, path = split_target(url)
        settings = self._settings
        expires = time.time()
        if message.operation.reserves:
            expires = max(expires, _expiry_date(body.held))
        alias = Alias(
            kind="result",
            user_platform=route.platform.id,
            user=route.receiver,
            target_platform=message.platform.id,
            target=route.sender,
            expires=int(expires + settings.result_hours * 3600),
            origin=origin,
            path=path,
            salt=int.from_bytes(os.urandom(2)),
        )
        interface: InterfaceRole = "SENDER" if message.operation.interface == "RECEIVER" else "RECEIVER"
        return await self._aliases.give_url(alias, message.target.version, interface, message.operation.module)

    async def _judge(self, forward: Forward, url: str, answer: http.Response) -> Given:
        """Check the receiver's answer and give what the requester gets. Raises OCPIError."""
        message, route, trace = forward.message, forward.route, forward.trace
        fields = answer_headers(message.ids, to=message.sender, sender=message.receiver or route.receiver)
        chunks: AsyncIterator[bytes] = aiter(answer)
        length = answer.content_length
        coding = (answer.headers.get("Content-Encoding") or "identity").strip().lower()
        coded = coding not in ("identity", "")
        passes_coded = coded and is_accepted(coding, forward.headers.get("Accept-Encoding"))
        if coded and not passes_coded:
            chunks, length = decode(chunks, coding, self._settings.max_body), None
        in_time = HOLD_IDLE_TIMEOUTS * self._settings.idle_timeout
        with Waiting(trace):
            held, is_whole = await hold(chunks, self._settings.held_body, in_time)
        if passes_coded and not is_whole:  # too long to be looked into as it is
            chunks, passes_coded = decode(chain(held, chunks), coding, self._settings.max_body), False
            length = None
            held, is_whole = await hold(chunks, self._settings.held_body, in_time)
        if is_whole and not passes_coded:
            held = held.removeprefix(BOM)  # T-040: no JSON parser has to take it
        plain = held
        if passes_coded:
            fields["Content-Encoding"] = coding
            undone = decode(chain(held), coding, self._settings.max_body)
            plain, is_whole = await hold(undone, self._settings.max_body, in_time)
        status_code = read_status_code(plain) if is_whole else None
        trace.receiver_status_code = status_code
        problem = judge(answer.status, is_envelope=status_code is not None if is_whole else starts_like_envelope(plain))
        if problem is not None:
            if answer.status in (401, 403, 407):
                log.error(
                    "a platform refuses the hub's credentials token",
                    action="token_refused",
                    platform=route.platform.id,
                    name=str(route.platform),
                    http_status=answer.status,
                )
            raise problem
        trace.status_code = status_code
        fields |= relayed_headers(answer.headers)
        await self._own_links.put(message, route, url, answer, status_code, fields)
        if is_whole:
            return Given(answer.status, fields, held)
        return Given(answer.status, fields, held, chunks, length)


def _authorization(platform: Platform, receiver: PartyID) -> str:
    if platform.authorization is None:
        raise ReceiverNotConnected(f"{receiver} is not connected to this hub.")
    return platform.authorization


def _explain(kind: type[OCPIError], receiver: PartyID) -> str | None:
    if kind is ReceiverNotConnected:
        return f"{receiver} could not be reached."
    if kind is ReceiverTimeout:
        return f"{receiver} did not answer in time. It may have carried the request out."
    if kind is RoutingFailed:
        return f"{receiver} gave an answer that is no HTTP or too large."
    return None


def _expiry_date(body: bytes) -> float:
    """Give a RESERVE_NOW's expiry_date in Unix seconds; 0 when it cannot be read (the receiver will judge it)."""
    try:
        moment = datetime.fromisoformat(orjson.loads(body)["expiry_date"])
        return min(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp(), time.time() + 366 * _DAY)
    except (KeyError, TypeError, ValueError):
        return 0.0
