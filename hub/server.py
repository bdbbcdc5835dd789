"""The hub: its listeners, the road that every request walks, and what runs beside it."""

import asyncio
import contextlib
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Coroutine
from importlib.metadata import version as distribution_version
from typing import Any

import structlog
from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from config.ocpi import (
    AUTHORIZATION,
    MethodNotAllowed,
    NotFound,
    OCPIError,
    Overloaded,
    PartyID,
    ServerError,
    Unauthorized,
)
from config.operations import VERSIONS, OperationIndex
from config.settings import Settings
from hub.addresses import AddressGuard
from hub.aliases import Aliases
from hub.bodies import read_body
from hub.client import Client
from hub.credentials import Registrar
from hub.database import AWAY, Database, DatabaseAway
from hub.direct import Relay, new_id
from hub.envelope import envelope, failure, success
from hub.handshake import Caller
from hub.keys import load_secret_keys
from hub.live_table import LiveTable, Presented
from hub.metrics import Metrics
from hub.ops import make_ops_app
from hub.trace import RequestLog, Trace
from parties import store
from parties.model import Access
from routing.headers import answer_headers
from routing.links import ALIAS_PARAMETER, take_parameter
from routing.message import MessageIDs, read_aliased_message, read_ids, read_message, read_target
from routing.resolve import resolve, resolve_alias

log = structlog.get_logger()

_CREDENTIALS_MAX = 256 * 1024
SILENCE_SECONDS = 75.0
"""How long a member's connection may go without a whole request."""
_OUTCOMES = {4000: "4000", 4001: "4001", 4002: "4002", 4003: "4003"}


