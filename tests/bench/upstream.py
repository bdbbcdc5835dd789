"""The receivers of the bench: a protocol that costs next to nothing, and counts what arrives.

They live in the bench's own process beside the load, so that both share one core and what is measured has the other.
"""

import asyncio
import re

SIZES = {"S1": 1024, "S64K": 64 * 1024, "S5M": 5 * 1024 * 1024}
"""The object in the URL says how long the answer is; any other has the answer of S1."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


def answer_body(size: int) -> bytes:
    """Give an OCPI envelope of this many bytes."""
    head = b'{"data":{"x":"'
    tail = b'"},"status_code":1000,"status_message":"Success","timestamp":"2026-01-01T00:00:00.000Z"}'
    return head + b"y" * (size - len(head) - len(tail)) + tail


def _answer(size: int) -> bytes:
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Total-Count: 1\r\nX-Limit: 50\r\n"
    return f"{head}Content-Length: {size}\r\n\r\n".encode() + answer_body(size)


class Upstream:
    """Every receiver there is, on as many ports as are asked for."""

    def __init__(self) -> None:
        self.requests = 0
        """How many were answered so far."""
        self.last = b""
        """The latest request as it came over the wire."""
        self.answers = {name.encode(): _answer(size) for name, size in SIZES.items()}
        self._arrived = asyncio.Event()
        self._wanted = 0
        self._servers: list[asyncio.Server] = []

    async def listen(self, number: int = 1) -> list[int]:
        """Open so many further ports, and give them."""
        loop = asyncio.get_running_loop()
        new = [await loop.create_server(lambda: _Receiver(self), "127.0.0.1", 0, backlog=1024) for _ in range(number)]
        self._servers += new
        return [server.sockets[0].getsockname()[1] for server in new]

    async def wait_for(self, number: int, seconds: float) -> None:
        """Wait until so many requests were answered. Raises TimeoutError."""
        self._wanted = number
        self._arrived.clear()
        if self.requests < number:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        self._wanted = 0

    def note(self, request: bytes) -> None:
        """Count a request."""
        self.requests += 1
        self.last = request
        if self.requests == self._wanted:
            self._arrived.set()

    def close(self) -> None:
        """Listen no more."""
        for server in self._servers:
            server.close()


class _Receiver(asyncio.Protocol):
    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        data = self._rest + data if self._rest else data
        while data:
            end = data.find(b"\r\n\r\n") + 4
            if end < 4:
                break
            if not data.startswith(b"GET "):
                found = _LENGTH.search(data, 0, end)
                end += int(found[1]) if found else 0
            if len(data) < end:
                break
            request, data = data[:end], data[end:]
            target = request[: request.find(b" HTTP/1.")]
            answers = self._upstream.answers
            self._transport.write(answers.get(target[target.rfind(b"/") + 1 :]) or answers[b"S1"])  # type: ignore[attr-defined]
            self._upstream.note(request)
        self._rest = data
