"""One process that serves members, on a socket that its parent holds. `python -m hub.workers.worker` with an Order."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from config.log import configure_logging, wants_json
from config.settings import Settings, read_settings
from hub.database import DatabaseAway, DatabaseRefused, SchemaTooNew
from hub.embedded_postgres import EmbeddedPostgresError
from hub.server import Hub, serve_members, stop_on_signals
from hub.trace import RequestLog
from hub.tuning import collect_less, keep_memory
from hub.workers.channel import Channel, pack
from hub.workers.whole_lines import WholeLines

FORESEEN = (SchemaTooNew, EmbeddedPostgresError, DatabaseRefused, DatabaseAway, ValueError)
"""What can keep a hub from starting, and says why in a plain sentence."""


class Order(msgspec.Struct, frozen=True):
    """What a parent tells a worker at its start."""

    number: int
    """Which of the workers it is, from 1 on."""
    member_socket: int
    """Descriptor of the listening socket."""
    channel: int
    """Descriptor of the worker's end of the channel."""
    ops_port: int
    config_file: str | None
    """Where settings are read from, anew by each worker."""
    chosen: dict[str, Any]
    """Settings that come before all others."""
    table_seconds: float | None
    """How long it may take to read a routing table before it serves; None when it serves without one."""


def main(argument: str) -> int:
    """Serve until the parent says otherwise; give the exit code."""
    order = msgspec.json.decode(argument, type=Order)
    sys.stdout = WholeLines(sys.stdout.fileno())
    end = socket.socket(fileno=order.channel)
    served = asyncio.Event()
    try:
        settings = read_settings(Path(order.config_file) if order.config_file else None, **order.chosen)
        configure_logging(as_json=wants_json(settings.log_format), level=settings.log_level)
        uvloop.run(_serve(order, settings, end.dup(), served))
    except (*FORESEEN, BaseExceptionGroup) as exc:
        first: BaseException = exc
        while isinstance(first, BaseExceptionGroup):
            first = first.exceptions[0]
        if served.is_set() or not isinstance(first, FORESEEN):
            raise
        end.setblocking(True)
        end.sendall(pack({"failed": str(first) or (type(first).__doc__ or "").strip()}))
        return 1
    return 0


async def _serve(order: Order, settings: Settings, end: socket.socket, served: asyncio.Event) -> None:
    keep_memory()
    end.setblocking(False)
    channel = await Channel.on(end)
    hub = Hub(settings, request_log=RequestLog(as_json=wants_json(settings.log_format)))
    stop, retire = stop_on_signals(), asyncio.Event()
    member_socket = socket.socket(fileno=order.member_socket)

    def tell() -> None:
        served.set()
        collect_less()
        limits = settings.forward_timeout, settings.drain_timeout, settings.lane_drain_timeout
        channel.say(started=True, workers=settings.workers, finish_seconds=sum(limits))

    answering = asyncio.create_task(_answer(channel, hub, retire))
    answering.add_done_callback(lambda _: stop.set())  # a worker whose parent hears nothing is of no use
    try:
        await serve_members(
            hub,
            member_socket,
            stop,
            ops_port=order.ops_port,
            retire=retire,
            on_started=tell,
            table_seconds=order.table_seconds,
            worker=order.number,
        )
    finally:
        answering.cancel()
        await asyncio.gather(answering, return_exceptions=True)
        channel.say(id=0, metrics=hub.metrics.families(is_scrape=False), is_whole=True)
        await channel.close()
    if not answering.cancelled():
        answering.result()


async def _answer(channel: Channel, hub: Hub, retire: asyncio.Event) -> None:
    """Answer the parent, until cancelled."""
    async for asked in channel.heard():
        match asked["ask"]:
            case "metrics":
                is_scrape, is_whole = asked["is_scrape"], asked["is_whole"]
                found = hub.metrics.families(is_scrape=is_scrape, is_whole=is_whole)
                channel.say(id=asked["id"], metrics=found, is_whole=is_whole)
            case "readiness":
                channel.say(id=asked["id"], readiness=await hub.readiness())
            case "retire":
                retire.set()
    # The parent was killed: so is the hub, and nothing of it may stand in the way of the next one.
    hub.request_log.flush()
    os._exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sys.exit(main(sys.argv[1]))