class Hub:
    """One hub process: everything it is made of, put together in one place."""

    def __init__(self, settings: Settings, *, request_log: RequestLog) -> None:
        self.settings = settings
        self.party = PartyID(settings.country_code, settings.party_id)
        self.operations = OperationIndex(settings.custom_modules)
        self.keys = load_secret_keys(settings)
        self.metrics = Metrics(distribution_version("ocpi-hub"))
        self.request_log = request_log
        self.database = Database(settings)
        self.live = LiveTable(self.database, self.keys)
        self.guard = make_guard(settings)
        self.client = make_client(settings, self.guard)
        self.aliases = Aliases(self.keys, settings.public_url, self.database)
        self.registrar = Registrar(settings, self.keys, self.database, self.live, Caller(self.client, self.guard))
        self.relay = Relay(settings, self.client, self.aliases, self.metrics)
        self.is_draining = False
        self._superseded: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.metrics.table = lambda: self.live.table
        self.metrics.is_degraded = lambda: self.live.is_degraded
        self.metrics.open_connections = self.client.connections
        self.metrics.in_flight_at = self.client.in_flight

    # -- the road

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request of a member: with the receiver's answer or an OCPI envelope, whatever was sent."""
        trace = Trace(request.method)
        ids = read_ids(request.headers, new_id())
        trace.request_id, trace.correlation_id = ids.request, ids.correlation
        self.metrics.in_flight += 1
        connection = request.protocol
        assert isinstance(connection, _Connection)
        connection.is_busy = True
        response: web.StreamResponse
        try:
            response = await self._walk(request, ids, trace)
        except OCPIError as error:
            response = self._refuse(error, ids, trace)
        except asyncio.CancelledError:
            trace.outcome, trace.http_status = "left", 499
            raise
        except Exception:
            log.exception("a request failed in the hub", action="failed", correlation_id=ids.correlation)
            response = self._refuse(ServerError("The hub failed.", http_status=500), ids, trace)
        else:
            trace.http_status = response.status
            if trace.status_code is not None and not 1000 <= trace.status_code < 2000 and trace.outcome == "ok":
                trace.outcome = "receiver_error"
        finally:
            self.metrics.in_flight -= 1
            connection.finished()
            trace.seconds = time.perf_counter() - trace.started
            self.metrics.count(trace)
            self.request_log.write(trace)
        return response

    async def _walk(self, request: web.BaseRequest, ids: MessageIDs, trace: Trace) -> web.StreamResponse:
        if not self.live.is_loaded:
            raise Overloaded("The hub is starting; try again shortly.")
        presented = await self._authenticate(request)
        access = presented.access
        trace.platform_id = access.platform.id
        url = _origin_form(request.raw_path)
        segments = [part for part in url.partition("?")[0].split("/") if part]
        if segments[:1] == ["ocpi"] and (len(segments) <= 2 or segments[2:] == ["credentials"]):
            trace.scenario = "configuration"
            return await self._configuration(request, segments[1:], presented, ids, trace)
        if not access.is_registered:
            # a CREDENTIALS_TOKEN_A opens versions and credentials only.
            raise Unauthorized("This credentials token is for registering only: versions and credentials.")
        target = read_target(url)
        operation = self.operations.find(
            target.version, target.interface, target.module, request.method, target.segments
        )
        trace.operation = operation.label
        alias_text, query = operation.alias and target.segments[-1], target.query
        if operation.paged and ALIAS_PARAMETER in query:
            alias_text, query = take_parameter(query, ALIAS_PARAMETER)
        if alias_text:
            trace.scenario = "alias"
            alias = await self.aliases.read(alias_text)
            if alias.kind != (operation.alias or "link"):
                raise NotFound
            message = read_aliased_message(operation, target, request.headers, access.platform, ids, alias)
            trace.sender, trace.receiver = message.sender, message.receiver
            route = resolve_alias(message, alias, self.live.table, query)
        else:
            trace.scenario = "direct"
            message = read_message(operation, target, request.headers, access.platform, ids)
            trace.sender, trace.receiver = message.sender, message.receiver
            route = resolve(message, self.live.table, self.party)
        trace.receiver_platform_id = route.platform.id
        if operation.method == "GET":
            connection = request.protocol
            assert isinstance(connection, _Connection)
            connection.cancel_when_lost = asyncio.current_task()  # only a GET ends with its requester
        return await self.relay.relay(request, message, route, trace)

    async def _authenticate(self, request: web.BaseRequest) -> Presented:
        presented = await self.live.authenticate(request.headers.get(AUTHORIZATION))
        if presented is None:
            raise Unauthorized
        if presented.access.platform.id in self.live.table.replaced:
            self._supersede(presented.access)
        return presented

    def _supersede(self, access: Access) -> None:
        """End the old token's life once its successor is used (T-006), off the road."""
        if access.kind == "current" and access.platform.id not in self._superseded:
            self._superseded.add(access.platform.id)
            self._start(self._forget_previous(access.platform.id))
        elif access.kind == "previous" and access.platform.id in self._superseded:
            raise Unauthorized

    async def _forget_previous(self, platform_id: int) -> None:
        try:
            async with self.database.connection() as connection:
                await store.drop_tokens(connection, platform_id, "previous")
            await self.live.refresh()
        except DatabaseAway:
            pass  # the next use of the new token tries again
        self._superseded.discard(platform_id)

    async def _configuration(
        self,
        request: web.BaseRequest,
        path: list[str],
        presented: Presented,
        ids: MessageIDs,
        trace: Trace,
    ) -> web.Response:
        """Answer versions, version details and credentials, without routing headers (R-054, R-094)."""
        fields = answer_headers(ids)
        if len(path) == 2:
            trace.operation = "credentials." + request.method.lower()
            self._require_version(path[0])
            body = await read_body(
                request, hold=_CREDENTIALS_MAX, maximum=_CREDENTIALS_MAX, idle_seconds=self.settings.idle_timeout
            )
            data = await self.registrar.answer(request.method, path[0], presented, body.held)
            trace.status_code = 1000
            return success(data, fields)
        if path == ["versions"]:
            trace.operation = "versions.list"
            data = [{"version": version, "url": self._details_url(version)} for version in VERSIONS]
        elif len(path) == 1:
            trace.operation = "versions.details"
            self._require_version(path[0])
            data = self._details(path[0])
        else:
            raise NotFound
        if request.method != "GET":
            raise MethodNotAllowed(allow=("GET",))
        trace.status_code = 1000
        return success(data, fields)

    def _require_version(self, version: str) -> None:
        if version not in VERSIONS:
            raise NotFound(f"This hub speaks OCPI {', '.join(VERSIONS)}; there is no {version!r} here.")

    def _details_url(self, version: str) -> str:
        return f"{self.settings.public_url}/ocpi/{version}"

    def _details(self, version: str) -> Any:
        endpoints = [
            {"identifier": module, "role": role, "url": self.aliases.module_url(version, role, module)}
            for module, role in self.operations.endpoints(version)
        ]
        credentials = {
            "identifier": "credentials",
            "role": "SENDER",
            "url": f"{self._details_url(version)}/credentials",
        }
        return {"version": version, "endpoints": [credentials, *endpoints]}

    def _refuse(self, error: OCPIError, ids: MessageIDs, trace: Trace) -> web.Response:
        """Answer in the receiver's place: FROM = hub, TO = the requester if known (R-103)."""
        trace.http_status, trace.status_code = error.http_status, error.status_code
        trace.problem = trace.problem or error.message
        if isinstance(error, Overloaded):
            trace.outcome = "overloaded"
        else:
            trace.outcome = _OUTCOMES.get(error.status_code) or (
                "hub_error" if 3000 <= error.status_code < 4000 else "refused"
            )
        functional = trace.scenario in ("direct", "alias") and trace.sender is not None
        fields = answer_headers(ids, to=trace.sender if functional else None, sender=self.party if functional else None)
        return failure(error, fields)

    # -- beside the road

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

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
            finally:
                for task in (beside, *self._tasks):
                    task.cancel()
                await asyncio.gather(beside, *self._tasks, return_exceptions=True)
        finally:
            await self.client.close()
            await self.database.close()
            self.request_log.flush()

    async def _run_beside(self) -> None:
        async with asyncio.TaskGroup() as group:
            for work in (self.live.run(), self.request_log.run(), self.metrics.watch_loop()):
                group.create_task(work)

    async def _open_database(self) -> None:
        try:
            await self.database.open()
            async with self.database.connection() as connection:
                await store.reseal_tokens(connection, self.keys)
                await store.drop_expired_aliases(connection)
            await self.live.refresh()
        except (DatabaseAway, *AWAY) as exc:
            log.warning(
                "the database cannot be reached yet; trying again every second",
                action="database_away",
                reason=type(exc.__cause__ or exc).__name__,
            )


