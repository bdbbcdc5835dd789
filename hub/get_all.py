"""GET all: lists and single objects that the hub answers from the mirror (OCPI 2.2.1, GET All via Hubs)."""

from aiohttp import web

from config.ocpi import LIMIT, TOTAL_COUNT, InvalidParameters, OCPIError, PartyID
from config.settings import Settings
from hub.aliases import Aliases
from hub.database import Database
from hub.envelope import envelope_around
from hub.live_table import LiveTable
from hub.mirror import Mirror
from hub.mirror.pages import Pages
from hub.trace import Trace
from routing.headers import answer_headers
from routing.merge import find_part
from routing.message import Message
from routing.objects import fold, read_id
from routing.paging import read_paging
from routing.table import EMPTY, RoutingTable
from routing.visibility import visible_owners

_REMEMBERED = 200
"""Whose visible owners are remembered: with 1,000 parties each takes 50 kB."""

_FOR_THE_REQUESTER = frozenset({"sessions", "cdrs"})
"""Modules whose objects have an addressee, who alone gets them in a list (R-161)."""


class UnknownLocation(OCPIError):
    """No location, EVSE or connector with this id is shared with you at this hub."""

    status_code = 2003
    http_status = 404


class MergedLists:
    """Answers what is asked of all owners at once."""

    def __init__(
        self, settings: Settings, live: LiveTable, database: Database, mirror: Mirror, aliases: Aliases, hub: PartyID
    ) -> None:
        self._settings = settings
        self._live = live
        self._mirror = mirror
        self._pages = Pages(database)
        self._aliases = aliases
        self._hub = hub
        self._table: RoutingTable = EMPTY
        self._visible: dict[tuple[int, tuple[str, str], str], frozenset[str]] = {}
        """Owners by platform, requester and module, as that table has it."""

    async def answer(self, request: web.BaseRequest, message: Message, trace: Trace) -> web.StreamResponse:
        """Answer a request addressed to the hub. Raises OCPIError."""
        module = message.operation.module
        if not self._mirror.keeps(module):
            raise InvalidParameters(f"This hub keeps no {module}; ask the party whose {module} you want.")
        fields = answer_headers(message.ids, to=message.sender, sender=self._hub)
        if message.target.segments:
            body = envelope_around([await self._find(message)], is_list=False)
        else:
            objects, paging_fields = await self._list(message)
            fields |= paging_fields
            body = envelope_around(objects, is_list=True)
        trace.status_code = 1000
        return web.Response(body=body, headers=fields)

    async def _list(self, message: Message) -> tuple[list[bytes], dict[str, str]]:
        """Give a page's objects, as they are stored, and the headers that go with it (R-160)."""
        module = message.operation.module
        paging = read_paging(message.target.query, self._settings.page_limit)
        if module == "sessions" and paging.date_from is None:
            raise InvalidParameters("date_from is missing: a list of sessions needs it.")
        addressee = ""
        if module in _FOR_THE_REQUESTER:
            addressee = fold(message.sender)
            await self._mirror.settled()
        page = await self._pages.page(message.platform.id, module, addressee, self._owners(message), paging)
        fields = {TOTAL_COUNT: str(page.total), LIMIT: str(self._settings.page_limit)}
        if page.last_position is not None:
            url = self._aliases.module_url(message.target.version, message.operation.interface, module)
            fields["Link"] = f'<{url}?{paging.next_query(len(page.objects), page.last_position)}>; rel="next"'
        return page.objects, fields

    async def _find(self, message: Message) -> bytes:
        """Give the one visible location with this id, or what it has of that EVSE or connector."""
        object_key, *part = (read_id(segment).upper() for segment in message.target.segments)
        found = await self._pages.same_id(
            message.platform.id, message.operation.module, object_key, self._owners(message)
        )
        if len(found) > 1:
            # T-063: an id is its owner's alone.
            raise InvalidParameters(
                "More than one party has a location with this id: name the one you mean in the OCPI-to headers."
            )
        object_or_part = find_part(found[0], tuple(part)) if found else None
        if object_or_part is None:
            raise UnknownLocation
        return object_or_part

    def _owners(self, message: Message) -> frozenset[str]:
        """Give whose objects the requester may see, worked out once for each routing table."""
        table = self._live.table
        if table is not self._table or len(self._visible) >= _REMEMBERED:
            self._table, self._visible = table, {}
        key = (message.platform.id, message.sender.key, message.operation.module)
        found = self._visible.get(key)
        if found is None:
            found = visible_owners(message.sender, message.platform, message.operation.module, table)
            self._visible[key] = found
        return found
