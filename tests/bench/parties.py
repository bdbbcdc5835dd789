"""A large network beside a small one: 1,000 platforms with 10 parties each, of which all talk to all, beside two."""

from contextlib import AsyncExitStack

from tests.bench.forward import CPO, EMSP, NOT_MIRRORED, two_members
from tests.bench.members import Wish, add_members, party_name
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
    """Measure forwards from each connection's own platform to all receivers in turn."""
    outcome, contestants = Outcome(), {}
    async with AsyncExitStack() as stack:
        database, keys, settings = await stack.enter_async_context(stage.database("few_parties"))
        cpo, _ = await add_members(database, keys, two_members(stage.upstream_port))
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        contestants["2 platforms"] = Contestant(hub.measured, hub.port, [[get_session(cpo, CPO, EMSP)]])

        database, keys, settings = await stack.enter_async_context(stage.database("many_parties"))
        members = await add_members(database, keys, many_members(stage.upstream_port))
        senders, receivers = members[::2][: stage.wanted.connections], members[1::2]
        asks = [
            [
                get_session(
                    sender,
                    sender.parties[n % PARTIES_EACH],
                    receivers[(n * 7 + shift) % len(receivers)].parties[n % PARTIES_EACH],
                )
                for n in range(len(receivers))
            ]
            for shift, sender in enumerate(senders)
        ]
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        contestants[f"{PLATFORMS:,} platforms"] = Contestant(hub.measured, hub.port, asks)
        with stage.profiling("parties", hub, outcome):
            cpu = await cpu_per_request(stage, outcome, contestants)
    few, many = cpu.values()
    outcome.values["many_parties"] = ratios(many, few)
    return outcome
