"""For whom a plain request is and what goes to them: decided by routing/, remembered while the table stays."""

from typing import NamedTuple

from config.ocpi import OCPIError, PartyID
from config.operations import INTERFACES, Operation, OperationIndex
from hub.addresses import split_url
from hub.client import Lane, PoolKey
from hub.connection import write_head
from hub.fast_lane.plain import Fields, Plain
from hub.live_table import LiveTable, Presented
from routing.headers import answer_headers, onward_headers
from routing.links import ALIAS_PARAMETER
from routing.message import Message, MessageIDs, Target, read_message, read_target
from routing.resolve import Direct, Route, join, resolve

PLANS_MAX = 20_000
"""How many plans are remembered."""
HEADS_MAX = 16
"""How many heads one plan remembers: each client has its own Accept and Content-Type."""
_TARGET, _REQUEST_ID, _CORRELATION_ID = "\1", "\2", "\3"
"""Stand-ins in a head, which no value of a plain request can contain."""


class Shape(NamedTuple):
    """The one operation of a method and a number of segments."""

    operation: Operation
    label: str
    has_owner: bool
    words: tuple[tuple[int, str], ...]
    """Segments that are literal, and where."""


class More(NamedTuple):
    """Header fields that are passed on and differ from request to request."""

    further: tuple[str, ...]
    """Those that the settings name."""
    folded: frozenset[str]
    """All of them, in lower case."""


class Plan:
    """What is the same for every request of one sender to one receiver with one operation."""

    __slots__ = (
        "_base",
        "_below",
        "_heads",
        "_version",
        "answer_after",
        "answer_before",
        "answer_between",
        "endpoint",
        "label",
        "lane",
        "operation",
        "platform",
        "pool_key",
        "presented",
        "receiver",
        "route",
        "sender",
    )

    def __init__(self, presented: Presented, message: Message, route: Direct, endpoint: str) -> None:
        assert message.receiver is not None
        self.presented = presented
        self.platform = message.platform
        self.operation = message.operation
        self.label = message.operation.label
        self.sender: PartyID = message.sender
        self.receiver: PartyID = message.receiver
        self._version = message.target.version
        self.route = route
        self.endpoint = endpoint
        origin, base = split_url(endpoint)
        self._base = base
        self._below = join(base, "x", "")[:-1]
        self.pool_key: PoolKey = (route.platform.id, origin.scheme, origin.host, origin.port)
        self.lane: Lane = "urgent" if message.operation.urgent else "ordinary"
        self._heads: dict[tuple[str | None, str | None, bool], tuple[str, str, str, str]] = {}
        fields = answer_headers(MessageIDs(_REQUEST_ID, _CORRELATION_ID), to=message.sender, sender=message.receiver)
        text = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        self.answer_before, self.answer_between, self.answer_after = _cut(text, _REQUEST_ID, _CORRELATION_ID)

    def onward(
        self,
        fields: dict[str, str],
        path: str,
        query: str,
        request_id: str,
        correlation_id: str,
        body: bytes,
        more: "More",
    ) -> bytes:
        """Give the whole request to the receiver; `path` and `query` are those below the endpoint."""
        key = (fields.get("accept"), fields.get("content-type"), bool(body))
        pieces = self._heads.get(key)
        is_common = more.folded.isdisjoint(fields)
        if pieces is None or not is_common:
            pieces = self._pieces(fields, bool(body), more)
            if is_common and len(self._heads) < HEADS_MAX:
                self._heads[key] = pieces
        before, between, after, end = pieces
        target = f"{self._below}{path}" if path and not query else join(self._base, path, query)
        head = f"{before}{target}{between}{request_id}{after}{correlation_id}{end}"
        if body:
            return b"".join((f"{head}{len(body)}\r\n\r\n".encode("ascii"), body))
        return head.encode("ascii")

    def target(self, path: str, query: str) -> Target:
        """Give what `read_target` reads from the URL of such a request."""
        return Target(self._version, self.operation.interface, self.operation.module, path, query)

    def _pieces(self, fields: dict[str, str], has_body: bool, more: "More") -> tuple[str, str, str, str]:
        """Give the head in pieces, between which go the target, the X-Request-ID and the X-Correlation-ID."""
        platform = self.route.platform
        assert platform.authorization is not None
        pairs = onward_headers(
            Fields(fields),
            authorization=platform.authorization,
            sender=self.route.sender,
            receiver=self.route.receiver,
            ids=MessageIDs(_REQUEST_ID, _CORRELATION_ID),
            has_body=has_body,
            further=more.further,
        )
        origin, _ = split_url(self.endpoint)
        method = self.operation.method
        text = write_head(method, origin, _TARGET, pairs, b"" if has_body else None, None).decode("ascii")
        before, between, after, end = _cut(text, _TARGET, _REQUEST_ID, _CORRELATION_ID)
        return before, between, after, end.removesuffix("0\r\n\r\n") if has_body else end


