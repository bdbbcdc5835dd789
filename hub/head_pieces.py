"""Heads in pieces: written once, then filled with what is another in each request."""

from collections.abc import Sequence

from hub.addresses import Origin
from hub.connection import write_head

TARGET, REQUEST_ID, CORRELATION_ID = "\1", "\2", "\3"
"""Stand-ins in a head, which nothing that may be put into one can contain."""

Pieces = tuple[str, str, str, str]
"""Between these go the target, the X-Request-ID and the X-Correlation-ID; after the last, the framing of the body."""


def request_pieces(method: str, origin: Origin, fields: Sequence[tuple[str, str]]) -> Pieces:
    """Give the head of a request with stand-ins among its fields, but for its framing and its end.

    Raises ValueError as `write_head` does, and for what is not ASCII.
    """
    text = write_head(method, origin, TARGET, fields, b"", None).decode("ascii")
    before, between, after, end = cut(
        text.removesuffix("Content-Length: 0\r\n\r\n"), TARGET, REQUEST_ID, CORRELATION_ID
    )
    return before, between, after, end


def cut(text: str, *marks: str) -> tuple[str, ...]:
    """Give the pieces of a text between these, which are in it once each, in this order."""
    pieces = []
    for mark in marks:
        piece, _, text = text.partition(mark)
        pieces.append(piece)
    return (*pieces, text)
