"""What the guardian does: it starts the server, watches it and its users, and stops it after the last."""

import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hub.postgres_guardian.account import choose_account
from hub.postgres_guardian.binaries import choose_binaries
from hub.postgres_guardian.errors import EmbeddedPostgresError, read_complaint
from hub.postgres_guardian.folders import make_server_dir, make_socket_folder
from hub.postgres_guardian.leftover import end_leftover, read_pid_file
from hub.postgres_guardian.places import PORT, log_path_of, open_own, server_dir_of, try_lock

SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "port": str(PORT),
    "shared_buffers": "64MB",
    "max_connections": "100",
    "log_checkpoints": "off",  # on by default since PostgreSQL 15: two lines every five minutes that nobody reads
}

LINGER_SECONDS = 1.0  # the server outlives its last user by this, so that a row of commands starts it once
SHARED_MEMORY_SECONDS = 30.0  # how long the sessions of a killed server may take to notice
STOP_SECONDS = 60.0  # then an immediate shutdown, which loses nothing but makes the next start a recovery
START_POLL_SECONDS = 0.02
POLL_SECONDS = 0.3

PR_SET_PDEATHSIG = 1


class _Users:
    """Whether anybody uses the server, as the guardian sees it."""

    def __init__(self, data_dir: Path) -> None:
        self._lock = open_own(data_dir / "users.lock")
        self._gone_since: float | None = None

    def have_left(self) -> bool:
        """Nobody has come for LINGER_SECONDS. From then on newcomers wait until this process has ended."""
        if not try_lock(self._lock, fcntl.LOCK_EX):
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
            f"read {log_path_of(data_dir)}, or set OCPI_HUB_DATABASE_URL.",
            flush=True,
        )
        raise  # to the log


def _guard(data_dir: Path, start_lock: int) -> None:
    users = _Users(data_dir)
    account = choose_account(data_dir)
    if account is not None:
        account.check_way(data_dir)
    binaries = choose_binaries(data_dir, account)
    sockets = make_socket_folder(data_dir, account)
    server_dir = server_dir_of(data_dir)
    if not (server_dir / "PG_VERSION").exists():
        make_server_dir(server_dir, binaries, account, start_lock)
    if account is not None:
        account.become()
    command = [str(binaries / "postgres"), "-D", str(server_dir)]
    for name, value in (SETTINGS | {"unix_socket_directories": str(sockets)}).items():
        command += ["-c", f"{name}={value}"]
    _keep_running(command, data_dir, sockets, users)


def _keep_running(command: list[str], data_dir: Path, sockets: Path, users: _Users) -> None:
    """Run the server, and again when it dies, until its users have left."""
    server_dir = server_dir_of(data_dir)
    prepare_child = _end_with_guardian()
    retry_until = time.monotonic() + SHARED_MEMORY_SECONDS
    while True:
        end_leftover(server_dir, sockets)
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
                f"PostgreSQL in {data_dir} does not start ({read_complaint(said)}): "
                f"read {log_path_of(data_dir)}, or set OCPI_HUB_DATABASE_URL."
            )
        time.sleep(0.1)


def _watch(server: subprocess.Popen[bytes], server_dir: Path, users: _Users) -> bool:
    """Wait until the server has died or its users have left; whether it was ever ready."""
    is_ready = False
    while server.poll() is None and not users.have_left():
        if not is_ready and read_pid_file(server_dir) == (server.pid, "ready"):
            is_ready = True
            _close_report()
        time.sleep(POLL_SECONDS if is_ready else START_POLL_SECONDS)
    return is_ready


def _close_report() -> None:
    """Tell the user who waits for the launcher that the server is ready."""
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
