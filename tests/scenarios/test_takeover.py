"""Two hub processes on one database, one of them killed under traffic: every acknowledged push arrives, in order."""

import asyncio
import itertools

import aiohttp

from hub.simulator import SimulatedPlatform
from hub.simulator.objects import location
from tests.commands import Serving
from tests.scenarios import expect
from tests.scenarios.cast import p1
from tests.scenarios.test_two_hubs import invite, port_of, two_hubs
from tests.waiting import until

LOCATIONS = 6
RECEIVERS = 6


async def send(cpo: SimulatedPlatform, hubs: dict[str, Serving], number: int, version: int) -> bool:
    """Broadcast one version of a location at one of the hubs that live; give whether it was acknowledged."""
    body = location("BE-BEC", f"L{number}", name=f"V{version:04}", last_updated=f"2031-01-01T00:00:00.{version:03}Z")
    path = cpo.hub_endpoints["locations", "RECEIVER"].partition("/ocpi/")[2] + f"BE/BEC/L{number}"
    living = [origin for origin, hub in hubs.items() if hub.process.returncode is None]
    try:
        url = f"{living[version % len(living)]}/ocpi/{path}"
        answer = await cpo.request("PUT", url, to="NL-HUB", body=body)
    except (aiohttp.ClientError, OSError):
        return False
    return answer.status_code == 1000


def versions_of(receiver: SimulatedPlatform, number: int) -> list[str]:
    path = f"/BE/BEC/L{number}"
    return [received.json["name"] for received in receiver.received if received.path.endswith(path)]


async def test_a_killed_hubs_lanes_go_on_at_the_other(database_url: str) -> None:
    receivers = [SimulatedPlatform(f"E{number}", [(f"DE-E{number:02}", "EMSP")]) for number in range(RECEIVERS)]
    async with two_hubs(database_url) as (first, second), p1() as cpo:
        hubs = {port_of(hub): hub for hub in (first, second)}
        for platform in (cpo, *receivers):
            if platform is not cpo:
                await platform.start()
            token = await invite(database_url, platform)
            expect.envelope(await platform.register_at(first.versions_url, token))
            platform.clear()
        try:
            acknowledged: dict[int, str] = {}
            stop = asyncio.Event()

            async def traffic(number: int) -> None:
                for version in itertools.count():
                    if await send(cpo, hubs, number, version):
                        acknowledged[number] = f"V{version:04}"
                    if stop.is_set():
                        return
                    await asyncio.sleep(0.01)

            tasks = [asyncio.create_task(traffic(number)) for number in range(LOCATIONS)]
            await until(lambda: len(acknowledged) == LOCATIONS and receivers[-1].received, seconds=10)
            await asyncio.sleep(1)  # both have work, and some of it is under way
            second.process.kill()
            await second.process.wait()
            await asyncio.sleep(1)
            stop.set()
            await asyncio.gather(*tasks)

            def has_everything() -> bool:
                return all(
                    receiver.store.copies["locations"].get(("BE", "BEC", f"L{number}"), {}).get("name") == version
                    for receiver in receivers
                    for number, version in acknowledged.items()
                )

            await until(has_everything, "every receiver has the last acknowledged version", seconds=20)
            for receiver in receivers:
                for number in range(LOCATIONS):
                    versions = versions_of(receiver, number)
                    assert versions == sorted(versions), (receiver, number)  # repeats are allowed, steps back are not
        finally:
            for receiver in receivers:
                await receiver.stop()
