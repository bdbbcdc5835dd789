"""Broadcast push: take it in, acknowledge it, and hand it to the lanes (OCPI 2.2.1, Broadcast Push)."""

from aiohttp import web

from config.ocpi import PartyID
from config.settings import Settings
from hub.lanes import Lanes
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.trace import Trace
from routing.message import Message


class Broadcaster:
    """Accepts broadcasts."""

    def __init__(self, settings: Settings, live: LiveTable, mirror: Mirror, lanes: Lanes, hub: PartyID) -> None:
        self._settings = settings
        self._live = live
        self._mirror = mirror
        self._lanes = lanes
        self._hub = hub

    async def accept(self, request: web.BaseRequest, message: Message, trace: Trace) -> web.Response:
        """Store a broadcast, acknowledge it, and let the lanes deliver it. Raises OCPIError; DatabaseAway is 3000."""
        raise NotImplementedError
