"""What a partner may expect of any answer and of any forwarded request, whatever the scenario."""

import re
from base64 import b64encode
from typing import Any

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    InterfaceRole,
)
from hub.simulator import Answer, Received, SimulatedPlatform
from tests.hubs import HubOnTest

HUB = "NL-HUB"
IDS = {REQUEST_ID: "r-1", CORRELATION_ID: "c-1"}
"""The ids of a request whose answer and forwarding are looked at."""

_ROUTING = (TO_COUNTRY, TO_PARTY, FROM_COUNTRY, FROM_PARTY)
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def envelope(answer: Answer, http_status: int = 200, status_code: int = 1000) -> dict[str, Any]:
    """Expect a valid OCPI envelope with these codes, and give it (R-006, R-014, R-184)."""
    assert answer.headers["Content-Type"].split(";")[0] == "application/json", answer.headers
    content = answer.json
    assert isinstance(content, dict), answer.body
    assert type(content["status_code"]) is int
    assert (answer.http_status, content["status_code"]) == (http_status, status_code), answer.body
    assert _TIMESTAMP.fullmatch(content["timestamp"]), content
    assert len(content["timestamp"]) <= 25  # string(25), T-041
    return content


def ids(answer: Answer) -> None:
    """Expect the ids of the request that carried IDS (R-166, R-169)."""
    assert answer.headers.getall(REQUEST_ID) == [IDS[REQUEST_ID]]
    assert answer.headers.getall(CORRELATION_ID) == [IDS[CORRELATION_ID]]


def routing(answer: Answer | Received, *, to: str, sender: str) -> None:
    """Expect these parties, each header once (R-097, R-101)."""
    assert (answer.to, answer.sender) == (to, sender)
    assert all(len(answer.headers.getall(name)) == 1 for name in _ROUTING)


def no_routing(message: Answer | Received) -> None:
    """Expect no routing header at all, as in configuration modules (R-098)."""
    assert not [name for name in message.headers if name.lower().startswith("ocpi-")]


def refusal(
    answer: Answer, status_code: int, *, to: str, http_status: int = 200, with_ids: bool = True
) -> dict[str, Any]:
    """Expect an answer that the hub made itself to a functional request: FROM = hub, TO = requester (R-103)."""
    content = envelope(answer, http_status, status_code)
    assert content["status_message"]
    assert "data" not in content
    routing(answer, to=to, sender=HUB)
    if with_ids:
        ids(answer)
    return content


def relayed(answer: Answer, *, to: str, sender: str, body: bytes | None = None, http_status: int = 200) -> None:
    """Expect the receiver's answer to the request that carried IDS (R-101, R-169, R-188)."""
    assert answer.http_status == http_status, answer.body
    assert answer.headers["Content-Type"] == "application/json"
    ids(answer)
    routing(answer, to=to, sender=sender)
    if body is not None:
        assert answer.body == body


def forwarded(received: Received, receiver: SimulatedPlatform, *, to: str, sender: str) -> None:
    """Expect the request that carried IDS on its second leg (R-027, R-035, R-100, R-167, R-168)."""
    routing(received, to=to, sender=sender)
    assert received.headers.getall(CORRELATION_ID) == [IDS[CORRELATION_ID]]
    assert len(received.headers.getall(REQUEST_ID)) == 1
    assert received.headers[REQUEST_ID] not in ("", IDS[REQUEST_ID])
    authorized(received, receiver.own_token or "")


def authorized(received: Received, token: str) -> None:
    """Expect this credentials token as `Token `, one blank and padded Base64 (R-027)."""
    assert received.headers.getall(AUTHORIZATION) == ["Token " + b64encode(token.encode()).decode()]


def path(received: Received, receiver: SimulatedPlatform, module: str, interface: InterfaceRole, below: str) -> None:
    """Expect a request at the receiver's own endpoint, with this raw path and query below it."""
    endpoint = receiver.endpoint(module, interface).removeprefix(receiver.origin)
    wanted = endpoint.rstrip("/") + "/" + below if below and below[0] != "?" else endpoint + below
    assert received.path == wanted


def untouched(*platforms: SimulatedPlatform) -> None:
    """Expect that nothing was sent to these platforms since they were last cleared."""
    for platform in platforms:
        assert platform.received == [], platform


def at_hub(url: str, hub: HubOnTest) -> None:
    """Expect a URL of the hub's that fits OCPI's URL type (R-017)."""
    assert url.startswith(hub.url + "/ocpi/"), url
    assert len(url) <= 255
