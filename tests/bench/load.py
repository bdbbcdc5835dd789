"""Load: keep-alive connections that each send one request after the other; every answer is compared."""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

_OK = b"HTTP/1.1 200"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as it goes over the wire, and what must come back."""

    request: bytes
    body: bytes = b""
    """The answer's body, compared byte for byte."""
    start: bytes = b""
    """With what it begins, where the rest cannot be known beforehand."""

    @property
    def tail(self) -> bytes:
        """With what the answer must end."""
        return b"\r\n\r\n" + self.body

    def next_request(self) -> bytes:
        """Give the request to be sent now."""
        return self.request


@dataclass(slots=True)
class Count:
    """What came back."""

    answers: int = 0
    failures: int = 0
    seconds: list[float] = field(default_factory=list)
    """From sending each request until the last byte of its answer."""
    example: bytes = b""
    """The beginning of an answer that was wrong, for the message."""


class _Sender(asyncio.Protocol):
    def __init__(self, asks: Sequence[Ask], count: Count, number: int | None) -> None:
        self._asks, self._count, self._left = asks, count, number
        self._tails = [ask.tail for ask in asks]
        self._next = -1
        self._head = self._body = b""
        """Of an answer in pieces: its head with what came along, and its body where only its start is known."""
        self._is_right = True
        self._missing = -1
        """Bytes of the body that have not come; -1 while the head is not complete."""
        self.stopped = asyncio.get_running_loop().create_future()
        self.is_stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._ask()

    def _ask(self) -> None:
        if self._left is not None:
            if not self._left:
                self.finish()
                return
            self._left -= 1
        self._next = (self._next + 1) % len(self._asks)
        self._began = time.perf_counter()
        self.transport.write(self._asks[self._next].next_request())  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        ask, tail = self._asks[self._next], self._tails[self._next]
        if not self._head and data.endswith(tail) and data.find(b"\r\n\r\n") == len(data) - len(tail):
            self._answered(data.startswith(_OK), data)
            return
        if self._missing < 0:
            self._head += data
            end = self._head.find(b"\r\n\r\n") + 4
            if end < 4:
                return
            found = _LENGTH.search(self._head, 0, end)
            if found is None or not self._head.startswith(_OK):
                self._answered(False, self._head)
                return
            self._missing, data = int(found[1]), self._head[end:]
            self._is_right = bool(ask.start) or self._missing == len(ask.body)
        # Piece by piece: to join 5 MB would cost the load more than the hub.
        if ask.start:
            self._body += data
        else:
            place = len(ask.body) - self._missing
            self._is_right = self._is_right and data == ask.body[place : place + len(data)]
        self._missing -= len(data)
        if self._missing <= 0:
            is_right = self._is_right and self._missing == 0 and self._body.startswith(ask.start)
            self._answered(is_right, self._head + self._body)

    def _answered(self, is_right: bool, data: bytes) -> None:
        self._count.seconds.append(time.perf_counter() - self._began)
        self._head, self._body, self._missing = b"", b"", -1
        if is_right:
            self._count.answers += 1
        else:
            self._count.failures += 1
            self._count.example = data[:600]
            self.is_stopping = True
        if self.is_stopping:
            self.transport.close()
        else:
            self._ask()

    def finish(self) -> None:
        """Let the connection be, open and idle."""
        if not self.stopped.done():
            self.stopped.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_stopping:
            self._count.failures += 1
        self.finish()


async def _connect(port: int, asks: Sequence[Ask], count: Count, number: int | None = None) -> _Sender:
    loop = asyncio.get_running_loop()
    _, sender = await loop.create_connection(lambda: _Sender(asks, count, number), "127.0.0.1", port)
    return sender


async def send_for(seconds: float, port: int, asks: Sequence[Sequence[Ask]], connections: int) -> Count:
    """Send on some connections; each repeats one of these series of requests, the next connection the next series."""
    count = Count()
    senders = [await _connect(port, asks[number % len(asks)], count) for number in range(connections)]
    await asyncio.sleep(seconds)
    for sender in senders:
        sender.is_stopping = True
    _, late = await asyncio.wait([sender.stopped for sender in senders], timeout=20)
    count.failures += len(late)
    return count


async def send_number(number: int, port: int, asks: Sequence[Ask]) -> Count:
    """Send so many requests on one connection."""
    count = Count()
    sender = await _connect(port, asks, count, number)
    try:
        async with asyncio.timeout(60):
            await sender.stopped
    except TimeoutError:
        count.failures += 1
    sender.is_stopping = True
    sender.transport.close()
    return count


class IdleConnections:
    """Connections that have had one answer each, and say nothing more until closed."""

    def __init__(self) -> None:
        self.count = Count()
        self._senders: list[_Sender] = []

    async def open(self, number: int, port: int, ask: Ask) -> None:
        """Open so many, one after the other."""
        for _ in range(number):
            sender = await _connect(port, [ask], self.count, 1)
            self._senders.append(sender)
            async with asyncio.timeout(20):
                await sender.stopped

    @property
    def open_ones(self) -> int:
        """How many are open still."""
        return sum(not sender.transport.is_closing() for sender in self._senders)

    def close(self) -> None:
        """Close them."""
        for sender in self._senders:
            sender.is_stopping = True
            sender.transport.close()
