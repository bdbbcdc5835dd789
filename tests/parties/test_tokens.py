"""Credentials tokens: the Authorization header in every form, digests, sealing, and that none is ever printed."""

import base64
import json
import string
import traceback

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.model import Platform
from parties.registration import Credentials
from parties.tokens import (
    Secret,
    SecretKeys,
    fingerprint,
    is_token,
    make_token,
    read_authorization,
    write_authorization,
)

OLD_KEY = "old-key-0123456789abcdef0123456789"
NEW_KEY = "new-key-0123456789abcdef0123456789"
OTHER_KEY = "other-key-0123456789abcdef01234567"
OLD, NEW, OTHER = SecretKeys([OLD_KEY]), SecretKeys([NEW_KEY]), SecretKeys([OTHER_KEY])
ROTATED = SecretKeys([NEW_KEY, OLD_KEY])

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
TOKENS = st.text(VISIBLE, min_size=1, max_size=64)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# The Authorization header


@pytest.mark.parametrize(
    ("header", "meant"),
    [
        ("Token dG9rLUJFLTE=", [("tok-BE-1", True), ("dG9rLUJFLTE=", False)]),
        ("Token dG9rLUJFLTEK", [("tok-BE-1\n", True), ("tok-BE-1", True), ("dG9rLUJFLTEK", False)]),  # T-001
        ("Token dG9rLUJFLTENCg==", [("tok-BE-1\r\n", True), ("tok-BE-1", True), ("dG9rLUJFLTENCg==", False)]),
        ("Token tok-BE-1", [("tok-BE-1", False)]),
        ("token dG9rLUJFLTE=", [("tok-BE-1", True), ("dG9rLUJFLTE=", False)]),
        ("TOKEN tok-BE-1", [("tok-BE-1", False)]),
        ("  Token   tok-BE-1  ", [("tok-BE-1", False)]),
        ("Token dG9rLUJFLTE", [("tok-BE-1", True), ("dG9rLUJFLTE", False)]),  # S01 (e): no padding
        ("Token dG9rLUJFLTE==", [("dG9rLUJFLTE==", False)]),  # too much of it
        ("Token abcd1234", [("abcd1234", False)]),  # T-002: raw, valid Base64 of bytes that are no text
        ("Token 68656c6c6f212121", [("68656c6c6f212121", False)]),
        ("Token ünï", [("ünï", False)]),
        ("Token \udcff\udcfe", [("\udcff\udcfe", False)]),  # bytes that are no UTF-8, as the server reads them
        ("Bearer dG9rLUJFLTE=", []),  # S01 (f)
        ("Basic dG9rLUJFLTE=", []),
        ("tok-BE-1", []),
        ("Tokentok-BE-1", []),
        ("Token", []),
        ("Token ", []),
        ("", []),
        (None, []),  # S01 (g)
    ],
)
def test_a_header_may_mean_these_tokens_in_this_order(header: str | None, meant: list[tuple[str, bool]]) -> None:
    assert read_authorization(header) == meant


@given(TOKENS, st.booleans(), st.sampled_from(["Token", "token", "TOKEN", "ToKeN"]))
def test_a_token_written_in_either_form_is_read_back(token: str, token_base64: bool, scheme: str) -> None:
    header = write_authorization(Secret(token), token_base64=token_base64)

    assert (token, token_base64) in read_authorization(header)
    assert (token, token_base64) in read_authorization(scheme + header.removeprefix("Token"))


@given(TOKENS)
def test_the_header_is_written_exactly_as_ocpi_has_it(token: str) -> None:
    """R-027: standard alphabet, padded, no newline, one blank after `Token`."""
    header = write_authorization(Secret(token), token_base64=True)

    assert header == "Token " + encoded(token)
    assert write_authorization(Secret(token), token_base64=False) == "Token " + token


@given(st.one_of(st.text(), st.text().map("Token ".__add__), st.binary().map(lambda b: f"Token {b.decode('latin-1')}")))
def test_no_header_is_too_odd_to_be_looked_up(header: str) -> None:
    """R-031: it is unknown then, never an error of ours."""
    for token, _ in read_authorization(header):
        assert len(ROTATED.digests(token)) == 2


def test_bytes_that_are_no_utf8_are_looked_up_too() -> None:
    (meant,) = read_authorization("Token \udcff")

    assert meant == ("\udcff", False)
    assert ROTATED.digests("\udcff") != ROTATED.digests("\udcfe")


