"""Content codings of answers: undone unless the requester accepts them, and never beyond a size."""

import zlib
from collections.abc import AsyncIterator

from config.ocpi import RoutingFailed

_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}
_PIECE = 256 * 1024


def is_accepted(coding: str, accept_encoding: str | None) -> bool:
    """Whether a requester's Accept-Encoding names this coding (RFC 9110, 12.5.3); `q=0` refuses it."""
    for item in (accept_encoding or "").split(","):
        name, _, parameters = item.partition(";")
        if name.strip().lower() == coding:
            return parameters.replace(" ", "").lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


async def decode(chunks: AsyncIterator[bytes], coding: str, maximum: int) -> AsyncIterator[bytes]:
    """Undo a content coding chunk by chunk. Raises RoutingFailed for an unknown or broken one, or beyond `maximum`."""
    if coding not in _WINDOW_BITS:
        raise RoutingFailed(f"The receiver's answer has the content coding {coding!r}, which nobody asked for.")
    decoder = zlib.decompressobj(_WINDOW_BITS[coding])
    size = 0
    async for chunk in chunks:
        while chunk:
            try:
                piece = decoder.decompress(chunk, _PIECE)
            except zlib.error as exc:
                raise RoutingFailed(f"The receiver's answer is no valid {coding}.") from exc
            size += len(piece)
            if size > maximum:
                raise RoutingFailed("The receiver's answer is too large when uncompressed.")
            if piece:
                yield piece
            chunk = decoder.unconsumed_tail
    if not decoder.eof:
        raise RoutingFailed(f"The receiver's answer is no complete {coding}.")
