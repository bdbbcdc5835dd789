"""The lanes of broadcast pushes: one per receiving platform, run by the process that holds the platform's work.

How far a lane has come is saved twice a second. Whoever takes a lane over begins with the state of every object that
changed since.
"""

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import structlog

from config.ocpi import PartyID
from config.settings import Settings
from hub.addressees import Addressee, Addressees
from hub.database import Database, DatabaseAway
from hub.delivery import Deliveries, NotHeld, UnderWay
from hub.feed import BroadcastFeed
from hub.lane import Chain, Item, Lane, Outcome, Push, State
from hub.lane_progress import LaneProgress
from hub.live_table import LiveTable
from hub.metrics import LaneGauge, Metrics
from hub.mirror import BroadcastRow, Current, Mirror
from hub.own_calls import OwnCalls
from hub.processes import Processes
from hub.trace import RequestLog
from parties.contracts import PartyKey
from routing.objects import unfold
from routing.table import RoutingTable

log = structlog.get_logger()

SAVE_SECONDS = 0.5
STARTS_AT_ONCE = 32
"""Deliveries begun before the event loop may do something else: 1,000 at once would hold everybody up."""
TARGETS_MAX = 1000
"""Of so many senders with one module each it is remembered to whom their broadcasts go."""
DEBT_PAGE = 100
REST_SECONDS = 1.0


