"""What happens during the soak: owners change their objects, platforms are slow or away, hubs stop and are killed.

Everything is chosen by the seed: what is to happen when by `plan`, each change by the seed and its number.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

import aiohttp

from hub.simulator.misbehaviour import Misbehaviour
from hub.simulator.objects import evse, location, session, start_session, tariff, token
from tests.soak.hubs import Hubs
from tests.soak.member import Member
from tests.soak.model import Change, Network, Owned

Kind = Literal["slow", "stopped", "silent", "unauthorized", "garbage", "html", "close", "die_mid_body", "term", "kill"]

_MISBEHAVIOUR: Mapping[str, Misbehaviour] = {
    "silent": "silent",
    "unauthorized": "unauthorized",
    "garbage": "garbage",
    "html": "html",
    "close": "close",
    "die_mid_body": "die_mid_body",
}
_STATUSES = ("AVAILABLE", "CHARGING", "RESERVED", "OUTOFORDER", "REMOVED", "BLOCKED", "INOPERATIVE")
_MOST_EVSES = 4
_MOST_UNDER_WAY = 64


@dataclass(frozen=True)
class Event:
    """Something that happens to a platform or a hub."""

    at: float
    """Seconds after the beginning."""
    kind: Kind
    target: int
    """The number of the platform, or of the hub for term and kill."""
    seconds: float
    """How long it lasts; for a slow platform, term and kill see `delay`."""
    delay: float = 0.0
    """By how much a slow platform's answers are late."""


