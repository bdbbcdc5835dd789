"""Bytes as they went over the wire, made comparable."""

import re
from collections.abc import Sequence

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


def request_lines(authorization: str, method: str, path: str, *more: str, drop: Sequence[str] = ()) -> list[str]:
    """The lines of the head of a request of the CPO's to the eMSP, but for those that are dropped."""
    lines = [
        f"{method} /ocpi/2.2.1/{path} HTTP/1.1",
        "Host: hub.example",
        f"Authorization: {authorization}",
        "X-Request-ID: request-1",
        "X-Correlation-ID: correlation-1",
        "OCPI-from-country-code: BE",
        "OCPI-from-party-id: BEC",
        "OCPI-to-country-code: DE",
        "OCPI-to-party-id: TNM",
    ]
    return [line for line in lines if line.partition(":")[0] not in drop] + list(more)


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
