"""The platforms of the scenarios: who they are and for whom they speak."""

from typing import Any

from config.operations import OPERATIONS
from hub.simulator import Received, SimulatedPlatform
from tests.hubs import HubOnTest

EVERY_MODULE = tuple(dict.fromkeys((row.module, row.interface) for row in OPERATIONS["2.2.1"]))


def p1(**options: Any) -> SimulatedPlatform:
    """A CPO."""
    return SimulatedPlatform("P1", [("BE-BEC", "CPO")], **options)


def p2(**options: Any) -> SimulatedPlatform:
    """One party that is CPO and eMSP on one platform."""
    return SimulatedPlatform("P2", [("NL-ALF", "CPO"), ("NL-ALF", "EMSP")], **options)


def p3(**options: Any) -> SimulatedPlatform:
    """An eMSP."""
    return SimulatedPlatform("P3", [("DE-TNM", "EMSP")], **options)


def p4(**options: Any) -> SimulatedPlatform:
    """Two eMSPs on one platform."""
    return SimulatedPlatform("P4", [("NL-TST", "EMSP"), ("NL-MSP", "EMSP")], **options)


def p5(**options: Any) -> SimulatedPlatform:
    """A navigation service: locations and tariffs only."""
    return SimulatedPlatform("P5", [("FR-NAV", "NSP")], **options)


async def discover(platform: SimulatedPlatform, hub: HubOnTest, token: str) -> None:
    """Let a platform read the hub's versions and version details with this token, and keep the token."""
    platform.hub_token = token
    versions = await platform.request("GET", hub.versions_url, sender=None)
    assert versions.is_success, versions.body
    urls = {entry["version"]: entry["url"] for entry in versions.data}
    details = await platform.request("GET", urls["2.2.1"], sender=None)
    assert details.is_success, details.body
    platform.hub_endpoints = {(each["identifier"], each["role"]): each["url"] for each in details.data["endpoints"]}


def module_of(received: Received) -> str:
    """Name what of a simulated platform's configuration was asked for: versions, details, credentials, or nothing."""
    below = received.path.removeprefix("/ocpi/").strip("/").split("/")
    match below:
        case ["versions"]:
            return "versions"
        case [_]:
            return "details"
        case [_, "credentials"]:
            return "credentials"
    return ""


def messages_to(platform: SimulatedPlatform) -> list[Received]:
    """Give what a platform received beside its configuration: the hub asks for versions when an answer stays away."""
    return [received for received in platform.received if not module_of(received)]
