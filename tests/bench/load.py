"""Load: keep-alive connections that each send one request after the other, for a given time."""

import asyncio
from dataclasses import dataclass

import httptools


@dataclass
class Count:
    """What came back."""

    answers: int = 0
    failures: int = 0


class _Sender(asyncio.Protocol):
    def __init__(self, request: bytes, expected: bytes, count: Count) -> None:
        self._request, self._expected, self._count = request, expected, count
        self._body: list[bytes] = []
        self.stopped = asyncio.get_running_loop().create_future()
        self.is_stopping = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpResponseParser(self)
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._parser.get_status_code() == 200 and b"".join(self._body) == self._expected:
            self._count.answers += 1
        else:
            self._count.failures += 1
        self._body.clear()
        self._parser = httptools.HttpResponseParser(self)
        if self.is_stopping:
            self._transport.close()
        else:
            self._transport.write(self._request)  # type: ignore[attr-defined]

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.is_stopping:
            self._count.failures += 1
        if not self.stopped.done():
            self.stopped.set_result(None)


async def send_for(seconds: float, port: int, request: bytes, expected: bytes, connections: int) -> Count:
    """Send one request over and over on some connections; every answer is compared with what is expected."""
    loop = asyncio.get_running_loop()
    count = Count()
    senders = []
    for _ in range(connections):
        _, sender = await loop.create_connection(lambda: _Sender(request, expected, count), "127.0.0.1", port)
        senders.append(sender)
    await asyncio.sleep(seconds)
    for sender in senders:
        sender.is_stopping = True
    await asyncio.wait([sender.stopped for sender in senders], timeout=10)
    return count
