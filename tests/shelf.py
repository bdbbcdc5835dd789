"""Objects put straight into the mirror's tables, as the hub keeps them: for tests of what is read out of it."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import orjson

from routing.merge import outline


class Shelf:
    """The mirror's tables, filled by SQL."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection

    async def put(
        self,
        owner: str,
        shared: dict[str, Any] | bytes,
        module: str = "locations",
        *,
        addressee: str = "",
        received_at: datetime | None = None,
    ) -> None:
        """Put an object of an owner's, new or in place of its own."""
        body = shared if isinstance(shared, bytes) else orjson.dumps(shared)
        named = orjson.loads(body)
        received_at = received_at or datetime.now(UTC)
        about = outline(module, body)
        key = f"{named['uid']} {named['type']}" if module == "tokens" else named["id"]
        async with self._connection.transaction():
            await self._connection.execute(
                "DELETE FROM mirror_part WHERE module = $1 AND owner = $2 AND object_key = $3",
                module,
                owner,
                key.upper(),
            )
            is_new = await self._connection.fetchval(
                "INSERT INTO mirror_object AS known (module, owner, object_key, addressee, position, platform_id,"
                " version, path, body, evse_uids, last_updated, received_at, listed_at)"
                " VALUES ($1, $2, $3, $4, nextval('mirror_position'), 1, '2.2.1', $5, $6, $7, $8, $9,"
                " greatest($8::timestamptz, $9::timestamptz))"
                " ON CONFLICT (module, owner, object_key, addressee) DO UPDATE SET body = EXCLUDED.body,"
                " last_updated = EXCLUDED.last_updated, received_at = EXCLUDED.received_at,"
                " listed_at = EXCLUDED.listed_at RETURNING xmax = 0",
                module,
                owner,
                key.upper(),
                addressee,
                f"{owner.replace('-', '/')}/{key}",
                body,
                sorted(about.evse_uids),
                about.last_updated,
                received_at,
            )
            if is_new:
                await self._count(module, owner, addressee, 1)

    async def put_part(self, owner: str, location_id: str, evse: dict[str, Any]) -> None:
        """Note a changed EVSE beside its location."""
        await self._connection.execute(
            "INSERT INTO mirror_part (module, owner, object_key, part_key, body) VALUES ('locations', $1, $2, $3, $4)",
            owner,
            location_id.upper(),
            evse["uid"].upper(),
            orjson.dumps(evse),
        )

    async def drop(self, owner: str, object_id: str, module: str = "locations") -> None:
        """Delete an object."""
        async with self._connection.transaction():
            gone = await self._connection.execute(
                "DELETE FROM mirror_object WHERE module = $1 AND owner = $2 AND object_key = $3",
                module,
                owner,
                object_id.upper(),
            )
            if gone == "DELETE 1":
                await self._count(module, owner, "", -1)

    async def forbid(self, sender: str, receiver: str, module: str = "*") -> None:
        """Let no request from one party to the other be allowed."""
        await self._connection.execute(
            "INSERT INTO contract (sender, receiver, module, allowed) VALUES ($1, $2, $3, false)",
            sender,
            receiver,
            module,
        )

    async def clear(self) -> None:
        """Forget everything."""
        await self._connection.execute("DELETE FROM mirror_object; DELETE FROM mirror_count")

    async def _count(self, module: str, owner: str, addressee: str, more: int) -> None:
        await self._connection.execute(
            "INSERT INTO mirror_count (module, owner, addressee, number) VALUES ($1, $2, $3, $4)"
            " ON CONFLICT (module, owner, addressee) DO UPDATE SET number = mirror_count.number + EXCLUDED.number",
            module,
            owner,
            addressee,
            more,
        )
