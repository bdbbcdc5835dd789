"""What must be so at the end of a soak."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.soak.arrivals import SHARED, Arrivals
from tests.soak.cast import Cast
from tests.soak.hubs import Hubs, Life, Sample
from tests.soak.member import Member, copy_key
from tests.soak.model import Network, Owned

TAKEOVER_SECONDS = 20.0
"""For so long after a hub ended or a platform came back, a push may come a second time."""

EXPECTED_COMPLAINTS: tuple[str, ...] = (
    "error: token_refused:",
    "warning: offline:",
    "warning: not_told:",
    "warning: lanes_not_drained:",
)
"""Beginnings of log lines above info that belong to what the soak does."""

_FEW_SAMPLES = 12
_MEMORY_FACTOR, _MEMORY_MB = 1.15, 10.0
_COUNT_FACTOR, _COUNT = 1.25, 25.0


@dataclass(frozen=True)
class Check:
    """One verdict."""

    name: str
    problems: Sequence[str]
    """Empty: it is so."""
    looked_at: int
    """How many things were compared: a check that saw nothing shows nothing."""

    @property
    def passed(self) -> bool:
        """Whether it is so."""
        return not self.problems and self.looked_at > 0


def copies_are_true(members: Iterable[Member], network: Network, cast: Cast) -> Check:
    """Every platform has exactly what the owners have, as far as it may see it; what was withdrawn is gone."""
    problems, looked_at = [], 0
    for member in members:
        for module in SHARED:
            copies = member.store.copies[module]
            expected = {
                owned.key[1:]: owned.body
                for owned in network.of(module)
                if owned.body is not None and _sees(member, owned, cast)
            }
            looked_at += len(expected)
            what = f"{member.name}{' (was away)' if member.was_away else ''}, {module}"
            problems += [f"{what}: {'/'.join(key)} is missing" for key in expected.keys() - copies.keys()]
            problems += [f"{what}: {'/'.join(key)} should not be there" for key in copies.keys() - expected.keys()]
            for key in expected.keys() & copies.keys():
                body = expected[key]
                assert body is not None
                if said := difference(copies[key], body):
                    problems.append(f"{what}: {'/'.join(key)}: {said}")
    return Check("every receiver's copies are the owners' state", problems, looked_at)


def order_was_kept(arrivals: Arrivals) -> Check:
    """No object ever went backwards at a receiver."""
    return Check("no order was broken", arrivals.backwards.examples, len(arrivals.last))


def nothing_was_lost(members: Iterable[Member], network: Network, arrivals: Arrivals, cast: Cast) -> Check:
    """Who was connected throughout got the last push of every object, by a push."""
    problems, looked_at = [], 0
    for member in members:
        if member.was_away:
            continue
        for party in (str(each) for each in member.parties):
            for owned in network.objects.values():
                if cast.may_see(party, owned.owner, owned.module):
                    looked_at += 1
                    last = arrivals.last.get((party, owned.key), "nothing")
                    if last != owned.at and not (owned.body is None and last in owned.deletions):
                        problems.append(f"{party} ended with {last} of {'/'.join(owned.key)}, which is of {owned.at}")
    return Check("no acknowledged push was lost to who was connected", problems, looked_at)


def repeats_had_a_reason(
    members: Sequence[Member], arrivals: Arrivals, restarts: Sequence[tuple[float, float]]
) -> Check:
    """A push came twice only after a hub ended, or to a platform that the hub brought up to date."""
    catching_up = {str(party) for member in members if member.catches_up for party in member.parties}

    def has_reason(party: str, at: float) -> bool:
        if any(went <= at <= back + TAKEOVER_SECONDS for went, back in restarts):
            return True
        return party in catching_up

    slow = {str(party): "slow" for member in members if member.was_slow for party in member.parties}
    away = {str(party): "away" for member in members if member.was_away for party in member.parties}
    problems = [
        f"{party} (was {away.get(party) or slow.get(party, 'well')}): {what}"
        for party, at, what in arrivals.repeats
        if not has_reason(party, at)
    ]
    return Check("no push came twice without a takeover", problems, len(arrivals.last))


def nobody_saw_too_much(arrivals: Arrivals) -> Check:
    """Nobody received what is its own, what no contract gives it, or what was for somebody else."""
    return Check("nobody received what is not for it", arrivals.forbidden.examples, sum(arrivals.by_module.values()))


async def get_all_is_whole(viewers: Iterable[Member], network: Network, cast: Cast) -> Check:
    """GET all gives each viewer the owners' objects, once each, as they are."""
    problems, looked_at = [], 0
    for member in viewers:
        for party in (str(each) for each in member.parties):
            for module in SHARED:
                if party not in cast.viewers(module):
                    continue
                listed = await member.crawl(module, party)
                have = {copy_key(module, body): body for body in listed}
                if len(have) < len(listed):
                    problems.append(f"{party}, {module}: {len(listed) - len(have)} objects came twice")
                expected = {
                    owned.key[1:]: owned.body
                    for owned in network.of(module)
                    if owned.body is not None and cast.may_see(party, owned.owner, module)
                }
                looked_at += len(expected)
                problems += [f"{party}, {module}: no {'/'.join(key)}" for key in expected.keys() - have.keys()]
                problems += [f"{party}, {module}: too much {'/'.join(key)}" for key in have.keys() - expected.keys()]
                for key in expected.keys() & have.keys():
                    if said := difference(have[key], expected[key]):
                        problems.append(f"{party}, {module}: {'/'.join(key)}: {said}")
    return Check("GET all is the union of the owners' objects", problems, looked_at)


