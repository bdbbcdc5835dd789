"""Whose shared objects a party may see."""

import pytest

from config.operations import HOSTS
from parties.contracts import Contracts
from routing.objects import fold
from routing.table import make_table
from routing.visibility import visible_owners
from tests.routing.cast import a_platform, a_table, party

CPO = a_platform("BE-BEC:CPO", id=2)
OFFLINE = a_platform("SE-VOL:CPO", id=3, is_online=False)
BOTH = a_platform("NL-ALF:CPO", "NL-ALF:EMSP", id=4)
EMSP = a_platform("DE-TNM:EMSP", id=5)
SUSPENDED = a_platform("FR-OFF:CPO/suspended", "FR-OFF:EMSP", id=6)
PLANNED = a_platform("FR-NEW:CPO", id=7, state="planned")
GONE = a_platform("FR-BYE:CPO/dropped", id=8)
NAVIGATION = a_platform("FR-NAV:NSP", id=9)
ACCESS = a_platform("FR-NAP:NAP", id=10)
EVERYBODY = (CPO, OFFLINE, BOTH, EMSP, SUSPENDED, PLANNED, GONE, NAVIGATION, ACCESS)


@pytest.mark.parametrize(
    ("viewer", "module", "owners"),
    [
        ("DE-TNM", "locations", {"BE-BEC", "SE-VOL", "NL-ALF", "FR-NAP"}),
        ("DE-TNM", "cdrs", {"BE-BEC", "SE-VOL", "NL-ALF"}),
        ("FR-NAV", "tariffs", {"BE-BEC", "SE-VOL", "NL-ALF", "FR-NAP"}),
        ("NL-ALF", "locations", {"BE-BEC", "SE-VOL", "FR-NAP"}),
        ("NL-ALF", "tokens", {"DE-TNM", "FR-OFF"}),
        ("BE-BEC", "tokens", {"DE-TNM", "NL-ALF", "FR-OFF"}),
        ("BE-BEC", "locations", set()),
        ("DE-TNM", "tokens", set()),
        ("FR-NAP", "locations", {"BE-BEC", "SE-VOL", "NL-ALF"}),
        ("FR-NAP", "tokens", set()),
    ],
)
def test_a_party_sees_what_those_share_with_whom_it_has_business(viewer: str, module: str, owners: set[str]) -> None:
    """R-130, R-161, R-162, T-070, T-071: what would be broadcast to it, by those offline too, never its own."""
    table = a_table(*EVERYBODY)
    (platform,) = table.holders[party(viewer).key]
    sharing = {fold(role.party) for each in EVERYBODY for role in each.roles if (module, "SENDER") in HOSTS[role.role]}
    assert visible_owners(party(viewer.lower()), platform, module, table) & sharing == owners


def test_a_party_sees_nothing_without_a_contract() -> None:
    closed = make_table(1, EVERYBODY, {}, Contracts((), EVERYBODY, is_open=False))
    assert visible_owners(party("DE-TNM"), EMSP, "locations", closed) == set()
