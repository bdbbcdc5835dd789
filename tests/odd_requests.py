"""Requests as members might send them: mostly well-formed, then spoilt in ways in which parsers are known to differ."""

import gzip
from itertools import pairwise

from hypothesis import strategies as st

from tests.both_lanes import TOKEN, Piece, request

PUT = b'{"country_code":"BE","party_id":"BEC","id":"1","last_updated":"2026-01-01T00:00:00Z"}'
LONG = PUT[:-1] + b',"x":"' + b"y" * 3000 + b'"}'
SESSION = "receiver/sessions/BE/BEC/1"
HEADS = [
    ("GET", SESSION, b""),
    ("GET", SESSION, b""),
    ("PUT", SESSION, PUT),
    ("PUT", SESSION, PUT),
    ("PUT", SESSION, LONG),
    ("PATCH", "receiver/locations/BE/BEC/L/E/C", b'{"last_updated":"2026-01-01T00:00:00Z"}'),
    ("POST", "receiver/cdrs", PUT),
    ("POST", "sender/tokens/T/authorize", b""),
    ("POST", "sender/tokens/T/authorize?type=RFID", b'{"location_id":"L"}'),
    ("GET", "sender/tokens/?offset=5&limit=10", b""),
    ("DELETE", SESSION, b""),
    ("GET", "versions", b""),
]
FORWARDS = HEADS[:-2]
"""Those for the receiver."""
LINES = [
    b"Connection: close", b"Connection: keep-alive", b"Connection: Keep-Alive, close", b"Connection: X-Request-ID",
    b"Connection: Content-Length", b"Connection: Upgrade", b"Connection:", b"Upgrade: websocket", b"Upgrade: h2c",
    b"HTTP2-Settings: AAMAAABkAAQAAP__", b"Expect: 100-continue", b"Expect: 200-ok", b"expect: 100-Continue",
    b"Proxy-Connection: close", b"Keep-Alive: timeout=5", b"TE: trailers", b"Trailer: Content-Length",
    b"Content-Encoding: gzip", b"Content-Encoding: identity", b"Accept-Encoding: gzip", b"Accept: */*", b"Accept: ",
    b"Content-Type: text/plain", b"Content-Type: application/json; charset=utf-8", b"traceparent: 00-1-2-01",
    b"tracestate: x=y", b"Cookie: c", b"X-Forwarded-For: 1.2.3.4", b"Host: other", b"Host:", b"Host: a b", b"Host: a,b",
    b"Content_Length: 5", b"Transfer_Encoding: chunked", b": no name", b"no colon", b"na me: x", b"x\0: y", b"x: y\0z",
    b"x: \xe9", b"\xe9: x", b"x: \x7f", b"x: \x0b", b"x: a\tb", b"x:\tb", b"x: b\t", b"x:", b"x: ", b"x:a", b"x:  a",
    b"x: a ", b"x : a", b" x: a", b"\tx: a", b"x: a\r\n b", b"x: a\r\n\tb", b"x: a\r\n \r\n b", b"x: a\nb: c",
    b"x: a\rb: c", b"x: a\r", b"\"x\": y", b"(x): y", b"x@y: z", b"x: " + b"a" * 7000, b"x: " + b"a" * 8100,
    b"x: " + b"a" * 8190, b"x: " + b"a" * 9000, b"x" * 8200 + b": a", b"X-Request-ID: 2", b"X-Request-ID:",
    b"x-correlation-id: 3", b"OCPI-to-party-id: XXX", b"ocpi-to-party-id: TNM", b"OCPI-to-country-code: NL",
    b"OCPI-from-party-id: XXX", b"Authorization: Token x", b"Authorization: " + TOKEN, b"authorization: Bearer y",
    b"\r\n".join(b"x%d: y" % number for number in range(56)), b"\r\n".join(b"x%d: y" % number for number in range(130)),
]  # fmt: skip
LENGTHS = [
    b"Content-Length: %d", b"content-length: %d", b"Content-Length:%d", b"Content-Length: %d ", b"Content-Length:\t%d",
    b"Content-Length: +%d", b"Content-Length: -%d", b"Content-Length: 0%d", b"Content-Length: 0x%x",
    b"Content-Length: %d, %d", b"Content-Length: %d,%d", b"Content-Length: %d\r\nContent-Length: %d",
    b"Content-Length: %d\r\ncontent-length: 0", b"Content-Length: 0\r\nContent-Length: %d", b"Content-Length: %d.0",
    b"Content-Length: %de0", b"Content-Length: %d_0", b"Content-Length : %d", b" Content-Length: %d",
    b"Content-Length: \r\n %d", b"Content-Length: %d\r\n 1", b"Content-Length:", b"Content-Length: ",
    b"Content-Length: 99999999999999999999999", b"Content-Length: 18446744073709551617", b"Content-Length: \xb2",
    b"Content-Length: %d\x0b", b"Content-Length: \x0c%d", b"Content-Length: %d;x", b"Content-Length: \"%d\"",
]  # fmt: skip
CODINGS = [
    b"Transfer-Encoding: chunked", b"transfer-encoding: chunked", b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding:chunked", b"Transfer-Encoding:\tchunked", b"Transfer-Encoding: chunked ",
    b"Transfer-Encoding: \x0bchunked", b"Transfer-Encoding : chunked", b"Transfer-Encoding\t: chunked",
    b"Transfer-Encoding: chunked, identity", b"Transfer-Encoding: identity, chunked", b"Transfer-Encoding: identity",
    b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunkedx", b"Transfer-Encoding: \"chunked\"", b"Transfer-Encoding: chunked;q=1",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked", b"Transfer-Encoding:\r\n chunked", b"Transfer-Encoding:",
    b" Transfer-Encoding: chunked", b"X: y\nTransfer-Encoding: chunked", b"X: y\rTransfer-Encoding: chunked",
    b"Transfer-Encoding: chunked\0", b"Transfer-Encoding: ,chunked", b"Transfer-Encoding: chunked,",
]  # fmt: skip
TARGETS = [
    "http://hub.example/ocpi/2.2.1/" + SESSION, "http://other.example/ocpi/2.2.1/" + SESSION, "hub.example:80", "*",
    "HTTP://h/ocpi/2.2.1/" + SESSION, "//h/ocpi/2.2.1/" + SESSION, "/ocpi/2.2.1/receiver/sessions/BE/BEC/..",
    "/ocpi/2.2.1/receiver/sessions/BE/BEC/../1", "/ocpi/2.2.1/receiver/sessions/BE/BEC/%2e%2e",
    "/ocpi/2.2.1/receiver/sessions/BE/BEC/%2E.", "/ocpi/2.2.1/receiver/sessions/BE/BEC/.",
    "/ocpi/../ocpi/2.2.1/" + SESSION,
    "/ocpi/2.2.1/receiver/sessions/BE/BEC/..%2f..", "/ocpi/2.2.1/receiver/sessions/BE/BEC/..%5c",
    "/ocpi/2.2.1/receiver/sessions/BE/BEC/a%2Fb", "/ocpi/2.2.1/receiver/sessions/BE/BEC/%252e%252e",
    "/ocpi/2.2.1/receiver/sessions//BE/BEC/1", "//ocpi/2.2.1/" + SESSION, "/ocpi//2.2.1/" + SESSION,
    "/ocpi/2.2.1/" + SESSION + "/", "/ocpi/2.2.1/" + SESSION + "//", "/ocpi/2.2.1/" + SESSION + "?",
    "/ocpi/2.2.1/" + SESSION + "??a", "/ocpi/2.2.1/" + SESSION + "?a=/../b", "/ocpi/2.2.1/" + SESSION + "?a=%0d%0aX: y",
    "/ocpi/2.2.1/" + SESSION + "#x", "/ocpi/2.2.1/" + SESSION + "?a#x", "/ocpi/2.2.1/" + SESSION + ";x=y",
    "/ocpi/2.2.1/" + SESSION + "%00", "/ocpi/2.2.1/" + SESSION + "%", "/ocpi/2.2.1/" + SESSION + "%zz",
    "/ocpi/2.2.1/" + SESSION + "\\..", "/ocpi/2.2.1/" + SESSION + " x", "/ocpi/2.2.1/" + SESSION + "\tx",
    "/ocpi/2.2.1/" + SESSION + "\xe9", "/ocpi/2.2.1/" + SESSION + "\"<>", "/ocpi/2.2.1/" + SESSION + "{}|^`",
    "/ocpi/2.2.1/receiver/sessions/be/bec/1", "/ocpi/2.2.1/receiver/sessions/B%45/BEC/1", "ocpi/2.2.1/" + SESSION,
    "/ocpi/2.2.1/receiver/sessions/NL/BEC/1", "/OCPI/2.2.1/" + SESSION, "/ocpi/2.2/" + SESSION, "/", "",
    "/ocpi/2.2.1/receiver/sessions/BE/BEC/" + "l" * 7000, "/ocpi/2.2.1/receiver/sessions/BE/BEC/" + "l" * 9000,
    "/ocpi/2.2.1/sender/tokens?hub_alias=x", "/ocpi/2.2.1/sender/tokens/-/x", "/ocpi/2.2.1/receiver/sessions",
    "/ocpi/2.2.1/receiver/sessions/BE/BEC/1/2/3", "/ocpi", "/metrics",
]  # fmt: skip
VERSIONS = [
    "HTTP/1.0",
    "HTTP/1.2",
    "HTTP/2.0",
    "HTTP/0.9",
    "http/1.1",
    "HTTP/1.1 ",
    "HTTP/11",
    "HTTP/1.10",
    "",
    "HTTP/1",
]
METHODS = ["HEAD", "OPTIONS", "get", "Get", "G@T", "CONNECT", "TRACE", "PRI", "QUERY", "GETGET", "", "DELETE", "PUT"]
BODIES = [
    b"", b"{}", b"null", b"{no json", b"\xef\xbb\xbf" + PUT, PUT + b"\r\n", b" \n" + PUT, b"\0", b'"\xff"',
    b'{"a":NaN}',
    b'{"a":"\\ud800"}', b"[" * 1500 + b"]" * 1500, PUT[:-1], LONG, LONG[:-1], b"x" * 5000, gzip.compress(PUT, mtime=0),
    b'{"response_url":"http://127.0.0.1/x"}',
]  # fmt: skip
SPOILS = [
    b"\n", b"\r", b"\r\n", b"\r\n\r\n", b"\n\n", b"\n\r\n", b"\r\r\n", b"\0", b"\xff", b" ", b"\t", b":", b"%",
    b"0\r\n\r\n",
    b"GET / HTTP/1.1\r\n", b"x" * 300, b"\x0b", b"\x80",
]  # fmt: skip
BETWEEN = [
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"0\r\n\r\n",
    b"garbage",
    b"\0",
    b"\x16\x03\x01\x02\x00\x01",
    b"HTTP/1.1 200 OK\r\n\r\n",
]
AROUND_SIZES = [
    (b"0x", b""), (b"+", b""), (b"-", b""), (b"0000", b""), (b" ", b""), (b"", b" "), (b"", b"_0"), (b"f" * 16, b""),
    (b"", b"g"), (b"", b"\t"), (b"1", b""), (b"\r\n", b""),
]  # fmt: skip


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """A chunked body, sometimes an odd one."""
    cut = draw(st.integers(1, max(1, len(body) - 1)))
    parts = [part for part in (body[:cut], body[cut:]) if part]
    odd = draw(st.sampled_from([None] * 4 + ["size", "extension", "end", "trailer", "last"]))
    out = b""
    for part in parts:
        size, extension, end = b"%x" % len(part), b"", b"\r\n"
        if odd == "size":
            before, after = draw(st.sampled_from(AROUND_SIZES))
            size = before + size + after
        if odd == "extension":
            extension = draw(
                st.sampled_from([b";a=b", b';a="\r\n"', b" ;a", b";a\nb", b";" + b"e" * 9000, b";\0", b"; \xff"])
            )
        if odd == "end":
            end = draw(st.sampled_from([b"\n", b"\r", b"", b"\r\r\n", b"xx"]))
        out += size + extension + (end if draw(st.booleans()) else b"\r\n") + part + end
    trailer = b""
    if odd == "trailer":
        trailer = draw(
            st.sampled_from(
                [b"X: y\r\n", b"Content-Length: 5\r\n", b"X: y\n", b"no colon\r\n", b"OCPI-to-party-id: X\r\n"]
            )
        )
    last = draw(st.sampled_from([b"0;a\r\n", b"00\r\n", b"0\n", b"", b"0\r\n0\r\n"])) if odd == "last" else b"0\r\n"
    return out + last + trailer + b"\r\n"


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """A request, well-formed in half of the cases."""
    method, path, body = draw(st.sampled_from(HEADS))
    if draw(st.integers(0, 9)) == 0:
        body = draw(st.sampled_from(BODIES))
    first, *lines = request(method, path).partition(b"\r\n\r\n")[0].split(b"\r\n")
    length = len(body)
    framing = b"Content-Length: %d" % length if body or method == "POST" else None
    version = b"HTTP/1.1"
    target = first.split(b" ")[1]
    wire = body
    spoilt = draw(st.integers(0, 9)) >= 5
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=2)) if spoilt else []
    if draw(st.integers(0, 3)) == 0:
        lines = list(draw(st.permutations(lines)))
    for kind in kinds:
        if kind == "line":
            place = draw(st.integers(0, len(lines)))
            lines.insert(place, draw(st.sampled_from(LINES)))
        elif kind == "length":
            pattern = draw(st.sampled_from(LENGTHS))
            length += draw(st.sampled_from([0, 0, 0, -1, 1, 40, -length]))
            count = pattern.count(b"%")
            framing = pattern % ((length,) * count) if count else pattern
            wire = body
        elif kind == "coding":
            lines.append(draw(st.sampled_from(CODINGS)))
            wire = draw(chunked(body)) if draw(st.integers(0, 3)) else body
            framing = draw(st.sampled_from([None, framing, b"Content-Length: %d" % len(wire), b"Content-Length: 4"]))
        elif kind == "proper chunks":
            lines.append(b"Transfer-Encoding: chunked")
            wire, framing = draw(chunked(body)), None
        elif kind == "target":
            target = draw(st.sampled_from(TARGETS)).encode("latin-1")
        elif kind == "version":
            version = draw(st.sampled_from(VERSIONS)).encode()
        elif kind == "method":
            method = draw(st.sampled_from(METHODS))
        elif kind == "double":
            lines.insert(draw(st.integers(0, len(lines))), draw(st.sampled_from(lines)))
        elif kind == "drop":
            lines.remove(draw(st.sampled_from([line for line in lines if b"OCPI-to" not in line] or lines)))
        elif kind == "case":
            fold = draw(st.sampled_from([bytes.lower, bytes.upper, bytes.title]))
            lines = [fold(name) + colon + value for name, colon, value in (line.partition(b":") for line in lines)]
        elif kind == "separator":
            place = draw(st.integers(0, len(lines) - 1))
            separator = draw(st.sampled_from([b":", b":  ", b":\t", b" : ", b" :", b": \t ", b"; ", b"=", b""]))
            lines[place] = lines[place].replace(b": ", separator, 1)
        elif kind == "value":
            place = draw(st.integers(0, len(lines) - 1))
            name = lines[place].partition(b":")[0]
            lines[place] = name + draw(st.sampled_from([b": ", b": x", b": \xe9", b": a\0b", b": " + b"v" * 300,
    b": DE, NL",
                b": %44%45", b": de", b": token " + TOKEN[6:], b": Token  " + TOKEN[6:], b": TNM\t"]))  # fmt: skip
    if framing is not None:
        lines.insert(draw(st.integers(0, len(lines))), framing)
    data = b"\r\n".join([b" ".join([method.encode(), target, version]), *lines, b"", b""]) + wire
    if "bytes" in kinds:
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(st.sampled_from(SPOILS)) + data[place + draw(st.sampled_from([0, 0, 1, 2, 20])) :]
    if "ends" in kinds:
        data = data.replace(
            b"\r\n", draw(st.sampled_from([b"\n", b"\r", b"\n\r", b"\r\r\n"])), draw(st.sampled_from([1, 3, -1]))
        )
    if "short" in kinds:
        data = data[: draw(st.integers(0, len(data)))]
    return data


