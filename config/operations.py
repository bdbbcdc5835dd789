"""OCPI as a table: one row per operation of each module, with the few traits a hub cares about.

Routes, version details, rewriting and tests are driven by these rows. A new module is a few rows here
and nothing else. Paths are written as in the specification; `{country_code}/{party_id}` name the owner
of a Client Owned Object (OCPI 2.2.1, Transport and format, Client Owned Object Push).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from config.ocpi import InterfaceRole, MethodNotAllowed, NotFound

AliasKind = Literal["result", "location", "link"]
"""What a URL that the hub gave out stands for: a response_url, a Location, or the next page of a list."""

FoundBy = Literal[
    "",
    "cdr_token",
    "cdr_token_or_session",
    "addressee",
    "session",
    "session_in_body",
    "location",
    "location_in_body",
    "token",
    "reservation",
    "profile",
]
"""What of a request without OCPI-to headers names its receiver (OCPI 2.2.1, Open Routing Request). Empty: nothing does.
cdr_token: the party of the body's cdr_token. addressee: for whom the session in the path was. session, location, token:
whose it is. reservation: who took the RESERVE_NOW. profile: who last set the session's charging profile."""

Mirrors = Literal["no", "index", "object", "reservation", "profile"]
"""What the mirror keeps of a push to one party. index: that it exists, and whose it is; object: all of it, for the
addressee. reservation, profile: who is to be found by it later."""

ALIAS_PATH = ("-", "{alias}")
"""Where such a URL of a result or Location lives, below the module's own: `.../cdrs/-/Xy12`."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One method on one path of one module's interface."""

    module: str
    """ModuleID, as in version details."""
    interface: InterfaceRole
    """The interface whose host is called."""
    method: str
    path: tuple[str, ...] = ()
    """Segments below the endpoint; `{name}` takes any one segment, `*` any number of them."""
    name: str = ""
    """What it does, like `put_evse`."""
    paged: bool = False
    """A list: its `Link` is rewritten (OCPI 2.2.1, Pagination)."""
    response_url: Literal["no", "body", "query", "if_present"] = "no"
    """Where the caller names the URL for the asynchronous result, if anywhere."""
    gives_location: bool = False
    """The answer's `Location` is rewritten (OCPI 2.2.1, CDRs, POST Method)."""
    alias: AliasKind | None = None
    """The path is one the hub gave out in place of a party's URL."""
    body: Literal["required", "optional", "none"] = "none"
    authorize: bool = False
    """Real-time authorization: a driver waits in front of the charger (short time limit)."""
    urgent: bool = False
    """Keeps a share of the receiver's in-flight limit: authorize, commands and their results."""
    reserves: bool = False
    """The response_url stays in use until the reservation's expiry_date (OCPI 2.2.1, Commands, RESERVE_NOW)."""

    broadcast: bool = False
    """Meant for everybody when addressed to the hub (OCPI 2.2.1, Broadcast Push)."""
    found_by: FoundBy = ""
    mirrors: Mirrors = "no"
    merged: bool = False
    """The hub answers it from the mirror when addressed to the hub (OCPI 2.2.1, GET All via Hubs)."""

    @property
    def owner_in_path(self) -> bool:
        """Whether the first two segments name the object's owner, who must be the sender (R-269)."""
        return self.path[:2] == ("{country_code}", "{party_id}")

    @property
    def label(self) -> str:
        """What metrics, logs and the demo call it."""
        return f"{self.module}.{self.name}"

    def takes(self, segments: tuple[str, ...]) -> bool:
        """Whether this row's path has the shape of these raw segments."""
        if self.path == ("*",):
            return True
        return len(self.path) == len(segments) and all(
            want == got or want.startswith("{") for want, got in zip(self.path, segments, strict=True)
        )


def _owned(
    module: str,
    ids: Iterable[tuple[str, str]],
    methods: Iterable[str],
    *,
    broadcast: bool = False,
    mirrors: Mirrors = "no",
    found_by: Mapping[str, FoundBy] = MappingProxyType({}),
) -> tuple[Operation, ...]:
    """Give the rows of Client Owned Objects: each method at each depth of ids."""
    rows = []
    path: tuple[str, ...] = ("{country_code}", "{party_id}")
    for segment, object_name in ids:
        path = (*path, segment)
        for method in methods:
            rows.append(
                Operation(
                    module,
                    "RECEIVER",
                    method,
                    path,
                    name=f"{method.lower()}_{object_name}",
                    body="required" if method in ("PUT", "PATCH") else "none",
                    broadcast=broadcast and method != "GET",
                    mirrors="no" if method == "GET" else mirrors,
                    found_by=found_by.get(method, ""),
                )
            )
    return tuple(rows)


def _list(module: str) -> Operation:
    return Operation(module, "SENDER", "GET", (), name="list", paged=True, merged=True)


_LOCATION_IDS = (("{location_id}", "location"), ("{evse_uid}", "evse"), ("{connector_id}", "connector"))

