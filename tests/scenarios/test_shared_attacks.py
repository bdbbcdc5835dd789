"""What a malicious member tries with what the hub shares: others' objects, others' lists, and pages nobody can read."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from hub.simulator import Answer, Reply, SimulatedPlatform, hosted_modules
from hub.simulator.objects import cdr, location, session, start_session, stop_session, tariff, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3, p4
from tests.sender_lists import all_done, member, mirrored, switch
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]
SINCE = "date_from=2019-01-01T00:00:00Z"


def evil(*roles: str) -> SimulatedPlatform:
    """A member that means no good."""
    return SimulatedPlatform("Evil", [("SE-EVL", role) for role in roles or ("CPO",)])


async def get_all(asking: SimulatedPlatform, module: str, query: str = "") -> Answer:
    return await asking.call("GET", module, "SENDER", to="NL-HUB", query=query)


async def broadcast(owner: SimulatedPlatform, path: str, body: Any, module: str = "locations") -> Answer:
    return await owner.call("PUT", module, "RECEIVER", path, to="NL-HUB", body=body)


async def test_a_cdr_of_another_owner_is_not_listed_as_theirs(hub: HubOnTest) -> None:
    """A CDR's owner is in its body only; the receiver may take it, the mirror does not (R-268)."""
    async with registered(hub, p1(), p3(), evil()) as (cpo, emsp, thief):
        of = token("DE-TNM", "1")
        genuine = cdr("BE-BEC", "C1", of)
        expect.envelope(await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=genuine), 201)
        for name in ("C1", "C2"):
            forged = cdr("BE-BEC", name, of) | {"total_energy": 4711}
            await thief.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=forged)
        answer = await get_all(emsp, "cdrs")
        assert answer.data == [genuine]


