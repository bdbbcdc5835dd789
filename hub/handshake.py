"""The hub as a caller in the credentials exchange: read a platform's versions and details, POST, PUT and DELETE.

OCPI 2.2.1, Credentials, Registration. Network first, then one transaction: a failure leaves everything as it was.
"""

import asyncio
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    REQUEST_ID,
    InterfaceRole,
    OCPIError,
    PartnerUnusable,
)
from hub import client as http
from hub.addresses import AddressGuard, URLRefused
from hub.ids import new_id
from hub.redirects import keeping, redirected_to
from parties.model import origin_of
from parties.registration import find_version, latest_mutual, read_data, read_endpoints
from parties.tokens import Secret, write_authorization

TIMEOUT_SECONDS = 10.0
_ANSWER_MAX = 1024 * 1024


class TokenRefused(PartnerUnusable):
    """The other side does not accept the credentials token."""


class OutcomeUnknown(PartnerUnusable):
    """The other side may have done what was asked: its answer was lost or cannot be read."""


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a platform's versions endpoint and version details say."""

    version: str
    versions_url: str
    details_url: str
    endpoints: Mapping[tuple[str, InterfaceRole], str]
    token_base64: bool
    """Whether it understood the token in Base64, or only raw (R-029)."""


class Caller:
    """Sends the requests of the configuration modules, without routing headers (R-094)."""

    def __init__(self, client: http.Client, guard: AddressGuard, own_origin: str | None = None) -> None:
        self.client = client
        self._guard = guard
        self._own_origin = own_origin

    async def discover(
        self,
        versions_url: str,
        token: Secret,
        *,
        token_base64: bool,
        version: str | None = None,
        key: Hashable,
        origins: frozenset[str] | None = None,
    ) -> Discovery:
        """Read the versions and then the details of one version: the one given, or the latest mutual one (R-053).

        The token goes as Base64 or raw, whichever is said and then the other, whichever is understood. Raises
        PartnerUnusable (3001), VersionUnsupported (3002), TokenRefused.
        """
        self.check(versions_url, "url", origins)
        try:
            versions = await self.get(versions_url, token, token_base64=token_base64, key=key)
        except TokenRefused as refused:
            token_base64 = not token_base64
            try:
                versions = await self.get(versions_url, token, token_base64=token_base64, key=key)
            except TokenRefused:
                raise refused from None  # what it said to the form that OCPI means
        if version is None:
            version, details_url = latest_mutual(versions)
        else:
            details_url = find_version(versions, version)
        self.check(details_url, f"the details URL of {version}", origins)
        details = await self.get(details_url, token, token_base64=token_base64, key=key)
        endpoints = read_endpoints(details)
        for (module, role), url in endpoints.items():
            self.check(url, f"the endpoint {module} {role}")
        return Discovery(version, versions_url, details_url, endpoints, token_base64)

    def check(self, url: str, what: str, origins: frozenset[str] | None = None) -> None:
        """Refuse a URL that the hub must not call, or not with this token. Raises PartnerUnusable naming it."""
        try:
            self._guard.check_url(url)
        except URLRefused as exc:
            raise PartnerUnusable(f"{what}: {exc}") from exc
        if origins is not None and origin_of(url) not in origins:
            raise TokenRefused(f"{what}: the new credentials token was not accepted there.")
        if origin_of(url) == self._own_origin:
            raise PartnerUnusable(f"{what}: this is the hub's own address, and messages would go in circles.")

    async def get(self, url: str, token: Secret, *, token_base64: bool, key: Hashable) -> Any:
        """GET a configuration module's URL and give the data of its envelope."""
        return await self.call("GET", url, token, token_base64=token_base64, key=key)

    async def call(
        self,
        method: Literal["GET", "POST", "PUT", "DELETE"],
        url: str,
        token: Secret,
        *,
        token_base64: bool,
        key: Hashable,
        content: Any = None,
    ) -> Any:
        """Call a configuration module and give the data of its envelope. Raises PartnerUnusable in plain words.

        A redirect to the same origin is followed once, so that the token goes nowhere else.
        """
        ident = new_id()
        fields = [
            (AUTHORIZATION, write_authorization(token, token_base64=token_base64)),
            (REQUEST_ID, ident),
            (CORRELATION_ID, ident),
            ("Accept", "application/json"),
            ("Accept-Encoding", "identity"),
        ]
        body = None
        if content is not None:
            body = orjson.dumps(content)
            fields.append(("Content-Type", "application/json"))
        for may_follow in (True, False):
            try:
                async with self.client.send(
                    http.Request(method, url, fields, body), key=key, lane="urgent", timeout=TIMEOUT_SECONDS
                ) as answer:
                    target = redirected_to(answer, url, keeping(method)) if may_follow else None
                    if target is None:
                        async with asyncio.timeout(TIMEOUT_SECONDS):  # a body may drip in for ever
                            body_read = await answer.read(_ANSWER_MAX)
                        return self._read(answer.status, body_read, method, url)
                    url = target
            except (http.ClientError, TimeoutError) as exc:
                is_unsent = isinstance(exc, http.ConnectFailed | http.Saturated)
                raise (PartnerUnusable if is_unsent else OutcomeUnknown)(
                    f"{method} {url} failed: {exc or 'its answer came too slowly.'}"
                ) from exc
        raise AssertionError("a second redirect is an answer")

    def _read(self, status: int, body: bytes, method: str, url: str) -> Any:
        where = f"{method} {url}"
        if status in (401, 403):
            raise TokenRefused(f"{where} answered HTTP {status}: the credentials token was not accepted.")
        if status == 405:
            raise PartnerUnusable(f"{where} answered HTTP 405: for the other side the registration stands differently.")
        if not 200 <= status < 300:
            raise (OutcomeUnknown if status >= 500 else PartnerUnusable)(f"{where} answered HTTP {status}.")
        try:
            envelope = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise OutcomeUnknown(f"{where} answered something that is no JSON.") from exc
        try:
            return read_data(envelope)
        except OCPIError as exc:
            code = envelope.get("status_code") if isinstance(envelope, dict) else None
            if type(code) is not int:
                raise OutcomeUnknown(f"{where}: {exc.message}") from exc
            # Seen: a token in a form that is not understood answered with HTTP 200 and 3000, or a 2xxx.
            raise (TokenRefused if method == "GET" else PartnerUnusable)(f"{where}: {exc.message}") from exc
