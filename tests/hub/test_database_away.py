"""The database goes away and comes back: what goes on, what is refused, and that nobody has to restart anything."""

import asyncio
import itertools
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from hub import aliases
from hub.database import Database, DatabaseAway
from hub.embedded_postgres import EmbeddedPostgres
from hub.simulator import Answer, SimulatedPlatform
from parties import store
from parties.contracts import Rule, Selector
from tests.conftest import dsn_of
from tests.hub.mirror.cast import a_change, a_draft, a_location, a_mirror, a_push, a_session, broadcast
from tests.hubs import HubOnTest, settings_for
from tests.waiting import until

_numbers = itertools.count()
MOMENT = "2024-01-01T00:00:00Z"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A data directory for this file's own server."""
    made = Path(tempfile.mkdtemp(prefix="ocpi-hub-away-"))
    made.chmod(0o755)
    yield made / "data"
    give_up = time.monotonic() + 20
    while (made / "data" / "postgres" / "postmaster.pid").exists() and time.monotonic() < give_up:
        time.sleep(0.02)
    shutil.rmtree(made, ignore_errors=True)


class Server:
    """A PostgreSQL that can be stopped and started. It runs for as long as it has a user, which the hub is not."""

    def __init__(self, data_dir: Path) -> None:
        self._postgres = EmbeddedPostgres(data_dir)
        self.dsn = ""

    async def start(self) -> None:
        self.dsn = await self._postgres.acquire()
        connection = await asyncpg.connect(self.dsn)
        await connection.execute("ALTER SYSTEM SET fsync = off")  # nothing here need survive a power cut
        await connection.execute("SELECT pg_reload_conf()")
        await connection.close()

    async def leave(self) -> None:
        await self._postgres.release()

    async def stop(self) -> None:
        await self.leave()
        await until(self._is_gone, "the server has stopped", seconds=20)

    async def _is_gone(self) -> bool:
        try:
            (await asyncpg.connect(self.dsn)).terminate()
        except OSError:
            return True
        except asyncpg.PostgresError:
            pass  # it is about to
        return False


@pytest.fixture
async def server(folder: Path) -> AsyncIterator[Server]:
    """A running server, which ends soon after its last test."""
    running = Server(folder)
    await running.start()
    yield running
    await running.leave()


@pytest.fixture
async def own_url(server: Server) -> str:
    """A database of the test's own on that server."""
    name = f"away_{next(_numbers)}"
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
    finally:
        await connection.close()
    return dsn_of(server.dsn, name)


@pytest.fixture
async def hub(own_url: str) -> AsyncIterator[HubOnTest]:
    """A hub on that database."""
    running = HubOnTest(settings_for(own_url))
    await running.start()
    yield running
    await running.stop()


@asynccontextmanager
async def members(hub: HubOnTest) -> AsyncIterator[tuple[SimulatedPlatform, SimulatedPlatform]]:
    """A CPO and an eMSP, registered."""
    async with (
        SimulatedPlatform("Bec", [("BE-BEC", "CPO")]) as cpo,
        SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")]) as emsp,
    ):
        await hub.register(cpo)
        await hub.register(emsp)
        cpo.clear()
        emsp.clear()
        yield cpo, emsp


async def ready(hub: HubOnTest) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(f"{hub.ops_url}/ready") as response:
        return response.status, await response.json()


async def says(hub: HubOnTest, status: int, word: str) -> bool:
    given = await ready(hub)
    return (given[0], given[1]["status"]) == (status, word)


async def start_session(emsp: SimulatedPlatform, response_url: str) -> Answer:
    token = {
        "country_code": "DE",
        "party_id": "TNM",
        "uid": "012345678",
        "type": "RFID",
        "contract_id": "DE8ACC12E46L89",
        "issuer": "Tnm",
        "valid": True,
        "whitelist": "ALWAYS",
        "last_updated": MOMENT,
    }
    body = {"response_url": response_url, "token": token, "location_id": "LOC1"}
    return await emsp.call("POST", "commands", "RECEIVER", "START_SESSION", to="BE-BEC", body=body)


