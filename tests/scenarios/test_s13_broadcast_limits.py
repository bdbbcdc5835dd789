"""S13: what is not for everybody is not broadcast, and nothing of it reaches anybody."""

from typing import Any

import pytest

from hub.simulator import SimulatedPlatform
from hub.simulator.objects import cdr, location, session, start_session, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4, p5
from tests.waiting import until

TOKEN = token("DE-TNM", "T7")
SESSION = session("BE-BEC", "101", TOKEN)
COMMAND = start_session("https://p3.test/cb", TOKEN, "LOC1")


@pytest.mark.parametrize(
    ("method", "module", "interface", "path", "body"),
    [
        ("GET", "locations", "RECEIVER", "BE/BEC/LOC1", None),
        ("PUT", "sessions", "RECEIVER", "BE/BEC/101", SESSION),
        ("PATCH", "sessions", "RECEIVER", "BE/BEC/101", {"kwh": 1}),
        ("POST", "cdrs", "RECEIVER", "", cdr("BE-BEC", "C1", TOKEN)),
        ("POST", "commands", "RECEIVER", "START_SESSION", COMMAND),
        ("POST", "tokens", "SENDER", "T7/authorize", None),
    ],
)
async def test_what_is_not_for_everybody_is_refused(
    hub: HubOnTest, method: str, module: str, interface: Any, path: str, body: object
) -> None:
    async with registered(hub, p1(), p2(), p3(), p4()) as (cpo, *others):
        answer = await cpo.call(method, module, interface, path, to="NL-HUB", headers=expect.IDS, body=body)
        expect.refusal(answer, 2001, to="BE-BEC")
        expect.untouched(cpo, *others)


async def test_the_tokens_of_others_go_to_cpos_only(hub: HubOnTest) -> None:
    other = SimulatedPlatform("P6", [("GB-OTH", "OTHER")], modules=[("tokens", "SENDER")])
    async with registered(hub, p1(), p2(), p3(), p5(), other) as (cpo, both, emsp, nsp, other):
        body = token("GB-OTH", "T1")
        expect.envelope(await other.call("PUT", "tokens", "RECEIVER", "GB/OTH/T1", to="NL-HUB", body=body))
        await cpo.wait_for(1)
        await both.wait_for(1)
        await until(lambda: all(not gauge.depth for gauge in hub.hub.metrics.lanes()))
        assert len(both.received) == 1
        expect.untouched(emsp, nsp)


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("BE/BEC/LOC1", location("BE-BEC", "LOC2"), "id"),
        ("BE/BEC/LOC1", location("NL-ALF", "LOC1"), "country_code"),
        ("BE/BEC/LOC1", [1], "object"),
        ("BE/BEC/LOC1/E1", {"uid": "E2", "last_updated": "2030-01-01T00:00:00Z"}, "uid"),
    ],
)
async def test_an_object_that_is_not_what_its_url_says_is_refused(
    hub: HubOnTest, path: str, body: Any, named: str
) -> None:
    """R-268."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call("PUT", "locations", "RECEIVER", path, to="NL-HUB", headers=expect.IDS, body=body)
        assert named in expect.refusal(answer, 2001, to="BE-BEC")["status_message"]
        expect.untouched(emsp)


async def test_a_broken_or_too_large_body_is_refused(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", body=b'{"id": tru')
        expect.envelope(answer, 400, 2001)
        large = b'{"x": "' + b"z" * hub.settings.shared_body + b'"}'
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", body=large)
        expect.envelope(answer, 413, 2001)
        expect.untouched(emsp)


async def test_a_patch_needs_last_updated(hub: HubOnTest) -> None:
    """R-258, R-275."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call(
            "PATCH", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", headers=expect.IDS, body={"name": "x"}
        )
        assert "last_updated" in expect.refusal(answer, 2001, to="BE-BEC")["status_message"]
        expect.untouched(emsp)


async def test_nobody_broadcasts_in_the_name_of_another(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        (platform,) = [each for each in await hub.members.platforms() if each.name == both.name]
        for switch in ("foreign_owner=off", "foreign_owner=on"):
            await hub.members.set_switches(platform, [switch], hub.hub.guard)
            await hub.hub.live.refresh()
            body = location("BE-BEC", "LOC1")
            answer = await both.call(
                "PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", headers=expect.IDS, body=body
            )
            expect.envelope(answer, 404, 2001)
        expect.untouched(cpo, emsp)
