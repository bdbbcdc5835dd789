"""`make soak`: 50 platforms, two hubs, minutes of disturbance, and everything compared at the end."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from hub.embedded_postgres import EmbeddedPostgres
from tests.soak.report import show, write
from tests.soak.soak import Soak, Wish

FOLDER = Path("bench-results")


async def soak(wish: Wish) -> int:
    """Run a soak on a database of its own; exit code 1 when a check failed."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-soak-"))
    folder.chmod(0o755)  # the embedded server may run as another user
    try:
        async with EmbeddedPostgres(folder / "data") as database_url:
            played = Soak(wish, database_url, lambda text: console.print(f"[dim]{text}[/]", highlight=False))
            await played.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(console, played)
    console.print(f"Written to {write(played, FOLDER)}")
    return 0 if all(check.passed for check in played.checks) else 1


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--platforms", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1, help="chooses what happens")
    parser.add_argument("--rate", type=float, default=20.0, help="changes a second, of all owners together")
    chosen = parser.parse_args()
    if not (0 < chosen.minutes <= 24 * 60 and 8 <= chosen.platforms <= 500 and 0 < chosen.rate <= 1000):
        parser.error("minutes are at most a day, platforms 8 to 500, the rate at most 1000")
    sys.exit(asyncio.run(soak(Wish(chosen.minutes * 60, chosen.platforms, chosen.seed, chosen.rate))))


if __name__ == "__main__":
    main()
