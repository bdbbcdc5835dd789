"""URLs of one party that another gets to see: Link, Location, response_url. Ours go in place of theirs."""

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

import orjson

from config.ocpi import InvalidParameters
from parties.model import Platform, origin_of

_PARAMETER = re.compile(r""";\s*(?:([^\s;,="]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?)?\s*""")
_LINK = re.compile(rf"<([^<>]*)>\s*((?:{_PARAMETER.pattern})*)")
_FILTERS = ("date_from", "date_to")
ALIAS_PARAMETER = "hub_alias"
"""The query parameter of a Link of ours that says whom it leads to."""


@dataclass(frozen=True, slots=True)
class NextPage:
    """What a member's Link says about the next page, reduced to what the hub needs."""

    query: str
    """Raw: the requester's own filters with the member's offset and limit, or its cursor."""
    path: str = ""
    """Raw path on the member's own origin, when the cursor is in the path; else its endpoint is meant."""


def next_url(link: str | None) -> str | None:
    """Give the URL of the `rel="next"` link, or None (RFC 8288; an empty header is none)."""
    for match in _LINK.finditer(link or ""):
        relations = [quoted or plain for name, quoted, plain in _PARAMETER.findall(match[2]) if name.lower() == "rel"]
        if relations and "next" in relations[0].lower().split():
            return match[1].strip()
    return None


def read_next_page(url: str, endpoint: str, requested_query: str, platform: Platform) -> NextPage | None:
    """Reduce a member's Link to what it says; None when it leads to a foreign host (R-036).

    Members get scheme, path and filters wrong, so only offset and limit (or what else the query holds: a cursor)
    are taken, with the requester's own filters, on the endpoint that is known to work.
    """
    absolute = resolve_reference(endpoint, url)
    if absolute is None or not _is_own_host(absolute, platform):
        return None
    split = urlsplit(absolute)
    theirs = _parameters(split.query)
    own = [
        (name, raw) for name, raw in _parameters(requested_query) if name not in ("offset", "limit", ALIAS_PARAMETER)
    ]
    own_limit = [(name, raw) for name, raw in _parameters(requested_query) if name == "limit"]
    limit = [(name, raw) for name, raw in theirs if name == "limit"] or own_limit
    offset = [(name, raw) for name, raw in theirs if name == "offset"]
    if offset:
        return NextPage(_join(own + offset + limit))
    asked = {unquote(raw) for _, raw in own}  # a cursor among them is the page's own; the next one's has another value
    cursor = [(name, raw) for name, raw in theirs if name not in (*_FILTERS, "limit") and unquote(raw) not in asked]
    if cursor:
        return NextPage(_join([item for item in own if item[0] not in dict(cursor)] + cursor + limit))
    if split.path.rstrip("/") != urlsplit(endpoint).path.rstrip("/"):
        return NextPage(_join(own + limit), split.path)
    return None


def read_location(value: str, request_url: str, endpoint: str, platform: Platform) -> str | None:
    """Give the absolute URL a Location means, on an origin of the platform; None for a foreign host (R-036, T-078)."""
    absolute = resolve_reference(request_url, value.strip())
    if absolute is None or not _is_own_host(absolute, platform):
        return None
    if origin_of(absolute) in platform.origins:
        return absolute.partition("#")[0]
    split = urlsplit(absolute)
    return origin_of(endpoint) + (split.path or "/") + (f"?{split.query}" if split.query else "")


def resolve_reference(base: str, reference: str) -> str | None:
    """Give the absolute URL of what a member wrote as a URL; None when that is none, or could not be called."""
    try:
        absolute = urljoin(base, reference)
    except ValueError:
        return None
    is_plain = absolute.isascii() and absolute.isprintable() and " " not in absolute
    return absolute if is_plain and "@" not in urlsplit(absolute).netloc else None


def check_response_url(url: object, platform: Platform) -> str:
    """Give a response_url that may be called with this platform's token. Raises InvalidParameters (T-080)."""
    if not isinstance(url, str) or not url:
        raise InvalidParameters("response_url is missing or is no string.")
    try:
        origin = origin_of(url)
    except ValueError as exc:
        raise InvalidParameters("response_url is no absolute http or https URL.") from exc
    if "@" in urlsplit(url).netloc or "#" in url or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidParameters("response_url must be a plain URL: no user, fragment, blanks or other than ASCII.")
    if origin not in platform.origins:
        raise InvalidParameters(f"response_url leads to {origin}, which is not a registered origin of this platform.")
    return url


