"""Client owned objects as the hub knows them: whose they are, how they are called, and what a push changes of them.

OCPI 2.2.1, Transport and format, Client Owned Object Push.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qsl, quote, unquote

import msgspec

from config.ocpi import InvalidParameters, PartyID
from config.operations import Mirrors, Operation
from routing.message import Message, WrongOwner

ID_MAX = 255
"""Characters of an id; OCPI has 36 or 39, and no URL of more than 255."""
LEVELS_MAX = 32
"""Levels of objects and arrays in what the mirror keeps: OCPI has eight, and many JSON parsers give up at 64."""
RESERVATIONS = "reservations"
"""What the mirror calls the reservations that a CPO took: they are nobody's object in OCPI."""
KEEP_RESERVATION = timedelta(days=1)
"""How long after its expiry_date a reservation can still be found, to be cancelled."""
KEEP_PROFILE = timedelta(days=30)
"""How long it is remembered who set a session's charging profile: longer than anybody charges."""
_FURTHEST = timedelta(days=366)


class ObjectKey(NamedTuple):
    """What identifies a top-level object: two spellings of one id are one key, as CiStrings compare (R-010)."""

    module: str
    owner: str
    """The owner folded, like `NL-ABC`."""
    object_key: str
    """The id folded; of a token its uid, a blank and its type (R-248)."""
    addressee: str = ""
    """The folded party that alone it is for (sessions, CDRs); empty for what is for the network."""


@dataclass(frozen=True, slots=True)
class Flow:
    """What is the same for all pushes that one party sends another, or everybody, with one operation."""

    operation: Operation
    version: str
    platform_id: int
    """Where they come from."""
    sender: PartyID
    addressee: PartyID | None
    """None when they are for the network."""
    owner_key: str = field(init=False)
    """The sender folded."""
    addressee_key: str = field(init=False)
    """The addressee folded; empty for the network."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "owner_key", fold(self.sender))
        object.__setattr__(self, "addressee_key", fold(self.addressee) if self.addressee else "")


class Push(NamedTuple):
    """One push as it came, put aside to be understood later."""

    flow: Flow
    path: str
    """Raw, below the module's Receiver interface."""
    query: str
    """Raw."""
    body: bytes
    received_at: datetime


class Change(NamedTuple):
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
    last_updated: datetime | None = None
    """The body's own, where it was read as a push and says one."""


class _Named(msgspec.Struct):
    """What of a pushed body says which object it is; of any type, since partners send anything."""

    id: Any = msgspec.UNSET
    uid: Any = msgspec.UNSET
    country_code: Any = msgspec.UNSET
    party_id: Any = msgspec.UNSET
    last_updated: Any = msgspec.UNSET
    type: Any = msgspec.UNSET
    reservation_id: Any = msgspec.UNSET
    expiry_date: Any = msgspec.UNSET


_NOTHING = _Named()
_read_named = msgspec.json.Decoder(_Named).decode
_read_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

_MARKS = bytes.maketrans(b"{}", b"[]")
_NO_MARKS = bytes(set(range(256)) - set(b'{}[]"'))
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"')

# What the body calls the id that ends the path: by module and by how many ids the path has below the owner.
_ID_FIELDS = {
    ("locations", 1): "id",
    ("locations", 2): "uid",
    ("locations", 3): "id",
    ("tariffs", 1): "id",
    ("sessions", 1): "id",
    ("tokens", 1): "uid",
}
_METHODS: Mapping[str, Literal["PUT", "PATCH", "DELETE"]] = {
    "PUT": "PUT",
    "POST": "PUT",
    "PATCH": "PATCH",
    "DELETE": "DELETE",
}


def fold(party: PartyID) -> str:
    """Give a party as a key, like `NL-ABC`."""
    return str(party).upper()


def unfold(folded: str) -> tuple[str, str]:
    """Give the key of a party that `fold` gave."""
    country_code, _, party_id = folded.partition("-")
    return (country_code, party_id)


def read_time(text: object) -> datetime | None:
    """Read an OCPI DateTime as members write it: without a zone it is UTC, and any number of decimals will do.

    None for what is no time. (R-014; python-ocpi sends microseconds and no zone.)
    """
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None


