"""`python -m tests.bench.get_all`: what a page of GET all costs at the start, in the middle and at the end of a list.

A real hub process on an embedded database with made-up locations; one client follows Link from the first page to the
last, and checks that the pages joined are the whole list once. Times are the client's, until the last byte.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import uvloop
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from config.ocpi import TOTAL_COUNT, format_time
from config.settings import PREFIX, Settings, read_settings
from hub.database import Database
from hub.keys import load_secret_keys
from hub.listener import free_ports
from hub.members import Members
from hub.simulator import Answer, SimulatedPlatform
from parties.model import Role
from tests.bench.fill_mirror import fill_shown, find_owners
from tests.bench.processes import Measured, running, wait_for_port
from tests.bench.stage import FOLDER

OWNERS = [f"NL-C{number:02}" for number in range(10)]
BOTH = OWNERS[0]
"""As eMSP it sees all but its own, so that its list is filtered by owner."""
EMSP = "DE-VOL"
REPEATS = 15
_ID = re.compile(rb'"party_id":"C\d\d","id":"LOC(\d+)"')


@dataclass
class Figures:
    """What was measured."""

    milliseconds: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)
    """Of the hub for each page, in milliseconds: what a busy machine does not change."""
    memory: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    size: float = 0.0
    """Of the mirror's table with its indexes, in bytes."""

    async def time(self, name: str, call: Callable[[], Awaitable[Any]], repeats: int = REPEATS) -> Any:
        """Do something some times, and give what it gave last; the first time is not counted."""
        given = await call()
        for _ in range(repeats):
            begin = time.perf_counter()
            given = await call()
            self.milliseconds.setdefault(name, []).append((time.perf_counter() - begin) * 1000)
        return given


