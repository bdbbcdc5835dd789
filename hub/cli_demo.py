"""`ocpi-hub demo`."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

Port = Annotated[int, typer.Option(min=0, max=65535, show_default="a free one")]


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Stay up afterwards and go on producing traffic.")] = False,
    port: Port = 0,
    ops_port: Port = 0,
    cpo_port: Port = 0,
    emsp_port: Port = 0,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where to keep the database.", show_default="a temporary folder, removed at the end"),
    ] = None,
) -> None:
    """Play a whole roaming charge, and what a hub shares, between simulated members through a real hub.

    Exit code 0 when everything went as OCPI says, else 1 with what failed.
    OCPI_HUB_* does not count here: a demo never touches a real hub's database.
    """
    from rich.console import Console

    from config.log import configure_logging
    from hub.demo import run_demo

    configure_logging(as_json=False, level="error")
    console = Console(width=None if sys.stdout.isatty() else 200)
    try:
        code = asyncio.run(
            run_demo(
                port=port,
                ops_port=ops_port,
                cpo_port=cpo_port,
                emsp_port=emsp_port,
                data_dir=data_dir,
                keep=keep,
                console=console,
            )
        )
    except KeyboardInterrupt:
        code = 130
    raise typer.Exit(code)
