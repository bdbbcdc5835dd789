"""Authorize without OCPI-to headers: the token's owner alone is asked, and every eMSP only where that is switched on.

[R-250, R-251, R-253, R-255, T-064]
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
import pytest

from config.ocpi import CORRELATION_ID, REQUEST_ID, PartyID
from hub import ask_emsps
from hub.simulator import Answer, Received, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import authorization_info, location_references, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4
from tests.scenarios.villains import hold, nothing_left, villain
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]
OURS = token("NL-TST", "012345678")
UNKNOWN = Reply(404, envelope(None, 2004))


async def authorize(cpo: SimulatedPlatform, uid: str = "012345678", body: object = None, query: str = "") -> Answer:
    return await cpo.call("POST", "tokens", "SENDER", f"{uid}/authorize", headers=expect.IDS, body=body, query=query)


def know(emsp: SimulatedPlatform, allowed: str = "ALLOWED", party: str = "NL-TST") -> bytes:
    """Let an eMSP know every token; gives its answer."""
    body = orjson.dumps(envelope(authorization_info(token(party, "012345678"), allowed=allowed)))
    emsp.answer("POST", "tokens", "SENDER", Reply(body=body))
    return body


def an_emsp(number: int) -> SimulatedPlatform:
    """One of many."""
    return SimulatedPlatform(f"E{number}", [(f"FR-{number:03}", "EMSP")])


@contextlib.asynccontextmanager
async def asking(start_hub: StartHub, *more: SimulatedPlatform, **settings: object) -> AsyncIterator[tuple]:
    """A hub that asks every eMSP, a CPO, and three parties that are eMSPs; none has announced a token.

    After the block, nothing that was asked has left anything behind in the hub.
    """
    hub = await start_hub(**{"ask_for_unknown_tokens": True, "authorize_timeout": 3.0} | settings)
    async with nothing_left(hub), registered(hub, p1(), p3(), p4(), *more) as platforms:
        yield (hub, *platforms)


# A token that its owner announced


@pytest.mark.parametrize("is_switched_on", [False, True])
async def test_the_owner_alone_is_asked(start_hub: StartHub, is_switched_on: bool) -> None:
    hub = await start_hub(ask_for_unknown_tokens=is_switched_on)
    async with registered(hub, p1(), p2(), p3(), p4()) as (cpo, both, tnm, emsp):
        for kind in ("RFID", "APP_USER"):
            one = OURS | {"type": kind}
            emsp.store.owned["tokens"].append(one)
            query = f"type={kind}" if kind != "RFID" else ""
            await emsp.call("PUT", "tokens", "RECEIVER", "NL/TST/012345678", to="BE-BEC", body=one, query=query)
        know(tnm)
        body = orjson.dumps(location_references("LOC1"), option=orjson.OPT_INDENT_2)
        answer = await authorize(cpo, "012345678", body, "type=APP_USER")
        expect.relayed(answer, to="BE-BEC", sender="NL-TST")
        assert answer.data["token"]["type"] == "APP_USER"
        (received,) = emsp.received
        expect.forwarded(received, emsp, to="NL-TST", sender="BE-BEC")
        expect.path(received, emsp, "tokens", "SENDER", "012345678/authorize?type=APP_USER")
        assert received.body == body
        assert (await authorize(cpo)).data["token"]["type"] == "RFID"
        assert emsp.received[1].body == b""
        # What the owner says is what the requester gets, whatever the hub and the others know.
        emsp.answer("POST", "tokens", "SENDER", UNKNOWN)
        expect.relayed(await authorize(cpo), to="BE-BEC", sender="NL-TST", http_status=404)
        emsp.misbehave("silent")
        expect.refusal(await authorize(cpo), 4002, to="BE-BEC")  # the hub never answers in its place
        await emsp.stop()
        expect.refusal(await authorize(cpo), 4003, to="BE-BEC")
        expect.untouched(both, tnm)
        assert {received.method for received in cpo.received} == {"PUT"}


async def test_a_token_that_two_announced_is_ambiguous(start_hub: StartHub) -> None:
    hub = await start_hub(ask_for_unknown_tokens=True)
    async with registered(hub, p1(), p3(), p4()) as (cpo, tnm, emsp):
        for owner, path in ((tnm, "DE/TNM/1"), (emsp, "NL/TST/1")):
            one = token(path[:2] + "-" + path[3:6], "1")
            await owner.call("PUT", "tokens", "RECEIVER", path, to="BE-BEC", body=one)
        assert "ambiguous" in expect.refusal(await authorize(cpo, "1"), 4001, to="BE-BEC")["status_message"]
        expect.untouched(tnm, emsp)


async def test_a_token_that_nobody_announced_is_4001(hub: HubOnTest) -> None:
    """As the hub comes: to ask everybody is the operator's choice."""
    async with registered(hub, p1(), p3(), p4()) as (cpo, *emsps):
        content = expect.refusal(await authorize(cpo, "0815"), 4001, to="BE-BEC")
        assert "token 0815" in content["status_message"]
        expect.untouched(*emsps)


