"""What is read as a plainly well-formed answer, httptools reads the same; everything else is left to it."""

from typing import NamedTuple

import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hub.answer_head import Field, answer_heads, read_fields
from hub.heads import HEAD_MAX, UNKNOWN

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Limit: 5\r\n"


class Read(NamedTuple):
    status: int
    fields: list[Field] | None
    length: int
    end: int


def read_answer_head(data: bytes) -> Read | None:
    end = data.find(b"\r\n\r\n")
    found = None if end < 0 else answer_heads().read(data, end, UNKNOWN)
    if found is None:
        return None
    return Read(found[0].status, read_fields(data, end), int(found[2][0] or ""), end + 4)


class Parsed:
    """An answer as httptools reads it."""

    def __init__(self, data: bytes) -> None:
        self.fields: list[tuple[bytes, bytes, bytes]] = []
        self.body = b""
        self.is_complete = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.keeps_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True


PIECES = st.sampled_from(
    [
        b"HTTP/1.1", b"HTTP/1.0", b" ", b"204", b"304", b"100", b"600", b"\r\n", b"\n", b"\r", b"\r\n ", b":",
        b"\r\n\r\n",
        b"\0", b"\xff", b"\r\nContent-Length: 5", b"\r\nContent-Length: 05", b"\r\nContent-Length: 5, 5", b"\r\nX: ",
        b"\r\nTransfer-Encoding: chunked", b"\r\nConnection: close", b"\r\nConnection: keep-alive", b"\r\nUpgrade: x",
        b"\r\nKeep-Alive: timeout=5", b"\r\nTrailer: x", b"0\r\n\r\n", b"a" * HEAD_MAX, b"{}",
    ]
)  # fmt: skip


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """A well-formed answer in which some pieces were put, or taken away."""
    data = HEAD + b"Content-Length: 2\r\n\r\n{}"
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(PIECES) + data[place + draw(st.sampled_from([0, 0, 1, 2, 30])) :]
    return data


@settings(max_examples=500)
@given(answers())
@example(HEAD + b"Content-Length: 2\r\n\r\n{}")
@example(HEAD + b"Connection: Keep-Alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\n{}")
@example(HEAD.replace(b" OK", b"") + b"Content-Length: 0\r\n\r\n")
def test_what_is_plain_is_the_same_answer_to_httptools(data: bytes) -> None:
    head = read_answer_head(data)
    if head is None or len(data) < head.end + head.length:
        return
    parsed = Parsed(data[: head.end + head.length])
    assert parsed.is_complete
    assert parsed.parser.get_status_code() == head.status
    assert parsed.keeps_alive
    assert parsed.fields == head.fields
    assert parsed.body == data[head.end : head.end + head.length]


@pytest.mark.parametrize(
    "data",
    [
        HEAD + b"\r\n{}",
        HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nConnection: close\r\n\r\n{}",
        HEAD + b"Content-Length: 02\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nX: a\r\n b\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\nX: a\nY: b\r\n\r\n{}",
        HEAD.replace(b"1.1", b"1.0") + b"Content-Length: 2\r\n\r\n{}",
        HEAD.replace(b"200", b"204") + b"Content-Length: 2\r\n\r\n{}",
        HEAD.replace(b"200", b"100") + b"Content-Length: 2\r\n\r\n{}",
        HEAD + b"Content-Length: 2\r\n",
    ],
)
def test_what_needs_more_is_left_to_the_parser(data: bytes) -> None:
    assert read_answer_head(data) is None
