"""Which rule decides about a request, what follows from it for who sees whom, and when that changes."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import InterfaceRole
from config.operations import HOSTS
from parties import contracts
from parties.contracts import ANY, MODULES, Contracts, PartyKey, Rule, Selector
from parties.model import PartyState, Platform, Role
from tests.parties.cast import a_rule

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
INTERFACES: tuple[InterfaceRole, ...] = ("SENDER", "RECEIVER")

ROLES = {
    "BE-BEC": ("CPO",),
    "DE-TNM": ("EMSP",),
    "NL-ALF": ("CPO", "EMSP"),
    "FR-OTH": ("OTHER",),
}
"""The cast: a CPO, an eMSP, a party that is both, and one whose role hosts nothing in particular."""


def a_platform(id: int, *roles: str, state: PartyState = "claimed") -> Platform:
    read = (Role.parse(role) for role in roles)
    return Platform(id, "", "registered", tuple(Role(role.party, role.role, state) for role in read))


CAST = [
    a_platform(number, *(f"{party}:{role}" for role in roles)) for number, (party, roles) in enumerate(ROLES.items(), 1)
]


def key(party: str) -> PartyKey:
    country, _, party_id = party.partition("-")
    return (country, party_id)


def some_contracts(*rules: str | Rule, is_open: bool = False, now: datetime | None = None) -> Contracts:
    read = [a_rule(rule) if isinstance(rule, str) else rule for rule in rules]
    return Contracts(read, CAST, is_open=is_open, now=now)


def allows(contracts: Contracts, request: str) -> bool:
    """Whether a request written `BE-BEC > DE-TNM locations RECEIVER` is allowed."""
    sender, _, receiver, module, side = request.split()
    return contracts.allows(key(sender), key(receiver), module, "SENDER" if side == "SENDER" else "RECEIVER")


# Selectors


@pytest.mark.parametrize(
    ("text", "selector", "shown"),
    [
        ("*", Selector(), "*"),
        ("*:cpo", Selector(None, "CPO"), "*:CPO"),
        ("NL-ABC", Selector(("NL", "ABC")), "NL-ABC"),
        ("nl*abc:emsp", Selector(("NL", "ABC"), "EMSP"), "NL-ABC:EMSP"),
        (" nlab1 ", Selector(("NL", "AB1")), "NL-AB1"),
    ],
)
def test_a_selector_is_read_as_an_operator_writes_it(text: str, selector: Selector, shown: str) -> None:
    """R-010: letters' case does not matter."""
    assert Selector.parse(text) == selector
    assert str(selector) == shown
    assert Selector.parse(shown) == selector


@pytest.mark.parametrize(
    "text", ["", ":", ":CPO", "*:", "NL", "NL-ABC:", "NL-ABCD", "**", "*:C PO", "NL-ABC:CPO:X", "*:*"]
)
def test_what_is_no_selector_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ValueError, match=r"\*:CPO.* NL-ABC:CPO is expected"):
        Selector.parse(text)


# Which rule decides


@pytest.mark.parametrize("is_open", [True, False])
def test_without_rules_the_network_decides(is_open: bool) -> None:
    empty = some_contracts(is_open=is_open)
    assert allows(empty, "BE-BEC > DE-TNM locations RECEIVER") is is_open
    assert allows(empty, "XX-NOT > XX-NOR x-custom SENDER") is is_open
    assert empty.may_meet(key("BE-BEC"), key("DE-TNM")) is is_open
    assert empty.changed_at(key("BE-BEC"), key("DE-TNM")) is None
    assert empty.next_change is None


