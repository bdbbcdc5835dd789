"""What a push does to an object as the mirror has it: decided here, read and written by the hub.

OCPI 2.2.1, Client Owned Object Push; a later last_updated is never overwritten by an earlier one.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from routing.merge import (
    Refused,
    change_evse,
    compose,
    find_evse,
    is_older,
    last_updated_of,
    later,
    outline,
    patch,
    patch_session,
)
from routing.objects import Change, ObjectKey, object_fields

_FUTURE = timedelta(days=1)
_SEEN_AGAIN = timedelta(days=1)
_PUT_AGAIN = frozenset({"sessions"})
"""Modules whose objects are put whole again and again, and consist of nothing but their bodies."""


class Taken(Enum):
    """What has become of a change."""

    NEWS = "the object is changed"
    SAME = "all of it was known"
    OLDER = "what is here has a later last_updated"
    MISSING = "there is nothing here that it could change"
    INDEXED = "it is noted that the object exists"
    TOO_LARGE = "the object would become larger than the mirror keeps it, so it stays as it is"


@dataclass(slots=True)
class Stored:
    """One object while a batch of changes is worked into it."""

    key: ObjectKey
    exists: bool = False
    is_listed: bool = False
    """Whether GET all shows it."""
    has_body: bool = False
    body: bytes | None = None
    """None also where it was not read, because no change of the batch needs it."""
    parts: dict[str, bytes] = field(default_factory=dict)
    """EVSEs changed since the location was put, as far as read, by folded uid."""
    body_bytes: int = 0
    part_bytes: int = 0
    """How large all of its parts are together, also those that were not read."""
    evse_uids: frozenset[str] = frozenset()
    noted_uids: frozenset[str] = frozenset()
    """The uids before these changes."""
    platform_id: int = 0
    version: str = ""
    path: str = ""
    query: str = ""
    last_updated: datetime | None = None
    received_at: datetime | None = None
    broadcast: int | None = None
    deleted: bool = False
    expires_at: datetime | None = None

    is_touched: bool = False
    """Something but for the body is to be written."""
    has_new_body: bool = False
    drops_parts: bool = False
    changed_parts: set[str] = field(default_factory=set)


def needs_body(change: Change, *, is_pulled: bool) -> bool:
    """Whether the body must be read for this change, even if the EVSE that it is about is stored by itself."""
    if change.keeps != "object" or change.part:
        return False
    return change.method == "PATCH" or is_pulled


def as_index(change: Change) -> Change:
    """Give a change that is only to leave an index entry without all that the entry has not."""
    body = b""
    if change.key.module == "locations" and not change.part and change.method != "DELETE":
        uids = outline("locations", change.body).evse_uids
        body = msgspec.json.encode({"evses": [{"uid": uid} for uid in sorted(uids)]})
    return change._replace(body=body)


def is_put_again(change: Change, max_bytes: int = sys.maxsize) -> bool:
    """Whether this push of one party to another most often replaces an object that is here, and needs no look at more
    than its last_updated: what a session is pushed as while it goes on.
    """
    return (
        change.method == "PUT"
        and change.keeps == "object"
        and change.key.module in _PUT_AGAIN
        and change.last_updated is not None
        and change.last_updated <= change.received_at + _FUTURE
        and len(change.body) <= max_bytes
    )


def last_puts(changes: Sequence[Change], max_bytes: int = sys.maxsize) -> tuple[dict[ObjectKey, Change], list[Change]]:
    """Give what these come to, in their order, for objects that they only put again, and the changes of all others.

    Of several that put one object, the last one counts that none before was newer than, whatever is stored.
    """
    last: dict[ObjectKey, Change] = {}
    others: set[ObjectKey] = set()
    for change in changes:
        key = change.key
        if not is_put_again(change, max_bytes):
            others.add(key)
        elif key not in last or not is_older(change.last_updated, last[key].last_updated):
            last[key] = change
    if not others:
        return last, []
    for key in others:
        last.pop(key, None)
    return last, [change for change in changes if change.key in others]


def take(stored: Stored, change: Change, *, is_pulled: bool = False, max_bytes: int = sys.maxsize) -> Taken:
    """Work a change into an object, unless that would become larger than this with its parts."""
    if change.keeps != "object":
        return _index(stored, change, max_bytes)
    if change.method == "DELETE":
        return _delete(stored, change)
    if change.part:
        return _take_part(stored, change, max_bytes)
    if change.method == "PUT":
        return _put(stored, change, max_bytes, is_pulled=is_pulled)
    return _patch(stored, change, max_bytes)


def _put(stored: Stored, change: Change, max_bytes: int, *, is_pulled: bool) -> Taken:
    if len(change.body) > max_bytes:
        return Taken.TOO_LARGE
    found = outline(change.key.module, change.body)
    moment = _comparable(found.last_updated, change)
    # Who deletes an object and puts it again means it, whatever the time in it; a page may be from before.
    if is_older(moment, stored.last_updated) and (is_pulled or not stored.deleted):
        return Taken.OLDER
    if is_pulled and moment is not None and moment == stored.last_updated:
        if stored.deleted:
            return Taken.OLDER  # a page that was made before the owner deleted it
        if stored.body is not None and compose(stored.body, stored.parts) == change.body:
            if stored.platform_id != change.platform_id:  # its owner has moved, and what the old platform left goes
                stored.platform_id, stored.is_touched = change.platform_id, True
            return Taken.SAME
    if is_pulled and not found.publish:  # that it exists is all that others may be told
        is_known = stored.exists and not stored.has_body and found.evse_uids <= stored.evse_uids
        if is_known and stored.platform_id == change.platform_id:
            return Taken.SAME
        _drop_body(stored)
        stored.last_updated = None
        _note(stored, change, found.evse_uids)
        return Taken.INDEXED
    _note(stored, change, frozenset())
    stored.evse_uids = found.evse_uids
    stored.last_updated = moment
    stored.has_body = stored.is_listed = True
    stored.deleted = False
    _set_body(stored, change.body, drops_parts=True)
    return Taken.NEWS


def _patch(stored: Stored, change: Change, max_bytes: int) -> Taken:
    if stored.body is None:
        _note(stored, change, frozenset())
        return Taken.MISSING
    found = outline(change.key.module, change.body)
    moment = _comparable(found.last_updated, change)
    is_location = change.key.module == "locations"
    replaces_evses = is_location and "evses" in object_fields(change.body)
    # An EVSE may have news that a location's own fields were not told of: it does not make these old.
    known = stored.last_updated
    if is_location and not replaces_evses:
        known = _comparable(last_updated_of(stored.body), change)
    if is_older(moment, known):
        return Taken.OLDER
    merge = patch_session if change.key.module == "sessions" else patch
    body = merge(stored.body, change.body)
    if len(body) + (0 if replaces_evses else stored.part_bytes) > max_bytes:
        return Taken.TOO_LARGE
    if replaces_evses:
        stored.evse_uids = found.evse_uids
    _note(stored, change, frozenset())
    stored.last_updated = later(stored.last_updated, moment)
    _set_body(stored, body, drops_parts=replaces_evses)
    return Taken.NEWS


def _take_part(stored: Stored, change: Change, max_bytes: int) -> Taken:
    uid = change.part[0]
    if _has_too_many(stored, frozenset((uid,)), max_bytes):
        return Taken.TOO_LARGE
    if not stored.has_body or stored.deleted:
        _note(stored, change, frozenset((uid,)))
        return Taken.MISSING
    evse = stored.parts.get(uid)
    others = stored.part_bytes - (0 if evse is None else len(evse))
    if evse is None and stored.body is not None:
        evse = find_evse(stored.body, uid)
    assert change.method != "DELETE"
    changed = change_evse(evse, change.part, change.method, change.body)
    if isinstance(changed, Refused):
        return Taken.OLDER if changed is Refused.OLDER else Taken.MISSING
    if stored.body_bytes + others + len(changed) > max_bytes:
        return Taken.TOO_LARGE
    stored.parts[uid] = changed
    stored.part_bytes = others + len(changed)
    stored.changed_parts.add(uid)
    _note(stored, change, frozenset((uid,)))
    moment = _comparable(outline("", change.body).last_updated, change)
    stored.last_updated = later(stored.last_updated, moment)
    return Taken.NEWS


def _delete(stored: Stored, change: Change) -> Taken:
    was_known = stored.exists and not stored.deleted
    _note(stored, change, frozenset())
    _drop_body(stored)
    stored.evse_uids = frozenset()
    stored.deleted = True
    return Taken.NEWS if was_known else Taken.SAME


def _index(stored: Stored, change: Change, max_bytes: int) -> Taken:
    """Note that an object exists; one that is in the network already stays as it is, but for EVSEs not known yet."""
    if change.method == "DELETE" or stored.deleted:
        return Taken.SAME
    uids = frozenset(change.part[:1])
    if not uids and change.key.module == "locations":
        uids = outline("locations", change.body).evse_uids
    if stored.exists and uids <= stored.evse_uids and change.keeps == "index":
        seen = stored.received_at
        if stored.has_body or (seen is not None and change.received_at - seen < _SEEN_AGAIN):
            return Taken.SAME
    if _has_too_many(stored, uids, max_bytes):
        return Taken.TOO_LARGE
    if stored.has_body:
        _add_uids(stored, uids)
        stored.is_touched = True
    else:
        _note(stored, change, uids)
    return Taken.INDEXED


def _has_too_many(stored: Stored, uids: frozenset[str], max_bytes: int) -> bool:
    """Whether the uids alone would be more than an object may have, when these are added."""
    return not uids <= stored.evse_uids and sum(map(len, stored.evse_uids | uids)) > max_bytes


def _add_uids(stored: Stored, uids: frozenset[str]) -> None:
    if not uids <= stored.evse_uids:  # the union of thousands takes its time
        stored.evse_uids |= uids


def _note(stored: Stored, change: Change, uids: frozenset[str]) -> None:
    _add_uids(stored, uids)
    stored.platform_id, stored.version = change.platform_id, change.version
    stored.path, stored.query = change.path, change.query
    stored.received_at, stored.expires_at = change.received_at, change.expires_at
    stored.is_touched = True


def _set_body(stored: Stored, body: bytes | None, *, drops_parts: bool) -> None:
    stored.body = body
    stored.body_bytes = len(body or b"")
    stored.has_new_body = True
    if drops_parts:
        stored.parts.clear()
        stored.changed_parts.clear()
        stored.part_bytes = 0
        stored.drops_parts = True


def _drop_body(stored: Stored) -> None:
    if stored.has_body:
        _set_body(stored, None, drops_parts=True)
    stored.has_body = stored.is_listed = False


def _comparable(moment: datetime | None, change: Change) -> datetime | None:
    """Give a time that others may be compared with: one far in the future would keep out all that comes after it."""
    if moment is not None and moment > change.received_at + _FUTURE:
        return None
    return moment
