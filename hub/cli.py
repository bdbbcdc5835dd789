"""`ocpi-hub`: run the hub, and manage its members.

Exit codes: 0 done; 1 it could not be done (the message says why); 2 the command was not understood.
"""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from config.log import configure_logging, wants_json
from config.settings import Settings
from hub.cli_contracts import contract_app
from hub.cli_demo import demo
from hub.cli_members import party_app
from hub.cli_print import print_json
from hub.cli_routes import routes
from hub.cli_run import JSON, config_file, fail, settings, use_config_file

app = typer.Typer(
    name="ocpi-hub",
    help="An OCPI roaming hub: CPOs and eMSPs connect once and reach each other.",
    epilog="Exit codes: 0 done; 1 it could not be done; 2 the command was not understood.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)
config_app = typer.Typer(help="The hub's settings.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@app.callback()
def common(
    config: Annotated[
        Path | None,
        typer.Option("--config", help="TOML file with settings; also OCPI_HUB_CONFIG.", exists=True, dir_okay=False),
    ] = None,
) -> None:
    """An OCPI roaming hub: CPOs and eMSPs connect once and reach each other."""
    use_config_file(config)
    # What a command prints is for scripts; what happens beside it goes to standard error.
    configure_logging(as_json=False, level="warning", stream=sys.stderr)


@app.command()
def serve(
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that serve members, one per core; also OCPI_HUB_WORKERS.", show_default="1"
        ),
    ] = None,
) -> None:
    """Run the hub: members on OCPI_HUB_PORT, operators' metrics on OCPI_HUB_OPS_PORT.

    SIGTERM ends it when requests under way are answered. SIGHUP renews its processes, with the settings and the program
    as they are then, one after the other and without losing a request.
    """
    from hub.workers.parent import Parent
    from hub.workers.started import StartFailed
    from hub.workers.systemd import SocketRefused, take_socket
    from hub.workers.whole_lines import WholeLines

    try:
        taken = take_socket()
    except SocketRefused as exc:
        raise fail(str(exc)) from exc
    chosen: dict[str, Any] = {} if workers is None else {"workers": workers}
    if taken is not None:
        chosen["host"], chosen["port"] = taken.getsockname()[:2]
    found = settings(**chosen)
    sys.stdout = WholeLines(sys.stdout.fileno())
    configure_logging(as_json=wants_json(found.log_format), level=found.log_level)
    ops_socket = _listen(found.ops_host, found.ops_port, "OCPI_HUB_OPS_PORT")
    member_socket = taken or _listen(found.host, found.port, "OCPI_HUB_PORT")
    if found.port == 0:
        chosen["port"] = member_socket.getsockname()[1]
    try:
        asyncio.run(Parent(found, member_socket, ops_socket, config_file=config_file(), chosen=chosen).run())
    except StartFailed as exc:
        raise fail(str(exc)) from exc


def _listen(host: str, port: int, setting: str) -> socket.socket:
    from hub.listener import listen

    try:
        return listen(host, port)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        raise fail(f"The hub cannot listen on {host}:{port}: {reason}. Choose another port with {setting}.") from exc


@config_app.command("show")
def config_show(as_json: JSON = False) -> None:
    """Show every setting as the hub would use it, secrets masked."""
    values = settings().shown()
    if as_json:
        print_json(values)
        return
    if not sys.stdout.isatty():
        for name, value in values.items():
            typer.echo(f"OCPI_HUB_{name.upper()}={_plain(value)}")
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("Setting", "Value", "What it is", box=None, pad_edge=False)
    for name, value in values.items():
        table.add_row(f"OCPI_HUB_{name.upper()}", _plain(value), Settings.model_fields[name].description or "")
    Console().print(table)


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ",".join(str(each) for each in value)
    if isinstance(value, dict):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return "" if value is None else str(value)


app.add_typer(party_app, name="party")
app.add_typer(contract_app, name="contract")
app.command()(routes)
app.command()(demo)


def main() -> None:
    """Run `ocpi-hub`."""
    app()
