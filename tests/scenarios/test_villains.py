"""Receivers and requesters that break every rule: each gets an answer or is cut off, and nothing of them stays.

[R-123, R-124, R-125, R-198, R-199, R-203, T-048, T-049, T-051, T-052]
"""

import asyncio
import contextlib
import gzip
import time
import zlib
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as some

from hub.simulator import Received, Reply, SimulatedPlatform, envelope
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import EVERY_MODULE, messages_to, p1, p3
from tests.scenarios.villains import Script, hold, nothing_left, read_request, repeat, say, speak, villain
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]

OK = b'{"data":[],"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
MEGABYTE = 2**20


def head(length: int, *, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, length)


def large_envelope(megabytes: int) -> bytes:
    """Give an envelope of about so many megabytes that no two parts of which are alike."""
    step = b",".join(b'{"id":"%08d","kwh":%d.%04d}' % (n, n, n % 10_000) for n in range(megabytes * MEGABYTE // 32))
    return b'{"data":[' + step + b'],"status_code":1000,"timestamp":"2026-01-01T00:00:00Z"}'


async def never_read(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the connection and do not even read."""
    await asyncio.Event().wait()


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take the request and close."""
    await read_request(reader)


FAILURES: dict[str, tuple[Script, int]] = {
    "silent": (hold, 4002),
    "does not read": (never_read, 4002),
    "hangs up": (hang_up, 4002),
    "dies in its head": (say(b"HTTP/1.1 200 OK\r\nContent-Le"), 4000),
    "dies in its body": (say(head(100), b'{"status_code":1000'), 4002),
    "dies in a chunk": (say(JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"13\r\n" + OK), 4002),
    "falls silent in its body": (say(head(100), OK[:10], stay=True), 4002),
    "HTML": (say(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), 4000),
    "garbage": (say(b"\x16\x03\x01 no HTTP at all\r\n\r\n\x00\xff"), 4000),
    "negative length": (say(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), 4000),
    "odd status": (say(b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}"), 4000),
    "broken chunk": (say(JSON + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 4002),
    "endless headers": (repeat(JSON, b"X-More: " + b"x" * 1000 + b"\r\n"), 4000),
    "a header of 1 MB": (say(JSON + b"X-Large: " + b"x" * MEGABYTE + b"\r\n\r\n"), 4000),
    "1 MB of headers": (say(JSON + b"".join(b"X-%d: 1\r\n" % n for n in range(100_000)) + b"\r\n"), 4000),
    "head drips": (repeat(b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x", 0.02), 4002),
    "endless interim answers": (repeat(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 4000),
    "body drips": (repeat(head(100_000) + b'{"data":"', b"x", 0.02), 4002),
    "chunks drip": (repeat(JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 0.02), 4002),
}


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_receiver_that_fails_before_much_has_come_is_an_envelope(
    start_hub: StartHub, method: str, subtests: pytest.Subtests
) -> None:
    hub = await start_hub(forward_timeout=0.5, idle_timeout=0.15)
    body = {"id": "1"} if method == "PUT" else None
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, _):
        for name, (script, status_code) in FAILURES.items():
            with subtests.test(name):
                async with villain(hub, "DE-TNM", "sessions.RECEIVER", script) as bad:
                    begin = time.monotonic()
                    answer = await cpo.call(
                        method, "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=expect.IDS, body=body
                    )
                    expect.refusal(answer, status_code, to="BE-BEC")
                    assert time.monotonic() - begin < 2
                    assert bad.connections == 1


async def test_a_receiver_that_refuses_is_4003(hub: HubOnTest) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        await emsp.stop()
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.refusal(answer, 4003, to="BE-BEC")


async def test_a_slow_answer_is_an_answer(hub: HubOnTest) -> None:
    """The forward timeout is until the head; after it each silence is limited, not the whole."""
    assert hub.settings.forward_timeout == 1
    pieces = [OK[n : n + 1] for n in range(len(OK))]
    async with (
        nothing_left(hub),
        registered(hub, p1(), p3()) as (cpo, _),
        villain(hub, "DE-TNM", "tokens.SENDER", say(head(len(OK)), *pieces, pause=1.5 / len(OK))),
    ):
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=OK)


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("stay", [False, True], ids=["dies", "falls silent"])
async def test_a_large_answer_that_breaks_off_breaks_the_requesters_off_at_once(
    hub: HubOnTest, framing: str, stay: bool
) -> None:
    """Once the first byte is out no error fits: a short answer must not look like a whole one."""
    large = large_envelope(2)
    half = large[:MEGABYTE]
    first = head(len(large)) + half
    if framing == "chunked":
        first = JSON + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(half) + half + b"\r\n"
    async with (
        nothing_left(hub),
        registered(hub, p1(), p3()) as (cpo, _),
        villain(hub, "DE-TNM", "tokens.SENDER", say(first, stay=stay)),
    ):
        begin = time.monotonic()
        with pytest.raises(aiohttp.ClientError):
            await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
        assert time.monotonic() - begin < 2.5


async def test_a_requester_that_leaves_a_get_ends_it(hub: HubOnTest) -> None:
    """R-123: the receiver is not kept busy for nobody."""
    gone = asyncio.Event()

    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_request(reader)
        started.set()
        await reader.read()
        gone.set()

    started = asyncio.Event()
    async with (
        nothing_left(hub),
        registered(hub, p1(), p3()) as (cpo, _),
        villain(hub, "DE-TNM", "tokens.SENDER", script),
    ):
        call = asyncio.create_task(cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        await asyncio.wait_for(started.wait(), 1)
        call.cancel()
        await asyncio.wait_for(gone.wait(), 0.5)  # long before the time limit of a second
        await until(lambda: hub.hub.metrics.in_flight == 0)


async def test_a_requester_that_leaves_a_put_does_not_end_it(hub: HubOnTest) -> None:
    """R-123: the receiver has it, and what it did must not be undone by a lost connection."""
    answered = asyncio.Event()
    leave, left = asyncio.Event(), asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        leave.set()
        await left.wait()
        writer.write(head(len(OK)) + OK)
        await writer.drain()
        # The hub takes the answer: it keeps the connection for the next request and does not abort it.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(reader.read(), 0.2)
            return
        answered.set()

    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, _):
        async with villain(hub, "DE-TNM", "sessions.RECEIVER", script):
            call = asyncio.create_task(
                cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", body={"id": "1"})
            )
            await asyncio.wait_for(leave.wait(), 1)
            call.cancel()
            await asyncio.wait([call])
            left.set()
            await asyncio.wait_for(answered.wait(), 2)
        assert "Traceback" not in hub.log.getvalue()


@pytest.mark.parametrize("sent", [0, 10, 300_000])
async def test_a_requester_that_leaves_in_its_body_forwards_nothing(
    hub: HubOnTest, sent: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        _, writer = await asyncio.open_connection("127.0.0.1", hub.settings.port)
        writer.write(request_head(cpo, "PUT", "/ocpi/2.2.1/receiver/sessions/BE/BEC/1", 1_000_000))
        writer.write(b'{"a":"' + b"x" * sent)
        await writer.drain()
        await until(lambda: hub.hub.metrics.in_flight == 1)
        writer.transport.abort()
        await until(lambda: hub.hub.metrics.in_flight == 0)
        expect.untouched(emsp)  # at most the beginning of a request came, and no end
    assert "failed in the hub" not in capfd.readouterr().out


async def test_a_full_receiver_is_503_while_authorizations_pass(start_hub: StartHub) -> None:
    """T-052."""
    hub = await start_hub(max_in_flight=2, urgent_in_flight=1, in_flight_wait=0.05, forward_timeout=5.0)
    released = asyncio.Event()

    async def wait(_: Received) -> Reply:
        await released.wait()
        return Reply(body=envelope([]))

    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.answer("GET", "tokens", "SENDER", wait)
        emsp.answer("POST", "tokens", "SENDER", Reply(404, envelope(None, 2004)))
        waiting = [asyncio.create_task(cpo.call("GET", "tokens", "SENDER", to="DE-TNM")) for _ in range(2)]
        await emsp.wait_for(2)
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.refusal(answer, 3000, to="BE-BEC", http_status=503)
        assert int(answer.headers["Retry-After"]) >= 1
        for _ in range(3):
            expect.envelope(await cpo.call("POST", "tokens", "SENDER", "1/authorize", to="DE-TNM"), 404, 2004)
        assert len([received for received in messages_to(emsp) if received.method == "GET"]) == 2
        released.set()
        for answer in await asyncio.gather(*waiting):
            expect.envelope(answer)
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))


async def test_many_requests_at_once_share_a_bounded_number_of_connections(hub: HubOnTest) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        most = 0

        def count(_: Received) -> Reply:
            nonlocal most
            most = max(most, hub.hub.client.connections())
            return Reply(body=envelope([]))

        emsp.answer("GET", "tokens", "SENDER", count)
        answers = await asyncio.gather(*[cpo.call("GET", "tokens", "SENDER", to="DE-TNM") for _ in range(200)])
        assert {answer.status_code for answer in answers} == {1000}
        assert 0 < most <= hub.settings.max_in_flight + hub.settings.urgent_in_flight


# Sizes


@pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
async def test_a_body_over_the_limit_is_413(start_hub: StartHub, chunked: bool) -> None:
    """T-051."""
    hub = await start_hub(max_body=100_000, held_body=10_000)
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        body = b'{"a":"' + b"x" * 200_000 + b'"}'
        data = request_head(cpo, "PUT", "/ocpi/2.2.1/receiver/sessions/BE/BEC/1", None if chunked else len(body))
        data += b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body
        answer = await speak(hub, data)
        expect.envelope(answer, 413, 2001)
        expect.ids(answer)
        expect.untouched(emsp)
        fits = b'{"a":"' + b"x" * 90_000 + b'"}'
        assert (await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", body=fits)).http_status == 201
        assert emsp.received[0].body == fits


async def test_a_length_over_the_limit_is_refused_before_the_body_is_sent(start_hub: StartHub) -> None:
    hub = await start_hub(max_body=100_000)
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, _):
        expecting = b"Expect: 100-continue\r\n"
        for length, status in ((100_001, b"HTTP/1.1 413"), (10, b"HTTP/1.1 100 Continue")):
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.settings.port)
            writer.write(request_head(cpo, "PUT", "/ocpi/2.2.1/receiver/sessions/BE/BEC/1", length, expecting))
            assert (await asyncio.wait_for(reader.readline(), 2)).startswith(status)
            writer.transport.abort()


@pytest.mark.parametrize("chunked", [False, True], ids=["Content-Length", "chunked"])
async def test_twenty_megabytes_stream_through_unchanged(hub: HubOnTest, chunked: bool) -> None:
    large = large_envelope(20)

    async def pieces() -> Any:
        for start in range(0, len(large), 100_000):
            yield large[start : start + 100_000]

    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp), aiohttp.ClientSession() as session:
        emsp.answer("PUT", "sessions", "RECEIVER", Reply(body=large))
        headers = {"Authorization": f"Token {cpo.hub_token}", "Content-Type": "application/json"}
        headers |= {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "TNM"}
        if not chunked:
            headers["Content-Length"] = str(len(large))
        url = cpo.hub_endpoints["sessions", "RECEIVER"] + "BE/BEC/1"
        async with session.put(url, data=pieces(), headers=headers) as response:
            assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
            assert int(response.headers["Content-Length"]) == len(large)
            assert await response.read() == large
        (received,) = emsp.received
        assert received.body == large
        assert ("Content-Length" in received.headers) != chunked


async def test_a_large_body_that_is_no_json_is_400(hub: HubOnTest) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        body = b"<xml>" + b"x" * MEGABYTE
        answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", body=body)
        expect.envelope(answer, 400, 2001)
        expect.untouched(emsp)


async def test_a_large_answer_that_is_no_envelope_is_4000(hub: HubOnTest) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.answer("GET", "tokens", "SENDER", Reply(body=b"<html>" + b"x" * MEGABYTE))
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.refusal(answer, 4000, to="BE-BEC")


# Content codings


async def test_a_compressed_answer_is_undone_for_who_did_not_ask_for_it(
    hub: HubOnTest, subtests: pytest.Subtests
) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        for coding, encode in (("gzip", gzip.compress), ("deflate", zlib.compress), ("x-gzip", gzip.compress)):
            for plain in (OK, large_envelope(2)):
                with subtests.test(coding, length=len(plain)):
                    coded = Reply(body=encode(plain), headers={"Content-Encoding": coding})
                    emsp.answer("GET", "tokens", "SENDER", coded)
                    headers = expect.IDS | {"Accept-Encoding": "identity"}
                    answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=headers)
                    expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=plain)
                    assert "Content-Encoding" not in answer.headers


async def test_a_compressed_answer_can_be_read_by_who_accepts_it(hub: HubOnTest) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        for plain in (OK, large_envelope(2)):
            body = gzip.compress(plain)
            emsp.answer("GET", "tokens", "SENDER", Reply(body=body, headers={"Content-Encoding": "gzip"}))
            headers = expect.IDS | {"Accept-Encoding": "gzip"}
            answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=headers)  # undoes it itself
            expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=plain)
            if plain == OK:
                assert (answer.headers["Content-Encoding"], answer.headers["Content-Length"]) == (
                    "gzip",
                    str(len(body)),
                )


