"""The real `ocpi-hub` as operators run it: a process of its own, with settings from the environment."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config.settings import PREFIX
from tests.hubs import FAST_LANE_VARIABLE, SECRET_KEY, HubOnTest

COMMAND = Path(sys.executable).parent / "ocpi-hub"
_LIMIT_SECONDS = 30


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, as JSON."""
        return json.loads(self.out)

    def __str__(self) -> str:
        return f"exit code {self.code}\n--- out\n{self.out}\n--- err\n{self.err}"


def environment(database_url: str | None = None, **settings: object) -> dict[str, str]:
    """Give the environment of a command with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((PREFIX, "COLUMNS", "_OCPI"))}
    if database_url is not None:
        lane = {"fast_lane": "off"} if os.environ.get(FAST_LANE_VARIABLE) == "off" else {}
        settings = {"database_url": database_url, "secret_key": SECRET_KEY, "pulls": "off"} | lane | settings
    return kept | {PREFIX + name.upper(): str(value) for name, value in settings.items() if value is not None}


def environment_of(hub: HubOnTest, database_url: str) -> dict[str, str]:
    """Give the environment in which a command belongs to a hub of the test's."""
    return environment(database_url, port=hub.settings.port, public_url=hub.settings.public_url)


async def run(*arguments: str, env: dict[str, str], typed: str = "") -> Done:
    """Run `ocpi-hub` with these arguments to its end."""
    return await run_program(str(COMMAND), *arguments, env=env, typed=typed)


async def run_program(*command: str, env: dict[str, str], typed: str = "") -> Done:
    """Run any program to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=env,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT_SECONDS):
            out, err = await process.communicate(typed.encode())
    except BaseException:
        process.kill()
        await process.communicate()
        raise
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


def assert_plain_failure(done: Done, *said: str) -> None:
    """Make sure that a command failed with one plain sentence, with these words in it and no traceback."""
    assert done.code == 1, done
    assert done.err.startswith("Error: "), done
    assert "Traceback" not in done.out + done.err, done
    assert len(done.err.strip().splitlines()) == 1, done
    for words in said:
        assert words in done.err, done


@dataclass
class Serving:
    """A running `ocpi-hub serve`."""

    process: asyncio.subprocess.Process
    out: list[str] = field(default_factory=list)
    """Its standard output so far, line by line."""
    err: list[str] = field(default_factory=list)
    started: dict[str, Any] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def versions_url(self) -> str:
        """Its versions endpoint."""
        return str(self.started["versions_url"])

    @property
    def ops_url(self) -> str:
        """Where operators reach it."""
        return str(self.started["ops"]).removesuffix("/metrics")

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines so far."""
        return [json.loads(line) for line in self.out]

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Those of them about a request."""
        return [line for line in self.lines if line.get("event") == "request"]

    async def wait_for_line(self, **facts: object) -> dict[str, Any]:
        """Give the first log line with these facts, waiting for it if need be."""
        async with asyncio.timeout(10):
            while True:
                for line in self.lines:
                    if facts.items() <= line.items():
                        return line
                self._changed.clear()
                await self._changed.wait()

    async def stop(self) -> int:
        """Send SIGTERM and give the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(15):
            return await self.process.wait()

    async def _read(self, stream: asyncio.StreamReader, into: list[str]) -> None:
        while line := await stream.readline():
            into.append(line.decode())
            self._changed.set()


@contextlib.asynccontextmanager
async def serving(env: dict[str, str], *command: str, pass_fds: Sequence[int] = ()) -> AsyncIterator[Serving]:
    """Run `ocpi-hub serve`, or another command that does so, on free ports, with JSON lines, while the block lasts."""
    free = {"OCPI_HUB_PORT": "0", "OCPI_HUB_OPS_PORT": "0", "OCPI_HUB_LOG_FORMAT": "json"}
    process = await asyncio.create_subprocess_exec(
        *(command or (str(COMMAND), "serve")),
        env=free | env,
        pass_fds=pass_fds,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=2**20,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    hub = Serving(process)
    reading = [
        asyncio.create_task(hub._read(process.stdout, hub.out)),
        asyncio.create_task(hub._read(process.stderr, hub.err)),
    ]
    try:
        hub.started = await hub.wait_for_line(action="started")
        yield hub
    except TimeoutError as exc:
        raise AssertionError(f"waited in vain; out: {hub.out[-20:]}, err: {hub.err}") from exc
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 15)
            except TimeoutError:
                process.kill()
                await process.wait()
        await asyncio.gather(*reading)
