"""For operators: /metrics, /health and /ready, on a port of their own."""

from typing import TYPE_CHECKING

import orjson
from aiohttp import web

if TYPE_CHECKING:
    from hub.server import Hub


def make_ops_app(hub: "Hub") -> web.Application:
    """Give the operators' application."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=hub.metrics.render(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def health(_: web.Request) -> web.Response:
        """Alive: the process answers."""
        return _json({"status": "ok"})

    async def ready(_: web.Request) -> web.Response:
        """Ready for members: with a routing table and not draining; an absent database only degrades."""
        if hub.is_draining:
            return _json({"status": "draining"}, status=503)
        if not hub.live.is_loaded:
            return _json({"status": "starting", "database": "away"}, status=503)
        if hub.live.is_degraded:
            return _json({"status": "degraded", "database": "away"})
        return _json({"status": "ready", "database": "up", "routing_generation": hub.live.table.generation})

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/health", health)
    app.router.add_get("/ready", ready)
    return app


def _json(content: dict[str, object], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(content), content_type="application/json")
