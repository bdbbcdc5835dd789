"""Simulated platforms: CPOs, eMSPs and others that speak OCPI 2.2.1 over real HTTP, as server and as client.

The demo, the scenario tests and the sandbox use them. A platform keeps every request exactly as it came over the wire,
answers as a real one would (`simulator_objects`), and misbehaves on demand. Tokens, headers and the credentials
exchange are written here once more, from the specification: who shares the hub's code would share its mistakes.
"""

import asyncio
import secrets
from base64 import b64encode
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from inspect import isawaitable
from io import BytesIO
from typing import Any, Final, Literal, Self
from urllib.parse import parse_qsl
from uuid import uuid4

import aiohttp
import orjson
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    InterfaceRole,
    InvalidParameters,
    MethodNotAllowed,
    NotFound,
    OCPIError,
    PartnerUnusable,
    PartyID,
    VersionUnsupported,
    format_time,
)
from config.operations import HOSTS, INTERFACES
from hub.simulator_objects import Object, ObjectStore, Request

Misbehaviour = Literal["close", "silent", "die_mid_body", "garbage", "html", "unauthorized", "slow"]
"""close: the connection closes without an answer. silent: no answer, until the platform stops. die_mid_body: the
connection closes halfway through the answer's body. garbage: what comes is no HTTP. html: a proxy's 502 page.
unauthorized: 401. slow: the answer comes late."""

FIRST_PARTY: Final = "first party"
"""As the sender of a call: the platform's first party, and nobody in configuration modules."""

Endpoints = dict[tuple[str, InterfaceRole], str]

_REGISTRATION = ("versions", "details", "credentials")
_LARGE_BODY = 2**20
_CLIENT_TIMEOUT = aiohttp.ClientTimeout(total=60)


# Messages


class _Message:
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def to(self) -> str | None:
        """The party in the OCPI-to headers, like `DE-TNM`."""
        return _name_party(_read_party(self.headers, TO_COUNTRY, TO_PARTY))

    @property
    def sender(self) -> str | None:
        """The party in the OCPI-from headers."""
        return _name_party(_read_party(self.headers, FROM_COUNTRY, FROM_PARTY))


@dataclass(frozen=True)
class Received(_Message):
    """One request that a platform received."""

    method: str
    path: str
    """Raw path and query, exactly as they came over the wire."""
    headers: CIMultiDictProxy[str]
    body: bytes
    at: float
    """When, in the event loop's time."""


@dataclass(frozen=True)
class Answer(_Message):
    """What a call got back."""

    http_status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    milliseconds: float

    @property
    def status_code(self) -> int | None:
        """The OCPI status code; None when the body is no OCPI envelope."""
        return code if isinstance(code := self._envelope.get("status_code"), int) else None

    @property
    def data(self) -> Any:
        """What the envelope carries; None when it carries nothing or is none."""
        return self._envelope.get("data")

    @property
    def is_success(self) -> bool:
        return self.http_status < 300 and 1000 <= (self.status_code or 0) < 2000

    @property
    def _envelope(self) -> Mapping[str, Any]:
        with suppress(orjson.JSONDecodeError):
            if isinstance(parsed := self.json, dict):
                return parsed
        return {}