# Making tokens


def test_tokens_made_are_fit_for_ocpi_and_all_different() -> None:
    """R-033, R-034."""
    made = [make_token().reveal() for _ in range(500)]

    assert all(is_token(token) and len(token) == 47 for token in made)
    assert len(set(made)) == len(made)


def test_a_token_made_is_no_base64_of_anything() -> None:
    """R-030: raw, it cannot be taken for the Base64 of another token."""
    for _ in range(200):
        token = make_token().reveal()
        assert "-" in token
        assert read_authorization(f"Token {token}") == [(token, False)]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("x", True),
        ("x" * 64, True),
        (VISIBLE[:64], True),
        (VISIBLE[64:], True),
        ("", False),
        ("x" * 65, False),
        ("a b", False),
        ("a\n", False),
        ("tökén", False),
        ("\x7f", False),
        (None, False),
        (5, False),
        (b"token", False),
        (["t"], False),
    ],
)
def test_a_token_is_1_to_64_visible_ascii_characters(text: object, fits: bool) -> None:
    """R-034."""
    assert is_token(text) is fits


# Secret


def test_a_secret_never_shows() -> None:
    secret = Secret("sesame")
    platform = Platform(1, "", "registered", (), token=secret)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>30}",
        f"{secret!s:>30}",
        "{0} {0!r}".format(secret),  # noqa: UP032
        str([secret]),
        repr({"token": secret}),
        repr(platform),
        repr(Credentials(secret, "https://p1.test", ())),
        str(ValueError(secret)),
        repr(ValueError(secret)),
    ]
    for text in shown:
        assert "sesame" not in text


@pytest.mark.parametrize(
    "misuse",
    [
        lambda secret: format(secret, ">30"),
        lambda secret: "Token " + secret,
        lambda secret: orjson.dumps(secret),
        lambda secret: json.dumps({"token": secret}),
        lambda secret: secret.encode(),
        lambda secret: len(secret),
        lambda secret: secret[0],
        lambda secret: int(secret),
    ],
)
def test_what_cannot_be_done_with_a_secret_fails_without_showing_it(misuse: object) -> None:
    with pytest.raises((TypeError, AttributeError)) as caught:
        misuse(Secret("sesame"))  # type: ignore[operator]

    assert "sesame" not in "".join(traceback.format_exception(caught.value, limit=0))


def test_an_error_raised_with_a_secret_at_hand_does_not_show_it() -> None:
    sealed = NEW.seal_token(Secret("sesame"), 7)
    with pytest.raises(ValueError) as caught:
        OTHER.open_token(sealed, 7)

    assert "sesame" not in "".join(traceback.format_exception(caught.value))


def test_secrets_are_equal_when_what_they_hold_is() -> None:
    assert Secret("a") == Secret("a")
    assert hash(Secret("a")) == hash(Secret("a"))
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("ä").reveal() == "ä"


# The hub's secret keys


@pytest.mark.parametrize("keys", [[], [""], ["  ", "\n"], ["short"], [NEW_KEY, "x" * 31], ["x" * 31 + " "]])
def test_secret_keys_must_be_there_and_long_enough(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="secret key"):
        SecretKeys(keys)


def test_a_refused_secret_key_is_not_repeated() -> None:
    with pytest.raises(ValueError) as caught:
        SecretKeys(["sesame"])

    assert "sesame" not in str(caught.value)


def test_blanks_around_a_secret_key_and_empty_ones_do_not_count() -> None:
    assert SecretKeys([f" {NEW_KEY}\n", "", " "]).digests("t") == NEW.digests("t")


def test_a_token_has_one_digest_per_key_the_current_ones_first() -> None:
    assert ROTATED.digests("token") == [*NEW.digests("token"), *OLD.digests("token")]
    assert len({*ROTATED.digests("token"), *OTHER.digests("token")}) == 3


def test_a_digest_says_nothing_about_the_token() -> None:
    (digest,) = NEW.digests("token")

    assert len(digest) == 32
    assert b"token" not in digest
    assert NEW.digests("token ") != NEW.digests("token")


@given(TOKENS, st.integers(1, 2**31 - 1))
def test_a_sealed_token_is_read_back_for_its_platform(token: str, platform_id: int) -> None:
    sealed = NEW.seal_token(Secret(token), platform_id)

    assert NEW.open_token(sealed, platform_id) == Secret(token)
    assert ROTATED.open_token(sealed, platform_id) == Secret(token)


