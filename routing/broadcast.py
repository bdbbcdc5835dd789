"""To whom a broadcast goes: the parties with an opposite role that take the module and that contracts allow."""

from config.ocpi import PartyID
from config.operations import BROADCAST_TO, acting_roles
from parties.contracts import PartyKey
from parties.model import Platform
from routing.table import RoutingTable


def pushing_roles(sender: PartyKey, platform_id: int, module: str, table: RoutingTable) -> frozenset[str]:
    """Give the roles in which a party pushes a module: those that own such objects, or all it has if none does."""
    platform = table.platforms.get(platform_id)
    roles = (role.role for role in platform.roles if role.party.key == sender) if platform else ()
    return frozenset(acting_roles(roles, module, "SENDER"))


def receiving_parties(
    platform: Platform, sender: PartyKey, sender_platform_id: int, module: str, table: RoutingTable
) -> tuple[PartyID, ...]:
    """Give the parties of a platform that get a broadcast of this sender's, one request each (R-129 to R-131).

    None of the sender's own platform, by which nothing comes back to it (R-142, T-057).
    """
    if platform.id == sender_platform_id or (module, "RECEIVER") not in platform.endpoints:
        return ()
    opposite = {
        role for own in pushing_roles(sender, sender_platform_id, module, table) for role in BROADCAST_TO.get(own, ())
    }
    found = {
        role.party.key: role.party
        for role in platform.roles
        if role.role in opposite and role.party.key != sender and platform.takes_part(role)
    }
    return tuple(
        party
        for key, party in found.items()
        if (key, module, "RECEIVER") not in platform.paused and table.contracts.allows(sender, key, module, "RECEIVER")
    )
