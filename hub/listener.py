"""Where members connect: listening sockets and the connections on them."""

import asyncio
import socket
import time
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

from hub.envelope import envelope

SILENCE_SECONDS = 75.0
"""How long a member's connection may go without a whole request."""
LINGER_SECONDS = 2.0
"""How long the rest of a refused request is taken in, so that the member comes to read why it was refused."""


class MemberServer(web.Server):
    """aiohttp's server with our connections."""

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return MemberConnection(self, loop=self._loop, **self._kwargs)


class MemberConnection(RequestHandler):
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
