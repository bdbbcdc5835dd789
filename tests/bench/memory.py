"""What memory a worker takes, and each connection on which nothing happens."""

import asyncio

from tests.bench.forward import CPO, EMSP, two_members
from tests.bench.load import IdleConnections, send_for
from tests.bench.members import add_members
from tests.bench.processes import memory_mb
from tests.bench.requests import put_session
from tests.bench.stage import Outcome, RunningHub, Stage, WrongAnswer, check
from tests.bench.workers import has_workers

CONNECTIONS = 1000


async def measure(stage: Stage) -> Outcome:
    """Measure a new hub each time, since memory that was taken once is used again."""
    outcome = Outcome()
    arguments = ("--workers", "2") if has_workers() else ()
    async with stage.database("memory") as (database, keys, settings):
        cpo, _ = await add_members(database, keys, two_members(stage.upstream_port))
        ask = put_session(cpo, CPO, EMSP)
        for turn in range(min(stage.wanted.rounds, 3)):
            stage.show_step(f"memory, round {turn + 1}")
            async with stage.hub(settings) as hub:
                check(await send_for(1.0, hub.port, [[ask]], 64), "the hub")
                await asyncio.sleep(0.3)
                before = hub.measured.memory_mb()
                idle = IdleConnections()
                await idle.open(CONNECTIONS, hub.port, ask)
                check(idle.count, "an idle connection")
                await asyncio.sleep(0.3)
                if idle.open_ones != CONNECTIONS:
                    raise WrongAnswer(f"only {idle.open_ones} connections stay open")
                kilobytes = (hub.measured.memory_mb() - before) * 1000 / CONNECTIONS
                idle.close()
            outcome.values.setdefault("idle_connection", []).append(kilobytes)
            async with stage.hub(settings, *arguments) as hub:
                check(await send_for(1.0, hub.port, [[ask]], 64), "the hub")
                outcome.values.setdefault("worker", []).append(_worker_mb(hub))
    return outcome


def _worker_mb(hub: RunningHub) -> float:
    """Give the memory of the largest process: a worker, or the hub that has none."""
    return max(memory_mb(process) for process in hub.measured.members())
