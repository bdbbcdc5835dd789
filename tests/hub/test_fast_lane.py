"""Both lanes do the same: identical requests to the receiver, identical answers, but for ids, dates and ports."""

import asyncio
import contextlib
import gzip
import json
import os
import re
import socket
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.addresses import AddressGuard
from hub.fast_lane.front import Front
from parties.model import Role
from tests.hub.test_client import Certificates
from tests.hubs import HubOnTest, settings_for
from tests.scenarios.cast import p1, p3
from tests.station import ENVELOPE, reply
from tests.waiting import until
from tests.wire import request_lines

QUIET_SECONDS = 0.15
"""How long nothing has to come from a hub that waits for more of a request."""
BUSY_TURNS = 5
"""How often that long from one that is at work."""
_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_HEAD = re.compile(rb"HTTP/1\.1 .*?\r\n\r\n", re.DOTALL)
_MASKED = (
    (_UUID, b"UUID"),
    (re.compile(rb"Date: [^\r]*"), b"Date: DATE"),
    (re.compile(rb"127\.0\.0\.1:\d+"), b"HOST"),
    (re.compile(rb"hub_alias=[^>&\"]+"), b"hub_alias=ALIAS"),
    (re.compile(rb"/-/[A-Za-z0-9_-]+"), b"/-/ALIAS"),
    (re.compile(rb'"timestamp":"[^"]*"'), b'"timestamp":"TIME"'),
)
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(ENVELOPE), ENVELOPE)


def masked(data: bytes) -> bytes:
    for pattern, replacement in _MASKED:
        data = pattern.sub(replacement, data)
    return data


class Receiver(asyncio.Protocol):
    """One connection of the receiver: keeps what comes, and answers each whole request alike."""

    def __init__(self, station: "Station") -> None:
        self._station = station
        self._parser = httptools.HttpRequestParser(self)
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._station.connections.add(self)

    def data_received(self, data: bytes) -> None:
        self._data += data
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        self._station.received.append(self._data)
        self._data = b""
        self.send(self._station.answer)

    def send(self, data: bytes) -> None:
        transport = self._transport
        assert isinstance(transport, asyncio.WriteTransport)
        for piece in self._station.pieces(data):
            transport.write(piece)
        if self._station.closes:
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._station.connections.discard(self)


@dataclass
class Station:
    """The receiver's side: what came, and what it answers."""

    answer: bytes = reply()
    closes: bool = False
    received: list[bytes] = field(default_factory=list)
    connections: set[Receiver] = field(default_factory=set)

    def pieces(self, data: bytes) -> Sequence[bytes]:
        return [data] if data else []


class Requester(asyncio.Protocol):
    """One connection of the sender: counts the answers that are complete."""

    def __init__(self) -> None:
        self.data = self.body = b""
        self.answers = 0
        self.is_closed = False
        self._parser = httptools.HttpResponseParser(self)
        self._news = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data
        with contextlib.suppress(httptools.HttpParserError):
            self._parser.feed_data(data)
        self._news.set()

    def on_body(self, body: bytes) -> None:
        self.body += body

    @property
    def is_chunked(self) -> bool:
        """Whether the pieces in which a body comes are a matter of time."""
        return b"\r\nTransfer-Encoding: chunked\r\n" in self.data

    def on_message_complete(self) -> None:
        self.answers += self._parser.get_status_code() >= 200

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_closed = True
        self._news.set()

    async def settle(self, answers: int, hub: HubOnTest) -> None:
        """Wait until there are so many answers, the connection ends, or nothing comes any more.

        While the hub is at work on a request, nothing for a moment is no sign that nothing comes.
        """
        quiet = 0
        while (
            self.answers < answers and not self.is_closed and quiet < (BUSY_TURNS if hub.hub.metrics.in_flight else 1)
        ):
            self._news.clear()
            try:
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._news.wait()
                quiet = 0
            except TimeoutError:
                quiet += 1


