"""A request's facts: who sends what to whom, read from its path and headers."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, unquote

from config.ocpi import (
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    InterfaceRole,
    InvalidParameters,
    NotFound,
    PartyID,
    WrongSender,
)
from config.operations import INTERFACES, Operation
from parties.model import Platform
from routing.aliases import Alias

_ASCII = "".join(map(chr, range(128)))


class Headers(Protocol):
    """Header fields by name, whatever the letters' case (R-009)."""

    def get(self, name: str, /) -> str | None:
        """Give the first value, or None."""

    def getall(self, name: str, default: Sequence[str], /) -> Sequence[str]:
        """Give every value."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the URL called says: `/ocpi/2.2.1/receiver/sessions/NL/ALF/101?x=y`."""

    version: str
    interface: InterfaceRole
    module: str
    path: str
    """Raw, below the module's URL, without leading slashes."""
    query: str
    """Raw, without the question mark."""

    @property
    def segments(self) -> tuple[str, ...]:
        """The path's raw segments; a slash at the end or doubled makes none."""
        return tuple(segment for segment in self.path.split("/") if segment)


@dataclass(frozen=True, slots=True)
class MessageIDs:
    """OCPI 2.2.1, Unique message IDs."""

    request: str
    """X-Request-ID: this request's alone."""
    correlation: str
    """X-Correlation-ID: the same on every leg."""


@dataclass(frozen=True, slots=True)
class Message:
    """One request of one party, understood but not yet routed."""

    operation: Operation
    target: Target
    platform: Platform
    """Whose credentials token came with it."""
    sender: PartyID
    """The OCPI-from party in the letters received."""
    receiver: PartyID | None
    """The OCPI-to party in the letters received; None when the headers are absent."""
    ids: MessageIDs


def read_ids(headers: Headers, new_id: str) -> MessageIDs:
    """Read a request's ids; `new_id` stands in for one that is missing or no printable ASCII (R-171)."""
    found = headers.get(REQUEST_ID), headers.get(CORRELATION_ID)
    return MessageIDs(*(value if value and value.isascii() and value.isprintable() else new_id for value in found))


def read_target(raw_url: str) -> Target:
    """Read the URL called, raw path and query. Raises NotFound when it is no functional module's.

    Only bytes beyond ASCII, which should have come percent-encoded, are so now: they fit in no URL or header of ours.
    """
    if not raw_url.isascii():
        raw_url = quote(raw_url.encode(errors="surrogateescape"), safe=_ASCII)
    if "#" in raw_url:
        raise NotFound("There is a # in the URL; as part of an id it is written %23.")
    path, _, query = raw_url.partition("?")
    head, *rest = path.removeprefix("/ocpi/").split("/", 3)
    if not path.startswith("/ocpi/") or len(rest) < 2 or rest[0] not in INTERFACES or not rest[1]:
        raise NotFound("There is no such path at this hub; its version details list every module's URL.")
    remainder = rest[2].lstrip("/") if len(rest) > 2 else ""
    while "//" in remainder:
        remainder = remainder.replace("//", "/")
    if _climbs(remainder):
        raise NotFound("The path has a segment that climbs out of it.")
    return Target(head, INTERFACES[rest[0]], rest[1], remainder, query)


def _climbs(path: str) -> bool:
    """Whether a receiver could read `.` or `..` as a way to another module, and answer there with the hub's token."""
    if "." not in path and "%" not in path:
        return False
    return any(part in (".", "..") for part in re.split(r"[/\\]", unquote(path)))


def read_message(
    operation: Operation, target: Target, headers: Headers, platform: Platform, ids: MessageIDs
) -> Message:
    """Understand a request of a registered platform.

    Raises InvalidParameters (half an address, no sender), WrongSender (T-021) and WrongOwner.
    """
    segments = target.segments
    sender = read_sender(headers, platform)
    _require_active(sender, platform, operation)
    if operation.owner_in_path:
        owner = PartyID(unquote(segments[0]), unquote(segments[1]))
        is_sender = str(owner).isascii() and owner.key == sender.key
        if not is_sender and not platform.switches.foreign_owner:
            raise WrongOwner(f"The URL names {owner} as owner, but the sender is {sender}.")
    return Message(
        operation=operation,
        target=target,
        platform=platform,
        sender=sender,
        receiver=read_party(headers, TO_COUNTRY, TO_PARTY),
        ids=ids,
    )


