"""Open routing: what a message without OCPI-to headers asks the mirror, and whom the answer makes its receiver."""

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
import pytest

from config.ocpi import InterfaceRole, InvalidParameters, OCPIError, PartyID, UnknownReceiver
from config.operations import OPERATIONS
from parties.contracts import Contracts
from parties.model import Platform
from parties.tokens import Secret
from routing.ask_emsps import find_emsps, read_verdict
from routing.message import Message
from routing.objects import ObjectKey
from routing.open_routing import _FOUND_BY, LookUp, Question, choose, find_named, read_destination
from routing.table import RoutingTable, make_table
from tests.routing.cast import a_message, a_platform, a_table

CPO = a_platform("BE-BEC:CPO", id=1)
EMSP = a_platform("NL-TST:EMSP", "NL-MSP:EMSP", id=4)
VOLT = a_platform("SE-VOL:CPO", id=6)
ALF = a_platform("NL-ALF:CPO", "NL-ALF:EMSP", id=2)
SCSP = a_platform("DE-SCS:SCSP", id=7)
EVERYBODY = (CPO, ALF, EMSP, VOLT, SCSP)


class Without(Contracts):
    """An open network but for these pairs, each `NL-TST BE-BEC`: from whom to whom."""

    def __init__(self, *pairs: str) -> None:
        super().__init__((), (), is_open=True)
        self._refused = set(pairs)

    def allows(self, sender: tuple[str, str], receiver: tuple[str, str], module: str, interface: InterfaceRole) -> bool:
        return f"{'-'.join(sender)} {'-'.join(receiver)}" not in self._refused


@dataclass(frozen=True)
class Known:
    """An object that the mirror knows."""

    key: ObjectKey
    evse_uids: frozenset[str] = frozenset()


def known(text: str, *evse_uids: str) -> Known:
    """An object written `sessions BE-BEC/101 for NL-TST`, with a token's type after its uid."""
    module, _, rest = text.partition(" ")
    rest, _, addressee = rest.partition(" for ")
    owner, _, object_key = rest.partition("/")
    return Known(ObjectKey(module, owner, object_key, addressee), frozenset(evse_uids))


def asked(request: str, body: object = None, *, by: Platform = EMSP, sender: str = "NL-TST") -> PartyID | Question:
    """What a request without OCPI-to headers names or asks."""
    return read_destination(a_message(request, by, to=None, sender=sender), _bytes(body))


def found(
    request: str,
    body: object = None,
    *objects: Known,
    by: Platform = EMSP,
    sender: str = "NL-TST",
    table: RoutingTable | None = None,
) -> str:
    """The receiver, where the mirror knows these objects, as the hub finds it."""
    message = a_message(request, by, to=None, sender=sender)
    table = table or a_table(*EVERYBODY)
    destination = read_destination(message, _bytes(body))
    if isinstance(destination, PartyID):
        return str(find_named(destination, table))
    for look_up in destination.look_ups:
        parties = look_up.parties_in(_matching(objects, look_up))
        if parties:
            return str(choose(parties, destination, message, table))
    return str(choose((), destination, message, table))


def _matching(objects: Iterable[Known], look_up: LookUp) -> list[Known]:
    """What the mirror answers: every object of this module and id."""
    return [each for each in objects if (each.key.module, each.key.object_key) == (look_up.module, look_up.object_key)]


def _bytes(body: object) -> bytes:
    return body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)


def test_every_row_that_is_found_by_something_has_its_way() -> None:
    assert {row.found_by for row in OPERATIONS["2.2.1"]} - {""} == set(_FOUND_BY)


# By a cdr_token

SESSION = "PUT receiver/sessions/BE/BEC/101"
TOKEN = {"cdr_token": {"country_code": "NL", "party_id": "TST", "uid": "1"}}


