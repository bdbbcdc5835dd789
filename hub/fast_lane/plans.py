"""For whom a plain request is and what goes to them: decided by routing/, remembered while the table stays."""

import re
from typing import NamedTuple

from config.ocpi import OCPIError, PartyID
from config.operations import INTERFACES, Operation, OperationIndex
from hub.accounts import Accounts, Usual
from hub.addresses import Origin, split_url
from hub.client import Lane, PoolKey
from hub.connection import length_line
from hub.direct import Relay
from hub.fast_lane.plain import Fields, Head, request_heads
from hub.head_pieces import CORRELATION_ID, REQUEST_ID, Pieces, cut, request_pieces
from hub.live_table import LiveTable
from routing.headers import answer_headers, onward_headers
from routing.links import ALIAS_PARAMETER
from routing.message import Message, MessageIDs, Target, read_message, read_target
from routing.objects import Flow
from routing.resolve import Direct, Route, join, resolve

OWNERS_MAX = 64
"""For how many owners in the path one head has plans: most often there is one."""
PLANS_MAX = 8192
"""How many plans are remembered."""
_SEGMENTS = r"(?:/[A-Za-z0-9._~:@!$&'()*+,;=%-]+)*"
REQUEST_LINE = re.compile(
    rf"((?:GET|PUT|POST|PATCH|DELETE) /ocpi/[0-9.]+/[a-z]+/[A-Za-z0-9_-]+)(/(?=[? ])|{_SEGMENTS})"
    r"(?:\?([A-Za-z0-9/._~:@!$&'()*+,;=%?-]*))? HTTP/1\.1"
).fullmatch
"""Method and module, segments below the module, query."""


class Shape(NamedTuple):
    """The one operation of a method and a number of segments."""

    operation: Operation
    words: tuple[tuple[int, str], ...]
    """Segments that are literal, and where."""


Asked = tuple["Plan", str, str]
"""What is done with a request, and path and query below the endpoint of the receiver."""


