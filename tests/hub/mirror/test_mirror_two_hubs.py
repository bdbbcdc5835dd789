"""Two hubs take in pushes of the same objects at once, on one database."""

import asyncio
import itertools
import random

from hub.mirror import BroadcastRow, Mirror
from tests.hub.mirror.cast import (
    a_change,
    a_draft,
    a_location,
    a_mirror,
    at,
    body_of,
    broadcast,
    counted,
    key,
    listed,
)


async def push_all(mirror: Mirror, minutes: list[int]) -> list[BroadcastRow]:
    """Push a status to one EVSE and a name to the location for each of these minutes, in random order."""
    pushes = []
    for minute in minutes:
        body = {"status": str(minute), "last_updated": at(minute)}
        pushes.append(a_change(f"PATCH locations/NL/ABC/LOC{minute % 3}/E1", body))
        location = a_location(f"NEW{minute}", minute)
        pushes.append(a_change(f"PUT locations/NL/ABC/NEW{minute}", location))
    random.Random(7).shuffle(pushes)  # noqa: S311
    rows = await asyncio.gather(*(mirror.take_broadcast(change, a_draft()) for change in pushes))
    return list(rows)


async def watch(mirror: Mirror, done: asyncio.Event) -> list[BroadcastRow]:
    """Read what is accepted as a lane does: always what comes after the last one seen."""
    seen: list[BroadcastRow] = []
    while True:
        is_last_look = done.is_set()
        after = seen[-1].id if seen else 0
        seen += await mirror.broadcasts_after(after, 1000, [])
        if is_last_look:
            return seen
        await asyncio.sleep(0)


async def test_ids_are_seen_in_ascending_order_and_no_change_is_lost(database_url: str) -> None:
    async with a_mirror(database_url) as one, a_mirror(database_url) as other:
        for number in range(3):
            await broadcast(one, f"PUT locations/NL/ABC/LOC{number}", a_location(f"LOC{number}"))
        done = asyncio.Event()
        watching = asyncio.create_task(watch(one, done))
        minutes = list(range(1, 241))
        pushed = await asyncio.gather(push_all(one, minutes[::2]), push_all(other, minutes[1::2]))
        done.set()
        seen = await watching
        # Who goes on from the last id seen misses none: nothing appeared below it later.
        assert [row.id for row in seen] == sorted(row.id for row in seen)
        given = list(itertools.chain.from_iterable(pushed))
        assert {row.id for row in seen[3:]} == {row.id for row in given}
        last: dict[str, int] = {}
        for row in seen:
            assert row.previous == last.get(row.object_key)
            last[row.object_key] = row.id
        # The latest by last_updated has won at each, whatever the order of arrival.
        for number in range(3):
            body = await body_of(other, key("locations", f"LOC{number}"))
            expected = max(minute for minute in minutes if minute % 3 == number)
            assert (body["evses"][0]["status"], body["last_updated"]) == (str(expected), at(expected))
        assert await counted(database_url) == await listed(database_url) == {("locations", "NL-ABC", ""): 243}


async def test_what_one_hub_took_another_one_knows(database_url: str) -> None:
    async with a_mirror(database_url) as one:
        row = await broadcast(one, "PUT locations/NL/ABC/LOC1", a_location())
    async with a_mirror(database_url) as other:
        assert await other.broadcasts_after(0, 10, []) == [row]
        again = await broadcast(other, "PUT locations/NL/ABC/LOC1", a_location(minutes=1))
        assert again.previous == row.id
        changed = await other.changed_since(0, 10)
        assert [(each.key.object_key, each.broadcast) for each in changed] == [("LOC1", again.id)]