class _Connection(RequestHandler):
    """A member's connection: its errors are OCPI envelopes, a GET ends when the member leaves, silence ends it."""

    is_busy = False
    """Whether a request is being answered."""
    cancel_when_lost: asyncio.Task[Any] | None = None
    _idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count: heads that trickle in for ever must not hold connections (aiohttp has no limit there)."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._end_silence)

    def finished(self) -> None:
        """Note that a request has been answered."""
        self.is_busy, self.cancel_when_lost, self._idle_since = False, None, time.monotonic()

    def _end_silence(self) -> None:
        if self.transport is None:
            return
        left = SILENCE_SECONDS if self.is_busy else self._idle_since + SILENCE_SECONDS - time.monotonic()
        if left <= 0:
            self.transport.abort()
        else:
            asyncio.get_running_loop().call_later(max(left, 1.0), self._end_silence)

    def connection_lost(self, exc: BaseException | None) -> None:
        """End a GET with its requester."""
        super().connection_lost(exc)
        if self.cancel_when_lost is not None:
            self.cancel_when_lost.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """Answer what is no HTTP with an envelope too (R-006)."""
        body = envelope(status_code=2000 if status < 500 else 3000, message="This is no well-formed HTTP request.")
        response = web.Response(status=status, body=body, content_type="application/json")
        response.force_close()
        return response


class MemberServer(web.Server):
    """aiohttp's server with our connections."""

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


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


def _origin_form(raw_url: str) -> str:
    """Give path and query of a request line's target, which may be absolute (RFC 9112, 3.2.2)."""
    if raw_url.startswith("/"):
        return raw_url
    _, found, rest = raw_url.partition("://")
    return "/" + rest.partition("/")[2] if found else raw_url


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024, reuse_port=False)
    listener.setblocking(False)
    return listener


def free_ports(count: int) -> list[int]:
    """Give ports that nobody listens on just now, all different."""
    probes = [listen("127.0.0.1", 0) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


async def serve(hub: Hub, member_socket: socket.socket, ops_socket: socket.socket, stop: asyncio.Event) -> None:
    """Serve members and operators until `stop` is set, then let requests under way finish."""
    settings = hub.settings
    server = MemberServer(hub.answer, keepalive_timeout=SILENCE_SECONDS, auto_decompress=False)
    runner = web.ServerRunner(server, shutdown_timeout=settings.drain_timeout)
    ops = web.AppRunner(make_ops_app(hub), access_log=None, shutdown_timeout=1)
    context = None
    if settings.tls_certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(settings.tls_certificate, settings.tls_key)
    await ops.setup()
    await web.SockSite(ops, ops_socket).start()
    try:
        async with hub.running() as beside:
            await runner.setup()
            site = web.SockSite(runner, member_socket, ssl_context=context, backlog=1024)
            await site.start()
            log.info(
                "the hub is up",
                action="started",
                versions_url=settings.versions_url,
                ops=f"http://{settings.ops_host}:{ops_socket.getsockname()[1]}/metrics",
                hub=str(hub.party),
                database="embedded" if settings.database_url is None else "external",
            )
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((stopped, beside), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            hub.is_draining = True
            log.info("the hub is stopping; requests under way finish first", action="draining")
            await runner.cleanup()
            if beside.done():
                beside.result()
    finally:
        await ops.cleanup()


def stop_on_signals() -> asyncio.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop
