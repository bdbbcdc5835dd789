"""What the mirror takes in and gives out, and how it lies in the database's rows."""

from dataclasses import dataclass
from datetime import datetime
from zlib import crc32

import asyncpg

from routing.merge import compose
from routing.objects import Change, ObjectKey
from routing.stored import Stored


@dataclass(frozen=True, slots=True)
class BroadcastDraft:
    """A broadcast push as it came, beside its Change."""

    sender: str
    """The owner who sent it, in the letters received, like `nl-ABC`."""
    operation: str
    """The row's label, like `locations.patch_evse`."""
    path: str
    """Raw, below the module's Receiver interface."""
    query: str
    content_type: str | None
    correlation_id: str


@dataclass(frozen=True, slots=True)
class BroadcastRow:
    """An accepted broadcast: committed, and to be delivered."""

    id: int
    """Ascending in the order of commits: who sees one has seen, or can see, all before it."""
    accepted_at: datetime
    platform_id: int
    sender: str
    version: str
    module: str
    operation: str
    method: str
    path: str
    query: str
    content_type: str | None
    body: bytes
    correlation_id: str
    owner: str
    object_key: str
    previous: int | None
    """The broadcast before this one of the same top-level object."""
    is_complete: bool
    """Whether the mirror had the whole object afterwards."""

    @property
    def key(self) -> ObjectKey:
        """The top-level object that it is about."""
        return ObjectKey(self.module, self.owner, self.object_key)


@dataclass(frozen=True, slots=True)
class Current:
    """A network object as it is now."""

    key: ObjectKey
    path: str
    """Raw, below the module's Receiver interface, like `NL/ABC/LOC1`."""
    query: str
    """A token's type, as in its pushes: `type=APP_USER`."""
    body: bytes | None
    """None when the mirror has not the whole object."""
    broadcast: int | None
    """The last broadcast that changed it."""
    deleted: bool
    platform_id: int
    version: str


@dataclass(frozen=True, slots=True)
class Known:
    """That an object exists, and whose it is: what open routing asks."""

    key: ObjectKey
    evse_uids: frozenset[str]
    platform_id: int


def make_broadcast(
    number: int, change: Change, draft: BroadcastDraft, stored: Stored, *, is_complete: bool
) -> BroadcastRow:
    """Give an accepted broadcast's row; `stored` is its object before this broadcast is noted there."""
    return BroadcastRow(
        id=number,
        accepted_at=change.received_at,
        platform_id=change.platform_id,
        sender=draft.sender,
        version=change.version,
        module=change.key.module,
        operation=draft.operation,
        method=change.method,
        path=draft.path,
        query=draft.query,
        content_type=draft.content_type,
        body=change.body,
        correlation_id=draft.correlation_id,
        owner=change.key.owner,
        object_key=change.key.object_key,
        previous=stored.broadcast,
        is_complete=is_complete,
    )


def read_broadcast(row: asyncpg.Record) -> BroadcastRow:
    """Read a row of accepted broadcasts."""
    return BroadcastRow(**dict(row.items()))


def read_current(row: asyncpg.Record) -> Current:
    """Read a row of objects with their changed EVSEs."""
    return Current(
        read_key(row),
        row["path"],
        row["query"],
        None if row["body"] is None else read_body(row),
        row["broadcast"],
        row["deleted"],
        row["platform_id"],
        row["version"],
    )


def read_body(row: asyncpg.Record) -> bytes:
    """Read an object with its changed EVSEs in place of its own."""
    body: bytes = row["body"]
    return compose(body, dict(zip(row["part_keys"], row["part_bodies"], strict=True))) if row["part_keys"] else body


def read_known(row: asyncpg.Record) -> Known:
    """Read a row of what is known to exist."""
    return Known(read_key(row), frozenset(row["evse_uids"] or ()), row["platform_id"])


def read_key(row: asyncpg.Record) -> ObjectKey:
    """Read the key in a row."""
    return ObjectKey(row["module"], row["owner"], row["object_key"], row["addressee"])


def lock_number(key: ObjectKey) -> int:
    """Give the number of the lock that whoever changes an object holds; two objects may share one.

    Below zero, where no other lock is.
    """
    return ~crc32("\0".join(key).encode())


def columns(keys: list[ObjectKey]) -> tuple[list[str], list[str], list[str], list[str]]:
    """Give keys as one array per column."""
    return (
        [key.module for key in keys],
        [key.owner for key in keys],
        [key.object_key for key in keys],
        [key.addressee for key in keys],
    )
