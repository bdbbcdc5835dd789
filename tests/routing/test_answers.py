"""What the receiver answered, and whether the requester gets it."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import NotFound, OCPIError, ReceiverNotConnected, RoutingFailed
from routing.answers import (
    FULL_PARSE_MAX,
    is_json,
    judge,
    read_status_code,
    starts_like_envelope,
    starts_like_json,
)

# HTTP status of the receiver, whether its body is an envelope, and the hub's answer in its place: None to relay.
JUDGED: list[tuple[int, bool, tuple[int, int] | None]] = [
    (200, True, None),
    (201, True, None),
    (202, True, None),
    (400, True, None),
    (404, True, None),
    (405, True, None),
    (409, True, None),
    (429, True, None),
    (500, True, None),
    (501, True, None),
    (503, True, None),
    (599, True, None),
    (401, True, (200, 4003)),
    (403, True, (200, 4003)),
    (407, True, (200, 4003)),
    (401, False, (200, 4003)),
    (403, False, (200, 4003)),
    (407, False, (200, 4003)),
    (100, True, (200, 4000)),
    (204, True, (200, 4000)),
    (205, True, (200, 4000)),
    (301, True, (200, 4000)),
    (304, True, (200, 4000)),
    (308, True, (200, 4000)),
    (600, True, (200, 4000)),
    (999, True, (200, 4000)),
    (404, False, (404, 2000)),
    (405, False, (405, 2000)),
    (502, False, (200, 4003)),
    (503, False, (200, 4003)),
    (504, False, (200, 4003)),
    (200, False, (200, 4000)),
    (201, False, (200, 4000)),
    (204, False, (200, 4000)),
    (302, False, (200, 4000)),
    (307, False, (200, 4000)),
    (400, False, (200, 4000)),
    (410, False, (200, 4000)),
    (422, False, (200, 4000)),  # quirks 11, 12
    (429, False, (200, 4000)),
    (500, False, (200, 4000)),
    (505, False, (200, 4000)),
]


@pytest.mark.parametrize(("http_status", "is_envelope", "answer"), JUDGED)
def test_an_answer_is_relayed_or_replaced(http_status: int, is_envelope: bool, answer: tuple[int, int] | None) -> None:
    error = judge(http_status, is_envelope=is_envelope)

    assert (None if error is None else (error.http_status, error.status_code)) == answer


@given(st.integers(0, 1000), st.booleans())
def test_every_answer_is_relayed_whole_or_replaced_in_ocpis_terms(http_status: int, is_envelope: bool) -> None:
    error: OCPIError | None = judge(http_status, is_envelope=is_envelope)

    if error is None:
        assert is_envelope
        assert http_status not in (204, 304, 401, 403, 407)
        assert 200 <= http_status < 300 or 400 <= http_status < 600
    else:
        assert isinstance(error, ReceiverNotConnected | RoutingFailed | NotFound)
        assert error.http_status in (200, 404, 405)


# The status code of an envelope

FILL = json.dumps({"id": "LOC", "name": "Köln", "coordinates": [4.0, None, True]}, ensure_ascii=False)


def large(*members: str) -> bytes:
    """An envelope of more than is parsed whole, the members in order; `...` is where its long data goes."""
    data = f'"data":[{",".join([FILL] * (FULL_PARSE_MAX // len(FILL)))}]'
    body = "{%s}" % ",".join(data if member == "..." else member for member in members)  # noqa: UP031
    assert len(body.encode()) > FULL_PARSE_MAX
    return body.encode()


CODE, LATER = '"status_code":1000', '"status_message":"Success","timestamp":"2026-01-01T00:00:00Z"'


@pytest.mark.parametrize(
    ("body", "status_code"),
    [
        (b'{"status_code":1000}', 1000),
        (b' \r\n{ "status_code" : 2001 }\n', 2001),
        (b'{"status_code":1000,"data":{"status_code":2}}', 1000),
        (b'{"data":{"status_code":2},"status_code":1000}', 1000),
        (b'{"data":"\\"status_code\\":7,","status_code":-1}', -1),
        (b'{"status\\u005fcode":1000}', 1000),
        (b'{"data":{"status_code":1000}}', None),
        (b'{"data":[{"status_code":1000}]}', None),
        (b'[{"status_code":1000}]', None),
        (b'{"status_code":"1000"}', None),
        (b'{"status_code":1000.0}', None),
        (b'{"status_code":true}', None),
        (b'{"status_code":null}', None),
        (b'{"STATUS_CODE":1000}', None),
        (b"{}", None),
        (b"", None),
        (b"1000", None),
        (b"null", None),
        (b"<html></html>", None),
        (b'{"status_code":1000', None),
        (b'{"status_code":1000}}', None),
        (b'{"status_code":1000,}', None),
        (b"{'status_code':1000}", None),
        (b'{"data":NaN,"status_code":1000}', None),  # T-040
        (b'{"data":Infinity,"status_code":1000}', None),
        (b'{"data":"\xff","status_code":1000}', None),
        (b'\xef\xbb\xbf{"status_code":1000}', None),
        ('{"status_code":1000}'.encode("utf-16"), None),
    ],
)
def test_a_short_answer_is_parsed_whole(body: bytes, status_code: int | None) -> None:
    """R-184."""
    assert read_status_code(body) == status_code


@pytest.mark.parametrize(
    ("members", "status_code"),
    [
        ([CODE, "..."], 1000),
        ([CODE, LATER, "..."], 1000),
        (["...", CODE], 1000),
        (["...", CODE, LATER], 1000),
        (["...", '"status_code" \n:\t2003 ', LATER], 2003),
        (["...", '"status_code":1000', '"x_vendor":{"status_code":7}'], 1000),
        (["...", '"x_vendor":{"status_code":7}', CODE], 1000),
        (["...", '"x_vendor":[{"a":{"status_code":7}}]', CODE, '"y":[{"status_code":8}]'], 1000),
        (['"x":{"status_code":7}', CODE, "..."], 1000),
        ([CODE, "...", '"x":{"status_code":7}'], 1000),
        (['"x":{"status_code":7}', "...", CODE], 1000),
        ([CODE, "...", r'"status_message":"\"status_code\":7,"'], 1000),
        ([CODE, "...", r'"x\"status_code":7'], 1000),
        ([CODE, "...", '"x":"}]}{"'], 1000),
        (['"x":"{[{\\""', CODE, "..."], 1000),
        (["...", '"status\\u005fcode":1000'], 1000),
        (["...", '"status_code":-1'], -1),
        (["...", CODE, "..."], 1000),  # in the middle
        (["..."], None),
        (["...", '"x":{"status_code":7}'], None),
        (['"x":{"status_code":7}', "..."], None),
        (["...", '"status_code":"1000"'], None),
        (["...", '"status_code":1000.5'], None),
        (["...", '"status_code":1e3'], None),
        (["...", r'"status_message":"\"status_code\":7,"'], None),
    ],
)
def test_a_long_answers_status_code_is_found_at_its_head_or_tail_or_by_parsing(
    members: list[str], status_code: int | None
) -> None:
    body = large(*members)

    assert read_status_code(body) == status_code
    assert read_status_code(b"\r\n " + body + b" \n") == status_code


@pytest.mark.parametrize(
    "body", [b"\xef\xbb\xbf" + large(CODE, "..."), large(CODE, "...")[:-1], large(CODE, "...")[1:]]
)
def test_a_long_answer_that_does_not_begin_and_end_like_an_object_is_no_envelope(body: bytes) -> None:
    assert read_status_code(body) is None


def test_a_long_list_is_no_envelope() -> None:
    assert read_status_code(b"[" + large(CODE, "...") + b"]") is None


VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(0, 9999),
        st.text(max_size=6),
        st.just('"status_code":7,'),
        st.just({"status_code": 7}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["status_code", "data", "x", '"status_code"', "}"]), inner, max_size=3),
    ),
    max_leaves=8,
)


@st.composite
def envelopes(draw: st.DrawFn) -> bytes:
    """Objects with or without a status_code, members in any order, of any length around the limit."""
    members: dict[str, Any] = draw(st.dictionaries(st.sampled_from(["data", "x", "y", "timestamp"]), VALUES))
    members["long"] = ["filling"] * draw(st.sampled_from([0, 40, 800, 1000]))
    if draw(st.booleans()):
        members["status_code"] = draw(st.one_of(st.sampled_from([1000, 2001, 4000]), VALUES))
    order = draw(st.permutations(list(members)))
    spacing = draw(st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", "\t: ")]))
    return json.dumps({name: members[name] for name in order}, separators=spacing, ensure_ascii=False).encode()


@given(envelopes())
def test_the_status_code_is_what_parsing_all_of_it_gives(body: bytes) -> None:
    code = json.loads(body).get("status_code")

    assert read_status_code(body) == (code if type(code) is int else None)


@given(st.one_of(st.binary(max_size=60), envelopes().flatmap(lambda b: st.integers(0, len(b)).map(lambda n: b[:n]))))
def test_any_bytes_are_an_envelope_or_not(body: bytes) -> None:
    read_status_code(body)
    starts_like_envelope(body)


# JSON or not


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", True),
        (b" [1, 2.50, null]\n", True),
        (b'"text"', True),
        ('{"a":"Köln"}'.encode(), True),
        (b'{"a":1,"a":2}', True),  # T-040: duplicates are the receiver's business
        (b"", False),
        (b" ", False),
        (b"{", False),
        (b"{}{}", False),
        (b"{'a':1}", False),
        (b"NaN", False),
        (b"[Infinity]", False),
        (b"[-Infinity]", False),
        (b'"\xff"', False),
        ("{}".encode("utf-16"), False),
        (b"\xef\xbb\xbf{}", False),
        (b'"a\nb"', False),
        (b"[01]", False),
        (b"[" * 100_000, False),
    ],
)
def test_json_is_what_the_standard_says_in_utf8(body: bytes, expected: bool) -> None:
    """R-189, T-040."""
    assert is_json(body) is expected


@given(VALUES)
def test_everything_written_as_json_is_json(value: Any) -> None:
    assert is_json(orjson.dumps(value))
    assert is_json(json.dumps(value, indent=1).encode())


@pytest.mark.parametrize(
    ("head", "json_like", "envelope_like"),
    [
        (b'{"a', True, True),
        (b" \r\n\t{", True, True),
        (b"[{", True, False),
        (b"<html>", False, False),
        (b'"text', False, False),
        (b"12", False, False),
        (b"", False, False),
        (b"\x0b{", False, False),
        (b"\xef\xbb\xbf{", False, False),
    ],
)
def test_the_beginning_of_a_long_body_tells_what_it_can_be(head: bytes, json_like: bool, envelope_like: bool) -> None:
    assert (starts_like_json(head), starts_like_envelope(head)) == (json_like, envelope_like)
