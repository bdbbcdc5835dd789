"""Open routing: from what a message says to the question whose answer is its receiver, and from what is known to it.

OCPI 2.2.1, Open Routing Request. Which operation is found by what stands in `config/operations.py`. Ids are unique for
one owner only, so several may answer to one: then nobody is chosen (R-153). The party in the URL of a Receiver
interface is the object's owner, never the destination (R-155).
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import msgspec

from config.ocpi import InvalidParameters, PartyID, UnknownReceiver
from config.operations import HOSTS, FoundBy
from routing.message import Message
from routing.objects import ID_MAX, RESERVATIONS, ObjectKey, fold, read_id, token_key, unfold
from routing.table import RoutingTable

IN_BODY: frozenset[FoundBy] = frozenset(
    {"cdr_token", "cdr_token_or_session", "location_in_body", "reservation", "session_in_body"}
)
"""What is found by the body, which must be held then."""


class KnownObject(Protocol):
    """That an object exists, and whose it is."""

    @property
    def key(self) -> ObjectKey:
        """Which it is."""

    @property
    def evse_uids(self) -> frozenset[str]:
        """A location's, folded."""


@dataclass(frozen=True, slots=True)
class LookUp:
    """Objects of one id, of which some can tell the receiver."""

    module: str
    object_key: str
    gives: Literal["owner", "addressee"] = "owner"
    """Who of an object the receiver is."""
    owner: str = ""
    """Folded: only this owner's objects tell; empty: of any."""
    addressee: str = ""
    """Folded: only what is for this party tells; empty: for any."""
    evse_uid: str = ""
    """Folded: of several locations of this id, those that have this EVSE tell (T-063)."""
    is_last: bool = False
    """Whether only the one last heard of tells."""

    def parties_in(self, known: Iterable[KnownObject]) -> frozenset[str]:
        """Give whom the objects of this id, the one last heard of first, tell; folded."""
        told = [
            each for each in known if self.owner in ("", each.key.owner) and self.addressee in ("", each.key.addressee)
        ]
        told = [each for each in told if self.evse_uid in each.evse_uids] or told
        told = told[:1] if self.is_last else told
        parties = (each.key.owner if self.gives == "owner" else each.key.addressee for each in told)
        return frozenset(party for party in parties if party)


@dataclass(frozen=True, slots=True)
class Question:
    """What to look up to find a receiver."""

    subject: str
    """What is looked for, as the sender reads it: `session 101`."""
    look_ups: tuple[LookUp, ...]
    """The first that tells anybody decides."""


def read_destination(message: Message, body: bytes) -> PartyID | Question:
    """Give the party that a message names as its receiver, or the question who that is.

    `body` is valid JSON where the operation has one. Raises InvalidParameters (2001) for a missing field or one of the
    wrong type, UnknownReceiver (4001) where nothing names a receiver.
    """
    found_by = message.operation.found_by
    content = _read_content(body) if found_by in IN_BODY else _Content()
    return _FOUND_BY[found_by](message, content)


def choose(parties: Collection[str], question: Question, message: Message, table: RoutingTable) -> PartyID:
    """Give the one party among these (folded) that the message can be for, in the letters registered.

    Raises UnknownReceiver: there is none, or more than one.
    """
    found = [party for text in parties if (party := _receiver(text, message, table)) is not None]
    if len(found) > 1:
        found = [party for party in found if _hosts(party, message, table)] or found
    if not found:
        raise UnknownReceiver(
            f"The OCPI-to headers are missing, and the {question.subject} leads to nobody: it is not known at this "
            f"hub, or of nobody to whom {message.sender} could send this."
        )
    if len(found) > 1:
        raise UnknownReceiver(f"The {question.subject} is ambiguous, several parties have one: send OCPI-to headers.")
    return found[0]


def find_named(party: PartyID, table: RoutingTable) -> PartyID:
    """Give the party that a cdr_token names, in the letters registered. Raises UnknownReceiver (T-065)."""
    found = _registered(party.key, table)
    if found is None:
        raise UnknownReceiver(
            f"The OCPI-to headers are missing, and {party}, whose cdr_token it is, is no member here."
        )
    return found


def _receiver(text: str, message: Message, table: RoutingTable) -> PartyID | None:
    """Give a party that takes part and that the sender may talk to, other than itself."""
    key, operation = unfold(text), message.operation
    interface = (key, operation.module, operation.interface)
    takes_part = any(key in each.active and interface not in each.paused for each in table.holders.get(key, ()))
    if key == message.sender.key or not takes_part:
        return None
    if not table.contracts.allows(message.sender.key, key, operation.module, operation.interface):
        return None
    return _registered(key, table)


def _hosts(party: PartyID, message: Message, table: RoutingTable) -> bool:
    """Whether a party has a role that hosts what is called, as a CPO does commands: a namesake without is not meant."""
    hosted = (message.operation.module, message.operation.interface)
    return any(
        role.party.key == party.key and hosted in HOSTS.get(role.role, ()) and platform.takes_part(role)
        for platform in table.holders.get(party.key, ())
        for role in platform.roles
    )


def _registered(key: tuple[str, str], table: RoutingTable) -> PartyID | None:
    roles = (role for platform in table.holders.get(key, ()) for role in platform.roles)
    return next((role.party for role in roles if role.party.key == key), None)


# What each kind of operation is found by


class _Content(msgspec.Struct):
    """What of a body can name its receiver; of any type, since partners send anything."""

    cdr_token: Any = None
    location_id: Any = None
    evse_uid: Any = None
    session_id: Any = None
    reservation_id: Any = None


