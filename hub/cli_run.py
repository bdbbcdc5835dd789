"""What every command shares: its settings, how it is run, and how it says why something could not be done."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from config.settings import Settings, SettingsError, read_settings

JSON = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]

_config_file: Path | None = None


def use_config_file(file: Path | None) -> None:
    """Read the settings from this file, as `--config` says; None: from where the environment says."""
    global _config_file
    _config_file = file


def config_file() -> Path | None:
    """Give the file that `--config` named."""
    return _config_file


def settings(**chosen: Any) -> Settings:
    """Read the settings, or end with a plain sentence that names what is wrong; `chosen` ones come before all."""
    try:
        return read_settings(_config_file, **chosen)
    except SettingsError as exc:
        raise fail(str(exc)) from exc


def fail(message: str) -> typer.Exit:
    """Print why something could not be done; the caller raises what this gives."""
    typer.secho(f"Error: {message}", fg="red" if sys.stderr.isatty() else None, err=True)
    return typer.Exit(1)


def run_async(work: Callable[[], Awaitable[None]]) -> None:
    """Run a command's asynchronous part; every foreseeable failure becomes one plain sentence."""
    from config.ocpi import OCPIError
    from hub.database import AWAY, DatabaseRefused, SchemaTooNew
    from hub.embedded_postgres import EmbeddedPostgresError
    from parties.tokens import WrongKey

    async def main() -> None:
        await work()

    try:
        asyncio.run(main())
    except (SchemaTooNew, EmbeddedPostgresError, DatabaseRefused, WrongKey, SettingsError) as exc:
        raise fail(str(exc) or (type(exc).__doc__ or "").strip()) from exc
    except OCPIError as exc:
        raise fail(exc.message) from exc
    except BrokenPipeError:
        raise  # whoever read what we print has enough
    except AWAY as exc:
        reason = str(exc) or type(exc).__name__
        raise fail(f"The database cannot be reached ({reason}): start it, or correct OCPI_HUB_DATABASE_URL.") from exc
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
