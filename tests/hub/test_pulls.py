"""The members' Sender lists arrive in the mirror, whatever the members do, and nobody is asked more than is polite."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import orjson
import pytest

from config.ocpi import PartyID
from hub import pulls
from hub.database import DatabaseAway
from hub.simulator import Received, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import cdr, location, session, tariff, token
from hub.simulator.store import read_time
from parties.pulls import Pull
from tests.hubs import HubOnTest
from tests.scenarios.cast import p1, p2, p3, p4
from tests.scenarios.villains import say, villain
from tests.sender_lists import (
    all_done,
    asked,
    failed,
    finished,
    is_list,
    locations,
    look_again,
    make_due,
    member,
    mirrored,
    set_online,
    state_of,
    switch,
)
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


@pytest.fixture
async def hub(start_hub: StartHub) -> HubOnTest:
    """A hub that reads lists, and reads them again only when told to."""
    return await start_hub(pulls=True)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulated platforms need no rest between pages."""
    monkeypatch.setattr("hub.pull_rounds.PAUSE_SECONDS", 0)
    monkeypatch.setattr("hub.missing.PAUSE_SECONDS", 0)


@pytest.fixture
def cpo() -> SimulatedPlatform:
    return p1()


# Everything arrives


async def test_at_registration_every_list_arrives_in_the_mirror(hub: HubOnTest, database_url: str) -> None:
    cpo, emsp = p1(), p3()
    emsp.store.owned["tokens"] = [token("DE-TNM", "A"), token("DE-TNM", "A", type="APP_USER")]
    cpo.store.owned["locations"] = locations(120)
    cpo.store.owned["tariffs"] = [tariff("BE-BEC", "T1")]
    cpo.store.owned["sessions"] = [session("BE-BEC", "S1")]
    cpo.store.owned["cdrs"] = [cdr("BE-BEC", "C1")]
    async with member(hub, emsp), member(hub, cpo):
        await until(lambda: all_done(hub, 2, 4), "the CPO's lists are read")
        await until(lambda: all_done(hub, 1, 1), "the eMSP's list is read")
    assert await mirrored(database_url) == sorted(f"BE-BEC LOC{number}" for number in range(120))
    assert await mirrored(database_url, "tariffs") == ["BE-BEC T1"]
    assert await mirrored(database_url, "tokens") == ["DE-TNM A APP_USER", "DE-TNM A RFID"]
    assert await mirrored(database_url, "sessions") == ["BE-BEC S1 for DE-TNM"]
    assert await mirrored(database_url, "cdrs") == ["BE-BEC C1 for DE-TNM"]


async def test_the_hub_asks_each_party_in_its_own_name(hub: HubOnTest) -> None:  # T-030
    async with member(hub, p4()) as (emsps,):
        lists = [
            await emsps.wait_for(lambda each, to=to: is_list(each) and each.to == to) for to in ("NL-TST", "NL-MSP")
        ]
    for received in lists:
        assert (received.method, received.sender) == ("GET", "NL-HUB")
        assert received.headers["X-Request-ID"]
        assert received.headers["X-Correlation-ID"]


async def test_an_object_is_kept_byte_for_byte(hub: HubOnTest, cpo: SimulatedPlatform, database_url: str) -> None:
    odd = b'{"country_code": "BE" ,"party_id":"BEC","id":"L1","price":4.00,"x":null,"last_updated":"2026-01-01T00:00Z"}'
    cpo.answer("GET", "locations", reply=Reply(200, b'{"status_code":1000,"data":[' + odd + b"]}"))
    async with member(hub, cpo):
        await finished(hub)
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT body FROM mirror_object WHERE object_key = 'L1'") == odd
    finally:
        await connection.close()


async def test_the_lists_of_one_platform_are_read_one_page_at_a_time(hub: HubOnTest) -> None:
    both = p2()
    both.store.page_limit = 3
    both.store.owned["locations"] = locations(10, "NL-ALF")
    both.store.owned["tokens"] = [token("NL-ALF", f"T{number}") for number in range(10)]
    open_requests = most = 0

    async def count(received: Received) -> Reply:
        nonlocal open_requests, most
        open_requests += 1
        most = max(most, open_requests)
        await asyncio.sleep(0)
        reply = await both.default_reply(received)
        open_requests -= 1
        return reply

    for module in ("locations", "tokens"):
        both.answer("GET", module, reply=count)
    async with member(hub, both):
        await until(lambda: all_done(hub, 1, 5), "all is read")
    assert most == 1


