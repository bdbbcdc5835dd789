"""One HTTP/1.1 connection to a platform: write a request, read its answer. No pool, no addresses, no retries."""

import asyncio
import re
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from functools import lru_cache

import httptools

from hub.addresses import Origin
from hub.answer_head import AnswerHead, Field, answer_heads, read_fields
from hub.heads import UNKNOWN

HIGH_WATER = 256 * 1024  # bytes of an answer held before the platform is made to wait
_LARGE = 32 * 1024
LOW_WATER = HIGH_WATER // 2  # and before it may go on
MAX_INTERIM_ANSWERS = 8  # 1xx answers before the real one

_ADDED_HERE = frozenset({"host", "content-length", "transfer-encoding"})
_BODY_EXPECTED = frozenset({"POST", "PUT", "PATCH"})
_READ_HERE = frozenset({b"content-length", b"transfer-encoding", b"keep-alive"})
_HEADS = answer_heads()
_KEEP_ALIVE_TIMEOUT = re.compile(rb"timeout\s*=\s*\"?(\d{1,6})", re.IGNORECASE)


class ClientError(Exception):
    """A request to a platform failed."""

    def __init__(self, reason: str | None = None) -> None:
        super().__init__(reason or (type(self).__doc__ or "").partition("\n")[0])


class NoAnswer(ClientError):
    """The platform did not answer in time."""


class AnswerBroken(ClientError):
    """The platform's answer broke off or went wrong before its head was complete."""


class ClosedUnanswered(AnswerBroken):
    """The platform closed the connection without a byte of an answer."""


class BodyBroken(ClientError):
    """The platform's answer broke off or went wrong after its head."""


@lru_cache(maxsize=256)
def _folded(name: str) -> bytes:
    return name.lower().encode("latin-1")


