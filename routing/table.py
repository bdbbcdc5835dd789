"""The routing table: all the hub knows of its members, as the road needs it. Replaced whole, never changed."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from parties.contracts import Contracts
from parties.model import Access, Platform


@dataclass(frozen=True)
class RoutingTable:
    """Who presents which token, and which platform holds which party."""

    generation: int
    """The database's count of changes when this was read."""
    platforms: Mapping[int, Platform]
    access: Mapping[bytes, Access]
    """What each keyed digest of a credentials token opens."""
    holders: Mapping[tuple[str, str], tuple[Platform, ...]]
    """The platforms that hold a party in any role, by the party's key."""

    replaced: frozenset[int]
    """Platforms whose previous token is still valid, until its successor is first used (T-006)."""
    contracts: Contracts
    """Who may talk to whom, about what, as of when this was made."""

    def authenticate(self, digests: Iterable[bytes]) -> Access | None:
        """Give what the first known of these digests opens."""
        for digest in digests:
            access = self.access.get(digest)
            if access is not None:
                return access
        return None


def make_table(
    generation: int,
    platforms: Iterable[Platform],
    access: Mapping[bytes, Access],
    contracts: Contracts | None = None,
) -> RoutingTable:
    """Make the routing table of these platforms; without contracts everybody may talk to everybody."""
    by_id = {platform.id: platform for platform in platforms}
    holders: dict[tuple[str, str], list[Platform]] = {}
    for platform in by_id.values():
        for key in dict.fromkeys(role.party.key for role in platform.roles):
            holders.setdefault(key, []).append(platform)
    return RoutingTable(
        generation,
        by_id,
        dict(access),
        {key: tuple(found) for key, found in holders.items()},
        frozenset(each.platform.id for each in access.values() if each.kind == "previous"),
        contracts or Contracts((), by_id.values(), is_open=True),
    )


EMPTY = make_table(-1, (), {})
