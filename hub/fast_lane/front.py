"""One connection of a member: its requests read, forwarded and answered without a task for each.

Only a request that was read whole, is plainly well-formed and has a plan is served here. Until then nothing has been
done, and the bytes can still be handed over. From then on this connection's requests end in `_close`, whatever happens.
"""

import asyncio
import contextlib
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from hub import client as http
from hub.bodies import BOM, Body
from hub.direct import Forward
from hub.envelope import Answer
from hub.fast_lane.plain import Fields, Plain, may_become_plain, read_plain
from hub.fast_lane.plans import Plan
from hub.ids import new_id
from hub.listener import has_unread
from hub.streaming import Given, Waiting, stream
from hub.trace import Trace
from routing.answers import is_json, judge, read_status_code
from routing.headers import relayed_headers
from routing.message import Message, MessageIDs
from routing.resolve import Direct, join

if TYPE_CHECKING:
    from hub.fast_lane.lane import FastLane

log = structlog.get_logger()

WAITING_MAX = 64 * 1024
"""Bytes taken in while a request is being answered; then the requester waits."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_ODD = frozenset({b"content-encoding", b"link", b"location"})
"""Header fields of an answer that ask for more than passing it on."""
_RELAYED = frozenset({b"x-total-count", b"x-limit", b"retry-after"})


class Front(asyncio.Protocol):
    """A connection in the fast lane."""

    __slots__ = (
        "_body",
        "_chunks",
        "_drained",
        "_held",
        "_is_busy",
        "_is_chunked",
        "_is_last",
        "_is_paused",
        "_is_reading_paused",
        "_lane",
        "_missing",
        "_plain",
        "_plan",
        "_query",
        "_since",
        "_started",
        "_tail",
        "_task",
        "_trace",
        "_transport",
        "_waiting",
    )

    def __init__(self, lane: "FastLane") -> None:
        self._lane = lane
        self._transport: asyncio.Transport | None = None
        self._waiting = b""
        """Bytes that have come and are not understood yet."""
        self._chunks: list[bytes] | None = None
        """The pieces of a request whose body is not complete."""
        self._missing = 0
        self._is_busy = self._is_paused = self._is_reading_paused = self._is_chunked = self._is_last = False
        self._drained: asyncio.Future[None] | None = None
        self._held: http.Held | None = None
        self._task: asyncio.Task[None] | None = None
        self._since = lane.loop.time()
        """When it was answered last, or the first byte of a request came."""
        self._started = 0.0
        self._plan: Plan
        self._plain: Plain
        self._trace: Trace
        self._tail = self._query = ""
        self._body = b""

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._lane.fronts.add(self)

    def data_received(self, data: bytes) -> None:
        if self._is_busy or self._is_paused:
            self._wait_with(data)
        elif self._chunks is not None:
            self._chunks.append(data)
            self._missing -= len(data)
            if self._missing <= 0:
                chunks, self._chunks = self._chunks, None
                self._read(b"".join(chunks), chunks)
        elif self._waiting:
            data, self._waiting = self._waiting + data, b""
            self._read(data)
        else:
            self._read(data)

    def eof_received(self) -> bool | None:
        if self._is_busy or self._is_paused or not (self._waiting or self._chunks):
            return None
        return self._hand_over(self._chunks or [self._waiting]).eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if not self._is_busy:
            self._lane.fronts.discard(self)
        elif self._plain.method == "GET":  # only a GET ends with its requester
            if self._task is not None:
                self._task.cancel()
            elif self._held is not None:
                self._held.end()  # closes it, since its answer is not complete
                self._held = None
                self._trace.outcome, self._trace.http_status = "left", 499
                self._close()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if not self._is_busy:
            self._go_on()

    # Called by the lane

    def look(self, now: float, arrival_seconds: float, silence_seconds: float) -> None:
        """End silence; let the ordinary road wait for what arrives slowly."""
        if self._is_busy or self._transport is None:
            return
        age = now - self._since
        if age > arrival_seconds and not self._is_paused and (self._waiting or self._chunks):
            self._hand_over(self._chunks or [self._waiting])
        elif age > silence_seconds:
            self._transport.abort()

    def close_if_idle(self, now: float, seconds: float) -> None:
        """Close the connection if nothing is under way and nothing was for so many seconds."""
        is_idle = not (self._is_busy or self._waiting or self._chunks)
        if is_idle and now - self._since >= seconds and self._transport is not None and not has_unread(self._transport):
            self._transport.close()

    def cut_off(self) -> asyncio.Task[None] | None:
        """End the connection and what is under way; give the task that ends with it, if there is one."""
        if self._transport is not None:
            self._transport.abort()
        if self._task is not None:
            self._task.cancel()
        return self._task

    # A request

    def _wait_with(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > WAITING_MAX and not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _read(self, data: bytes, pieces: list[bytes] | None = None) -> None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if may_become_plain(data):
                self._waiting, self._since = data, self._lane.loop.time()
            else:
                self._hand_over(pieces or [data])
            return
        plain = read_plain(data, end)
        found = None if plain is None else self._lane.plans.find(plain)
        if plain is None or found is None:
            self._hand_over(pieces or [data])
            return
        plan, self._tail, self._query = found
        wanted, length = plan.operation.body, plain.length
        missing = end + 4 + length - len(data)
        if (
            missing < 0
            or length > self._lane.settings.held_body
            or (length if wanted == "none" else not length and wanted == "required")
        ):
            self._hand_over(pieces or [data])
            return
        if missing:
            self._chunks, self._missing = [data], missing
            self._since, self._started = self._lane.loop.time(), time.perf_counter()
            return
        body = b""
        if length:
            body = data[end + 4 :].removeprefix(BOM)
            if not is_json(body):
                self._hand_over(pieces or [data])
                return
        self._plan, self._plain, self._body = plan, plain, body
        self._forward(plan, plain, body)

    def _hand_over(self, pieces: list[bytes]) -> asyncio.Protocol:
        """Let aiohttp serve the rest of this connection, with the bytes that have come, in the pieces they came in.

        (What is wrong behind a whole head, it refuses after the request or in its place, as they come.)
        """
        transport = self._transport
        assert transport is not None
        self._lane.fronts.discard(self)
        self._transport, self._waiting, self._chunks = None, b"", None
        handler = self._lane.hand_over_to()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        for piece in pieces:
            handler.data_received(piece)
        return handler

    def _forward(self, plan: Plan, plain: Plain, body: bytes) -> None:
        lane = self._lane
        self._is_busy = True
        lane.accounts.open()
        fields = plain.fields
        onward_id = new_id()
        request_id, correlation_id = fields.get("x-request-id"), fields.get("x-correlation-id")
        if request_id is None or correlation_id is None:
            fresh = new_id()
            request_id, correlation_id = request_id or fresh, correlation_id or fresh
        self._trace = trace = Trace(
            plain.method,
            operation=plan.label,
            scenario="direct",
            platform_id=plan.platform.id,
            receiver_platform_id=plan.route.platform.id,
            sender=plan.sender,
            receiver=plan.receiver,
            request_id=request_id,
            correlation_id=correlation_id,
            onward_request_id=onward_id,
        )
        if self._started:
            trace.waited_seconds = trace.started - self._started
            trace.started, self._started = self._started, 0.0
        lane.liveness.seen(plan.platform.id)
        if not lane.client_infos.is_new(plan.sender):
            with contextlib.suppress(ValueError):  # what cannot be put on the wire is refused as on the ordinary road
                self._held = lane.client.try_send(
                    plan.pool_key,
                    plain.method,
                    plan.onward(fields, self._tail, self._query, onward_id, correlation_id, body, lane.more),
                    lane=plan.lane,
                    timeout=lane.relay.timeout(plan.operation),
                    hold=lane.settings.held_body,
                    told=self._on_answer,
                )
        if self._held is None:
            self._start()

    # Its answer

    def _on_answer(self) -> None:
        try:
            self._answer()
        except Exception:
            log.exception("a request failed in the hub", action="failed", correlation_id=self._trace.correlation_id)
            if self._held is not None:
                self._held.end()
                self._held = None
            self._trace.outcome, self._trace.http_status = "hub_error", 500
            self.abort()
            self._close()

    def _answer(self) -> None:
        """Give the answer on if there is nothing more to it; else go on as the ordinary road does."""
        held = self._held
        assert held is not None
        answer = held.connection
        body = answer.whole
        if body is None:
            self._start()
            return
        relayed = False
        for key, _, _ in answer.fields:
            if key in _ODD:
                self._start()
                return
            if key in _RELAYED:
                relayed = True
        body = body.removeprefix(BOM)
        status = answer.status
        status_code = read_status_code(body)
        if judge(status, is_envelope=status_code is not None) is not None:
            self._start()
            return
        trace, plan, lane = self._trace, self._plan, self._lane
        trace.receiver_seconds = answer.head_at - held.started
        trace.waited_seconds += time.perf_counter() - held.started
        trace.receiver_http_status = trace.http_status = status
        trace.receiver_status_code = trace.status_code = status_code
        more = ""
        if relayed:
            more = "".join(
                [f"{name}: {value}\r\n" for name, value in relayed_headers(http.Headers(answer.fields)).items()]
            )
        self._held = None
        held.end()
        lane.relay.note(plan.route.platform, is_usable=True)
        if plan.operation.mirrors != "no":
            lane.relay.take_in(self._make_forward())
        transport = self._transport
        if transport is not None:
            head = (
                f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n{plan.answer_before}{trace.request_id}"
                f"{plan.answer_between}{trace.correlation_id}{plan.answer_after}{more}"
                f"Content-Length: {len(body)}\r\n{self._end()}"
            ).encode("ascii")
            if len(body) < 16384:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
        self._close()

    def _end(self) -> str:
        self._is_last = self._lane.is_draining
        close = "Connection: close\r\n" if self._is_last else ""
        return f"Date: {_date()}\r\n{close}\r\n"

    def _close(self) -> None:
        """Account for the request, and go on with what has come since."""
        self._is_busy, self._task = False, None
        self._since = self._lane.loop.time()
        self._lane.accounts.close(self._trace)
        if self._transport is None:
            self._lane.fronts.discard(self)
        elif self._is_last:
            self._transport.close()
        elif not self._is_paused:
            self._go_on()

    def _go_on(self) -> None:
        if self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = False
            self._transport.resume_reading()
        if self._waiting and self._transport is not None:
            data, self._waiting = self._waiting, b""
            self._read(data)

    # What needs more than that: as on the ordinary road, in a task

    def _make_forward(self) -> Forward:
        plan, plain, trace = self._plan, self._plain, self._trace
        message = Message(
            operation=plan.operation,
            target=plan.target(self._tail, self._query),
            platform=plan.platform,
            sender=plan.sender,
            receiver=plan.receiver,
            ids=MessageIDs(trace.request_id, trace.correlation_id),
        )
        route = Direct(
            plan.route.platform,
            join(plan.endpoint, self._tail, self._query),
            plan.route.receiver,
            plan.route.sender,
        )
        return Forward(message, route, Body(self._body), Fields(plain.fields), trace)

    def _start(self) -> None:
        self._task = self._lane.loop.create_task(self._carry())

    async def _carry(self) -> None:
        trace = self._trace
        ids = MessageIDs(trace.request_id, trace.correlation_id)
        try:
            refused = await self._lane.accounts.answered(self._relay(), ids, trace, lambda answer: answer)
            if refused is not None:
                self._write(Given(refused.status, refused.fields, refused.body))
        finally:
            self._close()

    async def _relay(self) -> Answer | None:
        relay, forward = self._lane.relay, self._make_forward()
        begun, self._held = self._held, None
        if begun is None:
            await relay.introduce(forward.route, forward.trace)
        await relay.carry(forward, relay.make_onward(forward, forward.pushed), self._give, begun)
        return None

    async def _give(self, given: Given) -> None:
        self._trace.http_status = given.status
        if given.rest is None:
            self._write(given)
        else:
            with Waiting(self._trace):
                await stream(self, given, given.rest, self._trace, self._lane.settings.idle_timeout)

    def _write(self, given: Given) -> None:
        if self._transport is not None:
            self._transport.writelines((self._head(given, f"Content-Length: {len(given.held)}\r\n"), given.held))

    def _head(self, given: Given, framing: str) -> bytes:
        fields = "".join([f"{name}: {value}\r\n" for name, value in given.fields.items()])
        return f"HTTP/1.1 {given.status} {_REASONS.get(given.status, '')}\r\n{fields}{framing}{self._end()}".encode()

    # As a Sink of a long answer

    async def begin(self, given: Given) -> None:
        """Send the head."""
        self._is_chunked = given.length is None
        framing = "Transfer-Encoding: chunked\r\n" if self._is_chunked else f"Content-Length: {given.length}\r\n"
        if self._transport is not None:
            self._transport.write(self._head(given, framing))

    async def write(self, chunk: bytes) -> None:
        """Send a piece of the body."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        if self._is_chunked:
            self._transport.writelines((b"%x\r\n" % len(chunk), chunk, b"\r\n"))
        else:
            self._transport.write(chunk)
        if self._is_paused:
            self._drained = self._lane.loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None

    async def end(self) -> None:
        """Send what ends the body."""
        if self._is_chunked and self._transport is not None:
            self._transport.write(b"0\r\n\r\n")

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()


_second = 0
_shown = ""


def _date() -> str:
    """Give the Date of an answer; made once a second."""
    global _second, _shown
    now = int(time.time())
    if now != _second:
        _second, _shown = now, formatdate(now, usegmt=True)
    return _shown
