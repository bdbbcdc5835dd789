"""Broadcasts and receivers that are slow, dead, away, or back: nobody else notices, and nothing grows."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from hub.simulator import Misbehaviour, SimulatedPlatform
from hub.simulator.objects import location, tariff
from parties.model import Platform
from tests.hubs import HubOnTest, registered, settings_for
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3, p4, p5
from tests.waiting import until


async def platform_of(hub: HubOnTest, simulated: SimulatedPlatform) -> Platform:
    return next(each for each in await hub.members.platforms() if each.name == simulated.name)


async def switch(hub: HubOnTest, simulated: SimulatedPlatform, *assignments: str) -> None:
    await hub.members.set_switches(await platform_of(hub, simulated), assignments, hub.hub.guard)
    await hub.hub.live.refresh()


async def push(cpo: SimulatedPlatform, name: str, number: int = 1) -> None:
    """Put a location with this name, in the order of calls."""
    body = location("BE-BEC", f"L{number}", name=name, last_updated=f"2031-01-01T00:{number:02}:00Z")
    expect.envelope(await cpo.call("PUT", "locations", "RECEIVER", f"BE/BEC/L{number}", to="NL-HUB", body=body))


def depth(hub: HubOnTest, platform_id: int) -> int:
    return next((gauge.depth for gauge in hub.hub.metrics.lanes() if gauge.platform_id == platform_id), 0)


def count(hub: HubOnTest, outcome: str) -> float:
    for line in hub.hub.metrics.render().decode().splitlines():
        if line.startswith(f'ocpi_hub_deliveries_total{{outcome="{outcome}"}}'):
            return float(line.split()[-1])
    return 0.0


def copy_of(platform: SimulatedPlatform, module: str, object_id: str) -> Callable[[], object]:
    return lambda: platform.store.copies[module].get(("BE", "BEC", object_id))


async def test_a_slow_receiver_delays_nobody_and_its_lane_stays_small(database_url: str) -> None:
    hub = HubOnTest(settings_for(database_url, broadcast_timeout=30, lane_queue=5, lane_in_flight=2))
    await hub.start()
    try:
        async with registered(hub, p1(), p3(), p5()) as (cpo, slow, nsp):
            slow.misbehave("slow", seconds=0.4)
            slow_id = (await platform_of(hub, slow)).id
            for number in range(30):
                await push(cpo, "new", number)
                assert depth(hub, slow_id) <= 5 + 2
            await nsp.wait_for(30)
            assert len(slow.received) < 30
            # It gets what its queue could not hold too, as the mirror has it.
            for number in range(30):
                await until(copy_of(slow, "locations", f"L{number}"), f"L{number} has come", seconds=20)
                assert depth(hub, slow_id) <= 5 + 2
    finally:
        await hub.stop()


async def test_a_dead_receiver_costs_one_attempt_until_its_breaker_lets_a_probe_through(database_url: str) -> None:
    hub = HubOnTest(settings_for(database_url, breaker_time=0.5))
    await hub.start()
    try:
        async with registered(hub, p1(), p3(), p5()) as (cpo, dead, nsp):
            await dead.stop()
            for number in range(10):
                await push(cpo, "new", number)
            await nsp.wait_for(10)
            await until(lambda: count(hub, "failed") + count(hub, "skipped") == 10)
            assert count(hub, "failed") == 1
            await dead.start()
            await asyncio.sleep(0)

            async def is_reached() -> bool:
                await push(cpo, "again", 1)
                return bool(dead.received)

            await until(is_reached, "the probe got through")
            assert dead.store.copies["locations"]["BE", "BEC", "L1"]["name"] == "again"
            # What was passed over meanwhile is not sent again: the platform asks for it.
            assert ("BE", "BEC", "L5") not in dead.store.copies["locations"]
    finally:
        await hub.stop()


async def test_a_platform_with_catch_up_gets_what_it_missed(database_url: str) -> None:
    hub = HubOnTest(settings_for(database_url, breaker_time=0.3))
    await hub.start()
    try:
        async with registered(hub, p1(), p3()) as (cpo, emsp):
            await switch(hub, emsp, "catch_up=on")
            for number in range(3):
                await push(cpo, "old", number)
            body = tariff("BE-BEC", "T1")
            expect.envelope(await cpo.call("PUT", "tariffs", "RECEIVER", "BE/BEC/T1", to="NL-HUB", body=body))
            await until(copy_of(emsp, "tariffs", "T1"))
            await emsp.stop()
            for number in (1, 2, 3):
                await push(cpo, "missed", number)
            expect.envelope(await cpo.call("DELETE", "tariffs", "RECEIVER", "BE/BEC/T1", to="NL-HUB"))
            await until(lambda: count(hub, "failed") >= 1)
            await emsp.start()
            names = {"L0": "old", "L1": "missed", "L2": "missed", "L3": "missed"}

            def has_all() -> bool:
                copies = emsp.store.copies["locations"]
                found = {key[2]: body["name"] for key, body in copies.items()}
                return found == names and not emsp.store.copies["tariffs"]

            await until(has_all, "it has caught up", seconds=15)
    finally:
        await hub.stop()


@pytest.mark.parametrize("misbehaviour", ["unauthorized", "html"])
async def test_a_platform_with_catch_up_gets_what_it_would_not_take(
    start_hub: Callable[..., Awaitable[HubOnTest]], misbehaviour: Misbehaviour
) -> None:
    hub = await start_hub(breaker_time=0.2)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await switch(hub, emsp, "catch_up=on")
        emsp.misbehave(misbehaviour)
        await push(cpo, "new", 1)
        await until(lambda: count(hub, "failed") >= 1)
        emsp.misbehave(None)
        await until(copy_of(emsp, "locations", "L1"), "it has caught up", seconds=15)


async def test_what_fails_while_a_lane_changes_hands_is_caught_up_by_who_holds_it_next(
    start_hub: Callable[..., Awaitable[HubOnTest]],
) -> None:
    hub = await start_hub(breaker_time=0.3, broadcast_timeout=2)
    async with registered(hub, p1(), p5(), p3()) as (cpo, _, emsp):
        await switch(hub, emsp, "catch_up=on")
        emsp_id = (await platform_of(hub, emsp)).id
        emsp.misbehave("silent")
        await push(cpo, "new", 1)
        await emsp.wait_for(1)
        other = await start_hub(breaker_time=0.3)  # of three platforms it gets the last
        await until(lambda: other.hub.processes.holds(emsp_id), "the other hub has the lane", seconds=20)
        emsp.misbehave(None)
        await until(copy_of(emsp, "locations", "L1"), "it has caught up", seconds=15)


async def test_a_graceful_stop_delivers_what_was_acknowledged(database_url: str) -> None:
    hub = HubOnTest(settings_for(database_url))
    await hub.start()
    async with registered(hub, p1(), p3(), p4()) as (cpo, slow, emsp):
        slow.misbehave("slow", seconds=0.1)
        for number in range(12):
            await push(cpo, "new", number)
        await hub.stop()
        for platform in (slow, emsp):
            assert len(platform.store.copies["locations"]) == 12


async def test_a_hub_that_comes_back_delivers_nothing_twice_and_misses_nothing(database_url: str) -> None:
    settings = settings_for(database_url)
    hub = HubOnTest(settings)
    await hub.start()
    port = hub.settings.port
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await push(cpo, "first", 1)
        await hub.stop()
        assert len(emsp.received) == 1
        hub = HubOnTest(settings_for(database_url, port=port))
        await hub.start()
        try:
            await push(cpo, "second", 2)
            await emsp.wait_for(2)
            assert [received.json["name"] for received in emsp.received] == ["first", "second"]
        finally:
            await hub.stop()


async def test_without_the_database_a_broadcast_is_refused_and_direct_requests_go_on(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await hub.hub.database.close()
        body = location("BE-BEC", "L1")
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/L1", to="NL-HUB", headers=expect.IDS, body=body)
        expect.refusal(answer, 3000, to="BE-BEC")
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/L1", to="DE-TNM", body=body)
        expect.envelope(answer, 201)
        assert len(emsp.received) == 1


async def test_a_platform_that_is_back_gets_the_next_broadcast_whatever_its_breaker_remembers(
    database_url: str,
) -> None:
    hub = HubOnTest(settings_for(database_url, breaker_time=600, silence=1))
    await hub.start()
    try:
        async with registered(hub, p1(), p3()) as (cpo, emsp):
            emsp_id = (await platform_of(hub, emsp)).id

            def is_online() -> bool:
                return hub.hub.live.table.platforms[emsp_id].is_online

            await emsp.stop()
            await push(cpo, "missed", 1)
            await until(lambda: not is_online(), "it is OFFLINE")
            await emsp.start()
            await until(is_online, "it is CONNECTED")
            await push(cpo, "back", 2)
            await until(copy_of(emsp, "locations", "L2"), "it has what came after its return")
            assert copy_of(emsp, "locations", "L1")() is None
    finally:
        await hub.stop()
