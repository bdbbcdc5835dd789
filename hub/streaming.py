"""Answers on their way back: held while short, streamed when long, and the time that waiting for others takes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

from config.ocpi import OCPIError, ReceiverTimeout
from hub import client as http
from hub.trace import Trace


class Waiting:
    """Counts the time in its block as waiting for others, not as the hub's own."""

    __slots__ = ("_began", "_trace")

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._trace.waited_seconds += time.perf_counter() - self._began


async def hold(chunks: AsyncIterator[bytes], limit: int, seconds: float) -> tuple[bytes, bool]:
    """Read up to a little over `limit` bytes; give them and whether that was all.

    Raises ReceiverTimeout when they drip in: every piece in time, but so few that the requester would wait for ever.
    """
    held: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in chunks:
                held.append(chunk)
                size += len(chunk)
                if size > limit:
                    return b"".join(held), False
    except TimeoutError:
        raise ReceiverTimeout("The receiver's answer came too slowly. It may have carried the request out.") from None
    return held[0] if len(held) == 1 else b"".join(held), True


async def chain(held: bytes, chunks: AsyncIterator[bytes] | None = None) -> AsyncIterator[bytes]:
    """Give what has been read already, and then the rest."""
    yield held
    if chunks is not None:
        async for chunk in chunks:
            yield chunk


@dataclass(frozen=True, slots=True)
class Given:
    """An answer on its way to the requester: whole, or its beginning and the rest as it comes."""

    status: int
    fields: dict[str, str]
    """Header fields, without those of its framing."""
    held: bytes
    rest: AsyncIterator[bytes] | None = None
    length: int | None = None
    """How many bytes a streamed body has, when that is known."""


class Sink(Protocol):
    """Where a long answer goes; each wait ends when the requester has taken enough. Raises ConnectionError."""

    async def begin(self, given: Given) -> None:
        """Send the head."""

    async def write(self, chunk: bytes) -> None:
        """Send a piece of the body."""

    async def end(self) -> None:
        """Send what ends the body."""

    def abort(self) -> None:
        """Close the connection at once."""


class ResponseSink:
    """A requester in aiohttp's hands."""

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self.response: web.StreamResponse

    async def begin(self, given: Given) -> None:
        """Send the head."""
        self.response = web.StreamResponse(status=given.status, headers=given.fields)
        self.response.content_length = given.length
        await self.response.prepare(self._request)

    async def write(self, chunk: bytes) -> None:
        """Send a piece of the body."""
        await self.response.write(chunk)

    async def end(self) -> None:
        """Send what ends the body."""
        await self.response.write_eof()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._request.transport is not None:
            self._request.transport.abort()


async def stream(sink: Sink, given: Given, rest: AsyncIterator[bytes], trace: Trace, idle_seconds: float) -> None:
    """Pass a long answer on as it comes. When it breaks off, so does ours: no error fits after the first byte.

    A requester that stops reading is given up too, since the receiver's place is taken meanwhile.
    """
    await sink.begin(given)
    try:
        await _in_time(sink.write(given.held), idle_seconds)
        async for chunk in rest:
            await _in_time(sink.write(chunk), idle_seconds)
        await _in_time(sink.end(), idle_seconds)
    except (http.ClientError, OCPIError) as exc:
        trace.outcome, trace.problem = "broken_off", str(exc)
        sink.abort()
    except (ConnectionError, TimeoutError):
        trace.outcome = "left"
        sink.abort()


async def _in_time(writing: Awaitable[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await writing
