"""What the mirror forgets, and when."""

from datetime import timedelta

import asyncpg
import pytest

from hub.mirror import retention
from hub.mirror.retention import KEEP_DELETED, KEEP_LEFT, forget_broadcasts, forget_objects
from routing.objects import Change
from tests.hub.mirror.cast import (
    NOW,
    a_change,
    a_location,
    a_mirror,
    a_push,
    a_session,
    a_tariff,
    an_evse,
    broadcast,
    counted,
    key,
    listed,
)

DAY = timedelta(days=1)


async def left(url: str) -> list[str]:
    """The ids of all that is still there."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT object_key FROM mirror_object ORDER BY 1")
    await connection.close()
    return [row[0] for row in rows]


async def test_sessions_and_named_modules_are_forgotten_after_their_days(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        for number, days in enumerate((1, 10, 31, 40)):
            push = a_push(
                f"PUT sessions/NL/ABC/S{number}", a_session(f"S{number}"), to="DE-TNM", received=NOW - days * DAY
            )
            mirror.take_addressed(push)
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(), received=NOW - 400 * DAY)
        await mirror.settled()
        assert await forget_objects(mirror._database, {"sessions": 30}, NOW) == 2
        assert await left(database_url) == ["LOC1", "S0", "S1"]
        assert await forget_objects(mirror._database, {"sessions": 0, "locations": 365}, NOW) == 3
        assert await left(database_url) == []
        assert await counted(database_url) == await listed(database_url) == {}


async def test_many_are_forgotten_in_small_steps_with_their_parts(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        old = NOW - 400 * DAY
        locations = [a_change(f"PUT locations/NL/ABC/L{n}", a_location(f"L{n}"), received=old) for n in range(450)]
        await mirror.take_pulled(locations)
        await broadcast(mirror, "PUT locations/NL/ABC/L7/E1", an_evse("E1", 5), received=old)
        assert await forget_objects(mirror._database, {"locations": 365}, NOW) == 450
        connection = await asyncpg.connect(database_url)
        assert await connection.fetchval("SELECT count(*) FROM mirror_part") == 0
        await connection.close()
        assert await counted(database_url) == {}


async def test_a_reservation_is_forgotten_when_its_time_is_over(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        for id, hours in (("R1", 1), ("R2", -30)):
            body = {"reservation_id": id, "expiry_date": (NOW + timedelta(hours=hours)).isoformat()}
            mirror.take_addressed(a_push("POST commands/RESERVE_NOW", body, to="NL-ABC", sender="DE-TNM"))
        await mirror.settled()
        assert await mirror.known("reservations", "R2") == []
        assert await forget_objects(mirror._database, {}, NOW) == 1
        assert await left(database_url) == ["R1"]


async def test_that_something_was_deleted_is_forgotten_after_a_month(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        for id, ago in (("T1", KEEP_DELETED + DAY), ("T2", KEEP_DELETED - DAY)):
            await broadcast(mirror, f"PUT tariffs/NL/ABC/{id}", a_tariff(id), received=NOW - ago)
            await broadcast(mirror, f"DELETE tariffs/NL/ABC/{id}", received=NOW - ago)
        assert await forget_objects(mirror._database, {}, NOW) == 1
        assert await left(database_url) == ["T2"]


async def test_what_a_member_shared_is_forgotten_a_month_after_it_left(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location())
        connection = await asyncpg.connect(database_url)
        platform_id = await connection.fetchval("INSERT INTO platform (state) VALUES ('registered') RETURNING id")
        assert platform_id == 1
        assert await forget_objects(mirror._database, {}, NOW) == 0
        await connection.execute("UPDATE platform SET state = 'unregistered', changed_at = $1", NOW)
        assert await forget_objects(mirror._database, {}, NOW + KEEP_LEFT - DAY) == 0
        assert await forget_objects(mirror._database, {}, NOW + KEEP_LEFT + DAY) == 1
        await connection.close()
        assert await mirror.current(key("locations", "LOC1")) is None


async def test_broadcasts_are_dropped_after_an_hour_but_never_the_last(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        for number in range(5):
            body = a_tariff(f"T{number}")
            await broadcast(mirror, f"PUT tariffs/NL/ABC/T{number}", body, received=NOW - 2 * DAY)
        assert await forget_broadcasts(mirror._database, NOW) == 4
        assert [row.id for row in await mirror.broadcasts_after(0, 10, [])] == [5]
        assert await mirror.last_broadcast() == 5
        assert await forget_broadcasts(mirror._database, NOW) == 0
        # The chain of an object goes on although the row that it names is gone.
        row = await broadcast(mirror, "PUT tariffs/NL/ABC/T0", a_tariff("T0", 1))
        assert (row.id, row.previous) == (6, 1)
        assert await forget_broadcasts(mirror._database, NOW) == 1


async def test_broadcasts_beyond_a_gigabyte_are_dropped_once_every_lane_is_done_with_them(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 pushes of 1 MB a second would be 180 GB within the hour; the progress of who is OFFLINE stands still."""
    monkeypatch.setattr(retention, "KEEP_BROADCAST_BYTES", 25_000)
    monkeypatch.setattr(retention, "KEEP_BROADCAST_BYTES_FOR_LANES", 55_000)
    monkeypatch.setattr(retention, "_BROADCASTS_AT_ONCE", 3)
    connection = await asyncpg.connect(database_url)
    for is_online in (True, True, False):
        await connection.execute(
            "WITH added AS (INSERT INTO platform (state, is_online) VALUES ('registered', $1) RETURNING id) "
            "INSERT INTO platform_work (platform_id, progress) SELECT id, CASE WHEN $1 THEN 2 ELSE 0 END FROM added",
            is_online,
        )
    async with a_mirror(database_url) as mirror:

        async def kept(number: int) -> list[int]:
            for _ in range(number):
                await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(name="x" * 9_300))
            await forget_broadcasts(mirror._database, NOW)
            return [row.id for row in await mirror.broadcasts_after(0, 100, [])]

        assert await kept(2) == [1, 2]
        assert await kept(3) == [3, 4, 5]
        assert await kept(3) == [3, 4, 5, 6, 7, 8]  # a lane is not done with them
        assert await kept(4) == [7, 8, 9, 10, 11, 12]  # but not for ever
        await connection.execute("UPDATE platform_work SET progress = 12 WHERE progress > 0")
        assert await kept(0) == [10, 11, 12]
        await connection.execute("UPDATE platform_work SET progress = 99 WHERE progress > 0")
        monkeypatch.setattr(retention, "KEEP_BROADCAST_BYTES", 0)
        assert await kept(1) == [13]
        assert await mirror.last_broadcast() == 13
    await connection.close()


