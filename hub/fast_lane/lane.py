"""The fast lane's connections together: what they share, their time limits, their end."""

import asyncio
from asyncio import Protocol
from collections.abc import Callable

from config.operations import OperationIndex
from config.settings import Settings
from hub.accounts import Accounts
from hub.client import Client
from hub.client_info import ClientInfos
from hub.direct import Relay
from hub.fast_lane.front import Front
from hub.fast_lane.plans import Plans
from hub.live_table import LiveTable
from hub.liveness import Liveness

LOOK_SECONDS = 1.0
"""How often the connections are looked at; a request that takes longer to arrive is the ordinary road's."""


class FastLane:
    """Makes the protocol of each connection, and keeps those that are in its hands."""

    def __init__(
        self,
        settings: Settings,
        *,
        live: LiveTable,
        client: Client,
        relay: Relay,
        client_infos: ClientInfos,
        liveness: Liveness,
        accounts: Accounts,
        silence_seconds: float,
        hand_over_to: Callable[[], Protocol],
    ) -> None:
        self.settings = settings
        self.client = client
        self.relay = relay
        self.client_infos = client_infos
        self.liveness = liveness
        self.accounts = accounts
        self.hand_over_to = hand_over_to
        """Makes what serves the rest of a connection."""
        self.plans = Plans(
            live,
            relay,
            accounts,
            OperationIndex(settings.custom_modules),
            broadcasts_open=settings.broadcast_without_receiver,
        )
        self.heads = self.plans.heads
        self.passed_on = self.plans.passed_on
        self.nothing_passed_on: list[str | None] = [None] * len(self.passed_on)
        self.is_draining = False
        self.fronts: set[Front] = set()
        self.loop = asyncio.get_running_loop()
        self._silence_seconds = silence_seconds
        self._looking: asyncio.TimerHandle | None = self.loop.call_later(LOOK_SECONDS, self._look)

    def __call__(self) -> Front:
        """Make the protocol of a new connection."""
        return Front(self)

    def _look(self) -> None:
        now = self.loop.time()
        for front in tuple(self.fronts):
            front.look(now, LOOK_SECONDS, self._silence_seconds)
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look)

    def close_idle(self, seconds: float) -> None:
        """Close what has asked nothing for so long."""
        now = self.loop.time()
        for front in tuple(self.fronts):
            front.close_if_idle(now, seconds)

    async def stop(self) -> None:
        """Cut off what is still under way."""
        ending = [front.cut_off() for front in tuple(self.fronts)]
        if tasks := [task for task in ending if task is not None]:
            await asyncio.wait(tasks)
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
