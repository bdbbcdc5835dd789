"""A large network beside a small one: 1,000 platforms with 10 parties each beside two platforms."""

import statistics
from collections.abc import Sequence
from contextlib import AsyncExitStack

from tests.bench.forward import CPO, EMSP, NOT_MIRRORED, two_members
from tests.bench.load import Ask
from tests.bench.members import Member, Wish, add_members, party_name
from tests.bench.requests import get_session
from tests.bench.stage import Contestant, Outcome, Stage, cpu_per_request, ratios

PLATFORMS = 1000
PARTIES_EACH = 10


def many_members(upstream_port: int) -> list[Wish]:
    """Give platforms of CPOs and of eMSPs by turns."""
    url = f"http://127.0.0.1:{upstream_port}/ocpi/2.2.1/receiver/sessions"
    wishes = []
    for number in range(PLATFORMS):
        parties = [party_name(number * PARTIES_EACH + each) for each in range(PARTIES_EACH)]
        role, endpoints = ("CPO", {}) if number % 2 == 0 else ("EMSP", {("sessions", "RECEIVER"): url})
        wishes.append(Wish(tuple(f"{party}:{role}" for party in parties), endpoints))
    return wishes


async def measure(stage: Stage) -> Outcome:
    """Measure the same load in both networks, and beside it one in which everybody in the large one talks."""
    outcome, contestants = Outcome(), {}
    async with AsyncExitStack() as stack:
        database, keys, settings = await stack.enter_async_context(stage.database("few_parties"))
        cpo, _ = await add_members(database, keys, two_members(stage.upstream_port))
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        contestants["2 platforms"] = Contestant(hub.measured, hub.port, [[get_session(cpo, CPO, EMSP)]])

        database, keys, settings = await stack.enter_async_context(stage.database("many_parties"))
        members = await add_members(database, keys, many_members(stage.upstream_port))
        senders, receivers = members[::2], members[1::2]
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        pair = get_session(senders[250], senders[250].parties[4], receivers[123].parties[7])
        contestants["one pair"] = Contestant(hub.measured, hub.port, [[pair]])
        everybody = [_ask_all(sender, receivers, at) for at, sender in enumerate(senders[: stage.wanted.connections])]
        contestants["everybody"] = Contestant(hub.measured, hub.port, everybody)
        stack.enter_context(stage.profiling("parties", hub, outcome))
        cpu = await cpu_per_request(stage, outcome, contestants)
    outcome.values["many_parties"] = ratios(cpu["one pair"], cpu["2 platforms"])
    talking = statistics.median(ratios(cpu["everybody"], cpu["2 platforms"]))
    outcome.notes.append(
        f"{talking:.2f} x when {len(everybody)} platforms talk to {len(receivers)}, over as many kept connections"
    )
    return outcome


def _ask_all(sender: Member, receivers: Sequence[Member], shift: int) -> list[Ask]:
    """Give one platform's requests to every receiver, each by other parties of theirs."""
    return [
        get_session(
            sender,
            sender.parties[number % PARTIES_EACH],
            receivers[(number + shift * 7) % len(receivers)].parties[number % PARTIES_EACH],
        )
        for number in range(len(receivers))
    ]
