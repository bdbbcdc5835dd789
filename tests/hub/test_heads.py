"""Heads like earlier ones mean what the strict reader says of them, whatever was read before."""

from hypothesis import given
from hypothesis import strategies as st

from hub.answer_head import AnswerHead, answer_heads
from hub.fast_lane.plain import read_plain, request_heads
from hub.fast_lane.plans import REQUEST_LINE
from hub.heads import HEAD_MAX, KNOWN_MAX, UNKNOWN, Heads
from tests.hub.test_fast_lane_plain import requests

VARYING = ("x-request-id", "x-correlation-id", "content-length", "traceparent", "tracestate")
MEANT = ("authorization", "accept", "ocpi-to-party-id", "connection", "content-type")


def read(heads: Heads[AnswerHead], *lines: str) -> tuple[AnswerHead, str | None] | None:
    head = "\r\n".join(("HTTP/1.1 200 OK", *lines)).encode()
    found = heads.read(head, len(head), UNKNOWN)
    return None if found is None else (found[0], found[2][0])


@given(each=st.lists(requests(), min_size=2, max_size=6))
def test_a_request_means_the_same_whatever_came_before_it(each: list[bytes]) -> None:
    heads, layout = request_heads(("traceparent", "tracestate")), UNKNOWN
    for data in (*each, *each):
        end = data.find(b"\r\n\r\n")
        if end < 0:
            continue
        plain, found = read_plain(data, end), heads.read(data, end, layout)
        if found is not None and REQUEST_LINE(found[1]) is None:
            continue  # the first line is looked at by itself
        assert (plain is None) == (found is None)
        if plain is None or found is None:
            continue
        head, first, values, layout = found
        assert len(data[:end]) <= HEAD_MAX
        assert first == data.partition(b"\r\n")[0].decode()
        assert dict(zip(VARYING, values, strict=False)) == {name: plain.fields.get(name) for name in VARYING}
        assert {name: head.fields.get(name) for name in MEANT} == {name: plain.fields.get(name) for name in MEANT}
        assert head.fields.keys() | VARYING == plain.fields.keys() | VARYING


def test_what_means_nothing_may_vary_and_what_means_something_is_read_each_time() -> None:
    heads, layout, meanings = answer_heads(), UNKNOWN, set()
    for number in range(20):
        total = 1 + number // 18
        lines = f"Date: {number}\r\nX-Runtime: {number / 7}\r\nX-Total-Count: {total}\r\nContent-Length: {number}"
        head = f"HTTP/1.1 200 OK\r\n{lines}".encode()
        found = heads.read(head, len(head), layout)
        assert found is not None
        meaning, _, (length, *_), layout = found
        assert (meaning.relayed, length) == (f"X-Total-Count: {total}\r\n", str(number))
        meanings.update([id(meaning)] if number > 10 else [])
    assert len(meanings) == 2  # remembered once each, although date and runtime were others every time


def test_an_answer_that_asks_for_more_or_may_be_read_in_two_ways_is_told_apart() -> None:
    heads = answer_heads()
    usual = read(heads, "Content-Type: application/json", "Content-Length: 12")
    assert usual == (AnswerHead(200, None, False, ""), "12")
    for line in ("Link: <http://h>", "Location: http://h", "Content-Encoding: gzip"):
        found = read(heads, line, "Content-Length: 12")
        assert found is not None
        assert found[0].asks_for_more
    for lines in (
        ("Content-Length: 12", "Content-Length: 12"),
        ("Content-Length: 12", "Transfer-Encoding: chunked"),
        ("Content-Length: 012",),
        ("Content-Length: +1",),
        ("Content-Length : 12",),
        ("Content-Length: 12", "Connection: close"),
        ("Content-Length: 12", " folded"),
        ("Content-Type: application/json",),
    ):
        assert read(heads, *lines) is None
    assert read(heads, "Content-Type: application/json", "Content-Length: 12") == usual


def test_a_length_that_is_not_plain_is_not_taken_for_one_after_many_that_were() -> None:
    heads, layout = answer_heads(), UNKNOWN
    for length in ("5", "6", "7", "+8", "08", "9, 9", "1\t", "7"):
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {length}".encode()
        found = heads.read(head, len(head), layout)
        assert (found is not None) == (length in ("5", "6", "7"))
        layout = found[3] if found is not None else layout


def test_heads_without_end_are_not_remembered_without_end() -> None:
    heads = answer_heads()
    for number in range(KNOWN_MAX + 10):
        head = f"HTTP/1.1 200 OK\r\nX-Limit: {number}\r\nContent-Length: 1".encode()
        assert heads.read(head, len(head), UNKNOWN) is not None
    assert len(heads) <= KNOWN_MAX


LENGTH = b"POST /ocpi/2.2.1/sender/tokens/T/authorize HTTP/1.1\r\nHost: h\r\nContent-Length: "
OTHER = b"GET /ocpi/2.2.1/sender/tokens HTTP/1.1\r\nHost: h\r\nAccept: x"


def test_a_value_that_is_missing_is_never_taken_for_one_that_varies() -> None:
    heads = request_heads(())
    assert heads.read(LENGTH + b"0", len(LENGTH) + 1, UNKNOWN) is not None
    other = heads.read(OTHER, len(OTHER), UNKNOWN)
    assert other is not None
    assert (
        heads.read(LENGTH, len(LENGTH), other[3]) is None
    )  # by the layout of the other, in which that line is literal
    assert heads.read(LENGTH, len(LENGTH), UNKNOWN) is None


def test_a_head_that_is_known_but_for_its_length_is_too_long_all_the_same() -> None:
    heads = request_heads(())
    head = OTHER + b"\r\nX-Correlation-ID: 1"
    known = heads.read(head, len(head), UNKNOWN)
    assert known is not None
    long = head + b"1" * HEAD_MAX
    assert heads.read(long, len(long), known[3]) is None
