"""What a simulated platform keeps, and what it does by default with what the functional modules ask."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode
from uuid import uuid4

from config.ocpi import LIMIT, TOTAL_COUNT, InterfaceRole, InvalidParameters, NotFound
from config.operations import OPERATIONS, OperationIndex
from hub.simulator.lookup import CHILDREN, CopyKey, descend, is_between, is_owned_by, is_same_id, read_key, read_time
from hub.simulator.objects import Object, active_charging_profile, authorization_info
from hub.simulator.requests import Outcome, Request, UnknownLocation, UnknownToken

COMMAND_TIMEOUT_SECONDS = 30

_VERSION = "2.2.1"
_OPERATIONS = OperationIndex()


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
        return listed if owner is None else [owned for owned in listed if is_owned_by(owned, owner)]

    def _give_page(self, request: Request) -> Outcome:
        query = dict(request.query)
        try:
            offset, limit = int(query.pop("offset", 0)), int(query.pop("limit", self.page_limit))
            begin, end = read_time(query.get("date_from")), read_time(query.get("date_to"))
            if offset < 0 or limit < 1:
                raise ValueError
        except ValueError as exc:
            raise InvalidParameters("offset, limit, date_from or date_to cannot be read.") from exc
        listed = [owned for owned in self._list_owned(request) if is_between(owned.get("last_updated"), begin, end)]
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
            if is_same_id(owned.get(key), request.ids[0]) and all(owned.get(name) == fields[name] for name in fields):
                return owned
        return None

    def _give_owned(self, request: Request) -> Outcome:
        found = descend(self._find_owned(request), request.ids[1:])
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
        return descend(self.copies[module].get(key), below)

    def _give_copy(self, request: Request) -> Outcome:
        found = self.copy(request.module, *read_key(request))
        if found is None:
            raise NotFound
        return Outcome(found)

    def _take_copy(self, request: Request) -> Outcome:
        key, below = read_key(request)
        new = request.read_object()
        if not below:
            is_new = key not in self.copies[request.module]
            self.copies[request.module][key] = new
            return Outcome(http_status=201 if is_new else 200)
        parent = self.copy(request.module, key, below[:-1])
        if parent is None:
            raise UnknownLocation
        children_field, id_field = CHILDREN[len(below) - 1]
        children = parent.get(children_field) or []
        is_new = not any(is_same_id(child.get(id_field), below[-1]) for child in children)
        parent[children_field] = [new if is_same_id(child.get(id_field), below[-1]) else child for child in children]
        if is_new:
            parent[children_field].append(new)
        self._touch_parents(request, new)
        return Outcome(http_status=201 if is_new else 200)

    def _change_copy(self, request: Request) -> Outcome:
        changes = request.read_object()
        if "last_updated" not in changes:
            # OCPI 2.2.1, Status codes, 2001: for example a missing last_updated field in a PATCH request.
            raise InvalidParameters("A PATCH has last_updated.")
        found = self.copy(request.module, *read_key(request))
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
        key, below = read_key(request)
        for depth in range(len(below)):
            parent = self.copy(request.module, key, below[:depth])
            if parent is not None and "last_updated" in changed:
                parent["last_updated"] = changed["last_updated"]

    def _drop_copy(self, request: Request) -> Outcome:
        key, _ = read_key(request)
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


def _read_response_url(named: Mapping[str, Any]) -> str:
    url = named.get("response_url")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise InvalidParameters("There is no response_url.")
    return url
