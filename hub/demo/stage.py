"""What the demo plays on: the hub as a process, its log, and what is seen of it."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
from rich.console import Console
from rich.markup import escape

from config.settings import PREFIX, Settings
from hub.simulator import Answer

_HOP_SECONDS = 10.0


class DemoFailed(Exception):
    """Something did not go as OCPI says."""


@dataclass
class Show:
    """What is seen: headings, hops and the summary; for the eye on a terminal, plain lines elsewhere."""

    console: Console
    hops: int = 0
    deliveries: int = 0
    names: dict[int, str] = field(default_factory=dict)
    """The parties of each platform, for requests without routing headers."""

    def heading(self, text: str) -> None:
        """Begin a step."""
        self.console.print(f"\n[bold]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """Say something beside the hops."""
        self.console.print(f"  [dim]{escape(text)}[/]", highlight=False, soft_wrap=True)

    def hop(self, line: dict[str, Any]) -> None:
        """Show a line of the hub's log: who, to whom, what, OCPI status, milliseconds."""
        self.hops += 1
        sender = line.get("from") or self.names.get(line.get("platform", 0), "?")
        code = line.get("status_code")
        colour = "green" if isinstance(code, int) and 1000 <= code < 2000 else "red"
        receiver_ms = line.get("receiver_ms")
        own = f"hub {line['ms'] - receiver_ms:.1f}" if receiver_ms is not None else "hub"
        receiver = None if line.get("scenario") in ("broadcast", "get_all") else line.get("to")
        who = f"{sender} -> hub -> {receiver}" if receiver else f"{sender} -> hub"
        self.console.print(
            f"  {who:<25} {line['method']:<6} [cyan]{line['operation']:<31}[/] [{colour}]{code}[/]"
            f" {line['ms']:>7.1f} ms [dim]({own})[/]",
            highlight=False,
            soft_wrap=True,
        )

    def delivery(self, line: dict[str, Any]) -> None:
        """Show a line of the hub's log about one delivery of a broadcast."""
        self.deliveries += 1
        code = line.get("receiver_status_code")
        colour = "green" if line["action"] == "delivered" else "red"
        what = f"{line['module']} of {line['owner']}"
        self.console.print(
            f"  {'hub -> ' + line['to']:<25} {line['method']:<6} [cyan]{what:<31}[/] [{colour}]{code}[/]"
            f" {line['ms']:>7.1f} ms [dim](broadcast)[/]",
            highlight=False,
            soft_wrap=True,
        )


class HubProcess:
    """The hub as a process of its own, its log read line by line."""

    def __init__(self, settings: Settings, show: Show) -> None:
        self._settings = settings
        self._show = show
        self._lines: list[dict[str, Any]] = []
        self._arrived = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self.noise: list[str] = []
        """What it printed that was no log line."""

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises DemoFailed with what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
        chosen = {
            "HOST": self._settings.host,
            "PORT": self._settings.port,
            "OPS_PORT": self._settings.ops_port,
            "DATA_DIR": self._settings.data_dir,
            "NAME": self._settings.name,
            "LOG_FORMAT": "json",
            "SILENCE": self._settings.silence,
        }
        environment |= {PREFIX + name: str(value) for name, value in chosen.items()}
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "hub",
            "serve",
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the demo, which then ends the hub in order
        )
        self._reader = asyncio.create_task(self._read())
        ready = f"http://{self._settings.ops_host}:{self._settings.ops_port}/ready"
        async with aiohttp.ClientSession() as http, asyncio.timeout(60):
            while True:
                if self._process.returncode is not None:
                    raise DemoFailed("The hub did not start: " + " ".join(self.noise)[-1000:])
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(ready) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.05)

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for raw in self._process.stdout:
            try:
                line = orjson.loads(raw)
            except orjson.JSONDecodeError:
                self.noise.append(raw.decode(errors="replace").rstrip())
                continue
            if line.get("event") in ("request", "delivery"):
                (self._show.hop if line["event"] == "request" else self._show.delivery)(line)
                self._lines.append(line)
                arrived, self._arrived = self._arrived, asyncio.Event()
                arrived.set()
            elif line.get("level") in ("warning", "error") and "Applying" not in line.get("event", ""):
                self._show.note(f"{line['level']}: {line.get('event')}")

    async def seen(self, operation: str, correlation_id: str | None = None) -> dict[str, Any]:
        """Wait for the log line of a hop, so that steps are shown in their order."""
        facts = {"event": "request", "operation": operation}
        return await self._line(facts | ({"correlation_id": correlation_id} if correlation_id else {}), operation)

    async def delivered(self, party: str, correlation_id: str) -> dict[str, Any]:
        """Wait for the log line of a broadcast's delivery to a party."""
        facts = {"event": "delivery", "to": party, "correlation_id": correlation_id}
        return await self._line(facts, f"The broadcast to {party}")

    async def _line(self, facts: dict[str, Any], what: str) -> dict[str, Any]:
        begin = 0
        try:
            async with asyncio.timeout(_HOP_SECONDS):
                while True:
                    for number in range(begin, len(self._lines)):
                        line = self._lines[number]
                        if facts.items() <= line.items():
                            del self._lines[number]
                            return line
                    begin = len(self._lines)
                    await self._arrived.wait()
        except TimeoutError:
            raise DemoFailed(f"{what} did not pass through the hub within {_HOP_SECONDS:.0f} s.") from None

    def forget(self) -> None:
        """Drop lines nobody waits for."""
        self._lines.clear()

    async def stop(self) -> None:
        """End it as an operator would, with SIGTERM."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), 12)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        if self._reader is not None:
            await self._reader


def expect(condition: bool, what: str, answer: Answer) -> None:
    """Fail with what was answered, unless it is as it should be. Raises DemoFailed."""
    if not condition:
        raise DemoFailed(f"{what}: HTTP {answer.http_status}, {answer.body[:300].decode(errors='replace')}")


def now() -> str:
    """Give the time as OCPI writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
