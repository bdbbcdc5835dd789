"""Which PostgreSQL serves when nobody names one: a server of the hub's own in its data directory.

Here is how a process uses it; `hub.postgres_guardian` keeps it running meanwhile. No SQL of the hub lives here.
"""

import asyncio
import fcntl
import os
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import asyncpg

from hub.postgres_guardian.errors import EmbeddedPostgresError
from hub.postgres_guardian.launch import launch_guardian
from hub.postgres_guardian.places import (
    PORT,
    SUPERUSER,
    log_path_of,
    make_data_dir,
    open_own,
    try_lock,
    used_socket_folder,
)

__all__ = ["EmbeddedPostgres", "EmbeddedPostgresError"]

DATABASE = "hub"
ANSWER_SECONDS = 120.0  # how long a user waits; a long recovery after a crash takes its time
POLL_SECONDS = 0.02


class EmbeddedPostgres:
    """The PostgreSQL server in one data directory, shared by every process that uses it."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.resolve()
        self._users_lock: int | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {self._data_dir} {'released' if self._users_lock is None else 'acquired'}>"

    async def __aenter__(self) -> str:
        return await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    async def acquire(self) -> str:
        """The DSN, for asyncpg, of a server that answers.

        Call it again when the connection is lost: it brings back whatever has vanished. Raises EmbeddedPostgresError.
        """
        async with self._turn:
            is_new = self._users_lock is None
            answers = False
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._become_user()
                    while True:
                        await self._ensure_guardian()
                        if answers := await self._answers():
                            break
                        await asyncio.sleep(POLL_SECONDS)
            except TimeoutError as exc:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._data_dir} has not answered for {ANSWER_SECONDS:.0f} s: "
                    f"read {log_path_of(self._data_dir)}, and try again if it is still recovering from a crash."
                ) from exc
            except OSError as exc:
                raise EmbeddedPostgresError(
                    f"The data directory {self._data_dir} cannot be used by uid {os.geteuid()} ({exc}): "
                    "run the hub as its owner, or set OCPI_HUB_DATA_DIR to a directory it may write."
                ) from exc
            finally:
                if is_new and not answers:
                    self._leave()
            return self._dsn(DATABASE)

    async def release(self) -> None:
        """Stop using the server; it ends a moment after its last user."""
        async with self._turn:
            self._leave()

    def _leave(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    async def _become_user(self) -> None:
        if self._users_lock is not None:
            return
        make_data_dir(self._data_dir)
        self._users_lock = open_own(self._data_dir / "users.lock")
        # Held exclusively only by a guardian that is stopping the server: the next one starts it again.
        while not try_lock(self._users_lock, fcntl.LOCK_SH):
            await asyncio.sleep(POLL_SECONDS)

    async def _ensure_guardian(self) -> None:
        launcher = launch_guardian(self._data_dir)
        if launcher is None:
            return
        report = b""
        with launcher:
            assert launcher.stdout is not None
            os.set_blocking(launcher.stdout.fileno(), False)
            try:
                # None while the guardian is busy; it closes the pipe when the server is ready and when it gives up.
                while (part := launcher.stdout.read()) != b"":
                    report += part or b""
                    await asyncio.sleep(POLL_SECONDS)
            except BaseException:
                launcher.kill()
                raise
        if report:
            raise EmbeddedPostgresError(report.decode(errors="replace").strip())
        if launcher.returncode > 0:  # less: it was killed, and the caller tries again
            raise EmbeddedPostgresError(
                f"The guardian of PostgreSQL cannot be run with {sys.executable}: "
                f"read {log_path_of(self._data_dir)}, or set OCPI_HUB_DATABASE_URL."
            )

    async def _answers(self) -> bool:
        """Whether the server takes connections; makes the hub's database where it is missing."""
        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=10)
            try:
                found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE, timeout=10)
                if found is None:
                    # Several first users may find it missing at once.
                    with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                        await connection.execute(f"CREATE DATABASE {DATABASE}", timeout=ANSWER_SECONDS)
            finally:
                await connection.close(timeout=10)
        except asyncpg.TooManyConnectionsError:
            return True
        except (
            OSError,
            asyncpg.PostgresConnectionError,
            asyncpg.OperatorInterventionError,
            asyncpg.InterfaceError,  # these two: the connection has just been lost
            asyncpg.InternalClientError,
        ):
            return False  # not up yet, starting, or going down
        except asyncpg.PostgresError as exc:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {self._data_dir} turns the hub away ({exc}): "
                f"read {log_path_of(self._data_dir)}, or set OCPI_HUB_DATABASE_URL."
            ) from exc
        return True

    def _dsn(self, database: str) -> str:
        folder = quote(str(used_socket_folder(self._data_dir)))
        return f"postgresql://{SUPERUSER}@/{database}?host={folder}&port={PORT}"