async def test_pages_are_apart_by_a_pause(
    hub: HubOnTest, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.pull_rounds.PAUSE_SECONDS", 0.1)
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(6)
    async with member(hub, cpo):
        await finished(hub)
        moments = [each.at for each in cpo.received if is_list(each) and "/locations" in each.path]
    assert len(moments) == 3
    assert all(later - sooner >= 0.1 for sooner, later in itertools.pairwise(moments))


# Again, and only what is new


async def test_the_next_round_asks_for_what_changed_since_the_latest_object(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    cpo.store.owned["locations"] = [
        location("BE-BEC", "OLD", last_updated="2026-01-01T10:00:00Z"),
        location("BE-BEC", "NEW", last_updated="2026-01-02T10:00:00Z"),
    ]
    async with member(hub, cpo):
        first = await finished(hub)
        cpo.store.owned["locations"].append(location("BE-BEC", "NEWEST"))
        await make_due(hub)
        await finished(hub, after=first)
        queries = asked(cpo)
    assert "date_from" not in queries[0]
    assert queries[-1]["date_from"] == "2026-01-02T09:59:00.000Z"
    assert await mirrored(database_url) == ["BE-BEC NEW", "BE-BEC NEWEST", "BE-BEC OLD"]


async def test_the_first_round_asks_for_sessions_and_cdrs_that_would_be_kept(start_hub: StartHub) -> None:
    hub = await start_hub(pulls=True, retention={"sessions": 10, "cdrs": 20})
    async with member(hub, p1()) as (cpo,):
        for module, days in (("sessions", 10), ("cdrs", 20)):
            await finished(hub, ("BE-BEC", module))
            moment = read_time(asked(cpo, module)[0]["date_from"])
            assert moment is not None
            assert abs(datetime.now(UTC) - timedelta(days=days) - moment) < timedelta(minutes=1)


async def test_rounds_come_by_themselves_in_an_interval(start_hub: StartHub) -> None:
    hub = await start_hub(pulls=True, pull_interval=0.2)
    async with member(hub, p1(modules=[("tariffs", "SENDER")])) as (cpo,):
        await cpo.wait_for(lambda _: len(asked(cpo, "tariffs")) >= 3)


async def test_a_module_that_is_left_out_is_not_asked_for(start_hub: StartHub) -> None:
    hub = await start_hub(pulls=True, retention={"sessions": 0, "cdrs": 0})
    async with member(hub, p1()) as (cpo,):
        await until(lambda: all_done(hub, 1, 2), "locations and tariffs are read")
        assert not asked(cpo, "sessions") + asked(cpo, "cdrs")


async def test_who_left_and_comes_back_is_read_from_the_beginning(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    cpo.store.owned["locations"] = locations(1)
    async with member(hub, cpo):
        await finished(hub)
        await cpo.unregister_at_hub()
        cpo.clear()
        await hub.register(cpo)
        await finished(hub)
        assert "date_from" not in asked(cpo)[0]


# What is no longer there


async def read_whole(hub: HubOnTest) -> Pull:
    """Let a day pass, and the list be read whole once more."""
    before = await state_of(hub)
    await make_due(hub, whole=True)
    return await finished(hub, after=before)


async def test_what_is_no_longer_in_the_whole_list_is_gone_when_two_rounds_missed_it(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    """R-162, T-067: for owners that broadcast nothing there is no other way to say so."""
    cpo.store.owned["locations"] = locations(4)
    async with member(hub, cpo, p3()) as (_, emsp):
        first = await finished(hub)
        del cpo.store.owned["locations"][1]
        await make_due(hub)
        second = await finished(hub, after=first)
        assert "date_from" in asked(cpo)[-1]
        for left in (4, 3):
            before = second
            await make_due(hub, whole=True)
            second = await finished(hub, after=before)
            assert "date_from" not in asked(cpo)[-1]
            answer = await emsp.call("GET", "locations", "SENDER", to="NL-HUB")
            assert answer.headers["X-Total-Count"] == str(left)
            assert len(answer.data) == left
        assert await mirrored(database_url) == ["BE-BEC LOC0", "BE-BEC LOC2", "BE-BEC LOC3"]
        # It comes back with the next list that has it, be it unchanged.
        cpo.store.owned["locations"] = locations(4)
        await make_due(hub, whole=True)
        await finished(hub, after=second)
        assert len(await mirrored(database_url)) == 4


async def test_what_was_broadcast_stays_though_the_list_has_it_not(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    cpo.store.owned["locations"] = locations(2)
    async with member(hub, cpo):
        await finished(hub)
        for name in ("LOC0", "LOC7"):
            body = location("BE-BEC", name)
            answer = await cpo.call("PUT", "locations", "RECEIVER", f"BE/BEC/{name}", to="NL-HUB", body=body)
            assert answer.status_code == 1000
        cpo.store.owned["locations"] = []
        for _ in range(3):
            await read_whole(hub)
    assert await mirrored(database_url) == ["BE-BEC LOC0", "BE-BEC LOC7"]


async def test_a_whole_list_that_was_left_out_in_part_makes_nothing_gone(
    start_hub: StartHub, cpo: SimulatedPlatform, database_url: str
) -> None:
    """What has become too large to be taken is in the list all the same."""
    hub = await start_hub(pulls=True, shared_body=2048)
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(5)
    async with member(hub, cpo):
        await finished(hub)
        cpo.store.owned["locations"][1]["name"] = "x" * 2048
        for _ in range(3):
            await read_whole(hub)
        assert len(await mirrored(database_url)) == 5
        del cpo.store.owned["locations"][1]
        for _ in range(3):
            await read_whole(hub)
        assert len(await mirrored(database_url)) == 4


async def test_a_whole_list_that_breaks_off_makes_nothing_gone_and_is_read_on(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(6)
    async with member(hub, cpo):
        await finished(hub)
        await read_whole(hub)
        del cpo.store.owned["locations"][5]
        broken = iter([Reply(500, b"{}")])

        async def break_once(received: Received) -> Reply:
            reply = next(broken, None) if "offset=2" in received.path else None
            return reply or await cpo.default_reply(received)

        cpo.answer("GET", "locations", reply=break_once)
        before = await state_of(hub)
        await make_due(hub, whole=True)
        assert (await failed(hub, "HTTP 500")).is_whole
        assert len(await mirrored(database_url)) == 6
        await make_due(hub)
        pull = await finished(hub, after=before)
        assert [query.get("offset") for query in asked(cpo)][-4:] == [None, "2", "2", "4"]
        assert pull.seen_from == pull.whole_at
        await read_whole(hub)
        assert len(await mirrored(database_url)) == 5


# Interrupted, and gone on with


async def interrupted(hub: HubOnTest, cpo: SimulatedPlatform, page: int) -> asyncio.Event:
    """Let a CPO of 10 locations, 2 a page, stop at a page until the event that is given is set."""
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(10)
    go_on = asyncio.Event()

    async def stall(received: Received) -> Reply:
        if f"offset={2 * page}" in received.path:
            await go_on.wait()
        return await cpo.default_reply(received)

    cpo.answer("GET", "locations", reply=stall)
    await hub.register(cpo)
    await cpo.wait_for(lambda each: f"offset={2 * page}" in each.path)
    return go_on


async def test_another_process_goes_on_at_the_saved_page(
    start_hub: StartHub, cpo: SimulatedPlatform, database_url: str
) -> None:
    first = await start_hub(pulls=True)
    async with cpo:
        go_on = await interrupted(first, cpo, page=3)
        assert (await state_of(first)).objects == 6
        await first.stop()
        cpo.clear()
        go_on.set()
        second = await start_hub(pulls=True)
        pull = await finished(second)
        assert [query["offset"] for query in asked(cpo)] == ["6", "8"]
    assert (pull.objects, pull.total) == (10, 10)
    assert len(await mirrored(database_url)) == 10


async def test_a_platform_that_goes_offline_is_left_alone_at_once_and_read_on_when_it_is_back(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    async with cpo:
        go_on = await interrupted(hub, cpo, page=2)
        await set_online(hub, False)
        await until(lambda: not hub.hub.pulls._turns, "the request is given up")
        cpo.clear()
        go_on.set()
        await set_online(hub, True)
        await finished(hub)
        assert [query["offset"] for query in asked(cpo)] == ["4", "6", "8"]
    assert len(await mirrored(database_url)) == 10


async def test_who_is_back_from_offline_is_asked_what_changed(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    cpo.store.owned["locations"] = locations(1)
    async with member(hub, cpo):
        first = await finished(hub)
        await set_online(hub, False)
        cpo.clear()
        await set_online(hub, True)
        await finished(hub, after=first)
        assert "date_from" in asked(cpo)[0]


async def test_a_saved_page_that_is_refused_begins_the_list_anew_once(
    start_hub: StartHub, cpo: SimulatedPlatform, database_url: str
) -> None:
    first = await start_hub(pulls=True)
    async with cpo:
        await interrupted(first, cpo, page=3)
        await first.stop()
        cpo.clear()
        refused = iter([Reply(410, envelope(None, 2001, "This cursor has expired."))])

        async def refuse_once(received: Received) -> Reply:
            return next(refused, None) or await cpo.default_reply(received)

        cpo.answer("GET", "locations", reply=refuse_once)
        second = await start_hub(pulls=True)
        await finished(second)
        assert [query.get("offset") for query in asked(cpo)] == ["6", None, "2", "4", "6", "8"]
    assert len(await mirrored(database_url)) == 10


async def test_who_is_switched_off_is_left_alone_at_once_and_read_on_later(
    hub: HubOnTest, cpo: SimulatedPlatform
) -> None:
    async with cpo:
        go_on = await interrupted(hub, cpo, page=1)
        await switch(hub, "pull=off")
        await until(lambda: not hub.hub.pulls._turns, "the request is given up")
        cpo.clear()
        go_on.set()
        await make_due(hub)
        await until(lambda: hub.hub.pulls._look_at.get(1), "the hub has looked")
        assert not asked(cpo)
        await switch(hub, "pull=on")
        await finished(hub)


async def test_who_is_suspended_is_left_alone_at_once(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    async with cpo:
        go_on = await interrupted(hub, cpo, page=1)
        await hub.members.suspend(PartyID("BE", "BEC"), None, suspended=True)
        await hub.hub.live.refresh()
        await until(lambda: not hub.hub.pulls._turns, "the request is given up")
        cpo.clear()
        go_on.set()
        await until(lambda: hub.hub.pulls._look_at.get(1), "the hub has looked")
        assert not asked(cpo)


async def test_a_hub_told_not_to_read_lists_reads_none(start_hub: StartHub) -> None:
    hub = await start_hub()
    async with member(hub, p1()) as (cpo,):
        assert (await cpo.request("GET", hub.versions_url, sender=None)).is_success
        assert not [each for each in cpo.received if is_list(each)]


async def test_who_loses_the_work_stops_at_once(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    async with cpo:
        go_on = await interrupted(hub, cpo, page=2)
        hub.hub.pulls._lose(1)
        await until(lambda: not hub.hub.pulls._rounds._rounds, "the round is forgotten")
        go_on.set()
        look_again(hub)
        assert (await finished(hub)).objects == 10


async def test_a_page_that_fails_again_and_again_begins_the_list_anew(
    start_hub: StartHub, cpo: SimulatedPlatform
) -> None:
    hub = await start_hub(pulls=True, pull_interval=0.1)
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(6)

    async def fail_the_second(received: Received) -> Reply:
        return Reply(500) if "offset=2" in received.path else await cpo.default_reply(received)

    cpo.answer("GET", "locations", reply=fail_the_second)
    async with member(hub, cpo):
        await cpo.wait_for(lambda _: len(asked(cpo)) >= 5)
        assert [query.get("offset") for query in asked(cpo)][:5] == [None, "2", "2", "2", None]


# What is not taken


async def test_what_is_of_nobody_on_the_platform_is_left_out(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    listed = [*locations(2), location("DE-EVL", "THEIRS"), {"id": "NOBODYS"}, location("BE-BEC", "X") | {"id": None}, 7]
    cpo.answer("GET", "locations", reply=Reply(200, envelope(listed)))
    async with member(hub, cpo):
        pull = await finished(hub)
    assert pull.objects == 6
    assert await mirrored(database_url) == ["BE-BEC LOC0", "BE-BEC LOC1"]


async def test_sessions_and_cdrs_are_taken_for_members_only(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    stranger = token("FR-XXX", "X")
    cpo.store.owned["sessions"] = [session("BE-BEC", "S1"), session("BE-BEC", "S2", stranger)]
    cpo.store.owned["cdrs"] = [cdr("BE-BEC", "C1"), cdr("BE-BEC", "C2", stranger)]
    async with member(hub, p3()), member(hub, cpo):
        await until(lambda: all_done(hub, 2, 4), "the lists are read")
    assert await mirrored(database_url, "sessions") == ["BE-BEC S1 for DE-TNM"]
    assert await mirrored(database_url, "cdrs") == ["BE-BEC C1 for DE-TNM"]


# Members as they are


async def test_a_link_with_everything_wrong_but_its_offset_is_followed(  # QUIRKS 4, 5
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(5)

    async def as_extrawest(received: Received) -> Reply:
        reply = await cpo.default_reply(received)
        link = reply.headers.get("Link", "")
        query = parse_qs(urlsplit(link.strip("<").partition(">")[0]).query)
        offset = query.get("offset", [""])[0]
        wrong = f'<https://wrong.example/ocpi/emsp/x/?date_from=None&offset={offset}&limit=2>; rel="next"'
        return Reply(200, reply.body, {"Link": wrong if link else ""})

    cpo.answer("GET", "locations", reply=as_extrawest)
    async with member(hub, cpo):
        await finished(hub)
        assert [query.get("offset") for query in asked(cpo)] == [None, "2", "4"]
    assert len(await mirrored(database_url)) == 5


async def test_without_links_the_total_tells_how_far_to_go(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(5)

    async def without_links(received: Received) -> Reply:
        reply = await cpo.default_reply(received)
        return Reply(200, reply.body, {name: value for name, value in reply.headers.items() if name != "Link"})

    cpo.answer("GET", "locations", reply=without_links)
    async with member(hub, cpo):
        await finished(hub)
    assert len(await mirrored(database_url)) == 5


async def test_a_member_without_any_paging_is_read_in_one_go(  # QUIRKS 6
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    cpo.answer("GET", "locations", reply=Reply(200, envelope(locations(300))))
    async with member(hub, cpo):
        await finished(hub)
        assert len(asked(cpo)) == 1
    assert len(await mirrored(database_url)) == 300


async def test_a_redirect_to_the_same_origin_is_followed(hub: HubOnTest, cpo: SimulatedPlatform) -> None:  # QUIRKS 1, 2
    async def add_a_slash(received: Received) -> Reply:
        base, _, query = received.path.partition("?")
        if base.endswith("/"):
            return await cpo.default_reply(received)
        return Reply(308, b"<html></html>", {"Location": f"{base}/?{query}"})

    cpo.endpoint_suffix = ""
    cpo.answer("GET", "locations", reply=add_a_slash)
    async with member(hub, cpo):
        await finished(hub)


async def test_a_byte_order_mark_does_no_harm(hub: HubOnTest, cpo: SimulatedPlatform) -> None:  # T-040
    body = orjson.dumps(envelope(locations(1)))
    cpo.answer("GET", "locations", reply=Reply(200, b"\xef\xbb\xbf" + body))
    async with member(hub, cpo):
        assert (await finished(hub)).objects == 1


# Who asks to be left alone, and who fails


@pytest.mark.parametrize(("status", "as_date"), [(429, False), (503, True)])
async def test_who_asks_to_be_left_alone_for_a_while_is(
    start_hub: StartHub, cpo: SimulatedPlatform, status: int, as_date: bool
) -> None:
    hub = await start_hub(pulls=True)
    when = format_datetime(datetime.now(UTC) + timedelta(seconds=500), usegmt=True) if as_date else "500"
    for module in ("locations", "tariffs", "sessions", "cdrs"):
        cpo.answer("GET", module, reply=Reply(status, envelope(None, 3000), {"Retry-After": when}))
    async with member(hub, cpo):
        pull = await failed(hub, f"HTTP {status}")
        await until(lambda: not hub.hub.pulls._turns, "the turn is over")
        assert 480 < pull.due_in <= 500
        assert sum(map(is_list, cpo.received)) == 1
        await set_online(hub, False)
        await set_online(hub, True)
        look_again(hub)
        await asyncio.sleep(0)
        assert 480 < hub.hub.pulls._rest_until[1] - asyncio.get_running_loop().time() <= 500


async def test_after_its_rest_a_list_goes_on_where_it_was(start_hub: StartHub, cpo: SimulatedPlatform) -> None:
    hub = await start_hub(pulls=True, pull_interval=0.2)
    cpo.store.page_limit = 2
    cpo.store.owned["locations"] = locations(6)
    busy = iter([Reply(429, envelope(None, 3000), {"Retry-After": "0"})])

    async def busy_once(received: Received) -> Reply:
        reply = next(busy, None) if "offset=2" in received.path else None
        return reply or await cpo.default_reply(received)

    cpo.answer("GET", "locations", reply=busy_once)
    async with member(hub, cpo):
        await finished(hub)
        assert [query.get("offset") for query in asked(cpo)][:4] == [None, "2", "2", "4"]


FAILURES: dict[str, tuple[Reply, str]] = {
    "data that is no list": (Reply(200, envelope({"locations": []})), "its data is no list"),
    "no data": (Reply(200, envelope()), "it has no data"),
    "HTML": (Reply(200, b"<html>Welcome</html>"), "no OCPI response"),
    "broken JSON": (Reply(200, b'{"status_code":1000,"data":[{"id":]}'), "no OCPI response"),
    "an error of its own": (Reply(200, envelope(None, 3000)), "status_code 3000"),
    "HTTP 500": (Reply(500, b"oops"), "HTTP 500"),
    "HTTP 404": (Reply(404, envelope(None, 2000)), "HTTP 404"),
    "a refused token": (Reply(401, envelope(None, 2000)), "refuses the hub's credentials token"),
    "a Link to nowhere": (
        Reply(200, envelope(locations(1)), {"Link": '<mailto:nobody>; rel="next"'}),
        "leads nowhere",
    ),
    "a Link to itself": (
        Reply(200, envelope(locations(1)), {"Link": '<?limit=100&offset=0>; rel="next"'}),
        "gave before",
    ),
}


async def test_what_cannot_be_read_is_told_in_plain_words_and_tried_again_later(
    start_hub: StartHub, subtests: pytest.Subtests
) -> None:
    hub = await start_hub(pulls=True, pull_interval=1000)
    async with member(hub, p1(modules=[("locations", "SENDER")])) as (cpo,):
        await finished(hub)
        for name, (reply, said) in FAILURES.items():
            with subtests.test(name):
                async with hub.hub.database.connection() as connection:
                    await connection.execute("UPDATE pull SET problem = NULL, failures = 0, next_url = NULL")
                cpo.answer("GET", "locations", reply=reply)
                await make_due(hub)
                pull = await failed(hub, said)
                assert pull.due_in > 3
        cpo.answer("GET", "locations")
        before = await state_of(hub)
        await make_due(hub)
        pull = await finished(hub, after=before)
        assert (pull.problem, pull.failures) == (None, 0)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("silent", "did not answer in time"),
        ("garbage", "no HTTP"),
        ("html", "no OCPI response"),
        ("die_mid_body", "broke off"),
        ("close", "without an answer"),
        ("unauthorized", "refuses the hub's credentials token"),
    ],
)
async def test_villains_end_a_round_and_nothing_else(
    start_hub: StartHub, cpo: SimulatedPlatform, kind: Any, said: str
) -> None:
    hub = await start_hub(pulls=True, forward_timeout=0.3, breaker_time=0.1)
    cpo.misbehave(kind)
    async with member(hub, cpo):
        await failed(hub, said)
        cpo.misbehave(None)
        async with hub.hub.database.connection() as connection:
            await connection.execute("UPDATE pull SET due_at = now()")
        hub.hub.pulls._rest_until.clear()
        look_again(hub)
        await finished(hub)


async def test_failures_make_the_next_try_later_and_later(start_hub: StartHub, cpo: SimulatedPlatform) -> None:
    hub = await start_hub(pulls=True, pull_interval=3600)
    cpo.answer("GET", "locations", reply=Reply(500, b"oops"))
    async with member(hub, cpo):
        waits = []
        for number in range(1, 5):

            async def has_failed(number: int = number) -> bool:
                return (await state_of(hub)).failures == number

            await until(has_failed, "it has failed once more")
            waits.append((await state_of(hub)).due_in)
            await make_due(hub)
    assert all(later > sooner * 1.5 for sooner, later in itertools.pairwise(waits))


async def test_a_list_without_an_end_is_given_up(
    hub: HubOnTest, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.pulling.PAGES_MAX", 20)
    numbers = itertools.count()

    def endless(received: Received) -> Reply:
        number = next(numbers)
        return Reply(200, envelope([location("BE-BEC", f"L{number}")]), {"Link": f'<?offset={number + 1}>; rel="next"'})

    cpo.answer("GET", "locations", reply=endless)
    async with member(hub, cpo):
        pull = await failed(hub, "more than 20 pages")
        assert pull.next_url is None
        await finished(hub, ("BE-BEC", "tariffs"))


async def test_an_endless_list_keeps_no_other_from_its_turn(
    hub: HubOnTest, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "TURN_SECONDS", 0.05)
    numbers = itertools.count()

    def endless(received: Received) -> Reply:
        number = next(numbers)
        return Reply(200, envelope([location("BE-BEC", f"L{number}")]), {"Link": f'<?offset={number + 1}>; rel="next"'})

    cpo.answer("GET", "locations", reply=endless)
    async with member(hub, cpo):
        for module in ("tariffs", "sessions", "cdrs"):
            await finished(hub, ("BE-BEC", module))
        assert (await state_of(hub)).state == "reading"


async def test_the_same_page_over_and_over_is_noticed(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    body = envelope(locations(2))
    numbers = itertools.count(1)

    def again(_: Received) -> Reply:
        return Reply(200, body, {"Link": f'<?offset={next(numbers)}>; rel="next"'})

    cpo.answer("GET", "locations", reply=again)
    async with member(hub, cpo):
        await failed(hub, "no object that was not there before")
        assert len(asked(cpo)) == 4


async def test_a_page_that_is_too_large_is_not_taken(start_hub: StartHub, cpo: SimulatedPlatform) -> None:
    hub = await start_hub(pulls=True, max_body=200_000)
    cpo.answer("GET", "locations", reply=Reply(200, envelope(locations(300))))
    async with member(hub, cpo):
        await failed(hub, "more than 200000 bytes")
        await finished(hub, ("BE-BEC", "tariffs"))


async def test_a_body_that_drips_is_given_up(
    start_hub: StartHub, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.own_calls.BODY_SECONDS", 0.2)
    hub = await start_hub(pulls=True, forward_timeout=0.3)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    async with member(hub, p1(modules=[("tariffs", "SENDER")])):
        drip = say(head, *([b" "] * 500), pause=0.02)
        async with villain(hub, "BE-BEC", "locations.SENDER", drip):
            await failed(hub, "too slowly")


async def test_while_the_database_is_away_nothing_breaks_and_reading_goes_on_afterwards(
    hub: HubOnTest, cpo: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulls, "REST_SECONDS", 0.05)
    real = hub.hub.mirror.take_pulled
    away = iter([True, True])

    async def take(changes: Any, **more: Any) -> int:
        if next(away, False):
            raise DatabaseAway
        return await real(changes, **more)

    monkeypatch.setattr(hub.hub.mirror, "take_pulled", take)
    cpo.store.owned["locations"] = locations(3)
    async with member(hub, cpo):
        pull = await finished(hub)
        assert pull.failures == 0


# Progress


async def test_progress_is_counted(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    cpo.store.owned["locations"] = locations(3)
    async with member(hub, cpo):
        await finished(hub)
        await until(lambda: all_done(hub, 1, 4), "all is read")
        metrics = hub.hub.metrics.render().decode()
    assert 'ocpi_hub_pulled_objects_total{module="locations"} 3.0' in metrics
    assert 'ocpi_hub_pull_rounds_total{module="tariffs",outcome="finished"} 1.0' in metrics
