"""What Prometheus sees. Counted by hand on the road (a tenth of the price of labels()), exported by a collector."""

import asyncio
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from hub.metric_families import Family, families_of, merge, text_of
from hub.trace import Trace
from routing.pulling import MODULES
from routing.table import RoutingTable

BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_INTERVAL_SECONDS = 0.25


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def buckets(self) -> list[tuple[str, float]]:
        running, result = 0, []
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            running += count
            result.append((bound, float(running)))
        return result


@dataclass(slots=True)
class _PlatformCounts:
    received: int = 0
    """Requests it sent to the hub."""
    sent: int = 0
    """Requests the hub sent to it."""
    errors: int = 0
    """Those of them that ended without a usable answer."""
    reachable: bool | None = None
    """Whether the latest of them was answered."""
    ended_at: float = 0.0
    """Unix time at which that was known."""
    last_seen: float = 0.0
    """Unix time of its latest sign of life, request or answer."""


class Tally:
    """Where requests are counted that are forwarded with one operation from one platform to another, and answered."""

    __slots__ = ("_keys", "_own", "_platform", "_receiver", "_receiving", "_requests")

    def __init__(
        self,
        requests: dict[tuple[str, str, str, str], int],
        kind: tuple[str, str, str],
        own: _Histogram,
        receiver: _Histogram,
        platform: _PlatformCounts,
        receiving: _PlatformCounts,
    ) -> None:
        self._requests = requests
        self._keys = {outcome: (*kind, outcome) for outcome in ("ok", "receiver_error")}
        self._own = own
        self._receiver = receiver
        self._platform = platform
        self._receiving = receiving

    def count(self, outcome: str, own_seconds: float, receiver_seconds: float, now: float) -> None:
        """Count a request; `now` is Unix time."""
        key = self._keys[outcome]
        self._requests[key] = self._requests.get(key, 0) + 1
        own, receiver = self._own, self._receiver
        own.counts[bisect_left(BUCKETS, own_seconds)] += 1
        own.total += own_seconds
        receiver.counts[bisect_left(BUCKETS, receiver_seconds)] += 1
        receiver.total += receiver_seconds
        platform, receiving = self._platform, self._receiving
        platform.received += 1
        receiving.sent += 1
        receiving.reachable = True
        platform.last_seen = receiving.last_seen = receiving.ended_at = now


@dataclass(frozen=True, slots=True)
class LaneGauge:
    """What waits for one platform."""

    platform_id: int
    depth: int
    oldest_at: datetime | None
    skipped: int


