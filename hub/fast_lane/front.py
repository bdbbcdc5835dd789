"""One connection of a member: its requests read, forwarded and answered without a task for each.

Only a request that was read whole, is plainly well-formed and has a plan is served here. Until then nothing has been
done, and the bytes can still be handed over. From then on this connection's requests end in `_close`, whatever happens.
"""

import asyncio
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING

import structlog

from hub import client as http
from hub.answer_head import AnswerHead
from hub.bodies import BOM, Body
from hub.direct import Forward
from hub.envelope import Answer
from hub.fast_lane.plain import Fields, may_become_plain
from hub.fast_lane.plans import Asked
from hub.heads import UNKNOWN
from hub.ids import new_id
from hub.listener import has_unread
from hub.streaming import Given, Waiting, stream
from hub.trace import Trace
from routing.answers import is_json, judge, read_status_code
from routing.message import Message, MessageIDs
from routing.resolve import Direct, join

if TYPE_CHECKING:
    from hub.fast_lane.lane import FastLane

log = structlog.get_logger()

WAITING_MAX = 64 * 1024
"""Bytes taken in while a request is being answered; then the requester waits."""
JOINED_MAX = 16 * 1024
"""Longest body, in bytes, that is written in one piece with its head."""
_REASONS = {status.value: status.phrase for status in HTTPStatus}


