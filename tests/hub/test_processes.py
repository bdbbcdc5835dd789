"""Several hubs on one database: who does the work of which platform, and who takes it over."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from uuid import uuid4

import asyncpg
import pytest

from hub import processes
from hub.simulator import SimulatedPlatform
from parties.store import Connection
from tests.hubs import HubOnTest, registered, settings_for
from tests.waiting import until


@contextlib.asynccontextmanager
async def two_hubs(database_url: str) -> AsyncIterator[tuple[HubOnTest, HubOnTest]]:
    hubs = HubOnTest(settings_for(database_url)), HubOnTest(settings_for(database_url))
    try:
        for hub in hubs:
            await hub.start()
        yield hubs
    finally:
        for hub in hubs:
            await hub.stop()


def platforms(count: int) -> list[SimulatedPlatform]:
    return [SimulatedPlatform(f"E{number}", [(f"DE-E{number:02}", "EMSP")]) for number in range(count)]


def held(hub: HubOnTest) -> frozenset[int]:
    return hub.hub.processes.held


async def test_each_platform_is_one_processs_and_they_share_alike(database_url: str) -> None:
    async with two_hubs(database_url) as (one, other), registered(one, *platforms(4)):

        async def is_shared() -> bool:
            return len(held(one)) == 2 == len(held(other))

        await until(is_shared, "each has two")
        assert not held(one) & held(other)


async def test_what_a_stopped_hub_did_is_taken_at_once(database_url: str) -> None:
    async with two_hubs(database_url) as (one, other), registered(one, *platforms(3)):

        async def other_has_some() -> bool:
            return bool(held(other))

        await until(other_has_some, "the other has some")
        await other.stop()

        async def one_has_all() -> bool:
            return len(held(one)) == 3

        await until(one_has_all, "the first has all")
        assert not held(other)


async def test_what_a_dead_process_held_is_taken_when_its_time_is_over(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(database_url)
    hub = HubOnTest(settings_for(database_url))
    await hub.start()
    try:
        async with registered(hub, *platforms(2)):
            dead = uuid4()
            await connection.execute("INSERT INTO hub_process (id, host, pid) VALUES ($1, 'gone', 1)", dead)
            await connection.execute("UPDATE platform_work SET holder = $1", dead)

            async def has_lost() -> bool:
                return not held(hub)

            await until(has_lost, "it follows the database")
            await until(lambda: not hub.hub.processes.is_alone, "it knows of the other")
            await connection.execute(
                "UPDATE hub_process SET seen_at = seen_at - $2::interval WHERE id = $1", dead, processes.LEASE
            )

            async def has_all() -> bool:
                return len(held(hub)) == 2

            await until(has_all, "it has taken both over")
    finally:
        await hub.stop()
        await connection.close()


async def test_what_is_given_up_while_the_database_is_asked_stays_given_up(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = await asyncpg.connect(database_url)
    hub = HubOnTest(settings_for(database_url))
    await hub.start()
    try:
        async with registered(hub, *platforms(2)):
            work, database = hub.hub.processes, hub.hub.database
            await until(lambda: len(held(hub)) == 2)
            is_asking, may_give_up, asked = asyncio.Event(), asyncio.Event(), asyncio.Event()
            lend = database.connection

            @contextlib.asynccontextmanager
            async def lend_and_take_back_late() -> AsyncIterator[Connection]:
                async with lend() as lent:
                    yield lent
                task = asyncio.current_task()
                if is_asking.is_set() and not asked.is_set() and task is looking:
                    may_give_up.set()
                    await until(lambda: len(held(hub)) == 1, "the other is given up")
                    asked.set()

            looking: asyncio.Task[None] | None = None
            look = work._look

            async def note_task_and_look() -> None:
                nonlocal looking
                looking = asyncio.current_task()
                await look()

            async def wait_for_the_question(_: int) -> None:
                is_asking.set()
                await may_give_up.wait()

            gained: list[int] = []
            work.watch(gained.append, lambda _: None, wait_for_the_question)
            monkeypatch.setattr(database, "connection", lend_and_take_back_late)
            monkeypatch.setattr(work, "_look", note_task_and_look)
            await connection.execute(
                "INSERT INTO hub_process (id, host, pid, seen_at) "
                "VALUES ($1, 'other', 1, clock_timestamp() + interval '1 hour')",
                uuid4(),
            )
            await asked.wait()
            await until(lambda: len(held(hub)) == 1)
            assert not gained
    finally:
        await connection.close()
        await hub.stop()


async def test_a_process_that_lost_its_database_trusts_its_work_no_longer(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "HOLD_SECONDS", 0.3)
    monkeypatch.setattr(processes, "HEARTBEAT_SECONDS", 0.1)
    hub = HubOnTest(settings_for(database_url))
    await hub.start()
    try:
        async with registered(hub, *platforms(1)):

            async def holds() -> bool:
                return any(hub.hub.processes.holds(platform_id) for platform_id in held(hub))

            await until(holds, "it holds the platform")
            await hub.hub.database.close()

            async def trusts_no_longer() -> bool:
                return not await holds()

            await until(trusts_no_longer, "it trusts its work no longer")
    finally:
        await hub.stop()


async def test_a_registration_is_answered_when_every_process_has_it(database_url: str) -> None:
    async with two_hubs(database_url) as (one, other):
        platform = SimulatedPlatform("E", [("DE-ABC", "EMSP")])
        async with platform:
            for _ in range(3):
                await one.register(platform)
                generation = one.hub.live.table.generation
                assert other.hub.live.table.generation >= generation - 1
                assert any(each.state == "registered" for each in other.hub.live.table.platforms.values())
                await one.members.remove((await one.members.platforms())[0], one.caller, lambda _: None)
                await asyncio.gather(one.hub.live.refresh(), other.hub.live.refresh())
