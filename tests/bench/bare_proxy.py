"""The yardstick: a reverse proxy of ten lines, aiohttp on both sides, with none of a hub's duties."""

import sys

import aiohttp
import uvloop
from aiohttp import web


async def main(port: int, upstream: str) -> None:
    """Forward everything to one upstream."""
    session = aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar())

    async def forward(request: web.BaseRequest) -> web.Response:
        body = await request.read() if request.body_exists else None
        async with session.request(
            request.method, upstream + request.path_qs, headers=request.headers, data=body, allow_redirects=False
        ) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": "application/json"}
            )

    runner = web.ServerRunner(web.Server(forward, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await web.asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
