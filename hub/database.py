"""The database: open it (an embedded one if none is named), bring its schema up to date, lend out connections."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

import asyncpg
import structlog
from pogo_core.util import migrate, sql

from config.ocpi import ServerError
from config.settings import Settings
from hub.embedded_postgres import EmbeddedPostgres
from parties import store
from parties.store import Connection

_MIGRATION_LOCK = 78257203
_SCHEMA = "public"
_quiet = logging.Logger("migrations", level=logging.ERROR)

log = structlog.get_logger()

AWAY = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # it starts, shuts down, or its operator ended the session
    asyncpg.TooManyConnectionsError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    TimeoutError,
)
"""What asyncpg raises when the server cannot be reached, stops, or does not answer."""


class DatabaseAway(ServerError):
    """The hub's database cannot be reached at the moment; try again shortly."""


class DatabaseRefused(Exception):
    """The database turns the hub away, or its URL is none; the message says why and names the setting."""


class SchemaTooNew(Exception):
    """The database was written by a newer hub than this one. Run that version, or use a database of its own here."""


class Database:
    """A pool of connections that comes back by itself when the server was away."""

    def __init__(self, settings: Settings) -> None:
        self._embedded = None if settings.database_url else EmbeddedPostgres(settings.data_dir)
        self._dsn = settings.database_url.get_secret_value() if settings.database_url else ""
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._vital: asyncpg.Pool[asyncpg.Record] | None = None
        """One connection for what must not wait behind slow queries: saying that this process lives."""
        self._opening = asyncio.Lock()

    async def open(self) -> None:
        """Connect, and migrate the schema under an advisory lock.

        Raises EmbeddedPostgresError, DatabaseRefused, SchemaTooNew, and what AWAY lists when the server cannot be
        reached.
        """
        async with self._opening:
            if self._embedded is not None:
                self._dsn = await self._embedded.acquire()
            if self._pool is None:
                connection = await self._connect_first()
                try:
                    await _migrate(connection)
                finally:
                    await connection.close(timeout=5)
                self._pool, self._vital = await self._make_pool(8), await self._make_pool(1)

    async def _make_pool(self, connections: int) -> "asyncpg.Pool[asyncpg.Record]":
        return await asyncpg.create_pool(
            self._dsn,
            min_size=0,
            max_size=connections,
            timeout=5,
            command_timeout=10,
            max_inactive_connection_lifetime=60,
            reset=_keep_session,
        )

    async def _connect_first(self) -> "asyncpg.Connection[asyncpg.Record]":
        try:
            return await asyncpg.connect(self._dsn, timeout=10)
        except (
            asyncpg.InvalidAuthorizationSpecificationError,
            asyncpg.InvalidCatalogNameError,
            asyncpg.ClientConfigurationError,
        ) as exc:
            raise DatabaseRefused(f"The database cannot be used: {exc}. Correct OCPI_HUB_DATABASE_URL.") from exc

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """Give a connection outside the pool, to LISTEN on. The caller closes it."""
        return await asyncpg.connect(self._dsn, timeout=5)

    @asynccontextmanager
    async def connection(self, *, vital: bool = False) -> AsyncIterator[Connection]:
        """Lend a connection; a vital one waits behind no other work. Raises DatabaseAway when there is none, or when it
        is lost on the way.
        """
        pool = self._vital if vital else self._pool
        if pool is None:
            raise DatabaseAway
        try:
            async with pool.acquire(timeout=5) as connection:
                yield connection
        except AWAY as exc:
            raise DatabaseAway from exc

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Connection]:
        """Lend a connection in a transaction that alone may change members, so that changes wait in one line.

        Changes are rare and short; in any order, two of them would wait for each other's rows for ever.
        """
        async with self.connection() as connection, connection.transaction():
            await store.lock_members(connection)
            yield connection

    async def close(self) -> None:
        """Close every connection; an embedded server ends with its last user."""
        pools, self._pool, self._vital = (self._pool, self._vital), None, None
        for pool in pools:
            if pool is not None:
                try:
                    await asyncio.wait_for(pool.close(), 1)
                except TimeoutError:
                    pool.terminate()
        if self._embedded is not None:
            await self._embedded.release()

    async def __aenter__(self) -> Self:
        try:
            await self.open()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()


async def _keep_session(connection: Connection) -> None:
    """Do nothing when a connection comes back to the pool, which rolled its transaction back if there is one.

    Nobody here changes a session beyond a transaction; asyncpg would ask the server to undo it after each use.
    """


async def _migrate(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Apply what is missing, one process at a time.

    The lock is polled: a blocking one would hold a snapshot that CREATE INDEX CONCURRENTLY waits for.
    """
    async with asyncio.timeout(60):
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _MIGRATION_LOCK):
            await asyncio.sleep(0.2)
    with resources.as_file(resources.files("hub") / "migrations") as folder:
        await sql.ensure_pogo_sync(connection)
        applied = await sql.get_applied_migrations(connection, schema_name=_SCHEMA)
        known = {path.stem for path in Path(folder).glob("*.sql")}
        if applied - known:
            raise SchemaTooNew
        if known - applied:
            await migrate.apply(connection, Path(folder), schema_name=_SCHEMA, logger=_quiet)
            log.info("the database schema is up to date", action="migrated", applied=sorted(known - applied))