@pytest.mark.parametrize("request_line", [SESSION, "POST receiver/cdrs", "PATCH receiver/sessions/BE/BEC/101"])
def test_the_party_of_the_cdr_token_is_the_receiver(request_line: str) -> None:
    """S16, R-148. In the letters registered."""
    assert found(request_line, TOKEN, by=CPO, sender="BE-BEC") == "NL-TST"
    lower = {"cdr_token": {"country_code": "nl", "party_id": "tst"}, "country_code": "BE", "party_id": "BEC"}
    assert found(request_line, lower, by=CPO, sender="BE-BEC") == "NL-TST"


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        ({"cdr_token": {"country_code": "FR", "party_id": "XXX"}}, UnknownReceiver, "FR-XXX"),  # S16
        ({}, UnknownReceiver, "cdr_token"),
        ({"cdr_token": None}, UnknownReceiver, "cdr_token"),
        ({"cdr_token": {"uid": "1"}}, UnknownReceiver, "cdr_token.country_code"),  # OCPI 2.2, T-065
        ({"cdr_token": "NLTST"}, InvalidParameters, "cdr_token must be an object"),
        ({"cdr_token": {"country_code": "NL"}}, InvalidParameters, "cdr_token.party_id is missing"),
        ({"cdr_token": {"country_code": 1, "party_id": "TST"}}, InvalidParameters, "cdr_token.country_code must be"),
        ({"cdr_token": {"country_code": "NL", "party_id": ["TST"]}}, InvalidParameters, "cdr_token.party_id must be"),
        ({"cdr_token": {"country_code": "", "party_id": "TST"}}, InvalidParameters, "cdr_token.country_code must"),
        ({"cdr_token": {"country_code": "N\n", "party_id": "TST"}}, InvalidParameters, "cdr_token.country_code must"),
        ([TOKEN], InvalidParameters, "JSON object"),
        (b"7", InvalidParameters, "JSON object"),
        (b'{"cdr_token":' + b"[" * 5000 + b"]" * 5000 + b"}", InvalidParameters, "JSON object"),
    ],
)
def test_a_cdr_token_that_leads_nowhere_says_why(body: object, error: type[OCPIError], words: str) -> None:
    for request_line in (SESSION, "POST receiver/cdrs"):
        with pytest.raises(OCPIError, match=words) as caught:
            found(request_line, body, known("sessions BE-BEC/101 for NL-TST"), by=CPO, sender="BE-BEC")
        assert type(caught.value) is error


# By what the mirror knows: request, body, what is known, and the receiver or the error's words.
CASES: list[tuple[str, object, list[Known], str]] = [
    # Whose session it is: one of the sender's own, though others have that id too (S17).
    (
        "PUT sender/sessions/101/charging_preferences",
        {},
        [known("sessions BE-BEC/101 for NL-TST"), known("sessions NL-ALF/101 for DE-TNM")],
        "BE-BEC",
    ),
    ("GET receiver/chargingprofiles/s%2F1?duration=9", None, [known("sessions BE-BEC/S/1 for NL-TST")], "BE-BEC"),
    ("DELETE receiver/chargingprofiles/101", None, [known("sessions BE-BEC/101 for NL-TST")], "BE-BEC"),
    ("PUT receiver/chargingprofiles/101", {}, [known("sessions BE-BEC/101 for NL-TST")], "BE-BEC"),
    (
        "POST receiver/commands/STOP_SESSION",
        {"session_id": "a-1"},
        [known("sessions BE-BEC/A-1 for NL-TST"), known("sessions NL-ALF/A-1 for DE-TNM")],
        "BE-BEC",
    ),
    # Two sessions of the sender's own with one id, at two CPOs.
    (
        "POST receiver/commands/STOP_SESSION",
        {"session_id": "101"},
        [known("sessions BE-BEC/101 for NL-TST"), known("sessions NL-ALF/101 for NL-TST")],
        "ambiguous",
    ),
    ("POST receiver/commands/STOP_SESSION", {"session_id": "101"}, [], "session 101 leads to nobody"),
    # Locations: their owner's, narrowed by the EVSE (T-063).
    ("GET sender/locations/loc1", None, [known("locations BE-BEC/LOC1")], "BE-BEC"),
    ("GET sender/locations/LOC1", None, [known("locations BE-BEC/LOC1"), known("locations SE-VOL/LOC1")], "ambiguous"),
    (
        "GET sender/locations/LOC1/e%2A1/2",
        None,
        [known("locations BE-BEC/LOC1", "E*1", "E*2"), known("locations SE-VOL/LOC1", "E*3")],
        "BE-BEC",
    ),
    ("GET sender/locations/LOC2", None, [known("locations BE-BEC/LOC1")], "location LOC2 leads to nobody"),
    (
        "POST receiver/commands/START_SESSION",
        {"location_id": "LOC1"},
        [known("locations BE-BEC/LOC1", "E1"), known("locations SE-VOL/LOC1", "E2")],
        "ambiguous",
    ),
    (
        "POST receiver/commands/START_SESSION",
        {"location_id": "loc1", "evse_uid": "e2"},
        [known("locations BE-BEC/LOC1", "E1"), known("locations SE-VOL/LOC1", "E2")],
        "SE-VOL",
    ),
    (
        "POST receiver/commands/RESERVE_NOW",
        {"location_id": "LOC1", "evse_uid": "E9"},
        [known("locations BE-BEC/LOC1", "E1"), known("locations SE-VOL/LOC1", "E2")],
        "ambiguous",
    ),
    # A location of one owner only is that owner's, also when its EVSE is news: that owner knows better.
    (
        "POST receiver/commands/UNLOCK_CONNECTOR",
        {"location_id": "LOC1", "evse_uid": "E9", "connector_id": "1"},
        [known("locations BE-BEC/LOC1", "E1")],
        "BE-BEC",
    ),
    (
        "POST receiver/commands/START_SESSION",
        {"location_id": "LOC1", "evse_uid": None},
        [known("locations BE-BEC/LOC1", "E1")],
        "BE-BEC",
    ),
    # Reservations: who took the sender's.
    (
        "POST receiver/commands/CANCEL_RESERVATION",
        {"reservation_id": "r-7"},
        [known("reservations BE-BEC/R-7 for NL-TST"), known("reservations SE-VOL/R-7 for NL-MSP")],
        "BE-BEC",
    ),
    (
        "POST receiver/commands/CANCEL_RESERVATION",
        {"reservation_id": "R-7"},
        [known("reservations SE-VOL/R-7 for NL-MSP")],
        "reservation R-7 leads to nobody",
    ),
]


