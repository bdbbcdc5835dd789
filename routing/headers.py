"""Header fields onward to the receiver and back to the requester: allow-lists, never the other side's minus some."""

import re
from collections.abc import Iterable
from typing import Protocol

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    LIMIT,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    TOTAL_COUNT,
    PartyID,
)
from routing.message import Headers, MessageIDs

_PASSED_ON = ("Accept", "traceparent", "tracestate")
_PASSED_ON_FOLDED = frozenset(name.lower() for name in _PASSED_ON)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
"""RFC 9110, 5.6.2."""
_NEVER_PASSED_ON = frozenset(
    name.lower()
    for name in (
        AUTHORIZATION,
        REQUEST_ID,
        CORRELATION_ID,
        TO_COUNTRY,
        TO_PARTY,
        FROM_COUNTRY,
        FROM_PARTY,
        "Connection",
        "Content-Length",
        "Content-Type",
        "Cookie",
        "Expect",
        "Host",
        "Keep-Alive",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Accept-Encoding",
        "Content-Encoding",
    )
)
RELAYED = (TOTAL_COUNT, LIMIT, "Retry-After")
"""Fields of an answer that the requester gets as they are."""


class Received(Protocol):
    """Header fields of an answer, by name."""

    def get(self, name: str, /) -> str | None:
        """Give the first value, or None."""


def check_forward_headers(names: Iterable[str]) -> tuple[str, ...]:
    """Give the further headers to pass on, each once. Raises ValueError for one that is the hub's own business."""
    further: dict[str, str] = {}
    for name in names:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"forward_headers: {name!r} is no name of a header")
        if name.lower() in _NEVER_PASSED_ON:
            raise ValueError(f"forward_headers: {name} is never passed on, it belongs to one connection")
        if name.lower() not in _PASSED_ON_FOLDED:
            further.setdefault(name.lower(), name)
    return tuple(further.values())


def onward_headers(
    incoming: Headers,
    *,
    authorization: str,
    sender: PartyID,
    receiver: PartyID,
    ids: MessageIDs,
    has_body: bool,
    further: tuple[str, ...] = (),
) -> list[tuple[str, str]]:
    """Give the header fields of a forwarded request.

    OCPI 2.2.1, Unique message IDs: a new X-Request-ID, the same X-Correlation-ID; Party to Party via Hub: the same
    OCPI-to and OCPI-from that came in (R-100). Authorization is the hub's for this receiver (R-035).
    """
    fields = [
        (AUTHORIZATION, authorization),
        (REQUEST_ID, ids.request),
        (CORRELATION_ID, ids.correlation),
        (TO_COUNTRY, receiver.country_code),
        (TO_PARTY, receiver.party_id),
        (FROM_COUNTRY, sender.country_code),
        (FROM_PARTY, sender.party_id),
        ("Accept-Encoding", "identity"),
    ]
    if has_body:
        fields.append(("Content-Type", _plain(incoming.get("Content-Type")) or "application/json"))
    for name in (*_PASSED_ON, *further):
        value = _plain(incoming.get(name))
        if value is not None:
            fields.append((name, value))
    return fields


def answer_headers(ids: MessageIDs, *, to: PartyID | None = None, sender: PartyID | None = None) -> dict[str, str]:
    """Give the header fields of an answer: the requester's own ids, and routing headers with the two sides swapped."""
    fields = {
        "Content-Type": "application/json",
        "Server": "ocpi-hub",
        REQUEST_ID: ids.request,
        CORRELATION_ID: ids.correlation,
    }
    if to is not None:
        fields[TO_COUNTRY] = to.country_code
        fields[TO_PARTY] = to.party_id
    if sender is not None:
        fields[FROM_COUNTRY] = sender.country_code
        fields[FROM_PARTY] = sender.party_id
    return fields


def relayed_headers(received: Received) -> dict[str, str]:
    """Give those of the receiver's answer that the requester gets as they are (R-117)."""
    return {name: value for name in RELAYED if (value := _plain(received.get(name))) is not None}


def _plain(value: str | None) -> str | None:
    """Give a value of printable ASCII; anything else is not passed on."""
    return value if value is not None and value.isascii() and value.isprintable() else None
