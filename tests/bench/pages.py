"""A page of GET all from a large mirror: CPU with PostgreSQL's, beside psql fetching the same bytes."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import urlsplit

import aiohttp

from config.ocpi import TOTAL_COUNT
from hub.postgres_guardian.binaries import find_folders, find_wheel
from tests.bench.fill_mirror import fill, find_owners
from tests.bench.members import Member, Wish, add_members
from tests.bench.processes import Measured, running
from tests.bench.stage import Outcome, RunningHub, Stage, WrongAnswer, ratios

OWNERS = tuple(f"NL-C{number:02}" for number in range(10))
EMSP = "DE-VOL"
PAGE = 100
PAGES = 100
"""In each round, as far as the list is long enough."""
# The same rows, as text instead of bytea's hexadecimal digits, which would be twice as long.
_STATEMENT = (
    "SELECT convert_from(body, 'UTF8') FROM mirror_object"
    " WHERE module = 'locations' AND addressee = '' AND position > {after} ORDER BY position LIMIT {limit};\n"
)


@dataclass(frozen=True, slots=True)
class _Round:
    pages: list[bytes]
    cpu_ms: float
    wall_ms: float


class _Lists:
    """Follows Link through the hub's list."""

    def __init__(self, hub: RunningHub, session: aiohttp.ClientSession, asking: Member) -> None:
        self._hub = hub
        self._session = session
        self._headers = {
            "Authorization": asking.authorization,
            "X-Request-ID": "6f1b0a3e-1111-4222-8333-444455556666",
            "X-Correlation-ID": "7f1b0a3e-1111-4222-8333-444455556666",
            "OCPI-from-country-code": EMSP[:2],
            "OCPI-from-party-id": EMSP[3:],
            "OCPI-to-country-code": "NL",
            "OCPI-to-party-id": "HUB",
        }

    async def get(self, query: str, total: int) -> tuple[bytes, str]:
        """Give a page and the query of the next one. Raises WrongAnswer."""
        url = f"http://127.0.0.1:{self._hub.port}/ocpi/2.2.1/sender/locations?{query}"
        async with self._session.get(url, headers=self._headers) as answer:
            body = await answer.read()
            if answer.status != 200 or int(answer.headers.get(TOTAL_COUNT, -1)) != total:
                raise WrongAnswer(f"a page: {answer.status}, {answer.headers.get(TOTAL_COUNT)} of {total} locations")
            link = answer.headers.get("Link", "").partition("<")[2].partition(">")[0]
            return body, urlsplit(link).query


@asynccontextmanager
async def _psql(stage: Stage, url: str) -> AsyncIterator[tuple[Measured, "subprocess.Popen[bytes]"]]:
    found = (folder / "psql" for folder in find_folders(find_wheel()))  # first the one of the server's own version
    program = next((str(path) for path in found if path.exists()), None) or shutil.which("psql")
    if program is None:
        raise WrongAnswer("there is no psql")
    command = (program, "--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "--dbname", url)
    with running(command, stage.folder / "psql.log", cores=stage.cores.measured, pipes=True) as started:
        yield started


async def measure(stage: Stage) -> Outcome:
    """Fill a mirror, and read it at the start, in the middle and at the end by turns."""
    outcome, number = Outcome(), stage.wanted.locations
    pages = max(1, min(PAGES, number // PAGE // 4))
    async with stage.database("pages") as (database, keys, settings):
        wishes = [Wish(tuple(f"{owner}:CPO" for owner in OWNERS), {}), Wish((f"{EMSP}:EMSP",), {})]
        _, emsp = await add_members(database, keys, wishes)
        filled = 0

        def show_filled(size: int) -> None:
            nonlocal filled
            filled += size
            stage.show_step(f"filling the mirror, {filled:,} of {number:,} locations")

        async with database.connection() as connection:
            await fill(connection, await find_owners(connection), number, show_filled)
            first = await connection.fetchval("SELECT min(position) FROM mirror_object")
        async with (
            stage.hub(settings) as hub,
            aiohttp.ClientSession() as session,
            _psql(stage, settings["DATABASE_URL"]) as (psql, process),
        ):
            lists = _Lists(hub, session, emsp)
            await _by_hub(stage, hub, lists, 0, pages, number)
            await _by_psql(stage, psql, process, first - 1, pages)
            with stage.profiling("pages", hub, outcome):
                for turn in range(stage.wanted.rounds):
                    stage.show_step(f"pages, round {turn + 1} of {stage.wanted.rounds}")
                    # The start, the middle and the end; a page before it, which is asked for by offset, is not counted.
                    offset = (0, number // 2, number - (pages + 1) * PAGE)[turn % 3]
                    ours = await _by_hub(stage, hub, lists, offset, pages, number)
                    theirs = await _by_psql(stage, psql, process, first + offset + PAGE - 1, pages)
                    compare(ours.pages, theirs.pages)
                    for name, found in (("hub", ours), ("psql", theirs)):
                        outcome.figures.setdefault(f"{name}: CPU with PostgreSQL's, ms", []).append(found.cpu_ms)
                        outcome.figures.setdefault(f"{name}: time, ms", []).append(found.wall_ms)
    cpu = outcome.figures
    outcome.values["page"] = ratios(cpu["hub: CPU with PostgreSQL's, ms"], cpu["psql: CPU with PostgreSQL's, ms"])
    outcome.notes.append(f"{number:,} locations, {pages} pages in each round")
    return outcome


async def _by_hub(stage: Stage, hub: RunningHub, lists: _Lists, offset: int, number: int, total: int) -> _Round:
    _, query = await lists.get(f"offset={offset}&limit={PAGE}", total)
    pages = []
    cpu, began = hub.measured.cpu_seconds() + stage.postgres.cpu_seconds(), time.perf_counter()
    for _ in range(number):
        page, query = await lists.get(query, total)
        pages.append(page)
    wall = time.perf_counter() - began
    cpu = hub.measured.cpu_seconds() + stage.postgres.cpu_seconds() - cpu
    return _Round(pages, cpu / number * 1000, wall / number * 1000)


async def _by_psql(stage: Stage, psql: Measured, process: "subprocess.Popen[bytes]", after: int, number: int) -> _Round:
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def read_page(place: int) -> bytes:
        stdin.write(_STATEMENT.format(after=place, limit=PAGE).encode())
        stdin.flush()
        rows = [stdout.readline().rstrip(b"\n") for _ in range(PAGE)]
        return b"[" + b",".join(rows) + b"]"

    pages = []
    cpu, began = psql.cpu_seconds() + stage.postgres.cpu_seconds(), time.perf_counter()
    for page in range(number):
        pages.append(await asyncio.to_thread(read_page, after + page * PAGE))
    wall = time.perf_counter() - began
    cpu = psql.cpu_seconds() + stage.postgres.cpu_seconds() - cpu
    return _Round(pages, cpu / number * 1000, wall / number * 1000)


def compare(ours: list[bytes], theirs: list[bytes]) -> None:
    """Make sure that both read the same list. Raises WrongAnswer."""
    for one, other in zip(ours, theirs, strict=True):
        if json.loads(one)["data"] != json.loads(other):
            raise WrongAnswer("a page of the hub's is not what the database has there")
    if any(one == other for one, other in pairwise(theirs)):
        raise WrongAnswer("a page came twice")
