"""The only code that sends HTTP to a platform: the requests open at each, the pool of connections, the deadlines.

Nothing is sent twice, but for a GET whose reused connection turns out to have been closed (see `Exchange`). The body
of an answer comes as the platform sent it: no coding is undone, nothing is stored.
"""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import structlog

from hub.addresses import AddressGuard, Origin, URLRefused, split_url
from hub.connection import (
    HIGH_WATER,
    AnswerBroken,
    BodyBroken,
    ClientError,
    ClosedUnanswered,
    Connection,
    Headers,
    NoAnswer,
    write_head,
)
from hub.places import Lane, Places

log = structlog.get_logger()

__all__ = [
    "AddressRefused",
    "AnswerBroken",
    "BodyBroken",
    "BodyTooLarge",
    "Client",
    "ClientError",
    "ClosedUnanswered",
    "ConnectFailed",
    "Exchange",
    "Headers",
    "Held",
    "Lane",
    "NoAnswer",
    "PoolKey",
    "Request",
    "Response",
    "Saturated",
]

KEEP_ALIVE_MARGIN_SECONDS = 0.5  # a request takes its way too: we close this much before the platform would
TLS_SHUTDOWN_SECONDS = 1.0


class ConnectFailed(ClientError):
    """No connection to the platform could be made; nothing was sent."""


class AddressRefused(ConnectFailed):
    """The platform's address may not be called; nothing was sent."""


class BodyTooLarge(ClientError):
    """The answer's body is larger than what is taken here."""


class Saturated(ClientError):
    """Too many requests are open at the platform already."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a platform."""

    method: str
    """Upper-case, as it is sent."""
    url: str
    """Absolute and percent-encoded already; path and query are sent exactly as they stand here."""
    headers: Sequence[tuple[str, str]]
    """Sent in this order; Host, Content-Length and Transfer-Encoding are added by the client."""
    body: bytes | AsyncIterator[bytes] | None = None
    """An iterator is sent as it yields, chunked unless `content_length` is given."""
    content_length: int | None = None
    """How many bytes the iterator will yield, when that is known."""


class Response:
    """A platform's answer, of which the head is there and the body may still be coming.

    Iterating gives the body in pieces, as they come, while the platform is made to wait when they are not fetched.
    Raises BodyBroken when the body breaks off or stops coming.
    """

    __slots__ = ("_connection", "content_length", "elapsed_head", "headers", "status")

    def __init__(self, connection: Connection, elapsed_head: float) -> None:
        self._connection: Connection | None = connection
        self.status: int = connection.status
        self.headers = Headers(connection.fields)
        self.content_length: int | None = connection.content_length
        """Bytes of the body, None when it is chunked or ends with the connection."""
        self.elapsed_head = elapsed_head
        """Seconds from sending to the head of the answer, connecting included."""

    async def read(self, limit: int) -> bytes:
        """The whole body. Raises BodyTooLarge when it has more than `limit` bytes."""
        if (self.content_length or 0) > limit:
            raise BodyTooLarge
        pieces: list[bytes] = []
        while piece := await self._next():
            limit -= len(piece)
            if limit < 0:
                raise BodyTooLarge
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._next():
            return piece
        raise StopAsyncIteration

    def _next(self) -> Coroutine[Any, Any, bytes]:
        if self._connection is None:
            raise RuntimeError("The response has been closed.")
        return self._connection.read_chunk()

    def __repr__(self) -> str:
        return f"<Response {self.status}>"


PoolKey = tuple[Hashable, str, str, int]  # platform, scheme, host, port