class Metrics(Collector):
    """The hub's own counts and gauges."""

    def __init__(self, version: str) -> None:
        self._version = version
        self._requests: dict[tuple[str, str, str, str], int] = {}
        self._own: dict[str, _Histogram] = {}
        self._receiver: dict[str, _Histogram] = {}
        self._platforms: dict[int, _PlatformCounts] = {}
        # From 0 on, since Prometheus' increase() does not see the first of what appears late.
        self._pulled = dict.fromkeys(MODULES, 0)
        self._pull_rounds = dict.fromkeys(product(MODULES, ("finished", "failed")), 0)
        self._deliveries = dict.fromkeys(("delivered", "refused", "failed", "skipped", "collapsed"), 0)
        self.in_flight = 0
        self.loop_lag_seconds = 0.0
        self.loop_lag_max_seconds = 0.0
        self.table: Callable[[], RoutingTable] | None = None
        self.is_degraded: Callable[[], bool] = lambda: False
        self.open_connections: Callable[[], int] = lambda: 0
        self.lanes: Callable[[], Iterable[LaneGauge]] = tuple
        self.pull_failures: Callable[[], Mapping[int, int]] = dict
        self.mirror_waiting: Callable[[], int] = lambda: 0
        self.mirror_dropped: Callable[[], int] = lambda: 0
        self.mirror_objects: Callable[[], Mapping[str, int]] = dict
        self.checks: Mapping[str, int] = {}
        self.in_flight_at: Callable[[int], int] = lambda platform_id: 0
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def count(self, trace: Trace) -> None:
        """Count a finished request."""
        module = trace.operation.partition(".")[0]
        key = (module, trace.method, trace.scenario, trace.outcome)
        self._requests[key] = self._requests.get(key, 0) + 1
        own = self._own.get(module)
        if own is None:
            own = self._own[module] = _Histogram()
        seconds = trace.seconds - trace.waited_seconds
        if seconds < 0.0:
            seconds = 0.0
        own.counts[bisect_left(BUCKETS, seconds)] += 1
        own.total += seconds
        if trace.platform_id is not None:
            counts = self._platforms.get(trace.platform_id) or self.platform(trace.platform_id)
            counts.received += 1
            counts.last_seen = time.time()
        if trace.receiver_platform_id is not None:
            receiver = self._receiver.get(module)
            if receiver is None:
                receiver = self._receiver[module] = _Histogram()
            receiver.counts[bisect_left(BUCKETS, trace.receiver_seconds)] += 1
            receiver.total += trace.receiver_seconds

    def tally(self, operation: str, method: str, scenario: str, platform_id: int, receiver_platform_id: int) -> Tally:
        """Give where to count what `count` and `answered` count of such requests, at a third of the price."""
        module = operation.partition(".")[0]
        return Tally(
            self._requests,
            (module, method, scenario),
            self._own.setdefault(module, _Histogram()),
            self._receiver.setdefault(module, _Histogram()),
            self.platform(platform_id),
            self.platform(receiver_platform_id),
        )

    def answered(self, platform_id: int) -> None:
        """Note that a platform answered a request of the hub's."""
        counts = self.platform(platform_id)
        counts.sent += 1
        counts.reachable = True
        counts.last_seen = counts.ended_at = time.time()

    def failed(self, platform_id: int) -> None:
        """Note that a request to a platform ended without a usable answer."""
        counts = self.platform(platform_id)
        counts.sent += 1
        counts.errors += 1
        counts.reachable = False
        counts.ended_at = time.time()

    def count_delivery(self, outcome: str, number: int = 1) -> None:
        """Count what became of a broadcast push to one party."""
        self._deliveries[outcome] += number

    def pulled(self, module: str, objects: int) -> None:
        """Count objects of Sender lists that the mirror was given."""
        self._pulled[module] += objects

    def pull_ended(self, module: str, outcome: str) -> None:
        """Count a reading of a Sender list that was finished or failed."""
        self._pull_rounds[module, outcome] += 1

    def platform(self, platform_id: int) -> _PlatformCounts:
        """Give a platform's counts."""
        counts = self._platforms.get(platform_id)
        if counts is None:
            counts = self._platforms[platform_id] = _PlatformCounts()
        return counts

    def families(self, *, is_scrape: bool = True, is_whole: bool = True) -> list[Family]:
        """Give everything as plain data; a scrape begins a new worst lag.

        What is not whole leaves out what is counted for each platform.
        """
        families = families_of(self.registry.collect() if is_whole else self._collect_totals())
        if is_scrape:
            self.loop_lag_max_seconds = self.loop_lag_seconds
        return families

    def render(self) -> bytes:
        """Give everything in Prometheus' text format."""
        return text_of(merge([self.families()]))

    async def watch_loop(self) -> None:
        """Measure how late the event loop is, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_INTERVAL_SECONDS
            await asyncio.sleep(LAG_INTERVAL_SECONDS)
            self.loop_lag_seconds = max(0.0, loop.time() - due)
            self.loop_lag_max_seconds = max(self.loop_lag_max_seconds, self.loop_lag_seconds)

    def collect(self) -> Iterator[Metric]:
        """Give every metric (prometheus-client's Collector interface)."""
        yield from self._collect_totals()
        table = self.table() if self.table else None
        if table is not None:
            yield from self._collect_platforms(table)

    def _collect_totals(self) -> Iterator[Metric]:
        yield InfoMetricFamily("ocpi_hub_build", "The hub's version.", value={"version": self._version})
        requests = CounterMetricFamily(
            "ocpi_hub_requests",
            "Requests of members, by what became of them.",
            labels=("module", "method", "scenario", "outcome"),
        )
        for labels, number in self._requests.items():
            requests.add_metric(labels, number)
        yield requests
        for name, text, histograms in (
            ("ocpi_hub_own_seconds", "Time a request spent in the hub itself, waiting for neither side.", self._own),
            (
                "ocpi_hub_receiver_seconds",
                "Time until the head of the receiver's answer, the wait for a place there included.",
                self._receiver,
            ),
        ):
            family = HistogramMetricFamily(name, text, labels=("module",))
            for module, histogram in histograms.items():
                family.add_metric((module,), histogram.buckets(), histogram.total)
            yield family
        yield GaugeMetricFamily("ocpi_hub_in_flight", "Requests of members being worked on.", self.in_flight)
        yield GaugeMetricFamily("ocpi_hub_connections", "Open connections to platforms.", self.open_connections())
        yield GaugeMetricFamily(
            "ocpi_hub_event_loop_lag_seconds", "How late the event loop was lately.", self.loop_lag_seconds
        )
        yield GaugeMetricFamily(
            "ocpi_hub_event_loop_lag_max_seconds",
            "The worst lag since the last scrape.",
            self.loop_lag_max_seconds,
        )
        yield GaugeMetricFamily("ocpi_hub_database_up", "1 unless the database is away.", float(not self.is_degraded()))
        yield GaugeMetricFamily("ocpi_hub_workers", "Processes that serve members.", 1)
        yield CounterMetricFamily("ocpi_hub_worker_deaths", "Of those, the ones that ended unasked.", 0)
        yield from self._collect_sharing()

    def _collect_sharing(self) -> Iterator[Metric]:
        yield _counts(
            "ocpi_hub_deliveries",
            "Broadcast pushes to one party each, by what became of them.",
            "outcome",
            self._deliveries,
        )
        yield _counts("ocpi_hub_checks", "Still-alive checks, by what they found.", "found", self.checks)
        yield _counts("ocpi_hub_pulled_objects", "Objects read from members' Sender lists.", "module", self._pulled)
        rounds = CounterMetricFamily(
            "ocpi_hub_pull_rounds",
            "Readings of members' Sender lists, by whether they came to the end.",
            labels=("module", "outcome"),
        )
        for named, number in self._pull_rounds.items():
            rounds.add_metric(named, number)
        yield rounds
        yield GaugeMetricFamily(
            "ocpi_hub_mirror_waiting",
            "Pushes between two parties that the mirror has not stored yet.",
            self.mirror_waiting(),
        )
        yield CounterMetricFamily(
            "ocpi_hub_mirror_dropped", "Pushes between two parties that the mirror lost.", self.mirror_dropped()
        )
        objects = GaugeMetricFamily(
            "ocpi_hub_mirror_objects",
            "Objects in the mirror that lists can show, counted every minute.",
            labels=("module",),
        )
        for module, number in self.mirror_objects().items():
            objects.add_metric((module,), number)
        yield objects

    def _collect_platforms(self, table: RoutingTable) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "ocpi_hub_routing_generation",
            "How many changes of members are in force here; -1 before the first table is read.",
            table.generation,
        )
        parties = GaugeMetricFamily("ocpi_hub_parties", "Parties in a role, by status.", labels=("role", "status"))
        numbers: dict[tuple[str, str], int] = {}
        for platform in table.platforms.values():
            for role in platform.roles:
                key = (role.role, platform.status_of(role).value)
                numbers[key] = numbers.get(key, 0) + 1
        for labels, number in numbers.items():
            parties.add_metric(labels, number)
        yield parties
        names = ("platform", "name")
        registered = GaugeMetricFamily(
            "ocpi_hub_platform_registered", "1 when the platform has finished its registration.", labels=names
        )
        online = GaugeMetricFamily(
            "ocpi_hub_platform_online", "0 when the registered platform is OFFLINE, else 1.", labels=names
        )
        up = GaugeMetricFamily("ocpi_hub_platform_up", "1 when the latest request to it was answered.", labels=names)
        received = CounterMetricFamily("ocpi_hub_platform_received", "Requests it sent to the hub.", labels=names)
        sent = CounterMetricFamily("ocpi_hub_platform_sent", "Requests the hub sent to it.", labels=names)
        errors = CounterMetricFamily(
            "ocpi_hub_platform_errors", "Requests to it that ended without a usable answer.", labels=names
        )
        seen = GaugeMetricFamily(
            "ocpi_hub_platform_last_seen_timestamp_seconds", "Unix time of its latest sign of life.", labels=names
        )
        in_flight = GaugeMetricFamily("ocpi_hub_platform_in_flight", "Requests open at it.", labels=names)
        nothing = _PlatformCounts()
        for platform in table.platforms.values():
            labels = (str(platform.id), str(platform))
            counts = self._platforms.get(platform.id, nothing)
            registered.add_metric(labels, float(platform.state == "registered"))
            if platform.state == "registered":
                online.add_metric(labels, float(platform.is_online))
            if counts.reachable is not None:
                up.add_metric(labels, float(counts.reachable), timestamp=counts.ended_at)
            received.add_metric(labels, counts.received)
            sent.add_metric(labels, counts.sent)
            errors.add_metric(labels, counts.errors)
            if counts.last_seen:
                seen.add_metric(labels, counts.last_seen)
            in_flight.add_metric(labels, self.in_flight_at(platform.id))
        yield from (registered, online, up, received, sent, errors, seen, in_flight)
        yield from self._collect_lanes(table)

    def _collect_lanes(self, table: RoutingTable) -> Iterator[Metric]:
        """Give the lanes and pulls of this process: those of a platform are at one process at a time."""
        names = ("platform", "name")
        depth = GaugeMetricFamily(
            "ocpi_hub_lane_depth", "Broadcast pushes that wait for it or are under way.", labels=names
        )
        age = GaugeMetricFamily(
            "ocpi_hub_lane_oldest_seconds", "Age of the oldest broadcast push that waits for it.", labels=names
        )
        skipped = CounterMetricFamily(
            "ocpi_hub_lane_skipped",
            "Broadcast pushes not sent to it: it was OFFLINE or had not answered lately.",
            labels=names,
        )
        now = datetime.now(UTC)
        for lane in self.lanes():
            platform = table.platforms.get(lane.platform_id)
            if platform is None:
                continue
            labels = (str(platform.id), str(platform))
            depth.add_metric(labels, lane.depth)
            age.add_metric(labels, max(0.0, (now - lane.oldest_at).total_seconds()) if lane.oldest_at else 0.0)
            skipped.add_metric(labels, lane.skipped)
        failures = GaugeMetricFamily(
            "ocpi_hub_pull_failures", "How often in a row its worst Sender list could not be read.", labels=names
        )
        for platform_id, number in self.pull_failures().items():
            platform = table.platforms.get(platform_id)
            if platform is not None:
                failures.add_metric((str(platform.id), str(platform)), number)
        yield from (depth, age, skipped, failures)


def _counts(name: str, text: str, label: str, numbers: Mapping[str, int]) -> CounterMetricFamily:
    family = CounterMetricFamily(name, text, labels=(label,))
    for value, number in numbers.items():
        family.add_metric((value,), number)
    return family
