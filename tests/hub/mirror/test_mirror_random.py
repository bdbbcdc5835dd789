"""Whatever comes in whatever order and batches, the mirror is what one change after the other would make it."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from hub.mirror import Mirror
from routing.merge import compose
from routing.objects import Change, ObjectKey, Push, read_push
from routing.stored import Stored, take
from tests.hub.mirror.cast import (
    a_change,
    a_draft,
    a_location,
    a_mirror,
    a_push,
    a_session,
    a_tariff,
    an_evse,
    at,
    counted,
    listed,
)


class Model:
    """The mirror as objects in memory, changed one by one."""

    def __init__(self) -> None:
        self.objects: dict[ObjectKey, Stored] = {}

    def take(self, change: Change, *, is_pulled: bool = False) -> None:
        take(self.objects.setdefault(change.key, Stored(change.key)), change, is_pulled=is_pulled)

    def shown(self) -> dict[ObjectKey, tuple[bytes | None, bool, bool, frozenset[str]]]:
        """What each object is: its body, whether it is listed and deleted, and its EVSEs."""
        return {
            key: (
                compose(each.body, each.parts) if each.body is not None else None,
                each.is_listed,
                each.deleted,
                each.evse_uids,
            )
            for key, each in self.objects.items()
            if each.is_touched
        }


async def stored_in(url: str, mirror: Mirror) -> dict[ObjectKey, tuple[bytes | None, bool, bool, frozenset[str]]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT * FROM mirror_object")
    await connection.close()
    found = {}
    for row in rows:
        key = ObjectKey(row["module"], row["owner"], row["object_key"], row["addressee"])
        current = await mirror.current(key)
        assert current is not None
        uids = frozenset(row["evse_uids"] or ())
        found[key] = (current.body, row["position"] is not None, current.deleted, uids)
    return found


def a_broadcast(pick: random.Random) -> Change:
    minutes, number = pick.randrange(20), pick.randrange(3)
    location, uid = f"LOC{number}", pick.choice(["E1", "e2", "E3"])
    status: dict[str, Any] = {"status": pick.choice("ABC"), "last_updated": at(minutes)}
    match pick.randrange(8):
        case 0 | 1:
            return a_change(f"PUT locations/NL/ABC/{location}", a_location(location, minutes))
        case 2:
            return a_change(f"PATCH locations/NL/ABC/{location}", {"name": pick.choice("ab")} | status)
        case 3:
            return a_change(f"PUT locations/NL/ABC/{location}/{uid}", an_evse(uid, minutes))
        case 4 | 5:
            return a_change(f"PATCH locations/NL/ABC/{location}/{uid}", status)
        case 6:
            return a_change(f"PUT tariffs/NL/ABC/T{number}", a_tariff(f"T{number}", minutes))
    return a_change(f"DELETE tariffs/NL/ABC/T{number}")


def an_addressed(pick: random.Random) -> Push:
    minutes, number = pick.randrange(20), pick.randrange(3)
    to = pick.choice(["DE-TNM", "DE-OTH"])
    match pick.randrange(4):
        case 0:
            return a_push(f"PUT sessions/NL/ABC/S{number}", a_session(f"S{number}", minutes), to=to)
        case 1:
            period = {"start_date_time": at(minutes), "dimensions": []}
            body = {"charging_periods": [period], "last_updated": at(minutes)}
            return a_push(f"PATCH sessions/NL/ABC/S{number}", body, to=to)
        case 2:
            location = f"LOC{pick.randrange(5)}"
            evses = [an_evse(pick.choice(["E1", "E8"]))]
            return a_push(f"PUT locations/NL/ABC/{location}", a_location(location, minutes, evses=evses), to=to)
    return a_push("POST cdrs", a_session(f"C{number}", minutes), to=to)


def a_pulled(pick: random.Random) -> Change:
    minutes, number = pick.randrange(20), pick.randrange(3)
    if pick.randrange(2):
        return a_change(f"PUT tariffs/NL/ABC/T{number}", a_tariff(f"T{number}", minutes))
    location = a_location(f"LOC{number}", minutes, publish=pick.random() < 0.7)
    return a_change(f"PUT locations/NL/ABC/LOC{number}", location)


@pytest.mark.parametrize("seed", range(6))
async def test_the_mirror_is_what_one_change_after_the_other_makes_it_and_counts_it(
    database_url: str, seed: int
) -> None:
    pick, model = random.Random(seed), Model()  # noqa: S311
    async with a_mirror(database_url) as mirror:
        for _ in range(30):
            kind = pick.choice([a_broadcast, an_addressed, a_pulled])
            given = [kind(pick) for _ in range(pick.choice([1, 3, 12]))]
            changes = [read_push(each) if isinstance(each, Push) else each for each in given]
            for change in changes:
                model.take(change, is_pulled=kind is a_pulled)
            if kind is a_broadcast:
                await asyncio.gather(*(mirror.take_broadcast(change, a_draft()) for change in changes))
            elif kind is a_pulled:
                await mirror.take_pulled(changes)
            else:
                for push in given:
                    assert isinstance(push, Push)
                    mirror.take_addressed(push)
                await mirror.settled()
            assert await counted(database_url) == await listed(database_url)
        assert await stored_in(database_url, mirror) == model.shown()
