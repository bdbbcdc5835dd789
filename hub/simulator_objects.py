"""OCPI 2.2.1 objects as real platforms send them, and what a simulated platform does with them by default.

Every builder gives a valid object with plausible content and takes overrides by field name:
`location("BE-BEC", "LOC1", publish=False)`. Parties are written `BE-BEC`. `ObjectStore` keeps a platform's objects and
carries out what the functional modules ask; no HTTP in here.
"""

from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote, urlencode
from uuid import uuid4

import orjson

from config.ocpi import (
    LIMIT,
    TOTAL_COUNT,
    InterfaceRole,
    InvalidJSON,
    InvalidParameters,
    NotFound,
    OCPIError,
    PartyID,
    format_time,
)
from config.operations import OPERATIONS, OperationIndex

Object = dict[str, Any]

ENERGY_PRICE = 0.35
START_FEE = 0.50
PARKING_PRICE = 3.00
VAT = 21.0
"""Of `tariff`, in EUR per kWh, once, per hour, and in percent. Sessions and CDRs are priced with it."""

COMMAND_TIMEOUT_SECONDS = 30


def _owner(party: str | PartyID) -> Object:
    named = PartyID.parse(party) if isinstance(party, str) else party
    return {"country_code": named.country_code, "party_id": named.party_id}


def _time(minutes: float = 0) -> str:
    return format_time(datetime.now(UTC) + timedelta(minutes=minutes))


def price(excluding_vat: float) -> Object:
    """Give a Price, in at most four decimals."""
    return {"excl_vat": round(excluding_vat, 4), "incl_vat": round(excluding_vat * (1 + VAT / 100), 4)}


# Locations


def connector(id: str = "1", **overrides: Any) -> Object:
    """Give a Connector: an 11 kW type 2 socket."""
    return {
        "id": id,
        "standard": "IEC_62196_T2",
        "format": "SOCKET",
        "power_type": "AC_3_PHASE",
        "max_voltage": 230,
        "max_amperage": 16,
        "max_electric_power": 11000,
        "tariff_ids": ["T1"],
        "last_updated": _time(),
    } | overrides


def evse(party: str | PartyID, uid: str, **overrides: Any) -> Object:
    """Give an EVSE with one connector."""
    owner = _owner(party)
    return {
        "uid": uid,
        "evse_id": f"{owner['country_code']}*{owner['party_id']}*E{uid}".replace("-", "*"),
        "status": "AVAILABLE",
        "capabilities": [
            "CHARGING_PROFILE_CAPABLE",
            "REMOTE_START_STOP_CAPABLE",
            "RESERVABLE",
            "RFID_READER",
            "UNLOCK_CAPABLE",
        ],
        "connectors": [connector()],
        "floor_level": "-1",
        "physical_reference": uid[-1:],
        "parking_restrictions": ["EV_ONLY"],
        "last_updated": _time(),
    } | overrides


def location(party: str | PartyID, id: str, **overrides: Any) -> Object:
    """Give a Location with two EVSEs, whose uids are `<id>-1` and `<id>-2`."""
    return {
        **_owner(party),
        "id": id,
        "publish": True,
        "name": "Gent Zuid",
        "address": "F.Rooseveltlaan 3A",
        "city": "Gent",
        "postal_code": "9000",
        "country": "BEL",
        "coordinates": {"latitude": "51.047599", "longitude": "3.729944"},
        "parking_type": "UNDERGROUND_GARAGE",
        "evses": [evse(party, f"{id}-1"), evse(party, f"{id}-2", status="CHARGING")],
        "directions": [{"language": "nl", "text": "Eerste verdieping, naast de liften"}],
        "operator": {"name": "Café Élan Charging", "website": "https://charging.example"},
        "facilities": ["CAFE", "TRAM_STOP"],
        "time_zone": "Europe/Brussels",
        "opening_times": {"twentyfourseven": True},
        "charging_when_closed": True,
        "energy_mix": {"is_green_energy": True, "energy_sources": [{"source": "WIND", "percentage": 100}]},
        "last_updated": _time(),
    } | overrides


# Tariffs


