"""How commands print: JSON for scripts; rows aligned for pipes, in colours on a terminal."""

import json
import sys
from typing import Any

import typer

_COLOURS = {
    "CONNECTED": "green",
    "PLANNED": "yellow",
    "SUSPENDED": "red",
    "OFFLINE": "red",
    "in force": "green",
    "not yet": "yellow",
    "over": "dim",
}


def print_json(value: Any) -> None:
    """Print a value as JSON for scripts."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(rows: list[dict[str, Any]]) -> None:
    """Print rows that all have the same names, of which there is one at least."""
    names = ["URL" if name == "url" else name.replace("_", " ").capitalize() for name in rows[0]]
    lines = [["" if value is None else printable(str(value)) for value in row.values()] for row in rows]
    if not sys.stdout.isatty():
        widths = [max(map(len, column)) for column in zip(names, *lines, strict=True)]
        for line in (names, *lines):
            typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")  # on a narrow terminal nothing is cut off
    for line in lines:
        table.add_row(*(Text(cell, _COLOURS.get(cell, "")) for cell in line))  # no markup: members chose the words
    Console().print(table)


def printable(text: str) -> str:
    """Give a text without what would steer a terminal."""
    return text if text.isprintable() else "".join(each if each.isprintable() else "?" for each in text)
