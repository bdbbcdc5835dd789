"""What a URL that the hub gave out stands for: the party's URL behind it, who may use it, and until when.

It is sealed into the URL itself, so it needs no storage and is valid at every hub of the database, after a restart
and without the database. Layout (big-endian): kind, expiry, the two platforms, the two parties, the fingerprint of
the target's origin, salt, then the target's path and query.
"""

import re
import struct
from dataclasses import dataclass

from config.ocpi import NotFound, PartyID
from config.operations import AliasKind
from parties.model import Platform, origin_of
from parties.tokens import fingerprint

_HEAD = struct.Struct(">BIII5s5sIH")
_ORIGIN = re.compile(r"[^/?#]*//[^/?#]*")
_KINDS: tuple[AliasKind, ...] = ("result", "location", "link")


@dataclass(frozen=True, slots=True)
class Alias:
    """A URL of ours that stands for one of a party's."""

    kind: AliasKind
    user_platform: int
    """The one platform that may call it."""
    user: PartyID
    target_platform: int
    """The platform it leads to."""
    target: PartyID
    expires: int = 0
    """Unix time in seconds after which it is void; 0 means never."""
    origin: int = 0
    """Fingerprint of the target's origin, one of its platform's; 0 when the endpoint is meant."""
    path: str = ""
    """Raw path and query on that origin."""
    salt: int = 0
    """16 bits that tell apart two requests with the same response_url (R-228)."""

    def pack(self) -> bytes:
        """Give this as bytes to be sealed."""
        head = _HEAD.pack(
            _KINDS.index(self.kind),
            self.expires,
            self.user_platform,
            self.target_platform,
            _party_bytes(self.user),
            _party_bytes(self.target),
            self.origin,
            self.salt,
        )
        return head + self.path.encode()

    def url_at(self, platform: Platform) -> str:
        """Give the party's own URL. Raises NotFound when its origin is no longer one of the platform's."""
        for origin in platform.origins:
            if fingerprint(origin) == self.origin:
                return origin + self.path
        raise NotFound("This URL led to an address that its owner no longer uses.")


def unpack(plain: bytes) -> Alias:
    """Read what `pack` wrote. Raises ValueError for anything else."""
    if len(plain) < _HEAD.size:
        raise ValueError("too short for an alias")
    kind, expires, user_platform, target_platform, user, target, origin, salt = _HEAD.unpack_from(plain)
    if kind >= len(_KINDS):
        raise ValueError("an alias of an unknown kind")
    return Alias(
        kind=_KINDS[kind],
        user_platform=user_platform,
        user=_read_party(user),
        target_platform=target_platform,
        target=_read_party(target),
        expires=expires,
        origin=origin,
        path=plain[_HEAD.size :].decode(),
        salt=salt,
    )


def split_target(url: str) -> tuple[int, str]:
    """Give an absolute URL as its origin's fingerprint and its path with query."""
    origin = origin_of(url)
    rest = _ORIGIN.sub("", url, count=1).partition("#")[0]
    return fingerprint(origin), rest if rest.startswith("/") else f"/{rest}"


def _party_bytes(party: PartyID) -> bytes:
    text = f"{party.country_code}{party.party_id}".encode()
    if len(text) != 5:
        raise ValueError(f"{party} is no party of two and three characters")
    return text


def _read_party(text: bytes) -> PartyID:
    return PartyID(text[:2].decode(), text[2:].decode())