def is_id(value: object) -> bool:
    """Whether this can be an object's id: 1 to 255 printable characters, also folded."""
    if not isinstance(value, str) or not 0 < len(value) <= ID_MAX or not value.isprintable():
        return False
    return value.isascii() or len(value.upper()) <= ID_MAX


def is_deeper_than(levels: int, body: bytes) -> bool:
    """Whether objects and arrays are nested in more levels than this in valid JSON; 20 µs for 20 kB."""
    if body.count(b"{") + body.count(b"[") <= levels:
        return False
    if b"\\" in body:
        body = _STRINGS.sub(b"", body)
    marks = body.translate(_MARKS, _NO_MARKS).replace(b'""', b"")  # most strings have no marks in them
    marks = _STRINGS.sub(b"", marks)
    for _ in range(levels):
        marks = marks.replace(b"[]", b"")
    return bool(marks)


def read_id(segment: str) -> str:
    """Give the id that a raw segment of a URL stands for. Raises InvalidParameters where it cannot be one."""
    try:
        text = unquote(segment, errors="strict") if "%" in segment else segment
    except UnicodeDecodeError as exc:
        raise InvalidParameters("An id in the URL is not UTF-8.") from exc
    return _check_id(text, "An id in the URL")


def read_change(message: Message, body: bytes, received_at: datetime, addressee: PartyID | None = None) -> Change:
    """Understand a push: to everybody, or to one party. Raises what `read_push` does."""
    return read_push(make_push(message, body, received_at, addressee))


def make_push(message: Message, body: bytes, received_at: datetime, addressee: PartyID | None = None) -> Push:
    """Give a push as it came."""
    target = message.target
    flow = Flow(message.operation, target.version, message.platform.id, message.sender, addressee)
    return Push(flow, target.path, target.query, body, received_at)


def read_push(push: Push) -> Change:
    """Understand a push.

    Raises InvalidParameters (2001) when the body's id or owner is not what the URL names (R-268), or the owner is not
    the sender, and where the hub as server of a broadcast must refuse: a PATCH without last_updated (R-258).
    """
    flow, path, query, body, received_at = push
    operation = flow.operation
    module, method = operation.module, operation.method
    if operation.mirrors == "reservation":
        return _read_reservation(push)
    segments = path.split("/")
    if "" in segments:
        segments = [segment for segment in segments if segment]
        path = "/".join(segments)
    if operation.mirrors == "profile":
        key = ObjectKey(module, flow.addressee_key or flow.owner_key, read_id(segments[0]).upper(), flow.owner_key)
        return _change(push, key, segments[0], expires_at=received_at + KEEP_PROFILE)
    if not operation.owner_in_path:
        return _read_posted(push)
    country_code, party_id, *ids = segments
    if f"{country_code}-{party_id}".upper() != flow.owner_key:  # or it is written otherwise
        country_code, party_id = read_id(country_code), read_id(party_id)
        _check_owner(country_code, party_id, flow)
    names = [read_id(each) for each in ids]
    is_broadcast = flow.addressee is None
    if method == "DELETE":
        named, moment = _NOTHING, None
    else:
        named = _read_body(body)
        _check_named(named, module, method, (country_code, party_id), names, is_strict=is_broadcast)
        moment = read_time(named.last_updated)
    object_key, *part = [name.upper() for name in names]
    if module == "tokens":
        object_key = token_key(object_key, query)
        # the type is part of what a token is called by, like the uid.
        if named.type is not msgspec.UNSET and f"{names[0]} {_text(named.type, 'type')}".upper() != object_key:
            raise InvalidParameters(
                "The body's type is not the one in the URL, where it is RFID unless ?type= says it."
            )
    else:
        query = ""
    return Change(
        ObjectKey(module, flow.owner_key, object_key, flow.addressee_key if operation.mirrors == "object" else ""),
        tuple(part),
        _METHODS[method],
        "/".join(segments[:3]) if part else path,
        query,
        body,
        flow.platform_id,
        flow.version,
        "object" if is_broadcast else operation.mirrors,
        received_at,
        None,
        moment,
    )


def token_key(uid: str, query: str) -> str:
    """Give a token's key: its uid and its type, which is RFID where the query names none (R-248)."""
    kind = next((value for name, value in parse_qsl(query) if name == "type"), "RFID")
    return f"{uid} {_check_id(kind, 'The type in the URL')}".upper()


