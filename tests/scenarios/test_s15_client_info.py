"""S15: a silent platform is checked, found OFFLINE and told of; the list. [R-214, R-207, R-208, R-206, R-209, R-174]"""

from collections.abc import Awaitable, Callable

from config.ocpi import LIMIT, TOTAL_COUNT
from hub.simulator import Received, Reply, SimulatedPlatform
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import module_of, p1, p2, p3, p4
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]
FIELDS = {"country_code", "party_id", "role", "status", "last_updated"}


async def told(platform: SimulatedPlatform, party: str, status: str) -> Received:
    """Give the push with which a platform was told this."""
    return await platform.wait_for(
        lambda received: received.path.endswith(f"/hubclientinfo/{party}") and received.json["status"] == status
    )


async def test_silence_is_checked_and_two_failures_are_told_to_every_peer(start_hub: StartHub) -> None:
    hub = await start_hub(silence=2)
    peers = p2(client_info=True), p3(client_info=True), p4(client_info=True)
    async with registered(hub, p1(client_info=True), *peers) as (silent, *others):
        known = {}
        for peer in others:
            push = await told(peer, "BE/BEC", "CONNECTED")
            known[peer] = push.json["last_updated"]
            peer.clear()
        silent.answer("GET", "versions", "SENDER", Reply(500))
        silent.clear()

        for number in (1, 2):
            check = await until(lambda number=number: _checks(silent)[number - 1 : number], "it is checked")
            assert (check[0].method, silent.origin + check[0].path) == ("GET", silent.versions_url)
            expect.authorized(check[0], silent.own_token or "")
            expect.no_routing(check[0])
        for peer in others:
            push = await told(peer, "BE/BEC", "OFFLINE")
            assert push.method == "PUT"
            expect.path(push, peer, "hubclientinfo", "RECEIVER", "BE/BEC")
            expect.no_routing(push)
            expect.authorized(push, peer.own_token or "")
            body = push.json
            assert set(body) == FIELDS
            assert (body["country_code"], body["party_id"], body["role"]) == ("BE", "BEC", "CPO")
            assert body["last_updated"] > known[peer]


def _checks(platform: SimulatedPlatform) -> list[Received]:
    return [received for received in platform.received if module_of(received) == "versions"]


async def test_the_list_is_paged_filtered_and_without_the_asker_and_the_hub(start_hub: StartHub) -> None:
    hub = await start_hub(silence=2)
    async with registered(hub, p1(), p2(), p3(client_info=True), p4()) as (silent, _, asker, __):
        silent.answer("GET", "versions", "SENDER", Reply(500))
        offline = (await told(asker, "BE/BEC", "OFFLINE")).json
        whole = await asker.call("GET", "hubclientinfo", "SENDER")
        expect.envelope(whole)
        expect.no_routing(whole)
        listed = {(info["country_code"], info["party_id"], info["role"]) for info in whole.data}
        assert listed == {("BE", "BEC", "CPO"), ("NL", "ALF", "CPO")}  # not DE/TNM, not the hub

        page = await asker.call("GET", "hubclientinfo", "SENDER", query="limit=1")
        assert page.headers[TOTAL_COUNT] == "2"
        assert page.headers[LIMIT] == str(hub.settings.page_limit)
        link, _, relation = page.headers["Link"].partition(">")
        assert relation == '; rel="next"'
        expect.at_hub(link.removeprefix("<"), hub)
        assert "offset=1&limit=1" in link
        second = await asker.request("GET", link.removeprefix("<"), sender=None)
        assert page.data + second.data == whole.data
        assert "Link" not in second.headers

        moment = offline["last_updated"]
        since = await asker.call("GET", "hubclientinfo", "SENDER", query=f"date_from={moment}")
        assert offline in since.data  # inclusive
        before = await asker.call("GET", "hubclientinfo", "SENDER", query=f"date_to={moment}")
        assert [info["party_id"] for info in before.data] == ["ALF"]  # exclusive
        for method in ("POST", "PUT", "DELETE"):
            expect.envelope(await asker.call(method, "hubclientinfo", "SENDER"), 405, 2000)
