"""The client against real servers on loopback, well-behaved and otherwise, on asyncio's event loop and on uvloop."""

import asyncio
import datetime
import functools
import gc
import hashlib
import inspect
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address, ip_network
from itertools import pairwise
from typing import Any, cast

import pytest
import uvloop
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from hub import client as hub_client
from hub.addresses import AddressGuard
from hub.client import (
    AddressRefused,
    AnswerBroken,
    BodyBroken,
    BodyTooLarge,
    Client,
    ClientError,
    ConnectFailed,
    Lane,
    NoAnswer,
    Request,
    Response,
    Saturated,
)
from hub.connection import HIGH_WATER, MAX_INTERIM_ANSWERS, Connection

LOOPBACK = [ip_network("127.0.0.0/8"), ip_network("::1/128")]
MEGABYTE = 1024 * 1024
LIMIT_SECONDS = 20
WRITING_METHODS = ["PUT", "POST", "PATCH", "DELETE"]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
DISTRUSTING = hub_client.make_ssl_context()  # made once, since it reads all the certificates of the machine
TOKEN = "Token c2VjcmV0"  # what no error may tell


@pytest.fixture(autouse=True, scope="module")
def quick_collections() -> Iterator[None]:
    """Keep what was there before out of the collections after each test, which would take most of the time."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def on_each_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run the test on both event loops, in limited time, and fail it when it leaves a task or a transport behind."""

    def run(loop_factory: Callable[[], asyncio.AbstractEventLoop], **arguments: Any) -> None:
        problems: list[dict[str, Any]] = []  # errors that nobody awaited

        async def limited() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
            async with asyncio.timeout(LIMIT_SECONDS):
                await test(**arguments)
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            assert not [task for task in left if "_accept_connection2" not in repr(task)]  # of the server, at its TLS

        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(limited())
        gc.collect()  # an unclosed transport warns when it is collected, and warnings are errors
        assert problems == []

    signature = inspect.signature(test)
    loop = inspect.Parameter("loop_factory", inspect.Parameter.KEYWORD_ONLY)
    functools.update_wrapper(run, test)
    del run.__wrapped__  # type: ignore[attr-defined]
    run.__signature__ = signature.replace(parameters=[*signature.parameters.values(), loop])  # type: ignore[attr-defined]
    loops = pytest.mark.parametrize(
        "loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
    )
    return cast("Callable[..., None]", loops(run))


# Platforms