class Lanes:
    """Delivers accepted broadcasts to every platform whose work is this process's."""

    def __init__(
        self,
        settings: Settings,
        live: LiveTable,
        database: Database,
        mirror: Mirror,
        processes: Processes,
        calls: OwnCalls,
        metrics: Metrics,
        request_log: RequestLog,
        hub: PartyID,
    ) -> None:
        self._settings = settings
        self._live = live
        self._mirror = mirror
        self._processes = processes
        self._calls = calls
        self._metrics = metrics
        self._offline: set[int] = set()
        self._addressees = Addressees(live, hub)
        self._deliveries = Deliveries(live, mirror, calls, request_log, processes, hub)
        self._lanes: dict[int, Lane] = {}
        self._feed = BroadcastFeed(live, database, mirror, processes, offer=self._offer, begun_anew=self._begin_anew)
        self._progress = LaneProgress(database, processes, metrics)
        self._targets: dict[tuple[PartyKey, int, str], list[tuple[int, tuple[Addressee, ...]]]] = {}
        self._targets_of: RoutingTable | None = None
        self._to_start: deque[Lane] = deque()
        """Lanes in which something can start, in turn."""
        self._start_wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._under_way: set[UnderWay] = set()
        """Deliveries for which no task waits, or whose task has not ended."""
        self._paying: set[int] = set()
        self._rests: dict[int, float] = {}
        """Until when a lane does not go on making up for a debt, since the platform did not answer."""
        live.on_loaded.append(self._on_table)
        processes.watch(self._gained, self._lost, self._finish_lane)
        metrics.lanes = self._gauges

    # What is accepted

    def hand_over(self, row: BroadcastRow) -> None:
        """Take a broadcast that this process has just committed, without a way through the database."""
        self._feed.hand_over(row)

    def _offer(self, row: BroadcastRow) -> None:
        sender = unfold(row.owner)
        push = Push(row, self._live.table)
        for platform_id, addressees in self._find_targets(sender, row.platform_id, row.module):
            lane = self._lanes.get(platform_id)
            if lane is not None:
                lane.offer(push, addressees, sender)
                if not lane.is_in_line:
                    self._stir(lane)

    def _find_targets(self, sender: PartyKey, platform_id: int, module: str) -> list[tuple[int, tuple[Addressee, ...]]]:
        table = self._live.table
        if table is not self._targets_of or len(self._targets) >= TARGETS_MAX:
            self._targets, self._targets_of = {}, table
        found = self._targets.get((sender, platform_id, module))
        if found is None:
            each = (
                (platform.id, self._addressees.of(platform, sender, platform_id, module))
                for platform in table.platforms.values()
            )
            found = self._targets[(sender, platform_id, module)] = [target for target in each if target[1]]
        return found

    # Whose lanes these are

    def _gained(self, platform_id: int) -> None:
        self._spawn(self._open(platform_id))

    async def _open(self, platform_id: int) -> None:
        """Go on where the last holder of this lane was."""
        while platform_id in self._processes.held and platform_id not in self._lanes:
            if not self._processes.holds(platform_id):
                await asyncio.sleep(REST_SECONDS)  # the database was away: the work may be ours still
                continue
            try:
                done = await self._progress.read(platform_id)
            except (DatabaseAway, asyncpg.PostgresError):
                await asyncio.sleep(REST_SECONDS)
                continue
            position = self._feed.position
            if position is None:
                await asyncio.sleep(0.05)
                continue
            if platform_id in self._lanes or not self._processes.holds(platform_id):
                continue  # it was lost, and perhaps gained anew, meanwhile
            settings = self._settings
            lane = Lane(
                platform_id,
                position,
                done=position.offered if done is None else done,
                queue=settings.lane_queue,
                in_flight=settings.lane_in_flight,
            )
            self._lanes[platform_id] = lane
            self._progress.begin(lane)
            if lane.debt is not None and not self._is_made_up_for(platform_id):
                lane.forgive()
            self._stir(lane)

    def _is_made_up_for(self, platform_id: int) -> bool:
        """Whether a platform gets what a lost process may have left: not while it is OFFLINE, unless switched on."""
        platform = self._live.table.platforms.get(platform_id)
        return platform is not None and (platform.is_online or platform.switches.catch_up)

    def _lost(self, platform_id: int) -> None:
        lane = self._lanes.pop(platform_id, None)
        self._progress.end(platform_id)
        if lane is not None:
            lane.is_closed = True

    def _begin_anew(self) -> None:
        """Open every lane again: what the database says of its progress is all there is to go by."""
        for platform_id in list(self._lanes):
            self._lost(platform_id)
            self._gained(platform_id)

    async def _finish_lane(self, platform_id: int) -> None:
        """End what is under way, so that the next holder's first push comes after it."""
        lane = self._lanes.get(platform_id)
        if lane is None:
            return
        lane.is_closed = True
        while lane.under_way:
            await asyncio.sleep(0.02)
        await self._progress.save([lane])

    def _on_table(self) -> None:
        """Look at every lane again: a platform that came back may have something to catch up with."""
        platforms = self._live.table.platforms.values()
        offline = {platform.id for platform in platforms if not platform.is_online}
        for platform_id in self._offline - offline:
            self._rests.pop(platform_id, None)
            self._spawn(self._calls.trust(platform_id))
        self._offline = offline
        for lane in self._lanes.values():
            self._stir(lane)

    # What is done

    async def run(self) -> None:
        """Start deliveries, read what other processes accepted, and save how far the lanes are, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._start_loop(), self._feed.run(), self._save_loop()):
                    group.create_task(work)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for under_way in self._under_way:
                self._deliveries.give_up(under_way)
                self._account(under_way.lane, under_way.chain, "failed")
            self._under_way.clear()

    async def drain(self) -> None:
        """Deliver what waits, for `lane_drain_timeout` seconds at most."""
        try:
            async with asyncio.timeout(self._settings.lane_drain_timeout):
                while any(not lane.is_idle for lane in self._lanes.values() if self._is_reachable(lane)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            left = sum(lane.waiting + lane.under_way for lane in self._lanes.values())
            log.warning("not every broadcast could be delivered in time", action="lanes_not_drained", left=left)
        with contextlib.suppress(DatabaseAway, asyncpg.PostgresError):
            await self._feed.read()  # else what was accepted here and is done would seem to be left
        await self._progress.save(self._lanes.values())

    def _is_reachable(self, lane: Lane) -> bool:
        platform = self._live.table.platforms.get(lane.platform_id)
        return platform is not None and platform.is_online and self._processes.holds(lane.platform_id)

    def _stir(self, lane: Lane) -> None:
        """Let a lane go on, if it can."""
        if lane.debt is not None and lane.platform_id not in self._paying and not lane.is_closed:
            self._paying.add(lane.platform_id)
            self._spawn(self._pay(lane))
        self._line_up(lane)

    def _line_up(self, lane: Lane) -> None:
        if not lane.is_in_line and lane.can_start:
            lane.is_in_line = True
            if not self._to_start:
                self._start_wanted.set()
            self._to_start.append(lane)

    async def _start_loop(self) -> None:
        started = 0
        while True:
            if not self._to_start:
                self._start_wanted.clear()
                await self._start_wanted.wait()
            lane = self._to_start.popleft()
            lane.is_in_line = False
            if not lane.can_start or not self._processes.holds(lane.platform_id):
                continue
            self._start(lane)
            if lane.ready:
                self._line_up(lane)  # for its next place, after everybody else
            started += 1
            if started >= STARTS_AT_ONCE:
                started = 0
                await asyncio.sleep(0)

    def _start(self, lane: Lane) -> None:
        """Begin the next delivery of a lane: with a task only if it must wait for more than its answer."""
        chain, item = lane.start()
        under_way = self._deliveries.begin(lane, chain, item, self._told)
        if under_way is None:
            self._spawn(self._deliver(lane, chain, item, self._deliveries.deliver(lane, chain, item)))
            return
        self._under_way.add(under_way)
        if under_way.is_told:
            asyncio.get_running_loop().call_soon(self._told, under_way)

    def _told(self, under_way: UnderWay) -> None:
        """End a delivery; or let a task do so, where its answer is not plainly there."""
        try:
            self._under_way.remove(under_way)
        except KeyError:
            under_way.is_told = True  # it is still being begun, or was given up
            return
        outcome = self._deliveries.end(under_way)
        if outcome is None:
            self._under_way.add(under_way)  # until its task has it in hand
            self._spawn(self._go_on(under_way))
            return
        lane = under_way.lane
        self._account(lane, under_way.chain, outcome)
        if lane.ready or lane.debt is not None:
            self._stir(lane)

    async def _go_on(self, under_way: UnderWay) -> None:
        self._under_way.discard(under_way)
        work = self._deliveries.go_on(under_way)
        await self._deliver(under_way.lane, under_way.chain, under_way.item, work)

    async def _deliver(self, lane: Lane, chain: Chain, item: Item, work: Coroutine[Any, Any, Outcome]) -> None:
        try:
            outcome = await work
        except (DatabaseAway, asyncpg.PostgresError, NotHeld):
            try:
                await asyncio.sleep(REST_SECONDS)  # in its place: each that rests would else let another begin
            finally:
                lane.put_back(chain, item)
        except BaseException:
            lane.finish(chain, "failed")
            raise
        else:
            self._account(lane, chain, outcome)
        self._stir(lane)

    def _account(self, lane: Lane, chain: Chain, outcome: Outcome) -> None:
        if outcome in ("failed", "skipped"):
            self._rests[lane.platform_id] = time.monotonic() + self._settings.breaker_time
            if self._catches_up(lane):
                lane.go_into_debt()
        lane.finish(chain, outcome)
        self._metrics.count_delivery(outcome)

    def _catches_up(self, lane: Lane) -> bool:
        """Whether a platform gets later what did not reach it: also from who holds a closed lane next."""
        platform = self._live.table.platforms.get(lane.platform_id)
        return platform is not None and platform.switches.catch_up

    # What is made up for

    async def _pay(self, lane: Lane) -> None:
        """Queue the state of every object that changed since the lane was last up to date."""
        try:
            while lane.debt is not None and not lane.is_closed:
                if not self._is_made_up_for(lane.platform_id):
                    lane.forgive()
                    return
                if not self._is_reachable(lane):
                    await asyncio.sleep(REST_SECONDS)
                    continue
                rest = self._rests.get(lane.platform_id, 0) - time.monotonic()
                if rest > 0 or not lane.room:
                    await asyncio.sleep(min(max(rest, 0.05), REST_SECONDS / 4))
                    continue
                try:
                    await self._pay_page(lane)
                except (DatabaseAway, asyncpg.PostgresError):
                    await asyncio.sleep(REST_SECONDS)
        finally:
            self._paying.discard(lane.platform_id)

    async def _pay_page(self, lane: Lane) -> None:
        assert lane.debt is not None
        after, until = lane.debt
        # Without an upper end: an object changed again since must not be left out, be that change read yet or not.
        platform = self._live.table.platforms[lane.platform_id]
        size = max(1, min(DEBT_PAGE, lane.room // max(1, 2 * len(platform.parties))))
        page = await self._mirror.changed_since(after, size)
        if len(page) == size:
            until = page[-1].broadcast or until
        rows = await self._mirror.incomplete_between(after, until, size)
        if len(rows) == size and rows[-1].id < until:
            until = rows[-1].id
            page = [current for current in page if current.broadcast and current.broadcast <= until]
        if lane.debt is None or lane.debt[0] != after or lane.is_closed:
            return  # it has a new debt
        whole = {current.key for current in page if current.body is not None or current.deleted}
        for row in rows:
            if row.key not in whole:
                self._offer_anyway(lane, row)
        for current in page:
            if current.key in whole:
                self._offer_state(lane, current)
        lane.pay(until)
        self._line_up(lane)

    def _offer_anyway(self, lane: Lane, row: BroadcastRow) -> None:
        platform = self._live.table.platforms.get(lane.platform_id)
        if platform is not None:
            sender = unfold(row.owner)
            lane.offer_anyway(row, self._addressees.of(platform, sender, row.platform_id, row.module), sender)

    def _offer_state(self, lane: Lane, current: Current) -> None:
        platform = self._live.table.platforms.get(lane.platform_id)
        if platform is None or current.broadcast is None:
            return
        sender = unfold(current.key.owner)
        addressees = self._addressees.of(platform, sender, current.platform_id, current.key.module)
        state = State(current.broadcast, current.broadcast, datetime.now(UTC))
        lane.offer_state(current.key, state, addressees, sender, current.platform_id)

    # How far it is

    async def _save_loop(self) -> None:
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            self._feed.catch_up_with_itself()
            for lane in self._lanes.values():
                self._stir(lane)  # what stood still, since this process was not sure for a while that it is its work
            await self._progress.save([lane for lane in self._lanes.values() if self._progress.is_news(lane)])

    def _gauges(self) -> Iterator[LaneGauge]:
        for lane in self._lanes.values():
            yield LaneGauge(lane.platform_id, lane.waiting + lane.under_way, lane.oldest_at, lane.counts["skipped"])

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
