"""The credentials exchange as pure steps: what is accepted, what is refused and which field the refusal names."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import (
    EndpointsMissing,
    InvalidParameters,
    OCPIError,
    PartnerUnusable,
    PartyID,
    VersionUnsupported,
)
from parties import registration
from parties.model import Platform, Role
from parties.registration import (
    check_roles,
    credentials_object,
    find_version,
    latest_mutual,
    read_credentials,
    read_data,
    read_endpoints,
    read_versions,
    require_endpoints,
)
from parties.tokens import Secret

HUB = PartyID("NL", "HUB")


def a_role(**changes: Any) -> dict[str, Any]:
    role = {"role": "CPO", "party_id": "BEC", "country_code": "BE", "business_details": {"name": "Bec"}}
    return role | changes


def credentials(**changes: Any) -> dict[str, Any]:
    return {"token": "tok-BE-1", "url": "https://p1.test/versions", "roles": [a_role()]} | changes


def without(mapping: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in mapping.items() if key != name}


def roles(*texts: str) -> tuple[Role, ...]:
    return tuple(Role.parse(text) for text in texts)


# The credentials object


def test_credentials_are_read_as_they_stand() -> None:
    read = read_credentials(credentials(), HUB)

    assert (read.token.reveal(), read.url) == ("tok-BE-1", "https://p1.test/versions")
    assert [str(role) for role in read.roles] == ["BE-BEC:CPO"]
    assert read.roles[0].business_details == {"name": "Bec"}


@pytest.mark.parametrize(
    ("value", "field"),
    [
        (None, "body"),  # quirk 24: a PUT without a body
        ([], "body"),
        ("text", "body"),
        ({}, "token"),
        (without(credentials(), "token"), "token"),
        (credentials(token=""), "token"),
        (credentials(token="x" * 65), "token"),
        (credentials(token="a b"), "token"),
        (credentials(token="tökén"), "token"),
        (credentials(token=5), "token"),
        (without(credentials(), "url"), "url"),
        (credentials(url=""), "url"),
        (credentials(url=None), "url"),
        (credentials(url=["https://p1.test"]), "url"),
        (without(credentials(), "roles"), "roles"),
        (credentials(roles=[]), "roles"),
        (credentials(roles=None), "roles"),
        (credentials(roles=a_role()), "roles"),
        (credentials(roles=[[]]), "roles"),
        (credentials(roles=["CPO"]), "roles[0]"),
        (credentials(roles=[a_role(), None]), "roles[1]"),
        (credentials(roles=[[a_role()], [a_role()]]), "roles[0]"),
        (credentials(roles=[without(a_role(), "country_code")]), "roles[0].country_code"),
        (credentials(roles=[a_role(country_code="BEL")]), "roles[0].country_code"),
        (credentials(roles=[a_role(country_code="B1")]), "roles[0].country_code"),
        (credentials(roles=[a_role(country_code="ÖÄ")]), "roles[0].country_code"),
        (credentials(roles=[a_role(), without(a_role(), "party_id")]), "roles[1].party_id"),
        (credentials(roles=[a_role(party_id="BE")]), "roles[0].party_id"),
        (credentials(roles=[a_role(party_id="BE-")]), "roles[0].party_id"),
        (credentials(roles=[a_role(party_id=123)]), "roles[0].party_id"),
        (credentials(roles=[a_role(party_id="BÉC")]), "roles[0].party_id"),
        (credentials(roles=[without(a_role(), "role")]), "roles[0].role"),
        (credentials(roles=[a_role(role="")]), "roles[0].role"),
        (credentials(roles=[a_role(role="X" * 21)]), "roles[0].role"),
        (credentials(roles=[a_role(role="ROLÉ")]), "roles[0].role"),
        (credentials(roles=[a_role(role="C\0")]), "roles[0].role"),
        (credentials(roles=[a_role(role=["CPO"])]), "roles[0].role"),
        (credentials(roles=[a_role(business_details="Bec")]), "roles[0].business_details"),
        (credentials(roles=[a_role(business_details=[1])]), "roles[0].business_details"),
        (credentials(roles=[a_role(business_details={"name": "B\0c"})]), "roles[0].business_details"),
        (credentials(roles=[a_role(), a_role()]), "roles"),
        (credentials(roles=[a_role(), a_role(country_code="be", party_id="bec", role="cpo")]), "roles"),
        (credentials(roles=[a_role(country_code="nl", party_id="hub")]), "roles[0]"),
    ],
)
def test_a_refusal_names_the_field(value: Any, field: str) -> None:
    """R-081: 2001, and the partner can tell what to mend."""
    with pytest.raises(InvalidParameters) as caught:
        read_credentials(value, HUB)

    assert caught.value.status_code == 2001
    start = "The body is no credentials object" if field == "body" else f"{field}: "
    assert caught.value.message.startswith(start)


def test_details_too_deep_to_be_kept_are_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(500):
        deep = {"x": deep}

    with pytest.raises(InvalidParameters, match=r"roles\[0\]\.business_details: "):
        read_credentials(credentials(roles=[a_role(business_details=deep)]), HUB)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (credentials(roles=[[a_role()]]), roles("BE-BEC:CPO")),  # quirk 22: wrapped twice
        (credentials(roles=[[a_role(), a_role(role="EMSP")]]), roles("BE-BEC:CPO", "BE-BEC:EMSP")),
        (credentials(roles=[without(a_role(), "business_details")]), roles("BE-BEC:CPO")),  # quirk 24
        (credentials(roles=[a_role(business_details=None)]), roles("BE-BEC:CPO")),
        (credentials(roles=[a_role(business_details=[])]), roles("BE-BEC:CPO")),
        (credentials(roles=[a_role(role="Hub")]), roles("BE-BEC:HUB")),  # T-013
        (credentials(roles=[a_role(role="PTP")]), roles("BE-BEC:PTP")),  # T-012
        (credentials(roles=[a_role(role="VENDOR_X")]), (Role(PartyID("BE", "BEC"), "VENDOR_X"),)),  # T-012
        (credentials(roles=[a_role(country_code="be", party_id="bec")]), roles("be-bec:CPO")),  # quirk 8
        (credentials(roles=[a_role(), a_role(party_id="BEX")]), roles("BE-BEC:CPO", "BE-BEX:CPO")),
        (credentials(hub_party_id="NLXYZ", last_updated="x", x=None), roles("BE-BEC:CPO")),
    ],
)
def test_what_real_systems_send_is_taken(value: Any, expected: tuple[Role, ...]) -> None:
    read = read_credentials(value, HUB).roles

    assert [(str(role.party), role.role, role.state) for role in read] == [
        (str(role.party), role.role, "claimed") for role in expected
    ]


def test_a_token_b_that_is_the_token_a_is_taken() -> None:
    """Quirk 24: what the platform wants to be sent is its own affair, the hub recognises it by another."""
    assert read_credentials(credentials(token="hub-invitation"), HUB).token == Secret("hub-invitation")


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["token", "url", "roles", "role", "party_id", "country_code", "versions", "endpoints"]),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(
    st.one_of(
        JSON,
        st.builds(
            lambda role, more: credentials(roles=[a_role() | role]) | more,
            st.dictionaries(st.sampled_from(["role", "party_id", "country_code", "business_details"]), JSON),
            st.dictionaries(st.sampled_from(["token", "url", "x"]), JSON),
        ),
    ),
    st.sampled_from(
        [
            lambda value: read_credentials(value, HUB),
            read_data,
            read_versions,
            read_endpoints,
            latest_mutual,
            lambda value: find_version(value, "2.2.1"),
        ]
    ),
)
def test_whatever_a_partner_sends_is_read_or_refused_in_ocpis_terms(value: Any, step: Any) -> None:
    error = None
    try:
        step(value)
    except OCPIError as exc:
        error = exc

    assert error is None or (error.status_code in (2001, 3001, 3002) and error.message)


# Who may claim what


def platforms(*lines: str) -> list[Platform]:
    """Platforms written as `1 BE-BEC:CPO NL-ALF:CPO/dropped`."""
    made = []
    for line in lines:
        number, *words = line.split()
        read = []
        for word in words:
            text, _, state = word.partition("/")
            role = Role.parse(text)
            read.append(Role(role.party, role.role, state or "claimed"))  # type: ignore[arg-type]
        made.append(Platform(int(number), "", "registered", tuple(read)))
    return made


@pytest.mark.parametrize(
    ("claimed", "members"),
    [
        (["BE-BEC:CPO"], ["1 BE-BEC:CPO"]),
        (["be-bec:CPO"], ["1 BE-BEC:CPO/invited"]),
        (["BE-BEC:CPO"], ["1 BE-BEC:CPO/invited BE-BEX:CPO"]),
        (["BE-BEC:CPO"], ["1 BE-BEC:CPO", "2 BE-BEC:EMSP"]),  # T-011: the triples are disjoint
        (["BE-BEC:CPO", "BE-BEC:EMSP"], ["1 BE-BEC:CPO BE-BEC:EMSP/invited", "2 DE-TNM:EMSP"]),
    ],
)
def test_a_platform_may_claim_what_was_agreed(claimed: list[str], members: list[str]) -> None:
    first, *others = platforms(*members)

    check_roles(roles(*claimed), first, [first, *others])


@pytest.mark.parametrize(
    ("claimed", "members", "refused"),
    [
        (["BE-BEC:CPO", "BE-BEC:EMSP"], ["1 BE-BEC:CPO"], r"BE-BEC:EMSP was not agreed"),
        (["BE-BEX:CPO"], ["1 BE-BEC:CPO"], r"BE-BEX:CPO was not agreed"),
        (["BE-BEC:CPO"], ["1 BE-BEC:CPO/dropped"], r"BE-BEC:CPO was not agreed"),
        (["DE-TNM:EMSP"], ["1 BE-BEC:CPO", "2 DE-TNM:EMSP"], r"DE-TNM:EMSP is held by another"),
        (["de-tnm:EMSP"], ["1 DE-TNM:EMSP", "2 DE-TNM:EMSP"], r"de-tnm:EMSP is held by another"),
        (["DE-TNM:EMSP"], ["1 DE-TNM:EMSP", "2 DE-TNM:EMSP/dropped"], r"DE-TNM:EMSP is held by another"),
    ],
)
def test_a_platform_may_not_claim_what_is_anothers_or_was_not_agreed(
    claimed: list[str], members: list[str], refused: str
) -> None:
    first, *others = platforms(*members)

    with pytest.raises(InvalidParameters, match=refused):
        check_roles(roles(*claimed), first, [first, *others])


# Reading a partner's answers


@pytest.mark.parametrize(
    ("envelope", "data"),
    [
        ({"status_code": 1000, "data": [1]}, [1]),
        ({"status_code": 1000}, None),
        ({"status_code": 1000, "data": None}, None),
        ({"status_code": 1999, "data": {}}, {}),
    ],
)
def test_the_data_of_a_success_is_given(envelope: Any, data: Any) -> None:
    """R-186: data may be missing or null."""
    assert read_data(envelope) == data


@pytest.mark.parametrize(
    "envelope",
    [
        None,
        [],
        "x",
        {},
        {"data": []},
        {"status_code": "1000", "data": []},
        {"status_code": 1000.0},
        {"status_code": True},
        {"status_code": 2000, "data": []},
        {"status_code": 3000},
        {"status_code": 999},
        {"detail": "Not found"},  # quirk 12
    ],
)
def test_anything_but_a_success_makes_the_partners_api_unusable(envelope: Any) -> None:
    """R-075."""
    with pytest.raises(PartnerUnusable) as caught:
        read_data(envelope)

    assert caught.value.status_code == 3001


def version(number: str) -> dict[str, str]:
    return {"version": number, "url": f"https://p1.test/{number}"}


@pytest.mark.parametrize(
    "versions",
    [
        [version("2.2.1")],
        [version("2.1.1"), version("2.2.1"), version("2.3.0"), version("9.9-beta")],
        [None, 5, {}, {"version": 2.2, "url": "x"}, {"version": "2.2", "url": None}, version("2.2.1")],
        {"versions": [version("2.2.1")]},  # quirk 22
    ],
)
def test_the_version_wanted_is_found_among_others(versions: Any) -> None:
    assert find_version(versions, "2.2.1") == "https://p1.test/2.2.1"
    assert latest_mutual(versions) == ("2.2.1", "https://p1.test/2.2.1")


@pytest.mark.parametrize(
    ("versions", "listed"),
    [([version("2.3.0"), version("2.1.1")], "2.1.1, 2.3.0"), ([], "none"), ([version("2.2.1 ")], "2.2.1 ")],
)
def test_a_missing_version_is_3002_and_names_those_listed(versions: Any, listed: str) -> None:
    """R-076."""
    for step in (lambda: find_version(versions, "2.2.1"), lambda: latest_mutual(versions)):
        with pytest.raises(VersionUnsupported) as caught:
            step()
        assert caught.value.status_code == 3002
        assert listed in caught.value.message


@pytest.mark.parametrize("versions", [None, {}, "2.2.1", 5, {"versions": None}, {"versions": {"2.2.1": "x"}}])
def test_what_is_no_list_of_versions_is_3001(versions: Any) -> None:
    """R-075."""
    with pytest.raises(PartnerUnusable):
        latest_mutual(versions)


def test_the_latest_mutual_version_is_taken_by_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """R-053: 2.10 is later than 2.9."""
    monkeypatch.setattr(registration, "OPERATIONS", {"2.9": (), "2.10": (), "2.2.1": ()})

    assert latest_mutual([version("2.9"), version("2.10"), version("3.0")])[0] == "2.10"
    assert latest_mutual([version("2.2.1"), version("2.9")])[0] == "2.9"


def endpoint(identifier: Any, role: Any, url: Any = "https://p1.test/x") -> dict[str, Any]:
    return {"identifier": identifier, "role": role, "url": url}


@pytest.mark.parametrize(
    ("listed", "read"),
    [
        ([endpoint("locations", "SENDER")], {("locations", "SENDER")}),
        ([endpoint("cdrs", "RECEIVER"), endpoint("cdrs", "SENDER")], {("cdrs", "RECEIVER"), ("cdrs", "SENDER")}),
        ([endpoint("credentials", "RECEIVER")], {("credentials", "SENDER")}),
        ([endpoint("credentials", None)], {("credentials", "SENDER")}),
        ([endpoint("nltnm-tokens", "SENDER")], {("nltnm-tokens", "SENDER")}),  # R-052, quirk 28
        ([endpoint("locations", "sender"), endpoint("locations", None), endpoint("x", ["SENDER"])], set()),
        ([endpoint(None, "SENDER"), endpoint(5, "SENDER"), endpoint("cdrs", "SENDER", None)], set()),
        ([endpoint("c\0drs", "SENDER"), endpoint("x" * 3000, "SENDER"), endpoint("", "SENDER")], set()),
        ([None, 5, [], "x"], set()),
        ([], set()),
    ],
)
def test_endpoints_are_read_unknown_modules_too_and_broken_entries_left_out(
    listed: list[Any], read: set[tuple[str, str]]
) -> None:
    assert set(read_endpoints({"version": "2.2.1", "endpoints": listed})) == read


def test_credentials_listed_for_both_roles_are_one_endpoint_the_first() -> None:
    """Quirk 28."""
    listed = [endpoint("credentials", "SENDER", "https://p1.test/1"), endpoint("credentials", "RECEIVER")]

    assert read_endpoints({"endpoints": listed}) == {("credentials", "SENDER"): "https://p1.test/1"}


@pytest.mark.parametrize("value", [None, [], {}, {"endpoints": None}, {"endpoints": {}}, "x"])
def test_what_are_no_version_details_is_3001(value: Any) -> None:
    with pytest.raises(PartnerUnusable):
        read_endpoints(value)


def endpoints(*names: str) -> Any:
    return {tuple(name.split(" ")): "https://p1.test/x" for name in names}


@pytest.mark.parametrize(
    ("listed", "of"),
    [
        (["credentials SENDER", "locations SENDER"], ["BE-BEC:CPO"]),
        (["commands RECEIVER"], ["BE-BEC:CPO"]),
        (["cdrs RECEIVER"], ["BE-BEC:EMSP"]),
        (["locations RECEIVER"], ["FR-NAV:NSP"]),
        (["cdrs RECEIVER"], ["BE-BEC:CPO", "BE-BEC:EMSP"]),
        (["locations RECEIVER"], ["GB-OTH:OTHER"]),
        (["nltnm-tokens SENDER"], ["GB-OTH:OTHER"]),
        (["locations SENDER"], ["GB-OTH:VENDORX"]),
    ],
)
def test_one_functional_endpoint_of_one_role_will_do(listed: list[str], of: list[str]) -> None:
    """T-009."""
    require_endpoints(endpoints(*listed), roles(*of))


@pytest.mark.parametrize(
    ("listed", "of"),
    [
        ([], ["BE-BEC:CPO"]),
        (["credentials SENDER"], ["BE-BEC:CPO"]),
        (["credentials SENDER", "hubclientinfo RECEIVER"], ["BE-BEC:CPO"]),
        (["credentials SENDER", "hubclientinfo RECEIVER"], ["GB-OTH:OTHER"]),
        (["locations RECEIVER"], ["BE-BEC:CPO"]),
        (["cdrs RECEIVER"], ["FR-NAV:NSP"]),
        (["payments SENDER"], ["BE-BEC:CPO", "DE-TNM:EMSP"]),
    ],
)
def test_without_one_the_registration_is_3003_and_names_the_roles(listed: list[str], of: list[str]) -> None:
    """T-009, R-077."""
    with pytest.raises(EndpointsMissing) as caught:
        require_endpoints(endpoints(*listed), roles(*of))

    assert caught.value.status_code == 3003
    for role in roles(*of):
        assert role.role in caught.value.message


# The hub's own credentials


def test_the_hub_shows_one_role_with_null_for_what_it_has_not() -> None:
    """R-085, R-086, R-093; quirk 11: some libraries want website and logo to be there."""
    assert credentials_object(Secret("hub-token"), "https://hub.test/ocpi/versions", HUB, "Hub", None) == {
        "token": "hub-token",
        "url": "https://hub.test/ocpi/versions",
        "roles": [
            {
                "role": "HUB",
                "country_code": "NL",
                "party_id": "HUB",
                "business_details": {"name": "Hub", "website": None, "logo": None},
            }
        ],
    }


def test_the_hub_shows_its_website() -> None:
    shown = credentials_object(Secret("t"), "u", HUB, "Hub", "https://hub.test")

    assert shown["roles"][0]["business_details"]["website"] == "https://hub.test"
    assert "hub_party_id" not in shown


def test_another_hub_can_read_the_hubs_credentials() -> None:
    shown = credentials_object(Secret("hub-token"), "https://hub.test/ocpi/versions", HUB, "Hub", None)

    assert read_credentials(shown, PartyID("DE", "HUB")).roles[0].key == ("NL", "HUB", "HUB")
