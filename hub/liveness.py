"""Who is alive: the still-alive check, OFFLINE, and CONNECTED at once on any sign of life (OCPI, HubClientInfo)."""

from config.settings import Settings
from hub.database import Database
from hub.live_table import LiveTable
from hub.own_calls import OwnCalls
from hub.processes import Processes


class Liveness:
    """Watches every platform; checks those whose work is this process's."""

    def __init__(
        self, settings: Settings, live: LiveTable, database: Database, processes: Processes, calls: OwnCalls
    ) -> None:
        self._settings = settings

    def seen(self, platform_id: int) -> None:
        """Note a sign of life: a request of the platform's, or an answer. Called on the road, so it costs a look-up."""

    def suspect(self, platform_id: int) -> None:
        """Note that a platform could not be reached or did not answer: worth a check now."""

    async def run(self) -> None:
        """Check the silent ones and probe those that are OFFLINE, until cancelled."""
