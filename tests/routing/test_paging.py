"""What a request for a page says, and that what cannot be read is named."""

from datetime import UTC, datetime

import pytest

from config.ocpi import InvalidParameters
from routing.paging import read_paging

NOON = datetime(2019, 1, 28, 12, tzinfo=UTC)


def test_without_parameters_the_first_page_is_meant() -> None:
    """R-173: offset is 0, and the limit is the server's."""
    paging = read_paging("", 100)
    assert (paging.offset, paging.limit, paging.after, paging.date_from, paging.date_to) == (0, 100, None, None, None)


@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("100", 100), ("101", 100), ("999999999999999999", 100)])
def test_a_page_has_no_more_than_the_server_gives(asked: str, given: int) -> None:
    """R-177, R-178."""
    assert read_paging(f"limit={asked}", 100).limit == given


@pytest.mark.parametrize(
    "text",
    [
        "2019-01-28T12:00:00Z",
        "2019-01-28T12:00:00",
        "2019-01-28T12%3A00%3A00.000Z",
        "2019-01-28T12:00:00.0000000Z",
        "2019-01-28T13:00:00%2B01:00",
    ],
)
def test_a_time_without_a_zone_is_utc(text: str) -> None:
    """T-043."""
    assert read_paging(f"date_from={text}", 100).date_from == NOON
    assert read_paging(f"date_to={text}", 100).date_to == NOON


UNREADABLE = [
    ("offset", "-1"),
    ("offset", "1.0"),
    ("offset", ""),
    ("offset", "%D9%A1"),  # a digit, but no ASCII one
    ("offset", "9" * 19),
    ("limit", "0"),
    ("limit", "many"),
    ("after", "LOC1"),
    ("date_from", "2019-01-28T12:00:00+00:00"),  # T-043: this plus is a blank
    ("date_from", "2019-01-28"),
    ("date_from", "2019-02-30T12:00:00Z"),
    ("date_from", "0001-01-01T00:00:00%2B01:00"),
    ("date_to", "0000-01-01T00:00:00Z"),
    ("date_to", "1548676800"),
    ("date_to", ""),
    ("date_to", "%FF"),
]


@pytest.mark.parametrize(("name", "value"), UNREADABLE)
def test_what_cannot_be_read_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidParameters, match=rf"^{name} "):
        read_paging(f"limit=5&{name}={value}" if name != "limit" else f"limit={value}", 100)


def test_a_parameter_with_two_values_is_refused_and_one_twice_the_same_is_not() -> None:
    with pytest.raises(InvalidParameters, match=r"^limit is there more than once"):
        read_paging("limit=5&limit=6", 100)
    assert read_paging("limit=5&limit=5&unknown=%00", 100).limit == 5


def test_the_next_page_repeats_the_filters_and_goes_on_behind_a_position() -> None:
    """R-175, R-179."""
    query = read_paging(
        "date_to=2020-01-01T00%3A00%3A00Z&limit=2&date_from=2019-01-28T13:00:00%2B01:00", 100
    ).next_query(2, 71)
    assert query == "offset=2&limit=2&date_from=2019-01-28T13:00:00%2B01:00&date_to=2020-01-01T00:00:00Z&after=71"
    following = read_paging(query, 100)
    assert (following.offset, following.limit, following.after, following.date_from) == (2, 2, 71, NOON)
    assert following.next_query(2, 80).startswith("offset=4&limit=2&")
    assert read_paging("", 100).next_query(7) == "offset=7&limit=100"
