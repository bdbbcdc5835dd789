"""One receiving platform's lane: which broadcast pushes wait for it, in which order, and what becomes of each.

Pushes of one top-level object to one party go one after the other, those of different objects side by side. More than
one waiting becomes one PUT of the mirror's object; more than the queue holds becomes a debt: the lane then goes through
what changed in the mirror since, object by object. Nothing here knows of HTTP or SQL.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, Protocol

from config.ocpi import PartyID
from hub.mirror import BroadcastRow
from routing.objects import ObjectKey

Outcome = Literal["delivered", "refused", "failed", "skipped", "collapsed"]
"""delivered: answered with success. refused: answered with an error. failed: not reached, not answered in time, or
answered as by a platform that takes nothing now (HTTP 401, 429, 502 to 504). skipped: not
sent, since the platform is offline or did not answer lately. collapsed: sent as part of a later state."""


class Addressee(Protocol):
    """A party as lanes know it."""

    @property
    def party(self) -> PartyID:
        """As it is registered."""

    @property
    def key(self) -> tuple[str, str]:
        """Its key."""


ChainKey = tuple[tuple[str, str], ObjectKey]
"""A receiving party and a top-level object: what is delivered in order."""


@dataclass(slots=True)
class Push:
    """A push as its owner sent it: one and the same in the lanes of all who get it."""

    row: BroadcastRow
    terms: object = None
    """The routing table by which it is offered: as long as that is in force, whoever is offered it may have it."""
    letter: Any = None
    """What whoever delivers it has written down, once for all."""
    first: int = field(init=False)
    """The broadcast that it keeps unfinished."""
    key: ObjectKey = field(init=False)
    """The object that it is about."""

    def __post_init__(self) -> None:
        self.first, self.key = self.row.id, self.row.key


@dataclass(slots=True)
class State:
    """The mirror's object in place of pushes that waited, or that a lost process may not have delivered."""

    first: int
    """The earliest broadcast that it stands for: unfinished until this is delivered."""
    last: int
    """The latest."""
    accepted_at: datetime
    """When the earliest was accepted."""
    correlation_id: str | None = None


Item = Push | State


@dataclass(slots=True)
class Chain:
    """What waits for one party about one object."""

    key: ChainKey
    addressee: Addressee
    sender: tuple[str, str]
    sender_platform: int
    waiting: list[Item] = field(default_factory=list)
    current: Item | None = None
    """Its delivery that is under way."""
    is_ready: bool = False
    """Whether it stands in the line of those that can go on."""

    @property
    def party(self) -> PartyID:
        """Who gets it."""
        return self.addressee.party


@dataclass(slots=True)
class Feed:
    """How far a process has read the broadcasts of all."""

    read: int
    """Every broadcast up to this one has been offered to the lanes."""
    offered: int
    """The last broadcast that was offered: beyond `read` are those that this process accepted itself."""


class Lane:
    """What waits for one platform."""

    __slots__ = (
        "_chains",
        "_covered",
        "_done",
        "_feed",
        "_in_flight",
        "_owed_since",
        "_queue",
        "counts",
        "debt",
        "is_closed",
        "is_in_line",
        "is_proven",
        "platform_id",
        "ready",
        "under_way",
        "waiting",
    )

    def __init__(self, platform_id: int, feed: Feed, *, done: int, queue: int, in_flight: int) -> None:
        """`done`: the last broadcast that whoever did this work before was done with."""
        self.platform_id = platform_id
        self._feed = feed
        self._done = done
        self._queue = queue
        self._in_flight = in_flight
        self._chains: dict[ChainKey, Chain] = {}
        self.ready: deque[Chain] = deque()
        """Those of which a delivery can begin, in turn."""
        self._covered: dict[ChainKey, int] = {}
        """The last broadcast contained in a state that was sent, for as long as earlier ones may still be offered."""
        self.waiting = 0
        self.under_way = 0
        self.debt: tuple[int, int] | None = (done, feed.offered) if done < feed.offered else None
        """Broadcasts (after, until] that are made up for with the mirror's state, since they were not queued."""
        self._owed_since: datetime | None = None
        """When the oldest of them was accepted, as far as this process knows."""
        self.is_closed = False
        """Whether it is given up: nothing starts, and what is offered waits, so that progress tells of it."""
        self.is_proven = False
        """Whether the platform answered last; else one request at a time finds that out."""
        self.is_in_line = False
        """Whether it stands in the line of the lanes in which something can start."""
        self.counts: dict[Outcome, int] = dict.fromkeys(("delivered", "refused", "failed", "skipped", "collapsed"), 0)

    # What is to be delivered

    def offer(self, push: Push, addressees: Sequence[Addressee], sender: tuple[str, str]) -> None:
        """Queue a push for these of the platform's parties; in debt, only remember that there is more of it."""
        row = push.row
        if not addressees or row.id <= self._done:
            return
        if self.debt is not None:
            self.debt = (self.debt[0], max(self.debt[1], row.id))
            self._owed_since = self._owed_since or row.accepted_at
            return
        for addressee in addressees:
            chain_key = (addressee.key, push.key)
            if not self._covered or row.id > self._covered.get(chain_key, 0):
                self._append(chain_key, addressee, sender, row.platform_id, push)
        if self.waiting > self._queue:
            self.go_into_debt()

    def offer_state(
        self,
        key: ObjectKey,
        state: State,
        addressees: Sequence[Addressee],
        sender: tuple[str, str],
        sender_platform: int,
    ) -> None:
        """Queue the mirror's object as it is."""
        for addressee in addressees:
            copy = State(state.first, state.last, state.accepted_at, state.correlation_id)
            self._append((addressee.key, key), addressee, sender, sender_platform, copy)

    def offer_anyway(self, row: BroadcastRow, addressees: Sequence[Addressee], sender: tuple[str, str]) -> None:
        """Queue a push that makes up for part of a debt, since the mirror's object does not contain it."""
        push = Push(row)
        for addressee in addressees:
            chain_key = (addressee.key, push.key)
            if row.id > self._feed.read:
                self._covered[chain_key] = row.id
            self._append(chain_key, addressee, sender, row.platform_id, push)

    def _append(
        self, chain_key: ChainKey, addressee: Addressee, sender: tuple[str, str], sender_platform: int, item: Item
    ) -> None:
        chain = self._chains.get(chain_key)
        if chain is None:
            chain = self._chains[chain_key] = Chain(chain_key, addressee, sender, sender_platform)
        chain.waiting.append(item)
        self.waiting += 1
        if len(chain.waiting) > 1 and all(map(_is_complete, chain.waiting)):
            self._collapse(chain)
        self._line_up(chain)

    def _line_up(self, chain: Chain) -> None:
        if chain.current is None and not chain.is_ready:
            chain.is_ready = True
            self.ready.append(chain)

    def _collapse(self, chain: Chain) -> None:
        """Let one PUT of the mirror's object stand for all that waits: the object is whole there, this included."""
        items = chain.waiting
        last = items[-1]
        latest = last.row.id if isinstance(last, Push) else last.last
        correlation_id = last.row.correlation_id if isinstance(last, Push) else last.correlation_id
        state = State(min(item.first for item in items), latest, min(map(_accepted_at, items)), correlation_id)
        self.waiting -= len(items) - 1
        self.counts["collapsed"] += len(items) - 1
        chain.waiting = [state]

    def go_into_debt(self) -> None:
        """Drop what waits, and make up for it with the mirror's state later."""
        debt, oldest_at = (self.progress, self._feed.offered), self.oldest_at
        for chain in self._chains.values():
            chain.waiting.clear()
            chain.is_ready = False
        self._chains = {key: chain for key, chain in self._chains.items() if chain.current is not None}
        self.ready.clear()
        self.waiting = 0
        self.debt = debt
        self._owed_since = oldest_at

    def forgive(self) -> None:
        """Make up for nothing: the platform gets what it missed by asking for it."""
        self.debt = self._owed_since = None
        self._done = self._feed.offered

    def pay(self, until: int) -> None:
        """Note that everything up to this broadcast is queued or made up for."""
        assert self.debt is not None
        self.debt = (until, self.debt[1]) if until < self.debt[1] else None
        if self.debt is None:
            self._owed_since = None

    # What is delivered

    @property
    def can_start(self) -> bool:
        """Whether a delivery waits and there is a place for it."""
        if not self.ready or self.is_closed:
            return False
        return self.under_way < (self._in_flight if self.is_proven else 1)

    @property
    def room(self) -> int:
        """How many more may be queued."""
        return max(0, self._queue - self.waiting)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.waiting or self.under_way or self.debt)

    def start(self) -> tuple[Chain, Item]:
        """Take the next delivery; `finish` ends it."""
        chain = self.ready.popleft()
        item = chain.current = chain.waiting.pop(0)
        chain.is_ready = False
        self.waiting -= 1
        self.under_way += 1
        return chain, item

    def cover(self, chain: Chain, broadcast: int) -> None:
        """Drop what is contained in a state that is being sent: what waits, and what is offered later."""
        if broadcast > self._feed.read:
            self._covered[chain.key] = broadcast
        while chain.waiting:
            item = chain.waiting[0]
            latest = item.row.id if isinstance(item, Push) else item.last
            if latest > broadcast:
                return
            chain.waiting.pop(0)
            self.waiting -= 1
            self.counts["collapsed"] += 1

    def finish(self, chain: Chain, outcome: Outcome) -> None:
        """Note what became of a delivery, and let the next of its object go."""
        self.counts[outcome] += 1
        if outcome in ("delivered", "refused"):
            self.is_proven = True
        elif outcome == "failed":
            self.is_proven = False
        self._end(chain)

    def put_back(self, chain: Chain, item: Item) -> None:
        """Let a delivery wait again: it could not be made ready, and nothing was sent."""
        chain.waiting.insert(0, item)
        self.waiting += 1
        self._end(chain)

    def _end(self, chain: Chain) -> None:
        chain.current = None
        self.under_way -= 1
        if chain.waiting:
            self._line_up(chain)
        else:
            self._chains.pop(chain.key, None)

    # How far it is

    @property
    def progress(self) -> int:
        """The last broadcast up to which nothing is left to do here."""
        limit = max(self._feed.read, self._done)
        for chain in self._chains.values():
            for item in (chain.current, *chain.waiting):
                if item is not None and item.first <= limit:
                    limit = item.first - 1
        return limit if self.debt is None else min(limit, self.debt[0])

    def tidy(self) -> None:
        """Forget which states contained what, where nothing earlier can come any more."""
        if not self._covered:
            return
        read = self._feed.read
        self._covered = {key: broadcast for key, broadcast in self._covered.items() if broadcast > read}

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest push that waits was accepted; in debt, the oldest that it stands for."""
        if not self.waiting:
            return self._owed_since
        waiting = [_accepted_at(item) for item in self._items()]
        return min([*waiting, self._owed_since] if self._owed_since else waiting, default=None)

    def _items(self) -> Iterable[Item]:
        for chain in self._chains.values():
            if chain.waiting:
                yield chain.waiting[0]


def _is_complete(item: Item) -> bool:
    """Whether the mirror's object contains it: not a change of something that the mirror does not have."""
    return isinstance(item, State) or item.row.is_complete


def _accepted_at(item: Item) -> datetime:
    return item.row.accepted_at if isinstance(item, Push) else item.accepted_at
