"""`python -m tests.bench.fill_mirror --locations 1000000`: fills a hub's mirror with made-up locations.

Into the database of the settings in OCPI_HUB_*, or the embedded one in OCPI_HUB_DATA_DIR; never into one in use by real
members. They belong to the CPOs that the hub knows, or to --owners. Position and number are kept as the hub keeps them.
"""

import argparse
import asyncio
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from config.ocpi import PartyID, format_time
from config.settings import read_settings
from hub.database import Database
from hub.simulator.objects import connector, evse, location
from parties.store import Connection

_BATCH = 10_000
_DAYS = 30
"""The last one was received just now, the first so long ago."""
_COLUMNS = (
    "module",
    "owner",
    "object_key",
    "position",
    "platform_id",
    "version",
    "path",
    "body",
    "evse_uids",
    "last_updated",
    "received_at",
    "listed_at",
)
_CITIES = ("Gent", "Göteborg", "Kraków", "Lyon", "Rotterdam", "Saarbrücken", "Salzburg", "Zaragoza")


def make_body(owner: PartyID) -> Callable[[str, int, datetime], bytes]:
    """Give what makes the body of one owner's location of about 2 kB, from its id, a number and last_updated."""
    evses = [evse(owner, f"@ID@-{n}", connectors=[connector("1"), connector("2", format="CABLE")]) for n in (1, 2)]
    made = location(owner, "@ID@", name="@CITY@ @NUMBER@", city="@CITY@", address="Stationsplein @NUMBER@", evses=evses)
    made["coordinates"] = {"latitude": "@LATITUDE@", "longitude": "@LONGITUDE@"}
    parts = orjson.dumps(made).replace(made["last_updated"].encode(), b"@UPDATED@").split(b"@")

    def fill(location_id: str, number: int, last_updated: datetime) -> bytes:
        values = {
            b"ID": location_id.encode(),
            b"CITY": _CITIES[number % len(_CITIES)].encode(),
            b"NUMBER": b"%d" % (number % 400),
            b"LATITUDE": b"%.6f" % (36 + number % 24_000_007 / 1e6),
            b"LONGITUDE": b"%.6f" % (-9 + number % 35_000_011 / 1e6),
            b"UPDATED": format_time(last_updated).encode(),
        }
        return b"".join(values.get(part, part) for part in parts)

    return fill


def make_rows(
    owners: Sequence[tuple[int, PartyID]], positions: Sequence[int], begin: datetime, step: timedelta
) -> Iterator[tuple[Any, ...]]:
    """Give rows for these positions, the first received at `begin` and each other a step later.

    Owners take turns by blocks of different sizes, as lists that are read one after the other do.
    """
    bodies = [make_body(owner) for _, owner in owners]
    for index, position in enumerate(positions):
        received_at = begin + index * step
        which = (position // 250) % len(owners) if position % 3 else position % len(owners)
        platform_id, owner = owners[which]
        location_id = f"LOC{position:08}"
        last_updated = received_at - timedelta(seconds=random.expovariate(1 / 86_400))
        yield (
            "locations",
            str(owner).upper(),
            location_id,
            position,
            platform_id,
            "2.2.1",
            f"{owner.country_code}/{owner.party_id}/{location_id}",
            bodies[which](location_id, position, last_updated),
            [f"{location_id}-1", f"{location_id}-2"],
            last_updated,
            received_at,
            received_at,
        )


async def fill(
    connection: Connection, owners: Sequence[tuple[int, PartyID]], number: int, told: Callable[[int], None]
) -> None:
    """Add locations by COPY; `told` hears how many were added each time."""
    begin, step = datetime.now(UTC) - timedelta(days=_DAYS), timedelta(days=_DAYS) / number
    for start in range(0, number, _BATCH):
        size = min(_BATCH, number - start)
        positions = [
            row[0]
            for row in await connection.fetch("SELECT nextval('mirror_position') FROM generate_series(1, $1)", size)
        ]
        rows = list(make_rows(owners, positions, begin + start * step, step))
        async with connection.transaction():
            await connection.copy_records_to_table("mirror_object", records=rows, columns=_COLUMNS, timeout=120)
            await connection.executemany(
                "INSERT INTO mirror_count (module, owner, number) VALUES ('locations', $1, $2)"
                " ON CONFLICT (module, owner, addressee) DO UPDATE SET number = mirror_count.number + EXCLUDED.number",
                sorted(Counter(row[1] for row in rows).items()),
            )
        told(size)
    # What autovacuum does a little later by itself: statistics, and which pages an index alone answers for.
    await connection.execute("VACUUM (ANALYZE) mirror_object", timeout=600)


async def find_owners(connection: Connection) -> list[tuple[int, PartyID]]:
    """Give the platform and party of every CPO that the hub knows."""
    rows = await connection.fetch(
        "SELECT platform_id, country_code, party_id FROM party WHERE role = 'CPO' ORDER BY country_code, party_id"
    )
    return [(row["platform_id"], PartyID(row["country_code"], row["party_id"])) for row in rows]


async def fill_shown(connection: Connection, owners: Sequence[tuple[int, PartyID]], number: int) -> None:
    """Fill with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task(f"Locations of {len(owners)} owners", total=number)
        await fill(connection, owners, number, lambda size: progress.advance(task, size))


async def run(number: int, named: Sequence[PartyID]) -> int:
    """Fill the database of the settings; exit code 2 when there is nobody to own the locations."""
    async with Database(read_settings()) as database, database.connection() as connection:
        owners = [(0, party) for party in named] or await find_owners(connection)
        if not owners:
            print("The hub knows no CPO. Let one register, or name owners: --owners NL-AMB,BE-BEC", file=sys.stderr)
            return 2
        await fill_shown(connection, owners, number)
    return 0


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fill_mirror", description=__doc__)
    parser.add_argument("--locations", type=int, default=1_000_000)
    parser.add_argument("--owners", default="", help="parties, comma-separated; default: the CPOs that the hub knows")
    chosen = parser.parse_args()
    named = [PartyID.parse(part) for part in chosen.owners.split(",") if part]
    sys.exit(asyncio.run(run(chosen.locations, named)))


if __name__ == "__main__":
    main()
