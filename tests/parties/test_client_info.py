"""What one platform sees of the others: whom, in which state, and since when."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from config.ocpi import ConnectionStatus
from parties.client_info import ClientInfo, client_infos, in_order_of_telling
from parties.contracts import Contracts, PartyKey
from parties.model import PartyState, Platform, PlatformState, Role

START = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def a_role(text: str, state: PartyState = "claimed", *, suspended: bool = False, since: float = 0) -> Role:
    return replace(Role.parse(text), state=state, suspended=suspended, status_changed_at=at(since))


def a_platform(
    id: int, *roles: Role | str, state: PlatformState = "registered", is_online: bool = True, since: float = 0
) -> Platform:
    read = tuple(a_role(role) if isinstance(role, str) else role for role in roles)
    return Platform(id, "", state, read, is_online=is_online, status_changed_at=at(since))


class Agreements(Contracts):
    """Contracts between some parties only."""

    def __init__(
        self, *met: tuple[str, str], changed: Mapping[tuple[str, str], float] | None = None, is_open: bool = False
    ) -> None:
        super().__init__((), (), is_open=is_open)
        self._met = set(met)
        self._changed = changed or {}

    def may_meet(self, viewer: PartyKey, party: PartyKey) -> bool:
        return ("-".join(viewer), "-".join(party)) in self._met

    def changed_at(self, viewer: PartyKey, party: PartyKey) -> datetime | None:
        minutes = self._changed.get(("-".join(viewer), "-".join(party)))
        return None if minutes is None else at(minutes)


OPEN = Contracts((), (), is_open=True)
P1 = a_platform(1, "BE-BEC:CPO")
P2 = a_platform(2, "NL-ALF:CPO", "NL-ALF:EMSP")
P3 = a_platform(3, "DE-TNM:EMSP")
P4 = a_platform(4, "NL-TST:EMSP", "NL-MSP:EMSP")
P5 = a_platform(5, "FR-NAV:NSP")
ALL = (P1, P2, P3, P4, P5)


def seen(viewer: Platform, platforms: Iterable[Platform] = ALL, contracts: Contracts = OPEN) -> dict[str, ClientInfo]:
    return {f"{info.party}:{info.role}": info for info in client_infos(viewer, platforms, contracts)}


def statuses(viewer: Platform, *platforms: Platform, contracts: Contracts = OPEN) -> dict[str, str]:
    return {name: info.status.value for name, info in seen(viewer, platforms, contracts).items()}


@pytest.mark.parametrize(
    ("viewer", "names"),
    [
        (P1, ["NL-ALF:EMSP", "DE-TNM:EMSP", "NL-TST:EMSP", "NL-MSP:EMSP", "FR-NAV:NSP"]),
        (P2, ["BE-BEC:CPO", "DE-TNM:EMSP", "NL-TST:EMSP", "NL-MSP:EMSP", "FR-NAV:NSP"]),
        (P3, ["BE-BEC:CPO", "NL-ALF:CPO"]),
        (P4, ["BE-BEC:CPO", "NL-ALF:CPO"]),
        (P5, ["BE-BEC:CPO", "NL-ALF:CPO"]),
    ],
    ids=lambda value: str(value) if isinstance(value, Platform) else "",
)
def test_each_sees_the_others_it_has_business_with_the_oldest_platform_first(
    viewer: Platform, names: list[str]
) -> None:
    """R-209, R-212: never itself, nor those of its own platform, nor those of its own role."""
    assert list(seen(viewer)) == names


def test_a_party_on_two_platforms_does_not_see_itself() -> None:
    elsewhere = a_platform(7, "nl-tst:CPO")
    assert list(seen(a_platform(4, "NL-TST:EMSP"), [elsewhere])) == []
    assert list(seen(P4, [elsewhere])) == ["nl-tst:CPO"]  # NL-MSP does


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        (a_platform(1, "BE-BEC:CPO"), "CONNECTED"),
        (a_platform(1, "BE-BEC:CPO", is_online=False), "OFFLINE"),
        (a_platform(1, a_role("BE-BEC:CPO", "invited"), state="planned"), "PLANNED"),
        (a_platform(1, a_role("BE-BEC:CPO", "invited")), "PLANNED"),
        (a_platform(1, a_role("BE-BEC:CPO", suspended=True)), "SUSPENDED"),
        (a_platform(1, a_role("BE-BEC:CPO", "dropped")), "SUSPENDED"),
        (a_platform(1, "BE-BEC:CPO", state="unregistered"), "SUSPENDED"),
        (a_platform(1, a_role("BE-BEC:CPO", suspended=True), is_online=False), "SUSPENDED"),
    ],
)
def test_each_status_is_shown_and_the_suspended_stay_listed(platform: Platform, status: str) -> None:
    """R-210, R-211, R-220, T-090."""
    assert statuses(P3, platform) == {"BE-BEC:CPO": status}


def test_roles_in_which_the_viewer_takes_no_part_show_it_nothing() -> None:
    """Those that it has dropped or not yet claimed, and those that are suspended."""
    none = (
        a_role("DE-TNM:CPO", "invited"),
        a_role("DE-OLD:CPO", "dropped"),
        a_role("DE-OFF:CPO", suspended=True),
    )
    assert seen(a_platform(9, *none)) == {}
    viewer = a_platform(9, a_role("DE-TNM:EMSP"), *none)
    assert list(seen(viewer)) == ["BE-BEC:CPO", "NL-ALF:CPO"]


def test_without_a_contract_a_party_is_planned_to_this_viewer_alone() -> None:
    """T-091."""
    contracts = Agreements(("DE-TNM", "BE-BEC"))
    assert statuses(P3, P1, P2, contracts=contracts) == {"BE-BEC:CPO": "CONNECTED", "NL-ALF:CPO": "PLANNED"}
    offline = replace(P2, is_online=False)
    assert statuses(P3, offline, contracts=contracts) == {"NL-ALF:CPO": "PLANNED"}
    gone = replace(P2, state="unregistered")
    assert statuses(P3, gone, contracts=contracts) == {"NL-ALF:CPO": "SUSPENDED"}


def test_the_contract_of_one_of_its_parties_is_enough() -> None:
    contracts = Agreements(("NL-MSP", "BE-BEC"))
    assert statuses(P4, P1, contracts=contracts) == {"BE-BEC:CPO": "CONNECTED"}


@pytest.mark.parametrize(
    ("role", "platform", "own", "contract", "latest"),
    [(4, 3, 2, 1, 4), (3, 4, 2, 1, 4), (1, 2, 4, 3, 4), (1, 2, 3, 4, 4), (1, 2, 3, None, 3)],
)
def test_last_updated_is_the_latest_of_what_changed_what_is_seen(
    role: float, platform: float, own: float, contract: float | None, latest: float
) -> None:
    """R-213: its status, a contract, or that the viewer came (everything is new to it then)."""
    described = a_platform(1, a_role("BE-BEC:CPO", since=role), since=platform)
    viewer = a_platform(3, a_role("DE-TNM:EMSP", since=own))
    changed = {} if contract is None else {("DE-TNM", "BE-BEC"): contract}
    (info,) = client_infos(viewer, [described], Agreements(("DE-TNM", "BE-BEC"), changed=changed))
    assert info.last_updated == at(latest)


def test_a_party_that_joins_a_platform_makes_nothing_new_to_the_others_on_it() -> None:
    viewer = a_platform(4, a_role("NL-TST:EMSP", since=1), a_role("NL-MSP:EMSP", since=9))
    assert seen(viewer, [P1])["BE-BEC:CPO"].last_updated == at(1)


def test_the_object_has_all_five_fields() -> None:
    """T-089, R-014."""
    assert seen(P3)["BE-BEC:CPO"].as_object() == {
        "country_code": "BE",
        "party_id": "BEC",
        "role": "CPO",
        "status": "CONNECTED",
        "last_updated": "2026-01-01T12:00:00.123Z",
    }
    assert seen(P3)["BE-BEC:CPO"].updated == START.replace(microsecond=123000)


def an_info(text: str, minutes: float) -> ClientInfo:
    role = Role.parse(text)
    return ClientInfo(role.party, role.role, ConnectionStatus.CONNECTED, at(minutes))


@pytest.mark.parametrize(
    ("own", "told"),
    [
        (["CPO"], ["AA-AAA:CPO", "NL-ALF:NSP", "NL-ALF:CPO", "NL-ALF:EMSP", "ZZ-ZZZ:EMSP"]),
        (["EMSP"], ["AA-AAA:CPO", "NL-ALF:EMSP", "NL-ALF:NSP", "NL-ALF:CPO", "ZZ-ZZZ:EMSP"]),
        (["CPO", "EMSP"], ["AA-AAA:CPO", "NL-ALF:NSP", "NL-ALF:CPO", "NL-ALF:EMSP", "ZZ-ZZZ:EMSP"]),
        (["EMSP", "CPO"], ["AA-AAA:CPO", "NL-ALF:NSP", "NL-ALF:EMSP", "NL-ALF:CPO", "ZZ-ZZZ:EMSP"]),
    ],
)
def test_they_are_told_by_time_and_of_one_party_the_role_last_that_matters_most(
    own: list[str], told: list[str]
) -> None:
    """T-087: its roles share one URL, at which a receiver may keep only the last."""
    infos = [
        an_info("ZZ-ZZZ:EMSP", 9),
        an_info("NL-ALF:EMSP", 1),
        an_info("NL-ALF:CPO", 4),
        an_info("NL-ALF:NSP", 2),
        an_info("AA-AAA:CPO", 3),
    ]
    viewer = a_platform(8, *(f"XX-XXX:{role}" for role in own))
    assert [f"{info.party}:{info.role}" for info in in_order_of_telling(infos, viewer)] == told