async def test_what_a_whole_list_no_longer_has_is_forgotten_but_nothing_else(database_url: str) -> None:
    """R-162: of one owner and platform, and not what was seen, broadcast or pushed to one party."""

    def page(*ids: str, days: int = 0, platform_id: int = 1, owner: str = "NL/ABC") -> list[Change]:
        moment = NOW - days * DAY
        shared = a_tariff(country_code=owner[:2], party_id=owner[3:])
        changes = [a_change(f"PUT tariffs/{owner}/{id}", shared | {"id": id}, received=moment) for id in ids]
        return [change._replace(platform_id=platform_id) for change in changes]

    async with a_mirror(database_url) as mirror:
        await mirror.take_pulled(page("GONE", "SEEN", "PUSHED", days=3), is_whole=True)
        await mirror.take_pulled(page("THERE", days=3, platform_id=7))
        await mirror.take_pulled(page("THEIRS", days=3, owner="DE/XYZ"))
        await broadcast(mirror, "PUT tariffs/NL/ABC/SHARED", a_tariff("SHARED"), received=NOW - 3 * DAY)
        mirror.take_addressed(
            a_push("PUT tariffs/NL/ABC/PUSHED2", a_tariff("PUSHED2"), to="DE-TNM", received=NOW - 3 * DAY)
        )
        await mirror.settled()
        await broadcast(mirror, "PUT tariffs/NL/ABC/PUSHED", a_tariff("PUSHED", 1), received=NOW - 2 * DAY)
        await mirror.take_pulled(page("SEEN", days=1), is_whole=True)
        assert await mirror.forget_gone(1, "tariffs", "NL-ABC", NOW - 4 * DAY) == 0
        assert await mirror.forget_gone(1, "locations", "NL-ABC", NOW - DAY) == 0
        assert await mirror.forget_gone(1, "tariffs", "NL-ABC", NOW - DAY) == 1
        assert await left(database_url) == ["PUSHED", "PUSHED2", "SEEN", "SHARED", "THEIRS", "THERE"]
        assert await counted(database_url) == await listed(database_url)
        assert await mirror.forget_gone(1, "tariffs", "NL-ABC", NOW) == 1
        assert "SEEN" not in await left(database_url)
