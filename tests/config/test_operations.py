"""OCPI as a table: compared with the specification's own tables, and looked up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import InterfaceRole, MethodNotAllowed, NotFound
from config.operations import HOSTS, INTERFACES, OPERATIONS, VERSIONS, Operation, OperationIndex, custom_operations

INDEX = OperationIndex()

# OCPI 2.2.1, the tables "Sender Interface" and "Receiver Interface" of each module: method and path below the
# endpoint. `-/{alias}` is where the specification has no structure (a response_url, a CDR's Location).
SPECIFIED_221 = """
locations SENDER GET
locations SENDER GET {location_id}
locations SENDER GET {location_id}/{evse_uid}
locations SENDER GET {location_id}/{evse_uid}/{connector_id}
locations RECEIVER GET {country_code}/{party_id}/{location_id}
locations RECEIVER GET {country_code}/{party_id}/{location_id}/{evse_uid}
locations RECEIVER GET {country_code}/{party_id}/{location_id}/{evse_uid}/{connector_id}
locations RECEIVER PUT {country_code}/{party_id}/{location_id}
locations RECEIVER PUT {country_code}/{party_id}/{location_id}/{evse_uid}
locations RECEIVER PUT {country_code}/{party_id}/{location_id}/{evse_uid}/{connector_id}
locations RECEIVER PATCH {country_code}/{party_id}/{location_id}
locations RECEIVER PATCH {country_code}/{party_id}/{location_id}/{evse_uid}
locations RECEIVER PATCH {country_code}/{party_id}/{location_id}/{evse_uid}/{connector_id}
tariffs SENDER GET
tariffs RECEIVER GET {country_code}/{party_id}/{tariff_id}
tariffs RECEIVER PUT {country_code}/{party_id}/{tariff_id}
tariffs RECEIVER DELETE {country_code}/{party_id}/{tariff_id}
sessions SENDER GET
sessions SENDER PUT {session_id}/charging_preferences
sessions RECEIVER GET {country_code}/{party_id}/{session_id}
sessions RECEIVER PUT {country_code}/{party_id}/{session_id}
sessions RECEIVER PATCH {country_code}/{party_id}/{session_id}
cdrs SENDER GET
cdrs RECEIVER POST
cdrs RECEIVER GET -/{alias}
tokens SENDER GET
tokens SENDER POST {token_uid}/authorize
tokens RECEIVER GET {country_code}/{party_id}/{token_uid}
tokens RECEIVER PUT {country_code}/{party_id}/{token_uid}
tokens RECEIVER PATCH {country_code}/{party_id}/{token_uid}
commands RECEIVER POST CANCEL_RESERVATION
commands RECEIVER POST RESERVE_NOW
commands RECEIVER POST START_SESSION
commands RECEIVER POST STOP_SESSION
commands RECEIVER POST UNLOCK_CONNECTOR
commands SENDER POST -/{alias}
chargingprofiles RECEIVER GET {session_id}
chargingprofiles RECEIVER PUT {session_id}
chargingprofiles RECEIVER DELETE {session_id}
chargingprofiles SENDER POST -/{alias}
chargingprofiles SENDER PUT {session_id}
"""


def spelt(row: Operation) -> str:
    return " ".join(part for part in (row.module, row.interface, row.method, "/".join(row.path)) if part)


def row_of(line: str) -> Operation:
    """The row written like this in the table above."""
    (row,) = [row for row in OPERATIONS["2.2.1"] if spelt(row) == line]
    return row


def rows_with(trait: str) -> set[str]:
    return {spelt(row) for row in OPERATIONS["2.2.1"] if getattr(row, trait) not in (False, None, "no")}


LINES = SPECIFIED_221.strip().splitlines()


@pytest.mark.parametrize("line", LINES)
def test_what_the_specification_has_is_a_row(line: str) -> None:
    assert [spelt(row) for row in OPERATIONS["2.2.1"]].count(line) == 1


@pytest.mark.parametrize("row", OPERATIONS["2.2.1"], ids=spelt)
def test_a_row_is_in_the_specification(row: Operation) -> None:
    assert spelt(row) in LINES


@pytest.mark.parametrize("line", LINES)
def test_a_request_of_the_specification_finds_its_row(line: str) -> None:
    row = row_of(line)
    path = tuple(segment.replace("{", "").replace("}", "") for segment in row.path)

    assert INDEX.find("2.2.1", row.interface, row.module, row.method, path) is row


def test_the_lists_are_the_paged_ones() -> None:
    """R-173, R-179: each module with a Sender interface for objects has one list."""
    modules = ("locations", "tariffs", "sessions", "cdrs", "tokens")
    assert rows_with("paged") == {f"{module} SENDER GET" for module in modules}


def test_the_response_url_is_where_the_specification_has_it() -> None:
    """R-227, R-238, R-239."""
    in_body = {row for row in LINES if row.startswith("commands RECEIVER")} | {
        "chargingprofiles RECEIVER PUT {session_id}"
    }
    in_query = {f"chargingprofiles RECEIVER {method} {{session_id}}" for method in ("GET", "DELETE")}
    assert rows_with("response_url") == in_body | in_query
    assert {row_of(line).response_url for line in in_body} == {"body"}
    assert {row_of(line).response_url for line in in_query} == {"query"}


def test_only_a_posted_cdr_gives_a_location() -> None:
    """R-260."""
    assert rows_with("gives_location") == {"cdrs RECEIVER POST"}


def test_the_urls_that_the_hub_gives_out_are_those_without_a_structure_of_their_own() -> None:
    assert {line: row_of(line).alias for line in LINES if line.endswith("{alias}")} == {
        "cdrs RECEIVER GET -/{alias}": "location",
        "commands SENDER POST -/{alias}": "result",
        "chargingprofiles SENDER POST -/{alias}": "result",
    }
    assert rows_with("alias") == {line for line in LINES if line.endswith("{alias}")}


def test_a_driver_waits_for_authorizations_commands_and_their_results() -> None:
    assert rows_with("authorize") == {"tokens SENDER POST {token_uid}/authorize"}
    assert rows_with("urgent") == {
        "tokens SENDER POST {token_uid}/authorize",
        *(line for line in LINES if line.startswith("commands ")),
        *(line for line in LINES if line.startswith("chargingprofiles ") and "SENDER PUT" not in line),
    }


def test_only_a_reservation_keeps_its_response_url() -> None:
    """R-231."""
    assert rows_with("reserves") == {"commands RECEIVER POST RESERVE_NOW"}


@pytest.mark.parametrize("line", LINES)
def test_a_body_belongs_to_put_patch_and_post(line: str) -> None:
    """T-044: authorize may come without one; GET and DELETE never have one."""
    row = row_of(line)
    expected = "none" if row.method in ("GET", "DELETE") else "optional" if row.authorize else "required"
    assert row.body == expected


@pytest.mark.parametrize("line", LINES)
def test_the_owner_is_in_the_path_of_client_owned_objects_only(line: str) -> None:
    """R-267; on a Sender interface the first segments are ids of the object (T-035)."""
    assert row_of(line).owner_in_path is ("{country_code}/{party_id}" in line)


def test_labels_are_lower_case_words() -> None:
    for row in OPERATIONS["2.2.1"]:
        assert row.label == f"{row.module}.{row.name}"
        assert row.name.replace("_", "").isalpha(), row
        assert row.name.islower(), row


def test_both_interfaces_of_every_functional_module_are_endpoints() -> None:
    """R-046."""
    modules = ("cdrs", "chargingprofiles", "commands", "locations", "sessions", "tariffs", "tokens")
    endpoints = INDEX.endpoints("2.2.1")
    assert sorted(endpoints) == sorted((module, role) for module in modules for role in ("RECEIVER", "SENDER"))
    assert VERSIONS == ("2.2.1",)


# OCPI 2.2.1, Terminology, Typical OCPI implementations per Role: S, R or B(oth).
TYPICAL = """
cdrs             CPO:S EMSP:R PTP:R
chargingprofiles CPO:R EMSP:S SCSP:S
commands         CPO:R EMSP:S PTP:S
locations        CPO:S EMSP:R NSP:R NAP:B PTP:R
sessions         CPO:S EMSP:R SCSP:R PTP:R
tariffs          CPO:S EMSP:R NSP:R NAP:B PTP:R
tokens           CPO:R EMSP:S
"""


def test_a_role_hosts_what_the_specification_calls_typical() -> None:
    hosts: dict[str, set[tuple[str, str]]] = {}
    for line in TYPICAL.strip().splitlines():
        module, *cells = line.split()
        for cell in cells:
            role, letter = cell.split(":")
            interfaces = {"S": ["SENDER"], "R": ["RECEIVER"], "B": ["SENDER", "RECEIVER"]}[letter]
            hosts.setdefault(role, set()).update((module, interface) for interface in interfaces)
    assert hosts == {role: set(keys) for role, keys in HOSTS.items()}


# Looking up


def test_segments_that_mean_different_things_on_the_two_interfaces_find_different_rows() -> None:
    """T-035."""
    path = ("BE", "BEC", "LOC1")
    assert INDEX.find("2.2.1", "SENDER", "locations", "GET", path).name == "get_connector"
    assert INDEX.find("2.2.1", "RECEIVER", "locations", "GET", path).name == "get_location"


@pytest.mark.parametrize(
    ("interface", "module", "path", "method", "allow"),
    [
        ("RECEIVER", "sessions", "NL/ALF/1", "POST", ("GET", "PATCH", "PUT")),
        ("RECEIVER", "sessions", "NL/ALF/1", "DELETE", ("GET", "PATCH", "PUT")),
        ("RECEIVER", "locations", "NL/ALF/1", "DELETE", ("GET", "PATCH", "PUT")),
        ("RECEIVER", "tariffs", "NL/ALF/1", "PATCH", ("DELETE", "GET", "PUT")),
        ("RECEIVER", "cdrs", "-/xyz", "PUT", ("GET",)),
        ("RECEIVER", "cdrs", "-/xyz", "DELETE", ("GET",)),
        ("RECEIVER", "cdrs", "", "GET", ("POST",)),
        ("SENDER", "cdrs", "", "POST", ("GET",)),
        ("SENDER", "tokens", "012345/authorize", "GET", ("POST",)),
        ("RECEIVER", "commands", "START_SESSION", "PUT", ("POST",)),
        ("SENDER", "chargingprofiles", "101", "DELETE", ("PUT",)),
        ("SENDER", "locations", "LOC1", "OPTIONS", ("GET",)),
    ],
)
def test_a_method_that_no_row_has_is_not_allowed_and_told_which_are(
    interface: InterfaceRole, module: str, path: str, method: str, allow: tuple[str, ...]
) -> None:
    """R-002."""
    with pytest.raises(MethodNotAllowed) as caught:
        INDEX.find("2.2.1", interface, module, method, tuple(path.split("/")) if path else ())

    assert caught.value.allow == allow
    assert method in caught.value.message


@pytest.mark.parametrize(
    ("version", "interface", "module", "path"),
    [
        ("2.2.1", "SENDER", "bookings", ""),
        ("2.2.1", "SENDER", "Locations", ""),
        ("2.2.1", "SENDER", "hubclientinfo", ""),
        ("2.1.1", "SENDER", "locations", ""),
        ("2.2.1", "RECEIVER", "locations", ""),
        ("2.2.1", "RECEIVER", "locations", "NL/ALF"),
        ("2.2.1", "RECEIVER", "sessions", "NL/ALF/1/2"),
        ("2.2.1", "SENDER", "sessions", "101/preferences"),
        ("2.2.1", "RECEIVER", "commands", "start_session"),
        ("2.2.1", "RECEIVER", "commands", "START_SESSION/1"),
        ("2.2.1", "SENDER", "commands", "x/xyz"),
    ],
)
def test_what_no_row_has_is_not_found_whatever_the_method(
    version: str, interface: InterfaceRole, module: str, path: str
) -> None:
    segments = tuple(path.split("/")) if path else ()
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        with pytest.raises(NotFound):
            INDEX.find(version, interface, module, method, segments)


@given(
    st.sampled_from(["2.2.1", "2.1.1", ""]),
    st.sampled_from(["SENDER", "RECEIVER"]),
    st.sampled_from(["locations", "cdrs", "commands", "chargingprofiles", "x-custom", "", "{module}"]),
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "{method}"]),
    st.lists(st.text(min_size=1, max_size=5), max_size=6).map(tuple),
)
def test_any_request_finds_one_row_or_an_answer(
    version: str, interface: InterfaceRole, module: str, method: str, path: tuple[str, ...]
) -> None:
    found: Operation | MethodNotAllowed | NotFound
    try:
        found = OperationIndex(["x-custom"]).find(version, interface, module, method, path)
    except (MethodNotAllowed, NotFound) as exc:
        found = exc

    if isinstance(found, MethodNotAllowed):
        assert found.allow
        assert method not in found.allow
    elif isinstance(found, NotFound):
        assert module in found.message
    else:
        assert (found.interface, found.module, found.method) == (interface, module, method)


# Custom modules


@pytest.mark.parametrize("interface", INTERFACES.values())
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [(), ("NL",), ("NL", "ALF", "1", "2", "3", "4")])
def test_a_custom_module_takes_every_method_on_any_path(
    interface: InterfaceRole, method: str, path: tuple[str, ...]
) -> None:
    """R-289."""
    row = OperationIndex(["nltnm-tokens"]).find("2.2.1", interface, "nltnm-tokens", method, path)

    assert row.response_url == "if_present"
    assert row.paged is (method == "GET")
    assert row.gives_location is (method == "POST")
    assert row.body == ("none" if method in ("GET", "DELETE") else "optional")
    assert not row.owner_in_path
    assert row.alias is None


@pytest.mark.parametrize(("method", "kind"), [("POST", "result"), ("GET", "location"), ("PUT", None)])
def test_a_custom_module_has_places_for_urls_that_the_hub_gives_out(method: str, kind: str | None) -> None:
    assert OperationIndex(["x-m"]).find("2.2.1", "SENDER", "x-m", method, ("-", "xyz")).alias == kind


def test_custom_modules_come_last_and_change_nothing_else() -> None:
    index = OperationIndex(["x-one", "x-two"])

    assert index.by_version["2.2.1"][: len(OPERATIONS["2.2.1"])] == OPERATIONS["2.2.1"]
    assert index.endpoints("2.2.1")[-4:] == [
        ("x-one", "SENDER"),
        ("x-one", "RECEIVER"),
        ("x-two", "SENDER"),
        ("x-two", "RECEIVER"),
    ]
    assert custom_operations([]) == ()
    with pytest.raises(NotFound):
        INDEX.find("2.2.1", "SENDER", "x-one", "GET", ())
