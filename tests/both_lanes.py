"""Two hubs that differ in the fast lane only, a receiver behind each, and what becomes of the same bytes at both."""

import asyncio
import contextlib
import fcntl
import itertools
import json
import re
import socket
import struct
import termios
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psutil
from aiohttp import web

from hub.addresses import AddressGuard
from parties.model import Role
from tests.hubs import HubOnTest, settings_for
from tests.scenarios.cast import p1, p3
from tests.station import ENVELOPE, Receiving, Reply, Station
from tests.waiting import until
from tests.wire import masked, request_lines, unchunked

TOKEN = b"Token @"
"""Stands in a request for the Authorization of the member, which each hub has given out itself."""
RECEIVER = 2
"""The receiver's platform at each hub."""
_CREDENTIALS = re.compile(rb"(\r\nAuthorization: Token )[A-Za-z0-9+/=]{20,}(?=\r\n)")
_DIFFERING = ("timestamp", "ms", "receiver_ms", "onward_request_id")
_COUNTED = re.compile(
    r"^(ocpi_hub_(?:requests_total|(?:own|receiver)_seconds_count|platform_(?:received|sent|errors)_total)\{.*\}) "
    r"(\S+)$",
    re.MULTILINE,
)
TRIES = 2
"""A machine that stood still for a moment makes a difference once, a lane that does otherwise makes it again."""
_STILL_TURNS = 5
_TURN_SECONDS = 0.001


@dataclass(frozen=True)
class Piece:
    """A part of what the requester sends."""

    data: bytes
    waits: bool = True
    """Whether all is still before the next part is sent; else the hub has read it, and no more."""


@dataclass
class Seen:
    """What became of the same bytes at one hub."""

    answers: bytes = b""
    """What the requester got; of a chunked body, the pieces joined."""
    is_open: bool = False
    """Whether the connection was still open when all was still."""
    requests: list[bytes] = field(default_factory=list)
    """What the receiver was sent, request by request, and what else it was sent on each connection."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    """Lines of the log."""
    counts: dict[str, float] = field(default_factory=dict)
    """By how much the counters grew."""
    suspicions: int = 0
    """How often the receiver was held to be dead."""


class Asking(asyncio.Protocol):
    """A member's connection."""

    def __init__(self) -> None:
        self.data = b""
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True