def read_aliased_message(
    operation: Operation, target: Target, headers: Headers, platform: Platform, ids: MessageIDs, alias: Alias
) -> Message:
    """Understand a request to a URL that the hub gave out: the alias says who sends to whom.

    A result may come without routing headers, or with wrong ones (T-083), so they do not count. Raises UnknownAlias
    for another than the one it was given to, InvalidParameters when the OCPI-to headers contradict it (T-074).
    """
    if alias.user_platform != platform.id:
        raise UnknownAlias
    if alias.kind != "result":
        sender, receiver = read_party(headers, FROM_COUNTRY, FROM_PARTY), read_party(headers, TO_COUNTRY, TO_PARTY)
        if sender is not None and sender.key != alias.user.key:
            raise UnknownAlias
        if receiver is not None and receiver.key != alias.target.key:
            raise InvalidParameters(f"The OCPI-to headers name {receiver}, but this URL leads to {alias.target}.")
    _require_not_suspended(alias.user, platform)
    _require_active(alias.user, platform, operation)
    return Message(operation, target, platform, alias.user, alias.target, ids)


class UnknownAlias(NotFound):
    """This URL was not given out by this hub, not to this party, or its time is over."""

    status_code = 2001


class WrongOwner(NotFound):
    """The owner in the URL is not the sender (OCPI 2.2.1, Client Owned Object Push: HTTP 404 allowed)."""

    status_code = 2001


def read_party(headers: Headers, country_header: str, party_header: str) -> PartyID | None:
    """Read one pair of routing headers; None when both are absent.

    Raises InvalidParameters for half a pair (R-105) and for a header given twice with different values.
    """
    country, party = _only(headers, country_header), _only(headers, party_header)
    if country and party:
        if not (country.isascii() and party.isascii()):
            raise InvalidParameters(f"The headers {country_header} and {party_header} must be plain ASCII.")
        return PartyID(country, party)
    if country or party:
        missing = party_header if country else country_header
        raise InvalidParameters(f"The header {missing} is missing: country code and party id go together.")
    return None


def read_sender(headers: Headers, platform: Platform) -> PartyID:
    """Read who sends, and make sure that the token's platform may speak for them (R-106).

    A platform with one party may leave the headers out (T-024).
    """
    sender = read_party(headers, FROM_COUNTRY, FROM_PARTY)
    if sender is None:
        if len(platform.parties) != 1:
            raise InvalidParameters(
                f"The headers {FROM_COUNTRY} and {FROM_PARTY} are missing: this platform has several parties."
            )
        sender = next(iter(platform.parties.values()))
    elif sender.key not in platform.parties:
        raise WrongSender(f"The sender {sender} is not a party of the platform that this token belongs to.")
    _require_not_suspended(sender, platform)
    return sender


def _require_not_suspended(sender: PartyID, platform: Platform) -> None:
    if not platform.serves(sender):
        raise WrongSender(f"{sender} is suspended at this hub.")


def _require_active(sender: PartyID, platform: Platform, operation: Operation) -> None:
    """Refuse a party that would send in a role which takes no part, like a suspended CPO's pushes."""
    own: InterfaceRole = "SENDER" if operation.interface == "RECEIVER" else "RECEIVER"
    if (sender.key, operation.module, own) in platform.paused:
        raise WrongSender(f"{sender} takes no part in {operation.module} at this hub.")


def _only(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, ())
    if len(values) > 1 and len(set(values)) > 1:
        raise InvalidParameters(f"The header {name} is there {len(values)} times with different values.")
    return values[0].strip() if values else None
