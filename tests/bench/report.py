"""What was measured, as a table to read, as Markdown, as JSON and as a chart."""

import json
import os
import platform
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.bench.chart import Bar, draw, shown
from tests.bench.processes import Cores
from tests.bench.stage import Outcome, Wanted
from tests.bench.targets import ROWS, Row

_STYLES = {"hoped for": "green", "met": "blue", "missed": "red"}


def machine() -> str:
    """Give what it was measured on."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    gigabytes = psutil.virtual_memory().total / 1e9
    python = f"Python {platform.python_version()}"
    return f"{name}, {os.cpu_count()} cores, {gigabytes:.0f} GB, {platform.system()} {platform.release()}, {python}"


def bars_of(values: Mapping[str, Sequence[float]]) -> list[Bar]:
    """Give what was measured, in the order of the table."""
    found = [(row, values[row.name]) for row in ROWS if values.get(row.name)]
    return [Bar(row, min(each), statistics.median(each), max(each)) for row, each in found]


def show(console: Console, outcomes: Mapping[str, Outcome | str], wanted: Wanted, cores: Cores) -> list[Bar]:
    """Print the table, and give what is in it."""
    bars = bars_of(_values(outcomes))
    table = Table(
        "", "at most", "hope for", "min", "median", "max", "", title="CPU is user and system time of the process"
    )
    for bar in bars:
        row, state = bar.row, bar.row.state(bar.median)
        numbers = (shown(bar.low, row), f"[bold]{shown(bar.median, row)}[/]", shown(bar.high, row))
        table.add_row(
            row.title, shown(row.target, row), shown(row.hope, row), *numbers, f"[{_STYLES[state]}]{state}[/]"
        )
    console.print(table)
    for measurement, outcome in outcomes.items():
        if isinstance(outcome, str):
            console.print(f"[red]{measurement}: not measured, {outcome}[/]")
            continue
        for note in outcome.notes:
            console.print(f"{measurement}: {note}")
    console.print(
        f"{wanted.rounds} rounds of {wanted.seconds:g} s, alternating, {wanted.connections} connections; "
        f"{cores}.\n{machine()}."
    )
    return bars


def _values(outcomes: Mapping[str, Outcome | str]) -> dict[str, list[float]]:
    found = [outcome for outcome in outcomes.values() if isinstance(outcome, Outcome)]
    return {name: values for outcome in found for name, values in outcome.values.items()}


def markdown(bars: Sequence[Bar]) -> str:
    """Give the table as Markdown."""
    lines = ["| | at most | hope for | measured: median (min to max) | |", "|---|---|---|---|---|"]
    for bar in bars:
        row = bar.row
        measured = f"**{shown(bar.median, row)}** ({shown(bar.low, row)} to {shown(bar.high, row)})"
        cells = (row.title, shown(row.target, row), shown(row.hope, row), measured, row.state(bar.median))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(folder: Path, outcomes: Mapping[str, Outcome | str], bars: Sequence[Bar], wanted: Wanted) -> list[Path]:
    """Write JSON, Markdown and the chart; give their paths."""
    stem = folder / f"bench-{time.strftime('%Y%m%d-%H%M%S')}"
    content = {
        "machine": machine(),
        "load_average": os.getloadavg(),
        "wanted": asdict(wanted),
        "rows": [_row(bar) for bar in bars],
        "measurements": {
            name: {"failed": each} if isinstance(each, str) else asdict(each) for name, each in outcomes.items()
        },
    }
    made = {
        ".json": json.dumps(content, indent=2),
        ".md": f"{machine()}\n\n{markdown(bars)}",
        ".svg": draw(bars, machine()),
    }
    paths = []
    for ending, text in made.items():
        path = stem.with_suffix(ending)
        path.write_text(text)
        paths.append(path)
    return paths


def _row(bar: Bar) -> dict[str, object]:
    row: Row = bar.row
    return asdict(row) | {"min": bar.low, "median": bar.median, "max": bar.high, "state": row.state(bar.median)}
