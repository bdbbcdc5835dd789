"""Taking in what owners share, and telling what is known of it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg
import structlog

from config.ocpi import InvalidParameters, OCPIError, ServerError
from config.settings import Settings
from hub.database import Database, DatabaseAway
from hub.mirror.forms import (
    BroadcastDraft,
    BroadcastRow,
    Current,
    Known,
    read_broadcast,
    read_current,
    read_known,
)
from hub.mirror.intake import BATCH, Arrival, Outcome, put_again, store_batch
from hub.mirror.retention import forget_broadcasts, forget_gone, forget_objects
from parties.store import queries
from routing.objects import Change, ObjectKey, Push, read_push
from routing.stored import Taken, as_index, last_puts

log = structlog.get_logger()

WAIT_SECONDS = 10
"""How long anybody waits for the database."""
CLOSE_SECONDS = 2
FLUSH_SECONDS = 0.1
AWAY_SECONDS = 1
READ_AT = 100
READ_AT_BYTES = 1024 * 1024
"""How much of what was pushed to single parties is put aside before it is read, half a millisecond's work."""
PENDING_MAX = 50_000
PENDING_BYTES_MAX = 64 * 1024 * 1024
"""How much of what was pushed to single parties waits for the database; beyond, the oldest is dropped."""
OBJECT_BODIES = 8
"""How many times `shared_body` an object may have with its parts: it grows with each push of an EVSE, and is read
whole by whoever lists it."""
BROADCAST_TIDY_SECONDS = 60
RETENTION_TIDY_SECONDS = 3600
AGAIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class _Waiting:
    arrival: Arrival
    stored: "asyncio.Future[BroadcastRow]"


