"""Hubs and members for tests: started on free ports, stopped without a trace."""

import asyncio
import contextlib
import io
import os
import socket
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from config.settings import Settings, read_settings
from hub.handshake import Caller
from hub.listener import listen
from hub.members import Members
from hub.ops import make_ops_app
from hub.server import Hub, serve_members
from hub.simulator import SimulatedPlatform
from hub.trace import RequestLog
from parties.model import Role
from parties.tokens import Secret

FAST_LANE_VARIABLE = "TEST_FAST_LANE"
"""`TEST_FAST_LANE=off make test` runs every test through aiohttp alone; those about forwarding always run both ways."""
SECRET_KEY = "tests-only-secret-key-0123456789abcdef"


def settings_for(database_url: str, **settings: Any) -> Settings:
    """Give settings for a hub on loopback, with time limits that a test can wait for.

    Sender lists are read only where a test says `pulls=True`: else platforms would receive what no test asked for.
    """
    defaults: dict[str, Any] = {
        "pulls": False,
        "port": 0,
        "secret_key": SECRET_KEY,
        "forward_timeout": 1.0,
        "authorize_timeout": 0.5,
        "connect_timeout": 1.0,
        "idle_timeout": 1.0,
        "drain_timeout": 3.0,
    }
    if os.environ.get(FAST_LANE_VARIABLE) == "off":
        defaults["fast_lane"] = False
    return read_settings(**defaults | {"database_url": database_url} | settings)


async def serve(hub: Hub, member_socket: socket.socket, ops_socket: socket.socket, stop: asyncio.Event) -> None:
    """Serve members and operators in this one process until `stop` is set, then let requests under way finish."""
    ops = web.AppRunner(make_ops_app(hub), access_log=None, shutdown_timeout=1)
    await ops.setup()
    await web.SockSite(ops, ops_socket).start()
    try:
        await serve_members(hub, member_socket, stop, ops_port=ops_socket.getsockname()[1])
    finally:
        await ops.cleanup()


class HubOnTest:
    """A whole hub with its listeners, in the test's own event loop."""

    def __init__(self, settings: Settings) -> None:
        self._member_socket = listen("127.0.0.1", settings.port)
        self._ops_socket = listen("127.0.0.1", 0)
        given = {name: getattr(settings, name) for name in settings.model_fields_set - {"public_url", "port"}}
        if settings.public_url != f"http://{settings.host}:{settings.port}":
            given["public_url"] = settings.public_url
        self.settings = Settings(**given, port=port_of(self._member_socket))
        self.log = io.StringIO()
        self.hub = Hub(self.settings, request_log=RequestLog(as_json=True, stream=self.log))
        self.members = Members(self.settings, self.hub.keys, self.hub.database)
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where members reach it."""
        return f"http://127.0.0.1:{self.settings.port}"

    @property
    def versions_url(self) -> str:
        """Its versions endpoint."""
        return self.settings.versions_url

    @property
    def ops_url(self) -> str:
        """Where operators reach it."""
        return f"http://127.0.0.1:{port_of(self._ops_socket)}"

    @property
    def caller(self) -> Caller:
        """Its caller for the credentials exchange."""
        return Caller(self.hub.client, self.hub.guard)

    async def start(self) -> None:
        """Start it and wait until it routes."""
        self._task = asyncio.create_task(serve(self.hub, self._member_socket, self._ops_socket, self._stop))
        while not self.hub.live.is_loaded:
            if self._task.done():
                self._task.result()
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Stop it gracefully."""
        self._stop.set()
        if self._task is not None:
            await self._task

    async def invite(self, *roles: str, name: str | None = None) -> str:
        """Make a CREDENTIALS_TOKEN_A for roles like `DE-ABC:EMSP`."""
        made = await self.members.invite([Role.parse(role) for role in roles], name)
        await self.hub.live.refresh()
        return made.token.reveal()

    async def register(self, platform: SimulatedPlatform, *, roles: Sequence[str] | None = None) -> None:
        """Let a platform register itself through the real handshake."""
        token = await self.invite(*(roles or roles_of(platform)), name=platform.name)
        answer = await platform.register_at(self.versions_url, token)
        assert answer.status_code == 1000, answer.body

    async def opens_lanes(self) -> None:
        """Wait until what is broadcast goes to every registered platform at once, not as a state that it missed."""
        while self.hub.processes.is_alone:
            open_now = {gauge.platform_id for gauge in self.hub.metrics.lanes()}
            table = self.hub.live.table.platforms
            if all(platform.state != "registered" or platform.id in open_now for platform in table.values()):
                return
            await asyncio.sleep(0.005)

    async def connect(self, platform: SimulatedPlatform) -> list[str]:
        """Register the hub at a platform; gives what the operator is told."""
        told: list[str] = []
        token = Secret(platform.offer_token_a())
        found = await self.members.discover(platform.versions_url, token, self.caller, told.append)
        roles = [Role.parse(role) for role in roles_of(platform)]
        await self.members.connect(found, token, roles, self.caller, told.append, platform.name)
        await self.hub.live.refresh()
        return told


def roles_of(platform: SimulatedPlatform) -> list[str]:
    """Give a simulated platform's roles as the operator writes them."""
    return [f"{party}:{role}" for party, role in platform.roles]


def port_of(listener: socket.socket) -> int:
    """Give the port that a socket listens on."""
    port: int = listener.getsockname()[1]
    return port


@contextlib.asynccontextmanager
async def registered(hub: HubOnTest, *platforms: SimulatedPlatform) -> Any:
    """Start platforms and register each at the hub."""
    async with contextlib.AsyncExitStack() as stack:
        for platform in platforms:
            await stack.enter_async_context(platform)
            await hub.register(platform)
        await hub.opens_lanes()
        for platform in platforms:
            platform.clear()
        yield platforms
