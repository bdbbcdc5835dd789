"""Pages joined are the whole list once, in order, whatever is written meanwhile (R-165, T-069)."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.ocpi import Overloaded
from hub.database import Database
from hub.mirror import pages
from hub.mirror.pages import Pages
from routing.paging import read_paging
from tests.hubs import settings_for
from tests.shelf import Shelf

VISIBLE = ("BE-BEC", "SE-VOL")
HIDDEN = "NL-ALF"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
Key = tuple[str, str]

_quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
_keys = st.tuples(st.sampled_from([*VISIBLE, HIDDEN]), st.sampled_from([f"L{number}" for number in range(8)]))
_moments = st.integers(0, 9).map(lambda hours: BEGIN + timedelta(hours=hours))
_shared = st.lists(_keys, unique=True, min_size=6, max_size=20)
_writes = st.lists(st.tuples(st.sampled_from(["put", "drop"]), _keys), max_size=6)


class Reading:
    """The mirror of a test, and what reads it."""

    def __init__(self, reader: Pages, shelf: Shelf) -> None:
        self.pages, self.shelf = reader, shelf
        self.moments: dict[Key, datetime] = {}
        """What is in the mirror, oldest first, and when it was received."""
        self._pages = 0

    async def write(self, what: str, key: Key, moment: datetime = BEGIN) -> None:
        """Put or drop one location."""
        if what == "put":
            owner, name = key
            body = {"country_code": owner[:2], "party_id": owner[3:], "id": name}
            await self.shelf.put(owner, body, received_at=moment)
            self.moments[key] = moment
        else:
            await self.shelf.drop(*key)
            self.moments.pop(key, None)

    def expected(self, begin: datetime | None = None, end: datetime | None = None) -> list[Key]:
        """What the whole list is at this moment."""
        return [
            key
            for key, moment in self.moments.items()
            if key[0] != HIDDEN and (begin is None or moment >= begin) and (end is None or moment < end)
        ]

    async def page(self, query: str, platform_id: int = 1) -> tuple[list[Key], int, str | None]:
        """Read one page: its keys, the total, and the next page's query."""
        paging = read_paging(query, 100)
        self._pages += 1
        assert self._pages < 100, "the pages do not come to an end"
        page = await self.pages.page(platform_id, "locations", "", frozenset(VISIBLE), paging)
        found = [orjson.loads(each) for each in page.objects]
        keys = [(f"{each['country_code']}-{each['party_id']}", each["id"]) for each in found]
        last = page.last_position
        return keys, page.total, None if last is None else paging.next_query(len(keys), last)

    async def clear(self) -> None:
        """Begin anew."""
        await self.shelf.clear()
        self.moments.clear()
        self._pages = 0


@pytest.fixture(params=["gathered", "walked"])
async def reading(
    database_url: str, shelf: Shelf, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reading]:
    """A mirror of three owners, read in either way that a page is found."""
    if request.param == "walked":
        monkeypatch.setattr(pages, "_FEW", 0)
    async with Database(settings_for(database_url)) as database:
        yield Reading(Pages(database), shelf)


@_quick
@given(before=_shared, limit=st.integers(1, 3), meanwhile=st.lists(_writes, max_size=8))
async def test_pages_joined_are_the_whole_list_once_also_while_writes_go_on(
    reading: Reading, before: list[Key], limit: int, meanwhile: list[list[tuple[str, Key]]]
) -> None:
    """What was there all the time is there once and in its place; only what was deleted and came back may be twice."""
    await reading.clear()
    for key in before:
        await reading.write("put", key)
    at_first = reading.expected()
    dropped: set[Key] = set()
    seen: list[Key] = []
    query: str | None = f"limit={limit}"
    while query is not None:
        keys, total, query = await reading.page(query)
        assert total == len(reading.expected())
        assert query is None or len(keys) == limit
        seen += keys
        for what, key in meanwhile.pop() if meanwhile else ():
            await reading.write(what, key)
            if what == "drop":
                dropped.add(key)
    stayed = [key for key in at_first if key not in dropped]
    assert [key for key in seen if key in stayed] == stayed
    assert all(key in dropped for key in seen if seen.count(key) > 1)
    assert all(owner != HIDDEN for owner, _ in seen)


