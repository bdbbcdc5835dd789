"""The demo: a hub, a CPO and an eMSP as real HTTP servers, and one whole roaming charge between them.

The hub is a process of its own, run as an operator would run it; the members are invited with the code of the CLI's
commands. Every hop shown is a line of the hub's own log.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import orjson
from rich.console import Console
from rich.markup import escape

from config.ocpi import CORRELATION_ID
from config.settings import PREFIX, Settings
from hub.client import Client
from hub.database import Database
from hub.handshake import Caller
from hub.keys import load_secret_keys
from hub.listener import free_ports
from hub.members import Members
from hub.server import make_client, make_guard
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
from parties.model import Role
from parties.tokens import Secret

CPO = "NL-AMB"
EMSP = "DE-VOL"
_HOP_SECONDS = 10.0
_KEEP_PAUSE_SECONDS = 1.0


class DemoFailed(Exception):
    """Something did not go as OCPI says."""


@dataclass
class Show:
    """What is seen: headings, hops and the summary; for the eye on a terminal, plain lines elsewhere."""

    console: Console
    hops: int = 0
    names: dict[int, str] = field(default_factory=dict)
    """The parties of each platform, for requests without routing headers."""

    def heading(self, text: str) -> None:
        """Begin a step."""
        self.console.print(f"\n[bold]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something beside the hops."""
        self.console.print(f"  [dim]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def hop(self, line: dict[str, Any]) -> None:
        """Show a line of the hub's log: who, to whom, what, OCPI status, milliseconds."""
        self.hops += 1
        sender = line.get("from") or self.names.get(line.get("platform", 0), "?")
        code = line.get("status_code")
        colour = "green" if isinstance(code, int) and 1000 <= code < 2000 else "red"
        receiver_ms = line.get("receiver_ms")
        own = f"hub {line['ms'] - receiver_ms:.1f}" if receiver_ms is not None else "hub"
        via = "-> hub ->" if line.get("to") else "->"
        who = f"{sender} {via} {line.get('to') or 'hub'}"
        self.console.print(
            f"  {who:<25} {line['method']:<6} [cyan]{line['operation']:<31}[/] [{colour}]{code}[/]"
            f" {line['ms']:>7.1f} ms [dim]({own})[/]",
            highlight=False,
            soft_wrap=True,
        )


class HubProcess:
    """The hub as a process of its own, its log read line by line."""

    def __init__(self, settings: Settings, show: Show) -> None:
        self._settings = settings
        self._show = show
        self._lines: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.noise: list[str] = []
        """What it printed that was no log line."""

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises DemoFailed with what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        chosen = {
            "HOST": self._settings.host,
            "PORT": self._settings.port,
            "OPS_PORT": self._settings.ops_port,
            "DATA_DIR": self._settings.data_dir,
            "NAME": self._settings.name,
            "LOG_FORMAT": "json",
        }
        environment |= {PREFIX + name: str(value) for name, value in chosen.items()}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hub",
            "serve",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the hub in order
        )
        self._reader = asyncio.create_task(self._read())
        ready = f"http://{self._settings.ops_host}:{self._settings.ops_port}/ready"
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            while True:
                if self._process.returncode is not None:
                    raise DemoFailed("The hub did not start: " + " ".join(self.noise)[-1000:])
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(ready) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            try:
                line = orjson.loads(raw)
            except orjson.JSONDecodeError:
                self.noise.append(raw.decode(errors="replace").rstrip())
                continue
            if line.get("event") == "request":
                self._show.hop(line)
                self._lines.append(line)
                arrived, self._arrived = self._arrived, asyncio.Event()
                arrived.set()
            elif line.get("level") in ("warning", "error") and "Applying" not in line.get("event", ""):
                self._show.note(f"{line['level']}: {line.get('event')}")

    async def seen(self, operation: str, correlation_id: str | None = None) -> dict[str, Any]:
        """Wait for the log line of a hop, so that steps are shown in their order."""
        begin = 0
        try:
            async with asyncio.timeout(_HOP_SECONDS):
                while True:
                    for number in range(begin, len(self._lines)):
                        line = self._lines[number]
                        if line["operation"] == operation and correlation_id in (None, line.get("correlation_id")):
                            del self._lines[number]
                            return line
                    begin = len(self._lines)
                    await self._arrived.wait()
        except TimeoutError:
            raise DemoFailed(f"{operation} did not pass through the hub within {_HOP_SECONDS:.0f} s.") from None

    def forget(self) -> None:
        """Drop lines nobody waits for."""
        self._lines.clear()

    async def stop(self) -> None:
        """End it as an operator would, with SIGTERM."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 12)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._reader is not None:
            await self._reader


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
        _expect(answer.http_status in (200, 201) and answer.status_code == 1000, operation, answer)
        return answer

    async def command(self, name: str, body: dict[str, Any]) -> None:
        """Let the eMSP send a command, and see its asynchronous result come back."""
        answer = await self.call(self.emsp, f"commands.{name.lower()}", "POST", "commands", "RECEIVER", name, body=body)
        _expect(answer.data["result"] == "ACCEPTED", name, answer)
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
        _expect(len(listed.data) == 1, "tokens.list", listed)

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
        _expect(answer.data["allowed"] == "ALLOWED", "authorize", answer)

    async def start(self) -> None:
        """Let the driver start from the app; the CPO's result comes back later."""
        body = start_session(self.response_url("START_SESSION"), self.token, "LOC1", evse_uid="LOC1-1")
        await self.command("START_SESSION", body)
        await self._evse_status("CHARGING")
        await self._push_session("PUT", session(CPO, self.session_id, self.token, status="ACTIVE", kwh=0.0))

    async def charge(self) -> None:
        """Let energy flow, with updates and a charging profile."""
        for kwh in (4.25, 11.5):
            await self._push_session("PATCH", {"kwh": kwh, "last_updated": _now()})
        correlation = await self.call(
            self.emsp,
            "chargingprofiles.set",
            "PUT",
            "chargingprofiles",
            "RECEIVER",
            self.session_id,
            body=set_charging_profile(self.response_url("profile", "chargingprofiles")),
        )
        _expect(correlation.data["result"] == "ACCEPTED", "chargingprofiles.set", correlation)
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
        _expect(where.startswith(self.hub_origin), "the CDR's Location", answer)
        correlation_id = str(uuid4())
        back = await self.cpo.request("GET", where, headers={CORRELATION_ID: correlation_id})
        await self.hub.seen("cdrs.get_cdr", correlation_id)
        _expect(back.status_code == 1000 and back.data == record, "the CDR fetched back", back)

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
        body = {"status": status, "last_updated": _now()}
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