@pytest.mark.parametrize(("request_line", "body", "objects", "expected"), CASES)
def test_the_mirror_tells_the_receiver(request_line: str, body: object, objects: list[Known], expected: str) -> None:
    for order in (objects, objects[::-1]):
        if len(expected) == len("BE-BEC"):
            assert found(request_line, body, *order) == expected
        else:
            with pytest.raises(UnknownReceiver, match=expected):
                found(request_line, body, *order)


# What a CPO sends: request, what is known, and the receiver or the error's words.
CPO_CASES: list[tuple[str, list[Known], str]] = [
    # The addressee of the session is found by the owner in the URL, which is not the destination (R-155, T-062).
    (
        "GET receiver/sessions/be/bec/101",
        [known("sessions BE-BEC/101 for NL-TST"), known("sessions SE-VOL/101 for NL-MSP")],
        "NL-TST",
    ),
    ("GET receiver/sessions/BE/BEC/101", [known("sessions SE-VOL/101 for NL-TST")], "session 101 leads to nobody"),
    ("PATCH receiver/sessions/BE/BEC/101", [known("sessions BE-BEC/101 for NL-TST")], "NL-TST"),
    (
        "PATCH receiver/sessions/BE/BEC/101",
        [known("sessions BE-BEC/101 for NL-TST"), known("sessions BE-BEC/101 for NL-MSP")],
        "ambiguous",
    ),
    # Whose token it is, of this type.
    ("POST sender/tokens/01ab/authorize", [known("tokens NL-TST/01AB RFID")], "NL-TST"),
    (
        "POST sender/tokens/01AB/authorize?type=APP_USER",
        [known("tokens NL-TST/01AB APP_USER"), known("tokens NL-MSP/01AB RFID")],
        "NL-TST",
    ),
    (
        "POST sender/tokens/01AB/authorize?type=RFID",
        [known("tokens NL-TST/01AB RFID"), known("tokens NL-MSP/01AB RFID")],
        "ambiguous",
    ),
    ("POST sender/tokens/01AB/authorize?type=OTHER", [known("tokens NL-TST/01AB RFID")], "token 01AB leads to nobody"),
    # Who set the profile of the CPO's session, else whose driver it is.
    (
        "PUT sender/chargingprofiles/s1",
        [known("chargingprofiles BE-BEC/S1 for DE-SCS"), known("sessions BE-BEC/S1 for NL-TST")],
        "DE-SCS",
    ),
    (
        "PUT sender/chargingprofiles/s1",
        [known("chargingprofiles SE-VOL/S1 for DE-SCS"), known("sessions BE-BEC/S1 for NL-TST")],
        "NL-TST",
    ),
    ("PUT sender/chargingprofiles/s1", [known("sessions SE-VOL/S1 for NL-TST")], "session s1 leads to nobody"),
]


@pytest.mark.parametrize(("request_line", "objects", "expected"), CPO_CASES)
def test_the_mirror_tells_a_cpos_receiver(request_line: str, objects: list[Known], expected: str) -> None:
    for order in (objects, objects[::-1]):
        if len(expected) == len("BE-BEC"):
            assert found(request_line, {}, *order, by=CPO, sender="BE-BEC") == expected
        else:
            with pytest.raises(UnknownReceiver, match=expected):
                found(request_line, {}, *order, by=CPO, sender="BE-BEC")


