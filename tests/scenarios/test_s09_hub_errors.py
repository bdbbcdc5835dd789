"""S09: 4000, 4001, 4002 and 4003. [R-121, R-122, R-124, R-190, R-197, R-198, R-199, R-200, T-048]"""

import asyncio
import time

import pytest

from config.ocpi import PartyID
from hub.simulator import SimulatedPlatform
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import messages_to, p1, p3, p4, p5

SESSION = {"id": "101", "last_updated": "2026-01-01T00:00:00Z"}


async def put_session(cpo: SimulatedPlatform, to: str | None) -> object:
    return await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", to=to, headers=expect.IDS, body=SESSION)


UNKNOWN = ["XX-YYY", "DE-TN", "D-TNM", "XX-" + "Y" * 5000, "DE-T\tM"]


async def test_an_unknown_address_is_4001_and_nothing_is_sent(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3(), p4(), p5()) as (cpo, *others):
        for to in UNKNOWN:
            with subtests.test(to[:20]):
                headers = expect.IDS | {"OCPI-to-country-code": to.split("-")[0], "OCPI-to-party-id": to.split("-")[1]}
                answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", headers=headers, body=SESSION)
                expect.refusal(answer, 4001, to="BE-BEC")
                expect.untouched(cpo, *others)


async def test_a_closed_port_is_4003_at_once(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await emsp.stop()
        begin = time.monotonic()
        expect.refusal(await put_session(cpo, "DE-TNM"), 4003, to="BE-BEC")
        assert time.monotonic() - begin < 2
        await emsp.start()
        assert (await put_session(cpo, "DE-TNM")).http_status == 201  # and it is tried again at the next request
        assert len(messages_to(emsp)) == 1  # what failed was not kept


@pytest.mark.parametrize("method", ["PUT", "POST", "GET"])
async def test_a_silent_receiver_is_4002_after_one_attempt(hub: HubOnTest, method: str) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        # A connection that has carried a request before is where clients repeat by themselves (T-049).
        await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
        emsp.clear()
        emsp.misbehave("silent")
        match method:
            case "PUT":
                answer = await put_session(cpo, "DE-TNM")
            case "POST":
                answer = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", headers=expect.IDS, body=SESSION)
            case _:
                answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        content = expect.refusal(answer, 4002, to="BE-BEC")
        assert "carried" in content["status_message"]  # it may have been executed
        assert answer.milliseconds / 1000 < hub.settings.forward_timeout + 1
        emsp.misbehave(None)
        await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
        assert len(messages_to(emsp)) == 2


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH"])
async def test_a_receiver_that_closes_is_4002_and_is_not_asked_twice(hub: HubOnTest, method: str) -> None:
    """R-124, T-049: it may have done what it was asked before it closed the connection."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
        emsp.clear()
        emsp.misbehave("close")
        if method == "POST":
            answer = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", headers=expect.IDS, body=SESSION)
        else:
            answer = await cpo.call(
                method, "sessions", "RECEIVER", "BE/BEC/101", to="DE-TNM", headers=expect.IDS, body=SESSION
            )
        expect.refusal(answer, 4002, to="BE-BEC")
        assert len(messages_to(emsp)) == 1


async def test_a_module_that_the_receiver_lacks_is_4000_without_a_call(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p5()) as (cpo, nsp):
        content = expect.refusal(await put_session(cpo, "FR-NAV"), 4000, to="BE-BEC")
        assert "sessions" in content["status_message"]
        assert "RECEIVER" in content["status_message"]
        expect.untouched(nsp)


async def test_planned_and_suspended_parties_are_4003_without_a_call(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await hub.invite("AT-PLA:EMSP")
        expect.refusal(await put_session(cpo, "AT-PLA"), 4003, to="BE-BEC")

        await hub.members.suspend(PartyID("DE", "TNM"), None, suspended=True)
        await hub.hub.live.refresh()
        expect.refusal(await put_session(cpo, "DE-TNM"), 4003, to="BE-BEC")
        expect.untouched(emsp)
        answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS)
        expect.envelope(answer, 403, 2001)
        expect.untouched(cpo)

        await hub.members.suspend(PartyID("DE", "TNM"), None, suspended=False)
        await hub.hub.live.refresh()
        assert (await put_session(cpo, "DE-TNM")).http_status == 201


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_the_hub_as_addressee_of_what_is_for_one_party_only_is_2001(hub: HubOnTest, method: str) -> None:
    """R-135, R-136, T-029."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        if method == "PUT":
            answer = await put_session(cpo, "NL-HUB")
        else:
            answer = await cpo.call("POST", "cdrs", "RECEIVER", to="nl-hub", headers=expect.IDS, body=SESSION)
        expect.refusal(answer, 2001, to="BE-BEC")
        expect.untouched(emsp)


NO_JSON = [b"", b"{", b"nothing", b'{"a":NaN}', b'{"a":Infinity}', b'{"a":"\xff"}', b"{}{}"]


async def test_a_body_that_is_no_json_is_400_and_is_not_forwarded(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    """R-189, T-040."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for body in NO_JSON:
            with subtests.test(body):
                answer = await cpo.call(
                    "PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=expect.IDS, body=body
                )
                expect.envelope(answer, 400, 2001)
                expect.ids(answer)
                expect.untouched(emsp)


async def test_members_wait_for_each_other_only(hub: HubOnTest) -> None:
    """One silent receiver does not slow the others' traffic."""
    async with registered(hub, p1(), p3(), p4()) as (cpo, silent, other):
        silent.misbehave("silent")
        waiting = asyncio.create_task(put_session(cpo, "DE-TNM"))
        await silent.wait_for(1)
        for _ in range(5):
            expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="NL-TST"))
        assert not waiting.done()
        expect.refusal(await waiting, 4002, to="BE-BEC")
        assert len(other.received) == 5