@contextlib.asynccontextmanager
async def _demo_folder(data_dir: Path | None) -> AsyncIterator[Path]:
    """Give a folder for the database; a temporary one is removed afterwards."""
    if data_dir is not None:
        yield data_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-demo-"))
    folder.chmod(0o755)  # the embedded server may run as another user
    try:
        yield folder / "data"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run_demo(
    *, port: int, ops_port: int, cpo_port: int, emsp_port: int, data_dir: Path | None, keep: bool, console: Console
) -> int:
    """Play the demo; give the exit code: 0, or 1 with what failed said."""
    show = Show(console)
    began = time.monotonic()
    passed = 0
    try:
        async with contextlib.AsyncExitStack() as stack:
            folder = await stack.enter_async_context(_demo_folder(data_dir))
            settings = _settings(folder, port, ops_port)
            show.heading("Setting up")
            show.note("Starting PostgreSQL (the first time takes a moment) and the hub, a CPO and an eMSP")
            keys = load_secret_keys(settings)
            database = await stack.enter_async_context(Database(settings))
            hub = HubProcess(settings, show)
            stack.push_async_callback(hub.stop)
            await hub.start()
            cpo, emsp = (
                SimulatedPlatform("Amber Charging", [(CPO, "CPO")]),
                SimulatedPlatform("Volta Drive", [(EMSP, "EMSP")]),
            )
            for platform, its_port in ((cpo, cpo_port), (emsp, emsp_port)):
                stack.push_async_callback(platform.stop)
                await platform.start(its_port)
            client = make_client(settings, make_guard(settings))
            stack.push_async_callback(client.close)
            show.note(f"hub {settings.versions_url}   CPO {CPO} {cpo.versions_url}   eMSP {EMSP} {emsp.versions_url}")
            await _register(Members(settings, keys, database), settings, client, hub, cpo, emsp, show)
            passed = 1
            charge = Charge(cpo, emsp, hub)
            for title, step in charge.steps():
                show.heading(title)
                await step()
                passed += 1
            seconds = time.monotonic() - began
            console.print(
                f"\n[bold green]Done:[/] {passed} steps, {show.hops} requests through the hub, {seconds:.1f} s. "
                "Every answer was the receiver's own.",
                highlight=False,
                soft_wrap=True,
            )
            if keep:
                await _keep_on(charge, settings, show)
            return 0
    except (DemoFailed, Exception) as exc:  # every failure is said in one line, and the exit code is 1
        reason = str(exc) or type(exc).__name__
        console.print(f"\n[bold red]Failed[/] after {passed} steps: {escape(reason)}", highlight=False, soft_wrap=True)
        return 1


