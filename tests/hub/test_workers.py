"""`ocpi-hub serve` with several processes: they share the work, die, are renewed and end without losing a request."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import asyncpg
import psutil
import pytest
from prometheus_client.samples import Sample

from config.settings import read_settings
from hub.metric_families import GAUGES, merge
from hub.metrics import Metrics
from hub.simulator import Reply, SimulatedPlatform, envelope
from hub.workers.parent import Parent
from hub.workers.started import Worker
from hub.workers.totals import Totals
from hub.workers.whole_lines import WholeLines
from routing.table import make_table
from tests.commands import COMMAND, Serving, assert_plain_failure, environment, run, serving
from tests.hub.test_metrics import samples, value
from tests.hubs import SECRET_KEY
from tests.waiting import until

BEC, TNM = ("BE-BEC", "CPO"), ("DE-TNM", "EMSP")


def workers_of(hub: Serving) -> list[psutil.Process]:
    """Give the processes that serve members."""
    found = []
    for child in psutil.Process(hub.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if "hub.workers.worker" in child.cmdline():
                found.append(child)
    return found


async def scrape(hub: Serving) -> list[Sample]:
    async with aiohttp.ClientSession() as http, http.get(f"{hub.ops_url}/metrics") as answer:
        return samples(await answer.text())


async def readiness(hub: Serving) -> tuple[int, dict[str, object]]:
    async with aiohttp.ClientSession() as http, http.get(f"{hub.ops_url}/ready") as answer:
        return answer.status, json.loads(await answer.text())


async def has_workers(hub: Serving, number: int) -> bool:
    return (await readiness(hub))[1].get("workers") == number


def counted(found: list[Sample]) -> float:
    """Give how many requests were forwarded, as the metrics say."""
    return sum(
        each.value
        for each in found
        if each.name == "ocpi_hub_requests_total" and each.labels.get("scenario") == "direct"
    )


async def all_started(hub: Serving, number: int) -> None:
    await until(lambda: sum(line.get("action") == "started" for line in hub.lines) >= number, "all have started")


@contextlib.asynccontextmanager
async def members(hub: Serving, database_url: str) -> AsyncIterator[tuple[SimulatedPlatform, SimulatedPlatform]]:
    """Two members of the hub."""
    async with SimulatedPlatform("Bec", [BEC]) as cpo, SimulatedPlatform("Tnm", [TNM]) as emsp:
        for platform, role in ((cpo, "BE-BEC:CPO"), (emsp, "DE-TNM:EMSP")):
            token = (await run("party", "invite", role, "--json", env=environment(database_url))).json["token"]
            answer = await platform.register_at(hub.versions_url, token)
            assert answer.status_code == 1000, answer.body
            platform.clear()
        yield cpo, emsp


@dataclass
class Load:
    """Clients that send one PATCH after the other, half of them on a connection kept alive; none is sent again."""

    cpo: SimulatedPlatform
    answers: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    is_over: bool = False
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._send(keeps_alive=number % 2 == 0)) for number in range(8)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.is_over = True
        await asyncio.gather(*self._tasks)

    async def more(self, number: int = 100) -> None:
        """Wait until so many more were answered."""
        goal = self.answers.total() + number
        await until(lambda: self.answers.total() >= goal, "requests are answered")

    async def _send(self, *, keeps_alive: bool) -> None:
        url = self.cpo.hub_endpoints["sessions", "RECEIVER"].removesuffix("/") + "/BE/BEC/S1"
        assert self.cpo.hub_token is not None
        headers = {"Authorization": self.cpo.authorization(self.cpo.hub_token), "Content-Type": "application/json"}
        headers |= {"OCPI-from-country-code": "BE", "OCPI-from-party-id": "BEC"}
        headers |= {"OCPI-to-country-code": "DE", "OCPI-to-party-id": "TNM"}
        connector = aiohttp.TCPConnector(force_close=not keeps_alive)
        async with aiohttp.ClientSession(connector=connector) as http:
            while not self.is_over:
                try:
                    async with http.patch(url, headers=headers, data=b'{"status":"ACTIVE"}') as answer:
                        await answer.read()
                        self.answers[answer.status] += 1
                except aiohttp.ClientError as exc:
                    self.failures.append(repr(exc))
                    await asyncio.sleep(0.05)


@pytest.fixture
async def hub(database_url: str) -> AsyncIterator[Serving]:
    """A hub of two processes."""
    async with serving(environment(database_url, workers=2)) as running:
        await all_started(running, 2)
        yield running


def as_ever(load: Load) -> None:
    """Make sure that every request was answered by the receiver."""
    assert load.failures == []
    assert set(load.answers) == {200}


def quiet(emsp: SimulatedPlatform) -> None:
    emsp.answer("PATCH", "sessions", "RECEIVER", Reply(body=envelope()))


# Sharing the work


async def test_every_process_serves_and_their_metrics_are_those_of_one_hub(hub: Serving, database_url: str) -> None:
    assert {line["worker"] for line in hub.lines if line.get("action") == "started"} == {1, 2}
    await until(lambda: has_workers(hub, 2), "both serve")
    async with members(hub, database_url) as (cpo, emsp):
        quiet(emsp)
        async with Load(cpo) as load:
            await load.more(300)
            busy = {process.pid: sum(process.cpu_times()[:2]) for process in workers_of(hub)}
            await until(
                lambda: all(sum(each.cpu_times()[:2]) > busy[each.pid] + 0.05 for each in workers_of(hub)),
                "both processes work",
            )
        as_ever(load)
        found = await scrape(hub)
        assert value(found, "ocpi_hub_workers") == 2
        assert value(found, "ocpi_hub_worker_deaths_total") == 0
        assert counted(found) == load.answers.total() == len(emsp.received)
        sent = value(found, "ocpi_hub_platform_sent_total", name="Tnm")
        assert sent is not None
        assert sent >= counted(found)
        own = sum(process.memory_info().rss for process in [*workers_of(hub), psutil.Process(hub.process.pid)])
        memory = value(found, "process_resident_memory_bytes")
        assert memory is not None
        assert 0.7 < memory / own < 1.4
    assert await hub.stop() == 0
    assert hub.err == []
    assert len(hub.requests) >= load.answers.total()  # each line is whole


async def test_a_process_that_is_killed_is_replaced_and_what_it_counted_stays(hub: Serving, database_url: str) -> None:
    async with members(hub, database_url) as (cpo, emsp):
        quiet(emsp)
        async with Load(cpo) as load:
            await load.more(300)
        before = counted(await scrape(hub))
        assert before == load.answers.total()
        victim = workers_of(hub)[0]
        victim.kill()
        died = await hub.wait_for_line(action="worker_died")
        assert (died["exit_code"], died["level"]) == (-signal.SIGKILL, "error")
        async with Load(cpo) as after:  # the other one serves meanwhile
            await after.more(100)
            await until(lambda: has_workers(hub, 2), "both serve")
            await after.more(100)
        as_ever(after)
        found = await scrape(hub)
        assert counted(found) == before + after.answers.total()
        assert value(found, "ocpi_hub_worker_deaths_total") == 1
        assert value(found, "ocpi_hub_workers") == 2
        assert victim.pid not in {process.pid for process in workers_of(hub)}


async def test_a_process_told_to_end_finishes_its_requests_and_is_replaced(hub: Serving, database_url: str) -> None:
    async with members(hub, database_url) as (cpo, emsp):
        quiet(emsp)
        workers_of(hub)[0].terminate()
        died = await hub.wait_for_line(action="worker_died")
        assert died["exit_code"] == 0
        await all_started(hub, 3)
        async with Load(cpo) as load:
            await load.more(50)
        as_ever(load)


# Renewing


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_renews_every_process_without_losing_a_request(database_url: str, workers: int) -> None:
    async with serving(environment(database_url, workers=workers)) as hub, members(hub, database_url) as (cpo, emsp):
        await all_started(hub, workers)
        quiet(emsp)
        before = {process.pid for process in workers_of(hub)}
        async with Load(cpo) as load:
            await load.more()
            hub.process.send_signal(signal.SIGHUP)
            while not any(line.get("action") == "reloaded" for line in hub.lines):
                await load.more(20)
            await load.more()
        as_ever(load)
        assert load.answers.total() > 300
        assert len(workers_of(hub)) == workers
        assert not before & {process.pid for process in workers_of(hub)}
        assert counted(await scrape(hub)) == load.answers.total() == len(emsp.received)
        assert await hub.stop() == 0
        assert hub.err == []


async def test_a_request_that_is_slow_is_finished_by_the_process_that_is_replaced(database_url: str) -> None:
    env = environment(database_url, drain_timeout=0.2)
    async with serving(env) as hub, members(hub, database_url) as (cpo, emsp):
        emsp.misbehave("slow", seconds=3)
        call = asyncio.create_task(cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        await emsp.wait_for(1)
        hub.process.send_signal(signal.SIGHUP)
        await hub.wait_for_line(action="draining")
        answer = await call
        assert (answer.http_status, answer.headers["Connection"]) == (200, "close")
        await hub.wait_for_line(action="reloaded")


async def test_settings_that_cannot_be_used_leave_the_hub_as_it_is(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('name = "One"\n')
    async with serving(environment(database_url) | {"OCPI_HUB_CONFIG": str(file)}) as hub:
        before = {process.pid for process in workers_of(hub)}
        file.write_text("forward_timeout = -1\n")
        hub.process.send_signal(signal.SIGHUP)
        failed = await hub.wait_for_line(action="reload_failed")
        assert "forward_timeout" in failed["reason"]
        await until(lambda: {process.pid for process in workers_of(hub)} == before, "the new one has ended")
        assert (await readiness(hub))[0] == 200

        file.write_text("workers = 2\n")  # it is read anew
        hub.process.send_signal(signal.SIGHUP)
        assert (await hub.wait_for_line(action="reloaded"))["workers"] == 2
        assert len(workers_of(hub)) == 2
        file.write_text("")
        hub.process.send_signal(signal.SIGHUP)
        assert (await hub.wait_for_line(action="reloaded", workers=1))["workers"] == 1
        assert len(workers_of(hub)) == 1


@pytest.mark.parametrize("seconds", [0.0, 0.3])
async def test_a_process_that_dies_while_it_is_renewed_leaves_as_many_as_there_should_be(
    hub: Serving, seconds: float
) -> None:
    await until(lambda: has_workers(hub, 2), "both serve")
    before = workers_of(hub)
    hub.process.send_signal(signal.SIGHUP)
    await asyncio.sleep(seconds)  # before and while its successor starts, which nothing outside shows
    for process in before:
        process.kill()
    await hub.wait_for_line(action="reloaded")
    await until(lambda: has_workers(hub, 2), "both serve")
    await until(lambda: len(workers_of(hub)) == 2, "there is none beside them")
    assert not {each.pid for each in before} & {each.pid for each in workers_of(hub)}
    assert value(await scrape(hub), "ocpi_hub_worker_deaths_total") == 2
    assert await hub.stop() == 0
    assert hub.err == []


async def test_a_process_that_cannot_be_started_is_tried_again_ever_more_rarely(hub: Serving) -> None:
    await until(lambda: has_workers(hub, 2), "both serve")
    parent = psutil.Process(hub.process.pid)
    limits = parent.rlimit(psutil.RLIMIT_NOFILE)
    parent.rlimit(psutil.RLIMIT_NOFILE, (3, limits[1]))  # no descriptor can be had
    workers_of(hub)[0].kill()
    for pause in (0.2, 0.4, 0.8):
        failed = await hub.wait_for_line(action="start_failed", pause_seconds=pause)
        assert failed["reason"].startswith("No process can be started: ")
    parent.rlimit(psutil.RLIMIT_NOFILE, limits)
    await until(lambda: has_workers(hub, 2), "another one is there")
    assert sum(line.get("action") == "worker_died" for line in hub.lines) == 1
    assert await hub.stop() == 0
    assert hub.err == []


async def test_a_renewal_that_fails_halfway_says_how_far_it_came(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("workers = 2\n")
    async with serving(environment(database_url) | {"OCPI_HUB_CONFIG": str(file)}) as hub:
        await all_started(hub, 2)
        hub.process.send_signal(signal.SIGHUP)
        await all_started(hub, 3)
        file.write_text("forward_timeout = -1\n")  # while the first of the old ones is still ending
        failed = await hub.wait_for_line(action="reload_failed")
        assert (failed["renewed"], failed["workers"]) == (1, 2)
        assert failed["event"].startswith("1 of 2 processes are new")
        await until(lambda: len(workers_of(hub)) == 2, "the one that failed has ended")


async def test_a_certificate_that_cannot_be_used_fails_a_renewal_in_one_sentence(
    database_url: str, tmp_path: Path
) -> None:
    file, broken, missing = tmp_path / "hub.toml", tmp_path / "broken.pem", tmp_path / "missing.pem"
    broken.write_text("none")
    file.write_text("")
    async with serving(environment(database_url) | {"OCPI_HUB_CONFIG": str(file)}) as hub:
        for number, (pem, why) in enumerate(((missing, "No such file or directory"), (broken, "PEM")), 1):
            file.write_text(f'tls_certificate = "{pem}"\ntls_key = "{pem}"\n')
            hub.process.send_signal(signal.SIGHUP)
            await until(
                lambda number=number: sum(line.get("action") == "reload_failed" for line in hub.lines) == number,
                "the renewal has failed",
            )
            reason = hub.lines[-1]["reason"]
            assert reason.startswith(f"tls_certificate: {pem} with {pem} cannot be used: ")
            assert why in reason
        assert await hub.stop() == 0
        assert hub.err == []


class Way:
    """A way to the tests' PostgreSQL that can be cut: a link to its socket."""

    def __init__(self, database_url: str, folder: Path) -> None:
        self._database_url = database_url
        place = parse_qs(urlsplit(database_url).query)
        self._socket = Path(place["host"][0]) / f".s.PGSQL.{place['port'][0]}"
        self._link = folder / self._socket.name
        self.url = database_url.replace(quote(place["host"][0]), quote(str(folder)))
        assert self.url != database_url

    def open(self) -> None:
        """Let everybody through."""
        self._link.symlink_to(self._socket)

    async def cut(self) -> None:
        """Let nobody through, and end the connections that there are."""
        self._link.unlink()
        connection = await asyncpg.connect(self._database_url)
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid != pg_backend_pid()"
        )
        await connection.close()


