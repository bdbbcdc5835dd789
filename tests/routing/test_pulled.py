"""What a page of a Sender list holds, and what of it the mirror gets."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from config.ocpi import PartyID
from hub.simulator.objects import cdr, location, session, tariff, token
from routing.objects import ObjectKey
from routing.pulled import Pulled, read_last_updated, read_list, read_pulled, read_single
from routing.pulling import Unreadable
from tests.routing.cast import a_platform, party

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
PLATFORM = a_platform("BE-BEC:CPO", "BE-TWO:CPO", "BE-NEW:CPO/invited", id=7, version="2.2.1")


def is_member(asked: PartyID) -> bool:
    return asked.key == party("DE-TNM").key


def read(given: Any, module: str = "locations", max_bytes: int = 100_000) -> Any:
    body = given if isinstance(given, bytes) else orjson.dumps(given)
    return read_pulled(body, module, PLATFORM, is_member, NOW, max_bytes)


def key_of(given: Any, module: str) -> ObjectKey:
    pulled = read(given, module)
    assert isinstance(pulled, Pulled), pulled
    return pulled.change.key


def test_an_object_becomes_a_put_of_the_whole() -> None:
    body = orjson.dumps(location("BE-BEC", "Loc/1 é", last_updated="2026-05-01T10:00:00Z"))
    pulled = read(body)
    change = pulled.change
    assert change.key == ObjectKey("locations", "BE-BEC", "LOC/1 É")
    assert (change.method, change.part, change.path, change.query) == ("PUT", (), "BE/BEC/Loc%2F1%20%C3%A9", "")
    assert (change.body, change.keeps) == (body, "object")
    assert (change.platform_id, change.version, change.received_at) == (7, "2.2.1", NOW)
    assert pulled.last_updated == datetime(2026, 5, 1, 10, 0, tzinfo=UTC)


def test_ids_are_folded_and_their_letters_kept_in_the_path() -> None:  # QUIRKS 8
    pulled = read(location("BE-BEC", "loc1", country_code="be", party_id="bec"))
    assert pulled.change.key == ObjectKey("locations", "BE-BEC", "LOC1")
    assert pulled.change.path == "be/bec/loc1"


def test_another_party_of_the_platform_may_be_the_owner() -> None:
    assert key_of(tariff("BE-TWO", "T1"), "tariffs").owner == "BE-TWO"


@pytest.mark.parametrize("owner", [("DE", "TNM"), ("BE", "NEW"), (None, None), ("BE", 3), ("B", "EBEC"), ("", "")])
def test_an_object_of_nobody_on_this_platform_is_left_out(owner: tuple[Any, Any]) -> None:
    assert read(location("BE-BEC", "LOC1", country_code=owner[0], party_id=owner[1])) == "foreign_owner"


@pytest.mark.parametrize("ident", [None, "", 7, "x" * 256, "a\x00b", ["LOC1"]])
def test_an_object_without_a_usable_id_is_left_out(ident: Any) -> None:
    assert read(location("BE-BEC", "LOC1") | {"id": ident}) == "no_id"


@pytest.mark.parametrize("body", [b"7", b"null", b'"x"', b"[]", b'{"id":"\xff"}', b'{"id":NaN}'])
def test_what_is_no_object_is_left_out(body: bytes) -> None:
    assert read(body) == "no_object"


def test_an_object_larger_than_what_is_shared_is_left_out() -> None:
    assert read(location("BE-BEC", "LOC1"), max_bytes=100) == "too_large"


def test_a_token_is_its_uid_and_type() -> None:
    mine = a_platform("DE-TNM:EMSP")
    for kind, key, query in (
        ("RFID", "ABC RFID", ""),
        (None, "ABC RFID", ""),
        ("APP_USER", "ABC APP_USER", "type=APP_USER"),
        ("AD_HOC_USER", "ABC AD_HOC_USER", "type=AD_HOC_USER"),
    ):
        body = orjson.dumps(token("DE-TNM", "abc", type=kind))
        pulled = read_pulled(body, "tokens", mine, is_member, NOW, 10_000)
        assert isinstance(pulled, Pulled)
        assert (pulled.change.key.object_key, pulled.change.query) == (key, query)
        assert pulled.change.path == "DE/TNM/abc"


@pytest.mark.parametrize(("module", "make"), [("sessions", session), ("cdrs", cdr)])
def test_a_session_or_cdr_is_for_the_party_of_its_cdr_token_if_that_is_a_member(module: str, make: Any) -> None:
    assert key_of(make("BE-BEC", "S1"), module) == ObjectKey(module, "BE-BEC", "S1", "DE-TNM")
    assert read(make("BE-BEC", "S1", token("NL-MSP", "X")), module) == "not_a_member"
    for odd in (None, [], {"country_code": "DE"}, {"country_code": 1, "party_id": "TNM"}):
        assert read(make("BE-BEC", "S1", cdr_token=odd), module) == "not_a_member"


@pytest.mark.parametrize("written", [None, 7, "", "yesterday", "0001-01-01T00:00:00+14:00"])
def test_a_last_updated_that_tells_nothing_keeps_no_object_out(written: Any) -> None:
    assert read(location("BE-BEC", "LOC1", last_updated=written)).last_updated is None


def test_a_time_without_a_zone_is_utc() -> None:  # QUIRKS 29
    assert read_last_updated(b'{"last_updated":"2026-05-01T20:46:51.536111"}') == datetime(
        2026, 5, 1, 20, 46, 51, 536111, tzinfo=UTC
    )
    assert read_last_updated(b"[]") is None


# The envelope


def test_a_page_gives_each_object_as_its_bytes() -> None:
    assert read_list(b'{"status_code":1000,"data":[{"a": 4.00} , {"b":1}]}') == [b'{"a": 4.00}', b'{"b":1}']
    assert read_list(b'{"data":[]}') == []


BAD_PAGES = {
    b'{"data":{"id":"LOC1"}}': "no list",
    b'{"data":"x"}': "no list",
    b'{"data":null}': "no data",
    b'{"status_code":1000}': "no data",
    b"[]": "no list",
    b"<html>": "no valid JSON",
    b'{"data":[{"a":NaN}]}': "no valid JSON",
    b'{"data":[': "no valid JSON",
    b"": "no valid JSON",
    b'{"data":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}": "no valid JSON",
}


@pytest.mark.parametrize(("body", "said"), BAD_PAGES.items(), ids=[repr(body[:20]) for body in BAD_PAGES])
def test_what_is_no_page_says_why(body: bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_list(body)


def test_one_object_may_come_wrapped_in_a_list() -> None:  # QUIRKS 9
    assert read_single(b'{"data":{"id":"LOC1"}}') == b'{"id":"LOC1"}'
    assert read_single(b'{"data": [ {"id":"LOC1"} ]}') == b'{"id":"LOC1"}'
    for body in (b'{"data":[]}', b'{"data":[{},{}]}', b"{}", b"<html>"):
        with pytest.raises(Unreadable):
            read_single(body)


def test_a_party_shares_only_what_its_role_on_this_platform_has() -> None:
    """As CPO it may be on another platform, whose list of locations is the true one."""
    both = a_platform("BE-BEC:CPO", "NL-ALF:EMSP", "NL-OFF:CPO/suspended", id=7)
    for owner, expected in (("BE-BEC", Pulled), ("NL-ALF", str), ("NL-OFF", str)):
        body = orjson.dumps(location(owner, "LOC1"))
        assert isinstance(read_pulled(body, "locations", both, is_member, NOW, 100_000), expected)
