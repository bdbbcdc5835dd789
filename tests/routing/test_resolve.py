"""From a message to its route: which platform, which URL, or which error of OCPI's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import (
    InvalidParameters,
    NotFound,
    OCPIError,
    PartyID,
    ReceiverNotConnected,
    RoutingFailed,
    UnknownReceiver,
)
from config.operations import OperationIndex
from parties.contracts import Contracts, Rule, Selector
from parties.model import Platform, Role, Switches
from parties.tokens import fingerprint
from routing.aliases import Alias
from routing.resolve import Broadcast, ByContent, Direct, GetAll, Route, find_receiver, join, resolve, resolve_alias
from routing.table import EMPTY, make_table
from tests.routing.cast import HUB, a_message, a_platform, a_table, party

SENDER = a_platform("BE-BEC:CPO", "BE-BEC:EMSP")


def any_route(request: str, *members: Platform, to: str | None = "NL-ALF", broadcasts_open: bool = True) -> Route:
    """The route of a request of BE-BEC's among these members."""
    message = a_message(request, SENDER, to=to, sender="BE-BEC")
    return resolve(message, a_table(SENDER, *members), HUB, broadcasts_open=broadcasts_open)


def route(request: str, *members: Platform, to: str | None = "NL-ALF") -> Direct:
    """The same, of one to one platform."""
    found = any_route(request, *members, to=to)
    assert isinstance(found, Direct)
    return found


@pytest.mark.parametrize(
    ("request_line", "url"),
    [
        ("GET sender/locations", "https://p2.test/ocpi/sender/locations"),
        ("GET sender/locations/?limit=5&offset=%31", "https://p2.test/ocpi/sender/locations?limit=5&offset=%31"),
        ("GET sender/locations/LOC1/%2A", "https://p2.test/ocpi/sender/locations/LOC1/%2A"),
        ("PUT receiver/sessions/be/bec/S%2F1%23a", "https://p2.test/ocpi/receiver/sessions/be/bec/S%2F1%23a"),
        ("POST receiver/cdrs", "https://p2.test/ocpi/receiver/cdrs"),
        ("POST sender/tokens/0123/authorize?type=RFID", "https://p2.test/ocpi/sender/tokens/0123/authorize?type=RFID"),
    ],
)
def test_a_message_goes_to_the_receivers_endpoint_with_raw_path_and_query(request_line: str, url: str) -> None:
    """R-111, R-112."""
    found = route(request_line, a_platform("NL-ALF:CPO", "NL-ALF:EMSP", id=2))

    assert (found.url, found.platform.id) == (url, 2)


def test_a_route_keeps_the_letters_of_both_parties() -> None:
    """R-100, R-011."""
    found = route("GET sender/locations", a_platform("NL-ALF:CPO", id=2), to="nl-aLf")

    assert (str(found.receiver), str(found.sender)) == ("nl-aLf", "BE-BEC")


def test_a_platform_reaches_its_own_parties_too() -> None:
    assert route("GET sender/locations", to="BE-BEC").platform.id == 1