def _cut(text: str, *marks: str) -> tuple[str, ...]:
    pieces = []
    for mark in marks:
        piece, _, text = text.partition(mark)
        pieces.append(piece)
    return (*pieces, text)


class Plans:
    """The plans of the current routing table."""

    def __init__(self, live: LiveTable, hub: PartyID, operations: OperationIndex, *, broadcasts_open: bool) -> None:
        self._live = live
        self._hub = hub
        self._broadcasts_open = broadcasts_open
        self._shapes = _make_shapes(operations)
        self._table = live.table
        self._plans: dict[tuple[str, ...], Plan] = {}

    def find(self, plain: Plain) -> tuple[Plan, str, str] | None:
        """Give the plan of a request, and path and query below its endpoint; None when it is for the ordinary road."""
        path, _, query = plain.target.partition("?")
        parts = path.split("/", 5)
        if len(parts) < 5 or parts[1] != "ocpi":
            return None
        tail = parts[5] if len(parts) == 6 else ""
        segments = tail.split("/") if tail else []
        method = plain.method
        shape = self._shapes.get((parts[2], parts[3], parts[4], method, len(segments)))
        if shape is None or "" in segments:
            return None
        operation = shape.operation
        if ("." in tail or "%" in tail) and not _stays_below(plain.target):
            return None
        for place, word in shape.words:
            if segments[place] != word:
                return None
        if operation.paged and ALIAS_PARAMETER in query:
            return None
        fields = plain.fields
        get = fields.get
        authorization = get("authorization")
        if authorization is None:
            return None
        key = (
            authorization,
            get("ocpi-from-country-code", ""),
            get("ocpi-from-party-id", ""),
            get("ocpi-to-country-code", ""),
            get("ocpi-to-party-id", ""),
            parts[2],
            shape.label,
            segments[0] if shape.has_owner else "",
            segments[1] if shape.has_owner else "",
        )
        if self._table is not self._live.table:
            self._plans.clear()
            self._table = self._live.table
        plan = self._plans.get(key)
        if plan is None:
            plan = self._make(key, plain, operation)
            if plan is None:
                return None
        return plan, tail, query

    def _make(self, key: tuple[str, ...], plain: Plain, operation: Operation) -> Plan | None:
        presented = self._live.recognise(key[0])
        table = self._table
        if presented is None or not presented.access.is_registered or presented.access.platform.id in table.replaced:
            return None
        try:
            target = read_target(plain.target)
            message = read_message(
                operation, target, Fields(plain.fields), presented.access.platform, MessageIDs("", "")
            )
            route: Route = resolve(message, table, self._hub, broadcasts_open=self._broadcasts_open)
            if not isinstance(route, Direct) or route.platform.authorization is None:
                return None
            endpoint = route.platform.endpoints[(operation.module, operation.interface)]
            if "?" in endpoint:
                return None
            plan = Plan(presented, message, route, endpoint)
        except (OCPIError, ValueError):
            return None
        if len(self._plans) >= PLANS_MAX:
            self._plans.clear()
        self._plans[key] = plan
        return plan


def _stays_below(target: str) -> bool:
    try:
        read_target(target)
    except OCPIError:
        return False
    return True


def _make_shapes(operations: OperationIndex) -> dict[tuple[str, str, str, str, int], Shape]:
    """Give the operations that need nothing special, where method and number of segments say which one is meant."""
    found: dict[tuple[str, str, str, str, int], list[Operation]] = {}
    words_of = {interface: word for word, interface in INTERFACES.items()}
    for version, every in operations.by_version.items():
        open_ended = {row.module for row in every if row.path == ("*",)}
        for row in every:
            if row.module not in open_ended:
                key = (version, words_of[row.interface], row.module, row.method, len(row.path))
                found.setdefault(key, []).append(row)
    shapes = {}
    for key, rows in found.items():
        row = rows[0]
        if len(rows) == 1 and row.alias is None and row.response_url == "no":
            words = tuple((place, word) for place, word in enumerate(row.path) if not word.startswith("{"))
            shapes[key] = Shape(row, row.label, row.owner_in_path, words)
    return shapes
