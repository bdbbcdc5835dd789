"""S14: a platform that is down misses what is sent meanwhile; it catches up by itself. [R-283, R-219, R-199, R-216]"""

from collections.abc import Awaitable, Callable

from hub.simulator import Received, SimulatedPlatform
from hub.simulator.objects import cdr, location
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]


async def told(platform: SimulatedPlatform, status: str) -> None:
    """Wait until a platform was told that DE/TNM has this status, and forget what it received."""

    def says_so(received: Received) -> bool:
        return received.path.endswith("/hubclientinfo/DE/TNM") and received.json["status"] == status

    await platform.wait_for(says_so, timeout=10)
    platform.clear()


def sent_to(platform: SimulatedPlatform) -> list[Received]:
    """Give what others sent to a platform: neither the configuration modules nor the hub's reading of its lists."""
    return [received for received in platform.received if received.sender is not None and received.method != "GET"]


async def test_others_hear_of_its_going_and_coming_and_a_direct_request_is_refused_meanwhile(
    start_hub: StartHub,
) -> None:
    hub = await start_hub(silence=1, breaker_time=0.2)
    async with registered(hub, p1(client_info=True), p2(client_info=True), p3()) as (owner, peer, absent):
        for platform in (owner, peer):
            await told(platform, "CONNECTED")
        await absent.stop()
        for platform in (owner, peer):
            await told(platform, "OFFLINE")
        body = cdr("BE-BEC", "CDR1")
        answer = await owner.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=body, headers=expect.IDS)
        expect.refusal(answer, 4003, to="BE-BEC")
        owner.store.owned["cdrs"].append(body)

        absent.clear()
        await absent.start()
        for platform in (owner, peer):
            await told(platform, "CONNECTED")
        listed = await absent.call("GET", "cdrs", "SENDER", to="BE-BEC")
        assert [each["id"] for each in listed.data] == ["CDR1"]
        assert sent_to(absent) == []


async def test_what_was_broadcast_meanwhile_is_not_sent_again(start_hub: StartHub) -> None:
    hub = await start_hub(silence=1, breaker_time=0.2)
    async with registered(hub, p1(client_info=True), p2(), p3()) as (owner, peer, absent):
        await told(owner, "CONNECTED")
        whole = location("BE-BEC", "LOC1")
        path = "BE/BEC/LOC1"
        expect.envelope(await owner.call("PUT", "locations", "RECEIVER", path, to="NL-HUB", body=whole))
        for platform in (peer, absent):
            await platform.wait_for(lambda received: received.path.endswith(path))
        await absent.stop()
        await told(owner, "OFFLINE")
        for number in (1, 2, 3):
            change = {"name": f"Name {number}", "last_updated": f"2026-01-01T00:00:0{number}Z"}
            answer = await owner.call("PATCH", "locations", "RECEIVER", path, to="NL-HUB", body=change)
            expect.envelope(answer)
        key = ("BE", "BEC", "LOC1")
        await until(lambda: peer.store.copies["locations"][key]["name"] == "Name 3", "the other one has all three")

        absent.clear()
        await absent.start()
        await told(owner, "CONNECTED")
        # Whatever waited for it would come before what is broadcast now, and its own request after that.
        after = {"name": "After", "last_updated": "2026-01-01T00:00:09Z"}
        expect.envelope(await owner.call("PATCH", "locations", "RECEIVER", path, to="NL-HUB", body=after))
        await absent.wait_for(lambda received: received.method == "PATCH")
        (only,) = sent_to(absent)
        assert only.json == after
