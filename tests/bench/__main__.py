"""`make bench`: CPU per forwarded request, hub and bare proxy side by side.

Both forward to the same receiver; the hub does all its duties: authentication, routing, the JSON check of both bodies,
metrics and a log line for each request (to a file). Rounds alternate, so that a machine whose speed drifts slows both;
what counts is the ratio within a round. CPU is user and system time of the measured process.
"""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import uvloop
from rich.console import Console
from rich.progress import track
from rich.table import Table

from config.settings import PREFIX, read_settings
from hub.addresses import AddressGuard
from hub.database import Database
from hub.keys import load_secret_keys
from hub.listener import free_ports
from hub.members import Members
from hub.simulator import SimulatedPlatform
from parties.model import Role
from tests.bench.load import send_for
from tests.bench.upstream import answer_body

FOLDER = Path("bench-results")
CPO, EMSP = "NL-AMB", "DE-VOL"


@contextmanager
def process(*command: str, core: int | None, environment: dict[str, str] | None = None) -> Iterator[psutil.Process]:
    """Run a Python process, on one core where that can be asked for."""
    with open(FOLDER / f"{Path(command[-1]).name or 'process'}.log", "ab") as log:
        started = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=environment)
    found = psutil.Process(started.pid)
    if core is not None and hasattr(found, "cpu_affinity"):
        found.cpu_affinity([core])
    try:
        yield found
    finally:
        started.terminate()
        started.wait(15)


def cpu_seconds(measured: psutil.Process) -> float:
    """Give the CPU time a process has used."""
    times = measured.cpu_times()
    return float(times.user + times.system)


def request_bytes(method: str, url_path: str, port: int, headers: dict[str, str], body: bytes) -> bytes:
    """Give a request as it goes over the wire."""
    lines = [f"{method} {url_path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Accept: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


async def wait_for_port(port: int) -> None:
    """Wait until something listens."""
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


async def run(rounds: int, seconds: float, connections: int) -> int:
    """Measure, print and write the table; exit code 1 when an answer was wrong."""
    console = Console(width=110)
    FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-bench-"))
    folder.chmod(0o755)
    cores = os.cpu_count() or 1
    measured_core, other_core = (0, 1) if cores > 1 else (None, None)
    if other_core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {other_core})
    hub_port, ops_port, proxy_port, upstream_port = free_ports(4)
    settings = read_settings(port=hub_port, ops_port=ops_port, data_dir=folder / "data", max_in_flight=256)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    environment |= {
        "OCPI_HUB_PORT": str(hub_port),
        "OCPI_HUB_OPS_PORT": str(ops_port),
        "OCPI_HUB_DATA_DIR": str(folder / "data"),
        "OCPI_HUB_LOG_FORMAT": "json",
        "OCPI_HUB_MAX_IN_FLIGHT": "256",
        "OCPI_HUB_PULLS": "off",  # nothing but what is measured
    }
    figures: dict[str, dict[str, list[float]]] = {}
    failures = 0
    try:
        async with Database(settings) as database:
            members = Members(settings, load_secret_keys(settings), database)
            with (
                process("-m", "tests.bench.upstream", str(upstream_port), core=other_core),
                process("-m", "hub", "serve", core=measured_core, environment=environment) as hub,
                process(
                    "-m",
                    "tests.bench.bare_proxy",
                    str(proxy_port),
                    f"http://127.0.0.1:{upstream_port}",
                    core=measured_core,
                ) as proxy,
            ):
                for port in (upstream_port, hub_port, proxy_port):
                    await wait_for_port(port)
                token = await register(members, settings.versions_url, upstream_port)
                requests = make_requests(hub_port, token)
                body = answer_body()
                for path, port in (("hub", hub_port), ("proxy", proxy_port)):
                    for name, request in requests.items():
                        warm = await send_for(1.0, port, request, body, connections)
                        if warm.failures or not warm.answers:
                            console.print(f"[red]{path} {name}: {warm.failures} wrong answers before timing[/]")
                            return 1
                plan = [(number, name) for number in range(rounds) for name in requests]
                for number, name in track(plan, "Measuring", console=console, transient=True):
                    pair = [("hub", hub, hub_port), ("proxy", proxy, proxy_port)]
                    for path, measured, port in pair if number % 2 == 0 else reversed(pair):
                        before = cpu_seconds(measured)
                        count = await send_for(seconds, port, requests[name], body, connections)
                        used = cpu_seconds(measured) - before
                        failures += count.failures
                        figures.setdefault(name, {}).setdefault(path, []).append(used / count.answers * 1e6)
                memory = hub.memory_info().rss / 1e6
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(console, figures, rounds, seconds, connections, failures, memory)
    return 1 if failures else 0


