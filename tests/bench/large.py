"""Answers of 64 kB and 5 MB: CPU beside nginx's, and how the hub's memory grows meanwhile."""

import asyncio
from contextlib import AsyncExitStack

from tests.bench.forward import CPO, EMSP, NOT_MIRRORED, check_duties, two_members
from tests.bench.load import Ask, send_for
from tests.bench.members import add_members
from tests.bench.opponents import NO_NGINX, asking, find_nginx, nginx
from tests.bench.requests import get_session
from tests.bench.stage import Contestant, Outcome, RunningHub, Stage, ask_once, check, cpu_per_request, ratios

_STREAMS = 8
_SAMPLE_SECONDS = 0.01


async def measure(stage: Stage) -> Outcome:
    """Measure both sizes, and memory first, before anything has made it grow."""
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        database, keys, settings = await stack.enter_async_context(stage.database("large"))
        cpo, emsp = await add_members(database, keys, two_members(stage.upstream_port))
        small, middle, long = (get_session(cpo, CPO, EMSP, name) for name in ("S1", "S64K", "S5M"))
        for _ in range(min(stage.wanted.rounds, 3)):  # a new hub each time: memory once taken is seldom given back
            async with stage.hub(settings | NOT_MIRRORED) as fresh:
                check(await send_for(0.5, fresh.port, [[small]], _STREAMS), "the hub")
                growth = await _growth(stage, fresh, long)
            outcome.values.setdefault("5mb_memory", []).append(growth)
        if find_nginx() is None:
            outcome.notes.append(NO_NGINX)
            return outcome
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        other = await stack.enter_async_context(nginx(stage))
        stack.enter_context(stage.profiling("large", hub, outcome))
        for row, ask, connections in (("64kb_nginx", middle, 32), ("5mb_nginx", long, _STREAMS)):
            await check_duties(stage, hub, ask, emsp)
            await ask_once(other.port, [ask], "nginx")
            size = row.partition("_")[0]
            contestants = {
                f"nginx, {size}": asking(other, ask),
                f"hub, {size}": Contestant(hub.measured, hub.port, [[ask]]),
            }
            cpu = await cpu_per_request(stage, outcome, contestants, connections=connections)
            outcome.values[row] = ratios(cpu[f"hub, {size}"], cpu[f"nginx, {size}"])
    return outcome


async def _growth(stage: Stage, hub: RunningHub, ask: Ask) -> float:
    """Give by how many MB the hub's resident memory grows at most while eight answers stream at a time."""
    stage.show_step("memory while 5 MB answers stream")
    before = highest = hub.measured.resident_mb()
    load = asyncio.create_task(send_for(stage.wanted.seconds, hub.port, [[ask]], _STREAMS))
    while not load.done():
        highest = max(highest, hub.measured.resident_mb())
        await asyncio.sleep(_SAMPLE_SECONDS)
    check(await load, "the hub, 5 MB")
    return highest - before
