"""Objects put into a mirror past the hub, as a pull would: for tests of what is read out of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from hub.database import Database
from hub.mirror import Mirror
from routing.objects import Change, ObjectKey
from tests.hubs import settings_for

Put = dict[str, Any] | bytes


class Shelf:
    """A mirror, filled object by object."""

    def __init__(self, mirror: Mirror, database: Database) -> None:
        self._mirror = mirror
        self._database = database

    @classmethod
    @asynccontextmanager
    async def on(cls, database_url: str) -> "AsyncIterator[Shelf]":
        """Open the mirror in that database."""
        settings = settings_for(database_url)
        async with Database(settings) as database:
            mirror = Mirror(settings, database)
            yield cls(mirror, database)
            await mirror.close()

    async def put(
        self,
        owner: str,
        shared: Put,
        module: str = "locations",
        *,
        addressee: str = "",
        received_at: datetime | None = None,
    ) -> None:
        """Put an object of an owner's, new or in place of its own."""
        named = orjson.loads(shared) if isinstance(shared, bytes) else shared
        name = f"{named['uid']} {named['type']}" if module == "tokens" else named["id"]
        await self._take(ObjectKey(module, owner, name.upper(), addressee), "PUT", shared, received_at)

    async def put_evse(self, owner: str, location_id: str, evse: dict[str, Any]) -> None:
        """Put an EVSE of a location."""
        key = ObjectKey("locations", owner, location_id.upper())
        await self._take(key, "PUT", evse, part=(evse["uid"].upper(),))

    async def drop(self, owner: str, object_id: str, module: str = "locations") -> None:
        """Delete an object."""
        await self._take(ObjectKey(module, owner, object_id.upper()), "DELETE", b"")

    async def clear(self) -> None:
        """Forget everything."""
        async with self._database.connection() as connection:
            await connection.execute("DELETE FROM mirror_part; DELETE FROM mirror_object; DELETE FROM mirror_count")

    async def forbid(self, sender: str, receiver: str, module: str = "*") -> None:
        """Let no request from one party to the other be allowed."""
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO contract (sender, receiver, module, allowed) VALUES ($1, $2, $3, false)",
                sender,
                receiver,
                module,
            )

    async def _take(
        self,
        key: ObjectKey,
        method: Literal["PUT", "DELETE"],
        body: Put,
        received_at: datetime | None = None,
        part: tuple[str, ...] = (),
    ) -> None:
        change = Change(
            key=key,
            part=part,
            method=method,
            path=f"{key.owner.replace('-', '/')}/{key.object_key}",
            query="",
            body=body if isinstance(body, bytes) else orjson.dumps(body),
            platform_id=1,
            version="2.2.1",
            keeps="object",
            received_at=received_at or datetime.now(UTC),
        )
        await self._mirror.take_pulled([change])
