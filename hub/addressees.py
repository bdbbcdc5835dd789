"""What is the same for every push to one party, and for everybody who gets one push: written once, then remembered.

A delivery then only puts the two together.
"""

import re
from typing import Any

import orjson

from config.ocpi import PartyID
from hub.addresses import Origin, split_url
from hub.client import PoolKey
from hub.connection import length_line
from hub.head_pieces import CORRELATION_ID, REQUEST_ID, Pieces, request_pieces
from hub.live_table import LiveTable
from hub.mirror import BroadcastRow
from hub.own_calls import JSON, write_fields
from parties.contracts import PartyKey
from parties.model import Platform
from routing.broadcast import receiving_parties
from routing.resolve import join

HEADS_MAX = 8
"""How many heads one addressee remembers: senders have their own Content-Type."""
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
        "framing",
        "head_key",
        "is_plain",
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
        self.framing = f"{length_line(row.method, len(row.body))}\r\n"
        self.facts_before = _written(method=row.method, module=row.module, owner=row.owner)
        self.facts_after = _written(correlation_id=row.correlation_id)


class Addressee:
    """A party that pushes of one module go to, by one routing table."""

    __slots__ = (
        "_base",
        "_below",
        "_endpoint",
        "_heads",
        "_origin",
        "facts",
        "key",
        "party",
        "platform",
        "pool_key",
        "sender",
    )
    pool_key: PoolKey
    facts: str
    """Facts of the line in the log."""

    def __init__(self, platform: Platform, party: PartyID, module: str, hub: PartyID) -> None:
        self.platform = platform
        self.party = party
        self.key = party.key
        self.sender = hub
        """Who stands in OCPI-from."""
        self._endpoint = platform.endpoints.get((module, "RECEIVER"), "")
        self._heads: dict[HeadKey, Pieces] | None = None

    def request(self, letter: Letter, request_id: str) -> bytes | None:
        """Give the whole request, as `OwnCalls.call` would send it; None where that is to judge whether it can."""
        heads = self._heads
        if heads is None:
            heads = self._heads = self._prepare()
        pieces = heads.get(letter.head_key) or self._pieces(heads, *letter.head_key)
        if pieces is None:
            return None
        before, between, after, end = pieces
        path, query = letter.path, letter.query
        target = f"{self._below}{path}" if path and not query else join(self._base, path, query)
        head = f"{before}{target}{between}{request_id}{after}{letter.correlation_id}{end}{letter.framing}"
        return head.encode("ascii") + letter.body

    def _prepare(self) -> dict[HeadKey, Pieces]:
        self._origin: Origin | None = None
        platform = self.platform
        # One that has the owner as sender has a head for each.
        if platform.is_online and not platform.switches.owner_as_sender and "?" not in self._endpoint:
            try:
                self._origin, self._base = split_url(self._endpoint)
            except ValueError:
                return {}
            self._below = join(self._base, "x", "")[:-1]
            self.pool_key = (platform.id, self._origin.scheme, self._origin.host, self._origin.port)
            self.facts = _written(to=str(self.party), receiver_platform=platform.id)
        return {}

    def _pieces(self, heads: dict[HeadKey, Pieces], method: str, content_type: str | None) -> Pieces | None:
        if self._origin is None or self.platform.authorization is None:
            return None
        fields = write_fields(
            self.platform.authorization,
            REQUEST_ID,
            CORRELATION_ID,
            sender=self.sender,
            receiver=self.party,
            content_type=content_type,
        )
        try:
            pieces = request_pieces(method, self._origin, fields)
        except ValueError:
            return None
        if len(heads) < HEADS_MAX:
            heads[method, content_type] = pieces
        return pieces


class Addressees:
    """Those of the current routing table."""

    def __init__(self, live: LiveTable, hub: PartyID) -> None:
        self._live = live
        self._hub = hub
        self._table = live.table
        self._found: dict[tuple[int, tuple[str, str], str], Addressee] = {}

    def of(self, platform: Platform, sender: PartyKey, sender_platform: int, module: str) -> tuple[Addressee, ...]:
        """Give the parties of a platform that get the broadcasts of a sender."""
        table = self._live.table
        if table is not self._table:
            self._table = table
            self._found.clear()
        parties = receiving_parties(platform, sender, sender_platform, module, table)
        return tuple([self._of(platform, party, module) for party in parties])

    def _of(self, platform: Platform, party: PartyID, module: str) -> Addressee:
        key = (platform.id, party.key, module)
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = Addressee(platform, party, module, self._hub)
        return found


def _written(**facts: Any) -> str:
    return orjson.dumps(facts).decode()[1:-1]
