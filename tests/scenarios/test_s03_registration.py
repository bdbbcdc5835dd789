"""S03: the hub looks a platform up before it answers POST credentials, and says what it did not like.

[R-062, R-065, R-066, R-075, R-076, R-077, R-081, R-084, R-085, R-098, R-166]
"""

from collections.abc import Callable
from typing import Any

import pytest

from config.ocpi import CORRELATION_ID, REQUEST_ID
from hub.simulator import Reply, SimulatedPlatform, envelope
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import module_of, p1, p3
from tests.scenarios.villains import Script, Villain, hold, nothing_left, repeat

GARBAGE = Reply(200, b"<html>", {"Content-Type": "text/html"})


NOT_TO_BE_HAD = [
    ("versions", Reply(500), 3001),
    ("versions", GARBAGE, 3001),
    ("versions", Reply(401), 3001),
    ("versions", Reply(body=envelope([])), 3002),
    ("versions", Reply(body=envelope([{"version": "2.1.1", "url": "http://127.0.0.1:1/"}])), 3002),
    ("versions", Reply(body=envelope([{"version": "2.2.1", "url": "http://127.0.0.1:1/"}])), 3001),
    ("versions", Reply(body=envelope([{"version": "2.2.1", "url": "http://10.9.8.7/"}])), 3001),
    ("details", Reply(500), 3001),
    ("details", GARBAGE, 3001),
    ("details", Reply(body=envelope({"version": "2.2.1", "endpoints": []})), 3003),
]


async def test_a_platform_that_cannot_be_looked_up_stays_as_it_was(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p3()) as (emsp,), p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        for module, reply, status_code in NOT_TO_BE_HAD:
            with subtests.test(module, reply=reply):
                cpo.answer("GET", module, "SENDER", reply)
                failed = await cpo.register_at(hub.versions_url, token_a)
                expect.envelope(failed, 200, status_code)
                expect.no_routing(failed)
                assert "data" not in failed.json
                # The token is still good, and nobody can reach the party meanwhile.
                assert cpo.hub_token == token_a
                cpo.answer("GET", module, "SENDER", None)
                cpo.clear()
                answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS)
                expect.refusal(answer, 4003, to="DE-TNM")
                expect.untouched(cpo)
        expect.envelope(await cpo.register_at(hub.versions_url, token_a))
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))


async def test_a_platform_that_is_away_is_3001(hub: HubOnTest) -> None:
    async with p1() as cpo, p1() as gone:
        await gone.stop()
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token = token_a
        await cpo.register_at(hub.versions_url, "wrong")  # 401
        offered = cpo.credentials("b-token") | {"url": gone.versions_url}
        cpo.hub_token, cpo.hub_endpoints = token_a, {("credentials", "SENDER"): f"{hub.url}/ocpi/2.2.1/credentials"}
        expect.envelope(await cpo.call("POST", "credentials", "SENDER", body=offered), 200, 3001)


async def test_the_hub_calls_back_with_token_b_before_it_answers(hub: HubOnTest) -> None:
    async with p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        answer = await cpo.register_at(hub.versions_url, token_a)
        expect.envelope(answer)
        expect.no_routing(answer)
        assert [(each.method, module_of(each)) for each in cpo.received] == [("GET", "versions"), ("GET", "details")]
        for received in cpo.received:
            expect.authorized(received, cpo.own_token or "")
            expect.no_routing(received)
            assert received.headers[REQUEST_ID]
            assert received.headers[CORRELATION_ID]

        (role,) = answer.data["roles"]
        assert (role["role"], role["country_code"], role["party_id"]) == ("HUB", "NL", "HUB")
        assert role["business_details"]["name"]
        assert "hub_party_id" not in answer.data
        assert answer.data["url"] == hub.versions_url
        assert answer.data["token"] not in (token_a, cpo.own_token)
        assert 1 <= len(answer.data["token"]) <= 64


