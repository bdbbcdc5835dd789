"""Who may talk to whom, about which module, in which direction: rules, and what they decide at one moment."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from config.ocpi import InterfaceRole
from parties.model import Platform

PartyKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Selector:
    """Whom a rule is about: everybody, everybody in a role, a party, or a party in a role."""

    party: PartyKey | None = None
    """None: any party."""
    role: str | None = None
    """None: in any role."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `*`, `*:CPO`, `NL-ABC` or `NL-ABC:CPO`. Raises ValueError with what is expected."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the contracts: requests from `sender` to `receiver` about `module` are allowed, or not."""

    sender: Selector
    receiver: Selector
    module: str
    """A ModuleID, or `*`."""
    allowed: bool
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    """The first moment at which it no longer holds."""
    id: int | None = None
    changed_at: datetime | None = None
    removed_at: datetime | None = None


class Contracts:
    """What the rules decide, as of one moment. Immutable; decisions are remembered, so that the road pays a look-up."""

    def __init__(
        self,
        rules: Iterable[Rule],
        platforms: Iterable[Platform],
        *,
        is_open: bool,
        now: datetime | None = None,
    ) -> None:
        self._rules = tuple(rules)
        self._is_open = is_open

    def allows(self, sender: PartyKey, receiver: PartyKey, module: str, interface: InterfaceRole) -> bool:
        """Whether `sender` may send a request about a module to the interface of it that `receiver` hosts."""
        return self._is_open
