"""A platform as the commands show it: as JSON for scripts, or as lines to read."""

from typing import TYPE_CHECKING, Any

import typer

from config.ocpi import format_time
from hub.cli_print import printable
from hub.switches import written
from parties.model import Platform

if TYPE_CHECKING:
    from collections.abc import Iterable

    import asyncpg

    from parties.pulls import Pull
    from routing.pulling import SenderList


def platform_json(platform: Platform) -> dict[str, Any]:
    """Give a platform as `--json` has it everywhere."""
    return {
        "platform": platform.id,
        "name": platform.name,
        "state": platform.state,
        "version": platform.version,
        "versions_url": platform.versions_url,
        "token_form": "base64" if platform.sends_base64 else "raw",
        "parties": [
            {"party": str(role.party), "role": role.role, "status": platform.status_of(role).value}
            for role in platform.roles
        ],
        "endpoints": [
            {"module": module, "interface": interface, "url": url}
            for (module, interface), url in sorted(platform.endpoints.items())
        ],
        "switches": written(platform.switches),
    }


def _pull_json(listed: "SenderList", pull: "Pull", *, reads: bool) -> dict[str, Any]:
    return {
        "party": str(listed.party),
        "module": listed.module,
        "state": pull.state if reads else "off",
        "objects": pull.objects,
        "total": pull.total,
        "finished_at": format_time(pull.finished_at) if pull.finished_at else None,
        "due_at": format_time(pull.due_at) if pull.due_at and reads else None,
        "problem": pull.problem,
    }


def _pull_line(pull: dict[str, Any]) -> str:
    number = str(pull["objects"]) if pull["total"] is None else f"{pull['objects']}/{pull['total']}"
    line = f"{pull['party']:<8} {pull['module']:<10} {pull['state']:<8} {number:>12}"
    if pull["finished_at"]:
        line += f"  read {pull['finished_at']}"
    if pull["due_at"] and pull["state"] in ("done", "failed"):
        line += f"  next {pull['due_at']}"
    return f"{line}  {printable(pull['problem'])}" if pull["problem"] else line


def show_json(
    platform: Platform,
    pulls: "Iterable[tuple[SenderList, Pull]]",
    work: "asyncpg.Record | None",
    *,
    reads: bool,
) -> dict[str, Any]:
    """Give a platform with what the hub does for it; `reads`: whether its lists are read at all."""
    return platform_json(platform) | {
        "broadcasts": _work_json(work) if work is not None else None,
        "pulls": [_pull_json(*each, reads=reads) for each in pulls],
    }


def _work_json(work: "asyncpg.Record") -> dict[str, Any]:
    def moment(name: str) -> str | None:
        return format_time(work[name]) if work[name] else None

    return {
        "by": f"{work['host']}:{work['pid']}" if work["host"] else None,
        "waiting": work["waiting"],
        "oldest_at": moment("oldest_at"),
        "delivered": work["delivered"],
        "failed": work["failed"],
        "skipped": work["skipped"],
        "last_seen": moment("last_seen"),
        "told_until": moment("told_until"),
    }


def print_platform(shown: dict[str, Any]) -> None:
    """Print what `show_json` gave."""
    version = f", OCPI {shown['version']}" if shown["version"] else ""
    typer.echo(f"Platform {shown['platform']}  {printable(shown['name'])}".rstrip())
    typer.echo(f"  State      {shown['state']}{version}")
    typer.echo(f"  Versions   {shown['versions_url'] or '-'}")
    is_base64 = shown["token_form"] == "base64"  # noqa: S105
    typer.echo(f"  Tokens     sent {'in Base64' if is_base64 else 'raw'} ({shown['switches']['token']})")
    if (work := shown["broadcasts"]) is not None:
        typer.echo(f"  Last seen  {work['last_seen'] or '-'}")
    typer.echo("  Parties")
    for each in shown["parties"]:
        typer.echo(f"    {each['party']:<8} {each['role']:<6} {each['status']}")
    typer.echo("  Endpoints" if shown["endpoints"] else "  Endpoints  none yet")
    for each in shown["endpoints"]:
        typer.echo(f"    {each['module']:<18} {each['interface']:<9} {each['url']}")
    typer.echo("  Switches")
    for key, value in shown["switches"].items():
        typer.echo(f"    {key}={value}")
    if work is not None:
        typer.echo("  Broadcasts to it")
        typer.echo(f"    {work['delivered']} delivered, {work['failed']} refused or failed, {work['skipped']} skipped")
        waits = f", the oldest since {work['oldest_at']}" if work["oldest_at"] else ""
        typer.echo(f"    {work['waiting']} waiting{waits}")
        typer.echo(f"    done by process {work['by'] or '-'}; ClientInfo told until {work['told_until'] or '-'}")
    if shown["pulls"]:
        typer.echo("  Pulls")
    for pull in shown["pulls"]:
        typer.echo(f"    {_pull_line(pull)}")
