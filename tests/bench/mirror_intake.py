"""What an EVSE status costs in the mirror, in both layouts that were candidates for it.

`python -m tests.bench.mirror_intake`: broadcasts PATCHes of EVSEs of 20 kB locations through the mirror's intake into
an embedded PostgreSQL that waits for its disk as in service. "parts" is the hub's layout: changed EVSEs are small rows
beside their location. "whole" writes the location anew each time.
"""

import argparse
import asyncio
import itertools
import json
import random
import resource
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from config.ocpi import PartyID
from config.operations import OperationIndex
from hub.database import Database
from hub.embedded_postgres import EmbeddedPostgres
from hub.mirror import BroadcastDraft, Mirror, intake
from parties.model import Platform, Role
from routing.merge import compose
from routing.message import Message, MessageIDs, read_target
from routing.objects import read_change
from tests.hubs import settings_for

EVSES = 20
OPERATIONS = OperationIndex()
CPO = PartyID("NL", "ABC")
PLATFORM = Platform(id=1, name="", state="registered", roles=(Role(CPO, "CPO"),))
STATUSES = ("AVAILABLE", "CHARGING", "BLOCKED", "OUTOFORDER")


@dataclass
class Figures:
    """What one run came to."""

    layout: str
    number: int
    seconds: float
    python_us: float
    postgres_us: float
    wal_bytes: float
    median_ms: float
    max_ms: float

    def __str__(self) -> str:
        return (
            f"{self.layout:7} {self.number / self.seconds:9.0f} {self.python_us:10.0f} {self.postgres_us:12.0f} "
            f"{self.wal_bytes:10.0f} {self.median_ms:9.1f} {self.max_ms:9.1f}"
        )


def a_location(number: int) -> bytes:
    """A location of about 20 kB."""
    evses = [
        {
            "uid": f"NL*ABC*E{number}*{n}",
            "evse_id": f"NL*ABC*E{number}*{n}",
            "status": "AVAILABLE",
            "capabilities": ["RESERVABLE", "REMOTE_START_STOP_CAPABLE", "RFID_READER"],
            "connectors": [
                {
                    "id": str(c),
                    "standard": "IEC_62196_T2",
                    "format": "SOCKET",
                    "power_type": "AC_3_PHASE",
                    "max_voltage": 230,
                    "max_amperage": 32,
                    "tariff_ids": ["AC-1", "AC-2"],
                    "last_updated": "2026-01-01T00:00:00Z",
                }
                for c in range(3)
            ],
            "directions": [{"language": "en", "text": "Behind the station, on the left-hand side. " * 2}],
            "last_updated": "2026-01-01T00:00:00Z",
        }
        for n in range(EVSES)
    ]
    location = {"country_code": "NL", "party_id": "ABC", "id": f"LOC{number}", "publish": True, "evses": evses}
    return json.dumps(location | {"last_updated": "2026-01-01T00:00:00Z"}).encode()


def a_push(method: str, path: str, body: bytes) -> tuple[Any, BroadcastDraft]:
    """A broadcast as the road gives it to the mirror."""
    target = read_target(f"/ocpi/2.2.1/receiver/locations/{path}")
    operation = OPERATIONS.find("2.2.1", "RECEIVER", "locations", method, target.segments)
    message = Message(operation, target, PLATFORM, CPO, None, MessageIDs("request", "correlation"))
    change = read_change(message, body, datetime.now(UTC))
    return change, BroadcastDraft("NL-ABC", operation.label, path, "", "application/json", "correlation")


@contextmanager
def whole_bodies() -> Iterator[None]:
    """Let the intake write each changed location as one body, the layout that lost."""
    write = intake._write

    async def write_whole(connection: Any, objects: Any, listed_before: Any) -> None:
        for stored in objects:
            if stored.changed_parts:
                stored.body = compose(stored.body, stored.parts)
                stored.has_new_body = True
                stored.parts.clear()
                stored.changed_parts.clear()
        await write(connection, objects, listed_before)

    with mock.patch.object(intake, "_write", write_whole):
        yield


