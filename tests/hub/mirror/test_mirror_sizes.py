"""No push makes an object grow without end: it would be read whole by everybody who lists it."""

import asyncio

import asyncpg
import pytest

from config.ocpi import InvalidParameters
from hub.mirror.mirror import OBJECT_BODIES
from tests.hub.mirror.cast import (
    a_change,
    a_draft,
    a_location,
    a_mirror,
    a_push,
    a_session,
    an_evse,
    at,
    body_of,
    broadcast,
    key,
)

SMALL = 1024
MAX = OBJECT_BODIES * SMALL
LOCATION = key("locations", "LOC1")


async def bytes_kept(url: str) -> int:
    """How much the database has of LOC1, the EVSEs stored by themselves included."""
    connection = await asyncpg.connect(url)
    noted = await connection.fetchval("SELECT part_bytes FROM mirror_object WHERE object_key = 'LOC1'")
    counted = await connection.fetchval("SELECT coalesce(sum(octet_length(body)), 0)::bigint FROM mirror_part")
    body = await connection.fetchval("SELECT octet_length(body) FROM mirror_object WHERE object_key = 'LOC1'")
    await connection.close()
    assert noted == counted
    return int(body + counted)


@pytest.mark.parametrize("together", [True, False])
async def test_a_location_grows_by_its_evses_up_to_a_bound(database_url: str, together: bool) -> None:
    async with a_mirror(database_url, shared_body=SMALL) as mirror:
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location())
        changes = [
            a_change(f"PUT locations/NL/ABC/LOC1/N{n}", an_evse(f"N{n}", n, floor_level="x" * 700)) for n in range(15)
        ]
        if together:
            pushes = [mirror.take_broadcast(change, a_draft()) for change in changes]
            given = await asyncio.gather(*pushes, return_exceptions=True)
        else:
            given = []
            for change in changes:
                given += await asyncio.gather(mirror.take_broadcast(change, a_draft()), return_exceptions=True)
        refused = [each for each in given if isinstance(each, InvalidParameters)]
        taken = [each for each in given if not isinstance(each, BaseException)]
        assert len(refused) + len(taken) == 15
        assert 3 < len(taken) < 12
        assert all(str(MAX) in str(each) for each in refused)
        assert await mirror.broadcasts_after(1, 100, []) == taken
        assert MAX - SMALL < await bytes_kept(database_url) <= MAX
        assert len((await body_of(mirror, LOCATION))["evses"]) == 2 + len(taken)
        # It goes on to change within the bound, and who puts it whole begins anew.
        await broadcast(mirror, "PATCH locations/NL/ABC/LOC1/N0", {"floor_level": "1", "last_updated": at(90)})
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1/N77", an_evse("N77", 91, floor_level="x" * 100))
        await bytes_kept(database_url)
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(minutes=99))
        assert await bytes_kept(database_url) < SMALL


@pytest.mark.parametrize(
    ("request_line", "body"),
    [
        ("PATCH locations/NL/ABC/LOC1", {"x{}": "x" * 700}),
        ("PATCH locations/NL/ABC/LOC1/E1", {"x{}": "x" * 700}),
        ("PUT locations/NL/ABC/LOC1/E2/{}", {"id": "{}", "x": "x" * 700}),
        ("PATCH locations/NL/ABC/GONE/E{}" + "x" * 240, {"status": "CHARGING"}),
    ],
)
async def test_nothing_else_that_adds_to_a_location_passes_the_bound(
    database_url: str, request_line: str, body: dict[str, str]
) -> None:
    """New fields, new connectors, and the uids of EVSEs of which nothing but a PATCH came."""
    async with a_mirror(database_url, shared_body=SMALL) as mirror:
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location())
        refused = []
        for number in range(40):
            pushed = {name.format(number): value.format(number) for name, value in body.items()}
            change = a_change(request_line.format(number), pushed | {"last_updated": at(number)})
            try:
                await mirror.take_broadcast(change, a_draft())
            except InvalidParameters as exc:
                refused.append(str(exc))
        assert 5 < len(refused) < 36
        assert str(MAX) in refused[0]
        assert await bytes_kept(database_url) <= MAX


async def test_a_session_that_would_grow_too_large_stays_as_it_is(database_url: str) -> None:
    """Each PATCH adds charging periods (R-277)."""
    async with a_mirror(database_url, shared_body=SMALL) as mirror:
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session(), to="DE-TNM"))
        for number in range(20):
            period = {"start_date_time": at(number), "dimensions": [], "tariff_id": "x" * 700}
            body = {"kwh": number, "charging_periods": [period], "last_updated": at(number)}
            mirror.take_addressed(a_push("PATCH sessions/NL/ABC/S1", body, to="DE-TNM"))
        await mirror.settled()
        kept = await body_of(mirror, key("sessions", "S1", addressee="DE-TNM"))
        assert 3 < len(kept["charging_periods"]) == kept["kwh"] + 1 < 12
        assert mirror.dropped == 20 - len(kept["charging_periods"])


async def test_an_index_entry_does_not_grow_without_end_either(database_url: str) -> None:
    async with a_mirror(database_url, shared_body=SMALL) as mirror:
        for number in range(60):
            evses = [an_evse(f"E{number}".ljust(250, "x"))]
            mirror.take_addressed(a_push("PUT locations/NL/ABC/LOC1", a_location(evses=evses), to="DE-TNM"))
        await mirror.settled()
        (known,) = await mirror.known("locations", "LOC1")
        assert len(known.evse_uids) == MAX // 250


async def test_a_status_costs_no_more_where_a_location_has_thousands_of_evses(database_url: str) -> None:
    """What is written does not depend on how many other EVSEs there are."""
    connection = await asyncpg.connect(database_url)
    async with a_mirror(database_url) as mirror:
        evses = [{"uid": f"NL*ABC*E{n:06}", "last_updated": at(0)} for n in range(10_000)]
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(evses=evses))
        written = []
        for minutes in range(1, 5):  # after a checkpoint, pages are written whole once
            before = await connection.fetchval("SELECT pg_current_wal_insert_lsn()")
            change = {"status": "CHARGING", "last_updated": at(minutes)}
            await broadcast(mirror, "PATCH locations/NL/ABC/LOC1/NL*ABC*E000007", change)
            diff = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), $1)"
            written.append(await connection.fetchval(diff, before))
        assert min(written) < 20_000
        (known,) = await mirror.known("locations", "LOC1")
        assert len(known.evse_uids) == 10_000
    await connection.close()
