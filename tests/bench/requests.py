"""The requests that are measured, as they go over the wire, and what must come back."""

import json
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime

from config.ocpi import format_time
from tests.bench.load import Ask
from tests.bench.members import Member
from tests.bench.upstream import SIZES, answer_body

CORRELATION_ID = "7f1b0a3e-1111-4222-8333-444455556666"
SESSIONS = "/ocpi/2.2.1/receiver/sessions"
_KWH, _LAST_UPDATED = b'"kwh": 10000.001', b'"last_updated": "2026-01-01T00:00:00.000Z"'


def session_url(sender: str, session: str) -> str:
    """Give the path of a session at a Receiver."""
    return f"{SESSIONS}/{sender.replace('-', '/')}/{session}"


def make_request(method: str, path: str, member: Member, sender: str, receiver: str, body: bytes = b"") -> bytes:
    """Give a request from a member's party to another."""
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: hub.example",
        "User-Agent: bench/1.0",
        "Accept: application/json",
        f"Authorization: {member.authorization}",
        "X-Request-ID: 6f1b0a3e-1111-4222-8333-444455556666",
        f"X-Correlation-ID: {CORRELATION_ID}",
        f"OCPI-from-country-code: {sender[:2]}",
        f"OCPI-from-party-id: {sender[3:]}",
        f"OCPI-to-country-code: {receiver[:2]}",
        f"OCPI-to-party-id: {receiver[3:]}",
    ]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def padded(fields: dict[str, object], name: str, size: int = 1024) -> bytes:
    """Give an object as JSON of this many bytes, filled up in one field."""
    bare = json.dumps(fields | {name: ""}).encode()
    return json.dumps(fields | {name: "z" * (size - len(bare))}).encode()


def session(sender: str, session_id: str) -> bytes:
    """Give a session of 1 kB as a CPO pushes it."""
    country_code, _, party_id = sender.partition("-")
    fields = {
        "country_code": country_code,
        "party_id": party_id,
        "id": session_id,
        "start_date_time": "2026-01-01T00:00:00Z",
        "kwh": 10000.001,
        "cdr_token": {"country_code": "DE", "party_id": "VOL", "uid": "T1", "type": "RFID", "contract_id": "C1"},
        "auth_method": "WHITELIST",
        "location_id": "LOC1",
        "evse_uid": "E1",
        "connector_id": "1",
        "currency": "EUR",
        "status": "ACTIVE",
        "last_updated": "2026-01-01T00:00:00.000Z",
    }
    return padded(fields, "authorization_reference")


def get_session(member: Member, sender: str, receiver: str, session_id: str = "S1") -> Ask:
    """Ask for a session; its id says how long the answer is."""
    request = make_request("GET", session_url(sender, session_id), member, sender, receiver)
    return Ask(request, answer_body(SIZES.get(session_id, SIZES["S1"])))


def put_session(member: Member, sender: str, receiver: str, session_id: str = "S1") -> Ask:
    """Push a session."""
    path = session_url(sender, session_id)
    request = make_request("PUT", path, member, sender, receiver, session(sender, session_id))
    return Ask(request, answer_body(SIZES["S1"]))


@dataclass(frozen=True, slots=True)
class SessionAsk(Ask):
    """The pushes of a session that goes on: each has more kWh than the one before, and a later last_updated."""

    sent: deque[bytes] = field(default_factory=lambda: deque(maxlen=1))
    """The last of them."""

    def next_request(self) -> bytes:
        """Give a push as it would be made now."""
        now = time.time()
        kwh = b'"kwh": %.3f' % (10000 + now % 86400)
        last_updated = b'"last_updated": "%s"' % format_time(datetime.fromtimestamp(now, UTC)).encode()
        self.sent.append(self.request.replace(_KWH, kwh, 1).replace(_LAST_UPDATED, last_updated, 1))
        return self.sent[-1]


def push_session(member: Member, sender: str, receiver: str, session_id: str) -> SessionAsk:
    """Push a session again and again."""
    ask = put_session(member, sender, receiver, session_id)
    return SessionAsk(ask.request, ask.body)
