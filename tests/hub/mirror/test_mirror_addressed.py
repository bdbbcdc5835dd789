"""Pushes to one party, and pulled lists: what is kept of them, and that a look-up sees what is still waiting."""

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from unittest import mock

import asyncpg
import pytest

from config.ocpi import ServerError
from hub.mirror import mirror as mirror_module
from hub.mirror.intake import put_again
from routing.objects import Change, read_time
from tests.hub.mirror.cast import (
    NOW,
    a_change,
    a_draft,
    a_location,
    a_mirror,
    a_push,
    a_session,
    a_tariff,
    an_evse,
    at,
    body_of,
    broadcast,
    counted,
    key,
    listed,
)
from tests.waiting import until


async def test_a_session_is_kept_whole_for_its_addressee_and_found_at_once(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/s1", a_session("S1"), to="DE-TNM"))
        assert mirror.pending == 1
        known = await mirror.known("sessions", "S1")
        assert [each.key for each in known] == [key("sessions", "S1", addressee="DE-TNM")]
        assert mirror.pending == 0
        patch = {"kwh": 7, "last_updated": at(3)}
        mirror.take_addressed(a_push("PATCH sessions/NL/ABC/S1", patch, to="DE-TNM"))
        await mirror.settled()
        assert await body_of(mirror, known[0].key) == a_session("S1", 3, kwh=7)
        expected = {("sessions", "NL-ABC", "DE-TNM"): 1}
        assert await counted(database_url) == await listed(database_url) == expected


async def test_it_is_stored_a_moment_later_without_anybody_asking(database_url: str) -> None:
    async with a_mirror(database_url, runs=True) as mirror:
        for number in range(450):
            mirror.take_addressed(a_push("POST cdrs", a_session(f"C{number}"), to="DE-TNM"))
        await until(lambda: mirror.pending == 0, "all is stored")
        assert await counted(database_url) == {("cdrs", "NL-ABC", "DE-TNM"): 450}


async def test_what_still_waits_at_the_end_is_stored(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        mirror.take_addressed(a_push("POST cdrs", a_session("C1"), to="DE-TNM"))
    assert await counted(database_url) == {("cdrs", "NL-ABC", "DE-TNM"): 1}


async def test_a_location_for_one_party_leaves_an_index_entry_without_a_body(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        missing: list[Change] = []
        mirror.on_missing = missing.append
        mirror.take_addressed(a_push("PUT locations/NL/ABC/LOC1", a_location(), to="DE-TNM"))
        patch = {"status": "BLOCKED", "last_updated": at(1)}
        mirror.take_addressed(a_push("PATCH locations/NL/ABC/LOC1/E9", patch, to="DE-TNM"))
        assert [each.evse_uids for each in await mirror.known("locations", "LOC1")] == [{"E1", "E2", "E9"}]
        assert await body_of(mirror, key("locations", "LOC1")) is None
        assert await listed(database_url) == {}
        assert missing == []


async def test_a_push_to_one_party_does_not_touch_what_the_network_has(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location())
        other = a_location(minutes=9, name="for one", evses=[an_evse("E3")])
        mirror.take_addressed(a_push("PUT locations/NL/ABC/LOC1", other, to="DE-TNM"))
        assert [each.evse_uids for each in await mirror.known("locations", "LOC1")] == [{"E1", "E2", "E3"}]
        assert await body_of(mirror, key("locations", "LOC1")) == a_location()
        # What was pushed to one does not keep out what comes for all, however old.
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(minutes=1))
        assert await body_of(mirror, key("locations", "LOC1")) == a_location(minutes=1)


async def test_reservations_and_charging_profiles_are_found_by_who_made_them(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        later = (NOW + timedelta(hours=1)).isoformat()
        for id, expiry in (("R1", later), ("R2", at(0))):
            body = {"reservation_id": id, "expiry_date": expiry}
            mirror.take_addressed(a_push("POST commands/RESERVE_NOW", body, to="NL-ABC", sender="DE-TNM"))
        profile = {"charging_profile": {}}
        mirror.take_addressed(a_push("PUT chargingprofiles/s1", profile, to="NL-ABC", sender="DE-TNM"))
        (known,) = await mirror.known("reservations", "R1")
        assert (known.key.owner, known.key.addressee) == ("NL-ABC", "DE-TNM")
        (set_by,) = await mirror.known("chargingprofiles", "S1")
        assert (set_by.key.owner, set_by.key.addressee) == ("NL-ABC", "DE-TNM")
        assert await listed(database_url) == {}


async def test_a_pulled_list_is_stored_once_and_never_over_something_newer(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        changes = [a_change(f"PUT locations/NL/ABC/L{n}", a_location(f"L{n}", 5)) for n in range(450)]
        assert await mirror.take_pulled(changes) == 450
        assert await mirror.take_pulled(changes) == 0
        older = a_change("PUT locations/NL/ABC/L0", a_location("L0", 4, name="old"))
        changed = a_change("PUT locations/NL/ABC/L1", a_location("L1", 5, name="same time"))
        newer = a_change("PUT locations/NL/ABC/L2", a_location("L2", 6))
        assert await mirror.take_pulled([older, changed, newer]) == 2
        assert await body_of(mirror, key("locations", "L0")) == a_location("L0", 5)
        assert await body_of(mirror, key("locations", "L1")) == a_location("L1", 5, name="same time")


async def test_a_page_read_before_a_tariff_was_deleted_does_not_bring_it_back(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        page = [a_change("PUT tariffs/NL/ABC/T1", a_tariff())]
        await mirror.take_pulled(page)
        await broadcast(mirror, "DELETE tariffs/NL/ABC/T1")
        assert await mirror.take_pulled(page) == 0
        assert await listed(database_url) == {}
        assert await mirror.take_pulled([a_change("PUT tariffs/NL/ABC/T1", a_tariff(minutes=1))]) == 1
        assert await listed(database_url) == {("tariffs", "NL-ABC", ""): 1}


async def test_a_private_location_in_a_pulled_list_is_only_known_to_exist(database_url: str) -> None:
    """R-274."""
    async with a_mirror(database_url) as mirror:
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location())
        private = a_change("PUT locations/NL/ABC/LOC1", a_location(minutes=1, publish=False))
        assert await mirror.take_pulled([private]) == 1
        assert await mirror.take_pulled([private]) == 0
        assert await body_of(mirror, key("locations", "LOC1")) is None
        assert [each.evse_uids for each in await mirror.known("locations", "LOC1")] == [{"E1", "E2"}]
        assert await counted(database_url) == await listed(database_url) == {}


async def test_a_module_that_is_left_out_is_broadcast_but_not_kept(database_url: str) -> None:
    async with a_mirror(database_url, retention={"tariffs": 0, "sessions": 0}) as mirror:
        rows = [await broadcast(mirror, "PUT tariffs/NL/ABC/T1", a_tariff(minutes=n)) for n in range(2)]
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session(), to="DE-TNM"))
        assert [(row.id, row.previous, row.is_complete) for row in rows] == [(1, None, False), (2, None, False)]
        assert await mirror.known("tariffs", "T1") == await mirror.known("sessions", "S1") == []
        assert await mirror.broadcasts_after(0, 10, []) == rows


@pytest.fixture
def refuses_tariffs() -> Iterator[None]:
    """A database that will not have the tariff BAD."""
    store = mirror_module.store_batch

    async def store_or_fail(connection: Any, arrivals: Any, max_bytes: int) -> Any:
        outcomes = await store(connection, arrivals, max_bytes)
        if any(arrival.change.key.object_key == "BAD" for arrival in arrivals):
            await connection.execute("SELECT 1 / 0")
        return outcomes

    with mock.patch.object(mirror_module, "store_batch", store_or_fail):
        yield


@pytest.mark.usefixtures("refuses_tariffs")
async def test_one_push_that_cannot_be_stored_fails_alone(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        ids = ["T1", "T2", "BAD", "T3"]
        changes = [a_change(f"PUT tariffs/NL/ABC/{id}", a_tariff(id)) for id in ids]
        given = await asyncio.gather(
            *(mirror.take_broadcast(change, a_draft()) for change in changes), return_exceptions=True
        )
        assert [type(each) is ServerError for each in given] == [id == "BAD" for id in ids]
        assert [row.object_key for row in await mirror.broadcasts_after(0, 10, [])] == ["T1", "T2", "T3"]
        for id in ids:
            mirror.take_addressed(a_push(f"PUT tariffs/NL/ABC/{id}", a_tariff(id)))
        await mirror.settled()
        assert mirror.dropped == 1
        assert await counted(database_url) == await listed(database_url) == {("tariffs", "NL-ABC", ""): 3}


async def test_beyond_its_bound_the_oldest_that_waits_is_dropped_and_counted(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "PENDING_MAX", 3)
    monkeypatch.setattr(mirror_module, "READ_AT", 1)
    async with a_mirror(database_url) as mirror:
        for number in range(5):
            mirror.take_addressed(a_push("POST cdrs", a_session(f"C{number}"), to="DE-TNM"))
        assert (mirror.pending, mirror.dropped) == (3, 2)
        assert await mirror.known("cdrs", "C1") == []
        assert len(await mirror.known("cdrs", "C2")) == 1
        assert await counted(database_url) == {("cdrs", "NL-ABC", "DE-TNM"): 3}


async def test_whoever_stops_waiting_takes_nothing_from_the_others(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        changes = [a_change(f"PUT tariffs/NL/ABC/T{n}", a_tariff(f"T{n}")) for n in range(20)]
        pushes = [asyncio.create_task(mirror.take_broadcast(change, a_draft())) for change in changes]
        await asyncio.sleep(0)
        for push in pushes[::2]:
            push.cancel()
        given = await asyncio.gather(*pushes, return_exceptions=True)
        assert all(isinstance(each, asyncio.CancelledError) for each in given[::2])
        kept = {row.object_key for row in await mirror.broadcasts_after(0, 100, [])}
        assert {f"T{n}" for n in range(1, 20, 2)} <= kept
        mirror.take_addressed(a_push("POST cdrs", a_session("C1"), to="DE-TNM"))
        looking = asyncio.create_task(mirror.known("cdrs", "C1"))
        await asyncio.sleep(0)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        assert len(await mirror.known("cdrs", "C1")) == 1


async def test_what_a_party_shares_again_from_its_new_platform_is_not_the_old_ones(database_url: str) -> None:
    """Else it would be forgotten with what the old platform left behind."""
    async with a_mirror(database_url) as mirror:
        page = [
            a_change("PUT tariffs/NL/ABC/T1", a_tariff()),
            a_change("PUT locations/NL/ABC/LOC1", a_location(publish=False)),
        ]
        await mirror.take_pulled(page)
        await mirror.take_pulled([each._replace(platform_id=7) for each in page])
        found = [await mirror.current(each.key) for each in page]
        assert [each.platform_id for each in found if each is not None] == [7, 7]


async def test_a_locations_own_change_counts_though_an_evse_has_later_news(database_url: str) -> None:
    """T-096: many owners do not raise the location's last_updated when a status changes."""
    async with a_mirror(database_url) as mirror:
        await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(minutes=0))
        await broadcast(mirror, "PATCH locations/NL/ABC/LOC1/E1", {"status": "CHARGING", "last_updated": at(9)})
        await broadcast(mirror, "PATCH locations/NL/ABC/LOC1", {"name": "new", "last_updated": at(5)})
        await broadcast(mirror, "PATCH locations/NL/ABC/LOC1", {"name": "old", "last_updated": at(4)})
        found = await body_of(mirror, key("locations", "LOC1"))
        assert (found["name"], found["last_updated"], found["evses"][0]["status"]) == ("new", at(9), "CHARGING")
        # All EVSEs at once, as they were before: that would undo the status.
        await broadcast(mirror, "PATCH locations/NL/ABC/LOC1", {"evses": [an_evse("E1", 5)], "last_updated": at(5)})
        assert await body_of(mirror, key("locations", "LOC1")) == found


@pytest.mark.parametrize("at_once", [True, False])
async def test_the_latest_of_a_sessions_pushes_is_kept_in_whatever_order_they_come(
    database_url: str, at_once: bool
) -> None:
    async with a_mirror(database_url) as mirror:
        for minutes in (1, 5, 3, 7, 6):
            for id in ("S1", "S2"):
                mirror.take_addressed(a_push(f"PUT sessions/NL/ABC/{id}", a_session(id, minutes), to="DE-TNM"))
            if not at_once:
                await mirror.settled()
        await mirror.settled()
        for id in ("S1", "S2"):
            assert await body_of(mirror, key("sessions", id, addressee="DE-TNM")) == a_session(id, 7)
        # With the same last_updated, what came later counts.
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session("S1", 7, kwh=9), to="DE-TNM"))
        await mirror.settled()
        assert await body_of(mirror, key("sessions", "S1", addressee="DE-TNM")) == a_session("S1", 7, kwh=9)
        assert (mirror.pending, mirror.dropped) == (0, 0)
        expected = {("sessions", "NL-ABC", "DE-TNM"): 2}
        assert await counted(database_url) == await listed(database_url) == expected


async def test_a_session_put_again_is_as_its_last_push_says_where_it_came_from(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        for minutes, id, days in ((1, "S1", 2), (2, "s1", 1)):
            received = NOW - timedelta(days=days, microseconds=minutes)
            push = a_push(f"PUT sessions/nl/ABC/{id}", a_session("S1", minutes), to="DE-TNM", received=received)
            mirror.take_addressed(push)
            await mirror.settled()
        connection = await asyncpg.connect(database_url)
        row = await connection.fetchrow("SELECT path, last_updated, received_at, listed_at FROM mirror_object")
        await connection.close()
        assert tuple(row) == ("nl/ABC/s1", read_time(at(2)), received, received)


async def test_a_push_that_is_not_understood_keeps_none_of_the_others_out(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        for body in (a_session("S9"), b"[]", b'{"id":' + b"[" * 40 + b"]" * 40 + b"}", a_session("S1", kwh=2)):
            mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", body, to="DE-TNM"))
        await mirror.settled()
        assert (mirror.pending, mirror.dropped) == (0, 0)
        assert await body_of(mirror, key("sessions", "S1", addressee="DE-TNM")) == a_session("S1", kwh=2)


async def test_a_push_that_the_hub_fails_to_read_is_counted_as_dropped(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_mirror(database_url) as mirror:
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session("S1"), to="DE-TNM"))
        with monkeypatch.context() as patched:
            patched.setattr(mirror_module, "read_push", mock.Mock(side_effect=KeyError))
            await mirror.settled()
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S2", a_session("S2"), to="DE-TNM"))
        await mirror.settled()
        assert (mirror.pending, mirror.dropped) == (0, 1)
        assert await counted(database_url) == {("sessions", "NL-ABC", "DE-TNM"): 1}


async def test_what_the_short_statement_cannot_store_is_stored_the_general_way(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = mock.AsyncMock(side_effect=asyncpg.OutOfMemoryError("no room for so many locks"))
    monkeypatch.setattr(mirror_module, "put_again", refusal)
    async with a_mirror(database_url) as mirror:
        for minutes in range(2):
            mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session(minutes=minutes), to="DE-TNM"))
            await mirror.settled()
        assert refusal.await_count == 2
        assert await body_of(mirror, key("sessions", "S1", addressee="DE-TNM")) == a_session(minutes=1)


async def test_a_line_end_in_what_is_written_in_lines_goes_the_general_way(database_url: str) -> None:
    async with a_mirror(database_url) as mirror, mirror._database.connection() as connection:
        changes = [a_change(f"PUT sessions/NL/ABC/S{n}", a_session(f"S{n}"), to="DE-TNM") for n in range(2)]
        odd = [changes[0], changes[1]._replace(path="NL/ABC/S\n1")]
        assert await put_again(connection, odd) == odd


async def test_two_hubs_that_are_pushed_the_same_sessions_at_once_keep_the_latest(database_url: str) -> None:
    async with a_mirror(database_url) as one, a_mirror(database_url) as other:
        for turn in range(6):
            for number in range(60):
                for mirror, place in ((one, number), (other, 59 - number)):
                    minutes = 2 * turn + (mirror is other)
                    push = a_push(f"PUT sessions/NL/ABC/S{place}", a_session(f"S{place}", minutes), to="DE-TNM")
                    mirror.take_addressed(push)
            patch = {"last_updated": at(2 * turn), "charging_periods": [{"start_date_time": at(turn)}]}
            other.take_addressed(a_push("PATCH sessions/NL/ABC/S7", patch, to="DE-TNM"))
            await asyncio.gather(one.settled(), other.settled())
        for place in (0, 30, 59):
            assert await body_of(one, key("sessions", f"S{place}", addressee="DE-TNM")) == a_session(f"S{place}", 11)
        assert (one.dropped, other.dropped) == (0, 0)
        expected = {("sessions", "NL-ABC", "DE-TNM"): 60}
        assert await counted(database_url) == await listed(database_url) == expected


async def test_large_locations_for_one_party_wait_as_the_little_that_is_kept_of_them(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "PENDING_BYTES_MAX", 20_000)
    monkeypatch.setattr(mirror_module, "READ_AT_BYTES", 20_000)
    async with a_mirror(database_url) as mirror:
        for number in range(30):
            body = a_location(f"LOC{number}", name="x" * 9_000)
            mirror.take_addressed(a_push(f"PUT locations/NL/ABC/LOC{number}", body, to="DE-TNM"))
            assert mirror._unread_bytes < 20_000
        assert (mirror.pending, mirror.dropped) == (30, 0)
        assert len(await mirror.known("locations", "LOC29")) == 1
