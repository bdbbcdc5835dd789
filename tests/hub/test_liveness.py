"""Who is alive: silence is looked into, two failures are OFFLINE, and any sign of life is CONNECTED at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import orjson
import pytest

from config.ocpi import PartyID
from hub.simulator import Received, Reply, SimulatedPlatform, envelope
from parties.model import Platform
from tests.commands import environment_of, run
from tests.hub.test_metrics import by_label, scrape
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import module_of, p1, p3
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


def stored(hub: HubOnTest, party: str) -> Platform:
    """Give what the hub knows of a party's platform."""
    (platform,) = hub.hub.live.table.holders[PartyID.parse(party).key]
    return platform


async def is_online(hub: HubOnTest, party: str = "BE-BEC") -> None:
    await until(lambda: stored(hub, party).is_online, f"{party} is online")


async def is_offline(hub: HubOnTest, party: str = "BE-BEC") -> None:
    await until(lambda: not stored(hub, party).is_online, f"{party} is offline", seconds=10)


def checks(platform: SimulatedPlatform) -> list[Received]:
    return [received for received in platform.received if module_of(received) == "versions"]


async def drip(_: Received) -> Reply:
    await asyncio.sleep(1.5)
    return Reply(body=envelope([]))


async def test_a_silent_platform_is_asked_for_its_versions_with_its_token(start_hub: StartHub) -> None:
    """R-214."""
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1()) as (cpo,):
        for number in (1, 2):
            check = await cpo.wait_for(number)
            assert (check.method, cpo.origin + check.path) == ("GET", cpo.versions_url)
            expect.authorized(check, cpo.own_token or "")
            expect.no_routing(check)
        assert stored(hub, "BE-BEC").is_online


async def test_a_platform_that_is_heard_of_is_not_asked(start_hub: StartHub) -> None:
    hub = await start_hub(silence=0.6)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        async with asyncio.timeout(10):
            while not checks(emsp):  # the one who answers is a sign of life of the other: T-093
                expect.envelope(await cpo.request("GET", hub.versions_url, sender=None))
        assert not checks(cpo)


@pytest.mark.parametrize(
    "answer",
    [
        Reply(500),
        Reply(500, envelope([], 3000)),
        Reply(200, envelope([], 3000)),
        Reply(200, b"<html><body>Welcome</body></html>", {"Content-Type": "text/html"}),
        Reply(200, b"\x00\xff{garbage"),
        Reply(200, envelope("2.2.1")),
        Reply(200, envelope()),
        Reply(204),
        Reply(401, envelope(None, 2000)),
        Reply(302, None, {"Location": "https://elsewhere.example/ocpi/versions"}),
        drip,
    ],
    ids=["500", "500+3000", "3000", "html", "garbage", "no list", "no data", "204", "401", "redirect", "slow"],
)
async def test_who_does_not_list_its_versions_twice_is_offline(start_hub: StartHub, answer: Any) -> None:
    """R-215, R-218."""
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer("GET", "versions", "SENDER", answer)
        cpo.clear()
        await is_offline(hub)
        assert len(checks(cpo)) >= 2
        # T-094: 4003 at once while it is looked for, and nothing is sent.
        refused = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS)
        assert "offline" in expect.refusal(refused, 4003, to="DE-TNM")["status_message"]
        assert all(module_of(received) == "versions" for received in cpo.received)
        found = await scrape(hub)
        assert by_label(found, "ocpi_hub_platform_online", "name") == {"P1": 0, "P3": 1}
        assert sum(by_label(found, "ocpi_hub_checks_total", "found").values()) >= 2

        cpo.answer("GET", "versions", "SENDER", None)
        await is_online(hub)
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))


@pytest.mark.parametrize(
    "versions",
    [{"versions": [{"version": "2.2.1", "url": "https://x"}]}, [], [{"version": "2.2.1"}, 7]],
    ids=["wrapped", "empty", "odd"],
)
async def test_any_list_is_a_sign_of_life(start_hub: StartHub, versions: Any) -> None:
    hub = await start_hub(silence=0.3)
    async with registered(hub, p1()) as (cpo,):
        cpo.answer("GET", "versions", "SENDER", Reply(body=envelope(versions)))
        cpo.clear()
        await cpo.wait_for(3)
        assert stored(hub, "BE-BEC").is_online


async def test_a_check_follows_a_redirect_to_the_same_origin(start_hub: StartHub) -> None:
    hub = await start_hub(silence=0.3)
    async with registered(hub, p1()) as (cpo,):

        def redirect(received: Received) -> Reply | Awaitable[Reply]:
            if received.path.endswith("/"):
                return cpo.default_reply(received)
            return Reply(301, None, {"Location": received.path + "/"})

        cpo.answer("GET", "versions", "SENDER", redirect)
        cpo.clear()
        await cpo.wait_for(4)
        assert hub.hub.liveness.checks["unusable"] == 0


async def test_one_failure_is_none(start_hub: StartHub) -> None:
    """R-218."""
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1()) as (cpo,):
        failed: list[bool] = []

        async def fail_every_other(received: Received) -> Reply:
            failed.append(len(failed) % 2 == 0)
            return Reply(503) if failed[-1] else await cpo.default_reply(received)

        cpo.answer("GET", "versions", "SENDER", fail_every_other)
        generation = hub.hub.live.table.generation
        await until(lambda: len(failed) >= 4, "it was checked four times")
        assert stored(hub, "BE-BEC").is_online
        assert hub.hub.live.table.generation == generation


