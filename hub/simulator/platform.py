"""A simulated platform: it listens, answers by default as a real one would, and sends asynchronous results."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from inspect import isawaitable
from typing import Any, Self

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from config.ocpi import (
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    InterfaceRole,
    MethodNotAllowed,
    NotFound,
    OCPIError,
)
from hub.simulator.inbox import Inbox
from hub.simulator.messages import Answer, Behaviour, Received, Reply, encode, envelope, write_party
from hub.simulator.misbehaviour import Misbehaviour, close, die_mid_body, give_html, write_garbage
from hub.simulator.objects import Object
from hub.simulator.registration import Registrant
from hub.simulator.requests import Request
from hub.simulator.store import ObjectStore

_SAME = {REQUEST_ID: REQUEST_ID, CORRELATION_ID: CORRELATION_ID}
_SWAPPED = {TO_COUNTRY: FROM_COUNTRY, TO_PARTY: FROM_PARTY, FROM_COUNTRY: TO_COUNTRY, FROM_PARTY: TO_PARTY}
"""Which header of a request each header of its response repeats (OCPI 2.2.1, Message Routing Headers)."""


class SimulatedPlatform(Registrant):
    """A platform of one or more parties that speaks OCPI 2.2.1 on 127.0.0.1."""

    def __init__(
        self,
        name: str,
        roles: Sequence[tuple[str, str]],
        *,
        modules: Sequence[tuple[str, InterfaceRole]] | None = None,
        token_base64: bool = True,
        endpoint_suffix: str = "/",
        versions: Sequence[str] = ("2.2.1",),
        base_path: str = "/ocpi",
        client_info: bool = False,
        on_received: Callable[[Received], None] | None = None,
        keep: int | None = None,
    ) -> None:
        """`keep`: of what is received, only so many (and at most twice as many) of the last; None keeps everything."""
        self.name = name
        self.roles = list(roles)
        self.token_base64 = token_base64
        self.endpoint_suffix = endpoint_suffix
        self.versions = list(versions)
        self.base_path = base_path
        self._modules = None if modules is None else tuple(modules)
        self._client_info = client_info
        self.hub_endpoints = {}

        self.store = ObjectStore()
        self._inbox = Inbox(name, keep)
        self.received = self._inbox.received
        self.on_received = on_received
        self.results: list[Answer] = []
        """What the hub answered to this platform's asynchronous results."""
        self.failures: list[Exception] = []
        """Why asynchronous results could not be sent."""

        self.result_delay_seconds = 0.0
        self.sends_headers = True
        """Whether its answers carry routing headers and message ids."""

        self._overrides: dict[tuple[str, str, InterfaceRole], Behaviour] = {}
        self._misbehaviour: tuple[Misbehaviour | None, float] = (None, 0)
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: web.ServerRunner | None = None

    def __repr__(self) -> str:
        state = self.origin if self._runner else "stopped"
        return f"<SimulatedPlatform {self.name} {', '.join(map(str, self.parties))}: {state}>"

    # Starting and stopping

    async def start(self, port: int = 0) -> None:
        """Listen. Port 0 is any free one, and the same again after a stop, as the partners know it."""
        self._stopping.clear()
        # The body is kept as it came: no content coding is undone.
        server = web.Server(self._serve, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", port or self._port).start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]
        self._open_session()

    async def stop(self) -> None:
        """Stop listening, drop results that are still to be sent, and close every connection."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for task in self._tasks:
            task.cancel()
        await self.settle()
        await self._close_session()

    async def settle(self) -> None:
        """Wait until no asynchronous result is still to be sent."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # What it received

    def clear(self) -> None:
        """Forget what was received."""
        self.received.clear()

    async def wait_for(
        self,
        wanted: Callable[[Received], bool] | int = 1,
        timeout: float = 20.0,  # noqa: ASYNC109
    ) -> Received:
        """Give the first request for which `wanted` is true, or the `wanted`th one; at once if it has arrived already.

        Raises TimeoutError, with what did arrive.
        """
        return await self._inbox.wait_for(wanted, timeout)

    # As a server

    def answer(
        self, method: str, module: str, interface: InterfaceRole = "SENDER", reply: Behaviour | None = None
    ) -> None:
        """Answer these requests so from now on; None brings the default behaviour back.

        Also for `versions`, `details` and `credentials`, whose interface is SENDER here.
        """
        if reply is None:
            self._overrides.pop((method, module, interface), None)
        else:
            self._overrides[method, module, interface] = reply

    def misbehave(self, kind: Misbehaviour | None, *, seconds: float = 1.0) -> None:
        """Misbehave from now on, except in versions, details and credentials; None ends it.

        `seconds` is how much later a slow answer comes.
        """
        self._misbehaviour = (kind, seconds)

    async def default_reply(self, received: Received) -> Reply:
        """Give what this platform answers when nothing is overridden, for an override that only adds to it."""
        request = self._read_request(received)
        try:
            if request is None:
                raise NotFound
            if request.is_registration:
                return await self._answer_registration(request, received)
            outcome = self.store.carry_out(request)
        except OCPIError as exc:
            headers = {"Allow": ", ".join(exc.allow)} if isinstance(exc, MethodNotAllowed) else {}
            return Reply(exc.http_status, envelope(None, exc.status_code, exc.message), headers)
        then = None
        if outcome.response_url is not None and outcome.result is not None:
            then = partial(self._follow_up, request, outcome.response_url, outcome.result)
        return Reply(outcome.http_status, envelope(outcome.data), outcome.headers, then)

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await http.content.read()
        except (ConnectionError, aiohttp.ClientError, web.RequestPayloadError):
            return web.Response()  # to nobody: the caller went away in mid-body
        received = Received(http.method, http.raw_path, http.headers, body, asyncio.get_running_loop().time())
        self._inbox.record(received)
        if self.on_received is not None:
            self.on_received(received)
        request = self._read_request(received)
        if not self._authenticate(request, received):
            return self._respond(_refuse_token(), received)
        if request is not None and not request.is_registration:
            kind, seconds = self._misbehaviour
            if kind == "slow":
                await self._pause(seconds)
            elif kind is not None:
                return await self._misbehave(kind, http, received)
        reply = await self._reply(received)
        response = self._respond(reply, received)
        if reply.then is not None:
            with suppress(ConnectionError):  # who asked may be gone by now, and gets its result all the same
                await response.prepare(http)
                await response.write_eof()
            self._spawn(reply.then())
        return response

    async def _reply(self, received: Received) -> Reply:
        request = self._read_request(received)
        override = None
        if request is not None:
            override = self._overrides.get((request.method, request.module, request.interface))
        if override is None:
            return await self.default_reply(received)
        if isinstance(override, Reply):
            return override
        given = override(received)
        return await given if isawaitable(given) else given

    def _respond(self, reply: Reply, received: Received) -> web.Response:
        headers: CIMultiDict[str] = CIMultiDict()
        if reply.body is not None:
            headers["Content-Type"] = "application/json"
        if self.sends_headers:
            request = self._read_request(received)
            is_routed = request is not None and not request.is_configuration
            for name, source in (_SAME | _SWAPPED if is_routed else _SAME).items():
                if source in received.headers:
                    headers[name] = received.headers[source]
        headers.update(reply.headers)
        return web.Response(status=reply.status, headers=headers, body=encode(reply.body))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Misbehaviour

    async def _misbehave(self, kind: Misbehaviour, http: web.BaseRequest, received: Received) -> web.StreamResponse:
        match kind:
            case "html":
                return give_html()
            case "unauthorized":
                return self._respond(_refuse_token(), received)
            case "die_mid_body":
                return await die_mid_body(http, self._respond(await self._reply(received), received))
            case "silent":
                await self._pause(None)
            case "garbage":
                write_garbage(http)
        return close(http)

    async def _pause(self, seconds: float | None) -> None:
        """Wait, but not longer than the platform runs."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    # Asynchronous results

    async def cancel_reservation(self, reservation_id: str) -> Answer:
        """Tell the eMSP that the CPO cancels a reservation: once more at the response_url of its RESERVE_NOW.

        Raises LookupError when there is no such reservation.
        """
        for (sender, known), (response_url, request) in self.store.reservations.items():
            if known == reservation_id.upper():
                del self.store.reservations[sender, known]
                return await self._send_result(request, response_url, {"result": "CANCELED_RESERVATION"})
        raise LookupError(f"{self.name} has no reservation {reservation_id}.")

    async def _follow_up(self, request: Request, response_url: str, result: Object) -> None:
        await asyncio.sleep(self.result_delay_seconds)
        try:
            await self._send_result(request, response_url, result)
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            self.failures.append(exc)

    async def _send_result(self, request: Request, response_url: str, result: Object) -> Answer:
        """POST an asynchronous result to whoever asked, in the same conversation."""
        headers = self._message_headers(self.hub_token)
        headers["Content-Type"] = "application/json"
        if request.correlation_id is not None:
            headers[CORRELATION_ID] = request.correlation_id
        write_party(headers, FROM_COUNTRY, FROM_PARTY, request.owner or self.parties[0])
        if request.sender is not None:
            write_party(headers, TO_COUNTRY, TO_PARTY, request.sender)
        answer = await self._send("POST", response_url, headers, encode(result))
        self.results.append(answer)
        return answer


def _refuse_token() -> Reply:
    return Reply(401, envelope(None, 2000, "The credentials token is missing or unknown."))
