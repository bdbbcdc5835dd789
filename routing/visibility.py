"""Whose shared objects a party may see: OCPI leaves it to the hub, agreements and privacy decide (R-161, T-071)."""

from config.ocpi import InterfaceRole, PartyID
from config.operations import BROADCAST_TO, acting_roles
from parties.model import Platform
from routing.objects import fold
from routing.table import RoutingTable


def visible_owners(viewer: PartyID, platform: Platform, module: str, table: RoutingTable) -> frozenset[str]:
    """Give the folded parties whose objects of a module this party may see on its platform, be they online or not.

    Of parties that take part in a role whose pushes are for the viewer's (R-130), as far as contracts allow; never its
    own (T-070).
    """
    roles = roles_in(viewer, platform, module, "RECEIVER")
    owners = set()
    for key, holders in table.holders.items():
        if key == viewer.key:
            continue
        owner = PartyID(*key)
        theirs = {role for holder in holders for role in roles_in(owner, holder, module, "SENDER")}
        is_for_viewer = any(roles & BROADCAST_TO.get(other, frozenset()) for other in theirs)
        if is_for_viewer and table.contracts.allows(viewer.key, key, module, "SENDER"):
            owners.add(fold(owner))
    return frozenset(owners)


def roles_in(party: PartyID, platform: Platform, module: str, interface: InterfaceRole) -> frozenset[str]:
    """Give the roles in which a party takes part in a module on this platform.

    Those that typically host the interface, where the party has one: as CPO and eMSP, it shares tokens as eMSP only.
    """
    mine = [role for role in platform.roles if role.party.key == party.key]
    acting = acting_roles((role.role for role in mine), module, interface)
    return frozenset(role.role for role in mine if role.role in acting and platform.takes_part(role))
