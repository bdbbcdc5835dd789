"""Deliveries that begin over an idle connection, without a task: they end as others do."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from config.ocpi import CORRELATION_ID, PartyID
from hub.client import Client, Held
from hub.delivery import Deliveries
from hub.simulator import SimulatedPlatform
from hub.simulator.objects import location
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3
from tests.scenarios.test_lanes import count, platform_of, push
from tests.scenarios.villains import Script, read_request, villain
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]
OK = b'{"status_code":1000,"status_message":"Success","timestamp":"2031-01-01T00:00:00Z"}'


def answer(body: bytes = OK, status: str = "200 OK", *fields: bytes) -> bytes:
    head = b"\r\n".join((f"HTTP/1.1 {status}".encode(), b"Content-Length: %d" % len(body), *fields))
    return head + b"\r\n\r\n" + body


WHOLE = answer()
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
ENDS: dict[str, tuple[list[bytes], str, int | None, int]] = {
    # what is answered, what becomes of the delivery, the HTTP status in the log, how many requests that took
    "whole": ([WHOLE], "delivered", 200, 1),
    "in pieces": ([WHOLE[:30], WHOLE[30:100], WHOLE[100:]], "delivered", 200, 1),
    "drips": ([WHOLE[:-40], *(WHOLE[n : n + 1] for n in range(len(WHOLE) - 40, len(WHOLE)))], "delivered", 200, 1),
    "chunked": ([CHUNKED + b"\r\n52\r\n" + OK + b"\r\n0\r\n\r\n"], "delivered", 200, 1),
    "large": ([answer(b'{"data":"' + b"x" * 400_000 + b'","status_code":1000}')], "delivered", 200, 1),
    "too large": ([answer(b'{"data":"' + b"x" * 1_100_000 + b'","status_code":1000}'), b"stay"], "failed", None, 1),
    "refused": ([answer(b'{"status_code":2001}', "400 Bad Request")], "refused", 400, 1),
    "without an envelope": ([answer(b"<html>")], "refused", 200, 1),
    "unavailable": ([answer(b"", "503 Service Unavailable")], "failed", 503, 1),
    "302": ([answer(b"", "302 Found", b"Location: /again")], "refused", 302, 1),
    "307": ([answer(b"", "307 Temporary Redirect", b"Location: /again")], "delivered", 200, 2),
    "307 elsewhere": ([answer(b"", "307 Temporary Redirect", b"Location: http://192.0.2.1/")], "refused", 307, 1),
    "closes": ([b"close"], "failed", None, 1),
    "dies in its head": ([WHOLE[:20], b"close"], "failed", None, 1),
    "dies in its body": ([WHOLE[:-10], b"close"], "failed", None, 1),
    "falls silent": ([b"stay"], "failed", None, 1),
    "falls silent in its body": ([WHOLE[:-10], b"stay"], "failed", None, 1),
    "no HTTP": ([b"\x16\x03\x01\r\n\r\n", b"close"], "failed", None, 1),
}  # fmt: skip


def after_the_first(heads: list[bytes], pieces: list[bytes]) -> Script:
    """Answer the first request, and a redirected one, well, and every other one with these pieces."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, _ = await read_request(reader)
            heads.append(head)
            is_well = len(heads) == 1 or head.split()[1] == b"/again"
            for piece in [WHOLE] if is_well else pieces:
                if piece == b"close":
                    return
                if piece == b"stay":
                    await reader.read()
                    return
                writer.write(piece)
                await writer.drain()
                if len(pieces) > 1:
                    await asyncio.sleep(0.02)  # so that it comes by itself

    return script


def deliveries(hub: HubOnTest) -> list[dict[str, Any]]:
    hub.hub.request_log.flush()
    lines = [orjson.loads(line) for line in hub.log.getvalue().splitlines()]
    return [line for line in lines if line["event"] == "delivery"]


def allow_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    async def deliver(*_: object) -> None:
        raise AssertionError("it went the ordinary way")

    monkeypatch.setattr(Deliveries, "deliver", deliver)


