"""Metrics as plain data that one process can hand to another, and how those of several processes become one.

A family is `[name, type, help, [[sample, labels, value, time], ...]]`, `time` being None where it does not matter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import Metric, generate_latest
from prometheus_client.samples import Sample

Family = list[Any]
SampleKey = tuple[str, tuple[tuple[str, str], ...]]
"""A sample's name and its labels; of a platform its number only, since its name can change."""


def _latest(values: Sequence[tuple[float, float]]) -> float:
    return max(values, key=lambda each: each[1])[0]


def _by(pick: Callable[[Iterable[float]], float]) -> Callable[[Sequence[tuple[float, float]]], float]:
    return lambda values: pick(value for value, _ in values)


_SUM, _MAX, _MIN = _by(sum), _by(max), _by(min)

GAUGES: Mapping[str, Callable[[Sequence[tuple[float, float]]], float]] = {
    "ocpi_hub_in_flight": _SUM,
    "ocpi_hub_connections": _SUM,
    "ocpi_hub_event_loop_lag_seconds": _MAX,
    "ocpi_hub_event_loop_lag_max_seconds": _MAX,
    "ocpi_hub_database_up": _MIN,
    "ocpi_hub_mirror_waiting": _SUM,
    "ocpi_hub_mirror_objects": _MAX,  # all count the same database, at different times
    "ocpi_hub_routing_generation": _MIN,
    "ocpi_hub_parties": _MAX,
    "ocpi_hub_platform_registered": _MAX,
    "ocpi_hub_platform_online": _MAX,
    "ocpi_hub_platform_up": _latest,
    "ocpi_hub_platform_last_seen_timestamp_seconds": _MAX,
    "ocpi_hub_platform_in_flight": _SUM,
    # These three are told by the one process that has the platform's work.
    "ocpi_hub_lane_depth": _SUM,
    "ocpi_hub_lane_oldest_seconds": _MAX,
    "ocpi_hub_pull_failures": _MAX,
    "ocpi_hub_workers": _SUM,
    "process_virtual_memory_bytes": _SUM,
    "process_resident_memory_bytes": _SUM,
    "process_start_time_seconds": _MIN,
    # The limit is each process's own: the one nearest to it counts.
    "process_open_fds": _MAX,
    "process_max_fds": _MIN,
}
"""How the values of several processes become one; a gauge that is not named here is the greatest of them."""


def families_of(metrics: Iterable[Metric]) -> list[Family]:
    """Give metrics as plain data."""
    return [
        [each.name, each.type, each.documentation, [[s.name, s.labels, s.value, s.timestamp] for s in each.samples]]
        for each in metrics
    ]


def key_of(sample: Sequence[Any]) -> SampleKey:
    """Give what a sample is known by."""
    labels = sample[1]
    if "platform" in labels:
        return sample[0], tuple(each for each in labels.items() if each[0] != "name")
    return sample[0], tuple(labels.items())


def is_counted(family: Family) -> bool:
    """Whether a family's values only ever grow."""
    return family[1] in ("counter", "histogram")


def merge(parts: Iterable[Iterable[Family]]) -> list[Family]:
    """Make one of the families of several processes: what is counted is added up, gauges as GAUGES says.

    A platform has the name that the last of them gives it.
    """
    heads: dict[str, Family] = {}
    values: dict[str, dict[SampleKey, list[tuple[float, float]]]] = {}
    labels: dict[SampleKey, dict[str, str]] = {}
    for part in parts:
        for family in part:
            name = family[0]
            heads.setdefault(name, family)
            found = values.setdefault(name, {})
            for sample in family[3]:
                key = key_of(sample)
                labels[key] = sample[1]
                found.setdefault(key, []).append((sample[2], sample[3] or 0.0))
    merged = []
    for name, (_, kind, text, _) in heads.items():
        rule = _SUM if is_counted(heads[name]) else GAUGES.get(name, _MAX)
        samples = [[key[0], labels[key], rule(found), None] for key, found in values[name].items()]
        merged.append([name, kind, text, samples])
    return merged


def text_of(families: Iterable[Family]) -> bytes:
    """Give families in Prometheus' text format."""
    return generate_latest(_Collected(families))


class _Collected:
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        for name, kind, text, samples in self._families:
            metric = Metric(name, text, kind)
            metric.samples = [Sample(sample, labels, value) for sample, labels, value, _ in samples]
            yield metric
