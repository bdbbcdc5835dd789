"""Which lists are read, from when on, and which page comes next: decisions without a network."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parties.model import Platform, Switches
from parties.pulls import Pull
from parties.tokens import Secret
from routing.pulling import (
    OVERLAP,
    SenderList,
    Unreadable,
    Walk,
    first_date,
    first_url,
    is_due,
    is_pulled,
    lists_of,
    may_resume,
    next_date,
    next_page,
    read_retry_after,
    read_total,
    reads_whole,
    seconds_to_next_round,
    seconds_to_retry,
)
from tests.routing.cast import a_platform, party

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ENDPOINT = "https://p1.test/ocpi/sender/locations"
LOCATIONS = SenderList(party("BE-BEC"), "locations", ENDPOINT)


def keeps(_: str) -> bool:
    return True


def names(platform: Platform, keeps: Any = keeps) -> list[str]:
    return [str(listed) for listed in lists_of(platform, keeps)]


# Which lists, and when


def test_of_each_party_the_lists_that_its_roles_host_are_read() -> None:
    assert names(a_platform("BE-BEC:CPO")) == [
        f"{module} of BE-BEC" for module in ("locations", "tariffs", "sessions", "cdrs")
    ]
    assert names(a_platform("DE-TNM:EMSP", "DE-MSP:EMSP")) == ["tokens of DE-TNM", "tokens of DE-MSP"]
    assert names(a_platform("NL-ALF:CPO", "DE-TNM:EMSP"))[2] == "tokens of DE-TNM"
    assert names(a_platform("FR-NAV:NSP")) == []


def test_a_list_that_is_not_published_or_not_kept_is_not_read() -> None:
    assert names(a_platform("BE-BEC:CPO", serves=["tariffs SENDER", "locations RECEIVER"])) == ["tariffs of BE-BEC"]
    assert names(a_platform(serves=["tariffs SENDER", "cdrs SENDER"]), lambda module: module != "cdrs") == [
        "tariffs of BE-BEC"
    ]


@pytest.mark.parametrize("state", ["suspended", "invited", "dropped"])
def test_a_party_that_takes_no_part_is_not_asked(state: str) -> None:
    assert names(a_platform(f"BE-BEC:CPO/{state}", "DE-TNM:EMSP")) == ["tokens of DE-TNM"]
    assert names(a_platform(f"BE-BEC:CPO/{state}", "BE-BEC:EMSP")) == ["tokens of BE-BEC"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"is_online": False}, False),
        ({"state": "unregistered"}, False),
        ({"state": "planned"}, False),
        ({"switches": Switches(pull=False)}, False),
        ({"token": None}, False),
    ],
)
def test_only_who_is_connected_and_not_switched_off_is_read(fields: dict[str, Any], expected: bool) -> None:
    assert is_pulled(a_platform(**{"token": Secret("t")} | fields)) is expected


def test_a_list_is_due_at_first_when_its_time_has_come_and_when_the_party_is_back() -> None:
    platform = a_platform(status_changed_at=NOW)
    assert is_due(Pull(), platform, LOCATIONS)
    assert is_due(Pull(tried_at=NOW + timedelta(hours=1), due_in=0), platform, LOCATIONS)
    assert not is_due(Pull(tried_at=NOW + timedelta(hours=1), due_in=5), platform, LOCATIONS)
    assert is_due(Pull(tried_at=NOW - timedelta(hours=1), due_in=5), platform, LOCATIONS)


def test_an_interrupted_round_goes_on_at_its_page_unless_the_platform_has_moved() -> None:
    platform = a_platform()
    assert may_resume(Pull(next_url=f"{ENDPOINT}?offset=50"), platform)
    assert not may_resume(Pull(), platform)
    assert not may_resume(Pull(next_url="https://elsewhere.test/locations?offset=50"), platform)
    assert not may_resume(Pull(next_url="nonsense"), platform)


# From when on


@pytest.mark.parametrize(
    ("module", "pull", "expected"),
    [
        ("locations", Pull(), True),
        ("locations", Pull(date_from=NOW, whole_at=NOW - timedelta(hours=23)), False),
        ("locations", Pull(date_from=NOW, whole_at=NOW - timedelta(hours=24)), True),
        ("tokens", Pull(date_from=NOW, whole_at=NOW, is_whole=True), True),  # begun, and to be begun anew
        ("tariffs", Pull(whole_at=NOW), True),  # there was nothing in it yet
        ("sessions", Pull(), False),
        ("cdrs", Pull(date_from=NOW, whole_at=NOW - timedelta(days=9)), False),
    ],
)
def test_the_whole_list_is_read_at_first_and_once_a_day(module: str, pull: Pull, expected: bool) -> None:
    """R-162, T-067: what is missing from it is no longer valid."""
    assert reads_whole(module, pull, NOW) is expected


@pytest.mark.parametrize(
    ("module", "days", "expected"),
    [
        ("locations", None, None),
        ("tokens", 5, None),
        ("sessions", 30, NOW - timedelta(days=30)),
        ("sessions", None, NOW - timedelta(days=365)),
        ("cdrs", 90, NOW - timedelta(days=90)),
        ("cdrs", None, None),
    ],
)
def test_the_first_round_asks_for_all_but_of_sessions_and_cdrs_for_what_is_kept(
    module: str, days: int | None, expected: datetime | None
) -> None:
    assert first_date(module, None, days, NOW) == expected
    assert first_date(module, NOW, days, NOW) == NOW


def test_the_next_round_asks_from_the_latest_object_on_with_some_overlap() -> None:
    highest, started, before = NOW - timedelta(hours=5), NOW, NOW - timedelta(days=1)
    assert next_date(before, 3, highest, started) == highest - OVERLAP
    assert next_date(None, 3, None, started) == started - OVERLAP
    assert next_date(None, 3, NOW + timedelta(hours=2), started) == started - OVERLAP  # local time, said to be UTC
    assert next_date(before, 0, None, started) == before
    assert next_date(None, 0, None, started) is None


def test_the_first_page_is_asked_for_with_limit_and_date_from() -> None:
    assert first_url(LOCATIONS, None, 100) == f"{ENDPOINT}?limit=100"
    assert first_url(LOCATIONS, NOW, 100) == f"{ENDPOINT}?date_from=2026-05-01T12:00:00.000Z&limit=100"
    odd = SenderList(party("BE-BEC"), "locations", f"{ENDPOINT}?tenant=7")
    assert first_url(odd, None, 10) == f"{ENDPOINT}?tenant=7&limit=10"


# Which page is next


ASKED = f"{ENDPOINT}?date_from=2026-05-01T12:00:00.000Z&limit=100"
KEPT = "date_from=2026-05-01T12:00:00.000Z"

LINKS = {
    "as OCPI says": (f'<{ENDPOINT}?offset=100&limit=100>; rel="next"', f"{ENDPOINT}?{KEPT}&offset=100&limit=100"),
    "wrong path, wrong filters (QUIRKS 4)": (
        '<https://p1.test/ocpi/cpo/VersionNumber.v_2_2_1/x/?date_from=None&offset=3&limit=3>; rel="next"',
        f"{ENDPOINT}?{KEPT}&offset=3&limit=3",
    ),
    "the host inside its network": (
        '<http://10.0.0.5:8000/locations?offset=100&limit=100>; rel="next"',
        f"{ENDPOINT}?{KEPT}&offset=100&limit=100",
    ),
    "a foreign host with a cursor": (
        '<https://evil.test/x?cursor=abc&date_from=1>; rel="next"',
        f"{ENDPOINT}?{KEPT}&cursor=abc&limit=100",
    ),
    "relative": ('<?offset=100>; rel="next"', f"{ENDPOINT}?{KEPT}&offset=100&limit=100"),
    "a cursor in the path": (
        '<https://p1.test/ocpi/pages/77>; rel="next"',
        f"https://p1.test:443/ocpi/pages/77?{KEPT}&limit=100",
    ),
}


@pytest.mark.parametrize(("link", "expected"), LINKS.values(), ids=LINKS)
def test_of_a_link_only_the_place_in_the_list_is_taken(link: str, expected: str) -> None:
    assert next_page(ASKED, link, None, 100, LOCATIONS, a_platform(), linked=False) == (expected, True)


@pytest.mark.parametrize("link", ["", " ", "<x>; rel=first"])
def test_an_empty_link_ends_the_list(link: str) -> None:  # QUIRKS 5, 6
    assert next_page(ASKED, link, None, 100, LOCATIONS, a_platform(), linked=False) == (None, False)
    assert next_page(ASKED, link, 100, 100, LOCATIONS, a_platform(), linked=False) == (None, False)


def test_without_links_pages_are_counted_as_far_as_the_total_goes() -> None:
    second = f"{ENDPOINT}?{KEPT}&offset=50&limit=100"
    third = f"{ENDPOINT}?{KEPT}&offset=100&limit=100"
    assert next_page(ASKED, "", 120, 50, LOCATIONS, a_platform(), linked=False) == (second, False)
    assert next_page(second, "", 120, 50, LOCATIONS, a_platform(), linked=False) == (third, False)
    assert next_page(third, "", 120, 20, LOCATIONS, a_platform(), linked=False) == (None, False)
    assert next_page(third, "", 120, 0, LOCATIONS, a_platform(), linked=False) == (None, False)


def test_a_total_that_is_too_high_does_not_prolong_a_list_that_has_links() -> None:
    assert next_page(ASKED, "", 1000, 20, LOCATIONS, a_platform(), linked=True) == (None, False)


def test_a_link_that_leads_nowhere_is_a_problem_unless_the_total_tells() -> None:
    link = f'<{ENDPOINT}>; rel="next"'
    with pytest.raises(Unreadable, match="leads nowhere"):
        next_page(ASKED, link, None, 100, LOCATIONS, a_platform(), linked=False)
    url, _ = next_page(ASKED, link, 120, 100, LOCATIONS, a_platform(), linked=False)
    assert url == f"{ENDPOINT}?{KEPT}&offset=100&limit=100"


def test_the_endpoints_own_query_is_there_once() -> None:
    odd = SenderList(party("BE-BEC"), "locations", f"{ENDPOINT}?tenant=7")
    asked = first_url(odd, NOW, 50)
    url, _ = next_page(asked, f'<{ENDPOINT}?tenant=7&offset=50>; rel="next"', None, 50, odd, a_platform(), linked=False)
    assert url == f"{ENDPOINT}?tenant=7&{KEPT}&offset=50&limit=50"


@given(total=st.integers(0, 500), size=st.integers(1, 60))
def test_pages_counted_by_offset_are_the_whole_list_once(total: int, size: int) -> None:
    whole, read, url = list(range(total)), [], first_url(LOCATIONS, None, size)
    following: str | None = url
    while following is not None:
        query = parse_qs(urlsplit(following).query)
        offset = int(query.get("offset", ["0"])[0])
        page = whole[offset : offset + size]
        read += page
        following, _ = next_page(following, "", total, len(page), LOCATIONS, a_platform(), linked=False)
    assert read == whole


# A list without an end


def page(*numbers: int) -> list[bytes]:
    return [str(number).encode() for number in numbers]


def test_a_link_to_a_page_already_read_is_noticed() -> None:
    walk = Walk()
    walk.step("/1", page(1), "/2")
    walk.step("/2", page(2), "/3")
    with pytest.raises(Unreadable, match="gave before"):
        walk.step("/3", page(3), "/2")
    with pytest.raises(Unreadable, match="gave before"):
        Walk().step("/1", page(1), "/1")


@pytest.mark.parametrize("repeated", [page(1, 2), []])
def test_pages_without_anything_new_are_noticed(repeated: list[bytes]) -> None:
    walk = Walk()
    walk.step("/0", page(1, 2), "/1")
    walk.step("/1", repeated, "/2")
    walk.step("/2", repeated, "/3")
    with pytest.raises(Unreadable, match="no object"):
        walk.step("/3", repeated, "/4")


def test_the_last_page_may_be_like_the_one_before() -> None:
    walk = Walk()
    for number in range(10):
        walk.step(f"/{number}", page(number), f"/{number + 1}")
    walk.step("/10", page(9), None)
    assert walk.pages == 11


def test_a_list_of_too_many_pages_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("routing.pulling.PAGES_MAX", 5)
    walk = Walk()
    for number in range(4):
        walk.step(f"/{number}", page(number), f"/{number + 1}")
    with pytest.raises(Unreadable, match="more than 5 pages"):
        walk.step("/4", page(4), "/5")


# Headers, and how long to wait


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999999999", 3600.0),
        ("Fri, 01 May 2026 12:01:00 GMT", 60.0),
        ("Fri, 01 May 2026 11:00:00 GMT", 0.0),
        ("Sat, 02 May 2026 12:00:00 GMT", 3600.0),
        ("", None),
        (None, None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Fri, 99 May 2026 12:01:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_an_hour_at_most(value: str | None, expected: float | None) -> None:
    assert read_retry_after(value, NOW) == expected


@pytest.mark.parametrize(("value", "expected"), [("12", 12), (" 12", 12), ("-1", None), ("x", None), (None, None)])
def test_a_total_is_a_number_or_nothing(value: str | None, expected: int | None) -> None:
    assert read_total(value) == expected


def test_rounds_spread_and_tries_come_later_and_later_up_to_the_interval() -> None:
    assert seconds_to_next_round(3600, 0.0) == pytest.approx(3240)
    assert seconds_to_next_round(3600, 1.0) == pytest.approx(3960)
    waits = [seconds_to_retry(failures, 3600, 0.5) for failures in (1, 2, 3, 4, 30)]
    assert waits == pytest.approx([5, 10, 20, 40, 3600])
    assert seconds_to_retry(1, 0.5, 0.5) == pytest.approx(0.5)


def test_a_round_of_objects_from_the_year_one_is_followed_by_another() -> None:
    """.NET's DateTime.MinValue."""
    started = datetime(2026, 5, 1, tzinfo=UTC)
    after = next_date(None, 3, datetime(1, 1, 1, tzinfo=UTC), started)
    assert after is not None
    assert after < started
