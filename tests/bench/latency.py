"""What one unloaded connection waits longer than without anything in between: the hub's share beside nginx's."""

import statistics
from contextlib import AsyncExitStack

from tests.bench.forward import CPO, EMSP, NOT_MIRRORED, two_members
from tests.bench.load import send_for
from tests.bench.members import add_members
from tests.bench.opponents import NO_NGINX, find_nginx, nginx
from tests.bench.requests import get_session
from tests.bench.stage import Outcome, Stage, check, ratios

_SLICES = 3
"""Short turns, since wall-clock time suffers most from what else the machine does."""


async def measure(stage: Stage) -> Outcome:
    """Measure the medians, in turns."""
    outcome = Outcome()
    if find_nginx() is None:
        outcome.notes.append(NO_NGINX)
        return outcome
    async with AsyncExitStack() as stack:
        database, keys, settings = await stack.enter_async_context(stage.database("latency"))
        cpo, _ = await add_members(database, keys, two_members(stage.upstream_port))
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        other = await stack.enter_async_context(nginx(stage))
        ask = get_session(cpo, CPO, EMSP)
        ports = {"direct": stage.upstream_port, "nginx": other.port, "hub": hub.port}
        medians: dict[str, list[float]] = {name: [] for name in ports}
        for name, port in ports.items():
            check(await send_for(0.3, port, [[ask]], 1), name)
        stack.enter_context(stage.profiling("latency", hub, outcome))
        for turn in range(stage.wanted.rounds):
            seconds: dict[str, list[float]] = {name: [] for name in ports}
            stage.show_step(f"one connection, round {turn + 1} of {stage.wanted.rounds}")
            for slice_ in range(_SLICES):
                order = list(ports.items())
                for name, port in order if slice_ % 2 == 0 else reversed(order):
                    count = await send_for(stage.wanted.seconds / _SLICES, port, [[ask]], 1)
                    check(count, name)
                    seconds[name] += count.seconds
            for name, values in seconds.items():
                medians[name].append(statistics.median(values) * 1e6)
    added = {
        name: [value - direct for value, direct in zip(medians[name], medians["direct"], strict=True)]
        for name in ("nginx", "hub")
    }
    outcome.figures = {f"{name}: median latency, µs": values for name, values in medians.items()}
    outcome.values["latency_nginx"] = ratios(added["hub"], added["nginx"])
    return outcome
