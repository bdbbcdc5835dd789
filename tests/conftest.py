"""What every test may ask for: a database of its own, a hub on it, and platforms registered there."""

import asyncio
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
from tests.hubs import HubOnTest, settings_for
from tests.shelf import Shelf

_numbers = itertools.count()
TEMPLATE = "hub_template"


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


@pytest.fixture
async def database_url(postgres: str) -> AsyncIterator[str]:
    """A migrated database of the test's own."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    await _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
    yield dsn_of(postgres, name)
    await _execute(postgres, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


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