@dataclass
class Side:
    """One hub, its receiver, and the member's token."""

    hub: HubOnTest
    station: Station
    authorization: bytes
    suspected: list[int]
    """Platforms that were held to be dead: noted instead of being asked whether they are, at some time or other."""
    by_road: int = 0
    """Requests that went the ordinary road."""
    counted: int = 0
    """All that were answered, and counted, but for those that make the hub warm."""

    async def connect(self, *, receives: int | None = None) -> Asking:
        """Open a connection to the hub; `receives` bytes or so are taken in by the kernel before they are read."""
        connection = socket.socket()
        if receives is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", self.hub.settings.port))
        _, asking = await loop.create_connection(Asking, sock=connection)
        return asking

    def has(self, asking: Asking) -> bool:
        """Whether the hub still has its end of a connection."""
        ends = (self.hub.settings.port, asking.transport.get_extra_info("sockname")[1])
        every = psutil.Process().net_connections("tcp")
        return any((each.laddr.port, each.raddr.port) == ends for each in every if each.raddr)

    def filled(self, data: bytes) -> bytes:
        """Put the member's token in."""
        return data.replace(TOKEN, self.authorization)

    def _parts(self, pieces: Sequence[Piece]) -> list[bytes]:
        """Put the token in, which may be cut in two."""
        data, more = b"".join(piece.data for piece in pieces), len(self.authorization) - len(TOKEN)
        ends = itertools.accumulate(len(piece.data) for piece in pieces)
        ends = [0, *(end + more * data.count(TOKEN, 0, end) for end in ends)]
        whole = self.filled(data)
        return [whole[begin:end] for begin, end in itertools.pairwise(ends)]

    def _out(self, data: bytes) -> bytes:
        return data.replace(self.authorization, b"MEMBER'S TOKEN")

    async def see(self, pieces: Sequence[Piece], plan: Sequence[Reply] = (), *, leaves: bool = False) -> Seen:
        """Send pieces over one connection and a plain request after them, and give what became of it all.

        `leaves`: the requester ends its side of the connection instead of asking once more.
        """
        hub, station = self.hub, self.station
        await self._warm()
        station.requests.clear()
        self.suspected.clear()
        station.plan[:] = plan
        station.released.clear()
        hub.hub.request_log.flush()
        logged, counts = len(hub.log.getvalue()), self._counts()
        asking = await self.connect()
        parts = self._parts(pieces)
        for number, (piece, part) in enumerate(zip(pieces, parts, strict=True), 1):
            if asking.is_closed:
                break
            asking.transport.write(part)
            if piece.waits and number < len(pieces):
                await self.still(asking)
            else:
                await self._read(asking)
        station.released.set()
        await self.still(asking)
        is_open = not asking.is_closed
        if not asking.is_closed:
            if leaves:
                asking.transport.write_eof()
            else:
                asking.transport.write(self.filled(request("GET", "receiver/sessions/BE/BEC/after")))
            await self.still(asking)
        answers = asking.data
        asking.transport.close()
        while not asking.is_closed or hub.hub.metrics.in_flight:
            await asyncio.sleep(_TURN_SECONDS)
        hub.hub.request_log.flush()
        lines = [json.loads(line) for line in hub.log.getvalue()[logged:].splitlines()]
        self.counted += len(lines)
        return Seen(
            masked(unchunked(answers)),
            is_open,
            [_CREDENTIALS.sub(b"\\1HUB'S TOKEN", masked(self._out(each))) for each in station.requests],
            [
                {key: masked(str(value).encode()) for key, value in line.items() if key not in _DIFFERING}
                for line in lines
                if line["event"] == "request"
            ],
            {
                key: value
                for key, value in ((key, n - counts.get(key, 0)) for key, n in self._counts().items())
                if value
            },
            len(self.suspected),
        )

    async def _warm(self) -> None:
        """Let the hub have one idle connection to the receiver, unless it may be one that is ending."""
        self.station.plan.clear()
        for connection in tuple(self.station.connections):
            connection.transport.abort()
        idle = self.hub.hub.client._idle
        while self.station.connections or any(pool for key, pool in idle.items() if self.station.port in key):
            await asyncio.sleep(_TURN_SECONDS)
        asking = await self.connect()
        by_road = self.by_road
        asking.transport.write(self.filled(request("GET", "receiver/sessions/BE/BEC/warm")))
        while not asking.data.endswith(ENVELOPE):
            assert not asking.is_closed, asking.data
            assert b"\r\n\r\n{" not in asking.data or ENVELOPE in asking.data, self.hub.log.getvalue()[-2000:]
            await asyncio.sleep(_TURN_SECONDS)
        self.by_road = by_road
        asking.transport.close()

    def _counts(self) -> dict[str, float]:
        return {name: float(number) for name, number in _COUNTED.findall(self.hub.hub.metrics.render().decode())}

    async def _read(self, asking: Asking) -> None:
        """Wait until the hub has read all that was sent."""
        connection = asking.transport.get_extra_info("socket")
        for _ in range(3):
            await asyncio.sleep(0)
        while not asking.is_closed and (asking.transport.get_write_buffer_size() or _unread_by_peer(connection)):
            await asyncio.sleep(_TURN_SECONDS)

    async def still(self, asking: Asking) -> None:
        """Wait until nothing is under way at the receiver and nothing more comes, at either end."""
        turns, last = 0, None
        while turns < _STILL_TURNS:
            await asyncio.sleep(_TURN_SECONDS)
            now = (len(asking.data), asking.is_closed, self.station.came, asking.transport.get_write_buffer_size())
            is_waiting = self.hub.hub.client.in_flight(RECEIVER) > self.station.holding
            turns = 0 if now != last or is_waiting else turns + 1
            last = now


