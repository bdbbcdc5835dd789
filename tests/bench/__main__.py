"""`make bench`: everything that the table of targets has, side by side on this machine, in alternating rounds.

How, and what the figures do not tell: tests/bench/README.md.
"""

import argparse
import asyncio
import importlib
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import asyncpg
import psutil
import uvloop
from rich.console import Console

from config.log import configure_logging
from hub.embedded_postgres import EmbeddedPostgres
from tests.bench import report
from tests.bench.chart import Bar, shown
from tests.bench.processes import Cores, Measured, raise_file_limit, use_cores
from tests.bench.stage import FOLDER, Outcome, Stage, Wanted, WrongAnswer
from tests.bench.targets import ROWS
from tests.bench.upstream import Upstream

MEASUREMENTS = tuple(dict.fromkeys(row.measurement for row in ROWS))
PROFILED = tuple(name for name in MEASUREMENTS if name != "memory")
DETAILS = ("get_all", "mirror_intake", "contracts")
"""Programs of their own that look further into one thing, with figures that no target is set for."""
FULL = Wanted(rounds=9, seconds=1.5, connections=64, locations=1_000_000, broadcasts=10, profile="")
QUICK = Wanted(rounds=3, seconds=0.6, connections=64, locations=10_000, broadcasts=8, profile="")


async def run(names: Sequence[str], wanted: Wanted, *, is_quick: bool) -> int:
    """Measure, print and write; exit code 1 when something went wrong or, in a quick run, is grossly lost."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    FOLDER.mkdir(exist_ok=True)
    raise_file_limit()
    this_task = asyncio.current_task()
    assert this_task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this_task.cancel)  # so that nothing stays behind
    configure_logging(as_json=False, level="warning", stream=sys.stderr)
    cores = Cores.choose()
    use_cores(cores.others)
    folder = Path(tempfile.mkdtemp(prefix="ocpi-hub-bench-"))
    folder.chmod(0o755)  # the embedded server may run as another user
    outcomes: dict[str, Outcome | str] = {}
    upstream = Upstream()
    try:
        (upstream_port,) = await upstream.listen()
        async with EmbeddedPostgres(folder / "data") as postgres_url:
            postgres = Measured(psutil.Process(_postmaster(folder / "data")))
            for name in (each for each in MEASUREMENTS if each in names):
                with _steps(console, name) as show_step:
                    stage = Stage(
                        console, wanted, cores, folder, upstream, upstream_port, postgres_url, postgres, show_step
                    )
                    try:
                        outcomes[name] = await importlib.import_module(f"tests.bench.{name}").measure(stage)
                    except (WrongAnswer, OSError, asyncpg.PostgresError) as exc:
                        outcomes[name] = str(exc) or type(exc).__name__
    finally:
        upstream.close()
        shutil.rmtree(folder, ignore_errors=True)
    bars = report.show(console, outcomes, wanted, cores)
    for path in report.write(FOLDER, outcomes, bars, wanted):
        console.print(f"Written to {path}")
    lost = _lost(bars) if is_quick else []
    for line in lost:
        console.print(f"[red]{line}[/]")
    return 1 if lost or any(isinstance(outcome, str) for outcome in outcomes.values()) else 0


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres" / "postmaster.pid").read_text().splitlines()[0])


@contextmanager
def _steps(console: Console, name: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done: each step on a terminal, else only the measurement."""
    if not console.is_terminal:
        console.print(f"Measuring: {name}")
    with console.status(f"{name} ...") as status:
        yield lambda text: status.update(f"{name}: {text}")


def _lost(bars: Sequence[Bar]) -> list[str]:
    return [
        f"Lost: {bar.row.title} came to {shown(bar.median, bar.row)}; CI allows {shown(bar.row.ci_limit, bar.row)}."
        for bar in bars
        if bar.median > bar.row.ci_limit
    ]


def show_list() -> None:
    """Print the measurements and their rows."""
    for name in MEASUREMENTS:
        module = importlib.import_module(f"tests.bench.{name}")
        print(f"{name}: {_subject(module)}")
        for row in ROWS:
            if row.measurement == name:
                print(f"    {row.title} (at most {shown(row.target, row)})")
    print("Further, each also with `python -m tests.bench.NAME --help`:")
    for name in DETAILS:
        print(f"{name}: {_subject(importlib.import_module(f'tests.bench.{name}'))}")


def _subject(module: ModuleType) -> str:
    return (module.__doc__ or "").partition("\n\n")[0].strip()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=MEASUREMENTS + DETAILS, metavar="NAME", help="measure only these")
    parser.add_argument("--list", action="store_true", help="say what can be measured, and stop")
    parser.add_argument("--quick", action="store_true", help="few short rounds; fails only on gross loss")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of load, for each contestant in each round")
    parser.add_argument("--connections", type=int)
    parser.add_argument("--locations", type=int, help="in the mirror whose pages are measured")
    parser.add_argument("--broadcasts", type=int, help="in each round")
    parser.add_argument("--profile", default="", choices=PROFILED, metavar="NAME", help="and profile its hub (py-spy)")
    chosen = parser.parse_args()
    if chosen.list:
        show_list()
        return
    preset = QUICK if chosen.quick else FULL
    given = {name: getattr(chosen, name) for name in Wanted.__dataclass_fields__}
    wanted = Wanted(**{name: value or getattr(preset, name) for name, value in given.items()})
    if wanted.rounds < 1 or wanted.seconds <= 0 or wanted.connections < 1 or wanted.locations < 1000:
        parser.error("rounds, seconds and connections are positive, and there are at least 1000 locations")
    details = [name for name in DETAILS if name in (chosen.only or ())]
    for name in details:
        subprocess.run((sys.executable, "-m", f"tests.bench.{name}"), check=True)
    if details == chosen.only:
        return
    names = chosen.only or ([chosen.profile] if chosen.profile else MEASUREMENTS)
    try:
        sys.exit(uvloop.run(run(names, wanted, is_quick=chosen.quick)))
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.exit("Stopped; nothing is left running.")


if __name__ == "__main__":
    main()
