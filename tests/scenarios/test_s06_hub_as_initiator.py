"""S06: the hub starts a registration, and is called back while its POST is open. [R-078, R-079, R-080, T-007]"""

import pytest

from config.ocpi import EndpointsMissing, PartnerUnusable
from hub.members import MemberError
from hub.simulator import Received, Reply
from parties.model import Role
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import module_of, p1, p3


async def test_both_callbacks_during_the_post_are_answered(hub: HubOnTest) -> None:
    async with registered(hub, p1()) as (cpo,), p3() as emsp:
        told = await hub.connect(emsp)
        posted = next(each for each in emsp.received if each.method == "POST")
        assert module_of(posted) == "credentials"
        expect.no_routing(posted)
        # The simulated platform reads the hub's versions and details with TOKEN_B before it answers the POST.
        assert emsp.hub_token == posted.json["token"]
        assert emsp.hub_endpoints
        (role,) = posted.json["roles"]
        assert (role["role"], role["country_code"], role["party_id"]) == ("HUB", "NL", "HUB")
        assert told

        before = len(emsp.received)
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        expect.authorized(emsp.received[before], emsp.own_token or "")  # TOKEN_C
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))


async def test_the_callbacks_take_no_second(hub: HubOnTest) -> None:
    async with p3() as emsp:
        seconds: list[float] = []

        async def call_back_first(received: Received) -> Reply:
            token = received.json["token"]
            emsp.hub_token = token
            for url in (hub.versions_url, f"{hub.url}/ocpi/2.2.1"):
                answer = await emsp.request("GET", url, sender=None, headers=expect.IDS)
                expect.envelope(answer)
                seconds.append(answer.milliseconds / 1000)
            return await emsp.default_reply(received)

        emsp.answer("POST", "credentials", "SENDER", call_back_first)
        await hub.connect(emsp)
        assert max(seconds) < 1


async def test_without_functional_endpoints_there_is_no_post(hub: HubOnTest) -> None:
    async with p3(modules=()) as emsp:
        with pytest.raises(EndpointsMissing):
            await hub.connect(emsp)
        assert {each.method for each in emsp.received} == {"GET"}
        assert await hub.members.platforms() == []


@pytest.mark.parametrize("status", [200, 405, 500])
async def test_a_post_that_is_refused_leaves_no_token_behind(hub: HubOnTest, status: int) -> None:
    async with p3() as emsp:
        emsp.answer("POST", "credentials", "SENDER", Reply(status, b'{"status_code": 3001, "timestamp": "x"}'))
        with pytest.raises((PartnerUnusable, MemberError)):
            await hub.connect(emsp)
        emsp.hub_token = emsp.received[-1].json["token"]
        await hub.hub.live.refresh()
        expect.envelope(await emsp.request("GET", hub.versions_url, sender=None), 401, 2000)
        assert await hub.members.platforms() == []


async def test_the_hub_rotates_both_tokens(hub: HubOnTest) -> None:
    """R-038, R-079."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        tokens = emsp.own_token, emsp.hub_token
        platform = await hub.members.platform_of(Role.parse("DE-TNM:EMSP").party)
        await hub.members.rotate(platform, hub.caller, lambda _: None)
        await hub.hub.live.refresh()
        assert emsp.own_token != tokens[0]
        assert emsp.hub_token != tokens[1]
        emsp.clear()
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        expect.authorized(emsp.received[0], emsp.own_token or "")
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        emsp.hub_token = tokens[1]
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"), 401, 2000)
