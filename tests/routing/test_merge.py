"""Merging by bytes does what OCPI's PUT and PATCH say, and leaves all else as its owner wrote it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routing.merge import compose, find_evse, last_updated_of, outline, patch, patch_session
from routing.objects import Change, ObjectKey
from routing.stored import Stored, Taken, take

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
UIDS = ("e1", "E2", "é3")
CONNECTORS = ("1", "a")


class Literal(str):
    """A number in the very letters that it was written in."""


def read(body: bytes) -> Any:
    """JSON with its number literals, each object as its members in order."""
    return json.loads(body, parse_float=Literal, parse_int=Literal)


def write(value: Any) -> str:
    """JSON with number literals as they are."""
    match value:
        case Literal():
            return str(value)
        case dict():
            return "{ " + " , ".join(f"{json.dumps(name)} : {write(each)}" for name, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(write, value)) + " ]"
    return json.dumps(value, ensure_ascii=False)


def ordered(value: Any) -> Any:
    """A value in which the order of members counts."""
    if isinstance(value, dict):
        return [(name, ordered(each)) for name, each in value.items()]
    return [ordered(each) for each in value] if isinstance(value, list) else (type(value), value)


def moment(minutes: int) -> str:
    return (FIRST + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")


numbers = st.sampled_from([Literal(text) for text in ("4.00", "1e2", "-0.10", "0", "12345678901234567890.10")])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
names = st.sampled_from(["name", "status", "x-vendor", "Ünïcode", "price", "physical_reference"])
fields = st.dictionaries(names, values, max_size=3)
times = st.integers(0, 30).map(moment)


def objects(id_field: str, ids: st.SearchStrategy[str], **more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    fixed = st.fixed_dictionaries({id_field: ids, "last_updated": times}, optional=more)
    return st.builds(lambda own, other: own | other, fixed, fields)


def in_any_case(ids: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from([*ids, *(each.upper() for each in ids)])


connectors = objects("id", in_any_case(CONNECTORS))
connector_lists = st.lists(connectors, max_size=2, unique_by=lambda each: each["id"].upper())
evses = objects("uid", in_any_case(UIDS), connectors=st.none() | connector_lists)
evse_lists = st.lists(evses, max_size=3, unique_by=lambda each: each["uid"].upper())
locations = objects("id", st.just("LOC1"), evses=st.none() | evse_lists)
changes = st.builds(lambda own, other: {"last_updated": own} | other, times, fields)
location_changes = st.builds(
    lambda own, more: own | more, changes, st.fixed_dictionaries({}, optional={"evses": st.none() | evse_lists})
)
pushes = st.one_of(
    st.tuples(st.just("PUT"), st.just(()), locations),
    st.tuples(st.just("PATCH"), st.just(()), location_changes),
    evses.map(lambda evse: ("PUT", (evse["uid"].upper(),), evse)),
    st.tuples(st.just("PATCH"), st.tuples(st.sampled_from([uid.upper() for uid in UIDS])), changes),
    st.builds(lambda uid, each: ("PUT", (uid.upper(), each["id"].upper()), each), st.sampled_from(UIDS), connectors),
    st.tuples(
        st.just("PATCH"),
        st.tuples(st.sampled_from([uid.upper() for uid in UIDS]), st.sampled_from([c.upper() for c in CONNECTORS])),
        changes,
    ),
)


class Reference:
    """A location as plain dictionaries, changed as OCPI 2.2.1 says (Locations, PUT and PATCH Method)."""

    def __init__(self) -> None:
        self.location: dict[str, Any] | None = None
        self.latest = ""
        self.own = self.raised = ""
        self.adds_evses = False

    def push(self, method: str, part: tuple[str, ...], body: dict[str, Any]) -> bool:
        """Change it; whether that happened."""
        if not part:
            return self._push_whole(method, body)
        if self.location is None:
            return False
        evses = self.location.get("evses") or []
        at = index_of(evses, "uid", part[0])
        if len(part) == 1:
            changed = put_or_patch(method, evses, at, body)
        elif at is None:
            return False
        else:
            found = evses[at].get("connectors") or []
            changed = put_or_patch(method, found, index_of(found, "id", part[1]), body)
            if changed:
                evses[at]["connectors"] = found
                raise_to(evses[at], body["last_updated"])
        if changed:
            self.adds_evses |= "evses" not in self.location
            self.location["evses"] = evses
            self.raised = max(self.raised, evses[-1 if at is None else at]["last_updated"])
            raise_to(self.location, self.raised)
            self.latest = max(self.latest, body["last_updated"])
        return changed

    def _push_whole(self, method: str, body: dict[str, Any]) -> bool:
        latest = max([body["last_updated"], *(evse["last_updated"] for evse in body.get("evses") or [])])
        has_evses = method == "PUT" or "evses" in body
        if latest < (self.latest if has_evses else self.own) or (method == "PATCH" and self.location is None):
            return False
        self.own = body["last_updated"]
        if has_evses:
            self.raised = ""
        if method == "PUT":
            self.location, self.latest, self.adds_evses = body, latest, False
        else:
            assert self.location is not None
            self.location.update(body)
            raise_to(self.location, self.raised)
            self.latest = max(self.latest, latest)
        return True


def index_of(items: list[Any], field: str, name: str) -> int | None:
    return next((i for i, each in enumerate(items) if each[field].upper() == name), None)


def put_or_patch(method: str, items: list[Any], at: int | None, body: dict[str, Any]) -> bool:
    if at is None:
        if method == "PUT":
            items.append(body)
        return method == "PUT"
    if body["last_updated"] < items[at]["last_updated"]:
        return False
    if method == "PUT":
        items[at] = body
    else:
        items[at].update(body)
    return True


def raise_to(item: dict[str, Any], delivered: str) -> None:
    item["last_updated"] = max(item["last_updated"], delivered)


def a_change(method: Any, part: tuple[str, ...], body: bytes, module: str = "locations") -> Change:
    key = ObjectKey(module, "NL-ABC", "LOC1")
    return Change(key, part, method, "NL/ABC/LOC1", "", body, 1, "2.2.1", "object", NOW)


def evses_last(location: dict[str, Any]) -> dict[str, Any]:
    """A location whose EVSEs are its last member: where they begin to be there, they have no place of their own."""
    return {name: value for name, value in location.items() if name != "evses"} | {
        name: value for name, value in location.items() if name == "evses"
    }


@settings(max_examples=150, deadline=None)
@given(st.lists(pushes, min_size=1, max_size=12))
def test_a_location_after_any_pushes_is_what_plain_dictionaries_would_be(
    steps: list[tuple[str, tuple[str, ...], Any]],
) -> None:
    stored, reference = Stored(ObjectKey("locations", "NL-ABC", "LOC1")), Reference()
    for method, part, body in steps:
        text = write(body).encode()
        is_changed = reference.push(method, part, read(text))
        assert (take(stored, a_change(method, part, text)) is Taken.NEWS) is is_changed
    if reference.location is None:
        assert stored.body is None
        return
    assert stored.body is not None
    result = read(compose(stored.body, stored.parts))
    if reference.adds_evses:
        result, reference.location = evses_last(result), evses_last(reference.location)
    assert ordered(result) == ordered(reference.location)
    assert stored.last_updated == datetime.fromisoformat(reference.latest)
    assert stored.evse_uids >= {evse["uid"].upper() for evse in result.get("evses") or []}


@given(st.dictionaries(names, values, max_size=5), st.dictionaries(names, values, max_size=5))
def test_a_patch_replaces_whole_members_and_moves_no_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    merged = patch(write(one).encode(), write(other).encode())
    assert ordered(read(merged)) == ordered(read(write(one).encode()) | read(write(other).encode()))


periods = st.lists(
    st.builds(lambda own, more: {"start_date_time": own} | more, times, fields),
    max_size=4,
    unique_by=lambda period: period["start_date_time"],
)
sessions = st.builds(
    lambda own, more: own | more, fields, st.fixed_dictionaries({}, optional={"charging_periods": periods})
)


@given(sessions, sessions)
def test_a_patch_of_a_session_adds_its_charging_periods(one: dict[str, Any], other: dict[str, Any]) -> None:
    """R-277; a period that begins like another takes its place (T-098)."""
    merged = read(patch_session(write(one).encode(), write(other).encode()))
    expected = read(write(one).encode()) | {
        k: v for k, v in read(write(other).encode()).items() if k != "charging_periods"
    }
    added = read(write(other).encode()).get("charging_periods") or []
    if added:
        by_start = {each["start_date_time"]: each for each in expected.get("charging_periods") or []}
        expected["charging_periods"] = list((by_start | {each["start_date_time"]: each for each in added}).values())
    assert merged == expected


@pytest.mark.parametrize("nothing", [b"{}", b'{"charging_periods":[]}', b'{"charging_periods":null}'])
def test_a_session_patched_without_charging_periods_keeps_them(nothing: bytes) -> None:
    """R-277."""
    body = b'{"charging_periods":[{"start_date_time":"2026-01-01T00:00:00Z"}]}'
    assert patch_session(body, nothing) == body


def test_a_session_put_replaces_its_charging_periods() -> None:
    """R-276."""
    stored = Stored(ObjectKey("sessions", "NL-ABC", "S1", "DE-TNM"))
    first = b'{"charging_periods":[{"start_date_time":"2026-01-01T00:00:00Z"}],"last_updated":"2026-01-01T00:00:00Z"}'
    second = b'{"last_updated":"2026-01-01T00:01:00Z"}'
    for body in (first, second):
        assert take(stored, a_change("PUT", (), body, "sessions")) is Taken.NEWS
    assert stored.body == second


def test_an_object_without_changed_parts_is_the_very_same_bytes() -> None:
    body = b'{"last_updated": "2026-01-01T00:00:00Z" , "evses": [ ] }'
    assert compose(body, {}) is body


def test_a_changed_part_raises_the_locations_time_in_the_owners_letters() -> None:
    """R-273, T-096."""
    body = b'{"id":"L","evses":[{"uid":"A"}],"last_updated":"2026-01-01T00:00:00Z"}'
    part = b'{"uid":"a","last_updated":"2026-01-01T00:00:00.5+00:00"}'
    assert compose(body, {"A": part}) == (
        b'{"id":"L","evses":[{"uid":"a","last_updated":"2026-01-01T00:00:00.5+00:00"}],'
        b'"last_updated":"2026-01-01T00:00:00.5+00:00"}'
    )


@pytest.mark.parametrize(
    "body",
    [
        b'{"evses": 7, "last_updated": 12}',
        b'{"evses": [1, null, {"uid": 5}], "last_updated": "soon"}',
        b'{"evses": {"uid": "A"}}',
        b"[]",
    ],
)
def test_what_partners_should_not_send_is_read_as_far_as_it_goes(body: bytes) -> None:
    found = outline("locations", body)
    assert (found.last_updated, found.evse_uids) == (None, frozenset())
    if body != b"[]":
        assert find_evse(body, "A") is None
        assert find_evse(compose(body, {"A": b'{"uid":"A"}'}), "A") == b'{"uid":"A"}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-22T20:46:51Z", datetime(2026, 11, 22, 20, 46, 51, tzinfo=UTC)),
        ("2026-11-22T20:46:51.536111", datetime(2026, 11, 22, 20, 46, 51, 536111, tzinfo=UTC)),
        ("2026-11-22T20:46:51.123456789Z", datetime(2026, 11, 22, 20, 46, 51, 123456, tzinfo=UTC)),
        ("2026-11-22T21:46:51+01:00", datetime(2026, 11, 22, 20, 46, 51, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("yesterday", None),
    ],
)
def test_last_updated_is_read_as_members_write_it(text: str, expected: datetime | None) -> None:
    assert last_updated_of(json.dumps({"last_updated": text}).encode()) == expected


def test_a_last_updated_far_in_the_future_keeps_nothing_out() -> None:
    stored = Stored(ObjectKey("tariffs", "NL-ABC", "T1"))
    assert take(stored, a_change("PUT", (), b'{"last_updated":"9999-01-01T00:00:00Z"}', "tariffs")) is Taken.NEWS
    assert take(stored, a_change("PUT", (), b'{"last_updated":"2026-01-01T00:00:00Z"}', "tariffs")) is Taken.NEWS
