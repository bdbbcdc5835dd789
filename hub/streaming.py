"""Answers on their way back: held while short, streamed when long, and the time that waiting for others takes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable

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


async def stream(
    request: web.BaseRequest,
    status: int,
    fields: dict[str, str],
    length: int | None,
    held: bytes,
    chunks: AsyncIterator[bytes],
    trace: Trace,
    idle_seconds: float,
) -> web.StreamResponse:
    """Pass a long answer on as it comes. When it breaks off, so does ours: no error fits after the first byte.

    A requester that stops reading is given up too, since the receiver's place is taken meanwhile.
    """
    response = web.StreamResponse(status=status, headers=fields)
    response.content_length = length
    await response.prepare(request)
    try:
        await _in_time(response.write(held), idle_seconds)
        async for chunk in chunks:
            await _in_time(response.write(chunk), idle_seconds)
        await _in_time(response.write_eof(), idle_seconds)
    except (http.ClientError, OCPIError) as exc:
        trace.outcome, trace.problem = "broken_off", str(exc)
        if request.transport is not None:
            request.transport.abort()
    except (ConnectionError, TimeoutError):
        trace.outcome = "left"
        if request.transport is not None:
            request.transport.abort()
    return response


async def _in_time(writing: Awaitable[None], seconds: float) -> None:
    async with asyncio.timeout(seconds):
        await writing
