"""What a malicious member tries: to speak with the hub's tokens, to be sent another's, to hold what others need."""

import asyncio
from typing import Any

import orjson
import pytest

from hub.simulator import Reply, SimulatedPlatform
from hub.simulator.objects import start_session
from parties.tokens import Secret, write_authorization
from tests.hubs import HubOnTest, registered
from tests.waiting import until


@pytest.fixture
def cpo() -> SimulatedPlatform:
    return SimulatedPlatform("Bec", [("BE-BEC", "CPO")])


@pytest.fixture
def emsp() -> SimulatedPlatform:
    return SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])


@pytest.mark.parametrize(
    "path", ["../credentials", "%2e%2e/credentials", "LOC1/..", "./LOC1", "x%2F..%2F..%2Fcredentials", "x%5C..%5Cy"]
)
async def test_no_path_climbs_out_of_its_module_with_the_hubs_token(
    hub: HubOnTest, cpo: SimulatedPlatform, emsp: SimulatedPlatform, path: str
) -> None:
    """A server that removes dot segments would answer GET credentials, token and all (R-035)."""
    async with registered(hub, cpo, emsp):
        answer = await emsp.call("GET", "locations", "SENDER", path, to="BE-BEC")
        assert (answer.http_status, cpo.received) == (404, [])


async def test_dots_within_an_id_are_just_dots(hub: HubOnTest, cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    async with registered(hub, cpo, emsp):
        await emsp.call("GET", "locations", "SENDER", "LOC..1/a.%2e.b", to="BE-BEC")
        assert cpo.received[0].path.endswith("/LOC..1/a.%2e.b")


async def test_a_number_sign_in_the_request_line_is_answered_not_forwarded(
    hub: HubOnTest, cpo: SimulatedPlatform
) -> None:
    async with registered(hub, cpo):
        token = write_authorization(Secret(cpo.hub_token or ""), token_base64=True)
        reader, writer = await asyncio.open_connection("127.0.0.1", hub.settings.port)
        writer.write(
            f"GET /ocpi/2.2.1/sender/locations/a#b HTTP/1.1\r\nHost: h\r\nAuthorization: {token}\r\n\r\n".encode()
        )
        assert b" 404 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


async def test_a_put_does_not_have_the_old_token_sent_to_a_new_place(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """Whoever holds a member's token for the hub must not be given the hub's token for the member (R-036, T-005)."""
    async with registered(hub, emsp), SimulatedPlatform("Evil", [("DE-TNM", "EMSP")]) as evil:
        evil.own_token = "never-what-is-sent"
        theirs = evil.credentials("some-token-of-the-thief")
        answer = await emsp.call("PUT", "credentials", "SENDER", body=theirs)
        assert answer.status_code == 3001
        secret = write_authorization(Secret(emsp.own_token or ""), token_base64=True)
        assert evil.received
        assert secret not in [each.headers["Authorization"] for each in evil.received]
        assert f"Token {emsp.own_token}" not in [each.headers["Authorization"] for each in evil.received]


@pytest.mark.parametrize("name", ["Response_Url", "RESPONSE_URL", "response_url"])
async def test_a_second_response_url_in_any_spelling_is_refused(
    hub: HubOnTest, cpo: SimulatedPlatform, emsp: SimulatedPlatform, name: str
) -> None:
    """A receiver that took the other one would send its result, with its token for the hub, to a stranger."""
    async with registered(hub, cpo, emsp):
        url = emsp.new_response_url("commands", "START_SESSION")
        good: dict[str, Any] = start_session(url, {"uid": "1"})
        body = b'{"%s":"https://evil.test/",' % name.encode() + orjson.dumps(good)[1:]
        answer = await emsp.call("POST", "commands", "RECEIVER", "START_SESSION", to="BE-BEC", body=body)
        assert (answer.status_code, cpo.received) == (2001, [])
        query = f"duration=9&response_url={url}&duration=9&{name.replace('_', '%5F')}=https%3A%2F%2Fevil.test"
        answer = await emsp.call("GET", "chargingprofiles", "RECEIVER", "S1", to="BE-BEC", query=query)
        assert (answer.status_code, cpo.received) == (2001, [])


async def test_requesters_that_stop_reading_give_the_receivers_places_back(
    start_hub: Any, cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    hub = await start_hub(max_in_flight=2, urgent_in_flight=1, idle_timeout=0.5, forward_timeout=5)
    async with registered(hub, cpo, emsp):
        large = b'{"data":"' + b"x" * 30_000_000 + b'","status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'
        cpo.answer("GET", "locations", "SENDER", Reply(body=large))
        token = write_authorization(Secret(emsp.hub_token or ""), token_base64=True)
        head = (
            f"GET /ocpi/2.2.1/sender/locations/ HTTP/1.1\r\nHost: h\r\nAuthorization: {token}\r\n"
            "OCPI-to-country-code: BE\r\nOCPI-to-party-id: BEC\r\n\r\n"
        ).encode()
        stalled = [await asyncio.open_connection("127.0.0.1", hub.settings.port, limit=1024) for _ in range(2)]
        for _, writer in stalled:
            writer.write(head)
        platform = await hub.members.platform_of(cpo.parties[0])
        await until(lambda: hub.hub.client.in_flight(platform.id) == 2, "both hold a place")
        await until(lambda: hub.hub.client.in_flight(platform.id) == 0, "the places are free again", seconds=10)
        for _, writer in stalled:
            writer.close()


async def test_a_platform_cannot_be_the_hub_itself(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """Its endpoints would be the hub's, and every message to it would go in circles (T-033)."""
    async with emsp:
        token = await hub.invite("DE-TNM:EMSP")
        registration = emsp.credentials("a-token")
        registration["url"] = hub.versions_url
        emsp.hub_token = token
        answer = await emsp.request("POST", f"{hub.url}/ocpi/2.2.1/credentials", sender=None, body=registration)
        assert answer.status_code == 3001
        assert "circles" in answer.body.decode()


async def test_a_suspended_role_sends_no_more_either(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    both = SimulatedPlatform("Alf", [("NL-ALF", "CPO"), ("NL-ALF", "EMSP")])
    async with registered(hub, both, emsp):
        await hub.members.suspend(both.parties[0], "CPO", suspended=True)
        await hub.hub.live.refresh()
        refused = await both.call("GET", "sessions", "RECEIVER", "NL/ALF/S1", to="DE-TNM")
        assert (refused.http_status, refused.status_code, emsp.received) == (403, 2001, [])
