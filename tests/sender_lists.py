"""Looking on while the hub reads members' Sender lists into its mirror."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from config.ocpi import PartyID
from hub.simulator import Received, SimulatedPlatform
from hub.simulator.objects import location
from parties import store
from parties.pulls import Pull, read_pulls
from tests.hubs import HubOnTest
from tests.waiting import until

LIST = ("BE-BEC", "locations")


@contextlib.asynccontextmanager
async def member(hub: HubOnTest, *platforms: SimulatedPlatform) -> AsyncIterator[tuple[SimulatedPlatform, ...]]:
    """Start platforms and register each at the hub, which begins to read at once."""
    async with contextlib.AsyncExitStack() as stack:
        for platform in platforms:
            await stack.enter_async_context(platform)
            await hub.register(platform)
        yield platforms


def locations(number: int, party: str = "BE-BEC") -> list[Any]:
    return [location(party, f"LOC{each}") for each in range(number)]


async def mirrored(database_url: str, module: str = "locations") -> list[str]:
    """Give what the mirror has of a module, as `BE-BEC LOC1` or `BE-BEC S1 for DE-TNM`."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT owner, object_key, addressee FROM mirror_object WHERE module = $1 ORDER BY 1, 2, 3", module
        )
    finally:
        await connection.close()
    return [f"{owner} {key}" + (f" for {addressee}" if addressee else "") for owner, key, addressee in rows]


async def state_of(hub: HubOnTest, key: tuple[str, str] = LIST, platform_id: int = 1) -> Pull:
    async with hub.hub.database.connection() as connection:
        return (await read_pulls(connection, platform_id)).get(key, Pull())


async def finished(hub: HubOnTest, key: tuple[str, str] = LIST, after: Pull | None = None) -> Pull:
    """Wait until a list was read to its end, once more than `after`."""

    async def look() -> Pull | None:
        pull = await state_of(hub, key)
        return pull if pull.finished_at and (after is None or pull.finished_at != after.finished_at) else None

    found: Pull = await until(look, f"{key} is read")
    return found


async def failed(hub: HubOnTest, said: str, key: tuple[str, str] = LIST) -> Pull:
    """Wait until reading a list failed with these words."""

    async def look() -> Pull | None:
        pull = await state_of(hub, key)
        return pull if pull.problem else None

    pull: Pull = await until(look, f"{key} has failed")
    assert said in (pull.problem or ""), pull.problem
    return pull


async def make_due(hub: HubOnTest, platform_id: int = 1, *, whole: bool = False) -> None:
    """Let the time of every list of a platform come; to be read whole as on another day."""
    async with hub.hub.database.connection() as connection:
        if whole:
            await connection.execute("UPDATE pull SET whole_at = whole_at - interval '1 day'")
        await connection.execute("UPDATE pull SET due_at = now() WHERE platform_id = $1", platform_id)
    look_again(hub, platform_id)


def look_again(hub: HubOnTest, platform_id: int = 1) -> None:
    if turn := hub.hub.pulls._turns.get(platform_id):
        turn.has_changed = True  # it may have looked already
    hub.hub.pulls._gain(platform_id)


async def set_online(hub: HubOnTest, is_online: bool, platform_id: int = 1) -> None:
    async with hub.hub.database.connection() as connection:
        await connection.execute(store.queries()["set_online"], platform_id, is_online)
    await hub.hub.live.refresh()


async def switch(hub: HubOnTest, *assignments: str, party: str = "BE-BEC") -> None:
    platform = await hub.members.platform_of(PartyID.parse(party))
    await hub.members.set_switches(platform, assignments, hub.hub.guard)
    await hub.hub.live.refresh()


def asked(platform: SimulatedPlatform, module: str = "locations") -> list[dict[str, str]]:
    """Give the queries with which a list was asked for."""
    requests = [received for received in platform.received if f"/{module}" in received.path and "?" in received.path]
    return [{name: values[0] for name, values in parse_qs(urlsplit(each.path).query).items()} for each in requests]


def is_list(received: Received) -> bool:
    return "limit=" in received.path


async def all_done(hub: HubOnTest, platform_id: int, number: int) -> bool:
    async with hub.hub.database.connection() as connection:
        found = await read_pulls(connection, platform_id)
    return len(found) == number and all(pull.finished_at for pull in found.values())
