"""How a simulated platform and the hub come to know each other: versions, details and credentials, from either side."""

import secrets
from collections.abc import Sequence
from typing import Literal

import aiohttp

from config.ocpi import (
    AUTHORIZATION,
    InterfaceRole,
    InvalidParameters,
    MethodNotAllowed,
    PartnerUnusable,
    VersionUnsupported,
)
from hub.simulator.caller import Caller, Endpoints
from hub.simulator.messages import Answer, Received, Reply, envelope
from hub.simulator.objects import Object
from hub.simulator.requests import Request


class Registrant(Caller):
    """The part of a platform that registers, updates and ends its registration, and lets a partner do so."""

    hub_credentials: Object | None = None
    """The credentials object that the hub gave last."""
    _own_token: str | None = None
    _replaced_token: str | None = None
    _invitation: str | None = None
    _is_exchanging = False

    @property
    def own_token(self) -> str | None:
        """What the hub must send to this platform. Setting it ends the one before."""
        return self._own_token

    @own_token.setter
    def own_token(self, token: str | None) -> None:
        self._own_token, self._replaced_token = token, None

    # As a client

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

    # As a server

    def _authenticate(self, request: Request | None, received: Received) -> bool:
        """Whether the request carries a token that is valid there (R-031, R-032)."""
        if self._carries(received, self._own_token):
            if not self._is_exchanging:
                self._replaced_token = None  # the one before is valid until the new one is used
            return True
        if self._carries(received, self._replaced_token):
            return True
        return request is not None and request.is_registration and self._carries(received, self._invitation)

    def _carries(self, received: Received, token: str | None) -> bool:
        return token is not None and received.headers.get(AUTHORIZATION) == self.authorization(token)

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


class _Unusable(Exception):
    """The partner's versions or details could not be had."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.http_status}, status code {answer.status_code}")
        self.answer = answer


def _make_token(kind: str) -> str:
    return f"{kind}-{secrets.token_urlsafe(24)}"
