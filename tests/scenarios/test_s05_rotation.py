"""S05: PUT credentials changes everything or nothing. [R-069, R-070, R-071, R-072]"""

import asyncio

import pytest

from hub.simulator import Received, Reply
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import module_of, p1, p3


async def test_a_put_whose_callback_times_out_changes_nothing(hub: HubOnTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.handshake.TIMEOUT_SECONDS", 0.2)
    released = asyncio.Event()

    async def be_silent(_: Received) -> Reply:
        await released.wait()
        return Reply(500)

    async with registered(hub, p1(), p3()) as (cpo, emsp):
        tokens = emsp.own_token, emsp.hub_token
        emsp.answer("GET", "versions", "SENDER", be_silent)
        answer = await emsp.update_at_hub()
        expect.envelope(answer, 200, 3001)
        assert tokens == (emsp.own_token, emsp.hub_token)
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        emsp.clear()
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        expect.authorized(emsp.received[0], emsp.own_token or "")
        released.set()


async def test_a_put_is_looked_up_again_and_gives_a_new_token(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        own, given = emsp.own_token, emsp.hub_token
        answer = await emsp.update_at_hub()
        expect.envelope(answer)
        expect.no_routing(answer)
        assert emsp.own_token != own
        assert answer.data["token"] == emsp.hub_token != given
        assert [module_of(each) for each in emsp.received] == ["versions", "details"]
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        for received in emsp.received:
            expect.authorized(received, emsp.own_token or "")


async def test_the_old_token_is_good_until_the_new_one_is_used(hub: HubOnTest) -> None:
    """T-006: the answer to PUT may have been lost."""
    async with registered(hub, p1(), p3()) as (_, emsp):
        old = emsp.hub_token
        expect.envelope(await emsp.update_at_hub())
        new = emsp.hub_token
        for token, http_status, code in [(old, 200, 1000), (old, 200, 1000), (new, 200, 1000), (old, 401, 2000)]:
            emsp.hub_token = token
            expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"), http_status, code)
        emsp.hub_token = new
        expect.envelope(await emsp.call("GET", "credentials", "SENDER"))


async def test_who_lost_the_answer_may_put_again_with_the_old_token(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (_, emsp):
        old = emsp.hub_token
        expect.envelope(await emsp.update_at_hub())
        lost, emsp.hub_token = emsp.hub_token, old
        expect.envelope(await emsp.update_at_hub())
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        emsp.hub_token = lost  # nobody ever had it
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"), 401, 2000)


async def test_a_put_changes_roles_as_far_as_was_agreed(hub: HubOnTest) -> None:
    """R-083, R-096: a party that is dropped is reached no more; one that was not agreed on is refused."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await emsp.update_at_hub(roles=[("DE-TNM", "EMSP"), ("DE-NEW", "EMSP")])
        expect.envelope(answer, 200, 2001)
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-NEW", headers=expect.IDS)
        expect.refusal(answer, 4001, to="BE-BEC")


async def test_the_hub_verifies_a_put_with_the_old_token_when_the_new_one_is_refused(hub: HubOnTest) -> None:
    """T-005: with which token the callback goes is not said anywhere."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        offered = emsp.credentials("not-yet-in-force")
        answer = await emsp.call("PUT", "credentials", "SENDER", body=offered)
        expect.envelope(answer)
        emsp.hub_token, emsp.own_token = answer.data["token"], "not-yet-in-force"
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
