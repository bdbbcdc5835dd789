"""S20: a command's result comes back through the hub, by a URL that says nothing to the receiver.

[R-225, R-227, R-228, R-229, R-230, R-233, T-079, T-080, T-083, T-085]
"""

from typing import Any

import orjson
import pytest

from config.ocpi import AUTHORIZATION, CORRELATION_ID, REQUEST_ID
from hub.simulator import Answer, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import start_session, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p4

ACCEPTED = orjson.dumps(envelope({"result": "ACCEPTED", "timeout": 30}), option=orjson.OPT_INDENT_2)
RESULT = b'{ "result" : "ACCEPTED",  "message":[] }'


def response_url_of(emsp: SimulatedPlatform) -> str:
    return emsp.new_response_url("commands", "START_SESSION") + "?x=1"


async def command(emsp: SimulatedPlatform, body: Any, name: str = "START_SESSION", **options: Any) -> Answer:
    return await emsp.call(
        "POST", "commands", "RECEIVER", name, to="BE-BEC", sender="NL-TST", headers=expect.IDS, body=body, **options
    )


async def test_the_result_reaches_exactly_the_url_that_asked_for_it(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p4(), p2()) as (cpo, emsp, stranger):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=ACCEPTED))
        theirs = response_url_of(emsp)
        body = orjson.dumps(start_session(theirs, token("NL-TST", "T1"), extra=None), option=orjson.OPT_INDENT_2)
        expect.relayed(await command(emsp, body), to="NL-TST", sender="BE-BEC", body=ACCEPTED)

        (received,) = cpo.received
        expect.forwarded(received, cpo, to="BE-BEC", sender="NL-TST")
        expect.path(received, cpo, "commands", "RECEIVER", "START_SESSION")
        ours = received.json["response_url"]
        expect.at_hub(ours, hub)
        assert emsp.origin not in ours
        assert received.body == body.replace(theirs.encode(), ours.encode())  # every other byte is as it was
        for secret in (emsp.own_token, emsp.hub_token, cpo.own_token, cpo.hub_token):
            assert secret is not None
            assert secret not in ours

        # P1 sends the result with its own token and no OCPI header at all.
        ids = {CORRELATION_ID: "c-2", REQUEST_ID: "r-2"}
        answer = await cpo.request("POST", ours, sender=None, headers=ids, body=RESULT)
        (delivered,) = emsp.received
        assert (delivered.method, emsp.origin + delivered.path) == ("POST", theirs)
        assert delivered.body == RESULT
        expect.routing(delivered, to="NL-TST", sender="BE-BEC")
        expect.authorized(delivered, emsp.own_token or "")
        assert delivered.headers[CORRELATION_ID] == "c-2"
        assert delivered.headers[REQUEST_ID] not in ("r-1", "r-2", received.headers[REQUEST_ID])
        expect.envelope(answer)
        expect.routing(answer, to="BE-BEC", sender="NL-TST")
        assert "data" not in answer.json
        assert (answer.headers[REQUEST_ID], answer.headers[CORRELATION_ID]) == ("r-2", "c-2")

        # Nobody else may use it, not even the one who asked, and in no other way.
        emsp.clear()
        for platform in (stranger, emsp):
            answer = await platform.request("POST", ours, sender=None, body=RESULT)
            expect.envelope(answer, 404, 2001)
        expect.envelope(await cpo.request("GET", ours, sender=None), 405, 2000)
        answer = await cpo.request("POST", ours, headers={AUTHORIZATION: "Token nothing"}, body=RESULT)
        expect.envelope(answer, 401, 2000)
        expect.untouched(emsp, stranger)


