"""Contracts as files, CSV and JSON: read, written, and compared with the rules there are."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from config.ocpi import PartyID
from parties.contracts import ANY, Rule, Selector

Form = Literal["json", "csv"]

FIELDS = ("from", "to", "module", "allowed", "valid_from", "valid_until")
REQUIRED = ("from", "to", "allowed")
_IGNORED = ("id", "state", "changed_at")
"""What `contract list --json` shows besides, so that its output can be read too."""
_PROBLEMS_SHOWN = 5

_YES_NO = {"true": True, "yes": True, "allow": True, "false": False, "no": False, "deny": False}


class ContractFileError(ValueError):
    """A file of contracts that cannot be read; the message names line and field of what is wrong."""


@dataclass(frozen=True, slots=True)
class Difference:
    """What leads from the rules there are to the rules there should be."""

    added: tuple[Rule, ...]
    removed: tuple[Rule, ...]
    kept: tuple[Rule, ...]
    """Known rules that a wanted one says again."""


def compare(known: Iterable[Rule], wanted: Iterable[Rule], *, replace: bool) -> Difference:
    """Give what is new in the wanted rules and, if they replace the known ones, what is not wanted any more.

    What stays keeps its number and its age, so that nobody is told of a change that is none.
    """
    current = [rule for rule in known if rule.removed_at is None]
    present = {rule.terms for rule in current}
    by_terms = {rule.terms: rule for rule in wanted}
    return Difference(
        added=tuple(rule for terms, rule in by_terms.items() if terms not in present),
        removed=tuple(rule for rule in current if replace and rule.terms not in by_terms),
        kept=tuple(rule for rule in current if rule.terms in by_terms),
    )


def form_of(name: str, content: str) -> Form:
    """Tell a file's form by the ending of its name, else by how it begins."""
    for form in ("json", "csv"):
        if name.lower().endswith(f".{form}"):
            return form
    return "json" if content.lstrip()[:1] in ("[", "{") else "csv"


def read_rules(content: str, form: Form, hub: PartyID) -> Iterator[Rule | str]:
    """Give each rule of a file or, in its place, what is wrong with it, like `line 3, from: ...`.

    Raises ContractFileError for a file that is no list of rules at all.
    """
    for where, values in _read_json(content) if form == "json" else _read_csv(content):
        if isinstance(values, str):
            yield f"{where}: {values}"
            continue
        unknown = [name for name in values if name not in FIELDS and name not in _IGNORED]
        missing = [name for name in REQUIRED if values.get(name) in (None, "")]
        if unknown or missing:
            name = (unknown or missing)[0]
            yield f"{where}, {name}: {'no field of a contract' if unknown else 'missing'}"
            continue
        try:
            yield read_rule(values, hub)
        except ValueError as exc:
            yield f"{where}, {exc}"


def require_all(read: Iterable[Rule | str]) -> list[Rule]:
    """Give the rules of a file, if all could be read. Raises ContractFileError with what could not."""
    rules: list[Rule] = []
    problems: list[str] = []
    for each in read:
        if isinstance(each, str):
            problems.append(each)
        else:
            rules.append(each)
    if problems:
        further = len(problems) - _PROBLEMS_SHOWN
        more = f"; and {further} more" if further > 0 else ""
        raise ContractFileError("; ".join(problems[:_PROBLEMS_SHOWN]) + more)
    return rules


def read_rule(values: Mapping[str, Any], hub: PartyID) -> Rule:
    """Read one rule from its fields. Raises ValueError that names the field."""
    sender, receiver = (_field(values, name, lambda value: read_party(value, hub)) for name in ("from", "to"))
    rule = Rule(
        sender,
        receiver,
        _field(values, "module", read_module),
        _field(values, "allowed", _read_allowed),
        _field(values, "valid_from", read_moment),
        _field(values, "valid_until", read_moment),
    )
    if rule.valid_from is not None and rule.valid_until is not None and rule.valid_from >= rule.valid_until:
        raise ValueError("valid_until: is not after valid_from")
    return rule


