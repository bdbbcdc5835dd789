"""What became of each request: one structured line, and the facts that the metrics count.

Lines are gathered and written every tenth of a second, since a write per request would cost more than the routing.
"""

import asyncio
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from config.ocpi import PartyID, format_time

FLUSH_SECONDS = 0.1
_FLUSH_LINES = 500


_QUOTES = 68
"""Quotation marks in the line of a request that was forwarded and answered."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Trace:
    """One request on its way, filled in as more becomes known."""

    method: str
    started: float = field(default_factory=time.perf_counter)
    operation: str = "unknown"
    """Module and operation, like `sessions.put_session`."""
    scenario: str = "none"
    """direct, alias (a URL that the hub gave out), open (routed by content), broadcast, get_all, or configuration."""
    platform_id: int | None = None
    """Whose token came with it."""
    receiver_platform_id: int | None = None
    sender: PartyID | None = None
    receiver: PartyID | None = None
    request_id: str = ""
    correlation_id: str = ""
    onward_request_id: str = ""
    receiver_http_status: int | None = None
    receiver_status_code: int | None = None
    receiver_seconds: float = 0.0
    """From handing the request to the client until the head of the answer."""
    http_status: int = 0
    status_code: int | None = None
    outcome: str = "ok"
    problem: str = ""
    """Why the hub answered in the receiver's place, as the requester reads it."""
    seconds: float = 0.0
    waited_seconds: float = 0.0
    """Of those, the time in which the hub waited for the requester's body, the receiver, or either side's reading."""

    def __post_init__(self) -> None:
        if self.method not in _METHODS:
            self.method = "OTHER"  # anybody can make methods up, and each would be a time series of its own

    def fields(self) -> dict[str, Any]:
        """Give the line's facts; never a token or a body."""
        is_forwarded = self.receiver_http_status
        facts = {
            "action": "forwarded" if is_forwarded else "answered",
            "operation": self.operation,
            "method": self.method,
            "scenario": self.scenario,
            "outcome": self.outcome,
            "from": str(self.sender) if self.sender else None,
            "to": str(self.receiver) if self.receiver else None,
            "platform": self.platform_id,
            "receiver_platform": self.receiver_platform_id,
            "http_status": self.http_status,
            "status_code": self.status_code,
            "receiver_http_status": is_forwarded,
            "receiver_status_code": self.receiver_status_code,
            "ms": round(self.seconds * 1000, 2),
            "receiver_ms": round(self.receiver_seconds * 1000, 2) if is_forwarded else None,
            "request_id": self.request_id or None,
            "onward_request_id": self.onward_request_id or None,
            "correlation_id": self.correlation_id or None,
        }
        if self.problem:
            facts["problem"] = self.problem
        if None in facts.values():
            return {name: value for name, value in facts.items() if value is not None}
        return facts


class Form:
    """What is the same in the lines of all requests that are forwarded with one operation from one party to another."""

    __slots__ = ("before", "between")

    def __init__(self, trace: Trace) -> None:
        """Take the common facts from one of them."""
        self.before = (
            f'","level":"info","event":"request","action":"forwarded","operation":"{trace.operation}",'
            f'"method":"{trace.method}","scenario":"{trace.scenario}","outcome":"'
        )
        """Before the outcome."""
        self.between = (
            f'","from":"{trace.sender}","to":"{trace.receiver}","platform":{trace.platform_id},'
            f'"receiver_platform":{trace.receiver_platform_id},"http_status":'
        )
        """From there to the HTTP status."""


