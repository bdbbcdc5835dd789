"""Bytes as they went over the wire, made comparable."""

import re

_MASKED = (
    (re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"), b"UUID"),
    (re.compile(rb"\r\nDate: [^\r]*"), b"\r\nDate: DATE"),
    (re.compile(rb"127\.0\.0\.1:\d+"), b"HOST"),
    (re.compile(rb'"token":"[^"]*"'), b'"token":"TOKEN"'),
    (re.compile(rb"hub_alias=[^>&\"]+"), b"hub_alias=ALIAS"),
    (re.compile(rb"/-/[A-Za-z0-9_-]+"), b"/-/ALIAS"),
    (re.compile(rb'"timestamp":"[^"]*"'), b'"timestamp":"TIME"'),
)
_CHUNK = re.compile(rb"([0-9a-f]+)\r\n")


def masked(data: bytes) -> bytes:
    """Give it without ids, dates, ports and tokens."""
    for pattern, replacement in _MASKED:
        data = pattern.sub(replacement, data)
    return data


def unchunked(data: bytes) -> bytes:
    """Join the pieces of chunked bodies: in which pieces a body comes is a matter of time."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        found += [head, end]
        if b"\r\nTransfer-Encoding: chunked" in head:
            while match := _CHUNK.match(data):
                size = int(match[1], 16)
                found.append(data[match.end() : match.end() + size])
                data = data[match.end() + size + 2 :]
                if not size:
                    found.append(b"<end of chunks>")
                    break
            continue
        place = re.search(rb"\r\nContent-Length: (\d+)", head)
        length = int(place[1]) if place and not data.startswith(b"HTTP/1.") else 0
        found.append(data[:length])
        data = data[length:]
    return b"".join(found)