CODED = {
    "plain": ("gzip", OK),
    "cut off": ("gzip", gzip.compress(OK)[:-9]),
    "HTML": ("gzip", gzip.compress(b"<html>")),
    "unknown": ("br", b"\x0b\x02\x80{}\x03"),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(OK))),
    "bomb": ("gzip", gzip.compress(b'{"status_code":1000,"a":"' + b"x" * 4 * MEGABYTE + b'"}')),
}


async def test_a_coding_that_cannot_be_undone_is_4000(start_hub: StartHub, subtests: pytest.Subtests) -> None:
    hub = await start_hub(max_body=2 * MEGABYTE)
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        for name, (coding, body) in CODED.items():
            for accepted in ("identity", "gzip, deflate, br"):
                with subtests.test(name, accepted=accepted):
                    emsp.answer("GET", "tokens", "SENDER", Reply(body=body, headers={"Content-Encoding": coding}))
                    headers = expect.IDS | {"Accept-Encoding": accepted}
                    try:
                        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=headers)
                    except aiohttp.ClientError:
                        assert name == "bomb"  # it was on its way already
                    else:
                        expect.refusal(answer, 4000, to="BE-BEC")


async def test_a_compressed_request_is_refused_in_words(hub: HubOnTest) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        headers = expect.IDS | {"Content-Encoding": "gzip"}
        body = gzip.compress(b"{}")
        answer = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=headers, body=body)
        expect.envelope(answer, 415, 2001)
        expect.untouched(emsp)