class Plan:
    """What is the same for every request with one head and one operation."""

    __slots__ = (
        "_base",
        "_below",
        "_empty_body",
        "_pieces",
        "_pieces_with_body",
        "_version",
        "answer_after",
        "answer_before",
        "answer_between",
        "are_online",
        "endpoint",
        "flow",
        "head",
        "is_mirrored",
        "lane",
        "operation",
        "platform",
        "pool_key",
        "receiver",
        "route",
        "sender",
        "timeout",
        "usual",
        "words",
    )

    def __init__(
        self,
        head: Head,
        shape: Shape,
        message: Message,
        route: Direct,
        usual: Usual,
        *,
        timeout: float,
        is_mirrored: bool,
    ) -> None:
        assert message.receiver is not None
        self.head = head
        self.words = shape.words
        self.platform = message.platform
        self.operation = operation = message.operation
        self.sender: PartyID = message.sender
        self.receiver: PartyID = message.receiver
        self._version = message.target.version
        self.route = route
        self.flow = Flow(operation, message.target.version, message.platform.id, message.sender, route.receiver)
        """Of its pushes to the mirror."""
        self.endpoint = endpoint = route.platform.endpoints[(operation.module, operation.interface)]
        origin, base = split_url(endpoint)
        self._base = base
        self._below = join(base, "x", "")[:-2]  # with the slash before each path taken away
        self.pool_key: PoolKey = (route.platform.id, origin.scheme, origin.host, origin.port)
        self.lane: Lane = "urgent" if operation.urgent else "ordinary"
        self.timeout = timeout
        """Seconds for the head of the receiver's answer."""
        self.are_online = message.platform.is_online and route.platform.is_online
        """Whether both platforms are, so that a sign of life changes nothing."""
        self.is_mirrored = is_mirrored
        """Whether the mirror is given what the receiver accepts."""
        self.usual = usual
        """Where they are counted and how they are logged."""
        self._pieces = self._make_pieces(origin, has_body=False)
        self._pieces_with_body = self._make_pieces(origin, has_body=True)
        self._empty_body = length_line(operation.method, 0)
        fields = answer_headers(MessageIDs(REQUEST_ID, CORRELATION_ID), to=message.sender, sender=message.receiver)
        text = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        self.answer_before, self.answer_between, self.answer_after = cut(text, REQUEST_ID, CORRELATION_ID)

    def onward(self, path: str, query: str, request_id: str, correlation_id: str, passed_on: str, body: bytes) -> bytes:
        """Give the whole request to the receiver.

        `path` and `query` are those below the endpoint, `passed_on` are lines of further header fields.
        """
        target = join(self._base, path[1:], query) if query or not path else self._below + path
        if body:
            before, between, after, end = self._pieces_with_body
            head = (
                f"{before}{target}{between}{request_id}{after}{correlation_id}{end}{passed_on}"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            return head.encode("ascii") + body
        before, between, after, end = self._pieces
        head = f"{before}{target}{between}{request_id}{after}{correlation_id}{end}{passed_on}{self._empty_body}\r\n"
        return head.encode("ascii")

    def target(self, path: str, query: str) -> Target:
        """Give what `read_target` reads from the URL of such a request."""
        return Target(self._version, self.operation.interface, self.operation.module, path[1:], query)

    def _make_pieces(self, origin: Origin, *, has_body: bool) -> Pieces:
        platform = self.route.platform
        assert platform.authorization is not None
        pairs = onward_headers(
            Fields(self.head.fields),
            authorization=platform.authorization,
            sender=self.route.sender,
            receiver=self.route.receiver,
            ids=MessageIDs(REQUEST_ID, CORRELATION_ID),
            has_body=has_body,
        )
        return request_pieces(self.operation.method, origin, pairs)


class Plans:
    """The plans of the current routing table."""

    def __init__(
        self,
        live: LiveTable,
        relay: Relay,
        accounts: Accounts,
        operations: OperationIndex,
        *,
        broadcasts_open: bool,
    ) -> None:
        self.passed_on = ("traceparent", "tracestate", *relay.further_headers)
        """Header fields that are passed on and change from request to request."""
        self.heads = request_heads(self.passed_on)
        self._live = live
        self._relay = relay
        self._accounts = accounts
        self._broadcasts_open = broadcasts_open
        self._shapes = _make_shapes(operations)
        self._table = live.table
        self._made = 0

    def find(self, head: Head, request_line: str) -> Asked | None:
        """Give what a request asks for; None when it is for the ordinary road."""
        if self._table is not self._live.table:
            self.heads.clear()
            self._table = self._live.table
            head.plans.clear()  # it was found before
        match = REQUEST_LINE(request_line)
        if match is None:
            return None
        start, path, query = match.groups("")
        if path == "/":
            path = ""
        if ("." in path or "%" in path) and not _stays_below(request_line):
            return None
        key = (start, path.count("/"))
        found = head.plans.get(key)
        if isinstance(found, dict):
            owner = path.split("/", 3)
            found = found.get((owner[1], owner[2]))
        plan = found or self._make(head, key, path)
        if plan is None or (query and plan.operation.paged and ALIAS_PARAMETER in query):
            return None
        if plan.words:
            segments = path.split("/")
            if any(segments[place] != word for place, word in plan.words):
                return None
        return plan, path, query

    def _make(self, head: Head, key: tuple[str, int], path: str) -> Plan | None:
        start, depth = key
        method, _, url = start.partition(" ")
        _, _, version, role, module = url.split("/")
        shape = self._shapes.get((version, role, module, method, depth))
        presented = self._live.recognise(head.fields.get("authorization"))
        table = self._table
        if (
            shape is None
            or presented is None
            or not presented.access.is_registered
            or presented.access.platform.id in table.replaced
        ):
            return None
        operation = shape.operation
        try:
            message = read_message(
                operation,
                read_target(url + path),
                Fields(head.fields),
                presented.access.platform,
                MessageIDs("", ""),
            )
            route: Route = resolve(message, table, self._accounts.hub, broadcasts_open=self._broadcasts_open)
            if not isinstance(route, Direct) or route.platform.authorization is None or "?" in route.url:
                return None
            usual = self._accounts.usual(operation.label, method, message, route)
            timeout, is_mirrored = self._relay.timeout(operation), self._relay.mirrors(operation)
            plan = Plan(head, shape, message, route, usual, timeout=timeout, is_mirrored=is_mirrored)
        except (OCPIError, ValueError):
            return None
        self._made += 1
        if self._made > PLANS_MAX:
            self._made = 0
            self.heads.clear()
        if operation.owner_in_path:
            owner = path.split("/", 3)
            owners = head.plans.setdefault(key, {})
            assert isinstance(owners, dict)
            if len(owners) < OWNERS_MAX:
                owners[owner[1], owner[2]] = plan
        else:
            head.plans[key] = plan
        return plan


def _stays_below(request_line: str) -> bool:
    try:
        read_target(request_line.split(" ")[1])
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
            words = tuple((place, word) for place, word in enumerate(row.path, 1) if not word.startswith("{"))
            shapes[key] = Shape(row, words)
    return shapes
