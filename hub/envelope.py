"""The OCPI envelope, made in one place: every body of ours is one (R-006, R-184)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from aiohttp import web

from config.ocpi import MethodNotAllowed, OCPIError, Overloaded, format_time


def envelope(data: Any = None, *, status_code: int = 1000, message: str = "Success", has_data: bool = False) -> bytes:
    """Give an envelope as bytes; `data` is left out when there is none (R-185)."""
    content: dict[str, Any] = {}
    if has_data or data is not None:
        content["data"] = data
    # Some members fail when status_message is absent, so it never is.
    content |= {"status_code": status_code, "status_message": message, "timestamp": format_time(datetime.now(UTC))}
    return orjson.dumps(content)


def envelope_around(objects: Sequence[bytes], *, is_list: bool) -> bytes:
    """Give a successful envelope around JSON as it is: around a list of these, or around the only one."""
    before, behind = (b'{"data":[', b"],") if is_list else (b'{"data":', b",")
    # What is around the objects is joined to the first and the last, so that a page is copied only once.
    pieces = list(objects) or [b""]
    pieces[0] = before + pieces[0]
    pieces[-1] += behind + envelope()[1:]
    return b",".join(pieces)


def success(data: Any, headers: dict[str, str]) -> web.Response:
    """Answer 1000 with data."""
    return web.Response(body=envelope(data), headers=headers)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the hub's own, whole."""

    status: int
    fields: dict[str, str]
    """Header fields, without those of its framing."""
    body: bytes


def refusal(error: OCPIError, headers: dict[str, str]) -> Answer:
    """Turn an error of ours into its answer."""
    if isinstance(error, MethodNotAllowed) and error.allow:
        headers["Allow"] = ", ".join(error.allow)
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_seconds)
    return Answer(error.http_status, headers, envelope(status_code=error.status_code, message=error.message))
