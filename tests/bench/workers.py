"""Two worker processes instead of one: what a request costs in each."""

import subprocess
import sys
from contextlib import AsyncExitStack
from functools import cache

from tests.bench.forward import CPO, EMSP, NOT_MIRRORED, two_members
from tests.bench.members import add_members
from tests.bench.requests import get_session
from tests.bench.stage import Contestant, Outcome, Stage, cpu_per_request, ratios


@cache
def has_workers() -> bool:
    """Whether this hub can run workers."""
    command = (sys.executable, "-m", "hub", "serve", "--help")
    return b"--workers" in subprocess.run(command, capture_output=True, timeout=30, check=False).stdout


async def measure(stage: Stage) -> Outcome:
    """Measure with no process bound to a core: two workers need two."""
    outcome = Outcome()
    if not has_workers():
        outcome.notes.append("this hub has no --workers")
        return outcome
    everywhere = None if stage.cores.measured is None else stage.cores.measured + (stage.cores.others or [])
    async with AsyncExitStack() as stack:
        database, keys, settings = await stack.enter_async_context(stage.database("workers"))
        cpo, _ = await add_members(database, keys, two_members(stage.upstream_port))
        contestants = {}
        for name, number in (("one worker", "1"), ("two workers", "2")):
            context = stage.hub(settings | NOT_MIRRORED, "--workers", number, cores=everywhere)
            hub = await stack.enter_async_context(context)
            contestants[name] = Contestant(hub.measured, hub.port, [[get_session(cpo, CPO, EMSP)]])
        stack.enter_context(stage.profiling("workers", hub, outcome))
        cpu = await cpu_per_request(stage, outcome, contestants)
    outcome.values["two_workers"] = ratios(cpu["two workers"], cpu["one worker"])
    return outcome
