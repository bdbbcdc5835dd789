"""`ocpi-hub contract export` and `ocpi-hub contract import`."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli_contract_words import count, note_unknown, own_party, sentence
from hub.cli_opened import opened_database
from hub.cli_print import print_json, printable
from hub.cli_run import JSON, fail, run_async
from parties import contract_files as files
from parties.contracts import Rule

_BATCH = 1000


def export_contracts(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="Where to; else standard output.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON, whatever FILE is called.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV, even to a FILE that ends in .json.")] = False,
) -> None:
    """Write every rule, as CSV or JSON, for `contract import`."""
    if as_json and as_csv:
        raise typer.BadParameter("--json and --csv exclude each other")
    form = "json" if as_json or (not as_csv and file is not None and file.suffix.lower() == ".json") else "csv"

    async def work() -> None:
        async with opened_database() as opened:
            known = await opened.read()
        rules = [rule for rule in known.rules if rule.removed_at is None]
        if file is None or str(file) == "-":
            _write(sys.stdout, rules, form)
            return
        try:
            with file.open("w", encoding="utf-8", newline="") as out:
                _write(out, rules, form)
        except OSError as exc:
            raise fail(f"{file} cannot be written: {exc.strerror}.") from exc
        typer.echo(f"{count(len(rules))} written to {file}.", err=True)

    run_async(work)


def _write(out: Any, rules: Sequence[Rule], form: str) -> None:
    if form == "csv":
        out.write(files.write_csv(rules))
    else:
        out.write(json.dumps([files.fields_of(rule) for rule in rules], indent=2) + "\n")


def import_contracts(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV or JSON, as `contract export` writes it; - reads standard input."),
    ],
    replace_all: Annotated[bool, typer.Option("--replace", help="Remove every rule that is not in the file.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; only show what would change.")] = False,
    as_json: JSON = False,
) -> None:
    """Add the rules of a file, all or none of them. A rule that is there already stays as it is."""
    hub = own_party()
    try:
        content = (sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()).decode("utf-8-sig")
        form = files.form_of(file.name, content)
        with _progress("Reading", content.count("\n" if form == "csv" else "{"), quiet=as_json) as advance:
            wanted = files.require_all(advance(files.read_rules(content, form, hub)))
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise fail(f"{file} cannot be read: {reason}.") from exc
    except files.ContractFileError as exc:
        raise fail(f"{file}: {printable(str(exc))}. Nothing was imported.") from exc

    async def work() -> None:
        from parties import store

        async with opened_database() as opened:
            known = await opened.read()
            if dry_run:
                difference = files.compare(known.rules, wanted, replace=replace_all)
            else:
                async with opened.database.changing() as connection:
                    rules = await store.read_contracts(connection)
                    difference = files.compare(rules, wanted, replace=replace_all)
                    await store.remove_contracts(connection, (rule.id for rule in difference.removed if rule.id))
                    batches = range(0, len(difference.added), _BATCH)
                    with _progress("Storing", len(batches), quiet=as_json) as advance:
                        for start in advance(batches):
                            await store.add_contracts(connection, difference.added[start : start + _BATCH])
        note_unknown(wanted, known)
        _report(difference, dry_run, as_json)

    run_async(work)


def _report(difference: files.Difference, dry_run: bool, as_json: bool) -> None:
    added, removed, kept = len(difference.added), len(difference.removed), len(difference.kept)
    if as_json:
        print_json({"added": added, "removed": removed, "kept": kept, "dry_run": dry_run})
        return
    if dry_run:
        for sign, rules in (("-", difference.removed), ("+", difference.added)):
            for rule in rules:
                typer.echo(f"{sign} {sentence(rule)}")
    would = "Nothing was changed; it would be: " if dry_run else ""
    typer.echo(f"{would}{count(added)} added, {removed} removed, {kept} there already.")


Advance = Callable[[Iterable[Any]], Iterable[Any]]


@contextmanager
def _progress(what: str, total: int, *, quiet: bool) -> Iterator[Advance]:
    """Show how far something long has come, on a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda items: items
        return
    from rich.console import Console
    from rich.progress import track

    yield lambda items: track(items, what, total, console=Console(stderr=True), transient=True)
