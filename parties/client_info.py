"""ClientInfo: what one platform sees of the others' parties (OCPI 2.2.1, HubClientInfo)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from config.ocpi import ConnectionStatus, PartyID, format_time
from config.operations import are_opposite
from parties.contracts import Contracts
from parties.model import Platform, Role

_UNKNOWN = datetime.fromtimestamp(0, UTC)
_COUNTERPARTS = {"CPO": "EMSP", "EMSP": "CPO"}
"""The roles that matter most to each other."""


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """A party in one role, as one other platform sees it (R-212)."""

    party: PartyID
    role: str
    status: ConnectionStatus
    last_updated: datetime
    """When what this viewer sees of it last changed."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What stays when its status changes."""
        return (*self.party.key, self.role)

    @property
    def updated(self) -> datetime:
        """`last_updated` in the milliseconds in which it is shown, for date filters to agree with what was read."""
        return self.last_updated.replace(microsecond=self.last_updated.microsecond // 1000 * 1000)

    def as_object(self) -> dict[str, str]:
        """Give the ClientInfo object, with all its five fields (T-089)."""
        return {
            "party_id": self.party.party_id,
            "country_code": self.party.country_code,
            "role": self.role,
            "status": self.status.value,
            "last_updated": format_time(self.last_updated),
        }


def client_infos(
    viewer: Platform, platforms: Iterable[Platform], contracts: Contracts, *, after: datetime | None = None
) -> Iterator[ClientInfo]:
    """Give what a platform sees: every party of other platforms in a role that its own have business with (R-209).

    Its own are those that take part: as what it is suspended, it is told nothing.
    The oldest platform comes first. Nothing ever leaves the list: who is gone for good stays as SUSPENDED (R-211). The
    hub is no party of a platform's, so it is not in it (T-092). `after`: only what changed later than this.
    """
    own = [role for role in viewer.roles if viewer.takes_part(role)]
    opposite: dict[str, list[Role]] = {}
    for platform in platforms:
        if platform.id == viewer.id:
            continue
        for role in platform.roles:
            seeing = opposite.get(role.role)
            if seeing is None:
                seeing = opposite[role.role] = [each for each in own if are_opposite(each.role, role.role)]
            if seeing and role.party.key in viewer.parties:  # a party on two platforms is not shown to itself
                seeing = [each for each in seeing if each.party.key != role.party.key]
            if seeing:
                last_updated = _last_updated(seeing, role, platform, contracts)
                if after is None or last_updated > after:
                    status = _status(seeing, role, platform, contracts)
                    yield ClientInfo(role.party, role.role, status, last_updated)


def _status(seeing: Sequence[Role], role: Role, platform: Platform, contracts: Contracts) -> ConnectionStatus:
    status = platform.status_of(role)
    # OCPI 2.2.1, HubClientInfo, PLANNED: also while there is no agreement (T-091).
    if status is ConnectionStatus.SUSPENDED or any(
        contracts.may_meet(each.party.key, role.party.key) for each in seeing
    ):
        return status
    return ConnectionStatus.PLANNED


def _last_updated(seeing: Sequence[Role], role: Role, platform: Platform, contracts: Contracts) -> datetime:
    """Give when its status changed, or a contract, or when the viewer came: to who begins anew, everything is new."""
    latest = min([each.status_changed_at or _UNKNOWN for each in seeing])
    for moment in (
        platform.status_since(role),
        *(contracts.changed_at(one.party.key, role.party.key) for one in seeing),
    ):
        if moment is not None and moment > latest:
            latest = moment
    return latest


def in_order_of_telling(infos: Iterable[ClientInfo], viewer: Platform) -> list[ClientInfo]:
    """Give these by their last_updated, but the roles of one party one after the other.

    They share one URL, so the viewer may keep only the last: that which its own roles have most to do with (T-087).
    """
    own = [role.role for role in viewer.roles if viewer.takes_part(role)]
    latest: dict[tuple[str, str], datetime] = {}
    infos = list(infos)
    for info in infos:
        key = info.party.key
        latest[key] = max(info.last_updated, latest.get(key, info.last_updated))
    return sorted(
        infos, key=lambda info: (latest[info.party.key], info.party.key, _weight(info.role, own), info.last_updated)
    )


def _weight(role: str, own: Sequence[str]) -> int:
    """How much a role matters to somebody with these roles, the first of them most."""
    return max((len(own) - number for number, each in enumerate(own) if _COUNTERPARTS.get(each) == role), default=0)
