"""The benchmark must notice what is wrong before it times it, and its table and chart must say what was measured."""

import asyncio
import importlib
import json
import os
import xml.etree.ElementTree as ET
from dataclasses import replace

import psutil
import pytest

from hub.database import Database
from parties.tokens import SecretKeys
from tests.bench import report
from tests.bench.chart import Bar, draw
from tests.bench.forward import CPO, EMSP, two_members
from tests.bench.load import Ask, IdleConnections, send_for, send_number
from tests.bench.members import Member, Wish, add_members, party_name
from tests.bench.processes import Measured
from tests.bench.requests import get_session, push_session, put_session, session
from tests.bench.stage import Outcome, WrongAnswer, check
from tests.bench.targets import ROWS
from tests.bench.upstream import SIZES, Upstream
from tests.hubs import SECRET_KEY, HubOnTest, settings_for

MEMBER = Member(1, (CPO,), "Token YQ==", "Token Yg==")
ASK = get_session(MEMBER, CPO, EMSP)


@pytest.mark.parametrize("size", SIZES)
async def test_load_takes_the_receivers_answers_of_every_size_for_right(size: str) -> None:
    upstream = Upstream()
    (port,) = await upstream.listen()
    count = await send_number(3, port, [get_session(MEMBER, CPO, EMSP, size)])
    upstream.close()
    assert (count.answers, count.failures, upstream.requests, len(count.seconds)) == (3, 0, 3, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        replace(ASK, body=ASK.body[:-1] + b"!"),
        replace(ASK, body=ASK.body[1:]),
        Ask(ASK.request, start=b"["),
        replace(ASK, body=b""),
    ],
)
async def test_an_answer_that_differs_in_one_byte_is_counted_as_wrong(wrong: Ask) -> None:
    upstream = Upstream()
    (port,) = await upstream.listen()
    count = await send_for(0.05, port, [[wrong]], 2)
    upstream.close()
    assert count.failures
    assert not count.answers
    with pytest.raises(WrongAnswer, match="wrong answers"):
        check(count, "it")


async def test_a_connection_that_is_closed_is_a_wrong_answer() -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(close, "127.0.0.1", 0)
    count = await send_number(1, server.sockets[0].getsockname()[1], [ASK])
    server.close()
    assert (count.answers, count.failures) == (0, 1)


async def test_the_receiver_counts_whole_requests_however_they_are_cut() -> None:
    upstream = Upstream()
    (port,) = await upstream.listen()
    request = put_session(MEMBER, CPO, EMSP).request
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in (request + request[:100], request[100:700], request[700:]):
        writer.write(piece)
        await writer.drain()
    for _ in range(2):
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(SIZES["S1"])
    writer.close()
    await writer.wait_closed()
    upstream.close()
    assert upstream.requests == 2
    assert upstream.last == request


def test_each_push_of_a_session_is_news() -> None:
    ask = push_session(MEMBER, CPO, EMSP, "S1")
    first, pushed = (json.loads(each) for each in (session(CPO, "S1"), ask.next_request().partition(b"\r\n\r\n")[2]))
    assert {field for field in first if pushed[field] != first[field]} == {"kwh", "last_updated"}
    assert len(ask.sent[-1]) == len(ask.request)


async def test_members_of_the_bench_are_members_to_the_hub(database_url: str) -> None:
    upstream = Upstream()
    (port,) = await upstream.listen()
    settings = settings_for(database_url, network="closed")
    async with Database(settings) as database:
        more = [Wish((f"{party_name(n)}:CPO",), {}) for n in range(3)]
        cpo, emsp, *_ = await add_members(database, SecretKeys([SECRET_KEY]), two_members(port) + more)
    hub = HubOnTest(settings)
    await hub.start()
    count = await send_number(2, hub.settings.port, [get_session(cpo, CPO, EMSP), put_session(cpo, CPO, EMSP)])
    idle = IdleConnections()
    await idle.open(3, hub.settings.port, get_session(cpo, CPO, EMSP))
    assert (idle.count.answers, idle.open_ones) == (3, 3)
    idle.close()
    await hub.stop()
    upstream.close()
    assert (count.answers, count.example) == (2, b"")
    assert f"Authorization: {emsp.hub_authorization}".encode() in upstream.last


def test_cpu_time_of_a_process_is_read_finer_than_the_clock_tick() -> None:
    measured = Measured(psutil.Process(os.getpid()))
    before = measured.cpu_seconds()
    sum(range(100_000))
    assert measured.cpu_seconds() > before
    assert measured.memory_mb() > 5


def test_every_row_has_a_measurement_and_reachable_targets() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)
    for row in ROWS:
        assert callable(importlib.import_module(f"tests.bench.{row.measurement}").measure)
        assert row.hope <= row.target < row.ci_limit
        assert [row.state(value) for value in (row.hope, row.target, row.target * 1.01)] == [
            "hoped for",
            "met" if row.target > row.hope else "hoped for",
            "missed",
        ]


def test_the_chart_is_well_formed_and_shows_every_row() -> None:
    bars = [Bar(row, row.target * 0.5, row.target, row.target * 9) for row in ROWS]
    root = ET.fromstring(draw(bars, "A & B <machine>"))  # noqa: S314
    text = "".join(root.itertext())
    assert all(row.title in text for row in ROWS)


def test_the_table_gives_the_median_of_the_rounds() -> None:
    outcomes: dict[str, Outcome | str] = {"forward": Outcome({"get_proxy": [0.2, 0.9, 0.3]}), "pages": "no answer"}
    (bar,) = report.bars_of(
        {name: v for o in outcomes.values() if isinstance(o, Outcome) for name, v in o.values.items()}
    )
    assert (bar.low, bar.median, bar.high) == (0.2, 0.3, 0.9)
    assert "**0.30 x** (0.20 x to 0.90 x) | met |" in report.markdown([bar])