_read_content_fields = msgspec.json.Decoder(_Content).decode


def _read_content(body: bytes) -> _Content:
    try:
        return _read_content_fields(body)
    except (msgspec.DecodeError, RecursionError) as exc:
        raise InvalidParameters("The body must be a JSON object.") from exc


def _by_cdr_token(message: Message, content: _Content) -> PartyID | Question:
    party = _read_cdr_token(content)
    if party is None:
        raise UnknownReceiver(
            "The OCPI-to headers are missing, and so are the body's cdr_token.country_code and cdr_token.party_id."
        )
    return party


def _by_cdr_token_or_session(message: Message, content: _Content) -> PartyID | Question:
    return _read_cdr_token(content) or _by_addressee(message, content)


def _by_addressee(message: Message, content: _Content) -> PartyID | Question:
    country_code, party_id, session = message.target.segments
    owner = PartyID(read_id(country_code), read_id(party_id))
    return Question(
        f"session {read_id(session)}", (LookUp("sessions", _fold_id(session), "addressee", owner=fold(owner)),)
    )


def _by_session(message: Message, content: _Content) -> PartyID | Question:
    """Ask whose a session is: one of the sender's own, else any of that id.

    Only of who has none of its own, like an SCSP: an eMSP's that is not known here must not become another driver's.
    """
    session = read_id(message.target.segments[0])
    own = _own_session(session, message)
    is_emsp = any(role.role == "EMSP" and role.party.key == message.sender.key for role in message.platform.roles)
    look_ups = (own,) if is_emsp else (own, LookUp("sessions", session.upper()))
    return Question(f"session {session}", look_ups)


def _by_session_in_body(message: Message, content: _Content) -> PartyID | Question:
    """Ask whose a session is that is to be stopped: one of the sender's own."""
    session = _read_text(content.session_id, "session_id")
    return Question(f"session {session}", (_own_session(session, message),))


def _own_session(session: str, message: Message) -> LookUp:
    return LookUp("sessions", session.upper(), addressee=fold(message.sender))


def _by_location(message: Message, content: _Content) -> PartyID | Question:
    location, *parts = (read_id(segment) for segment in message.target.segments)
    return _whose_location(location, parts[0] if parts else "")


def _by_location_in_body(message: Message, content: _Content) -> PartyID | Question:
    location = _read_text(content.location_id, "location_id")
    return _whose_location(location, "" if content.evse_uid is None else _read_text(content.evse_uid, "evse_uid"))


def _whose_location(location: str, evse_uid: str) -> Question:
    subject = f"location {location}" + (f" with EVSE {evse_uid}" if evse_uid else "")
    return Question(subject, (LookUp("locations", location.upper(), evse_uid=evse_uid.upper()),))


def _by_token(message: Message, content: _Content) -> PartyID | Question:
    key = token_key(read_id(message.target.segments[0]), message.target.query)
    return Question(f"token {read_id(message.target.segments[0])}", (LookUp("tokens", key),))


def _by_reservation(message: Message, content: _Content) -> PartyID | Question:
    """Ask who took the sender's RESERVE_NOW; two eMSPs may use one reservation_id (R-236)."""
    reservation = _read_text(content.reservation_id, "reservation_id")
    look_up = LookUp(RESERVATIONS, reservation.upper(), addressee=fold(message.sender))
    return Question(f"reservation {reservation}", (look_up,))


def _by_profile(message: Message, content: _Content) -> PartyID | Question:
    """Ask who last set the charging profile of the CPO's session (R-244), else whose driver's session it is."""
    session, owner = message.target.segments[0], fold(message.sender)
    set_by = LookUp(message.operation.module, _fold_id(session), "addressee", owner=owner, is_last=True)
    driver_of = LookUp("sessions", _fold_id(session), "addressee", owner=owner)
    return Question(f"session {read_id(session)}", (set_by, driver_of))


_FOUND_BY: Mapping[FoundBy, Callable[[Message, _Content], PartyID | Question]] = {
    "cdr_token": _by_cdr_token,
    "cdr_token_or_session": _by_cdr_token_or_session,
    "addressee": _by_addressee,
    "session": _by_session,
    "session_in_body": _by_session_in_body,
    "location": _by_location,
    "location_in_body": _by_location_in_body,
    "token": _by_token,
    "reservation": _by_reservation,
    "profile": _by_profile,
}


def _read_cdr_token(content: _Content) -> PartyID | None:
    """Give the party of a cdr_token; None where there is none, or one of OCPI 2.2, which names no party (T-065)."""
    given = content.cdr_token
    if given is None:
        return None
    if not isinstance(given, dict):
        raise InvalidParameters("The body's cdr_token must be an object.")
    names = ("country_code", "party_id")
    if all(given.get(name) is None for name in names):
        return None
    return PartyID(*(_read_text(given.get(name), f"cdr_token.{name}") for name in names))


def _read_text(value: object, field: str) -> str:
    if value is None:
        raise InvalidParameters(f"The body's {field} is missing; without OCPI-to headers it tells the receiver.")
    if not isinstance(value, str):
        raise InvalidParameters(f"The body's {field} must be a string.")
    if not value or len(value) > ID_MAX or not value.isprintable():
        raise InvalidParameters(f"The body's {field} must have 1 to {ID_MAX} printable characters.")
    return value


def _fold_id(segment: str) -> str:
    return read_id(segment).upper()
