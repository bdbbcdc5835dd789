"""What commands work on: the database, the members in it, and the platforms of members."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hub.cli_run import fail, run_async, settings
from parties.model import origin_of
from parties.tokens import SecretKeys

if TYPE_CHECKING:
    from hub.database import Database
    from hub.handshake import Caller
    from hub.members import Members
    from parties.store import Snapshot


@dataclass(frozen=True)
class OpenedDatabase:
    """The database, and the keys to what is sealed in it."""

    database: "Database"
    keys: SecretKeys

    async def read(self) -> "Snapshot":
        """Read all members and contracts as of now."""
        from parties import store

        async with self.database.connection() as connection:
            return await store.read_members_at_once(connection, self.keys)


@asynccontextmanager
async def opened_database() -> AsyncIterator[OpenedDatabase]:
    """Open the database of the settings for as long as the block lasts."""
    from hub.database import Database
    from hub.keys import load_secret_keys

    chosen = settings()
    keys = load_secret_keys(chosen)
    async with Database(chosen) as database:
        yield OpenedDatabase(database, keys)


@asynccontextmanager
async def opened_members() -> AsyncIterator["Members"]:
    """Open the members of the database of the settings for as long as the block lasts."""
    from hub.members import Members

    async with opened_database() as opened:
        yield Members(settings(), opened.keys, opened.database)


@asynccontextmanager
async def opened_caller() -> AsyncIterator[tuple["Members", "Caller"]]:
    """Open the members, and what calls their platforms."""
    from hub.handshake import Caller
    from hub.server import make_client, make_guard

    chosen = settings()
    guard = make_guard(chosen)
    client = make_client(chosen, guard)
    try:
        async with opened_members() as members:
            yield members, Caller(client, guard, origin_of(chosen.public_url))
    finally:
        await client.close()


def run_on_members(work: Callable[[], Awaitable[None]]) -> None:
    """Run a command about members; what cannot be done with them becomes one plain sentence."""
    from hub.members import MemberError

    async def guarded() -> None:
        try:
            await work()
        except MemberError as exc:
            raise fail(str(exc)) from exc

    run_async(guarded)