# Malformed requests


def request_head(
    platform: SimulatedPlatform, method: str, target: str, length: int | None = 0, further: bytes = b""
) -> bytes:
    """Give the head of a request to DE-TNM; a length of None means chunked."""
    framing = b"Transfer-Encoding: chunked" if length is None else b"Content-Length: %d" % length
    return (
        f"{method} {target} HTTP/1.1\r\nHost: hub.example\r\nAuthorization: Token {platform.hub_token}\r\n"
        "X-Request-ID: r-1\r\nX-Correlation-ID: c-1\r\nOCPI-to-country-code: DE\r\nOCPI-to-party-id: TNM\r\n"
        "OCPI-from-country-code: BE\r\nOCPI-from-party-id: BEC\r\n"
    ).encode("latin-1") + b"%b%b\r\n\r\n" % (further, framing)


NO_HTTP = [
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"hello\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /ocpi/versions HTTP/9.9\r\n\r\n",
    b"GET /ocpi/versions HTTP/1.1\r\nno colon\r\n\r\n",
    b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET /ocpi/versions HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
    b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(20_000)) + b"\r\n",
    b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


async def test_what_is_no_http_gets_an_envelope(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    """R-006."""
    async with nothing_left(hub):
        for data in NO_HTTP:
            with subtests.test(data[:60]):
                answer = await speak(hub, data)
                assert 400 <= answer.http_status < 500
                expect.envelope(answer, answer.http_status, 2000)


BROKEN_CHUNKS = [b"zz\r\n", b"5\r\nab", b"-1\r\n", b"5\r\nabcdefgh\r\n0\r\n\r\n"]


async def test_a_broken_chunked_body_is_not_forwarded(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with nothing_left(hub), registered(hub, p1(), p3()) as (cpo, emsp):
        for chunks in BROKEN_CHUNKS:
            with subtests.test(chunks):
                data = request_head(cpo, "PUT", "/ocpi/2.2.1/receiver/sessions/BE/BEC/1", None) + chunks
                answer = await speak(hub, data)
                assert 400 <= answer.http_status < 500
                expect.envelope(answer, answer.http_status, answer.json["status_code"])
                expect.untouched(emsp)


TOKENS = some.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=8).filter(lambda word: word != "HEAD")
METHODS = some.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"]) | TOKENS
WORDS = some.sampled_from(
    ["BE", "BEC", "LOC1", "-", "START_SESSION", "authorize", "charging_preferences", "%2F", "%", "..", "é", "a b"]
)
ANYTHING = some.text(some.characters(codec="latin-1", exclude_characters="\r\n\0"), max_size=12)
PATHS = some.one_of(
    some.builds(
        lambda version, interface, module, below, query: f"/ocpi/{version}/{interface}/{module}/{below}{query}",
        some.sampled_from(["2.2.1", "2.1.1", "versions"]),
        some.sampled_from(["sender", "receiver", "x"]),
        some.sampled_from([*dict.fromkeys(module for module, _ in EVERY_MODULE), "credentials"]),
        some.lists(WORDS | ANYTHING, max_size=4).map("/".join),
        some.sampled_from(["", "?", "?limit=x", "?response_url=http://x/", "?hub_alias=zz", "?é", "?a b"]),
    ),
    some.just("/ocpi/2.2.1/credentials"),
    ANYTHING.map(lambda text: "/" + text),
    some.sampled_from(["*", "http://hub.example/ocpi/versions", "hub.example:443", "//", "/ocpi", "?"]),
)
NAMES = some.sampled_from(
    [
        "OCPI-to-country-code",
        "OCPI-to-party-id",
        "OCPI-from-country-code",
        "OCPI-from-party-id",
        "X-Request-ID",
        "X-Correlation-ID",
        "Content-Type",
        "Content-Encoding",
        "Accept-Encoding",
        "Accept",
        "Expect",
        "Cookie",
        "X-Odd",
        "Connection",
        "Upgrade",
    ]
)
VALUES = some.sampled_from(["DE", "TNM", "BE", "BEC", "NL", "HUB", "XX", "", "gzip", "100-continue", "websocket"])
HEADERS = some.lists(some.tuples(NAMES, VALUES | ANYTHING), max_size=5)
BODIES = some.sampled_from(
    [b"", b"{}", b"[]", b"{", b"null", b'{"response_url":"http://127.0.0.1:1/"}', b'{"response_url":5}', b"\xff\xfe"]
) | some.binary(max_size=40)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
async def test_whatever_a_member_sends_the_answer_is_an_envelope(hub: HubOnTest) -> None:
    """R-006: the receiver's or the hub's, never a stack trace, HTML or silence; and never the hub's own failure."""
    loop = asyncio.get_running_loop()
    everything = SimulatedPlatform("asked", [("DE-TNM", "CPO"), ("DE-TNM", "EMSP")], modules=EVERY_MODULE)

    async def check(method: str, path: str, headers: list[tuple[str, str]], body: bytes, is_usual: bool) -> None:
        usual = request_head(cpo, method, path, len(body)) if is_usual else None
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers).encode("latin-1")
        if usual is None:
            data = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Token {cpo.hub_token}\r\n".encode("latin-1")
            data += lines + b"Content-Length: %d\r\n\r\n" % len(body)
        else:
            first, _, rest = usual.partition(b"\r\n")
            data = first + b"\r\n" + lines + rest
        answer = await speak(hub, data + body)
        assert answer.http_status != 500, data
        expect.envelope(answer, answer.http_status, answer.json["status_code"])

    async with registered(hub, p1(), everything) as (cpo, _):

        @hypothesis_settings(max_examples=150, deadline=None, database=None)
        @given(METHODS, PATHS, HEADERS, BODIES, some.booleans())
        def property_of_every_request(
            method: str, path: str, headers: list[tuple[str, str]], body: bytes, is_usual: bool
        ) -> None:
            asyncio.run_coroutine_threadsafe(check(method, path, headers, body, is_usual), loop).result(10)

        await asyncio.to_thread(property_of_every_request)
