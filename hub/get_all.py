"""GET all: lists and single objects that the hub answers from the mirror (OCPI 2.2.1, GET All via Hubs)."""

from aiohttp import web

from config.ocpi import PartyID
from config.settings import Settings
from hub.aliases import Aliases
from hub.database import Database
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.trace import Trace
from routing.message import Message


class MergedLists:
    """Answers what is asked of all owners at once."""

    def __init__(
        self, settings: Settings, live: LiveTable, database: Database, mirror: Mirror, aliases: Aliases, hub: PartyID
    ) -> None:
        self._settings = settings
        self._live = live
        self._database = database
        self._mirror = mirror
        self._aliases = aliases
        self._hub = hub

    async def answer(self, request: web.BaseRequest, message: Message, trace: Trace) -> web.StreamResponse:
        """Answer a request addressed to the hub. Raises OCPIError."""
        raise NotImplementedError