KINDS = [
    "line", "line", "line", "length", "length", "coding", "coding", "proper chunks", "target", "target", "version",
    "method",
    "double", "drop", "case", "separator", "value", "bytes", "bytes", "ends", "short",
]  # fmt: skip


@st.composite
def sent(draw: st.DrawFn) -> list[Piece]:
    """Requests over one connection, in pieces: some plain ones, then others, since what is odd ends the fast lane."""
    several = [
        request(method, path, *(["Content-Length: 0"] if method == "POST" and not body else []), body=body)
        for method, path, body in draw(st.lists(st.sampled_from(FORWARDS), max_size=3))
    ]
    several += draw(st.lists(requests(), min_size=1, max_size=2))
    data, borders = several[0], []
    for each in several[1:]:
        borders.append(len(data))
        data += (draw(st.sampled_from(BETWEEN)) if draw(st.integers(0, 9)) == 0 else b"") + each
    if draw(st.integers(0, 9)) == 0:
        data += draw(st.sampled_from(BETWEEN))
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=3)) if draw(st.booleans()) else []
    if draw(st.integers(0, 3)):
        cuts += borders
    cuts = sorted({0, len(data), *cuts})
    waits = draw(st.sampled_from([True, True, False]))
    return [Piece(data[begin:end], waits) for begin, end in pairwise(cuts)] or [Piece(data)]
