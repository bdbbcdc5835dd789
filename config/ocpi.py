"""OCPI's own words: identifiers, header names, time, status codes and the errors that carry them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, Self

InterfaceRole = Literal["SENDER", "RECEIVER"]

AUTHORIZATION = "Authorization"
REQUEST_ID = "X-Request-ID"
CORRELATION_ID = "X-Correlation-ID"
TO_COUNTRY = "OCPI-to-country-code"
TO_PARTY = "OCPI-to-party-id"
FROM_COUNTRY = "OCPI-from-country-code"
FROM_PARTY = "OCPI-from-party-id"
TOTAL_COUNT = "X-Total-Count"
LIMIT = "X-Limit"

# OCPI 2.2.1, Role enum. Others (PTP, vendor values) are stored as they come (T-012).
ROLES = ("CPO", "EMSP", "HUB", "NAP", "NSP", "OTHER", "SCSP", "PTP")

URL_MAX = 255
"""OCPI 2.2.1, type URL: string(255)."""

_PARTY = re.compile(r"([A-Za-z]{2})[-*/ ]?([A-Za-z0-9]{3})")


class ConnectionStatus(StrEnum):
    """OCPI 2.2.1, HubClientInfo, ConnectionStatus enum."""

    CONNECTED = "CONNECTED"
    OFFLINE = "OFFLINE"
    PLANNED = "PLANNED"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class PartyID:
    """A party: country code (2 letters) and party id (3 characters), in the letters received (R-011)."""

    country_code: str
    party_id: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `DE-ABC` (also `DEABC`, `DE*ABC`). Raises ValueError with what is expected."""
        match = _PARTY.fullmatch(text.strip())
        if match is None:
            raise ValueError(f"{text!r} is no party: two letters, a dash, three letters or digits, like DE-ABC")
        return cls(match[1], match[2])

    @property
    def key(self) -> tuple[str, str]:
        """What two spellings of one party share: CiStrings compare case-insensitively (R-010)."""
        return (self.country_code.upper(), self.party_id.upper())

    def __str__(self) -> str:
        return f"{self.country_code}-{self.party_id}"


def format_time(moment: datetime) -> str:
    """Give an OCPI DateTime: UTC, milliseconds, `Z`; 24 of at most 25 characters (R-014, T-041)."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def is_success(status_code: int | None) -> bool:
    """Whether an OCPI status_code says success (OCPI 2.2.1, 1xxx: Success); None is that of no OCPI message."""
    return status_code is not None and 1000 <= status_code < 2000


class OCPIError(Exception):
    """An answer with an OCPI status code other than 1xxx. The message is what the partner reads."""

    status_code = 2000
    http_status = 200

    def __init__(self, message: str | None = None, *, http_status: int | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        if http_status is not None:
            self.http_status = http_status
        super().__init__(self.message)


class Unauthorized(OCPIError):
    """The credentials token is missing or unknown."""

    http_status = 401


class NotFound(OCPIError):
    """There is nothing at this URL."""

    http_status = 404


class MethodNotAllowed(OCPIError):
    """This method is not available here."""

    http_status = 405

    def __init__(self, message: str | None = None, *, allow: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allow = allow


class InvalidJSON(OCPIError):
    """The request body is not valid JSON."""

    status_code = 2001
    http_status = 400


class InvalidParameters(OCPIError):
    """Invalid or missing parameters."""

    status_code = 2001


class WrongSender(InvalidParameters):
    """The OCPI-from headers name a party that is not of the platform this token belongs to."""

    http_status = 403  # T-021


class TooLarge(OCPIError):
    """The request body is larger than this hub takes."""

    status_code = 2001
    http_status = 413


class ServerError(OCPIError):
    """The hub could not do this."""

    status_code = 3000


class Overloaded(OCPIError):
    """The receiver has too many requests open; try again shortly."""

    status_code = 3000
    http_status = 503
    retry_after_seconds = 1


class PartnerUnusable(OCPIError):
    """The other side's API could not be used."""

    status_code = 3001


class VersionUnsupported(OCPIError):
    """There is no OCPI version that both sides support."""

    status_code = 3002


class EndpointsMissing(OCPIError):
    """Endpoints that the other side must have are missing."""

    status_code = 3003


class RoutingFailed(OCPIError):
    """The hub could not route this message."""

    status_code = 4000


class UnknownReceiver(OCPIError):
    """The OCPI-to address is unknown."""

    status_code = 4001


class ReceiverTimeout(OCPIError):
    """The receiver did not answer in time. It may have carried the request out."""

    status_code = 4002


class ReceiverNotConnected(OCPIError):
    """The receiver is not connected."""

    status_code = 4003