class Peer:
    """One connection as a platform sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, platform: "Platform") -> None:
        self.reader = reader
        self.writer = writer
        self.platform = platform

    async def head(self) -> bytes:
        """The head of the next request, which counts as received from here on."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        self.platform.heads.append(head)
        return head

    async def request(self) -> bytes:
        """The next request, and its body in full when it has a Content-Length."""
        head = await self.head()
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await self.reader.readexactly(int(line.partition(b":")[2]))
        return head

    async def answer(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def closed(self) -> None:
        """Wait until the other side has closed the connection."""
        try:
            while await self.reader.read(65536):
                pass
        except OSError:
            pass


Script = Callable[[Peer], Awaitable[None]]


class Platform:
    """A server that plays a script on each connection, then closes it."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.url = ""
        self.peers: list[Peer] = []
        self.heads: list[bytes] = []
        self.tasks: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        return len(self.peers)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        peer = Peer(reader, writer, self)
        self.peers.append(peer)
        try:
            await self.script(peer)
        except (asyncio.CancelledError, asyncio.IncompleteReadError, OSError):
            pass  # the test is over, or the client has closed
        finally:
            writer.close()
            self.tasks.discard(task)

    async def finished(self) -> None:
        """Wait until no connection is open any more."""
        if self.tasks:
            await asyncio.wait(self.tasks)


@asynccontextmanager
async def a_platform(
    script: Script, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None, name: str | None = None
) -> AsyncIterator[Platform]:
    platform = Platform(script)
    server = await asyncio.start_server(platform.serve, host, 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    host = name or (f"[{host}]" if ":" in host else host)
    platform.url = f"{'https' if tls else 'http'}://{host}:{port}"
    try:
        yield platform
    finally:
        server.close()
        for task in tuple(platform.tasks):
            task.cancel()
        await platform.finished()
        for peer in platform.peers:
            if not peer.writer.transport.is_closing():
                peer.writer.transport.abort()
        await asyncio.gather(*(peer.writer.wait_closed() for peer in platform.peers), return_exceptions=True)


def always(answer: bytes) -> Script:
    """Give the same answer to every request."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.answer(answer)

    return script


def once(*answer: bytes, end: str = "close") -> Script:
    """Answer one request in these pieces; then close, or stay silent, or reset."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in answer:
            await peer.answer(piece)
        if end == "stay":
            await peer.closed()

    return script


@asynccontextmanager
async def a_client(**settings: Any) -> AsyncIterator[Client]:
    guard = AddressGuard(LOOPBACK, allow_http=True)
    defaults: dict[str, Any] = {"connect_timeout": 5.0, "idle_timeout": 5.0, "idle_connection_seconds": LIMIT_SECONDS}
    client = Client(guard, **defaults | {"ssl_context": DISTRUSTING} | settings)
    try:
        yield client
    finally:
        await client.close()
        assert client.connections() == 0
        assert client.in_flight("alfa") == 0


@asynccontextmanager
async def an_answer(answer: bytes, *, end: str = "close") -> AsyncIterator[Response]:
    async with (
        a_platform(once(answer, end=end)) as platform,
        a_client() as client,
        client.send(a_request(platform.url), key="alfa", timeout=5) as response,
    ):
        yield response


def a_request(url: str, method: str = "GET", **rest: Any) -> Request:
    return Request(method, url, rest.pop("headers", [("Authorization", TOKEN)]), **rest)


async def fetch(
    client: Client, request: Request, *, key: str = "alfa", within: float = 5, lane: Lane = "ordinary"
) -> tuple[int, bytes]:
    async with client.send(request, key=key, timeout=within, lane=lane) as response:
        return response.status, await response.read(100 * MEGABYTE)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


# Answers


KEPT = [
    (OK, 200, b"ok", 2),
    (b"HTTP/1.1 200\r\ncontent-length:2\r\n\r\nok", 200, b"ok", 2),
    (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, b"", 0),
    (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", 0),
    (b"HTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n", 204, b"", 0),
    (b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304, b"", 0),
    (CHUNKED + b"2\r\nok\r\n0\r\n\r\n", 200, b"ok", None),
    (CHUNKED + b"1;a=b\r\no\r\n01\r\nk\r\n0\r\nX: y\r\n\r\n", 200, b"ok", None),
    (CHUNKED.replace(b"chunked", b"Chunked ") + b"0\r\n\r\n", 200, b"", None),
    (b"HTTP/1.1 103 Early\r\nContent-Length: 9\r\nLink: x\r\n\r\n" + OK, 200, b"ok", 2),
    (b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_INTERIM_ANSWERS + OK, 200, b"ok", 2),
    (b"\r\n" + OK, 200, b"ok", 2),
    (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", 2),
    (b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", 2),
]
NOT_KEPT = [
    (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", 2),
    (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", 2),
    (b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", 2),
    (OK + b"SURPLUS", 200, b"ok", 2),
    (OK + OK, 200, b"ok", 2),
]


@pytest.mark.parametrize(
    ("answer", "status", "body", "length", "is_kept"),
    [(*row, True) for row in KEPT] + [(*row, False) for row in NOT_KEPT],
)
@on_each_loop
async def test_every_framing_is_read_and_the_connection_kept_where_it_may_be(
    answer: bytes, status: int, body: bytes, length: int | None, is_kept: bool
) -> None:
    async with a_platform(always(answer)) as platform, a_client() as client:
        for _ in range(3):
            async with client.send(a_request(platform.url), key="alfa", timeout=5) as response:
                assert response.status == status
                assert response.content_length == length
                assert await response.read(100) == body
                assert 0 < response.elapsed_head < 5

        assert platform.connections == client.opened == (1 if is_kept else 3)
        assert client.reused == (2 if is_kept else 0)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n"])
@on_each_loop
async def test_a_body_without_framing_ends_with_the_connection(head: bytes) -> None:
    async with a_platform(once(head, b"first,", b"second")) as platform, a_client() as client:
        assert await fetch(client, a_request(platform.url)) == (200, b"first,second")

        await until(lambda: client.connections() == 0)


@on_each_loop
async def test_the_answer_to_head_has_no_body() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with a_platform(always(head)) as platform, a_client() as client:
        assert await fetch(client, a_request(platform.url, "HEAD")) == (200, b"")


@on_each_loop
async def test_headers_are_found_in_any_case_and_kept_in_order() -> None:
    fields = b"Link: <a>\r\nX-Total-Count:  7 \r\nLINK: \t<b>\r\nX-Name: caf\xe9\r\nContent-Length: 0\r\n"
    early = b"HTTP/1.1 103 Early Hints\r\nLink: <early>\r\n\r\n"
    async with an_answer(early + b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n") as response:
        headers = response.headers

    assert (headers.get("link"), headers.get_all("Link")) == ("<a>", ["<a>", "<b>"])
    assert (headers.get("x-total-count"), headers.get("X-Name"), headers.get("absent")) == ("7", "caf\xe9", None)
    assert [name for name, _ in headers] == ["Link", "X-Total-Count", "LINK", "X-Name", "Content-Length"]
    assert "<a>" not in repr(headers)


@on_each_loop
async def test_a_coding_is_not_undone() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 6\r\n\r\n\x1f\x8b\x00\x01\x02\x03"
    async with a_platform(always(answer)) as platform, a_client() as client:
        assert await fetch(client, a_request(platform.url)) == (200, b"\x1f\x8b\x00\x01\x02\x03")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"<html>not http</html>\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 1000 Odd\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM_ANSWERS + 1) + OK,
        b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nokk",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
    ],
)
@on_each_loop
async def test_an_ambiguous_or_malformed_head_is_refused(answer: bytes) -> None:
    async with a_platform(once(answer, end="stay")) as platform, a_client() as client:
        with pytest.raises(AnswerBroken, match="not valid HTTP"):
            await fetch(client, a_request(platform.url))

        await platform.finished()
        assert platform.connections == 1


@pytest.mark.parametrize(
    ("pieces", "end"),
    [
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"], "close"),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"], "close"),
        ([CHUNKED], "close"),
        ([CHUNKED + b"4\r\nhalf\r\n"], "close"),
        ([CHUNKED + b"4\r\nhalf\r\n0\r\n"], "close"),
        ([CHUNKED + b"4\r\nha"], "close"),
        ([CHUNKED + b"0x4\r\nhalf\r\n"], "stay"),
        ([CHUNKED + b"4\nhalf\n"], "stay"),
        ([CHUNKED + b"-4\r\nhalf\r\n"], "stay"),
        ([CHUNKED + b"4\r\nhalfway\r\n"], "stay"),
        ([CHUNKED, b"fffffffffffffffff\r\n"], "stay"),
        ([CHUNKED, b"4;" + b"x" * MEGABYTE], "stay"),
        ([CHUNKED + b"0\r\n", *[b"X: y\r\n" * 1000] * 30], "stay"),
        ([CHUNKED + b"0\r\n" + b"X: y\r\n" * 30000], "stay"),
    ],
)
@on_each_loop
async def test_a_body_that_breaks_off_is_told_from_one_that_ends(pieces: list[bytes], end: str) -> None:
    async with a_platform(once(*pieces, end=end)) as platform, a_client() as client:
        async with client.send(a_request(platform.url), key="alfa", timeout=5) as response:
            assert response.status == 200
            with pytest.raises(BodyBroken):
                await response.read(MEGABYTE)

        await platform.finished()
        await until(lambda: client.connections() == 0)


@on_each_loop
async def test_what_came_before_the_break_is_still_handed_out() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"
    async with an_answer(answer) as response:
        assert await anext(response) == b"half"
        with pytest.raises(BodyBroken, match="closed in the middle"):
            await anext(response)


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n", CHUNKED + b"b\r\nhello world\r\n"]
)
@on_each_loop
async def test_a_body_beyond_the_limit_is_refused_as_soon_as_it_is_known(answer: bytes) -> None:
    async with an_answer(answer, end="stay") as response:
        with pytest.raises(BodyTooLarge):
            await response.read(10)


# Silence


@on_each_loop
async def test_silence_until_the_deadline_is_no_answer() -> None:
    async with a_platform(once(end="stay")) as platform, a_client() as client:
        with pytest.raises(NoAnswer):
            await fetch(client, a_request(platform.url), within=0.1)

        await platform.finished()
        assert (len(platform.heads), client.connections()) == (1, 0)


@on_each_loop
async def test_the_deadline_of_one_request_is_not_that_of_the_next() -> None:
    async def slower_each_time(peer: Peer) -> None:
        for seconds in (0, 0.2):
            await peer.request()
            await asyncio.sleep(seconds)
            await peer.answer(OK)

    async with a_platform(slower_each_time) as platform, a_client() as client:
        await fetch(client, a_request(platform.url), within=0.1)
        assert await fetch(client, a_request(platform.url), within=5) == (200, b"ok")
        assert client.reused == 1


@pytest.mark.parametrize(
    "drop", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b""]
)
@on_each_loop
async def test_a_head_that_trickles_for_ever_ends_at_the_deadline(drop: bytes) -> None:
    async def trickle(peer: Peer) -> None:
        await peer.request()
        await peer.answer(drop)
        while True:
            await peer.answer(b"x" if drop.endswith(b"X: ") else b"X: y\r\n" if drop.endswith(b"OK\r\n") else b"")
            await asyncio.sleep(0.01)

    async with a_platform(trickle) as platform, a_client() as client:
        with pytest.raises(NoAnswer):
            await fetch(client, a_request(platform.url), within=0.2)


@pytest.mark.parametrize("line", [b"X: " + b"y" * 1000 + b"\r\n", b"X: y\r\n", b"x" * 1000])
@on_each_loop
async def test_a_megabyte_of_headers_is_refused(line: bytes) -> None:
    async def flood(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 200 OK\r\n" + line * (MEGABYTE // len(line)) + b"\r\n\r\n")
        await peer.closed()

    async with a_platform(flood) as platform, a_client() as client:
        with pytest.raises(AnswerBroken, match="65536 bytes"):
            await fetch(client, a_request(platform.url))


@on_each_loop
async def test_the_limit_of_the_head_is_a_setting() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: " + b"y" * 1000 + b"\r\n\r\nok"
    async with a_platform(always(answer)) as platform:
        async with a_client(max_header_bytes=2000) as client:
            assert await fetch(client, a_request(platform.url)) == (200, b"ok")
        async with a_client(max_header_bytes=1000) as client:
            with pytest.raises(AnswerBroken, match="1000 bytes"):
                await fetch(client, a_request(platform.url))


@on_each_loop
async def test_a_body_may_take_any_time_but_not_stop() -> None:
    async def slow(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        for _ in range(8):
            await asyncio.sleep(0.05)
            await peer.answer(b"x")
        await peer.closed()

    async with a_platform(slow) as platform, a_client(idle_timeout=0.2) as client:
        async with client.send(a_request(platform.url), key="alfa", timeout=0.2) as response:
            received = [await anext(response) for _ in range(8)]
            with pytest.raises(BodyBroken, match="stopped coming"):
                await anext(response)

        assert received == [b"x"] * 8


# Keep-alive


@on_each_loop
async def test_two_platforms_never_share_a_connection() -> None:
    async with a_platform(always(OK)) as platform, a_client() as client:
        for key in ("alfa", "beta", "alfa", "beta"):
            await fetch(client, a_request(platform.url), key=key)

        assert (platform.connections, client.opened, client.reused) == (2, 2, 2)


@on_each_loop
async def test_the_connection_used_last_is_used_first() -> None:
    async def named(peer: Peer) -> None:
        name = b"%d" % platform.connections
        while True:
            await peer.request()
            await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n" + name)

    async with a_platform(named) as platform, a_client() as client:
        request = a_request(platform.url)
        outer, inner = (client.send(request, key="alfa", timeout=5) for _ in range(2))
        async with outer as first, inner as second:
            assert (await first.read(1), await second.read(1)) == (b"1", b"2")

        assert [await fetch(client, request) for _ in range(3)] == [(200, b"1")] * 3


@on_each_loop
async def test_an_idle_connection_is_closed_by_us() -> None:
    async with a_platform(always(OK)) as platform, a_client(idle_connection_seconds=0.2) as client:
        await fetch(client, a_request(platform.url))
        assert client.connections() == 1

        await platform.finished()
        await until(lambda: client.connections() == 0)


@on_each_loop
async def test_an_idle_connection_is_closed_before_the_platform_would() -> None:
    answer = b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1, max=100\r\nContent-Length: 2\r\n\r\nok"
    async with a_platform(always(answer)) as platform, a_client(idle_connection_seconds=2) as client:
        await fetch(client, a_request(platform.url))
        started = asyncio.get_running_loop().time()
        await platform.finished()

        assert 0.4 < asyncio.get_running_loop().time() - started < 1


@pytest.mark.parametrize("method", ["GET", *WRITING_METHODS])
@on_each_loop
async def test_a_connection_the_platform_has_closed_is_not_used_again(method: str) -> None:
    async with a_platform(once(OK)) as platform, a_client() as client:
        for _ in range(2):
            assert await fetch(client, a_request(platform.url, method)) == (200, b"ok")
            await until(lambda: client.connections() == 0)

        assert (platform.connections, client.reused, client.resent) == (2, 0, 0)


@on_each_loop
async def test_a_connection_on_which_something_came_unasked_is_not_used_again() -> None:
    async def chatty(peer: Peer) -> None:
        await peer.request()
        await peer.answer(OK)
        await go_on.wait()
        await peer.answer(OK)
        await peer.closed()

    go_on = asyncio.Event()
    async with a_platform(chatty) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))
        go_on.set()
        await until(lambda: client.connections() == 0)

        assert await fetch(client, a_request(platform.url)) == (200, b"ok")
        assert client.reused == 0


def closing_under_the_request(*, after: int = 1, reset: bool = False) -> Script:
    """Answer so many requests of the first connection, read one more and close; answer all of the other ones."""

    async def script(peer: Peer) -> None:
        if peer.platform.connections > 1:
            await always(OK)(peer)
        for _ in range(after):
            await peer.request()
            await peer.answer(OK)
        await peer.request()
        if reset:
            peer.writer.transport.abort()

    return script


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("body", [None, b"held"])
@on_each_loop
async def test_a_get_whose_reused_connection_closes_under_it_is_sent_once_more(reset: bool, body: bytes | None) -> None:
    async with a_platform(closing_under_the_request(reset=reset)) as platform, a_client() as client:
        request = a_request(platform.url, body=body)
        await fetch(client, request)

        assert await fetch(client, request) == (200, b"ok")
        assert (len(platform.heads), platform.connections, client.resent) == (3, 2, 1)


@pytest.mark.parametrize("method", WRITING_METHODS)
@on_each_loop
async def test_nothing_that_changes_something_is_sent_twice(method: str) -> None:
    async with a_platform(closing_under_the_request()) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))

        with pytest.raises(AnswerBroken, match="without a byte"):
            await fetch(client, a_request(platform.url, method, body=b"{}"))
        assert (len(platform.heads), platform.connections, client.resent) == (2, 1, 0)


@pytest.mark.parametrize("method", ["GET", *WRITING_METHODS])
@on_each_loop
async def test_a_connection_may_close_in_the_very_moment_it_is_used_again(method: str) -> None:
    async with a_platform(always(OK)) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))
        closing = socket.socket(fileno=os.dup(platform.peers[0].writer.get_extra_info("socket").fileno()))
        closing.shutdown(socket.SHUT_RDWR)  # before the client's event loop can see it
        closing.close()

        if method == "GET":
            assert await fetch(client, a_request(platform.url)) == (200, b"ok")
        else:
            with pytest.raises(AnswerBroken, match="without a byte"):
                await fetch(client, a_request(platform.url, method, body=b"{}"))
        assert (client.reused, client.resent, len(platform.heads)) == ((1, 1, 2) if method == "GET" else (1, 0, 1))


@on_each_loop
async def test_a_get_whose_body_is_used_up_is_not_sent_again() -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"{}"

    async with a_platform(closing_under_the_request()) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))

        with pytest.raises(AnswerBroken):
            await fetch(client, a_request(platform.url, body=body(), content_length=2))
        assert (len(platform.heads), client.resent) == (2, 0)


@pytest.mark.parametrize("method", ["GET", *WRITING_METHODS])
@on_each_loop
async def test_a_fresh_connection_that_closes_is_not_tried_again(method: str) -> None:
    async with a_platform(closing_under_the_request(after=0)) as platform, a_client() as client:
        with pytest.raises(AnswerBroken, match="without a byte"):
            await fetch(client, a_request(platform.url, method))

        assert (len(platform.heads), platform.connections, client.resent) == (1, 1, 0)


@on_each_loop
async def test_a_get_is_sent_once_more_and_no_oftener() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        if platform.connections == 1:
            await peer.answer(OK)
            await peer.request()

    async with a_platform(script) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))

        with pytest.raises(AnswerBroken):
            await fetch(client, a_request(platform.url))
        assert (len(platform.heads), client.resent) == (3, 1)


@pytest.mark.parametrize("start", [b"H", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX:"])
@on_each_loop
async def test_a_get_that_was_partly_answered_is_not_sent_again(start: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(OK)
        await peer.request()
        await peer.answer(start)

    async with a_platform(script) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))

        with pytest.raises(AnswerBroken, match="middle of the answer's head"):
            await fetch(client, a_request(platform.url))
        assert (len(platform.heads), client.resent) == (2, 0)


@on_each_loop
async def test_a_get_that_is_not_answered_in_time_is_not_sent_again() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(OK)
        await peer.request()
        await peer.closed()

    async with a_platform(script) as platform, a_client() as client:
        await fetch(client, a_request(platform.url))

        with pytest.raises(NoAnswer):
            await fetch(client, a_request(platform.url), within=0.1)
        assert (len(platform.heads), client.resent) == (2, 0)


@on_each_loop
async def test_leaving_a_body_unread_closes_the_connection() -> None:
    half = once(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", end="stay")
    async with a_platform(half) as platform, a_client() as client:
        async with client.send(a_request(platform.url), key="alfa", timeout=5) as response:
            assert client.in_flight("alfa") == 1

        await platform.finished()
        with pytest.raises(RuntimeError):
            await response.read(9)


# Requests


@pytest.mark.parametrize(
    ("method", "rest", "framing", "body"),
    [
        ("GET", {}, b"", b""),
        ("DELETE", {}, b"", b""),
        ("PUT", {}, b"Content-Length: 0\r\n", b""),
        ("POST", {"body": b""}, b"Content-Length: 0\r\n", b""),
        ("PATCH", {"body": b"{}"}, b"Content-Length: 2\r\n", b"{}"),
        ("GET", {"body": b"{}"}, b"Content-Length: 2\r\n", b"{}"),
    ],
)
@on_each_loop
async def test_a_request_goes_over_the_wire_exactly_as_given(
    method: str, rest: dict[str, Any], framing: bytes, body: bytes
) -> None:
    async def record(peer: Peer) -> None:
        received.append(await peer.request())
        await peer.answer(OK)

    received: list[bytes] = []
    path = "/ocpi//a%2Fb/%41/../*/+;x?q=%2f+%20&r=*#"[:-1]
    headers = [("X-Request-ID", "b"), ("authorization", "Token YQ=="), ("OCPI-to-party-id", "caf\xe9"), ("X-Empty", "")]
    async with a_platform(record) as platform, a_client() as client:
        await fetch(client, a_request(platform.url + path, method, headers=headers, **rest))
        port = platform.url.rpartition(":")[2].encode()

    assert received == [
        method.encode() + b" " + path.encode() + b" HTTP/1.1\r\nHost: 127.0.0.1:" + port + b"\r\n"
        b"X-Request-ID: b\r\nauthorization: Token YQ==\r\nOCPI-to-party-id: caf\xe9\r\nX-Empty: \r\n"
        + framing + b"\r\n" + body
    ]  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"},
        {"method": "GET /x"},
        {"method": ""},
        {"url": "/x\r\nX: y"},
        {"url": "/x y"},
        {"url": "/\x00"},
        {"url": "/#fragment"},
        {"url": "/caf\xe9"},
        {"headers": [("X", "y\r\nZ: z")]},
        {"headers": [("X", "y\nZ: z")]},
        {"headers": [("X", "y\rZ: z")]},
        {"headers": [("X", "y\x00")]},
        {"headers": [("X\r\nY", "z")]},
        {"headers": [("X", "y\r\n")]},
        {"headers": [("X", "\u20ac")]},
        {"headers": [("host", "elsewhere.example")]},
        {"headers": [("Content-Length", "7")]},
        {"headers": [("TRANSFER-ENCODING", "chunked")]},
    ],
)
@on_each_loop
async def test_what_would_end_its_line_is_refused_before_anything_is_sent(change: dict[str, Any]) -> None:
    async with a_platform(always(OK)) as platform, a_client() as client:
        url = platform.url + change.get("url", "/")
        request = Request(change.get("method", "GET"), url, change.get("headers", []))
        with pytest.raises(ValueError, match=r"The .*\."):
            await fetch(client, request)

        assert (platform.connections, client.in_flight("alfa"), client.opened) == (0, 0, 0)


@pytest.mark.parametrize("content_length", [None, 8 * MEGABYTE])
@on_each_loop
async def test_a_large_request_body_is_streamed(content_length: int | None) -> None:
    async def digest(request: web.Request) -> web.Response:
        digest = hashlib.sha256()
        async for chunk in request.content.iter_any():
            digest.update(chunk)
        framing = request.headers.get("Content-Length", request.headers.get("Transfer-Encoding"))
        return web.Response(text=f"{framing} {digest.hexdigest()}")

    async def body() -> AsyncIterator[bytes]:
        for _ in range(32):
            yield piece
            yield b""

    piece = bytes(range(256)) * 1024
    async with an_aiohttp_platform(digest) as url, a_client() as client:
        for _ in range(2):
            status, answer = await fetch(client, a_request(url, "PUT", body=body(), content_length=content_length))

            assert (status, answer.decode()) == (
                200,
                f"{content_length or 'chunked'} {hashlib.sha256(piece * 32).hexdigest()}",
            )
        assert (client.opened, client.reused) == (1, 1)


@asynccontextmanager
async def an_aiohttp_platform(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    runner = web.ServerRunner(web.Server(handler, access_log=None))  # type: ignore[arg-type]
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield site.name
    finally:
        await runner.cleanup()


@on_each_loop
async def test_an_ordinary_server_is_spoken_with() -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"X-Method": request.method, "X-Path": request.raw_path})
        if request.query.get("chunked"):
            response.enable_chunked_encoding()
        else:
            response.content_length = request.content_length or 0
        await response.prepare(request)
        await response.write(await request.read())
        await response.write_eof()
        return response

    async with an_aiohttp_platform(echo) as url, a_client() as client:
        for method, query in [
            ("PUT", "?chunked=1"),
            ("POST", ""),
            ("PATCH", "?chunked=1"),
            ("GET", ""),
            ("DELETE", ""),
        ]:
            body = None if method in ("GET", "DELETE") else b"{}" * 40000
            request = a_request(f"{url}/a%2Fb{query}", method, body=body)
            async with client.send(request, key="alfa", timeout=5) as response:
                assert (response.headers.get("X-Method"), response.headers.get("X-Path")) == (method, "/a%2Fb" + query)
                assert await response.read(MEGABYTE) == (body or b"")
        assert (client.opened, client.reused) == (1, 4)


class Endless:
    """The body of a request that never ends; knows whether it was closed and what was taken of it."""

    def __init__(self, *, stalls_after: int | None = None) -> None:
        self.taken = 0
        self.is_closed = False
        self.stalled = asyncio.Event()
        self.stalls_after = stalls_after

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            while self.taken != self.stalls_after:
                self.taken += 1
                yield b"x" * 65536
            self.stalled.set()
            await asyncio.Event().wait()
        finally:
            self.is_closed = True


@pytest.mark.parametrize("content_length", [None, 2**40])
@pytest.mark.parametrize("stalls_after", [None, 0, 2])
@on_each_loop
async def test_an_answer_before_the_end_of_the_request_stops_it(
    content_length: int | None, stalls_after: int | None
) -> None:
    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await peer.closed()

    body = Endless(stalls_after=stalls_after)
    async with a_platform(early) as platform, a_client() as client:
        request = a_request(platform.url, "PUT", body=body(), content_length=content_length)
        assert await fetch(client, request) == (413, b"no")

        await platform.finished()
        assert body.is_closed or body.taken == 0
        assert (client.connections(), client.reused) == (0, 0)


@on_each_loop
async def test_an_answer_before_the_end_of_a_held_body_ends_the_connection() -> None:
    async def early(peer: Peer) -> None:
        await peer.head()
        await peer.answer(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
        await done.wait()

    done = asyncio.Event()
    async with a_platform(early) as platform, a_client() as client:
        assert await fetch(client, a_request(platform.url, "PUT", body=b"x" * 30 * MEGABYTE)) == (413, b"no")
        await until(lambda: client.connections() == 0)
        done.set()


@pytest.mark.parametrize("content_length", [None, 2**40])
@on_each_loop
async def test_a_platform_that_stops_reading_is_given_up(content_length: int | None) -> None:
    async def deaf(peer: Peer) -> None:
        peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await done.wait()

    done, body = asyncio.Event(), Endless()
    async with a_platform(deaf) as platform, a_client(idle_timeout=0.2) as client:
        with pytest.raises(NoAnswer, match="stopped reading"):
            await fetch(client, a_request(platform.url, "PUT", body=body(), content_length=content_length))

        assert body.is_closed
        assert body.taken < 1000
        done.set()


@on_each_loop
async def test_the_deadline_holds_while_the_request_is_being_sent() -> None:
    body = Endless(stalls_after=1)
    async with a_platform(once(end="stay")) as platform, a_client() as client:
        with pytest.raises(NoAnswer):
            await fetch(client, a_request(platform.url, "PUT", body=body()), within=0.1)

        assert body.is_closed
        await platform.finished()


@pytest.mark.parametrize(
    ("pieces", "content_length", "error"),
    [
        ([b"one", KeyError("the sender is gone")], None, KeyError),
        ([KeyError("the sender is gone")], 3, KeyError),
        ([b"one", b"two"], 5, ValueError),
        ([b"one"], 5, ValueError),
    ],
)
@on_each_loop
async def test_an_error_of_the_body_is_passed_on_and_closes_the_connection(
    pieces: list[bytes | Exception], content_length: int | None, error: type[Exception]
) -> None:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    async def listen(peer: Peer) -> None:
        await peer.head()
        await peer.closed()

    async with a_platform(listen) as platform, a_client() as client:
        with pytest.raises(error):
            await fetch(client, a_request(platform.url, "PUT", body=body(), content_length=content_length))

        await until(lambda: client.connections() == 0)
        await platform.finished()


@on_each_loop
async def test_a_large_answer_is_not_taken_faster_than_it_is_read() -> None:
    size, sent = 50 * MEGABYTE, 0

    async def large(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        while sent < size:
            await peer.answer(bytes(MEGABYTE))
            sent += MEGABYTE

    async with (
        a_platform(large) as platform,
        a_client() as client,
        client.send(a_request(platform.url), key="alfa", timeout=5) as response,
    ):
        seen = -1
        while seen != sent:  # until the platform has been standing still for a while
            seen = sent
            await asyncio.sleep(0.1)
        assert sent < 20 * MEGABYTE  # what the sockets of both sides hold

        pieces = [len(piece) async for piece in response]
        assert sum(pieces) == size
        assert max(pieces) < 4 * HIGH_WATER


# Places


@on_each_loop
async def test_urgent_requests_have_places_of_their_own() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await go_on.wait()
        await peer.answer(OK)

    go_on = asyncio.Event()
    async with a_platform(script) as platform, a_client(max_in_flight=2, urgent_share=1, slot_wait=0.05) as client:
        request = a_request(platform.url)
        running = [asyncio.create_task(fetch(client, request)) for _ in range(2)]
        await until(lambda: len(platform.heads) == 2)
        with pytest.raises(Saturated):
            await fetch(client, request)

        running.append(asyncio.create_task(fetch(client, request, lane="urgent")))
        await until(lambda: len(platform.heads) == 3)
        with pytest.raises(Saturated):
            await fetch(client, request, lane="urgent")
        running.append(asyncio.create_task(fetch(client, request, key="beta")))
        await until(lambda: len(platform.heads) == 4)

        assert (client.in_flight("alfa"), client.in_flight("beta"), client.in_flight("gamma")) == (3, 1, 0)
        go_on.set()
        await asyncio.gather(*running)
        assert client.in_flight("alfa") == client.in_flight("beta") == 0


@on_each_loop
async def test_urgent_requests_leave_ordinary_places_alone_while_theirs_are_free() -> None:
    async with a_platform(once(end="stay")) as platform, a_client(max_in_flight=1, urgent_share=1) as client:
        request = a_request(platform.url)
        lanes: list[Lane] = ["urgent", "ordinary"]
        running = [asyncio.create_task(fetch(client, request, lane=lane)) for lane in lanes]
        await until(lambda: len(platform.heads) == 2)

        assert client.in_flight("alfa") == 2
        await cancel(*running)


@on_each_loop
async def test_urgent_requests_beyond_their_places_take_ordinary_ones() -> None:
    settings: dict[str, Any] = {"max_in_flight": 1, "urgent_share": 1, "slot_wait": 0.05}
    async with a_platform(once(end="stay")) as platform, a_client(**settings) as client:
        request = a_request(platform.url)
        running = [asyncio.create_task(fetch(client, request, lane="urgent")) for _ in range(2)]
        await until(lambda: len(platform.heads) == 2)

        with pytest.raises(Saturated):
            await fetch(client, request)
        await cancel(*running)


@on_each_loop
async def test_who_waits_gets_the_place_that_becomes_free_urgent_ones_first() -> None:
    async def script(peer: Peer) -> None:
        while True:
            order.append((await peer.request()).split()[1].decode())
            await go_on.get()
            await peer.answer(OK)

    go_on: asyncio.Queue[None] = asyncio.Queue()
    order: list[str] = []
    async with a_platform(script) as platform, a_client(max_in_flight=1, urgent_share=0, slot_wait=5) as client:
        lanes: dict[str, Lane] = {"/a": "ordinary", "/b": "ordinary", "/c": "ordinary", "/d": "urgent"}
        requests = [fetch(client, a_request(platform.url + path), lane=lane) for path, lane in lanes.items()]
        running = [asyncio.create_task(request) for request in requests]
        await until(lambda: order == ["/a"])
        for _ in lanes:
            go_on.put_nowait(None)
        await asyncio.gather(*running)

        assert order == ["/a", "/d", "/b", "/c"]


@on_each_loop
async def test_one_who_waits_for_a_place_and_is_cancelled_takes_none() -> None:
    async with a_platform(once(end="stay")) as platform, a_client(max_in_flight=1, slot_wait=5) as client:
        first = asyncio.create_task(fetch(client, a_request(platform.url)))
        await until(lambda: len(platform.heads) == 1)
        second, third = [asyncio.create_task(fetch(client, a_request(platform.url))) for _ in range(2)]
        await asyncio.sleep(0)

        # The place is given to the second one, which is cancelled before it can know.
        first.cancel()
        asyncio.get_running_loop().call_soon(second.cancel)
        await asyncio.wait([first, second])
        assert first.cancelled()
        assert second.cancelled()

        await until(lambda: len(platform.heads) == 2)
        assert client.in_flight("alfa") == 1
        await cancel(third)
        assert client.in_flight("alfa") == 0


# Cancellation


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert all(task.cancelled() for task in tasks)


async def _silent(peer: Peer) -> None:
    await peer.head()
    await peer.closed()


async def _half_a_body(peer: Peer) -> None:
    await peer.head()
    await peer.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
    await peer.closed()


async def _half_a_head(peer: Peer) -> None:
    await peer.head()
    await peer.answer(b"HTTP/1.1 200 OK\r\nContent-")
    await peer.closed()


async def _deaf(peer: Peer) -> None:
    await peer.head()
    peer.reader._transport.pause_reading()  # type: ignore[attr-defined]
    await asyncio.Event().wait()


@pytest.mark.parametrize("script", [_silent, _half_a_head, _half_a_body, _deaf])
@pytest.mark.parametrize("body", [None, b"held", "endless", "stalling"])
@pytest.mark.parametrize("is_reused", [False, True])
@on_each_loop
async def test_a_cancelled_request_leaves_nothing_behind(
    script: Script, body: bytes | str | None, is_reused: bool
) -> None:
    async def scripted(peer: Peer) -> None:
        if is_reused:
            await peer.request()
            await peer.answer(OK)
        await script(peer)

    endless = Endless(stalls_after=1 if body == "stalling" else None)
    async with a_platform(scripted) as platform, a_client() as client:
        if is_reused:
            await fetch(client, a_request(platform.url))
        request = a_request(platform.url, "PUT", body=endless() if isinstance(body, str) else body)
        task = asyncio.create_task(fetch(client, request))
        await until(lambda: len(platform.heads) == 1 + is_reused)
        if isinstance(body, str):
            await until(lambda: endless.taken > 0)
        await asyncio.sleep(0.01)  # as deep into it as it gets
        await cancel(task)

        assert client.in_flight("alfa") == 0
        await until(lambda: client.connections() == 0)
        assert endless.is_closed == isinstance(body, str)
        if script is not _deaf:
            await platform.finished()


@on_each_loop
async def test_a_request_can_be_cancelled_at_any_step() -> None:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            await asyncio.sleep(0)
            yield b"x" * 1000

    async with a_platform(always(OK)) as platform, a_client() as client:
        for steps in range(60):
            for request in (a_request(platform.url), a_request(platform.url, "PUT", body=body(), content_length=3000)):
                task = asyncio.create_task(fetch(client, request))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])

                assert client.in_flight("alfa") == 0
                assert not [task for task in asyncio.all_tasks() if "Connection._upload" in repr(task)]


@on_each_loop
async def test_connecting_can_be_cancelled(certificates: "Certificates") -> None:
    async with a_platform(_silent_from_the_start) as platform, a_client(ssl_context=certificates.trusting) as client:
        task = asyncio.create_task(fetch(client, a_request(platform.url.replace("http:", "https:"))))
        await until(lambda: platform.connections == 1)
        await cancel(task)

        await platform.finished()
        assert (client.in_flight("alfa"), client.connections(), client.opened) == (0, 0, 0)


async def _silent_from_the_start(peer: Peer) -> None:
    await peer.closed()


@on_each_loop
async def test_closing_the_client_ends_what_is_under_way() -> None:
    async with a_platform(_half_a_body) as platform, a_platform(_silent) as silent, a_client() as client:
        async with client.send(a_request(platform.url), key="alfa", timeout=5) as response:
            waiting = asyncio.create_task(fetch(client, a_request(silent.url)))
            await until(lambda: len(silent.heads) == 1)
            await client.close()

            with pytest.raises(AnswerBroken):
                await waiting
            with pytest.raises(BodyBroken):
                await response.read(100)
        with pytest.raises(ConnectFailed):
            await fetch(client, a_request(platform.url))


# Connecting


@on_each_loop
async def test_a_port_nobody_listens_on_is_a_failed_connection() -> None:
    async with a_platform(always(OK)) as platform:
        url = platform.url
    async with a_client() as client:
        with pytest.raises(ConnectFailed, match=r"No connection to 127\.0\.0\.1: connection refused\."):
            await fetch(client, a_request(url))


@on_each_loop
async def test_a_name_that_does_not_exist_is_a_failed_connection() -> None:
    async with a_client() as client:
        for host in ("does-not-exist.invalid", "a" * 63 + ".-"):
            with pytest.raises(ConnectFailed, match="its name"):
                await fetch(client, a_request(f"http://{host}:1/"))


@on_each_loop
async def test_ipv6_is_spoken() -> None:
    async with a_platform(always(OK), host="::1") as platform, a_client() as client:
        for _ in range(2):
            assert await fetch(client, a_request(platform.url)) == (200, b"ok")

        assert platform.heads[0].split(b"\r\n")[1] == b"Host: " + platform.url.removeprefix("http://").encode()
        assert client.reused == 1


@on_each_loop
async def test_a_name_is_looked_up() -> None:
    async with a_platform(always(OK), name="localhost") as platform, a_client() as client:
        assert await fetch(client, a_request(platform.url)) == (200, b"ok")


@pytest.mark.parametrize(
    ("addresses", "error"),
    [
        (["127.0.0.1"], None),
        (["127.0.0.2", "127.0.0.1"], None),
        (["::1", "127.0.0.1"], None),
        (["10.0.0.1", "169.254.169.254", "127.0.0.1"], None),
        (["10.0.0.1"], AddressRefused),
        (["169.254.169.254", "::ffff:10.0.0.1"], AddressRefused),
        (["10.0.0.1", "127.0.0.2"], ConnectFailed),
        ([], ConnectFailed),
    ],
)
@on_each_loop
async def test_the_addresses_of_a_name_are_tried_in_order_and_each_is_checked(
    addresses: list[str], error: type[ClientError] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_: str) -> list[str]:
        return addresses

    monkeypatch.setattr(hub_client, "_resolve", resolve)
    async with a_platform(always(OK), name="platform.example") as platform, a_client() as client:
        if error is None:
            assert await fetch(client, a_request(platform.url)) == (200, b"ok")
            return
        with pytest.raises(error) as failed:
            await fetch(client, a_request(platform.url))
        assert type(failed.value) is error


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("127.0.0.1", "http://platform.example:{port}/"),
        (None, "http://127.0.0.1:{port}/"),
        (None, "http://[::ffff:127.0.0.1]:{port}/"),
        (None, "http://localhost:{port}/"),
    ],
)
@on_each_loop
async def test_an_address_that_may_not_be_called_is_refused_when_it_is_connected_to(
    address: str | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_: str) -> list[str]:
        assert address is not None
        return [address]

    if address is not None:
        monkeypatch.setattr(hub_client, "_resolve", resolve)
    client = Client(AddressGuard(allow_http=True), connect_timeout=5, idle_timeout=5, ssl_context=DISTRUSTING)
    async with a_platform(always(OK)) as platform:
        with pytest.raises(AddressRefused, match="may not be called"):
            await fetch(client, a_request(url.format(port=platform.url.rpartition(":")[2])))

        assert (platform.connections, client.opened, client.in_flight("alfa")) == (0, 0, 0)
        await client.close()


@on_each_loop
async def test_plain_http_is_refused_where_only_https_may_be_called() -> None:
    client = Client(AddressGuard(LOOPBACK), connect_timeout=5, idle_timeout=5, ssl_context=DISTRUSTING)
    async with a_platform(always(OK)) as platform:
        with pytest.raises(AddressRefused, match="https://"):
            await fetch(client, a_request(platform.url))
        assert platform.connections == 0


@on_each_loop
async def test_a_name_is_looked_up_once_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def resolve(host: str) -> list[str]:
        lookups.append(host)
        await asyncio.Event().wait()
        return []

    lookups: list[str] = []
    monkeypatch.setattr(hub_client, "_resolve", resolve)
    async with a_client(connect_timeout=0.1) as client:
        requests = [fetch(client, a_request("http://platform.example/")) for _ in range(20)]
        failures = await asyncio.gather(*requests, return_exceptions=True)

        assert {type(failure) for failure in failures} == {ConnectFailed}
        assert lookups == ["platform.example"]


@on_each_loop
async def test_the_connect_timeout_covers_tls(certificates: "Certificates") -> None:
    trusting = certificates.trusting
    async with (
        a_platform(_silent_from_the_start) as platform,
        a_client(connect_timeout=0.1, ssl_context=trusting) as client,
    ):
        with pytest.raises(ConnectFailed, match="took too long"):
            await fetch(client, a_request(platform.url.replace("http:", "https:")))
        await platform.finished()


# TLS


class Certificates:
    """A certificate for localhost and 127.0.0.1, and contexts to serve and to trust it."""

    def __init__(self, folder: Any) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - day)
            .not_valid_after(now + day)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        file = folder / "certificate.pem"
        file.write_bytes(
            pem
            + key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        self.serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.serving.load_cert_chain(file)
        self.serving.set_alpn_protocols(["h2", "http/1.1"])
        self.trusting = hub_client.make_ssl_context()
        self.trusting.load_verify_locations(cadata=pem.decode())


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
@on_each_loop
async def test_tls_is_spoken_with_a_platform_whose_certificate_is_valid(name: str, certificates: Certificates) -> None:
    async def script(peer: Peer) -> None:
        protocols.append(peer.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await always(OK)(peer)

    protocols: list[str] = []
    tls, trusting = certificates.serving, certificates.trusting
    async with a_platform(script, tls=tls, name=name) as platform, a_client(ssl_context=trusting) as client:
        for _ in range(3):
            assert await fetch(client, a_request(platform.url)) == (200, b"ok")

        assert (platform.connections, client.reused, protocols) == (1, 2, ["http/1.1"])


@on_each_loop
async def test_a_certificate_that_is_not_trusted_or_not_of_that_name_is_refused(
    certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_: str) -> list[str]:
        return ["127.0.0.1"]

    async with a_platform(always(OK), tls=certificates.serving) as platform:
        async with a_client() as client:
            with pytest.raises(ConnectFailed, match="certificate is not valid, self"):
                await fetch(client, a_request(platform.url))
        monkeypatch.setattr(hub_client, "_resolve", resolve)
        async with a_client(ssl_context=certificates.trusting) as client:
            with pytest.raises(ConnectFailed, match=r"certificate is not valid, .*platform\.example"):
                await fetch(client, a_request(platform.url.replace("127.0.0.1", "platform.example")))

        assert platform.heads == []


@on_each_loop
async def test_https_to_a_server_of_plain_http_fails_to_connect() -> None:
    async with a_platform(once(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as platform, a_client() as client:
        platform.script = _answer_garbage
        with pytest.raises(ConnectFailed):
            await fetch(client, a_request(platform.url.replace("http:", "https:")))


async def _answer_garbage(peer: Peer) -> None:
    await peer.answer(b"HTTP/1.1 400 Bad Request\r\n\r\n")


@pytest.mark.parametrize("is_cut", [False, True])
@on_each_loop
async def test_a_tls_body_without_framing_ends_with_the_closure_alert_only(
    is_cut: bool, certificates: Certificates
) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.answer(b"HTTP/1.1 200 OK\r\n\r\nall")
        if is_cut:
            await until(lambda: received)
            peer.writer.transport.abort()

    if is_cut and not isinstance(asyncio.get_running_loop(), uvloop.Loop):
        pytest.skip("asyncio's own loop does not tell a cut TLS connection from one that was ended")
    received = False
    async with (
        a_platform(script, tls=certificates.serving) as platform,
        a_client(ssl_context=certificates.trusting) as client,
        client.send(a_request(platform.url), key="alfa", timeout=5) as response,
    ):
        assert await anext(response) == b"all"
        received = True
        if is_cut:
            with pytest.raises(BodyBroken):
                await response.read(10)
        else:
            assert await response.read(10) == b""


@pytest.mark.parametrize("end", ["stay", "close"])
@on_each_loop
async def test_a_large_answer_over_tls_is_read_to_its_end_however_slowly(end: str, certificates: Certificates) -> None:
    size = 20 * MEGABYTE
    script = once(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, bytes(size), end=end)
    async with (
        a_platform(script, tls=certificates.serving) as platform,
        a_client(ssl_context=certificates.trusting) as client,
        client.send(a_request(platform.url), key="alfa", timeout=5) as response,
    ):
        pieces = []
        async for piece in response:
            pieces.append(len(piece))
            await asyncio.sleep(0.001)

    assert sum(pieces) == size
    assert max(pieces) < 4 * HIGH_WATER


@pytest.mark.parametrize("framing", ["Content-Length: 600000", "Transfer-Encoding: chunked", "Connection: close"])
@pytest.mark.parametrize("is_ended", [False, True])
@on_each_loop
async def test_an_answer_is_read_to_its_end_though_the_platform_has_closed_tls_before(
    framing: str, is_ended: bool, certificates: Certificates
) -> None:
    body = bytes(600_000)
    answer = f"HTTP/1.1 200 OK\r\n{framing}\r\n\r\n".encode()
    answer += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if "chunked" in framing else body
    listener = socket.create_server(("127.0.0.1", 0))

    def serve_and_leave() -> None:
        with listener, certificates.serving.wrap_socket(listener.accept()[0], server_side=True) as connection:
            connection.recv(65536)
            connection.sendall(answer)
            if is_ended:
                connection.setblocking(False)  # say that this is all, and do not wait for the other side to say so
                with suppress(ssl.SSLWantReadError):
                    connection.unwrap()

    serving = asyncio.create_task(asyncio.to_thread(serve_and_leave))
    async with a_client(ssl_context=certificates.trusting) as client:
        request = a_request(f"https://127.0.0.1:{listener.getsockname()[1]}")
        async with client.send(request, key="alfa", timeout=5) as response:
            await serving
            await asyncio.sleep(0.05)  # all of it has come, and is not asked for
            if framing == "Connection: close" and not is_ended and isinstance(asyncio.get_running_loop(), uvloop.Loop):
                with pytest.raises(BodyBroken):
                    await response.read(MEGABYTE)
            else:
                assert await response.read(MEGABYTE) == body


# What holds for any bytes


class _Transport(asyncio.Transport):
    """As much of a transport as a connection needs to be fed by hand."""

    is_aborted = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.is_aborted = True

    def is_closing(self) -> bool:
        return self.is_aborted

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def _feed(pieces: list[bytes]) -> tuple[int, list[tuple[bytes, bytes, bytes]], bytes, bool]:
    loop = asyncio.get_running_loop()
    connection = Connection(loop, lambda _: None, max_head=65536, idle_timeout=5)
    connection.connection_made(_Transport())

    def feed() -> None:
        for piece in pieces:
            connection.data_received(piece)
        connection.eof_received()
        connection.connection_lost(None)

    loop.call_soon(feed)
    await connection.ask("GET", b"", None, None, loop.time() + 5)
    is_kept = connection.peer_keeps_seconds == 7
    body = b""
    while piece := await connection.read_chunk():
        body += piece
    return connection.status, connection.fields, body, is_kept


VALID_ANSWERS = [
    b"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=7\r\nX-A: a\r\nContent-Length: 11\r\n\r\nhello world",
    b"HTTP/1.1 201 \r\nTransfer-Encoding: chunked\r\nx-a:\tb c \r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: t\r\n\r\n",  # noqa: E501
    b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.1 500 Oh\r\nX-A:\r\nX-A: caf\xe9\r\n\r\nhello world",
    b"HTTP/1.1 204 No Content\r\nX-A: a\r\n\r\n",
]


@given(st.sampled_from(VALID_ANSWERS), st.lists(st.integers(1, 150), max_size=20))
def test_any_split_of_an_answer_gives_the_same_answer(answer: bytes, cuts: list[int]) -> None:
    edges = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    pieces = [answer[start:end] for start, end in pairwise(edges)]

    with asyncio.Runner() as runner:
        assert runner.run(_feed(pieces)) == runner.run(_feed([answer]))


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=30), st.sampled_from([b"\r\n", b"HTTP/1.1 200 OK\r\n", b"0\r\n\r\n", *VALID_ANSWERS])
        )
    )
)
def test_any_bytes_are_an_answer_or_a_client_error(pieces: list[bytes]) -> None:
    with asyncio.Runner() as runner, suppress(ClientError):
        runner.run(_feed(pieces))


@on_each_loop
async def test_an_error_tells_nothing_of_what_was_sent_or_answered() -> None:
    answers = [
        b"",
        b"secret",
        b"HTTP/1.1 200 secret\r\nX: secret\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsecret",
    ]
    async with a_client() as client:
        for answer in answers:
            async with a_platform(once(answer)) as platform:
                request = a_request(
                    platform.url + "/?secret", "PUT", headers=[("Authorization", "secret")], body=b"secret"
                )
                with pytest.raises(ClientError) as failed:
                    await fetch(client, request)
            assert "secret" not in str(failed.value)
            assert str(failed.value).isprintable()
