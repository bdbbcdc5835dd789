"""S21 and S23 over a real restart of the hub's process: told to stop, or killed. [R-180, R-231, R-261]"""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

import aiohttp
import pytest

from hub.simulator import Received, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import cdr, reserve_now, token
from tests.commands import Serving, environment, serving
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3
from tests.scenarios.test_two_hubs import invite

CANCELED = {"result": "CANCELED_RESERVATION"}


async def end(hub: Serving, by: signal.Signals) -> None:
    """End the hub's process, and make sure that it ended as it should."""
    hub.process.send_signal(by)
    code = await asyncio.wait_for(hub.process.wait(), 15)
    assert code == (0 if by == signal.SIGTERM else -signal.SIGKILL), hub.err


@contextlib.asynccontextmanager
async def members(hub: Serving, database_url: str) -> AsyncIterator[tuple[SimulatedPlatform, SimulatedPlatform]]:
    async with p1() as cpo, p3() as emsp:
        for platform in (cpo, emsp):
            answer = await platform.register_at(hub.versions_url, await invite(database_url, platform))
            expect.envelope(answer)
            platform.clear()
        yield cpo, emsp


def port_of(hub: Serving) -> str:
    return hub.versions_url.removesuffix("/ocpi/versions").rpartition(":")[2]


@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL])
async def test_whatever_the_hub_gave_out_is_good_after_a_restart(database_url: str, by: signal.Signals) -> None:
    env = environment(database_url)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(serving(env))
        cpo, emsp = await stack.enter_async_context(members(hub, database_url))
        theirs = emsp.new_response_url("commands", "RESERVE_NOW") + "?x=1"
        for url in (theirs, theirs + "&y=" + "z" * (252 - len(theirs))):  # one is sealed, one is stored
            body = reserve_now(url, token("DE-TNM", "T1"), "R-7")
            expect.envelope(await emsp.call("POST", "commands", "RECEIVER", "RESERVE_NOW", to="BE-BEC", body=body))
        await emsp.wait_for(2)
        results = [received.json["response_url"] for received in cpo.received]
        posted = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=cdr("BE-BEC", "CDR1"))
        location = posted.headers["Location"]
        link = f'<{cpo.endpoint("tariffs")}?offset=50&limit=50>; rel="next"'
        cpo.answer("GET", "tariffs", "SENDER", Reply(body=envelope([]), headers={"Link": link}))
        page = await emsp.call("GET", "tariffs", "SENDER", to="BE-BEC")
        following = page.headers["Link"].partition("<")[2].partition(">")[0]
        await cpo.settle()

        await end(hub, by)
        emsp.clear()
        cpo.clear()
        await stack.enter_async_context(serving(env | {"OCPI_HUB_PORT": port_of(hub)}))
        for url in results:
            expect.envelope(await cpo.request("POST", url, sender=None, body=CANCELED))
        assert emsp.origin + emsp.received[0].path == theirs
        assert [received.json for received in emsp.received] == [CANCELED, CANCELED]
        read = await cpo.request("GET", location, sender=None)
        assert read.data["id"] == "CDR1"
        expect.envelope(await emsp.request("GET", following, sender=None))
        assert len(cpo.received) == 1
        expect.envelope(await cpo.update_at_hub())


async def test_a_request_under_way_is_finished_before_the_hub_stops(database_url: str) -> None:
    released = asyncio.Event()

    async def answer_late(_: Received) -> Reply:
        await released.wait()
        return Reply(body=envelope([]))

    async with serving(environment(database_url)) as hub, members(hub, database_url) as (cpo, emsp):
        cpo.answer("GET", "locations", "SENDER", answer_late)
        waiting = asyncio.create_task(emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS))
        await cpo.wait_for(1)
        hub.process.send_signal(signal.SIGTERM)
        await hub.wait_for_line(action="draining")
        released.set()
        expect.relayed(await waiting, to="DE-TNM", sender="BE-BEC")
        assert await asyncio.wait_for(hub.process.wait(), 10) == 0
        assert "Traceback" not in "".join(hub.err)


async def test_a_hub_killed_in_the_middle_of_a_registration_leaves_the_invitation_good(database_url: str) -> None:
    """R-065: TOKEN_A is spent by a registration that was finished, and by no other."""
    env = environment(database_url)
    async with contextlib.AsyncExitStack() as stack:
        hub = await stack.enter_async_context(serving(env))
        cpo = await stack.enter_async_context(p1())
        token_a = await invite(database_url, cpo)

        def kill(_: Received) -> Reply:
            os.kill(hub.process.pid, signal.SIGKILL)
            return Reply(500)

        cpo.answer("GET", "details", "SENDER", kill)
        with contextlib.suppress(aiohttp.ClientError):
            await cpo.register_at(hub.versions_url, token_a)
        await hub.process.wait()
        cpo.answer("GET", "details", "SENDER", None)
        again = await stack.enter_async_context(serving(env | {"OCPI_HUB_PORT": port_of(hub)}))
        expect.envelope(await cpo.register_at(again.versions_url, token_a))
