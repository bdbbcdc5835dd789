"""What owners push, read as the hub reads it, and what then lies in the mirror."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson

from config.ocpi import PartyID
from config.settings import Settings
from hub.database import Database
from hub.mirror import BroadcastDraft, BroadcastRow, Mirror
from routing.objects import Change, ObjectKey, Push, make_push, read_push
from tests.hubs import settings_for
from tests.routing.cast import a_message, a_platform

NOW = datetime.now(UTC).replace(microsecond=0)
CPO = a_platform("NL-ABC:CPO", "DE-XYZ:CPO")
EMSP = a_platform("DE-TNM:EMSP", id=2)


def at(minutes: int) -> str:
    """An OCPI DateTime so many minutes after a fixed moment in the past."""
    return (datetime(2026, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


def a_push(
    request: str, body: Any = None, *, to: str | None = None, received: datetime = NOW, sender: str | None = None
) -> Push:
    """A push written `PUT locations/NL/ABC/LOC1`: to everybody, or `to` one party."""
    method, _, path = request.partition(" ")
    platform = EMSP if sender and sender == "DE-TNM" else CPO
    if sender is None:
        parts = path.split("/")
        sender = f"{parts[1]}-{parts[2]}".upper() if len(parts) > 2 and parts[1] in ("NL", "DE", "nl") else "NL-ABC"
        platform = EMSP if sender == "DE-TNM" else CPO
    message = a_message(f"{method} receiver/{path}", platform, to=to, sender=sender)
    text = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
    return make_push(message, text, received, PartyID.parse(to) if to else None)


def a_change(
    request: str, body: Any = None, *, to: str | None = None, received: datetime = NOW, sender: str | None = None
) -> Change:
    """Such a push, understood."""
    return read_push(a_push(request, body, to=to, received=received, sender=sender))


def a_draft(request: str = "PUT locations/NL/ABC/LOC1") -> BroadcastDraft:
    """What a broadcast is beside its change."""
    _, _, path = request.partition(" ")
    return BroadcastDraft("NL-ABC", "locations.put_location", path.partition("/")[2], "", None, "correlation-1")


def an_evse(uid: str, minutes: int = 0, **fields: Any) -> dict[str, Any]:
    """An EVSE with one connector."""
    connector = {"id": "1", "standard": "IEC_62196_T2", "last_updated": at(minutes)}
    return {"uid": uid, "status": "AVAILABLE", "connectors": [connector], "last_updated": at(minutes)} | fields


def a_location(id: str = "LOC1", minutes: int = 0, *, owner: str = "NL-ABC", **fields: Any) -> dict[str, Any]:
    """A location with two EVSEs."""
    country_code, _, party_id = owner.partition("-")
    return {
        "country_code": country_code,
        "party_id": party_id,
        "id": id,
        "publish": True,
        "evses": [an_evse("E1", minutes), an_evse("E2", minutes)],
        "last_updated": at(minutes),
    } | fields


def a_tariff(id: str = "T1", minutes: int = 0, **fields: Any) -> dict[str, Any]:
    """A tariff of NL-ABC."""
    return {"country_code": "NL", "party_id": "ABC", "id": id, "last_updated": at(minutes)} | fields


def a_session(id: str = "S1", minutes: int = 0, **fields: Any) -> dict[str, Any]:
    """A session of NL-ABC."""
    return {"country_code": "NL", "party_id": "ABC", "id": id, "kwh": 0, "last_updated": at(minutes)} | fields


async def broadcast(mirror: Mirror, request: str, body: Any = None, **more: Any) -> BroadcastRow:
    """Push to everybody."""
    return await mirror.take_broadcast(a_change(request, body, **more), a_draft(request))


def key(module: str, object_key: str, owner: str = "NL-ABC", addressee: str = "") -> ObjectKey:
    """An object's key."""
    return ObjectKey(module, owner, object_key, addressee)


async def body_of(mirror: Mirror, of: ObjectKey) -> Any:
    """What the mirror has of an object, None when it has not all of it."""
    current = await mirror.current(of)
    return None if current is None or current.body is None else orjson.loads(current.body)


async def listed(url: str) -> dict[tuple[str, str, str], int]:
    """How many objects there are with a position, counted one by one."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT module, owner, addressee, count(*) FROM mirror_object WHERE position IS NOT NULL GROUP BY 1, 2, 3"
        )
    finally:
        await connection.close()
    return {(row[0], row[1], row[2]): row[3] for row in rows}


async def counted(url: str) -> dict[tuple[str, str, str], int]:
    """How many there are by mirror_count."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch("SELECT module, owner, addressee, number FROM mirror_count WHERE number <> 0")
    finally:
        await connection.close()
    return {(row[0], row[1], row[2]): row[3] for row in rows}


def mirror_settings(url: str, **settings: Any) -> Settings:
    """Settings of a hub on that database."""
    return settings_for(url, **settings)


@asynccontextmanager
async def a_mirror(url: str, *, runs: bool = False, **settings: Any) -> AsyncIterator[Mirror]:
    """A mirror on that database, with its background work where a test asks for it."""
    given = mirror_settings(url, **settings)
    async with Database(given) as database:
        mirror = Mirror(given, database)
        running = asyncio.create_task(mirror.run()) if runs else None
        try:
            yield mirror
        finally:
            if running is not None:
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
            await mirror.close()