@dataclass
class Two:
    """Two hubs on one database, one with the fast lane and one without; their members' token; the receiver."""

    hubs: tuple[HubOnTest, HubOnTest]
    authorization: str
    station: Station

    def request(self, method: str, path: str, *more: str, body: bytes = b"", drop: Sequence[str] = ()) -> bytes:
        lines = request_lines(self.authorization, method, path, *more, drop=drop)
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode() + body

    async def exchange(
        self, hub: HubOnTest, pieces: Sequence[bytes], answers: int = 1, *, pause: float = 0.0
    ) -> tuple[bytes, list[bytes]]:
        """Send pieces over one connection, and a plain request after them; give all that came, on both sides."""
        self.station.received.clear()
        loop = asyncio.get_running_loop()
        _, requester = await loop.create_connection(Requester, "127.0.0.1", hub.settings.port)
        for piece in pieces:
            requester.transport.write(piece)
            await asyncio.sleep(pause)
        await requester.settle(answers, hub)
        if not requester.is_closed:
            requester.transport.write(self.request("GET", "receiver/sessions/BE/BEC/after"))
            await requester.settle(answers + 1, hub)
        requester.transport.close()
        await until(lambda: requester.is_closed)
        data = b"".join([*_HEAD.findall(requester.data), requester.body]) if requester.is_chunked else requester.data
        return masked(data), [masked(each) for each in self.station.received]

    async def compare(self, pieces: Sequence[bytes], answers: int = 1) -> tuple[bytes, list[bytes]]:
        """Send the same to both hubs and make sure that all is the same; give what came.

        What is no HTTP in the end, aiohttp answers in two ways, as it comes in one piece or in several: then either
        will do.
        """
        fast, ordinary = [await self.exchange(hub, pieces, answers) for hub in self.hubs]
        if fast != ordinary and len(pieces) > 1:
            whole = await self.exchange(self.hubs[1], [b"".join(pieces)], answers)
            apart = await self.exchange(self.hubs[1], pieces, answers, pause=0.01)
            assert fast in (whole, apart)
        else:
            assert fast == ordinary
        return fast


