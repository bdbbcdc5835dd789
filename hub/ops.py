"""For operators: /metrics, /health and /ready, on a port of their own."""

from collections.abc import Awaitable, Mapping
from typing import Protocol

import orjson
from aiohttp import web


class Operated(Protocol):
    """What operators look at: one hub, or the parent of several processes."""

    def metrics_text(self) -> Awaitable[bytes]:
        """Give everything in Prometheus' text format."""

    def readiness(self) -> Awaitable[Mapping[str, object]]:
        """Tell whether members can be served: `status` is ready, degraded (which is good enough) or another word."""


def make_ops_app(operated: Operated) -> web.Application:
    """Give the operators' application."""

    async def metrics(_: web.Request) -> web.Response:
        text = await operated.metrics_text()
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def health(_: web.Request) -> web.Response:
        """Alive: the process answers."""
        return _json({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        """Ready for members."""
        found = await operated.readiness()
        return _json(found, status=200 if found["status"] in ("ready", "degraded") else 503)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    return app


def _json(content: Mapping[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
