"""Reading the members' Sender lists into the mirror: politely, bit by bit, and resumed where it was interrupted."""

from config.ocpi import PartyID
from config.settings import Settings
from hub.database import Database
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.own_calls import OwnCalls
from hub.processes import Processes
from routing.objects import Change


class Pulls:
    """Pulls from every platform whose work is this process's."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        database: Database,
        mirror: Mirror,
        processes: Processes,
        calls: OwnCalls,
        hub: PartyID,
    ) -> None:
        self._settings = settings

    def fetch_missing(self, change: Change) -> None:
        """Get an object of which only a PATCH came, once; whoever owns it is asked, nothing is invented."""

    async def run(self) -> None:
        """Pull what is due, until cancelled."""
