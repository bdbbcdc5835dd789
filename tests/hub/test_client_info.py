"""HubClientInfo: the list that members read, and the changes that they are pushed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.ocpi import LIMIT, TOTAL_COUNT, PartyID, format_time
from hub import telling
from hub.simulator import Answer, Received, Reply, SimulatedPlatform, envelope
from parties import store
from parties.contracts import Rule, Selector
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4, p5
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


@pytest.fixture(autouse=True)
def tell_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody here needs the moment's rest after registering."""
    monkeypatch.setattr(telling, "FIRST_SECONDS", 0.05)


async def read(asker: SimulatedPlatform, query: str = "", **options: Any) -> Answer:
    return await asker.call("GET", "hubclientinfo", "SENDER", query=query, **options)


def names(answer: Answer) -> list[str]:
    return [f"{info['country_code']}-{info['party_id']}:{info['role']}" for info in answer.data]


def copies(platform: SimulatedPlatform) -> dict[str, str]:
    """Give what a platform was told: the status of each party and role."""
    told = platform.store.copies["hubclientinfo"].values()
    return {f"{info['country_code']}-{info['party_id']}:{info['role']}": info["status"] for info in told}


def pushes(platform: SimulatedPlatform) -> list[Received]:
    return [received for received in platform.received if "/hubclientinfo/" in received.path]


def statuses(platform: SimulatedPlatform) -> list[tuple[str, str]]:
    """Give which party was pushed with which status, in order."""
    bodies = [received.json for received in pushes(platform)]
    return [(f"{body['country_code']}-{body['party_id']}:{body['role']}", body["status"]) for body in bodies]


async def told(platform: SimulatedPlatform, **wanted: str) -> None:
    """Wait until a platform was told these, like `BE_BEC_CPO="OFFLINE"`."""
    expected = {f"{name[:2]}-{name[3:6]}:{name[7:]}": status for name, status in wanted.items()}
    await until(lambda: expected.items() <= copies(platform).items(), f"{platform.name} was told {expected}")


def id_of(hub: HubOnTest, party: str) -> int:
    (platform,) = hub.hub.live.table.holders[PartyID.parse(party).key]
    return platform.id


async def set_online(hub: HubOnTest, platform: SimulatedPlatform, online: bool) -> None:
    """Let a platform be OFFLINE, so that a still-alive check says so too, or CONNECTED."""
    platform.answer("GET", "versions", "SENDER", None if online else Reply(500))
    async with hub.hub.database.changing() as connection:
        await store.set_online(connection, id_of(hub, str(platform.parties[0])), online=online)
    await hub.hub.live.refresh()


async def suspend(hub: HubOnTest, party: str, suspended: bool = True) -> None:
    await hub.members.suspend(PartyID.parse(party), None, suspended=suspended)
    await hub.hub.live.refresh()


# The list


async def test_pages_joined_are_the_whole_list_once_in_order(hub: HubOnTest) -> None:
    """R-206, R-175 to R-177."""
    async with registered(hub, p1(), p2(), p3(), p4(), p5()) as (cpo, *_):
        whole = await read(cpo)
        assert names(whole) == ["NL-ALF:EMSP", "DE-TNM:EMSP", "NL-MSP:EMSP", "NL-TST:EMSP", "FR-NAV:NSP"]
        assert "Link" not in whole.headers
        answer, joined = await read(cpo, "limit=2"), []
        while True:
            assert (answer.headers[TOTAL_COUNT], answer.headers[LIMIT]) == ("5", "100")
            joined += answer.data
            link = answer.headers.get("Link")
            if link is None:
                break
            assert len(answer.data) == 2
            url, _, rest = link.removeprefix("<").partition(">")
            assert rest == '; rel="next"'
            assert url.startswith(f"{hub.url}/ocpi/2.2.1/sender/hubclientinfo/?offset={len(joined)}&limit=2")
            answer = await cpo.request("GET", url, sender=None)
        assert joined == whole.data