def test_sealing_twice_gives_different_bytes_without_the_token() -> None:
    one, two = (NEW.seal_token(Secret("sesame-sesame"), 1) for _ in range(2))

    assert one != two
    assert b"sesame" not in one


def test_a_token_sealed_for_one_platform_does_not_open_for_another() -> None:
    sealed = NEW.seal_token(Secret("sesame"), 1)

    with pytest.raises(ValueError, match="cannot be read with this secret key"):
        NEW.open_token(sealed, 11)


def test_a_token_sealed_with_an_old_key_is_read_and_known_as_such() -> None:
    sealed = OLD.seal_token(Secret("sesame"), 1)

    assert ROTATED.open_token(sealed, 1).reveal() == "sesame"
    assert not ROTATED.is_current(sealed, 1)
    assert ROTATED.is_current(ROTATED.seal_token(Secret("sesame"), 1), 1)
    assert not ROTATED.is_current(ROTATED.seal_token(Secret("sesame"), 1), 2)


@given(st.data())
def test_a_sealed_token_that_was_tampered_with_does_not_open(data: st.DataObject) -> None:
    sealed = bytearray(NEW.seal_token(Secret("sesame"), 1))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))

    with pytest.raises(ValueError, match="cannot be read"):
        NEW.open_token(bytes(sealed), 1)


@given(st.binary(min_size=12, max_size=80))
def test_random_bytes_are_no_sealed_token(sealed: bytes) -> None:
    with pytest.raises(ValueError):
        ROTATED.open_token(sealed, 1)
    assert not ROTATED.is_current(sealed, 1)


# Aliases

URL_SAFE = string.ascii_letters + string.digits + "-_"


@given(st.binary(min_size=1, max_size=300))
def test_an_alias_is_url_safe_and_opens_to_what_was_sealed(plain: bytes) -> None:
    text = NEW.seal_alias(plain)

    assert set(text) <= set(URL_SAFE)
    assert NEW.open_alias(text) == plain


def test_the_same_input_gives_the_same_alias() -> None:
    """T-075: a page's Link is the same when it is asked for again."""
    assert NEW.seal_alias(b"plain") == NEW.seal_alias(b"plain")
    assert NEW.seal_alias(b"plain") != NEW.seal_alias(b"plain!")
    assert NEW.seal_alias(b"plain") != OLD.seal_alias(b"plain")


def test_an_alias_opens_with_every_key_and_is_sealed_with_the_first() -> None:
    assert ROTATED.open_alias(OLD.seal_alias(b"plain")) == b"plain"
    assert ROTATED.seal_alias(b"plain") == NEW.seal_alias(b"plain")
    assert NEW.open_alias(OLD.seal_alias(b"plain")) is None
    assert OTHER.open_alias(ROTATED.seal_alias(b"plain")) is None


@given(
    st.one_of(
        st.text(max_size=80),
        st.text(URL_SAFE, max_size=80),
        st.binary(max_size=80).map(lambda b: base64.urlsafe_b64encode(b).decode()),
    )
)
def test_random_text_never_opens(text: str) -> None:
    assert ROTATED.open_alias(text) is None


@given(st.data())
def test_an_alias_that_was_tampered_with_does_not_open(data: st.DataObject) -> None:
    plain = b"who may call what until when"
    text = NEW.seal_alias(plain)
    sealed = bytearray(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))

    assert NEW.open_alias(base64.urlsafe_b64encode(bytes(sealed)).rstrip(b"=").decode()) is None


def test_a_stored_alias_of_a_part_of_one_does_not_open() -> None:
    text = NEW.seal_alias(b"plain")

    for wrong in (text[:-1], text[1:], text[:20], text + "A", "." + text):
        assert NEW.open_alias(wrong) is None


def test_one_secret_key_serves_three_purposes_with_three_keys() -> None:
    """What was sealed for one purpose never opens for another."""
    sealed = NEW.seal_token(Secret("sesame"), 1)

    assert NEW.open_alias(base64.urlsafe_b64encode(sealed).decode()) is None


@given(st.text())
def test_a_fingerprint_has_32_bits(text: str) -> None:
    assert 0 <= fingerprint(text) < 2**32
    assert fingerprint(text) == fingerprint(text)


def test_fingerprints_tell_origins_apart() -> None:
    assert fingerprint("https://p1.test:443") != fingerprint("https://p2.test:443")
