"""How a simulated platform calls the hub, with the hub's token and OCPI's headers."""

import asyncio
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final
from uuid import uuid4

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    InterfaceRole,
    PartyID,
)
from hub.simulator.identity import Identity
from hub.simulator.messages import Answer, encode, write_party

FIRST_PARTY: Final = "first party"
"""As the sender of a call: the platform's first party, and nobody in configuration modules."""

Endpoints = dict[tuple[str, InterfaceRole], str]

_LARGE_BODY = 2**20
_TIMEOUT = aiohttp.ClientTimeout(total=60)


class Caller(Identity):
    """The part of a platform that is an HTTP client."""

    hub_token: str | None = None
    """What this platform sends to the hub."""
    hub_endpoints: Endpoints
    via: Callable[[str], str] | None = None
    """Gives where a URL is really called, as a load balancer in front of several hubs would; None: there itself."""
    _session: aiohttp.ClientSession | None = None

    async def call(
        self,
        method: str,
        module: str,
        interface: InterfaceRole,
        path: str = "",
        *,
        to: str | PartyID | None = None,
        sender: str | PartyID | None = FIRST_PARTY,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        query: str = "",
    ) -> Answer:
        """Call the hub: its endpoint, one slash and the raw path, nothing re-encoded.

        A body of bytes goes as it is, anything else but None as JSON. `headers` win over the usual ones; None leaves
        one out. Raises LookupError when the hub has no such endpoint, aiohttp.ClientError or TimeoutError when no
        answer comes.
        """
        url = self.hub_endpoints.get((module, interface))
        if url is None:
            raise LookupError(f"{self.name} knows no {interface} endpoint of {module} at the hub.")
        if path:
            url = url.removesuffix("/") + "/" + path.removeprefix("/")
        if sender == FIRST_PARTY and module in ("credentials", "hubclientinfo"):
            sender = None  # OCPI 2.2.1, Message Routing Headers: not with configuration modules.
        return await self.request(method, url, to=to, sender=sender, body=body, headers=headers, query=query)

    async def request(
        self,
        method: str,
        url: str,
        *,
        to: str | PartyID | None = None,
        sender: str | PartyID | None = FIRST_PARTY,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        query: str = "",
    ) -> Answer:
        """Call any absolute URL (a Link, a Location, a response_url) with the hub's token, otherwise like `call`."""
        prepared = self._message_headers(self.hub_token)
        if sender is not None:
            write_party(prepared, FROM_COUNTRY, FROM_PARTY, self.parties[0] if sender == FIRST_PARTY else sender)
        if to is not None:
            write_party(prepared, TO_COUNTRY, TO_PARTY, to)
        if body is not None:
            prepared["Content-Type"] = "application/json"
        for name, value in (headers or {}).items():
            prepared.popall(name, None)
            if value is not None:
                prepared[name] = value
        return await self._send(method, f"{url}?{query}" if query else url, prepared, encode(body))

    def _message_headers(self, token: str | None) -> CIMultiDict[str]:
        headers = CIMultiDict({REQUEST_ID: str(uuid4()), CORRELATION_ID: str(uuid4())})
        if token is not None:
            headers[AUTHORIZATION] = self.authorization(token)
        return headers

    async def _send(self, method: str, url: str, headers: CIMultiDict[str], body: bytes | None = None) -> Answer:
        if self._session is None:
            raise RuntimeError(f"{self.name} is not started.")
        loop = asyncio.get_running_loop()
        begin = loop.time()
        target = URL(self.via(url) if self.via else url, encoded=True)
        # aiohttp warns of large bodies that are bytes.
        data = BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body
        async with self._session.request(method, target, headers=headers, data=data, allow_redirects=False) as response:
            content = await response.read()
        return Answer(response.status, response.headers, content, (loop.time() - begin) * 1000)

    def _open_session(self) -> None:
        # Nothing that OCPI does not ask for: no Content-Type without a body.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            skip_auto_headers=("Content-Type", "User-Agent"),
            timeout=_TIMEOUT,
        )

    async def _close_session(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
