"""Request bodies as they arrive: small ones held, large ones streamed, none larger than agreed."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from config.ocpi import InvalidParameters, OCPIError, TooLarge

BOM = b"\xef\xbb\xbf"


class TooSlow(OCPIError):
    """The request body did not arrive in time."""

    status_code = 2001
    http_status = 408


class RequesterLeft(OCPIError):
    """The connection was lost before the request was complete."""

    http_status = 400


class CodedBody(InvalidParameters):
    """Request bodies must not be compressed; send them without Content-Encoding."""

    http_status = 415


@dataclass(frozen=True, slots=True)
class Body:
    """A request body: either whole, or its beginning and a stream of all of it."""

    held: bytes = b""
    """The whole body, or of a streamed one the beginning."""
    stream: AsyncIterator[bytes] | None = None
    """All of a body that is too long to be held."""
    length: int | None = None
    """What the sender says a streamed body's length is."""


async def read_body(request: web.BaseRequest, *, hold: int, maximum: int, idle_seconds: float) -> Body:
    """Read a body of up to `hold` bytes, or prepare to stream a longer one of up to `maximum`.

    Raises TooLarge, TooSlow, RequesterLeft and CodedBody.
    """
    if not request.can_read_body:
        return Body()
    headers = request.headers
    if headers.get("Content-Encoding", "identity").lower() != "identity":
        raise CodedBody
    length = request.content_length
    if length is not None and length > maximum:
        raise TooLarge(f"The request body has {length} bytes; this hub takes {maximum}.")
    if headers.get("Expect", "").lower() == "100-continue" and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    held: list[bytes] = []
    size = 0
    while size <= hold:
        chunk = await _read_chunk(request, idle_seconds)
        if not chunk:
            return Body(b"".join(held).removeprefix(BOM))
        held.append(chunk)
        size += len(chunk)
    return Body(held[0], _stream(request, held, maximum, idle_seconds), length)


async def _stream(
    request: web.BaseRequest, held: list[bytes], maximum: int, idle_seconds: float
) -> AsyncIterator[bytes]:
    size = 0
    while chunk := held.pop(0) if held else await _read_chunk(request, idle_seconds):
        size += len(chunk)
        if size > maximum:
            raise TooLarge(f"The request body has more than {maximum} bytes.")
        yield chunk


async def _read_chunk(request: web.BaseRequest, idle_seconds: float) -> bytes:
    content = request.content
    if content.is_eof():
        return content.read_nowait()
    if request.transport is None:  # already: aiohttp would call that an error of ours
        raise RequesterLeft
    try:
        async with asyncio.timeout(idle_seconds):
            return await content.readany()
    except TimeoutError:
        raise TooSlow from None
    except ConnectionError:
        raise RequesterLeft from None
