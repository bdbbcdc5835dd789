"""How far the hub has come in reading each Sender list of its members, as the database keeps it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from parties.store import Connection, queries

ListKey = tuple[str, str]
"""A party, folded, and a module."""


@dataclass(frozen=True, slots=True)
class Pull:
    """One list, and how far it was read."""

    date_from: datetime | None = None
    """What the next round asks for; None: what a first one does."""
    next_url: str | None = None
    """The page to go on with, of a round that is not finished."""
    objects: int = 0
    """Read in this round so far, those left out included."""
    total: int | None = None
    """What X-Total-Count said."""
    highest: datetime | None = None
    """The latest last_updated of this round so far."""
    started_at: datetime | None = None
    """When this round began."""
    tried_at: datetime | None = None
    """When it was last begun or resumed."""
    finished_at: datetime | None = None
    """When a round was last finished."""
    due_at: datetime | None = None
    failures: int = 0
    """In a row."""
    problem: str | None = None
    """Why the latest try failed, for the operator."""
    is_whole: bool = False
    """Whether this round reads the whole list, and what it does not find is gone."""
    whole_at: datetime | None = None
    """When such a round was last begun."""
    seen_from: datetime | None = None
    """When the last such round that was finished had begun: what was in the list then was noted since."""
    due_in: float = 0.0
    """Seconds from its reading to when it is due."""

    @property
    def state(self) -> str:
        """What an operator is told: waiting, reading, done or failed."""
        if self.problem is not None:
            return "failed"
        if self.next_url is not None:
            return "reading"
        return "done" if self.finished_at is not None else "waiting"


async def read_pulls(connection: Connection, platform_id: int) -> dict[ListKey, Pull]:
    """Give how far each list of a platform was read."""
    rows = await connection.fetch(queries()["pulls"], platform_id)
    return {(row["party"], row["module"]): _pull(row) for row in rows}


async def begin_pull(connection: Connection, platform_id: int, key: ListKey, first_url: str, *, is_whole: bool) -> Pull:
    """Begin a round, and give it."""
    row = await connection.fetchrow(queries()["begin_pull"], platform_id, *key, first_url, is_whole)
    assert row is not None
    return _pull(row)


async def resume_pull(connection: Connection, platform_id: int, key: ListKey) -> None:
    """Note that a round is tried again."""
    await connection.execute(queries()["resume_pull"], platform_id, *key)


async def save_page(connection: Connection, platform_id: int, key: ListKey, pull: Pull) -> None:
    """Keep how far a round has come, so that whoever goes on with it does so from there."""
    await connection.execute(
        queries()["save_page"],
        platform_id,
        *key,
        pull.next_url,
        pull.objects,
        pull.total,
        pull.highest,
        pull.failures,
        pull.is_whole,
    )


async def finish_pull(connection: Connection, platform_id: int, key: ListKey, pull: Pull, seconds: float) -> None:
    """Keep that a round is finished, and in how many seconds the next one is due."""
    await connection.execute(
        queries()["finish_pull"],
        platform_id,
        *key,
        pull.objects,
        pull.total,
        pull.highest,
        pull.date_from,
        pull.is_whole,
        seconds,
    )


async def fail_pull(connection: Connection, platform_id: int, key: ListKey, pull: Pull, seconds: float) -> None:
    """Keep why a round cannot go on, and in how many seconds it is tried again."""
    await connection.execute(
        queries()["fail_pull"], platform_id, *key, pull.next_url, pull.failures, pull.problem, seconds
    )


def _pull(row: "asyncpg.Record | Mapping[str, object]") -> Pull:
    return Pull(**{name: row[name] for name in Pull.__dataclass_fields__})  # type: ignore[arg-type]
