"""One delivery of a broadcast: to one party of one platform, as its owner sent it or as the mirror has it now.

A push that can go out at once is begun by a call and ended when its answer is there: no task waits for it. Everything
else has one.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Self

from config.ocpi import PartyID, is_success
from hub import client as http
from hub.addressees import Addressee, Letter
from hub.ids import new_id
from hub.lane import Chain, Item, Lane, Outcome, Push
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.own_calls import OwnAnswer, OwnCalls, PassedOver
from hub.processes import Processes
from hub.trace import RequestLog
from parties.model import Platform
from routing.broadcast import receiving_parties
from routing.resolve import join

_UNAVAILABLE = frozenset({401, 429, 502, 503, 504})
"""A platform that has lost the hub's token, has too much to do, or is behind a proxy that does not reach it."""


_STOPPED = "The hub stopped before the answer was there."
ANSWER_MAX = 1024 * 1024
"""Largest answer to a push that is read, in bytes."""


class NotHeld(Exception):
    """While a delivery was made ready, this process ceased to be sure that it is its work; nothing was sent."""


@dataclass(slots=True)
class Sent:
    """What was sent, or is about to be, to whom."""

    platform: Platform
    chain: Chain
    sender: PartyID
    """In OCPI-from."""
    method: str
    path: str
    query: str
    body: bytes
    content_type: str | None
    request_id: str
    correlation_id: str
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of_push(cls, platform: Platform, chain: Chain, push: Push, sender: PartyID, request_id: str) -> Self:
        """Give a push as its owner sent it."""
        row = push.row
        return cls(
            platform,
            chain,
            sender,
            row.method,
            row.path,
            row.query,
            row.body,
            row.content_type,
            request_id,
            row.correlation_id,
        )


class UnderWay:
    """A delivery that was begun, and for which no task waits."""

    __slots__ = ("addressee", "began", "chain", "held", "is_told", "item", "lane", "request_id")
    held: http.Held

    def __init__(self, lane: Lane, chain: Chain, item: Push, addressee: Addressee, request_id: str) -> None:
        self.lane = lane
        self.chain = chain
        self.item = item
        self.addressee = addressee
        self.request_id = request_id
        self.is_told = False
        self.began = time.perf_counter()

    @property
    def sent(self) -> Sent:
        """What was sent."""
        addressee = self.addressee
        sent = Sent.of_push(addressee.platform, self.chain, self.item, addressee.sender, self.request_id)
        sent.began = self.began
        return sent


