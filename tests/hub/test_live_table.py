"""A change made anywhere is in force everywhere: told at once, looked up when asked for, polled when nobody tells."""

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from config.ocpi import Overloaded
from hub import live_table
from hub.simulator import SimulatedPlatform
from parties import store
from parties.model import Role
from tests.hubs import HubOnTest, registered
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


@pytest.fixture
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many digests each look-up of an unknown token asked for."""
    asked: list[int] = []
    real = store.knows_token

    async def counting(connection: store.Connection, digests: Any) -> bool:
        asked.append(len(list(digests)))
        return await real(connection, digests)

    monkeypatch.setattr(store, "knows_token", counting)
    return asked


def carries(token: str) -> str:
    return "Token " + b64encode(token.encode()).decode()


async def make_deaf(hub: HubOnTest) -> None:
    """Let a hub's LISTEN be lost without a word, as behind a pooling proxy."""
    listener = await until(lambda: hub.hub.live._listener, "the hub listens")

    async def unlisten() -> bool:
        try:
            return bool(await listener.execute("UNLISTEN *"))
        except asyncpg.InterfaceError:
            return False  # it is still busy with LISTEN

    await until(unlisten)


async def ask(hub: HubOnTest, asker: SimulatedPlatform, token: str) -> int:
    """Ask for the versions with this token; gives the HTTP status."""
    headers = {"Authorization": carries(token)}
    return (await asker.request("GET", f"{hub.url}/ocpi/versions", sender=None, headers=headers)).http_status


async def test_a_token_made_at_another_process_works_at_once(start_hub: StartHub, lookups: list[int]) -> None:
    one, other = await start_hub(), await start_hub()
    await make_deaf(other)
    async with SimulatedPlatform("Bec", [("BE-BEC", "CPO")]) as cpo:
        made = await one.invite("BE-BEC:CPO")
        lookups.clear()
        assert [await ask(other, cpo, made) for _ in range(5)] == [200] * 5
        assert len(lookups) == 1
        assert other.hub.live.table.generation == one.hub.live.table.generation


async def test_a_new_registration_is_used_at_another_process_within_milliseconds(start_hub: StartHub) -> None:
    one, other = await start_hub(), await start_hub()
    await make_deaf(other)
    async with registered(one, SimulatedPlatform("Bec", [("BE-BEC", "CPO")])) as (cpo,):
        cpo.hub_endpoints = {key: url.replace(one.url, other.url) for key, url in cpo.hub_endpoints.items()}
        async with registered(one, SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])):
            # Its token is new here, and with it comes all that has changed.
            answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
            assert answer.is_success


async def test_an_unknown_token_is_looked_up_once_in_a_second(hub: HubOnTest, lookups: list[int]) -> None:
    async with SimulatedPlatform("Nobody", []) as nobody:
        assert [await ask(hub, nobody, "unknown") for _ in range(20)] == [401] * 20
        assert lookups == [2]  # as Base64 and as it came


async def test_unknown_tokens_are_looked_up_at_a_limited_rate(hub: HubOnTest, lookups: list[int]) -> None:
    live = hub.hub.live
    began = time.monotonic()
    refused = 0
    for number in range(300):
        try:
            assert await live.authenticate(carries(f"unknown-{number}")) is None
        except Overloaded:  # not 401: whether it is unknown was not found out
            refused += 1
    assert refused > 0
    windows = int(time.monotonic() - began) + 1
    assert len(lookups) <= live_table.MAX_LOOKUPS_PER_SECOND * windows
    assert windows < 4


async def test_no_header_and_other_schemes_are_never_looked_up(hub: HubOnTest, lookups: list[int]) -> None:
    for header in (None, "", "Token", "Token ", "Bearer abc", "Basic YTpi", "token"):
        assert await hub.hub.live.authenticate(header) is None
    assert lookups == []


async def test_a_known_token_is_never_looked_up(hub: HubOnTest, lookups: list[int]) -> None:
    async with registered(hub, SimulatedPlatform("Bec", [("BE-BEC", "CPO")])) as (cpo,):
        lookups.clear()
        for _ in range(5):
            assert (await cpo.call("GET", "credentials", "SENDER")).is_success
        assert lookups == []


