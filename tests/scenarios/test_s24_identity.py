"""S24: who may speak for whom, and which platform a party is. [R-104, R-105, R-106, R-108, R-269, T-020, T-021]"""

import pytest

from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p2, p3, p4

TARIFF = {"id": "1", "last_updated": "2026-01-01T00:00:00Z"}


async def test_nobody_speaks_for_another(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        answer = await both.call(
            "PUT", "tariffs", "RECEIVER", "NL/ALF/1", to="DE-TNM", sender="BE-BEC", headers=expect.IDS, body=TARIFF
        )
        assert answer.http_status in (200, 403)
        expect.envelope(answer, answer.http_status, 2001)
        expect.ids(answer)
        expect.untouched(cpo, both, emsp)


METHODS = ["PUT", "GET", "DELETE"]


async def test_nobody_pushes_what_another_owns(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        for method in METHODS:
            with subtests.test(method):
                body = TARIFF if method == "PUT" else None
                answer = await both.call(
                    method, "tariffs", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=expect.IDS, body=body
                )
                expect.envelope(answer, 404, 2001)
                expect.ids(answer)
                expect.untouched(cpo, both, emsp)


HALVES = [
    {"OCPI-to-party-id": "TNM"},
    {"OCPI-to-country-code": "DE"},
    {"OCPI-to-country-code": "DE", "OCPI-to-party-id": ""},
    {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "TNM", "OCPI-from-party-id": None},
    {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "TNM", "OCPI-from-country-code": None},
]


async def test_half_an_address_is_2001(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p2(), p3()) as (both, emsp):
        for headers in HALVES:
            with subtests.test(headers=headers):
                answer = await both.call(
                    "PUT", "tariffs", "RECEIVER", "NL/ALF/1", headers=expect.IDS | headers, body=TARIFF
                )
                expect.envelope(answer, 200, 2001)
                expect.ids(answer)
                expect.untouched(emsp)


async def test_a_platform_with_one_party_need_not_say_who_it_is(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3(), p4()) as (cpo, both, emsp, two):
        answer = await both.call(
            "PUT", "tariffs", "RECEIVER", "NL/ALF/1", to="DE-TNM", sender=None, headers=expect.IDS, body=TARIFF
        )
        expect.relayed(answer, to="NL-ALF", sender="DE-TNM", http_status=201)
        expect.forwarded(emsp.received[0], emsp, to="DE-TNM", sender="NL-ALF")

        answer = await two.call("GET", "locations", "SENDER", to="BE-BEC", sender=None, headers=expect.IDS)
        expect.envelope(answer, 200, 2001)
        expect.untouched(cpo, two)
        for party in ("NL-TST", "NL-MSP"):
            expect.envelope(await two.call("GET", "locations", "SENDER", to="BE-BEC", sender=party))
        assert [received.sender for received in cpo.received] == ["NL-TST", "NL-MSP"]


async def test_the_interface_called_decides_which_side_of_a_party_is_meant(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p2(), p3()) as (cpo, both, emsp):
        await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-ALF")
        await emsp.call("GET", "locations", "SENDER", to="NL-ALF")
        receiver, sender = both.received
        expect.path(receiver, both, "locations", "RECEIVER", "BE/BEC/LOC1")
        expect.path(sender, both, "locations", "SENDER", "")


async def test_the_interface_decides_between_two_platforms_of_one_party(hub: HubOnTest) -> None:
    """T-011: the CPO side and the eMSP side of one company may be two connections."""
    cpo_side, emsp_side = p2(), p2()
    cpo_side.roles, emsp_side.roles = [("NL-ALF", "CPO")], [("NL-ALF", "EMSP")]
    async with registered(hub, p1(), p3(), cpo_side, emsp_side) as (cpo, emsp, _, __):
        await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-ALF")
        expect.untouched(cpo_side)
        assert len(emsp_side.received) == 1
        await emsp.call("GET", "locations", "SENDER", to="NL-ALF")
        assert (len(cpo_side.received), len(emsp_side.received)) == (1, 1)


@pytest.mark.parametrize("name", ["OCPI-to-party-id", "OCPI-from-party-id"])
async def test_a_header_that_is_there_twice_is_refused(hub: HubOnTest, name: str) -> None:
    """Else the hub and what stands in front of a member could read different ones."""
    import aiohttp
    from multidict import CIMultiDict

    async with registered(hub, p1(), p3()) as (cpo, emsp), aiohttp.ClientSession() as session:
        headers = CIMultiDict(
            {
                "Authorization": f"Token {cpo.hub_token}",
                "OCPI-to-country-code": "DE",
                "OCPI-to-party-id": "TNM",
                "OCPI-from-country-code": "BE",
                "OCPI-from-party-id": "BEC",
            }
        )
        headers.add(name, "XXX")
        async with session.get(cpo.hub_endpoints["tokens", "SENDER"], headers=headers) as response:
            assert response.status == 200
            assert (await response.json())["status_code"] == 2001
        expect.untouched(emsp)
