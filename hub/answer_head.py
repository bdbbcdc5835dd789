"""Heads of answers that are plainly well-formed, read in a fifth of the time that a parser of all HTTP needs.

A strict part of RFC 9112: HTTP/1.1, a final status with a body, each field on one line of printable ASCII, one
Content-Length, a connection that stays open. Whatever else there is goes through the parser.
"""

import re
from typing import NamedTuple

from hub.heads import FIELD, LENGTH, Heads, Learned
from routing.headers import RELAYED, relayed_headers

_LINE = re.compile(FIELD.encode())
_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [ -~]*)?")
_NO_BODY = frozenset({204, 205, 304})
_FRAMING = frozenset({"connection", "content-length", "keep-alive", "trailer", "transfer-encoding", "upgrade"})
_ASKS_FOR_MORE = frozenset({"content-encoding", "link", "location"})
_RELAYED = frozenset(name.lower() for name in RELAYED)

Field = tuple[bytes, bytes, bytes]
"""A header field: its name in lower case, as it was written, its value."""


class AnswerHead(NamedTuple):
    """What heads of answers have in common that differ in what means nothing, such as their Date."""

    status: int
    keep_alive: str | None
    """What the Keep-Alive field says."""
    asks_for_more: bool
    """Whether there is more to it than passing the body on: a coding, or a URL."""
    relayed: str
    """The lines of the fields that the requester gets as they are."""


def read_fields(data: bytes, end: int) -> list[Field] | None:
    """Read the fields of a head whose last line ends at `end`; None when they are not plain."""
    fields = []
    for line in data[:end].split(b"\r\n")[1:]:
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        fields.append((match[1].lower(), match[1], match[2]))
    return fields


def answer_heads() -> Heads[AnswerHead]:
    """Make what reads the heads of answers; with each comes its Content-Length."""
    means = _FRAMING | _ASKS_FOR_MORE | _RELAYED
    return Heads(_learn, wanted={"content-length": LENGTH}, fixed=means.__contains__, first_varies=False)


def _learn(data: bytes, end: int) -> Learned[AnswerHead] | None:
    status_line = _STATUS_LINE.fullmatch(data[:end].partition(b"\r\n")[0])
    fields = read_fields(data, end)
    if status_line is None or fields is None or int(status_line[1]) in _NO_BODY:
        return None
    pairs = [(key.decode(), value.decode()) for key, _, value in fields]
    framing = [pair for pair in pairs if pair[0] in _FRAMING]
    by_name = dict(framing)
    if len(by_name) != len(framing) or not by_name.keys() <= {"connection", "content-length", "keep-alive"}:
        return None
    if not LENGTH(by_name.get("content-length", "")) or by_name.get("connection", "keep-alive").lower() != "keep-alive":
        return None
    relayed = {name: value for name, value in reversed(pairs) if name in _RELAYED}  # of several, the first
    lines = relayed_headers({name: relayed[name.lower()] for name in RELAYED if name.lower() in relayed})
    meaning = AnswerHead(
        int(status_line[1]),
        by_name.get("keep-alive"),
        any(name in _ASKS_FOR_MORE for name, _ in pairs),
        "".join([f"{name}: {value}\r\n" for name, value in lines.items()]),
    )
    return Learned(meaning, pairs)
