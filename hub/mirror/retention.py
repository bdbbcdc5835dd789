"""Forgetting: what is past its retention, what expired, what owners deleted, what members left behind."""

from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta

import asyncpg

from hub.database import Database
from hub.mirror.forms import read_key
from hub.mirror.intake import BATCH, add_counts, lock_objects
from parties.store import queries

KEEP_DELETED = timedelta(days=30)
"""How long it is remembered that an object was deleted, so that an old page of a list does not bring it back."""
KEEP_LEFT = timedelta(days=30)
"""How long what a member shared is kept after it left."""
KEEP_BROADCASTS = timedelta(hours=1)
"""How long lanes find the pushes themselves; beyond, the objects' latest state."""
KEEP_BROADCAST_BYTES = 1024**3
"""How much of that is kept after every lane is done with it."""
KEEP_BROADCAST_BYTES_FOR_LANES = 8 * 1024**3
"""How much is kept for lanes that are not: a receiver that takes its time must not fill the disk. What such a lane does
not find any more, it takes from the objects' latest state."""
_AT_ONCE = 10_000
_BROADCASTS_AT_ONCE = 1_000
"""They may have a megabyte each."""


async def forget_objects(database: Database, retention: Mapping[str, int], now: datetime) -> int:
    """Forget every object whose time is over, in small transactions; give how many. Raises DatabaseAway."""
    searches: list[tuple[object, ...]] = [
        ("find_expired", now),
        ("find_deleted", now - KEEP_DELETED),
        ("find_left", now - KEEP_LEFT),
    ]
    for module, days in retention.items():
        searches.append(("find_old", module, now - timedelta(days=days)))
    return sum([await _forget_found(database, str(name), *arguments) for name, *arguments in searches])


async def forget_gone(database: Database, platform_id: int, module: str, owner: str, since: datetime) -> int:
    """Forget what is no longer in an owner's list; give how many. Raises DatabaseAway."""
    return await _forget_found(database, "find_gone", module, owner, platform_id, since)


async def forget_broadcasts(database: Database, now: datetime) -> int:
    """Drop broadcasts that lanes no longer look for; give how many. Raises DatabaseAway."""
    dropped = 0
    while True:
        async with database.connection() as connection:
            statement = queries(__package__)["drop_broadcasts"]
            rows = await connection.fetch(
                statement,
                now - KEEP_BROADCASTS,
                _BROADCASTS_AT_ONCE,
                KEEP_BROADCAST_BYTES,
                KEEP_BROADCAST_BYTES_FOR_LANES,
            )
        dropped += len(rows)
        if len(rows) < _BROADCASTS_AT_ONCE:
            return dropped


async def _forget_found(database: Database, name: str, *arguments: object) -> int:
    """Forget what this search finds; give how many."""
    forgotten = 0
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(queries(__package__)[name], *arguments, _AT_ONCE, timeout=60)
        gone = 0
        for start in range(0, len(rows), BATCH):
            gone += await _forget(database, rows[start : start + BATCH])
        forgotten += gone
        if len(rows) < _AT_ONCE or not gone:
            return forgotten


async def _forget(database: Database, rows: list[asyncpg.Record]) -> int:
    statements = queries(__package__)
    columns = [[row[i] for row in rows] for i in range(5)]
    async with database.connection() as connection, connection.transaction():
        await lock_objects(connection, [read_key(row) for row in rows])
        await connection.fetch(statements["take_order"], 0)
        gone = await connection.fetch(statements["forget_objects"], *columns)
        await connection.execute(statements["drop_parts"], *([row[i] for row in gone] for i in range(4)))
        counts: Counter[tuple[str, str, str]] = Counter()
        for row in gone:
            counts[row["module"], row["owner"], row["addressee"]] -= row["is_listed"]
        await add_counts(connection, counts)
    return len(gone)
