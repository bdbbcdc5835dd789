"""An authorize for a token that nobody announced: which eMSPs could know it, and what their answers say."""

from contextlib import suppress
from typing import Literal

import orjson

from config.ocpi import OCPIError, is_success
from config.operations import HOSTS
from routing.answers import read_status_code
from routing.message import Message
from routing.resolve import Direct, resolve_direct
from routing.table import RoutingTable

Verdict = Literal["knows", "unknown", "wants_more", "useless"]
"""What an eMSP says of a token. knows: it gives an AuthorizationInfo, be it to allow or to refuse. wants_more: it may
know it, and wants LocationReferences."""

_TOO_LITTLE = 2002
"""OCPI 2.2.1, Status codes: not enough information (R-251)."""
_UNKNOWN = frozenset({2000, 2001, 2003, 2004})
"""2004 it is (R-250); some have only the general codes for a token that is not theirs."""


def find_emsps(message: Message, table: RoutingTable) -> list[Direct]:
    """Give the route to each other party whose role hosts what is asked for.

    Only those that can be called now, and to whom the sender's contracts allow it (T-064).
    """
    hosted = (message.operation.module, message.operation.interface)
    parties = {
        role.party.key: role.party
        for platform in table.platforms.values()
        for role in platform.roles
        if hosted in HOSTS.get(role.role, ()) and platform.takes_part(role)
    }
    parties.pop(message.sender.key, None)
    routes = []
    for party in parties.values():
        with suppress(OCPIError):
            routes.append(resolve_direct(message, party, table))
    return [route for route in routes if route.platform.authorization is not None]


def read_verdict(http_status: int, body: bytes) -> Verdict:
    """Tell what an answer says of the token."""
    status_code = read_status_code(body)
    if http_status == 404 or (http_status == 200 and status_code in _UNKNOWN):
        return "unknown"
    if http_status != 200 or status_code is None:
        return "useless"
    if status_code == _TOO_LITTLE:
        return "wants_more"
    return "knows" if is_success(status_code) and _has_authorization(body) else "useless"


def _has_authorization(body: bytes) -> bool:
    data = orjson.loads(body).get("data")
    if isinstance(data, list) and len(data) == 1:
        data = data[0]  # some wrap whatever they answer in a list
    return isinstance(data, dict) and isinstance(data.get("allowed"), str)
