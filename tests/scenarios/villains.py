"""Partners that break HTTP: servers that follow a script of bytes, and clients that send whatever they like."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable

from multidict import CIMultiDict, CIMultiDictProxy

from config.ocpi import PartyID
from hub.simulator import Answer
from tests.hubs import HubOnTest
from tests.waiting import until

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Villain:
    """A server that plays a script on each connection."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""
        self.connections = 0
        self.left = asyncio.Event()
        """Set once the other side has closed a connection while the script was still waiting for it."""

    @property
    def open(self) -> int:
        """Connections whose script still plays."""
        return len(self._tasks)

    async def _play(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._script(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["Villain"]:
        server = await asyncio.start_server(self._play, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield self
        finally:
            server.close()
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await server.wait_closed()


@contextlib.asynccontextmanager
async def villain(hub: HubOnTest, party: str, endpoint: str, script: Script) -> AsyncIterator[Villain]:
    """Let one endpoint of a registered party, like `tokens.SENDER`, be served by a script."""
    async with Villain(script).running() as server:
        platform = await hub.members.platform_of(PartyID.parse(party))
        await hub.members.set_switches(platform, [f"endpoint.{endpoint}={server.url}"], hub.hub.guard)
        await hub.hub.live.refresh()
        yield server


async def read_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read a request with Content-Length, and give its head and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = 0
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.partition(b":")[2])
    return head, await reader.readexactly(length)


async def hold(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    """Take the request and stay silent."""
    await reader.read()


def say(*pieces: bytes, pause: float = 0.0, stay: bool = False) -> Script:
    """Read the request, then send these pieces and close, or stay until the other side closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.sleep(pause)  # how slow this villain is
        if stay:
            await reader.read()
        elif writer.can_write_eof():
            writer.write_eof()
            await reader.read()

    return script


def repeat(first: bytes, then: bytes, pause: float = 0.0) -> Script:
    """Read the request, send one thing and then another for ever."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(first)
        while not writer.is_closing():
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(pause)

    return script


async def speak(hub: HubOnTest, data: bytes, *, seconds: float = 5.0) -> Answer:
    """Send these bytes to the members' port, and give the one answer that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", hub.settings.port)
    try:
        async with asyncio.timeout(seconds):
            writer.write(data)
            while (head := (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")).startswith("HTTP/1.1 100 "):
                pass  # that was no answer yet
            status, *lines = head.split("\r\n")
            headers = CIMultiDict((line.split(": ", 1)[0], line.split(": ", 1)[1]) for line in lines if line)
            body = await reader.readexactly(int(headers["Content-Length"]))
        return Answer(int(status.split()[1]), CIMultiDictProxy(headers), body, 0.0)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def _tasks() -> Counter[str]:
    """Count the tasks that are alive by what they run, without those that only wait (asyncio.wait_for makes them).

    Nor with still-alive checks: who does not answer is looked into twice, seconds apart, and that ends by itself.
    """
    running = Counter(task.get_coro().__qualname__ for task in asyncio.all_tasks())  # type: ignore[union-attr]
    del running["Event.wait"], running["Liveness._check"]
    return running


@contextlib.asynccontextmanager
async def nothing_left(hub: HubOnTest) -> AsyncIterator[None]:
    """Expect that after the block the hub holds no place, no connection and no task because of what happened in it."""
    await speak(hub, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")  # so its own tasks are running
    before = _tasks()
    yield
    inner = hub.hub
    await until(lambda: inner.metrics.in_flight == 0, "no request is open in the hub")
    await until(lambda: not any(inner.client.in_flight(key) for key in inner.live.table.platforms), "no place is taken")
    await until(lambda: inner.client.connections() == 0, "no connection to a member is open")
    try:
        await until(lambda: _tasks() <= before, "no task is left")
    except AssertionError:
        raise AssertionError(f"tasks are left: {_tasks() - before}") from None
