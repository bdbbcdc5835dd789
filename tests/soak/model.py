"""The owners' objects as they are at this moment: the truth that every copy is compared with. No HTTP, no hub.

Merging is written here once more, from OCPI 2.2.1, Client Owned Object Push: who shares the hub's code would share its
mistakes.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from urllib.parse import quote

from config.ocpi import format_time
from hub.simulator.objects import Object

Method = Literal["PUT", "PATCH", "DELETE"]
Key = tuple[str, ...]
"""Module, country code, party id and object id in upper case; of a token also its type."""

_CHILDREN = (("evses", "uid"), ("connectors", "id"))


@dataclass(frozen=True)
class Change:
    """One push, as its owner sends it."""

    method: Method
    path: str
    """Below the module's Receiver interface."""
    query: str
    body: Object | None
    at: str
    """The object's last_updated from now on; of a DELETE the time at which that was decided."""


@dataclass
class Owned:
    """One top-level object and all that its owner did to it."""

    module: str
    owner: str
    """Like `NL-C01`."""
    id: str
    body: Object | None = None
    """None: not there yet, or deleted."""
    changes: int = 0
    at: str = ""
    """When the last change was."""
    sent: dict[str, float] = field(default_factory=dict)
    """By last_updated: when that change was sent, in the event loop's time."""
    deletions: list[str] = field(default_factory=list)
    is_acknowledged: bool = True
    """Whether the hub has acknowledged the last change; else its owner sends the object whole, once more."""
    is_busy: bool = False
    """Whether a push of it is under way: an owner sends the changes of one object one after the other."""
    type: str = ""
    """Of a token."""

    def __post_init__(self) -> None:
        if self.body is not None:
            self.at = self.body["last_updated"]

    @property
    def key(self) -> Key:
        """How copies of it are found."""
        country, _, party = self.owner.partition("-")
        key = (self.module, country, party, self.id.upper())
        return (*key, self.type) if self.type else key

    def put(self, body: Object) -> Change:
        """Replace it."""
        self.body = body | {"last_updated": self._tick()}
        return self._change("PUT", (), self.body)

    def put_child(self, below: Sequence[str], body: Object) -> Change:
        """Add or replace an EVSE or connector; its parents are updated with it (R-273)."""
        parents = self._descend(below[:-1])
        children_field, id_field = _CHILDREN[len(below) - 1]
        body = body | {"last_updated": self._tick()}
        children = parents[-1].setdefault(children_field, [])
        for number, child in enumerate(children):
            if child[id_field] == below[-1]:
                children[number] = body
                break
        else:
            children.append(body)
        self._touch(parents)
        return self._change("PUT", below, body)

    def patch(self, fields: Mapping[str, Any], below: Sequence[str] = ()) -> Change:
        """Change some fields of it, or of an EVSE or connector."""
        found = self._descend(below)
        body = {**fields, "last_updated": self._tick()}
        found[-1].update(body)
        self._touch(found)
        return self._change("PATCH", below, body)

    def delete(self) -> Change:
        """Withdraw it."""
        self.body = None
        self.deletions.append(self._tick())
        return self._change("DELETE", (), None)

    def repeat(self) -> Change:
        """Send it whole, as new: what became of the last push is not known."""
        return self.delete() if self.body is None else self.put(self.body)

    def find_deletion(self, since: str) -> str | None:
        """Give the deletion that a DELETE can mean which comes to a receiver after this change: it says not which.

        None when there is none. After a deletion, one that its owner sent again, else the same once more.
        """
        if since in self.deletions:
            following = next((each for each in self.sent if each > since), None)
            return following if following in self.deletions else since
        return next((each for each in self.deletions if each >= since), None)

    def children(self, *below: str) -> list[Object]:
        """Give the EVSEs, or an EVSE's connectors."""
        found: list[Object] = self._descend(below)[-1].get(_CHILDREN[len(below)][0], [])
        return found

    def _descend(self, below: Sequence[str]) -> list[Object]:
        assert self.body is not None
        found = [self.body]
        for (children_field, id_field), wanted in zip(_CHILDREN, below, strict=False):
            found.append(next(child for child in found[-1][children_field] if child[id_field] == wanted))
        return found

    def _touch(self, found: Sequence[Object]) -> None:
        for each in found:
            each["last_updated"] = self.at

    def _tick(self) -> str:
        """Give a moment later than every one before, in milliseconds as OCPI's times are."""
        now = datetime.now(UTC)
        if self.at:
            now = max(now, datetime.fromisoformat(self.at) + timedelta(milliseconds=1))
        self.at = format_time(now)
        return self.at

    def _change(self, method: Method, below: Sequence[str], body: Object | None) -> Change:
        self.changes += 1
        path = "/".join(quote(id, safe="") for id in (*self.owner.split("-"), self.id, *below))
        return Change(method, path, f"type={self.type}" if self.type else "", copy.deepcopy(body), self.at)


class Network:
    """Every object of every owner."""

    def __init__(self) -> None:
        self.objects: dict[Key, Owned] = {}

    def add(self, owned: Owned) -> Owned:
        """Take an object in."""
        self.objects[owned.key] = owned
        return owned

    def of(self, module: str, owner: str | None = None) -> list[Owned]:
        """Give the objects of a module, of all owners or of one."""
        return [each for each in self.objects.values() if each.module == module and owner in (None, each.owner)]
