"""Two hub processes on one database: what one of them learns or gives out, the other knows at the next request."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from hub.database import Database
from hub.keys import load_secret_keys
from hub.members import Members
from hub.simulator import Reply, SimulatedPlatform, envelope
from parties.model import Role
from tests.commands import Serving, environment, serving
from tests.hubs import settings_for
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3
from tests.waiting import until


@contextlib.asynccontextmanager
async def two_hubs(database_url: str) -> AsyncIterator[tuple[Serving, Serving]]:
    """Two processes that answer under one public URL, the first one's; both on loopback."""
    async with serving(environment(database_url)) as first:
        public_url = first.versions_url.removesuffix("/ocpi/versions")
        async with serving(environment(database_url, public_url=public_url)) as second:
            yield first, second


def port_of(hub: Serving) -> str:
    """Give the origin where this very process listens, whatever its public URL is."""
    import psutil

    ports = {
        listening.laddr.port
        for listening in psutil.Process(hub.process.pid).net_connections("tcp")
        if listening.status == psutil.CONN_LISTEN
    }
    (port,) = ports - {int(hub.ops_url.rpartition(":")[2])}
    return f"http://127.0.0.1:{port}"


def at(hub: Serving, url: str) -> str:
    """Give a URL of the two hubs' as it is at this one of them, as a load balancer would."""
    return port_of(hub) + "/ocpi/" + url.partition("/ocpi/")[2]


async def invite(database_url: str, platform: SimulatedPlatform) -> str:
    """Invite as an operator does at a shell: by the database alone."""
    settings = settings_for(database_url)
    async with Database(settings) as database:
        members = Members(settings, load_secret_keys(settings), database)
        made = await members.invite([Role.parse(f"{party}:{role}") for party, role in platform.roles], platform.name)
        return made.token.reveal()


async def test_a_registration_at_one_works_at_the_other_at_once(database_url: str) -> None:
    async with two_hubs(database_url) as (first, second), p1() as cpo, p3() as emsp:
        for platform, hub in ((cpo, first), (emsp, second)):
            token = await invite(database_url, platform)
            expect.envelope(await platform.register_at(at(hub, first.versions_url), token))
            platform.clear()
        assert emsp.hub_endpoints["tokens", "SENDER"].startswith(port_of(first))  # the public URL

        # Each asks at the process where it did not register, at its very next request.
        locations = at(first, emsp.hub_endpoints["locations", "SENDER"])
        expect.envelope(await emsp.request("GET", locations, to="BE-BEC", headers=expect.IDS))
        expect.forwarded(cpo.received[0], cpo, to="BE-BEC", sender="DE-TNM")
        tokens = at(second, cpo.hub_endpoints["tokens", "SENDER"])
        expect.envelope(await cpo.request("GET", tokens, to="DE-TNM", headers=expect.IDS))
        expect.forwarded(emsp.received[0], emsp, to="DE-TNM", sender="BE-BEC")

        # A new token given out by one is good at the other, and ends the old one at both.
        old = emsp.hub_token
        answer = await emsp.request(
            "PUT", at(first, f"{port_of(first)}/ocpi/2.2.1/credentials"), sender=None, body=emsp.credentials("b-2")
        )
        expect.envelope(answer)  # verified with the old token of the hub's, which is still this platform's
        emsp.own_token = "b-2"
        for hub in (second, first):
            emsp.hub_token = answer.data["token"]
            url = at(hub, locations)
            expect.envelope(await emsp.request("GET", url, to="BE-BEC"))
            emsp.hub_token = old

            async def is_refused(url: str = url) -> bool:
                return (await emsp.request("GET", url, to="BE-BEC")).http_status == 401

            await until(is_refused, "the old token is refused")


@pytest.mark.parametrize("long", [False, True], ids=["sealed", "stored"])
async def test_a_url_given_out_by_one_works_at_the_other(database_url: str, long: bool) -> None:
    async with two_hubs(database_url) as (first, second), p1() as cpo, p3() as emsp:
        for platform in (cpo, emsp):
            token = await invite(database_url, platform)
            expect.envelope(await platform.register_at(first.versions_url, token))
            platform.clear()
        theirs = emsp.new_response_url("commands", "STOP_SESSION")
        theirs += "?y=" + "z" * (255 - len(theirs) - 3) if long else ""
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=envelope({"result": "ACCEPTED"})))
        sent = await emsp.call(
            "POST", "commands", "RECEIVER", "STOP_SESSION", to="BE-BEC", body={"response_url": theirs}
        )
        expect.envelope(sent)
        ours = cpo.received[0].json["response_url"]
        assert len(ours) <= 255
        for hub in (second, first):
            answer = await cpo.request("POST", at(hub, ours), sender=None, body={"result": "ACCEPTED"})
            expect.envelope(answer)
            assert emsp.origin + emsp.received.pop().path == theirs


async def test_both_serve_at_the_same_time(database_url: str) -> None:
    async with two_hubs(database_url) as hubs, p1() as cpo, p3() as emsp:
        for platform in (cpo, emsp):
            token = await invite(database_url, platform)
            expect.envelope(await platform.register_at(hubs[0].versions_url, token))
        url = emsp.hub_endpoints["locations", "SENDER"]
        calls = [emsp.request("GET", at(hubs[number % 2], url), to="BE-BEC") for number in range(40)]
        for answer in await asyncio.gather(*calls):
            expect.envelope(answer)
