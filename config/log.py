"""What is logged apart from requests: structlog, as JSON lines or for reading."""

import logging
import sys
from typing import Any, Literal, TextIO

import structlog


def wants_json(log_format: Literal["auto", "json", "console"]) -> bool:
    """Whether lines are JSON: as set, else unless someone is reading."""
    return log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())


def configure_logging(*, as_json: bool, level: str, stream: TextIO | None = None) -> None:
    """Set structlog up for the process; the libraries' own loggers go the same way. Default stream: standard output."""
    stream = stream or sys.stdout
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=structlog.dev.plain_traceback)]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last]
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