_LOCATIONS = (
    _list("locations"),
    *(
        Operation("locations", "SENDER", "GET", path, name=f"get_{object_name}", found_by="location", merged=True)
        for path, object_name in (
            (("{location_id}",), "location"),
            (("{location_id}", "{evse_uid}"), "evse"),
            (("{location_id}", "{evse_uid}", "{connector_id}"), "connector"),
        )
    ),
    *_owned("locations", _LOCATION_IDS, ("GET", "PUT", "PATCH"), broadcast=True, mirrors="index"),
)
_TARIFFS = (
    _list("tariffs"),
    *_owned("tariffs", (("{tariff_id}", "tariff"),), ("GET", "PUT", "DELETE"), broadcast=True, mirrors="index"),
)
_SESSIONS = (
    _list("sessions"),
    Operation(
        "sessions",
        "SENDER",
        "PUT",
        ("{session_id}", "charging_preferences"),
        name="set_charging_preferences",
        body="required",
        found_by="session",
    ),
    *_owned(
        "sessions",
        (("{session_id}", "session"),),
        ("GET", "PUT", "PATCH"),
        mirrors="object",
        found_by={"GET": "addressee", "PUT": "cdr_token", "PATCH": "cdr_token_or_session"},
    ),
)
_CDRS = (
    _list("cdrs"),
    Operation(
        "cdrs",
        "RECEIVER",
        "POST",
        (),
        name="post_cdr",
        body="required",
        gives_location=True,
        found_by="cdr_token",
        mirrors="object",
    ),
    Operation("cdrs", "RECEIVER", "GET", ALIAS_PATH, name="get_cdr", alias="location"),
)
_TOKENS = (
    _list("tokens"),
    Operation(
        "tokens",
        "SENDER",
        "POST",
        ("{token_uid}", "authorize"),
        name="authorize",
        body="optional",
        authorize=True,
        urgent=True,
        found_by="token",
    ),
    *_owned("tokens", (("{token_uid}", "token"),), ("GET", "PUT", "PATCH"), broadcast=True, mirrors="index"),
)
_COMMAND_FOUND_BY: Mapping[str, FoundBy] = {
    "CANCEL_RESERVATION": "reservation",
    "RESERVE_NOW": "location_in_body",
    "START_SESSION": "location_in_body",
    "STOP_SESSION": "session_in_body",
    "UNLOCK_CONNECTOR": "location_in_body",
}
_COMMANDS = (
    *(
        Operation(
            "commands",
            "RECEIVER",
            "POST",
            (command,),
            name=command.lower(),
            body="required",
            response_url="body",
            urgent=True,
            reserves=command == "RESERVE_NOW",
            mirrors="reservation" if command == "RESERVE_NOW" else "no",
            found_by=found_by,
        )
        for command, found_by in _COMMAND_FOUND_BY.items()
    ),
    Operation(
        "commands", "SENDER", "POST", ALIAS_PATH, name="command_result", body="required", alias="result", urgent=True
    ),
)
_PROFILES = (
    Operation(
        "chargingprofiles",
        "RECEIVER",
        "GET",
        ("{session_id}",),
        name="get_active",
        response_url="query",
        urgent=True,
        found_by="session",
    ),
    Operation(
        "chargingprofiles",
        "RECEIVER",
        "PUT",
        ("{session_id}",),
        name="set",
        body="required",
        response_url="body",
        urgent=True,
        found_by="session",
        mirrors="profile",
    ),
    Operation(
        "chargingprofiles",
        "RECEIVER",
        "DELETE",
        ("{session_id}",),
        name="clear",
        response_url="query",
        urgent=True,
        found_by="session",
    ),
    Operation(
        "chargingprofiles",
        "SENDER",
        "POST",
        ALIAS_PATH,
        name="profile_result",
        body="required",
        alias="result",
        urgent=True,
    ),
    Operation(
        "chargingprofiles",
        "SENDER",
        "PUT",
        ("{session_id}",),
        name="put_active",
        body="required",
        found_by="profile",
    ),
)

_V221 = (*_CDRS, *_PROFILES, *_COMMANDS, *_LOCATIONS, *_SESSIONS, *_TARIFFS, *_TOKENS)

OPERATIONS: Mapping[str, tuple[Operation, ...]] = {"2.2.1": _V221}
"""Every functional operation of every version that the hub speaks."""

VERSIONS = tuple(OPERATIONS)

CLIENT_INFO = "hubclientinfo"
"""The one configuration module beside credentials: served without routing headers, so none of these rows."""

INTERFACES: Mapping[str, InterfaceRole] = {"sender": "SENDER", "receiver": "RECEIVER"}
"""The interface's word in the hub's URLs (T-035: SENDER and RECEIVER have separate base URLs)."""