# Which platform (T-020): members, request, and the platform's id or the error.
ONE_PARTY_TWO_PLATFORMS = [
    # The interface decides where the roles sit on two platforms.
    (["NL-ALF:CPO"], ["NL-ALF:EMSP"], "GET sender/locations", 2),
    (["NL-ALF:CPO"], ["NL-ALF:EMSP"], "PUT receiver/locations/BE/BEC/1", 3),
    (["NL-ALF:CPO"], ["NL-ALF:EMSP"], "POST receiver/commands/START_SESSION", 2),
    (["NL-ALF:CPO"], ["NL-ALF:EMSP"], "GET sender/tokens", 3),
    # A platform that publishes what its role does not host is second choice (section "Typical implementations").
    (["NL-ALF:CPO"], ["NL-ALF:EMSP", "locations SENDER"], "GET sender/locations", 2),
    (["NL-ALF:OTHER", "locations SENDER"], ["NL-ALF:CPO"], "GET sender/locations", 3),
    (["NL-ALF:OTHER", "x-custom SENDER"], ["NL-ALF:CPO"], "GET sender/x-custom", 2),
    # A role that is no longer, or not yet, served breaks no tie.
    (["NL-ALF:CPO"], ["NL-ALF:OTHER", "NL-ALF:NAP/suspended", "locations SENDER"], "GET sender/locations", 2),
    (["NL-ALF:CPO"], ["NL-ALF:OTHER", "NL-ALF:NAP/dropped", "locations SENDER"], "GET sender/locations", 2),
    (["NL-ALF:CPO"], ["NL-ALF:OTHER", "NL-ALF:NAP/invited", "locations SENDER"], "GET sender/locations", 2),
    # No rule tells them apart: nothing is guessed.
    (["NL-ALF:CPO"], ["NL-ALF:NAP"], "GET sender/locations", UnknownReceiver),
    (["NL-ALF:OTHER", "cdrs SENDER"], ["NL-ALF:VENDORX", "cdrs SENDER"], "GET sender/cdrs", UnknownReceiver),
    (["NL-ALF:CPO", "x-custom SENDER"], ["NL-ALF:EMSP", "x-custom SENDER"], "GET sender/x-custom", UnknownReceiver),
    # Connected comes before fitting.
    (["NL-ALF:CPO/suspended"], ["NL-ALF:EMSP", "locations SENDER"], "GET sender/locations", 3),
    (["NL-ALF:CPO/suspended"], ["NL-ALF:EMSP"], "GET sender/locations", RoutingFailed),
    (["NL-ALF:CPO/suspended"], ["NL-ALF:EMSP/invited"], "GET sender/locations", ReceiverNotConnected),
    (["NL-ALF:CPO"], ["NL-ALF:EMSP"], "GET sender/x-custom", RoutingFailed),
]


@pytest.mark.parametrize(("second", "third", "request_line", "expected"), ONE_PARTY_TWO_PLATFORMS)
def test_a_party_on_two_platforms_is_reached_where_the_interface_is(
    second: list[str], third: list[str], request_line: str, expected: int | type[OCPIError]
) -> None:
    members = []
    for number, words in ((2, second), (3, third)):
        roles = [word for word in words if ":" in word]
        serves = [word for word in words if " " in word]
        members.append(a_platform(*roles, id=number, serves=serves or None))
    for order in (members, members[::-1]):
        if isinstance(expected, int):
            assert route(request_line, *order).platform.id == expected
        else:
            with pytest.raises(expected):
                route(request_line, *order)


@pytest.mark.parametrize(
    ("member", "to", "error", "words"),
    [
        (a_platform("NL-ALF:CPO", id=2), "NL-ALX", UnknownReceiver, "NL-ALX is not known"),
        (a_platform("NL-ALF:CPO", id=2), "x-undefined", UnknownReceiver, "x-undefined is not known"),
        (a_platform("NL-ALF:CPO", id=2), None, InvalidParameters, "OCPI-to headers are missing"),  # T-066
        (a_platform("NL-ALF:EMSP", id=2), "NL-ALF", RoutingFailed, "SENDER interface of locations"),  # R-122, T-032
        (a_platform("NL-ALF:CPO/invited", id=2, state="planned"), "NL-ALF", ReceiverNotConnected, "planned"),
        (a_platform("NL-ALF:CPO/invited", "NL-XYZ:CPO", id=2), "NL-ALF", ReceiverNotConnected, "planned"),
        (a_platform("NL-ALF:CPO/suspended", id=2), "NL-ALF", ReceiverNotConnected, "suspended"),
        (a_platform("NL-ALF:CPO/dropped", "NL-XYZ:CPO", id=2), "NL-ALF", ReceiverNotConnected, "suspended"),
        (a_platform("NL-ALF:CPO", id=2, state="unregistered"), "NL-ALF", ReceiverNotConnected, "suspended"),
    ],
)
def test_a_message_without_a_route_gets_the_error_that_says_why(
    member: Platform, to: str | None, error: type[OCPIError], words: str
) -> None:
    with pytest.raises(OCPIError, match=words) as caught:
        route("GET sender/locations", member, to=to)

    assert type(caught.value) is error
    assert caught.value.http_status == 200


