"""Lanes after a stall of the process, an outage of the database, and with pushes that the mirror does not contain."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from hub import lanes, processes
from hub.database import DatabaseAway
from hub.simulator.objects import location
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3
from tests.scenarios.test_lanes import copy_of, count, platform_of, push, switch
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]
NOT_KEPT = {"retention": {"locations": 0}}
"""A mirror without locations: nothing of them but their broadcasts is stored."""


@contextlib.asynccontextmanager
async def without_database(hub: HubOnTest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[float]]:
    """Let a hub's database be away; gives when it was wanted."""
    wanted: list[float] = []

    @contextlib.asynccontextmanager
    async def away(*, vital: bool = False) -> AsyncIterator[Any]:
        wanted.append(time.monotonic())
        raise DatabaseAway
        yield

    with monkeypatch.context() as patched:
        patched.setattr(hub.hub.database, "connection", away)
        yield wanted


async def test_what_waits_is_delivered_after_a_stall_though_nothing_new_comes(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HOLD_SECONDS", 1.2)
    hub = await start_hub(lane_in_flight=1)
    async with registered(hub, p1(), p3()) as (cpo, slow):
        slow.misbehave("slow", seconds=0.1)
        for number in range(5):
            await push(cpo, "new", number)
        time.sleep(1.3)  # noqa: ASYNC251 # the whole process stands still
        await slow.wait_for(5)


async def test_a_state_that_was_read_before_a_stall_is_read_anew(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HOLD_SECONDS", 1.2)
    hub = await start_hub()
    async with registered(hub, p1(), p3()) as (cpo, slow):
        read = hub.hub.mirror.current
        readings: list[int] = []

        async def read_and_stall(key: Any) -> Any:
            found = await read(key)
            readings.append(len(slow.received))
            if len(readings) == 1:
                time.sleep(1.3)  # noqa: ASYNC251 # another process may have the lane now, and be further
            return found

        monkeypatch.setattr(hub.hub.mirror, "current", read_and_stall)
        slow.misbehave("slow", seconds=0.1)
        for name in ("first", "second", "third"):
            await push(cpo, name, 1)
        await slow.wait_for(2)
        assert readings == [1, 1]
        assert slow.received[-1].json["name"] == "third"


async def test_a_lane_is_opened_though_the_database_went_away_just_then(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HOLD_SECONDS", 0.3)
    monkeypatch.setattr(processes, "HEARTBEAT_SECONDS", 0.1)
    monkeypatch.setattr(lanes, "REST_SECONDS", 0.05)
    hub = await start_hub()
    async with registered(hub, p1()) as (cpo,), p3() as emsp:
        loaded = asyncio.Event()
        hub.hub.processes.watch(lambda _: loaded.set(), lambda _: None)
        await hub.register(emsp)
        await loaded.wait()
        emsp_id = (await platform_of(hub, emsp)).id
        async with without_database(hub, monkeypatch) as wanted:
            hub.hub.lanes._lost(emsp_id)
            hub.hub.lanes._gained(emsp_id)
            await until(lambda: wanted and not hub.hub.processes.holds(emsp_id), "it trusts its work no longer")
            tried = len(wanted)
            await until(lambda: len(wanted) > tried + 5)
        await until(lambda: hub.hub.processes.holds(emsp_id), "the database is back")
        emsp.clear()

        async def has_come() -> bool:
            await push(cpo, "new", 1)
            return bool(emsp.received)

        await until(has_come, "the lane is there again", seconds=5)


async def test_states_that_wait_for_the_database_wait_in_their_places(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "REST_SECONDS", 0.1)
    hub = await start_hub(lane_in_flight=4)
    async with registered(hub, p1(), p3()) as (cpo, slow):
        slow.misbehave("slow", seconds=0.3)
        for number in range(90):
            await push(cpo, "new", number % 30)
        most = 0
        async with without_database(hub, monkeypatch) as wanted:

            def has_tried_often() -> bool:
                nonlocal most
                most = max(most, len(hub.hub.lanes._tasks))
                return len(wanted) > 40

            await until(has_tried_often)
        assert most <= 4
        slow.misbehave(None)
        await until(lambda: len(slow.store.copies["locations"]) == 30)


async def test_a_push_without_a_base_does_not_hold_up_catching_up(start_hub: StartHub) -> None:
    hub = await start_hub(breaker_time=0.2)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await switch(hub, emsp, "catch_up=on")
        await emsp.stop()
        change = {"name": "new", "last_updated": "2031-01-01T00:00:00Z"}
        expect.envelope(await cpo.call("PATCH", "locations", "RECEIVER", "BE/BEC/NOBASE", to="NL-HUB", body=change))
        await push(cpo, "new", 1)
        await until(lambda: count(hub, "failed") >= 1)
        await emsp.start()
        await until(copy_of(emsp, "locations", "L1"), "it has caught up")
        assert [(each.method, each.path.rpartition("/")[2]) for each in emsp.received] == [
            ("PATCH", "NOBASE"),  # as it was sent: the mirror has nothing in its place
            ("PUT", "L1"),
        ]


async def test_more_than_a_queue_holds_is_delivered_though_the_mirror_does_not_keep_it(start_hub: StartHub) -> None:
    hub = await start_hub(lane_queue=3, lane_in_flight=1, **NOT_KEPT)
    async with registered(hub, p1(), p3()) as (cpo, slow):
        slow.misbehave("slow", seconds=0.05)
        for number in range(20):
            await push(cpo, "new", number)
        await until(lambda: len(slow.store.copies["locations"]) == 20, "every push has come")


async def test_order_holds_over_two_hubs_for_what_the_mirror_does_not_keep(start_hub: StartHub) -> None:
    first = await start_hub(**NOT_KEPT)
    second = await start_hub(public_url=first.url, **NOT_KEPT)
    hubs = (first, second)
    async with registered(first, p1(), p3()) as (cpo, emsp):
        emsp_id = (await platform_of(first, emsp)).id
        await until(lambda: all(len(hub.hub.processes.held) == 1 for hub in hubs), "each has one lane")
        other, holder = sorted(hubs, key=lambda hub: hub.hub.processes.holds(emsp_id))
        receiver = cpo.hub_endpoints["locations", "RECEIVER"].partition("/ocpi/")[2]
        for number in range(20):
            for name, hub in (("first", other), ("second", holder)):
                body = location("BE-BEC", f"L{number}", name=name)
                url = f"{hub.url}/ocpi/{receiver}BE/BEC/L{number}"
                expect.envelope(await cpo.request("PUT", url, to="NL-HUB", body=body))
        await emsp.wait_for(40)
        for number in range(20):
            names = [each.json["name"] for each in emsp.received if each.path.endswith(f"/L{number}")]
            assert names == ["first", "second"]


async def test_broadcasts_go_on_after_the_database_went_back_to_an_earlier_state(
    hub: HubOnTest, database_url: str
) -> None:
    """A backup was restored, or a standby took over without the last transactions: ids are given out again."""
    connection = await asyncpg.connect(database_url)
    try:
        async with registered(hub, p1(), p3()) as (cpo, emsp):
            for number in range(3):
                await push(cpo, "old", number)
            await emsp.wait_for(3)
            async with connection.transaction():
                await connection.execute("TRUNCATE broadcast, mirror_object, mirror_count")
                await connection.execute("UPDATE platform_work SET progress = 0")
                await connection.execute("ALTER SEQUENCE broadcast_id RESTART")
            seen = len(emsp.received)

            async def arrives() -> bool:
                await push(cpo, "new", 1)
                return len(emsp.received) > seen

            await until(arrives, "what is broadcast from now on arrives")
    finally:
        await connection.close()
