"""S22: response_url in the query of charging profile requests. [R-238, R-239, R-240, R-241, R-242, R-243, T-082]"""

from urllib.parse import parse_qsl, quote

import orjson
import pytest

from hub.simulator import Reply, SimulatedPlatform, envelope
from hub.simulator.objects import active_charging_profile, set_charging_profile
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3

ACCEPTED = orjson.dumps(envelope({"result": "ACCEPTED", "timeout": 30}))
RESULT = b'{"result":"ACCEPTED","profile":{"start_date_time":"2026-01-01T00:00:00Z"}}'


def callback_of(emsp: SimulatedPlatform) -> str:
    return emsp.endpoint("chargingprofiles") + "cb?request_id=5678&flag=1"


async def expect_result_at(theirs: str, ours: str, cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    answer = await cpo.request("POST", ours, sender=None, body=RESULT)
    expect.envelope(answer)
    received = emsp.received.pop()
    assert (emsp.origin + received.path, received.body) == (theirs, RESULT)
    expect.routing(received, to="DE-TNM", sender="BE-BEC")
    assert "data" not in answer.json


@pytest.mark.parametrize("encoded", [False, True], ids=["un-encoded", "percent-encoded"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("order", ["{duration}&response_url={url}", "response_url={url}&{duration}"])
async def test_the_query_names_the_hubs_url(hub: HubOnTest, method: str, encoded: bool, order: str) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer(method, "chargingprofiles", "RECEIVER", Reply(body=ACCEPTED))
        theirs = callback_of(emsp)
        query = order.format(duration="duration=900", url=quote(theirs, safe="") if encoded else theirs)
        answer = await emsp.call(
            method, "chargingprofiles", "RECEIVER", "101", query=query, to="BE-BEC", headers=expect.IDS
        )
        expect.relayed(answer, to="DE-TNM", sender="BE-BEC", body=ACCEPTED)
        (received,) = cpo.received
        assert received.method == method
        assert received.body == b""
        expect.forwarded(received, cpo, to="BE-BEC", sender="DE-TNM")
        path, _, raw = received.path.partition("?")
        assert cpo.origin + path == cpo.endpoint("chargingprofiles", "RECEIVER") + "101"
        parameters = parse_qsl(raw)
        assert [name for name, _ in parameters] == ["duration", "response_url"]
        assert parameters[0] == ("duration", "900")
        ours = parameters[1][1]
        expect.at_hub(ours, hub)
        assert raw.endswith("response_url=" + quote(ours, safe=""))
        await expect_result_at(theirs, ours, cpo, emsp)


async def test_put_names_it_in_the_body(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer("PUT", "chargingprofiles", "RECEIVER", Reply(body=ACCEPTED))
        theirs = callback_of(emsp)
        body = orjson.dumps(set_charging_profile(theirs))
        await emsp.call(
            "PUT", "chargingprofiles", "RECEIVER", "101", to="BE-BEC", headers=expect.IDS, body=body, query="a=%2F"
        )
        (received,) = cpo.received
        ours = received.json["response_url"]
        expect.at_hub(ours, hub)
        expect.path(received, cpo, "chargingprofiles", "RECEIVER", "101?a=%2F")
        assert received.body == body.replace(theirs.encode(), ours.encode())
        await expect_result_at(theirs, ours, cpo, emsp)


async def test_an_active_profile_goes_to_the_sender_interface(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        body = orjson.dumps(active_charging_profile())
        answer = await cpo.call("PUT", "chargingprofiles", "SENDER", "101", to="DE-TNM", headers=expect.IDS, body=body)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM")
        (received,) = emsp.received
        expect.path(received, emsp, "chargingprofiles", "SENDER", "101")
        expect.forwarded(received, emsp, to="DE-TNM", sender="BE-BEC")
        assert received.body == body


NOT_ITS_OWN = [
    "duration=900",
    "duration=900&response_url=",
    "response_url=https://evil.test/cb",
    "response_url=https%3A%2F%2Fevil.test%2Fcb",
    "response_url={quoted}&response_url={quoted}",
]


async def test_a_query_without_a_url_of_the_senders_own_is_2001(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for query in NOT_ITS_OWN:
            with subtests.test(query):
                theirs = callback_of(emsp).partition("?")[0]
                given = query.format(url=theirs, quoted=quote(theirs, safe=""))
                answer = await emsp.call(
                    "GET", "chargingprofiles", "RECEIVER", "101", query=given, to="BE-BEC", headers=expect.IDS
                )
                expect.refusal(answer, 2001, to="DE-TNM")
                expect.untouched(cpo)
