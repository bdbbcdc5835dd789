"""A broadcast of a 1 kB PUT to 1,000 receivers: the hub's CPU beside that of aiohttp's client sending the same."""

import asyncio
import subprocess
import sys
from itertools import count

from tests.bench.load import Ask, send_number
from tests.bench.members import Member, Wish, add_members, party_name
from tests.bench.processes import Measured, running
from tests.bench.requests import make_request, padded
from tests.bench.stage import Outcome, RunningHub, Stage, WrongAnswer, check, ratios

RECEIVERS = 1000
EMSP = "DE-VOL"
_PATH = "/ocpi/2.2.1/receiver/tokens"
_LAG = "ocpi_hub_event_loop_lag_max_seconds"
_ARRIVAL_SECONDS = 60


def a_push(member: Member, number: int) -> Ask:
    """Give the PUT of one more token to the whole network."""
    uid = f"TOKEN{number}"
    fields: dict[str, object] = {
        "country_code": EMSP[:2],
        "party_id": EMSP[3:],
        "uid": uid,
        "type": "RFID",
        "contract_id": "DE-VOL-C1",
        "issuer": "Bench",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": "2026-01-01T00:00:00Z",
    }
    path = f"{_PATH}/{EMSP[:2]}/{EMSP[3:]}/{uid}"
    request = make_request("PUT", path, member, EMSP, "NL-HUB", padded(fields, "visual_number"))
    return Ask(request, start=b'{"status_code":1000,')


async def measure(stage: Stage) -> Outcome:
    """Measure CPU for each delivery, and the event loop's lag by the hub's own metric."""
    outcome = Outcome()
    ports = await stage.upstream.listen(RECEIVERS)
    async with stage.database("broadcast") as (database, keys, settings):
        receivers = [
            Wish((f"{party_name(n)}:CPO",), {("tokens", "RECEIVER"): f"http://127.0.0.1:{port}{_PATH}"})
            for n, port in enumerate(ports)
        ]
        sender, *_ = await add_members(database, keys, [Wish((f"{EMSP}:EMSP",), {}), *receivers])
        body = a_push(sender, 0).request.partition(b"\r\n\r\n")[2].decode()
        command = (sys.executable, "-m", "tests.bench.session_sends", f"{_PATH}/DE/VOL/TOKEN0", body)
        log = stage.folder / "session_sends.log"
        async with stage.hub(settings) as hub:
            with running(command, log, cores=stage.cores.measured, pipes=True) as (session, process):
                assert process.stdin is not None
                process.stdin.write(" ".join(map(str, ports)).encode() + b"\n")
                numbers = count(1)
                stage.show_step("warming up")
                await _wait_for_lanes(hub)
                await _broadcast(stage, hub, sender, numbers, 1)
                await _send(stage, process, 1)
                with stage.profiling("broadcast", hub, outcome):
                    for turn in range(stage.wanted.rounds):
                        stage.show_step(f"broadcasts, round {turn + 1} of {stage.wanted.rounds}")
                        await _round(stage, outcome, hub, sender, numbers, session, process)
    ours, theirs = outcome.figures["hub: CPU, µs"], outcome.figures["ClientSession: CPU, µs"]
    outcome.values["fan_out"] = ratios(ours, theirs)
    return outcome


async def _round(
    stage: Stage,
    outcome: Outcome,
    hub: RunningHub,
    sender: Member,
    numbers: "count[int]",
    session: Measured,
    process: "subprocess.Popen[bytes]",
) -> None:
    number = stage.wanted.broadcasts
    await _broadcast(stage, hub, sender, numbers, 1)  # connections that were idle meanwhile may have been closed
    await hub.read_metric(_LAG)  # the worst since it was last read
    before = hub.measured.cpu_seconds()
    await _broadcast(stage, hub, sender, numbers, number)
    hub_us = (hub.measured.cpu_seconds() - before) / number / RECEIVERS * 1e6
    lag = await hub.read_metric(_LAG)  # now: what follows has the same core
    before = session.cpu_seconds()
    await _send(stage, process, number)
    session_us = (session.cpu_seconds() - before) / number / RECEIVERS * 1e6
    outcome.figures.setdefault("hub: CPU, µs", []).append(hub_us)
    outcome.figures.setdefault("ClientSession: CPU, µs", []).append(session_us)
    outcome.values.setdefault("fan_out_lag", []).append(lag * 1000)


async def _wait_for_lanes(hub: RunningHub) -> None:
    """Wait until the hub has taken up the lane of every receiver, which it does one after the other."""
    for _ in range(_ARRIVAL_SECONDS * 4):
        if len(await hub.read_metrics("ocpi_hub_lane_depth")) == RECEIVERS + 1:
            return
        await asyncio.sleep(0.25)
    raise WrongAnswer(f"the hub has not taken up the lanes of {RECEIVERS} receivers")


async def _broadcast(stage: Stage, hub: RunningHub, sender: Member, numbers: "count[int]", number: int) -> None:
    """Push some tokens, the next one when the last has arrived everywhere. Raises TimeoutError."""
    for _ in range(number):
        expected = stage.upstream.requests + RECEIVERS
        check(await send_number(1, hub.port, [a_push(sender, next(numbers))]), "a broadcast")
        await stage.upstream.wait_for(expected, _ARRIVAL_SECONDS)
        if stage.upstream.requests != expected:
            raise WrongAnswer(f"{stage.upstream.requests - expected} deliveries too many")


async def _send(stage: Stage, process: "subprocess.Popen[bytes]", number: int) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for _ in range(number):
        process.stdin.write(b"send\n")
        process.stdin.flush()
        answered = await asyncio.to_thread(process.stdout.readline)
        if int(answered or 0) != RECEIVERS:
            raise WrongAnswer(f"ClientSession had {int(answered or 0)} answers of {RECEIVERS}")