@pytest.mark.parametrize(
    ("rules", "request_", "allowed"),
    [
        # One rule, in a closed network: its direction, its parties and its module only.
        (["BE-BEC > DE-TNM"], "BE-BEC > DE-TNM locations RECEIVER", True),
        (["BE-BEC > DE-TNM"], "DE-TNM > BE-BEC locations SENDER", False),
        (["BE-BEC > DE-TNM"], "BE-BEC > NL-ALF locations RECEIVER", False),
        (["BE-BEC > DE-TNM cdrs"], "BE-BEC > DE-TNM cdrs RECEIVER", True),
        (["BE-BEC > DE-TNM cdrs"], "BE-BEC > DE-TNM locations RECEIVER", False),
        (["BE-BEC > DE-TNM"], "BE-BEC > DE-TNM x-custom RECEIVER", True),
        (["* > *"], "XX-NOT > XX-NOR locations SENDER", True),
        # Roles: the one in which the party acts.
        (["*:CPO > *:EMSP"], "BE-BEC > DE-TNM locations RECEIVER", True),
        (["*:CPO > *:EMSP"], "DE-TNM > BE-BEC tokens RECEIVER", False),
        (["*:CPO > *:EMSP"], "NL-ALF > DE-TNM locations RECEIVER", True),  # as CPO, which hosts locations SENDER
        (["*:CPO > *:EMSP"], "BE-BEC > NL-ALF locations RECEIVER", True),  # as eMSP, which hosts the one called
        (["*:CPO > *:EMSP"], "NL-ALF > BE-BEC tokens RECEIVER", False),  # as eMSP, to a CPO
        (["NL-ALF:EMSP > *:CPO"], "NL-ALF > BE-BEC commands RECEIVER", True),
        (["NL-ALF:CPO > *:CPO"], "NL-ALF > BE-BEC commands RECEIVER", False),  # a CPO sends no commands
        (["NL-ALF:CPO > *"], "NL-ALF > BE-BEC x-custom RECEIVER", True),  # no role hosts it: it acts in both
        (["NL-ALF:EMSP > *"], "NL-ALF > BE-BEC x-custom RECEIVER", True),
        (["*:OTHER > *:CPO"], "FR-OTH > BE-BEC locations SENDER", True),
        (["*:CPO > *"], "XX-NOT > BE-BEC locations SENDER", False),  # unknown, so in no role
        # Party with role before party before role before anybody.
        (["* > *", "*:CPO > * no"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["*:CPO > * no", "BE-BEC > *"], "BE-BEC > DE-TNM cdrs RECEIVER", True),
        (["BE-BEC > *", "BE-BEC:CPO > * no"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["* > *", "* > *:EMSP no"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["* > *:EMSP no", "* > DE-TNM"], "BE-BEC > DE-TNM cdrs RECEIVER", True),
        (["* > DE-TNM", "* > DE-TNM:EMSP no"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        # Parties count before roles, on whichever side, and roles before the module.
        (["BE-BEC > *", "*:CPO > *:EMSP no"], "BE-BEC > DE-TNM cdrs RECEIVER", True),
        (["BE-BEC > DE-TNM", "BE-BEC:CPO > *:EMSP no"], "BE-BEC > DE-TNM cdrs RECEIVER", True),
        (["BE-BEC > * no", "*:CPO > *:EMSP cdrs"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["*:CPO > * no", "* > * cdrs"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["BE-BEC > * no", "BE-BEC > * cdrs"], "BE-BEC > DE-TNM cdrs RECEIVER", True),
        (["BE-BEC > *", "BE-BEC > * cdrs no"], "BE-BEC > DE-TNM locations RECEIVER", True),
        # As specific as each other: the refusal.
        (["BE-BEC > *", "* > DE-TNM no"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["BE-BEC > * no", "* > DE-TNM"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["BE-BEC > DE-TNM", "BE-BEC > DE-TNM no"], "BE-BEC > DE-TNM cdrs RECEIVER", False),
        (["NL-ALF:CPO > *", "NL-ALF:EMSP > * no"], "NL-ALF > BE-BEC x-custom RECEIVER", False),  # it acts in both
    ],
)
def test_the_most_specific_rule_decides(rules: list[str], request_: str, allowed: bool) -> None:
    assert allows(some_contracts(*rules), request_) is allowed
    assert allows(some_contracts(*reversed(rules)), request_) is allowed
    assert allows(some_contracts(*rules, is_open=True), request_) is (allowed or not _decided(rules, request_))


def _decided(rules: list[str], request: str) -> bool:
    sender, _, receiver, module, side = request.split()
    decision = some_contracts(*rules).decide(key(sender), key(receiver), module, side)  # type: ignore[arg-type]
    return decision.rule is not None


def test_a_decision_names_its_rule_and_of_equal_ones_the_oldest() -> None:
    rules = [a_rule("* > *", id=1), a_rule("* > DE-TNM", id=3), a_rule("* > DE-TNM", id=2)]
    decision = some_contracts(*rules).decide(key("BE-BEC"), key("DE-TNM"), "cdrs", "RECEIVER")
    assert (decision.allowed, decision.rule) == (True, rules[2])
    decision = some_contracts(a_rule("* > DE-TNM")).decide(key("DE-TNM"), key("BE-BEC"), "cdrs", "SENDER")
    assert (decision.allowed, decision.rule) == (False, None)


def test_a_removed_rule_decides_nothing() -> None:
    assert not allows(some_contracts(a_rule("* > *", removed_at=NOW)), "BE-BEC > DE-TNM cdrs RECEIVER")


def test_a_party_acts_in_the_roles_of_its_credentials_and_before_it_has_some_in_those_agreed() -> None:
    rules = [a_rule("*:CPO > *")]
    invited = a_platform(1, "NL-NEW:CPO", state="invited")
    assert Contracts(rules, [invited], is_open=False).allows(key("NL-NEW"), key("DE-TNM"), "cdrs", "RECEIVER")
    registered = [a_platform(1, "NL-NEW:EMSP"), invited]
    assert not Contracts(rules, registered, is_open=False).allows(key("NL-NEW"), key("DE-TNM"), "cdrs", "RECEIVER")


def test_decisions_are_remembered_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contracts, "_REMEMBERED", 10)
    some = some_contracts("BE-BEC > *")
    for number in range(100):
        other = ("XX", f"{number:03}")
        assert some.allows(key("BE-BEC"), other, "cdrs", "RECEIVER")
        assert not some.allows(other, key("BE-BEC"), "cdrs", "SENDER")
        assert some.may_meet(other, key("BE-BEC"))
        assert len(some._decided) <= 10
        assert len(some._meetings) <= 10


def test_the_interfaces_that_a_party_hosts_follow_from_its_roles() -> None:
    some = some_contracts("* > *:CPO")
    assert some.interfaces(key("BE-BEC"), "locations") == ("SENDER",)
    assert some.interfaces(key("NL-ALF"), "locations") == INTERFACES
    assert some.interfaces(key("BE-BEC"), "x-custom") == INTERFACES
    assert some.interfaces(key("XX-NOT"), "locations") == INTERFACES


# Against a model that looks at every rule

parties = st.sampled_from([*ROLES, "XX-NOT"])
roles = st.sampled_from(["CPO", "EMSP", "OTHER"])
selectors = st.builds(Selector, st.none() | parties.map(key), st.none() | roles)
modules = st.sampled_from([ANY, "locations", "tokens", "x-custom"])
dates = st.none() | st.integers(-3, 3).map(lambda days: NOW + days * DAY)


@st.composite
def rules_(draw: st.DrawFn) -> Rule:
    begin, end = draw(dates), draw(dates)
    removed = draw(st.none() | st.just(NOW - DAY))
    return Rule(draw(selectors), draw(selectors), draw(modules), draw(st.booleans()), begin, end, removed_at=removed)


some_rules = st.lists(rules_(), max_size=12)
requests = st.tuples(
    parties.map(key),
    parties.map(key),
    st.sampled_from(["locations", "tokens", "x-custom"]),
    st.sampled_from(INTERFACES),
)


def reference(
    rules: Iterable[Rule], is_open: bool, sender: PartyKey, receiver: PartyKey, module: str, interface: InterfaceRole
) -> bool:
    """Decide by going through every rule there is."""
    acting = {}
    for party, side in ((receiver, interface), (sender, "SENDER" if interface == "RECEIVER" else "RECEIVER")):
        own = ROLES.get("-".join(party), ())
        acting[party] = [role for role in own if (module, side) in HOSTS.get(role, ())] or own
        if party == receiver:
            as_receiver = acting[party]

    def means(selector: Selector, party: PartyKey, its_roles: Iterable[str]) -> bool:
        return selector.party in (None, party) and (selector.role is None or selector.role in its_roles)

    best: tuple[tuple[int, int, int], bool] | None = None
    for rule in rules:
        if rule.removed_at is not None or rule.module not in (ANY, module):
            continue
        if (rule.valid_from is not None and rule.valid_from > NOW) or (
            rule.valid_until is not None and rule.valid_until <= NOW
        ):
            continue
        if not means(rule.sender, sender, acting[sender]) or not means(rule.receiver, receiver, as_receiver):
            continue
        rank = (
            (rule.sender.party is not None) + (rule.receiver.party is not None),
            (rule.sender.role is not None) + (rule.receiver.role is not None),
            int(rule.module != ANY),
        )
        if best is None or rank > best[0] or (rank == best[0] and not rule.allowed):
            best = (rank, rule.allowed)
    return is_open if best is None else best[1]


@given(some_rules, st.booleans(), requests)
def test_every_decision_is_that_of_the_model(
    rules: list[Rule], is_open: bool, request: tuple[PartyKey, PartyKey, str, InterfaceRole]
) -> None:
    made = Contracts(rules, CAST, is_open=is_open, now=NOW)
    assert made.allows(*request) is reference(rules, is_open, *request)
    assert made.allows(*request) is made.decide(*request).allowed


@given(some_rules.flatmap(lambda rules: st.tuples(st.just(rules), st.permutations(rules))), st.booleans(), requests)
def test_the_order_of_rules_does_not_matter(
    both: tuple[list[Rule], list[Rule]], is_open: bool, request: tuple[PartyKey, PartyKey, str, InterfaceRole]
) -> None:
    one, other = (Contracts(rules, CAST, is_open=is_open, now=NOW) for rules in both)
    assert one.allows(*request) is other.allows(*request)
    assert one.may_meet(request[0], request[1]) is other.may_meet(request[0], request[1])


@given(some_rules, rules_(), st.booleans(), requests)
def test_a_rule_about_others_changes_nothing(
    rules: list[Rule], further: Rule, is_open: bool, request: tuple[PartyKey, PartyKey, str, InterfaceRole]
) -> None:
    unrelated = Rule(Selector(("ZZ", "ZZZ")), further.receiver, further.module, further.allowed)
    before = Contracts(rules, CAST, is_open=is_open, now=NOW)
    after = Contracts([*rules, unrelated], CAST, is_open=is_open, now=NOW)
    assert before.decide(*request) == after.decide(*request)
    assert before.may_meet(request[0], request[1]) is after.may_meet(request[0], request[1])
    assert before.changed_at(request[0], request[1]) == after.changed_at(request[0], request[1])


@given(some_rules, st.booleans(), parties.map(key), parties.map(key))
def test_two_parties_meet_if_and_only_if_anything_between_them_is_allowed(
    rules: list[Rule], is_open: bool, one: PartyKey, other: PartyKey
) -> None:
    made = Contracts(rules, CAST, is_open=is_open, now=NOW, custom_modules=["x-custom"])
    everything = product([(one, other), (other, one)], [*MODULES, "x-custom"], INTERFACES)
    expected = any(reference(rules, is_open, *pair, module, side) for pair, module, side in everything)
    assert made.may_meet(one, other) is expected
    assert made.may_meet(other, one) is expected


# Who sees whom (T-091)


@pytest.mark.parametrize(
    ("rules", "is_open", "one", "other", "meet"),
    [
        (["BE-BEC > DE-TNM cdrs"], False, "BE-BEC", "DE-TNM", True),
        (["BE-BEC > DE-TNM cdrs"], False, "BE-BEC", "NL-ALF", False),
        (["*:CPO > *:EMSP"], False, "DE-TNM", "NL-ALF", True),
        (["*:CPO > *:EMSP"], False, "DE-TNM", "FR-OTH", False),
        (["BE-BEC > DE-TNM x-custom"], False, "BE-BEC", "DE-TNM", True),
        (["BE-BEC > DE-TNM x-unknown"], False, "BE-BEC", "DE-TNM", False),  # the hub does not route it
        (["BE-BEC > DE-TNM no"], True, "BE-BEC", "DE-TNM", True),  # the other direction remains
        (["BE-BEC > DE-TNM no", "DE-TNM > BE-BEC no"], True, "BE-BEC", "DE-TNM", False),
        (["BE-BEC > * no", "* > BE-BEC no"], True, "BE-BEC", "NL-ALF", False),
        (["BE-BEC > * no", "* > BE-BEC no"], True, "DE-TNM", "NL-ALF", True),
        (["* > * no", "BE-BEC > DE-TNM tokens"], True, "DE-TNM", "BE-BEC", True),
    ],
)
def test_two_parties_see_each_other_where_anything_is_allowed(
    rules: list[str], is_open: bool, one: str, other: str, meet: bool
) -> None:
    made = Contracts([a_rule(rule) for rule in rules], CAST, is_open=is_open, custom_modules=["x-custom"])
    assert made.may_meet(key(one), key(other)) is meet
    assert made.may_meet(key(other), key(one)) is meet


def test_a_change_of_rules_has_its_time_for_those_it_concerns() -> None:
    some = some_contracts(
        a_rule("BE-BEC > DE-TNM", changed_at=NOW - 5 * DAY),
        a_rule("*:CPO > *:EMSP cdrs", changed_at=NOW - 4 * DAY, removed_at=NOW - 2 * DAY),
        a_rule("NL-ALF > FR-OTH", changed_at=NOW - 3 * DAY),
        now=NOW,
    )
    assert some.changed_at(key("BE-BEC"), key("DE-TNM")) == NOW - 2 * DAY  # by the removal
    assert some.changed_at(key("DE-TNM"), key("BE-BEC")) == NOW - 2 * DAY
    assert some.changed_at(key("FR-OTH"), key("NL-ALF")) == NOW - 3 * DAY
    assert some.changed_at(key("FR-OTH"), key("BE-BEC")) is None


# Dates


def test_a_rule_holds_from_its_first_moment_until_before_its_last() -> None:
    rule = a_rule("* > *", valid_from=NOW, valid_until=NOW + DAY)
    tick = timedelta(microseconds=1)
    for moment, state in {
        NOW - tick: "not yet",
        NOW: "in force",
        NOW + DAY - tick: "in force",
        NOW + DAY: "over",
    }.items():
        assert rule.state(moment) == state
        assert allows(some_contracts(rule, now=moment), "BE-BEC > DE-TNM cdrs RECEIVER") is (state == "in force")


def test_contracts_know_when_dates_change_them_next() -> None:
    rules = [
        a_rule("* > *", valid_from=NOW, valid_until=NOW + 3 * DAY),
        a_rule("* > * cdrs no", valid_from=NOW + DAY),
        a_rule("* > DE-TNM", valid_from=NOW + 2 * DAY, removed_at=NOW),
        a_rule("* > DE-TNM", valid_until=NOW),
    ]
    some = some_contracts(*rules, now=NOW)
    moments = []
    while some.next_change is not None:
        moments.append(some.next_change)
        some = some.as_of(some.next_change)
    assert moments == [NOW + DAY, NOW + 3 * DAY]
    assert not allows(some, "BE-BEC > DE-TNM tokens SENDER")


def test_a_date_that_has_come_is_a_change_too() -> None:
    rule = a_rule("* > *", changed_at=NOW - 9 * DAY, valid_from=NOW, valid_until=NOW + DAY)
    pair = key("BE-BEC"), key("DE-TNM")
    assert some_contracts(rule, now=NOW - DAY).changed_at(*pair) == NOW - 9 * DAY
    assert some_contracts(rule, now=NOW).changed_at(*pair) == NOW
    assert some_contracts(rule, now=NOW + 2 * DAY).changed_at(*pair) == NOW + DAY
    removed = a_rule("* > *", changed_at=NOW - 9 * DAY, valid_from=NOW, removed_at=NOW - DAY)
    assert some_contracts(removed, now=NOW + DAY).changed_at(*pair) == NOW - DAY  # it never began


def test_a_database_whose_clock_is_ahead_hides_no_change() -> None:
    rule = a_rule("* > *", changed_at=NOW + timedelta(milliseconds=3))
    assert some_contracts(rule, now=NOW).changed_at(key("BE-BEC"), key("DE-TNM")) == rule.changed_at


@given(some_rules, st.booleans(), requests, st.integers(-4, 4))
def test_between_two_boundaries_nothing_changes(
    rules: list[Rule], is_open: bool, request: tuple[PartyKey, PartyKey, str, InterfaceRole], days: int
) -> None:
    now = NOW + days * DAY
    made = Contracts(rules, CAST, is_open=is_open, now=now)
    end = made.next_change or now + 9 * DAY
    later = made.as_of(end - timedelta(microseconds=1))
    assert made.decide(*request) == later.decide(*request)
