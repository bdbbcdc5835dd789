"""The parent of the processes that serve members: it starts, replaces, renews and ends them, and answers operators."""

import asyncio
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from config.settings import Settings
from hub.metric_families import Family, families_of, text_of
from hub.ops import make_ops_app
from hub.workers.started import StartFailed, Worker
from hub.workers.systemd import notify
from hub.workers.totals import Totals

log = structlog.get_logger()

LISTEN_IN_SECONDS = 5.0
"""How often workers tell what they count, when nobody scrapes: what one has counted since is lost when it is killed."""
WHOLE_SECONDS = 60.0
"""How often they tell what they count for each platform: with a thousand, members wait for that some 30 ms."""
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 0.1, 10.0
"""Before a worker that died is replaced; twice as long when one dies within LONG_LIFE_SECONDS or cannot be started."""
LONG_LIFE_SECONDS = 10.0
TABLE_SECONDS = 10.0
"""How long a worker of a renewal may take to read a routing table: one without it cannot do what the old one does."""
RETIRE_SECONDS = 20.0
"""What a worker that is replaced may take to end beside its own limits."""
STOP_SECONDS = 50.0
"""How long workers may take to end: more than their own limits, less than systemd's."""
_BEST_FIRST = ("ready", "degraded", "starting")


class Parent:
    """The parent process of a hub."""

    def __init__(
        self,
        settings: Settings,
        member_socket: socket.socket,
        ops_socket: socket.socket,
        *,
        config_file: Path | None = None,
        chosen: Mapping[str, Any],
    ) -> None:
        self._settings = settings
        self._member_socket = member_socket
        self._ops_socket = ops_socket
        self._order = {
            "ops_port": ops_socket.getsockname()[1],
            "config_file": str(config_file) if config_file else None,
            "chosen": dict(chosen),
        }
        self._current: dict[int, Worker] = {}
        """The workers that there should be, by number."""
        self._alive: set[Worker] = set()
        """All of them, with those that are on their way in or out."""
        self._turns: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Held, by number, while another worker is put in the place of one."""
        self._pauses: dict[int, float] = {}
        self._totals = Totals()
        self._whole_at = time.monotonic()
        self._deaths = 0
        self._is_stopping = False
        self._stop, self._renew = asyncio.Event(), asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._failure: BaseException | None = None
        """What nobody foresaw in one of them: the parent cannot go on."""
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT; SIGHUP renews the workers.

        Raises StartFailed when none can be started, and what nobody foresaw when the workers cannot be looked after.
        """
        loop = asyncio.get_running_loop()
        for number, event in ((signal.SIGTERM, self._stop), (signal.SIGINT, self._stop), (signal.SIGHUP, self._renew)):
            loop.add_signal_handler(number, event.set)
        ops = web.AppRunner(make_ops_app(self), access_log=None, shutdown_timeout=1)
        await ops.setup()
        await web.SockSite(ops, self._ops_socket).start()
        try:
            if await self._unless_stopped(self._start_all()):
                notify("READY")
                self._own(self._renew_when_told())
                self._own(self._listen_in())
                await self._stop.wait()
        finally:
            await self._end_all()
            await ops.cleanup()
        if self._failure is not None:
            raise self._failure

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Do something to its end, unless the hub is stopped meanwhile; gives whether it was done."""
        task, stopped = asyncio.create_task(work), asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            return task.done()
        finally:
            for each in (task, stopped):
                each.cancel()
            await asyncio.gather(task, stopped, return_exceptions=True)

    # Starting, replacing and renewing workers

    async def _start_all(self) -> None:
        """Start one, which brings the database up to date, then the others."""
        await self._start_serving(1)
        await asyncio.gather(*(self._start_serving(number) for number in range(2, self._settings.workers + 1)))

    async def _start_serving(self, number: int, table_seconds: float | None = None) -> Worker:
        """Start a worker and wait until it serves, as the one of its number from then on. Raises StartFailed."""
        worker = await self._start(number, table_seconds)
        await worker.serving()
        self._current[number] = worker
        return worker

    async def _start(self, number: int, table_seconds: float | None = None) -> Worker:
        order = self._order | {"number": number, "table_seconds": table_seconds}
        worker = await Worker.start(order, self._member_socket, self._totals.take)
        self._alive.add(worker)
        self._own(self._watch(worker))
        return worker

    async def _watch(self, worker: Worker) -> None:
        """Replace a worker when it dies, as long as it is the one that serves under its number."""
        code = await worker.ended()
        self._alive.discard(worker)
        self._totals.end(worker)
        is_awaited = not worker.is_serving and self._current.get(worker.number) is not worker
        if worker.is_leaving or is_awaited:  # who awaits it hears of its end
            return
        self._deaths += 1
        facts = {"worker": worker.number, "exit_code": code, "reason": worker.reason}
        pause = self._pause_after(worker)
        log.error(
            "a process that serves members has ended unasked; another one follows",
            action="worker_died",
            pause_seconds=pause,
            **{name: fact for name, fact in facts.items() if fact is not None},
        )
        while True:
            await asyncio.sleep(pause)
            async with self._turns[worker.number]:
                if self._current.get(worker.number) is not worker:  # it was renewed meanwhile, or is not wanted
                    return
                try:
                    self._current[worker.number] = await self._start(worker.number)
                    return
                except StartFailed as exc:
                    pause = self._pauses[worker.number] = min(2 * pause, MOST_PAUSE_SECONDS)
                    log.error(
                        "no process can be started in its place; trying again",
                        action="start_failed",
                        worker=worker.number,
                        pause_seconds=pause,
                        reason=str(exc),
                    )

    def _pause_after(self, worker: Worker) -> float:
        is_short = time.monotonic() - worker.started_at < LONG_LIFE_SECONDS
        before = self._pauses.get(worker.number, 0.0) if is_short else 0.0
        pause = min(max(2 * before, LEAST_PAUSE_SECONDS), MOST_PAUSE_SECONDS)
        self._pauses[worker.number] = pause
        return pause

    async def _renew_when_told(self) -> None:
        while True:
            await self._renew.wait()
            self._renew.clear()
            notify("RELOADING")
            await self._renew_all()
            notify("READY")

    async def _renew_all(self) -> None:
        """Replace one after the other by a new one that serves already, and can route, as far as those start."""
        wanted, renewed = len(self._current), 0
        try:
            while renewed < wanted:
                worker = await self._renew_one(renewed + 1)
                wanted, renewed = worker.wanted, renewed + 1
        except StartFailed as exc:
            said = f"{renewed} of {wanted} processes are new; beside them the hub goes on as it was"
            log.error(
                said if renewed else "the hub goes on as it was",
                action="reload_failed",
                renewed=renewed,
                workers=wanted,
                reason=str(exc),
            )
            return
        await asyncio.gather(*(self._dismiss(number) for number in list(self._current) if number > wanted))
        log.info("every process that serves members is new", action="reloaded", workers=wanted)

    async def _renew_one(self, number: int) -> Worker:
        async with self._turns[number]:
            before = self._current.get(number)
            worker = await self._start_serving(number, TABLE_SECONDS)
        if before is not None:
            await self._retire(before)
        return worker

    async def _dismiss(self, number: int) -> None:
        async with self._turns[number]:
            worker = self._current.pop(number)
        await self._retire(worker)

    async def _retire(self, worker: Worker) -> None:
        """Let a worker finish what it has begun, as long as that may take by its own limits."""
        worker.retire()
        try:
            await asyncio.wait_for(worker.ended(), worker.finish_seconds + RETIRE_SECONDS)
        except TimeoutError:
            log.error("a process that was replaced did not end", action="killed", worker=worker.number)
            worker.kill()

    async def _end_all(self) -> None:
        """Let every worker finish what it has begun."""
        self._is_stopping = True
        notify("STOPPING")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._member_socket.close()  # before the workers do, so that nobody waits for one who does not come
        for worker in self._alive:
            worker.stop()
        ending = [asyncio.create_task(worker.ended()) for worker in self._alive]
        if ending:
            _, late = await asyncio.wait(ending, timeout=STOP_SECONDS)
            if late:
                log.error("not every process ended in time", action="killed", workers=len(late))
                for worker in self._alive:
                    worker.kill()
                await asyncio.gather(*ending, return_exceptions=True)

    def _own(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._disown)

    def _disown(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failure = self._failure or failure
            self._stop.set()

    # For operators

    async def _listen_in(self) -> None:
        while True:
            await asyncio.sleep(LISTEN_IN_SECONDS)
            await self._ask_metrics(is_scrape=False, is_whole=time.monotonic() - self._whole_at > WHOLE_SECONDS)

    async def _ask_metrics(self, *, is_scrape: bool, is_whole: bool) -> None:
        if is_whole:
            self._whole_at = time.monotonic()
        await self._ask("metrics", is_scrape=is_scrape, is_whole=is_whole)

    async def _ask(self, what: str, **more: Any) -> list[dict[str, Any]]:
        answers = await asyncio.gather(*(worker.ask(what, **more) for worker in self._alive if worker.is_serving))
        return [answer for answer in answers if answer]

    async def metrics_text(self) -> bytes:
        """Give the metrics of all workers as those of one hub."""
        await self._ask_metrics(is_scrape=True, is_whole=True)
        return text_of(self._totals.families(self._own_families()))

    def _own_families(self) -> list[Family]:
        deaths = ["ocpi_hub_worker_deaths", "counter", "", [["ocpi_hub_worker_deaths_total", {}, self._deaths, None]]]
        return [deaths, *families_of(self._registry.collect())]

    async def readiness(self) -> Mapping[str, object]:
        """Tell whether members can be served: as well as the best worker can."""
        if self._is_stopping:
            return {"status": "draining"}
        answers = [answer["readiness"] for answer in await self._ask("readiness") if "readiness" in answer]
        found: list[dict[str, object]] = [each for each in answers if each["status"] in _BEST_FIRST]
        if not found:
            return {"status": "starting"}
        best = min(found, key=lambda each: _BEST_FIRST.index(str(each["status"])))
        return best | {"workers": sum(each["status"] == best["status"] for each in found)}