class Mirror:
    """The hub's copy of client owned objects."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._max_bytes = OBJECT_BODIES * settings.shared_body
        self._left_out = frozenset(module for module, days in settings.retention.items() if not days)
        self.on_missing: Callable[[Change], None] = lambda change: None
        """Told of a PATCH, or of a part, whose object is not here, so that it can be fetched once. Must not raise."""
        self.dropped = 0
        """Addressed pushes that were not taken in: the database was away for too long, or would not have them."""
        self.listed: dict[str, int] = {}
        """How many objects of each module lists can show, at the last count."""
        self._broadcasts: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._unread: list[Push] = []
        self._unread_bytes = 0
        self._pending: deque[Change] = deque()
        self._pending_bytes = 0
        self._is_pending = asyncio.Event()
        self._is_batch = asyncio.Event()
        self._flushing = asyncio.Lock()
        self._taken = self._done = 0

    @property
    def pending(self) -> int:
        """Addressed pushes that are not stored yet."""
        return self._taken - self._done

    def keeps(self, module: str) -> bool:
        """Whether the mirror keeps this module at all (`retention`)."""
        return module not in self._left_out

    async def take_broadcast(self, change: Change, draft: BroadcastDraft) -> BroadcastRow:
        """Store a broadcast and what it changes in one transaction. Raises DatabaseAway, ServerError, and
        InvalidParameters when it would make its object too large.

        Those that come while a transaction is under way share the next one.
        """
        waiting = _Waiting(
            Arrival(change, draft, is_kept=self.keeps(change.key.module)), asyncio.get_running_loop().create_future()
        )
        self._broadcasts.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write_broadcasts())
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                return await waiting.stored
        except TimeoutError as exc:
            raise DatabaseAway from exc

    def take_addressed(self, push: Push) -> None:
        """Take in what one party sent another, a little later; never waits, never raises."""
        if push.flow.operation.module in self._left_out:
            return
        self._unread.append(push)
        self._unread_bytes += len(push.body)
        self._taken += 1
        if len(self._unread) >= READ_AT or self._unread_bytes >= READ_AT_BYTES:
            self._read()
        self._is_pending.set()

    async def take_pulled(self, changes: Sequence[Change], *, is_whole: bool = False) -> int:
        """Store objects that were read from a Sender list; give how many were news. Raises DatabaseAway.

        `is_whole`: the whole list is read, so that they are in it is noted for `forget_gone`.
        """
        news = 0
        arrivals = [
            Arrival(change, is_pulled=True, is_checked=is_whole) for change in changes if self.keeps(change.key.module)
        ]
        for start in range(0, len(arrivals), BATCH):
            for outcome in await self._store(arrivals[start : start + BATCH]):
                news += isinstance(outcome, Outcome) and outcome.taken in (Taken.NEWS, Taken.INDEXED)
        return news

    async def forget_gone(self, platform_id: int, module: str, owner: str, since: datetime) -> int:
        """Forget what this platform's whole list of an owner (folded) did not have since then; give how many.

        What was ever broadcast stays: its owner can say itself that it is gone. Raises DatabaseAway.
        """
        return await forget_gone(self._database, platform_id, module, owner, since)

    async def settled(self) -> None:
        """Wait until everything taken in so far is stored. Raises DatabaseAway."""
        until = self._taken
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                while self._done < until:
                    async with self._flushing:
                        if self._done < until:
                            await self._flush()
        except TimeoutError as exc:
            raise DatabaseAway from exc

    async def current(self, key: ObjectKey) -> Current | None:
        """Give a network object as it is now; None when nothing was ever known of it. Raises DatabaseAway."""
        rows = await self._fetch("current", key.module, key.owner, key.object_key, key.addressee)
        return read_current(rows[0]) if rows else None

    async def changed_since(self, after: int, limit: int) -> list[Current]:
        """Give network objects whose last broadcast comes after this one, in that order. Raises DatabaseAway."""
        return [read_current(row) for row in await self._fetch("changed_since", after, limit)]

    async def broadcasts_after(self, after: int, limit: int, known: Sequence[int]) -> list[BroadcastRow]:
        """Give accepted broadcasts after this one, in order, but for those known already. Raises DatabaseAway."""
        return [read_broadcast(row) for row in await self._fetch("broadcasts_after", after, limit, list(known))]

    async def incomplete_between(self, after: int, until: int, limit: int) -> list[BroadcastRow]:
        """Give accepted broadcasts that no object here contains, in order. Raises DatabaseAway."""
        return [read_broadcast(row) for row in await self._fetch("incomplete_between", after, until, limit)]

    async def last_broadcast(self) -> int:
        """Give the id of the last accepted broadcast, 0 before the first. Raises DatabaseAway."""
        return int((await self._fetch("last_broadcast"))[0][0])

    async def known(self, module: str, object_key: str) -> list[Known]:
        """Give every object of this id: one per owner (and addressee), the one last heard of first.

        Raises DatabaseAway.
        """
        await self.settled()
        return [read_known(row) for row in await self._fetch("known", module, object_key, datetime.now(UTC))]

    async def count_listed(self) -> None:
        """Count anew what lists can show, of all owners together. Raises DatabaseAway."""
        self.listed = {row["module"]: row["number"] for row in await self._fetch("listed_objects")}

    async def run(self) -> None:
        """Store what was taken in write-behind, and forget what is past its retention, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._flush_always())
            group.create_task(self._tidy("broadcasts", BROADCAST_TIDY_SECONDS))
            group.create_task(self._tidy("objects", RETENTION_TIDY_SECONDS))

    async def close(self) -> None:
        """Store what is still waiting."""
        with suppress(DatabaseAway, TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                if self._writing is not None:
                    await asyncio.wait((self._writing,))
                await self.settled()
        if self._writing is not None and not self._writing.done():
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        if self.pending:
            log.warning("pushes could not be taken into the mirror", action="mirror_lost", number=self.pending)

    async def _fetch(self, name: str, *arguments: object) -> list[asyncpg.Record]:
        async with self._database.connection() as connection:
            return await connection.fetch(queries(__package__)[name], *arguments)

    async def _write_broadcasts(self) -> None:
        while self._broadcasts:
            batch: list[_Waiting] = []
            while self._broadcasts and len(batch) < BATCH:
                waiting = self._broadcasts.popleft()
                if not waiting.stored.done():  # whoever gave up is told nothing, so it is not sent either
                    batch.append(waiting)
            if not batch:
                continue
            try:
                outcomes = await self._store_half([waiting.arrival for waiting in batch])
            except BaseException:
                for waiting in batch:
                    if not waiting.stored.done():
                        waiting.stored.set_exception(DatabaseAway())
                raise
            for waiting, outcome in zip(batch, outcomes, strict=True):
                if waiting.stored.done():
                    continue
                if isinstance(outcome, Exception):
                    waiting.stored.set_exception(outcome)
                else:
                    assert outcome.broadcast is not None
                    waiting.stored.set_result(outcome.broadcast)

    async def _store(self, arrivals: Sequence[Arrival]) -> list[Outcome | Exception]:
        """Store a batch in one transaction; where something in it cannot be stored, all but that.

        Raises DatabaseAway, and then nothing is stored.
        """
        try:
            async with (
                asyncio.timeout(WAIT_SECONDS),
                self._database.connection() as connection,
                connection.transaction(),
            ):
                outcomes = await store_batch(connection, arrivals, self._max_bytes)
        except TimeoutError as exc:
            raise DatabaseAway from exc
        except DatabaseAway:
            raise
        except Exception as exc:  # whatever it is, the others in the batch shall not suffer
            if len(arrivals) > 1:
                half = len(arrivals) // 2
                return [*await self._store_half(arrivals[:half]), *await self._store_half(arrivals[half:])]
            module = arrivals[0].change.key.module
            log.error(
                "a push cannot be stored",
                action="not_mirrored",
                module=module,
                reason=type(exc).__name__,
                exc_info=not isinstance(exc, asyncpg.PostgresError),  # PostgreSQL's words quote what was to be stored
            )
            return [ServerError("The hub could not store this.")]
        for arrival, outcome in zip(arrivals, outcomes, strict=True):
            if outcome.taken is Taken.MISSING:
                self.on_missing(arrival.change)
        return [self._too_large() if each.taken is Taken.TOO_LARGE else each for each in outcomes]

    def _too_large(self) -> OCPIError:
        return InvalidParameters(f"With this, the object would have more than {self._max_bytes} bytes at this hub.")

    async def _store_half(self, arrivals: Sequence[Arrival]) -> list[Outcome | Exception]:
        try:
            return await self._store(arrivals)
        except DatabaseAway:
            return [DatabaseAway() for _ in arrivals]

    def _read(self) -> None:
        """Understand what was put aside, and let it wait for the database, the oldest no longer than there is room."""
        pushes, self._unread, self._unread_bytes = self._unread, [], 0
        for push in pushes:
            try:
                change = read_push(push)
                if change.keeps != "object":
                    change = as_index(change)
            except OCPIError as exc:
                log.debug("a push is not one that the mirror understands", action="not_mirrored", reason=exc.message)
                self._done += 1
                continue
            except Exception:  # whatever it is, the others shall not suffer
                log.exception("a push cannot be read", action="not_mirrored", module=push.flow.operation.module)
                self._done += 1
                self.dropped += 1
                continue
            if not self.keeps(change.key.module):
                self._done += 1
                continue
            self._pending.append(change)
            self._pending_bytes += len(change.body)
        while len(self._pending) > PENDING_MAX or self._pending_bytes > PENDING_BYTES_MAX:
            self._pending_bytes -= len(self._pending.popleft().body)
            self._done += 1
            self.dropped += 1
        if len(self._pending) >= BATCH:
            self._is_batch.set()

    async def _flush(self) -> None:
        """Store the oldest pending batch; what of it cannot be stored now stays pending. Raises DatabaseAway."""
        self._read()
        batch = [self._pending.popleft() for _ in range(min(BATCH, len(self._pending)))]
        self._pending_bytes -= sum([len(change.body) for change in batch])
        waiting = batch
        try:
            again, others = last_puts(batch, self._max_bytes)
            waiting = [*await self._put_again(list(again.values())), *others]
            outcomes = await self._store([Arrival(change) for change in waiting]) if waiting else []
        except BaseException:
            self._put_back(batch, waiting)
            raise
        away = [change for change, outcome in zip(waiting, outcomes, strict=True) if isinstance(outcome, DatabaseAway)]
        self.dropped += sum(isinstance(outcome, Exception) for outcome in outcomes) - len(away)
        self._put_back(batch, away)

    def _put_back(self, batch: Sequence[Change], waiting: Sequence[Change]) -> None:
        """Let these of a batch wait further, before what came later; the others are done with."""
        self._pending.extendleft(reversed(waiting))
        self._pending_bytes += sum([len(change.body) for change in waiting])
        self._done += len(batch) - len(waiting)

    async def _put_again(self, changes: Sequence[Change]) -> Sequence[Change]:
        """Store what can be without a look at what is here; give the rest. Raises DatabaseAway: nothing is stored."""
        if not changes:
            return ()
        try:
            async with asyncio.timeout(WAIT_SECONDS), self._database.connection() as connection:
                return await put_again(connection, changes)
        except TimeoutError as exc:
            raise DatabaseAway from exc
        except asyncpg.PostgresError:  # something in it, which `_store` will find
            return changes

    async def _flush_always(self) -> None:
        is_away = False
        while True:
            await self._is_pending.wait()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._is_batch.wait(), FLUSH_SECONDS)
            self._is_pending.clear()
            self._is_batch.clear()
            try:
                await self.settled()
                is_away = False
            except DatabaseAway:
                if not is_away:
                    log.warning("what is pushed waits for the database", action="mirror_waits")
                is_away = True
                self._is_pending.set()
                await asyncio.sleep(AWAY_SECONDS)

    async def _tidy(self, what: str, seconds: float) -> None:
        while True:
            pause = seconds
            try:
                now = datetime.now(UTC)
                if what == "broadcasts":
                    number = await forget_broadcasts(self._database, now)
                    await self.count_listed()
                else:
                    number = await forget_objects(self._database, self._settings.retention, now)
                if number:
                    log.info("the mirror has forgotten what is old", action="forgotten", what=what, number=number)
            except (DatabaseAway, asyncpg.PostgresError) as exc:
                log.warning("the mirror could not be tidied", action="not_tidied", reason=type(exc).__name__)
                pause = min(seconds, AGAIN_SECONDS)
            await asyncio.sleep(pause)