def tariff(party: str | PartyID, id: str = "T1", **overrides: Any) -> Object:
    """Give a Tariff: a start fee, energy, and parking after charging."""

    def component(kind: str, amount: float, step_size: int) -> Object:
        return {"type": kind, "price": amount, "vat": VAT, "step_size": step_size}

    return {
        **_owner(party),
        "id": id,
        "currency": "EUR",
        "type": "REGULAR",
        "tariff_alt_text": [{"language": "en", "text": "0.50 to start, 0.35 per kWh, 3.00 per hour parked"}],
        "min_price": price(START_FEE),
        "elements": [
            {
                "price_components": [
                    component("FLAT", START_FEE, 1),
                    component("ENERGY", ENERGY_PRICE, 1),
                    component("PARKING_TIME", PARKING_PRICE, 60),
                ]
            }
        ],
        "last_updated": _time(),
    } | overrides


# Tokens


def token(party: str | PartyID, uid: str, **overrides: Any) -> Object:
    """Give a Token: a driver's RFID card."""
    owner = _owner(party)
    return {
        **owner,
        "uid": uid,
        "type": "RFID",
        "contract_id": f"{owner['country_code']}-{owner['party_id']}-C{uid[-8:]:0>8}",
        "visual_number": f"{owner['country_code']}{owner['party_id']}-{uid[-8:]}",
        "issuer": "Rijden & Laden",
        "valid": True,
        "whitelist": "ALLOWED",
        "language": "nl",
        "last_updated": _time(),
    } | overrides


def cdr_token(of: Mapping[str, Any]) -> Object:
    """Give the CdrToken of a Token: how sessions and CDRs name the driver's contract."""
    return {field: of[field] for field in ("country_code", "party_id", "uid", "type", "contract_id")}


def location_references(location_id: str, *evse_uids: str) -> Object:
    """Give LocationReferences, the optional body of a real-time authorization."""
    return {"location_id": location_id, "evse_uids": list(evse_uids)}


def authorization_info(of: Object, **overrides: Any) -> Object:
    """Give the AuthorizationInfo of a Token: allowed while it is valid."""
    return {
        "allowed": "ALLOWED" if of.get("valid", True) else "BLOCKED",
        "token": of,
        "info": {"language": "en", "text": "Have a good trip"},
    } | overrides


# Sessions and CDRs


def charging_period(minutes_ago: float, tariff_id: str = "T1", **volumes: float) -> Object:
    """Give a ChargingPeriod: `charging_period(30, ENERGY=4.2, TIME=0.5)`."""
    return {
        "start_date_time": _time(-minutes_ago),
        "dimensions": [{"type": kind, "volume": volume} for kind, volume in volumes.items()],
        "tariff_id": tariff_id,
    }


def session(party: str | PartyID, id: str, of: Mapping[str, Any] | None = None, **overrides: Any) -> Object:
    """Give a Session of a CPO that started half an hour ago. `of` is the driver's Token, one of DE-TNM by default."""
    return {
        **_owner(party),
        "id": id,
        "start_date_time": _time(-30),
        "kwh": 4.2,
        "cdr_token": cdr_token(of or token("DE-TNM", "012345678")),
        "auth_method": "COMMAND",
        "authorization_reference": f"AR-{id}"[:36],
        "location_id": "LOC1",
        "evse_uid": "LOC1-1",
        "connector_id": "1",
        "meter_id": "ES-2291",
        "currency": "EUR",
        "charging_periods": [charging_period(30, ENERGY=4.2, TIME=0.5)],
        "total_cost": price(START_FEE + 4.2 * ENERGY_PRICE),
        "status": "ACTIVE",
        "last_updated": _time(),
    } | overrides


def cdr_location(of: Mapping[str, Any], evse_index: int = 0) -> Object:
    """Give the CdrLocation of a Location: the one connector that was used."""
    used = of["evses"][evse_index]
    plug = used["connectors"][0]
    return {
        **{field: of[field] for field in ("id", "name", "address", "city", "postal_code", "country", "coordinates")},
        "evse_uid": used["uid"],
        "evse_id": used["evse_id"],
        "connector_id": plug["id"],
        "connector_standard": plug["standard"],
        "connector_format": plug["format"],
        "connector_power_type": plug["power_type"],
    }


