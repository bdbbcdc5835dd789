"""What goes over the wire between a simulated platform and its partner."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson
from multidict import CIMultiDict, CIMultiDictProxy

from config.ocpi import FROM_COUNTRY, FROM_PARTY, TO_COUNTRY, TO_PARTY, PartyID, format_time, is_success
from hub.simulator.objects import Object


class _Message:
    headers: CIMultiDictProxy[str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def to(self) -> str | None:
        """The party in the OCPI-to headers, like `DE-TNM`."""
        return _name_party(read_party(self.headers, TO_COUNTRY, TO_PARTY))

    @property
    def sender(self) -> str | None:
        """The party in the OCPI-from headers."""
        return _name_party(read_party(self.headers, FROM_COUNTRY, FROM_PARTY))


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
        return self.http_status < 300 and is_success(self.status_code)

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


def encode(body: Any) -> bytes | None:
    """Give what goes over the wire: bytes as they are, None as no body, everything else as JSON."""
    return body if body is None or isinstance(body, bytes) else orjson.dumps(body)


def read_party(headers: Mapping[str, str], country_header: str, party_header: str) -> PartyID | None:
    """Give the party that a pair of routing headers names, if they are there."""
    if country_header in headers and party_header in headers:
        return PartyID(headers[country_header], headers[party_header])
    return None


def write_party(headers: CIMultiDict[str], country_header: str, party_header: str, party: str | PartyID) -> None:
    """Name a party in a pair of routing headers."""
    named = PartyID.parse(party) if isinstance(party, str) else party
    headers[country_header], headers[party_header] = named.country_code, named.party_id


def _name_party(party: PartyID | None) -> str | None:
    return None if party is None else str(party)
