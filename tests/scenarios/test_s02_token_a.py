"""S02: a CREDENTIALS_TOKEN_A opens versions and credentials only, and ends with the registration.

[R-032, R-064, R-067, R-068]
"""

from typing import Any

from config.ocpi import InterfaceRole
from hub.simulator import SimulatedPlatform
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import discover, p1, p3

FUNCTIONAL: list[tuple[str, InterfaceRole]] = [
    ("locations", "SENDER"),
    ("locations", "RECEIVER"),
    ("commands", "RECEIVER"),
]
READS: list[tuple[str, str]] = [("GET", "versions"), ("GET", "details"), ("GET", "credentials")]


async def read(platform: SimulatedPlatform, hub: HubOnTest, what: str) -> Any:
    urls = {
        "versions": hub.versions_url,
        "details": f"{hub.url}/ocpi/2.2.1",
        "credentials": platform.hub_endpoints["credentials", "SENDER"],
    }
    return await platform.request("GET", urls[what], sender=None, headers=expect.IDS)


async def test_token_a_reads_versions_details_and_credentials(hub: HubOnTest) -> None:
    async with p1() as cpo:
        token = await hub.invite("BE-BEC:CPO")
        await discover(cpo, hub, token)
        for _, what in READS:
            answer = await read(cpo, hub, what)
            expect.envelope(answer)
            expect.ids(answer)
            expect.no_routing(answer)
        assert answer.data["token"] == token


async def test_token_a_opens_no_functional_module(hub: HubOnTest) -> None:
    async with registered(hub, p3()) as (emsp,), p1() as cpo:
        await discover(cpo, hub, await hub.invite("BE-BEC:CPO"))
        for to in ("NL-HUB", "DE-TNM", None):
            for module, interface in FUNCTIONAL:
                answer = await cpo.call("GET", module, interface, to=to, headers=expect.IDS)
                expect.envelope(answer, 401, 2000)
                expect.ids(answer)
        expect.untouched(emsp, cpo)


async def test_put_and_delete_with_token_a_are_405_and_call_nobody(hub: HubOnTest) -> None:
    async with p1() as cpo:
        await discover(cpo, hub, await hub.invite("BE-BEC:CPO"))
        for body in (None, {}, b"{", cpo.credentials("b-token")):
            put = await cpo.call("PUT", "credentials", "SENDER", body=body, headers=expect.IDS)
            expect.envelope(put, 405, 2000)
            expect.ids(put)
            assert set(put.headers["Allow"].split(", ")) == {"GET", "POST"}
            expect.envelope(await cpo.call("PATCH", "credentials", "SENDER", body=body), 405, 2000)
        expect.envelope(await cpo.call("DELETE", "credentials", "SENDER"), 405, 2000)
        expect.untouched(cpo)
        expect.envelope(await read(cpo, hub, "credentials"))  # and the token is still good


async def test_after_registration_token_a_is_dead_and_the_new_one_opens_all(hub: HubOnTest) -> None:
    async with registered(hub, p3()) as (emsp,), p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        expect.envelope(await cpo.register_at(hub.versions_url, token_a))
        new, cpo.hub_token = cpo.hub_token, token_a
        for _, what in READS:
            expect.envelope(await read(cpo, hub, what), 401, 2000)
        for method in ("POST", "PUT", "DELETE"):
            body = None if method == "DELETE" else cpo.credentials("b-token")
            expect.envelope(await cpo.call(method, "credentials", "SENDER", body=body), 401, 2000)
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"), 401, 2000)
        expect.untouched(emsp)

        cpo.hub_token = new
        for _, what in READS:
            expect.envelope(await read(cpo, hub, what))
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        expect.envelope(await cpo.update_at_hub())
        expect.envelope(await cpo.unregister_at_hub())


async def test_a_token_a_registers_once(hub: HubOnTest) -> None:
    async with p1() as cpo, p1() as thief:
        token_a = await hub.invite("BE-BEC:CPO")
        expect.envelope(await cpo.register_at(hub.versions_url, token_a))
        answer = await thief.register_at(hub.versions_url, token_a)
        expect.envelope(answer, 401, 2000)
        expect.untouched(thief)


async def test_a_platform_that_left_is_known_no_more(hub: HubOnTest) -> None:
    """R-074, T-003: its token is dead, nothing is forwarded to it, a second DELETE is 401."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        token, endpoints = emsp.hub_token, emsp.hub_endpoints
        expect.envelope(await emsp.unregister_at_hub())
        emsp.hub_token, emsp.hub_endpoints = token, endpoints
        emsp.clear()
        expect.envelope(await emsp.call("DELETE", "credentials", "SENDER"), 401, 2000)
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"), 401, 2000)
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.refusal(answer, 4003, to="BE-BEC")
        expect.untouched(cpo, emsp)
