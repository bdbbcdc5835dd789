"""OCPI's own words: parties, time, and the errors with their codes."""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config import ocpi
from config.ocpi import ConnectionStatus, MethodNotAllowed, OCPIError, PartyID, format_time

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
COUNTRIES = st.text(LETTERS, min_size=2, max_size=2)
PARTIES = st.text(LETTERS + "0123456789", min_size=3, max_size=3)


@pytest.mark.parametrize("text", ["DE-ABC", "DEABC", "DE*ABC", "DE/ABC", "DE ABC", "  DE-ABC\n"])
def test_a_party_is_read_in_every_usual_spelling(text: str) -> None:
    assert PartyID.parse(text) == PartyID("DE", "ABC")


@pytest.mark.parametrize(
    "text", ["", "DE", "DE-AB", "DE-ABCD", "D1-ABC", "DEU-ABC", "DE--ABC", "DE_ABC", "DÉ-ABC", "DE-AB٣", "DE-ABC x"]
)
def test_what_is_no_party_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"like DE-ABC"):
        PartyID.parse(text)


@given(COUNTRIES, PARTIES)
def test_a_party_is_read_back_from_its_own_spelling_in_the_letters_received(country: str, party: str) -> None:
    """R-011: the letters stay."""
    read = PartyID.parse(str(PartyID(country, party)))

    assert (read.country_code, read.party_id) == (country, party)


@given(COUNTRIES, PARTIES)
def test_two_spellings_of_a_party_share_their_key(country: str, party: str) -> None:
    """R-010: CiStrings compare case-insensitively."""
    assert PartyID(country.lower(), party.upper()).key == PartyID(country.upper(), party.lower()).key


def test_two_parties_do_not_share_a_key() -> None:
    assert PartyID("DE", "ABC").key != PartyID("DE", "ABD").key


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 11, 22, 20, 46, 51, 536999, UTC), "2026-11-22T20:46:51.536Z"),
        (datetime(2026, 1, 1, 0, 30, tzinfo=timezone(timedelta(hours=1))), "2025-12-31T23:30:00.000Z"),
    ],
)
def test_time_is_utc_with_milliseconds_and_z(moment: datetime, text: str) -> None:
    assert format_time(moment) == text


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1)),
    st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
def test_time_has_the_form_of_an_ocpi_datetime_and_is_never_later(moment: datetime, zone: timezone) -> None:
    """R-014, T-041: at most 25 characters, never an offset."""
    moment = moment.replace(tzinfo=zone)

    text = format_time(moment)

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert timedelta(0) <= moment - datetime.fromisoformat(text) < timedelta(milliseconds=1)


# The table of codes for answers that the hub itself produces (OCPI 2.2.1, Status codes; R-190).
CODES = {
    "OCPIError": (200, 2000),
    "Unauthorized": (401, 2000),
    "NotFound": (404, 2000),
    "MethodNotAllowed": (405, 2000),
    "InvalidJSON": (400, 2001),
    "InvalidParameters": (200, 2001),
    "WrongSender": (403, 2001),
    "TooLarge": (413, 2001),
    "ServerError": (200, 3000),
    "Overloaded": (503, 3000),
    "PartnerUnusable": (200, 3001),
    "VersionUnsupported": (200, 3002),
    "EndpointsMissing": (200, 3003),
    "RoutingFailed": (200, 4000),
    "UnknownReceiver": (200, 4001),
    "ReceiverTimeout": (200, 4002),
    "ReceiverNotConnected": (200, 4003),
}
ERRORS = {name: value for name, value in vars(ocpi).items() if isinstance(value, type) and issubclass(value, OCPIError)}
# OCPI 2.2.1, Status codes: every code it defines besides 1000. Custom ones are for custom modules only.
STATUS_CODES = {2000, 2001, 2002, 2003, 2004, 3000, 3001, 3002, 3003, 4000, 4001, 4002, 4003}


def test_every_error_is_in_the_table_of_codes() -> None:
    assert set(ERRORS) == set(CODES)


@pytest.mark.parametrize(("name", "codes"), CODES.items())
def test_an_error_answers_with_the_codes_of_its_situation(name: str, codes: tuple[int, int]) -> None:
    error = ERRORS[name]()

    assert (error.http_status, error.status_code) == codes
    assert error.status_code in STATUS_CODES


@pytest.mark.parametrize("error", ERRORS.values(), ids=str)
def test_an_error_says_what_its_docstring_says_in_one_sentence(error: type[OCPIError]) -> None:
    assert error().message == str(error()) == (error.__doc__ or "").strip().splitlines()[0]
    assert error().message.endswith(".")


def test_an_error_says_what_it_is_told() -> None:
    error = ocpi.NotFound("No such session.", http_status=405)

    assert (error.message, str(error), error.http_status) == ("No such session.", "No such session.", 405)
    assert ocpi.NotFound.http_status == 404


def test_method_not_allowed_knows_what_is_allowed() -> None:
    assert MethodNotAllowed(allow=("GET", "PUT")).allow == ("GET", "PUT")
    assert MethodNotAllowed().allow == ()


def test_the_connection_states_are_those_of_hubclientinfo() -> None:
    """R-210."""
    assert {str(state) for state in ConnectionStatus} == {"CONNECTED", "OFFLINE", "PLANNED", "SUSPENDED"}


def test_the_header_names_are_spelt_as_in_the_specification() -> None:
    """R-097, R-166, R-176, R-177; some partners compare letter by letter."""
    assert (ocpi.TO_COUNTRY, ocpi.TO_PARTY) == ("OCPI-to-country-code", "OCPI-to-party-id")
    assert (ocpi.FROM_COUNTRY, ocpi.FROM_PARTY) == ("OCPI-from-country-code", "OCPI-from-party-id")
    assert (ocpi.REQUEST_ID, ocpi.CORRELATION_ID) == ("X-Request-ID", "X-Correlation-ID")
    assert (ocpi.TOTAL_COUNT, ocpi.LIMIT) == ("X-Total-Count", "X-Limit")
