"""A worker as its parent sees it."""

import asyncio
import contextlib
import itertools
import socket
import sys
import time
from typing import Any, Protocol

import msgspec

from hub.metric_families import Family
from hub.workers.channel import Channel, pair

START_SECONDS = 150.0
"""How long a worker may take until it serves; an embedded PostgreSQL recovers for up to two minutes."""
ANSWER_SECONDS = 3.0
"""How long a worker may take to answer its parent, which then goes by what it said last."""


class StartFailed(Exception):
    """A worker ended before it served members; the message says why."""


class Told(Protocol):
    """Takes the metrics that a worker tells."""

    def __call__(self, worker: "Worker", families: list[Family], /, *, is_whole: bool) -> None:
        """Take them; not the whole is all but what is counted for each platform."""


class Worker:
    """A process that was started to serve members."""

    def __init__(
        self,
        number: int,
        process: asyncio.subprocess.Process,
        channel: Channel,
        told: "Told",
    ) -> None:
        self.number = number
        self.is_leaving = False
        """Whether it was told to end."""
        self.reason: str | None = None
        """Why it could not serve, as it said itself."""
        self.started_at = time.monotonic()
        self.wanted = 1
        """How many workers there should be by the settings that this one has read."""
        self.finish_seconds = 0.0
        """How long it may take to finish what it has begun, by the same settings."""
        self._process = process
        self._channel = channel
        self._told = told
        self._is_serving: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ids = itertools.count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._life = asyncio.create_task(self._live())

    @classmethod
    async def start(cls, order: dict[str, Any], member_socket: socket.socket, told: "Told") -> "Worker":
        """Start a process of the code and the settings as they are now; `told` gets its metrics. Raises StartFailed."""
        with contextlib.ExitStack() as undo:
            try:
                ours, theirs = pair()
                undo.callback(ours.close)  # by which a process that is there already ends
                order |= {"member_socket": member_socket.fileno(), "channel": theirs.fileno()}
                with theirs:
                    process = await asyncio.create_subprocess_exec(
                        *(sys.executable, "-P", "-m", "hub.workers.worker", msgspec.json.encode(order).decode()),
                        stdin=asyncio.subprocess.DEVNULL,
                        pass_fds=(member_socket.fileno(), theirs.fileno()),
                        process_group=0,  # Ctrl-C is for the parent, which tells the workers
                    )
                channel = await Channel.on(ours)
            except OSError as exc:
                raise StartFailed(f"No process can be started: {exc}") from exc
            undo.pop_all()
        return cls(order["number"], process, channel, told)

    def __repr__(self) -> str:
        return f"<Worker {self.number}, pid {self._process.pid}{', leaving' if self.is_leaving else ''}>"

    @property
    def is_serving(self) -> bool:
        """Whether it has begun to serve members."""
        return self._is_serving.done() and not self._is_serving.exception()

    async def serving(self) -> None:
        """Wait until it serves members. Raises StartFailed."""
        try:
            await asyncio.wait_for(asyncio.shield(self._is_serving), START_SECONDS)
        except TimeoutError as exc:
            self.kill()
            raise StartFailed(f"A process of the hub did not serve after {START_SECONDS:.0f} s.") from exc

    async def ended(self) -> int:
        """Wait until it has ended; gives its exit code."""
        return await asyncio.shield(self._life)

    async def ask(self, what: str, **more: Any) -> dict[str, Any] | None:
        """Ask it something; None when it does not answer."""
        if self._life.done():
            return None
        asked: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        number = next(self._ids)
        self._asked[number] = asked
        self._channel.say(ask=what, id=number, **more)
        try:
            return await asyncio.wait_for(asked, ANSWER_SECONDS)
        except TimeoutError:
            return None
        finally:
            del self._asked[number]

    def retire(self) -> None:
        """Tell it that another one serves in its place."""
        self.is_leaving = True
        self._channel.say(ask="retire")

    def stop(self) -> None:
        """Tell it to end."""
        self.is_leaving = True
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def _live(self) -> int:
        """Hear what it says, to its end."""
        try:
            async for said in self._channel.heard():
                self._hear(said)
            code = await self._process.wait()
        finally:
            await self._channel.close()
            for asked in self._asked.values():
                if not asked.done():
                    asked.set_result({})
        if not self._is_serving.done():
            self._is_serving.set_exception(
                StartFailed(f"A process of the hub ended with exit code {code} at its start.")
            )
            self._is_serving.exception()  # looked at, whoever waits or not
        return code

    def _hear(self, said: dict[str, Any]) -> None:
        if "started" in said:
            self.wanted, self.finish_seconds = said["workers"], said["finish_seconds"]
            if not self._is_serving.done():
                self._is_serving.set_result(None)
        if "failed" in said and not self._is_serving.done():
            self.reason = said["failed"]
            self._is_serving.set_exception(StartFailed(said["failed"]))
            self._is_serving.exception()
        if "metrics" in said:
            self._told(self, said["metrics"], is_whole=said["is_whole"])
        asked = self._asked.get(said.get("id", 0))
        if asked is not None and not asked.done():
            asked.set_result(said)
