"""What a simulated platform is asked to do, and what came of it. No HTTP in here."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson

from config.ocpi import InterfaceRole, InvalidJSON, InvalidParameters, OCPIError, PartyID
from hub.simulator.objects import Object


@dataclass(frozen=True)
class Request:
    """What a platform is asked to do."""

    method: str
    version: str
    module: str
    """A module, or `versions`, `details`, `credentials`."""
    interface: InterfaceRole
    endpoint: str
    """The URL under which this platform publishes that interface."""
    segments: tuple[str, ...]
    """Raw path segments below the endpoint."""
    query: Mapping[str, str]
    body: bytes
    owner: PartyID | None
    """Which of the platform's parties is addressed; None: no one in particular."""
    sender: PartyID | None
    correlation_id: str | None

    @property
    def is_registration(self) -> bool:
        """Whether it belongs to how two platforms come to know each other."""
        return self.module in ("versions", "details", "credentials")

    @property
    def is_configuration(self) -> bool:
        """Whether it goes without routing headers (OCPI 2.2.1, Message Routing)."""
        return self.is_registration or self.module == "hubclientinfo"

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(unquote(segment) for segment in self.segments)

    def read_object(self) -> Object:
        """Give the body. Raises InvalidJSON or InvalidParameters when it is no JSON object."""
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise InvalidJSON from exc
        if not isinstance(body, dict):
            raise InvalidParameters("The request body is not a JSON object.")
        return body


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    data: Any = None
    http_status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    response_url: str | None = None
    """Where the asynchronous result goes, if there is one."""
    result: Object | None = None


class UnknownLocation(OCPIError):
    """The location, EVSE or connector is unknown."""

    status_code = 2003
    http_status = 404


class UnknownToken(OCPIError):
    """The token is unknown."""

    # OCPI 2.2.1, Tokens, POST Method: HTTP 404, status code 2004 and no data.
    status_code = 2004
    http_status = 404