@pytest.fixture
async def two(database_url: str) -> AsyncIterator[Two]:
    """Two hubs on one database, with a CPO and an eMSP."""
    loop = asyncio.get_running_loop()
    station = Station()
    server = await loop.create_server(lambda: Receiver(station), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    hubs = (
        HubOnTest(settings_for(database_url, fast_lane=True)),
        HubOnTest(settings_for(database_url, fast_lane=False)),
    )
    async with contextlib.AsyncExitStack() as stack:
        for hub in hubs:
            await hub.start()
            stack.push_async_callback(hub.stop)
        cpo, emsp = await stack.enter_async_context(p1()), await stack.enter_async_context(p3())
        for member in (cpo, emsp):
            await hubs[0].register(member)
        guard = AddressGuard(hubs[0].settings.member_networks, allow_http=True)
        platform = await hubs[0].members.platform_of(Role.parse("DE-TNM:EMSP").party)
        switches = [
            f"endpoint.{module}=http://127.0.0.1:{port}/ocpi/{module.partition('.')[0]}/"
            for module in ("sessions.RECEIVER", "locations.RECEIVER", "cdrs.RECEIVER", "tokens.SENDER")
        ]
        await hubs[0].members.set_switches(platform, switches, guard)
        assert cpo.hub_token is not None
        two = Two(hubs, f"Token {b64encode(cpo.hub_token.encode()).decode()}", station)
        for hub in hubs:
            await hub.hub.live.refresh()
            hub.hub.client_infos._newcomers.clear()  # they would have to be introduced
            await two.exchange(hub, [two.request("GET", "receiver/sessions/BE/BEC/warm")])
        yield two
        server.close()
    for connection in tuple(station.connections):
        connection._transport.close()
    await until(lambda: not station.connections)


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What the fast lane hands over to aiohttp."""
    found: list[bytes] = []
    hand_over = Front._hand_over

    def note(front: Front, pieces: list[bytes]) -> asyncio.Protocol:
        found.append(b"".join(pieces))
        return hand_over(front, pieces)

    monkeypatch.setattr(Front, "_hand_over", note)
    return found


SPOILS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\r\n ", b" ", b":", b"\0", b"\xff", b"\r\nContent-Length: 5", b"\r\nContent-Length: 0",
        b"\r\nTransfer-Encoding: chunked", b"\r\nConnection: close", b"\r\nX-Request-ID: 2", b"\r\nOCPI-to-party-id: X",
        b"\r\nHost: x", b"\r\n\r\n", b"\r\nExpect: 100-continue", b"0\r\n\r\n", b"?a=b", b"/", b"%2e", b"x" * 9000,
    ]
)  # fmt: skip


@st.composite
def damaged(draw: st.DrawFn, whole: list[bytes]) -> list[bytes]:
    """A request with its headers in any order and case, in which something may be put or missing, in some pieces."""
    head, _, body = draw(st.sampled_from(whole)).partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    lines = draw(st.permutations(lines))
    case = draw(st.sampled_from([bytes, bytes.lower, bytes.upper]))
    lines = [case(name) + b": " + value for name, _, value in (line.partition(b": ") for line in lines)]
    if draw(st.booleans()):
        lines.append(draw(st.sampled_from(lines)))
    data = b"\r\n".join([first, *lines, b"", body])
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(data)))
        data = data[:place] + draw(SPOILS) + data[place + draw(st.sampled_from([0, 0, 1, 20])) :]
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


PUT = b'{"country_code":"BE","party_id":"BEC","id":"1","last_updated":"2026-01-01T00:00:00Z"}'


async def test_plain_requests_are_the_same_and_stay_in_the_fast_lane(two: Two, handed_over: list[bytes]) -> None:
    plain = [
        two.request("GET", "receiver/sessions/BE/BEC/1"),
        two.request("GET", "receiver/sessions/BE/BEC/1?a=b&c=%20d"),
        two.request("GET", "receiver/sessions/BE/BEC/1.2%2F3", "Accept: text/html"),
        two.request("GET", "receiver/sessions/BE/BEC/1", "traceparent: 00-1-2-01", "tracestate: x=y", "Cookie: c"),
        two.request("GET", "receiver/sessions/BE/BEC/1", "Connection: keep-alive", "Accept-Encoding: gzip, br"),
        two.request("GET", "receiver/sessions/be/bec/1").replace(b"OCPI-to", b"ocpi-TO").replace(b": DE", b": de"),
        two.request("GET", "receiver/sessions/BE/BEC/1", drop=("X-Request-ID", "X-Correlation-ID")),
        two.request("GET", "receiver/sessions/BE/BEC/1", drop=("X-Request-ID",)),
        two.request("GET", "receiver/sessions/BE/BEC/1", drop=("OCPI-from-country-code", "OCPI-from-party-id")),
        two.request("GET", "sender/tokens"),
        two.request("GET", "sender/tokens/?offset=5&limit=10"),
        two.request("POST", "sender/tokens/T1/authorize?type=RFID", "Content-Length: 0"),
        two.request("POST", "sender/tokens/T1/authorize"),
        two.request("POST", "sender/tokens/T1/authorize", body=b'{"location_id":"L"}'),
        two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT),
        two.request("PUT", "receiver/sessions/BE/BEC/1", "Content-Type: application/json; charset=utf-8", body=PUT),
        two.request("PUT", "receiver/sessions/BE/BEC/1", body=b"\xef\xbb\xbf" + PUT),
        two.request("PATCH", "receiver/locations/BE/BEC/L/E/C", body=b'{"last_updated":"2026-01-01T00:00:00Z"}'),
        two.request("POST", "receiver/cdrs", body=PUT),
    ]
    for request in plain:
        answer, received = await two.compare([request])
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
        assert len(received) == 2
    assert handed_over == []
    many = [part for request in plain for part in (request[:200], request[200:])]
    answer, received = await two.compare(many[:2])
    assert handed_over == []


async def test_what_is_not_plain_is_the_same_and_served_by_aiohttp(two: Two, handed_over: list[bytes]) -> None:
    path = "receiver/sessions/BE/BEC/1"
    chunked = two.request("PUT", path, "Transfer-Encoding: chunked")
    odd = [
        two.request("GET", path, drop=("Authorization",)),
        two.request("GET", path).replace(b"Token ", b"Token X"),
        two.request("GET", path).replace(b": BEC", b": XXX"),
        two.request("GET", path).replace(b"DE", b"XX"),
        two.request("GET", path, drop=("OCPI-to-party-id",)),
        two.request("GET", path, "OCPI-to-party-id: TNM"),
        two.request("GET", path, "OCPI-to-party-id: XXX"),
        two.request("GET", path, f"Authorization: {two.authorization}"),
        two.request("GET", "receiver/sessions/XX/BEC/1"),
        two.request("GET", "receiver/sessions/BE/BEC/%2e%2e"),
        two.request("GET", "receiver/sessions/BE/BEC/.."),
        two.request("GET", "receiver/sessions//BE/BEC/1"),
        two.request("GET", "receiver/sessions/BE/BEC/1/"),
        two.request("GET", "receiver/sessions/BE/BEC/1#x"),
        two.request("GET", "receiver/sessions/BE/BEC"),
        two.request("GET", "sender/tokens?hub_alias=x"),
        two.request("DELETE", path),
        two.request("GET", "receiver/nothing/BE/BEC/1"),
        two.request("GET", "versions"),
        two.request("PUT", path, body=b"{no json"),
        two.request("PUT", path),
        two.request("PUT", path, "Content-Encoding: gzip", body=gzip.compress(PUT)),
        two.request("PUT", path, body=PUT).replace(b"HTTP/1.1", b"HTTP/1.0"),
        two.request("GET", path, "Connection: close"),
        two.request("GET", path, body=b"{}"),
        two.request("GET", path, "X-Folded: a\r\n b"),
        two.request("GET", path, "X-Long: " + "a" * 9000),
        two.request("GET", path, "X-Latin: \xe9"),
        two.request("PUT", path, "Content-Length: 5, 5") + b"hello",
        two.request("PUT", path, "Content-Length: 5", "Content-Length: 6") + b"hello!",
        two.request("PUT", path, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        two.request("PUT", path, "Content-Length: +5") + b"hello",
        chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(PUT), PUT),
        chunked.replace(b"Encoding:", b"Encoding :") + b"0\r\n\r\n",
        two.request("PUT", path, "Expect: 100-continue", body=PUT),
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01",
        b"\r\n",
    ]
    for number, request in enumerate(odd, 1):
        await two.compare([request])
        assert len(handed_over) == number, request
        assert handed_over[-1] == request


async def test_several_requests_in_one_piece_are_answered_in_order(two: Two) -> None:
    pieces = [two.request("GET", f"receiver/sessions/BE/BEC/{number}") for number in range(5)]
    answer, received = await two.compare([b"".join(pieces)], answers=5)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 6
    assert [each.split()[1][-1:] for each in received[:5]] == [b"0", b"1", b"2", b"3", b"4"]
    smuggled = two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT) + pieces[0]
    await two.compare([smuggled[:-10], smuggled[-10:]], answers=2)


async def test_generated_requests_are_the_same_however_they_are_damaged_and_cut(two: Two) -> None:
    loop = asyncio.get_running_loop()
    path = "receiver/sessions/BE/BEC/1"
    whole = [
        two.request("GET", path),
        two.request("PUT", path, body=PUT),
        two.request("POST", "sender/tokens/T/authorize"),
    ]

    @settings(max_examples=60, deadline=None, database=None, derandomize=True)
    @given(damaged(whole))
    def compare(pieces: list[bytes]) -> None:
        asyncio.run_coroutine_threadsafe(two.compare(pieces), loop).result(60)

    await asyncio.to_thread(compare)


async def test_a_request_may_be_split_at_every_byte(two: Two, handed_over: list[bytes]) -> None:
    request = two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT)
    expected = await two.compare([request])
    for place in range(1, len(request)):
        assert await two.exchange(two.hubs[0], [request[:place], request[place:]]) == expected
    single = [request[place : place + 1] for place in range(len(request))]
    assert await two.compare(single) == expected
    assert all(len(data) < len(request.partition(b"\r\n")[0]) + 2 for data in handed_over)  # within the first line


@pytest.mark.parametrize(
    ("answer", "closes"),
    [
        (reply(), False),
        (reply(ENVELOPE, "201 Created"), False),
        (reply(ENVELOPE, "299 "), False),
        (reply(ENVELOPE, "404 Not Found"), False),
        (reply(ENVELOPE, "500 Oops"), False),
        (reply(ENVELOPE.replace(b"1000", b"2003")), False),
        (reply(b"\xef\xbb\xbf" + ENVELOPE), False),
        (reply(b"<html>"), False),
        (reply(b"<html>", "404 Not Found"), False),
        (reply(b"<html>", "503 Gone"), False),
        (reply(ENVELOPE, "401 Unauthorized"), False),
        (reply(ENVELOPE, "302 Found", "Location: /x"), False),
        (reply(ENVELOPE, "307 Again", "Location: /x"), False),
        (reply(b"", "204 No Content"), False),
        (reply(ENVELOPE, "200 OK", "X-Total-Count: 7", "x-limit: 5", "Retry-After: 9", "Set-Cookie: c"), False),
        (reply(ENVELOPE, "200 OK", "X-Total-Count: 7", "X-Total-Count: 8"), False),
        (reply(ENVELOPE, "200 OK", "Link: </ocpi/tokens/?offset=5>; rel=\"next\"", "X-Limit: 5"), False),
        (reply(ENVELOPE, "200 OK", "Location: /ocpi/cdrs/5"), False),
        (reply(gzip.compress(ENVELOPE, mtime=0), "200 OK", "Content-Encoding: gzip"), False),
        (reply(ENVELOPE, "200 OK", "Connection: close"), True),
        (reply(ENVELOPE, "200 OK", framed=False), True),
        (reply(CHUNKED, "200 OK", "Transfer-Encoding: chunked", framed=False), False),
        (reply(b'{"data":"' + b"x" * 65536 + b'","status_code":1000}'), False),
        (reply(b'{"data":"' + b"x" * 600000 + b'","status_code":1000}'), False),
        (reply(b'{"data":"' + b"x" * 600000 + b'","status_code":1000}', framed=False), True),
        (reply()[:-5], True),
        (reply()[:30], True),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + reply(), False),
        (reply() + b"more", False),
        (b"no HTTP\r\n\r\n", False),
        (b"", True),
        (b"", False),
    ],
)  # fmt: skip
async def test_every_answer_is_given_on_the_same_way(two: Two, answer: bytes, closes: bool) -> None:
    for request in (
        two.request("GET", "receiver/sessions/BE/BEC/1", "Accept-Encoding: gzip"),
        two.request("GET", "sender/tokens/?limit=5"),
        two.request("POST", "receiver/cdrs", body=PUT),
        two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT),
    ):
        sent = []
        for hub in two.hubs:
            two.station.answer, two.station.closes = reply(), False
            await two.exchange(hub, [two.request("GET", "receiver/sessions/BE/BEC/warm")])
            two.station.answer, two.station.closes = answer, closes
            sent.append(await two.exchange(hub, [request]))
        assert sent[0] == sent[1]


async def test_a_line_of_the_log_has_the_same_facts(two: Two) -> None:
    for method, body in (("GET", b""), ("PUT", PUT)):
        lines = []
        for hub in two.hubs:
            hub.hub.request_log.flush()
            before = len(hub.log.getvalue())
            await two.exchange(hub, [two.request(method, "receiver/sessions/BE/BEC/1", body=body)])
            hub.hub.request_log.flush()
            line = json.loads(hub.log.getvalue()[before:].splitlines()[0])
            lines.append({name: value for name, value in line.items() if name not in _DIFFERING})
            assert line.keys() > _DIFFERING
            counts = hub.hub.metrics.platform(line["receiver_platform"])
            assert counts.reachable
        assert lines[0] == lines[1]
    own = [_counted(hub) for hub in two.hubs]
    assert own[0] == own[1]


_DIFFERING = {"timestamp", "ms", "receiver_ms", "onward_request_id"}


def _counted(hub: HubOnTest) -> dict[str, int]:
    text = hub.hub.metrics.render().decode()
    found = re.findall(r'^ocpi_hub_requests_total\{(.*module="sessions".*)\} (\S+)$', text, re.MULTILINE)
    return {labels: int(float(number)) for labels, number in found}


async def test_a_get_ends_with_its_requester_and_a_write_goes_on(two: Two) -> None:
    hub = two.hubs[0]
    for method, body, outcome in (("GET", b"", "left"), ("PUT", PUT, "ok")):
        two.station.answer = b""
        two.station.received.clear()
        _, requester = await asyncio.get_running_loop().create_connection(Requester, "127.0.0.1", hub.settings.port)
        requester.transport.write(two.request(method, "receiver/sessions/BE/BEC/left", body=body))
        await until(lambda: two.station.received)
        requester.transport.abort()
        asking = next(iter(two.station.connections))
        if method == "GET":
            await until(lambda: not two.station.connections)
        else:
            await until(lambda requester=requester: requester.is_closed)
            asking.send(reply())
        await until(lambda: hub.hub.metrics.in_flight == 0)
        hub.hub.request_log.flush()
        assert json.loads(hub.log.getvalue().splitlines()[-1])["outcome"] == outcome
        assert hub.hub.client.in_flight(2) == 0
        two.station.answer = reply()
        await two.exchange(hub, [two.request("GET", "receiver/sessions/BE/BEC/warm")])


async def test_a_request_whose_first_byte_was_read_is_answered_when_the_hub_stops(two: Two) -> None:
    hub = two.hubs[0]
    loop = asyncio.get_running_loop()
    request = two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT)
    _, under_way = await loop.create_connection(Requester, "127.0.0.1", hub.settings.port)
    _, half_read = await loop.create_connection(Requester, "127.0.0.1", hub.settings.port)
    _, idle = await loop.create_connection(Requester, "127.0.0.1", hub.settings.port)
    two.station.answer = b""
    two.station.received.clear()
    under_way.transport.write(request)
    half_read.transport.write(request[:-5])
    await until(lambda: two.station.received)
    stopping = asyncio.create_task(hub.stop())
    await until(lambda: idle.is_closed)
    two.station.answer = reply()
    for connection in tuple(two.station.connections):
        connection.send(reply())
    half_read.transport.write(request[-5:])
    await stopping
    for requester in (under_way, half_read):
        await until(lambda requester=requester: requester.is_closed)
        assert requester.answers == 1
        assert b"HTTP/1.1 200 OK\r\n" in requester.data
        assert b"\r\nConnection: close\r\n" in requester.data


async def test_a_request_that_comes_slowly_is_left_to_aiohttp(two: Two, handed_over: list[bytes]) -> None:
    request = two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT)
    _, slow = await asyncio.get_running_loop().create_connection(Requester, "127.0.0.1", two.hubs[0].settings.port)
    slow.transport.write(request[:-5])
    await until(lambda: handed_over)
    assert handed_over == [request[:-5]]
    await until(lambda: slow.answers == 1)  # idle_timeout
    assert slow.data.startswith(b"HTTP/1.1 408 ")
    slow.transport.close()


async def test_silence_ends_a_connection(two: Two, monkeypatch: pytest.MonkeyPatch) -> None:
    _, silent = await asyncio.get_running_loop().create_connection(Requester, "127.0.0.1", two.hubs[0].settings.port)
    look = Front.look
    monkeypatch.setattr(Front, "look", lambda front, now, arrival, silence: look(front, now + 76, arrival, silence))
    await until(lambda: silent.is_closed)


async def test_a_table_that_changes_ends_what_was_planned(two: Two) -> None:
    request = two.request("GET", "receiver/sessions/BE/BEC/1")
    await two.compare([request])
    assert await two.hubs[0].hub.liveness._set_online(2, online=False)
    for hub in two.hubs:
        await hub.hub.live.refresh()
    answer, received = await two.compare([request])
    assert answer.count(b"is offline") == 2
    assert received == []


async def test_the_fast_lane_works_behind_tls(
    two: Two, database_url: str, handed_over: list[bytes], tmp_path: Path
) -> None:
    certificates = Certificates(tmp_path)
    file = tmp_path / "certificate.pem"
    hub = HubOnTest(
        settings_for(database_url, tls_certificate=file, tls_key=file, public_url="http://127.0.0.1:1", fast_lane=True)
    )
    await hub.start()
    try:
        loop = asyncio.get_running_loop()
        _, requester = await loop.create_connection(
            Requester, "127.0.0.1", hub.settings.port, ssl=certificates.trusting, server_hostname="localhost"
        )
        plain = two.request("PUT", "receiver/sessions/BE/BEC/1", body=PUT)
        for number, request in enumerate((plain, plain, two.request("GET", "versions"), plain), 1):
            requester.transport.write(request)
            await until(lambda number=number: requester.answers == number)
        assert requester.data.count(b"HTTP/1.1 200 OK\r\n") == 3
        assert handed_over == [two.request("GET", "versions")]  # and with it the rest of the connection
        requester.transport.close()
        await until(lambda: requester.is_closed)
    finally:
        await hub.stop()


async def test_a_get_whose_requester_leaves_while_its_answer_comes_gives_its_place_back(two: Two) -> None:
    """R-123; the answer asks for more, and the task for that is cancelled before it begins."""
    hub, two.station.answer = two.hubs[0], b""
    known = len(two.station.received)
    with socket.create_connection(("127.0.0.1", hub.settings.port)) as requester:
        requester.sendall(two.request("GET", "receiver/sessions/BE/BEC/1"))
        await until(lambda: len(two.station.received) > known, "the receiver has the request")
    answer = reply(ENVELOPE, "200 OK", 'Link: <http://h/x>; rel="next"')
    for connection in two.station.connections:  # in the same turn of the event loop
        os.write(connection._transport.get_extra_info("socket").fileno(), answer)
    await until(lambda: not hub.hub.metrics.in_flight, "the request has ended")
    assert not any(places.taken for places in hub.hub.client._places.values())
    two.station.answer = reply()


async def test_what_is_known_makes_nothing_plain_that_is_not(two: Two) -> None:
    usual = two.request("GET", "sender/tokens", "Accept: x")
    await two.compare([two.request("POST", "sender/tokens/T1/authorize", "Content-Length: 0")])
    for odd in (
        two.request("POST", "sender/tokens/T1/authorize", "Content-Length: "),
        usual.replace(b"correlation-1", b"c" * 20_000),
        usual.replace(b"/tokens ", b"/tokens?x=" + b"y" * 20_000 + b" "),
    ):
        fast, ordinary = [await two.exchange(hub, [usual, odd], 2, pause=0.05) for hub in two.hubs]
        assert fast == ordinary
        assert len(fast[1]) <= 1  # the odd one never comes to the receiver
