"""Who may talk to whom, about which module, in which direction: rules, and what they decide at one moment."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Literal, NamedTuple, Self

from config.ocpi import InterfaceRole, PartyID
from config.operations import HOSTS, acting_roles
from parties.model import Platform, Role

PartyKey = tuple[str, str]
State = Literal["in force", "not yet", "over", "removed"]

ANY = "*"
_REMEMBERED = 20_000
"""Decisions kept at most, some 10 MB; then remembering begins anew. One costs about 10 µs to find again."""

_CALLER: Mapping[InterfaceRole, InterfaceRole] = {"SENDER": "RECEIVER", "RECEIVER": "SENDER"}
"""Who calls an interface hosts, as a rule, the other one."""

MODULES = tuple(sorted({module for hosted in HOSTS.values() for module, _ in hosted}))
"""The modules that OCPI has parties call each other about."""


class Selector(NamedTuple):
    """Whom a rule is about: everybody, everybody in a role, a party, or a party in a role.

    A tuple, since rules are found by it, and a tuple is hashed without running Python.
    """

    party: PartyKey | None = None
    """None: any party."""
    role: str | None = None
    """None: in any role."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `*`, `*:CPO`, `NL-ABC` or `NL-ABC:CPO`. Raises ValueError with what is expected."""
        name, colon, role = text.strip().partition(":")
        try:
            party = None if name.strip() == ANY else PartyID.parse(name).key
        except ValueError as exc:
            raise ValueError(f"{text!r} is no party: *, *:CPO, NL-ABC or NL-ABC:CPO is expected") from exc
        if colon and not (role.isascii() and role.isalnum()):
            raise ValueError(f"{text!r} has no role after the colon: *:CPO or NL-ABC:CPO is expected")
        return cls(party, role.upper() if colon else None)

    def __str__(self) -> str:
        name = "-".join(self.party) if self.party else ANY
        return f"{name}:{self.role}" if self.role else name


Sides = tuple[Selector, Selector]
"""Sender and receiver of a rule."""
Terms = tuple[Selector, Selector, str, bool, datetime | None, datetime | None]
"""What two rules have in common that say the same."""


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

    @property
    def terms(self) -> Terms:
        """What it says, whatever its number and history."""
        return (self.sender, self.receiver, self.module, self.allowed, self.valid_from, self.valid_until)

    @property
    def precedence(self) -> tuple[int, int, bool, bool, int]:
        """Which of two rules about the same request decides: the one with the higher value.

        A rule that names more parties comes first; of those, one that names more roles; of those, one that names the
        module; of those, a refusal. What is left says the same, and the oldest is named for it.
        """
        sides = (self.sender, self.receiver)
        return (
            sum(side.party is not None for side in sides),
            sum(side.role is not None for side in sides),
            self.module != ANY,
            not self.allowed,
            -(self.id or 0),
        )

    def state(self, now: datetime | None) -> State:
        """Tell whether it holds at this moment; None: dates do not matter."""
        if self.removed_at is not None:
            return "removed"
        if now is not None and self.valid_until is not None and now >= self.valid_until:
            return "over"
        if now is not None and self.valid_from is not None and now < self.valid_from:
            return "not yet"
        return "in force"

    def moments(self, now: datetime | None) -> Iterator[datetime]:
        """Give the moments up to now at which it began or ceased to decide."""
        # Those two are the database's: its clock may be a little ahead of ours, and they are past all the same.
        yield from (moment for moment in (self.changed_at, self.removed_at) if moment is not None)
        end = min((moment for moment in (now, self.removed_at) if moment is not None), default=None)
        for moment in (self.valid_from, self.valid_until):
            if moment is not None and end is not None and moment <= end:
                yield moment


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request is allowed, and why."""

    allowed: bool
    rule: Rule | None
    """None: no rule is about it, so the network's default decided."""