def signed_data() -> Object:
    """Give SignedData as calibration law asks for it: begin and end of a transaction in OCMF."""

    def value(nature: str, reading: str, code: str) -> Object:
        plain = f'OCMF|{{"FV":"1.0","PG":"T12","RD":[{{"TX":"{code}","RV":{reading},"RI":"1-b:1.8.0","RU":"kWh"}}]}}'
        signed = f'{plain}|{{"SD":"304402203d{code}"}}'
        return {"nature": nature, "plain_data": plain, "signed_data": b64encode(signed.encode()).decode()}

    return {
        "encoding_method": "OCMF",
        "encoding_method_version": 1,
        "public_key": "3059301306072A8648CE3D020106082A8648CE3D030107034200044BEDD1",
        "signed_values": [value("Start", "1408.300", "B"), value("End", "1426.700", "E")],
        "url": "https://transparency.example/ocmf",
    }


def cdr(party: str | PartyID, id: str, of: Mapping[str, Any] | None = None, **overrides: Any) -> Object:
    """Give a CDR: 18.4 kWh in 75 minutes and 15 minutes parked. `of` is the driver's Token, as in `session`."""
    energy, parked = 18.4, 0.25
    return {
        **_owner(party),
        "id": id,
        "start_date_time": _time(-90),
        "end_date_time": _time(),
        "session_id": f"S{id}"[:36],
        "cdr_token": cdr_token(of or token("DE-TNM", "012345678")),
        "auth_method": "COMMAND",
        "authorization_reference": f"AR-{id}"[:36],
        "cdr_location": cdr_location(location(party, "LOC1")),
        "meter_id": "ES-2291",
        "currency": "EUR",
        "tariffs": [tariff(party)],
        "charging_periods": [
            charging_period(90, ENERGY=energy, TIME=1.25),
            charging_period(15, PARKING_TIME=parked),
        ],
        "signed_data": signed_data(),
        "total_cost": price(START_FEE + energy * ENERGY_PRICE + parked * PARKING_PRICE),
        "total_fixed_cost": price(START_FEE),
        "total_energy": energy,
        "total_energy_cost": price(energy * ENERGY_PRICE),
        "total_time": 1.5,
        "total_parking_time": parked,
        "total_parking_cost": price(parked * PARKING_PRICE),
        "last_updated": _time(),
    } | overrides


def charging_preferences(**overrides: Any) -> Object:
    """Give ChargingPreferences of a driver who leaves in four hours."""
    return {"profile_type": "GREEN", "departure_time": _time(240), "energy_need": 22.5} | overrides


# Commands


def start_session(response_url: str, of: Object, location_id: str = "LOC1", **overrides: Any) -> Object:
    """Give the body of START_SESSION. `of` is the Token to charge with."""
    return {"response_url": response_url, "token": of, "location_id": location_id} | overrides


def stop_session(response_url: str, session_id: str, **overrides: Any) -> Object:
    """Give the body of STOP_SESSION."""
    return {"response_url": response_url, "session_id": session_id} | overrides


def reserve_now(
    response_url: str,
    of: Object,
    reservation_id: str,
    location_id: str = "LOC1",
    **overrides: Any,
) -> Object:
    """Give the body of RESERVE_NOW: for two hours from now."""
    return {
        "response_url": response_url,
        "token": of,
        "expiry_date": _time(120),
        "reservation_id": reservation_id,
        "location_id": location_id,
    } | overrides


def cancel_reservation(response_url: str, reservation_id: str, **overrides: Any) -> Object:
    """Give the body of CANCEL_RESERVATION."""
    return {"response_url": response_url, "reservation_id": reservation_id} | overrides


def unlock_connector(response_url: str, location_id: str = "LOC1", **overrides: Any) -> Object:
    """Give the body of UNLOCK_CONNECTOR, by default for the first EVSE that `location` makes."""
    return {
        "response_url": response_url,
        "location_id": location_id,
        "evse_uid": f"{location_id}-1",
        "connector_id": "1",
    } | overrides


# Charging profiles


def charging_profile(**overrides: Any) -> Object:
    """Give a ChargingProfile: 16 A, then 8.1 A."""
    return {
        "start_date_time": _time(),
        "duration": 3600,
        "charging_rate_unit": "A",
        "min_charging_rate": 6.0,
        "charging_profile_period": [{"start_period": 0, "limit": 16.0}, {"start_period": 1800, "limit": 8.1}],
    } | overrides


def set_charging_profile(response_url: str, **overrides: Any) -> Object:
    """Give the body of PUT ChargingProfile."""
    return {"charging_profile": charging_profile(), "response_url": response_url} | overrides


def active_charging_profile(profile: Object | None = None) -> Object:
    """Give an ActiveChargingProfile: what the charge point will do."""
    return {"start_date_time": _time(), "charging_profile": profile or charging_profile()}


