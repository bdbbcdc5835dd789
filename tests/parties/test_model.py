"""What is known of a platform: statuses, endpoints, origins, and how it wants its token."""

import dataclasses
from base64 import b64encode

import pytest

from config.ocpi import PartyID
from parties.model import Access, PartyState, Platform, PlatformState, Role, Switches, TokenKind, origin_of
from parties.tokens import Secret

CPO = Role.parse("BE-BEC:CPO")


def a_platform(*roles: Role, state: PlatformState = "registered", **fields: object) -> Platform:
    return Platform(1, "", state, roles or (CPO,), **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "role"),
    [
        ("DE-ABC:EMSP", Role(PartyID("DE", "ABC"), "EMSP")),
        ("deabc:cpo", Role(PartyID("de", "abc"), "CPO")),
        ("DE*ABC:PTP", Role(PartyID("DE", "ABC"), "PTP")),
    ],
)
def test_a_role_is_read_as_an_operator_writes_it(text: str, role: Role) -> None:
    assert Role.parse(text) == role


@pytest.mark.parametrize("text", ["", "DE-ABC", "DE-ABC:", "DE-ABC:C PO", "DE:CPO", ":CPO", "DE-ABC:ĊPO"])
def test_what_is_no_role_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"like DE-ABC"):
        Role.parse(text)


def test_a_role_is_one_and_the_same_in_any_letters() -> None:
    """R-084, R-010."""
    assert Role.parse("de-abc:EMSP").key == Role.parse("DE-ABC:emsp").key == ("DE", "ABC", "EMSP")
    assert str(Role.parse("de-abc:emsp")) == "de-abc:EMSP"


@pytest.mark.parametrize(
    ("platform_state", "role_state", "suspended", "status"),
    [
        ("planned", "invited", False, "PLANNED"),
        ("planned", "claimed", False, "PLANNED"),
        ("planned", "invited", True, "SUSPENDED"),
        ("registered", "claimed", False, "CONNECTED"),
        ("registered", "invited", False, "PLANNED"),  # may be added by a PUT
        ("registered", "dropped", False, "SUSPENDED"),
        ("registered", "claimed", True, "SUSPENDED"),
        ("unregistered", "claimed", False, "SUSPENDED"),  # T-090
        ("unregistered", "invited", False, "SUSPENDED"),
    ],
)
def test_a_role_has_a_status_of_hubclientinfo(
    platform_state: PlatformState, role_state: PartyState, suspended: bool, status: str
) -> None:
    """R-210."""
    role = dataclasses.replace(CPO, state=role_state, suspended=suspended)
    platform = a_platform(role, state=platform_state)

    assert platform.status_of(role) == status
    assert platform.is_connected(PartyID("be", "bec")) is (status == "CONNECTED")


def test_a_party_is_connected_in_one_role_at_least() -> None:
    suspended = dataclasses.replace(CPO, suspended=True)

    assert a_platform(suspended, Role.parse("BE-BEC:EMSP")).is_connected(CPO.party)
    assert not a_platform(suspended, Role.parse("BE-BEX:EMSP")).is_connected(CPO.party)


def test_a_platform_speaks_for_the_parties_that_it_claimed() -> None:
    """R-083, R-106."""
    platform = a_platform(
        Role.parse("be-bec:CPO"),
        Role.parse("BE-BEC:EMSP"),
        Role(PartyID("NL", "NEW"), "CPO", state="invited"),
        Role(PartyID("NL", "OLD"), "CPO", state="dropped"),
    )

    assert set(platform.parties) == {("BE", "BEC")}


def test_the_operators_endpoints_go_before_those_published() -> None:
    """Quirk 21: a CPO whose version details omit commands."""
    platform = a_platform(
        published={("locations", "SENDER"): "https://p1.test/l", ("cdrs", "SENDER"): "https://p1.test/c"},
        switches=Switches(endpoints={"commands:RECEIVER": "https://p1.test/x", "cdrs:SENDER": "https://p1.test/d"}),
    )

    assert platform.endpoints == {
        ("locations", "SENDER"): "https://p1.test/l",
        ("cdrs", "SENDER"): "https://p1.test/d",
        ("commands", "RECEIVER"): "https://p1.test/x",
    }


def test_the_origins_are_those_of_every_url_known_and_those_configured() -> None:
    """R-036."""
    platform = a_platform(
        versions_url="https://a.test/versions",
        details_url="https://A.test:443/2.2.1",
        published={("locations", "SENDER"): "https://b.test:8443/l"},
        switches=Switches(endpoints={"commands:RECEIVER": "http://c.test/x"}, origins=("https://d.test",)),
    )

    assert platform.origins == {
        "https://a.test:443",
        "https://b.test:8443",
        "http://c.test:80",
        "https://d.test:443",
    }


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("https://p1.test", "https://p1.test:443"),
        ("HTTPS://P1.Test:443/x?y#z", "https://p1.test:443"),
        ("http://p1.test/x", "http://p1.test:80"),
        ("http://p1.test:443/", "http://p1.test:443"),
        ("https://[2001:DB8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("https://user@p1.test/", "https://p1.test:443"),
    ],
)
def test_an_origin_has_one_spelling(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/x",
        "p1.test",
        "//p1.test/x",
        "ftp://p1.test",
        "https://",
        "https:/p1.test",
        "https://p1.test:x/",
        "https://p1.test:99999/",
        "https://[/",
        "https://:443/",
        "javascript:alert(1)",
    ],
)
def test_what_is_no_absolute_http_url_has_no_origin(url: str) -> None:
    with pytest.raises(ValueError):
        origin_of(url)


@pytest.mark.parametrize(
    ("switch", "learnt", "base64"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("base64", False, True),
        ("raw", True, False),
    ],
)
def test_a_token_goes_as_learnt_unless_the_operator_knows_better(switch: str, learnt: bool, base64: bool) -> None:
    """R-029, quirk 18."""
    platform = a_platform(
        token=Secret("sesame"),
        token_base64=learnt,
        switches=Switches(token=switch),  # type: ignore[arg-type]
    )

    expected = b64encode(b"sesame").decode() if base64 else "sesame"
    assert platform.authorization == f"Token {expected}"


def test_without_a_token_there_is_no_authorization() -> None:
    assert a_platform().authorization is None


@pytest.mark.parametrize(
    ("kind", "state", "is_registered"),
    [
        ("current", "registered", True),
        ("previous", "registered", True),
        ("offered", "registered", True),
        ("invitation", "registered", False),
        ("invitation", "planned", False),
        ("offered", "planned", False),
        ("current", "unregistered", False),
    ],
)
def test_functional_modules_open_to_the_tokens_of_a_registered_platform(
    kind: TokenKind, state: PlatformState, is_registered: bool
) -> None:
    """R-032."""
    assert Access(a_platform(state=state), kind).is_registered is is_registered


@pytest.mark.parametrize(
    ("platform", "name"),
    [
        (Platform(7, "Bec", "planned", (CPO,)), "Bec"),
        (Platform(7, "", "planned", (CPO, Role.parse("BE-BEC:EMSP"))), "BE-BEC:CPO, BE-BEC:EMSP"),
        (Platform(7, "", "planned", ()), "platform 7"),
    ],
)
def test_a_platform_is_called_by_the_best_name_there_is(platform: Platform, name: str) -> None:
    assert str(platform) == name