async def test_a_page_is_never_longer_than_the_hub_allows(start_hub: StartHub) -> None:
    hub = await start_hub(page_limit=2)
    async with registered(hub, p1(), p4(), p5()) as (cpo, *_):
        answer = await read(cpo, "limit=1000")
        assert (len(answer.data), answer.headers[TOTAL_COUNT], answer.headers[LIMIT]) == (2, "3", "2")
        beyond = await read(cpo, "offset=7")
        assert (beyond.data, beyond.headers[TOTAL_COUNT]) == ([], "3")


@pytest.mark.parametrize("name", ["offset", "limit", "date_from", "date_to"])
async def test_a_parameter_that_cannot_be_read_is_named(hub: HubOnTest, name: str) -> None:
    async with registered(hub, p1()) as (cpo,):
        for value in ("x", "-1", ""):
            answer = await read(cpo, f"{name}={value}")
            assert name in expect.envelope(answer, 200, 2001)["status_message"]


async def test_it_is_only_a_list_to_be_read_without_routing_headers(hub: HubOnTest) -> None:
    """R-206, R-208, T-027."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await read(emsp, sender="XX-YYY", to="NL-HUB", headers=expect.IDS)
        expect.envelope(answer)
        expect.ids(answer)
        expect.no_routing(answer)
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            answer = await emsp.call(method, "hubclientinfo", "SENDER", body={} if method != "DELETE" else None)
            expect.envelope(answer, 405, 2000)
            assert answer.headers["Allow"] == "GET"
        expect.envelope(await emsp.call("GET", "hubclientinfo", "SENDER", "BE/BEC"), 404, 2000)
        assert not cpo.received


async def test_what_was_read_agrees_with_the_date_filters(hub: HubOnTest) -> None:
    """R-174, R-213: to the millisecond in which it is shown."""
    async with registered(hub, p1(), p2(), p3()) as (cpo, _, emsp):
        await set_online(hub, cpo, online=False)
        (alf, bec) = sorted((await read(emsp)).data, key=lambda info: str(info["last_updated"]))
        assert (alf["party_id"], bec["party_id"], bec["status"]) == ("ALF", "BEC", "OFFLINE")
        moment = str(bec["last_updated"])
        later = format_time(datetime.fromisoformat(moment) + timedelta(milliseconds=1))
        assert (await read(emsp, f"date_from={moment}")).data == [bec]
        assert (await read(emsp, f"date_to={moment}")).data == [alf]
        assert (await read(emsp, f"date_to={later}")).data == [alf, bec] or [bec, alf]
        assert (await read(emsp, f"date_from={later}")).data == []
        page = await read(emsp, f"limit=1&date_from={alf['last_updated']}&date_to={later}")
        assert f"date_from={alf['last_updated']}&date_to={later}" in page.headers["Link"]


# The pushes


async def test_who_registers_is_told_everything_once_and_its_peers_are_told_of_it(hub: HubOnTest) -> None:
    """R-207, R-208, T-089, T-095, R-222."""
    async with registered(hub, p1(client_info=True), p2()) as (cpo, _):
        await hub.invite("FR-NAV:NSP")
        await told(cpo, NL_ALF_EMSP="CONNECTED", FR_NAV_NSP="PLANNED")
        async with registered(hub, p3(client_info=True)) as (emsp,):
            await told(cpo, DE_TNM_EMSP="CONNECTED")
            await told(emsp, BE_BEC_CPO="CONNECTED", NL_ALF_CPO="CONNECTED")
            assert statuses(emsp) == [("BE-BEC:CPO", "CONNECTED"), ("NL-ALF:CPO", "CONNECTED")]
            push = pushes(emsp)[0]
            expect.no_routing(push)
            expect.authorized(push, emsp.own_token or "")
            expect.path(push, emsp, "hubclientinfo", "RECEIVER", "BE/BEC")
            listed = (await read(emsp)).data
            assert [each.json for each in pushes(emsp)] == listed
            assert set(push.json) == {"country_code", "party_id", "role", "status", "last_updated"}
            assert [name for name, _ in statuses(cpo)] == ["NL-ALF:EMSP", "FR-NAV:NSP", "DE-TNM:EMSP"]


async def test_every_change_of_status_is_told(hub: HubOnTest) -> None:
    """R-210, R-211, R-220, T-090."""
    async with registered(hub, p3(client_info=True)) as (emsp,):
        await hub.invite("BE-BEC:CPO")
        await told(emsp, BE_BEC_CPO="PLANNED")
        async with p1() as cpo:
            await hub.register(cpo)
            await told(emsp, BE_BEC_CPO="CONNECTED")
            await suspend(hub, "BE-BEC")
            await told(emsp, BE_BEC_CPO="SUSPENDED")
            await suspend(hub, "BE-BEC", suspended=False)
            await told(emsp, BE_BEC_CPO="CONNECTED")
            expect.envelope(await cpo.unregister_at_hub())
            await told(emsp, BE_BEC_CPO="SUSPENDED")
            await hub.register(cpo)
            await told(emsp, BE_BEC_CPO="CONNECTED")
        moments = [received.json["last_updated"] for received in pushes(emsp)]
        assert moments == sorted(set(moments))
        assert names(await read(emsp)) == ["BE-BEC:CPO"]


async def test_who_registers_and_leaves_at_once_is_told_as_suspended(hub: HubOnTest) -> None:
    """T-090."""
    async with registered(hub, p3(client_info=True), p1()) as (emsp, cpo):
        await told(emsp, BE_BEC_CPO="CONNECTED")
        async with p2() as both:
            await hub.register(both)
            expect.envelope(await both.unregister_at_hub())
            await told(emsp, NL_ALF_CPO="SUSPENDED")
        assert copies(emsp)["BE-BEC:CPO"] == "CONNECTED"
        assert cpo.received == []


async def test_of_two_roles_of_one_party_that_which_matters_comes_last(hub: HubOnTest) -> None:
    """T-087, R-212."""
    other = SimulatedPlatform("Other", [("FR-NAV", "EMSP"), ("FR-NAV", "NSP")])
    async with registered(hub, p1(client_info=True), other) as (cpo, _):
        await told(cpo, FR_NAV_NSP="CONNECTED", FR_NAV_EMSP="CONNECTED")
        assert [name for name, _ in statuses(cpo)] == ["FR-NAV:NSP", "FR-NAV:EMSP"]
        assert {each.path.rpartition("/hubclientinfo/")[2] for each in pushes(cpo)} == {"FR/NAV"}


async def test_flapping_is_told_once(hub: HubOnTest) -> None:
    """R-218."""
    async with registered(hub, p3(client_info=True), p1()) as (emsp, cpo):
        await told(emsp, BE_BEC_CPO="CONNECTED")
        emsp.clear()
        for online in (False, True, False, True, False):
            await set_online(hub, cpo, online=online)
        await told(emsp, BE_BEC_CPO="OFFLINE")
        assert statuses(emsp) == [("BE-BEC:CPO", "OFFLINE")]


async def test_a_new_party_is_told_of_before_its_first_message(hub: HubOnTest) -> None:
    """T-023."""
    async with registered(hub, p3(client_info=True), p2()) as (emsp, _):
        await told(emsp, NL_ALF_CPO="CONNECTED")

        async def take_slowly(received: Received) -> Reply:
            await asyncio.sleep(0.2)
            return await emsp.default_reply(received)

        emsp.answer("PUT", "hubclientinfo", "RECEIVER", take_slowly)
        emsp.clear()
        async with p1() as cpo:
            await hub.register(cpo)
            expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
            first, second = emsp.received
            assert first.path.endswith("/hubclientinfo/BE/BEC")
            assert second.path.endswith("/sender/tokens/")
            assert copies(emsp)["BE-BEC:CPO"] == "CONNECTED"  # and it had answered
            emsp.answer("PUT", "hubclientinfo", "RECEIVER", None)
            expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
            assert len(emsp.received) == 3


async def test_a_message_does_not_wait_for_longer_than_a_second_for_its_introduction(hub: HubOnTest) -> None:
    async with registered(hub, p3(client_info=True), p2()) as (emsp, _):
        await told(emsp, NL_ALF_CPO="CONNECTED")
        answering = asyncio.Event()

        async def wait(_: Received) -> Reply:
            await answering.wait()
            return Reply(body=envelope())

        emsp.answer("PUT", "hubclientinfo", "RECEIVER", wait)
        async with p1() as cpo:
            await hub.register(cpo)
            answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
            expect.envelope(answer)
            assert answer.milliseconds > 900
            again = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
            assert again.milliseconds < 900
            answering.set()


async def test_what_a_platform_refuses_is_not_pushed_again_and_stops_nothing(hub: HubOnTest) -> None:
    async with registered(hub, p3(client_info=True)) as (emsp,):

        async def refuse_first(received: Received) -> Reply:
            if received.path.endswith("BE/BEC"):
                return Reply(404, envelope(None, 2003, "Unknown party."))
            return await emsp.default_reply(received)

        emsp.answer("PUT", "hubclientinfo", "RECEIVER", refuse_first)
        async with registered(hub, p1(), p2()):
            await told(emsp, NL_ALF_CPO="CONNECTED")
            await suspend(hub, "NL-ALF")
            await told(emsp, NL_ALF_CPO="SUSPENDED")
        assert [name for name, _ in statuses(emsp)] == ["BE-BEC:CPO", "NL-ALF:CPO", "NL-ALF:CPO"]


@pytest.mark.parametrize("kind", ["silent", "die_mid_body", "html", "garbage", "unauthorized"])
async def test_a_platform_that_fails_is_left_in_peace_and_told_later_what_is_true_then(
    start_hub: StartHub, kind: Any
) -> None:
    hub = await start_hub(breaker_time=0.3, broadcast_timeout=0.3)
    async with registered(hub, p3(client_info=True), p1()) as (emsp, cpo):
        await told(emsp, BE_BEC_CPO="CONNECTED")
        emsp.clear()
        if kind == "html":
            emsp.answer("PUT", "hubclientinfo", "RECEIVER", Reply(502, b"<html>"))
        else:
            emsp.misbehave(kind)
        await set_online(hub, cpo, online=False)
        await until(lambda: pushes(emsp), "it was tried")
        await set_online(hub, cpo, online=True)
        await suspend(hub, "BE-BEC")
        emsp.misbehave(None)
        emsp.answer("PUT", "hubclientinfo", "RECEIVER", None)
        await told(emsp, BE_BEC_CPO="SUSPENDED")
        assert statuses(emsp)[0] == ("BE-BEC:CPO", "OFFLINE")
        assert statuses(emsp)[-1] == ("BE-BEC:CPO", "SUSPENDED")
        assert len(pushes(emsp)) <= 3


async def test_who_was_offline_is_told_on_its_return_what_changed_meanwhile(hub: HubOnTest) -> None:
    async with registered(hub, p3(client_info=True), p1(), p2()) as (emsp, *_):
        await told(emsp, BE_BEC_CPO="CONNECTED", NL_ALF_CPO="CONNECTED")
        await set_online(hub, emsp, online=False)
        emsp.clear()
        await suspend(hub, "BE-BEC")
        await set_online(hub, emsp, online=True)
        await told(emsp, BE_BEC_CPO="SUSPENDED")
        assert statuses(emsp) == [("BE-BEC:CPO", "SUSPENDED")]


async def test_after_a_restart_nobody_is_told_what_has_not_changed(start_hub: StartHub) -> None:
    """R-224."""
    hub = await start_hub()
    async with registered(hub, p3(client_info=True), p1(), p2(client_info=True)) as (emsp, cpo, both):
        await told(emsp, BE_BEC_CPO="CONNECTED", NL_ALF_CPO="CONNECTED")
        await told(both, BE_BEC_CPO="CONNECTED", DE_TNM_EMSP="CONNECTED")
        await set_online(hub, cpo, online=False)
        await told(emsp, BE_BEC_CPO="OFFLINE")
        await told(both, BE_BEC_CPO="OFFLINE")
        await hub.stop()
        emsp.clear()
        both.clear()
        again = await start_hub(port=hub.settings.port)
        await suspend(again, "NL-ALF")  # while it has not told anybody anything yet
        await told(emsp, NL_ALF_CPO="SUSPENDED")
        await suspend(again, "NL-ALF", suspended=False)
        await suspend(again, "DE-TNM")
        await told(both, DE_TNM_EMSP="SUSPENDED")
        assert set(statuses(emsp)) <= {("NL-ALF:CPO", "SUSPENDED"), ("NL-ALF:CPO", "CONNECTED")}


async def test_a_platform_that_begins_anew_is_told_everything_again(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3(client_info=True)) as (_, emsp):
        await told(emsp, BE_BEC_CPO="CONNECTED")
        expect.envelope(await emsp.unregister_at_hub())
        emsp.store.copies.clear()
        await hub.register(emsp)
        await told(emsp, BE_BEC_CPO="CONNECTED")


async def test_a_platform_that_has_no_receiver_interface_is_told_nothing(hub: HubOnTest) -> None:
    """R-222."""
    async with registered(hub, p1(), p3(client_info=True)) as (cpo, emsp):
        await told(emsp, BE_BEC_CPO="CONNECTED")
        assert cpo.received == []


# Contracts


async def add(hub: HubOnTest, *rules: Rule) -> list[int]:
    async with hub.hub.database.changing() as connection:
        added = await store.add_contracts(connection, rules)
    await hub.hub.live.refresh()
    return [rule.id or 0 for rule in added]


def a_rule(sender: str, receiver: str, **fields: Any) -> Rule:
    return Rule(Selector.parse(sender), Selector.parse(receiver), "*", allowed=True, **fields)


async def test_who_has_no_contract_is_planned_and_each_change_of_it_is_told(start_hub: StartHub) -> None:
    """T-091: to this viewer alone."""
    hub = await start_hub(network="closed")
    async with (
        registered(hub, p3(client_info=True), p4(client_info=True)) as (emsp, other),
        registered(hub, p1()),  # afterwards, so that all that is pushed about it is seen
    ):
        await told(emsp, BE_BEC_CPO="PLANNED")
        ids = await add(hub, a_rule("DE-TNM", "BE-BEC"))
        await told(emsp, BE_BEC_CPO="CONNECTED")
        async with hub.hub.database.changing() as connection:
            await store.remove_contracts(connection, ids)
        await hub.hub.live.refresh()
        await told(emsp, BE_BEC_CPO="PLANNED")
        assert [status for _, status in statuses(emsp)] == ["PLANNED", "CONNECTED", "PLANNED"]
        assert copies(other) == {"BE-BEC:CPO": "PLANNED"}
        listed = (await read(emsp)).data
        assert listed == [pushes(emsp)[-1].json]


async def test_a_contract_that_begins_and_ends_by_itself_is_told(start_hub: StartHub) -> None:
    hub = await start_hub(network="closed")
    async with registered(hub, p3(client_info=True), p1(), p2()) as (emsp, *_):
        await told(emsp, BE_BEC_CPO="PLANNED", NL_ALF_CPO="PLANNED")
        begin = datetime.now(UTC) + timedelta(seconds=0.5)
        await add(hub, a_rule("DE-TNM", "BE-BEC", valid_from=begin, valid_until=begin + timedelta(seconds=1)))
        # What changes in between does not hide what began before it was noticed.
        await suspend(hub, "NL-ALF")
        await told(emsp, BE_BEC_CPO="CONNECTED", NL_ALF_CPO="SUSPENDED")
        await told(emsp, BE_BEC_CPO="PLANNED")


# Several hubs


async def test_a_new_party_is_introduced_by_whichever_hub_tells_the_receiver(start_hub: StartHub) -> None:
    """T-023, where the message and the push go through two processes."""
    hubs = [await start_hub(), await start_hub()]
    async with registered(hubs[0], p3(client_info=True), p2()) as (emsp, _):
        await told(emsp, NL_ALF_CPO="CONNECTED")
        await until(lambda: all(len(hub.hub.processes.held) == 1 for hub in hubs), "the work is shared", seconds=20)
        (other,) = (hub for hub in hubs if id_of(hub, "DE-TNM") not in hub.hub.processes.held)
        emsp.clear()
        async with p1() as cpo:
            await other.register(cpo)
            url = cpo.hub_endpoints["tokens", "SENDER"]
            expect.envelope(await cpo.request("GET", url.replace(hubs[0].url, other.url), to="DE-TNM"))
            assert ["hubclientinfo" in received.path for received in emsp.received] == [True, False]


async def test_many_first_messages_of_a_new_party_wait_for_one_introduction_together(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another process tells, waiting is asking the database: not once for each of them."""
    hubs = [await start_hub(), await start_hub()]
    async with registered(hubs[0], p3(client_info=True), p2()) as (emsp, _):
        await told(emsp, NL_ALF_CPO="CONNECTED")
        await until(lambda: all(len(hub.hub.processes.held) == 1 for hub in hubs), "the work is shared", seconds=20)
        (other,) = (hub for hub in hubs if id_of(hub, "DE-TNM") not in hub.hub.processes.held)
        telling = other.hub.client_infos._telling
        reached, asking, asked = telling.reached, 0, []

        async def reached_and_counted(platform_id: int) -> datetime | None:
            nonlocal asking
            asking += 1
            asked.append(asking)
            try:
                return await reached(platform_id)
            finally:
                asking -= 1

        async def take_slowly(received: Received) -> Reply:
            await asyncio.sleep(0.2)
            return await emsp.default_reply(received)

        monkeypatch.setattr(telling, "reached", reached_and_counted)
        emsp.answer("PUT", "hubclientinfo", "RECEIVER", take_slowly)
        emsp.clear()
        async with p1() as cpo:
            await other.register(cpo)
            url = cpo.hub_endpoints["tokens", "SENDER"].replace(hubs[0].url, other.url)
            answers = await asyncio.gather(*(cpo.request("GET", url, to="DE-TNM") for _ in range(20)))
            assert {answer.status_code for answer in answers} == {1000}
            assert ["hubclientinfo" in received.path for received in emsp.received] == [True, *[False] * 20]
        assert set(asked) == {1}


async def test_who_takes_a_platform_over_tells_it_only_what_is_new(start_hub: StartHub) -> None:
    """R-224."""
    hubs = [await start_hub(), await start_hub()]
    async with registered(hubs[0], p3(client_info=True), p2(client_info=True), p1()) as (emsp, both, _):
        await told(emsp, NL_ALF_CPO="CONNECTED", BE_BEC_CPO="CONNECTED")
        await told(both, DE_TNM_EMSP="CONNECTED", BE_BEC_CPO="CONNECTED")
        await until(lambda: all(hub.hub.processes.held for hub in hubs), "the work is shared", seconds=20)
        emsp.clear()
        both.clear()
        await hubs[1].stop()
        await until(lambda: len(hubs[0].hub.processes.held) == 3, "the other has all", seconds=20)
        await suspend(hubs[0], "BE-BEC")
        await told(emsp, BE_BEC_CPO="SUSPENDED")
        await told(both, BE_BEC_CPO="SUSPENDED")
        assert statuses(emsp) == statuses(both) == [("BE-BEC:CPO", "SUSPENDED")]
