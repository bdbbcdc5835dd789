"""What a soak prints and writes down."""

import json
import platform
import statistics
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.soak.checks import thirds
from tests.soak.soak import Soak

_OUTCOMES = ("delivered", "refused", "failed", "skipped", "collapsed")
_SHOWN_PROBLEMS = 8


def figures(soak: Soak) -> dict[str, Any]:
    """Give everything counted, ready for JSON."""
    lags = soak.arrivals.lags
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "seconds": soak.wish.seconds,
        "platforms": soak.wish.platforms,
        "seed": soak.wish.seed,
        "rate": soak.wish.rate,
        "stages": {name: round(seconds, 1) for name, seconds in soak.seconds.items()},
        "changes": dict(sorted(soak.changes.made.items())),
        "changes_passed_over": soak.changes.passed_over,
        "answers_to_pushes": _sum(member.answers for member in soak.members),
        "conversations": dict(sorted(soak.conversations.answers.items())),
        "received": dict(sorted(soak.arrivals.by_module.items())),
        "deliveries": {outcome: soak.hubs.total("ocpi_hub_deliveries_total", outcome=outcome) for outcome in _OUTCOMES},
        "repeats": len(soak.arrivals.repeats),
        "lag_seconds": {
            "median": round(statistics.median(lags.sample), 4) if lags.sample else None,
            "p99": round(statistics.quantiles(lags.sample, n=100)[98], 4) if len(lags.sample) > 1 else None,
            "max": round(lags.longest, 3),
            "count": lags.count,
        },
        "disturbances": dict(sorted(soak.disturbances.done.items())),
        "platforms_away": sum(member.was_away for member in soak.members),
        "of_them_brought_up_to_date_by_the_hub": sum(member.was_away and member.catches_up for member in soak.members),
        "takeovers": soak.takeovers,
        "usage": {hub.name: _usage(hub.lives) for hub in soak.hubs.processes},
        "log": {hub.name: dict(hub.complaints) for hub in soak.hubs.processes},
        "checks": [
            {"name": check.name, "passed": check.passed, "looked_at": check.looked_at, "problems": len(check.problems)}
            for check in soak.checks
        ],
    }


def show(console: Console, soak: Soak) -> None:
    """Print the tables."""
    found = figures(soak)
    facts = Table("What", "How much", box=None, pad_edge=False)
    for name in ("changes", "answers_to_pushes", "conversations", "received", "deliveries", "disturbances"):
        facts.add_row(name.replace("_", " "), ", ".join(f"{key} {value}" for key, value in found[name].items()))
    lag = found["lag_seconds"]
    facts.add_row("lag, of healthy receivers", f"median {lag['median']} s, p99 {lag['p99']} s, max {lag['max']} s")
    for name in ("repeats", "takeovers", "platforms_away", "of_them_brought_up_to_date_by_the_hub"):
        facts.add_row(name.replace("_", " "), str(found[name]))
    console.print(facts)
    usage = Table(
        "Hub", "Life of", "Memory MB: begin", "middle", "end", "Connections: begin", "middle", "end", "Files: end"
    )
    for hub, rows in found["usage"].items():
        for row in rows:
            cells = [*row["memory"], *row["connections"], row["files"][-1]]
            usage.add_row(hub, f"{row['samples']} samples", *(f"{cell:.0f}" for cell in cells))
    console.print(usage)
    verdicts = Table("Check", "", "Compared", "Problems")
    for check in soak.checks:
        said = "[green]PASS[/]" if check.passed else "[bold red]FAIL[/]"
        verdicts.add_row(check.name, said, str(check.looked_at), str(len(check.problems)))
    console.print(verdicts)
    for check in soak.checks:
        for problem in check.problems[:_SHOWN_PROBLEMS]:
            console.print(f"[red]{escape(check.name)}[/]: {escape(problem)}", highlight=False, soft_wrap=True)


def write(soak: Soak, folder: Path) -> Path:
    """Write the figures as JSON; give where."""
    folder.mkdir(exist_ok=True)
    path = folder / f"soak-{time.strftime('%Y%m%d-%H%M%S')}.json"
    path.write_text(json.dumps(figures(soak), indent=2, ensure_ascii=False))
    return path


def _usage(lives: list[Any]) -> list[dict[str, Any]]:
    rows = []
    for life in lives:
        parts = thirds(life)
        rows.append(
            {
                "samples": len(life.samples),
                "memory": [round(part.memory, 1) for part in parts],
                "connections": [part.connections for part in parts],
                "files": [part.files for part in parts],
            }
        )
    return rows


def _sum(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for each in counts:
        for name, number in each.items():
            total[name] = total.get(name, 0) + number
    return dict(sorted(total.items()))