def _field(values: Mapping[str, Any], name: str, read: Callable[[Any], Any]) -> Any:
    try:
        return read(values.get(name))
    except ValueError as exc:
        raise ValueError(f"{name}: {exc}") from exc


def read_party(value: Any, hub: PartyID) -> Selector:
    """Read whom a rule is about. Raises ValueError, also for the hub, which is a party in no rule."""
    selector = Selector.parse(str(value))
    if selector.party == hub.key:
        raise ValueError(f"{hub} is this hub itself; contracts are between its members")
    return selector


def read_module(value: Any) -> str:
    """Read a ModuleID; nothing means every module. Raises ValueError for what cannot be one."""
    text = str(value or ANY).strip()
    if not text.isascii() or not text.isprintable() or any(each in text for each in " /,;"):
        raise ValueError(f"{text!r} is no module")
    return text


def read_moment(value: Any) -> datetime | None:
    """Read a date or time as ISO 8601 has it, in UTC unless it says otherwise; a date is its first moment.

    Raises ValueError with what is expected.
    """
    if value in (None, ""):
        return None
    try:
        moment = datetime.fromisoformat(str(value).strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        raise ValueError(f"{value!r} is no date: 2026-12-31 or 2026-12-31T18:00:00Z is expected") from exc


def _read_allowed(value: Any) -> bool:
    found = _YES_NO.get(str(value).strip().lower())
    if found is None:
        raise ValueError(f"{value!r} is neither true nor false")
    return found


def _read_json(content: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    try:
        values = orjson.loads(content)
    except orjson.JSONDecodeError as exc:
        raise ContractFileError(f"line {exc.lineno}: not JSON ({exc.msg})") from exc
    if not isinstance(values, list):
        raise ContractFileError("a list of rules is expected: [{...}, ...]")
    for number, value in enumerate(values, 1):
        yield f"rule {number}", value if isinstance(value, dict) else "is no object"


def _read_csv(content: str) -> Iterator[tuple[str, Mapping[str, Any] | str]]:
    head = content.partition("\n")[0]
    delimiter = ";" if ";" in head and "," not in head else ","  # as spreadsheets write it where 1,5 is a number
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    try:
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            where = f"line {reader.line_num}"
            if names is None:
                names = [name.strip().lower() for name in row]
                if missing := [name for name in REQUIRED if name not in names]:
                    raise ContractFileError(f"{where}: the heading lacks {missing[0]}; known are {', '.join(FIELDS)}")
            elif len(row) != len(names):
                yield where, f"has {len(row)} fields, the heading {len(names)}"
            else:
                yield where, dict(zip(names, row, strict=True))
    except csv.Error as exc:
        raise ContractFileError(f"line {reader.line_num}: not CSV ({exc})") from exc
    if names is None:
        raise ContractFileError("it is empty; a heading is expected")


def shown(rule: Rule, now: datetime) -> dict[str, Any]:
    """Give a rule as `contract list --json` shows it: what a file has of it, and its number, state and age."""
    return {
        "id": rule.id,
        **fields_of(rule),
        "state": rule.state(now),
        "changed_at": _text(rule.changed_at),
    }


def fields_of(rule: Rule) -> dict[str, Any]:
    """Give a rule as a file has it."""
    return {
        "from": str(rule.sender),
        "to": str(rule.receiver),
        "module": rule.module,
        "allowed": rule.allowed,
        "valid_from": _text(rule.valid_from),
        "valid_until": _text(rule.valid_until),
    }


def write_csv(rules: Iterable[Rule]) -> str:
    """Give rules as CSV with a heading."""
    text = io.StringIO()
    writer = csv.DictWriter(text, FIELDS, lineterminator="\n")
    writer.writeheader()
    for rule in rules:
        fields = fields_of(rule)
        writer.writerow(fields | {"allowed": str(rule.allowed).lower()})
    return text.getvalue()


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