@pytest.fixture
def way(database_url: str, tmp_path: Path) -> Way:
    """A way to the test's database."""
    made = Way(database_url, tmp_path)
    made.open()
    return made


async def test_while_the_database_is_away_a_renewal_leaves_the_processes_that_can_route(
    database_url: str, way: Way
) -> None:
    async with serving(environment(way.url)) as hub, members(hub, database_url) as (cpo, emsp):
        quiet(emsp)
        before = {process.pid for process in workers_of(hub)}
        async with Load(cpo) as load:
            await load.more()
            await way.cut()
            hub.process.send_signal(signal.SIGHUP)
            failed = await until(
                lambda: next((line for line in hub.lines if line.get("action") == "reload_failed"), None),
                "the renewal is given up",
                seconds=30,
            )
            await load.more()
        assert failed["reason"] == "the database is away"
        as_ever(load)
        await until(lambda: {process.pid for process in workers_of(hub)} == before, "the new one has ended")
        way.open()
        hub.process.send_signal(signal.SIGHUP)
        await hub.wait_for_line(action="reloaded")
        assert not before & {process.pid for process in workers_of(hub)}
        assert await hub.stop() == 0
        assert hub.err == []


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_under_load_whatever_was_forwarded_is_answered_before_the_end(
    hub: Serving, database_url: str, number: signal.Signals
) -> None:
    async with members(hub, database_url) as (cpo, emsp):
        quiet(emsp)
        async with Load(cpo) as load:
            await load.more()
            hub.process.send_signal(number)
            assert await asyncio.wait_for(hub.process.wait(), 10) == 0
        assert load.answers[200] == load.answers.total() == len(emsp.received)
        assert hub.err == []


