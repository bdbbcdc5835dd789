"""Databases that the many short scenarios hand on: emptying one is quicker than making and dropping one."""

import itertools
import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.conftest import TEMPLATE, dsn_of

_numbers = itertools.count()


@pytest.fixture(scope="session")
def spare_databases() -> list[str]:
    """Names of databases that no test uses at the moment."""
    return []


@pytest.fixture
async def database_url(postgres: str, spare_databases: list[str]) -> AsyncIterator[str]:
    """A migrated database of the test's own, as empty as a new one."""
    if spare_databases:
        name = spare_databases.pop()
    else:
        name = f"scenario_{os.getpid()}_{next(_numbers)}"
        connection = await asyncpg.connect(postgres)
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        await connection.close()
    yield dsn_of(postgres, name)
    await _empty(postgres, name)
    spare_databases.append(name)


async def _empty(postgres: str, name: str) -> None:
    """Empty every table that a migration leaves empty."""
    listing = "SELECT format('%I', relname) FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    template = await asyncpg.connect(dsn_of(postgres, TEMPLATE))
    tables = [table for (table,) in await template.fetch(listing)]
    empty = [table for table in tables if not await template.fetchval(f"SELECT EXISTS (TABLE {table})")]
    await template.close()
    connection = await asyncpg.connect(dsn_of(postgres, name))
    await connection.execute(f"TRUNCATE {', '.join(empty)} RESTART IDENTITY")
    await connection.close()
