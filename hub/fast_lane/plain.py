"""Requests that are plainly well-formed: whatever could be read in two ways is none.

A strict part of RFC 9112 in which every parser agrees: one request line, each header once, values of printable ASCII,
no folding, a Content-Length or no body. Pure: no I/O, no state but the names seen.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

HEAD_MAX = 8000
"""Longest head read here, in bytes: shorter than what aiohttp takes for one line of it."""
HEADERS_MAX = 64
_METHODS = frozenset({"GET", "PUT", "POST", "PATCH", "DELETE"})
_ODD = frozenset(
    {
        "content-encoding",
        "expect",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Header fields that make more of a request than its bytes."""
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_ODD_IN_TARGET = re.compile(r'["#<>\\^`{|}\[\]]')
_BEGINNING = re.compile(
    rb"(?:GET|PUT|POST|PATCH|DELETE) /[!-~]* HTTP/1\.1\r\n"
    rb"(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+: [!-~](?:[ -~]*[!-~])?\r\n)*"
    rb"(?:[A-Za-z0-9!#$%&'*+.^_`|~-]+(?::|: |: [!-~][ -~]*)?)?\r?"
)
_NAMES_MAX = 1000


class _Names(dict[str, str]):
    """Names of header fields in lower case, by how they are written."""

    def __missing__(self, name: str) -> str:
        if not _TOKEN.fullmatch(name):
            raise ValueError
        folded = name.lower()
        if len(self) < _NAMES_MAX:
            self[name] = folded
        return folded


_names = _Names()


class Plain(NamedTuple):
    """A plainly well-formed head."""

    method: str
    target: str
    """Path and query as they came."""
    fields: dict[str, str]
    """Header fields by their names in lower case."""
    length: int
    """Bytes of the body."""


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


def read_plain(data: bytes, end: int) -> Plain | None:
    """Read a head that ends with the empty line at `end`; None when it is not plainly well-formed."""
    if end > HEAD_MAX:
        return None
    try:
        first, *lines = data[:end].decode("ascii").split("\r\n")
        method, target, version = first.split(" ")
        fields = {_names[name]: value for name, value in [line.split(": ", 1) for line in lines]}
    except ValueError:
        return None
    rest = "\n".join(lines)
    if (
        version != "HTTP/1.1"
        or method not in _METHODS
        or target[:1] != "/"
        or len(fields) != len(lines)
        or len(lines) > HEADERS_MAX
        or "host" not in fields
        or not (target + rest.replace("\n", "")).isprintable()
        or rest.count("\n") != len(lines) - 1
        or ":  " in rest
        or " \n" in rest
        or ":\n" in rest
        or rest[-1:] in (" ", ":")
        or not _ODD.isdisjoint(fields)
        or _ODD_IN_TARGET.search(target) is not None
        or ("connection" in fields and fields["connection"].lower() != "keep-alive")
    ):
        return None
    length = fields.get("content-length", "0")
    if len(length) > 9 or not length.isdecimal() or (length[0] == "0" and length != "0"):
        return None
    return Plain(method, target, fields, int(length))


def may_become_plain(data: bytes) -> bool:
    """Whether these bytes, in which no head ends, can be the beginning of a plain one."""
    return len(data) <= HEAD_MAX and _BEGINNING.fullmatch(data) is not None
