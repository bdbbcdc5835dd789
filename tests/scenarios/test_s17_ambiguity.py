"""S17: ids are unique for one owner only. Where several have one the hub does not guess: it asks for OCPI-to headers.

[R-150, R-153, R-155, T-060, T-061, T-062, T-063, T-066]
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from hub.simulator import Answer, SimulatedPlatform
from hub.simulator.objects import (
    location,
    reserve_now,
    session,
    start_session,
    stop_session,
    token,
    unlock_connector,
)
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4

StartHub = Callable[..., Awaitable[HubOnTest]]
OURS = token("NL-TST", "012345678")


def p6() -> SimulatedPlatform:
    """Another CPO."""
    return SimulatedPlatform("P6", [("SE-VOL", "CPO")])


@asynccontextmanager
async def namesakes(hub: HubOnTest) -> AsyncIterator[tuple[SimulatedPlatform, ...]]:
    """Two CPOs that have a location LOC1 with different EVSEs, and two that have a session 101 of different drivers."""
    async with registered(hub, p1(), p2(), p3(), p4(), p6()) as (cpo, both, tnm, emsp, volt):
        for owner, party, evses in ((cpo, "BE-BEC", "LOC1"), (volt, "SE-VOL", "VOLT")):
            one = location(party, "LOC1", evses=location(party, evses)["evses"])
            answer = await owner.call(
                "PUT", "locations", "RECEIVER", f"{party[:2]}/{party[3:]}/LOC1", to="NL-TST", body=one
            )
            assert answer.is_success, answer.body
        for owner, party, driver in ((cpo, "BE-BEC", OURS), (both, "NL-ALF", token("DE-TNM", "1"))):
            one = session(party, "101", driver)
            answer = await owner.call("PUT", "sessions", "RECEIVER", f"{party[:2]}/{party[3:]}/101", body=one)
            assert answer.is_success, answer.body
        everybody = (cpo, both, tnm, emsp, volt)
        for platform in everybody:
            platform.clear()
        yield everybody


async def command(emsp: SimulatedPlatform, name: str, body: object) -> Answer:
    return await emsp.call("POST", "commands", "RECEIVER", name, headers=expect.IDS, body=body)


async def test_a_location_of_two_owners_is_ambiguous_and_an_evse_tells_them_apart(
    hub: HubOnTest, subtests: pytest.Subtests
) -> None:
    async with namesakes(hub) as (cpo, both, tnm, emsp, volt):
        url = emsp.new_response_url("commands", "START_SESSION")
        for name, body in (
            ("START_SESSION", start_session(url, OURS, "LOC1")),
            ("RESERVE_NOW", reserve_now(url, OURS, "R1", "loc1")),
            ("START_SESSION", start_session(url, OURS, "LOC1", evse_uid="nobodys")),
        ):
            with subtests.test(f"{name} {body.get('evse_uid')}"):
                content = expect.refusal(await command(emsp, name, body), 4001, to="NL-TST")
                assert "ambiguous" in content["status_message"]
                assert "OCPI-to" in content["status_message"]
                expect.untouched(cpo, both, tnm, emsp, volt)
        answer = await emsp.call("GET", "locations", "SENDER", "LOC1", headers=expect.IDS)
        expect.refusal(answer, 4001, to="NL-TST")

        answer = await command(emsp, "START_SESSION", start_session(url, OURS, "LOC1", evse_uid="loc1-1"))
        expect.relayed(answer, to="NL-TST", sender="BE-BEC")
        assert answer.data["result"] == "ACCEPTED"
        (received,) = cpo.received
        expect.forwarded(received, cpo, to="BE-BEC", sender="NL-TST")
        expect.path(received, cpo, "commands", "RECEIVER", "START_SESSION")
        assert received.json["evse_uid"] == "loc1-1"
        await emsp.wait_for(1)

        answer = await command(emsp, "UNLOCK_CONNECTOR", unlock_connector(url, "LOC1", evse_uid="VOLT-2"))
        expect.relayed(answer, to="NL-TST", sender="SE-VOL")
        volt.store.owned["locations"].append(location("SE-VOL", "LOC1", evses=location("SE-VOL", "VOLT")["evses"]))
        answer = await emsp.call("GET", "locations", "SENDER", "LOC1/VOLT-2/1", headers=expect.IDS)
        expect.relayed(answer, to="NL-TST", sender="SE-VOL")
        expect.untouched(both, tnm)
        assert len(cpo.received) == 1
        await volt.settle()


async def test_a_session_is_looked_for_among_the_senders_own(hub: HubOnTest) -> None:
    async with namesakes(hub) as (cpo, both, tnm, emsp, volt):
        url = emsp.new_response_url("commands", "STOP_SESSION")
        answer = await command(emsp, "STOP_SESSION", stop_session(url, "101"))
        expect.relayed(answer, to="NL-TST", sender="BE-BEC")
        expect.forwarded(cpo.received[0], cpo, to="BE-BEC", sender="NL-TST")
        answer = await command(
            tnm, "STOP_SESSION", stop_session(tnm.new_response_url("commands", "STOP_SESSION"), "101")
        )
        expect.relayed(answer, to="DE-TNM", sender="NL-ALF")
        await emsp.wait_for(1)
        await tnm.wait_for(1)
        # One that is not the sender's own is nobody's to stop.
        answer = await emsp.call(
            "POST",
            "commands",
            "RECEIVER",
            "STOP_SESSION",
            sender="NL-MSP",
            headers=expect.IDS,
            body=stop_session(url, "101"),
        )
        assert "session 101 leads to nobody" in expect.refusal(answer, 4001, to="NL-MSP")["status_message"]
        answer = await command(emsp, "STOP_SESSION", stop_session(url, "S-404"))
        assert "session S-404" in expect.refusal(answer, 4001, to="NL-TST")["status_message"]
        assert (len(cpo.received), len(both.received)) == (1, 1)
        expect.untouched(volt)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"token": OURS}, "location_id"),
        ({"token": OURS, "location_id": 1}, "location_id"),
        ({"token": OURS, "location_id": "LOC1", "evse_uid": ["LOC1-1"]}, "evse_uid"),
    ],
)
async def test_a_field_that_tells_nothing_is_named(hub: HubOnTest, body: dict[str, object], words: str) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        url = emsp.new_response_url("commands", "START_SESSION")
        content = expect.refusal(await command(emsp, "START_SESSION", body | {"response_url": url}), 2001, to="NL-TST")
        assert words in content["status_message"]
        expect.untouched(cpo)


async def test_a_push_of_a_location_is_a_broadcast_and_never_goes_back_to_its_owner(hub: HubOnTest) -> None:
    """R-150, R-155, T-060, T-062."""
    async with registered(hub, p1(), p3(), p4(), p6()) as (cpo, tnm, emsp, volt):
        one = location("BE-BEC", "LOC1")
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", headers=expect.IDS, body=one)
        expect.envelope(answer)
        expect.routing(answer, to="BE-BEC", sender=expect.HUB)
        assert (await tnm.wait_for(1)).to == "DE-TNM"
        assert {(await emsp.wait_for(number)).to for number in (1, 2)} == {"NL-TST", "NL-MSP"}
        for received in (*tnm.received, *emsp.received):
            assert (received.sender, received.json) == (expect.HUB, one)
        expect.untouched(cpo, volt)


async def test_where_broadcasts_must_be_addressed_such_a_push_is_4001(start_hub: StartHub) -> None:
    hub = await start_hub(broadcast_without_receiver=False)
    async with registered(hub, p1(), p3(), p6()) as (cpo, *others):
        one = location("BE-BEC", "LOC1")
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", headers=expect.IDS, body=one)
        expect.refusal(answer, 4001, to="BE-BEC")
        expect.untouched(cpo, *others)


@pytest.mark.parametrize(
    ("module", "interface", "path", "status_code"),
    [
        ("locations", "RECEIVER", "BE/BEC/LOC1", 4001),  # T-061: whose copy?
        ("tariffs", "RECEIVER", "BE/BEC/T1", 4001),
        ("tokens", "SENDER", "", 2001),  # T-066: a list is asked of one party or of the hub
        ("cdrs", "SENDER", "", 2001),
    ],
)
async def test_what_names_nobody_is_refused(
    hub: HubOnTest, module: str, interface: str, path: str, status_code: int
) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call("GET", module, interface, path, headers=expect.IDS)
        content = expect.refusal(answer, status_code, to="BE-BEC")
        assert "OCPI-to" in content["status_message"]
        expect.untouched(cpo, emsp)