class Front(asyncio.Protocol):
    """A connection in the fast lane."""

    __slots__ = (
        "_asked",
        "_began",
        "_body",
        "_chunks",
        "_drained",
        "_head_at",
        "_held",
        "_ids",
        "_is_busy",
        "_is_chunked",
        "_is_last",
        "_is_paused",
        "_is_reading_paused",
        "_lane",
        "_layout",
        "_missing",
        "_passed_on",
        "_since",
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
        self._layout = UNKNOWN
        """Of the latest head."""
        self._since = lane.loop.time()
        """When it was answered last, or the first byte of a request came."""
        self._head_at = 0.0
        """When the head of a request was there whose body was not; 0 otherwise."""
        self._began = 0.0
        """When the request was whole."""
        self._asked: Asked
        self._ids = ("", "", "")
        """X-Request-ID, that of the request onward, X-Correlation-ID."""
        self._passed_on: dict[str, str] = {}
        """Header fields that are passed on and change from request to request."""
        self._trace: Trace | None = None
        """Of a request that has become more than usual."""
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
            data, self._waiting, since = self._waiting + data, b"", self._since
            self._read(data)
            if self._waiting:
                self._since = since  # a byte more does not begin the time anew
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
        elif self._asked[0].operation.method == "GET":  # only a GET ends with its requester
            self._break_off()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        self._is_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if not self._is_busy and self._transport is not None and not self._transport.is_closing():
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
        self.abort()
        return self._break_off()

    def _break_off(self) -> asyncio.Task[None] | None:
        """End the request under way; give the task that ends with it, if there is one."""
        if self._task is not None:
            self._task.cancel()
        elif self._held is not None:
            self._let_go()
            self._end_with("left", 499)
        return self._task

    def _let_go(self) -> None:
        """Give up what was sent and nobody has gone on with, and close its connection if the answer is not there."""
        if self._held is not None:
            self._held.end()
            self._held = None

    # A request

    def _wait_with(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) > WAITING_MAX and not self._is_reading_paused and self._transport is not None:
            self._is_reading_paused = True
            self._transport.pause_reading()

    def _read(self, data: bytes, pieces: list[bytes] | None = None) -> None:
        if not self._take(data):
            self._hand_over(pieces or [data])

    def _take(self, data: bytes) -> bool:
        """Serve a request, or wait for the rest of it; False when it is for the ordinary road, and nothing is done."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if may_become_plain(data):
                self._waiting, self._since = data, self._lane.loop.time()
                return True
            return False
        lane = self._lane
        read = lane.heads.read(data, end, self._layout)
        if read is None:
            return False
        head, request_line, values, self._layout = read
        asked = lane.plans.find(head, request_line)
        if asked is None:
            return False
        request_id, correlation_id, length = values[:3]
        size = int(length) if length else 0
        wanted = asked[0].operation.body
        body = data[end + 4 :]
        missing = size - len(body)
        if missing < 0 or size > lane.settings.held_body or (wanted == "none" if size else wanted == "required"):
            return False
        if missing:
            self._chunks, self._missing = [data], missing
            self._since, self._head_at = lane.loop.time(), time.perf_counter()
            return True
        if size:
            body = body.removeprefix(BOM)
            if not is_json(body):
                return False
        self._asked, self._body = asked, body
        passed_on = values[3:-1]
        if passed_on != lane.nothing_passed_on or self._passed_on:
            each = zip(lane.passed_on, passed_on, strict=True)
            self._passed_on = {name: value for name, value in each if value is not None}
        if request_id is None or correlation_id is None:
            fresh = new_id()
            request_id, correlation_id = request_id or fresh, correlation_id or fresh
        self._forward(asked, request_id, correlation_id, body)
        return True

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

    def _forward(self, asked: Asked, request_id: str, correlation_id: str, body: bytes) -> None:
        lane, (plan, path, query) = self._lane, asked
        self._is_busy = True
        self._trace = None
        lane.accounts.open()
        onward_id = new_id()
        self._ids = request_id, onward_id, correlation_id
        self._began = time.perf_counter()
        if not lane.client_infos.is_new(plan.sender):
            passed_on = ""
            if self._passed_on:
                passed_on = "".join([f"{name}: {value}\r\n" for name, value in self._passed_on.items()])
            self._held = lane.client.try_send(
                plan.pool_key,
                plan.operation.method,
                plan.onward(path, query, onward_id, correlation_id, passed_on, body),
                lane=plan.lane,
                timeout=plan.timeout,
                hold=lane.settings.held_body,
                told=self._on_answer,
            )
        if self._held is None:
            self._start()

    def _make_trace(self) -> Trace:
        """Take note of what becomes of the request by itself: it is more than usual."""
        trace = self._trace
        if trace is None:
            began = self._head_at or self._began
            trace = self._trace = self._asked[0].usual.make_trace(self._ids, began)
            trace.waited_seconds = self._began - began
        return trace

    def _end_with(self, outcome: str, http_status: int) -> None:
        trace = self._make_trace()
        trace.outcome, trace.http_status = outcome, http_status
        self._close()

    # Its answer

    def _on_answer(self) -> None:
        """Give the answer on if there is nothing more to it; else go on as the ordinary road does."""
        told_at = time.perf_counter()
        try:
            held = self._held
            assert held is not None
            answer = held.connection
            head, body = answer.head, answer.whole
            if head is None or body is None or head.asks_for_more:
                self._start()
                return
            if body.startswith(BOM):
                body = body.removeprefix(BOM)
            status, status_code = head.status, read_status_code(body)
            if status_code is None or (status != 200 and judge(status, is_envelope=True) is not None):
                self._start()
                return
            self._held = None
            held.end()
            now = time.time()
            self._pass_on(head, body, now)
            lane, plan = self._lane, self._asked[0]
            if plan.are_online:
                lane.liveness.both_seen(plan.platform.id, plan.route.platform.id)
            else:
                lane.liveness.seen(plan.platform.id)
                lane.liveness.seen(plan.route.platform.id)
            if plan.is_mirrored:
                lane.relay.take_in_held(plan.flow, self._asked[1][1:], self._asked[2], self._body, status_code)
            done_at, began = time.perf_counter(), self._head_at or self._began
            own_seconds = held.started - self._began + done_at - told_at
            times = done_at - began, own_seconds, answer.head_at - held.started
        except Exception:
            self._give_up()
            return
        lane.accounts.close_usual(plan.usual, status, status_code, self._ids, times, now)
        self._go_on_or_end()

    def _pass_on(self, head: AnswerHead, body: bytes, now: float) -> None:
        transport = self._transport
        if transport is None:
            return
        plan, (request_id, _, correlation_id), status = self._asked[0], self._ids, head.status
        answer_head = (
            f"HTTP/1.1 {status} {_REASONS.get(status, '')}\r\n{plan.answer_before}{request_id}"
            f"{plan.answer_between}{correlation_id}{plan.answer_after}{head.relayed}"
            f"Content-Length: {len(body)}\r\n{self._end(now)}"
        ).encode("ascii")
        if len(body) < JOINED_MAX:
            transport.write(answer_head + body)
        else:
            transport.writelines((answer_head, body))

    def _give_up(self) -> None:
        log.exception("a request failed in the hub", action="failed", correlation_id=self._ids[2])
        self._let_go()
        self.abort()
        self._end_with("hub_error", 500)

    def _end(self, now: float) -> str:
        self._is_last = self._lane.is_draining
        close = "Connection: close\r\n" if self._is_last else ""
        return f"Date: {_date(now)}\r\n{close}\r\n"

    def _close(self) -> None:
        """Account for the request, and go on with what has come since."""
        self._lane.accounts.close(self._make_trace())
        self._go_on_or_end()

    def _go_on_or_end(self) -> None:
        self._is_busy, self._task, self._head_at = False, None, 0.0
        self._since = self._lane.loop.time()
        if self._transport is None:
            self._lane.fronts.discard(self)
        elif self._transport.is_closing():
            self._waiting = b""
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
        (plan, path, query), trace = self._asked, self._make_trace()
        message = Message(
            operation=plan.operation,
            target=plan.target(path, query),
            platform=plan.platform,
            sender=plan.sender,
            receiver=plan.receiver,
            ids=MessageIDs(trace.request_id, trace.correlation_id),
        )
        route = Direct(
            plan.route.platform,
            join(plan.endpoint, path[1:], query),
            plan.route.receiver,
            plan.route.sender,
        )
        fields = plan.head.fields | {name.lower(): value for name, value in self._passed_on.items()}
        return Forward(message, route, Body(self._body), Fields(fields), trace)

    def _start(self) -> None:
        self._lane.liveness.seen(self._asked[0].platform.id)
        self._task = self._lane.loop.create_task(self._carry())
        self._task.add_done_callback(self._carried)

    def _carried(self, task: asyncio.Task[None]) -> None:
        """Account for the request, also if its task was cancelled before it began."""
        self._let_go()
        trace = self._make_trace()
        if task.cancelled() and trace.outcome == "ok":
            trace.outcome, trace.http_status = "left", 499
        self._close()

    async def _carry(self) -> None:
        trace = self._make_trace()
        ids = MessageIDs(trace.request_id, trace.correlation_id)
        refused = await self._lane.accounts.answered(self._relay(), ids, trace, lambda answer: answer)
        if refused is not None:
            self._write(Given(refused.status, refused.fields, refused.body))

    async def _relay(self) -> Answer | None:
        relay, forward = self._lane.relay, self._make_forward()
        begun, self._held = self._held, None
        if begun is None:
            await relay.introduce(forward.route, forward.trace)
        await relay.carry(forward, relay.make_onward(forward, forward.pushed), self._give, begun)
        return None

    async def _give(self, given: Given) -> None:
        trace = self._make_trace()
        trace.http_status = given.status
        if given.rest is None:
            self._write(given)
        else:
            with Waiting(trace):
                await stream(self, given, given.rest, trace, self._lane.settings.idle_timeout)

    def _write(self, given: Given) -> None:
        if self._transport is not None:
            self._transport.writelines((self._head(given, f"Content-Length: {len(given.held)}\r\n"), given.held))

    def _head(self, given: Given, framing: str) -> bytes:
        fields = "".join([f"{name}: {value}\r\n" for name, value in given.fields.items()])
        end = self._end(time.time())
        return f"HTTP/1.1 {given.status} {_REASONS.get(given.status, '')}\r\n{fields}{framing}{end}".encode()

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
            if self._transport is None:
                raise ConnectionResetError

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


def _date(now: float) -> str:
    """Give the Date of an answer; made once a second."""
    global _second, _shown
    second = int(now)
    if second != _second:
        _second, _shown = second, formatdate(second, usegmt=True)
    return _shown