class Deliveries:
    """Sends what the lanes let go, one line in the log for each."""

    def __init__(
        self,
        live: LiveTable,
        mirror: Mirror,
        calls: OwnCalls,
        request_log: RequestLog,
        processes: Processes,
        hub: PartyID,
    ) -> None:
        self._live = live
        self._mirror = mirror
        self._calls = calls
        self._log = request_log
        self._processes = processes
        self._hub = hub

    def begin(self, lane: Lane, chain: Chain, item: Item, told: Callable[[UnderWay], None]) -> UnderWay | None:
        """Send a push if that needs no waiting and nothing to be looked up; else nothing happens.

        `told` is called once there is something to `end`, perhaps at once.
        """
        if not isinstance(item, Push) or item.terms is not self._live.table:
            return None
        addressee = chain.addressee
        assert isinstance(addressee, Addressee)
        letter: Letter = item.letter
        if letter is None:
            letter = item.letter = Letter(item.row)
        request_id = new_id()
        request = addressee.request(letter, request_id) if letter.is_plain else None
        if request is None:
            return None
        under_way = UnderWay(lane, chain, item, addressee, request_id)
        held = self._calls.begin(
            lane.platform_id,
            addressee.pool_key,
            letter.method,
            request,
            limit=ANSWER_MAX,
            told=partial(told, under_way),
        )
        if held is None:
            return None
        under_way.held = held
        return under_way

    def end(self, under_way: UnderWay) -> Outcome | None:
        """Give what became of a delivery whose answer is plainly there; None where `go_on` has to find that out."""
        addressee = under_way.addressee
        letter: Letter = under_way.item.letter
        ended = self._calls.end(addressee.platform.id, under_way.held, ANSWER_MAX)
        if ended is None:
            return None
        status, status_code = ended
        outcome = _judge(status, status_code)
        ms = (time.perf_counter() - under_way.began) * 1000
        shown = "null" if status_code is None else status_code
        if not self._log.note_written(
            f'"event":"delivery","action":"{outcome}",{letter.facts_before},{addressee.facts},"ms":{ms:.2f},'
            f'"onward_request_id":"{under_way.request_id}",{letter.facts_after},'
            f'"receiver_http_status":{status},"receiver_status_code":{shown}'
        ):
            self._note(under_way.sent, outcome, ended)
        return outcome

    async def go_on(self, under_way: UnderWay) -> Outcome:
        """Give what became of a delivery whose answer is late, in pieces, elsewhere or none."""
        return await self._await(under_way.sent, under_way.held)

    def give_up(self, under_way: UnderWay) -> None:
        """End a delivery that nobody can wait for any longer."""
        under_way.held.end()
        self._note(under_way.sent, "failed", problem=_STOPPED)

    async def deliver(self, lane: Lane, chain: Chain, item: Item) -> Outcome:
        """Send a push, or the state that stands for several; give what became of it. Raises DatabaseAway, NotHeld.

        Nothing is sent twice: what was not answered may have arrived.
        """
        table = self._live.table
        platform = table.platforms.get(lane.platform_id)
        module = chain.key[1].module
        if platform is None or not platform.is_online:
            return "skipped"
        # Who may see what may have changed while it waited.
        parties = receiving_parties(platform, chain.sender, chain.sender_platform, module, table)
        if all(party.key != chain.party.key for party in parties):
            return "skipped"
        sender = self._hub  # OCPI 2.2.1, Broadcast Push: the hub's ids as OCPI-from
        if platform.switches.owner_as_sender:
            sender = PartyID(*chain.sender)
        if isinstance(item, Push):
            return await self._await(Sent.of_push(platform, chain, item, sender, new_id()))
        current = await self._mirror.current(chain.key[1])
        if current is None or (current.body is None and not current.deleted):
            return "skipped"
        if not self._processes.holds(lane.platform_id):
            raise NotHeld  # it may be old by now, and another process further
        if current.broadcast is not None:
            lane.cover(chain, current.broadcast)
        method, body = ("DELETE", b"") if current.deleted else ("PUT", current.body or b"")
        return await self._await(
            Sent(
                platform,
                chain,
                sender,
                method,
                current.path,
                current.query,
                body,
                content_type=None,
                request_id=new_id(),
                correlation_id=item.correlation_id or new_id(),
            )
        )

    async def _await(self, sent: "Sent", begun: http.Held | None = None) -> Outcome:
        outcome: Outcome
        answer: OwnAnswer | None = None
        problem: str | None = None
        try:
            answer = await self._calls.call(
                sent.platform,
                sent.method,
                join(sent.platform.endpoints[(sent.chain.key[1].module, "RECEIVER")], sent.path, sent.query),
                sender=sent.sender,
                receiver=sent.chain.party,
                request_id=sent.request_id,
                correlation_id=sent.correlation_id,
                content=sent.body or None,
                content_type=sent.content_type,
                limit=ANSWER_MAX,
                begun=begun,
            )
            outcome = _judge(answer.http_status, answer.status_code)
        except PassedOver:
            outcome, problem = "skipped", "It did not answer lately."
        except (http.ClientError, ValueError) as exc:
            outcome, problem = "failed", str(exc)
        except asyncio.CancelledError:
            self._note(sent, "failed", problem=_STOPPED)
            raise
        self._note(sent, outcome, (answer.http_status, answer.status_code) if answer else None, problem)
        return outcome

    def _note(
        self, sent: "Sent", outcome: Outcome, answer: tuple[int, int | None] | None = None, problem: str | None = None
    ) -> None:
        facts: dict[str, Any] = {
            "action": outcome,
            "method": sent.method,
            "module": sent.chain.key[1].module,
            "owner": "-".join(sent.chain.sender),
            "to": str(sent.chain.party),
            "receiver_platform": sent.platform.id,
            "ms": round((time.perf_counter() - sent.began) * 1000, 2),
            "onward_request_id": sent.request_id,
            "correlation_id": sent.correlation_id,
        }
        if answer is not None:
            facts["receiver_http_status"], facts["receiver_status_code"] = answer
        if problem is not None:
            facts["problem"] = problem
        self._log.note("delivery", facts, datetime.now(UTC))


def _judge(http_status: int, status_code: int | None) -> Outcome:
    """Give what an answer makes of a delivery; success is 2xx and 1xxx, as OCPI calls it."""
    if 200 <= http_status < 300 and is_success(status_code):
        return "delivered"
    # What says that the platform takes nothing at the moment, rather than what it thinks of this push, is a failure.
    return "failed" if http_status in _UNAVAILABLE else "refused"
