"""`ocpi-hub party ...`: the members."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from config.ocpi import ROLES, OCPIError, PartyID
from hub.cli_opened import opened_caller, opened_members, run_on_members
from hub.cli_print import print_json, print_table
from hub.cli_run import JSON, fail, settings
from hub.cli_show import platform_json, print_platform, show_json
from parties.model import Platform, Role
from parties.tokens import Secret

if TYPE_CHECKING:
    from hub.members import Members

party_app = typer.Typer(help="Members: invite, connect, list, suspend, remove, and so on.", no_args_is_help=True)

RoleArguments = Annotated[list[str], typer.Argument(metavar="DE-ABC:ROLE...", help="Parties, each with its role.")]
PartyArgument = Annotated[str, typer.Argument(metavar="DE-ABC[:ROLE]", help="A party, or a party in one role.")]
NameOption = Annotated[str | None, typer.Option("--name", help="What to call the platform.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def _roles(texts: Iterable[str]) -> list[Role]:
    try:
        roles = [Role.parse(text) for text in texts]
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    for role in roles:
        if role.role not in ROLES:
            typer.echo(f"Note: {role.role} is no role of OCPI's; those are {', '.join(ROLES)}.", err=True)
    return roles


def _party(text: str) -> tuple[PartyID, str | None]:
    try:
        if ":" in text:
            role = Role.parse(text)
            return role.party, role.role
        return PartyID.parse(text), None
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


@party_app.command()
def invite(
    roles: RoleArguments,
    name: NameOption = None,
    version: Annotated[str, typer.Option("--version", help="The OCPI version the platform will use.")] = "2.2.1",
    as_json: JSON = False,
) -> None:
    """Make a CREDENTIALS_TOKEN_A with which a platform can register these parties and roles, or some of them.

    Inviting again replaces a lost or unused token.
    """
    from config.operations import VERSIONS

    if version not in VERSIONS:
        raise typer.BadParameter(f"this hub speaks OCPI {', '.join(VERSIONS)}", param_hint="--version")
    wanted = _roles(roles)

    async def work() -> None:
        async with opened_members() as members:
            made = await members.invite(wanted, name)
        expires = made.expires_at.isoformat(timespec="seconds")
        if as_json:
            print_json(
                {
                    "platform": made.platform_id,
                    "versions_url": made.versions_url,
                    "token": made.token.reveal(),
                    "expires_at": expires,
                }
            )
            return
        typer.echo(f"Platform {made.platform_id}: {', '.join(str(role) for role in wanted)}")
        typer.echo("Give these two to the member over a secure channel; the token is not shown again.\n")
        typer.echo(f"  Versions URL         {made.versions_url}")
        typer.echo(f"  CREDENTIALS_TOKEN_A  {made.token.reveal()}\n")
        typer.echo(f"The token can be used until {expires}; `ocpi-hub party invite` again replaces it.")

    run_on_members(work)


@party_app.command()
def connect(
    versions_url: Annotated[str, typer.Argument(help="The versions URL the platform gave you.")],
    token: Annotated[str, typer.Option("--token", help="The CREDENTIALS_TOKEN_A it gave you.")],
    party: Annotated[
        list[str] | None,
        typer.Option("--party", metavar="DE-ABC:ROLE", help="A party and role agreed; may be repeated."),
    ] = None,
    name: NameOption = None,
    as_json: JSON = False,
) -> None:
    """Register the hub at a platform that gave you a token. The hub must be running: the platform calls it back."""
    agreed = _roles(party or ())
    tell = _quiet if as_json else _step

    async def work() -> None:
        from hub.members import MemberError

        async with opened_caller() as (members, caller):
            await members.check_public_url()
            tell(f"The hub answers at {settings().versions_url}.")
            secret = Secret(token)
            found = await members.discover(versions_url, secret, caller, tell)
            roles = agreed
            if not roles:
                try:
                    claimed = await members.claimed_roles(found, secret, caller)
                except OCPIError as exc:
                    raise MemberError(
                        f"It does not say for whom it speaks ({exc.message}) Name the parties with --party."
                    ) from exc
                tell(f"It speaks for {', '.join(str(role) for role in claimed)}.")
                if as_json or not sys.stdin.isatty() or not typer.confirm("Let these take part?"):
                    raise MemberError("Name the parties that may take part with --party DE-ABC:ROLE.")
                roles = list(claimed)
            platform = await members.connect(found, secret, roles, caller, tell, name)
        if as_json:
            print_json(platform_json(platform))

    run_on_members(work)


@party_app.command("list")
def list_parties(as_json: JSON = False) -> None:
    """Show every party and role, its status and its platform."""

    async def work() -> None:
        async with opened_members() as members:
            platforms = await members.platforms()
        rows = [
            {
                "party": str(role.party),
                "role": role.role,
                "status": platform.status_of(role).value,
                "platform": platform.id,
                "name": platform.name,
                "version": platform.version,
            }
            for platform in platforms
            for role in platform.roles
        ]
        if as_json:
            print_json(rows)
        elif rows:
            print_table(rows)
        else:
            typer.echo("There are no parties yet. Invite one with: ocpi-hub party invite DE-ABC:EMSP")

    run_on_members(work)


@party_app.command()
def show(party: PartyArgument, as_json: JSON = False) -> None:
    """Show a party's platform: its roles, endpoints, switches, broadcasts to it and readings of its lists."""
    wanted, role = _party(party)

    async def look() -> None:
        async with opened_members() as members:
            platform = await members.platform_of(wanted, role)
            pulls = await members.pulls(platform)
            work = await members.work(platform)
        shown = show_json(platform, pulls, work, reads=platform.switches.pull and settings().pulls)
        if as_json:
            print_json(shown)
        else:
            print_platform(shown)

    run_on_members(look)


