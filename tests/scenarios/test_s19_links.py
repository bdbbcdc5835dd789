"""S19: the next page of a forwarded list is at the hub.

[R-036, R-175, R-179, R-180, R-181, T-073, T-074, T-075, T-076, T-077]
"""

import re
import time

import pytest

from config.ocpi import CORRELATION_ID, REQUEST_ID
from hub.simulator import Answer, Received, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import location
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3, p4

FROM_2019 = "date_from=2019-01-01T00:00:00Z"


def answer_with_link(cpo: SimulatedPlatform, link: str) -> None:
    headers = {"Link": link, "X-Total-Count": "120", "X-Limit": "50"}
    cpo.answer("GET", "locations", "SENDER", Reply(body=envelope([]), headers=headers))


def next_page(answer: Answer, hub: HubOnTest) -> str:
    """Give the one URL of the Link header, which must be the hub's."""
    (link,) = answer.headers.getall("Link")
    match = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
    assert match, link
    assert match[1].startswith(hub.url + "/ocpi/2.2.1/sender/locations")
    return match[1]


async def first_page(emsp: SimulatedPlatform, query: str = f"{FROM_2019}&limit=50") -> Answer:
    return await emsp.call("GET", "locations", "SENDER", to="BE-BEC", query=query, headers=expect.IDS)


async def test_the_requester_follows_the_link_through_the_hub(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3(), p4()) as (cpo, emsp, other):
        endpoint = cpo.endpoint("locations")
        answer_with_link(cpo, f'<{endpoint}?offset=50&limit=50&{FROM_2019}>; rel="next"')
        answer = await first_page(emsp)
        expect.relayed(answer, to="DE-TNM", sender="BE-BEC")
        assert (answer.headers["X-Total-Count"], answer.headers["X-Limit"]) == ("120", "50")
        assert cpo.origin not in str(answer.headers)
        url = next_page(answer, hub)
        assert {"offset=50", "limit=50", FROM_2019} <= set(url.partition("?")[2].split("&"))

        # With the routing headers, without them, and the same page again.
        cpo.clear()
        for to, sender in [("BE-BEC", "DE-TNM"), (None, None), ("be-bec", "de-tnm"), (None, "DE-TNM")]:
            answer = await emsp.request("GET", url, to=to, sender=sender, headers=expect.IDS)
            expect.envelope(answer)
            received = cpo.received.pop()
            expect.forwarded(received, cpo, to="BE-BEC", sender="DE-TNM")
            path, _, query = received.path.partition("?")
            assert cpo.origin + path == endpoint
            assert sorted(query.split("&")) == sorted([FROM_2019, "limit=50", "offset=50"])

        # To another party, from another party of another platform, or by another method.
        expect.envelope(await emsp.request("GET", url, to="NL-TST"), 200, 2001)
        for platform in (other, cpo):
            answer = await platform.request("GET", url)
            assert answer.http_status in (403, 404)
            expect.envelope(answer, answer.http_status, 2001)
        expect.envelope(await emsp.request("PUT", url, body={}), 405, 2000)
        expect.untouched(cpo, other)


