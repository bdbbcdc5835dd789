"""HubClientInfo: the Sender interface, and the push of every change to whoever has the Receiver interface."""

from typing import Any

from config.ocpi import PartyID
from config.settings import Settings
from hub.database import Database
from hub.live_table import LiveTable
from hub.own_calls import OwnCalls
from hub.processes import Processes
from parties.model import Platform


class ClientInfos:
    """Tells members who is connected."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        database: Database,
        processes: Processes,
        calls: OwnCalls,
    ) -> None:
        self._settings = settings

    def list(self, viewer: Platform, raw_query: str) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """Give a page of the ClientInfo a platform may see, and its paging headers. Raises InvalidParameters."""
        raise NotImplementedError

    async def introduce(self, sender: PartyID, receiver: Platform) -> None:
        """Let a platform hear of a new party before that one's first message reaches it (T-023); a second at most."""

    async def run(self) -> None:
        """Push changes until cancelled."""
