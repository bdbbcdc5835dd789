"""An object of which only a PATCH came is asked for once, from whoever owns it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from config.ocpi import format_time
from hub import missing
from hub.simulator import Received, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import location, session, token
from routing.objects import Change, ObjectKey
from tests.hubs import HubOnTest
from tests.scenarios.cast import p1, p3
from tests.sender_lists import all_done, asked, is_list, member, mirrored, set_online, switch
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


@pytest.fixture
async def hub(start_hub: StartHub) -> HubOnTest:
    return await start_hub(pulls=True)


@pytest.fixture
def cpo() -> SimulatedPlatform:
    return p1()


def a_patch(ident: str = "LOC1", module: str = "locations", owner: str = "BE-BEC", **fields: Any) -> Change:
    body = {"last_updated": format_time(datetime.now(UTC))} | fields
    return Change(
        ObjectKey(module, owner, ident.replace("%20", " ").upper()),
        part=(),
        method="PATCH",
        path=f"{owner.replace('-', '/')}/{ident}",
        query="",
        body=orjson.dumps(body),
        platform_id=1,
        version="2.2.1",
        keeps="object",
        received_at=datetime.now(UTC),
    )


async def is_there(database_url: str, name: str, module: str = "locations") -> bool:
    return name in await mirrored(database_url, module)


async def test_a_location_is_fetched_once(hub: HubOnTest, cpo: SimulatedPlatform, database_url: str) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.store.owned["locations"] = [location("BE-BEC", "Loc 1"), location("BE-BEC", "LOC2")]
        cpo.clear()
        for _ in range(3):
            hub.hub.mirror.on_missing(a_patch("Loc%201"))
        await until(lambda: is_there(database_url, "BE-BEC LOC 1"), "the location has arrived")
        hub.hub.mirror.on_missing(a_patch("loc%201"))
        hub.hub.mirror.on_missing(a_patch("LOC2"))
        await until(lambda: is_there(database_url, "BE-BEC LOC2"), "the other one has arrived")
        requests = [(each.method, each.path.rpartition("/")[2], each.sender, each.to) for each in cpo.received]
    assert requests == [("GET", "Loc%201", "NL-HUB", "BE-BEC"), ("GET", "LOC2", "NL-HUB", "BE-BEC")]
    assert await mirrored(database_url) == ["BE-BEC LOC 1", "BE-BEC LOC2"]


async def test_a_broadcast_of_a_part_fetches_the_whole(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.store.owned["locations"] = [location("BE-BEC", "LOC1")]
        cpo.clear()
        for _ in range(2):
            body = {"status": "CHARGING", "last_updated": format_time(datetime.now(UTC))}
            pushed = await cpo.call("PATCH", "locations", "RECEIVER", "BE/BEC/LOC1/LOC1-1", to="NL-HUB", body=body)
            assert pushed.status_code == 1000
            await until(lambda: is_there(database_url, "BE-BEC LOC1"), "the location has arrived")
        assert [each.path.rpartition("/")[2] for each in cpo.received] == ["LOC1"]


async def test_a_location_may_come_wrapped_in_a_list(  # QUIRKS 9
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.answer("GET", "locations", reply=Reply(200, envelope([location("BE-BEC", "LOC1")])))
        hub.hub.mirror.on_missing(a_patch())
        await until(lambda: is_there(database_url, "BE-BEC LOC1"), "the location has arrived")


async def test_another_location_than_the_one_asked_for_is_not_taken(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.answer("GET", "locations", reply=Reply(200, envelope(location("BE-BEC", "OTHER"))))
        hub.hub.mirror.on_missing(a_patch("LOC1"))
        await cpo.wait_for(lambda each: each.path.endswith("/LOC1"))
        cpo.answer("GET", "locations", reply=Reply(200, envelope(location("BE-BEC", "LOC2"))))
        hub.hub.mirror.on_missing(a_patch("LOC2"))
        await until(lambda: is_there(database_url, "BE-BEC LOC2"), "the location has arrived")
    assert await mirrored(database_url) == ["BE-BEC LOC2"]


async def test_sessions_and_tokens_are_asked_for_in_a_list_from_the_patch_on(hub: HubOnTest, database_url: str) -> None:
    moment = "2026-04-01T10:00:00.000Z"
    cpo, emsp = p1(), p3()
    async with member(hub, cpo, emsp):
        await until(lambda: all_done(hub, 1, 4), "all of the CPO is read")
        await until(lambda: all_done(hub, 2, 1), "all of the eMSP is read")
        cpo.store.owned["sessions"] = [
            session("BE-BEC", "S1"),
            session("BE-BEC", "S0", last_updated="2026-01-01T00:00:00Z"),
        ]
        emsp.store.owned["tokens"] = [token("DE-TNM", "T1")]
        cpo.clear()
        hub.hub.mirror.on_missing(a_patch("S1", "sessions", last_updated=moment))
        await until(lambda: is_there(database_url, "BE-BEC S1 for DE-TNM", "sessions"), "the session has arrived")
        assert asked(cpo, "sessions")[0]["date_from"] == moment
    assert await mirrored(database_url, "sessions") == ["BE-BEC S1 for DE-TNM"]


async def test_many_patches_at_once_ask_for_a_list_once(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.clear()
        for number in range(50):
            hub.hub.mirror.on_missing(a_patch(f"S{number}", "sessions", last_updated=f"2026-04-01T10:00:{number:02}Z"))
        await cpo.wait_for(is_list)
        await until(lambda: not hub.hub.pulls._missing._waiting, "nothing is waiting")
        assert [query["date_from"] for query in asked(cpo, "sessions")] == ["2026-04-01T10:00:00.000Z"]


async def test_who_is_offline_or_switched_off_is_not_asked(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.clear()
        await set_online(hub, False)
        hub.hub.mirror.on_missing(a_patch("LOC1"))
        await switch(hub, "pull=off")
        await set_online(hub, True)
        hub.hub.mirror.on_missing(a_patch("LOC1"))
        assert not hub.hub.pulls._missing._waiting
        hub.hub.mirror.on_missing(a_patch("LOC1", owner="FR-XXX"))  # not of this platform
        await switch(hub, "pull=on")
        hub.hub.mirror.on_missing(a_patch("LOC2", owner="FR-XXX"))
        hub.hub.mirror.on_missing(a_patch("LOC3"))
        await cpo.wait_for(lambda each: each.path.endswith("/LOC3"))
        assert not [each for each in cpo.received if each.path.endswith(("/LOC1", "/LOC2"))]


async def test_what_cannot_be_had_is_not_asked_for_again_and_harms_nobody(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        cpo.clear()
        for reply in (Reply(404, b"gone"), Reply(200, b"<html>"), Reply(200, envelope([])), Reply(500)):
            cpo.answer("GET", "locations", reply=reply)
            ident = f"BAD{reply.status}{len(str(reply.body))}"
            hub.hub.mirror.on_missing(a_patch(ident))
            await cpo.wait_for(lambda each, ident=ident: each.path.endswith(ident))
            hub.hub.mirror.on_missing(a_patch(ident))
        cpo.answer("GET", "locations")
        cpo.store.owned["locations"] = [location("BE-BEC", "LOC1")]
        hub.hub.mirror.on_missing(a_patch("LOC1"))
        await until(lambda: is_there(database_url, "BE-BEC LOC1"), "the location has arrived")
        assert len(cpo.received) == 5


async def test_what_is_remembered_is_bounded(
    hub: HubOnTest, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "REMEMBERED_MAX", 10)
    async with member(hub, cpo):
        for number in range(100):
            hub.hub.mirror.on_missing(a_patch(f"LOC{number}"))
        assert len(hub.hub.pulls._missing._asked[1]) == 10


async def test_after_a_while_an_object_may_be_asked_for_again(
    hub: HubOnTest, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "REMEMBER_SECONDS", 0.0)
    async with member(hub, cpo):
        for number in (1, 2):
            hub.hub.mirror.on_missing(a_patch())
            await cpo.wait_for(
                lambda _, number=number: sum(each.path.endswith("/LOC1") for each in cpo.received) == number
            )
            await asyncio.sleep(0)


async def test_who_answers_slowly_or_makes_up_ids_keeps_no_other_from_being_asked(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "REMEMBERED_MAX", 10)
    other = SimulatedPlatform("Slow", [("SE-VOL", "CPO")])
    async with member(hub, cpo, other):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        await until(lambda: all_done(hub, 2, 4), "all of the other is read")
        asked_enough = asyncio.Event()

        async def stall(_: Received) -> Reply:
            await asked_enough.wait()
            return Reply(404)

        other.answer("GET", "locations", reply=stall)
        for number in range(20):
            hub.hub.mirror.on_missing(a_patch(f"X{number}", owner="SE-VOL")._replace(platform_id=2))
        await other.wait_for(lambda each: each.path.endswith("/X0"))
        cpo.store.owned["locations"] = [location("BE-BEC", "LOC1")]
        hub.hub.mirror.on_missing(a_patch("LOC1"))
        await until(lambda: is_there(database_url, "BE-BEC LOC1"), "the location has arrived")
        asked_enough.set()
