"""How objects are found: by owner, id and time, and EVSEs and connectors in their Location."""

from collections.abc import Sequence
from datetime import UTC, datetime

from config.ocpi import PartyID
from hub.simulator.objects import Object
from hub.simulator.requests import Request

CHILDREN = (("evses", "uid"), ("connectors", "id"))
"""Where the children of a Location are, level by level, and how they are called."""

CopyKey = tuple[str, ...]
"""Country code, party id and object id in upper case; of a Token also its type, of a ClientInfo its role as the id."""


def read_key(request: Request) -> tuple[CopyKey, tuple[str, ...]]:
    """Give the key of a copy, and the EVSE and connector in it."""
    key = tuple(id.upper() for id in request.ids[:3])
    if request.module == "tokens":
        key = (*key, request.query.get("type", "RFID"))
    return key, request.ids[3:]


def read_time(text: object) -> datetime | None:
    """Give the time that a text tells; None when it is no text. Raises ValueError when it tells none."""
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def is_between(last_updated: object, begin: datetime | None, end: datetime | None) -> bool:
    """Whether a filter lets this through: date_from inclusive, date_to exclusive (R-174)."""
    try:
        moment = read_time(last_updated)
    except ValueError:
        return True
    return moment is None or ((begin is None or moment >= begin) and (end is None or moment < end))


def is_same_id(one: object, other: str) -> bool:
    """Whether these are the same id: in OCPI their case says nothing."""
    return isinstance(one, str) and one.upper() == other.upper()


def is_owned_by(owned: Object, owner: PartyID) -> bool:
    """Whether the object names this party as its owner."""
    return is_same_id(owned.get("country_code"), owner.country_code) and is_same_id(
        owned.get("party_id"), owner.party_id
    )


def descend(found: Object | None, below: Sequence[str]) -> Object | None:
    """Give the EVSE or connector with these ids in a Location, or the object itself where there are none."""
    for (children_field, id_field), wanted in zip(CHILDREN, below, strict=False):
        if found is None:
            return None
        children = found.get(children_field) or ()
        found = next((child for child in children if is_same_id(child.get(id_field), wanted)), None)
    return found
