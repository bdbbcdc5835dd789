"""What a parent and a worker say to each other: a JSON object a line, over a pair of sockets.

The worker says `{"started": true, "workers": wanted, "finish_seconds": limit}` when it serves, or `{"failed":
sentence}` when it cannot. The parent asks `{"ask": "metrics" | "readiness" | "retire", "id": n}`, for metrics with
`is_scrape` and `is_whole` (else without what is counted for each platform), and an answer carries the id of what was
asked. The worker's last words are its metrics. A worker whose parent is gone ends at once.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson

_LINE_LIMIT = 256 * 2**20
"""Bytes; the metrics of ten thousand platforms are some megabytes."""


def pack(message: Mapping[str, Any]) -> bytes:
    """Give a message as it goes over the channel."""
    return orjson.dumps(message, option=orjson.OPT_APPEND_NEWLINE)


class Channel:
    """One end of the way between a parent and a worker."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def on(cls, end: socket.socket) -> "Channel":
        """Make one of an end of a socket pair."""
        return cls(*await asyncio.open_unix_connection(sock=end, limit=_LINE_LIMIT))

    def say(self, **message: Any) -> None:
        """Send a message; what the other end does not hear any more is lost."""
        if not self._writer.is_closing():
            self._writer.write(pack(message))

    async def heard(self) -> AsyncIterator[dict[str, Any]]:
        """Give each message of the other end, until there is no other end."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                if line.endswith(b"\n"):  # else its writer died in the middle
                    yield orjson.loads(line)

    async def close(self) -> None:
        """Close this end, when everything said is on its way."""
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1):
                await self._writer.drain()
                self._writer.close()
                await self._writer.wait_closed()


def pair() -> tuple[socket.socket, socket.socket]:
    """Give the parent's end and the worker's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    ours.setblocking(False)
    return ours, theirs
