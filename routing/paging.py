"""Which page of which slice of a list is asked for, and where the next one is (OCPI 2.2.1, Pagination)."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

from config.ocpi import InvalidParameters

AFTER = "after"
"""The query parameter of a Link of ours that says behind which position the next page begins."""

_NUMBER = re.compile(r"[0-9]{1,18}")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Paging:
    """What a request for a page of a list says."""

    offset: int
    """How many objects come before this page."""
    limit: int
    """How many it has at most: what was asked for, and no more than the server gives."""
    after: int | None
    """The position behind which it begins, from a Link of ours; None: `offset` counts."""
    date_from: datetime | None
    """Inclusive."""
    date_to: datetime | None
    """Exclusive."""
    filters: str
    """The date filters as text of a query, to be repeated in a Link (R-175)."""

    @property
    def start(self) -> tuple[int, int]:
        """The position behind which the page begins, and how many objects are passed over from there."""
        return (0, self.offset) if self.after is None else (self.after, 0)

    @property
    def is_filtered(self) -> bool:
        """Whether there is a date filter."""
        return bool(self.filters)

    def next_query(self, count: int, last_position: int | None = None) -> str:
        """Give the query of the page behind this one, which has `count` objects and ends at `last_position`.

        Members read offset, limit and filters out of a Link (R-179), so they are ordinary parameters.
        """
        parts = [f"offset={self.offset + count}", f"limit={self.limit}", self.filters]
        if last_position is not None:
            parts.append(f"{AFTER}={last_position}")
        return "&".join(part for part in parts if part)


def read_paging(query: str, maximum: int) -> Paging:
    """Read a raw query. Parameters that OCPI does not have are passed over.

    Raises InvalidParameters (2001) naming the parameter that cannot be read (T-043).
    """
    values: dict[str, str] = {}
    for part in query.split("&"):
        name, _, raw = part.partition("=")
        value = unquote(raw.replace("+", " "))  # a plus in a query is a blank, as everybody's URL library says
        if values.setdefault(unquote(name), value) != value:
            raise InvalidParameters(f"{unquote(name)} is there more than once, with different values.")
    times = {name: _read_time(name, values[name]) for name in ("date_from", "date_to") if name in values}
    limit = _read_number("limit", values.get("limit", str(maximum)))
    if limit == 0:
        raise InvalidParameters("limit is 0, and a page has at least one object.")
    return Paging(
        offset=_read_number("offset", values.get("offset", "0")),
        limit=min(limit, maximum),
        after=_read_number(AFTER, values[AFTER]) if AFTER in values else None,
        date_from=times.get("date_from"),
        date_to=times.get("date_to"),
        filters="&".join(f"{name}={quote(values[name], safe=':')}" for name in times),
    )


def _read_number(name: str, text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise InvalidParameters(f"{name} is no whole number from 0.")
    return int(text)


def _read_time(name: str, text: str) -> datetime:
    try:
        if not _TIME.fullmatch(text):
            raise ValueError(text)
        moment = datetime.fromisoformat(text)
        # OCPI 2.2.1, DateTime: without a Z it is UTC too.
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as exc:
        blank = ", its + not percent-encoded" if " " in text else ""
        raise InvalidParameters(f"{name} is no DateTime like 2019-01-28T12:00:00Z{blank}.") from exc