# Without a receiver: what is found by content, is meant for everybody, or names nobody.
WITHOUT_RECEIVER: list[tuple[str, Route | type[OCPIError]]] = [
    ("PUT receiver/locations/BE/BEC/1", Broadcast()),  # R-150, T-060
    ("PATCH receiver/locations/BE/BEC/1/E1/C1", Broadcast()),
    ("DELETE receiver/tariffs/BE/BEC/1", Broadcast()),
    ("PATCH receiver/tokens/BE/BEC/1?type=RFID", Broadcast()),
    ("PUT receiver/sessions/BE/BEC/1", ByContent()),
    ("GET receiver/sessions/BE/BEC/1", ByContent()),
    ("POST receiver/commands/START_SESSION", ByContent()),
    ("POST receiver/cdrs", ByContent()),
    ("POST sender/tokens/1/authorize", ByContent()),
    ("GET sender/locations/LOC1", ByContent()),
    ("PUT sender/chargingprofiles/101", ByContent()),
    ("GET receiver/locations/BE/BEC/1", UnknownReceiver),  # T-061
    ("GET receiver/tokens/BE/BEC/1", UnknownReceiver),
    ("GET sender/x-custom/1", UnknownReceiver),
    ("GET sender/tokens", InvalidParameters),  # T-066, R-151
]


@pytest.mark.parametrize(("request_line", "expected"), WITHOUT_RECEIVER)
def test_a_message_without_a_receiver(request_line: str, expected: Route | type[OCPIError]) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected, match="OCPI-to headers are missing"):
            any_route(request_line, a_platform("NL-ALF:CPO", id=2), to=None)
    else:
        assert any_route(request_line, a_platform("NL-ALF:CPO", id=2), to=None) == expected


@pytest.mark.parametrize("request_line", ["PUT receiver/locations/BE/BEC/1", "DELETE receiver/tariffs/BE/BEC/1"])
def test_where_broadcasts_must_be_addressed_a_push_without_a_receiver_is_4001(request_line: str) -> None:
    with pytest.raises(UnknownReceiver, match="OCPI-to headers are missing"):
        any_route(request_line, to=None, broadcasts_open=False)
    assert any_route(request_line, to="NL-HUB", broadcasts_open=False) == Broadcast()


# Addressed to the hub: broadcasts and GET all, and nothing else (R-135, T-029).
TO_THE_HUB: list[tuple[str, Route | type[OCPIError]]] = [
    ("PUT receiver/locations/BE/BEC/1", Broadcast()),
    ("DELETE receiver/tariffs/BE/BEC/1", Broadcast()),
    ("GET sender/locations?limit=5", GetAll()),
    ("GET sender/tokens", GetAll()),
    ("GET sender/cdrs", GetAll()),
    ("GET sender/locations/LOC1/E1", GetAll()),
    ("POST receiver/commands/START_SESSION", InvalidParameters),
    ("PUT receiver/sessions/BE/BEC/1", InvalidParameters),
    ("POST receiver/cdrs", InvalidParameters),
    ("POST sender/tokens/1/authorize", InvalidParameters),
    ("GET receiver/locations/BE/BEC/1", InvalidParameters),
    ("GET sender/x-custom", InvalidParameters),
]


@pytest.mark.parametrize(("request_line", "expected"), TO_THE_HUB)
@pytest.mark.parametrize("hub", ["NL-HUB", "nl-hub"])
def test_a_message_to_the_hub_itself(request_line: str, hub: str, expected: Route | type[OCPIError]) -> None:
    if isinstance(expected, type):
        with pytest.raises(expected, match="the hub itself"):
            any_route(request_line, to=hub)
    else:
        assert any_route(request_line, to=hub) == expected


def test_an_empty_table_knows_nobody() -> None:
    with pytest.raises(UnknownReceiver):
        resolve(a_message("GET sender/locations"), EMPTY, HUB)


