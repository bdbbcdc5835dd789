"""The metrics of all workers as one: what is counted never goes back, whichever worker ends."""

from collections.abc import Hashable

from hub.metric_families import Family, SampleKey, is_counted, key_of, merge

_OF_PLATFORMS = "ocpi_hub_platform_registered"


class Totals:
    """What every worker has told lately, and what those that ended had counted."""

    def __init__(self) -> None:
        self._told: dict[Hashable, list[Family]] = {}
        self._kept: dict[str, Family] = {}
        self._kept_values: dict[str, dict[SampleKey, float]] = {}

    def take(self, worker: Hashable, families: list[Family]) -> None:
        """Take what a worker tells; what it does not count any more, such as a lane that another one has, is kept."""
        now = {key_of(sample): sample[2] for each in families if is_counted(each) for sample in each[3]}
        for family in self._told.get(worker, ()):
            if is_counted(family):
                for sample in family[3]:
                    if sample[2] > now.get(key_of(sample), 0.0):
                        self._keep(family, key_of(sample), sample[2])
        self._told[worker] = families

    def end(self, worker: Hashable) -> None:
        """Keep what a worker that ended had counted."""
        self.take(worker, [])
        del self._told[worker]

    def families(self, own: list[Family]) -> list[Family]:
        """Give the metrics of all of them, with the parent's own."""
        kept = [
            [
                *family[:3],
                [[name, dict(labels), value, None] for (name, labels), value in self._kept_values[name_].items()],
            ]
            for name_, family in self._kept.items()
        ]
        merged = merge([*self._told.values(), kept, own])
        return [self._without_strangers(family, merged) for family in merged]

    def _keep(self, family: Family, key: SampleKey, value: float) -> None:
        self._kept.setdefault(family[0], family)
        values = self._kept_values.setdefault(family[0], {})
        values[key] = values.get(key, 0.0) + value

    def _without_strangers(self, family: Family, merged: list[Family]) -> Family:
        """Leave out what was counted for platforms that no worker knows any more."""
        if not family[3] or "platform" not in family[3][0][1]:
            return family
        known = {each[1]["platform"] for of in merged if of[0] == _OF_PLATFORMS for each in of[3]}
        return [*family[:3], [each for each in family[3] if each[1]["platform"] in known]]
