"""The road that every request walks: whose token, which operation, who to whom, and on to the receiver.

Each step returns its result downwards; nothing calls back up, and none asks the database.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

from config.ocpi import (
    AUTHORIZATION,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PartyID,
    Unauthorized,
)
from config.operations import CLIENT_INFO, VERSIONS, OperationIndex
from config.settings import Settings
from hub.accounts import Accounts
from hub.aliases import Aliases
from hub.bodies import read_body
from hub.broadcast import Broadcaster
from hub.client_info import ClientInfos
from hub.credentials import Registrar
from hub.database import Database, DatabaseAway
from hub.direct import Relay
from hub.envelope import Answer, success
from hub.get_all import MergedLists
from hub.ids import new_id
from hub.listener import MemberConnection
from hub.live_table import LiveTable, Presented
from hub.liveness import Liveness
from hub.open_routing import OpenRouting
from hub.trace import Trace
from parties import store
from parties.model import Platform
from routing.headers import answer_headers
from routing.links import ALIAS_PARAMETER, take_parameter
from routing.message import MessageIDs, Target, read_aliased_message, read_ids, read_message, read_target
from routing.resolve import Broadcast, ByContent, Direct, GetAll, Route, resolve, resolve_alias

_CREDENTIALS_MAX = 256 * 1024


class Road:
    """Answers every request of a member."""

    def __init__(
        self,
        settings: Settings,
        *,
        live: LiveTable,
        database: Database,
        aliases: Aliases,
        registrar: Registrar,
        relay: Relay,
        broadcaster: Broadcaster,
        merged_lists: MergedLists,
        open_routing: OpenRouting,
        client_infos: ClientInfos,
        liveness: Liveness,
        accounts: Accounts,
    ) -> None:
        self._settings = settings
        self._hub = PartyID(settings.country_code, settings.party_id)
        self._operations = OperationIndex(settings.custom_modules)
        self._live = live
        self._database = database
        self._aliases = aliases
        self._registrar = registrar
        self._relay = relay
        self._broadcaster = broadcaster
        self._merged_lists = merged_lists
        self._open_routing = open_routing
        self._client_infos = client_infos
        self._liveness = liveness
        self._accounts = accounts
        self._superseded: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer any request of a member: with the receiver's answer or an OCPI envelope, whatever was sent."""
        trace = Trace(request.method)
        ids = read_ids(request.headers, new_id())
        trace.request_id, trace.correlation_id = ids.request, ids.correlation
        connection = request.protocol
        assert isinstance(connection, MemberConnection)
        connection.is_busy = True
        self._accounts.open()
        try:
            response = await self._accounts.answered(self._walk(request, ids, trace), ids, trace, _as_response)
            trace.http_status = response.status
        finally:
            connection.finished()
            self._accounts.close(trace)
        return response

    async def _walk(self, request: web.BaseRequest, ids: MessageIDs, trace: Trace) -> web.StreamResponse:
        if not self._live.is_loaded:
            raise Overloaded("The hub is starting; try again shortly.")
        presented = await self._authenticate(request)
        access = presented.access
        trace.platform_id = access.platform.id
        self._liveness.seen(access.platform.id)
        url = _origin_form(request.raw_path)
        segments = [part for part in url.partition("?")[0].split("/") if part]
        if segments[:1] == ["ocpi"] and (len(segments) <= 2 or segments[2:] == ["credentials"]):
            trace.scenario = "configuration"
            return await self._configuration(request, segments[1:], presented, ids, trace)
        if not access.is_registered:
            # a CREDENTIALS_TOKEN_A opens versions and credentials only.
            raise Unauthorized("This credentials token is for registering only: versions and credentials.")
        target = read_target(url)
        if target.module == CLIENT_INFO:
            return self._list_client_info(request.method, target, access.platform, ids, trace)
        operation = self._operations.find(
            target.version, target.interface, target.module, request.method, target.segments
        )
        trace.operation = operation.label
        alias_text, query = operation.alias and target.segments[-1], target.query
        if operation.paged and ALIAS_PARAMETER in query:
            alias_text, query = take_parameter(query, ALIAS_PARAMETER)
        if alias_text:
            trace.scenario = "alias"
            alias = await self._aliases.read(alias_text)
            if alias.kind != (operation.alias or "link"):
                raise NotFound
            message = read_aliased_message(operation, target, request.headers, access.platform, ids, alias)
            trace.sender, trace.receiver = message.sender, message.receiver
            route: Route = resolve_alias(message, alias, self._live.table, query)
        else:
            message = read_message(operation, target, request.headers, access.platform, ids)
            trace.sender, trace.receiver = message.sender, message.receiver
            trace.scenario = "direct"
            route = resolve(
                message, self._live.table, self._hub, broadcasts_open=self._settings.broadcast_without_receiver
            )
        if operation.method == "GET":
            connection = request.protocol
            assert isinstance(connection, MemberConnection)
            connection.cancel_when_lost = asyncio.current_task()  # only a GET ends with its requester
        match route:
            case Direct():
                return await self._relay.relay(request, message, route, trace)
            case Broadcast():
                trace.scenario = "broadcast"
                return await self._broadcaster.accept(request, message, trace)
            case GetAll():
                trace.scenario = "get_all"
                return await self._merged_lists.answer(request, message, trace)
            case ByContent():
                trace.scenario = "open"
                return await self._open_routing.answer(request, message, trace)

    def _list_client_info(
        self, method: str, target: Target, platform: Platform, ids: MessageIDs, trace: Trace
    ) -> web.Response:
        """Answer the Sender interface of HubClientInfo, without routing headers (R-206, R-208)."""
        trace.scenario, trace.operation = "configuration", f"{CLIENT_INFO}.list"
        self._require_version(target.version)
        if target.interface != "SENDER" or target.segments:
            raise NotFound("HubClientInfo is a list here: the SENDER interface, without a path.")
        if method != "GET":
            raise MethodNotAllowed(allow=("GET",))
        data, paging = self._client_infos.list(platform, target.query)
        trace.status_code = 1000
        return success(data, answer_headers(ids) | paging)

    async def _authenticate(self, request: web.BaseRequest) -> Presented:
        presented = await self._live.authenticate(request.headers.get(AUTHORIZATION))
        if presented is None:
            raise Unauthorized
        if presented.access.platform.id in self._live.table.replaced:
            self._supersede(presented)
        return presented

    def _supersede(self, presented: Presented) -> None:
        """End the old token's life once its successor is used (T-006), off the road."""
        access = presented.access
        if access.kind == "current" and access.platform.id not in self._superseded:
            self._superseded.add(access.platform.id)
            self._start(self._forget_previous(access.platform.id, presented.digests))
        elif access.kind == "previous" and access.platform.id in self._superseded:
            raise Unauthorized

    async def _forget_previous(self, platform_id: int, digests: list[bytes]) -> None:
        try:
            async with self._database.changing() as connection:
                await store.drop_superseded(connection, platform_id, digests)
            await self._live.refresh()
        except DatabaseAway:
            pass  # the next use of the new token tries again
        self._superseded.discard(platform_id)

    async def _configuration(
        self,
        request: web.BaseRequest,
        path: list[str],
        presented: Presented,
        ids: MessageIDs,
        trace: Trace,
    ) -> web.Response:
        """Answer versions, version details and credentials, without routing headers (R-054, R-094)."""
        fields = answer_headers(ids)
        if len(path) == 2:
            trace.operation = "credentials." + request.method.lower()
            self._require_version(path[0])
            body = await read_body(
                request, hold=_CREDENTIALS_MAX, maximum=_CREDENTIALS_MAX, idle_seconds=self._settings.idle_timeout
            )
            fields["Cache-Control"] = "no-store"
            data = await self._registrar.answer(request.method, path[0], presented, body.held)
            trace.status_code = 1000
            return success(data, fields)
        if path == ["versions"]:
            trace.operation = "versions.list"
            data = [{"version": version, "url": self._details_url(version)} for version in VERSIONS]
        elif len(path) == 1:
            trace.operation = "versions.details"
            self._require_version(path[0])
            data = self._details(path[0])
        else:
            raise NotFound
        if request.method != "GET":
            raise MethodNotAllowed(allow=("GET",))
        trace.status_code = 1000
        return success(data, fields)

    def _require_version(self, version: str) -> None:
        if version not in VERSIONS:
            raise NotFound(f"This hub speaks OCPI {', '.join(VERSIONS)}; there is no {version!r} here.")

    def _details_url(self, version: str) -> str:
        return f"{self._settings.public_url}/ocpi/{version}"

    def _details(self, version: str) -> Any:
        endpoints = [
            {"identifier": module, "role": role, "url": self._aliases.module_url(version, role, module)}
            for module, role in self._operations.endpoints(version)
        ]
        credentials = {
            "identifier": "credentials",
            "role": "SENDER",
            "url": f"{self._details_url(version)}/credentials",
        }
        client_info = {
            "identifier": CLIENT_INFO,
            "role": "SENDER",
            "url": self._aliases.module_url(version, "SENDER", CLIENT_INFO),
        }
        return {"version": version, "endpoints": [credentials, client_info, *endpoints]}

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what was started beside the road."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _as_response(answer: Answer) -> web.StreamResponse:
    return web.Response(status=answer.status, body=answer.body, headers=answer.fields)


def _origin_form(raw_url: str) -> str:
    """Give path and query of a request line's target, which may be absolute (RFC 9112, 3.2.2)."""
    if raw_url.startswith("/"):
        return raw_url
    _, found, rest = raw_url.partition("://")
    return "/" + rest.partition("/")[2] if found else raw_url