class RequestLog:
    """Writes a line per request, as JSON or for reading."""

    def __init__(self, *, as_json: bool, stream: TextIO | None = None) -> None:
        self._as_json = as_json
        self._stream = stream or sys.stdout
        self._lines: list[bytes] = []
        self._second = -1
        self._shown = ""

    def write(self, trace: Trace) -> None:
        """Note what became of a request."""
        if self._as_json:
            facts = {"timestamp": self._timestamp(time.time()), "level": "info", "event": "request", **trace.fields()}
            self._add(orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE))
        else:
            self._add(_readable(trace, datetime.now(UTC)).encode())

    def write_forwarded(
        self,
        form: Form,
        outcome: str,
        status: int,
        status_code: int,
        ids: tuple[str, str, str],
        seconds: float,
        receiver_seconds: float,
        now: float,
    ) -> bool:
        """Note what became of a request as `write` does, at a fifth of its price; whether that was possible.

        `ids` are those of the request, of the request onward, and of all that belongs together; `now` is Unix time.
        """
        if not self._as_json:
            return False
        line = (
            f'{{"timestamp":"{self._timestamp(now)}{form.before}{outcome}{form.between}{status},'
            f'"status_code":{status_code},"receiver_http_status":{status},"receiver_status_code":{status_code},'
            f'"ms":{seconds * 1000:.2f},"receiver_ms":{receiver_seconds * 1000:.2f},"request_id":"{ids[0]}",'
            f'"onward_request_id":"{ids[1]}","correlation_id":"{ids[2]}"}}\n'
        )
        if line.count('"') != _QUOTES or "\\" in line or not line.isascii():
            return False  # a fact has a character that JSON writes differently
        self._add(line.encode("ascii"))
        return True

    def _timestamp(self, now: float) -> str:
        """Give the time as `format_time` writes it, of which all but the milliseconds is made once a second."""
        second = int(now)
        if second != self._second:
            self._second = second
            self._shown = format_time(datetime.fromtimestamp(second, UTC))[:-4]
        return f"{self._shown}{int((now - second) * 1000):03d}Z"

    def note_written(self, facts: str) -> bool:
        """Note a line of which the facts, its event first, are JSON already; False, and nothing is noted, where lines
        are for reading.
        """
        if not self._as_json:
            return False
        self._add(f'{{"timestamp":"{self._timestamp(time.time())}","level":"info",{facts}}}\n'.encode())
        return True

    def note(self, event: str, facts: dict[str, Any], now: datetime) -> None:
        """Note what became of something beside the requests, such as the delivery of a broadcast."""
        if self._as_json:
            head = {"timestamp": format_time(now), "level": "info", "event": event}
            self._add(orjson.dumps(head | facts, option=orjson.OPT_APPEND_NEWLINE))
        else:
            shown = "  ".join(f"{name}={value}" for name, value in facts.items())
            self._add(f"{now:%H:%M:%S}  {event}  {_printable(shown)}\n".encode())

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        if len(self._lines) >= _FLUSH_LINES:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self._lines:
            lines, self._lines = b"".join(self._lines), []
            self._stream.write(lines.decode(errors="replace"))
            self._stream.flush()

    async def run(self) -> None:
        """Write regularly until cancelled."""
        try:
            while True:
                await asyncio.sleep(FLUSH_SECONDS)
                self.flush()
        finally:
            self.flush()


def _readable(trace: Trace, now: datetime) -> str:
    who = f"{trace.sender or '?'} -> {trace.receiver or 'hub'}"
    code = trace.status_code if trace.status_code is not None else "-"
    line = f"{now:%H:%M:%S}  {who:<18} {trace.method:<6} {trace.operation:<32} {trace.http_status} {code:<5}"
    line += f" {trace.seconds * 1000:8.1f} ms"
    if trace.receiver_http_status:
        line += f" (receiver {trace.receiver_seconds * 1000:.1f})"
    if trace.problem:
        line += f"  {trace.problem}"
    return _printable(line.rstrip() + f"  [{trace.correlation_id}]") + "\n"


def _printable(line: str) -> str:
    """Give a line in which nothing that a member wrote ends it, or colours the operator's terminal."""
    return line if line.isprintable() else "".join(each if each.isprintable() else "?" for each in line)
