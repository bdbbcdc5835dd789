"""Merging JSON objects by their bytes: what is not changed stays as its owner wrote it.

Number literals such as `4.00`, unknown fields and the order of keys survive, since every value is moved as the bytes
that it came in. OCPI 2.2.1, Client Owned Object Push, PATCH: a field that is there replaces the whole value.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, Literal

import msgspec
from msgspec import Raw

from routing.objects import is_id, read_time

Members = dict[str, Raw]


class Refused(Enum):
    """Why an object stays as it is."""

    MISSING = "there is nothing that could be changed"
    OLDER = "what is here has a later last_updated"


class _Dated(msgspec.Struct):
    """What of an EVSE or connector says which one it is, and how new."""

    uid: Any = None
    id: Any = None
    last_updated: Any = None


class _Location(msgspec.Struct):
    last_updated: Any = None
    publish: Any = None
    evses: Raw = Raw(b"null")


_read_members = msgspec.json.Decoder(Members).decode
_read_items = msgspec.json.Decoder(list[Raw]).decode
_read_dated = msgspec.json.Decoder(_Dated).decode
_read_all_dated = msgspec.json.Decoder(list[_Dated]).decode
_read_location = msgspec.json.Decoder(_Location).decode
_read_any = msgspec.json.Decoder().decode
_write = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Outline:
    """What the mirror wants to know of an object's body."""

    last_updated: datetime | None
    """Of a location the latest among it and its EVSEs: some owners do not raise the location's (R-273)."""
    evse_uids: frozenset[str] = frozenset()
    """Folded."""
    publish: bool = True
    """False for a private location (R-274)."""


def outline(module: str, body: bytes) -> Outline:
    """Read what the mirror wants to know of an object; what cannot be understood counts as absent."""
    if module != "locations":
        return Outline(last_updated_of(body))
    try:
        location = _read_location(body)
    except (msgspec.DecodeError, RecursionError):
        return Outline(None)
    try:
        evses = _read_all_dated(location.evses)
    except (msgspec.DecodeError, RecursionError):
        evses = []
    latest = read_time(location.last_updated)
    for evse in evses:
        latest = later(latest, read_time(evse.last_updated))
    uids = frozenset(evse.uid.upper() for evse in evses if is_id(evse.uid))
    return Outline(latest, uids, location.publish is not False)


def last_updated_of(body: bytes | Raw) -> datetime | None:
    """Read an object's own last_updated; None when it cannot be read."""
    return read_time(_dated(body).last_updated)


def later(one: datetime | None, other: datetime | None) -> datetime | None:
    """Give the later of two times, as far as there are any."""
    if one is None or other is None:
        return one or other
    return max(one, other)


def is_older(delivered: datetime | None, stored: datetime | None) -> bool:
    """Whether what comes was overtaken by what is here; what has no time is taken as it comes."""
    return delivered is not None and stored is not None and delivered < stored


def patch(body: bytes, delivered: bytes) -> bytes:
    """Give an object with the delivered members in place of its own; null is a value like any other."""
    members = _read_members(body)
    members.update(_read_members(delivered))
    return _write(members)


def patch_session(body: bytes, delivered: bytes) -> bytes:
    """Give a session with the delivered members, whose charging_periods are *added* (R-277).

    Absent, empty or null, they change nothing. A period that begins like one that is there takes its place, so that a
    repeated PATCH repeats no period (T-098).
    """
    members, changes = _read_members(body), _read_members(delivered)
    if "charging_periods" in changes:
        periods = _items(members.get("charging_periods"))
        added = _items(changes.pop("charging_periods"))
        begun = {start: index for index, period in enumerate(periods) if (start := _start_of(period)) is not None}
        for period in added:
            start = _start_of(period)
            if start is not None and start in begun:
                periods[begun[start]] = period
                continue
            if start is not None:
                begun[start] = len(periods)
            periods.append(period)
        if added:
            members["charging_periods"] = Raw(_write(periods))
    members.update(changes)
    return _write(members)


def find_evse(location: bytes, uid: str) -> bytes | None:
    """Give one EVSE of a location by its folded uid."""
    evses, at = _evses(_read_members(location))
    return bytes(evses[at[uid]]) if uid in at else None


