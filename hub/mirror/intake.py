"""Taking a batch of changes in, within one transaction.

Whoever changes an object holds its lock until the commit, so that it changes in the order in which broadcasts of it
are committed. After merging, one lock for all is held from the first id to the commit, so that ids and positions are
seen in ascending order, whichever hub gave them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from hub.mirror.forms import BroadcastDraft, BroadcastRow, columns, lock_number, make_broadcast
from parties.store import Connection, queries
from routing.objects import Change, ObjectKey
from routing.stored import Stored, Taken, needs_body, take

BATCH = 400
"""Changes in one transaction at most: the commit's wait for the disk is shared, and nobody waits long for a lock."""

_EPOCH, _MICROSECOND = datetime(1970, 1, 1, tzinfo=UTC), timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One change on its way in."""

    change: Change
    draft: BroadcastDraft | None = None
    """Of a broadcast; None for all that is not to be delivered."""
    is_pulled: bool = False
    is_checked: bool = False
    """Whether to note that the object is still in its owner's list, also where nothing is new."""
    is_kept: bool = True
    """False for a module that the mirror leaves out: of a broadcast only its row is stored."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has become of one arrival."""

    taken: Taken | None
    """None where nothing was to be kept."""
    broadcast: BroadcastRow | None
    """None where nothing is to be delivered, be it that the change is no broadcast or that it is TOO_LARGE."""


async def store_batch(connection: Connection, arrivals: Sequence[Arrival], max_bytes: int) -> list[Outcome]:
    """Take these in, in their order, but for what would make an object larger than `max_bytes` with its parts.

    The caller has opened the transaction and commits it.
    """
    kept = [arrival for arrival in arrivals if arrival.is_kept]
    objects = await _read(connection, kept)
    listed_before = {key for key, stored in objects.items() if stored.is_listed}
    steps: list[tuple[Taken | None, bool]] = []
    for arrival in arrivals:
        stored = objects.get(arrival.change.key)
        if stored is None or not arrival.is_kept:
            steps.append((None, False))
            continue
        taken = take(stored, arrival.change, is_pulled=arrival.is_pulled, max_bytes=max_bytes)
        steps.append((taken, (stored.has_body or stored.deleted) and taken is not Taken.MISSING))
    drafted = sum(
        arrival.draft is not None and what is not Taken.TOO_LARGE
        for arrival, (what, _) in zip(arrivals, steps, strict=True)
    )
    numbers: Iterator[int] = iter(())
    if drafted or any(stored.is_listed != (key in listed_before) for key, stored in objects.items()):
        rows = await connection.fetch(queries(__package__)["take_order"], drafted)
        numbers = iter([row[0] for row in rows[1:]])
    outcomes = []
    for arrival, (what, is_complete) in zip(arrivals, steps, strict=True):
        broadcast = None
        if arrival.draft is not None and what is not Taken.TOO_LARGE:
            stored = objects.get(arrival.change.key) or Stored(arrival.change.key)
            broadcast = make_broadcast(next(numbers), arrival.change, arrival.draft, stored, is_complete=is_complete)
            stored.broadcast = broadcast.id
            stored.is_touched = True
        outcomes.append(Outcome(what, broadcast))
    await _write(connection, list(objects.values()), listed_before)
    await _check(connection, objects, kept)
    broadcasts = [outcome.broadcast for outcome in outcomes if outcome.broadcast is not None]
    if broadcasts:
        await _add_broadcasts(connection, broadcasts)
    return outcomes