def test_the_operators_endpoint_is_called_in_place_of_the_published_one() -> None:
    """Quirk 21."""
    member = a_platform("NL-ALF:CPO", id=2, switches=Switches(endpoints={"locations:SENDER": "https://p2.test/own/"}))

    assert route("GET sender/locations", member).url == "https://p2.test/own/"
    assert route("GET sender/locations/LOC1", member).url == "https://p2.test/own/LOC1"


# Joining


@pytest.mark.parametrize(
    ("endpoint", "path", "query", "url"),
    [
        ("https://p.test/l", "", "", "https://p.test/l"),
        ("https://p.test/l/", "", "", "https://p.test/l/"),  # quirks 1, 2: exactly as advertised
        ("https://p.test/l//", "", "x=1", "https://p.test/l//?x=1"),
        ("https://p.test/l", "", "x=1", "https://p.test/l?x=1"),
        ("https://p.test/l", "LOC1", "", "https://p.test/l/LOC1"),
        ("https://p.test/l/", "LOC1", "", "https://p.test/l/LOC1"),
        ("https://p.test/l//", "LOC1/", "", "https://p.test/l/LOC1/"),
        ("https://p.test/l", "a%2Fb/*", "x=%20+", "https://p.test/l/a%2Fb/*?x=%20+"),
        ("https://p.test/l?tenant=7", "", "", "https://p.test/l?tenant=7"),
        ("https://p.test/l?tenant=7", "", "x=1", "https://p.test/l?tenant=7&x=1"),
        ("https://p.test/l/?tenant=7", "LOC1", "x=1", "https://p.test/l/LOC1?tenant=7&x=1"),
        ("https://p.test/l?tenant=7", "LOC1", "", "https://p.test/l/LOC1?tenant=7"),
        ("https://p.test", "LOC1", "", "https://p.test/LOC1"),
        ("https://p.test/l", "", "x=?y=/", "https://p.test/l?x=?y=/"),
    ],
)
def test_path_and_query_are_joined_to_an_endpoint(endpoint: str, path: str, query: str, url: str) -> None:
    """R-111, T-036."""
    assert join(endpoint, path, query) == url


@given(
    st.text("abc%2F*", min_size=1, max_size=8),
    st.booleans(),
    st.text("abc%2F*~", max_size=8),
    st.text("abc=&?%20", max_size=8),
)
def test_one_slash_joins_and_nothing_else_changes(base: str, slash: bool, path: str, query: str) -> None:
    url = join(f"https://p.test/{base}" + "/" * slash, path, query)

    middle = f"/{path}" if path else "/" * slash
    assert url == f"https://p.test/{base}{middle}" + (f"?{query}" if query else "")


# URLs that the hub gave out

P3 = a_platform("DE-TNM:EMSP", id=3)


def follow(alias: Alias, *members: Platform, query: str = "", request: str = "GET sender/tokens") -> Direct:
    message = a_message(request, SENDER, to=None, sender="BE-BEC")
    return resolve_alias(message, alias, a_table(SENDER, *members), query)


def an_alias(kind: str, path: str = "", origin: str = "https://p3.test:443") -> Alias:
    return Alias(
        kind,  # type: ignore[arg-type]
        1,
        party("BE-BEC"),
        3,
        party("DE-TNM"),
        path=path,
        origin=fingerprint(origin) if path else 0,
    )


@pytest.mark.parametrize(
    ("alias", "query", "url"),
    [
        (an_alias("result", "/cb/1?x=%41"), "", "https://p3.test:443/cb/1?x=%41"),
        (an_alias("location", "/cdrs/9f"), "", "https://p3.test:443/cdrs/9f"),
        (an_alias("link"), "offset=50&limit=5", "https://p3.test/ocpi/sender/tokens?offset=50&limit=5"),
        (an_alias("link", "/page/2"), "limit=5", "https://p3.test:443/page/2?limit=5"),
        (an_alias("link", "/page/2?a=b"), "limit=5", "https://p3.test:443/page/2?a=b&limit=5"),
        (an_alias("link", "/page/2/"), "", "https://p3.test:443/page/2/"),
    ],
)
def test_an_alias_leads_to_the_partys_own_url(alias: Alias, query: str, url: str) -> None:
    found = follow(alias, P3, query=query)

    assert (found.url, found.platform, str(found.receiver), str(found.sender)) == (url, P3, "DE-TNM", "BE-BEC")