async def test_routing_goes_on_while_the_database_is_away_and_all_else_comes_back_with_it(
    server: Server, hub: HubOnTest
) -> None:
    async with members(hub) as (cpo, emsp), SimulatedPlatform("New", [("FR-NEW", "CPO")]) as new:
        assert await says(hub, 200, "ready")
        assert (await ready(hub))[1]["database"] == "up"
        invited = await hub.invite("FR-NEW:CPO")
        generation = hub.hub.live.table.generation
        await server.stop()
        await until(lambda: says(hub, 200, "degraded"), "the hub notices", seconds=5)
        assert await ready(hub) == (200, {"status": "degraded", "database": "away"})

        # Direct routing in both directions, a new response_url and the result that comes back through it.
        assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).is_success
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success
        emsp.clear()
        assert (await start_session(emsp, emsp.new_response_url("commands", "START_SESSION"))).is_success
        result = await emsp.wait_for(lambda received: received.method == "POST")
        assert result.path.startswith("/ocpi/2.2.1/sender/commands/START_SESSION/")
        await cpo.settle()
        assert [answer.status_code for answer in cpo.results] == [1000]

        # Without OCPI-to headers, too, where the content names the receiver; whom the mirror would have to tell waits.
        driver = {"country_code": "DE", "party_id": "TNM", "uid": "012345678"}
        session = {"id": "101", "cdr_token": driver, "last_updated": MOMENT}
        put = await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", body=session)
        assert put.is_success, put.body
        patch = await cpo.call("PATCH", "sessions", "RECEIVER", "BE/BEC/101", body={"kwh": 1})
        assert (patch.http_status, patch.status_code) == (200, 3000)

        # A response_url too long to be sealed would need a stored row: nothing is forwarded.
        cpo.clear()
        too_long = emsp.new_response_url("commands", "START_SESSION") + "/" + "x" * 150
        refused = await start_session(emsp, too_long)
        assert (refused.http_status, refused.status_code) == (200, 3000)
        assert cpo.received == []

        # Registration, changes and leaving wait; nothing is half done.
        for method, member in (("PUT", cpo), ("DELETE", emsp)):
            answer = await member.call(method, "credentials", "SENDER", body=member.credentials(member.own_token or ""))
            assert (answer.http_status, answer.status_code) == (200, 3000)
        posted = await new.register_at(hub.versions_url, invited)
        assert (posted.http_status, posted.status_code) == (200, 3000)
        unknown = await emsp.call("GET", "credentials", "SENDER", headers={"Authorization": "Token nobody"})
        assert unknown.http_status == 503  # whether it is unknown cannot be found out now
        assert (await emsp.call("GET", "credentials", "SENDER")).is_success

        await server.start()
        await until(lambda: says(hub, 200, "ready"), "the hub is back", seconds=5)
        patch = await cpo.call("PATCH", "sessions", "RECEIVER", "BE/BEC/101", body={"kwh": 1, "last_updated": MOMENT})
        assert patch.sender == "DE-TNM"  # known since the database is back, though it was put before
        assert hub.hub.live.table.generation == generation
        assert (await start_session(emsp, too_long)).is_success
        assert (await new.register_at(hub.versions_url, invited)).is_success
        assert (await cpo.update_at_hub()).is_success
        assert (await emsp.call("GET", "locations", "SENDER", to="FR-NEW")).is_success
        # It is told of changes again, not only polling.
        connection = await asyncpg.connect(hub.settings.database_url.get_secret_value())  # type: ignore[union-attr]
        await connection.execute("UPDATE platform SET name = 'renamed'")
        await connection.close()
        await until(lambda: {str(each) for each in hub.hub.live.table.platforms.values()} == {"renamed"}, seconds=2)


async def test_a_contract_begins_on_its_date_while_the_database_is_away(server: Server, hub: HubOnTest) -> None:
    async with members(hub) as (cpo, _):
        begin = datetime.now(UTC) + timedelta(seconds=2)
        refusal = Rule(Selector(), Selector(), "*", allowed=False, valid_from=begin)
        async with hub.hub.database.changing() as connection:
            await store.add_contracts(connection, [refusal])
        await until(lambda: hub.hub.live.table.contracts.next_change == begin, "the hub knows the date")
        await server.stop()
        await until(lambda: hub.hub.live.is_degraded, "the hub notices")
        await until(lambda: hub.hub.live.table.contracts.next_change is None, "the date has come")
        assert datetime.now(UTC) >= begin
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).status_code == 4003
        await server.start()


async def test_a_hub_that_starts_without_the_database_is_ready_once_it_is_there(server: Server, own_url: str) -> None:
    await server.stop()
    hub = HubOnTest(settings_for(own_url))
    starting = asyncio.create_task(hub.start())
    try:
        await until(lambda: is_up(hub), "it answers")
        assert await ready(hub) == (503, {"status": "starting", "database": "away"})
        async with SimulatedPlatform("Bec", [("BE-BEC", "CPO")]) as cpo:
            early = await cpo.request("GET", hub.versions_url, sender=None, headers={"Authorization": "Token x"})
            assert (early.http_status, early.status_code) == (503, 3000)
            assert early.headers["Retry-After"] == "1"
            await server.start()
            await until(lambda: says(hub, 200, "ready"), "it is ready", seconds=5)
            await hub.register(cpo)
    finally:
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        await hub.stop()


async def is_up(hub: HubOnTest) -> bool:
    try:
        await ready(hub)
    except aiohttp.ClientConnectionError:
        return False
    return True


