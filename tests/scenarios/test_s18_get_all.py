"""S18: GET all: lists that the hub merges over their owners.

[R-151, R-156, R-158, R-159, R-160, R-161, R-162, R-163, R-164, R-175, R-176, R-177, T-070, T-074]
"""

import re

from hub.simulator import Answer, SimulatedPlatform
from hub.simulator.objects import Object, cdr, location, session, token
from hub.simulator.objects.fields import time_in
from parties import store
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4
from tests.shelf import Shelf

LOCATIONS = [("BE-BEC", "LOC1"), ("SE-VOL", "LOC1"), ("BE-BEC", "LOC2"), ("BE-BEC", "LOC3"), ("SE-VOL", "LOC2")]


def p8() -> SimulatedPlatform:
    """Another CPO."""
    return SimulatedPlatform("P8", [("SE-VOL", "CPO")])


async def get_all(asking: SimulatedPlatform, module: str, query: str = "", **options: str) -> Answer:
    return await asking.call("GET", module, "SENDER", to="NL-HUB", query=query, headers=expect.IDS, **options)


def next_page(answer: Answer, hub: HubOnTest) -> str | None:
    """Give the one URL of the Link header, which must be the hub's; None when there is none."""
    if "Link" not in answer.headers:
        return None
    (link,) = answer.headers.getall("Link")
    match = re.fullmatch(r'<([^<>]+)>; rel="next"', link)
    assert match, link
    assert match[1].startswith(hub.url + "/ocpi/2.2.1/sender/"), link
    return match[1]


def keys(answer: Answer) -> list[tuple[str, str]]:
    """Give whose and which the objects of a page are."""
    return [(f"{each['country_code']}-{each['party_id']}", each["id"]) for each in answer.data]


async def go_offline(hub: HubOnTest, platform: SimulatedPlatform) -> None:
    """Let a platform vanish, and the hub know of it."""
    (held,) = [each for each in hub.hub.live.table.platforms.values() if each.name == platform.name]
    await platform.stop()
    async with hub.hub.database.changing() as connection:
        await store.set_online(connection, held.id, online=False)
    await hub.hub.live.refresh()


async def share(owner: SimulatedPlatform, shared: Object, module: str = "locations") -> None:
    """Broadcast an object."""
    party = f"{shared['country_code']}-{shared['party_id']}"
    path = f"{party.replace('-', '/')}/{shared['uid' if module == 'tokens' else 'id']}"
    expect.envelope(await owner.call("PUT", module, "RECEIVER", path, to="NL-HUB", sender=party, body=shared))


async def test_pages_of_all_owners_are_followed_by_link(hub: HubOnTest, shelf: Shelf) -> None:
    async with registered(hub, p1(), p2(), p3(), p8()) as (cpo, both, emsp, other):
        await shelf.forbid("DE-TNM", "NL-ALF:CPO")
        pushed = [location(*key, last_updated=time_in(-60 * 24 * 365), evses=[]) for key in LOCATIONS]
        await share(both, location("NL-ALF", "LOC1"))
        for shared in pushed:
            await share(cpo if shared["party_id"] == "BEC" else other, shared)
        await share(both, location("NL-ALF", "LOC2"))
        await go_offline(hub, cpo)

        first = answer = await get_all(emsp, "locations", "limit=2")
        seen = []
        while True:
            expect.relayed(answer, to="DE-TNM", sender=expect.HUB)
            expect.envelope(answer)
            assert (answer.headers["X-Total-Count"], answer.headers["X-Limit"]) == ("5", "100")
            seen += answer.data
            url = next_page(answer, hub)
            if url is None:
                break
            assert {f"offset={len(seen)}", "limit=2"} <= set(url.partition("?")[2].split("&"))
            answer = await emsp.request("GET", url, to="NL-HUB", headers=expect.IDS)
        assert seen == pushed  # owners and last_updated too
        assert len(first.data) == 2

        # Without the routing headers, and the same page again.
        second = next_page(first, hub)
        assert second is not None
        for to, sender in [(None, None), ("nl-hub", "de-tnm")]:
            answer = await emsp.request("GET", second, to=to, sender=sender, headers=expect.IDS)
            expect.relayed(answer, to=sender or "DE-TNM", sender=expect.HUB)
            assert keys(answer) == LOCATIONS[2:4]

        expect.refusal(await emsp.call("GET", "locations", "SENDER", headers=expect.IDS), 2001, to="DE-TNM")


async def test_sessions_and_cdrs_are_the_requesters_only(hub: HubOnTest) -> None:
    """As they were pushed, and a list of sessions needs date_from."""
    async with registered(hub, p1(), p3(), p4()) as (cpo, emsp, other):
        for number, driver in enumerate(["DE-TNM", "NL-TST", "DE-TNM", "NL-MSP"]):
            of = token(driver, "1")
            pushed = session("BE-BEC", f"S{number}", of)
            answer = await cpo.call("PUT", "sessions", "RECEIVER", f"BE/BEC/S{number}", to=driver, body=pushed)
            expect.envelope(answer, 201)
            answer = await cpo.call("POST", "cdrs", "RECEIVER", to=driver, body=cdr("BE-BEC", f"C{number}", of))
            expect.envelope(answer, 201)

        refused = expect.refusal(await get_all(emsp, "sessions"), 2001, to="DE-TNM")
        assert "date_from" in refused["status_message"]
        for module, letter in (("sessions", "S"), ("cdrs", "C")):
            query = "date_from=2019-01-01T00:00:00Z"
            answer = await get_all(emsp, module, query)
            assert keys(answer) == [("BE-BEC", f"{letter}0"), ("BE-BEC", f"{letter}2")]
            assert answer.headers["X-Total-Count"] == "2"
            assert {each["cdr_token"]["party_id"] for each in answer.data} == {"TNM"}
            for party, number in (("NL-TST", 1), ("NL-MSP", 3)):
                assert keys(await get_all(other, module, query, sender=party)) == [("BE-BEC", f"{letter}{number}")]


async def test_nobody_gets_what_is_its_own_or_of_its_own_kind(hub: HubOnTest) -> None:
    """T-070, T-071: a party that is CPO and eMSP gets other CPOs' locations and other eMSPs' tokens."""
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        for platform, party in ((cpo, "BE-BEC"), (both, "NL-ALF")):
            await share(platform, location(party, "LOC1"))
        for platform, party in ((emsp, "DE-TNM"), (both, "NL-ALF")):
            await share(platform, token(party, "T1", id="T1"), "tokens")
        assert keys(await get_all(both, "locations")) == [("BE-BEC", "LOC1")]
        assert keys(await get_all(both, "tokens")) == [("DE-TNM", "T1")]
        assert keys(await get_all(cpo, "tokens")) == [("DE-TNM", "T1"), ("NL-ALF", "T1")]
        for asking, module in ((cpo, "locations"), (emsp, "tokens")):
            answer = await get_all(asking, module)
            assert (answer.data, answer.headers["X-Total-Count"]) == ([], "0")
            assert "Link" not in answer.headers
