"""The opponent of the broadcast: the same sends with aiohttp's ClientSession, each time it is asked."""

import asyncio
import sys
from collections.abc import Iterator

import aiohttp
import uvloop

IN_FLIGHT = 64
HEADERS = {
    "Authorization": "Token aHViLXRva2VuLW9mLWEtcmVjZWl2ZXItd2l0aC00Ny1sZXR0ZXJz",
    "Content-Type": "application/json",
    "X-Request-ID": "6f1b0a3e-1111-4222-8333-444455556666",
    "X-Correlation-ID": "7f1b0a3e-1111-4222-8333-444455556666",
    "OCPI-from-country-code": "DE",
    "OCPI-from-party-id": "VOL",
    "OCPI-to-country-code": "NL",
    "OCPI-to-party-id": "AMB",
}


async def main(path: str, body: bytes) -> None:
    """Read ports; then for each further line send to all of them, and say how many answered."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    ports = [int(port) for port in (await lines.readline()).split()]
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def send_in_turn(remaining: Iterator[int]) -> int:
            answered = 0
            for port in remaining:
                url = f"http://127.0.0.1:{port}{path}"
                async with session.put(url, headers=HEADERS, data=body, allow_redirects=False) as answer:
                    await answer.read()
                    answered += answer.status == 200
            return answered

        while await lines.readline():
            remaining = iter(ports)
            answered = await asyncio.gather(*(send_in_turn(remaining) for _ in range(IN_FLIGHT)))
            print(sum(answered), flush=True)


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], sys.argv[2].encode()))
