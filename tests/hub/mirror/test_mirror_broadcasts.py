"""Broadcast pushes into the mirror: stored with the change, in order, in batches."""

import asyncio

from tests.hub.mirror.cast import a_change, a_draft, a_location, a_mirror, a_tariff, at, body_of, broadcast, key


async def test_a_broadcast_is_stored_with_what_it_changes(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        put = await broadcast(mirror, "PUT locations/NL/ABC/Loc1", a_location("Loc1"))
        assert (put.id, put.previous, put.is_complete) == (1, None, True)
        patch = {"status": "CHARGING", "last_updated": at(5)}
        patched = await broadcast(mirror, "PATCH locations/NL/ABC/LOC1/e1", patch)
        assert (patched.id, patched.previous, patched.is_complete) == (2, 1, True)
        body = await body_of(mirror, key("locations", "LOC1"))
        assert body["last_updated"] == at(5)
        assert [evse["status"] for evse in body["evses"]] == ["CHARGING", "AVAILABLE"]
        assert [row.id for row in await mirror.broadcasts_after(0, 10, [])] == [1, 2]
        assert await mirror.broadcasts_after(0, 10, [1]) == [patched]
        assert await mirror.last_broadcast() == 2


async def test_pushes_of_one_object_in_one_batch_work_in_their_order(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        first = a_change("PUT locations/NL/ABC/LOC1", a_location())
        more = [
            a_change("PATCH locations/NL/ABC/LOC1/E1", {"status": f"S{n}", "last_updated": at(n)}) for n in range(9)
        ]
        rows = await asyncio.gather(*(mirror.take_broadcast(change, a_draft()) for change in [first, *more]))
        assert [row.id for row in rows] == list(range(1, 11))
        assert [row.previous for row in rows] == [None, *range(1, 10)]
        assert (await body_of(mirror, key("locations", "LOC1")))["evses"][0]["status"] == "S8"


async def test_a_deleted_tariff_is_gone_until_it_is_put_again(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        await broadcast(mirror, "PUT tariffs/NL/ABC/T1", a_tariff())
        gone = await broadcast(mirror, "DELETE tariffs/NL/ABC/T1")
        assert gone.is_complete
        current = await mirror.current(key("tariffs", "T1"))
        assert current is not None
        assert (current.deleted, current.body, current.broadcast) == (True, None, gone.id)
        assert await mirror.known("tariffs", "T1") == []
        await broadcast(mirror, "PUT tariffs/NL/ABC/T1", a_tariff(minutes=1))
        assert await body_of(mirror, key("tariffs", "T1")) == a_tariff(minutes=1)


async def test_a_deleted_tariff_is_back_when_its_owner_puts_an_older_one_but_not_by_a_list(database_url: str) -> None:
    """The list may have been made before; the owner's own push was not."""
    async with a_mirror(database_url) as mirror:
        await broadcast(mirror, "PUT tariffs/NL/ABC/T1", a_tariff(minutes=5))
        await broadcast(mirror, "DELETE tariffs/NL/ABC/T1")
        for minutes in (3, 5):
            assert await mirror.take_pulled([a_change("PUT tariffs/NL/ABC/T1", a_tariff(minutes=minutes))]) == 0
        assert await body_of(mirror, key("tariffs", "T1")) is None
        await broadcast(mirror, "PUT tariffs/NL/ABC/T1", a_tariff(minutes=3))
        assert await body_of(mirror, key("tariffs", "T1")) == a_tariff(minutes=3)
        # From then on, what is older than that is old again.
        await broadcast(mirror, "PUT tariffs/NL/ABC/T1", a_tariff(minutes=2))
        assert await body_of(mirror, key("tariffs", "T1")) == a_tariff(minutes=3)


async def test_a_patch_without_a_base_invents_nothing_and_says_so(database_url: str) -> None:
    async with a_mirror(database_url) as mirror:
        missing = []
        mirror.on_missing = missing.append
        patch = {"status": "CHARGING", "last_updated": at(5)}
        row = await broadcast(mirror, "PATCH locations/NL/ABC/LOC1/E7", patch)
        assert not row.is_complete
        assert [change.part for change in missing] == [("E7",)]
        assert await body_of(mirror, key("locations", "LOC1")) is None
        assert [known.evse_uids for known in await mirror.known("locations", "LOC1")] == [{"E7"}]
