"""Those who dawdle, send too much, do not read, or are connected when the hub stops: the same limits in both lanes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from hub import listener, server
from hub.fast_lane import lane as fast_lane
from tests.both_lanes import Asking, BothLanes, Piece, Side, both_lanes, request
from tests.station import Reply, reply
from tests.waiting import until
from tests.wire import masked

LOOK_SECONDS, SILENCE_SECONDS = 0.1, 1.0
SESSION = "receiver/sessions/BE/BEC/1"
PUT = b'{"country_code":"BE","party_id":"BEC","id":"1","last_updated":"2026-01-01T00:00:00Z"}'
SLOW = 100


@pytest.fixture
async def both(
    database_url: str, another_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[BothLanes]:
    """Two hubs that differ in the fast lane only, with time limits that a test can wait for."""
    monkeypatch.setattr(fast_lane, "LOOK_SECONDS", LOOK_SECONDS)
    for module in (listener, server):
        monkeypatch.setattr(module, "SILENCE_SECONDS", SILENCE_SECONDS)
    async with both_lanes(database_url, another_database_url) as opened:
        yield opened


async def drip(asking: Asking, data: bytes, seconds: float) -> None:
    for place in range(len(data)):
        if asking.is_closed:
            return
        asking.transport.write(data[place : place + 1])
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("seconds", [LOOK_SECONDS / 5, LOOK_SECONDS * 3], ids=["often", "now and then"])
async def test_heads_that_trickle_in_end_with_the_silence(both: BothLanes, seconds: float) -> None:
    """R-199: a byte now and then is no request, and does not begin the time anew."""
    head = request("GET", SESSION, "X: " + "x" * 7000)
    for side in both.sides:
        slow = [await side.connect() for _ in range(SLOW)]
        began = asyncio.get_running_loop().time()
        for asking in slow:
            asking.transport.write(side.filled(head[:150]))  # the fast lane waits for more of what begins so
        tasks = [asyncio.create_task(drip(asking, head[150:], seconds)) for asking in slow]
        await side.see([Piece(request("GET", SESSION))])  # others are served meanwhile
        await until(lambda slow=slow: all(asking.is_closed for asking in slow))
        assert asyncio.get_running_loop().time() - began > SILENCE_SECONDS * 0.9
        await asyncio.gather(*tasks)
        assert all(asking.data == b"" for asking in slow)
        assert side.hub.hub.metrics.in_flight == 0


async def test_a_body_that_trickles_in_is_taken_and_one_that_stops_is_408(both: BothLanes) -> None:
    whole = request("PUT", SESSION, body=PUT)
    for data, status in ((whole, b"HTTP/1.1 200 "), (whole[:-1], b"HTTP/1.1 408 ")):
        answers = []
        for side in both.sides:
            asking = await side.connect()
            asking.transport.write(side.filled(data[:-30]))
            await drip(asking, data[-30:], LOOK_SECONDS / 5)
            await until(lambda asking=asking: b"}" in asking.data)
            answers.append(masked(asking.data))
            asking.transport.close()
        assert answers[0] == answers[1]
        assert answers[0].startswith(status)


@pytest.mark.parametrize("size", [256 * 1024 - 100, 256 * 1024, 256 * 1024 + 1, 3_000_000])
async def test_a_body_around_and_over_what_is_held_goes_on_unchanged(both: BothLanes, size: int) -> None:
    body = b'{"x":"' + b"y" * (size - 8) + b'"}'
    seen = await both.compare([Piece(request("PUT", SESSION, body=body))])
    assert seen.requests[0].endswith(body)


async def test_a_body_over_the_limit_is_refused(both: BothLanes) -> None:
    seen = await both.compare([Piece(request("PUT", SESSION, f"Content-Length: {2**40}") + b"{")])
    assert seen.answers.startswith(b"HTTP/1.1 413 ")
    assert seen.requests == []


async def ask_without_reading(side: Side, asked: bytes, size: int) -> Asking:
    """Ask one by one, as long as the hub takes it, for answers of this size, none of which is read."""
    asking = await side.connect(receives=4096)
    asking.transport.pause_reading()
    side.station.requests.clear()
    side.station.plan[:] = [Reply((reply(b'{"data":"' + b"x" * size + b'","status_code":1000}'),))] * 1000
    number = 0
    while len(side.station.requests) == number:
        number += 1
        assert number < 300
        asking.transport.write(side.filled(asked))
        await side.still(asking)
    return asking


async def test_a_member_that_does_not_read_its_answers_makes_the_hub_hold_little(both: BothLanes) -> None:
    asked = request("GET", SESSION)
    for side in both.sides:
        asking = await ask_without_reading(side, asked, 100_000)
        # What the hub does not read stays with the member, but for what the kernel keeps.
        more = side.filled(asked) * 60_000
        asking.transport.write(more)
        await side.still(asking)
        assert asking.transport.get_write_buffer_size() > len(more) / 4
        # It goes on when the member reads.
        known = len(side.station.requests)
        asking.transport.resume_reading()
        await until(lambda side=side, known=known: len(side.station.requests) > known + 10)
        asking.transport.abort()
        await until(lambda side=side: side.hub.hub.metrics.in_flight == 0)
        assert side.hub.hub.client.in_flight(2) == 0


async def test_a_member_that_reads_nothing_ends_with_the_silence(both: BothLanes) -> None:
    for side in both.sides:
        asking = await ask_without_reading(side, request("GET", SESSION), 200_000)
        await until(lambda side=side, asking=asking: not side.has(asking))
        asking.transport.abort()


async def test_the_hub_stops_in_the_same_way_in_both_lanes(both: BothLanes) -> None:
    """A request of which a byte was read is answered, with `Connection: close`; who asks nothing is closed at once."""
    one, put = request("GET", SESSION), request("PUT", SESSION, body=PUT)
    begun = {
        "idle": (b"", b""),
        "idle after a request": (one, b""),
        "a byte": (b"G", one[1:]),
        "half a head": (one[:100], one[100:]),
        "half a body": (put[:-10], put[-10:]),
        "a request and half a head": (one + one[:60], one[60:]),
        "a head that is not plain": (b"GET  ", b"/ HTTP/1.1\r\n\r\n"),
    }
    ends = []
    for side in both.sides:
        side.station.plan.clear()
        under_way = await side.connect()
        side.station.plan[:] = [Reply(waits=True)]
        side.station.released.clear()
        under_way.transport.write(side.filled(put))
        await until(lambda side=side: side.station.holding)
        several = {name: await side.connect() for name in begun}
        for name, (first, _) in begun.items():
            several[name].transport.write(side.filled(first))
            await side.still(several[name])
        stopping = asyncio.create_task(side.hub.stop())
        await until(lambda several=several: several["idle"].is_closed and several["idle after a request"].is_closed)
        for name, (_, rest) in begun.items():
            if rest:
                assert not several[name].is_closed, name
                several[name].transport.write(side.filled(rest))
        side.station.released.set()
        await stopping
        several["under way"] = under_way
        await until(lambda several=several: all(asking.is_closed for asking in several.values()))
        ends.append({name: masked(asking.data) for name, asking in several.items()})
    assert ends[0] == ends[1]
    for name, data in ends[0].items():
        assert (
            name in ("idle", "idle after a request", "a head that is not plain") or b"\r\nConnection: close\r\n" in data
        ), name
