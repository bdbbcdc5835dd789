"""What is the same for every push to one party, and for everybody who gets one push: written once, then remembered.

A delivery then only puts the two together.
"""

import re
from typing import Any

import orjson

from config.ocpi import PartyID
from hub.addresses import split_url
from hub.client import PoolKey
from hub.connection import write_head
from hub.live_table import LiveTable
from hub.mirror import BroadcastRow
from hub.own_calls import JSON, write_fields
from parties.model import Platform
from routing.resolve import join

ADDRESSEES_MAX = 50_000
HEADS_MAX = 8
"""How many heads one addressee remembers: senders have their own Content-Type."""
_TARGET, _REQUEST_ID, _CORRELATION_ID = "\1", "\2", "\3"
"""Stand-ins in a head, which nothing that is put in can contain."""
_PLAIN_TARGET = re.compile(r"[!\"$-~]*")
"""Printable, without blanks and `#`."""
_PLAIN = re.compile(r"[ -~]*")

HeadKey = tuple[str, str | None]
"""Method and content type, None without a body."""


class Letter:
    """A push as it goes to everybody who gets it."""

    __slots__ = (
        "body",
        "correlation_id",
        "facts_after",
        "facts_before",
        "head_key",
        "is_plain",
        "length",
        "method",
        "path",
        "query",
    )

    def __init__(self, row: BroadcastRow) -> None:
        self.is_plain = bool(
            _PLAIN_TARGET.fullmatch(row.path)
            and _PLAIN_TARGET.fullmatch(row.query)
            and _PLAIN.fullmatch(row.correlation_id)
        )
        """Whether it has nothing that may not be put into a head as it is."""
        self.method = row.method
        self.path = row.path
        self.query = row.query
        self.body = row.body
        self.correlation_id = row.correlation_id
        self.head_key: HeadKey = (row.method, (row.content_type or JSON) if row.body else None)
        self.length = f"{len(row.body)}\r\n\r\n" if row.body else ""
        self.facts_before = _written(method=row.method, module=row.module, owner=row.owner)
        self.facts_after = _written(correlation_id=row.correlation_id)


class Addressee:
    """A party that pushes of one module go to."""

    __slots__ = ("_base", "_below", "_heads", "_origin", "facts", "party", "platform", "pool_key", "sender")

    def __init__(self, platform: Platform, party: PartyID, sender: PartyID, endpoint: str) -> None:
        """`sender` is who stands in OCPI-from. Raises ValueError for an endpoint that cannot be called."""
        self.platform = platform
        self.party = party
        self.sender = sender
        self._origin, self._base = split_url(endpoint)
        self._below = join(self._base, "x", "")[:-1]
        self.pool_key: PoolKey = (platform.id, self._origin.scheme, self._origin.host, self._origin.port)
        self.facts = _written(to=str(party), receiver_platform=platform.id)
        self._heads: dict[HeadKey, tuple[str, str, str, str]] = {}

    def request(self, letter: Letter, request_id: str) -> bytes:
        """Give the whole request, as `OwnCalls.call` would send it."""
        pieces = self._heads.get(letter.head_key)
        if pieces is None:
            pieces = self._pieces(*letter.head_key)
            if len(self._heads) < HEADS_MAX:
                self._heads[letter.head_key] = pieces
        before, between, after, end = pieces
        path, query = letter.path, letter.query
        target = f"{self._below}{path}" if path and not query else join(self._base, path, query)
        head = f"{before}{target}{between}{request_id}{after}{letter.correlation_id}{end}{letter.length}"
        return head.encode("ascii") + letter.body

    def _pieces(self, method: str, content_type: str | None) -> tuple[str, str, str, str]:
        """Give the head in pieces, between which go the target, the X-Request-ID and the X-Correlation-ID."""
        assert self.platform.authorization is not None
        fields = write_fields(
            self.platform.authorization,
            _REQUEST_ID,
            _CORRELATION_ID,
            sender=self.sender,
            receiver=self.party,
            content_type=content_type,
        )
        body = None if content_type is None else b""
        text = write_head(method, self._origin, _TARGET, fields, body, None).decode("ascii")
        before, _, rest = text.partition(_TARGET)
        between, _, rest = rest.partition(_REQUEST_ID)
        after, _, end = rest.partition(_CORRELATION_ID)
        return before, between, after, end if body is None else end.removesuffix("0\r\n\r\n")


class Addressees:
    """Those of the current routing table."""

    def __init__(self, live: LiveTable, hub: PartyID) -> None:
        self._live = live
        self._hub = hub
        self._table = live.table
        self._found: dict[tuple[int, tuple[str, str], str], Addressee | None] = {}

    def find(self, platform_id: int, party: PartyID, key: tuple[str, str], module: str) -> Addressee | None:
        """Give a party that can be called just now, and that gets its pushes in the hub's name; `key` is its key.

        Whether contracts allow it that very push is not looked at.
        """
        if self._table is not self._live.table:
            self._table = self._live.table
            self._found.clear()
        try:
            return self._found[platform_id, key, module]
        except KeyError:
            pass
        if len(self._found) >= ADDRESSEES_MAX:
            self._found.clear()
        found = self._found[platform_id, key, module] = self._make(platform_id, party, module)
        return found

    def _make(self, platform_id: int, party: PartyID, module: str) -> Addressee | None:
        platform = self._table.platforms.get(platform_id)
        if platform is None or not platform.is_online or platform.authorization is None:
            return None
        endpoint = platform.endpoints.get((module, "RECEIVER"))
        if platform.switches.owner_as_sender or endpoint is None or "?" in endpoint:
            return None
        try:
            return Addressee(platform, party, self._hub, endpoint)
        except ValueError:
            return None


def _written(**facts: Any) -> str:
    return orjson.dumps(facts).decode()[1:-1]
