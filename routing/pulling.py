"""Which Sender lists the hub reads for its mirror, from when on, and which page of one comes next.

OCPI 2.2.1, Transport and format, Client Owned Object Pull and Pagination.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

from config.ocpi import PartyID, format_time
from config.operations import HOSTS
from parties.model import Platform, origin_of
from parties.pulls import Pull
from routing.links import next_url, read_next_page, take_parameter
from routing.objects import fold
from routing.resolve import join

MODULES = ("locations", "tariffs", "tokens", "sessions", "cdrs")
"""The modules of client owned objects, in the order in which they are read at first."""
CHECKED_MODULES = ("locations", "tariffs", "tokens")
"""Those of which a full list says what is no longer valid (R-162); of sessions and CDRs only the latest are read."""
WHOLE_LIST_EVERY = timedelta(days=1)
"""How often the whole list is read, to learn what is no longer in it."""
OVERLAP = timedelta(seconds=60)
"""How much of what was read is read again: an object may be stored a little later than its last_updated says."""
SESSIONS_FROM = timedelta(days=365)
"""From when on sessions are asked for at first where no retention says it: their date_from is required (R-163)."""
PAGES_MAX = 100_000
"""Most pages of one round: with 100 objects on each, ten million."""
STALLED_PAGES = 3
FAILURES_MAX = 3
"""After so many failures on the same page a round begins anew."""
FIRST_RETRY_SECONDS = 5.0
RETRY_AFTER_MAX = 3600.0
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No object is older than OCPI; some owners have the year 1 where they know no time."""


class Unreadable(Exception):
    """A list that cannot be read; the message tells the operator why."""


@dataclass(frozen=True, slots=True)
class SenderList:
    """One party's list of one module, as its platform publishes it."""

    party: PartyID
    module: str
    endpoint: str

    @property
    def key(self) -> tuple[str, str]:
        """The party folded, and the module."""
        return fold(self.party), self.module

    def __str__(self) -> str:
        return f"{self.module} of {self.party}"


def is_pulled(platform: Platform) -> bool:
    """Whether the hub may read this platform's lists at the moment: CONNECTED, and not switched off."""
    return (
        platform.state == "registered"
        and platform.is_online
        and platform.switches.pull
        and platform.authorization is not None
    )


def lists_of(platform: Platform, keeps: Callable[[str], bool]) -> list[SenderList]:
    """Give the lists to read: of each party that takes part, in roles that host them, where they are published."""
    found: dict[tuple[str, str], SenderList] = {}
    for module in MODULES:
        endpoint = platform.endpoints.get((module, "SENDER"))
        if endpoint is None or not keeps(module):
            continue
        for role in platform.roles:
            if platform.takes_part(role) and (module, "SENDER") in HOSTS.get(role.role, ()):
                listed = SenderList(role.party, module, endpoint)
                found.setdefault(listed.key, listed)
    return list(found.values())


def is_due(pull: Pull, platform: Platform, listed: SenderList) -> bool:
    """Whether to read it now: for the first time, when its time has come, and when the party is back."""
    if pull.tried_at is None or pull.due_in <= 0:
        return True
    roles = (role for role in platform.roles if role.party.key == listed.party.key)
    moments = [moment for moment in map(platform.status_since, roles) if moment is not None]
    return max(moments, default=pull.tried_at) > pull.tried_at


def may_resume(pull: Pull, platform: Platform) -> bool:
    """Whether to go on with the page that was saved; the credentials token goes to the platform's own origins only."""
    try:
        return pull.next_url is not None and origin_of(pull.next_url) in platform.origins
    except ValueError:
        return False


def reads_whole(module: str, pull: Pull, now: datetime) -> bool:
    """Whether a new round asks for the whole list: the first one does, and one a day."""
    if module not in CHECKED_MODULES:
        return False
    is_time = pull.whole_at is None or now - pull.whole_at >= WHOLE_LIST_EVERY
    return is_time or pull.is_whole or pull.date_from is None


def first_date(module: str, date_from: datetime | None, days: int | None, now: datetime) -> datetime | None:
    """Give what a new round asks for: what the last one left, else everything, or what the mirror would keep."""
    if date_from is not None or module not in ("sessions", "cdrs"):
        return date_from
    if days is not None:
        return now - timedelta(days=days)
    return now - SESSIONS_FROM if module == "sessions" else None


