"""What every measurement plays on: a PostgreSQL, receivers, hubs and their opponents, and rounds that alternate."""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
from rich.console import Console

from config.settings import PREFIX, read_settings
from hub.database import Database
from hub.keys import load_secret_keys
from hub.listener import free_ports
from parties.tokens import SecretKeys
from tests.bench.load import Ask, Count, send_for, send_number
from tests.bench.processes import Cores, Measured, py_spy, running, wait_for_port
from tests.bench.upstream import Upstream

FOLDER = Path("bench-results")
_SECRET_KEY = "bench-only-secret-key-0123456789abcdef"


class WrongAnswer(Exception):
    """What was to be measured did not do what it should; its figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asks for."""

    rounds: int
    seconds: float
    """Of load, for each contestant in each round."""
    connections: int
    locations: int
    broadcasts: int
    """In each round."""
    profile: str
    """The measurement whose hub is profiled; empty: none."""


@dataclass(slots=True)
class Outcome:
    """What a measurement came to."""

    values: dict[str, list[float]] = field(default_factory=dict)
    """By row, one for each round."""
    figures: dict[str, list[float]] = field(default_factory=dict)
    """What they were made of, for whoever wants to look: CPU in µs for each request and so on."""
    notes: list[str] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    """Of each contestant to all of its load."""


@dataclass(frozen=True, slots=True)
class Contestant:
    """Something that answers requests, and what it is asked."""

    measured: Measured
    port: int
    asks: Sequence[Sequence[Ask]]


