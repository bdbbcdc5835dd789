"""Requests without OCPI-to headers: find the receiver from the content (OCPI 2.2.1, Open Routing Request)."""

from aiohttp import web

from config.ocpi import PartyID
from config.settings import Settings
from hub.client import Client
from hub.direct import Relay
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.trace import Trace
from routing.message import Message


class OpenRouting:
    """Finds receivers, and asks every eMSP about an unknown token where that is switched on."""

    def __init__(
        self, settings: Settings, live: LiveTable, mirror: Mirror, relay: Relay, client: Client, hub: PartyID
    ) -> None:
        self._settings = settings
        self._live = live
        self._mirror = mirror
        self._relay = relay
        self._client = client
        self._hub = hub

    async def answer(self, request: web.BaseRequest, message: Message, trace: Trace) -> web.StreamResponse:
        """Find the receiver and relay; the answer's OCPI-from says who it was (R-149). Raises OCPIError."""
        raise NotImplementedError