class Client:
    """Sends requests to platforms, each over connections of its own.

    Every wait has a limit, in seconds: `connect_timeout` for DNS, TCP and TLS together, `idle_timeout` for each piece
    of a body in either direction, `slot_wait` for one of a platform's `max_in_flight` places (urgent requests have
    `urgent_share` further ones). An idle connection is kept for `idle_connection_seconds`, less when the platform
    says so. `max_header_bytes` bounds the head of an answer.
    """

    def __init__(
        self,
        guard: AddressGuard,
        *,
        connect_timeout: float,
        idle_timeout: float,
        max_header_bytes: int = 64 * 1024,
        idle_connection_seconds: float = 2.0,
        ssl_context: ssl.SSLContext | None = None,
        max_in_flight: int = 64,
        urgent_share: int = 16,
        slot_wait: float = 1.0,
    ) -> None:
        self._guard = guard
        self._connect_timeout = connect_timeout
        self._idle_timeout = idle_timeout
        self._max_header_bytes = max_header_bytes
        self._idle_connection_seconds = idle_connection_seconds
        self._ssl_context = ssl_context or make_ssl_context()
        self._max_in_flight = max_in_flight
        self._urgent_share = urgent_share
        self._slot_wait = slot_wait
        self._places: dict[Hashable, Places] = {}
        self._idle: dict[PoolKey, list[Connection]] = {}
        self._connections: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._sweep_seconds = idle_connection_seconds / 8  # how late an idle connection may be closed
        self._lookups: dict[str, asyncio.Task[list[str]]] = {}
        self._closed = False
        self.opened = 0
        """Connections made."""
        self.reused = 0
        """Requests sent over a connection that had carried another."""
        self.resent = 0
        """Requests sent once more."""

    def send(self, request: Request, *, key: Hashable, timeout: float, lane: Lane = "ordinary") -> "Exchange":
        """Send a request to the platform `key`: `async with client.send(...) as response`.

        `timeout` is in seconds, from the moment a place is free to the head of the answer. Raises ClientError; and
        ValueError, before anything is sent, for a request that cannot be written down safely. Leaving the block
        before the body was read closes the connection.
        """
        return Exchange(self, request, key, timeout, lane)

    async def send_held(
        self,
        request: Request,
        *,
        key: Hashable,
        timeout: float,  # noqa: ASYNC109
        lane: Lane = "ordinary",
    ) -> "Exchange":
        """Send a request as `send` does, for a short answer: waits once, and without a timer, for all of it.

        `async with await client.send_held(...) as response`; the exchange's `whole` is its body then, if it has come.
        """
        if isinstance(request.body, bytes) or request.body is None:
            origin, target = split_url(request.url)
            head = write_head(request.method, origin, target, request.headers, request.body, None)
            done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            held = self.try_send(
                (key, origin.scheme, origin.host, origin.port),
                request.method,
                head + request.body if request.body else head,
                lane=lane,
                timeout=timeout,
                hold=HIGH_WATER,
                told=lambda: None if done.done() else done.set_result(None),
            )
            if held is not None:
                try:
                    await done
                except BaseException:
                    held.end()
                    raise
                return held.resumed(request)
        return self.send(request, key=key, timeout=timeout, lane=lane)

    def try_send(
        self,
        pool_key: PoolKey,
        method: str,
        request: bytes,
        *,
        lane: Lane,
        timeout: float,
        hold: int,
        told: Callable[[], None],
    ) -> "Held | None":
        """Send a request at once and let `told` be called (see Connection.ask_held), if a place and a connection are
        free; else nothing happens and None is given. `request` is all of it, as `write_head` gives it.

        `timeout` is in seconds, `hold` in bytes. Whoever is told calls `end` on what is given here, or goes on with
        `async with held.resumed(...)`.
        """
        pool = self._idle.get(pool_key)
        if not pool or self._closed:
            return None
        places = self._places_at(pool_key[0])
        if not places.try_enter(lane):
            return None
        now = time.monotonic()
        connection = self._take_idle(pool_key, now)
        if connection is None:
            places.leave(lane)
            return None
        self.reused += 1
        held = Held(self, pool_key, places, lane, connection, now + timeout)
        try:
            connection.ask_held(method, request, hold=min(hold, HIGH_WATER), deadline=now + timeout, told=told)
        except BaseException:
            connection.abort()
            places.leave(lane)
            raise
        return held

    def in_flight(self, key: Hashable) -> int:
        """Requests open at a platform."""
        places = self._places.get(key)
        return places.taken if places else 0

    def connections(self) -> int:
        """Open connections, in use or idle."""
        return len(self._connections)

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in tuple(self._connections):
            connection.abort()
        ending: list[asyncio.Future[Any]] = [connection.lost for connection in self._connections]
        for lookup in self._lookups.values():
            lookup.cancel()
            ending.append(lookup)
        if ending:
            await asyncio.wait(ending, timeout=TLS_SHUTDOWN_SECONDS)

    # Places

    def _places_at(self, key: Hashable) -> Places:
        places = self._places.get(key)
        if places is None:
            places = self._places[key] = Places(self._max_in_flight, self._urgent_share)
            if self._sweeper is None:  # which forgets empty ones
                self._sweeper = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)
        return places

    async def _enter(self, key: Hashable, lane: Lane) -> Places:
        places = self._places_at(key)
        if places.try_enter(lane):  # who waits goes before: a place given back is theirs at once
            return places
        return await self._wait_for_place(key, places, lane)

    async def _wait_for_place(self, key: Hashable, places: Places, lane: Lane) -> Places:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        places.waiting.append((waiter, lane))
        timer = loop.call_later(self._slot_wait, _give_up, waiter)
        try:
            entered = await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled() and waiter.result():
                places.leave(lane)
            raise
        finally:
            timer.cancel()
            places.waiting.remove((waiter, lane))
        if not entered:
            raise Saturated
        return places

    # Connections

    def _take_idle(self, pool_key: PoolKey, now: float) -> Connection | None:
        pool = self._idle.get(pool_key)
        while pool:
            connection = pool.pop()  # the one used last: the surest to be alive
            if connection.expires > now and not connection.is_closing:
                return connection
            connection.close()
        return None

    def _give_back(self, pool_key: PoolKey, connection: Connection) -> None:
        seconds = self._idle_connection_seconds
        if connection.peer_keeps_seconds is not None:
            seconds = min(seconds, connection.peer_keeps_seconds - KEEP_ALIVE_MARGIN_SECONDS)
        if self._closed or seconds <= 0 or not connection.is_reusable:
            connection.abort()
            return
        connection.expires = time.monotonic() + seconds
        pool = self._idle.get(pool_key)
        if pool is None:
            pool = self._idle[pool_key] = []
        pool.append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        """Close the idle connections whose time is over, and look after the answers that nobody awaits.

        One timer for all is cheaper than one for each request.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        for connection in tuple(self._connections):
            try:
                connection.look(now)
            except Exception:  # whoever was told: the others must be looked at too
                log.exception("an answer could not be dealt with", action="failed")
        for pool_key, pool in tuple(self._idle.items()):
            for connection in pool:
                if connection.expires <= now:
                    connection.close()
            if kept := [connection for connection in pool if connection.expires > now]:
                self._idle[pool_key] = kept
            else:
                del self._idle[pool_key]
        for key, places in tuple(self._places.items()):
            if places.is_empty:
                del self._places[key]
        is_needed = self._connections or self._places
        self._sweeper = loop.call_later(self._sweep_seconds, self._sweep) if is_needed else None

    def _forget(self, pool_key: PoolKey, connection: Connection) -> None:
        self._connections.discard(connection)
        if pool := self._idle.get(pool_key):
            pool[:] = [idle for idle in pool if idle is not connection]

    async def _connect(self, pool_key: PoolKey, origin: Origin, deadline: float) -> Connection:
        try:
            self._guard.check_scheme(origin)
        except URLRefused as exc:
            raise AddressRefused(str(exc)) from None
        loop = asyncio.get_running_loop()
        deadline = min(deadline, loop.time() + self._connect_timeout)
        failure: ConnectFailed | None = None
        addresses = await self._look_up(origin, deadline)
        for tried, address in enumerate(addresses):
            try:
                self._guard.check_address(address)
            except URLRefused as exc:
                failure = failure or AddressRefused(str(exc))
                continue
            # Each address has its share of the time that is left, so that a dead first one leaves some to the next.
            share = (deadline - loop.time()) / (len(addresses) - tried)
            try:
                async with asyncio.timeout(share):
                    return await self._open(pool_key, origin, address)
            except OSError as exc:  # TimeoutError and ssl.SSLError are too
                failure = ConnectFailed(f"No connection to {origin.host}: {_plain(exc)}.")
        raise failure or ConnectFailed(f"No connection to {origin.host}: it has no address.")

    async def _look_up(self, origin: Origin, deadline: float) -> list[str]:
        if origin.is_address:
            return [origin.host]
        # One look-up per name at a time. It has a thread of a small pool until DNS answers, whatever becomes of those
        # who wait: a member whose name servers are silent must not take the others' threads.
        lookup = self._lookups.get(origin.host)
        if lookup is None:
            lookup = self._lookups[origin.host] = asyncio.create_task(_resolve(origin.host))
            lookup.add_done_callback(lambda _: self._lookups.pop(origin.host))
        remaining = deadline - asyncio.get_running_loop().time()
        done, _ = await asyncio.wait((lookup,), timeout=max(remaining, 0))
        if not done or lookup.cancelled():
            raise ConnectFailed(f"No connection to {origin.host}: looking up its name took too long.")
        if not lookup.result():
            raise ConnectFailed(f"No connection to {origin.host}: its name is not known.")
        return lookup.result()

    async def _open(self, pool_key: PoolKey, origin: Origin, address: str) -> Connection:
        loop = asyncio.get_running_loop()
        tls = origin.scheme == "https"
        _, connection = await loop.create_connection(
            lambda: Connection(
                loop,
                lambda connection: self._forget(pool_key, connection),
                max_head=self._max_header_bytes,
                idle_timeout=self._idle_timeout,
            ),
            address,
            origin.port,
            ssl=self._ssl_context if tls else None,
            server_hostname=origin.host.rstrip(".") if tls else None,
            ssl_shutdown_timeout=TLS_SHUTDOWN_SECONDS if tls else None,
        )
        if not connection.lost.done():
            self._connections.add(connection)
        if self._closed:
            connection.abort()
            raise ConnectFailed(f"No connection to {origin.host}: the hub is stopping.")
        self.opened += 1
        return connection


class Exchange:
    """One request and its answer: what `async with client.send(...)` opens and closes."""

    __slots__ = ("_client", "_connection", "_key", "_lane", "_places", "_pool_key", "_request", "_response", "_timeout")
    _connection: Connection

    def __init__(self, client: Client, request: Request, key: Hashable, timeout: float, lane: Lane) -> None:
        self._client = client
        self._request = request
        self._key = key
        self._timeout = timeout
        self._lane: Lane = lane

    async def __aenter__(self) -> Response:
        request = self._request
        origin, target = split_url(request.url)
        head = write_head(request.method, origin, target, request.headers, request.body, request.content_length)
        self._pool_key = (self._key, origin.scheme, origin.host, origin.port)
        self._places = await self._client._enter(self._key, self._lane)
        try:
            started = time.perf_counter()
            self._connection = await self._exchange(origin, head)
            self._response = Response(self._connection, time.perf_counter() - started)
        except BaseException:
            self._places.leave(self._lane)
            raise
        return self._response

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._response._connection = None
        self._client._give_back(self._pool_key, self._connection)
        self._places.leave(self._lane)

    @property
    def whole(self) -> bytes | None:
        """The body of an answer that has come in one go; None where it is still to be read."""
        return None

    async def _exchange(self, origin: Origin, head: bytes) -> Connection:
        client, request = self._client, self._request
        now = time.monotonic()
        deadline = now + self._timeout
        connection = client._take_idle(self._pool_key, now)
        if connection is not None:
            client.reused += 1
            try:
                await connection.ask(request.method, head, request.body, request.content_length, deadline)
                return connection
            except ClosedUnanswered:
                if not self._may_repeat():
                    raise
                client.resent += 1
        connection = await client._connect(self._pool_key, origin, deadline)
        await connection.ask(request.method, head, request.body, request.content_length, deadline)
        return connection

    def _may_repeat(self) -> bool:
        """Whether to send once more what a reused connection did not answer.

        A platform may close an idle connection while our request is on its way, and whether it has read that is not
        to be known. OCPI 2.2.1, Offline behaviour: requests that failed are not sent again; a GET changes nothing, so
        asking once more is no harm.
        """
        body = self._request.body
        return self._request.method == "GET" and (body is None or isinstance(body, bytes))


class Held(Exchange):
    """An exchange over a connection that was idle, of which the sender is told instead of waiting."""

    __slots__ = ("_deadline", "started")

    def __init__(
        self, client: Client, pool_key: PoolKey, places: Places, lane: Lane, connection: Connection, deadline: float
    ) -> None:
        self._client = client
        self._key = pool_key[0]
        self._pool_key = pool_key
        self._places = places
        self._lane = lane
        self._connection = connection
        self._deadline = deadline
        self.started = time.perf_counter()
        """When it was sent, by `time.perf_counter`."""

    @property
    def connection(self) -> Connection:
        """Where the answer is."""
        return self._connection

    @property
    def whole(self) -> bytes | None:
        """The body of an answer that has come in one go; None where it is still to be read."""
        return self._connection.whole

    def end(self) -> None:
        """Give the connection and the place back; a connection whose answer was not complete is closed."""
        connection = self._connection
        connection.forget()
        self._client._give_back(self._pool_key, connection)
        self._places.leave(self._lane)

    def resumed(self, request: Request) -> Self:
        """Go on with it as if it had been awaited from the beginning: `async with held.resumed(request) as response`.

        `request` is what was sent. Raises ClientError where it failed.
        """
        self._connection.forget()
        self._request = request
        return self

    async def __aenter__(self) -> Response:
        try:
            connection = self._connection
            error = connection.error
            if isinstance(error, ClosedUnanswered) and self._may_repeat():
                self._client.resent += 1
                request = self._request
                origin, target = split_url(request.url)
                head = write_head(request.method, origin, target, request.headers, request.body, request.content_length)
                connection = await self._client._connect(self._pool_key, origin, self._deadline)
                await connection.ask(request.method, head, request.body, None, self._deadline)
                self._connection = connection
            elif error is not None and not connection.has_head:
                raise error
            self._response = Response(connection, connection.head_at - self.started)
        except BaseException:
            self._places.leave(self._lane)
            raise
        return self._response


async def _resolve(host: str) -> list[str]:
    """The addresses of a name in the order to try them, none when it has none."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _give_up(waiter: asyncio.Future[bool]) -> None:
    if not waiter.done():
        waiter.set_result(False)


def make_ssl_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _plain(exc: OSError) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return f"its certificate is not valid, {exc.verify_message.rstrip('.')}"
    if isinstance(exc, ssl.SSLError):
        return f"TLS failed, {exc.reason or 'for an unknown reason'}"
    if isinstance(exc, TimeoutError):
        return "it took too long"
    return os.strerror(exc.errno).lower() if exc.errno else "it was closed at once"
