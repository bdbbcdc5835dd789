"""How the demo is set up, played and ended."""

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from config.settings import Settings
from hub.database import Database
from hub.demo.charge import CPO, EMSP, Charge
from hub.demo.sharing import SECOND_EMSP, THIRD_EMSP, Sharing, simulated
from hub.demo.stage import DemoFailed, HubProcess, Show, expect
from hub.handshake import Caller
from hub.keys import load_secret_keys
from hub.listener import free_ports
from hub.members import Members
from hub.server import make_client, make_guard
from hub.simulator import SimulatedPlatform
from parties.model import Role
from parties.tokens import Secret

Step = Callable[[], Awaitable[None]]

_KEEP_PAUSE_SECONDS = 1.0
_SILENCE_SECONDS = 2.0
"""The demo's hub looks early whether a silent platform is there, so that nobody need wait for it."""


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
            show.note("Starting PostgreSQL (the first time takes a moment) and the hub, a CPO and three eMSPs")
            keys = load_secret_keys(settings)
            database = await stack.enter_async_context(Database(settings))
            hub = HubProcess(settings, show)
            stack.push_async_callback(hub.stop)
            await hub.start()
            cpo, emsp = simulated("Amber Charging", CPO, "CPO"), simulated("Volta Drive", EMSP, "EMSP")
            second, third = (
                simulated("Zap Mobility", SECOND_EMSP, "EMSP"),
                simulated("Nordic Drive", THIRD_EMSP, "EMSP"),
            )
            for platform, its_port in ((cpo, cpo_port), (emsp, emsp_port), (second, 0), (third, 0)):
                stack.push_async_callback(platform.stop)
                await platform.start(its_port)
            client = make_client(settings, make_guard(settings))
            stack.push_async_callback(client.close)
            show.note(f"hub {settings.versions_url}   CPO {CPO} {cpo.versions_url}   eMSP {EMSP} {emsp.versions_url}")
            members = Members(settings, keys, database)
            charge = Charge(cpo, emsp, hub)
            emsps = {EMSP: emsp, SECOND_EMSP: second, THIRD_EMSP: third}
            sharing = Sharing(cpo, emsps, hub, show, f"{settings.country_code}-{settings.party_id}")
            steps: list[tuple[str, Step]] = [
                (
                    f"{CPO} registers at the hub, as `ocpi-hub party invite {CPO}:CPO` lets it",
                    partial(_join, members, hub, cpo, f"{CPO}:CPO", show),
                ),
                (
                    f"The hub registers at {EMSP}, as `ocpi-hub party connect` does",
                    partial(_connect, members, Caller(client, make_guard(settings)), hub, cpo, emsp, show),
                ),
                *charge.steps(),
                *(
                    (f"{party} registers too", partial(_join, members, hub, emsps[party], f"{party}:EMSP", show))
                    for party in (SECOND_EMSP, THIRD_EMSP)
                ),
                *sharing.steps(),
            ]
            for title, step in steps:
                show.heading(title)
                await step()
                passed += 1
            seconds = time.monotonic() - began
            console.print(
                f"\n[bold green]Done:[/] {passed} steps, {show.hops} requests to the hub, {show.deliveries} deliveries "
                f"of a broadcast, {seconds:.1f} s. Every answer that the hub relayed was the receiver's own.",
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


async def _join(members: Members, hub: HubProcess, platform: SimulatedPlatform, role: str, show: Show) -> None:
    """Invite a platform, and let it register."""
    invitation = await members.invite([Role.parse(role)], platform.name)
    show.names[invitation.platform_id] = role.partition(":")[0]
    answer = await platform.register_at(invitation.versions_url, invitation.token.reveal())
    await hub.seen("credentials.post")
    expect(answer.status_code == 1000, "registration", answer)
    hub.forget()


async def _connect(
    members: Members, caller: Caller, hub: HubProcess, cpo: SimulatedPlatform, emsp: SimulatedPlatform, show: Show
) -> None:
    """Let the hub register at the first eMSP, and wait until the CPO reaches it."""
    token_a = Secret(emsp.offer_token_a())
    found = await members.discover(emsp.versions_url, token_a, caller, show.note)
    show.names[max(show.names) + 1] = EMSP
    await members.connect(found, token_a, [Role.parse(f"{EMSP}:EMSP")], caller, show.note, emsp.name)
    await hub.seen("versions.details")
    async with asyncio.timeout(5):  # a running hub follows within a second, without a restart
        while (await cpo.call("GET", "tokens", "SENDER", to=EMSP, query="limit=1")).status_code != 1000:
            await asyncio.sleep(0.1)
    await hub.seen("tokens.list")
    show.note(
        f"This first message of {cpo.parties[0]} waited until {EMSP} had heard of it by ClientInfo, a second at most."
    )
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
    return Settings(
        port=port or free[0], ops_port=ops_port or free[1], data_dir=folder, name="Demo Hub", silence=_SILENCE_SECONDS
    )