async def test_wrong_routing_headers_of_a_result_are_made_right(hub: HubOnTest) -> None:
    """T-083; seen: the command's headers sent back un-swapped, or the word undefined."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=ACCEPTED))
        await command(emsp, start_session(response_url_of(emsp), token("NL-TST", "T1")))
        ours = cpo.received[0].json["response_url"]
        undefined = {"OCPI-to-country-code": "undefined", "OCPI-to-party-id": "undefined"}
        for options in ({"to": "BE-BEC", "sender": "NL-TST"}, {"headers": undefined}, {"to": "NL-TST"}):
            expect.envelope(await cpo.request("POST", ours, body=RESULT, **options))
            expect.routing(emsp.received.pop(), to="NL-TST", sender="BE-BEC")


async def test_the_platforms_of_the_simulation_exchange_results_by_themselves(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        for name in ("START_SESSION", "STOP_SESSION", "UNLOCK_CONNECTOR"):
            theirs = emsp.new_response_url("commands", name)
            answer = await command(emsp, {"response_url": theirs, "session_id": "1", "location_id": "1"}, name)
            assert answer.data["result"] == "ACCEPTED"
            delivered = await emsp.wait_for(lambda received, theirs=theirs: emsp.origin + received.path == theirs)
            assert delivered.json["result"] == "ACCEPTED"
            expect.routing(delivered, to="NL-TST", sender="BE-BEC")
        await cpo.settle()
        assert (cpo.failures, [answer.status_code for answer in cpo.results]) == ([], [1000] * 3)


NOT_ITS_OWN = [
    "https://evil.test/",
    "http://127.0.0.1:1/other-port",
    "http://localhost/",
    "http://user@{host}/",
    "http://{host}@evil.test/",
    "http://{host}/#fragment",
    "http://{host}/a b",
    "https://{host}/other-scheme",
    "http://169.254.169.254/latest/meta-data",
    "ftp://{host}/",
    "/relative",
    "",
    None,
    17,
    ["http://{host}/"],
]


async def test_a_url_that_is_not_the_senders_own_is_2001_and_nobody_is_called(
    hub: HubOnTest, subtests: pytest.Subtests
) -> None:
    """R-036, T-080: else the eMSP's token could be fetched by anybody."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        for url in NOT_ITS_OWN:
            with subtests.test(url=url):
                given = url.replace("{host}", emsp.origin.removeprefix("http://")) if isinstance(url, str) else url
                answer = await command(emsp, start_session(given, token("NL-TST", "T1")))
                expect.refusal(answer, 2001, to="NL-TST")
                expect.untouched(cpo, emsp)


WITHOUT_URL = [b"[]", b'"x"', b'{"a":{"response_url":"http://x/"}}']


async def test_a_command_without_a_url_of_its_own_is_2001(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        for body in WITHOUT_URL:
            with subtests.test(body):
                expect.refusal(await command(emsp, body), 2001, to="NL-TST")
                expect.untouched(cpo)


async def test_two_urls_in_one_command_are_refused(hub: HubOnTest) -> None:
    """T-040: receivers would differ on which one counts."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        theirs = response_url_of(emsp)
        body = f'{{"response_url":"{theirs}","response_\\u0075rl":"{theirs}"}}'.encode()
        expect.refusal(await command(emsp, body), 2001, to="NL-TST")
        expect.untouched(cpo)


async def test_a_url_of_full_length_still_fits(hub: HubOnTest) -> None:
    """R-017, R-228: what does not fit sealed is stored."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=ACCEPTED))
        theirs = response_url_of(emsp)
        theirs += "&y=" + "z" * (255 - len(theirs) - 3)
        await command(emsp, start_session(theirs, token("NL-TST", "T1")))
        ours = cpo.received[0].json["response_url"]
        expect.at_hub(ours, hub)
        expect.envelope(await cpo.request("POST", ours, sender=None, body=RESULT))
        assert emsp.origin + emsp.received[0].path == theirs


async def test_every_request_has_a_url_of_its_own(hub: HubOnTest) -> None:
    """R-228: also for the same response_url twice."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=ACCEPTED))
        theirs = response_url_of(emsp)
        for _ in range(4):
            await command(emsp, start_session(theirs, token("NL-TST", "T1")))
        assert len({received.json["response_url"] for received in cpo.received}) == 4


@pytest.mark.parametrize(
    ("misbehaviour", "status_code"), [("silent", 4002), ("unauthorized", 4003), ("html", 4003), ("close", 4002)]
)
async def test_a_result_that_cannot_be_delivered_tells_the_cpo_so(
    hub: HubOnTest, misbehaviour: Any, status_code: int
) -> None:
    """R-230: one attempt, no retry."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=ACCEPTED))
        await command(emsp, start_session(response_url_of(emsp), token("NL-TST", "T1")))
        emsp.misbehave(misbehaviour)
        answer = await cpo.request(
            "POST", cpo.received[0].json["response_url"], sender=None, headers=expect.IDS, body=RESULT
        )
        expect.refusal(answer, status_code, to="BE-BEC")
        assert len(emsp.received) == 1


async def test_an_unknown_or_changed_url_is_404(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=ACCEPTED))
        await command(emsp, start_session(response_url_of(emsp), token("NL-TST", "T1")))
        ours = cpo.received[0].json["response_url"]
        base = ours.rpartition("/")[0]
        locations = [f"{base}/{alias}" for alias in ("x", "." + "0" * 32, ours.rpartition("/")[2][::-1])]
        for url in (*locations, ours.replace("commands", "chargingprofiles") + "x"):
            expect.envelope(await cpo.request("POST", url, sender=None, body=RESULT), 404, 2001)
        cdr = ours.replace("sender/commands", "receiver/cdrs")
        expect.envelope(await cpo.request("GET", cdr, sender=None), 404, 2000)  # a result is no Location
        expect.untouched(emsp)
