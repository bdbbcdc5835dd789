"""Where members connect: listening sockets and the connections on them."""

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections.abc import Set as AbstractSet
from typing import Any, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from hub.envelope import envelope

SILENCE_SECONDS = 75.0
"""How long a member's connection may go without a whole request."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused request is taken in, so that the member comes to read why it was refused."""


_LOOK_SECONDS = 0.02


class MemberRequest(web.BaseRequest):
    """A request of a member's; while the hub stops, its answer says `Connection: close`."""

    @property
    def keep_alive(self) -> bool:
        """Whether the connection stays open after the answer."""
        connection = self.protocol
        is_last = isinstance(connection, MemberConnection) and connection.server.is_draining
        return not is_last and super().keep_alive


class Fast(Protocol):
    """What serves connections before they come to aiohttp."""

    is_draining: bool
    """Whether every connection ends with its next answer."""

    @property
    def fronts(self) -> AbstractSet[object]:
        """The connections that are in its hands."""

    def __call__(self) -> asyncio.Protocol:
        """Make the protocol of a new connection."""

    def close_idle(self, seconds: float) -> None:
        """Close what has asked nothing for so long."""

    async def stop(self) -> None:
        """Break off what is still under way."""


class MemberServer(web.Server):
    """aiohttp's server with our connections, and with the fast lane in front of it if there is one."""

    fast: Fast | None = None

    is_draining = False
    """Whether every connection ends with its next answer."""

    async def drain(self, idle_seconds: float, limit_seconds: float, least_seconds: float = 0) -> None:
        """End every connection: with its next answer, or when it has asked nothing for so long; not later than this.

        Call it when no more connections are accepted. No request of which a byte was read is left without its answer
        within the limit. What is still there then is for aiohttp to break off.
        """
        self.is_draining = True
        if self.fast is not None:
            self.fast.is_draining = True
        began = time.monotonic()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_seconds):
                await asyncio.sleep(0)  # what was accepted last becomes a connection
                while self._has_connections() or time.monotonic() < began + least_seconds:
                    if self.fast is not None:
                        self.fast.close_idle(idle_seconds)
                    for connection in self.connections:
                        assert isinstance(connection, MemberConnection)
                        if connection.is_idle_for(idle_seconds):
                            connection.force_close()
                    await asyncio.sleep(_LOOK_SECONDS)

    def _has_connections(self) -> bool:
        return bool(self.connections or (self.fast is not None and self.fast.fronts))

    def _make_request(self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        return MemberRequest(message, payload, protocol, writer, task, self._loop)

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        if self.fast is not None:
            return self.fast()  # type: ignore[return-value] # for the event loop, which asks for a Protocol only
        return self.make_connection()

    def make_connection(self) -> RequestHandler:
        """Make the protocol of a connection that aiohttp serves."""
        return MemberConnection(self, loop=self._loop, **self._kwargs)

    async def shutdown(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Break off what is still under way, after `drain`."""
        if self.fast is not None:
            await self.fast.stop()
        await super().shutdown(timeout)


class MemberConnection(RequestHandler):
    """A member's connection: its errors are OCPI envelopes, a GET ends when the member leaves, silence ends it."""

    server: MemberServer
    is_busy = False
    """Whether a request is being answered."""
    cancel_when_lost: asyncio.Task[Any] | None = None
    _idle_since = 0.0
    _has_begun = False
    """Whether part of a request's head was read, and the rest of it was not."""
    _last_payload: Any = None
    """The body of the latest request."""

    def __init__(self, server: MemberServer, **kwargs: Any) -> None:
        super().__init__(server, **kwargs)
        self.server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to count: heads that trickle in for ever must not hold connections (aiohttp has no limit there)."""
        super().connection_made(transport)
        self._idle_since = time.monotonic()
        asyncio.get_running_loop().call_later(SILENCE_SECONDS, self._end_silence)

    def data_received(self, data: bytes) -> None:
        """Note whether a request has begun, which must be answered even if the hub is stopping."""
        is_body = self._last_payload is not None and not self._last_payload.is_eof()
        known = len(self._messages)
        super().data_received(data)
        if len(self._messages) > known:
            self._last_payload, self._has_begun = self._messages[-1][1], False
        elif data and not is_body:
            self._has_begun = True

    def is_idle_for(self, seconds: float) -> bool:
        """Whether it has asked nothing for so long, not even by a byte that is still to be read."""
        is_waiting = self._waiter is not None and not self._waiter.done()  # for a request; the last answer is written
        if not is_waiting or self._has_begun or time.monotonic() - self._idle_since < seconds:
            return False
        return self.transport is not None and not has_unread(self.transport)

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


def has_unread(transport: asyncio.BaseTransport) -> bool:
    """Whether the kernel holds bytes that were not read yet."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.fileno() < 0:
        return False
    (waiting,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.FIONREAD, bytes(4)))
    return bool(waiting)


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family, backlog=1024, reuse_port=False)
    # For all its connections: asyncio does so only where it knows that the protocol is TCP, which it is not told here.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setblocking(False)
    return listener


def free_ports(count: int) -> list[int]:
    """Give ports that nobody listens on just now, all different."""
    probes = [listen("127.0.0.1", 0) for _ in range(count)]
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports
