"""What a URL that the hub gave out stands for: packed, sealed, and read again."""

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import URL_MAX, NotFound, PartyID
from config.operations import ALIAS_PATH
from parties.model import Switches
from parties.tokens import SecretKeys, fingerprint
from routing.aliases import Alias, split_target, unpack
from tests.routing.cast import a_platform, party

KEYS = SecretKeys(["0123456789abcdef0123456789abcdef"])
PARTIES = st.builds(
    PartyID,
    st.text(string.ascii_letters, min_size=2, max_size=2),
    st.text(string.ascii_letters + string.digits, min_size=3, max_size=3),
)
UINT32 = st.integers(0, 2**32 - 1)
ALIASES = st.builds(
    Alias,
    kind=st.sampled_from(["result", "location", "link"]),
    user_platform=UINT32,
    user=PARTIES,
    target_platform=UINT32,
    target=PARTIES,
    expires=UINT32,
    origin=UINT32,
    path=st.text(max_size=200),
    salt=st.integers(0, 2**16 - 1),
)
ALIAS = Alias(
    "result", 1, party("BE-BEC"), 3, party("de-Tnm"), expires=4102444800, origin=7, path="/cb/1?x=%2F", salt=65535
)


@given(ALIASES)
def test_an_alias_is_read_back_from_what_was_packed(alias: Alias) -> None:
    assert unpack(alias.pack()) == alias


@given(ALIASES)
def test_an_alias_is_read_back_from_what_was_sealed(alias: Alias) -> None:
    plain = KEYS.open_alias(KEYS.seal_alias(alias.pack()))

    assert plain is not None
    assert unpack(plain) == alias


@given(st.binary(max_size=60))
def test_any_bytes_are_an_alias_or_none(plain: bytes) -> None:
    try:
        alias = unpack(plain)
    except ValueError:
        return
    assert alias.pack() == plain


@pytest.mark.parametrize(
    "plain", [b"", ALIAS.pack()[:28], b"\x03" + ALIAS.pack()[1:], ALIAS.pack() + b"\xff", b"\xff" * 40]
)
def test_what_is_no_alias_is_refused(plain: bytes) -> None:
    with pytest.raises(ValueError):
        unpack(plain)


@pytest.mark.parametrize("wrong", [PartyID("D", "TNM"), PartyID("DE", "TNMX"), PartyID("DÉ", "TNM")])
def test_a_party_that_does_not_fit_is_refused(wrong: PartyID) -> None:
    for changed in (dataclasses.replace(ALIAS, user=wrong), dataclasses.replace(ALIAS, target=wrong)):
        with pytest.raises(ValueError, match="no party"):
            changed.pack()


@pytest.mark.parametrize("module", ["chargingprofiles", "commands", "cdrs"])
def test_a_path_of_95_characters_fits_into_ocpis_255(module: str) -> None:
    """R-017, R-228."""
    alias = dataclasses.replace(ALIAS, path="/" + "x" * 94)

    url = f"https://hub.example.com/ocpi/2.2.1/receiver/{module}/{ALIAS_PATH[0]}/{KEYS.seal_alias(alias.pack())}"

    assert len(url) <= URL_MAX


def test_two_requests_with_the_same_response_url_get_two_urls() -> None:
    """R-228; a Link is the same whenever it is asked for, having no salt (T-075)."""
    other = dataclasses.replace(ALIAS, salt=1)

    assert KEYS.seal_alias(other.pack()) != KEYS.seal_alias(ALIAS.pack())


def test_nothing_of_the_target_can_be_read_in_the_url() -> None:
    sealed = KEYS.seal_alias(dataclasses.replace(ALIAS, path="/callback").pack())

    assert "callback" not in sealed
    assert "BEC" not in sealed


# The target's own URL


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        ("https://p3.test/cb/1?x=%2F", "https://p3.test:443", "/cb/1?x=%2F"),
        ("https://P3.test:443/cb", "https://p3.test:443", "/cb"),
        ("HTTP://p3.test:8080//cb//?", "http://p3.test:8080", "//cb//?"),
        ("https://p3.test", "https://p3.test:443", "/"),
        ("https://p3.test/", "https://p3.test:443", "/"),
        ("https://p3.test?x=1", "https://p3.test:443", "/?x=1"),
        ("https://p3.test?x=/a/b", "https://p3.test:443", "/?x=/a/b"),
        ("https://p3.test?x=https://p1.test/", "https://p3.test:443", "/?x=https://p1.test/"),
        ("https://p3.test/cb?x=y#here", "https://p3.test:443", "/cb?x=y"),
        ("https://p3.test#/x", "https://p3.test:443", "/"),
        ("https://[::1]:8443/cb", "https://[::1]:8443", "/cb"),
        ("https://p3.test/a%2Fb/../c;d?e=%41+f", "https://p3.test:443", "/a%2Fb/../c;d?e=%41+f"),
    ],
)
def test_a_url_is_split_into_its_origin_and_the_raw_rest(url: str, origin: str, path: str) -> None:
    assert split_target(url) == (fingerprint(origin), path)


@pytest.mark.parametrize("url", ["", "/cb", "p3.test/cb", "ftp://p3.test/cb", "https:///cb", "https://p3.test:x/"])
def test_what_is_no_absolute_url_has_no_target(url: str) -> None:
    with pytest.raises(ValueError):
        split_target(url)


@given(st.text("ab%2F/?&=.~", max_size=30))
def test_a_url_is_what_it_was_after_the_detour(rest: str) -> None:
    """S20: the result arrives at exactly the original URL, its query included."""
    url = f"https://p3.test:443/{rest}"
    origin, path = split_target(url)
    alias = unpack(dataclasses.replace(ALIAS, origin=origin, path=path).pack())

    assert alias.url_at(a_platform("DE-TNM:EMSP", id=3)) == url


def test_the_url_is_found_among_a_platforms_origins_after_they_changed() -> None:
    """T-010, T-080: URLs given out lead on as long as the origin is the platform's, wherever it was learnt."""
    origin, path = split_target("https://old.test/cb")
    alias = dataclasses.replace(ALIAS, origin=origin, path=path)

    before = a_platform("DE-TNM:EMSP", versions_url="https://old.test/versions")
    moved = a_platform("DE-TNM:EMSP", versions_url="https://new.test/versions")
    kept = a_platform("DE-TNM:EMSP", switches=Switches(origins=("https://OLD.test",)))

    assert alias.url_at(before) == alias.url_at(kept) == "https://old.test:443/cb"
    with pytest.raises(NotFound) as caught:
        alias.url_at(moved)
    assert caught.value.http_status == 404
