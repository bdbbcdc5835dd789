"""The cast of the tests: platforms, what they send, and the table that the hub has of them."""

from collections.abc import Iterable
from typing import Any

from multidict import CIMultiDict

from config.ocpi import FROM_COUNTRY, FROM_PARTY, TO_COUNTRY, TO_PARTY, PartyID
from config.operations import HOSTS, OperationIndex
from parties.model import PartyState, Platform, Role
from routing.message import Message, MessageIDs, read_message, read_target
from routing.table import RoutingTable, make_table

HUB = PartyID("NL", "HUB")
IDS = MessageIDs("request-1", "correlation-1")
OPERATIONS = OperationIndex(["x-custom"])
_STATES: dict[str, PartyState] = {"": "claimed", "invited": "invited", "dropped": "dropped"}


def party(text: str) -> PartyID:
    """`DE-TNM` as a party."""
    return PartyID.parse(text)


def a_role(text: str) -> Role:
    """A role written `DE-TNM:EMSP`, `DE-TNM:EMSP/invited`, `.../dropped` or `.../suspended`."""
    name, _, state = text.partition("/")
    read = Role.parse(name)
    if state == "suspended":
        return Role(read.party, read.role, suspended=True)
    return Role(read.party, read.role, _STATES[state])


def a_platform(*roles: str, id: int = 1, serves: Iterable[str] | None = None, **fields: Any) -> Platform:
    """A registered platform at https://p<id>.test that serves what its roles typically do, or `locations SENDER`."""
    read = tuple(a_role(text) for text in roles or ("BE-BEC:CPO",))
    if serves is None:
        keys = sorted({key for role in read for key in HOSTS.get(role.role, ())})
    else:
        keys = [(module, "SENDER" if side == "SENDER" else "RECEIVER") for module, side in map(str.split, serves)]
    published = {key: f"https://p{id}.test/ocpi/{key[1].lower()}/{key[0]}" for key in keys}
    return Platform(**{"id": id, "name": "", "state": "registered", "roles": read, "published": published} | fields)


def a_table(*platforms: Platform) -> RoutingTable:
    """The hub's table of these platforms."""
    return make_table(1, platforms, {})


def routing_headers(to: str | None = None, sender: str | None = None, **more: str) -> CIMultiDict[str]:
    """Headers from one party to another, each written `DE-TNM`, and others."""
    fields: CIMultiDict[str] = CIMultiDict(more)
    for text, country, party_id in ((to, TO_COUNTRY, TO_PARTY), (sender, FROM_COUNTRY, FROM_PARTY)):
        if text is not None:
            fields[country], _, fields[party_id] = text.partition("-")
    return fields


def a_message(
    request: str, platform: Platform | None = None, *, to: str | None = "DE-TNM", sender: str | None = None
) -> Message:
    """A message written `GET sender/locations?limit=5`."""
    method, _, path = request.partition(" ")
    target = read_target("/ocpi/2.2.1/" + path)
    operation = OPERATIONS.find(target.version, target.interface, target.module, method, target.segments)
    return read_message(operation, target, routing_headers(to, sender), platform or a_platform(), IDS)
