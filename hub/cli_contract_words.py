"""How the commands about contracts put rules into words."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import typer

from config.ocpi import ROLES, PartyID
from hub.cli_print import printable
from hub.cli_run import settings
from parties import contract_files as files
from parties.contracts import ANY, MODULES, Rule

if TYPE_CHECKING:
    from parties.store import Snapshot


def own_party() -> PartyID:
    """Give the hub's own party."""
    chosen = settings()
    return PartyID(chosen.country_code, chosen.party_id)


def sentence(rule: Rule) -> str:
    """Give a rule in words, like `rule 3, DE-ABC to *:CPO about locations is allowed`."""
    number = f"rule {rule.id}, " if rule.id else ""
    about = "everything" if rule.module == ANY else rule.module
    fields = files.fields_of(rule)
    dates = "".join(
        f", {word} {fields[name]}" for word, name in (("from", "valid_from"), ("until", "valid_until")) if fields[name]
    )
    return (
        f"{number}{rule.sender} to {rule.receiver} about {about} is {'allowed' if rule.allowed else 'refused'}{dates}"
    )


def in_general(is_open: bool) -> str:
    """Say what the network's default decides."""
    return "allowed: the network is open" if is_open else "not allowed: the network is closed"


def count(number: int) -> str:
    """Give a number of rules in words."""
    return f"{number} rule{'' if number == 1 else 's'}"


def note_unknown(rules: Iterable[Rule], known: "Snapshot") -> None:
    """Say on standard error what of rules is unknown here: it may be a slip, or be to come."""
    parties = {key for platform in known.platforms for key in platform.party_keys}
    modules = {ANY, *MODULES, *settings().custom_modules}
    sides = {selector for rule in rules for selector in (rule.sender, rule.receiver)}
    unknown = sorted({"-".join(side.party) for side in sides if side.party and side.party not in parties})
    roles = sorted({side.role for side in sides if side.role} - set(ROLES))
    others = sorted({rule.module for rule in rules} - modules)
    _note(unknown, "is not known here yet", "are not known here yet")
    _note(roles, "is no role of OCPI's", "are no roles of OCPI's")
    _note(others, "is no module that this hub routes", "are no modules that this hub routes")


def _note(names: Sequence[str], one: str, several: str) -> None:
    if names:
        shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
        typer.echo(f"Note: {printable(shown)} {one if len(names) == 1 else several}.", err=True)


def note_contrary(rules: Iterable[Rule], known: Iterable[Rule]) -> None:
    """Say when the very same is refused by another rule, which then decides."""
    refusals = {replace(rule, valid_from=None, valid_until=None).terms: rule for rule in known if not rule.allowed}
    for rule in rules:
        other = refusals.get(replace(rule, allowed=False, valid_from=None, valid_until=None).terms)
        if rule.allowed and other is not None and other.state(datetime.now(UTC)) in ("in force", "not yet"):
            typer.echo(f"Note: {sentence(other)}; of two rules as specific, the refusal decides.", err=True)
