"""How a user starts the guardian. The guardian itself does without this file."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

from hub.postgres_guardian.places import log_path_of, open_own, try_lock

PROGRAM = Path(__file__).absolute().with_name("__main__.py")
LOG_LIMIT_BYTES = 10_000_000
# What the guardian and the server need of the environment; the hub's secrets stay with the hub.
ENVIRONMENT = ("PATH", "HOME", "TMPDIR", "TZ", "PYTHONHOME", "PYTHONPATH", "PYTHONUSERBASE")
ENVIRONMENT_PREFIXES = ("LD_", "DYLD_", "NSS_WRAPPER_")


def launch_guardian(data_dir: Path) -> subprocess.Popen[bytes] | None:
    """A process that leaves a guardian behind and ends, or None when there is a guardian already.

    Its stdout carries the guardian's sentence of failure and ends, empty, when the server is ready.
    """
    start_lock = open_own(data_dir / "start.lock")
    try:
        if not try_lock(start_lock, fcntl.LOCK_EX):
            return None
        log_path = log_path_of(data_dir)
        if log_path.exists() and log_path.stat().st_size > LOG_LIMIT_BYTES:
            log_path.replace(log_path.with_name("postgres.log.1"))
        log = open_own(log_path)
        try:
            return subprocess.Popen(  # noqa: S603
                [sys.executable, "-P", str(PROGRAM), str(data_dir), str(start_lock)],
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
