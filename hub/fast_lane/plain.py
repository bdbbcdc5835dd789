"""Requests that are plainly well-formed: whatever could be read in two ways is none.

A strict part of RFC 9112 in which every parser agrees: one request line, each header once, values of printable ASCII,
no folding, a Content-Length or no body. Pure: no I/O, no state but the heads seen lately.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hub.heads import FIELD, HEAD_MAX, LENGTH, VALUE, WORD, Check, Heads, Learned

if TYPE_CHECKING:
    from hub.fast_lane.plans import Plan

HEADERS_MAX = 64
_ODD = frozenset(
    {
        "content-encoding",
        "expect",
        "keep-alive",
        "proxy-connection",
        "sec-websocket-key1",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Header fields that make more of a request than its bytes."""
_REQUEST_LINE = re.compile(r"(GET|PUT|POST|PATCH|DELETE) (/[A-Za-z0-9/._~:@!$&'()*+,;=%?-]*) HTTP/1\.1")
_LINE = re.compile(FIELD)
_BEGINNING = re.compile(
    rb"(?:GET|PUT|POST|PATCH|DELETE) /[A-Za-z0-9/._~:@!$&'()*+,;=%?-]* HTTP/1\.1\r\n"
    rb"(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [!-~](?:[ -~]*[!-~])?\r\n)*"
    rb"(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+(?::|: |: [!-~][ -~]*)?)?\r?"
)
_WRONG_ALREADY = re.compile(
    rb"\r\ncontent-length: ?+(?:[0-9]{0,9}[^0-9\r]|[0-9]{10})|\r\ntransfer-encoding",
    re.IGNORECASE,
)
"""What makes a parser refuse a head, or read it otherwise, before it is complete."""
_MEANT = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-type",
        "host",
        "ocpi-from-country-code",
        "ocpi-from-party-id",
        "ocpi-to-country-code",
        "ocpi-to-party-id",
    }
)
"""Header fields by which the hub goes, but for those that are other in each request."""


class Plain(NamedTuple):
    """A plainly well-formed head."""

    method: str
    target: str
    """Path and query as they came."""
    fields: dict[str, str]
    """Header fields by their names in lower case."""
    length: int
    """Bytes of the body."""


class Head:
    """What requests have in common whose heads differ in the target and in what changes from request to request."""

    __slots__ = ("fields", "plans")

    def __init__(self, fields: dict[str, str]) -> None:
        self.fields = fields
        """Header fields by their names in lower case."""
        self.plans: dict[tuple[str, int], Plan | dict[tuple[str, str], Plan]] = {}
        """What is done with them: see Plans."""


class Fields:
    """Header fields of a plain head, as routing/ reads them: in any case of letters."""

    __slots__ = ("_fields",)

    def __init__(self, fields: dict[str, str]) -> None:
        self._fields = fields

    def get(self, name: str) -> str | None:
        """Give the value, or None."""
        return self._fields.get(name.lower())

    def getall(self, name: str, default: Sequence[str]) -> Sequence[str]:
        """Give every value: one at most."""
        value = self._fields.get(name.lower())
        return default if value is None else (value,)


def request_heads(passed_on: Sequence[str]) -> Heads[Head]:
    """Make what reads the heads of requests.

    With each come the values of X-Request-ID, X-Correlation-ID and Content-Length, and of these fields, which are
    passed on and change from request to request.
    """
    wanted: dict[str, Check] = {"x-request-id": WORD, "x-correlation-id": WORD, "content-length": LENGTH}
    wanted |= {name.lower(): VALUE for name in passed_on}

    def learn(data: bytes, end: int) -> Learned[Head] | None:
        plain = read_plain(data, end)
        if plain is None:
            return None
        common = {name: value for name, value in plain.fields.items() if name not in wanted}
        return Learned(Head(common), tuple(plain.fields.items()))

    return Heads(learn, wanted=wanted, fixed=_MEANT.__contains__, first_varies=True)


def read_plain(data: bytes, end: int) -> Plain | None:
    """Read a head that ends with the empty line at `end`; None when it is not plainly well-formed."""
    if end > HEAD_MAX:
        return None
    try:
        first, *lines = data[:end].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    found = [match for line in lines if (match := _LINE.fullmatch(line))]
    fields = {match[1].lower(): match[2] for match in found}
    match = _REQUEST_LINE.fullmatch(first)
    if (
        match is None
        or len(fields) != len(lines)
        or len(lines) > HEADERS_MAX
        or "host" not in fields
        or not _ODD.isdisjoint(fields)
        or ("connection" in fields and fields["connection"].lower() != "keep-alive")
    ):
        return None
    length = fields.get("content-length")
    if length is None:
        return Plain(match[1], match[2], fields, 0)
    return Plain(match[1], match[2], fields, int(length)) if LENGTH(length) else None


def may_become_plain(data: bytes) -> bool:
    """Whether these bytes, in which no head ends, can be the beginning of a plain one."""
    if len(data) > HEAD_MAX or _BEGINNING.fullmatch(data) is None or _WRONG_ALREADY.search(data) is not None:
        return False
    names = [line.partition(b":")[0].lower() for line in data.split(b"\r\n")[1:]]
    return len(set(names)) == len(names)
