"""The two hub processes of the soak on one database, as operators run them, and the load balancer in front of them."""

import asyncio
import contextlib
import json
import re
import signal
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import aiohttp
import psutil

from hub.listener import free_ports
from tests.commands import COMMAND, environment

_METRIC = re.compile(r"^(\w+)(\{.*\})? ([^ ]+)$")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_CHUNK = 2**16


@dataclass(frozen=True)
class Sample:
    """What one process used at one moment."""

    memory: float
    """Resident, in MB."""
    connections: int
    files: int


@dataclass
class Life:
    """One process of a hub's, from its start to its end."""

    hub: str
    samples: list[Sample] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    """As last read before its end, by `name{labels}`."""


class HubProcess:
    """One of the two: stopped, killed and started again on the same ports."""

    def __init__(self, name: str, env: Mapping[str, str], port: int, ops_port: int) -> None:
        self.name = name
        self.origin = f"http://127.0.0.1:{port}"
        self.is_up = False
        self.lives: list[Life] = []
        self.complaints: Counter[str] = Counter()
        """What it printed that was no line of level info: level, action and event of it, or the line itself."""
        self.last_words: list[str] = []
        """The last of those lines, whole."""
        self._env = dict(env)
        self._ops = f"http://127.0.0.1:{ops_port}"
        self._process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        process = await asyncio.create_subprocess_exec(
            str(COMMAND),
            "serve",
            env=self._env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._reading = [asyncio.create_task(self._read(stream)) for stream in (process.stdout, process.stderr)]
        async with asyncio.timeout(_START_SECONDS):
            while not await self._get("/ready"):
                assert process.returncode is None, f"hub {self.name} did not start: {self.last_words}"
                await asyncio.sleep(0.05)
        self.lives.append(Life(self.name))
        self.is_up = True

    async def stop(self) -> int:
        """Take it out of the load balancer, then SIGTERM; give its exit code."""
        await self.read_metrics()
        self.is_up = False
        return await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it with -9; the load balancer notices afterwards."""
        await self.read_metrics()
        await self._end(signal.SIGKILL)
        self.is_up = False

    async def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(how)
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                self._complain(f"stderr: hub {self.name} did not end within {_STOP_SECONDS:.0f} s")
                process.kill()
        code = await process.wait()
        await asyncio.gather(*self._reading)
        return code

    async def _read(self, stream: asyncio.StreamReader) -> None:
        """Look through what it prints; most of it is a line of level info for each delivery."""
        rest = b""
        while chunk := await stream.read(_CHUNK):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                if b'"level":"info"' not in line and b'"level": "info"' not in line:
                    self._complain(line.decode(errors="replace"))
        if rest:
            self._complain(rest.decode(errors="replace"))

    def _complain(self, line: str) -> None:
        self.last_words = [*self.last_words, line][-50:]
        try:
            said: dict[str, Any] = json.loads(line)
            self.complaints[f"{said['level']}: {said.get('action', '')}: {said.get('event')}"] += 1
        except (json.JSONDecodeError, KeyError, TypeError):
            self.complaints[line[:200]] += 1

    def sample(self) -> None:
        """Note what it uses now."""
        if not self.is_up or self._process is None:
            return
        with contextlib.suppress(psutil.Error):
            parent = psutil.Process(self._process.pid)
            processes = [parent, *parent.children()]
            connections = [each for process in processes for each in process.net_connections("tcp")]
            established = sum(each.status == psutil.CONN_ESTABLISHED for each in connections)
            memory = sum(process.memory_info().rss for process in processes) / 1e6
            self.lives[-1].samples.append(Sample(memory, established, sum(each.num_fds() for each in processes)))

    def gauge(self, name: str) -> float:
        """Add up a metric of the process that runs now."""
        metrics = self.lives[-1].metrics if self.is_up else {}
        return sum(value for metric, value in metrics.items() if metric.partition("{")[0] == name)

    async def read_metrics(self) -> None:
        """Keep what /metrics says."""
        if not self.is_up:
            return
        found = [_METRIC.match(line) for line in (await self._get("/metrics")).splitlines()]
        if found:  # what is not told any more, like the lane of another process by now, is gone
            self.lives[-1].metrics = {each[1] + (each[2] or ""): float(each[3]) for each in found if each is not None}

    async def _get(self, path: str) -> str:
        timeout = aiohttp.ClientTimeout(total=5)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as http, http.get(self._ops + path) as answer:
                return await answer.text() if answer.status == 200 else ""
        except (aiohttp.ClientError, TimeoutError):
            return ""


class Hubs:
    """Both of them, and who is called next."""

    def __init__(self, database_url: str, **settings: object) -> None:
        ports = free_ports(4)
        self.public_url = f"http://127.0.0.1:{ports[0]}"
        self._turns = count()
        self.processes: list[HubProcess] = []
        for name, port, ops_port in zip("AB", ports[:2], ports[2:], strict=True):
            own = {"port": port, "ops_port": ops_port, "public_url": self.public_url, "log_format": "json"}
            self.processes.append(HubProcess(name, environment(database_url, **own | settings), port, ops_port))

    async def __aenter__(self) -> "Hubs":
        await asyncio.gather(*(hub.start() for hub in self.processes))
        return self

    async def __aexit__(self, *_: object) -> None:
        for hub in self.processes:
            await hub.stop()

    def via(self, url: str) -> str:
        """Give where a URL is really called: at the hubs that are up, in turns."""
        if not url.startswith(self.public_url + "/"):
            return url
        up = [hub for hub in self.processes if hub.is_up] or self.processes
        return up[next(self._turns) % len(up)].origin + url.removeprefix(self.public_url)

    def total(self, name: str, **labels: str) -> int:
        """Add up a metric over every process there ever was."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return round(
            sum(
                value
                for hub in self.processes
                for life in hub.lives
                for metric, value in life.metrics.items()
                if metric.partition("{")[0] == name and all(each in metric for each in wanted)
            )
        )