def _unread_by_peer(connection: socket.socket) -> bool:
    if connection.fileno() < 0:
        return False
    (waiting,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    return bool(waiting)


def request(method: str, path: str, *more: str, body: bytes = b"", drop: Sequence[str] = ()) -> bytes:
    """A request of the CPO's to the eMSP."""
    lines = request_lines(TOKEN.decode(), method, path, *more, drop=drop)
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


@dataclass
class BothLanes:
    """A hub with the fast lane and one without."""

    fast: Side
    ordinary: Side
    doubts: list[str] = field(default_factory=list)
    """What was not the same when it was tried first."""

    @property
    def sides(self) -> tuple[Side, Side]:
        """Both."""
        return self.fast, self.ordinary

    async def compare(self, pieces: Sequence[Piece], plan: Sequence[Reply] = (), *, leaves: bool = False) -> Seen:
        """Make sure that both hubs do the same, and give it."""
        for _ in range(TRIES):
            fast, ordinary = await asyncio.gather(
                self.fast.see(pieces, plan, leaves=leaves), self.ordinary.see(pieces, plan, leaves=leaves)
            )
            if fast == ordinary:
                return fast
            if not all(piece.waits for piece in pieces) or any(each.waits for each in plan):
                # What comes while another request is under way, the fast lane reads in one go afterwards, as anybody
                # may: TCP knows no pieces. aiohttp refuses what is no HTTP in the end behind the requests that came
                # before it, but instead of those that came in the same piece.
                for number in range(len(pieces)):
                    rest = Piece(b"".join(piece.data for piece in pieces[number:]))
                    if fast == await self.ordinary.see([*pieces[:number], rest], plan, leaves=leaves):
                        return fast
            self.doubts.append(f"{pieces}\n{plan}\nleaves={leaves}\n{_differences(fast, ordinary)}")
        raise AssertionError(_differences(fast, ordinary))


def _differences(fast: Seen, ordinary: Seen) -> str:
    shown = []
    for aspect in ("requests", "answers", "is_open", "lines", "counts", "suspicions"):
        one, other = getattr(fast, aspect), getattr(ordinary, aspect)
        if one != other:
            shown.append(
                f"{aspect} in the fast lane: {str(one)[:4000]}\n{aspect} on the ordinary road: {str(other)[:4000]}"
            )
    return "\n".join(shown)


@contextlib.asynccontextmanager
async def both_lanes(fast_url: str, ordinary_url: str, **settings: Any) -> AsyncIterator[BothLanes]:
    """Start both hubs, each on a database of its own."""
    async with contextlib.AsyncExitStack() as stack:
        sides = []
        for database_url, fast_lane in ((fast_url, True), (ordinary_url, False)):
            hub = HubOnTest(settings_for(database_url, fast_lane=fast_lane, **settings))
            sides.append(await stack.enter_async_context(_side(hub)))
        yield BothLanes(*sides)


@contextlib.asynccontextmanager
async def _side(hub: HubOnTest) -> AsyncIterator[Side]:
    station = Station()
    server = await asyncio.get_running_loop().create_server(lambda: Receiving(station), "127.0.0.1", 0)
    port = station.port = server.sockets[0].getsockname()[1]
    answer, notes = hub.hub.road.answer, []
    hub.hub.road.answer = lambda request: (notes[-1] if notes else answer)(request)  # type: ignore[method-assign]
    await hub.start()
    try:
        async with p1() as cpo, p3() as emsp:
            for member in (cpo, emsp):
                await hub.register(member)
            platform = await hub.members.platform_of(Role.parse("DE-TNM:EMSP").party)
            assert platform.id == RECEIVER
            switches = [
                f"endpoint.{module}=http://127.0.0.1:{port}/ocpi/{module.partition('.')[0]}/"
                for module in ("sessions.RECEIVER", "locations.RECEIVER", "cdrs.RECEIVER", "tokens.SENDER")
            ]
            guard = AddressGuard(hub.settings.member_networks, allow_http=True)
            await hub.members.set_switches(platform, switches, guard)
            await hub.hub.live.refresh()
            hub.hub.client_infos._newcomers.clear()  # they would have to be introduced
            assert cpo.hub_token is not None
            suspected: list[int] = []
            hub.hub.liveness.suspect = suspected.append  # type: ignore[method-assign]
            side = Side(hub, station, b"Token " + b64encode(cpo.hub_token.encode()), suspected)

            def note(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
                side.by_road += 1
                return answer(request)

            notes.append(note)
            yield side
    finally:
        await hub.stop()
        server.close()
    for connection in tuple(station.connections):
        connection.transport.close()
    await until(lambda: not station.connections)