@pytest.mark.parametrize(
    ("request_line", "body", "words"),
    [
        ("POST receiver/commands/START_SESSION", {}, "location_id is missing"),
        ("POST receiver/commands/START_SESSION", {"location_id": 1}, "location_id must be a string"),
        ("POST receiver/commands/START_SESSION", {"location_id": "L" * 256}, "location_id must have"),
        ("POST receiver/commands/START_SESSION", {"location_id": "L", "evse_uid": 1}, "evse_uid must be a string"),
        ("POST receiver/commands/STOP_SESSION", {"session_id": {}}, "session_id must be a string"),
        ("POST receiver/commands/STOP_SESSION", {"session_id": ""}, "session_id must have"),
        ("POST receiver/commands/CANCEL_RESERVATION", {"reservation": "R-7"}, "reservation_id is missing"),
        ("POST receiver/commands/UNLOCK_CONNECTOR", ["LOC1"], "JSON object"),
        ("GET sender/locations/%FF", None, "UTF-8"),
        ("GET sender/locations/%00", None, "printable"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_the_fields_name(request_line: str, body: object, words: str) -> None:
    with pytest.raises(InvalidParameters, match=words):
        asked(request_line, body)


# Narrowing to those whom the sender can reach

START = "POST receiver/commands/START_SESSION"
TWO = [known("locations BE-BEC/LOC1", "E1"), known("locations SE-VOL/LOC1", "E2")]


@pytest.mark.parametrize(
    "volt",
    [
        a_platform("SE-VOL:CPO/suspended", id=6),
        a_platform("SE-VOL:CPO/invited", id=6, state="planned"),
        a_platform("SE-VOL:CPO/dropped", "SE-XXX:CPO", id=6),
        a_platform("SE-VOL:CPO/suspended", "SE-VOL:EMSP", id=6),
        a_platform("SE-XXX:CPO", id=6),
    ],
)
def test_who_takes_no_part_makes_nothing_ambiguous(volt: Platform) -> None:
    table = a_table(CPO, EMSP, volt)
    assert found(START, {"location_id": "LOC1"}, *TWO, table=table) == "BE-BEC"
    with pytest.raises(UnknownReceiver, match="leads to nobody"):
        found(START, {"location_id": "LOC1"}, TWO[1], table=table)


def test_who_is_offline_is_a_candidate_all_the_same() -> None:
    """Else a command would go to the namesake's owner while the right one restarts."""
    table = a_table(CPO, EMSP, a_platform("SE-VOL:CPO", id=6, is_online=False))
    with pytest.raises(UnknownReceiver, match="ambiguous"):
        found(START, {"location_id": "LOC1"}, *TWO, table=table)
    assert found(START, {"location_id": "LOC1"}, TWO[1], table=table) == "SE-VOL"


def test_contracts_narrow_the_candidates() -> None:
    """T-063."""
    table = make_table(1, EVERYBODY, {}, Without("NL-TST SE-VOL"))
    assert found(START, {"location_id": "LOC1"}, *TWO, table=table) == "BE-BEC"
    with pytest.raises(UnknownReceiver, match="nobody to whom NL-TST could send"):
        found(START, {"location_id": "LOC1"}, TWO[1], table=table)
    # The EVSE says that it is another's: it is not sent to the namesake.
    with pytest.raises(UnknownReceiver, match="leads to nobody"):
        found(START, {"location_id": "LOC1", "evse_uid": "E2"}, *TWO, table=table)


def test_the_sender_is_no_candidate() -> None:
    mine = [known("locations NL-ALF/LOC1"), known("locations BE-BEC/LOC1")]
    assert found(START, {"location_id": "LOC1"}, *mine, by=ALF, sender="NL-ALF") == "BE-BEC"
    with pytest.raises(UnknownReceiver, match="leads to nobody"):
        found(START, {"location_id": "LOC1"}, mine[0], by=ALF, sender="NL-ALF")


def test_a_session_of_the_senders_own_decides_even_when_its_owner_is_gone() -> None:
    """Another party's session with the same id is not stopped in its stead."""
    sessions = [known("sessions XX-OLD/101 for NL-TST"), known("sessions BE-BEC/101 for NL-MSP")]
    with pytest.raises(UnknownReceiver, match="leads to nobody"):
        found("POST receiver/commands/STOP_SESSION", {"session_id": "101"}, *sessions)


def test_the_last_to_set_a_profile_is_told_of_it() -> None:
    """R-244; the mirror gives the one last heard of first."""
    by_scsp, by_emsp = known("chargingprofiles BE-BEC/S1 for DE-SCS"), known("chargingprofiles BE-BEC/S1 for NL-TST")
    request = "PUT sender/chargingprofiles/S1"
    assert found(request, {}, by_scsp, by_emsp, by=CPO, sender="BE-BEC") == "DE-SCS"
    assert found(request, {}, by_emsp, by_scsp, by=CPO, sender="BE-BEC") == "NL-TST"


def test_who_has_no_sessions_means_any_of_that_id() -> None:
    """An SCSP steers others' sessions."""
    request, theirs = "GET receiver/chargingprofiles/101", known("sessions BE-BEC/101 for NL-TST")
    assert found(request, None, theirs, by=SCSP, sender="DE-SCS") == "BE-BEC"
    assert found(request, None, theirs, known("sessions BE-BEC/101 for NL-MSP"), by=SCSP, sender="DE-SCS") == "BE-BEC"
    with pytest.raises(UnknownReceiver, match="ambiguous"):
        found(request, None, theirs, known("sessions SE-VOL/101 for NL-TST"), by=SCSP, sender="DE-SCS")


# Whom to ask about a token that nobody announced


def an_authorize(by: Platform = CPO, sender: str = "BE-BEC") -> Message:
    return a_message("POST sender/tokens/01AB/authorize?type=RFID", by, to=None, sender=sender)


def asked_parties(message: Message, *members: Platform, without: Iterable[str] = ()) -> list[str]:
    table = make_table(1, members, {}, Without(*without))
    return sorted(str(route.receiver) for route in find_emsps(message, table))


def test_every_emsp_that_can_answer_is_asked() -> None:
    """T-064."""

    def member(*roles: str, id: int, **fields: object) -> Platform:
        return a_platform(*roles, id=id, token=Secret("t" * 32), **fields)

    members = (
        member("BE-BEC:CPO", "BE-BEC:EMSP", id=1),  # the sender itself
        member("NL-TST:EMSP", "NL-MSP:EMSP", id=2),
        member("NL-ALF:CPO", "NL-ALF:EMSP", id=3),
        member("SE-VOL:CPO", id=4, serves=["tokens SENDER"]),  # publishes it, and is no eMSP
        member("DE-OFF:EMSP", id=5, is_online=False),
        member("DE-SUS:EMSP/suspended", id=6),
        member("DE-PLA:EMSP/invited", id=7, state="planned"),
        member("DE-NON:EMSP", id=8, serves=["cdrs RECEIVER"]),
        a_platform("DE-TOK:EMSP", id=9),  # there is no token for it
        member("FR-NOC:EMSP", id=10),
    )
    message = an_authorize(members[0])
    assert asked_parties(message, *members, without=["BE-BEC FR-NOC"]) == ["NL-ALF", "NL-MSP", "NL-TST"]
    assert asked_parties(message, *members) == ["FR-NOC", "NL-ALF", "NL-MSP", "NL-TST"]
    (route,) = (route for route in find_emsps(message, a_table(*members)) if str(route.receiver) == "NL-ALF")
    assert (route.url, str(route.sender)) == (
        "https://p3.test/ocpi/sender/tokens/01AB/authorize?type=RFID",
        "BE-BEC",
    )


@pytest.mark.parametrize(
    ("http_status", "body", "verdict"),
    [
        (200, b'{"data":{"allowed":"ALLOWED"},"status_code":1000}', "knows"),
        (200, b'{"data":{"allowed":"BLOCKED"},"status_code":1000}', "knows"),
        (200, b'{"data":{"allowed":"NO_CREDIT"},"status_code":1001}', "knows"),
        (200, b'{"data":[{"allowed":"ALLOWED"}],"status_code":1000}', "knows"),
        (404, b'{"status_code":2004}', "unknown"),
        (200, b'{"status_code":2004}', "unknown"),
        (404, b'{"data":null,"status_code":2003}', "unknown"),
        (404, b"<html>", "unknown"),
        (200, b'{"status_code":2002}', "wants_more"),
        (200, b'{"data":{},"status_code":1000}', "useless"),
        (200, b'{"data":[],"status_code":1000}', "useless"),
        (200, b'{"status_code":1000}', "useless"),
        (200, b'{"data":{"allowed":"ALLOWED"},"status_code":3000}', "useless"),
        (500, b'{"data":{"allowed":"ALLOWED"},"status_code":1000}', "useless"),
        (401, b'{"status_code":2000}', "useless"),
        (200, b"", "useless"),
        (200, b'"1000"', "useless"),
    ],
)
def test_an_answer_is_judged_by_what_it_says_of_the_token(http_status: int, body: bytes, verdict: str) -> None:
    assert read_verdict(http_status, body) == verdict
