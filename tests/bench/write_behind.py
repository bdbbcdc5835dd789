"""What it costs that sessions pushed to one party are kept in the mirror, beside a hub that keeps none."""

import asyncio
from contextlib import AsyncExitStack

from tests.bench.forward import CPO, EMSP, NOT_MIRRORED, two_members
from tests.bench.members import add_members
from tests.bench.requests import push_session
from tests.bench.stage import Contestant, Outcome, RunningHub, Stage, WrongAnswer, cpu_per_request, ratios

CONNECTIONS = 50
SESSIONS = 5000
"""Going on at the same time, each pushed again and again with other contents: so many that a batch of what is to be
written has as many objects as pushes, as it is where sessions are pushed once a minute."""


async def measure(stage: Stage) -> Outcome:
    """Measure until everything is stored."""
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        contestants, databases, hubs = {}, {}, {}
        for name, further in (("mirrored", {}), ("not mirrored", NOT_MIRRORED)):
            database, keys, settings = await stack.enter_async_context(stage.database(name.replace(" ", "_")))
            cpo, _ = await add_members(database, keys, two_members(stage.upstream_port))
            hub = await stack.enter_async_context(stage.hub(settings | further))
            asks = [
                [push_session(cpo, CPO, EMSP, f"S{n}-{connection}") for n in range(SESSIONS // CONNECTIONS)]
                for connection in range(CONNECTIONS)
            ]
            contestants[name] = Contestant(hub.measured, hub.port, asks)
            databases[name], hubs[name] = database, hub

        async def settle(name: str) -> None:
            await wait_until_stored(hubs[name])

        with stage.profiling("write_behind", hubs["mirrored"], outcome):
            cpu = await cpu_per_request(stage, outcome, contestants, settle=settle, connections=CONNECTIONS)
        for name, contestant in contestants.items():
            pushed = {
                ask.sent[-1].partition(b"\r\n\r\n")[2] for series in contestant.asks for ask in series if ask.sent
            }
            async with databases[name].connection() as connection:
                kept = {row[0] for row in await connection.fetch("SELECT body FROM mirror_object")}
            if kept != (pushed if name == "mirrored" else set()):
                raise WrongAnswer(f"{name}: what the mirror has is not what was pushed last")
    outcome.values["write_behind"] = ratios(cpu["mirrored"], cpu["not mirrored"])
    return outcome


async def wait_until_stored(hub: RunningHub) -> None:
    """Wait until the mirror has written what it took in. Raises WrongAnswer."""
    for _ in range(200):
        if await hub.read_metric("ocpi_hub_mirror_dropped_total"):
            raise WrongAnswer("the mirror lost pushes")
        if not await hub.read_metric("ocpi_hub_mirror_waiting"):
            return
        await asyncio.sleep(0.05)
    raise WrongAnswer("the mirror does not come to an end")