@dataclass(frozen=True, slots=True)
class RunningHub:
    """A hub in a process of its own."""

    measured: Measured
    port: int
    ops_port: int
    log: Path

    async def check_accounts(self, answers: int) -> None:
        """Make sure that every request was counted and logged, these and few others. Raises WrongAnswer."""
        counted = logged = 0.0
        for _ in range(40):  # lines are written every tenth of a second
            counted = sum(await self.read_metrics("ocpi_hub_requests_total"))
            logged = self.log.read_bytes().count(b'"event":"request"')
            if counted == logged and answers <= logged <= answers + 20:
                return
            await asyncio.sleep(0.05)
        raise WrongAnswer(f"of {answers} answers the hub counted {counted:.0f} and logged {logged:.0f}")

    async def read_metrics(self, name: str) -> list[float]:
        """Give every value of a metric, whatever its labels."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ops_port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        try:
            async with asyncio.timeout(10):
                text = await reader.read(-1)
        finally:
            writer.close()
        pattern = rb"^%s(?:\{.*\})? (\S+)$" % name.encode()
        return [float(value) for value in re.findall(pattern, text, re.MULTILINE)]

    async def read_metric(self, name: str) -> float:
        """Give the value of a metric that has one. Raises WrongAnswer."""
        match await self.read_metrics(name):
            case [value]:
                return value
        raise WrongAnswer(f"the hub's metrics do not tell {name}")


@dataclass(frozen=True, slots=True)
class Stage:
    """What measurements share."""

    console: Console
    wanted: Wanted
    cores: Cores
    folder: Path
    upstream: Upstream
    upstream_port: int
    postgres_url: str
    postgres: Measured
    """The server with its backends."""
    show_step: Callable[[str], None]

    @asynccontextmanager
    async def database(self, name: str) -> AsyncIterator[tuple[Database, SecretKeys, dict[str, str]]]:
        """Give a new, empty database of the hub's, with the settings by which a hub uses it."""
        connection = await asyncpg.connect(self.postgres_url)
        try:
            await connection.execute(f"CREATE DATABASE bench_{name}")
        finally:
            await connection.close()
        url = urlsplit(self.postgres_url)._replace(path=f"/bench_{name}").geturl()
        settings = read_settings(database_url=url, secret_key=_SECRET_KEY)
        async with Database(settings) as database:
            yield database, load_secret_keys(settings), {"DATABASE_URL": url, "SECRET_KEY": _SECRET_KEY}

    @asynccontextmanager
    async def hub(
        self, settings: Mapping[str, str], *arguments: str, cores: list[int] | None = None
    ) -> AsyncIterator[RunningHub]:
        """Run `ocpi-hub serve` with all its duties, and nothing of its own accord: no pulls, no still-alive checks."""
        port, ops_port = free_ports(2)
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        given = {
            "PORT": str(port),
            "OPS_PORT": str(ops_port),
            "LOG_FORMAT": "json",
            "MAX_IN_FLIGHT": "256",
            "PULLS": "off",
            "SILENCE": "86400",
            "NETWORK": "closed",
            **settings,
        }
        environment |= {PREFIX + name: value for name, value in given.items()}
        environment["PYTHONPATH"] = str(Path(__file__).parents[2])  # this very checkout, whatever is installed
        command = (sys.executable, "-m", "hub", "serve", *arguments)
        log = self.folder / f"hub-{port}.log"
        with running(command, log, cores=cores or self.cores.measured, environment=environment) as (measured, process):
            try:
                await wait_for_port(port)
                await self._until_ready(ops_port)
            except (TimeoutError, OSError) as exc:
                told = log.read_text(errors="replace")[-1000:]
                raise WrongAnswer(f"the hub does not answer (exit code {process.poll()}): {told}") from exc
            yield RunningHub(measured, port, ops_port, log)

    async def _until_ready(self, ops_port: int) -> None:
        """Wait until the hub routes by the table that is in the database."""
        await wait_for_port(ops_port)
        for _ in range(200):
            reader, writer = await asyncio.open_connection("127.0.0.1", ops_port)
            writer.write(b"GET /ready HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            async with asyncio.timeout(10):
                answer = await reader.read(-1)
            writer.close()
            if answer.startswith(b"HTTP/1.1 200"):
                return
            await asyncio.sleep(0.05)
        raise TimeoutError

    @contextmanager
    def profiling(self, measurement: str, hub: RunningHub, outcome: Outcome) -> Iterator[None]:
        """Profile a hub meanwhile, if the command line asks for it."""
        wanted = self.wanted.profile == measurement
        path = FOLDER / f"profile-{measurement}.svg" if wanted else None
        with py_spy(hub.measured, path) as problem:
            yield
        if path is not None:
            outcome.notes.append(problem or f"profile of the hub: {path}")


async def refused(port: int, request: bytes, status: int, what: str) -> None:
    """Make sure that a request is refused with this HTTP status. Raises WrongAnswer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            answer = await reader.read(64 * 1024)
    finally:
        writer.close()
    if not answer.startswith(f"HTTP/1.1 {status} ".encode()) or b'"status_code":1' in answer:
        raise WrongAnswer(f"{what} was not refused: {answer[:300].decode(errors='replace')}")


async def ask_once(port: int, asks: Sequence[Ask], what: str) -> None:
    """Send each request once, and compare the answers. Raises WrongAnswer."""
    check(await send_number(len(asks), port, asks), what)


def check(count: Count, what: str) -> None:
    """Refuse to go on with wrong answers. Raises WrongAnswer."""
    if count.failures or not count.answers:
        example = count.example.decode(errors="replace")
        raise WrongAnswer(f"{what}: {count.failures} wrong answers beside {count.answers} right ones. {example}")


async def cpu_per_request(
    stage: Stage,
    outcome: Outcome,
    contestants: Mapping[str, Contestant],
    *,
    connections: int | None = None,
    settle: Callable[[str], Any] | None = None,
) -> dict[str, list[float]]:
    """Load one contestant after the other, in turns; give µs of CPU for each request, by contestant and round.

    It also notes them among the figures, with how busy each contestant was: if not nearly all of the time, it was
    waiting for the load. `settle` is awaited after each, within what is measured, until what was put off is done.
    """
    wanted, result = stage.wanted, dict[str, list[float]]()
    number = connections or wanted.connections
    for name, contestant in contestants.items():
        stage.show_step(f"{name}, warming up")
        count = await send_for(min(wanted.seconds, 1.0), contestant.port, contestant.asks, number)
        check(count, name)
        outcome.answers[name] = outcome.answers.get(name, 0) + count.answers
        if settle is not None:
            await settle(name)
    for turn in range(wanted.rounds):
        order = list(contestants.items())
        for name, contestant in order if turn % 2 == 0 else reversed(order):
            stage.show_step(f"{name}, round {turn + 1} of {wanted.rounds}")
            before, began = contestant.measured.cpu_seconds(), time.perf_counter()
            count = await send_for(wanted.seconds, contestant.port, contestant.asks, number)
            check(count, name)
            outcome.answers[name] += count.answers
            if settle is not None:
                await settle(name)
            used = contestant.measured.cpu_seconds() - before
            result.setdefault(name, []).append(used / count.answers * 1e6)
            outcome.figures.setdefault(f"{name}: CPU, µs", []).append(used / count.answers * 1e6)
            busy = used / (time.perf_counter() - began) * 100
            outcome.figures.setdefault(f"{name}: busy, %", []).append(busy)
    return result


def ratios(one: Sequence[float], other: Sequence[float]) -> list[float]:
    """Give the ratio of each round."""
    return [a / b for a, b in zip(one, other, strict=True)]
