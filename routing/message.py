"""A request's facts: who sends what to whom, read from its path and headers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote

from config.ocpi import (
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    ConnectionStatus,
    InterfaceRole,
    InvalidParameters,
    NotFound,
    PartyID,
    WrongSender,
)
from config.operations import INTERFACES, Operation, OperationIndex
from parties.model import Platform


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
    request_id: str
    correlation_id: str


def read_target(raw_url: str) -> Target:
    """Read the URL called, raw path and query. Raises NotFound when it is no functional module's."""
    path, _, query = raw_url.partition("?")
    head, *rest = path.removeprefix("/ocpi/").split("/", 3)
    if not path.startswith("/ocpi/") or len(rest) < 2 or rest[0] not in INTERFACES or not rest[1]:
        raise NotFound("There is no such path at this hub; its version details list every module's URL.")
    remainder = rest[2].lstrip("/") if len(rest) > 2 else ""
    while "//" in remainder:
        remainder = remainder.replace("//", "/")
    return Target(head, INTERFACES[rest[0]], rest[1], remainder, query)


def read_message(
    method: str,
    target: Target,
    headers: Headers,
    platform: Platform,
    operations: OperationIndex,
    new_id: str,
) -> Message:
    """Understand a request of a registered platform. `new_id` stands in for ids it lacks (R-171).

    Raises NotFound, MethodNotAllowed, InvalidParameters (half an address, no sender), WrongSender (T-021).
    """
    segments = target.segments
    operation = operations.find(target.version, target.interface, target.module, method, segments)
    sender = read_sender(headers, platform)
    if operation.owner_in_path:
        owner = PartyID(unquote(segments[0]), unquote(segments[1]))
        if owner.key != sender.key and not platform.switches.foreign_owner:
            raise WrongOwner(f"The URL names {owner} as owner, but the sender is {sender}.")
    return Message(
        operation=operation,
        target=target,
        platform=platform,
        sender=sender,
        receiver=read_party(headers, TO_COUNTRY, TO_PARTY),
        request_id=headers.get(REQUEST_ID) or new_id,
        correlation_id=headers.get(CORRELATION_ID) or new_id,
    )


class WrongOwner(NotFound):
    """The owner in the URL is not the sender (OCPI 2.2.1, Client Owned Object Push: HTTP 404 allowed)."""

    status_code = 2001


def read_party(headers: Headers, country_header: str, party_header: str) -> PartyID | None:
    """Read one pair of routing headers; None when both are absent.

    Raises InvalidParameters for half a pair (R-105) and for a header given twice with different values.
    """
    country, party = _only(headers, country_header), _only(headers, party_header)
    if country and party:
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
    if not any(
        platform.status_of(role) == ConnectionStatus.CONNECTED
        for role in platform.roles
        if role.party.key == sender.key
    ):
        raise WrongSender(f"{sender} is suspended at this hub.")
    return sender


def _only(headers: Headers, name: str) -> str | None:
    values = headers.getall(name, ())
    if len(values) > 1 and len(set(values)) > 1:
        raise InvalidParameters(f"The header {name} is there {len(values)} times with different values.")
    return values[0].strip() if values else None