async def put_again(connection: Connection, changes: Sequence[Change]) -> Sequence[Change]:
    """Take in changes that `is_put_again`, of one object each; give those that are not taken in, since their object is
    not listed or newer.

    One statement is the whole transaction, and what was there is not read: a tenth of `store_batch`.
    """
    keys = [change.key for change in changes]
    bodies = [change.body for change in changes]
    texts = [
        "\n".join(column)
        for column in (
            *zip(*keys, strict=True),
            [change.version for change in changes],
            [change.path for change in changes],
            [str(change.platform_id) for change in changes],
            [str((change.last_updated - _EPOCH) // _MICROSECOND) for change in changes if change.last_updated],
            [str((change.received_at - _EPOCH) // _MICROSECOND) for change in changes],
            [str(len(body)) for body in bodies],
        )
    ]
    if any(text.count("\n") != len(changes) - 1 for text in texts):  # what has line ends itself cannot go this way
        return changes
    locks = "\n".join(map(str, sorted({lock_number(key) for key in keys})))
    rows = await connection.fetch(queries(__package__)["put_again"], locks, *texts, b"".join(bodies))
    return [changes[row[0]] for row in rows]


async def lock_objects(connection: Connection, keys: Sequence[ObjectKey]) -> None:
    """Wait for and hold the right to change these objects until the transaction ends."""
    numbers = sorted({lock_number(key) for key in keys})
    await connection.execute(queries(__package__)["lock_objects"], numbers)


async def _read(connection: Connection, arrivals: Sequence[Arrival]) -> dict[ObjectKey, Stored]:
    """Lock the objects of these changes, and read of them what the changes need."""
    keys = list(dict.fromkeys(arrival.change.key for arrival in arrivals))
    if not keys:
        return {}
    await lock_objects(connection, keys)
    objects = {key: Stored(key) for key in keys}
    wholes = {a.change.key for a in arrivals if needs_body(a.change, is_pulled=a.is_pulled)}
    await _read_parts(connection, objects, arrivals)
    for arrival in arrivals:
        change = arrival.change
        if change.part and change.keeps == "object" and change.part[0] not in objects[change.key].parts:
            wholes.add(change.key)
    rows = await connection.fetch(
        queries(__package__)["read_objects"],
        list(range(len(keys))),
        *columns(keys),
        [key in wholes for key in keys],
    )
    for row in rows:
        stored = objects[keys[row["number"]]]
        stored.exists = True
        stored.evse_uids = stored.noted_uids = frozenset(row["evse_uids"] or ())
        for name in _READ:
            setattr(stored, name, row[name])
    return objects


_READ = (
    "is_listed", "has_body", "body", "body_bytes", "part_bytes", "platform_id", "version", "path", "query",
    "last_updated", "received_at", "broadcast", "deleted", "expires_at",
)  # fmt: skip


async def _read_parts(connection: Connection, objects: dict[ObjectKey, Stored], arrivals: Sequence[Arrival]) -> None:
    statements = queries(__package__)
    whole = [arrival.change for arrival in arrivals if arrival.change.keeps == "object"]
    pairs = list(dict.fromkeys((change.key, change.part[0]) for change in whole if change.part))
    wanted = [key for key, _ in pairs]
    if pairs:
        rows = await connection.fetch(
            statements["read_parts"], list(range(len(pairs))), *columns(wanted), [uid for _, uid in pairs]
        )
        for row in rows:
            objects[wanted[row["number"]]].parts[row["part_key"]] = row["body"]
    wanted = list(dict.fromkeys(a.change.key for a in arrivals if a.is_pulled and a.change.key.module == "locations"))
    if wanted:
        rows = await connection.fetch(statements["read_all_parts"], list(range(len(wanted))), *columns(wanted))
        for row in rows:
            objects[wanted[row["number"]]].parts[row["part_key"]] = row["body"]


async def _write(connection: Connection, objects: Sequence[Stored], listed_before: set[ObjectKey]) -> None:
    statements = queries(__package__)
    touched = [stored for stored in objects if stored.is_touched]
    new = [stored for stored in touched if not stored.exists]
    replaced = [stored for stored in touched if stored.exists and stored.has_new_body]
    updated = [stored for stored in touched if stored.exists and not stored.has_new_body]
    if new:
        await connection.execute(statements["insert_objects"], *_object_columns(new), [each.body for each in new])
    if replaced:
        bodies = [each.body for each in replaced]
        await connection.execute(statements["replace_objects"], *_object_columns(replaced), bodies)
    if updated:
        await connection.execute(statements["update_objects"], *_object_columns(updated))
    whole = [stored.key for stored in touched if stored.exists and stored.drops_parts]
    if whole:
        await connection.execute(statements["drop_parts"], *columns(whole))
    parts = [(stored, uid) for stored in touched for uid in stored.changed_parts]
    if parts:
        await connection.execute(
            statements["put_parts"],
            *columns([stored.key for stored, _ in parts]),
            [uid for _, uid in parts],
            [stored.parts[uid] for stored, uid in parts],
        )
    counts: Counter[tuple[str, str, str]] = Counter()
    for stored in touched:
        key = stored.key
        counts[key.module, key.owner, key.addressee] += stored.is_listed - (key in listed_before)
    await add_counts(connection, counts)


async def _check(connection: Connection, objects: dict[ObjectKey, Stored], arrivals: Sequence[Arrival]) -> None:
    """Note of what was found unchanged when that was; of what was new, `received_at` tells."""
    found = {
        arrival.change.key: arrival.change.received_at
        for arrival in arrivals
        if arrival.is_checked and objects[arrival.change.key].received_at != arrival.change.received_at
    }
    if found:
        await connection.execute(queries(__package__)["check_objects"], *columns(list(found)), list(found.values()))


async def add_counts(connection: Connection, counts: Counter[tuple[str, str, str]]) -> None:
    """Change how many listed objects there are, by module, owner and addressee."""
    changed = [(*key, number) for key, number in counts.items() if number]
    if changed:
        arrays = [list(column) for column in zip(*changed, strict=True)]
        await connection.execute(queries(__package__)["count_objects"], *arrays)


def _object_columns(objects: Sequence[Stored]) -> list[list[object]]:
    keys = [stored.key for stored in objects]
    return [
        *(list[object](column) for column in columns(keys)),
        [each.platform_id for each in objects],
        [each.version for each in objects],
        [each.path for each in objects],
        [each.query for each in objects],
        [each.is_listed for each in objects],
        [_new_uids(each) for each in objects],
        [each.last_updated for each in objects],
        [each.received_at for each in objects],
        [each.broadcast for each in objects],
        [each.deleted for each in objects],
        [each.expires_at for each in objects],
        [each.part_bytes for each in objects],
    ]


def _new_uids(stored: Stored) -> str | None:
    """Give the uids to be written, None where they stay: a location may have ten thousand."""
    if stored.evse_uids is stored.noted_uids or stored.evse_uids == stored.noted_uids:
        return None
    return "\n".join(sorted(stored.evse_uids))


async def _add_broadcasts(connection: Connection, rows: Sequence[BroadcastRow]) -> None:
    names = BroadcastRow.__dataclass_fields__
    arrays = [[getattr(row, name) for row in rows] for name in names]
    await connection.execute(queries(__package__)["add_broadcasts"], *arrays)
