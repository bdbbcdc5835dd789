"""S16: without OCPI-to headers, a session or CDR goes to whose token it was charged with, and what follows goes along.

[R-136, R-146, R-147, R-148, R-149, R-152, R-154, R-155, R-244, T-065]
"""

from collections.abc import Awaitable, Callable

import orjson
import pytest

from config.ocpi import PartyID
from hub import open_routing
from hub.simulator import SimulatedPlatform
from hub.simulator.objects import (
    active_charging_profile,
    cdr,
    charging_preferences,
    session,
    set_charging_profile,
    token,
)
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3, p4

StartHub = Callable[..., Awaitable[HubOnTest]]
OURS = token("NL-TST", "012345678")
SESSION = session("BE-BEC", "101", OURS)
PATCH = {"kwh": 9.75, "total_cost": {"excl_vat": 4.00}, "last_updated": "2030-01-01T00:00:00Z"}

EMSP_WITH_PROFILES = (
    ("cdrs", "RECEIVER"),
    ("chargingprofiles", "SENDER"),
    ("sessions", "RECEIVER"),
    ("tokens", "SENDER"),
)


def a_scsp() -> SimulatedPlatform:
    """A service that steers others' charging."""
    return SimulatedPlatform("SCSP", [("DE-SCS", "SCSP")])


async def put_session(cpo: SimulatedPlatform, body: object = None, to: str | None = None) -> None:
    answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", to=to, body=body or SESSION)
    assert answer.is_success, answer.body


async def test_a_session_and_its_changes_go_to_the_tokens_party_and_a_cdr_to_anothers(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3(), p4()) as (cpo, tnm, emsp):
        body = orjson.dumps(SESSION, option=orjson.OPT_INDENT_2)
        answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", headers=expect.IDS, body=body)
        expect.relayed(answer, to="BE-BEC", sender="NL-TST", http_status=201)  # who answered
        (received,) = emsp.received
        expect.forwarded(received, emsp, to="NL-TST", sender="BE-BEC")
        expect.path(received, emsp, "sessions", "RECEIVER", "BE/BEC/101")
        assert received.body == body

        # What has no cdr_token goes to the same party.
        patch = orjson.dumps(PATCH)
        answer = await cpo.call("PATCH", "sessions", "RECEIVER", "be/bec/101", headers=expect.IDS, body=patch)
        expect.relayed(answer, to="BE-BEC", sender="NL-TST")
        expect.forwarded(emsp.received[1], emsp, to="NL-TST", sender="BE-BEC")
        assert emsp.received[1].body == patch
        answer = await cpo.call("GET", "sessions", "RECEIVER", "BE/BEC/101", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="NL-TST")
        assert answer.data["kwh"] == 9.75
        assert len(emsp.received) == 3
        expect.untouched(tnm, cpo)

        posted = await cpo.call(
            "POST", "cdrs", "RECEIVER", headers=expect.IDS, body=cdr("BE-BEC", "C1", token("DE-TNM", "1"))
        )
        expect.relayed(posted, to="BE-BEC", sender="DE-TNM", http_status=201)
        (received,) = tnm.received
        expect.forwarded(received, tnm, to="DE-TNM", sender="BE-BEC")
        expect.at_hub(posted.headers["Location"], hub)
        answer = await cpo.request("GET", posted.headers["Location"])
        assert answer.data["id"] == "C1"
        assert len(emsp.received) == 3


async def test_a_cdr_of_nobodys_token_is_4001_and_not_broadcast(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3(), p4()) as (cpo, *others):
        unknown = {"country_code": "FR", "party_id": "XXX", "uid": "1", "type": "RFID", "contract_id": "1"}
        for cdr_token, status_code, words in (
            (unknown, 4001, "FR-XXX"),
            (None, 4001, "cdr_token.country_code"),
            ({"uid": "1"}, 4001, "cdr_token.party_id"),  # OCPI 2.2 (T-065)
            ("NL-TST", 2001, "cdr_token"),
            (unknown | {"party_id": 7}, 2001, "cdr_token.party_id"),
        ):
            with subtests.test(f"{cdr_token}"):
                body = cdr("BE-BEC", "C1", cdr_token=cdr_token)
                answer = await cpo.call("POST", "cdrs", "RECEIVER", headers=expect.IDS, body=body)
                content = expect.refusal(answer, status_code, to="BE-BEC")
                assert words in content["status_message"]
                answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/9", headers=expect.IDS, body=body)
                expect.refusal(answer, status_code, to="BE-BEC")
        answer = await cpo.call("PATCH", "sessions", "RECEIVER", "BE/BEC/9", headers=expect.IDS, body=PATCH)
        assert "session 9" in expect.refusal(answer, 4001, to="BE-BEC")["status_message"]
        answer = await cpo.call("POST", "cdrs", "RECEIVER", headers=expect.IDS, body=[cdr("BE-BEC", "C1", OURS)])
        expect.refusal(answer, 2001, to="BE-BEC")
        expect.untouched(cpo, *others)


