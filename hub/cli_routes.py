"""`ocpi-hub routes`: the routing table, to look at."""

import typer

from config.ocpi import ConnectionStatus
from hub.cli_opened import opened_members, run_on_members
from hub.cli_print import print_json, print_table
from hub.cli_run import JSON
from parties.model import Platform


def routes(as_json: JSON = False) -> None:
    """Show the routing table as the hub sees it: who is reached where."""

    async def work() -> None:
        async with opened_members() as members:
            platforms = await members.platforms()
        rows = [
            {
                "party": str(party),
                "roles": ",".join(sorted(role.role for role in platform.roles if role.party.key == key)),
                "status": _status(platform, key),
                "platform": platform.id,
                "module": module,
                "interface": interface,
                "url": url,
            }
            for platform in platforms
            for key, party in {role.party.key: role.party for role in platform.roles}.items()
            for (module, interface), url in _endpoints(platform)
            if module not in ("credentials", "hubclientinfo")
        ]
        if as_json:
            print_json(rows)
        elif rows:
            print_table(rows)
        else:
            typer.echo("There are no parties yet. Invite one with: ocpi-hub party invite DE-ABC:EMSP")

    run_on_members(work)


def _endpoints(platform: Platform) -> list[tuple[tuple[str, str], str]]:
    return [*sorted(platform.endpoints.items())] or [(("-", "-"), "-")]


def _status(platform: Platform, key: tuple[str, str]) -> str:
    """Give the best status of a party's roles, which is what it can be reached by."""
    statuses = {platform.status_of(role) for role in platform.roles if role.party.key == key}
    return next(status.value for status in ConnectionStatus if status in statuses)
