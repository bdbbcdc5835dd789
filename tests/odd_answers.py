"""Answers as receivers might give them: plain in half of the cases, then anything."""

import gzip
from itertools import pairwise

from hypothesis import strategies as st

from tests.odd_requests import chunked
from tests.station import ENVELOPE, Reply, reply

STATUSES = [
    "200 OK", "201 Created", "200", "200 ", "202 Accepted", "299 Own", "400 Bad", "401 Unauthorized", "403 No",
    "404 Not Found",
    "405 No", "407 Proxy", "429 Slow", "500 Oops", "503 Gone", "204 No Content", "205 Reset", "304 Not Modified",
    "301 Moved",
    "302 Found", "307 Again", "308 Again", "100 Continue", "101 Switching", "103 Early", "99 x", "600 x", "999 x",
    "2000 x",
    "20 x", "abc x", "200 O\xe9K",
]  # fmt: skip
ANSWERS = [
    ENVELOPE, ENVELOPE.replace(b"1000", b"2003"), ENVELOPE.replace(b"1000", b"3001"), ENVELOPE.replace(b"1000", b"19"),
    ENVELOPE.replace(b"1000", b'"1000"'), ENVELOPE.replace(b"1000", b"1e3"), ENVELOPE.replace(b"1000", b"99999999999"),
    b"\xef\xbb\xbf" + ENVELOPE, b" \r\n" + ENVELOPE + b"\n", b"", b"<html>", b"[]", b"{}", b"null",
    b'{"status_code":true}',
    ENVELOPE[:-1], ENVELOPE + b"x", b"\xff\xfe", b'{"data":"' + b"x" * 1900 + b'","status_code":1000}',
    b'{"data":"' + b"x" * 3000 + b'","status_code":1000}', b'{"data":"' + b"x" * 40000 + b'","status_code":1000}',
    b"<html>" + b"x" * 5000, gzip.compress(ENVELOPE, mtime=0), b'{"status_code":1000,"status_code":2000}',
    b'{"data":["http://127.0.0.1/ocpi/x"],"status_code":1000}',
]  # fmt: skip
FIELDS = [
    "X-Total-Count: 7", "x-total-count: 8", "X-Limit: 5", "X-Limit: \xe9", "X-Limit:", "Retry-After: 9",
    "Set-Cookie: c",
    'Link: </ocpi/tokens/?offset=5>; rel="next"', "Link: nonsense", "Location: /ocpi/cdrs/5",
    "Location: http://other/x",
    "Content-Encoding: gzip", "Content-Encoding: identity", "Content-Encoding: br", "Content-Encoding:",
    "Connection: close",
    "Connection: keep-alive", "Connection: X-Limit", "Keep-Alive: timeout=0", "Keep-Alive: timeout=60", "Upgrade: h2c",
    "Trailer: X", "X-Request-ID: other", "Server: x", "Date: today", "x: a\r\n b", "x : a", " x: a", "x", ": a",
    "x: \0",
    "x:a", "x: a ", "x:\ta", "x: " + "a" * 7900, "x: " + "a" * 70000, "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip, chunked", "Content-Length: 5", "Content-Length: +5", "Content-Length: 5, 5",
    "Content-Length: 18446744073709551617", "OCPI-to-party-id: ZZZ", "Content-Type: text/html",
]  # fmt: skip


@st.composite
def replies(draw: st.DrawFn, *, is_announced: bool = True) -> Reply:
    """What the receiver does: a plain answer in half of the cases.

    `is_announced`: it says so when it closes the connection after a whole answer. When it does not, and requests are
    waiting, it is a matter of time whether the hub sends one before it sees the end of the connection.
    """
    if draw(st.booleans()):
        return Reply(waits=draw(st.integers(0, 3)) == 0)
    status = draw(st.sampled_from(STATUSES)) if draw(st.booleans()) else "200 OK"
    body = draw(st.sampled_from(ANSWERS))
    lines = draw(st.lists(st.sampled_from(FIELDS), max_size=2))
    framing = draw(st.sampled_from(["length"] * 4 + ["chunked", "close", "both", "twice", "wrong"]))
    closes = framing == "close" or draw(st.integers(0, 4)) == 0
    if closes and is_announced:
        lines.append("Connection: close")
    if framing in ("chunked", "both"):
        lines.append("Transfer-Encoding: chunked")
    if framing == "twice":
        lines.append(f"Content-Length: {len(body)}")
    data = reply(body, status, *lines, framed=framing in ("length", "both", "twice"))
    if framing in ("chunked", "both"):
        data = data[: len(data) - len(body)] + draw(chunked(body))
    if framing == "wrong":
        wrong = f"Content-Length: {len(body) + draw(st.sampled_from([-1, 1, 9]))}"
        data, closes = reply(body, status, *lines, wrong, framed=False), True
    if draw(st.integers(0, 5)) == 0:
        data = draw(st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\n",
            b"HTTP/1.1 102 P\r\n\r\n" * 9, b"\r\n", b"x", b"HTTP/1.1 101 S\r\nUpgrade: x\r\n\r\n"])) + data  # fmt: skip
    end = len(data)
    if draw(st.integers(0, 5)) == 0:
        data += draw(st.sampled_from([b"x", b"\r\n", reply(), b"0\r\n\r\n"]))
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(data)))
        data = (
            data[:place]
            + draw(st.sampled_from([b"\n", b"\r", b"\0", b"\xff", b"\r\n", b" ", b":"]))
            + data[place + 1 :]
        )
    if draw(st.integers(0, 7)) == 0:
        data, closes = data[: draw(st.integers(0, end - 1))], True
    last = max(0, min(end, len(data)) - 1)  # what follows an answer comes with its end
    cuts = sorted({0, len(data), *draw(st.lists(st.integers(0, last), max_size=2))})
    pieces = tuple(data[begin:end] for begin, end in pairwise(cuts)) if data else ()
    return Reply(pieces, closes or not data, waits=draw(st.integers(0, 3)) == 0)