@dataclass(frozen=True)
class Reply:
    """What a platform answers."""

    status: int = 200
    body: Any = None
    """Bytes go as they are, None is no body, everything else becomes JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """These win over the ones that every answer carries."""
    then: Callable[[], Coroutine[Any, Any, None]] | None = None
    """What the platform does once this answer has gone out, like sending a CommandResult."""


Behaviour = Reply | Callable[[Received], Reply | Awaitable[Reply]]


def envelope(data: Any = None, status_code: int = 1000, message: str | None = None) -> Object:
    """Give an OCPI response, without `data` where there is none (R-185)."""
    carried = {} if data is None else {"data": data}
    status_message = message or ("Success" if status_code < 2000 else "Error")
    return carried | {
        "status_code": status_code,
        "status_message": status_message,
        "timestamp": format_time(datetime.now(UTC)),
    }


def hosted_modules(*roles: str) -> tuple[tuple[str, InterfaceRole], ...]:
    """Give the modules and interfaces that a platform with these roles has."""
    return tuple(sorted({hosted for role in roles for hosted in HOSTS.get(role, ())}))


class SimulatedPlatform:
    """A platform of one or more parties that speaks OCPI 2.2.1 on 127.0.0.1."""

    def __init__(
        self,
        name: str,
        roles: Sequence[tuple[str, str]],
        *,
        modules: Sequence[tuple[str, InterfaceRole]] | None = None,
        token_base64: bool = True,
        endpoint_suffix: str = "/",
        versions: Sequence[str] = ("2.2.1",),
        base_path: str = "/ocpi",
        on_received: Callable[[Received], None] | None = None,
    ) -> None:
        self.name = name
        self.roles = list(roles)
        """Parties and their roles, like `("BE-BEC", "CPO")`."""
        self.token_base64 = token_base64
        self.endpoint_suffix = endpoint_suffix
        self.versions = list(versions)
        self.base_path = base_path
        self.on_received = on_received

        self.hub_token: str | None = None
        """What this platform sends to the hub."""
        self.hub_endpoints: Endpoints = {}
        self.hub_credentials: Object | None = None
        """The credentials object that the hub gave last."""

        self.store = ObjectStore()
        self.received: list[Received] = []
        self.results: list[Answer] = []
        """What the hub answered to this platform's asynchronous results."""
        self.failures: list[Exception] = []
        """Why asynchronous results could not be sent."""

        self.result_delay_seconds = 0.0
        self.sends_headers = True
        """Whether its answers carry routing headers and message ids."""

        self._modules = None if modules is None else tuple(modules)
        self._own_token: str | None = None
        self._replaced_token: str | None = None
        self._invitation: str | None = None
        self._is_exchanging = False
        self._overrides: dict[tuple[str, str, InterfaceRole], Behaviour] = {}
        self._misbehaviour: tuple[Misbehaviour | None, float] = (None, 0)
        self._arrived = asyncio.Event()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self._runner: web.ServerRunner | None = None
        self._session: aiohttp.ClientSession | None = None

    def __repr__(self) -> str:
        state = self.origin if self._runner else "stopped"
        return f"<SimulatedPlatform {self.name} {', '.join(map(str, self.parties))}: {state}>"

    # Starting and stopping

    async def start(self, port: int = 0) -> None:
        """Listen. Port 0 is any free one, and the same again after a stop, as the partners know it."""
        self._stopping.clear()
        # The body is kept as it came: no content coding is undone.
        server = web.Server(self._serve, access_log=None, auto_decompress=False)
        self._runner = web.ServerRunner(server, shutdown_timeout=1)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, "127.0.0.1", port or self._port).start()
        except OSError:
            await self.stop()
            raise
        self._port = self._runner.addresses[0][1]
        # Nothing that OCPI does not ask for: no Content-Type without a body.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            skip_auto_headers=("Content-Type", "User-Agent"),
            timeout=_CLIENT_TIMEOUT,
        )

    async def stop(self) -> None:
        """Stop listening, drop results that are still to be sent, and close every connection."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        for task in self._tasks:
            task.cancel()
        await self.settle()
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def settle(self) -> None:
        """Wait until no asynchronous result is still to be sent."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    # Who it is

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def versions_url(self) -> str:
        return f"{self.origin}{self.base_path}/versions"

    @property
    def parties(self) -> list[PartyID]:
        return list(dict.fromkeys(PartyID.parse(party) for party, _ in self.roles))

    @property
    def modules(self) -> tuple[tuple[str, InterfaceRole], ...]:
        """What its version details name beside credentials."""
        return hosted_modules(*(role for _, role in self.roles)) if self._modules is None else self._modules

    @property
    def own_token(self) -> str | None:
        """What the hub must send to this platform. Setting it ends the one before."""
        return self._own_token

    @own_token.setter
    def own_token(self, token: str | None) -> None:
        self._own_token, self._replaced_token = token, None

    def endpoint(self, module: str, interface: InterfaceRole = "SENDER", version: str | None = None) -> str:
        """Give the URL of a module's interface, as the version details have it."""
        below = "credentials" if module == "credentials" else f"{interface.lower()}/{module}"
        return f"{self.origin}{self.base_path}/{version or self.versions[-1]}/{below}{self.endpoint_suffix}"

    def new_response_url(self, module: str, name: str) -> str:
        """Make a URL for the asynchronous result of one command or charging profile request."""
        return f"{self.endpoint(module).rstrip('/')}/{name}/{secrets.token_hex(8)}"

    def credentials(self, token: str) -> Object:
        """Give the credentials object with which a partner reaches this platform."""
        roles = []
        for name, role in self.roles:
            party = PartyID.parse(name)
            details = {"name": self.name, "website": None, "logo": None}
            ids = {"party_id": party.party_id, "country_code": party.country_code}
            roles.append({"role": role, "business_details": details} | ids)
        return {"token": token, "url": self.versions_url, "roles": roles}

    # What it received

    def clear(self) -> None:
        """Forget what was received."""
        self.received.clear()

    async def wait_for(
        self,
        wanted: Callable[[Received], bool] | int = 1,
        timeout: float = 5.0,  # noqa: ASYNC109
    ) -> Received:
        """Give the first request for which `wanted` is true, or the `wanted`th one; at once if it has arrived already.

        Raises TimeoutError, with what did arrive.
        """
        try:
            async with asyncio.timeout(timeout):
                while (found := self._find_received(wanted)) is None:
                    await self._arrived.wait()
        except TimeoutError:
            seen = "; ".join(f"{received.method} {received.path}" for received in self.received) or "nothing"
            raise TimeoutError(f"{self.name} waited {timeout} s in vain. It received: {seen}") from None
        return found

    def _find_received(self, wanted: Callable[[Received], bool] | int) -> Received | None:
        if isinstance(wanted, int):
            return self.received[wanted - 1] if len(self.received) >= wanted else None
        return next(filter(wanted, self.received), None)

    def _record(self, received: Received) -> None:
        self.received.append(received)
        arrived, self._arrived = self._arrived, asyncio.Event()
        arrived.set()
        if self.on_received is not None:
            self.on_received(received)

    # Registration

    def offer_token_a(self) -> str:
        """Make a CREDENTIALS_TOKEN_A, with which a partner can register here."""
        self._invitation = _make_token("a")
        return self._invitation

    async def register_at(self, versions_url: str, token_a: str) -> Answer:
        """Register at a hub. Give its answer to POST credentials, or the first one before that was no success.

        Raises VersionUnsupported when there is no version in common.
        """
        self.hub_token = token_a
        try:
            self.hub_endpoints = await self._discover(versions_url, token_a)
        except _Unusable as exc:
            return exc.answer
        return await self._exchange_credentials("POST")

    async def update_at_hub(self, *, roles: Sequence[tuple[str, str]] | None = None) -> Answer:
        """Send PUT credentials with a new token, and with other roles if there are any."""
        before, answer = self.roles, None
        if roles is not None:
            self.roles = list(roles)
        try:
            answer = await self._exchange_credentials("PUT")
        finally:
            if answer is None or not answer.is_success:
                self.roles = before
        return answer

    async def unregister_at_hub(self) -> Answer:
        """Send DELETE credentials, and forget the hub when it agrees."""
        answer = await self.call("DELETE", "credentials", "SENDER")
        if answer.is_success:
            self._forget_partner()
        return answer

    async def _exchange_credentials(self, method: Literal["POST", "PUT"]) -> Answer:
        """Send a credentials object. Its token is valid before the hub answers, as the hub calls back in between."""
        before, answer = self._own_token, None
        self._own_token, self._replaced_token = _make_token("b"), before
        self._is_exchanging = True
        try:
            answer = await self.call(method, "credentials", "SENDER", body=self.credentials(self._own_token))
            if answer.is_success:
                self._adopt(answer.data)
        finally:
            self._is_exchanging = False
            if answer is None or not answer.is_success:
                self.own_token = before
        return answer

    def _adopt(self, given: Object) -> None:
        self.hub_credentials = given
        self.hub_token = given["token"]

    def _forget_partner(self) -> None:
        self.own_token = self.hub_token = self.hub_credentials = None
        self.hub_endpoints = {}

    async def _discover(self, versions_url: str, token: str, version: str | None = None) -> Endpoints:
        """GET a partner's versions and the details of one of them, by default the latest that both have."""
        listed = await self._get_configuration(versions_url, token)
        urls = {entry["version"]: entry["url"] for entry in listed.data}
        mutual = [known for known in ([version] if version else self.versions) if known in urls]
        if not mutual:
            raise VersionUnsupported
        latest = max(mutual, key=lambda known: [int(number) for number in known.split(".")])
        details = await self._get_configuration(urls[latest], token)
        endpoints: Endpoints = {}
        for entry in details.data["endpoints"]:
            # OCPI 2.2.1, Endpoint class: the role of a credentials endpoint says nothing.
            is_receiver = entry["identifier"] != "credentials" and entry.get("role") == "RECEIVER"
            endpoints[entry["identifier"], "RECEIVER" if is_receiver else "SENDER"] = entry["url"]
        return endpoints

    async def _get_configuration(self, url: str, token: str) -> Answer:
        answer = await self._send("GET", url, self._message_headers(token))
        if not answer.is_success:
            raise _Unusable(answer)
        return answer

    # As a client

    async def call(
        self,
        method: str,
        module: str,
        interface: InterfaceRole,
        path: str = "",
        *,
        to: str | PartyID | None = None,
        sender: str | PartyID | None = FIRST_PARTY,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        query: str = "",
    ) -> Answer:
        """Call the hub: its endpoint, one slash and the raw path, nothing re-encoded.

        A body of bytes goes as it is, anything else but None as JSON. `headers` win over the usual ones; None leaves
        one out. Raises LookupError when the hub has no such endpoint, aiohttp.ClientError or TimeoutError when no
        answer comes.
        """
        url = self.hub_endpoints.get((module, interface))
        if url is None:
            raise LookupError(f"{self.name} knows no {interface} endpoint of {module} at the hub.")
        if path:
            url = url.removesuffix("/") + "/" + path.removeprefix("/")
        if sender == FIRST_PARTY and module in ("credentials", "hubclientinfo"):
            sender = None  # OCPI 2.2.1, Message Routing Headers: not with configuration modules.
        return await self.request(method, url, to=to, sender=sender, body=body, headers=headers, query=query)

    async def request(
        self,
        method: str,
        url: str,
        *,
        to: str | PartyID | None = None,
        sender: str | PartyID | None = FIRST_PARTY,
        body: Any = None,
        headers: Mapping[str, str | None] | None = None,
        query: str = "",
    ) -> Answer:
        """Call any absolute URL (a Link, a Location, a response_url) with the hub's token, otherwise like `call`."""
        prepared = self._message_headers(self.hub_token)
        if sender is not None:
            _write_party(prepared, FROM_COUNTRY, FROM_PARTY, self.parties[0] if sender == FIRST_PARTY else sender)
        if to is not None:
            _write_party(prepared, TO_COUNTRY, TO_PARTY, to)
        if body is not None:
            prepared["Content-Type"] = "application/json"
        for name, value in (headers or {}).items():
            prepared.popall(name, None)
            if value is not None:
                prepared[name] = value
        return await self._send(method, f"{url}?{query}" if query else url, prepared, _encode(body))

    def _message_headers(self, token: str | None) -> CIMultiDict[str]:
        headers = CIMultiDict({REQUEST_ID: str(uuid4()), CORRELATION_ID: str(uuid4())})
        if token is not None:
            headers[AUTHORIZATION] = self._authorization(token)
        return headers

    def _authorization(self, token: str) -> str:
        # OCPI 2.2.1, Authorization header: the Base64 of the token; many send it raw.
        return "Token " + (b64encode(token.encode()).decode() if self.token_base64 else token)

    async def _send(self, method: str, url: str, headers: CIMultiDict[str], body: bytes | None = None) -> Answer:
        if self._session is None:
            raise RuntimeError(f"{self.name} is not started.")
        loop = asyncio.get_running_loop()
        begin = loop.time()
        target = URL(url, encoded=True)
        # aiohttp warns of large bodies that are bytes.
        data = BytesIO(body) if body is not None and len(body) > _LARGE_BODY else body
        async with self._session.request(method, target, headers=headers, data=data, allow_redirects=False) as response:
            content = await response.read()
        return Answer(response.status, response.headers, content, (loop.time() - begin) * 1000)

    async def cancel_reservation(self, reservation_id: str) -> Answer:
        """Tell the eMSP that the CPO cancels a reservation: once more at the response_url of its RESERVE_NOW.

        Raises LookupError when there is no such reservation.
        """
        for (sender, known), (response_url, request) in self.store.reservations.items():
            if known == reservation_id.upper():
                del self.store.reservations[sender, known]
                return await self._send_result(request, response_url, {"result": "CANCELED_RESERVATION"})
        raise LookupError(f"{self.name} has no reservation {reservation_id}.")

    async def _follow_up(self, request: Request, response_url: str, result: Object) -> None:
        await asyncio.sleep(self.result_delay_seconds)
        try:
            await self._send_result(request, response_url, result)
        except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
            self.failures.append(exc)

    async def _send_result(self, request: Request, response_url: str, result: Object) -> Answer:
        """POST an asynchronous result to whoever asked, in the same conversation."""
        headers = self._message_headers(self.hub_token)
        headers["Content-Type"] = "application/json"
        if request.correlation_id is not None:
            headers[CORRELATION_ID] = request.correlation_id
        _write_party(headers, FROM_COUNTRY, FROM_PARTY, request.owner or self.parties[0])
        if request.sender is not None:
            _write_party(headers, TO_COUNTRY, TO_PARTY, request.sender)
        answer = await self._send("POST", response_url, headers, _encode(result))
        self.results.append(answer)
        return answer

    # As a server

    def answer(
        self, method: str, module: str, interface: InterfaceRole = "SENDER", reply: Behaviour | None = None
    ) -> None:
        """Answer these requests so from now on; None brings the default behaviour back.

        Also for `versions`, `details` and `credentials`, whose interface is SENDER here.
        """
        if reply is None:
            self._overrides.pop((method, module, interface), None)
        else:
            self._overrides[method, module, interface] = reply

    def misbehave(self, kind: Misbehaviour | None, *, seconds: float = 1.0) -> None:
        """Misbehave from now on, except in versions, details and credentials; None ends it.

        `seconds` is how much later a slow answer comes.
        """
        self._misbehaviour = (kind, seconds)

    async def default_reply(self, received: Received) -> Reply:
        """Give what this platform answers when nothing is overridden, for an override that only adds to it."""
        request = self._read_request(received)
        try:
            if request is None:
                raise NotFound
            if request.module in _REGISTRATION:
                return await self._answer_registration(request, received)
            outcome = self.store.carry_out(request)
        except OCPIError as exc:
            headers = {"Allow": ", ".join(exc.allow)} if isinstance(exc, MethodNotAllowed) else {}
            return Reply(exc.http_status, envelope(None, exc.status_code, exc.message), headers)
        then = None
        if outcome.response_url is not None and outcome.result is not None:
            then = partial(self._follow_up, request, outcome.response_url, outcome.result)
        return Reply(outcome.http_status, envelope(outcome.data), outcome.headers, then)

    async def _serve(self, http: web.BaseRequest) -> web.StreamResponse:
        try:
            body = await http.content.read()
        except (ConnectionError, aiohttp.ClientError, web.RequestPayloadError):
            return web.Response()  # to nobody: the caller went away in mid-body
        received = Received(http.method, http.raw_path, http.headers, body, asyncio.get_running_loop().time())
        self._record(received)
        request = self._read_request(received)
        if not self._authenticate(request, received):
            return self._respond(_refuse_token(), received)
        if request is not None and request.module not in _REGISTRATION:
            kind, seconds = self._misbehaviour
            if kind == "slow":
                await self._pause(seconds)
            elif kind is not None:
                return await self._misbehave(kind, http, received)
        reply = await self._reply(received)
        response = self._respond(reply, received)
        if reply.then is not None:
            await response.prepare(http)
            await response.write_eof()
            self._spawn(reply.then())
        return response

    async def _reply(self, received: Received) -> Reply:
        request = self._read_request(received)
        override = None
        if request is not None:
            override = self._overrides.get((request.method, request.module, request.interface))
        if override is None:
            return await self.default_reply(received)
        if isinstance(override, Reply):
            return override
        given = override(received)
        return await given if isawaitable(given) else given

    def _respond(self, reply: Reply, received: Received) -> web.Response:
        headers: CIMultiDict[str] = CIMultiDict()
        if reply.body is not None:
            headers["Content-Type"] = "application/json"
        if self.sends_headers:
            request = self._read_request(received)
            is_routed = request is not None and request.module not in (*_REGISTRATION, "hubclientinfo")
            for name, source in (_SAME | _SWAPPED if is_routed else _SAME).items():
                if source in received.headers:
                    headers[name] = received.headers[source]
        headers.update(reply.headers)
        return web.Response(status=reply.status, headers=headers, body=_encode(reply.body))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _read_request(self, received: Received) -> Request | None:
        """Give what is asked for; None when there is nothing at this URL."""
        path, _, query = received.path.partition("?")
        if not path.startswith(self.base_path + "/"):
            return None
        version, module, interface, below = "", "", INTERFACES["sender"], list[str]()
        match path.removeprefix(self.base_path + "/").removesuffix("/").split("/"):
            case ["versions"]:
                module = "versions"
            case [version]:
                module = "details"
            case [version, "credentials"]:
                module = "credentials"
            case [version, word, module, *below] if word in INTERFACES:
                interface = INTERFACES[word]
                if (module, interface) not in self.modules:
                    return None
            case _:
                return None
        if version not in ("", *self.versions):
            return None
        return Request(
            method=received.method,
            version=version,
            module=module,
            interface=interface,
            endpoint=self.endpoint(module, interface, version),
            segments=tuple(below),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            body=received.body,
            owner=next((party for party in self.parties if str(party).upper() == (received.to or "").upper()), None),
            sender=_read_party(received.headers, FROM_COUNTRY, FROM_PARTY),
            correlation_id=received.headers.get(CORRELATION_ID),
        )

    def _authenticate(self, request: Request | None, received: Received) -> bool:
        """Whether the request carries a token that is valid there (R-031, R-032)."""
        if self._carries(received, self._own_token):
            if not self._is_exchanging:
                self._replaced_token = None  # the one before is valid until the new one is used
            return True
        if self._carries(received, self._replaced_token):
            return True
        return request is not None and request.module in _REGISTRATION and self._carries(received, self._invitation)

    def _carries(self, received: Received, token: str | None) -> bool:
        return token is not None and received.headers.get(AUTHORIZATION) == self._authorization(token)

    # Registration, as a server

    async def _answer_registration(self, request: Request, received: Received) -> Reply:
        if request.module == "credentials":
            return await self._answer_credentials(request, is_invited=self._carries(received, self._invitation))
        if request.method != "GET":
            raise MethodNotAllowed(allow=("GET",))
        if request.module == "versions":
            base = f"{self.origin}{self.base_path}"
            return Reply(body=envelope([{"version": version, "url": f"{base}/{version}"} for version in self.versions]))
        listed: list[tuple[str, InterfaceRole]] = [("credentials", "SENDER"), *self.modules]
        endpoints = [
            {"identifier": module, "role": interface, "url": self.endpoint(module, interface, request.version)}
            for module, interface in listed
        ]
        return Reply(body=envelope({"version": request.version, "endpoints": endpoints}))

    async def _answer_credentials(self, request: Request, *, is_invited: bool) -> Reply:
        # OCPI 2.2.1, Credentials: 405 for POST when already registered, for PUT and DELETE when not.
        allow = ("GET", "POST") if is_invited else ("GET", "PUT", "DELETE")
        if request.method not in allow:
            raise MethodNotAllowed(f"{request.method} credentials is not for a partner in this state.", allow=allow)
        match request.method:
            case "GET":
                return Reply(
                    body=envelope(self.credentials((self._invitation if is_invited else self._own_token) or ""))
                )
            case "DELETE":
                self._forget_partner()
                return Reply(body=envelope())
        return await self._take_credentials(request, is_invited=is_invited)

    async def _take_credentials(self, request: Request, *, is_invited: bool) -> Reply:
        offered = request.read_object()
        token, url = offered.get("token"), offered.get("url")
        if not (isinstance(token, str) and isinstance(url, str) and offered.get("roles")):
            raise InvalidParameters("A credentials object has a token, a url and roles.")
        try:
            endpoints = await self._discover(url, token, request.version)
        except (aiohttp.ClientError, TimeoutError, LookupError, TypeError, ValueError, _Unusable) as exc:
            raise PartnerUnusable from exc
        self.hub_endpoints = endpoints
        self._adopt(offered)
        self._own_token, self._replaced_token = _make_token("c"), self._own_token
        if is_invited:
            self._invitation = self._replaced_token = None
        return Reply(body=envelope(self.credentials(self._own_token)))

    # Misbehaviour

    async def _misbehave(self, kind: Misbehaviour, http: web.BaseRequest, received: Received) -> web.StreamResponse:
        match kind:
            case "html":
                page = b"<html><h1>502 Bad Gateway</h1></html>"
                return web.Response(status=502, body=page, content_type="text/html")
            case "unauthorized":
                return self._respond(_refuse_token(), received)
            case "die_mid_body":
                return await self._die_mid_body(http, self._respond(await self._reply(received), received))
            case "silent":
                await self._pause(None)
            case "garbage" if http.transport is not None:
                http.transport.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n\x00\xff")
        if http.transport is not None:
            http.transport.close()
        return web.Response()  # to nobody

    async def _pause(self, seconds: float | None) -> None:
        """Wait, but not longer than the platform runs."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _die_mid_body(self, http: web.BaseRequest, whole: web.Response) -> web.StreamResponse:
        body = whole.body if isinstance(whole.body, bytes) else b"{}"
        response = web.StreamResponse(status=whole.status, headers=whole.headers)
        response.content_length = len(body)
        await response.prepare(http)
        await response.write(body[: len(body) // 2])
        if http.transport is not None:
            http.transport.close()
        return response


_SAME = {REQUEST_ID: REQUEST_ID, CORRELATION_ID: CORRELATION_ID}
_SWAPPED = {TO_COUNTRY: FROM_COUNTRY, TO_PARTY: FROM_PARTY, FROM_COUNTRY: TO_COUNTRY, FROM_PARTY: TO_PARTY}
"""Which header of a request each header of its response repeats (OCPI 2.2.1, Message Routing Headers)."""


class _Unusable(Exception):
    """The partner's versions or details could not be had."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.http_status}, status code {answer.status_code}")
        self.answer = answer


def _refuse_token() -> Reply:
    return Reply(401, envelope(None, 2000, "The credentials token is missing or unknown."))


def _make_token(kind: str) -> str:
    return f"{kind}-{secrets.token_urlsafe(24)}"


def _encode(body: Any) -> bytes | None:
    return body if body is None or isinstance(body, bytes) else orjson.dumps(body)


def _read_party(headers: Mapping[str, str], country_header: str, party_header: str) -> PartyID | None:
    if country_header in headers and party_header in headers:
        return PartyID(headers[country_header], headers[party_header])
    return None


def _name_party(party: PartyID | None) -> str | None:
    return None if party is None else str(party)


def _write_party(headers: CIMultiDict[str], country_header: str, party_header: str, party: str | PartyID) -> None:
    named = PartyID.parse(party) if isinstance(party, str) else party
    headers[country_header], headers[party_header] = named.country_code, named.party_id
