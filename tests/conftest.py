"""What every test may ask for: a database of its own, a hub on it, and platforms registered there."""

import asyncio
import contextlib
import itertools
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from config.settings import PREFIX
from hub.database import Database
from hub.embedded_postgres import EmbeddedPostgres
from tests.hubs import FAST_LANE_VARIABLE, HubOnTest, settings_for
from tests.shelf import Shelf

_numbers = itertools.count()
TEMPLATE = "hub_template"


ONE_LANE_IS_ENOUGH = {
    "test_lanes": "about what is broadcast, which never takes the fast lane",
    "test_lanes_recover": "the same",
    "test_open_authorize": "about what the hub asks by itself",
    "test_restart": "about processes",
    "test_s12_broadcast": "about what is broadcast",
    "test_s13_broadcast_limits": "the same",
    "test_s14_no_queue": "the same",
    "test_takeover": "about processes",
    "test_two_hubs": "the same",
}
"""Scenarios that run with the fast lane only, which serves little or nothing of them, and why; all others run twice."""
FORWARDING = {"test_metrics", "test_trace"}
"""Tests in tests/hub/ that run twice too."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Let every test about forwarding run with the fast lane and without."""
    path = metafunc.definition.path
    room, name = path.parent.name, path.stem
    is_doubled = name not in ONE_LANE_IS_ENOUGH if room == "scenarios" else room == "hub" and name in FORWARDING
    if is_doubled and {"hub", "start_hub"} & set(metafunc.fixturenames):
        metafunc.parametrize("lane", ["fast", "ordinary"], indirect=True)


@pytest.fixture(autouse=True)
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the fast lane where a test runs a second time."""
    if getattr(request, "param", "fast") == "ordinary":
        monkeypatch.setenv(FAST_LANE_VARIABLE, "off")


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see their own settings only."""
    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL for the session, with a migrated template database; gives its DSN without a database name."""
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-tests-"))
    folder.chmod(0o755)
    server = EmbeddedPostgres(folder / "data")
    with asyncio.Runner() as runner:
        dsn = runner.run(server.acquire())

        async def make_template() -> None:
            # What a test writes need not survive a power cut, so nothing waits for the disk.
            await _execute(dsn, "ALTER SYSTEM SET fsync = off")
            await _execute(dsn, "SELECT pg_reload_conf()")
            await _execute(dsn, f"CREATE DATABASE {TEMPLATE}")
            async with Database(settings_for(dsn_of(dsn, TEMPLATE))):
                pass

        runner.run(make_template())
        yield dsn
        runner.run(server.release())
    shutil.rmtree(folder, ignore_errors=True)


def dsn_of(dsn: str, name: str) -> str:
    """Give the DSN of another database of the same server."""
    base, _, query = dsn.partition("?")
    return f"{base.rpartition('/')[0]}/{name}" + (f"?{query}" if query else "")


async def _execute(dsn: str, statement: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@contextlib.asynccontextmanager
async def _a_database(postgres: str) -> AsyncIterator[str]:
    """A migrated database, whose files are copied: half the time of writing it into the log page by page."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    yield dsn_of(postgres, name)
    await _execute(postgres, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
async def database_url(postgres: str) -> AsyncIterator[str]:
    """A database of the test's own."""
    async with _a_database(postgres) as url:
        yield url


@pytest.fixture
async def another_database_url(postgres: str) -> AsyncIterator[str]:
    """A second one, for a hub that is to be compared with another."""
    async with _a_database(postgres) as url:
        yield url


@pytest.fixture
async def shelf(database_url: str) -> AsyncIterator[Shelf]:
    """The mirror in the test's database, to put objects into."""
    async with Shelf.on(database_url) as opened:
        yield opened


@pytest.fixture
async def start_hub(database_url: str) -> AsyncIterator[Callable[..., Awaitable[HubOnTest]]]:
    """Starts hubs in this process on the test's database, with settings by name; stops them at the end."""
    running: list[HubOnTest] = []

    async def start(**settings: object) -> HubOnTest:
        hub = HubOnTest(settings_for(database_url, **settings))
        running.append(hub)
        await hub.start()
        return hub

    yield start
    for hub in reversed(running):
        await hub.stop()


@pytest.fixture
async def hub(start_hub: Callable[..., Awaitable[HubOnTest]]) -> HubOnTest:
    """A hub with short time limits."""
    return await start_hub()