@pytest.mark.parametrize(
    ("alias", "member", "error"),
    [
        (an_alias("result", "/cb"), a_platform("DE-TNM:EMSP", id=4), ReceiverNotConnected),
        (an_alias("result", "/cb"), a_platform("DE-TNM:EMSP", id=3, state="unregistered"), ReceiverNotConnected),
        (an_alias("result", "/cb"), a_platform("DE-TNM:EMSP/suspended", id=3), ReceiverNotConnected),
        (an_alias("result", "/cb"), a_platform("DE-XXX:EMSP", id=3), ReceiverNotConnected),
        (an_alias("link"), a_platform("DE-TNM:EMSP", id=3, serves=[]), RoutingFailed),
        (an_alias("location", "/x", origin="https://old.test:443"), P3, NotFound),
        (an_alias("link", "/x", origin="https://old.test:443"), P3, NotFound),
    ],
)
def test_an_alias_that_leads_nowhere_any_more_says_so(alias: Alias, member: Platform, error: type[OCPIError]) -> None:
    with pytest.raises(error):
        follow(alias, member)


@pytest.mark.parametrize(
    ("alias", "request_", "follows"),
    [
        (an_alias("link"), "GET sender/tokens", False),
        (an_alias("link", "/page/2"), "GET sender/tokens", False),
        (an_alias("location", "/cdrs/9f"), "GET receiver/cdrs/-/x", False),
        (an_alias("result", "/cb/1"), "POST sender/commands/-/x", True),  # of a command that was allowed
    ],
)
def test_a_contract_that_has_ended_closes_links_and_locations_but_lets_results_arrive(
    alias: Alias, request_: str, follows: bool
) -> None:
    message = a_message(request_, SENDER, to=None, sender="BE-BEC")
    table = make_table(1, [SENDER, P3], {}, Contracts((), [SENDER, P3], is_open=False))
    if follows:
        assert resolve_alias(message, alias, table, "").platform == P3
        return
    with pytest.raises(ReceiverNotConnected, match=f"have no contract about {message.operation.module}"):
        resolve_alias(message, alias, table, "")


def test_a_direct_request_needs_a_contract_about_its_module_and_direction() -> None:
    """T-031: a member finds the missing contract as PLANNED in HubClientInfo."""
    rule = Rule(Selector.parse("BE-BEC"), Selector.parse("*:EMSP"), "tokens", True)
    table = make_table(1, [SENDER, P3], {}, Contracts([rule], [SENDER, P3], is_open=False))
    assert isinstance(resolve(a_message("GET sender/tokens", SENDER, sender="BE-BEC"), table, HUB), Direct)
    for refused in (
        a_message("GET receiver/cdrs/-/x", SENDER, sender="BE-BEC"),
        a_message("GET sender/locations", P3, to="BE-BEC", sender="DE-TNM"),
    ):
        with pytest.raises(ReceiverNotConnected, match=r"have no contract about (cdrs|locations) at this hub"):
            resolve(refused, table, HUB)


def test_a_role_that_is_suspended_gets_no_messages_while_the_other_role_goes_on() -> None:
    """`party suspend NL-ALF:CPO` closes what a CPO hosts, and leaves the eMSP side open."""
    party = PartyID("NL", "ALF")
    endpoints = {
        ("locations", "SENDER"): "https://alf.test/s/locations",
        ("locations", "RECEIVER"): "https://alf.test/r/l",
    }
    both = Platform(
        7, "ALF", "registered", (Role(party, "CPO", suspended=True), Role(party, "EMSP")), published=endpoints
    )
    table = make_table(1, [both], {})
    operations = OperationIndex()
    with pytest.raises(ReceiverNotConnected):
        find_receiver(party, operations.find("2.2.1", "SENDER", "locations", "GET", ()), table)
    put = operations.find("2.2.1", "RECEIVER", "locations", "PUT", ("BE", "BEC", "LOC1"))
    assert find_receiver(party, put, table) == (both, "https://alf.test/r/l")