@pytest.mark.parametrize("name", ENDS)
async def test_whatever_is_answered_ends_a_delivery_once(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    pieces, outcome, status, requests = ENDS[name]
    hub = await start_hub(broadcast_timeout=0.5, idle_timeout=0.3, breaker_time=60)
    heads: list[bytes] = []
    async with (
        registered(hub, p1(), p3()) as (cpo, _),
        villain(hub, "DE-TNM", "locations.RECEIVER", after_the_first(heads, pieces)) as server,
    ):
        await hub.opens_lanes()
        await push(cpo, "one", 1)
        await until(lambda: count(hub, "delivered") == 1, "the first has made a connection")
        with monkeypatch.context() as patched:
            allow_no_task(patched)
            await push(cpo, "two", 2)
            await until(lambda: len(deliveries(hub)) == 2, "the second has ended")
        line = deliveries(hub)[1]
        assert (line["action"], line.get("receiver_http_status")) == (outcome, status)
        assert line["to"] == "DE-TNM"
        assert (line["method"], line["module"], line["owner"]) == ("PUT", "locations", "BE-BEC")
        assert ("problem" in line) == (status is None)
        assert len(heads) == 1 + requests
        assert server.connections == 1 or name == "307"  # no second attempt over another
        assert not hub.hub.client.in_flight(line["receiver_platform"])
        assert count(hub, "delivered") + count(hub, "failed") + count(hub, "refused") == 2
        # Whoever could not be reached, or failed to answer, is not called until its breaker lets a probe through.
        await push(cpo, "three", 3)
        await until(lambda: len(deliveries(hub)) == 3, "the third has ended")
        assert (deliveries(hub)[2]["action"] == "skipped") == (status is None and name != "too large")
        assert all(not gauge.depth for gauge in hub.hub.metrics.lanes())


async def test_the_request_is_the_same_as_on_the_ordinary_way(hub: HubOnTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that may differ are the hub's request ids."""

    body = location("BE-BEC", "L1", name="Ä", last_updated="2031-01-01T00:00:00Z")

    async def send(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
        ids = {CORRELATION_ID: 'c "1"', "Content-Type": "application/json; x=1"}
        for method, path, content in (
            ("PUT", "locations BE/BEC/L1", body),
            ("PATCH", "locations BE/BEC/L1/%31", {"status": "BLOCKED", "last_updated": "2031-01-01T00:00:01Z"}),
            ("DELETE", "tariffs BE/BEC/T1?x=1", None),
        ):
            module, path = path.split()
            before = len(emsp.received)
            given = await cpo.call(method, module, "RECEIVER", path, to="NL-HUB", body=content, headers=ids)
            expect.envelope(given)
            await emsp.wait_for(before + 1)
            await until(lambda: all(not gauge.depth for gauge in hub.hub.metrics.lanes()))

    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await hub.opens_lanes()
        with monkeypatch.context() as patched:
            patched.setattr(Deliveries, "begin", lambda *_: None)
            await send(cpo, emsp)
        ordinary = [without_id(received) for received in emsp.received]
        emsp.received.clear()
        allow_no_task(monkeypatch)
        await send(cpo, emsp)
        assert [without_id(received) for received in emsp.received] == ordinary


def without_id(received: Any) -> tuple[Any, ...]:
    fields = [(name, value) for name, value in received.headers.items() if name != "X-Request-ID"]
    assert re.fullmatch(
        r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}", received.headers["X-Request-ID"]
    )
    return received.method, received.path, received.body, fields


@pytest.mark.parametrize("pieces", [[b"stay"], [WHOLE[:-10], b"stay"]], ids=["unanswered", "half answered"])
async def test_a_stop_ends_what_is_under_way_and_says_so(start_hub: StartHub, pieces: list[bytes]) -> None:
    hub = await start_hub(broadcast_timeout=30, idle_timeout=30, lane_drain_timeout=1)
    heads: list[bytes] = []
    async with (
        registered(hub, p1(), p3()) as (cpo, _),
        villain(hub, "DE-TNM", "locations.RECEIVER", after_the_first(heads, pieces)),
    ):
        await hub.opens_lanes()
        await push(cpo, "one", 1)
        await until(lambda: count(hub, "delivered") == 1)
        await push(cpo, "two", 2)
        await until(lambda: len(heads) == 2)
        await hub.stop()
        line = deliveries(hub)[1]
        assert (line["action"], line["problem"]) == ("failed", "The hub stopped before the answer was there.")
        assert len(heads) == 2
        assert hub.hub.client.connections() == 0
        assert not hub.hub.client.in_flight(line["receiver_platform"])


async def test_a_connection_that_fails_while_it_is_written_to_ends_a_delivery_once(
    hub: HubOnTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told before the sending has returned: that must neither be lost nor count twice."""
    real = Client.try_send

    def failing(client: Client, *arguments: Any, **more: Any) -> Held | None:
        held = real(client, *arguments, **more)
        if held is not None:
            held.connection.abort()
        return held

    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await hub.opens_lanes()
        await push(cpo, "one", 1)
        await until(lambda: count(hub, "delivered") == 1)
        monkeypatch.setattr(Client, "try_send", failing)
        allow_no_task(monkeypatch)
        await push(cpo, "two", 2)
        await until(lambda: count(hub, "failed") == 1)
        assert [line["action"] for line in deliveries(hub)] == ["delivered", "failed"]
        assert not hub.hub.client.in_flight((await platform_of(hub, emsp)).id)
        assert all(not gauge.depth for gauge in hub.hub.metrics.lanes())


async def test_who_may_not_have_a_push_any_more_is_passed_over(hub: HubOnTest) -> None:
    """What was offered by one routing table is judged anew by the next one."""
    async with registered(hub, p1(), p3()) as (cpo, slow):
        await hub.opens_lanes()
        slow.misbehave("slow", seconds=0.3)
        await push(cpo, "one", 1)
        await slow.wait_for(1)
        for name in ("two", "three"):  # they wait for the first of the same object
            await push(cpo, name, 1)
        await hub.members.suspend(PartyID.parse("DE-TNM"), None, suspended=True)
        await hub.hub.live.refresh()
        await until(lambda: all(not gauge.depth for gauge in hub.hub.metrics.lanes()))
        assert len(slow.received) == 1
        assert count(hub, "skipped") == 1
