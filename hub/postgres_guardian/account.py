"""Whom the server runs as: PostgreSQL refuses to run as root."""

import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hub.postgres_guardian.errors import EmbeddedPostgresError
from hub.postgres_guardian.places import server_dir_of


class Account(NamedTuple):
    """The unprivileged user that a guardian started by root hands the server to."""

    uid: int
    gid: int

    def __str__(self) -> str:
        with suppress(KeyError):
            return f"{pwd.getpwuid(self.uid).pw_name} (uid {self.uid})"
        return f"uid {self.uid}"

    def become(self) -> None:
        """Turn this process into one of the account's, for good."""
        os.setgroups([])
        os.setgid(self.gid)
        os.setuid(self.uid)

    def find_closed(self, path: Path) -> Path | None:
        """The first part of the path that the account may not enter (or run, for a file), found out by being it."""
        steps = [*reversed(path.parents), path]
        child = os.fork()
        if child == 0:
            code = 255
            with suppress(OSError):
                self.become()
                code = next((place for place, step in enumerate(steps) if not os.access(step, os.X_OK)), 254)
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code == 255:
            raise EmbeddedPostgresError(
                f"PostgreSQL refuses to run as root and this root may not become {self}: run the hub as another user, "
                "or allow it CAP_SETUID and CAP_SETGID."
            )
        return None if code == 254 else steps[code]

    def check_way(self, folder: Path) -> None:
        """Raise EmbeddedPostgresError when the account cannot reach the folder."""
        closed = self.find_closed(folder)
        if closed is not None:
            raise EmbeddedPostgresError(
                f"PostgreSQL runs as {self} and may not enter {closed} on its way to {folder}: chmod o+x {closed}, "
                "or set OCPI_HUB_DATA_DIR to a directory it can reach."
            )


def choose_account(data_dir: Path) -> Account | None:
    """Whom root hands the server to; None to stay who we are."""
    server_dir = server_dir_of(data_dir)
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
        return Account(owner.st_uid, owner.st_gid)
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
    return Account(nobody.pw_uid, nobody.pw_gid)


def uid_of(account: Account | None) -> int:
    """Which user the server runs as."""
    return os.geteuid() if account is None else account.uid
