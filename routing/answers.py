"""What the receiver answered, and what of it the requester gets.

OCPI 2.2.1, Status codes: the receiver's own 2xxx and 3xxx are relayed, never replaced; what concerns only the
connection between hub and receiver (its 401, HTML of a proxy) never reaches the requester.
"""

import re
from collections.abc import Iterator

import orjson

from config.ocpi import NotFound, OCPIError, ReceiverNotConnected, RoutingFailed

FULL_PARSE_MAX = 8 * 1024
"""Answers up to this many bytes are parsed whole; of larger ones the ends are looked at (a few µs, not megabytes)."""
_WINDOW = 512
_NAME = b'"status_code"'
_STATUS_CODE = re.compile(rb'"status_code"\s*:\s*(\d{1,9})(?=\s*[,}])')
_STRUCTURE = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_SPACE = b" \t\r\n"


def is_json(body: bytes) -> bool:
    """Whether this is valid JSON in UTF-8, without NaN or Infinity (T-040)."""
    try:
        orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return True


def starts_like_json(head: bytes) -> bool:
    """Whether the first bytes of a long body can be a JSON object or array."""
    return head.lstrip(_SPACE)[:1] in (b"{", b"[")


def starts_like_envelope(head: bytes) -> bool:
    """Whether the first bytes of a long answer can be an OCPI envelope's."""
    return head.lstrip(_SPACE)[:1] == b"{"


def read_status_code(body: bytes) -> int | None:
    """Give the OCPI status_code of a whole answer; None when it is no envelope (R-184)."""
    if len(body) <= FULL_PARSE_MAX:
        return _parse_status_code(body)
    head, tail = body[:_WINDOW].lstrip(_SPACE), body[-_WINDOW:].rstrip(_SPACE)
    if head[:1] != b"{" or tail[-1:] != b"}":
        return None
    # Where nothing but the envelope is open, the member is its own and not one of its data's.
    for match in _find(tail):
        if _opened(tail[match.end() :]) == -1:
            return int(match[1])
    for match in _find(head):
        if _opened(head[: match.start()]) == 1:
            return int(match[1])
    return _parse_status_code(body)


def _find(piece: bytes) -> Iterator[re.Match[bytes]]:
    """Give where a piece of JSON has a status_code, not at its very beginning or within a string."""
    at = piece.find(_NAME, 1)
    while at > 0:
        match = _STATUS_CODE.match(piece, at)
        if match is not None and piece[at - 1] != 0x5C:
            yield match
        at = piece.find(_NAME, at + 1)


def _opened(piece: bytes) -> int:
    """How many objects and arrays are opened and not closed in a piece of JSON, minus those closed and not opened."""
    return sum(1 if token in b"{[" else -1 for token in _STRUCTURE.findall(piece) if token in b"{}[]")


def _parse_status_code(body: bytes) -> int | None:
    try:
        envelope = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    code = envelope.get("status_code") if isinstance(envelope, dict) else None
    return code if type(code) is int else None


def judge(http_status: int, *, is_envelope: bool) -> OCPIError | None:
    """Give the hub's answer in place of the receiver's, or None to relay it with its HTTP status."""
    if http_status in (401, 403, 407):
        # the receiver refuses the hub. Relayed, it would make the requester drop its own good token.
        return ReceiverNotConnected("The receiver refuses the hub's credentials; its operator has been told.")
    if is_envelope:
        if http_status in (204, 205, 304) or http_status < 200 or 300 <= http_status < 400 or http_status > 599:
            return RoutingFailed(f"The receiver answered with HTTP {http_status}, which OCPI does not use.")
        return None
    if http_status in (404, 405):
        return NotFound(f"The receiver answered with HTTP {http_status}.", http_status=http_status)
    if http_status in (502, 503, 504):
        return ReceiverNotConnected(f"A proxy in front of the receiver answered with HTTP {http_status}.")
    return RoutingFailed(f"The receiver's answer (HTTP {http_status}) is no OCPI message.")
