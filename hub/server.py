"""The hub process: everything it is made of put together, its listeners, its start and its end."""

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version as distribution_version

import structlog
from aiohttp import web

from config.ocpi import PartyID
from config.settings import Settings
from hub.accounts import Accounts
from hub.addresses import AddressGuard
from hub.aliases import Aliases
from hub.ask_emsps import EveryEMSP
from hub.broadcast import Broadcaster
from hub.client import Client
from hub.client_info import ClientInfos
from hub.credentials import Registrar
from hub.database import AWAY, Database, DatabaseAway
from hub.direct import Relay
from hub.fast_lane import FastLane
from hub.get_all import MergedLists
from hub.handshake import Caller
from hub.keys import load_secret_keys
from hub.lanes import Lanes
from hub.listener import LINGER_SECONDS, SILENCE_SECONDS, MemberServer
from hub.live_table import LiveTable
from hub.liveness import Liveness
from hub.metrics import Metrics
from hub.mirror import Mirror
from hub.open_routing import OpenRouting
from hub.own_calls import OwnCalls
from hub.processes import Processes
from hub.pulls import Pulls
from hub.road import Road
from hub.trace import RequestLog
from parties import store
from parties.model import origin_of

log = structlog.get_logger()

BREAK_OFF_SECONDS = 0.5
"""How long a request may take to end when it is broken off."""
GRACE_SECONDS = 0.1
"""How long a stopping hub waits for a next request on a connection that has just been in use."""
IDLE_SECONDS = 3.0
"""How long a process that is replaced waits for the next request on a connection that is kept alive."""
TLS_SECONDS = 1.0
"""How long it stays at least, since a connection that still shakes hands is not to be seen yet."""


class Hub:
    """One hub process: everything it is made of, put together in one place."""

    def __init__(self, settings: Settings, *, request_log: RequestLog) -> None:
        self.settings = settings
        self.party = PartyID(settings.country_code, settings.party_id)
        self.keys = load_secret_keys(settings)
        self.metrics = Metrics(distribution_version("ocpi-hub"))
        self.request_log = request_log
        self.accounts = Accounts(self.party, self.metrics, request_log)
        self.database = Database(settings)
        self.live = LiveTable(
            self.database,
            self.keys,
            is_open=settings.network == "open",
            custom_modules=settings.custom_modules,
        )
        self.guard = make_guard(settings)
        self.client = make_client(settings, self.guard)
        caller = Caller(self.client, self.guard, origin_of(settings.public_url))
        aliases = Aliases(self.keys, settings.public_url, self.database)
        live, database, metrics, party = self.live, self.database, self.metrics, self.party
        self.processes = processes = Processes(database, live)
        self.mirror = mirror = Mirror(settings, database)
        calls = OwnCalls(settings, self.client, metrics)
        self.liveness = Liveness(settings, live, database, processes, calls)
        calls.on_answer, calls.on_silence = self.liveness.seen, self.liveness.suspect
        self.client_infos = ClientInfos(settings, live, database, processes, calls)
        self.pulls = Pulls(settings, live, database, mirror, processes, calls, metrics, party)
        mirror.on_missing = self.pulls.fetch_missing
        self.lanes = Lanes(settings, live, database, mirror, processes, calls, metrics, request_log, party)
        self.relay = relay = Relay(settings, self.client, aliases, metrics, mirror, self.client_infos, self.liveness)
        emsps = EveryEMSP(settings, self.client, metrics, self.client_infos, self.liveness)
        self.road = Road(
            settings,
            live=live,
            database=database,
            aliases=aliases,
            registrar=Registrar(settings, self.keys, database, live, caller, processes),
            relay=relay,
            broadcaster=Broadcaster(settings, mirror, self.lanes, party),
            merged_lists=MergedLists(settings, live, database, mirror, aliases, party),
            open_routing=OpenRouting(settings, live, mirror, relay, emsps),
            client_infos=self.client_infos,
            liveness=self.liveness,
            accounts=self.accounts,
        )
        self.is_draining = False
        self.metrics.table = lambda: self.live.table
        self.metrics.is_degraded = lambda: self.live.is_degraded
        self.metrics.open_connections = self.client.connections
        self.metrics.checks = self.liveness.checks
        self.metrics.in_flight_at = self.client.in_flight
        self.metrics.mirror_waiting = lambda: mirror.pending
        self.metrics.mirror_dropped = lambda: mirror.dropped
        self.metrics.mirror_objects = lambda: mirror.listed

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Keep the routing table, the log and the gauges current for as long as the block lasts.

        Gives a task that ends only by failing: then the hub cannot go on.
        """
        try:
            await self._open_database()
            beside = asyncio.create_task(self._run_beside())
            try:
                yield beside
                await self.lanes.drain()
            finally:
                beside.cancel()
                await asyncio.gather(beside, return_exceptions=True)
                await self.road.close()
                await self.mirror.close()
                await self.processes.close()
        finally:
            await self.client.close()
            await self.database.close()
            self.request_log.flush()

    async def metrics_text(self) -> bytes:
        """Give the metrics of this process."""
        return self.metrics.render()

    async def readiness(self) -> dict[str, object]:
        """Tell whether members can be served: with a table and not draining; an absent database only degrades."""
        if self.is_draining:
            return {"status": "draining"}
        if not self.live.is_loaded:
            return {"status": "starting", "database": "away"}
        if self.live.is_degraded:
            return {"status": "degraded", "database": "away"}
        return {"status": "ready", "database": "up", "routing_generation": self.live.table.generation}

    async def _run_beside(self) -> None:
        async with asyncio.TaskGroup() as group:
            for work in (
                self.live.run(),
                self.request_log.run(),
                self.metrics.watch_loop(),
                self._tidy(),
                self.processes.run(),
                self.mirror.run(),
                self.lanes.run(),
                self.liveness.run(),
                self.client_infos.run(),
                self.pulls.run(),
            ):
                group.create_task(work)

    async def _tidy(self) -> None:
        """Forget stored aliases whose time is over, and contracts removed long ago, every hour."""
        while True:
            await asyncio.sleep(3600)
            with contextlib.suppress(DatabaseAway):
                async with self.database.connection() as connection:
                    await store.drop_expired_aliases(connection)
                    await store.forget_removed_contracts(connection)

    async def _open_database(self) -> None:
        try:
            await self.database.open()
            async with self.database.changing() as connection:
                await store.reseal_tokens(connection, self.keys)
                await store.drop_expired_aliases(connection)
            await self.live.refresh()
        except (DatabaseAway, *AWAY) as exc:
            log.warning(
                "the database cannot be reached yet; trying again every second",
                action="database_away",
                reason=type(exc.__cause__ or exc).__name__,
            )


def make_guard(settings: Settings) -> AddressGuard:
    """Give the guard of every URL that the hub calls; plain http only where the hub itself is on plain http."""
    return AddressGuard(settings.member_networks, allow_http=settings.public_url.startswith("http://"))


def make_client(settings: Settings, guard: AddressGuard) -> Client:
    """Give the client with this hub's limits."""
    return Client(
        guard,
        connect_timeout=settings.connect_timeout,
        idle_timeout=settings.idle_timeout,
        max_in_flight=settings.max_in_flight,
        urgent_share=settings.urgent_in_flight,
        slot_wait=settings.in_flight_wait,
    )