# HubClientInfo


def client_info(party: str | PartyID, role: str, status: str = "CONNECTED", **overrides: Any) -> Object:
    """Give the ClientInfo with which a hub tells of one party in one role."""
    return {**_owner(party), "role": role, "status": status, "last_updated": _time()} | overrides


# What a platform does with them

_VERSION = "2.2.1"
_OPERATIONS = OperationIndex()
_CHILDREN = (("evses", "uid"), ("connectors", "id"))
"""Where the children of a Location are, level by level, and how they are called."""

CopyKey = tuple[str, ...]
"""Country code, party id and object id in upper case; of a Token also its type, of a ClientInfo its role as the id."""


class UnknownLocation(OCPIError):
    """The location, EVSE or connector is unknown."""

    status_code = 2003
    http_status = 404


class UnknownToken(OCPIError):
    """The token is unknown."""

    # OCPI 2.2.1, Tokens, POST Method: HTTP 404, status code 2004 and no data.
    status_code = 2004
    http_status = 404


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


class ObjectStore:
    """What one platform keeps: the objects it owns, and its copies of what others pushed."""

    def __init__(self) -> None:
        self.owned: dict[str, list[Object]] = defaultdict(list)
        """By module; what the Sender interfaces give, in this order."""
        self.copies: dict[str, dict[CopyKey, Object]] = defaultdict(dict)
        """By module and key; what the Receiver interfaces took."""
        self.profiles: dict[str, Object] = {}
        """Charging profiles by session id."""
        self.reservations: dict[tuple[tuple[str, str] | None, str], tuple[str, Request]] = {}
        """The response_url and request of each RESERVE_NOW. A reservation_id is only unique for one eMSP (R-236)."""
        self.page_limit = 50

    def carry_out(self, request: Request) -> Outcome:
        """Do what a functional module asks, as a real platform would. Raises OCPIError for what cannot be done."""
        method, module, interface = request.method, request.module, request.interface
        if own_path := _OWN_PATHS.get((method, module, interface)):
            return own_path(self, request)
        if not any(row.module == module for row in OPERATIONS[_VERSION]):
            raise NotFound(f"No answer is set for {method} in {module}.")
        row = _OPERATIONS.find(_VERSION, interface, module, method, request.segments)
        if row.name in _BY_NAME:
            return _BY_NAME[row.name](self, request)
        return _COPIES[method](self, request) if row.owner_in_path else self._give_owned(request)

    # Objects of its own

    def _list_owned(self, request: Request) -> list[Object]:
        listed = self.owned[request.module]
        owner = request.owner
        return listed if owner is None else [owned for owned in listed if _is_owned_by(owned, owner)]

    def _give_page(self, request: Request) -> Outcome:
        query = dict(request.query)
        try:
            offset, limit = int(query.pop("offset", 0)), int(query.pop("limit", self.page_limit))
            begin, end = _read_time(query.get("date_from")), _read_time(query.get("date_to"))
            if offset < 0 or limit < 1:
                raise ValueError
        except ValueError as exc:
            raise InvalidParameters("offset, limit, date_from or date_to cannot be read.") from exc
        listed = [owned for owned in self._list_owned(request) if _is_between(owned.get("last_updated"), begin, end)]
        limit = min(limit, self.page_limit)
        headers = {TOTAL_COUNT: str(len(listed)), LIMIT: str(self.page_limit)}
        if offset + limit < len(listed):
            # OCPI 2.2.1, Paginated Response: the Link repeats the filters of the request.
            following = urlencode(query | {"offset": offset + limit, "limit": limit})
            headers["Link"] = f'<{request.endpoint}?{following}>; rel="next"'
        return Outcome(listed[offset : offset + limit], headers=headers)

    def _find_owned(self, request: Request, **fields: str) -> Object | None:
        key = "uid" if request.module == "tokens" else "id"
        for owned in self._list_owned(request):
            if _same(owned.get(key), request.ids[0]) and all(owned.get(name) == fields[name] for name in fields):
                return owned
        return None

    def _give_owned(self, request: Request) -> Outcome:
        found = _descend(self._find_owned(request), request.ids[1:])
        if found is None:
            raise UnknownLocation
        return Outcome(found)

    def _authorize(self, request: Request) -> Outcome:
        added: Object = {"authorization_reference": str(uuid4())}
        if request.body:
            added["location"] = request.read_object()
        # OCPI 2.2.1, Tokens: a token is of type RFID when the query does not say otherwise.
        found = self._find_owned(request, type=request.query.get("type", "RFID"))
        if found is None:
            raise UnknownToken
        return Outcome(authorization_info(found, **added))

    def _set_preferences(self, request: Request) -> Outcome:
        request.read_object()
        if self._find_owned(request) is None:
            raise NotFound("The session is unknown.")
        return Outcome("ACCEPTED")

    # Copies of what others own

    def copy(self, module: str, key: CopyKey, below: Sequence[str] = ()) -> Object | None:
        """Give a copy, or the EVSE or connector in it."""
        return _descend(self.copies[module].get(key), below)

    def _give_copy(self, request: Request) -> Outcome:
        found = self.copy(request.module, *_read_key(request))
        if found is None:
            raise NotFound
        return Outcome(found)

    def _take_copy(self, request: Request) -> Outcome:
        key, below = _read_key(request)
        new = request.read_object()
        if not below:
            is_new = key not in self.copies[request.module]
            self.copies[request.module][key] = new
            return Outcome(http_status=201 if is_new else 200)
        parent = self.copy(request.module, key, below[:-1])
        if parent is None:
            raise UnknownLocation
        children_field, id_field = _CHILDREN[len(below) - 1]
        children = parent.get(children_field) or []
        is_new = not any(_same(child.get(id_field), below[-1]) for child in children)
        parent[children_field] = [new if _same(child.get(id_field), below[-1]) else child for child in children]
        if is_new:
            parent[children_field].append(new)
        self._touch_parents(request, new)
        return Outcome(http_status=201 if is_new else 200)

    def _change_copy(self, request: Request) -> Outcome:
        changes = request.read_object()
        if "last_updated" not in changes:
            # OCPI 2.2.1, Status codes, 2001: for example a missing last_updated field in a PATCH request.
            raise InvalidParameters("A PATCH has last_updated.")
        found = self.copy(request.module, *_read_key(request))
        if found is None:
            raise NotFound
        if request.module == "sessions" and (added := changes.pop("charging_periods", None)):
            # OCPI 2.2.1, Sessions, PATCH Method: charging_periods are added to those that are there.
            found["charging_periods"] = [*(found.get("charging_periods") or ()), *added]
        found.update(changes)
        self._touch_parents(request, changes)
        return Outcome()

    def _touch_parents(self, request: Request, changed: Object) -> None:
        """Set the parents' last_updated to that of a changed child (R-273)."""
        key, below = _read_key(request)
        for depth in range(len(below)):
            parent = self.copy(request.module, key, below[:depth])
            if parent is not None and "last_updated" in changed:
                parent["last_updated"] = changed["last_updated"]

    def _drop_copy(self, request: Request) -> Outcome:
        key, _ = _read_key(request)
        if self.copies[request.module].pop(key, None) is None:
            raise NotFound
        return Outcome()

    def _take_cdr(self, request: Request) -> Outcome:
        taken = request.read_object()
        ids = [str(taken.get(name)) for name in ("country_code", "party_id", "id")]
        self.copies["cdrs"][tuple(id.upper() for id in ids)] = taken
        below = "/".join(quote(id, safe="") for id in ids)
        return Outcome(http_status=201, headers={"Location": f"{request.endpoint.rstrip('/')}/{below}"})

    def _give_client_info(self, request: Request) -> Outcome:
        party = tuple(id.upper() for id in request.ids)
        for key, info in self.copies["hubclientinfo"].items():
            if key[:2] == party:
                return Outcome(info)
        raise NotFound

    def _take_client_info(self, request: Request) -> Outcome:
        if len(request.ids) != 2:
            raise NotFound
        info = request.read_object()
        key = (*(id.upper() for id in request.ids), str(info.get("role")))
        is_new = key not in self.copies["hubclientinfo"]
        self.copies["hubclientinfo"][key] = info
        return Outcome(http_status=201 if is_new else 200)

    # What has an asynchronous result

    def _take_command(self, request: Request) -> Outcome:
        body = request.read_object()
        response_url = _read_response_url(body)
        asker = None if request.sender is None else request.sender.key
        reservation = (asker, str(body.get("reservation_id")).upper())
        result = "ACCEPTED"
        match request.segments:
            case ["RESERVE_NOW"]:
                self.reservations[reservation] = (response_url, request)
            case ["CANCEL_RESERVATION"] if self.reservations.pop(reservation, None) is None:
                result = "UNKNOWN_RESERVATION"
        return _accept(response_url, {"result": result})

    def _set_profile(self, request: Request) -> Outcome:
        body = request.read_object()
        response_url = _read_response_url(body)
        self.profiles[request.ids[0].upper()] = body.get("charging_profile") or {}
        return _accept(response_url, {"result": "ACCEPTED"})

    def _get_profile(self, request: Request) -> Outcome:
        profile = active_charging_profile(self.profiles.get(request.ids[0].upper()))
        return _accept(_read_response_url(request.query), {"result": "ACCEPTED", "profile": profile})

    def _clear_profile(self, request: Request) -> Outcome:
        response_url = _read_response_url(request.query)
        was_set = self.profiles.pop(request.ids[0].upper(), None) is not None
        return _accept(response_url, {"result": "ACCEPTED" if was_set else "UNKNOWN"})

    def _take_result(self, request: Request) -> Outcome:
        request.read_object()
        return Outcome()