async def test_who_may_name_other_owners_in_urls_shares_as_itself_only(hub: HubOnTest) -> None:
    """`foreign_owner` is for members that write the receiver into the URL; others' sessions stay others'."""
    async with registered(hub, p1(), p3(), evil()) as (cpo, emsp, thief):
        await switch(hub, "foreign_owner=on", party="SE-EVL")
        of = token("DE-TNM", "1")
        pushed = session("BE-BEC", "S1", of)
        expect.envelope(await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/S1", to="DE-TNM", body=pushed), 201)
        for name in ("S1", "S2"):
            forged = session("BE-BEC", name, of) | {"kwh": 4711}
            await thief.call("PUT", "sessions", "RECEIVER", f"BE/BEC/{name}", to="DE-TNM", body=forged)
        await thief.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM", body=location("BE-BEC", "LOC1"))
        assert (await get_all(emsp, "sessions", SINCE)).data == [pushed]
        url = emsp.new_response_url("commands", "START_SESSION")
        answer = await emsp.call("POST", "commands", "RECEIVER", "START_SESSION", body=start_session(url, of, "LOC1"))
        assert answer.status_code == 4001, answer.body


async def test_a_namesake_in_a_role_that_serves_no_chargers_makes_nothing_ambiguous(hub: HubOnTest) -> None:
    """An eMSP that shares a location is none to start a session at, while a CPO has one of that id."""
    modules = (*hosted_modules("EMSP"), ("commands", "RECEIVER"))
    thief = SimulatedPlatform("Evil", [("SE-EVL", "EMSP")], modules=modules)
    async with registered(hub, p1(), p3(), thief) as (cpo, emsp, _):
        expect.envelope(await broadcast(thief, "SE/EVL/LOC1", location("SE-EVL", "LOC1")))
        expect.envelope(await broadcast(cpo, "BE/BEC/LOC1", location("BE-BEC", "LOC1")))
        url = emsp.new_response_url("commands", "START_SESSION")
        body = start_session(url, token("DE-TNM", "1"), "LOC1")
        answer = await emsp.call("POST", "commands", "RECEIVER", "START_SESSION", body=body)
        assert (answer.status_code, answer.sender) == (1000, "BE-BEC"), answer.body
        await emsp.settle()
        await cpo.settle()


async def test_stop_session_never_stops_another_drivers_session(hub: HubOnTest) -> None:
    """OCPI.md 2.1: among the caller's own sessions. One that the hub never saw is not taken for a namesake's."""
    async with registered(hub, p1(), p3(), p4()) as (cpo, _, other):
        pushed = session("BE-BEC", "101", token("DE-TNM", "1"))
        expect.envelope(await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", to="DE-TNM", body=pushed), 201)
        cpo.clear()
        url = other.new_response_url("commands", "STOP_SESSION")
        answer = await other.call(
            "POST", "commands", "RECEIVER", "STOP_SESSION", sender="NL-TST", body=stop_session(url, "101")
        )
        assert (answer.status_code, cpo.received) == (4001, [])


@pytest.mark.parametrize("levels", [33, 900, 945])
async def test_no_object_is_so_deep_that_others_cannot_read_its_page(hub: HubOnTest, levels: int) -> None:
    deep = b',"x":' + b"[" * levels + b"]" * levels + b"}"
    async with registered(hub, p1(), p3(), evil()) as (cpo, emsp, thief):
        expect.envelope(await broadcast(cpo, "BE/BEC/LOC1", location("BE-BEC", "LOC1")))
        theirs = orjson.dumps(location("SE-EVL", "LOC1"))
        answer = await broadcast(thief, "SE/EVL/LOC1", theirs[:-1] + deep)
        assert "32 levels" in expect.envelope(answer, 200, 2001)["status_message"]
        expect.envelope(await broadcast(thief, "SE/EVL/LOC1", theirs))
        answer = await broadcast(thief, "SE/EVL/LOC1/E1", b'{"uid":"E1","last_updated":"2020-01-01T00:00:00Z"' + deep)
        expect.envelope(answer, 200, 2001)
        pushed = orjson.dumps(session("SE-EVL", "S1", token("DE-TNM", "1")))[:-1] + deep
        await thief.call("PUT", "sessions", "RECEIVER", "SE/EVL/S1", to="DE-TNM", body=pushed)
        assert emsp.received[-1].body == pushed  # what is for one party is that one's to judge
        assert len((await get_all(emsp, "locations")).data) == 2
        assert (await get_all(emsp, "sessions", SINCE)).data == []


@pytest.mark.parametrize("value", [b"1e400", b"1" * 5000, b'"\xff"', b"[" * 40 + b"]" * 40])
async def test_a_pulled_object_that_others_could_not_read_is_left_out(
    start_hub: StartHub, database_url: str, value: bytes
) -> None:
    """A parser that refuses a number refuses the page it is on, and so all that others share."""
    hub, cpo = await start_hub(pulls=True), p1()
    large = location("BE-BEC", "BAD") | {"y": "." * 9000}  # of such an answer only the ends are parsed
    bad = orjson.dumps(large)[:-1] + b',"x":' + value + b"}"
    body = b",".join(
        (
            b'{"status_code":1000,"timestamp":"2026-01-01T00:00:00Z","data":[' + bad,
            orjson.dumps(location("BE-BEC", "GOOD")) + b"]}",
        )
    )
    cpo.answer("GET", "locations", reply=Reply(200, body))
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        assert await mirrored(database_url) == ["BE-BEC GOOD"]


async def test_the_first_moment_of_time_is_a_last_updated_like_any_other(
    start_hub: StartHub, database_url: str
) -> None:
    """.NET's DateTime.MinValue, where an owner has none."""
    hub = await start_hub(pulls=True)
    cpo = p1()
    cpo.store.owned["locations"] = [location("BE-BEC", "LOC1", last_updated="0001-01-01T00:00:00Z")]
    async with member(hub, cpo):
        await until(lambda: all_done(hub, 1, 4), "all is read")
        assert await mirrored(database_url) == ["BE-BEC LOC1"]


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-12:00"])
async def test_no_time_is_too_early_or_too_late_for_the_mirror(hub: HubOnTest, moment: str) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        expect.envelope(await broadcast(cpo, "BE/BEC/LOC1", location("BE-BEC", "LOC1", last_updated=moment)))
        pushed = session("BE-BEC", "S1", token("DE-TNM", "1"), last_updated=moment)
        await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/S1", to="DE-TNM", body=pushed)
        for module in ("locations", "sessions"):
            for query in (
                "date_from=0001-01-01T00:00:00Z",
                "date_from=0001-01-01T00:00:00Z&date_to=9999-12-31T23:59:59Z",
            ):
                answer = await get_all(emsp, module, query)
                assert [each["last_updated"] for each in answer.data] == [moment]


async def test_a_push_that_cannot_be_stored_takes_no_other_with_it(hub: HubOnTest) -> None:
    """Broadcasts share transactions; what one of them has must not be the others' loss."""
    long = "\u0390" * 255  # a letter of which upper case has three
    async with registered(hub, p1(), p3(), evil()) as (cpo, emsp, thief):
        async with asyncio.TaskGroup() as group:
            good = [group.create_task(broadcast(cpo, f"BE/BEC/L{n}", location("BE-BEC", f"L{n}"))) for n in range(20)]
            bad = [
                group.create_task(broadcast(thief, f"SE/EVL/{quote(long)}", location("SE-EVL", long))) for _ in range(3)
            ]
            bad.append(group.create_task(broadcast(thief, "SE/EVL/a%00b", location("SE-EVL", "a\0b"))))
        assert {each.result().status_code for each in good} == {1000}
        assert {(each.result().http_status, each.result().status_code) for each in bad} == {(200, 2001)}
        assert (await get_all(emsp, "locations")).headers["X-Total-Count"] == "20"


async def test_a_location_of_many_small_pushes_does_not_become_a_large_one(start_hub: StartHub) -> None:
    """Whoever lists it, or is behind and gets its latest state, would have to take all of it."""
    hub = await start_hub(shared_body=1024)
    async with registered(hub, p3(), evil()) as (emsp, thief):
        expect.envelope(await broadcast(thief, "SE/EVL/LOC1", {**location("SE-EVL", "LOC1"), "evses": []}))
        answers = []
        for number in range(20):
            evse = {"uid": f"E{number}", "x": "x" * 700, "last_updated": f"2030-01-01T00:00:{number:02}Z"}
            answers.append(await broadcast(thief, f"SE/EVL/LOC1/E{number}", evse))
        taken = [answer for answer in answers if answer.status_code == 1000]
        assert answers == [*taken, *answers[len(taken) :]]
        for answer in answers[len(taken) :]:
            assert "8192 bytes" in expect.envelope(answer, 200, 2001)["status_message"]
        (shown,) = (await get_all(emsp, "locations")).data
        assert len(shown["evses"]) == len(taken)
        copies = emsp.store.copies["locations"]
        await until(lambda: len(copies.get(("SE", "EVL", "LOC1"), {}).get("evses", ())) == len(taken))


async def test_a_navigation_provider_is_not_shown_drivers_tokens(hub: HubOnTest) -> None:
    """What is never broadcast to a role is not listed to it either (R-130)."""
    provider = SimulatedPlatform("Nap", [("FR-NAP", "NAP")])
    async with registered(hub, p1(), p3(), provider) as (cpo, emsp, _):
        expect.envelope(await broadcast(emsp, "DE/TNM/1", token("DE-TNM", "1"), "tokens"))
        assert (await get_all(provider, "tokens")).data == []
        assert len((await get_all(cpo, "tokens")).data) == 1


async def test_who_leaves_is_gone_from_every_list_at_once(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3(), evil()) as (cpo, emsp, leaver):
        expect.envelope(await broadcast(cpo, "BE/BEC/LOC1", location("BE-BEC", "LOC1")))
        expect.envelope(await broadcast(leaver, "SE/EVL/LOC1", location("SE-EVL", "LOC1")))
        expect.envelope(await broadcast(leaver, "SE/EVL/T1", tariff("SE-EVL", "T1"), "tariffs"))
        assert (await get_all(emsp, "locations")).headers["X-Total-Count"] == "2"
        expect.envelope(await leaver.call("DELETE", "credentials", "SENDER"))
        answer = await get_all(emsp, "locations")
        assert [each["party_id"] for each in answer.data] == ["BEC"]
        assert answer.headers["X-Total-Count"] == "1"
        assert (await get_all(emsp, "tariffs")).data == []
        assert (await emsp.call("GET", "locations", "SENDER", "LOC1")).sender == "BE-BEC"


async def test_a_token_of_another_type_than_its_url_says_is_refused(hub: HubOnTest) -> None:
    """R-248, R-268: it would be found under the one name and listed under the other."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        app = token("DE-TNM", "1", type="APP_USER")
        for path in ("DE/TNM/1", "DE/TNM/1?type=%ff"):
            answer = await broadcast(emsp, path, app, "tokens")
            assert "type" in expect.envelope(answer, 200, 2001)["status_message"]
        expect.envelope(await broadcast(emsp, "DE/TNM/1?type=app_user", app, "tokens"))
        assert (await get_all(cpo, "tokens")).data == [app]


async def test_a_content_type_that_cannot_be_stored_is_left_out(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        body = location("BE-BEC", "LOC1")
        headers = {"Content-Type": "application/json; x=\u00ff"}
        answer = await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", body=body, headers=headers)
        expect.envelope(answer)
        assert (await emsp.wait_for(1)).json == body