@party_app.command()
def allow(
    role: Annotated[str, typer.Argument(metavar="DE-ABC:ROLE", help="The party and role to allow.")],
    on: Annotated[
        str | None, typer.Option("--on", metavar="DE-XYZ", help="A party of the platform, if DE-ABC is new to it.")
    ] = None,
    as_json: JSON = False,
) -> None:
    """Let a registered platform add a party or role with its next PUT credentials."""
    (wanted,) = _roles([role])
    holder = _party(on) if on else (wanted.party, None)

    async def work() -> None:
        async with opened_members() as members:
            platform = await members.platform_of(*holder)
            await members.allow(wanted, platform)
            await _tell(members, platform.id, as_json, f"{wanted} may be registered by {platform}.")

    run_on_members(work)


@party_app.command()
def suspend(party: PartyArgument, as_json: JSON = False) -> None:
    """Let a party take part no more, until it is resumed. Other parties of its platform go on."""
    _suspend(party, suspended=True, as_json=as_json)


@party_app.command()
def resume(party: PartyArgument, as_json: JSON = False) -> None:
    """Let a suspended party take part again."""
    _suspend(party, suspended=False, as_json=as_json)


def _suspend(text: str, *, suspended: bool, as_json: bool) -> None:
    party, role = _party(text)

    async def work() -> None:
        async with opened_members() as members:
            await members.suspend(party, role, suspended=suspended)
            if as_json:
                print_json([platform_json(each) for each in await members.platforms() if party.key in each.party_keys])
            else:
                typer.echo(f"{text} is {'suspended' if suspended else 'taking part again'}.")

    run_on_members(work)


@party_app.command()
def remove(party: PartyArgument, yes: YesOption = False, as_json: JSON = False) -> None:
    """End the registration of a party's platform, with all its parties. Its tokens are void at once."""
    wanted, role = _party(party)

    async def work() -> None:
        async with opened_caller() as (members, caller):
            platform = await members.platform_of(wanted, role)
            _confirm(platform, "End the registration", yes)
            await members.remove(platform, caller, _quiet if as_json else _step)
            done = f"{platform} is removed. `ocpi-hub party invite` opens the door again."
            await _tell(members, platform.id, as_json, done)

    run_on_members(work)


@party_app.command()
def rotate(party: PartyArgument, yes: YesOption = False, as_json: JSON = False) -> None:
    """Exchange both credentials tokens with a party's platform. The hub must be running: it is called back."""
    wanted, role = _party(party)

    async def work() -> None:
        async with opened_caller() as (members, caller):
            platform = await members.platform_of(wanted, role)
            await members.check_public_url()
            tell = _quiet if as_json else _step
            tell(f"The hub answers at {settings().versions_url}.")
            _confirm(platform, "Rotate the tokens", yes)
            await members.rotate(platform, caller, tell)
            if as_json:
                print_json(platform_json(await members.platform_of(wanted, role)))

    run_on_members(work)


@party_app.command("set")
def set_switches(
    party: PartyArgument,
    switches: Annotated[list[str], typer.Argument(metavar="NAME=VALUE...", help="What to set.")],
    yes: YesOption = False,
    as_json: JSON = False,
) -> None:
    """Set how a party's platform is dealt with.

    [bold]name[/bold]=TEXT                     what to call it
    [bold]token[/bold]=auto|base64|raw         how credentials tokens are sent to it
    [bold]foreign_owner[/bold]=on|off          may URLs of its pushes name another owner?
    [bold]pull[/bold]=on|off                   does the hub read its Sender lists?
    [bold]catch_up[/bold]=on|off               does it get, once it is back, what it missed?
    [bold]owner_as_sender[/bold]=on|off        do broadcasts to it name the owner as sender?
    [bold]origins[/bold]=URL,...               further origins for its response_urls
    [bold]endpoint.MODULE.SENDER[/bold]=URL    an endpoint it does not publish, or publishes
    [bold]endpoint.MODULE.RECEIVER[/bold]=URL  wrongly; an empty URL takes it back
    """
    wanted, role = _party(party)

    async def work() -> None:
        from hub.server import make_guard

        async with opened_members() as members:
            platform = await members.platform_of(wanted, role)
            _confirm(platform, "Change", yes)
            names = [each.partition("=")[2] for each in switches if each.startswith("name=")]
            others = [each for each in switches if not each.startswith("name=")]
            await members.set_switches(platform, others, make_guard(settings()))
            for name in names:
                await members.set_name(platform, name)
            await _tell(members, platform.id, as_json, f"{platform}: {', '.join(switches)}")

    run_on_members(work)


async def _tell(members: "Members", platform_id: int, as_json: bool, text: str) -> None:
    """Say what was done, or show the platform as it is now."""
    if as_json:
        print_json(next(platform_json(each) for each in await members.platforms() if each.id == platform_id))
    else:
        typer.echo(text)


def _confirm(platform: Platform, what: str, yes: bool) -> None:
    """Name every party that a change of the platform hits, and ask when there are several."""
    hit = ", ".join(str(role) for role in platform.roles)
    typer.echo(f"Platform {platform.id} serves {hit}.", err=True)
    if yes or len({role.party.key for role in platform.roles}) < 2:
        return
    if not sys.stdin.isatty():
        raise fail("This hits several parties; say --yes if that is meant.")
    if not typer.confirm(f"{what} for all of them?"):
        raise typer.Exit(1)


def _step(text: str) -> None:
    typer.echo(f"  {text}")


def _quiet(_: str) -> None:
    pass
