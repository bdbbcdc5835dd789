"""The first part of the demo: one whole roaming charge between a CPO and an eMSP."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from config.ocpi import CORRELATION_ID
from hub.demo.stage import HubProcess, expect, now
from hub.simulator import Answer, SimulatedPlatform
from hub.simulator.objects import (
    cancel_reservation,
    cdr,
    location,
    location_references,
    reserve_now,
    session,
    set_charging_profile,
    start_session,
    stop_session,
    tariff,
    token,
)

CPO = "NL-AMB"
EMSP = "DE-VOL"


@dataclass
class Charge:
    """The roaming charge: what each side does, and what must come of it."""

    cpo: SimulatedPlatform
    emsp: SimulatedPlatform
    hub: HubProcess
    number: int = 1

    def __post_init__(self) -> None:
        self.location = location(CPO, "LOC1")
        self.tariff = tariff(CPO, "T1")
        self.token = token(EMSP, "DRIVER-7")
        self.emsp.store.owned["tokens"].append(self.token)
        self.cpo.store.owned["locations"].append(self.location)
        self.cpo.store.owned["tariffs"].append(self.tariff)

    @property
    def session_id(self) -> str:
        """The id of the session being played."""
        return f"S{self.number}"

    async def call(self, side: SimulatedPlatform, operation: str, *args: Any, **kwargs: Any) -> Answer:
        """Let one side call the other through the hub, and wait until the hop is shown."""
        correlation_id = str(uuid4())
        to = EMSP if side is self.cpo else CPO
        answer = await side.call(*args, to=to, headers={CORRELATION_ID: correlation_id}, **kwargs)
        await self.hub.seen(operation, correlation_id)
        expect(answer.http_status in (200, 201) and answer.status_code == 1000, operation, answer)
        return answer

    async def command(self, name: str, body: dict[str, Any]) -> None:
        """Let the eMSP send a command, and see its asynchronous result come back."""
        answer = await self.call(self.emsp, f"commands.{name.lower()}", "POST", "commands", "RECEIVER", name, body=body)
        expect(answer.data["result"] == "ACCEPTED", name, answer)
        await self.hub.seen("commands.command_result")

    def response_url(self, name: str, module: str = "commands") -> str:
        """Give the eMSP's own URL for a result; what the CPO sees in its place is the hub's."""
        return self.emsp.new_response_url(module, name)

    async def publish(self) -> None:
        """Let the CPO push its location and tariff, and list the eMSP's tokens."""
        place = f"{CPO.replace('-', '/')}/LOC1"
        await self.call(self.cpo, "locations.put_location", "PUT", "locations", "RECEIVER", place, body=self.location)
        owner = CPO.replace("-", "/")
        await self.call(self.cpo, "tariffs.put_tariff", "PUT", "tariffs", "RECEIVER", f"{owner}/T1", body=self.tariff)
        listed = await self.call(self.cpo, "tokens.list", "GET", "tokens", "SENDER", query="limit=10")
        expect(len(listed.data) == 1, "tokens.list", listed)

    async def authorize(self) -> None:
        """Let the CPO ask whether the driver may charge, in real time."""
        answer = await self.call(
            self.cpo,
            "tokens.authorize",
            "POST",
            "tokens",
            "SENDER",
            "DRIVER-7/authorize",
            body=location_references("LOC1", "LOC1-1"),
        )
        expect(answer.data["allowed"] == "ALLOWED", "authorize", answer)

    async def start(self) -> None:
        """Let the driver start from the app; the CPO's result comes back later."""
        body = start_session(self.response_url("START_SESSION"), self.token, "LOC1", evse_uid="LOC1-1")
        await self.command("START_SESSION", body)
        await self._evse_status("CHARGING")
        await self._push_session("PUT", session(CPO, self.session_id, self.token, status="ACTIVE", kwh=0.0))

    async def charge(self) -> None:
        """Let energy flow, with updates and a charging profile."""
        for kwh in (4.25, 11.5):
            await self._push_session("PATCH", {"kwh": kwh, "last_updated": now()})
        correlation = await self.call(
            self.emsp,
            "chargingprofiles.set",
            "PUT",
            "chargingprofiles",
            "RECEIVER",
            self.session_id,
            body=set_charging_profile(self.response_url("profile", "chargingprofiles")),
        )
        expect(correlation.data["result"] == "ACCEPTED", "chargingprofiles.set", correlation)
        await self.hub.seen("chargingprofiles.profile_result")

    async def stop(self) -> None:
        """Let the driver stop, and the CPO report the end."""
        await self.command("STOP_SESSION", stop_session(self.response_url("STOP_SESSION"), self.session_id))
        await self._evse_status("AVAILABLE")
        done = session(CPO, self.session_id, self.token, status="COMPLETED", kwh=18.75)
        await self._push_session("PUT", done)

    async def bill(self) -> None:
        """Let the CPO send the CDR, and fetch it back from the Location it was given."""
        record = cdr(CPO, f"CDR{self.number}", self.token, session_id=self.session_id)
        answer = await self.call(self.cpo, "cdrs.post_cdr", "POST", "cdrs", "RECEIVER", body=record)
        where = answer.headers.get("Location", "")
        expect(where.startswith(self.hub_origin), "the CDR's Location", answer)
        correlation_id = str(uuid4())
        back = await self.cpo.request("GET", where, headers={CORRELATION_ID: correlation_id})
        await self.hub.seen("cdrs.get_cdr", correlation_id)
        expect(back.status_code == 1000 and back.data == record, "the CDR fetched back", back)

    async def reserve(self) -> None:
        """Let the driver reserve a charger, and think better of it."""
        name = f"R{self.number}"
        await self.command(
            "RESERVE_NOW", reserve_now(self.response_url("RESERVE_NOW"), self.token, name, "LOC1", evse_uid="LOC1-1")
        )
        await self.command("CANCEL_RESERVATION", cancel_reservation(self.response_url("CANCEL_RESERVATION"), name))

    @property
    def hub_origin(self) -> str:
        """Where URLs that the hub gives out begin."""
        return str(self.cpo.hub_endpoints[("cdrs", "RECEIVER")]).partition("/ocpi/")[0]

    async def _evse_status(self, status: str) -> None:
        place = f"{CPO.replace('-', '/')}/LOC1/LOC1-1"
        body = {"status": status, "last_updated": now()}
        await self.call(self.cpo, "locations.patch_evse", "PATCH", "locations", "RECEIVER", place, body=body)

    async def _push_session(self, method: str, body: dict[str, Any]) -> None:
        path = f"{CPO.replace('-', '/')}/{self.session_id}"
        operation = f"sessions.{method.lower()}_session"
        await self.call(self.cpo, operation, method, "sessions", "RECEIVER", path, body=body)

    def steps(self) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
        """Give the charge's steps in their order."""
        return [
            ("The CPO publishes its charger and its price, and learns the tokens", self.publish),
            ("A driver holds a card to the charger: may she charge?", self.authorize),
            ("Another time she starts from the app", self.start),
            ("Energy flows; the eMSP asks for a gentler profile", self.charge),
            ("She stops", self.stop),
            ("The bill: the CDR goes out and is fetched back from its Location", self.bill),
            ("A reservation, made and cancelled", self.reserve),
        ]