async def register(members: Members, versions_url: str, upstream_port: int) -> str:
    """Register a CPO and an eMSP; the eMSP's modules are at the bench's receiver. Gives the CPO's token."""
    async with (
        SimulatedPlatform("Bench CPO", [(CPO, "CPO")]) as cpo,
        SimulatedPlatform("Bench eMSP", [(EMSP, "EMSP")]) as emsp,
    ):
        for member, role in ((cpo, f"{CPO}:CPO"), (emsp, f"{EMSP}:EMSP")):
            invitation = await members.invite([Role.parse(role)])
            answer = await member.register_at(versions_url, invitation.token.reveal())
            assert answer.status_code == 1000, answer.body
        platform = await members.platform_of(Role.parse(f"{EMSP}:EMSP").party)
        guard = AddressGuard(members.settings.member_networks, allow_http=True)
        url = f"http://127.0.0.1:{upstream_port}/ocpi/2.2.1/receiver/sessions/"
        await members.set_switches(platform, [f"endpoint.sessions.RECEIVER={url}"], guard)
        await asyncio.sleep(2)  # the hub follows within a second
        assert cpo.hub_token is not None
        return cpo.hub_token


def make_requests(port: int, token: str) -> dict[str, bytes]:
    """Give the two requests that are measured."""
    headers = {
        "Authorization": f"Token {b64encode(token.encode()).decode()}",
        "X-Request-ID": "6f1b0a3e-1111-4222-8333-444455556666",
        "X-Correlation-ID": "7f1b0a3e-1111-4222-8333-444455556666",
        "OCPI-from-country-code": CPO[:2],
        "OCPI-from-party-id": CPO[3:],
        "OCPI-to-country-code": EMSP[:2],
        "OCPI-to-party-id": EMSP[3:],
    }
    path = f"/ocpi/2.2.1/receiver/sessions/{CPO.replace('-', '/')}/S1"
    body = json.dumps({"country_code": CPO[:2], "party_id": CPO[3:], "id": "S1", "note": "z" * 950}).encode()
    return {
        "GET, 1 kB answer": request_bytes("GET", path, port, headers, b""),
        "PUT, 1 kB body": request_bytes("PUT", path, port, headers, body),
    }


def report(
    console: Console,
    figures: dict[str, dict[str, list[float]]],
    rounds: int,
    seconds: float,
    connections: int,
    failures: int,
    memory: float,
) -> None:
    """Print the table and write it as JSON."""
    table = Table("Request", "Path", "CPU, µs each: min", "median", "max", "hub / proxy: min", "median", "max")
    summary: dict[str, object] = {}
    for name, paths in figures.items():
        ratios = [hub / proxy for hub, proxy in zip(paths["hub"], paths["proxy"], strict=True)]
        for path, values in paths.items():
            cells = [f"{min(values):.0f}", f"{statistics.median(values):.0f}", f"{max(values):.0f}"]
            if path == "hub":
                cells += [f"{min(ratios):.2f}", f"[bold]{statistics.median(ratios):.2f}[/]", f"{max(ratios):.2f}"]
            table.add_row(name, path, *cells)
        summary[name] = {"microseconds": paths, "ratios": ratios, "median_ratio": statistics.median(ratios)}
    console.print(table)
    console.print(
        f"{rounds} rounds of {seconds:g} s each, alternating, {connections} connections; {failures} wrong answers; "
        f"the hub's memory at the end: {memory:.0f} MB.\n{platform.platform()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}."
    )
    path = FOLDER / f"{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps({"machine": platform.platform(), "rounds": rounds, "figures": summary}, indent=2))
    console.print(f"Written to {path}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="per measurement")
    parser.add_argument("--connections", type=int, default=64)
    chosen = parser.parse_args()
    sys.exit(uvloop.run(run(chosen.rounds, chosen.seconds, chosen.connections)))


if __name__ == "__main__":
    main()