def find_part(location: bytes, part: tuple[str, ...]) -> bytes | None:
    """Give a location, or the EVSE or connector of it that these folded ids name."""
    found: bytes | None = location
    if part:
        found = find_evse(location, part[0])
    if found is not None and len(part) > 1:
        connectors = _items(_read_members(found).get("connectors"))
        found = next((bytes(each) for each in connectors if _name_of(_dated(each).id) == part[1]), None)
    return found


def change_evse(
    evse: bytes | None, part: tuple[str, ...], method: Literal["PUT", "PATCH"], delivered: bytes
) -> bytes | Refused:
    """Give an EVSE after a push to it, or to one of its connectors when `part` names one.

    A connector's last_updated raises the EVSE's (R-273).
    """
    if len(part) > 1:
        return Refused.MISSING if evse is None else _change_connector(evse, part[1], method, delivered)
    if evse is None:
        return delivered if method == "PUT" else Refused.MISSING
    if is_older(last_updated_of(delivered), last_updated_of(evse)):
        return Refused.OLDER
    return delivered if method == "PUT" else patch(evse, delivered)


def _change_connector(evse: bytes, name: str, method: Literal["PUT", "PATCH"], delivered: bytes) -> bytes | Refused:
    members = _read_members(evse)
    connectors = _items(members.get("connectors"))
    at = next((i for i, each in enumerate(connectors) if _name_of(_dated(each).id) == name), None)
    if at is None:
        if method == "PATCH":
            return Refused.MISSING
        connectors.append(Raw(delivered))
    elif is_older(last_updated_of(delivered), last_updated_of(connectors[at])):
        return Refused.OLDER
    else:
        connectors[at] = Raw(delivered if method == "PUT" else patch(bytes(connectors[at]), delivered))
    members["connectors"] = Raw(_write(connectors))
    _raise_last_updated(members, _read_members(delivered).get("last_updated"))
    return _write(members)


def compose(location: bytes, parts: Mapping[str, bytes]) -> bytes:
    """Give a location with changed EVSEs, by their folded uids, in place of its own; new ones come last.

    Its last_updated is raised to theirs, in the owner's own letters (R-273, T-096).
    """
    if not parts:
        return location
    members = _read_members(location)
    evses, at = _evses(members)
    latest, newest = None, b""
    for uid, part in parts.items():
        if uid in at:
            evses[at[uid]] = Raw(part)
        else:
            evses.append(Raw(part))
        moment = last_updated_of(part)
        if moment is not None and (latest is None or moment > latest):
            latest, newest = moment, part
    if latest is not None:
        _raise_last_updated(members, _read_members(newest)["last_updated"])
    members["evses"] = Raw(_write(evses))
    return _write(members)


def _evses(members: Members) -> tuple[list[Raw], dict[str, int]]:
    """Give a location's EVSEs, and where each is by its folded uid."""
    value = members.get("evses")
    evses = _items(value)
    try:
        dated = _read_all_dated(value) if value is not None and evses else []
    except (msgspec.DecodeError, RecursionError):  # something among them is no EVSE
        dated = [_dated(evse) for evse in evses]
    return evses, {each.uid.upper(): i for i, each in enumerate(dated) if isinstance(each.uid, str)}


def _raise_last_updated(members: Members, delivered: Raw | None) -> None:
    moment = _time_in(delivered)
    if moment is None:
        return
    assert delivered is not None
    own = _time_in(members.get("last_updated"))
    if own is None or own < moment:
        members["last_updated"] = delivered


def _time_in(value: Raw | None) -> datetime | None:
    return None if value is None else read_time(_value_of(value))


def _value_of(value: Raw) -> Any:
    """Give what stands there; None also for what is no value, like a number of 400 digits."""
    try:
        return _read_any(value)
    except (msgspec.DecodeError, RecursionError):
        return None


def _dated(body: bytes | Raw) -> _Dated:
    try:
        return _read_dated(body)
    except (msgspec.DecodeError, RecursionError):
        return _Dated()


def _items(value: Raw | None) -> list[Raw]:
    """Give an array's values; what is no array has none."""
    try:
        return _read_items(value) if value is not None else []
    except (msgspec.DecodeError, RecursionError):
        return []


def _name_of(value: object) -> str | None:
    return value.upper() if isinstance(value, str) else None


def _start_of(period: Raw) -> datetime | str | None:
    try:
        text = _read_members(period).get("start_date_time")
    except (msgspec.DecodeError, RecursionError):
        return None
    if text is None:
        return None
    value = _value_of(text)
    return read_time(value) or (value if isinstance(value, str) else None)
