"""What a page of a Sender list holds: each object as a Change for the mirror, or why it is left out."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from config.ocpi import PartyID
from config.operations import HOSTS
from parties.model import Platform
from routing.answers import is_json
from routing.objects import LEVELS_MAX, Change, ObjectKey, fold, is_deeper_than, is_id, read_time, token_key
from routing.pulling import Unreadable

LeftOut = Literal["no_id", "foreign_owner", "not_a_member", "too_large", "no_object"]
"""Why an object is not taken. foreign_owner: of no party that shares such objects from this platform (R-271).
not_a_member: the cdr_token of a session or CDR is of nobody here."""


class _Envelope(msgspec.Struct):
    data: list[msgspec.Raw] | None = None


class _Single(msgspec.Struct):
    data: msgspec.Raw


class _Object(msgspec.Struct):
    """What the hub looks at; the rest is skipped."""

    country_code: Any = None
    party_id: Any = None
    id: Any = None
    uid: Any = None
    type: Any = None
    last_updated: Any = None
    cdr_token: Any = None


_envelope = msgspec.json.Decoder(_Envelope)
_single = msgspec.json.Decoder(_Single)
_objects = msgspec.json.Decoder(list[msgspec.Raw])
_object = msgspec.json.Decoder(_Object)


@dataclass(frozen=True, slots=True)
class Pulled:
    """An object of a list, understood."""

    change: Change
    last_updated: datetime | None


def read_list(body: bytes) -> list[bytes]:
    """Give the objects of a page, each as the bytes that stand there. Raises Unreadable."""
    try:
        data = _envelope.decode(body).data
    except msgspec.ValidationError:
        raise Unreadable("its data is no list") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Unreadable("it is no valid JSON") from None
    if data is None:
        raise Unreadable("it has no data")
    return [bytes(raw) for raw in data]


def read_single(body: bytes) -> bytes:
    """Give the one object of an answer; some wrap it in a list (Location GET). Raises Unreadable."""
    try:
        data = bytes(_single.decode(body).data)
        if not data.startswith(b"["):
            return data
        listed = _objects.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise Unreadable("it is no valid JSON with data") from None
    if len(listed) != 1:
        raise Unreadable(f"its data is a list of {len(listed)}")
    return bytes(listed[0])


def read_pulled(
    body: bytes,
    module: str,
    platform: Platform,
    is_member: Callable[[PartyID], bool],
    received_at: datetime,
    max_bytes: int,
) -> Pulled | LeftOut:
    """Understand one object of a platform's Sender list.

    Locations, tariffs and tokens are for the network; a session or CDR is for the party of its cdr_token.
    """
    if len(body) > max_bytes:
        return "too_large"
    # What msgspec passes over it does not check to be UTF-8, nor numbers; and this is to be read by others.
    if not is_json(body) or is_deeper_than(LEVELS_MAX, body):
        return "no_object"
    try:
        given = _object.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "no_object"
    ident = given.uid if module == "tokens" else given.id
    if not is_id(ident):
        return "no_id"
    owner = _party(given.country_code, given.party_id)
    if owner is None or not _may_share(owner, module, platform):
        return "foreign_owner"
    object_key, query, addressee = ident.upper(), "", ""
    if module == "tokens":
        if is_id(given.type) and given.type.upper() != "RFID":
            query = f"type={quote(given.type, safe='')}"
        object_key = token_key(ident, query)
    elif module in ("sessions", "cdrs"):
        receiver = _read_cdr_token(given.cdr_token)
        if receiver is None or not is_member(receiver):
            return "not_a_member"
        addressee = fold(receiver)
    change = Change(
        ObjectKey(module, fold(owner), object_key, addressee),
        part=(),
        method="PUT",
        path=f"{owner.country_code}/{owner.party_id}/{quote(ident, safe='')}",
        query=query,
        body=body,
        platform_id=platform.id,
        version=platform.version or "2.2.1",
        keeps="object",
        received_at=received_at,
    )
    return Pulled(change, read_time(given.last_updated))


def read_last_updated(body: bytes) -> datetime | None:
    """Give an object's last_updated; None when it has none that can be read."""
    try:
        return read_time(_object.decode(body).last_updated)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _may_share(owner: PartyID, module: str, platform: Platform) -> bool:
    """Whether a party takes part on this platform in a role that shares these: it may have another on another one."""
    return any(
        role.party.key == owner.key and platform.takes_part(role) and (module, "SENDER") in HOSTS.get(role.role, ())
        for role in platform.roles
    )


def _party(country_code: object, party_id: object) -> PartyID | None:
    if not (isinstance(country_code, str) and isinstance(party_id, str)):
        return None
    try:
        return PartyID.parse(f"{country_code}-{party_id}")
    except ValueError:
        return None


def _read_cdr_token(value: object) -> PartyID | None:
    if not isinstance(value, dict):
        return None
    return _party(value.get("country_code"), value.get("party_id"))