def postgres_seconds(data_dir: Path) -> float:
    """CPU time of every process of the server so far."""
    pid = int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])
    postmaster = psutil.Process(pid)
    total = 0.0
    for process in (postmaster, *postmaster.children(recursive=True)):
        times = process.cpu_times()
        total += times.user + times.system
    return total


def own_seconds() -> float:
    """CPU time of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def measure(
    mirror: Mirror, database: Database, data_dir: Path, layout: str, locations: int, rate: int, seconds: float
) -> Figures:
    """Push at this rate, or as fast as 256 senders can with a rate of 0."""
    clock, moments = time.perf_counter, itertools.count()
    waited: list[float] = []
    start_at = datetime(2026, 2, 1, tzinfo=UTC)
    pick = random.Random(1)  # noqa: S311

    async def push() -> None:
        number, evse = pick.randrange(locations), pick.randrange(EVSES)
        moment = (start_at + timedelta(milliseconds=next(moments))).isoformat(timespec="milliseconds")
        body = json.dumps({"status": pick.choice(STATUSES), "last_updated": moment[:-6] + "Z"}).encode()
        began = clock()
        await mirror.take_broadcast(*a_push("PATCH", f"NL/ABC/LOC{number}/NL*ABC*E{number}*{evse}", body))
        waited.append(clock() - began)

    async def push_until(end: float) -> None:
        while clock() < end:
            await push()

    async def wal() -> int:
        async with database.connection() as connection:
            return int(await connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn"))

    own, postgres, wal_before, began = own_seconds(), postgres_seconds(data_dir), await wal(), clock()
    async with asyncio.TaskGroup() as group:
        if rate:
            for tick in range(int(seconds * 100)):
                for _ in range(rate // 100):
                    group.create_task(push())
                await asyncio.sleep(max(0.0, began + (tick + 1) / 100 - clock()))
        else:
            for _ in range(256):
                group.create_task(push_until(began + seconds))
    took, number = clock() - began, len(waited)
    return Figures(
        layout,
        number,
        took,
        (own_seconds() - own) / number * 1e6,
        (postgres_seconds(data_dir) - postgres) / number * 1e6,
        (await wal() - wal_before) / number,
        statistics.median(waited) * 1000,
        max(waited) * 1000,
    )


async def run(layout: str, locations: int, seconds: float, rate: int) -> None:
    """Fill a new database, and measure in it."""
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-bench-"))
    folder.chmod(0o755)
    data_dir = folder / "data"
    try:
        async with EmbeddedPostgres(data_dir) as dsn:
            settings = settings_for(dsn)
            async with Database(settings) as database:
                mirror = Mirror(settings, database)
                for start in range(0, locations, 200):
                    numbers = range(start, min(start + 200, locations))
                    pushes = [a_push("PUT", f"NL/ABC/LOC{n}", a_location(n)) for n in numbers]
                    await asyncio.gather(*(mirror.take_broadcast(*push) for push in pushes))
                async with database.connection() as connection:
                    await connection.execute("ANALYZE")
                    await connection.execute("CHECKPOINT")
                for each_rate in (0, rate):
                    figures = await measure(mirror, database, data_dir, layout, locations, each_rate, seconds)
                    print(figures, f"   {'as fast as it goes' if not each_rate else f'{each_rate} a second wanted'}")
                await mirror.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def main() -> None:
    """Measure both layouts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layout", choices=["parts", "whole"], action="append")
    parser.add_argument("--locations", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--rate", type=int, default=1000)
    given = parser.parse_args()
    print(f"{given.locations} locations of {len(a_location(1)) / 1000:.1f} kB with {EVSES} EVSEs")
    print("layout    PATCH/s Python µs  Postgres µs  WAL bytes median ms    max ms")
    for layout in given.layout or ["parts", "whole"]:
        if layout == "whole":
            with whole_bodies():
                await run(layout, given.locations, given.seconds, given.rate)
        else:
            await run(layout, given.locations, given.seconds, given.rate)


if __name__ == "__main__":
    asyncio.run(main())