async def test_a_hub_that_drains_is_not_ready_but_alive(hub: HubOnTest) -> None:
    async with members(hub) as (cpo, emsp):
        cpo.misbehave("slow", seconds=0.6)
        under_way = asyncio.create_task(emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        await cpo.wait_for(1)
        stopping = asyncio.create_task(hub.stop())
        await until(lambda: says(hub, 503, "draining"), "it drains")
        async with aiohttp.ClientSession() as session, session.get(f"{hub.ops_url}/health") as response:
            assert (response.status, await response.json()) == (200, {"status": "ok"})
        assert (await under_way).is_success
        await stopping


async def test_a_connection_cut_in_the_middle_of_a_query_is_the_database_being_away(own_url: str) -> None:
    """What PostgreSQL says when its operator ends a session is no fault of the request."""
    async with Database(settings_for(own_url)) as database:

        async def query() -> None:
            async with database.connection() as connection:
                await connection.execute("SELECT pg_sleep(60)")

        asking = asyncio.create_task(query())
        other = await asyncpg.connect(own_url)
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'"
        await until(lambda: other.fetchval(cut), "the query is cut")
        await other.close()
        with pytest.raises(DatabaseAway):
            await asking
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT 1") == 1


async def test_a_server_without_a_free_connection_is_the_database_being_away(own_url: str) -> None:
    async with Database(settings_for(own_url)) as database:
        name = own_url.partition("?")[0].rpartition("/")[2]
        admin = await asyncpg.connect(own_url)
        await admin.execute("CREATE ROLE member LOGIN CONNECTION LIMIT 0")
        await admin.execute(f"GRANT ALL ON DATABASE {name} TO member")
        await admin.close()
        limited = Database(settings_for(own_url.replace("//hub@", "//member@")))
        limited._pool = await asyncpg.create_pool(own_url.replace("//hub@", "//member@"), min_size=0, max_size=1)
        try:
            with pytest.raises(DatabaseAway):
                async with limited.connection():
                    pass
        finally:
            await limited.close()
        async with database.connection() as connection:
            await connection.execute(f"REVOKE ALL ON DATABASE {name} FROM member")
            await connection.execute("DROP ROLE member")


async def test_an_alias_that_is_stored_is_3000_while_the_database_is_away_and_404_when_it_is_not_there(
    server: Server, hub: HubOnTest
) -> None:
    async with members(hub) as (cpo, _):
        url = f"{hub.url}/ocpi/2.2.1/sender/commands/-/{aliases._STORED}{'0' * 32}"
        missing = await cpo.request("POST", url, body={"result": "ACCEPTED"})
        assert (missing.http_status, missing.status_code) == (404, 2001)
        await server.stop()
        away = await cpo.request("POST", url, body={"result": "ACCEPTED"})
        assert (away.http_status, away.status_code) == (200, 3000)
        await server.start()


async def test_the_mirror_refuses_broadcasts_and_keeps_what_was_addressed_until_the_database_is_back(
    server: Server, own_url: str
) -> None:
    async with a_mirror(own_url, runs=True) as mirror:
        first = await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location())
        await server.stop()
        waiting = [a_change(f"PUT locations/NL/ABC/LOC{n}", a_location(f"LOC{n}")) for n in range(3)]
        given = await asyncio.gather(
            *(mirror.take_broadcast(change, a_draft()) for change in waiting), return_exceptions=True
        )
        assert [type(each) for each in given] == [DatabaseAway] * 3
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session(), to="DE-TNM"))
        for asking in (mirror.known("sessions", "S1"), mirror.last_broadcast(), mirror.take_pulled(waiting)):
            with pytest.raises(DatabaseAway):
                await asking
        assert (mirror.pending, mirror.dropped) == (1, 0)
        await server.start()
        await until(lambda: mirror.pending == 0, "what waited is stored", seconds=10)
        assert len(await mirror.known("sessions", "S1")) == 1
        again = await broadcast(mirror, "PUT locations/NL/ABC/LOC1", a_location(minutes=1))
        assert again.previous == first.id


async def test_a_mirror_that_ends_without_its_database_does_not_hold_up_the_hub(server: Server, own_url: str) -> None:
    async with a_mirror(own_url) as mirror:
        await server.stop()
        mirror.take_addressed(a_push("PUT sessions/NL/ABC/S1", a_session(), to="DE-TNM"))
        await mirror.close()
        assert mirror.pending == 1
    await server.start()


async def test_who_goes_while_the_database_is_away_is_offline_and_told_of_once_it_is_back(
    server: Server, own_url: str
) -> None:
    hub = HubOnTest(settings_for(own_url, silence=0.5))
    await hub.start()
    try:
        async with (
            SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")], client_info=True) as emsp,
            SimulatedPlatform("Bec", [("BE-BEC", "CPO")]) as cpo,
        ):
            await hub.register(emsp)
            await hub.register(cpo)

            def told(status: str) -> bool:
                copies = emsp.store.copies["hubclientinfo"]
                return [info["status"] for info in copies.values()] == [status]

            await until(lambda: told("CONNECTED"), "it is told")
            await server.stop()
            await until(lambda: says(hub, 200, "degraded"), "the hub notices", seconds=5)
            await cpo.stop()
            answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
            assert answer.status_code == 4003
            await server.start()
            await until(lambda: told("OFFLINE"), "it is told that the other is offline", seconds=20)
            await cpo.start()
            await until(lambda: told("CONNECTED"), "it is told that the other is back", seconds=20)
    finally:
        await hub.stop()
