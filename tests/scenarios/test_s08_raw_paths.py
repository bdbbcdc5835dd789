"""S08: case in headers and paths, raw paths and queries, slashes. [R-009, R-010, R-011, R-112, T-036, T-037]"""

import pytest

from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3

SESSION = b'{"id":"S/1#a","last_updated":"2026-01-01T00:00:00Z"}'


async def test_parties_compare_in_any_case_and_the_path_stays_as_it_came(hub: HubOnTest) -> None:
    headers = expect.IDS | {
        "ocpi-TO-party-ID": "tnm",
        "ocpi-to-country-code": "de",
        "OCPI-FROM-country-code": "Be",
        "ocpi-from-PARTY-id": "bEc",
    }
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call(
            "PUT", "sessions", "RECEIVER", "be/bec/S%2F1%23a", sender=None, headers=headers, body=SESSION
        )
        expect.relayed(answer, to="Be-bEc", sender="de-tnm", http_status=201)
        (received,) = emsp.received
        expect.path(received, emsp, "sessions", "RECEIVER", "be/bec/S%2F1%23a")
        expect.forwarded(received, emsp, to="de-tnm", sender="Be-bEc")
        assert received.body == SESSION


PATHS = [
    "BE/BEC/S%2F1%23a",
    "BE/BEC/BE*BEC*E1",
    "BE/BEC/BE%2ABEC%2aE1",
    "BE/BEC/%41%7e~",
    "BE/BEC/a+b%20c%2Bd",
    "BE/BEC/%25%32%35",
    "BE/BEC/a:b@c;d=e,f!g$h&i'j(k)",
    "BE/BEC/%3Fx%3D1",
    "BE/BEC/K%C3%B6ln",
    "BE/BEC/a..%2F..b%2Fversions",
    "BE/BEC/a|b^c",
    "BE/BEC/S1?x=https%3A%2F%2Fz&y=a+b&x=%2A&empty=&bare",
    "BE/BEC/S1?type=AD_HOC_USER&%74=1",
    "BE/BEC/S1?q=?/&r=%",
]


async def test_the_receiver_sees_path_and_query_byte_for_byte(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for below in PATHS:
            with subtests.test(below):
                emsp.clear()
                await cpo.call("PUT", "sessions", "RECEIVER", below, to="DE-TNM", headers=expect.IDS, body=SESSION)
                (received,) = emsp.received
                expect.path(received, emsp, "sessions", "RECEIVER", below)


async def test_slashes_at_the_hubs_urls_do_not_matter_and_redirect_nowhere(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        sessions = emsp.hub_endpoints["sessions", "SENDER"].rstrip("/")
        for url in (sessions, sessions + "/", sessions + "//", sessions + "?offset=0", sessions + "/?offset=0"):
            expect.envelope(await emsp.request("GET", url, to="BE-BEC"))
        assert {received.path.partition("?")[0] for received in cpo.received} == {"/ocpi/2.2.1/sender/sessions/"}
        assert len(cpo.received) == 5
        for url in (hub.versions_url, hub.versions_url + "/", f"{hub.url}/ocpi/2.2.1", f"{hub.url}/ocpi/2.2.1/"):
            expect.envelope(await emsp.request("GET", url, sender=None))
        for url in (f"{hub.url}/ocpi/2.2.1/credentials", f"{hub.url}/ocpi/2.2.1/credentials/"):
            expect.envelope(await emsp.request("GET", url, sender=None))


@pytest.mark.parametrize("suffix", ["", "/"])
async def test_the_collection_is_called_exactly_as_advertised(hub: HubOnTest, suffix: str) -> None:
    """T-036: a slash more or less gives 307, 308 or 404 at real members."""
    async with registered(hub, p1(endpoint_suffix=suffix), p3()) as (cpo, emsp):
        expect.envelope(await emsp.call("GET", "sessions", "SENDER", to="BE-BEC"))
        await emsp.call("GET", "locations", "SENDER", "LOC1", to="BE-BEC")
        assert [received.path for received in cpo.received] == [
            f"/ocpi/2.2.1/sender/sessions{suffix}",
            "/ocpi/2.2.1/sender/locations/LOC1",
        ]


NOT_OCPI = [
    ("GET", "nothing", "", 404),
    ("GET", "locations", "BE/BEC", 404),
    ("GET", "locations", "BE/BEC/1/2/3/4", 404),
    ("POST", "locations", "BE/BEC/1", 405),
    ("DELETE", "locations", "BE/BEC/1", 405),
    ("PATCH", "tariffs", "BE/BEC/1", 405),
    ("DELETE", "tokens", "BE/BEC/1", 405),
    ("PUT", "cdrs", "", 405),
    ("OPTIONS", "sessions", "BE/BEC/1", 405),
    ("POST", "commands", "OPEN_THE_DOOR", 404),
    ("GET", "../versions", "", 404),
]


async def test_what_ocpi_does_not_have_is_404_or_405_and_reaches_nobody(
    hub: HubOnTest, subtests: pytest.Subtests
) -> None:
    """R-002, R-257, R-272, R-281: also with a valid token nothing is invented."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for method, module, below, http_status in NOT_OCPI:
            with subtests.test(f"{method} {module}/{below}"):
                url = f"{hub.url}/ocpi/2.2.1/receiver/{module}/{below}"
                answer = await cpo.request(method, url, to="DE-TNM", headers=expect.IDS, body={})
                expect.envelope(answer, http_status, 2000)
                expect.ids(answer)
                assert ("Allow" in answer.headers) == (http_status == 405)
                expect.untouched(emsp)
