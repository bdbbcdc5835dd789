"""Contracts: who may talk to whom, about which module, in which direction; in force everywhere within a second.

[T-020, T-031, T-091]
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import orjson

from hub.simulator import Reply, SimulatedPlatform, envelope
from hub.simulator.objects import cdr, start_session, token
from parties import store
from tests.hubs import HubOnTest, registered
from tests.parties.cast import a_rule
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


async def add(hub: HubOnTest, *texts: str, **dates: datetime) -> list[int]:
    """Add rules written `*:CPO > DE-TNM locations` at a hub's database, and wait until it knows them."""
    rules = [a_rule(text, **dates) for text in texts]
    async with hub.hub.database.changing() as connection:
        added = [rule.id for rule in await store.add_contracts(connection, rules) if rule.id is not None]
    await until(lambda: {rule.id for rule in hub.hub.live.table.contracts.rules} >= set(added), seconds=1)
    return added


async def get_tokens(cpo: SimulatedPlatform, to: str = "DE-TNM", sender: str | None = None) -> int:
    """Ask a party for its tokens; gives OCPI's status code."""
    return (await cpo.call("GET", "tokens", "SENDER", to=to, sender=sender)).status_code


async def test_in_a_closed_network_only_a_contract_opens_the_way(start_hub: StartHub) -> None:
    hub = await start_hub(network="closed")
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        refused = expect.refusal(answer, 4003, to="BE-BEC")
        assert refused["status_message"] == "BE-BEC and DE-TNM have no contract about tokens at this hub."
        expect.untouched(emsp)

        await add(hub, "*:CPO > *:EMSP tokens")
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM")

        # About this module and in this direction only.
        cpo.clear()
        answer = await emsp.call("GET", "tokens", "RECEIVER", "DE/TNM/T1", to="BE-BEC", headers=expect.IDS)
        expect.refusal(answer, 4003, to="DE-TNM")
        answer = await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/L1", to="DE-TNM", headers=expect.IDS)
        assert "about locations" in expect.refusal(answer, 4003, to="BE-BEC")["status_message"]
        expect.untouched(cpo)


async def test_in_an_open_network_a_rule_closes_the_way(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        assert await get_tokens(cpo) == 1000
        emsp.clear()
        ids = await add(hub, "BE-BEC > * no", "BE-BEC > NL-ALF tokens")
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        assert "BE-BEC and DE-TNM have no contract" in expect.refusal(answer, 4003, to="BE-BEC")["status_message"]
        expect.untouched(emsp)
        assert await get_tokens(cpo, "NL-ALF") == 1000
        assert await get_tokens(both, sender="NL-ALF") == 1000

        async with hub.hub.database.changing() as connection:
            await store.remove_contracts(connection, ids)
        await until(lambda: all(rule.removed_at for rule in hub.hub.live.table.contracts.rules), seconds=1)
        assert await get_tokens(cpo) == 1000


async def test_a_role_in_a_rule_is_the_one_in_which_a_party_acts(start_hub: StartHub) -> None:
    hub = await start_hub(network="closed")
    async with registered(hub, p1(), p2(), p3()) as (_, both, _):
        await add(hub, "*:CPO > *:EMSP")
        assert await get_tokens(both, "DE-TNM", "NL-ALF") == 1000  # as a CPO
        answer = await both.call("GET", "locations", "SENDER", to="BE-BEC", sender="NL-ALF", headers=expect.IDS)
        expect.refusal(answer, 4003, to="NL-ALF")  # as an eMSP


async def test_a_change_at_one_hub_is_in_force_at_another_within_a_second(start_hub: StartHub) -> None:
    one, other = await start_hub(), await start_hub()
    async with registered(other, p1(), p3()) as (cpo, _):
        assert await get_tokens(cpo) == 1000
        (added,) = await add(one, "* > * no")
        await until(lambda: [rule.id for rule in other.hub.live.table.contracts.rules] == [added], seconds=1)
        assert await get_tokens(cpo) == 4003


async def test_a_date_comes_by_itself(start_hub: StartHub) -> None:
    hub = await start_hub(network="closed")
    async with registered(hub, p1(), p3()) as (cpo, _):
        assert await get_tokens(cpo) == 4003
        begin = datetime.now(UTC) + timedelta(seconds=0.5)
        end = begin + timedelta(seconds=1.5)
        await add(hub, "BE-BEC > DE-TNM", valid_from=begin, valid_until=end)
        for moment, status_code in ((begin, 1000), (end, 4003)):

            async def has_come(status_code: int = status_code) -> bool:
                return await get_tokens(cpo) == status_code

            await until(has_come)
            assert datetime.now(UTC) >= moment
        assert hub.hub.live.table.contracts.next_change is None


async def test_what_was_allowed_when_it_began_ends_well(hub: HubOnTest) -> None:
    """A command's result arrives though the contract has ended meanwhile; a CDR is read no more."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer(
            "POST", "commands", "RECEIVER", Reply(body=orjson.dumps(envelope({"result": "ACCEPTED", "timeout": 9})))
        )
        command = start_session(emsp.new_response_url("commands", "START_SESSION"), token("DE-TNM", "T1"))
        assert (await emsp.call("POST", "commands", "RECEIVER", "START_SESSION", to="BE-BEC", body=command)).is_success
        response_url = cpo.received[-1].json["response_url"]
        emsp.answer("POST", "cdrs", "RECEIVER", Reply(201, envelope(), {"Location": "/ocpi/2.2.1/receiver/cdrs/9f"}))
        emsp.answer("GET", "cdrs", "RECEIVER", Reply(body=envelope({"id": "C1"})))
        posted = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=cdr("BE-BEC", "C1"))
        assert posted.is_success
        location = posted.headers["Location"]
        assert (await cpo.request("GET", location)).is_success

        await add(hub, "* > * no")
        emsp.clear()
        assert "about cdrs" in expect.envelope(await cpo.request("GET", location), 200, 4003)["status_message"]
        expect.untouched(emsp)
        answer = await cpo.request("POST", response_url, sender=None, body={"result": "ACCEPTED"})
        assert answer.is_success
        (delivered,) = emsp.received
        assert delivered.method == "POST"
