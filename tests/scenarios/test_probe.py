from hub.simulator import SimulatedPlatform
from tests.hubs import HubOnTest, registered


async def test_probe(hub: HubOnTest) -> None:
    p1 = SimulatedPlatform("P1", [("BE-BEC", "CPO")])
    p3 = SimulatedPlatform("P3", [("DE-TNM", "EMSP")])
    async with registered(hub, p1, p3):
        a = await p1.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM")
        print(a.http_status, a.body, a.headers)
        print(p3.received)


import pytest


@pytest.mark.parametrize("n", range(5))
async def test_probe2(hub: HubOnTest, n) -> None:
    p1 = SimulatedPlatform("P1", [("BE-BEC", "CPO")])
    p3 = SimulatedPlatform("P3", [("DE-TNM", "EMSP")])
    async with registered(hub, p1, p3):
        a = await p1.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM")
