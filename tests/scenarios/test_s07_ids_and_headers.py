"""S07: ids and routing headers on both legs of a direct request.

[R-035, R-097, R-100, R-101, R-102, R-117, R-166, R-167, R-168, R-169, R-171]
"""

import orjson

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
)
from hub.simulator import Reply, envelope
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3

BODY = orjson.dumps(envelope({"id": "LOC1"}), option=orjson.OPT_INDENT_2)


async def test_a_direct_get_swaps_the_parties_and_renews_the_request_id(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.sends_headers = False  # the hub fills in what the receiver leaves out
        emsp.answer(
            "GET",
            "locations",
            "RECEIVER",
            lambda received: Reply(body=BODY, headers={REQUEST_ID: received.headers[REQUEST_ID]}),
        )
        answer = await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM", headers=expect.IDS)

        (received,) = emsp.received
        assert received.method == "GET"
        expect.path(received, emsp, "locations", "RECEIVER", "BE/BEC/LOC1")
        expect.forwarded(received, emsp, to="DE-TNM", sender="BE-BEC")
        assert received.body == b""
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=BODY)
        expect.untouched(cpo)


async def test_what_the_receiver_says_about_ids_and_parties_does_not_count(hub: HubOnTest) -> None:
    """T-025: receivers forget to swap, or invent."""
    wrong = {
        REQUEST_ID: "theirs",
        CORRELATION_ID: "theirs",
        TO_COUNTRY: "XX",
        TO_PARTY: "YYY",
        FROM_COUNTRY: "undefined",
        FROM_PARTY: "undefined",
        "Set-Cookie": "session=1",
        "X-Powered-By": "Express",
        "X-Total-Count": "3",
        "X-Limit": "50",
    }
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.answer("GET", "tokens", "SENDER", Reply(body=BODY, headers=wrong))
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=BODY)
        assert "Set-Cookie" not in answer.headers
        assert "X-Powered-By" not in answer.headers
        assert (answer.headers["X-Total-Count"], answer.headers["X-Limit"]) == ("3", "50")


async def test_only_what_the_receiver_needs_is_passed_on(hub: HubOnTest) -> None:
    further = {
        "Cookie": "a=b",
        "X-Forwarded-For": "1.2.3.4",
        "Proxy-Authorization": "Basic eA==",
        "Via": "1.1 x",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "User-Agent": "their-client/1",
    }
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS | further)
        (received,) = emsp.received
        for name in set(further) - {"traceparent"}:
            assert name not in received.headers
        assert received.headers["traceparent"] == further["traceparent"]
        assert cpo.hub_token not in str(received.headers.getall(AUTHORIZATION))
        assert len(received.headers.getall("Host")) == 1


async def test_missing_ids_are_made_up(hub: HubOnTest) -> None:
    """R-171: not worth failing a request."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        no_ids = {REQUEST_ID: None, CORRELATION_ID: None}
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=no_ids)
        expect.envelope(answer)
        (received,) = emsp.received
        assert received.headers[CORRELATION_ID] == answer.headers[CORRELATION_ID]
        assert received.headers[REQUEST_ID] != answer.headers[REQUEST_ID]
        assert all([received.headers[REQUEST_ID], answer.headers[REQUEST_ID], answer.headers[CORRELATION_ID]])


async def test_a_repeated_request_id_is_no_reason_to_swallow_a_request(hub: HubOnTest) -> None:
    """R-172."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for _ in range(3):
            expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS))
        assert len({received.headers[REQUEST_ID] for received in emsp.received}) == 3


async def test_the_request_log_tells_the_way_without_token_or_body(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=expect.IDS, body={"secret": "x"})
        (received,) = emsp.received
        hub.hub.request_log.flush()
        line = orjson.loads(hub.log.getvalue().splitlines()[-1])
        assert (line["from"], line["to"], line["operation"]) == ("BE-BEC", "DE-TNM", "sessions.put_session")
        assert (line["request_id"], line["correlation_id"]) == ("r-1", "c-1")
        assert line["onward_request_id"] == received.headers[REQUEST_ID]
        for secret in (cpo.hub_token, cpo.own_token, emsp.hub_token, emsp.own_token, "secret"):
            assert secret not in hub.log.getvalue()