class Lists:
    """Asks the hub for lists, and checks what comes."""

    def __init__(self, figures: Figures, hub: Measured, console: Console) -> None:
        self._figures = figures
        self._hub = hub
        self._console = console

    async def page(self, asking: SimulatedPlatform, query: str, sender: str, total: int | None = None) -> Answer:
        """Ask for one page."""
        answer = await asking.call("GET", "locations", "SENDER", to="NL-HUB", sender=sender, query=query)
        if answer.http_status != 200 or total not in (None, int(answer.headers[TOTAL_COUNT])):
            self._figures.failures.append(f"{query}: {answer.http_status}, {answer.headers.get(TOTAL_COUNT)}")
        return answer

    async def crawl(self, name: str, asking: SimulatedPlatform, sender: str, total: int, query: str = "") -> None:
        """Follow Link to the end; a twentieth of the pages at each place makes a figure."""
        times: list[float] = []
        seen: list[int] = []
        cpu_before = self._hub.cpu_seconds()
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task(f"Following Link, {name}", total=total)
            url: str | None = asking.hub_endpoints["locations", "SENDER"] + f"?limit=100{query}"
            while url is not None:
                begin = time.perf_counter()
                answer = await asking.request("GET", url, to="NL-HUB", sender=sender)
                times.append((time.perf_counter() - begin) * 1000)
                seen += [int(number) for number in _ID.findall(answer.body)]
                link = answer.headers.get("Link")
                url = link.partition("<")[2].partition(">")[0] if link else None
                progress.update(task, completed=len(seen))
        if len(seen) != total or any(one >= other for one, other in pairwise(seen)):
            self._figures.failures.append(f"{name}: {len(seen)} of {total} locations, or out of order")
        share = max(len(times) // 20, 1)
        middle = len(times) // 2
        places = {"start": times[:share], "middle": times[middle : middle + share], "end": times[-share:]}
        for place, found in places.items():
            self._figures.milliseconds[f"{name}: {place}"] = found
        self._figures.cpu[name] = (self._hub.cpu_seconds() - cpu_before) / len(times) * 1000
        self._figures.memory[f"after {name}"] = self._hub.resident_mb()


async def measure(settings: Settings, database: Database, hub: Measured, number: int, console: Console) -> Figures:
    """Register, fill, and measure one after the other."""
    figures = Figures()
    members = Members(settings, load_secret_keys(settings), database)
    cpo_roles = [(party, "CPO") for party in OWNERS] + [(BOTH, "EMSP")]
    async with SimulatedPlatform("CPOs", cpo_roles) as cpo, SimulatedPlatform("eMSP", [(EMSP, "EMSP")]) as emsp:
        for member in (cpo, emsp):
            invitation = await members.invite([Role.parse(f"{party}:{role}") for party, role in member.roles])
            answer = await member.register_at(settings.versions_url, invitation.token.reveal())
            assert answer.status_code == 1000, answer.body
        async with database.connection() as connection:
            await fill_shown(connection, await find_owners(connection), number)
            figures.size = await connection.fetchval("SELECT pg_total_relation_size('mirror_object')")
            own = await connection.fetchval("SELECT number FROM mirror_count WHERE owner = $1", BOTH)
            lists = Lists(figures, hub, console)
            await lists.page(emsp, "limit=100", EMSP, number)
            figures.memory["before"] = hub.resident_mb()

            await lists.crawl("all owners", emsp, EMSP, number)
            await lists.crawl("all but its own", cpo, BOTH, number - own)
            for place, offset in (("start", 0), ("middle", number // 2), ("end", number - 100)):
                query = f"offset={offset}&limit=100"
                await figures.time(
                    f"offset without our Link: {place}", lambda q=query: lists.page(emsp, q, EMSP, number)
                )
            now = datetime.now(UTC)
            for name, days in (("older than everything", 3650), ("half of the list", 15), ("the last hour's", 1 / 24)):
                query = f"limit=100&date_from={format_time(now - timedelta(days=days))}"
                await figures.time(f"date_from: {name}", lambda q=query: lists.page(emsp, q, EMSP))
            await measure_sql(figures, connection, number)
            figures.memory["at the end"] = hub.resident_mb()
    return figures


async def measure_sql(figures: Figures, connection: Any, number: int) -> None:
    """Fetch the same bytes by the plainest SQL there is, for comparison."""
    statement = (
        "SELECT body FROM mirror_object WHERE module = 'locations' AND addressee = '' AND position >= $1"
        " ORDER BY position LIMIT 100"
    )
    first = await connection.fetchval("SELECT min(position) FROM mirror_object WHERE module = 'locations'")
    for place, behind in (("start", 0), ("middle", number // 2), ("end", number - 100)):
        await figures.time(f"plain SQL: {place}", lambda at=first + behind: connection.fetch(statement, at))


async def run(number: int) -> int:
    """Measure, print and write the table; exit code 1 when an answer was wrong."""
    console = Console(width=110)
    FOLDER.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-bench-"))
    folder.chmod(0o755)
    hub_port, ops_port = free_ports(2)
    settings = read_settings(port=hub_port, ops_port=ops_port, data_dir=folder / "data")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)} | {
        "OCPI_HUB_PORT": str(hub_port),
        "OCPI_HUB_OPS_PORT": str(ops_port),
        "OCPI_HUB_DATA_DIR": str(folder / "data"),
        "OCPI_HUB_LOG_FORMAT": "json",
    }
    try:
        async with Database(settings) as database:
            command = (sys.executable, "-m", "hub", "serve")
            with running(command, FOLDER / "get-all.log", cores=None, environment=environment) as (hub, _):
                await wait_for_port(hub_port)
                figures = await measure(settings, database, hub, number, console)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(console, figures, number)
    return 1 if figures.failures else 0


def report(console: Console, figures: Figures, number: int) -> None:
    """Print the table and write it as JSON."""
    table = Table("A page of 100", "ms: median", "min", "95 %", "max", "pages")
    for name, values in figures.milliseconds.items():
        ordered = sorted(values)
        cells = (statistics.median(ordered), ordered[0], ordered[int(len(ordered) * 0.95)], ordered[-1])
        table.add_row(name, *(f"{value:.1f}" for value in cells), str(len(values)))
    console.print(table)
    cpu = ", ".join(f"{name} {value:.1f} ms" for name, value in figures.cpu.items())
    memory = ", ".join(f"{name} {value:.0f} MB" for name, value in figures.memory.items())
    console.print(
        f"{number:,} locations, {figures.size / 1e9:.1f} GB with their indexes; the hub's memory: {memory}.\n"
        f"The hub's CPU for a page: {cpu}.\n"
        f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}."
    )
    for failure in figures.failures[:10]:
        console.print(f"[red]Wrong: {failure}[/]")
    path = FOLDER / f"get-all-{time.strftime('%Y%m%d-%H%M%S')}.json"
    content = {
        "machine": platform.platform(),
        "locations": number,
        "milliseconds": {name: sorted(values) for name, values in figures.milliseconds.items()},
        "cpu_milliseconds": figures.cpu,
        "memory_mb": figures.memory,
        "failures": figures.failures,
    }
    path.write_text(json.dumps(content, indent=2))
    console.print(f"Written to {path}")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.get_all", description=__doc__)
    parser.add_argument("--locations", type=int, default=200_000)
    sys.exit(uvloop.run(run(parser.parse_args().locations)))


if __name__ == "__main__":
    main()
