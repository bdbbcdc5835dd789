"""One line for each request: the facts an operator needs, and never a token or a body."""

import asyncio
import io
import json

import orjson
import pytest

from config.ocpi import PartyID
from hub.simulator import SimulatedPlatform
from hub.trace import RequestLog, Trace
from tests.hubs import HubOnTest, registered
from tests.waiting import until

FORWARDED = {
    "timestamp",
    "level",
    "event",
    "action",
    "operation",
    "method",
    "scenario",
    "outcome",
    "from",
    "to",
    "platform",
    "receiver_platform",
    "http_status",
    "status_code",
    "receiver_http_status",
    "receiver_status_code",
    "ms",
    "receiver_ms",
    "request_id",
    "onward_request_id",
    "correlation_id",
}


def a_trace(**facts: object) -> Trace:
    """A forwarded request, with these facts."""
    trace = Trace("PUT")
    usual: dict[str, object] = {
        "operation": "sessions.put_session",
        "scenario": "direct",
        "platform_id": 1,
        "receiver_platform_id": 2,
        "sender": PartyID("BE", "BEC"),
        "receiver": PartyID("DE", "TNM"),
        "request_id": "r-1",
        "onward_request_id": "r-2",
        "correlation_id": "c-1",
        "receiver_http_status": 200,
        "receiver_status_code": 1000,
        "receiver_seconds": 0.01234567,
        "http_status": 200,
        "status_code": 1000,
        "seconds": 0.0145678,
    }
    for name, value in (usual | facts).items():
        setattr(trace, name, value)
    return trace


def line_of(trace: Trace, *, as_json: bool) -> str:
    stream = io.StringIO()
    log = RequestLog(as_json=as_json, stream=stream)
    log.write(trace)
    assert stream.getvalue() == ""
    log.flush()
    return stream.getvalue()


async def lines_of(hub: HubOnTest, number: int) -> list[dict[str, object]]:
    """Give the hub's last lines once there are so many."""
    lines = await until(lambda: len(found := hub.log.getvalue().splitlines()) >= number and found)
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"request_id": 'a"b'},
        {"request_id": "a\\b"},
        {"request_id": ""},
        {"correlation_id": ""},
        {"correlation_id": 'x","outcome":"y'},
        {"platform_id": None},
        {"receiver_platform_id": None},
        {"problem": "It broke off.", "outcome": "broken_off"},
        {"seconds": 0.0, "receiver_seconds": 0.00001},
        {"seconds": 12345.678, "receiver_seconds": 3.0},
        {"sender": PartyID('B"', "BEC")},
        {"receiver": None},
        {"status_code": None},
        {"receiver_status_code": 2000, "status_code": 2000, "outcome": "receiver_error"},
    ],
)
def test_the_quickly_written_line_is_the_one_that_a_json_encoder_writes(facts: dict[str, object]) -> None:
    trace = a_trace(**facts)
    line = line_of(trace, as_json=True)
    timestamp = json.loads(line)["timestamp"]
    expected = {"timestamp": timestamp, "level": "info", "event": "request"} | trace.fields()
    assert line.encode() == orjson.dumps(expected) + b"\n"


def test_a_json_line_has_every_fact_of_a_forwarded_request() -> None:
    text = line_of(a_trace(), as_json=True)
    assert text.endswith("}\n")
    facts = json.loads(text)
    assert set(facts) == FORWARDED
    assert facts.pop("timestamp").endswith("Z")
    assert facts == {
        "level": "info",
        "event": "request",
        "action": "forwarded",
        "operation": "sessions.put_session",
        "method": "PUT",
        "scenario": "direct",
        "outcome": "ok",
        "from": "BE-BEC",
        "to": "DE-TNM",
        "platform": 1,
        "receiver_platform": 2,
        "http_status": 200,
        "status_code": 1000,
        "receiver_http_status": 200,
        "receiver_status_code": 1000,
        "ms": 14.57,
        "receiver_ms": 12.35,
        "request_id": "r-1",
        "onward_request_id": "r-2",
        "correlation_id": "c-1",
    }


