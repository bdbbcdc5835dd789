"""Reading the mirror in pages: the whole list once, in order, in the same time wherever the page is."""

import asyncio
from collections.abc import AsyncIterator, Set
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial

from config.ocpi import Overloaded
from hub.database import Database
from hub.mirror.forms import read_body
from parties.store import Connection, queries
from routing.paging import Paging

PAGE_BYTES = 8 * 1024 * 1024
"""A page ends early behind so many bytes: what a page costs in memory does not depend on what owners share."""

PLACES = 4
"""Pages read at a time: whoever reads a long list must not take every connection from those that push. One platform
has one of them at a time, so that the others have theirs in turn."""
WAIT_SECONDS = 5.0
"""How long a request waits for such a place."""

_statements = partial(queries, __package__, "pages.sql")

_FEW = 5_000
"""Up to so many objects are gathered and sorted for each page, which is quicker than walking past all others."""


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a list."""

    objects: list[bytes]
    total: int
    """How many objects the whole list has (R-176)."""
    last_position: int | None
    """Behind which the next page begins; None: there is none."""


@dataclass(frozen=True, slots=True)
class _Slice:
    """Which part of the mirror a list is: the arguments that its statements share."""

    module: str
    addressee: str
    owners: list[str] | None
    """None: everybody's."""
    paging: Paging

    @property
    def arguments(self) -> tuple[object, ...]:
        return (self.module, self.addressee, self.owners, self.paging.date_from, self.paging.date_to)


class Pages:
    """Reads lists and single objects out of the mirror, for GET all."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._places = asyncio.Semaphore(PLACES)
        self._turns: dict[int, asyncio.Lock] = {}
        """Of each platform that has asked."""

    async def page(self, platform_id: int, module: str, addressee: str, visible: Set[str], paging: Paging) -> Page:
        """Give a page of the objects of these owners (folded). Raises DatabaseAway, Overloaded.

        `platform_id` is who asks.
        `addressee` is the folded party that sessions and CDRs are for; empty for what is for the network.
        """
        async with self._place(platform_id), self._database.connection() as connection:
            if not paging.is_filtered:
                counts = await _counts(connection, module, addressee)
                if counts.keys() <= visible:
                    return await _read_page_of_all(connection, module, addressee, visible, paging, sum(counts.values()))
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                # Which index serves depends on the arguments; a plan for just any arguments is right for few of them.
                await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
                return await _read_page(connection, module, addressee, visible, paging)

    async def same_id(self, platform_id: int, module: str, object_key: str, visible: Set[str]) -> list[bytes]:
        """Give the network object with this folded id, or two of those that have it. Raises as `page` does."""
        async with self._place(platform_id), self._database.connection() as connection:
            rows = await connection.fetch(_statements()["same_id"], module, object_key, list(visible))
        return [read_body(row) for row in rows]

    @asynccontextmanager
    async def _place(self, platform_id: int) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(WAIT_SECONDS):
                    await held.enter_async_context(self._turns.setdefault(platform_id, asyncio.Lock()))
                    await held.enter_async_context(self._places)
            except TimeoutError as exc:
                raise Overloaded("Too many lists are being read at this hub; try again shortly.") from exc
            yield


async def _counts(connection: Connection, module: str, addressee: str) -> dict[str, int]:
    """Give how many objects each owner has in the list."""
    return {row["owner"]: row["number"] for row in await connection.fetch(_statements()["counts"], module, addressee)}


async def _read_page_of_all(
    connection: Connection, module: str, addressee: str, visible: Set[str], paging: Paging, total: int
) -> Page:
    """Read a page of a list that leaves nothing out, as most are: one walk along the positions finds its objects."""
    if not total:
        return Page([], 0, None)
    after, offset = paging.start
    rows = await connection.fetch(
        _statements()["page_of_all"], module, addressee, after, offset, paging.limit, PAGE_BYTES
    )
    here = [row for row in rows if row["body"] is not None]
    # An owner may have come since they were counted; nobody sees what is not theirs to see.
    objects = [read_body(row) for row in here if row["owner"] in visible]
    return Page(objects, total, here[-1]["position"] if len(here) < len(rows) else None)


async def _read_page(connection: Connection, module: str, addressee: str, visible: Set[str], paging: Paging) -> Page:
    counts = await _counts(connection, module, addressee)
    owners = sorted(counts.keys() & visible)
    if not owners:
        return Page([], 0, None)
    total = sum(counts[owner] for owner in owners)
    part = _Slice(module, addressee, None if len(owners) == len(counts) else owners, paging)
    if paging.is_filtered:
        total, part = await _filter(connection, part, total)
    positions = await _positions(connection, part, total)
    rows = await connection.fetch(_statements()["objects"], module, addressee, positions[: paging.limit], PAGE_BYTES)
    has_more = len(rows) < len(positions)
    # Were the counts ever wrong, a list would be wrong too, but nobody sees what is not theirs to see.
    objects = [read_body(row) for row in rows if row["owner"] in visible]
    return Page(objects, total, rows[-1]["position"] if rows and has_more else None)


async def _filter(connection: Connection, part: _Slice, unfiltered: int) -> tuple[int, _Slice]:
    """Count what the date filter lets through; give that with the slice, without the filter where that is all."""
    paging = part.paging
    earliest, latest = await connection.fetchrow(_statements()["extremes"], part.module, part.addressee) or (
        None,
        None,
    )
    cuts_head = paging.date_from is not None and (earliest is None or earliest < paging.date_from)
    cuts_tail = paging.date_to is not None and (latest is None or latest >= paging.date_to)
    if not (cuts_head or cuts_tail):
        return unfiltered, replace(part, paging=replace(paging, date_from=None, date_to=None, filters=""))
    total = await connection.fetchval(_statements()["count_filtered"], *part.arguments, _FEW + 1)
    if total > _FEW:
        total = await connection.fetchval(_statements()["count_filtered"], *part.arguments, None)
    return int(total), part


async def _positions(connection: Connection, part: _Slice, total: int) -> list[int]:
    """Give the positions of a page, and one more when there is a next page."""
    paging = part.paging
    is_everything = part.owners is None and not paging.is_filtered
    name = "positions" if is_everything or total > _FEW else "positions_of_few"
    rows = await connection.fetch(_statements()[name], *part.arguments, *paging.start, paging.limit + 1)
    return [row["position"] for row in rows]