async def test_the_tokens_party_is_answered_for_as_if_it_were_addressed(hub: HubOnTest) -> None:
    """4003 for who is suspended or does not answer, 4000 for who has no such module."""
    async with registered(hub, p1(), p3(modules=[("tokens", "SENDER")]), p4()) as (cpo, tnm, emsp):

        async def answer_for(party: str) -> tuple[int | None, str | None]:
            body = session("BE-BEC", "101", token(party, "1"))
            answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", body=body)
            return answer.status_code, answer.sender

        await hub.members.suspend(PartyID("NL", "MSP"), None, suspended=True)
        await hub.hub.live.refresh()
        assert await answer_for("NL-MSP") == (4003, expect.HUB)
        assert await answer_for("DE-TNM") == (4000, expect.HUB)
        expect.untouched(tnm, emsp)
        await emsp.stop()
        assert await answer_for("NL-TST") == (4003, expect.HUB)
        hub.hub.request_log.flush()
        lines = [orjson.loads(line) for line in hub.log.getvalue().splitlines()]
        assert [line.get("to") for line in lines if line["scenario"] == "open"] == ["NL-MSP", "DE-TNM", "NL-TST"]


async def test_what_is_too_large_to_be_looked_into_is_413(start_hub: StartHub) -> None:
    hub = await start_hub(held_body=1024, shared_body=4096)
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        body = SESSION | {"meter_id": "m" * 5000}
        answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", headers=expect.IDS, body=body)
        assert "OCPI-to" in expect.refusal(answer, 2001, to="BE-BEC", http_status=413)["status_message"]
        expect.untouched(emsp)
        await put_session(cpo, body, to="NL-TST")  # which need not be looked into
        # What is found by its URL may be as long as it likes.
        await put_session(cpo)
        cpo.store.owned["sessions"].append(SESSION)
        long = charging_preferences(comment="c" * 5000)
        answer = await emsp.call("PUT", "sessions", "SENDER", "101/charging_preferences", body=long)
        assert (answer.data, cpo.received[-1].json) == ("ACCEPTED", long)


async def test_what_a_driver_wishes_goes_to_the_cpo_that_charges(
    hub: HubOnTest, start_hub: StartHub, subtests: pytest.Subtests
) -> None:
    """Charging preferences and profiles, by the session, also when the hub was restarted in between (R-154)."""
    async with registered(hub, p1(), p3(), p4(), a_scsp()) as (cpo, tnm, emsp, scsp):
        await put_session(cpo)
        await hub.stop()
        await start_hub(port=hub.settings.port)
        cpo.store.owned["sessions"].append(SESSION)
        answer = await emsp.call(
            "PUT", "sessions", "SENDER", "101/charging_preferences", headers=expect.IDS, body=charging_preferences()
        )
        expect.relayed(answer, to="NL-TST", sender="BE-BEC")
        expect.forwarded(cpo.received[0], cpo, to="BE-BEC", sender="NL-TST")

        for by in (emsp, scsp):
            with subtests.test(by.name):
                party = str(by.parties[0])
                for method in ("PUT", "GET", "DELETE"):
                    cpo.clear()
                    by.clear()
                    url = by.new_response_url("chargingprofiles", "result")
                    body, query = None, f"duration=900&response_url={url}"
                    if method == "PUT":
                        body, query = set_charging_profile(url), ""
                    answer = await by.call(
                        method, "chargingprofiles", "RECEIVER", "101", headers=expect.IDS, body=body, query=query
                    )
                    expect.relayed(answer, to=party, sender="BE-BEC")
                    assert answer.data["result"] == "ACCEPTED"
                    expect.forwarded(cpo.received[0], cpo, to="BE-BEC", sender=party)
                    assert (await by.wait_for(1)).json["result"] == "ACCEPTED"
        expect.untouched(tnm)


async def test_an_active_profile_goes_to_who_set_it_else_to_the_driver(hub: HubOnTest) -> None:
    """R-243, R-244."""
    async with registered(hub, p1(), p4(modules=EMSP_WITH_PROFILES), a_scsp()) as (cpo, emsp, scsp):
        await put_session(cpo)
        emsp.clear()

        async def tell() -> str | None:
            answer = await cpo.call(
                "PUT", "chargingprofiles", "SENDER", "101", headers=expect.IDS, body=active_charging_profile()
            )
            expect.envelope(answer)
            return answer.sender

        assert await tell() == "NL-TST"
        expect.forwarded(emsp.received[-1], emsp, to="NL-TST", sender="BE-BEC")
        url = scsp.new_response_url("chargingprofiles", "result")
        set_by_scsp = await scsp.call("PUT", "chargingprofiles", "RECEIVER", "101", body=set_charging_profile(url))
        assert set_by_scsp.data["result"] == "ACCEPTED"
        await scsp.wait_for(1)
        assert await tell() == "DE-SCS"
        assert len(emsp.received) == 1


async def test_what_one_process_forwarded_another_finds_at_once(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks once more when it knows nothing yet; here after longer than a busy machine takes to store something."""
    monkeypatch.setattr(open_routing, "SECOND_LOOK_SECONDS", 2)
    first, second = await start_hub(), await start_hub()
    async with registered(first, p1(), p4()) as (cpo, emsp):
        await second.hub.live.refresh()
        cpo.store.owned["sessions"].append(SESSION)
        await put_session(cpo)
        url = f"{second.url}/ocpi/2.2.1/sender/sessions/101/charging_preferences"
        answer = await emsp.request("PUT", url, body=charging_preferences())
        assert (answer.sender, answer.data) == ("BE-BEC", "ACCEPTED"), answer.body