async def test_a_second_post_is_405_with_the_new_token_as_with_another_token_a(hub: HubOnTest) -> None:
    async with registered(hub, p1()) as (cpo,):
        answer = await cpo.call("POST", "credentials", "SENDER", body=cpo.credentials("b-2"))
        expect.envelope(answer, 405, 2000)
        assert "PUT" in answer.headers["Allow"]
        expect.untouched(cpo)
        expect.envelope(await cpo.call("GET", "credentials", "SENDER"))


def without(name: str) -> Callable[[Any], Any]:
    return lambda offered: {key: value for key, value in offered.items() if key != name}


def role(**changes: Any) -> Callable[[Any], Any]:
    return lambda offered: offered | {"roles": [offered["roles"][0] | changes]}


UNUSABLE: list[Callable[[Any], Any]] = [
    without("token"),
    without("url"),
    without("roles"),
    lambda offered: offered | {"roles": []},
    lambda offered: offered | {"roles": offered["roles"] * 2},
    lambda offered: offered | {"token": "with blank"},
    lambda offered: offered | {"token": "x" * 65},
    role(party_id="TOOLONG"),
    role(country_code="B"),
    role(party_id="OTH"),
    role(country_code="NL", party_id="HUB"),
    role(country_code="DE", party_id="TNM", role="EMSP"),
    role(role="EMSP"),
    lambda offered: [offered],
    lambda offered: 5,
]


async def test_credentials_that_will_not_do_are_2001_and_call_nobody(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    """R-081, R-084: what is malformed, was not agreed with the operator, or belongs to another platform."""
    async with registered(hub, p3()) as (emsp,), p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token, cpo.hub_endpoints = token_a, {("credentials", "SENDER"): f"{hub.url}/ocpi/2.2.1/credentials"}
        for change in UNUSABLE:
            body = change(cpo.credentials("b-token"))
            with subtests.test(body=body):
                expect.envelope(await cpo.call("POST", "credentials", "SENDER", body=body), 200, 2001)
                expect.untouched(cpo, emsp)
        expect.envelope(await cpo.register_at(hub.versions_url, token_a))


async def test_malformed_json_is_400(hub: HubOnTest) -> None:
    async with p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token, cpo.hub_endpoints = token_a, {("credentials", "SENDER"): f"{hub.url}/ocpi/2.2.1/credentials"}
        expect.envelope(await cpo.call("POST", "credentials", "SENDER", body=b'{"token": '), 400, 2001)
        expect.untouched(cpo)


async def test_a_token_goes_only_where_a_member_may_live(hub: HubOnTest) -> None:
    """R-036: no URL in versions, details or credentials leads the hub into its own network."""
    async with p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        details = {"version": "2.2.1", "endpoints": []}
        for url in ("http://169.254.169.254/latest/", "http://10.0.0.1/locations", "file:///etc/passwd"):
            listed = [{"identifier": "locations", "role": "SENDER", "url": url}]
            cpo.answer("GET", "details", "SENDER", Reply(body=envelope(details | {"endpoints": listed})))
            expect.envelope(await cpo.register_at(hub.versions_url, token_a), 200, 3001)


async def test_a_platform_without_versions_in_common_learns_so(hub: HubOnTest) -> None:
    async with SimulatedPlatform("P7", [("DE-OLD", "EMSP")], versions=("2.1.1", "2.2.1")) as old:
        await hub.register(old)  # further versions do no harm
        assert [module_of(each) for each in old.received] == ["versions", "details"]


@pytest.mark.parametrize(
    "script", [hold, repeat(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b" ", 0.02)], ids=["silent", "drips"]
)
async def test_a_versions_url_that_never_ends_is_3001(
    hub: HubOnTest, monkeypatch: pytest.MonkeyPatch, script: Script
) -> None:
    monkeypatch.setattr("hub.handshake.TIMEOUT_SECONDS", 0.2)
    async with nothing_left(hub), p1() as cpo, Villain(script).running() as bad:
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token, cpo.hub_endpoints = token_a, {("credentials", "SENDER"): f"{hub.url}/ocpi/2.2.1/credentials"}
        offered = cpo.credentials("b-token") | {"url": bad.url}
        expect.envelope(await cpo.call("POST", "credentials", "SENDER", body=offered), 200, 3001)
        expect.envelope(await cpo.register_at(hub.versions_url, token_a))
