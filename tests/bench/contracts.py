"""`python -m tests.bench.contracts`: what contracts cost a request, and what a change of them costs a hub.

The network is made up: parties by turns a CPO and an eMSP; rules between pairs of them, by role, and refusals by
module, as real contracts would be.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table

from parties.contracts import Contracts, PartyKey, Rule, Selector
from parties.model import Platform, Role

PARTIES = 1000


def party(number: int) -> PartyKey:
    """Give the key of the party of this number."""
    return ("NL" if number % 2 else "DE", f"{number:03X}")


def a_network() -> list[Platform]:
    """Give platforms of one party each."""
    return [
        Platform(n, "", "registered", (Role.parse(f"{'-'.join(party(n))}:{'CPO' if n % 2 else 'EMSP'}"),))
        for n in range(PARTIES)
    ]


PAIRS = [(party(n * 11 % PARTIES), party((n * 11 + 1) % PARTIES)) for n in range(1000)]
"""Who talks to whom at the time."""


def some_rules(number: int) -> list[Rule]:
    """Give so many rules: most of them about two parties, some about roles or a module."""
    kinds = (
        lambda n: Rule(Selector(party(n % PARTIES)), Selector(party(n * 7 % PARTIES)), "*", True),
        lambda n: Rule(Selector(party(n * 3 % PARTIES)), Selector(party(n * 5 % PARTIES), "CPO"), "tokens", False),
        lambda n: Rule(Selector(party(n % PARTIES)), Selector(None, "EMSP"), "locations", True),
        lambda n: Rule(Selector(None, "CPO"), Selector(party(n % PARTIES)), "*", True),
    )
    return [kinds[n % len(kinds)](n) for n in range(number)]


def nanoseconds(ask: Callable[[PartyKey, PartyKey], object], rounds: int) -> float:
    """Give what asking about one pair takes: the best of five times so many rounds through the pairs."""
    return min(_time(ask, rounds) for _ in range(5))


def _time(ask: Callable[[PartyKey, PartyKey], object], rounds: int) -> float:
    began = time.perf_counter_ns()
    for _ in range(rounds):
        for one, other in PAIRS:
            ask(one, other)
    return (time.perf_counter_ns() - began) / rounds / len(PAIRS)


def main() -> None:
    """Measure and print."""
    platforms = a_network()
    titles = ("Rules", "A request, ns", "Its first, µs", "Who sees whom, µs", "Made anew, ms")
    table = Table(*titles, title="Contracts", caption="The call itself included; best of five.")
    for number in (0, 10, 10_000):
        rules, now = some_rules(number), datetime.now(UTC)
        began = time.perf_counter()
        contracts = Contracts(rules, platforms, is_open=True, now=now)
        made = (time.perf_counter() - began) * 1000
        warm = nanoseconds(lambda one, other: contracts.allows(one, other, "tokens", "RECEIVER"), 200)  # noqa: B023
        cold = nanoseconds(lambda one, other: contracts.decide(one, other, "tokens", "RECEIVER"), 5)  # noqa: B023
        met = nanoseconds(lambda one, other: contracts._may_meet(one, other), 5)  # noqa: B023
        table.add_row(f"{number:,}", f"{warm:.0f}", f"{cold / 1000:.1f}", f"{met / 1000:.1f}", f"{made:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