async def serve_members(
    hub: Hub,
    member_socket: socket.socket,
    stop: asyncio.Event,
    *,
    ops_port: int,
    retire: asyncio.Event | None = None,
    on_started: Callable[[], None] = lambda: None,
    table_seconds: float | None = None,
    **facts: object,
) -> None:
    """Serve members until `stop` is set, then let requests under way finish.

    `retire` is for a process whose successor serves already: it leaves the members more time. `table_seconds` is for a
    successor: it serves when it has a routing table, and raises DatabaseAway without one by then. `facts` are logged.
    """
    settings = hub.settings
    retire = retire or asyncio.Event()
    server = MemberServer(
        hub.road.answer, keepalive_timeout=SILENCE_SECONDS, lingering_time=LINGER_SECONDS, auto_decompress=False
    )
    if settings.fast_lane:
        server.fast = FastLane(
            settings,
            live=hub.live,
            client=hub.client,
            relay=hub.relay,
            client_infos=hub.client_infos,
            liveness=hub.liveness,
            accounts=hub.accounts,
            silence_seconds=SILENCE_SECONDS,
            hand_over_to=server.make_connection,
        )
    runner = web.ServerRunner(server, shutdown_timeout=BREAK_OFF_SECONDS)
    context = _tls_context(settings)
    async with hub.running() as beside:
        if table_seconds is not None:
            await _wait_for_table(hub, table_seconds, stop, beside)
        await runner.setup()
        site = web.SockSite(runner, member_socket, ssl_context=context, backlog=1024)
        await site.start()
        log.info(
            "the hub is up",
            action="started",
            versions_url=settings.versions_url,
            ops=f"http://{settings.ops_host}:{ops_port}/metrics",
            hub=str(hub.party),
            database="embedded" if settings.database_url is None else "external",
            **facts,
        )
        on_started()
        ends = [asyncio.create_task(stop.wait()), asyncio.create_task(retire.wait()), beside]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends[:2]:
            end.cancel()
        hub.is_draining = True
        await site.stop()
        log.info("the hub is stopping; requests under way finish first", action="draining", **facts)
        if not stop.is_set() and not beside.done():
            await _retire(server, settings, stop)
        await server.drain(GRACE_SECONDS, settings.drain_timeout)
        await runner.cleanup()
        if beside.done():
            beside.result()


def _tls_context(settings: Settings) -> ssl.SSLContext | None:
    """Give what serves TLS, if it is served here. Raises ValueError when its files cannot be used."""
    if settings.tls_certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    except OSError as exc:  # as an ssl.SSLError is, too
        reason = exc.strerror or str(exc)
        raise ValueError(
            f"tls_certificate: {settings.tls_certificate} with {settings.tls_key} cannot be used: {reason}"
        ) from exc
    return context


async def _wait_for_table(hub: Hub, seconds: float, stop: asyncio.Event, beside: asyncio.Task[None]) -> None:
    """Wait for the first routing table, unless the hub is stopped meanwhile. Raises DatabaseAway."""
    if hub.live.is_loaded:
        return
    loaded = asyncio.Event()
    hub.live.on_loaded.append(loaded.set)
    ends = [asyncio.create_task(loaded.wait()), asyncio.create_task(stop.wait())]
    await asyncio.wait((*ends, beside), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    if beside.done():
        beside.result()
    if not loaded.is_set() and not stop.is_set():
        raise DatabaseAway("the database is away")


async def _retire(server: MemberServer, settings: Settings, stop: asyncio.Event) -> None:
    """Let members go over to the successor at their next request, unless the hub is stopped meanwhile."""
    limit = settings.forward_timeout + settings.drain_timeout
    retiring = asyncio.create_task(server.drain(IDLE_SECONDS, limit, least_seconds=TLS_SECONDS))
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait((retiring, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (retiring, stopped):
        task.cancel()
    await asyncio.gather(retiring, stopped, return_exceptions=True)


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