def take_response_url(query: str) -> tuple[str, str]:
    """Split a raw query into the response_url and what remains. Raises InvalidParameters when there is none.

    The specification's own example has an un-encoded URL with a query of its own: such a one reaches up to a
    following parameter of OCPI's, `duration` (R-240). Some encode no more than a query demands, `=` and `&`.
    """
    match = re.search(r"(?:^|&)response_url=", query)
    if match is None:
        raise InvalidParameters("The query parameter response_url is missing.")
    before, value = query[: match.start()], query[match.end() :]
    first = value.partition("&")[0]
    is_encoded = "=" not in first and re.search(r"%3D|%26", first, re.IGNORECASE)
    if re.match(r"https?://", value, re.IGNORECASE) and not is_encoded:
        end = re.search(r"&duration=", value)
        url, after = (value[: end.start()], value[end.start() + 1 :]) if end else (value, "")
    else:
        url, _, after = value.partition("&")
        url = unquote(url)
    rest = "&".join(part for part in (before, after) if part)
    # In any spelling: a receiver that took the other one would send its result, with its token for the hub, there.
    if any(name.casefold() == "response_url" for name, _ in _parameters(rest)):
        raise InvalidParameters("The query parameter response_url is there more than once.")
    return url, rest


def put_response_url(query: str, url: str) -> str:
    """Give the query with `response_url`, percent-encoded, as its last parameter (T-082)."""
    return (query + "&" if query else "") + "response_url=" + quote(url, safe="")


def has_parameter(query: str, name: str) -> bool:
    """Whether a raw query has this parameter."""
    return any(found == name for found, _ in _parameters(query))


def take_parameter(query: str, name: str) -> tuple[str | None, str]:
    """Split a raw query into one parameter's value and what remains."""
    parameters = _parameters(query)
    values = [unquote(raw.partition("=")[2]) for found, raw in parameters if found == name]
    return (values[0] if values else None), _join([item for item in parameters if item[0] != name])


_JSON_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


def replace_member(body: bytes, name: str, value: str) -> bytes:
    """Give a JSON object with one top-level string replaced, every other byte as it was (R-113).

    `body` is valid JSON. Raises InvalidParameters when it is no object or the member is missing, no string, or twice
    there (receivers would differ on which one counts).
    """
    spans = member_spans(body, name)
    if len(spans) != 1:
        raise InvalidParameters(f"{name} is {'missing' if not spans else 'there more than once'}.")
    start, end = spans[0]
    if body[start : start + 1] != b'"':
        raise InvalidParameters(f"{name} is no string.")
    return body[:start] + orjson.dumps(value) + body[end:]


def member_spans(body: bytes, name: str) -> list[tuple[int, int]]:
    """Give where the values of a top-level member begin and end, as byte offsets, its name in any letter case."""
    spans: list[tuple[int, int]] = []
    depth = 0
    key: object = None
    start = -1
    previous = b""
    end = 0
    for match in _JSON_TOKEN.finditer(body):
        token = match[0]
        if depth == 1 and start >= 0 and token in (b",", b"}"):
            if isinstance(key, str) and key.casefold() == name:
                spans.append((start, end))
            start, key = -1, None
        if depth == 1 and start < 0 and previous == b":":
            start = match.start()
        if depth == 1 and start < 0 and token[:1] == b'"' and previous in (b"{", b","):
            key = orjson.loads(token)
        if token in (b"{", b"["):
            depth += 1
            if depth == 1 and token == b"[":
                return []
        elif token in (b"}", b"]"):
            depth -= 1
        previous, end = token, match.end()
    return spans


def _parameters(query: str) -> list[tuple[str, str]]:
    return [(unquote(part.partition("=")[0]), part) for part in query.split("&") if part]


def _join(parameters: list[tuple[str, str]]) -> str:
    return "&".join(raw for _, raw in parameters)


def _is_own_host(url: str, platform: Platform) -> bool:
    try:
        host = urlsplit(origin_of(url)).hostname
    except ValueError:
        return False
    return any(urlsplit(origin).hostname == host for origin in platform.origins)
