"""One delivery of a broadcast: to one party of one platform, as its owner sent it or as the mirror has it now."""

import time
from datetime import UTC, datetime
from typing import Any

from config.ocpi import PartyID
from hub import client as http
from hub.ids import new_id
from hub.lane import Chain, ChainKey, Item, Lane, Outcome, Push
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


class NotHeld(Exception):
    """While a delivery was made ready, this process ceased to be sure that it is its work; nothing was sent."""


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

    async def deliver(self, lane: Lane, chain_key: ChainKey, chain: Chain, item: Item) -> Outcome:
        """Send a push, or the state that stands for several; give what became of it. Raises DatabaseAway, NotHeld.

        Nothing is sent twice: what was not answered may have arrived.
        """
        table = self._live.table
        platform = table.platforms.get(lane.platform_id)
        module = chain_key[1].module
        if platform is None or not platform.is_online:
            return "skipped"
        # Who may see what may have changed while it waited.
        parties = receiving_parties(platform, chain.sender, chain.sender_platform, module, table)
        if all(party.key != chain.party.key for party in parties):
            return "skipped"
        if isinstance(item, Push):
            row = item.row
            return await self._send(
                platform, chain, row.method, module, row.path, row.query, row.body, row.content_type, row.correlation_id
            )
        current = await self._mirror.current(chain_key[1])
        if current is None or (current.body is None and not current.deleted):
            return "skipped"
        if not self._processes.holds(lane.platform_id):
            raise NotHeld  # it may be old by now, and another process further
        if current.broadcast is not None:
            lane.cover(chain_key, chain, current.broadcast)
        method, body = ("DELETE", b"") if current.deleted else ("PUT", current.body or b"")
        correlation_id = item.correlation_id or new_id()
        return await self._send(
            platform, chain, method, module, current.path, current.query, body, None, correlation_id
        )

    async def _send(
        self,
        platform: Platform,
        chain: Chain,
        method: str,
        module: str,
        path: str,
        query: str,
        body: bytes,
        content_type: str | None,
        correlation_id: str,
    ) -> Outcome:
        endpoint = platform.endpoints[(module, "RECEIVER")]
        sender = self._hub  # OCPI 2.2.1, Broadcast Push: the hub's ids as OCPI-from
        if platform.switches.owner_as_sender:
            sender = PartyID(*chain.sender)
        request_id = new_id()
        began = time.perf_counter()
        outcome: Outcome
        answer: OwnAnswer | None = None
        problem: str | None = None
        try:
            answer = await self._calls.call(
                platform,
                method,
                join(endpoint, path, query),
                sender=sender,
                receiver=chain.party,
                request_id=request_id,
                correlation_id=correlation_id,
                content=body or None,
                content_type=content_type,
                limit=1024 * 1024,
            )
            outcome = "delivered" if answer.is_success else "failed" if _is_unavailable(answer) else "refused"
        except PassedOver:
            outcome, problem = "skipped", "It did not answer lately."
        except (http.ClientError, ValueError) as exc:
            outcome, problem = "failed", str(exc)
        facts: dict[str, Any] = {
            "action": outcome,
            "method": method,
            "module": module,
            "owner": "-".join(chain.sender),
            "to": str(chain.party),
            "receiver_platform": platform.id,
            "ms": round((time.perf_counter() - began) * 1000, 2),
            "onward_request_id": request_id,
            "correlation_id": correlation_id,
        }
        if answer is not None:
            facts |= {"receiver_http_status": answer.http_status, "receiver_status_code": answer.status_code}
        if problem is not None:
            facts["problem"] = problem
        self._log.note("delivery", facts, datetime.now(UTC))
        return outcome


def _is_unavailable(answer: OwnAnswer) -> bool:
    """Whether an answer says that the platform takes nothing at the moment, rather than what it thinks of this push."""
    return answer.http_status in _UNAVAILABLE