def client_info_is_true(members: Iterable[Member], cast: Cast) -> Check:
    """Everybody was told last that everybody with whom it may have business is CONNECTED."""
    problems, looked_at = [], 0
    for member in members:
        infos = member.store.copies["hubclientinfo"]
        for info in infos.values():
            other = f"{info['country_code']}-{info['party_id']}"
            if other in cast.holder and all(cast.may_talk(str(own), other, "*") for own in member.parties):
                looked_at += 1
                if info["status"] != "CONNECTED":
                    problems.append(f"{member.name} believes that {other} is {info['status']}")
    return Check("everybody was told that all are CONNECTED", problems, looked_at)


def pushes_were_acknowledged(network: Network) -> Check:
    """Every owner has the hub's word for the last change of each object."""
    problems = ["/".join(owned.key) for owned in network.objects.values() if not owned.is_acknowledged]
    return Check("every change was acknowledged in the end", problems, len(network.objects))


def usage_is_flat(hubs: Hubs) -> Check:
    """Memory, connections and open files of a hub's longest life do not grow from its first third to its last."""
    problems, looked_at = [], 0
    for hub in hubs.processes:
        life = max(hub.lives, key=lambda each: len(each.samples))
        if len(life.samples) < _FEW_SAMPLES:
            continue
        looked_at += len(life.samples)
        begin, _, end = thirds(life)
        for what, one, other, factor, margin in (
            ("memory in MB", begin.memory, end.memory, _MEMORY_FACTOR, _MEMORY_MB),
            ("connections", begin.connections, end.connections, _COUNT_FACTOR, _COUNT),
            ("open files", begin.files, end.files, _COUNT_FACTOR, _COUNT),
        ):
            if other > one * factor + margin:
                problems.append(f"hub {hub.name}: {what} went from {one:.0f} to {other:.0f}")
    return Check("memory, connections and files are flat", problems, looked_at)


def thirds(life: Life) -> tuple[Sample, Sample, Sample]:
    """Give what a process used in each third of its life, but for its first moments: memory on average, of connections
    and files the lower quartile, since a burst raises the top and a leak the floor.
    """
    samples = life.samples[min(3, len(life.samples) // 4) :]
    size = max(1, len(samples) // 3)
    begin, middle, end = (_usage(part) for part in (samples[:size], samples[size : 2 * size], samples[-size:]))
    return begin, middle, end


def _usage(samples: Sequence[Sample]) -> Sample:
    if not samples:
        return Sample(0, 0, 0)
    return Sample(
        statistics.mean(each.memory for each in samples),
        _lower_quartile([each.connections for each in samples]),
        _lower_quartile([each.files for each in samples]),
    )


def _lower_quartile(values: list[int]) -> int:
    return sorted(values)[len(values) // 4]


def logs_are_quiet(hubs: Hubs) -> Check:
    """The hubs printed no error and no traceback, and no warning but of what the soak did to them."""
    problems = [
        f"hub {hub.name}: {number} x {line}"
        for hub in hubs.processes
        for line, number in hub.complaints.items()
        if not line.startswith(EXPECTED_COMPLAINTS)
    ]
    return Check("nothing unexpected in the hubs' logs", problems, sum(len(hub.lives) for hub in hubs.processes))


def ordered(body: Any) -> Any:
    """Give an object with its EVSEs and connectors by their ids: which of them comes first says nothing in OCPI."""
    if not isinstance(body, dict):
        return body
    children = {"evses": "uid", "connectors": "id"}
    return {
        name: sorted(map(ordered, value), key=lambda child: child[children[name]]) if name in children else value
        for name, value in body.items()
    }


def difference(have: Any, wanted: Any) -> str:
    """Say where a copy is not what its owner has, the first few places; nothing when it is."""
    return "; ".join(_differences(ordered(have), ordered(wanted), ""))


def _differences(have: Any, wanted: Any, where: str) -> list[str]:
    if isinstance(have, dict) and isinstance(wanted, dict):
        names = sorted(have.keys() | wanted.keys())
        found = [each for name in names for each in _differences(have.get(name), wanted.get(name), f"{where}/{name}")]
    elif isinstance(have, list) and isinstance(wanted, list) and len(have) == len(wanted):
        pairs = enumerate(zip(have, wanted, strict=True))
        found = [each for number, (one, other) in pairs for each in _differences(one, other, f"{where}/{number}")]
    else:
        found = [] if have == wanted else [f"{where} is {have!r:.60}, its owner's {wanted!r:.60}"]
    return found[:3]


def _sees(member: Member, owned: Owned, cast: Cast) -> bool:
    return any(cast.may_see(str(party), owned.owner, owned.module) for party in member.parties)