# A token that nobody announced, where every eMSP is asked


async def test_every_emsp_is_asked_and_who_knows_the_token_answers(start_hub: StartHub) -> None:
    async with asking(start_hub, p2()) as (hub, cpo, tnm, emsp, both):
        body = orjson.dumps(location_references("LOC1", "LOC1-1"), option=orjson.OPT_INDENT_2)

        async def say(received: Received) -> Reply:
            """Only NL-MSP knows it, and it answers last."""
            if received.to != "NL-MSP":
                return UNKNOWN
            await tnm.wait_for(1)
            await both.wait_for(1)
            await emsp.wait_for(2)
            return Reply(body=known, headers={"X-Limit": "7"})

        known = orjson.dumps(envelope(authorization_info(token("NL-MSP", "012345678"))))
        emsp.answer("POST", "tokens", "SENDER", say)
        answer = await authorize(cpo, "01%2F2", body, "type=OTHER&x=%41")
        expect.relayed(answer, to="BE-BEC", sender="NL-MSP", body=known)
        assert answer.headers["X-Limit"] == "7"
        asked = [(platform, received) for platform in (tnm, emsp, both) for received in platform.received]
        assert sorted(received.to for _, received in asked) == ["DE-TNM", "NL-ALF", "NL-MSP", "NL-TST"]
        for platform, received in asked:
            expect.forwarded(received, platform, to=received.to, sender="BE-BEC")
            expect.path(received, platform, "tokens", "SENDER", "01%2F2/authorize?type=OTHER&x=%41")
            assert received.body == body
        assert len({received.headers[REQUEST_ID] for _, received in asked}) == len(asked)
        hub.hub.request_log.flush()
        line = orjson.loads(hub.log.getvalue().splitlines()[-1])
        assert (line["scenario"], line["to"], line["outcome"]) == ("open", "NL-MSP", "ok")
        assert line["onward_request_id"] in {
            received.headers[REQUEST_ID] for _, received in asked if received.to == "NL-MSP"
        }


@pytest.mark.parametrize("allowed", ["ALLOWED", "BLOCKED", "NO_CREDIT"])
async def test_the_first_to_know_the_token_wins_also_to_refuse(start_hub: StartHub, allowed: str) -> None:
    """The others are not waited for: their calls end with the first one's answer."""
    async with (
        asking(start_hub, authorize_timeout=30.0) as (hub, cpo, tnm, _),
        villain(hub, "NL-TST", "tokens.SENDER", hold) as silent,
    ):
        body = know(tnm, allowed, "DE-TNM")
        answer = await authorize(cpo)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=body)
        assert not any(map(hub.hub.client.in_flight, hub.hub.live.table.platforms))
        await until(lambda: silent.open == 0, "the others' connections are closed")


async def test_the_sender_itself_is_not_asked(start_hub: StartHub) -> None:
    async with asking(start_hub, p2()) as (_, cpo, tnm, _, both):
        know(both, party="NL-ALF")
        know(tnm, "BLOCKED", "DE-TNM")
        assert (await authorize(both)).sender == "DE-TNM"
        expect.untouched(cpo, both)


@pytest.mark.parametrize("kind", ["close", "garbage", "html", "unauthorized", "die_mid_body", "silent"])
async def test_one_without_a_usable_answer_is_no_obstacle(start_hub: StartHub, kind: str) -> None:
    async with asking(start_hub, authorize_timeout=1.0) as (_, cpo, tnm, emsp):
        emsp.misbehave(kind)
        # Nobody knows it, as far as anybody says.
        content = expect.refusal(await authorize(cpo), 2004, to="BE-BEC", http_status=404)
        assert "2 gave no usable answer" in content["status_message"]
        body = know(tnm, party="DE-TNM")
        expect.relayed(await authorize(cpo), to="BE-BEC", sender="DE-TNM", body=body)


async def test_a_slow_one_is_waited_for(start_hub: StartHub) -> None:
    async with asking(start_hub, authorize_timeout=10.0) as (_, cpo, tnm, emsp):
        tnm.answer("POST", "tokens", "SENDER", UNKNOWN)
        body = know(emsp)
        emsp.misbehave("slow", seconds=0.5)
        answer = await authorize(cpo)
        assert answer.sender in ("NL-TST", "NL-MSP")
        expect.relayed(answer, to="BE-BEC", sender=answer.sender, body=body)


