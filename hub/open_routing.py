"""Requests without OCPI-to headers: find the receiver from the content (OCPI 2.2.1, Open Routing Request)."""

import asyncio

from aiohttp import web

from config.ocpi import PartyID, TooLarge
from config.settings import Settings
from hub.ask_emsps import EveryEMSP
from hub.direct import Relay
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.trace import Trace
from routing.message import Message
from routing.open_routing import IN_BODY, LookUp, Question, choose, find_named, read_destination
from routing.resolve import resolve_direct

SECOND_LOOK_SECONDS = 0.25
"""Another hub process may have forwarded the push that tells the receiver, and is to store it within a tenth or two."""


class OpenRouting:
    """Finds receivers, and lets every eMSP be asked about an unknown token where that is switched on."""

    def __init__(self, settings: Settings, live: LiveTable, mirror: Mirror, relay: Relay, emsps: EveryEMSP) -> None:
        self._settings = settings
        self._live = live
        self._mirror = mirror
        self._relay = relay
        self._emsps = emsps

    async def answer(self, request: web.BaseRequest, message: Message, trace: Trace) -> web.StreamResponse:
        """Find the receiver and relay; the answer's OCPI-from says who it was (R-149). Raises OCPIError."""
        operation = message.operation
        body = await self._relay.read_body(request, message, trace)
        if body.stream is not None and (operation.found_by in IN_BODY or operation.authorize):
            raise TooLarge(f"A {operation.label} of this size needs OCPI-to headers: the hub does not look into it.")
        destination = read_destination(message, body.held)
        if isinstance(destination, PartyID):
            receiver = find_named(destination, self._live.table)
        else:
            parties = await self._look_up(destination)
            if not parties and operation.authorize and self._settings.ask_for_unknown_tokens:
                return await self._emsps.ask(request, message, body.held, self._live.table, trace)
            receiver = choose(parties, destination, message, self._live.table)
        trace.receiver = receiver
        route = resolve_direct(message, receiver, self._live.table)
        return await self._relay.relay(request, message, route, trace, body=body)

    async def _look_up(self, question: Question) -> frozenset[str]:
        """Give whom the mirror knows in answer. Raises DatabaseAway.

        At first only the best answer counts: the others are for when it is not about to be known.
        """
        parties = await self._first_answer(question.look_ups[:1])
        if not parties:
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            parties = await self._first_answer(question.look_ups)
        return parties

    async def _first_answer(self, look_ups: tuple[LookUp, ...]) -> frozenset[str]:
        for look_up in look_ups:
            parties = look_up.parties_in(await self._mirror.known(look_up.module, look_up.object_key))
            if parties:
                return parties
        return frozenset()
