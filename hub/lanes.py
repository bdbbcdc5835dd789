"""The lanes of broadcast pushes: one per receiving platform, run by the process that holds the platform's work."""

from config.ocpi import PartyID
from config.settings import Settings
from hub.database import Database
from hub.live_table import LiveTable
from hub.metrics import Metrics
from hub.mirror import BroadcastRow, Mirror
from hub.own_calls import OwnCalls
from hub.processes import Processes


class Lanes:
    """Delivers accepted broadcasts to every platform whose work is this process's."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        database: Database,
        mirror: Mirror,
        processes: Processes,
        calls: OwnCalls,
        metrics: Metrics,
        hub: PartyID,
    ) -> None:
        self._settings = settings

    def hand_over(self, row: BroadcastRow) -> None:
        """Take a broadcast that this process has just committed, without a way through the database."""

    async def run(self) -> None:
        """Read what other processes accepted, and save how far the lanes have come, until cancelled."""

    async def drain(self) -> None:
        """Deliver what waits, for `lane_drain_timeout` seconds at most."""