async def _register(
    members: Members,
    settings: Settings,
    client: Client,
    hub: HubProcess,
    cpo: SimulatedPlatform,
    emsp: SimulatedPlatform,
    show: Show,
) -> None:
    show.heading(f"{CPO} registers at the hub, as `ocpi-hub party invite {CPO}:CPO` lets it")
    invitation = await members.invite([Role.parse(f"{CPO}:CPO")], cpo.name)
    show.names[invitation.platform_id] = CPO
    answer = await cpo.register_at(invitation.versions_url, invitation.token.reveal())
    await hub.seen("credentials.post")
    _expect(answer.status_code == 1000, "registration", answer)
    hub.forget()

    show.heading(f"The hub registers at {EMSP}, as `ocpi-hub party connect` does")
    guard = make_guard(settings)
    caller = Caller(client, guard)
    token_a = Secret(emsp.offer_token_a())
    found = await members.discover(emsp.versions_url, token_a, caller, show.note)
    show.names[invitation.platform_id + 1] = EMSP
    await members.connect(found, token_a, [Role.parse(f"{EMSP}:EMSP")], caller, show.note, emsp.name)
    await hub.seen("versions.details")
    async with asyncio.timeout(5):  # a running hub follows within a second, without a restart
        while (await cpo.call("GET", "tokens", "SENDER", to=EMSP, query="limit=1")).status_code != 1000:
            await asyncio.sleep(0.1)
    await hub.seen("tokens.list")
    hub.forget()


async def _keep_on(charge: Charge, settings: Settings, show: Show) -> None:
    """Go on producing traffic until interrupted."""
    ops = f"http://{settings.ops_host}:{settings.ops_port}"
    show.heading("Staying up, with a charge every few seconds, until Ctrl-C")
    show.note(f"Metrics   {ops}/metrics")
    show.note(f"Ready     {ops}/ready")
    show.note(f"Members   OCPI_HUB_DATA_DIR={settings.data_dir} OCPI_HUB_PORT={settings.port} ocpi-hub party list")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        charge.number += 1
        for _, step in charge.steps():
            await step()
            charge.hub.forget()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _KEEP_PAUSE_SECONDS)
            if stop.is_set():
                return


def _settings(folder: Path, port: int, ops_port: int) -> Settings:
    """Give the demo's own settings, whatever the environment says: it must never touch a real hub's database."""
    free = free_ports(2)
    return Settings(port=port or free[0], ops_port=ops_port or free[1], data_dir=folder, name="Demo Hub")


def _expect(condition: bool, what: str, answer: Answer) -> None:
    if not condition:
        raise DemoFailed(f"{what}: HTTP {answer.http_status}, {answer.body[:300].decode(errors='replace')}")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
