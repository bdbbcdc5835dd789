"""What came to whom during the soak, looked at as it comes: order, repeats, who may see it, how late it was."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from hub.simulator import Received
from hub.simulator.lookup import read_key
from hub.simulator.requests import Request
from tests.soak.cast import Cast
from tests.soak.model import Key, Network

SHARED = ("locations", "tariffs", "tokens")
_EXAMPLES = 20
_SAMPLE = 50_000


@dataclass
class Lags:
    """How long pushes took from owner to receiver, in seconds: the longest, and a sample of bounded size."""

    longest: float = 0.0
    count: int = 0
    sample: list[float] = field(default_factory=list)
    _random: Random = field(default_factory=lambda: Random(0))  # noqa: S311

    def add(self, seconds: float) -> None:
        """Take one in."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        if len(self.sample) < _SAMPLE:
            self.sample.append(seconds)
        elif (place := self._random.randrange(self.count)) < _SAMPLE:
            self.sample[place] = seconds


class Findings:
    """What should not be: how often, and the first examples."""

    def __init__(self) -> None:
        self.count = 0
        self.examples: list[str] = []

    def add(self, text: str) -> None:
        """Take one in."""
        self.count += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(text)


class Arrivals:
    """Looks at every push that any platform receives."""

    def __init__(self, cast: Cast, network: Network, hub: str) -> None:
        self._cast = cast
        self._network = network
        self._hub = hub
        self.last: dict[tuple[str, Key], str] = {}
        """By receiving party and object: the last_updated of what came last; of a DELETE when it was decided."""
        self.by_module: Counter[str] = Counter()
        self.backwards = Findings()
        self.forbidden = Findings()
        self.repeats: list[tuple[str, float, str]] = []
        """Receiving party, time in the event loop's, and what it was."""
        self.lags = Lags()

    def take(self, request: Request, received: Received, *, is_steady: bool) -> None:
        """Look at one push. `is_steady`: its receiver was neither away nor slow, so that its lag counts."""
        party = received.to or "nobody"
        self.by_module[request.module] += 1
        if request.module not in SHARED:
            return self._take_addressed(request, party)
        copy_key, _ = read_key(request)
        key: Key = (request.module, *copy_key)
        owned = self._network.objects.get(key)
        what = f"{received.method} {received.path} to {party}"
        if owned is None or party not in self._cast.holder or not self._cast.may_see(party, owned.owner, owned.module):
            return self.forbidden.add(what)
        if received.sender != self._hub:
            self.forbidden.add(f"{what} comes from {received.sender}, not from the hub")
        before = self.last.get((party, key), "")
        if request.method == "DELETE":
            at = owned.find_deletion(before)
            if at is None:
                return self.backwards.add(f"{what} after {before}, the last deletion was {owned.deletions[-1:]}")
        else:
            at = str(request.read_object().get("last_updated"))
        if at < before:
            return self.backwards.add(f"{what}: {at} after {before}")
        if at == before and (request.method != "DELETE" or at == owned.deletions[-1]):
            # A DELETE is not told from a later one, where the receiver missed what came in between.
            self.repeats.append((party, received.at, f"{what}, {at} at {datetime.now(UTC):%H:%M:%S}"))
        elif at != before and is_steady and at in owned.sent:
            self.lags.add(received.at - owned.sent[at])
        self.last[party, key] = at
        return None

    def _take_addressed(self, request: Request, party: str) -> None:
        """Look at what was routed by its content: is it for this party?"""
        if request.module == "sessions" and request.method == "PUT":
            driver = request.read_object()["cdr_token"]
            meant = f"{driver['country_code']}-{driver['party_id']}"
        elif request.module == "commands" and request.interface == "RECEIVER":
            found = self._network.objects.values()
            wanted = request.read_object()["location_id"]
            meant = next(each.owner for each in found if each.module == "locations" and each.id == wanted)
        else:
            return
        if meant != party:
            self.forbidden.add(f"{request.method} {request.module} meant for {meant} to {party}")