def plan(seed: int, seconds: float, platforms: int) -> list[Event]:
    """Choose what happens: half of the platforms stay healthy, hubs restart in the first three fifths only.

    The rest of the time shows whether a hub's memory grows.
    """
    random = Random(f"{seed}/plan")  # noqa: S311
    events: list[Event] = []
    restarts = max(1, min(8, round(seconds / 30)))
    for number in range(restarts):
        at = seconds * 0.6 * (number + 0.5) / restarts
        kind: Kind = "kill" if number % 2 == 0 else "term"
        events.append(Event(at, kind, (number + number // 2) % 2, random.uniform(0.5, min(5.0, seconds / 20))))
    numbers = list(range(platforms))
    random.shuffle(numbers)
    for target in numbers[: platforms // 2]:
        begin = random.uniform(0, 0.4) * seconds
        while begin < seconds * 0.9:
            kinds: Sequence[Kind] = ("slow", "stopped", "silent", "stopped", *_MISBEHAVIOUR)  # type: ignore[arg-type]
            kind = random.choice(kinds) if target != numbers[0] else "slow"
            length = min(random.uniform(2, max(3.0, min(15.0, seconds / 6))), seconds - begin)
            events.append(Event(begin, kind, target, length, random.uniform(0.2, 1.0)))
            begin += length + random.uniform(0.1, 0.5) * seconds
    return sorted(events, key=lambda event: event.at)


class Disturbances:
    """Carries the plan out."""

    def __init__(self, events: Sequence[Event], members: Sequence[Member], hubs: Hubs) -> None:
        self._events = events
        self._members = members
        self._hubs = hubs
        self.done: Counter[str] = Counter()
        self.restarted: list[tuple[float, float]] = []
        """When a hub went and when it was back, in the event loop's time."""
        self._restarting = asyncio.Lock()

    async def run(self) -> None:
        """Let everything happen at its time, and wait until it is over."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with asyncio.TaskGroup() as group:
            for event in self._events:
                await asyncio.sleep(max(0.0, begin + event.at - loop.time()))
                group.create_task(self._carry_out(event))

    async def _carry_out(self, event: Event) -> None:
        self.done[event.kind] += 1
        if event.kind in ("term", "kill"):
            return await self._restart(event)
        member = self._members[event.target]
        match event.kind:
            case "slow":
                member.was_slow = True
                member.answer_delay = event.delay
                await asyncio.sleep(event.seconds)
                member.answer_delay = 0.0
            case "stopped":
                member.was_away = True
                await member.stop()
                await asyncio.sleep(event.seconds)
                await member.start()
            case kind:
                member.was_away = True
                member.misbehave(_MISBEHAVIOUR[kind])
                await asyncio.sleep(event.seconds)
                member.misbehave(None)
        return None

    async def _restart(self, event: Event) -> None:
        async with self._restarting:  # one of the two is always there
            loop = asyncio.get_running_loop()
            hub = self._hubs.processes[event.target]
            went = loop.time()
            if event.kind == "kill":
                await hub.kill()
            else:
                code = await hub.stop()
                assert code == 0, f"hub {hub.name} ended with exit code {code} after SIGTERM"
            await asyncio.sleep(event.seconds)
            await hub.start()
            self.restarted.append((went, loop.time()))


Make = Callable[[Owned, Random], Change]


def _evse_status(owned: Owned, random: Random) -> Change:
    uid = random.choice(owned.children())["uid"]
    return owned.patch({"status": random.choice(_STATUSES)}, (uid,))


def _evse_put(owned: Owned, random: Random) -> Change:
    uid = f"{owned.id}-{random.randint(1, _MOST_EVSES)}"
    return owned.put_child((uid,), evse(owned.owner, uid, floor_level=str(random.randint(-3, 9))))


def _connector_patch(owned: Owned, random: Random) -> Change:
    uid = random.choice(owned.children())["uid"]
    return owned.patch({"max_amperage": random.choice((16, 32, 63)), "x_note": random.random()}, (uid, "1"))


def _connector_put(owned: Owned, random: Random) -> Change:
    found = random.choice(owned.children())
    connector = {**found["connectors"][0], "id": str(random.randint(1, 3)), "max_voltage": random.choice((230, 400))}
    return owned.put_child((found["uid"], connector["id"]), connector)


def _location_patch(owned: Owned, random: Random) -> Change:
    return owned.patch({"name": f"Gent Zuid № {random.randint(1, 999)}", "charging_when_closed": random.random() < 0.5})


def _location_put(owned: Owned, random: Random) -> Change:
    return owned.put(location(owned.owner, owned.id, name=f"Built anew {random.randint(1, 999)}"))


def _tariff_put(owned: Owned, random: Random) -> Change:
    return owned.put(tariff(owned.owner, owned.id, currency=random.choice(("EUR", "CHF", "SEK"))))


def _tariff_delete(owned: Owned, random: Random) -> Change:
    return owned.delete() if owned.body is not None else _tariff_put(owned, random)


def _token_put(owned: Owned, random: Random) -> Change:
    return owned.put(token(owned.owner, owned.id, type=owned.type, valid=random.random() < 0.8))


def _token_patch(owned: Owned, random: Random) -> Change:
    return owned.patch({"valid": random.random() < 0.8, "whitelist": random.choice(("ALLOWED", "NEVER"))})


CHANGES: Mapping[str, tuple[str, int, Make]] = {
    "EVSE status PATCH": ("locations", 60, _evse_status),
    "EVSE PUT": ("locations", 4, _evse_put),
    "connector PATCH": ("locations", 5, _connector_patch),
    "connector PUT": ("locations", 2, _connector_put),
    "location PATCH": ("locations", 5, _location_patch),
    "location PUT": ("locations", 4, _location_put),
    "tariff PUT": ("tariffs", 6, _tariff_put),
    "tariff DELETE": ("tariffs", 4, _tariff_delete),
    "token PUT": ("tokens", 4, _token_put),
    "token PATCH": ("tokens", 6, _token_patch),
}
"""What owners do: module, how often in a hundred, and the change."""


class Changes:
    """Owners change their objects, so many times a second in all."""

    def __init__(self, seed: int, network: Network, members: Mapping[str, Member], rate: float) -> None:
        self._seed = seed
        self._network = network
        self._members = members
        """By party."""
        self._rate = rate
        self.made: Counter[str] = Counter()
        self.passed_over = 0
        """Changes not made, because the owner was away or still busy with the object."""

    async def run(self, seconds: float) -> None:
        """Make changes for so long, and wait until the last is sent."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        names, weights = list(CHANGES), [weight for _, weight, _ in CHANGES.values()]
        pushes: set[asyncio.Task[None]] = set()
        for number in range(int(seconds * self._rate)):
            await asyncio.sleep(max(0.0, begin + number / self._rate - loop.time()))
            if loop.time() > begin + seconds:
                break  # the machine is too slow for this rate
            random = Random(f"{self._seed}/{number}")  # noqa: S311
            name = random.choices(names, weights)[0]
            module, _, make = CHANGES[name]
            owned = random.choice(self._network.of(module))
            member = self._members[owned.owner]
            if owned.is_busy or not member.is_running or len(pushes) >= _MOST_UNDER_WAY:
                self.passed_over += 1
                continue
            self.made[name] += 1
            push = asyncio.create_task(self._push(member, owned, make(owned, random)))
            pushes.add(push)
            push.add_done_callback(pushes.discard)
        await asyncio.gather(*pushes)

    @staticmethod
    async def _push(member: Member, owned: Owned, change: Change) -> None:
        await member.push(owned, change)
        await member.repair(owned)


class Conversations:
    """Sessions and commands without OCPI-to headers, a few a second, beside the broadcasts."""

    def __init__(self, seed: int, network: Network, members: Mapping[str, Member], rate: float) -> None:
        self._random = Random(f"{seed}/conversations")  # noqa: S311
        self._network = network
        self._members = members
        self._rate = rate
        self.answers: Counter[str] = Counter()

    async def run(self, seconds: float) -> None:
        """Hold conversations for so long."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * self._rate)):
                await asyncio.sleep(1 / self._rate)
                if loop.time() > begin + seconds:
                    break
                token_of = self._random.choice(self._network.of("tokens"))
                place = self._random.choice(self._network.of("locations"))
                emsp, cpo = self._members[token_of.owner], self._members[place.owner]
                if emsp is not cpo and emsp.is_running and cpo.is_running:
                    group.create_task(self._hold(f"S{number}", emsp, cpo, token_of, place))

    async def _hold(self, session_id: str, emsp: Member, cpo: Member, token_of: Owned, place: Owned) -> None:
        assert token_of.body is not None
        url = emsp.new_response_url("commands", "START_SESSION")
        command = start_session(url, token_of.body, place.id)
        begun = session(place.owner, session_id, token_of.body, status="ACTIVE", location_id=place.id)
        path = f"{place.owner.replace('-', '/')}/{session_id}"
        try:
            answer = await emsp.call(
                "POST", "commands", "RECEIVER", "START_SESSION", sender=token_of.owner, body=command
            )
            self.answers[f"command {answer.status_code}"] += 1
            answer = await cpo.call("PUT", "sessions", "RECEIVER", path, sender=place.owner, body=begun)
            self.answers[f"session {answer.status_code}"] += 1
        except (aiohttp.ClientError, TimeoutError, RuntimeError) as exc:
            self.answers[type(exc).__name__] += 1
