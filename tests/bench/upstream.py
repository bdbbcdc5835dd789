"""The receiver of the benchmark: a uvloop protocol that costs next to nothing and answers every request alike."""

import asyncio
import sys

import httptools
import uvloop

ANSWER_BYTES = 1024


def answer_body() -> bytes:
    """Give an OCPI envelope of about a kilobyte."""
    head = b'{"data":{"x":"'
    tail = b'"},"status_code":1000,"status_message":"Success","timestamp":"2026-01-01T00:00:00.000Z"}'
    return head + b"y" * (ANSWER_BYTES - len(head) - len(tail)) + tail


_BODY = answer_body()
_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Total-Count: 1\r\nX-Limit: 50\r\n"
    b"Content-Length: %d\r\n\r\n" % len(_BODY)
) + _BODY


class Upstream(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._transport.write(_ANSWER)  # type: ignore[attr-defined]


async def main(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