async def test_the_pages_joined_are_the_whole_list(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.store.owned["locations"] = [location("BE-BEC", f"LOC{number}") for number in range(7)]
        cpo.store.page_limit = 3
        seen: list[str] = []
        answer = await first_page(emsp, query=f"{FROM_2019}&limit=2")
        while True:
            assert answer.headers["X-Total-Count"] == "7"
            seen += [each["id"] for each in answer.data]
            if "Link" not in answer.headers:
                break
            answer = await emsp.request("GET", next_page(answer, hub), sender=None)
        assert seen == [f"LOC{number}" for number in range(7)]
        assert all(FROM_2019.partition("=")[0] in received.path for received in cpo.received)


LINKS = [
    '</ocpi/2.2.1/sender/locations/?offset=2&limit=2>; rel="next"',
    "<?offset=2&limit=2>; rel=next",
    '<{endpoint}?offset=2&limit=2>; rel="next"; title="more, and more"',
    '<{endpoint}?offset=0>; rel="prev", <{endpoint}?offset=2&limit=2>; REL="next"',
    '<{endpoint}?offset=2&limit=2>;rel="next last"',
    '<https://127.0.0.1:1/other/path?offset=2&limit=2>; rel="next"',
]


async def test_every_way_to_write_a_link_is_read(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for link in LINKS:
            with subtests.test(link):
                answer_with_link(cpo, link.replace("{endpoint}", cpo.endpoint("locations")))
                url = next_page(await first_page(emsp, query="limit=2"), hub)
                cpo.clear()
                expect.envelope(await emsp.request("GET", url))
                path, _, query = cpo.received[0].path.partition("?")
                assert path == "/ocpi/2.2.1/sender/locations/"
                assert sorted(query.split("&")) == ["limit=2", "offset=2"]


@pytest.mark.parametrize("cursor", ["/ocpi/2.2.1/sender/locations/?cursor=a%2Fb%3D", "/pages/0815-4711"])
async def test_a_cursor_is_kept(hub: HubOnTest, cursor: str) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer_with_link(cpo, f'<{cpo.origin}{cursor}>; rel="next"')
        url = next_page(await first_page(emsp, query=""), hub)
        cpo.clear()
        await emsp.request("GET", url)
        assert [received.path for received in cpo.received] == [cursor]


NO_LINKS = [
    "",
    '<https://evil.test/locations?offset=50>; rel="next"',
    '<http://localhost.evil.test/?offset=50>; rel="next"',
    '<//evil.test/?offset=50>; rel="next"',
    '<file:///etc/passwd?offset=5>; rel="next"',
    '<{endpoint}?offset=0>; rel="prev"',
    "{endpoint}?offset=50",
    '<http://[::1/?offset=50>; rel="next"',
]


async def test_no_link_of_a_stranger_is_passed_on(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for link in NO_LINKS:
            with subtests.test(link):
                answer_with_link(cpo, link.replace("{endpoint}", cpo.endpoint("locations")))
                answer = await first_page(emsp)
                expect.relayed(answer, to="DE-TNM", sender="BE-BEC")
                assert "Link" not in answer.headers


async def test_a_tampered_or_expired_link_leads_nowhere(hub: HubOnTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer_with_link(cpo, f'<{cpo.endpoint("locations")}?offset=50&limit=50>; rel="next"')
        url = next_page(await first_page(emsp), hub)
        cpo.clear()
        head, _, alias = url.rpartition("=")
        for wrong in (alias[:-1], "x" + alias[1:], alias[::-1], alias + "AAAA", "%20", "a" * 3000, ".", ".zz"):
            expect.envelope(await emsp.request("GET", f"{head}={wrong}", to="BE-BEC"), 404, 2001)
        # Time passes: the hub reads the clock with time.time() when it opens an alias.
        later = time.time() + (hub.settings.link_days + 3) * 86400
        monkeypatch.setattr(time, "time", lambda: later)
        expect.envelope(await emsp.request("GET", url), 404, 2001)
        expect.untouched(cpo)


async def test_a_link_survives_a_restart_of_the_hub(hub: HubOnTest, start_hub: object) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer_with_link(cpo, f'<{cpo.endpoint("locations")}?offset=50&limit=50>; rel="next"')
        url = next_page(await first_page(emsp), hub)
        await hub.stop()
        cpo.clear()
        await start_hub(port=hub.settings.port)  # type: ignore[operator]
        expect.envelope(await emsp.request("GET", url))
        assert len(cpo.received) == 1


async def test_the_receiver_is_asked_anew_for_every_page(hub: HubOnTest) -> None:
    """R-119, R-167: no page comes from a cache, each has its own X-Request-ID."""
    asked: list[Received] = []

    def count(received: Received) -> Reply:
        asked.append(received)
        link = f'<{received.path.partition("?")[0]}?offset={len(asked)}>; rel="next"'
        return Reply(body=envelope([len(asked)]), headers={"Link": link})

    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer("GET", "locations", "SENDER", count)
        url = next_page(await first_page(emsp), hub)
        pages = [await emsp.request("GET", url, headers=expect.IDS) for _ in range(3)]
        assert [page.data for page in pages] == [[2], [3], [4]]
        assert len({received.headers[REQUEST_ID] for received in asked}) == 4
        assert {received.headers[CORRELATION_ID] for received in asked} == {"c-1"}
