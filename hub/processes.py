"""The hub's processes on one database: which are alive, which table each has, and who does the work of which platform.

Each platform's lane, still-alive checks, pulls and ClientInfo pushes are done by one process at a time, the holder of
the platform's row in `platform_work`. A process that was not seen for seconds holds nothing any more.
"""

from collections.abc import Callable
from uuid import UUID, uuid4

from hub.database import Database
from hub.live_table import LiveTable

Told = Callable[[int], None]
"""Told a platform's id."""


class Processes:
    """This process among all of the same database."""

    def __init__(self, database: Database, live: LiveTable) -> None:
        self.id: UUID = uuid4()
        self._database = database
        self._live = live
        self.held: frozenset[int] = frozenset()
        """The platforms whose work is this process's."""
        self.is_alone = True
        """Whether no other process is alive on this database."""

    def holds(self, platform_id: int) -> bool:
        """Whether this platform's work is this process's at this very moment; false when the database lost us."""
        return platform_id in self.held

    def watch(self, gained: Told, lost: Told) -> None:
        """Be told of each platform whose work becomes this process's, and of each that it loses."""

    async def all_loaded(self, generation: int, seconds: float = 1.0) -> None:
        """Wait until every live process routes by this table or a later one, but not longer than this."""

    async def run(self) -> None:
        """Tell that this process lives, take what is free and give up what is too much, until cancelled."""

    async def close(self) -> None:
        """Give up everything at once, so that others need not wait."""
