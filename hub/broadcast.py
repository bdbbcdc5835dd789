"""Broadcast push: take it in, acknowledge it, and hand it to the lanes (OCPI 2.2.1, Broadcast Push)."""

from datetime import UTC, datetime

from aiohttp import web

from config.ocpi import InvalidJSON, PartyID, TooLarge
from config.settings import Settings
from hub.bodies import read_body
from hub.envelope import success
from hub.lanes import Lanes
from hub.mirror import BroadcastDraft, Mirror
from hub.streaming import Waiting
from hub.trace import Trace
from routing.answers import is_json
from routing.headers import answer_headers
from routing.message import Message
from routing.objects import read_change


class Broadcaster:
    """Accepts broadcasts."""

    def __init__(self, settings: Settings, mirror: Mirror, lanes: Lanes, hub: PartyID) -> None:
        self._settings = settings
        self._mirror = mirror
        self._lanes = lanes
        self._hub = hub

    async def accept(self, request: web.BaseRequest, message: Message, trace: Trace) -> web.Response:
        """Store a broadcast, acknowledge it, and let the lanes deliver it. Raises OCPIError; DatabaseAway is 3000.

        Acknowledged is what is committed (T-053): HTTP 200, 1000, no data (R-128).
        """
        body = await self._read(request, message, trace)
        change = read_change(message, body, datetime.now(UTC))
        target = message.target
        draft = BroadcastDraft(
            sender=str(message.sender),
            operation=message.operation.label,
            path=target.path,
            query=target.query,
            content_type=_content_type(request),
            correlation_id=message.ids.correlation,
        )
        with Waiting(trace):
            row = await self._mirror.take_broadcast(change, draft)
        self._lanes.hand_over(row)
        trace.status_code = 1000
        return success(None, answer_headers(message.ids, to=message.sender, sender=self._hub))

    async def _read(self, request: web.BaseRequest, message: Message, trace: Trace) -> bytes:
        operation, settings = message.operation, self._settings
        if operation.body == "none":
            return b""
        with Waiting(trace):
            body = await read_body(
                request,
                hold=settings.shared_body,
                maximum=settings.shared_body,
                idle_seconds=settings.idle_timeout,
            )
        if body.stream is not None:
            raise TooLarge(f"A broadcast has at most {settings.shared_body} bytes here.")
        if not is_json(body.held):
            raise InvalidJSON
        return body.held


def _content_type(request: web.BaseRequest) -> str | None:
    """Give what the sender calls its body; None for what could be neither stored nor sent."""
    value = request.headers.get("Content-Type")
    return value if value and value.isascii() and value.isprintable() else None
