"""The second part of the demo: broadcasts, one list for all, routing by content, and who is connected."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from config.ocpi import CORRELATION_ID
from hub.demo.charge import CPO
from hub.demo.stage import DemoFailed, HubProcess, Show, expect
from hub.simulator import Answer, Received, SimulatedPlatform, hosted_modules
from hub.simulator.objects import location, start_session, token

SECOND_EMSP = "BE-ZAP"
THIRD_EMSP = "SE-NOR"
_WAIT_SECONDS = 10.0


def simulated(name: str, party: str, role: str) -> SimulatedPlatform:
    """Give a platform of the demo: it wants to be told who is connected."""
    return SimulatedPlatform(name, [(party, role)], modules=(*hosted_modules(role), ("hubclientinfo", "RECEIVER")))


@dataclass
class Sharing:
    """What a CPO and three eMSPs do with the hub itself."""

    cpo: SimulatedPlatform
    emsps: dict[str, SimulatedPlatform]
    """By party."""
    hub: HubProcess
    show: Show
    hub_party: str
    location: dict[str, Any] = field(default_factory=lambda: location(CPO, "LOC2", name="Antwerpen Zuid"))

    async def broadcast(self) -> None:
        """Let the CPO tell everybody of a new location, with one request."""
        correlation_id = str(uuid4())
        self.cpo.store.owned["locations"].append(self.location)
        answer = await self.cpo.call(
            "PUT",
            "locations",
            "RECEIVER",
            f"{CPO.replace('-', '/')}/LOC2",
            to=self.hub_party,
            body=self.location,
            headers={CORRELATION_ID: correlation_id},
        )
        expect(answer.status_code == 1000, "the broadcast", answer)
        await self.hub.seen("locations.put_location", correlation_id)
        for party, emsp in self.emsps.items():
            got = await emsp.wait_for(
                lambda each: each.headers.get(CORRELATION_ID) == correlation_id, timeout=_WAIT_SECONDS
            )
            if got.to != party or got.json != self.location:
                raise DemoFailed(f"{party} got another location than {CPO} sent.")
            await self.hub.delivered(party, correlation_id)

    async def get_all(self) -> None:
        """Let an eMSP that was not there before list what the network has, in one place."""
        emsp = self.emsps[SECOND_EMSP]
        answer = await self._call(emsp, "locations.list", "GET", "locations", "SENDER", to=self.hub_party)
        ids = [each["id"] for each in answer.data]
        expect("LOC2" in ids, "GET all", answer)
        total = answer.headers.get("X-Total-Count")
        self.show.note(f"X-Total-Count: {total}, on this page {', '.join(f'{CPO} {each}' for each in ids)}")

    async def start_by_content(self) -> None:
        """Let an eMSP start a session without naming the CPO: the hub finds it by the location."""
        emsp = self.emsps[SECOND_EMSP]
        card = token(SECOND_EMSP, "DRIVER-9")
        emsp.store.owned["tokens"].append(card)
        body = start_session(emsp.new_response_url("commands", "START_SESSION"), card, "LOC2", evse_uid="LOC2-1")
        answer = await self._call(
            emsp, "commands.start_session", "POST", "commands", "RECEIVER", "START_SESSION", body=body
        )
        expect(answer.data["result"] == "ACCEPTED" and answer.sender == CPO, "START_SESSION", answer)
        await self.hub.seen("commands.command_result")

    async def lose_and_find(self) -> None:
        """Let a platform go away, and come back: the hub notices, and tells the others."""
        gone = self.emsps[THIRD_EMSP]
        self.cpo.clear()
        await gone.stop()
        began = time.monotonic()
        await self._told("OFFLINE", began)
        answer = await self.cpo.call("GET", "tokens", "SENDER", to=THIRD_EMSP, query="limit=1")
        expect(answer.status_code == 4003, f"a call to {THIRD_EMSP}, which is offline", answer)
        await self.hub.seen("tokens.list")
        self.cpo.clear()
        await gone.start()
        began = time.monotonic()
        await self._call(gone, "locations.list", "GET", "locations", "SENDER", to=self.hub_party)
        await self._told("CONNECTED", began)

    async def _told(self, status: str, began: float) -> None:
        """Wait until the CPO was told this status of the third eMSP; `began`: when it became so, monotonic."""

        def is_it(received: Received) -> bool:
            path = f"hubclientinfo/{THIRD_EMSP.replace('-', '/')}"
            return received.method == "PUT" and path in received.path and received.json["status"] == status

        await self.cpo.wait_for(is_it, timeout=_WAIT_SECONDS)
        seconds = time.monotonic() - began
        self.show.note(f"ClientInfo to {CPO}: {THIRD_EMSP} is {status} ({seconds:.1f} s after)")

    async def _call(self, side: SimulatedPlatform, operation: str, *args: Any, **kwargs: Any) -> Answer:
        correlation_id = str(uuid4())
        answer = await side.call(*args, headers={CORRELATION_ID: correlation_id}, **kwargs)
        await self.hub.seen(operation, correlation_id)
        expect(answer.status_code == 1000, operation, answer)
        return answer

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Give the steps in their order."""
        return [
            (
                "The CPO opens a location and tells everybody: one request to the hub, a push to each eMSP",
                self.broadcast,
            ),
            (f"{SECOND_EMSP} lists all locations of the network at the hub", self.get_all),
            (f"A driver of {SECOND_EMSP} starts there; the app names no CPO, the hub finds it", self.start_by_content),
            (
                f"{THIRD_EMSP} falls silent; the hub notices, tells the others, and sees it come back",
                self.lose_and_find,
            ),
        ]
