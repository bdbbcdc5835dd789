"""The metrics of all workers as one: what is counted never goes back, whichever worker ends."""

from collections.abc import Hashable, Mapping

from hub.metric_families import Family, SampleKey, is_counted, key_of, merge

_OF_PLATFORMS = "ocpi_hub_platform_registered"


class Totals:
    """What every worker has told lately, and what those that ended had counted."""

    def __init__(self) -> None:
        self._told: dict[Hashable, list[Family]] = {}
        self._kept: dict[str, Family] = {}
        self._kept_values: dict[str, dict[SampleKey, float]] = {}

    def take(self, worker: Hashable, families: list[Family], *, is_whole: bool = True) -> None:
        """Take what a worker tells; what it does not count any more, such as a lane that another one has, is kept.

        Where it does not tell the whole, families that it leaves out are as it told them last.
        """
        if not is_whole:
            named = {family[0] for family in families}
            families = [*families, *(each for each in self._told.get(worker, ()) if each[0] not in named)]
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
        names = {each[1]["platform"]: each[1]["name"] for of in merged if of[0] == _OF_PLATFORMS for each in of[3]}
        return [_with_names(family, names) for family in merged]

    def _keep(self, family: Family, key: SampleKey, value: float) -> None:
        self._kept.setdefault(family[0], family)
        values = self._kept_values.setdefault(family[0], {})
        values[key] = values.get(key, 0.0) + value


def _with_names(family: Family, names: Mapping[str, str]) -> Family:
    """Give platforms the names they have now; what was counted for one that no worker knows any more is left out."""
    if not family[3] or "platform" not in family[3][0][1]:
        return family
    return [
        *family[:3],
        [
            [sample, labels | {"name": names[labels["platform"]]}, value, time]
            for sample, labels, value, time in family[3]
            if labels["platform"] in names
        ],
    ]
