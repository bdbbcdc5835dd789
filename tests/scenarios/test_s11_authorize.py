"""S11: real-time authorization, with and without a body. [R-249, R-250, R-252, R-253, T-044]"""

import orjson
import pytest

from config.ocpi import PartyID
from hub.simulator import Received, Reply, envelope
from hub.simulator.objects import authorization_info, location_references, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import messages_to, p1, p4

PATH = "012345678/authorize"


async def test_an_authorization_without_a_body_arrives_without_one(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        emsp.store.owned["tokens"].append(token("NL-TST", "012345678", type="APP_USER"))
        answer = await cpo.call(
            "POST", "tokens", "SENDER", PATH, query="type=APP_USER", to="NL-TST", headers=expect.IDS
        )
        expect.relayed(answer, to="BE-BEC", sender="NL-TST")
        assert answer.data["allowed"] == "ALLOWED"
        assert answer.data["authorization_reference"]
        (received,) = emsp.received
        expect.forwarded(received, emsp, to="NL-TST", sender="BE-BEC")
        expect.path(received, emsp, "tokens", "SENDER", PATH + "?type=APP_USER")
        assert received.body == b""
        assert "Content-Type" not in received.headers


async def test_the_location_references_arrive_as_sent(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        body = orjson.dumps(location_references("LOC1", "LOC1-1"), option=orjson.OPT_INDENT_2)
        await cpo.call("POST", "tokens", "SENDER", PATH, to="NL-TST", headers=expect.IDS, body=body)
        assert emsp.received[0].body == body
        assert emsp.received[0].headers["Content-Type"] == "application/json"
        answer = await cpo.call("POST", "tokens", "SENDER", PATH, to="NL-TST", headers=expect.IDS, body=b"{")
        expect.envelope(answer, 400, 2001)
        assert len(messages_to(emsp)) == 1


@pytest.mark.parametrize("http_status", [404, 200])
async def test_an_unknown_token_stays_404_and_2004(hub: HubOnTest, http_status: int) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        body = orjson.dumps(envelope(None, 2004))
        emsp.answer("POST", "tokens", "SENDER", Reply(http_status, body))
        answer = await cpo.call("POST", "tokens", "SENDER", PATH, to="NL-TST", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="NL-TST", body=body, http_status=http_status)


async def test_a_silent_emsp_is_4002_within_the_time_of_an_authorization(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        known = token("NL-TST", "012345678", whitelist="ALWAYS")
        await emsp.call("PUT", "tokens", "RECEIVER", "NL/TST/012345678", to="BE-BEC", body=known, sender="NL-TST")
        assert len(cpo.received) == 1
        emsp.misbehave("silent")
        answer = await cpo.call("POST", "tokens", "SENDER", PATH, to="NL-TST", headers=expect.IDS)
        expect.refusal(answer, 4002, to="BE-BEC")  # and no AuthorizationInfo of the hub's own
        assert answer.milliseconds / 1000 < hub.settings.authorize_timeout + 0.4
        assert len(messages_to(emsp)) == 1


async def test_the_emsp_sees_which_of_its_parties_is_meant(hub: HubOnTest) -> None:
    def answer_for(received: Received) -> Reply:
        assert received.to is not None
        return Reply(body=envelope(authorization_info(token(PartyID.parse(received.to), "012345678"))))

    async with registered(hub, p1(), p4()) as (cpo, emsp):
        emsp.answer("POST", "tokens", "SENDER", answer_for)
        for party in ("NL-TST", "NL-MSP"):
            answer = await cpo.call("POST", "tokens", "SENDER", PATH, to=party, headers=expect.IDS)
            expect.relayed(answer, to="BE-BEC", sender=party)
            assert answer.data["token"]["party_id"] == party[3:]
