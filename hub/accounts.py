"""What every request ends with, whichever lane it took: an answer whatever happened, its counts and its line."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from config.ocpi import OCPIError, Overloaded, PartyID, ServerError
from hub.bodies import RequesterLeft
from hub.envelope import Answer, refusal
from hub.metrics import Metrics
from hub.trace import RequestLog, Trace
from routing.headers import answer_headers
from routing.message import MessageIDs

log = structlog.get_logger()

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
        if trace.outcome == "ok" and trace.status_code is not None and not 1000 <= trace.status_code < 2000:
            trace.outcome = "receiver_error"
        trace.seconds = time.perf_counter() - trace.started
        self._metrics.count(trace)
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
