"""S21: a reservation's response_url stays in use until the reservation ends, over a restart of the hub.

[R-010, R-231, R-232, R-236, T-081]
"""

import time
from collections.abc import Awaitable, Callable

import pytest

from hub.simulator import Answer, SimulatedPlatform
from hub.simulator.objects import cancel_reservation, reserve_now, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3, p4

CANCELED = {"result": "CANCELED_RESERVATION"}


async def test_a_reservation_is_cancelled_an_hour_and_a_restart_later(
    hub: HubOnTest, start_hub: Callable[..., Awaitable[HubOnTest]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        theirs = emsp.new_response_url("commands", "RESERVE_NOW")
        reserved = await emsp.call(
            "POST",
            "commands",
            "RECEIVER",
            "RESERVE_NOW",
            to="BE-BEC",
            body=reserve_now(theirs, token("NL-TST", "T1"), "R-7"),
        )
        assert reserved.data["result"] == "ACCEPTED"
        assert (await emsp.wait_for(1)).json == {"result": "ACCEPTED"}
        ours = cpo.received[0].json["response_url"]
        emsp.clear()
        cpo.clear()

        await hub.stop()
        await start_hub(port=hub.settings.port)
        # One hour simulated: the hub reads the clock with time.time() when it opens an alias.
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + 3600)
        expect.envelope(await cpo.request("POST", ours, sender=None, body=CANCELED))
        (delivered,) = emsp.received
        assert (emsp.origin + delivered.path, delivered.json) == (theirs, CANCELED)
        expect.routing(delivered, to="NL-TST", sender="BE-BEC")

        # The eMSP cancels in other letters, addressed and not; whether it knows the reservation is the CPO's to say.
        url = emsp.new_response_url("commands", "CANCEL_RESERVATION")
        body = cancel_reservation(url, "r-7")
        for to in ("be-bec", None):
            answer = await emsp.call("POST", "commands", "RECEIVER", "CANCEL_RESERVATION", to=to, body=body)
            assert answer.data["result"] == "ACCEPTED"
            assert cpo.received[-1].json["reservation_id"] == "r-7"
        assert answer.sender == "BE-BEC"


async def test_a_reservation_is_cancelled_by_who_made_it_only(hub: HubOnTest) -> None:
    """R-236: another eMSP, on the same platform or not, may have one of the same id, or none."""
    volt = SimulatedPlatform("P6", [("SE-VOL", "CPO")])
    async with registered(hub, p1(), p4(), p3(), volt) as (cpo, emsp, tnm, volt):

        async def reserve(at: str, **sender: str) -> None:
            url = emsp.new_response_url("commands", "RESERVE_NOW")
            body = reserve_now(url, token("NL-TST", "T1"), "R-7")
            answer = await emsp.call("POST", "commands", "RECEIVER", "RESERVE_NOW", to=at, body=body, **sender)
            assert answer.data["result"] == "ACCEPTED"

        async def cancel(by: SimulatedPlatform, reservation_id: str, **sender: str) -> Answer:
            body = cancel_reservation(by.new_response_url("commands", "CANCEL_RESERVATION"), reservation_id)
            return await by.call(
                "POST", "commands", "RECEIVER", "CANCEL_RESERVATION", body=body, headers=expect.IDS, **sender
            )

        await reserve("BE-BEC")
        for by, sender in ((emsp, {"sender": "NL-MSP"}), (tnm, {})):
            content = expect.refusal(await cancel(by, "R-7", **sender), 4001, to=sender.get("sender", "DE-TNM"))
            assert "reservation R-7" in content["status_message"]
        expect.refusal(await cancel(emsp, "R-8"), 4001, to="NL-TST")
        assert len(cpo.received) == 1

        await reserve("SE-VOL", sender="NL-MSP")
        answer = await cancel(emsp, "r-7", sender="NL-MSP")
        expect.relayed(answer, to="NL-MSP", sender="SE-VOL")
        expect.forwarded(volt.received[-1], volt, to="SE-VOL", sender="NL-MSP")
        answer = await cancel(emsp, "r-7")
        expect.relayed(answer, to="NL-TST", sender="BE-BEC")
        expect.forwarded(cpo.received[-1], cpo, to="BE-BEC", sender="NL-TST")
        await volt.settle()
        await cpo.settle()


@pytest.mark.parametrize(("hours", "http_status"), [(20, 200), (25, 200), (27, 404)])
async def test_the_url_lives_until_a_day_after_the_reservation(
    hub: HubOnTest, monkeypatch: pytest.MonkeyPatch, hours: int, http_status: int
) -> None:
    """The reservation is for two hours. Time passes in time.time(), which the hub reads when it opens an alias."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        theirs = emsp.new_response_url("commands", "RESERVE_NOW")
        body = reserve_now(theirs, token("NL-TST", "T1"), "R-7")
        await emsp.call("POST", "commands", "RECEIVER", "RESERVE_NOW", to="BE-BEC", body=body)
        await emsp.wait_for(1)
        await cpo.settle()
        emsp.clear()
        now = time.time
        monkeypatch.setattr(time, "time", lambda: now() + hours * 3600)
        answer = await cpo.request("POST", cpo.received[0].json["response_url"], sender=None, body=CANCELED)
        expect.envelope(answer, http_status, 1000 if http_status == 200 else 2001)
        assert len(emsp.received) == (1 if http_status == 200 else 0)


@pytest.mark.parametrize("expiry", ["tomorrow", None, 5, "2026-02-30T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_an_expiry_date_that_cannot_be_read_is_the_receivers_business(hub: HubOnTest, expiry: object) -> None:
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        body = reserve_now(
            emsp.new_response_url("commands", "RESERVE_NOW"), token("NL-TST", "T1"), "R-7", expiry_date=expiry
        )
        answer = await emsp.call("POST", "commands", "RECEIVER", "RESERVE_NOW", to="BE-BEC", body=body)
        assert answer.data["result"] == "ACCEPTED"
        assert cpo.received[0].json["expiry_date"] == expiry
        await emsp.wait_for(1)
