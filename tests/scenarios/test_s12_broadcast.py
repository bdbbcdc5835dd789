"""S12: a broadcast reaches every receiving party once, whatever becomes of the others."""

from base64 import b64decode

import orjson

from config.ocpi import CORRELATION_ID, REQUEST_ID
from hub.simulator import Received, SimulatedPlatform
from hub.simulator.objects import location, tariff, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4, p5
from tests.waiting import until

PLACE = "BE/BEC/LOC1"
BODY = (
    b'{\r\n  "country_code": "BE", "party_id": "BEC", "id": "LOC1",\r\n "x_vendor": {"a": 4.00, "b": 1e2},'
    b' "name": "K\xc3\xb6ln",\t"last_updated": "2019-06-24T12:39:09"}\r\n'
)


def p6(**options: object) -> SimulatedPlatform:
    """Another one, that takes locations and tariffs."""
    return SimulatedPlatform(
        "P6", [("GB-OTH", "OTHER")], modules=[("locations", "RECEIVER"), ("tariffs", "RECEIVER")], **options
    )


def recipients(platform: SimulatedPlatform) -> list[str | None]:
    return sorted(received.to or "" for received in platform.received)


async def test_every_receiving_party_gets_one_request_and_the_sender_waits_for_none(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3(), p4(), p5(), p6()) as (cpo, both, slow, refusing, nsp, other):
        slow.misbehave("slow", seconds=3)
        refusing.misbehave("unauthorized")
        answer = await cpo.call(
            "PUT", "locations", "RECEIVER", PLACE, to="NL-HUB", headers={CORRELATION_ID: "c-9"}, body=BODY
        )
        content = expect.envelope(answer)
        assert "data" not in content
        expect.routing(answer, to="BE-BEC", sender=expect.HUB)
        assert answer.milliseconds < 1000  # S12; three are still to come

        everyone = {
            both: ["NL-ALF"],
            slow: ["DE-TNM"],
            refusing: ["NL-MSP", "NL-TST"],
            nsp: ["FR-NAV"],
            other: ["GB-OTH"],
        }
        for platform, parties in everyone.items():
            await platform.wait_for(len(parties))
        await until(lambda: hub_has_no_deliveries(hub), "every delivery has ended")
        request_ids = []
        for platform, parties in everyone.items():
            assert recipients(platform) == parties, platform
            for received in platform.received:
                expect.path(received, platform, "locations", "RECEIVER", PLACE)
                assert received.method == "PUT"
                assert received.sender == expect.HUB
                assert received.body == BODY
                assert received.headers[CORRELATION_ID] == "c-9"
                expect.authorized(received, platform.own_token or "")
                request_ids.append(received.headers[REQUEST_ID])
        assert len(set(request_ids)) == len(request_ids) == 6  # R-141, and no retry to whoever refused
        expect.untouched(cpo)


def hub_has_no_deliveries(hub: HubOnTest) -> bool:
    return all(not gauge.depth for gauge in hub.hub.metrics.lanes())


async def test_what_became_of_each_is_counted_logged_and_shown(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3(), p4()) as (cpo, emsp, refusing):
        refusing.misbehave("unauthorized")
        expect.envelope(await cpo.call("PUT", "locations", "RECEIVER", PLACE, to="NL-HUB", body=BODY))
        await emsp.wait_for(1)
        await refusing.wait_for(2)
        await until(lambda: hub_has_no_deliveries(hub))
        text = hub.hub.metrics.render().decode()
        assert 'ocpi_hub_deliveries_total{outcome="delivered"} 1.0' in text
        assert 'ocpi_hub_deliveries_total{outcome="failed"} 2.0' in text
        hub.hub.request_log.flush()
        lines = [orjson.loads(line) for line in hub.log.getvalue().splitlines()]
        deliveries = [line for line in lines if line["event"] == "delivery"]
        assert sorted((line["to"], line["action"]) for line in deliveries) == [
            ("DE-TNM", "delivered"),
            ("NL-MSP", "failed"),
            ("NL-TST", "failed"),
        ]
        assert all(b64decode("e30=").decode() not in str(line) for line in deliveries)


