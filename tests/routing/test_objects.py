"""What a push says of an object: whose it is, what it is called, and what is refused."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import InvalidParameters, PartyID
from parties.model import Switches
from routing.message import WrongOwner
from routing.objects import (
    KEEP_PROFILE,
    KEEP_RESERVATION,
    Change,
    ObjectKey,
    is_deeper_than,
    is_id,
    object_fields,
    read_change,
)
from tests.routing.cast import a_message, a_platform

NOW = datetime(2026, 6, 1, tzinfo=UTC)
EMSP = a_platform("DE-TNM:EMSP", id=2)
OWNED = {"country_code": "BE", "party_id": "BEC", "last_updated": "2026-01-01T00:00:00Z"}


def read(request: str, body: Any = None, *, to: str | None = None, sender: str | None = None) -> Change:
    message = a_message(request, EMSP if sender == "DE-TNM" else a_platform(), to=to, sender=sender)
    text = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return read_change(message, text, NOW, PartyID.parse(to) if to else None)


@pytest.mark.parametrize(
    ("request_", "body", "key", "part"),
    [
        ("PUT receiver/locations/be/bec/Loc%2f1", OWNED | {"id": "loc/1"}, ("locations", "BE-BEC", "LOC/1"), ()),
        ("PUT receiver/locations/BE/BEC/L/e1", {"uid": "E1"}, ("locations", "BE-BEC", "L"), ("E1",)),
        ("PUT receiver/locations/BE/BEC/L/e1/a", {"id": "A"}, ("locations", "BE-BEC", "L"), ("E1", "A")),
        ("DELETE receiver/tariffs/BE/BEC/t1", None, ("tariffs", "BE-BEC", "T1"), ()),
    ],
)
def test_a_broadcast_is_about_the_object_in_its_url(
    request_: str, body: Any, key: tuple[str, str, str], part: tuple[str, ...]
) -> None:
    change = read(request_, body)
    assert (change.key, change.part, change.keeps) == (ObjectKey(*key), part, "object")
    assert change.path == "/".join(request_.split("/")[2:5])


@pytest.mark.parametrize(
    ("query", "expected"), [("", "AB RFID"), ("?type=APP_USER", "AB APP_USER"), ("?type=ad_hoc_user", "AB AD_HOC_USER")]
)
def test_a_token_is_known_by_its_uid_and_type(query: str, expected: str) -> None:
    """R-248."""
    body = {"country_code": "DE", "party_id": "TNM", "uid": "ab"}
    change = read(f"PUT receiver/tokens/DE/TNM/ab{query}", body, sender="DE-TNM")
    assert (change.key.object_key, change.query) == (expected, query.removeprefix("?"))


@pytest.mark.parametrize(
    ("request_", "body", "field"),
    [
        ("PUT receiver/locations/BE/BEC/L", OWNED, "id"),
        ("PUT receiver/locations/BE/BEC/L", OWNED | {"id": "M"}, "id"),
        ("PUT receiver/locations/BE/BEC/L", OWNED | {"id": 7}, "id"),
        ("PUT receiver/locations/BE/BEC/L", OWNED | {"id": "L", "party_id": "XYZ"}, "party_id"),
        ("PUT receiver/locations/BE/BEC/L", {"id": "L", "party_id": "BEC"}, "country_code"),
        ("PUT receiver/locations/BE/BEC/L/E", {"id": "E"}, "uid"),
        ("PUT receiver/locations/BE/BEC/L/E/1", {"id": "2"}, "id"),
        ("PUT receiver/tariffs/BE/BEC/T", OWNED | {"id": "S"}, "id"),
        ("PATCH receiver/locations/BE/BEC/L", {"name": "x"}, "last_updated"),
        ("PATCH receiver/locations/BE/BEC/L/E", {"last_updated": None}, "last_updated"),
        ("PATCH receiver/locations/BE/BEC/L/E", {"last_updated": "2026-01-01T00:00:00Z", "uid": "F"}, "uid"),
        ("PUT receiver/locations/BE/BEC/L", b"[]", "JSON object"),
        ("PUT receiver/locations/BE/BEC/L", b'{"id": ' + b"[" * 100_000, "levels"),
        ("PUT receiver/locations/BE/BEC/%00", OWNED | {"id": "\0"}, "printable"),
        ("PUT receiver/locations/BE/BEC/%ff", OWNED | {"id": "L"}, "UTF-8"),
        ("PUT receiver/locations/BE/BEC/" + "x" * 256, OWNED | {"id": "L"}, "255"),
    ],
)
def test_a_broadcast_that_is_not_what_its_url_says_is_refused_and_the_field_named(
    request_: str, body: Any, field: str
) -> None:
    """R-268, R-258."""
    with pytest.raises(InvalidParameters, match=field) as refused:
        read(request_, body)
    assert refused.value.status_code == 2001


def test_of_an_addressed_push_only_what_is_there_must_fit() -> None:
    """Its receiver has judged it."""
    change = read("PUT receiver/locations/BE/BEC/L", {"name": "no id"}, to="DE-TNM")
    assert (change.key, change.keeps) == (ObjectKey("locations", "BE-BEC", "L"), "index")
    assert read("PATCH receiver/sessions/BE/BEC/S", {"kwh": 1}, to="DE-TNM").method == "PATCH"
    with pytest.raises(InvalidParameters, match="id"):
        read("PUT receiver/locations/BE/BEC/L", {"id": "M"}, to="DE-TNM")


def test_a_session_is_kept_for_its_addressee() -> None:
    change = read("PUT receiver/sessions/BE/BEC/s1", OWNED | {"id": "S1"}, to="de-tnm")
    assert change.key == ObjectKey("sessions", "BE-BEC", "S1", "DE-TNM")
    assert (change.keeps, change.method) == ("object", "PUT")


def test_a_cdr_is_known_by_its_body() -> None:
    change = read("POST receiver/cdrs", OWNED | {"id": "c/1"}, to="DE-TNM")
    assert change.key == ObjectKey("cdrs", "BE-BEC", "C/1", "DE-TNM")
    assert (change.method, change.path, change.keeps) == ("PUT", "BE/BEC/c%2F1", "object")
    with pytest.raises(InvalidParameters, match="party_id"):
        read("POST receiver/cdrs", {"id": "c", "country_code": "BE"}, to="DE-TNM")


@pytest.mark.parametrize(
    ("expiry", "expected"),
    [
        ("2026-06-02T00:00:00Z", NOW + timedelta(days=1)),
        ("whenever", NOW),
        ("9999-12-31T23:59:59Z", NOW + timedelta(days=366)),
    ],
)
def test_a_reservation_is_known_for_a_day_after_its_expiry_date(expiry: str, expected: datetime) -> None:
    body = {"reservation_id": "r1", "expiry_date": expiry, "token": {"uid": "secret"}}
    change = read("POST receiver/commands/RESERVE_NOW", body, to="BE-BEC", sender="DE-TNM")
    assert change.key == ObjectKey("reservations", "BE-BEC", "R1", "DE-TNM")
    assert (change.body, change.keeps) == (b"", "reservation")
    assert change.expires_at == expected + KEEP_RESERVATION


def test_who_set_a_charging_profile_is_known_by_the_session() -> None:
    body = {"charging_profile": {}, "response_url": "https://emsp.test/1"}
    change = read("PUT receiver/chargingprofiles/s1", body, to="BE-BEC", sender="DE-TNM")
    assert change.key == ObjectKey("chargingprofiles", "BE-BEC", "S1", "DE-TNM")
    assert (change.body, change.keeps, change.expires_at) == (b"", "profile", NOW + KEEP_PROFILE)


def test_an_objects_fields_are_the_bytes_that_stand_there() -> None:
    assert object_fields(b'{"a" : 4.00, "b": {"c" :1e2 } ,"a":5.10}') == {"a": b"5.10", "b": b'{"c" :1e2 }'}
    with pytest.raises(InvalidParameters):
        object_fields(b"7")


def test_everybody_shares_as_itself_only() -> None:
    """R-268: a CDR names its owner in the body only, and `foreign_owner` lets a URL name another."""
    body = {"country_code": "SE", "party_id": "VOL", "id": "C1"}
    with pytest.raises(WrongOwner, match="SE-VOL is named as owner"):
        read("POST receiver/cdrs", body, to="DE-TNM")
    platform = a_platform(switches=Switches(foreign_owner=True))
    message = a_message("PUT receiver/sessions/SE/VOL/C1", platform, to="DE-TNM")
    with pytest.raises(WrongOwner):
        read_change(message, orjson.dumps(body), NOW, PartyID("DE", "TNM"))


def _levels(value: Any) -> int:
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if children is None else 1 + max(map(_levels, children), default=0)


_TEXTS = st.text(alphabet=st.sampled_from('ab"\\[]{},: \n\u00e9'), max_size=5)
_VALUES = st.recursive(
    _TEXTS | st.integers(0, 9) | st.none(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
)


@given(_VALUES, st.integers(0, 8))
def test_levels_are_those_of_the_value_whatever_its_strings_hold(value: Any, levels: int) -> None:
    assert is_deeper_than(levels, orjson.dumps(value)) == (_levels(value) > levels)


def test_an_id_that_grows_when_folded_still_fits() -> None:
    assert is_id("\u00df" * 127)
    assert not is_id("\u00df" * 128)
