"""One platform of the soak: owner of objects, receiver of others', now and then slow, silent or away."""

import asyncio
from collections import Counter
from typing import Any, Final

import aiohttp

from hub.simulator import Answer, Received, Reply, SimulatedPlatform
from hub.simulator.lookup import CopyKey
from tests.soak.arrivals import SHARED, Arrivals
from tests.soak.cast import Part
from tests.soak.model import Change, Network, Owned

HUB: Final = "NL-HUB"
_REPEAT_PAUSE_SECONDS = 0.3


class Member(SimulatedPlatform):
    """A simulated platform with its part in the soak."""

    def __init__(self, part: Part, network: Network, arrivals: Arrivals) -> None:
        super().__init__(part.name, part.roles, modules=part.modules, on_received=self._look, keep=50)
        self.part = part
        self._network = network
        self._arrivals = arrivals
        self.is_running = False
        self.answer_delay = 0.0
        """Seconds by which its answers to pushes are late; what was pushed is taken in at once."""
        self.was_away = False
        """Whether it ever failed to take what was pushed: it was stopped, silent or answered nonsense."""
        self.was_slow = False
        self.catches_up = False
        """Whether the hub is told to bring it up to date."""
        self.answers: Counter[str] = Counter()
        """What the hub answered to its pushes: status codes, or why there was no answer."""
        for module in SHARED:
            for method in ("PUT", "PATCH", "DELETE"):
                self.answer(method, module, "RECEIVER", self._take)

    # As a receiver

    def _look(self, received: Received) -> None:
        request = self._read_request(received)
        if request is not None and not request.is_configuration and request.method != "GET":
            is_steady = not (self.was_away or self.was_slow)
            self._arrivals.take(request, received, is_steady=is_steady)

    async def _take(self, received: Received) -> Reply:
        reply = await self.default_reply(received)
        if self.answer_delay:
            await self._pause(self.answer_delay)
        return reply

    # As an owner

    def publish(self) -> None:
        """Show in the Sender interfaces what its parties own now."""
        for module in SHARED:
            mine = (each for party in self.parties for each in self._network.of(module, str(party)))
            self.store.owned[module] = [each.body for each in mine if each.body is not None]

    async def push(self, owned: Owned, change: Change) -> None:
        """Tell the hub of a change; what is not acknowledged is sent whole again, as new, until it is."""
        owned.is_busy, owned.is_acknowledged = True, False
        try:
            self.publish()
            owned.sent[change.at] = asyncio.get_running_loop().time()
            owned.is_acknowledged = await self._send_push(owned, change)
        finally:
            owned.is_busy = False

    async def repair(self, owned: Owned) -> None:
        """Send an object whole until the hub acknowledges it, or this platform stops."""
        while self.is_running and not owned.is_acknowledged and not owned.is_busy:
            await self.push(owned, owned.repeat())
            if not owned.is_acknowledged:
                await self._pause(_REPEAT_PAUSE_SECONDS)

    async def _send_push(self, owned: Owned, change: Change) -> bool:
        try:
            answer = await self.call(
                change.method,
                owned.module,
                "RECEIVER",
                change.path,
                to=HUB,
                sender=owned.owner,
                body=change.body,
                query=change.query,
            )
        except (aiohttp.ClientError, TimeoutError, RuntimeError) as exc:  # RuntimeError: it was stopped meanwhile
            self.answers[type(exc).__name__] += 1
            return False
        self.answers[f"{answer.http_status} {answer.status_code}"] += 1
        return answer.is_success

    # What everybody has

    async def crawl(self, module: str, viewer: str, query: str = "limit=40") -> list[dict[str, Any]]:
        """GET all as one of its parties, page by page. Raises AssertionError when the hub refuses."""
        listed: list[dict[str, Any]] = []
        answer = await self.call("GET", module, "SENDER", to=HUB, sender=viewer, query=query)
        while True:
            assert answer.is_success, f"GET all of {module} by {viewer}: {answer.http_status} {answer.body[:300]!r}"
            listed += answer.data
            following = _next_url(answer)
            if following is None:
                return listed
            answer = await self.request("GET", following, to=HUB, sender=viewer)

    async def resync(self, date_from: str) -> None:
        """Catch up by itself, as OCPI wants it: GET all of what changed; of tariffs everything, as some are gone."""
        for module in SHARED:
            if (module, "RECEIVER") in self.modules:
                query = "limit=40" if module == "tariffs" else f"limit=40&date_from={date_from}"
                listed = [body for party in self.parties for body in await self.crawl(module, str(party), query)]
                self._adopt_list(module, listed)
                if module == "tariffs":
                    self._drop_unlisted(module, listed)

    def _adopt_list(self, module: str, listed: list[dict[str, Any]]) -> None:
        for body in listed:
            have = self.store.copies[module].get(copy_key(module, body))
            if have is None or have["last_updated"] <= body["last_updated"]:
                self.store.copies[module][copy_key(module, body)] = body

    def _drop_unlisted(self, module: str, listed: list[dict[str, Any]]) -> None:
        """R-223: what a whole list lacks is not valid any more."""
        keys = {copy_key(module, body) for body in listed}
        for key in self.store.copies[module].keys() - keys:
            del self.store.copies[module][key]

    async def start(self, port: int = 0) -> None:
        """Listen, and go on where it stopped: what was not acknowledged is sent again by `repair`."""
        await super().start(port)
        self.is_running = True

    async def stop(self) -> None:
        """Go away; nobody is told."""
        self.is_running = False
        await super().stop()


def copy_key(module: str, body: dict[str, Any]) -> CopyKey:
    """Give the key under which a simulated platform keeps a copy of this object."""
    key = (body["country_code"], body["party_id"], body["uid" if module == "tokens" else "id"])
    folded = tuple(part.upper() for part in key)
    return (*folded, body["type"]) if module == "tokens" else folded


def _next_url(answer: Answer) -> str | None:
    link = answer.headers.get("Link", "")
    return link[1 : link.index(">")] if 'rel="next"' in link else None