@_quick
@given(
    before=st.lists(st.tuples(_keys, _moments), min_size=6, max_size=24),
    limit=st.integers(1, 5),
    begin=st.none() | _moments,
    end=st.none() | _moments,
    by_link=st.booleans(),
)
async def test_pages_of_a_filtered_list_joined_are_what_the_filter_lets_through(
    reading: Reading,
    before: list[tuple[Key, datetime]],
    limit: int,
    begin: datetime | None,
    end: datetime | None,
    by_link: bool,
) -> None:
    """R-174, R-176: date_from inclusive, date_to exclusive; by our Link, or by an offset that the client reckons."""
    await reading.clear()
    for key, moment in before:
        await reading.write("put", key, moment)
    expected = reading.expected(begin, end)
    filters = "".join(
        f"&{name}={moment:%Y-%m-%dT%H:%M:%SZ}" for name, moment in (("date_from", begin), ("date_to", end)) if moment
    )
    seen: list[Key] = []
    query: str | None = f"offset=0&limit={limit}{filters}"
    while query is not None:
        keys, total, query = await reading.page(query)
        seen += keys
        assert total == len(expected)
        if query is not None and not by_link:
            query = f"offset={len(seen)}&limit={limit}{filters}"
    assert seen == expected


async def test_a_page_ends_early_behind_so_many_bytes(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 20_000)
    for number in range(5):
        body = {"country_code": "BE", "party_id": "BEC", "id": f"L{number}", "name": "x" * 9_900}
        await reading.shelf.put("BE-BEC", body)
    lengths = []
    query: str | None = "limit=50"
    while query is not None:
        keys, total, query = await reading.page(query)
        lengths.append(len(keys))
        assert total == 5
    assert lengths == [3, 2]


async def test_changed_evses_count_among_the_bytes_of_a_page(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "PAGE_BYTES", 20_000)
    for number in range(5):
        await reading.shelf.put("BE-BEC", {"country_code": "BE", "party_id": "BEC", "id": f"L{number}", "evses": []})
        for uid in ("E1", "E2"):
            await reading.shelf.put_evse("BE-BEC", f"L{number}", {"uid": uid, "name": "x" * 4_900})
    keys, total, query = await reading.page("limit=50")
    assert (len(keys), total, query is not None) == (3, 5, True)


async def test_nobody_sees_what_was_shared_while_the_page_was_read(reading: Reading) -> None:
    """Not even when everything was visible at the moment when the owners were counted."""
    await reading.write("put", ("BE-BEC", "L1"), BEGIN)
    for number in range(20):
        page, _ = await asyncio.gather(reading.page("limit=100"), reading.write("put", (HIDDEN, f"L{number}"), BEGIN))
        assert page[0] == [("BE-BEC", "L1")]


async def test_who_reads_long_lists_does_not_take_every_connection(
    reading: Reading, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond some pages at a time, a request waits, and is told to try again later."""
    monkeypatch.setattr(pages, "WAIT_SECONDS", 0.05)
    await reading.write("put", ("BE-BEC", "L1"))
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK mirror_count")
        waiting = [asyncio.create_task(reading.page("limit=1", number)) for number in range(pages.PLACES)]
        await asyncio.sleep(0)  # each has begun, and taken its place
        with pytest.raises(Overloaded):
            await reading.page("limit=1", pages.PLACES)
    await other.close()
    assert [page[0] for page in await asyncio.gather(*waiting)] == [[("BE-BEC", "L1")]] * pages.PLACES
    assert (await reading.page("limit=1"))[1] == 1


async def test_who_asks_for_many_pages_at_once_leaves_the_others_their_places(
    reading: Reading, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One platform reads one page at a time; its others wait behind that, and nobody else does."""
    monkeypatch.setattr(pages, "WAIT_SECONDS", 0.05)
    await reading.write("put", ("BE-BEC", "L1"))
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("LOCK mirror_count")
        first, *greedy = [asyncio.create_task(reading.page("limit=1", 1)) for _ in range(2 * pages.PLACES)]
        modest = [asyncio.create_task(reading.page("limit=1", number)) for number in range(2, pages.PLACES + 1)]
        refused = await asyncio.gather(*greedy, return_exceptions=True)
        assert {type(each) for each in refused} == {Overloaded}
    await other.close()
    assert [page[1] for page in await asyncio.gather(first, *modest)] == [1] * pages.PLACES
