"""From a message to its route: whom the hub calls, where, and on whose behalf."""

from dataclasses import dataclass

from config.ocpi import (
    ConnectionStatus,
    InterfaceRole,
    InvalidParameters,
    PartyID,
    ReceiverNotConnected,
    RoutingFailed,
    UnknownReceiver,
)
from config.operations import HOSTS, Operation
from parties.model import Platform, Role
from routing.aliases import Alias
from routing.links import has_parameter
from routing.message import Message
from routing.paging import AFTER
from routing.table import RoutingTable


@dataclass(frozen=True, slots=True)
class Direct:
    """One request to one platform, answered by it (OCPI 2.2.1, Party to Party via Hub)."""

    platform: Platform
    url: str
    """Absolute and raw, with the query."""
    receiver: PartyID
    sender: PartyID


@dataclass(frozen=True, slots=True)
class Broadcast:
    """One request to each receiving party, acknowledged by the hub beforehand (OCPI 2.2.1, Broadcast Push)."""


@dataclass(frozen=True, slots=True)
class GetAll:
    """Answered by the hub from what all owners shared (OCPI 2.2.1, GET All via Hubs)."""


@dataclass(frozen=True, slots=True)
class ByContent:
    """The receiver is to be found from what the message says (OCPI 2.2.1, Open Routing Request)."""


Route = Direct | Broadcast | GetAll | ByContent


def resolve(message: Message, table: RoutingTable, hub: PartyID, *, broadcasts_open: bool = True) -> Route:
    """Give the route of a message; `broadcasts_open`: a push for everybody may come without OCPI-to headers (T-060).

    Raises UnknownReceiver (4001), RoutingFailed (4000: module not published), ReceiverNotConnected (4003: planned,
    suspended, offline or without a contract) and InvalidParameters (2001: addressed to the hub in a way that OCPI does
    not know, or a list of nobody).
    """
    receiver, operation = message.receiver, message.operation
    if receiver is None:
        if operation.paged and not operation.path:
            if operation.merged and has_parameter(message.target.query, AFTER):
                return GetAll()  # our own Link says whose list it is, so the headers need not be repeated (T-074)
            # OCPI 2.2.1, Open Routing Request: not for lists (T-066).
            raise InvalidParameters("The OCPI-to headers are missing: a list is asked of one party, or of the hub.")
        if operation.broadcast and broadcasts_open:
            return Broadcast()
        if not operation.found_by:
            raise UnknownReceiver(
                f"The OCPI-to headers are missing, and nothing in this {_name(operation)} says who is meant."
            )
        return ByContent()
    if receiver.key == hub.key:
        if operation.broadcast:
            return Broadcast()
        if operation.merged:
            return GetAll()
        instead = "name its receiver in the OCPI-to headers" + (", or leave them out" if operation.found_by else "")
        raise InvalidParameters(f"This {_name(operation)} cannot be addressed to the hub itself: {instead}.")
    return resolve_direct(message, receiver, table)


def resolve_direct(message: Message, receiver: PartyID, table: RoutingTable) -> Direct:
    """Give the route of a message to this party. Raises as `resolve` does."""
    target = message.target
    platform, endpoint = find_receiver(receiver, message.operation, table)
    require_contract(message.sender, receiver, message.operation, table)
    return Direct(platform, join(endpoint, target.path, target.query), receiver, message.sender)


def resolve_alias(message: Message, alias: Alias, table: RoutingTable, query: str) -> Direct:
    """Give the route of a request to a URL that the hub gave out; `query` is what remains of a Link's.

    Raises ReceiverNotConnected, RoutingFailed and NotFound.
    """
    platform = require_connected(alias.target, table.platforms.get(alias.target_platform))
    if alias.kind != "result":  # the result of what was allowed still arrives when the contract has ended meanwhile
        require_contract(alias.user, alias.target, message.operation, table)
    if alias.kind != "link":
        url = alias.url_at(platform)
    elif alias.path:
        url = join(alias.url_at(platform), "", query)
    else:
        operation = message.operation
        endpoint = platform.endpoints.get((operation.module, operation.interface))
        if endpoint is None:
            raise RoutingFailed(f"{alias.target} no longer offers this list.")
        url = join(endpoint, "", query)
    return Direct(platform, url, alias.target, alias.user)


def find_receiver(receiver: PartyID, operation: Operation, table: RoutingTable) -> tuple[Platform, str]:
    """Give the platform of this party that publishes the interface called, and its endpoint (R-108).

    OCPI's headers carry no role, so the interface decides (T-020); raises as `resolve` does.
    """
    module, interface = operation.module, operation.interface
    holders = table.holders.get(receiver.key, ())
    if not holders:
        raise UnknownReceiver(f"{receiver} is not known at this hub.")
    active = [platform for platform in holders if platform.serves(receiver)]
    if not active:
        raise ReceiverNotConnected(f"{receiver} is {_status(receiver, holders).lower()} and cannot be reached.")
    found = [platform for platform in active if (module, interface) in platform.endpoints]
    if not found:
        raise RoutingFailed(f"{receiver} does not offer the {interface} interface of {module}.")
    if len(found) > 1:
        found = [platform for platform in found if _hosts(receiver, platform, module, interface)] or found
    if len(found) > 1:
        raise UnknownReceiver(f"{receiver} offers the {interface} interface of {module} on more than one platform.")
    if (receiver.key, module, interface) in found[0].paused:
        raise ReceiverNotConnected(f"{receiver} takes no part in {module} at the moment.")
    if not found[0].is_online:
        raise ReceiverNotConnected(f"{receiver} is offline; the hub looks for it every few seconds.")  # T-094
    return found[0], found[0].endpoints[(module, interface)]


def require_contract(sender: PartyID, receiver: PartyID, operation: Operation, table: RoutingTable) -> None:
    """Refuse a conversation that no contract allows; HubClientInfo shows the receiver as PLANNED then (T-031)."""
    if not table.contracts.allows(sender.key, receiver.key, operation.module, operation.interface):
        raise ReceiverNotConnected(f"{sender} and {receiver} have no contract about {operation.module} at this hub.")


def require_connected(party: PartyID, platform: Platform | None) -> Platform:
    """Give the platform, or raise ReceiverNotConnected when it no longer serves this party."""
    if platform is None or not platform.is_connected(party):
        raise ReceiverNotConnected(f"{party} is not connected to this hub.")
    return platform


def join(endpoint: str, path: str, query: str) -> str:
    """Give the URL below an endpoint: the endpoint exactly as advertised for the collection itself (T-036)."""
    base, _, own_query = endpoint.partition("?")
    if path:
        base = f"{base.rstrip('/')}/{path}"
    both = "&".join(part for part in (own_query, query) if part)
    return f"{base}?{both}" if both else base


def _name(operation: Operation) -> str:
    return f"{operation.method} on the {operation.interface} interface of {operation.module}"


def _roles(party: PartyID, platform: Platform) -> list[Role]:
    return [role for role in platform.roles if role.party.key == party.key]


def _status(party: PartyID, holders: tuple[Platform, ...]) -> str:
    states = {platform.status_of(role) for platform in holders for role in _roles(party, platform)}
    return ConnectionStatus.PLANNED if ConnectionStatus.PLANNED in states else ConnectionStatus.SUSPENDED


def _hosts(party: PartyID, platform: Platform, module: str, interface: InterfaceRole) -> bool:
    return any(
        (module, interface) in HOSTS.get(role.role, ()) and platform.takes_part(role)
        for role in _roles(party, platform)
    )