async def test_a_flood_of_unknown_tokens_keeps_no_member_out(hub: HubOnTest) -> None:
    async with registered(hub, SimulatedPlatform("Bec", [("BE-BEC", "CPO")])) as (cpo,):
        flood = [asyncio.create_task(ask(hub, cpo, f"unknown-{number}")) for number in range(200)]
        assert (await cpo.call("GET", "credentials", "SENDER")).is_success
        made = await hub.invite("DE-TNM:EMSP")
        assert await ask(hub, cpo, made) == 200
        assert set(await asyncio.gather(*flood)) <= {401, 503}


async def test_a_token_of_another_process_used_many_times_at_once_is_good_every_time(
    start_hub: StartHub, lookups: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_table, "POLL_SECONDS", 60)
    one, other = await start_hub(), await start_hub()
    await make_deaf(other)
    made = await one.members.invite([Role.parse("BE-BEC:CPO")])
    lookups.clear()
    header = carries(made.token.reveal())
    found = await asyncio.gather(*(other.hub.live.authenticate(header) for _ in range(5)))
    assert all(each is not None for each in found)
    assert len(lookups) <= 1


async def test_a_change_is_told_at_once(start_hub: StartHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_table, "POLL_SECONDS", 60)
    one, other = await start_hub(), await start_hub()
    await until(lambda: other.hub.live._listener, "the hub listens")
    await one.invite("BE-BEC:CPO")
    await until(lambda: ("BE", "BEC") in other.hub.live.table.holders, "it is told", seconds=2)


async def test_a_change_is_polled_within_a_second_when_listening_was_lost_silently(start_hub: StartHub) -> None:
    one, other = await start_hub(), await start_hub()
    await make_deaf(other)
    await one.invite("BE-BEC:CPO")
    await until(lambda: ("BE", "BEC") in other.hub.live.table.holders, "it is polled", seconds=2)
    assert not other.hub.live.is_degraded


async def test_the_hub_listens_again_after_the_connection_was_cut(hub: HubOnTest, database_url: str) -> None:
    before = await until(lambda: hub.hub.live._listener, "the hub listens")
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await connection.close()

    def listens_again() -> bool:
        now = hub.hub.live._listener
        return now is not before and now is not None and not now.is_closed()

    await until(listens_again, "the hub listens again")
    await hub.invite("BE-BEC:CPO")
    await until(lambda: ("BE", "BEC") in hub.hub.live.table.holders)
    assert not hub.hub.live.is_degraded


async def test_the_table_is_replaced_whole_and_only_when_something_changed(hub: HubOnTest) -> None:
    first = hub.hub.live.table
    await hub.hub.live.refresh()
    assert hub.hub.live.table is first
    await hub.invite("BE-BEC:CPO")
    second = hub.hub.live.table
    assert second is not first
    assert second.generation > first.generation
    assert first.holders == {}


async def test_many_refreshes_at_once_load_the_table_once(hub: HubOnTest, monkeypatch: pytest.MonkeyPatch) -> None:
    loads = 0
    real = store.read_members_at_once

    async def counting(*arguments: Any) -> Any:
        nonlocal loads
        loads += 1
        return await real(*arguments)

    monkeypatch.setattr(store, "read_members_at_once", counting)
    await hub.members.invite([])
    await asyncio.gather(*(hub.hub.live.refresh() for _ in range(10)))
    assert loads == 1


async def test_what_was_recognised_once_is_forgotten_with_the_table(hub: HubOnTest) -> None:
    async with registered(hub, SimulatedPlatform("Bec", [("BE-BEC", "CPO")])) as (cpo,):
        assert (await cpo.call("GET", "credentials", "SENDER")).is_success
        platform = next(iter(hub.hub.live.table.platforms.values()))
        await hub.members.remove(platform, hub.caller, lambda _: None)
        await hub.hub.live.refresh()
        assert await ask(hub, cpo, platform.token.reveal()) == 401  # type: ignore[union-attr]
        assert hub.hub.live.table.access == {}
