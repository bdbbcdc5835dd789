"""`ocpi-hub contract ...`: who may talk to whom, about which module, in which direction."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from config.ocpi import InterfaceRole, PartyID
from hub.cli_contract_files import export_contracts, import_contracts
from hub.cli_contract_words import in_general, note_contrary, note_unknown, own_party, sentence
from hub.cli_opened import opened_database
from hub.cli_print import print_json, print_table
from hub.cli_run import JSON, fail, run_async, settings
from parties import contract_files as files
from parties.contracts import ANY, Contracts, Decision, Rule, Selector

contract_app = typer.Typer(
    help="Contracts: who may talk to whom, about which module, in which direction.", no_args_is_help=True
)
contract_app.command("export")(export_contracts)
contract_app.command("import")(import_contracts)

_PARTIES_HELP = "*, *:CPO, NL-ABC or NL-ABC:CPO"

FromArgument = Annotated[str, typer.Argument(metavar="FROM", help=f"Who sends the requests: {_PARTIES_HELP}.")]
ToArgument = Annotated[str, typer.Argument(metavar="TO", help=f"Who receives them: {_PARTIES_HELP}.")]
ModuleOption = Annotated[
    list[str] | None, typer.Option("--module", metavar="MODULE", help="Of this module only; may be repeated.")
]
BothOption = Annotated[bool, typer.Option("--both", help="Also in the other direction, from TO to FROM.")]


@contract_app.command()
def add(
    sender: FromArgument,
    receiver: ToArgument,
    module: ModuleOption = None,
    deny: Annotated[bool, typer.Option("--deny", help="Refuse these requests instead of allowing them.")] = False,
    valid_from: Annotated[
        str | None, typer.Option("--from", metavar="DATE", help="When it begins: 2026-01-31, or with a time; UTC.")
    ] = None,
    valid_until: Annotated[
        str | None,
        typer.Option("--until", metavar="DATE", help="When it ends: the first day or moment at which it is over; UTC."),
    ] = None,
    both: BothOption = False,
    as_json: JSON = False,
) -> None:
    """Allow requests from one party to another, or refuse them; running hubs follow within a second.

    Of several rules about a request the most specific one decides: of all, those
    that name more parties; of these, more roles; then the module; then a refusal.
    """
    fields = {"allowed": str(not deny), "valid_from": valid_from, "valid_until": valid_until}
    rules = [
        _rule(fields | {"from": one, "to": other, "module": name})
        for one, other in _directions(sender, receiver, both)
        for name in module or (ANY,)
    ]

    async def work() -> None:
        from parties import store

        async with opened_database() as opened:
            known = await opened.read()
            async with opened.database.changing() as connection:
                difference = files.compare(await store.read_contracts(connection), rules, replace=False)
                added = await store.add_contracts(connection, difference.added)
        note_unknown(rules, known)
        note_contrary(rules, known.rules)
        if as_json:
            print_json([files.shown(rule, datetime.now(UTC)) for rule in (*difference.kept, *added)])
            return
        for rule in difference.kept:
            typer.echo(f"There already: {sentence(rule)}")
        for rule in added:
            typer.echo(f"Added: {sentence(rule)}")

    run_async(work)


@contract_app.command()
def remove(
    what: Annotated[list[str], typer.Argument(metavar="ID... | FROM TO", help="Rules by number, or by their parties.")],
    module: ModuleOption = None,
    both: BothOption = False,
    as_json: JSON = False,
) -> None:
    """Remove rules: those with these numbers, or all from FROM to TO, written as `contract list` shows them."""
    choose = _chooser(what, module or (), both)

    async def work() -> None:
        from parties import store

        async with opened_database() as opened, opened.database.changing() as connection:
            chosen = choose([rule for rule in await store.read_contracts(connection) if rule.removed_at is None])
            await store.remove_contracts(connection, (rule.id for rule in chosen if rule.id is not None))
        if as_json:
            print_json([files.shown(rule, datetime.now(UTC)) for rule in chosen])
            return
        for rule in chosen:
            typer.echo(f"Removed: {sentence(rule)}")

    run_async(work)


def _chooser(what: Sequence[str], modules: Sequence[str], both: bool) -> Callable[[list[Rule]], list[Rule]]:
    """Give what picks the rules meant; it ends the command when one of them is not there."""
    if all(each.isascii() and each.isdigit() for each in what):
        ids = {int(each) for each in what}

        def by_number(rules: list[Rule]) -> list[Rule]:
            if missing := sorted(ids - {rule.id for rule in rules}):
                raise fail(f"There is no rule {missing[0]}; `ocpi-hub contract list` shows all. Nothing was removed.")
            return [rule for rule in rules if rule.id in ids]

        return by_number
    if len(what) != 2:
        raise typer.BadParameter("numbers of rules, or FROM and TO, are expected")
    sides = {(_selector(one), _selector(other)) for one, other in _directions(what[0], what[1], both)}

    def by_parties(rules: list[Rule]) -> list[Rule]:
        found = [
            rule for rule in rules if (rule.sender, rule.receiver) in sides and (not modules or rule.module in modules)
        ]
        if not found:
            raise fail(f"There is no rule from {what[0]} to {what[1]}; `ocpi-hub contract list` shows all.")
        return found

    return by_parties


@contract_app.command("list")
def list_contracts(as_json: JSON = False) -> None:
    """Show every rule, and whether it is in force."""
    is_open = settings().network == "open"

    async def work() -> None:
        async with opened_database() as opened:
            known = await opened.read()
        now = datetime.now(UTC)
        rows = [files.shown(rule, now) for rule in known.rules if rule.removed_at is None]
        if as_json:
            print_json(rows)
            return
        if rows:
            print_table(
                [
                    {name: value for name, value in row.items() if name != "changed_at"}
                    | {"allowed": "yes" if row["allowed"] else "no"}
                    for row in rows
                ]
            )
        typer.echo(f"What no rule is about is {in_general(is_open)} (OCPI_HUB_NETWORK).")

    run_async(work)


@contract_app.command()
def check(
    sender: Annotated[str, typer.Argument(metavar="FROM", help="The party that would send a request, like DE-ABC.")],
    receiver: Annotated[str, typer.Argument(metavar="TO", help="The party that would receive it, like NL-XYZ.")],
    module: Annotated[str, typer.Argument(metavar="MODULE", help="The module it is about, like locations.")],
    interface: Annotated[
        str | None,
        typer.Option(
            "--interface",
            metavar="SENDER|RECEIVER",
            help="The interface called; else those that TO hosts in its roles.",
        ),
    ] = None,
    as_json: JSON = False,
) -> None:
    """Say whether a request is allowed, and by which rule. The exit code is 0 either way."""
    one, other = _party(sender), _party(receiver)
    interfaces = _interfaces(interface)
    is_open = settings().network == "open"
    module = _module(module)

    async def work() -> None:
        async with opened_database() as opened:
            known = await opened.read()
        note_unknown([Rule(Selector(one.key), Selector(other.key), module, True)], known)
        now = datetime.now(UTC)
        contracts = Contracts(known.rules, known.platforms, is_open=is_open, now=now)
        decisions = {
            each: contracts.decide(one.key, other.key, module, each)
            for each in interfaces or contracts.interfaces(other.key, module)
        }
        if as_json:
            print_json(_checked(one, other, module, is_open, decisions, now))
            return
        for each, decision in decisions.items():
            typer.echo(f"{one} to {other}, {each} interface of {module}: {_because(decision)}")

    run_async(work)


def _checked(
    sender: PartyID,
    receiver: PartyID,
    module: str,
    is_open: bool,
    decisions: dict[InterfaceRole, Decision],
    now: datetime,
) -> dict[str, Any]:
    return {
        "from": str(sender),
        "to": str(receiver),
        "module": module,
        "network": "open" if is_open else "closed",
        "decisions": [
            {
                "interface": interface,
                "allowed": decision.allowed,
                "rule": files.shown(decision.rule, now) if decision.rule else None,
            }
            for interface, decision in decisions.items()
        ],
    }


def _because(decision: Decision) -> str:
    if decision.rule is None:
        return f"{in_general(decision.allowed)}, and no rule is about it."
    return f"{'allowed' if decision.allowed else 'not allowed'} by {sentence(decision.rule)}."


def _interfaces(text: str | None) -> tuple[InterfaceRole, ...]:
    match (text or "").upper():
        case "":
            return ()
        case "SENDER":
            return ("SENDER",)
        case "RECEIVER":
            return ("RECEIVER",)
    raise typer.BadParameter("SENDER or RECEIVER is expected", param_hint="--interface")


def _module(text: str) -> str:
    try:
        return files.read_module(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc), param_hint="MODULE") from exc


def _directions(sender: str, receiver: str, both: bool) -> list[tuple[str, str]]:
    return [(sender, receiver), (receiver, sender)] if both else [(sender, receiver)]


def _rule(fields: dict[str, Any]) -> Rule:
    try:
        return files.read_rule(fields, own_party())
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _selector(text: str) -> Selector:
    try:
        return Selector.parse(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _party(text: str) -> PartyID:
    try:
        party = PartyID.parse(text)
        files.read_party(str(party), own_party())
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    return party
