"""Whatever a member sends and a receiver answers, both lanes make the same of it: bytes, log and counts."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.both_lanes import BothLanes, Piece, both_lanes, request
from tests.odd_answers import replies
from tests.odd_requests import FORWARDS, LONG, PUT, SESSION, sent
from tests.station import Reply, reply

EXAMPLES = int(os.environ.get("TEST_LANE_EXAMPLES", "0"))
"""`TEST_LANE_EXAMPLES=20000 pytest -o faulthandler_timeout=0 tests/hub/test_fast_lane_generated.py` looks further, and
at something else each time."""
HELD_BODY = 2048


@pytest.fixture
async def both(database_url: str, another_database_url: str) -> AsyncIterator[BothLanes]:
    """Two hubs that differ in the fast lane only; what is longer than 2 kB is not held there."""
    limits = {"held_body": HELD_BODY, "shared_body": HELD_BODY}
    waits = {"idle_timeout": 0.5, "forward_timeout": 0.5, "connect_timeout": 5.0}
    async with both_lanes(database_url, another_database_url, **limits, **waits) as opened:
        yield opened


async def check(examples: int, given_to: Callable[..., Any], compare: Callable[..., Coroutine[Any, Any, Any]]) -> None:
    """Run a coroutine of this event loop with generated arguments."""
    loop = asyncio.get_running_loop()

    @settings(
        max_examples=EXAMPLES or examples,
        deadline=None,
        database=None,
        derandomize=not EXAMPLES,
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    @given_to
    def run(**arguments: Any) -> None:
        asyncio.run_coroutine_threadsafe(compare(**arguments), loop).result(120)

    await asyncio.to_thread(run)


async def test_whatever_a_member_sends_both_lanes_do_the_same(both: BothLanes) -> None:
    await check(200, given(pieces=sent(), leaves=st.sampled_from([False, False, False, True])), both.compare)
    assert both.fast.by_road < both.fast.counted * 0.75, both.fast.by_road / both.fast.counted  # else nothing is proved
    assert both.ordinary.by_road >= both.ordinary.counted


async def test_whatever_a_receiver_answers_both_lanes_give_the_same(both: BothLanes) -> None:
    async def compare(heads: list[tuple[str, str, bytes]], plan: list[Reply], line: str) -> None:
        data = b"".join(request(method, path, line, body=body) for method, path, body in heads)
        await both.compare([Piece(data)], plan)

    heads = st.lists(st.sampled_from(FORWARDS), min_size=1, max_size=3)
    lines = st.sampled_from(["Accept: */*", "Accept-Encoding: gzip", "Accept-Encoding: br, *;q=0"])
    await check(150, given(heads=heads, plan=st.lists(replies(), min_size=1, max_size=3), line=lines), compare)


async def test_a_receiver_may_close_without_saying_so(both: BothLanes) -> None:
    async def compare(head: tuple[str, str, bytes], plan: Reply) -> None:
        method, path, body = head
        await both.compare([Piece(request(method, path, body=body))], [plan])

    await check(60, given(head=st.sampled_from(FORWARDS), plan=replies(is_announced=False)), compare)


async def test_whatever_both_do_at_once_both_lanes_do_the_same(both: BothLanes) -> None:
    await check(
        80,
        given(pieces=sent(), plan=st.lists(replies(), min_size=1, max_size=3), leaves=st.sampled_from([False, True])),
        both.compare,
    )


async def test_the_fast_lane_serves_what_is_plain_and_nothing_else(both: BothLanes) -> None:
    plain = [request(method, path, body=body) for method, path, body in FORWARDS if body != LONG]
    for data in (*plain, *plain):
        before = both.fast.by_road
        await both.compare([Piece(data[:100]), Piece(data[100:])])
        assert both.fast.by_road == before, data
    for data in (request("PUT", SESSION, body=LONG), request("DELETE", SESSION), request("GET", "versions")):
        before = both.fast.by_road
        await both.compare([Piece(data)])
        assert both.fast.by_road == before + 2, data  # and what follows it on the same connection


async def test_a_short_answer_does_not_wait_for_the_one_before_to_be_acknowledged(both: BothLanes) -> None:
    """Nagle's algorithm would hold back what is written while the requester acknowledges late: 40 ms a request."""
    listing = request("GET", "sender/tokens/?offset=5&limit=10")
    asked = request("POST", "sender/tokens/T/authorize", "Content-Length: 0")
    seen = await both.compare([Piece(listing, waits=False), Piece(asked, waits=False), Piece(asked, waits=False)])
    assert seen.answers.count(b"HTTP/1.1 200 ") == 4


@pytest.mark.parametrize("plan", [[], [Reply(waits=True)]], ids=["alone", "behind another"])
async def test_a_member_that_leaves_in_a_body_is_no_failure_of_the_hub(both: BothLanes, plan: list[Reply]) -> None:
    first, put = request("GET", SESSION), request("PUT", SESSION, body=PUT)
    for missing in (1, len(PUT) - 1, len(PUT)):
        seen = await both.compare(
            [Piece(first), Piece(put[:-missing])] if plan else [Piece(put[:-missing])], plan, leaves=True
        )
        assert seen.lines[-1]["outcome"] == b"left"


SMUGGLING = [
    request("PUT", SESSION, "Content-Length: 4", "Transfer-Encoding: chunked") + b"55\r\n" + PUT + b"\r\n0\r\n\r\n",
    request("PUT", SESSION, "Transfer-Encoding: chunked", "Content-Length: 6") + b"0\r\n\r\nX",
    request("PUT", SESSION, "Transfer-Encoding: chunked", "Transfer-Encoding: x") + b"2\r\n{}\r\n0\r\n\r\n",
    request("PUT", SESSION, "Transfer-Encoding: \x0bchunked", "Content-Length: 2") + b"{}",
    request("PUT", SESSION, "Content-Length: 2", "Content-Length: 85") + PUT,
    request("PUT", SESSION, "X: y\nTransfer-Encoding: chunked", body=PUT),
    request("PUT", SESSION, "X: y\rContent-Length: 0", body=PUT),
    request("GET", SESSION, body=request("GET", "receiver/sessions/BE/BEC/smuggled")),
    request("PUT", SESSION, "Content-Length: 0") + request("GET", "receiver/sessions/BE/BEC/smuggled"),
    request("PUT", SESSION, "Transfer-Encoding: chunked") + b"2;a=\n\r\n{}\r\n0\r\n\r\n",
    request("GET", SESSION, "Connection: X-Request-ID, OCPI-to-party-id"),
]  # fmt: skip


async def test_nothing_is_smuggled_past_the_fast_lane(both: BothLanes) -> None:
    for data in SMUGGLING:
        await both.compare([Piece(data)])
        await both.compare([Piece(request("GET", SESSION)), Piece(data)], [Reply((reply(),), waits=True)])
        for place in range(0, len(data), 37):
            await both.compare([Piece(data[:place]), Piece(data[place:])])
