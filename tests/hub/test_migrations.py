"""The schema goes up, down and up again, whoever asks at the same time; a newer one is left alone."""

import asyncio
import itertools
import os
import sys
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path

import asyncpg
import pytest
from pogo_core.util import migrate

from hub.database import Database, SchemaTooNew
from tests.commands import Done, assert_plain_failure, environment, run, run_program
from tests.conftest import dsn_of
from tests.hubs import settings_for
from tests.waiting import until

MIGRATIONS = Path(str(resources.files("hub") / "migrations"))
KNOWN = {path.stem for path in MIGRATIONS.glob("*.sql")}
_numbers = itertools.count()

Connection = asyncpg.Connection


@pytest.fixture
async def empty_url(postgres: str) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    name = f"empty_{os.getpid()}_{next(_numbers)}"
    connection = await asyncpg.connect(postgres)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield dsn_of(postgres, name)
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()


async def schema(connection: Connection) -> set[tuple[str, ...]]:
    """Give everything in the schema apart from the list of migrations itself."""
    rows = await connection.fetch(
        """
        SELECT 'column', table_name::text, column_name::text, data_type::text || is_nullable::text
            || coalesce(column_default, '')
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL
        SELECT 'index', tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL
        SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'trigger', tgrelid::regclass::text, tgname::text, pg_get_triggerdef(oid) FROM pg_trigger
        WHERE NOT tgisinternal
        UNION ALL
        SELECT 'function', proname::text, '', prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        """
    )
    return {tuple(row) for row in rows if "_pogo" not in row[1]}


async def applied(connection: Connection) -> set[str]:
    """Give the migrations noted as applied."""
    return {row[0] for row in await connection.fetch("SELECT migration_id FROM public._pogo_migration")}


async def test_all_migrations_go_up_down_and_up_again(empty_url: str) -> None:
    async with Database(settings_for(empty_url)):
        pass
    connection = await asyncpg.connect(empty_url)
    try:
        assert await applied(connection) == KNOWN
        first = await schema(connection)
        assert {kind for kind, *_ in first} == {"column", "index", "constraint", "trigger", "function"}
        await migrate.rollback(connection, MIGRATIONS, schema_name="public")
        assert await applied(connection) == set()
        assert await schema(connection) == set()
    finally:
        await connection.close()
    async with Database(settings_for(empty_url)):
        pass
    connection = await asyncpg.connect(empty_url)
    try:
        assert await schema(connection) == first
    finally:
        await connection.close()


async def test_opening_a_migrated_database_changes_nothing(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        before = await connection.fetch("SELECT * FROM public._pogo_migration")
        async with Database(settings_for(database_url)):
            assert await connection.fetch("SELECT * FROM public._pogo_migration") == before
    finally:
        await connection.close()


async def test_four_processes_that_migrate_at_once_all_succeed(empty_url: str) -> None:
    program = """
import asyncio, sys
from hub.database import Database
from config.settings import read_settings

async def main():
    async with Database(read_settings()) as database, database.connection() as connection:
        print(await connection.fetchval("SELECT number FROM routing_generation"))

sys.stdin.readline()
asyncio.run(main())
"""
    env = environment(empty_url)
    done = await asyncio.gather(*(run_program(sys.executable, "-c", program, env=env, typed="go\n") for _ in range(4)))
    assert [(each.code, each.out.splitlines()[-1:], each.err) for each in done] == [(0, ["1"], "")] * 4
    connection = await asyncpg.connect(empty_url)
    try:
        assert await applied(connection) == KNOWN
    finally:
        await connection.close()


async def others_wait(connection: Connection) -> bool:
    """Whether another connection to this database has asked for the lock."""
    return await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database() "
        "AND query LIKE '%try_advisory_lock%' AND pid <> pg_backend_pid())"
    )


async def test_a_hub_that_ends_while_migrating_keeps_nobody_out(empty_url: str) -> None:
    holder = await asyncpg.connect(empty_url)
    await holder.execute("SELECT pg_advisory_lock(78257203)")
    opening = asyncio.create_task(Database(settings_for(empty_url)).open())
    await until(lambda: others_wait(holder), "somebody waits for the lock")
    assert not opening.done()
    holder.terminate()
    await asyncio.wait_for(opening, 10)


async def make_newer(database_url: str) -> None:
    """Make the database look as if a newer hub had migrated it."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "INSERT INTO public._pogo_migration (migration_hash, migration_id, applied, schema_name) "
            "VALUES ('f00d', '9999_of_a_later_hub', now(), 'public')"
        )
    finally:
        await connection.close()


async def test_a_newer_schema_is_refused(database_url: str) -> None:
    await make_newer(database_url)
    with pytest.raises(SchemaTooNew):
        async with Database(settings_for(database_url)):
            pass


@pytest.mark.parametrize(
    "arguments",
    [("serve",), ("party", "list"), ("party", "invite", "DE-ABC:EMSP", "--json"), ("routes",)],
    ids=" ".join,
)
async def test_a_newer_schema_is_refused_in_a_plain_sentence(database_url: str, arguments: tuple[str, ...]) -> None:
    await make_newer(database_url)
    done: Done = await run(*arguments, env=environment(database_url, port=0, ops_port=0, public_url="http://localhost"))
    assert_plain_failure(done, "newer hub", "Run that version")
    assert arguments == ("serve",) or done.out == ""
