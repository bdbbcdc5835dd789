"""Taking in what owners share, and telling what is known of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from config.settings import Settings
from hub.database import Database
from routing.objects import Change, ObjectKey


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


class Mirror:
    """The hub's copy of client owned objects."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self.on_missing: Callable[[Change], None] = lambda change: None
        """Told of a PATCH whose object is not here, so that it can be fetched once."""

    def keeps(self, module: str) -> bool:
        """Whether the mirror keeps this module at all (`retention`)."""
        return self._settings.retention.get(module) != 0

    async def take_broadcast(self, change: Change, draft: BroadcastDraft) -> BroadcastRow:
        """Store a broadcast and what it changes in one transaction. Raises DatabaseAway."""
        raise NotImplementedError

    def take_addressed(self, change: Change) -> None:
        """Take in what one party sent another, a little later; never waits, never raises."""

    async def take_pulled(self, changes: Sequence[Change]) -> int:
        """Store objects that were read from a Sender list; give how many were news. Raises DatabaseAway."""
        raise NotImplementedError

    async def settled(self) -> None:
        """Wait until everything taken in so far is stored. Raises DatabaseAway."""

    async def current(self, key: ObjectKey) -> Current | None:
        """Give a network object as it is now; None when nothing was ever known of it. Raises DatabaseAway."""
        raise NotImplementedError

    async def changed_since(self, after: int, limit: int) -> list[Current]:
        """Give network objects whose last broadcast comes after this one, in that order. Raises DatabaseAway."""
        raise NotImplementedError

    async def broadcasts_after(self, after: int, limit: int, known: Sequence[int]) -> list[BroadcastRow]:
        """Give accepted broadcasts after this one, in order, but for those known already. Raises DatabaseAway."""
        return []

    async def last_broadcast(self) -> int:
        """Give the id of the last accepted broadcast, 0 before the first. Raises DatabaseAway."""
        return 0

    async def known(self, module: str, object_key: str) -> list[Known]:
        """Give every object of this id: one per owner (and addressee). Raises DatabaseAway."""
        raise NotImplementedError

    async def run(self) -> None:
        """Store what was taken in write-behind, and forget what is past its retention, until cancelled."""

    async def close(self) -> None:
        """Store what is still waiting."""
