"""What the fast lane takes for plainly well-formed, aiohttp reads the same; everything else is not the fast lane's."""

import asyncio
from collections.abc import Iterator

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from hub.fast_lane.plain import Plain, may_become_plain, read_plain
from hub.heads import HEAD_MAX

HEAD = b"GET /ocpi/2.2.1/receiver/sessions/BE/BEC/1?x=y HTTP/1.1\r\nHost: h\r\nX-Request-ID: 1\r\n"


def read(data: bytes) -> Plain | None:
    end = data.find(b"\r\n\r\n")
    return None if end < 0 else read_plain(data, end)


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """What aiohttp's parser asks for."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def read_by_aiohttp(data: bytes, loop: asyncio.AbstractEventLoop) -> tuple[str, str, dict[str, str], bytes] | None:
    """Give what aiohttp's parser makes of bytes that hold one whole request and nothing more; else None."""
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    messages, upgraded, tail = parser.feed_data(data)
    if len(messages) != 1 or upgraded or tail:
        return None
    message, payload = messages[0]
    fields = {name.lower(): value for name, value in message.headers.items()}
    if len(fields) != len(message.headers) or message.should_close or message.chunked or not payload.is_eof():
        return None
    return message.method, message.path, fields, payload.read_nowait()


PIECES = st.sampled_from(
    [
        b"GET", b"PUT", b"get", b" ", b"  ", b"/", b"/ocpi", b"?", b"#", b"%00", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2",
        b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"\r\n ", b"\r\n\t", b":", b": ", b" : ", b":\t", b"\0", b"\x7f", b"\xff",
        b"Host: h", b"Host: i", b"host: h", b"Content-Length: 5", b"Content-Length: 05", b"Content-Length: +5",
        b"Content-Length: 5, 5", b"Content-Length: 5 ", b"Content-Length : 5", b"Content_Length: 5",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding: identity",
        b"transfer-encoding:chunked", b"Connection: close", b"Connection: keep-alive", b"Connection: upgrade",
        b"Expect: 100-continue", b"Upgrade: x", b"TE: trailers", b"X: y", b"X: ", b"X:", b"X: a b", b"hello", b"{}",
        b"0\r\n\r\n", b"a" * 9000, b"\r\nX-Request-ID: 2",
    ]
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A well-formed request in which some pieces were put, taken away or put twice."""
    lines = [b"Host: h", b"Authorization: Token x", b"X-Request-ID: 1", b"OCPI-to-party-id: TNM", b"Accept: */*"]
    lines = draw(st.permutations(lines))
    body = draw(st.sampled_from([b"", b"hello", b"{}"]))
    if body:
        lines.append(b"Content-Length: %d" % len(body))
    data = b"\r\n".join((b"PUT /ocpi/2.2.1/receiver/sessions/BE/BEC/1 HTTP/1.1", *lines, b"", b"")) + body
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(PIECES) + data[place + draw(st.sampled_from([0, 0, 1, 2, 30])) :]
    return data


@given(data=requests())
@example(data=HEAD + b"\r\n")
@example(data=HEAD + b"Content-Length: 2\r\n\r\n{}")
def test_whatever_is_plain_is_the_same_request_to_aiohttp(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    plain = read(data)
    if plain is None:
        return
    body = data[data.find(b"\r\n\r\n") + 4 :]
    if len(body) != plain.length:
        return  # more comes, or more than one request: the connection sees to that
    theirs = read_by_aiohttp(data, loop)
    assert theirs == (plain.method, plain.target, plain.fields, body)


@given(data=requests())
def test_a_plain_request_may_become_one_at_every_byte_of_its_head(data: bytes) -> None:
    if read(data) is None:
        return
    first, end = data.find(b"\r\n") + 2, data.find(b"\r\n\r\n")
    assert all(may_become_plain(data[:length]) for length in range(first, end + 4))


@given(data=requests())
def test_what_may_become_plain_is_not_yet_wrong_to_aiohttp(loop: asyncio.AbstractEventLoop, data: bytes) -> None:
    data = data.partition(b"\r\n\r\n")[0]
    if may_become_plain(data):
        try:
            read_by_aiohttp(data, loop)
        except HttpProcessingError as exc:  # pragma: no cover
            raise AssertionError(f"aiohttp would answer {exc} at once, and we would wait") from exc


@pytest.mark.parametrize(
    "line",
    [
        b"X-Request-ID: 2",
        b"x-request-id: 1",
        b"Transfer-Encoding: chunked",
        b"Transfer-Encoding : chunked",
        b"Expect: 100-continue",
        b"Upgrade: websocket",
        b"Connection: close",
        b"Connection: keep-alive, X-Request-ID",
        b"Content-Encoding: gzip",
        b"Content-Length: 1, 1",
        b"Content-Length: -1",
        b"Content-Length: 01",
        b"Content-Length: 1_0",
        b"Content-Length: ",
        b"Content-Length: 1\x0b",
        b"Content-Length: 99999999999999999999",
        b"X: y\r\n folded",
        b"X: y\r\n\tfolded",
        b" X: y",
        b"X : y",
        b"X:y",
        b"X:  y",
        b"X: y ",
        b"X: ",
        b"X: \xe9",
        b"X: \x00",
        b"X: a\nY: b",
        b"X: a\rY: b",
        b": y",
        b"X",
        b"X(y): z",
        b"X: " + b"a" * HEAD_MAX,
        b"\r\n".join(b"X-%d: y" % number for number in range(70)),
    ],
)
def test_what_could_be_read_in_two_ways_is_not_plain(line: bytes) -> None:
    assert read(HEAD + b"\r\n") is not None
    assert read(HEAD + line + b"\r\n\r\n") is None
    assert read(HEAD.replace(b"Host: h", line) + b"Host: h\r\n\r\n") is None


@pytest.mark.parametrize(
    "line",
    [
        b"GET  /ocpi HTTP/1.1",
        b"GET /ocpi HTTP/1.1 ",
        b"GET /ocpi HTTP/1.0",
        b"GET /ocpi HTTP/1.1x",
        b"GET http://h/ocpi HTTP/1.1",
        b"GET ocpi HTTP/1.1",
        b"GET /ocpi#x HTTP/1.1",
        b"GET /oc\tpi HTTP/1.1",
        b"GET /oc\xc3\xa9pi HTTP/1.1",
        b"HEAD /ocpi HTTP/1.1",
        b"OPTIONS * HTTP/1.1",
        b"get /ocpi HTTP/1.1",
        b"\r\nGET /ocpi HTTP/1.1",
        b"",
    ],
)
def test_only_a_plain_request_line_is_plain(line: bytes) -> None:
    assert read(line + b"\r\nHost: h\r\nX: y\r\n\r\n") is None


def test_a_request_without_host_is_not_plain() -> None:
    assert read(b"GET /ocpi HTTP/1.1\r\nX: y\r\n\r\n") is None
