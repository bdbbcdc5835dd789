"""Credentials tokens: make them, recognise them, keep them sealed, read and write the Authorization header.

What the hub must recognise is kept only as a keyed digest; what it must send is kept sealed. Neither is ever
printed: `Secret` shows stars.
"""

import base64
import hmac
import secrets
import zlib
from collections.abc import Iterable
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESSIV
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MINIMUM_SECRET_LENGTH = 32


class Secret:
    """A credentials token in memory. Printing, logging or formatting it shows stars."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the token itself, to be sent and nothing else."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(********)"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


def make_token() -> Secret:
    """Make a credentials token: 47 characters with a dash, so that no other token's Base64 reads like it (R-030)."""
    return Secret("hub-" + secrets.token_urlsafe(32))


def is_token(text: object) -> bool:
    """Whether this can be a credentials token: 1 to 64 characters of U+0021 to U+007E (R-034)."""
    return isinstance(text, str) and 1 <= len(text) <= 64 and all("!" <= character <= "~" for character in text)


def read_authorization(header: str | None) -> list[tuple[str, bool]]:
    """Give the tokens that an Authorization header may mean, each with whether it was Base64.

    OCPI 2.2.1, Authorization header: `Token ` and the Base64 of the token. Accepted too: the raw token (R-029), the
    Base64 of a token and a newline (T-001), Base64 without padding. Other schemes give nothing.
    """
    scheme, _, value = (header or "").strip().partition(" ")
    value = value.strip()
    if scheme.lower() != "token" or not value:
        return []
    meant = []
    try:
        decoded = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except ValueError:
        pass
    else:
        meant.append((decoded, True))
        if decoded.rstrip("\r\n") != decoded:
            meant.append((decoded.rstrip("\r\n"), True))
    meant.append((value, False))
    return meant


def write_authorization(token: Secret, *, token_base64: bool) -> str:
    """Give the Authorization header that carries this token (R-027, R-028)."""
    value = token.reveal()
    return "Token " + (base64.b64encode(value.encode()).decode() if token_base64 else value)


class WrongKey(ValueError):
    """What is stored was sealed with another secret key."""


class SecretKeys:
    """The hub's secret key and its predecessors: the first one writes, all of them read."""

    def __init__(self, secret_keys: Iterable[str]) -> None:
        keys = [key.strip() for key in secret_keys if key.strip()]
        if not keys:
            raise ValueError("no secret key")
        if any(len(key) < MINIMUM_SECRET_LENGTH for key in keys):
            raise ValueError(f"a secret key has {MINIMUM_SECRET_LENGTH} or more characters (openssl rand -hex 32)")
        self._digest_keys = [_derive(key, b"token digest", 32) for key in keys]
        self._token_ciphers = [AESGCM(_derive(key, b"token seal", 32)) for key in keys]
        self._alias_ciphers = [AESSIV(_derive(key, b"alias seal", 64)) for key in keys]

    def digests(self, token: str) -> list[bytes]:
        """Give the keyed digests under which this token may be known, the current key's first."""
        value = token.encode(errors="surrogatepass")  # a header may hold bytes that are no UTF-8
        return [hmac.digest(key, value, sha256) for key in self._digest_keys]

    def seal_token(self, token: Secret, platform_id: int) -> bytes:
        """Encrypt a token for storage, bound to its platform."""
        nonce = secrets.token_bytes(12)
        return nonce + self._token_ciphers[0].encrypt(nonce, token.reveal().encode(), _bound_to(platform_id))

    def open_token(self, sealed: bytes, platform_id: int) -> Secret:
        """Decrypt a stored token. Raises WrongKey when no key fits or it is another platform's."""
        for cipher in self._token_ciphers:
            try:
                return Secret(cipher.decrypt(sealed[:12], sealed[12:], _bound_to(platform_id)).decode())
            except InvalidTag:
                continue
        raise WrongKey(
            "A stored credentials token cannot be read with this secret key. Set OCPI_HUB_SECRET_KEY as every hub on "
            "this database has it; after a change of key, the new one and the old one, comma-separated."
        )

    def is_current(self, sealed: bytes, platform_id: int) -> bool:
        """Whether a stored token was sealed with the current key."""
        try:
            self._token_ciphers[0].decrypt(sealed[:12], sealed[12:], _bound_to(platform_id))
        except InvalidTag:
            return False
        return True

    def seal_alias(self, plain: bytes) -> str:
        """Encrypt what an alias stands for, as URL-safe text; the same input gives the same text."""
        return base64.urlsafe_b64encode(self._alias_ciphers[0].encrypt(plain, None)).rstrip(b"=").decode()

    def open_alias(self, text: str) -> bytes | None:
        """Decrypt an alias; None when it was not sealed by any of these keys."""
        try:
            sealed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        if len(sealed) <= 16:
            return None
        for cipher in self._alias_ciphers:
            try:
                return cipher.decrypt(sealed, None)
            except InvalidTag:
                continue
        return None


def _derive(key: str, purpose: bytes, length: int) -> bytes:
    return HKDF(hashes.SHA256(), length, salt=None, info=b"ocpi-hub " + purpose).derive(key.encode())


def _bound_to(platform_id: int) -> bytes:
    return b"platform %d" % platform_id


def fingerprint(text: str) -> int:
    """Give 32 bits that stand for a text where the text itself would be too long."""
    return zlib.crc32(text.encode())