async def test_tariffs_can_be_withdrawn_from_everybody(hub: HubOnTest) -> None:
    """T-054."""
    async with registered(hub, p1(), p3(), p5()) as (cpo, emsp, nsp):
        body = tariff("BE-BEC", "T1")
        expect.envelope(await cpo.call("PUT", "tariffs", "RECEIVER", "BE/BEC/T1", to="NL-HUB", body=body))
        await nsp.wait_for(1)
        await emsp.wait_for(1)
        expect.envelope(await cpo.call("DELETE", "tariffs", "RECEIVER", "BE/BEC/T1", to="NL-HUB"))
        for platform in (emsp, nsp):
            received = await platform.wait_for(2)
            assert (received.method, received.body) == ("DELETE", b"")
            assert "Content-Type" not in received.headers


async def test_a_token_goes_to_every_cpo_with_its_type(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        body = token("DE-TNM", "T7") | {"type": "APP_USER"}
        answer = await emsp.call(
            "PUT", "tokens", "RECEIVER", "DE/TNM/T7", query="type=APP_USER", to="NL-HUB", body=body
        )
        expect.envelope(answer)
        for platform in (cpo, both):
            received: Received = await platform.wait_for(1)
            assert received.path.endswith("/DE/TNM/T7?type=APP_USER")
            assert received.json == body


async def test_a_broadcast_comes_to_no_other_party_of_the_senders_platform(hub: HubOnTest) -> None:
    """R-142, T-057: NL/ALF is eMSP on the same platform."""
    async with registered(hub, p2(), p3()) as (both, emsp):
        body = location("NL-ALF", "L1")
        expect.envelope(await both.call("PUT", "locations", "RECEIVER", "NL/ALF/L1", to="NL-HUB", body=body))
        await emsp.wait_for(1)
        expect.untouched(both)


async def test_a_receiver_may_have_the_owner_as_sender(hub: HubOnTest) -> None:
    """T-059: some receivers refuse what does not come from the owner."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        (platform,) = [each for each in await hub.members.platforms() if each.name == emsp.name]
        await hub.members.set_switches(platform, ["owner_as_sender=on"], hub.hub.guard)
        await hub.hub.live.refresh()
        expect.envelope(await cpo.call("PUT", "locations", "RECEIVER", PLACE, to="NL-HUB", body=BODY))
        assert (await emsp.wait_for(1)).sender == "BE-BEC"


async def test_pushes_of_one_object_arrive_in_the_order_of_their_owner(hub: HubOnTest) -> None:
    """R-140: also while a receiver is slow; what waited may come as one PUT of the whole."""
    async with registered(hub, p1(), p3(), p5()) as (cpo, emsp, nsp):
        emsp.misbehave("slow", seconds=0.05)
        body = location("BE-BEC", "LOC1")
        expect.envelope(await cpo.call("PUT", "locations", "RECEIVER", PLACE, to="NL-HUB", body=body))
        for number in range(20):
            change = {"name": f"N{number:02}", "last_updated": f"2031-01-01T00:00:{number:02}Z"}
            expect.envelope(await cpo.call("PATCH", "locations", "RECEIVER", PLACE, to="NL-HUB", body=change))
        for platform in (emsp, nsp):
            await platform.wait_for(lambda received: received.json.get("name") == "N19")
            names = [received.json["name"] for received in platform.received[1:]]
            assert names == sorted(names)
            copies = platform.store.copies["locations"]
            await until(lambda copies=copies: copies["BE", "BEC", "LOC1"]["name"] == "N19")
        assert len(emsp.received) < 21  # collapsed while it was slow
        for received in emsp.received:
            if received.method == "PUT":
                assert received.json["evses"] == body["evses"]
