"""The folders that the server needs before it starts: its data, made by initdb, and that of its socket."""

import os
import pwd
import shutil
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hub.postgres_guardian.account import Account, uid_of
from hub.postgres_guardian.errors import EmbeddedPostgresError, read_complaint
from hub.postgres_guardian.places import SUPERUSER, log_path_of, socket_folder

# Trust is enough because nobody else may enter the socket's folder. Written to disk by one os.sync() at the end.
INITDB_OPTIONS = ("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
INITDB_SECONDS = 300.0


def make_server_dir(server_dir: Path, binaries: Path, account: Account | None, start_lock: int) -> None:
    """Make the server's files beside their place and move them there whole."""
    if server_dir.exists() and any(server_dir.iterdir()):
        raise EmbeddedPostgresError(f"{server_dir} is not empty and no PostgreSQL made it: move it away.")
    uid = uid_of(account)
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
            f"PostgreSQL's initdb fails in {half} ({read_complaint(result.stderr)}): "
            f"read {log_path_of(server_dir.parent)}, or set OCPI_HUB_DATABASE_URL."
        )
    os.sync()
    half.rename(server_dir)
    parent = os.open(server_dir.parent, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(parent)
    os.close(parent)


def make_socket_folder(data_dir: Path, account: Account | None) -> Path:
    """Make the folder of the server's socket. In the data directory, `run` is it or leads to it."""
    folder, run = socket_folder(data_dir), data_dir / "run"
    if run.is_symlink():
        run.unlink()
    if folder != run:
        if run.exists():
            shutil.rmtree(run)  # from before the data directory was moved to a longer path
        run.symlink_to(folder)
    _make_folder(folder, account)
    if account is not None:
        account.check_way(folder)
    return folder


def _make_folder(folder: Path, account: Account | None) -> None:
    """Make a folder only the server's account may enter, or take the one that is there if it is that account's."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    facts = folder.lstat()
    if account is not None and facts.st_uid == 0 and stat.S_ISDIR(facts.st_mode):
        os.chown(folder, account.uid, account.gid, follow_symlinks=False)
        facts = folder.lstat()
    uid = uid_of(account)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != uid:
        raise EmbeddedPostgresError(
            f"{folder} is needed for PostgreSQL as uid {uid} and belongs to uid {facts.st_uid}: remove it."
        )
    folder.chmod(0o700)
