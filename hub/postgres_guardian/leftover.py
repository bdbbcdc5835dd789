"""What an earlier server may have left: itself, or lock files that keep the next one from starting."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from hub.postgres_guardian.errors import EmbeddedPostgresError

STOP_SECONDS = 60.0
POLL_SECONDS = 0.02


def end_leftover(server_dir: Path, sockets: Path) -> None:
    """Stop a server whose guardian is gone, and remove lock files that PostgreSQL would take for a living server's."""
    pid, _ = read_pid_file(server_dir)
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
            time.sleep(POLL_SECONDS)
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, 0)
        # A zombie, or another program that got the same pid: PostgreSQL asks no further and would refuse to start.
        (server_dir / "postmaster.pid").unlink(missing_ok=True)
        for file in sockets.glob(".s.PGSQL.*"):
            file.unlink(missing_ok=True)


def read_pid_file(server_dir: Path) -> tuple[int | None, str]:
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