_Behaviour = Callable[[ObjectStore, Request], Outcome]

_OWN_PATHS: Mapping[tuple[str, str, InterfaceRole], _Behaviour] = {
    ("POST", "commands", "SENDER"): ObjectStore._take_result,
    ("POST", "chargingprofiles", "SENDER"): ObjectStore._take_result,
    ("GET", "cdrs", "RECEIVER"): ObjectStore._give_copy,
    ("GET", "hubclientinfo", "RECEIVER"): ObjectStore._give_client_info,
    ("PUT", "hubclientinfo", "RECEIVER"): ObjectStore._take_client_info,
}
"""Where a platform chooses the paths itself, and what is no functional module."""

_BY_NAME: Mapping[str, _Behaviour] = {
    "list": ObjectStore._give_page,
    "authorize": ObjectStore._authorize,
    "set_charging_preferences": ObjectStore._set_preferences,
    "post_cdr": ObjectStore._take_cdr,
    "reserve_now": ObjectStore._take_command,
    "cancel_reservation": ObjectStore._take_command,
    "start_session": ObjectStore._take_command,
    "stop_session": ObjectStore._take_command,
    "unlock_connector": ObjectStore._take_command,
    "get_active": ObjectStore._get_profile,
    "set": ObjectStore._set_profile,
    "clear": ObjectStore._clear_profile,
    "put_active": ObjectStore._take_result,
}
"""By the name of the operation."""

