"""The processes that are measured: started on a core of their own, their CPU time and memory read, and ended."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil


@dataclass(frozen=True, slots=True)
class Cores:
    """Which core is whose; None where it cannot be chosen."""

    measured: list[int] | None
    others: list[int] | None

    @classmethod
    def choose(cls) -> "Cores":
        """Give what is measured a core of its own, where there are several and the system lets us."""
        if not hasattr(os, "sched_getaffinity"):
            return cls(None, None)
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[:1], cores[1:]) if len(cores) > 1 else cls(None, None)

    def __str__(self) -> str:
        if self.measured is None or self.others is None:
            return "no process is pinned to a core"
        return f"what is measured has core {self.measured[0]}, load and receivers the others"


def use_cores(cores: list[int] | None, pid: int = 0) -> None:
    """Keep a process (0: this one) on these cores."""
    if cores is not None:
        os.sched_setaffinity(pid, cores)


def raise_file_limit() -> None:
    """Allow this process and its children as many open files as the system lets them have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Measured:
    """A process with its children."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.pid = process.pid

    def members(self) -> list[psutil.Process]:
        """Give the process and its children."""
        return [self._process, *self._process.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """Give the CPU time, user and system, that it has used so far."""
        return sum(_cpu_seconds(process) for process in self.members())

    def memory_mb(self) -> float:
        """Give its memory; what it shares with others is shared out among them, where the system tells (PSS)."""
        return sum(memory_mb(process) for process in self.members())

    def resident_mb(self) -> float:
        """Give its resident memory, quick to read."""
        return sum(process.memory_info().rss for process in self.members()) / 1e6


def memory_mb(process: psutil.Process) -> float:
    """Give the memory of one process."""
    with suppress(psutil.Error, AttributeError):
        return float(process.memory_full_info().pss) / 1e6
    return float(process.memory_info().rss) / 1e6


def _cpu_seconds(process: psutil.Process) -> float:
    if sys.platform == "linux":
        # The process's CPU clock (clock_getcpuclockid), in nanoseconds; what /proc tells goes in steps of 10 ms.
        with suppress(OSError):
            return time.clock_gettime(~process.pid << 3 | 2)
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    cores: list[int] | None,
    environment: Mapping[str, str] | None = None,
    pipes: bool = False,
) -> Iterator[tuple[Measured, subprocess.Popen[bytes]]]:
    """Run a process until the block ends; what it prints goes to the log, or through pipes to the caller."""
    pipe = subprocess.PIPE if pipes else None
    with open(log, "ab") as output:
        process = subprocess.Popen(
            command,
            stdin=pipe,
            stdout=pipe or output,
            stderr=output,
            env=None if environment is None else {**environment},
        )
    try:
        use_cores(cores, process.pid)
        yield Measured(psutil.Process(process.pid)), process
    finally:
        if pipes and process.stdin is not None:
            process.stdin.close()
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if pipes and process.stdout is not None:
            process.stdout.close()


async def wait_for_port(port: int, seconds: float = 30) -> None:
    """Wait until something listens. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


@contextmanager
def py_spy(measured: Measured, output: Path | None) -> Iterator[str | None]:
    """Write a profile (flame graph) of a process while the block runs; gives why not, when it cannot."""
    if output is None:
        yield None
        return
    program = shutil.which("py-spy")
    if program is None:
        yield "no profile: py-spy is not installed (pip install py-spy)"
        return
    command = [program, "record", "--nonblocking", "--subprocesses", "--rate", "200", "--output", str(output)]
    spy = subprocess.Popen([*command, "--pid", str(measured.pid)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield None
    finally:
        spy.send_signal(signal.SIGINT)
        spy.wait(60)
