"""What a simulated platform does on demand in place of a decent answer, on the connection itself."""

from typing import Literal

from aiohttp import web

Misbehaviour = Literal["close", "silent", "die_mid_body", "garbage", "html", "unauthorized", "slow"]
"""close: the connection closes without an answer. silent: no answer, until the platform stops. die_mid_body: the
connection closes halfway through the answer's body. garbage: what comes is no HTTP. html: a proxy's 502 page.
unauthorized: 401. slow: the answer comes late."""


async def die_mid_body(http: web.BaseRequest, whole: web.Response) -> web.StreamResponse:
    """Close the connection halfway through the body of this answer."""
    body = whole.body if isinstance(whole.body, bytes) else b"{}"
    response = web.StreamResponse(status=whole.status, headers=whole.headers)
    response.content_length = len(body)
    await response.prepare(http)
    await response.write(body[: len(body) // 2])
    close(http)
    return response


def write_garbage(http: web.BaseRequest) -> None:
    """Write to the connection what is no HTTP."""
    if http.transport is not None:
        http.transport.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n\x00\xff")


def close(http: web.BaseRequest) -> web.Response:
    """Close the connection without an answer. What is given is for nobody."""
    if http.transport is not None:
        http.transport.close()
    return web.Response()


def give_html() -> web.Response:
    """Give the page of a proxy that does not reach its platform."""
    return web.Response(status=502, body=b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html")