async def test_a_request_that_has_begun_is_answered_though_the_hub_stops(hub: Serving, database_url: str) -> None:
    async with members(hub, database_url):
        address = hub.versions_url.split("/")[2].split(":")
        reader, writer = await asyncio.open_connection(*address)
        idle_reader, idle_writer = await asyncio.open_connection(*address)
        writer.write(b"GET /ocpi/versions HTTP/1.1\r\nHost: hub\r\n")
        await asyncio.sleep(0.2)  # it has been read, and nothing shows it
        hub.process.send_signal(signal.SIGTERM)
        assert await idle_reader.read() == b""
        writer.write(b"X-Correlation-ID: late\r\n\r\n")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 401")
        assert b"Connection: close" in answer
        for each in (writer, idle_writer):
            each.close()
        assert await hub.stop() == 0


async def test_the_processes_end_with_a_parent_that_is_killed(hub: Serving) -> None:
    workers = workers_of(hub)
    hub.process.kill()
    await until(lambda: not any(process.is_running() for process in workers), "they have ended")


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A folder that the user who runs PostgreSQL can enter."""
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-workers-"))
    folder.chmod(0o755)
    yield folder / "data"
    shutil.rmtree(folder, ignore_errors=True)


async def test_an_embedded_postgres_ends_with_the_last_process(data_dir: Path) -> None:
    async with serving(environment(data_dir=data_dir, workers=2)) as hub:
        await all_started(hub, 2)
        assert hub.started["database"] == "embedded"
        hub.process.send_signal(signal.SIGHUP)
        await hub.wait_for_line(action="reloaded")
        assert not [line for line in hub.lines if line.get("action") == "database_away"]
        assert await hub.stop() == 0
        assert hub.err == []
    await until(lambda: not (data_dir / "postgres" / "postmaster.pid").exists(), "PostgreSQL has ended")


async def test_a_log_that_nobody_reads_any_more_ends_no_process(hub: Serving, database_url: str) -> None:
    async with members(hub, database_url) as (cpo, emsp):
        quiet(emsp)
        before = {process.pid for process in workers_of(hub)}
        hub.process._transport.get_pipe_transport(1).close()  # type: ignore[attr-defined]
        victim = workers_of(hub)[0]
        victim.kill()
        await until(lambda: has_workers(hub, 2), "another one is there")
        async with Load(cpo) as load:
            await load.more(100)
        as_ever(load)
        assert len({process.pid for process in workers_of(hub)} & before) == 1
        assert await hub.stop() == 0
        assert hub.err == []


async def test_a_process_that_cannot_understand_its_parent_ends(database_url: str) -> None:
    """Else the parent would count it as one that serves, and hear nothing of it."""
    chosen = {"database_url": database_url, "secret_key": SECRET_KEY, "pulls": "off"}
    with socket.create_server(("127.0.0.1", 0)) as one:
        chosen["port"] = one.getsockname()[1]
        order = {"number": 1, "ops_port": 1, "config_file": None, "chosen": chosen, "table_seconds": None}
        worker = await Worker.start(order, one, Totals().take)
        await worker.serving()
        worker._channel.say(ask="metrics")  # how much of them?
        assert await worker.ended() == 1


async def test_a_failure_that_nobody_foresaw_ends_the_parent_and_the_processes(database_url: str) -> None:
    chosen = {"database_url": database_url, "secret_key": SECRET_KEY, "pulls": "off", "ops_port": 1}

    async def fail() -> None:
        await until(lambda: parent._current, "a process serves")
        raise RuntimeError("unforeseen")

    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as ops:
        chosen["port"] = one.getsockname()[1]
        parent = Parent(read_settings(None, **chosen), one, ops, chosen=chosen)
        parent._own(fail())
        with pytest.raises(RuntimeError, match="unforeseen"):
            await parent.run()
    assert not [each for each in psutil.Process().children() if "hub.workers.worker" in each.cmdline()]


# Starting


async def test_a_hub_of_several_processes_says_in_one_sentence_why_it_cannot_start(database_url: str) -> None:
    env = environment(database_url.replace("/test_", "/gone_"), port=0, ops_port=0)
    assert_plain_failure(await run("serve", "--workers", "3", env=env), "The database cannot be used")
    done = await run("serve", "--workers", "0", env=env)
    assert done.code == 2


async def test_a_socket_of_systemds_is_taken_over(database_url: str) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified,
    ):
        notified.bind(f"\0ocpi-hub-test-{os.getpid()}")
        notified.setblocking(False)
        env = environment(database_url) | {"NOTIFY_SOCKET": f"@ocpi-hub-test-{os.getpid()}"}
        start = f"exec 3<&{listener.fileno()}; LISTEN_FDS=1 LISTEN_PID=$$ exec {COMMAND} serve"
        loop = asyncio.get_running_loop()
        async with serving(env, "bash", "-c", start, pass_fds=[listener.fileno()]) as hub:
            port = listener.getsockname()[1]
            assert hub.versions_url == f"http://127.0.0.1:{port}/ocpi/versions"
            assert await loop.sock_recv(notified, 100) == b"READY=1"
            async with members(hub, database_url) as (cpo, emsp):
                quiet(emsp)
                hub.process.send_signal(signal.SIGHUP)
                assert (await loop.sock_recv(notified, 100)).startswith(b"RELOADING=1\nMONOTONIC_USEC=")
                assert await loop.sock_recv(notified, 100) == b"READY=1"
                assert await hub.stop() == 0
                assert await loop.sock_recv(notified, 100) == b"STOPPING=1"

                # systemd's socket takes connections while there is no hub, and the next one answers them.
                call = asyncio.create_task(
                    cpo.call("PATCH", "sessions", "RECEIVER", "BE/BEC/S1", to="DE-TNM", body={"status": "ACTIVE"})
                )
                async with serving(env, "bash", "-c", start, pass_fds=[listener.fileno()]):
                    assert (await call).http_status == 200


async def test_sockets_of_systemds_that_are_none_for_members_are_refused(database_url: str) -> None:
    env = environment(database_url, ops_port=0)
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        tempfile.TemporaryFile() as file,
    ):
        for count, passed, said in (
            (2, one, "2 sockets are handed over"),
            (1, datagram, "no listening TCP socket"),
            (1, file, "is no socket"),
        ):
            start = f"exec 3<&{passed.fileno()}; LISTEN_FDS={count} LISTEN_PID=$$ exec {COMMAND} serve"
            process = await asyncio.create_subprocess_exec(
                "bash", "-c", start, env=env, pass_fds=[passed.fileno()], stderr=asyncio.subprocess.PIPE
            )
            _, err = await process.communicate()
            assert process.returncode == 1
            assert err.decode().startswith("Error: ")
            assert said in err.decode()


# Sums and lines


def test_every_gauge_says_how_those_of_several_processes_become_one() -> None:
    gauges = {name for name, kind, _, _ in Metrics("1").families() if kind == "gauge"}
    assert gauges <= set(GAUGES)


def test_what_is_counted_never_goes_back() -> None:
    def told(count: float, gauge: float) -> list[list[object]]:
        return [
            ["ocpi_hub_requests", "counter", "", [["ocpi_hub_requests_total", {"module": "cdrs"}, count, None]]],
            ["ocpi_hub_in_flight", "gauge", "", [["ocpi_hub_in_flight", {}, gauge, None]]],
        ]

    totals = Totals()

    def both() -> list[float]:
        return [family[3][0][2] if family[3] else 0 for family in totals.families([])]

    totals.take("a", told(3, 1))
    totals.take("b", told(4, 2))
    assert both() == [7, 3]
    totals.end("a")
    assert both() == [7, 2]
    totals.take("b", told(1, 0))  # a lane that came back begins anew
    assert both() == [8, 0]
    totals.take("c", told(10, 0))
    totals.end("c")
    totals.end("b")
    assert totals.families([])[0][3][0][2] == 18


def of_platform(name: str, count: float) -> list[list[object]]:
    labels = {"platform": "1", "name": name}
    return [
        ["ocpi_hub_platform_registered", "gauge", "", [["ocpi_hub_platform_registered", labels, 1, None]]],
        ["ocpi_hub_platform_sent", "counter", "", [["ocpi_hub_platform_sent_total", labels, count, None]]],
    ]


def test_a_platform_that_is_renamed_is_counted_once_under_its_new_name() -> None:
    totals = Totals()
    totals.take("a", of_platform("Old", 3))
    totals.take("b", of_platform("Old", 4))
    totals.take("a", of_platform("New", 5))
    totals.take("b", of_platform("New", 6))
    totals.end("b")
    for family, count in zip(totals.families([]), (1, 11), strict=True):
        assert [sample[1:3] for sample in family[3]] == [[{"platform": "1", "name": "New"}, count]]


def test_what_a_process_tells_without_its_platforms_leaves_those_as_they_were() -> None:
    totals = Totals()
    totals.take("a", of_platform("Bec", 3))
    totals.take("a", [], is_whole=False)
    totals.take("a", of_platform("Bec", 5))
    assert totals.families([])[1][3][0][2] == 5
    table = make_table(1, [], {})
    metrics = Metrics("1")
    metrics.table = lambda: table
    whole, part = ({family[0] for family in metrics.families(is_whole=is_whole)} for is_whole in (True, False))
    assert {"ocpi_hub_requests", "ocpi_hub_own_seconds"} <= part
    assert "ocpi_hub_platform_sent" in whole - part


def test_whether_a_platform_is_up_is_what_was_seen_last() -> None:
    def told(value: float, at: float) -> list[list[object]]:
        return [["ocpi_hub_platform_up", "gauge", "", [["ocpi_hub_platform_up", {"platform": "1"}, value, at]]]]

    assert merge([told(1, 10), told(0, 20)])[0][3][0][2] == 0
    assert merge([told(1, 30), told(0, 20)])[0][3][0][2] == 1


def test_lines_of_processes_that_share_an_output_stay_whole() -> None:
    """Into a pipe that is always full, in writes far beyond what it holds."""
    read_end, write_end = os.pipe()
    children = []
    for letter in "ab":
        if (pid := os.fork()) == 0:
            os.close(read_end)
            output = WholeLines(write_end)
            for _ in range(20):
                output.write("".join(f"{letter * (50 + number % 300)}\n" for number in range(1000)))
                output.flush()
            os._exit(0)
        children.append(pid)
    os.close(write_end)
    with open(read_end, encoding="ascii") as pipe:
        lines = pipe.read().splitlines()
    for pid in children:
        os.waitpid(pid, 0)
    assert len(lines) == 40_000
    assert all(len(set(line)) == 1 for line in lines)