class Contracts:
    """What the rules decide, as of one moment. Immutable; decisions are remembered, so that the road pays a look-up.

    A selector with a role means a party that acts in this role: in one that hosts the interface called, as receiver, or
    the opposite one, as sender (HOSTS). A party none of whose roles does that acts in all it has. OCPI's headers carry
    no role (T-020).
    """

    def __init__(
        self,
        rules: Iterable[Rule],
        platforms: Iterable[Platform],
        *,
        is_open: bool,
        now: datetime | None = None,
        custom_modules: Iterable[str] = (),
    ) -> None:
        """`now`: the moment that decides which rules hold; None: all that were not removed."""
        self.rules = tuple(rules)
        self.is_open = is_open
        self.next_change: datetime | None = None
        """When a rule's validity begins or ends next; then these contracts are out of date."""
        self._platforms = tuple(platforms)
        self._custom_modules = tuple(custom_modules)
        self._now = now
        self._in_force: dict[Sides, dict[str, Rule]] = {}
        for rule in self.rules:
            if rule.removed_at is None:
                self._take(rule)
        self._has_rules = bool(self._in_force)
        self._named = frozenset(selector for sides in self._in_force for selector in sides)
        self._decided: dict[tuple[PartyKey, PartyKey, str, InterfaceRole], bool] = {}
        self._meetings: dict[tuple[PartyKey, PartyKey], bool] = {}

    def _take(self, rule: Rule) -> None:
        now = self._now
        if now is not None:
            for moment in (rule.valid_from, rule.valid_until):
                if moment is not None and moment > now and (self.next_change is None or moment < self.next_change):
                    self.next_change = moment
        if rule.state(now) == "in force":
            by_module = self._in_force.setdefault((rule.sender, rule.receiver), {})
            other = by_module.get(rule.module)
            if other is None or rule.precedence > other.precedence:
                by_module[rule.module] = rule

    @cached_property
    def _roles(self) -> Mapping[PartyKey, tuple[str, ...]]:
        return _roles_of(self._platforms)

    @cached_property
    def _changed_at(self) -> Mapping[Sides, datetime]:
        """When what rules say of two sides last changed, by the sides."""
        changed_at: dict[Sides, datetime] = {}
        for rule in self.rules:
            sides = (rule.sender, rule.receiver)
            latest = max(rule.moments(self._now), default=None)
            known = changed_at.get(sides)
            if latest is not None and (known is None or known < latest):
                changed_at[sides] = latest
        return changed_at

    @cached_property
    def _ever_named(self) -> frozenset[Selector]:
        return frozenset(selector for sides in self._changed_at for selector in sides)

    def as_of(self, now: datetime) -> Self:
        """Give the same rules as of another moment."""
        return type(self)(
            self.rules, self._platforms, is_open=self.is_open, now=now, custom_modules=self._custom_modules
        )

    def allows(self, sender: PartyKey, receiver: PartyKey, module: str, interface: InterfaceRole) -> bool:
        """Whether `sender` may send a request about a module to the interface of it that `receiver` hosts."""
        if not self._has_rules:
            return self.is_open
        key = (sender, receiver, module, interface)
        known = self._decided.get(key)
        if known is None:
            if len(self._decided) >= _REMEMBERED:
                self._decided.clear()
            known = self._decided[key] = self.decide(sender, receiver, module, interface).allowed
        return known

    def decide(self, sender: PartyKey, receiver: PartyKey, module: str, interface: InterfaceRole) -> Decision:
        """Decide as `allows` does, and name the rule: the most specific one (Rule.precedence), if any."""
        found: Rule | None = None
        receivers = _selectors(receiver, self._acting(receiver, module, interface), self._named)
        for one in _selectors(sender, self._acting(sender, module, _CALLER[interface]), self._named):
            for other in receivers:
                by_module = self._in_force.get((one, other))
                if by_module is None:
                    continue
                for rule in (by_module.get(module), by_module.get(ANY)):
                    if rule is not None and (found is None or rule.precedence > found.precedence):
                        found = rule
        return Decision(self.is_open if found is None else found.allowed, found)

    def interfaces(self, receiver: PartyKey, module: str) -> tuple[InterfaceRole, ...]:
        """Give the interfaces of a module that a party hosts by its roles; both when its roles tell nothing."""
        hosted = {key for role in self._roles_of(receiver) for key in HOSTS.get(role, ())}
        found = tuple(interface for interface in _CALLER if (module, interface) in hosted)
        return found or tuple(_CALLER)

    def may_meet(self, viewer: PartyKey, party: PartyKey) -> bool:
        """Whether anything at all is allowed between two parties, in either direction.

        If not, HubClientInfo shows the one as PLANNED to the other (T-091).
        """
        if not self._has_rules:
            return self.is_open
        key = (viewer, party)
        known = self._meetings.get(key)
        if known is None:
            if len(self._meetings) >= _REMEMBERED:
                self._meetings.clear()
            known = self._meetings[key] = self._may_meet(viewer, party)
        return known

    def _may_meet(self, viewer: PartyKey, party: PartyKey) -> bool:
        if not any(sides in self._in_force for sides in self._pairs(viewer, party, self._named)):
            return self.is_open
        return any(
            self.decide(*pair, module, interface).allowed
            for pair in ((viewer, party), (party, viewer))
            for module in (*MODULES, *self._custom_modules)
            for interface in _CALLER
        )

    def changed_at(self, viewer: PartyKey, party: PartyKey) -> datetime | None:
        """Give the latest moment at which a rule about these two, a removed one included, began or ceased to decide.

        None: there is none. HubClientInfo's last_updated is the later of this and the change of status.
        """
        if not self.rules:
            return None
        moments = (self._changed_at.get(sides) for sides in self._pairs(viewer, party, self._ever_named))
        return max((moment for moment in moments if moment is not None), default=None)

    def _pairs(self, viewer: PartyKey, party: PartyKey, named: frozenset[Selector]) -> Iterator[Sides]:
        """Give the sides of every rule that could be about these two, in either direction and whatever role."""
        ones = _selectors(viewer, self._roles_of(viewer), named)
        others = _selectors(party, self._roles_of(party), named)
        for one in ones:
            for other in others:
                yield one, other
                yield other, one

    def _acting(self, party: PartyKey, module: str, interface: InterfaceRole) -> tuple[str, ...]:
        """Give the roles in which a party hosts this interface; all it has when none does."""
        return acting_roles(self._roles_of(party), module, interface)

    def _roles_of(self, party: PartyKey) -> tuple[str, ...]:
        return self._roles.get(party, ())


def _selectors(party: PartyKey, roles: Iterable[str], named: frozenset[Selector]) -> list[Selector]:
    """Give what of the rules' selectors means this party in these roles."""
    found = [Selector(), Selector(party)]
    for role in roles:
        found += (Selector(None, role), Selector(party, role))
    return [selector for selector in found if selector in named]


def _roles_of(platforms: Iterable[Platform]) -> dict[PartyKey, tuple[str, ...]]:
    """Give each party's roles: those in credentials, or, while there is none such, whatever was said of it."""
    held: dict[PartyKey, list[Role]] = {}
    for platform in platforms:
        for role in platform.roles:
            held.setdefault(role.party.key, []).append(role)
    return {
        key: tuple(
            dict.fromkeys(role.role.upper() for role in roles if role.state == "claimed")
            or dict.fromkeys(role.role.upper() for role in roles)
        )
        for key, roles in held.items()
    }
