"""Where an embedded PostgreSQL has its files: what its users and its guardian must agree on to meet."""

import fcntl
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

SUPERUSER = "hub"
PORT = 5432
# sun_path holds 108 bytes on Linux and 104 on macOS and the BSDs, the last of them is NUL.
SOCKET_PATH_LIMIT_BYTES = 107 if sys.platform == "linux" else 103
# PostgreSQL and asyncpg both read a comma in a socket folder as a list.
PLAIN_PATH = re.compile(r"[A-Za-z0-9/._+-]+")


def log_path_of(data_dir: Path) -> Path:
    return data_dir / "postgres.log"


def server_dir_of(data_dir: Path) -> Path:
    return data_dir / "postgres"


def make_data_dir(data_dir: Path) -> None:
    """Make what is missing of the path; what is there already keeps its mode, it may be shared with others."""
    # root gives the server away to another user, who must be able to walk through.
    mode = 0o711 if os.geteuid() == 0 else 0o700
    for folder in (*reversed(data_dir.parents), data_dir):
        if not folder.exists():
            with suppress(FileExistsError):
                folder.mkdir()
                folder.chmod(mode)


def open_own(path: Path) -> int:
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


def try_lock(file: int, kind: int) -> bool:
    """Whether the lock of an open file could be had at once; `kind` is LOCK_SH or LOCK_EX."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def socket_folder(data_dir: Path) -> Path:
    """`run` in the data directory or, where that makes no good socket path, a short one for the temporary directory."""
    run = data_dir / "run"
    socket = str(run / f".s.PGSQL.{PORT}")
    if len(os.fsencode(socket)) <= SOCKET_PATH_LIMIT_BYTES and PLAIN_PATH.fullmatch(socket):
        return run
    import hashlib  # rarely needed, and 3 MB in a guardian
    import tempfile

    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()
    return Path(tempfile.gettempdir()).resolve() / f"ocpi-hub-{digest[:16]}"


def used_socket_folder(data_dir: Path) -> Path:
    """Where the socket is: another user's guardian may have been told of another temporary directory."""
    folder, run = socket_folder(data_dir), data_dir / "run"
    if folder != run and run.is_symlink() and run.readlink().name == folder.name:
        return run.readlink()
    return folder
