"""S23: a CDR's Location is at the hub. [R-259, R-260, R-261, R-262, R-263, R-036, T-078]"""

from collections.abc import Awaitable, Callable

import orjson
import pytest

from hub.simulator import Answer, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import cdr
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3

STORED = orjson.dumps(envelope({"id": "CDR1", "total_energy": 1.50}))
THEIRS = "/ocpi/2.2.1/receiver/cdrs/9f"


async def post_cdr(cpo: SimulatedPlatform, emsp: SimulatedPlatform, location: str | None, status: int = 201) -> Answer:
    headers = {} if location is None else {"Location": location}
    emsp.answer("POST", "cdrs", "RECEIVER", Reply(status, envelope(), headers))
    emsp.answer("GET", "cdrs", "RECEIVER", Reply(body=STORED))
    body = orjson.dumps(cdr("BE-BEC", "CDR1"))
    answer = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", headers=expect.IDS, body=body)
    expect.relayed(answer, to="BE-BEC", sender="DE-TNM", http_status=status)
    received = emsp.received.pop()
    expect.path(received, emsp, "cdrs", "RECEIVER", "")
    assert received.body == body  # signed data and numbers are as they were
    return answer


async def test_the_location_leads_back_to_the_receivers_own(
    hub: HubOnTest, start_hub: Callable[..., Awaitable[HubOnTest]]
) -> None:
    async with registered(hub, p1(), p3(), p2()) as (cpo, emsp, stranger):
        ours = (await post_cdr(cpo, emsp, THEIRS)).headers["Location"]
        expect.at_hub(ours, hub)
        assert emsp.origin not in ours

        async def read_it() -> None:
            for to, sender in [("DE-TNM", "BE-BEC"), (None, None), (None, "be-bec")]:
                answer = await cpo.request("GET", ours, to=to, sender=sender, headers=expect.IDS)
                expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=STORED)
                received = emsp.received.pop()
                assert (received.method, received.path) == ("GET", THEIRS)
                expect.forwarded(received, emsp, to="DE-TNM", sender="BE-BEC")

        await read_it()
        for platform in (stranger, emsp):
            expect.envelope(await platform.request("GET", ours, sender=None), 404, 2001)
        expect.envelope(await cpo.request("GET", ours, to="NL-ALF"), 200, 2001)
        for method in ("PUT", "DELETE", "PATCH"):
            body = None if method == "DELETE" else {}
            expect.envelope(await cpo.request(method, ours, to="DE-TNM", body=body), 405, 2000)
        expect.untouched(emsp, stranger)

        await hub.stop()
        await start_hub(port=hub.settings.port)
        await read_it()


LOCATIONS = [
    ("{origin}/deep/er/cdr?a=%2F", "/deep/er/cdr?a=%2F"),
    ("9f", "/ocpi/2.2.1/receiver/cdrs/9f"),
    ("../x/9f", "/ocpi/2.2.1/receiver/x/9f"),
    ("https://127.0.0.1/other/scheme/9f", "/other/scheme/9f"),
    ("http://127.0.0.1:1/other/port/9f", "/other/port/9f"),
    ("{origin}/" + "x" * 230, "/" + "x" * 230),
    ("/" + "x" * 2000, "/" + "x" * 2000),
    ("{origin}/9f#part", "/9f"),
]


async def test_every_form_of_a_location_is_read(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for location, path in LOCATIONS:
            for status in (200, 201):
                with subtests.test(location, status=status):
                    emsp.clear()
                    answer = await post_cdr(cpo, emsp, location.replace("{origin}", emsp.origin), status)
                    ours = answer.headers["Location"]
                    expect.at_hub(ours, hub)
                    await cpo.request("GET", ours)
                    assert [received.path for received in emsp.received] == [path]


NO_LOCATIONS = [
    None,
    "",
    "https://evil.test/cdrs/9f",
    "//evil.test/9f",
    "file:///etc/passwd",
    "http://[::1/9f",
    "/a b",
    "/caf\xe9",
]


async def test_no_location_is_invented_and_no_strangers_is_passed_on(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for location in NO_LOCATIONS:
            with subtests.test(location=location):
                answer = await post_cdr(cpo, emsp, location)
                if location == "":  # an empty reference is the endpoint itself, or nothing
                    assert answer.headers.get("Location", hub.url).startswith(hub.url)
                else:
                    assert "Location" not in answer.headers


async def test_a_refused_cdr_has_no_location(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.answer("POST", "cdrs", "RECEIVER", Reply(200, envelope(None, 2001), {"Location": THEIRS}))
        answer = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=cdr("BE-BEC", "CDR1"))
        expect.envelope(answer, 200, 2001)
        assert "Location" not in answer.headers