class Headers:
    """The headers of an answer in the order they came, as Latin-1; names match in any case."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Sequence[tuple[bytes, bytes, bytes]]) -> None:
        self._fields = fields  # name in lower case, name, value

    def get(self, name: str) -> str | None:
        """The first value of that name, None when there is none."""
        wanted = _folded(name)
        for key, _, value in self._fields:
            if key == wanted:
                return value.decode("latin-1")
        return None

    def get_all(self, name: str) -> list[str]:
        """Every value of that name."""
        wanted = name.lower().encode("latin-1")
        return [value.decode("latin-1") for key, _, value in self._fields if key == wanted]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for _, name, value in self._fields:
            yield name.decode("latin-1"), value.decode("latin-1")

    def __repr__(self) -> str:
        return f"<Headers {[name for name, _ in self]}>"  # values may hold credentials


def write_head(
    method: str,
    origin: Origin,
    target: str,
    headers: Sequence[tuple[str, str]],
    body: bytes | AsyncIterator[bytes] | None,
    content_length: int | None,
) -> bytes:
    """The head of a request as it goes over the wire, headers in the order given, the framing of its body last.

    Raises ValueError when a part of it would end its line, or when a header is one that is added here.
    """
    if not _ADDED_HERE.isdisjoint([name.lower() for name, _ in headers]):
        raise ValueError("The headers Host, Content-Length and Transfer-Encoding are the client's to write.")
    framing = ""
    if isinstance(body, bytes):
        framing = f"Content-Length: {len(body)}\r\n"
    elif body is not None:
        framing = (
            "Transfer-Encoding: chunked\r\n" if content_length is None else f"Content-Length: {content_length}\r\n"
        )
    else:
        framing = length_line(method, 0)
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers])
    head = f"{method} {target} HTTP/1.1\r\nHost: {origin.authority}\r\n{fields}{framing}\r\n"
    ends = len(headers) + (4 if framing else 3)  # any other line end came in with a value
    if head.count("\r") != ends or head.count("\n") != ends or "\0" in head or not method.isalpha():
        raise ValueError(
            "The method, the URL or a header of the request has a line end or another forbidden character."
        )
    try:
        return head.encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError("The URL or a header of the request has a character outside Latin-1.") from None


def length_line(method: str, size: int) -> str:
    """The Content-Length line of a request; empty where it has no body and HTTP expects none (RFC 9110, 8.6)."""
    return f"Content-Length: {size}\r\n" if size or method in _BODY_EXPECTED else ""


async def _end(upload: asyncio.Task[None]) -> BaseException | None:
    """Stop sending the body of a request, if it is still being sent, and tell why it failed, if it has."""
    upload.cancel()
    await asyncio.wait((upload,))
    return None if upload.cancelled() else upload.exception()


class Connection(asyncio.Protocol):
    """One connection, which carries one exchange at a time.

    `ask` sends a request and returns when the head of the answer is there; `read_chunk` then reads its body. Whether
    the connection is fit for another exchange then, `is_reusable` tells.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[["Connection"], None],
        *,
        max_head: int,
        idle_timeout: float,
    ) -> None:
        self._loop = loop
        self._on_lost = on_lost
        self._max_head = max_head
        self._idle_timeout = idle_timeout
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._writing_paused = self._reading_paused = False
        self._chunks: list[bytes] = []
        self._told: Callable[[], None] | None = None
        self._hold = 0
        self._deadline = 0.0
        self._is_slow = False
        self._complete = True  # no answer is awaited
        self._layout = UNKNOWN
        self._fields: list[Field] = []
        self._plain_head = b""
        """The head of the answer, if its fields were not asked for yet."""
        self.expires = 0.0
        """Until when it may stay idle, in the event loop's time."""
        self.lost: asyncio.Future[None] = loop.create_future()
        """Done when the connection is gone."""
        self.peer_keeps_seconds: int | None = None
        """How long the platform says it keeps an idle connection; None when it does not say."""
        self._begin("")
        self._begin_to_parse()

    def __repr__(self) -> str:
        state = "lost" if self.lost.done() else "idle" if self._complete else "reading" if self._has_head else "waiting"
        return f"<Connection {state}>"

    # For the client

    @property
    def is_closing(self) -> bool:
        """Whether the connection has been closed by either side."""
        return self._transport.is_closing() or self.lost.done()

    @property
    def is_reusable(self) -> bool:
        """Whether the exchange is over in a way that leaves the connection fit for another."""
        transport = self._transport
        return (
            self._complete
            and self._keep_alive
            and self._sent
            and self._error is None
            and not self._reading_paused
            and not self.lost.done()
            and not transport.is_closing()
            and transport.get_write_buffer_size() == 0
        )

    async def ask(
        self,
        method: str,
        head: bytes,
        body: bytes | AsyncIterator[bytes] | None,
        content_length: int | None,
        deadline: float,
    ) -> None:
        """Send a request and wait for the head of its answer: `status`, `fields` and `content_length` are it.

        `deadline` is a time of the event loop. Raises NoAnswer, AnswerBroken, or what the body's iterator raises; the
        connection has been closed then.
        """
        if self.lost.done():
            raise ClosedUnanswered
        self._begin(method)
        self._complete = False
        upload: asyncio.Task[None] | None = None
        if body is None or isinstance(body, bytes):
            self._transport.write(head + body if body else head)
            self._sent = True
        else:
            self._transport.write(head)
            upload = self._loop.create_task(self._upload(body, content_length))
            upload.add_done_callback(self._wake)
        timer = self._loop.call_at(deadline, self._expire)
        try:
            while not (self._has_head or self._error or (upload is not None and upload.done() and not self._sent)):
                await self._news()
            failure = await _end(upload) if upload is not None else None
            if not self._has_head:
                raise failure or self._error or NoAnswer()
        except BaseException:
            self.abort()
            if upload is not None:
                await _end(upload)
            raise
        finally:
            timer.cancel()

    def ask_held(self, method: str, request: bytes, *, hold: int, deadline: float, told: Callable[[], None]) -> None:
        """Send a whole request, and call `told` once there is anything to be done: nobody waits meanwhile.

        That is when the answer is complete, when more than `hold` bytes of its body have come, when the body takes
        its time, or when the exchange has failed: see `error`. From then on `read_chunk` goes on as after `ask`. The
        client calls `look` now and then.
        """
        self._begin(method)
        self._complete = self._is_slow = False
        self._told, self._hold, self._deadline = told, hold, deadline
        self._transport.write(request)
        self._sent = True

    def look(self, now: float) -> None:
        """See whether an answer that is not awaited has come in time."""
        if self._told is None:
            return
        if not self._has_head:
            if now >= self._deadline:
                self._expire()
        elif self._is_slow:
            self._tell()
        else:
            self._is_slow = True

    def forget(self) -> None:
        """Tell nobody what becomes of the exchange."""
        self._told = None

    def _tell(self) -> None:
        told, self._told = self._told, None
        if told is not None:
            told()

    @property
    def fields(self) -> list[Field]:
        """The header fields of the answer."""
        if self._plain_head:
            self._fields = read_fields(self._plain_head, len(self._plain_head)) or []
            self._plain_head = b""
        return self._fields

    @property
    def error(self) -> ClientError | None:
        """Why the exchange has failed, if it has."""
        return self._error

    @property
    def has_head(self) -> bool:
        """Whether the head of the answer is there."""
        return self._has_head

    @property
    def whole(self) -> bytes | None:
        """The body of an answer that is complete, held within its limit and not yet read; else None."""
        if not self._complete or self._error is not None or self._body_size > self._hold:
            return None
        chunks = self._chunks
        if len(chunks) > 1:
            chunks[:] = [b"".join(chunks)]
        return chunks[0] if chunks else b""

    async def read_chunk(self) -> bytes:
        """What has come of the body since, or comes next; empty at its end. Raises BodyBroken."""
        if not (self._chunks or self._complete or self._error):
            timer = self._loop.call_later(
                self._idle_timeout, self._fail, BodyBroken, "The answer's body stopped coming."
            )
            try:
                while not (self._chunks or self._complete or self._error):
                    await self._news()
            finally:
                timer.cancel()
        if not self._chunks:
            if self._error:
                raise self._error
            return b""
        if len(self._chunks[0]) >= _LARGE:  # to join these would cost more than to give one after the other
            data = self._chunks.pop(0)
        else:
            data = b"".join(self._chunks)
            self._chunks.clear()
        self._body_size -= len(data)
        if self._reading_paused and self._body_size <= LOW_WATER:
            self._reading_paused = False
            if not self.is_closing:
                self._transport.resume_reading()
        return data

    def close(self) -> None:
        """Close an idle connection politely."""
        self._transport.close()

    def abort(self) -> None:
        """Close the connection at once, whatever it is doing."""
        self._fail(BodyBroken if self._has_head else AnswerBroken, "The hub closed the connection.")
        self._drop()

    # One exchange

    def _begin(self, method: str) -> None:
        self._is_head_request = method == "HEAD"
        self.head: AnswerHead | None = None
        """What a plain head says; None of an answer that the parser reads."""
        self._has_head = self._keep_alive = self._sent = self._touched = False
        self._missing = self._body_size = 0
        self._error: ClientError | None = None
        if self._chunks:
            self._chunks = []

    def _begin_to_parse(self) -> None:
        self.status = 0
        self.head_at = 0.0
        self._fields = []
        self.content_length: int | None = None
        self._chunked = False
        self._interim = self._overhead = self._field_bytes = 0
        self._refusal = ""

    async def _upload(self, body: AsyncIterator[bytes], content_length: int | None) -> None:
        left = content_length or 0
        try:
            async for piece in body:
                if not piece:
                    continue
                left -= len(piece)
                if content_length is None:
                    self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                elif left >= 0:
                    self._transport.write(piece)
                else:
                    raise ValueError("The body of the request is longer than its Content-Length.")
                if self._writing_paused:
                    await self._drain()
        finally:
            if (aclose := getattr(body, "aclose", None)) is not None:
                await aclose()
        if content_length is None:
            self._transport.write(b"0\r\n\r\n")
        elif left:
            raise ValueError("The body of the request is shorter than its Content-Length.")
        self._sent = True

    async def _drain(self) -> None:
        self._drained = self._loop.create_future()
        timer = self._loop.call_later(self._idle_timeout, self._expire, "The platform stopped reading the request.")
        try:
            await self._drained
        finally:
            timer.cancel()
            self._drained = None

    async def _news(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self, _: object = None) -> None:
        if self._told is not None:
            if self._complete or self._error is not None or self._body_size > self._hold:
                self._tell()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _expire(self, reason: str | None = None) -> None:
        if not self._has_head:
            self._fail(NoAnswer, reason)

    def _fail(self, kind: type[ClientError], reason: str | None = None) -> None:
        if not self._complete and self._error is None:
            self._error = kind(reason)
            self._wake()
            self._drop()

    def _drop(self) -> None:
        if not self.lost.done():  # asyncio's transports do not bear it afterwards
            self._transport.abort()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._complete or self._error:  # an answer nobody asked for, or waits for any more
            self._keep_alive = False
            self._drop()
            return
        if self._missing:
            self._take_piece(data)
        elif self._told is None or self._touched or not self._take_plain(data):
            self._parse(data)
        if self._has_head:
            if self._complete and self._told is not None:
                self._tell()
                return
            self._wake()
            if self._body_size > HIGH_WATER and not self._reading_paused and not self.is_closing:
                self._reading_paused = True
                self._transport.pause_reading()

    def _take_plain(self, data: bytes) -> bool:
        """Take an answer's beginning without the parser, if it is plainly well-formed; else nothing has happened."""
        end = data.find(b"\r\n\r\n")
        if not 0 < end <= self._max_head - 4:
            return False
        found = _HEADS.read(data, end, self._layout)
        if found is None:
            return False
        self.head, _, (length, _), self._layout = found
        self.status = self.head.status
        self._plain_head = data[:end]
        self._touched = self._has_head = self._keep_alive = True
        self.head_at = time.perf_counter()
        if self.head.keep_alive is not None:
            self._read_field(b"keep-alive", self.head.keep_alive.encode())
        self.content_length = self._missing = int(length or "0")
        if len(data) == end + 4 + self._missing:
            self._complete = True
            self._body_size, self._missing = self._missing, 0
            if self._body_size:
                self._chunks.append(data[end + 4 :])
        elif self._missing:
            self._take_piece(data[end + 4 :])
        else:  # something follows it
            self._complete, self._keep_alive = True, False
        return True

    def _take_piece(self, data: bytes) -> None:
        """Take a piece of a body whose length is known."""
        self._missing -= len(data)
        if self._missing < 0:  # something follows it
            data, self._missing, self._keep_alive = data[: self._missing], 0, False
        if data:
            self._body_size += len(data)
            self._chunks.append(data)
        if not self._missing:
            self._complete = True

    def _parse(self, data: bytes) -> None:
        if not self._touched:
            self._begin_to_parse()
            self._plain_head = b""
            self._touched = True
        self._overhead += len(data)
        try:
            self._parser.feed_data(data)
            if self._overhead > self._max_head and not self._complete:
                self._refuse(f"more than {self._max_head} bytes that are not its body")
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as exc:
            self._keep_alive = False
            kind = BodyBroken if self._has_head else AnswerBroken
            self._fail(kind, f"The answer is not valid HTTP: {self._refusal or exc}.")

    def eof_received(self) -> None:
        # RFC 9112, 6.3: without Content-Length and chunked coding, the body ends where the connection does.
        if self._has_head and not self._chunked and self.content_length is None:
            self._complete = True
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)
        if self._reading_paused and self._error is None:
            self._take_rest()
        if self._has_head:
            self._fail(BodyBroken, "The connection was closed in the middle of the answer's body.")
        elif self._touched:
            self._fail(AnswerBroken, "The connection was closed in the middle of the answer's head.")
        else:
            self._fail(ClosedUnanswered)
        del self._parser  # it refers back to us
        self._on_lost(self)

    def _take_rest(self) -> None:
        """Take what the TLS layer still holds: uvloop drops it when a platform closes while its answer is not read."""
        tls: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        if tls is None:
            return
        try:
            while data := tls.read(HIGH_WATER):
                self.data_received(data)
        except ssl.SSLError:
            return  # all of it was taken, and the platform has not said that it was all
        self.eof_received()

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # Called by the parser

    def on_message_begin(self) -> None:
        if self._complete:
            self._refuse("something follows it")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value) + 4
        if self._field_bytes > self._max_head:
            self._refuse(f"its headers exceed {self._max_head} bytes")
        if self._has_head:
            return  # a trailer: nothing of OCPI is there
        key = name.lower()
        value = value.strip(b" \t")
        self._fields.append((key, name, value))
        if key in _READ_HERE:
            self._read_field(key, value)

    def _read_field(self, key: bytes, value: bytes) -> None:
        match key:
            case b"content-length":
                self.content_length = int(value)
            case b"transfer-encoding":
                # RFC 9112, 7: no other coding may come to one who has not sent TE.
                if self._chunked or value.lower() != b"chunked":
                    self._refuse("its transfer coding is not chunked")
                self._chunked = True
            case b"keep-alive":
                match = _KEEP_ALIVE_TIMEOUT.search(value)
                self.peer_keeps_seconds = int(match[1]) if match else None

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status <= 101 and status != 100:
                self._refuse(f"its status is {status}")
            if self._interim > MAX_INTERIM_ANSWERS:
                self._refuse("it is put off again and again")
            return
        self.status = status
        self.head_at = time.perf_counter()
        self._has_head = True
        self._keep_alive = self._parser.should_keep_alive()
        if status in (204, 304):
            self._chunked, self.content_length = False, 0
        if self._is_head_request:
            self._complete, self._keep_alive = True, False

    def on_body(self, data: bytes) -> None:
        self._overhead = 0
        self._body_size += len(data)
        self._chunks.append(data)

    def on_message_complete(self) -> None:
        if self._has_head:
            self._complete = True
        else:
            self._fields, self.content_length, self._chunked = [], None, False  # that was a 1xx answer

    def _refuse(self, reason: str) -> None:
        self._refusal = reason
        raise httptools.HttpParserError(reason)