def first_url(listed: SenderList, date_from: datetime | None, limit: int) -> str:
    """Give the URL of the first page."""
    query = f"limit={limit}"
    if date_from is not None:
        query = f"date_from={quote(format_time(date_from), safe=':')}&{query}"
    return join(listed.endpoint, "", query)


def next_date(date_from: datetime | None, objects: int, highest: datetime | None, started: datetime) -> datetime | None:
    """Give what the round after this one asks for.

    `highest`: the latest last_updated of this round; not believed when it is in the future, as where local time goes
    for UTC. A round without objects tells nothing about the owner's clock, so what it asked for stays.
    """
    if not objects:
        return date_from
    return max(min(highest or started, started), _EARLIEST) - OVERLAP


def next_page(
    url: str, link: str, total: int | None, number: int, listed: SenderList, platform: Platform, *, linked: bool
) -> tuple[str | None, bool]:
    """Give the URL of the page after this one, or None after the last, and whether the member's Link said so.

    `number` objects were on the page at `url`. Of a Link only offset and limit, or its cursor, are taken. Without
    one, pages are counted as far as X-Total-Count (`total`) goes, unless this list had Links before (`linked`).
    Raises Unreadable when there is a next page that cannot be found.
    """
    endpoint = listed.endpoint
    own_query = endpoint.partition("?")[2]
    asked = url.partition("?")[2].removeprefix(own_query).removeprefix("&")
    target = next_url(link)
    if target:
        page = read_next_page(target, endpoint, asked, platform)
        if page is None:  # a foreign host, as behind a proxy: what it says of the page still counts, on the known URL
            page = read_next_page(f"?{_query(target)}", endpoint, asked, platform)
        if page is not None:
            base = origin_of(endpoint) + page.path if page.path else endpoint
            return join(base, "", page.query), True
    elif linked:
        return None, False
    offset_text, rest = take_parameter(asked, "offset")
    offset = int(offset_text) if offset_text and offset_text.isdecimal() else 0
    if total is not None and number and offset + number < total:
        limit, rest = take_parameter(rest, "limit")
        query = "&".join(
            part for part in (rest, f"offset={offset + number}", f"limit={limit}" if limit else "") if part
        )
        return join(endpoint, "", query), False
    if target and total is None:
        raise Unreadable("its Link to the next page leads nowhere")
    return None, False


def _query(url: str) -> str:
    try:
        return urlsplit(url).query
    except ValueError:
        return ""


class Walk:
    """The pages of a round so far, to notice a list that has no end."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._latest: set[int] = set()
        self._stalled = 0

    @property
    def pages(self) -> int:
        """How many there were."""
        return len(self._seen)

    def step(self, url: str, contents: Iterable[bytes], following: str | None) -> None:
        """Take note of a page, of what is on it, and of which follows. Raises Unreadable when it goes in circles."""
        self._seen.add(hash(url))
        if following is None:
            return
        found = {hash(content) for content in contents}
        self._stalled = 0 if found - self._latest else self._stalled + 1
        self._latest = found or self._latest
        if hash(following) in self._seen:
            raise Unreadable("its Link leads back to a page that it gave before")
        if self._stalled >= STALLED_PAGES:
            raise Unreadable(f"{STALLED_PAGES} pages on end had no object that was not there before")
        if len(self._seen) >= PAGES_MAX:
            raise Unreadable(f"it has more than {PAGES_MAX} pages")


def read_total(value: str | None) -> int | None:
    """Give what X-Total-Count says; None when it says nothing."""
    text = (value or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 15 else None


def read_retry_after(value: str | None, now: datetime) -> float | None:
    """Give the seconds that a Retry-After header asks to wait, an hour at most (RFC 9110, 10.2.3)."""
    text = (value or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), RETRY_AFTER_MAX)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - now).total_seconds(), 0.0), RETRY_AFTER_MAX)


def seconds_to_next_round(interval: float, chance: float) -> float:
    """Give when to read again, 10 % sooner or later by a chance in [0, 1), so that platforms spread out."""
    return interval * (0.9 + 0.2 * chance)


def seconds_to_retry(failures: int, interval: float, chance: float) -> float:
    """Give when to try again after so many failures: later and later, up to the interval."""
    return seconds_to_next_round(min(interval, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 20)), chance)