def test_what_is_not_known_is_left_out() -> None:
    trace = Trace("GET")
    trace.http_status, trace.status_code, trace.problem = 401, 2000, "Unknown."
    facts = json.loads(line_of(trace, as_json=True))
    assert set(facts) == {
        "timestamp",
        "level",
        "event",
        "action",
        "operation",
        "method",
        "scenario",
        "outcome",
        "http_status",
        "status_code",
        "ms",
        "problem",
    }
    assert facts["action"] == "answered"


def test_a_readable_line_reads_from_left_to_right() -> None:
    text = line_of(a_trace(), as_json=False)
    assert text[2] == text[5] == ":"
    assert text[10:].split() == [
        *("BE-BEC", "->", "DE-TNM", "PUT", "sessions.put_session", "200", "1000"),
        *("14.6", "ms", "(receiver", "12.3)", "[c-1]"),
    ]


def test_a_readable_line_tells_why_the_hub_answered_itself() -> None:
    refused = a_trace(
        receiver=None, sender=None, receiver_http_status=None, status_code=None, http_status=401, problem="Who is it?"
    )
    text = line_of(refused, as_json=False)
    assert "? -> hub" in text
    assert " 401 - " in text
    assert "  Who is it?  [c-1]" in text


@pytest.mark.parametrize("as_json", [True, False])
def test_nothing_that_a_member_sends_makes_a_second_line(as_json: bool) -> None:
    trace = a_trace(correlation_id='c\n{"level": "error"}\r\x1b[31m', problem="one\ntwo\u2028three")
    line = line_of(trace, as_json=as_json)
    assert line.count("\n") == 1
    assert not set(line.removesuffix("\n")) & {"\r", "\x1b", "\n"}


async def test_lines_are_written_soon_and_the_last_ones_at_the_end() -> None:
    stream = io.StringIO()
    log = RequestLog(as_json=True, stream=stream)
    task = asyncio.create_task(log.run())
    log.write(a_trace())
    await until(stream.getvalue, "it is written", seconds=1)
    log.write(a_trace())
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert len(stream.getvalue().splitlines()) == 2


def test_many_lines_are_written_without_waiting() -> None:
    stream = io.StringIO()
    log = RequestLog(as_json=True, stream=stream)
    for _ in range(1000):
        log.write(a_trace())
    assert len(stream.getvalue().splitlines()) == 1000


async def test_each_request_has_one_line_with_what_became_of_it(hub: HubOnTest) -> None:
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(hub, *platforms) as (cpo, emsp):
        known = len(await lines_of(hub, 6))
        assert known == 6  # versions, details and credentials of both
        ids = {"X-Request-ID": "asked", "X-Correlation-ID": "talk"}
        await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=ids)
        await emsp.call("GET", "locations", "SENDER", to="XX-NOT")
        await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers={"Authorization": "Token nobody"})
        await emsp.call("GET", "locations", "SENDER", "nothing", to="BE-BEC")
        cpo.misbehave("close")
        await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
        ok, unknown, refused, missing, closed = (await lines_of(hub, known + 5))[known:]

        assert set(ok) == FORWARDED
        assert (ok["request_id"], ok["correlation_id"]) == ("asked", "talk")
        assert ok["onward_request_id"] == cpo.received[0].headers["X-Request-ID"]
        assert (ok["operation"], ok["from"], ok["to"]) == ("locations.list", "DE-TNM", "BE-BEC")
        assert float(str(ok["ms"])) >= float(str(ok["receiver_ms"])) > 0
        assert (unknown["outcome"], unknown["status_code"], unknown["action"]) == ("4001", 4001, "answered")
        assert "XX-NOT" in str(unknown["problem"])
        assert (refused["outcome"], refused["http_status"]) == ("refused", 401)
        assert "platform" not in refused
        assert missing["outcome"] == "receiver_error"
        assert (missing["http_status"], missing["receiver_http_status"]) == (404, 404)
        assert (closed["outcome"], closed["status_code"]) == ("4002", 4002)
        assert "receiver_http_status" not in closed


async def test_no_line_holds_a_token_or_a_body(hub: HubOnTest) -> None:
    async with registered(hub, SimulatedPlatform("Bec", [("BE-BEC", "CPO")])) as (cpo,):
        await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="XX-NOT", body={"id": "very private"})
        lines = await lines_of(hub, 4)
        text = json.dumps(lines)
        for secret in (cpo.hub_token, cpo.own_token, "very private"):
            assert str(secret) not in text