# Which interface of a functional module a role typically hosts (OCPI 2.2.1, Terminology, Typical OCPI implementations
# per Role). Used to tell what to expect of a member (T-009) and to break a tie (T-020), never to refuse a message.
HOSTS: Mapping[str, frozenset[tuple[str, InterfaceRole]]] = {
    "CPO": frozenset(
        {
            ("cdrs", "SENDER"),
            ("chargingprofiles", "RECEIVER"),
            ("commands", "RECEIVER"),
            ("locations", "SENDER"),
            ("sessions", "SENDER"),
            ("tariffs", "SENDER"),
            ("tokens", "RECEIVER"),
        }
    ),
    "EMSP": frozenset(
        {
            ("cdrs", "RECEIVER"),
            ("chargingprofiles", "SENDER"),
            ("commands", "SENDER"),
            ("locations", "RECEIVER"),
            ("sessions", "RECEIVER"),
            ("tariffs", "RECEIVER"),
            ("tokens", "SENDER"),
        }
    ),
    "NSP": frozenset({("locations", "RECEIVER"), ("tariffs", "RECEIVER")}),
    "NAP": frozenset(
        {("locations", "SENDER"), ("locations", "RECEIVER"), ("tariffs", "SENDER"), ("tariffs", "RECEIVER")}
    ),
    "SCSP": frozenset({("chargingprofiles", "SENDER"), ("sessions", "RECEIVER")}),
    "PTP": frozenset(
        {
            ("cdrs", "RECEIVER"),
            ("commands", "SENDER"),
            ("locations", "RECEIVER"),
            ("sessions", "RECEIVER"),
            ("tariffs", "RECEIVER"),
        }
    ),
}


# To whom a push of a role is broadcast, if they publish the Receiver interface (OCPI 2.2.1, Broadcast Push names EMSP,
# NSP, OTHER and CPO; the rest follows from what they are for, and no hub is broadcast to). Every pair here is opposite.
BROADCAST_TO: Mapping[str, frozenset[str]] = {
    "CPO": frozenset({"EMSP", "NSP", "OTHER", "NAP", "SCSP", "PTP"}),
    "EMSP": frozenset({"CPO"}),
    "OTHER": frozenset({"CPO"}),
    "NSP": frozenset({"CPO"}),
    "NAP": frozenset({"EMSP", "NSP", "OTHER", "PTP"}),
    "SCSP": frozenset({"CPO"}),
    "PTP": frozenset({"CPO"}),
}


def are_opposite(one: str, other: str) -> bool:
    """Whether parties of these roles have business with each other."""
    return other in BROADCAST_TO.get(one, ()) or one in BROADCAST_TO.get(other, ())


def acting_roles(roles: Iterable[str], module: str, interface: InterfaceRole) -> tuple[str, ...]:
    """Give in which of its roles a party takes an interface's side: those that typically host it; all if none does.

    As CPO and eMSP, a party shares its tokens as eMSP only. OCPI's headers carry no role (T-020).
    """
    roles = tuple(roles)
    return tuple(role for role in roles if (module, interface) in HOSTS.get(role, ())) or roles


def custom_operations(modules: Iterable[str]) -> tuple[Operation, ...]:
    """Give the rows of custom modules: every method on any path of both interfaces (R-289)."""
    rows: list[Operation] = []
    for module in modules:
        for interface in INTERFACES.values():
            rows.append(
                Operation(module, interface, "POST", ALIAS_PATH, name="result", body="required", alias="result")
            )
            rows.append(Operation(module, interface, "GET", ALIAS_PATH, name="get_location", alias="location"))
            rows.extend(
                Operation(
                    module,
                    interface,
                    method,
                    ("*",),
                    name=method.lower(),
                    paged=method == "GET",
                    response_url="if_present",
                    gives_location=method == "POST",
                    body="optional" if method in ("POST", "PUT", "PATCH") else "none",
                )
                for method in ("GET", "POST", "PUT", "PATCH", "DELETE")
            )
    return tuple(rows)


class OperationIndex:
    """Which operation a method and path is, for every version, custom modules included."""

    def __init__(self, custom_modules: Iterable[str] = ()) -> None:
        self.by_version: dict[str, tuple[Operation, ...]] = {
            version: (*rows, *custom_operations(custom_modules)) for version, rows in OPERATIONS.items()
        }
        self._rows: dict[tuple[str, str, str], list[Operation]] = {}
        for version, rows in self.by_version.items():
            for row in rows:
                self._rows.setdefault((version, row.interface, row.module), []).append(row)

    def find(
        self, version: str, interface: InterfaceRole, module: str, method: str, path: tuple[str, ...]
    ) -> Operation:
        """Give the row of this request. `path` are the raw segments below the module's URL.

        Raises NotFound for a module or path that no row has, MethodNotAllowed (R-002) for a method that none has.
        """
        rows = self._rows.get((version, interface, module))
        if rows is None:
            raise NotFound(f"This hub has no {interface} interface of a module {module!r} in OCPI {version}.")
        allow = []
        for row in rows:
            if row.takes(path):
                if row.method == method:
                    return row
                allow.append(row.method)
        if allow:
            raise MethodNotAllowed(
                f"{method} is not part of the {interface} interface of {module} here.", allow=tuple(sorted(set(allow)))
            )
        raise NotFound(f"The {interface} interface of {module} has no such path.")

    def endpoints(self, version: str) -> list[tuple[str, InterfaceRole]]:
        """Give each module and interface of the version details, in the rows' order (R-046)."""
        return list(dict.fromkeys((row.module, row.interface) for row in self.by_version[version]))
