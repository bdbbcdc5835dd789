"""What every request ends with, whichever lane it took: an answer whatever happened, its counts and its line."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import structlog

from config.ocpi import OCPIError, Overloaded, PartyID, ServerError, is_success
from hub.bodies import RequesterLeft
from hub.envelope import Answer, refusal
from hub.metrics import Metrics, Tally
from hub.trace import Form, RequestLog, Trace
from routing.headers import answer_headers
from routing.message import Message, MessageIDs
from routing.resolve import Direct

log = structlog.get_logger()


class Usual:
    """How requests are accounted for that are forwarded with one operation from one party to another, and answered."""

    __slots__ = ("form", "tally", "trace")

    def __init__(self, trace: Trace, tally: Tally) -> None:
        self.trace = trace
        """What is known of all of them."""
        self.tally = tally
        self.form = Form(trace)

    def make_trace(self, ids: tuple[str, str, str], started: float) -> Trace:
        """Give the trace of one request; `ids` are its own, that of the request onward, and its X-Correlation-ID."""
        request_id, onward_id, correlation_id = ids
        return replace(
            self.trace,
            started=started,
            request_id=request_id,
            onward_request_id=onward_id,
            correlation_id=correlation_id,
        )


_OUTCOMES = {4000: "4000", 4001: "4001", 4002: "4002", 4003: "4003"}
T = TypeVar("T")


class Accounts:
    """Turns failures into answers, and counts and logs what became of each request."""

    def __init__(self, hub: PartyID, metrics: Metrics, request_log: RequestLog) -> None:
        self.hub = hub
        """The hub's own party."""
        self._metrics = metrics
        self._log = request_log

    def open(self) -> None:
        """Note that a request is being worked on."""
        self._metrics.in_flight += 1

    def close(self, trace: Trace) -> None:
        """Note what became of it."""
        self._metrics.in_flight -= 1
        if trace.outcome == "ok" and trace.status_code is not None and not is_success(trace.status_code):
            trace.outcome = "receiver_error"
        trace.seconds = time.perf_counter() - trace.started
        self._metrics.count(trace)
        self._log.write(trace)

    def usual(self, label: str, method: str, message: Message, route: Direct) -> Usual:
        """Make ready to account for requests like this one."""
        trace = Trace(
            method,
            operation=label,
            scenario="direct",
            platform_id=message.platform.id,
            receiver_platform_id=route.platform.id,
            sender=message.sender,
            receiver=message.receiver,
        )
        return Usual(trace, self._metrics.tally(label, method, "direct", message.platform.id, route.platform.id))

    def close_usual(
        self,
        usual: Usual,
        status: int,
        status_code: int,
        ids: tuple[str, str, str],
        times: tuple[float, float, float],
        now: float,
    ) -> None:
        """Note, as `close` does, that a request was forwarded and that its answer was passed on.

        `ids` are those of the request, of the request onward, and of all that belongs together; `times` the seconds
        that it took, those of them that were the hub's own, and those until the head of the receiver's answer; `now`
        is Unix time.
        """
        self._metrics.in_flight -= 1
        seconds, own_seconds, receiver_seconds = times
        outcome = "ok" if is_success(status_code) else "receiver_error"
        usual.tally.count(outcome, own_seconds, receiver_seconds, now)
        if not self._log.write_forwarded(usual.form, outcome, status, status_code, ids, seconds, receiver_seconds, now):
            trace = usual.make_trace(ids, 0.0)
            trace.http_status = trace.receiver_http_status = status
            trace.status_code = trace.receiver_status_code = status_code
            trace.outcome = outcome
            trace.seconds, trace.receiver_seconds = seconds, receiver_seconds
            self._log.write(trace)

    async def answered(self, work: Awaitable[T], ids: MessageIDs, trace: Trace, make: Callable[[Answer], T]) -> T:
        """Give what the work gives, or what is made of the hub's refusal. Raises only CancelledError."""
        try:
            return await work
        except OCPIError as error:
            return make(self._refuse(error, ids, trace))
        except asyncio.CancelledError:
            trace.outcome, trace.http_status = "left", 499
            raise
        except Exception:
            log.exception("a request failed in the hub", action="failed", correlation_id=ids.correlation)
            return make(self._refuse(ServerError("The hub failed.", http_status=500), ids, trace))

    def _refuse(self, error: OCPIError, ids: MessageIDs, trace: Trace) -> Answer:
        """Answer in the receiver's place: FROM = hub, TO = the requester if known (R-103)."""
        trace.http_status, trace.status_code = error.http_status, error.status_code
        trace.problem = trace.problem or error.message
        if isinstance(error, Overloaded):
            trace.outcome = "overloaded"
        elif isinstance(error, RequesterLeft):
            trace.outcome = "left"
        else:
            trace.outcome = _OUTCOMES.get(error.status_code) or (
                "hub_error" if 3000 <= error.status_code < 4000 else "refused"
            )
        functional = trace.scenario not in ("configuration", "none") and trace.sender is not None
        fields = answer_headers(ids, to=trace.sender if functional else None, sender=self.hub if functional else None)
        return refusal(error, fields)
