"""Client owned objects as the hub knows them: whose they are, how they are called, and what a push changes of them.

OCPI 2.2.1, Transport and format, Client Owned Object Push.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from config.ocpi import InvalidParameters, PartyID
from config.operations import Mirrors
from routing.message import Message


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """What identifies a top-level object: two spellings of one id are one key, as CiStrings compare (R-010)."""

    module: str
    owner: str
    """The owner folded, like `NL-ABC`."""
    object_key: str
    """The id folded; of a token its uid, a blank and its type (R-248)."""
    addressee: str = ""
    """The folded party that alone it is for (sessions, CDRs); empty for what is for the network."""


@dataclass(frozen=True, slots=True)
class Change:
    """One push of a client owned object, as the mirror takes it in."""

    key: ObjectKey
    part: tuple[str, ...]
    """The EVSE's uid and the connector's id, folded, as far as the URL names them; empty: the object itself."""
    method: Literal["PUT", "PATCH", "DELETE"]
    """The POST of a CDR is a PUT here."""
    path: str
    """Raw, of the top-level object below the module's Receiver interface, like `NL/ABC/LOC1`."""
    query: str
    """Raw; a token's type is in it."""
    body: bytes
    platform_id: int
    """Where it came from."""
    version: str
    keeps: Mirrors
    """Of a push to one party: what is kept of it. `object` for everything that is for the network."""
    received_at: datetime
    expires_at: datetime | None = None


def fold(party: PartyID) -> str:
    """Give a party as a key, like `NL-ABC`."""
    return str(party).upper()


def read_change(message: Message, body: bytes, received_at: datetime, addressee: PartyID | None = None) -> Change:
    """Understand a push: to everybody, or to one party.

    Raises InvalidParameters (2001) when the body's id or owner is not what the URL names (R-268), and where the hub as
    server of a broadcast must refuse: a PATCH without last_updated (R-258).
    """
    raise InvalidParameters("The mirror is not there yet.")


def object_fields(body: bytes) -> Mapping[str, bytes]:
    """Give an object's top-level members, each value as the bytes that stand there."""
    raise NotImplementedError