def object_fields(body: bytes) -> Mapping[str, bytes]:
    """Give an object's top-level members, each value as the bytes that stand there.

    Raises InvalidParameters when it is no JSON object.
    """
    try:
        return {name: bytes(value) for name, value in _read_fields(body).items()}
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidParameters("The body must be a JSON object.") from exc


def _change(push: Push, key: ObjectKey, path: str, *, body: bytes = b"", expires_at: datetime | None = None) -> Change:
    flow = push.flow
    return Change(
        key=key,
        part=(),
        method=_METHODS[flow.operation.method],
        path=path,
        query="",
        body=body,
        platform_id=flow.platform_id,
        version=flow.version,
        keeps=flow.operation.mirrors,
        received_at=push.received_at,
        expires_at=expires_at,
    )


def _read_posted(push: Push) -> Change:
    """Understand a CDR, whose owner and id are in the body only."""
    named = _read_body(push.body)
    texts = [_text(getattr(named, name), name) for name in ("country_code", "party_id", "id")]
    flow = push.flow
    _check_owner(texts[0], texts[1], flow)
    key = ObjectKey(flow.operation.module, flow.owner_key, texts[2].upper(), flow.addressee_key)
    return _change(push, key, "/".join(quote(text, safe="") for text in texts), body=push.body)


def _read_reservation(push: Push) -> Change:
    named, flow, received_at = _read_body(push.body), push.flow, push.received_at
    name = _text(named.reservation_id, "reservation_id")
    expires_at = min(read_time(named.expiry_date) or received_at, received_at + _FURTHEST) + KEEP_RESERVATION
    key = ObjectKey(RESERVATIONS, flow.addressee_key or flow.owner_key, name.upper(), flow.owner_key)
    return _change(push, key, quote(name, safe=""), expires_at=expires_at)


def _check_owner(country_code: str, party_id: str, flow: Flow) -> None:
    """Make sure that everybody shares what is theirs: a CDR has its owner in the body only (R-268).

    A platform that may name others in its URLs (`foreign_owner`) still shares as itself only.
    """
    owner = PartyID(country_code, party_id)
    if fold(owner) != flow.owner_key:
        raise WrongOwner(f"{owner} is named as owner, but the sender is {flow.sender}.")


def _read_body(body: bytes) -> _Named:
    try:
        named, is_too_deep = _read_named(body), is_deeper_than(LEVELS_MAX, body)
    except msgspec.DecodeError as exc:
        raise InvalidParameters("The body must be a JSON object.") from exc
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        raise InvalidParameters(f"The body has more than {LEVELS_MAX} levels of objects and arrays.")
    return named


def _check_named(
    named: _Named, module: str, method: str, owner: tuple[str, str], names: list[str], *, is_strict: bool
) -> None:
    """Make sure that a body is about what the URL names (R-268); strictly, that it says so."""
    id_field, name = _ID_FIELDS[module, len(names)], names[-1]
    if len(names) > 1:  # EVSEs and connectors name no owner
        expected = [(id_field, name)]
    elif (getattr(named, id_field), named.country_code, named.party_id) == (name, *owner):
        expected = []  # letter for letter
    else:
        expected = [(id_field, name), ("country_code", owner[0]), ("party_id", owner[1])]
    for field_name, wanted in expected:
        given = getattr(named, field_name)
        if given is msgspec.UNSET and (method == "PATCH" or not is_strict):
            continue
        if _text(given, field_name).upper() != wanted.upper():
            raise InvalidParameters(f"The body's {field_name} is not the one in the URL, {wanted}.")
    if is_strict and method == "PATCH" and not isinstance(named.last_updated, str):
        raise InvalidParameters("The body's last_updated is missing.")


def _text(value: object, field: str) -> str:
    if value is msgspec.UNSET:
        raise InvalidParameters(f"The body's {field} is missing.")
    if not isinstance(value, str):
        raise InvalidParameters(f"The body's {field} must be a string.")
    return _check_id(value, f"The body's {field}")


def _check_id(text: str, what: str) -> str:
    if not is_id(text):
        raise InvalidParameters(f"{what} must have 1 to {ID_MAX} printable characters.")
    return text