async def test_a_token_that_all_say_is_not_theirs_is_404_and_2004(start_hub: StartHub) -> None:
    async with asking(start_hub) as (_, cpo, tnm, emsp):
        content = expect.refusal(await authorize(cpo), 2004, to="BE-BEC", http_status=404)
        assert content["status_message"] == "No eMSP knows this token."
        tnm.answer("POST", "tokens", "SENDER", Reply(200, envelope(None, 2004)))
        emsp.answer("POST", "tokens", "SENDER", Reply(404, b"<h1>Not Found</h1>"))
        expect.refusal(await authorize(cpo), 2004, to="BE-BEC", http_status=404)
        assert (len(tnm.received), len(emsp.received)) == (2, 4)


async def test_who_wants_to_know_more_is_heard_when_nobody_knows_the_token(start_hub: StartHub) -> None:
    """R-251: the CPO can ask again with LocationReferences."""
    async with asking(start_hub) as (_, cpo, tnm, emsp):
        body = orjson.dumps(envelope(None, 2002))
        tnm.answer("POST", "tokens", "SENDER", Reply(200, body))
        expect.relayed(await authorize(cpo), to="BE-BEC", sender="DE-TNM", body=body)
        body = know(emsp)
        answer = await authorize(cpo)
        expect.relayed(answer, to="BE-BEC", sender=answer.sender, body=body)
        assert answer.sender in ("NL-TST", "NL-MSP")


async def test_when_nobody_can_be_reached_it_is_4003(start_hub: StartHub) -> None:
    """Then the CPO may go by what it knows itself (ALLOWED_OFFLINE)."""
    async with asking(start_hub, authorize_timeout=1.0) as (hub, cpo, tnm, emsp):
        tnm.misbehave("silent")
        await emsp.stop()
        content = expect.refusal(await authorize(cpo), 4003, to="BE-BEC")
        assert "3 eMSPs" in content["status_message"]
        await emsp.start()
        for party in ("NL-TST", "NL-MSP", "DE-TNM"):
            await hub.members.suspend(PartyID.parse(party), None, suspended=True)
        await hub.hub.live.refresh()
        tnm.clear()
        expect.refusal(await authorize(cpo), 4003, to="BE-BEC")
        expect.untouched(tnm, emsp)


async def test_more_emsps_than_are_asked_at_a_time_are_all_asked(
    start_hub: StartHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ask_emsps, "IN_FLIGHT", 2)
    async with asking(start_hub, *(an_emsp(number) for number in range(4))) as (hub, cpo, _, _, *emsps):
        most = 0

        async def count(received: Received) -> Reply:
            nonlocal most
            most = max(most, sum(map(hub.hub.client.in_flight, hub.hub.live.table.platforms)))
            return UNKNOWN

        for emsp in emsps:
            emsp.answer("POST", "tokens", "SENDER", count)
        expect.refusal(await authorize(cpo), 2004, to="BE-BEC", http_status=404)
        assert [len(emsp.received) for emsp in emsps] == [1, 1, 1, 1]
        assert most <= 2


async def test_a_silent_emsp_takes_no_place_from_its_addressed_authorizations(start_hub: StartHub) -> None:
    """Asking ends with its time limit, and gives its places back."""
    async with asking(start_hub, authorize_timeout=1.0) as (hub, cpo, tnm, _):
        async with villain(hub, "NL-TST", "tokens.SENDER", hold) as silent:
            answers = [authorize(cpo, f"{number}") for number in range(20)]
            for answer in await asyncio.gather(*answers):
                expect.envelope(answer, 404, 2004)
            assert silent.connections == 40  # for both its parties
            await until(lambda: silent.open == 0, "each of them is closed")
        body = know(tnm, party="DE-TNM")
        answer = await cpo.call("POST", "tokens", "SENDER", "1/authorize", to="DE-TNM", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=body)


async def test_a_hub_that_stops_while_it_asks_ends_in_order(start_hub: StartHub) -> None:
    hub = await start_hub(ask_for_unknown_tokens=True, authorize_timeout=30.0, drain_timeout=0.2)
    async with registered(hub, p1(), p3(), p4()) as (cpo, tnm, emsp):
        for platform in (tnm, emsp):
            platform.misbehave("silent")
        waiting = asyncio.create_task(authorize(cpo))
        await tnm.wait_for(1)
        await hub.stop()
        assert hub.hub.client.connections() == 0
        await asyncio.gather(waiting, return_exceptions=True)


async def test_every_leg_has_the_requesters_correlation_id(start_hub: StartHub) -> None:
    async with asking(start_hub) as (_, cpo, tnm, emsp):
        await authorize(cpo)
        ids = {received.headers[CORRELATION_ID] for received in (*tnm.received, *emsp.received)}
        assert ids == {expect.IDS[CORRELATION_ID]}
