"""What a simulated platform received, and how a test waits for it."""

import asyncio
from collections.abc import Callable

from hub.simulator.messages import Received


class Inbox:
    """Every request that a platform received, in order; or only the last ones, for a platform that runs long."""

    def __init__(self, name: str, keep: int | None = None) -> None:
        self.received: list[Received] = []
        self._name = name
        self._keep = keep
        self._arrived = asyncio.Event()

    def record(self, received: Received) -> None:
        """Keep a request and wake those who wait for it."""
        self.received.append(received)
        if self._keep is not None and len(self.received) > 2 * self._keep:
            del self.received[: len(self.received) - self._keep]
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()

    async def wait_for(
        self,
        wanted: Callable[[Received], bool] | int = 1,
        timeout: float = 20.0,  # noqa: ASYNC109
    ) -> Received:
        """Give the first request for which `wanted` is true, or the `wanted`th one; at once if it has arrived already.

        Raises TimeoutError, with what did arrive.
        """
        try:
            async with asyncio.timeout(timeout):
                while (found := self._find(wanted)) is None:
                    await self._arrived.wait()
        except TimeoutError:
            seen = "; ".join(f"{received.method} {received.path}" for received in self.received) or "nothing"
            raise TimeoutError(f"{self._name} waited {timeout} s in vain. It received: {seen}") from None
        return found

    def _find(self, wanted: Callable[[Received], bool] | int) -> Received | None:
        if isinstance(wanted, int):
            return self.received[wanted - 1] if len(self.received) >= wanted else None
        return next(filter(wanted, self.received), None)