async def test_any_message_of_an_offline_platform_brings_it_back_at_once(start_hub: StartHub) -> None:
    """R-216."""
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer("GET", "versions", "SENDER", Reply(500))
        await is_offline(hub)
        since = stored(hub, "BE-BEC").status_changed_at
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        await until(lambda: stored(hub, "BE-BEC").status_changed_at != since, "its status changed")
        assert emsp.received[-1].sender == "BE-BEC"


async def test_who_cannot_be_reached_is_looked_into_at_once(start_hub: StartHub) -> None:
    """R-205: long before the silence is over, one failed connection starts a check."""
    hub = await start_hub(silence=10)
    async with registered(hub, p3(), p1()) as (emsp, cpo):
        await cpo.stop()
        answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS)
        expect.refusal(answer, 4003, to="DE-TNM")
        assert stored(hub, "BE-BEC").is_online  # not by itself
        await is_offline(hub)
        await cpo.start()
        await is_online(hub)


async def test_who_is_only_slow_once_is_looked_into_and_stays(hub: HubOnTest) -> None:
    async with registered(hub, p3(), p1()) as (emsp, cpo):
        cpo.misbehave("silent")
        answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS)
        expect.refusal(answer, 4002, to="DE-TNM")
        await cpo.wait_for(lambda received: module_of(received) == "versions")
        await until(lambda: hub.hub.liveness.checks["alive"] == 1)
        assert stored(hub, "BE-BEC").is_online


async def test_a_token_that_is_refused_is_logged_for_the_operator(
    start_hub: StartHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """R-215."""
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1()) as (cpo,):
        cpo.own_token = "restored-from-an-old-backup"
        await is_offline(hub)
        assert hub.hub.liveness.checks["token_refused"] >= 2
        shown = capsys.readouterr().out
        assert "token_refused" in shown
        assert "action=offline" in shown
        assert "restored-from" not in shown


async def test_a_state_is_restored_after_a_restart(start_hub: StartHub) -> None:
    """R-224."""
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer("GET", "versions", "SENDER", Reply(500))
        await is_offline(hub)
        await hub.stop()
        cpo.clear()
        emsp.clear()
        again = await start_hub(port=hub.settings.port)  # where five minutes are silence
        refused = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS)
        expect.refusal(refused, 4003, to="DE-TNM")
        assert stored(again, "DE-TNM").is_online
        await cpo.wait_for(lambda received: module_of(received) == "versions")  # it is probed though none is silent
        cpo.answer("GET", "versions", "SENDER", None)
        await is_online(again)
        assert not checks(emsp)


async def test_a_platform_that_registers_again_is_online(start_hub: StartHub) -> None:
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1()) as (cpo,):
        cpo.answer("GET", "versions", "SENDER", Reply(500))
        await is_offline(hub)
        cpo.answer("GET", "versions", "SENDER", None)
        expect.envelope(await cpo.update_at_hub())
        await until(lambda: stored(hub, "BE-BEC").is_online)


async def test_who_has_left_is_not_asked(start_hub: StartHub) -> None:
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        expect.envelope(await cpo.unregister_at_hub())
        cpo.clear()
        emsp.clear()
        await emsp.wait_for(2)
        assert cpo.received == []


async def test_when_a_platform_was_seen_is_stored(start_hub: StartHub) -> None:
    hub = await start_hub(silence=1.0)
    async with registered(hub, p1()) as (cpo,):

        async def last_seen() -> datetime | None:
            async with hub.hub.database.connection() as connection:
                moment: datetime | None = await connection.fetchval("SELECT last_seen FROM platform_work")
                return moment

        first = await until(last_seen, "it is stored when it was seen")
        expect.envelope(await cpo.request("GET", hub.versions_url, sender=None))

        async def is_later() -> bool:
            return (await last_seen() or first) > first

        await until(is_later, "it is stored that it was seen again")


async def test_what_one_process_suspects_is_checked_by_the_one_whose_work_it_is(start_hub: StartHub) -> None:
    hubs = [await start_hub(silence=10), await start_hub(silence=10)]
    async with registered(hubs[0], p1(), p3()) as (cpo, emsp):
        await until(lambda: all(len(hub.hub.processes.held) == 1 for hub in hubs), "the work is shared", seconds=20)
        bec = stored(hubs[0], "BE-BEC").id
        (holder,) = (hub for hub in hubs if bec in hub.hub.processes.held)
        (other,) = (hub for hub in hubs if hub is not holder)
        await cpo.stop()
        url = f"{other.url}/ocpi/2.2.1/sender/locations"
        expect.refusal(await emsp.request("GET", url, to="BE-BEC", headers=expect.IDS), 4003, to="DE-TNM")
        for hub in hubs:
            await is_offline(hub)
        assert holder.hub.liveness.checks["no_answer"] >= 2
        assert other.hub.liveness.checks["no_answer"] == 0


async def test_the_operator_sees_who_is_offline(start_hub: StartHub, database_url: str) -> None:
    hub = await start_hub(silence=0.4)
    async with registered(hub, p1()) as (cpo,):
        cpo.answer("GET", "versions", "SENDER", Reply(500))
        await is_offline(hub)
        env = environment_of(hub, database_url)
        for command in (("party", "list"), ("routes",)):
            shown = orjson.loads((await run(*command, "--json", env=env)).out)
            assert {row["status"] for row in shown} == {"OFFLINE"}
        done = await run("party", "show", "BE-BEC", env=env)
        assert "OFFLINE" in done.out, done
