"""A receiver of which a test knows every byte it was sent and plans every byte it answers."""

import asyncio
from dataclasses import dataclass, field

import httptools

ENVELOPE = b'{"data":[],"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'


def reply(body: bytes = ENVELOPE, status: str = "200 OK", *lines: str, framed: bool = True) -> bytes:
    """An answer of the receiver's, as it goes over the wire."""
    head = [f"HTTP/1.1 {status}", "Content-Type: application/json", *lines]
    if framed:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*head, "", ""]).encode() + body


@dataclass(frozen=True)
class Reply:
    """What the receiver does with one request."""

    pieces: tuple[bytes, ...] = (reply(),)
    """Sent one after the other, each in a turn of its own."""
    closes: bool = False
    """Whether it closes the connection afterwards."""
    waits: bool = False
    """Whether it waits until the requester has sent everything."""


class Receiving(asyncio.Protocol):
    """One connection of the receiver's."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._parser = httptools.HttpRequestParser(self)
        self._data = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._station.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._station.came += len(data)
        self._data += data
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            self._station.requests.append(b"NO HTTP: " + self._data + repr(exc).encode())
            self.transport.abort()

    def on_message_complete(self) -> None:
        self._station.requests.append(self._data)
        self._data = b""
        plan = self._station.plan.pop(0) if self._station.plan else Reply()
        self._task = asyncio.create_task(self._answer(plan))

    async def _answer(self, plan: Reply) -> None:
        if plan.waits:
            self._station.holding += 1
            try:
                await self._station.released.wait()
            finally:
                self._station.holding -= 1
        for number, piece in enumerate(plan.pieces):
            if number:
                for _ in range(3):
                    await asyncio.sleep(0)
            self.transport.write(piece)
        if plan.closes:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._data:
            self._station.requests.append(b"INCOMPLETE: " + self._data)
        if self._task is not None:
            self._task.cancel()
        self._station.connections.discard(self)


@dataclass
class Station:
    """A receiver: keeps every byte that comes, and answers by plan."""

    plan: list[Reply] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)
    port: int = 0
    came: int = 0
    """Bytes so far."""
    holding: int = 0
    """Answers that wait for their release."""
    released: asyncio.Event = field(default_factory=asyncio.Event)
    connections: set[Receiving] = field(default_factory=set)