_COPIES: Mapping[str, _Behaviour] = {
    "GET": ObjectStore._give_copy,
    "PUT": ObjectStore._take_copy,
    "PATCH": ObjectStore._change_copy,
    "DELETE": ObjectStore._drop_copy,
}
"""Client Owned Object pushes, by method."""


def _accept(response_url: str, result: Object) -> Outcome:
    return Outcome({"result": "ACCEPTED", "timeout": COMMAND_TIMEOUT_SECONDS}, response_url=response_url, result=result)


def _read_key(request: Request) -> tuple[CopyKey, tuple[str, ...]]:
    """Give the key of a copy, and the EVSE and connector in it."""
    key = tuple(id.upper() for id in request.ids[:3])
    if request.module == "tokens":
        key = (*key, request.query.get("type", "RFID"))
    return key, request.ids[3:]


def _read_response_url(named: Mapping[str, Any]) -> str:
    url = named.get("response_url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InvalidParameters("There is no response_url.")
    return url


def _read_time(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _is_between(last_updated: object, begin: datetime | None, end: datetime | None) -> bool:
    """Whether a filter lets this through: date_from inclusive, date_to exclusive (R-174)."""
    try:
        moment = _read_time(last_updated)
    except ValueError:
        return True
    return moment is None or ((begin is None or moment >= begin) and (end is None or moment < end))


def _same(one: object, other: str) -> bool:
    return isinstance(one, str) and one.upper() == other.upper()


def _is_owned_by(owned: Object, owner: PartyID) -> bool:
    return _same(owned.get("country_code"), owner.country_code) and _same(owned.get("party_id"), owner.party_id)


def _descend(found: Object | None, below: Sequence[str]) -> Object | None:
    for (children_field, id_field), wanted in zip(_CHILDREN, below, strict=False):
        if found is None:
            return None
        children = found.get(children_field) or ()
        found = next((child for child in children if _same(child.get(id_field), wanted)), None)
    return found
