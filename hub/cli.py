"""`ocpi-hub`: run the hub, and manage its members.

Exit codes: 0 done; 1 it could not be done (the message says why); 2 the command was not understood.
"""

import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import typer

from config.log import configure_logging, wants_json
from config.settings import Settings
from hub.cli_contracts import contract_app
from hub.cli_demo import demo
from hub.cli_members import party_app
from hub.cli_print import print_json
from hub.cli_routes import routes
from hub.cli_run import JSON, fail, settings, use_config_file

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
def serve() -> None:
    """Run the hub: members on OCPI_HUB_PORT, operators' metrics on OCPI_HUB_OPS_PORT."""
    chosen = settings()
    as_json = wants_json(chosen.log_format)
    configure_logging(as_json=as_json, level=chosen.log_level)
    import uvloop

    from hub.database import DatabaseRefused, SchemaTooNew
    from hub.embedded_postgres import EmbeddedPostgresError
    from hub.server import Hub, serve, stop_on_signals
    from hub.trace import RequestLog

    async def main() -> None:
        hub = Hub(chosen, request_log=RequestLog(as_json=as_json))
        await serve(hub, member_socket, ops_socket, stop_on_signals())

    ops_socket = _listen(chosen.ops_host, chosen.ops_port, "OCPI_HUB_OPS_PORT")
    member_socket = _listen(chosen.host, chosen.port, "OCPI_HUB_PORT")
    if chosen.port == 0:
        chosen = settings(port=member_socket.getsockname()[1])
    try:
        uvloop.run(main())
    except (SchemaTooNew, EmbeddedPostgresError, DatabaseRefused, ValueError, BaseExceptionGroup) as exc:
        first: BaseException = exc
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if not isinstance(first, SchemaTooNew | EmbeddedPostgresError | DatabaseRefused | ValueError):
            raise
        raise fail(str(first) or (type(first).__doc__ or "").strip()) from exc


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
