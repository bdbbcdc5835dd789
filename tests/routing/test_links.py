"""URLs of one party that another gets to see: what is read from them, and ours put in their place."""

import itertools
import json
from typing import Any
from urllib.parse import quote

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from config.ocpi import InvalidParameters
from parties.model import Switches, origin_of
from routing.links import (
    NextPage,
    check_response_url,
    has_parameter,
    member_spans,
    next_url,
    put_response_url,
    read_location,
    read_next_page,
    replace_member,
    resolve_reference,
    take_parameter,
    take_response_url,
)
from tests.routing.cast import a_platform

# The Link header (RFC 8288)


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ('<https://p1.test/l?offset=5>; rel="next"', "https://p1.test/l?offset=5"),
        ("<https://p1.test/l?offset=5>; rel=next", "https://p1.test/l?offset=5"),  # T-076
        ("<https://p1.test/l?offset=5>;rel=next", "https://p1.test/l?offset=5"),
        ('<https://p1.test/l?offset=5> ; REL = "Next"', "https://p1.test/l?offset=5"),
        ("<?offset=5>; rel=next", "?offset=5"),
        ("< /l?offset=5 >; rel=next", "/l?offset=5"),
        ('<a>; rel="prev", <b>; rel="next", <c>; rel="last"', "b"),
        ('<a>; rel="first";title="x, <y>; rel=next", <b>; rel=next', "b"),
        ('<a?x=1,2;3>; rel="next"', "a?x=1,2;3"),
        ('<a>; rel="last next"', "a"),
        ('<a>; title="to; come"; rel=next; type="application/json"', "a"),
        ('<a>; title="say \\"rel=prev\\""; rel=next', "a"),
        ("<a>; foo; rel=next", "a"),
        ("<a>; rel=next, <b>; rel=next", "a"),
        ("<a>;;rel=next", "a"),
        ("", None),  # quirk 5
        (None, None),
        (" ", None),
        ("<a>", None),
        ("<a>; rel=prev", None),
        ("<a>; rel=nextpage", None),
        ('<a>; rel=""', None),
        ("<a>; rel", None),
        ("<a>; title=next", None),
        ("<a>; xrel=next", None),
        ('<a>; title="x; rel=next"; rel=prev', None),
        ("<a>; rel=prev; rel=next", None),  # only the first counts
        ("https://p1.test/l?offset=5; rel=next", None),
        ("<a; rel=next", None),
        ("<>", None),
    ],
)
def test_the_next_page_is_where_the_next_link_leads(link: str | None, url: str | None) -> None:
    assert next_url(link) == url


@given(st.text('<>;,="\\ reln xtp\t', max_size=40))
def test_any_link_header_is_read_or_not(link: str) -> None:
    next_url(link)


# The next page

ENDPOINT = "https://p1.test/ocpi/locations"
P1 = a_platform(
    "BE-BEC:CPO",
    published={("locations", "SENDER"): ENDPOINT, ("cdrs", "SENDER"): "https://b.p1.test:8443/cdrs"},
)
QUIRK_4 = (
    "https://p1.test/ocpi/cpo/VersionNumber.v_2_2_1/ModuleID.locations/?date_from=None&date_to=None&offset=3&limit=3"
)


@pytest.mark.parametrize(
    ("url", "requested", "page"),
    [
        (f"{ENDPOINT}?offset=50&limit=50", "limit=50", NextPage("offset=50&limit=50")),
        (f"{ENDPOINT}/?limit=50&offset=50", "", NextPage("offset=50&limit=50")),
        # Scheme, path and filters of quirk 4 are wrong, the requester's own filters stand.
        (QUIRK_4, "date_from=2026-01-01T00:00:00Z", NextPage("date_from=2026-01-01T00:00:00Z&offset=3&limit=3")),
        (QUIRK_4.replace("https", "http"), "", NextPage("offset=3&limit=3")),
        (f"{ENDPOINT}?offset=5", "limit=5&offset=0", NextPage("offset=5&limit=5")),  # no limit in it
        (f"{ENDPOINT}?offset=5&limit=2", "limit=5", NextPage("offset=5&limit=2")),  # the server's maximum
        (f"{ENDPOINT}?offset=5", "", NextPage("offset=5")),
        (f"{ENDPOINT}?offset=5", "offset=0&hub_alias=abc&x=%2F+", NextPage("x=%2F+&offset=5")),
        ("?offset=5", "", NextPage("offset=5")),  # T-076: relative
        ("/ocpi/locations?offset=5", "", NextPage("offset=5")),
        ("//p1.test:9/ocpi/locations?offset=5", "", NextPage("offset=5")),  # another port of the same host
        ("https://b.p1.test/x?offset=5", "", NextPage("offset=5")),  # T-077: another host of the same platform
        ("https://P1.TEST/x?offset=5#y", "", NextPage("offset=5")),
        # Quirk 6: filters named otherwise are the requester's own too.
        (f"{ENDPOINT}?from=x&to=y&offset=2", "from=2026&to=2027", NextPage("from=2026&to=2027&offset=2")),
        # A cursor in the query.
        (f"{ENDPOINT}?cursor=a%2Fb&limit=5", "limit=9", NextPage("cursor=a%2Fb&limit=5")),
        (f"{ENDPOINT}?cursor=b", "date_to=x", NextPage("date_to=x&cursor=b")),
        (f"{ENDPOINT}?cursor=b&date_to=None", "date_to=x", NextPage("date_to=x&cursor=b")),
        (f"{ENDPOINT}?cursor=b", "cursor=a&hub_alias=abc", NextPage("cursor=b")),  # the third page
        (f"{ENDPOINT}?after=9&sort=id", "after=5&sort=id", NextPage("sort=id&after=9")),
        (f"{ENDPOINT}?page=3&type=x", "type=x&page=2&limit=5", NextPage("type=x&page=3&limit=5")),
        # A cursor in the path.
        ("https://p1.test/pages/4711", "limit=5&date_from=x", NextPage("date_from=x&limit=5", "/pages/4711")),
        ("https://p1.test/pages/47%2F11?limit=3", "", NextPage("limit=3", "/pages/47%2F11")),
        ("/pages/2", "", NextPage("", "/pages/2")),
        # Leading nowhere but to the same page, or to a stranger.
        (ENDPOINT, "limit=5", None),
        (f"{ENDPOINT}/?limit=5", "limit=5", None),
        (f"{ENDPOINT}?date_from=None", "", None),
        (f"{ENDPOINT}?x=1", "x=1", None),
        ("https://evil.test/l?offset=5", "", None),  # S19
        ("https://p1.test.evil.test/l?offset=5", "", None),
        ("https://p1.test@evil.test/l?offset=5", "", None),
        ("//evil.test/l?offset=5", "", None),
        ("ftp://p1.test/l?offset=5", "", None),
        ("javascript:alert(1)", "", None),
        ("https://[/l?offset=5", "", None),
        ("https://p1.test:port/l?offset=5", "", None),
    ],
)
def test_of_a_members_link_only_what_it_says_about_the_page_is_taken(
    url: str, requested: str, page: NextPage | None
) -> None:
    assert read_next_page(url, ENDPOINT, requested, P1) == page


def test_pages_follow_each_other_until_there_is_no_link() -> None:
    """Every page's Link is read with the query that the page was asked with."""
    asked = ["limit=2&date_from=x"]
    for cursor in "abcd":
        page = read_next_page(f"{ENDPOINT}?cursor={cursor}", ENDPOINT, f"{asked[-1]}&hub_alias=xyz", P1)
        assert page is not None
        asked.append(page.query)

    assert asked[1:] == [f"date_from=x&cursor={cursor}&limit=2" for cursor in "abcd"]


@given(st.text(max_size=40), st.text("abc=&%2Foffset limit", max_size=30))
def test_any_link_leads_to_what_fits_in_a_header_or_nowhere(url: str, requested: str) -> None:
    latin = url.encode().decode("latin-1")  # as the client reads header fields
    for start in ("", f"{ENDPOINT}?offset=", f"{ENDPOINT}?cursor=", "https://p1.test/", "https://"):
        page = read_next_page(start + latin, ENDPOINT, "", P1)
        if page is not None:
            assert all("!" <= character <= "~" for character in page.query + page.path)


# The Location of a CDR

REQUEST_URL = "https://p3.test/ocpi/receiver/cdrs"
P3 = a_platform("DE-TNM:EMSP", id=3, switches=Switches(origins=("http://files.p3.test:8080",)))


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("https://p3.test/cdrs/9f", "https://p3.test/cdrs/9f"),
        ("https://p3.test:443/cdrs/9f?x=%2F", "https://p3.test:443/cdrs/9f?x=%2F"),
        ("/ocpi/emsp/2.2.1/cdrs/9f", "https://p3.test/ocpi/emsp/2.2.1/cdrs/9f"),  # S23, T-078
        ("9f", "https://p3.test/ocpi/receiver/9f"),
        ("?id=9f", "https://p3.test/ocpi/receiver/cdrs?id=9f"),
        (" https://p3.test/cdrs/9f ", "https://p3.test/cdrs/9f"),
        ("https://p3.test/cdrs/9f#part", "https://p3.test/cdrs/9f"),
        ("http://files.p3.test:8080/9f", "http://files.p3.test:8080/9f"),
        # another scheme or port of such a host: path and query on the endpoint's own origin.
        ("http://p3.test/cdrs/9f?x=1", "https://p3.test:443/cdrs/9f?x=1"),
        ("https://p3.test:8443", "https://p3.test:443/"),
        ("https://files.p3.test/9f", "https://p3.test:443/9f"),
        (
            "https://p3.test/ocpi/emsp/VersionNumber.v_2_2_1/ModuleID.cdrs/cdr1",  # quirk 7
            "https://p3.test/ocpi/emsp/VersionNumber.v_2_2_1/ModuleID.cdrs/cdr1",
        ),
        ("/cdrs/a b", None),
        ("/cdrs/KÃ¶ln", None),
        ("https://evil.test/9f", None),
        ("//evil.test/9f", None),
        ("https://p3.test@evil.test/9f", None),
        ("https://p3.test.evil.test/9f", None),
        ("ftp://p3.test/9f", None),
        ("urn:cdr:9f", None),
        ("https://[", None),
        ("https://p3.test:port/", None),
    ],
)
def test_a_location_is_an_absolute_url_of_the_platform_or_nothing(location: str, url: str | None) -> None:
    assert read_location(location, REQUEST_URL, REQUEST_URL, P3) == url


@given(st.text(max_size=40))
def test_any_location_is_a_url_that_can_be_called_or_nothing(location: str) -> None:
    latin = location.encode().decode("latin-1")
    for start in ("", "/", "https://p3.test/", "https://", "http://p3.test:"):
        url = read_location(start + latin, REQUEST_URL, REQUEST_URL, P3)
        if url is not None:
            assert all("!" <= character <= "~" for character in url)
            assert origin_of(url) in P3.origins


def test_what_is_no_reference_resolves_to_none() -> None:
    assert resolve_reference(REQUEST_URL, "https://[") is None
    assert resolve_reference(REQUEST_URL, "x") == "https://p3.test/ocpi/receiver/x"


# The response_url

CALLBACK = "https://p3.test/cb?request_id=5678&flag=1"


@pytest.mark.parametrize(
    "url",
    [
        "https://p3.test/cb",
        "https://p3.test",
        "https://p3.test:443/cb/1?x=%2F&y",
        "HTTPS://P3.Test/cb",
        "http://files.p3.test:8080/cb",
        "https://p3.test/cb?to=a@b",
        CALLBACK,
    ],
)
def test_a_response_url_on_an_origin_of_the_platform_is_taken_as_it_is(url: str) -> None:
    assert check_response_url(url, P3) == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        "",
        5,
        [],
        {"url": "https://p3.test/cb"},
        "/cb",
        "p3.test/cb",
        "//p3.test/cb",
        "ftp://p3.test/cb",
        "file:///etc/passwd",
        "https:///cb",
        "https:/p3.test/cb",
        "https://[/cb",
        "https://p3.test:port/cb",
        "https://p3.test:99999/cb",
        "https://evil.test/",  # S20
        "https://p3.test.evil.test/cb",
        "https://evil.test/p3.test",
        "https://p3.test:8443/cb",
        "http://p3.test/cb",
        "https://files.p3.test/cb",
        "http://files.p3.test/cb",
        "https://169.254.169.254/",
        "https://user@p3.test/cb",
        "https://user:password@p3.test/cb",
        "https://@p3.test/cb",
        "https://p3.test@evil.test/cb",
        "https://p3.test\\@evil.test/cb",
        "https://evil.test\\@p3.test/cb",
        "https://p3.test\\.evil.test/cb",
        "https://p3.test/cb#fragment",
        "https://p3.test/cb#",
        "https://p3.test/c b",
        " https://p3.test/cb",
        "https://p3.test/cb\n",
        "https://p3.test/cb\r\nHost: evil.test",
        "https://p3.test/\tcb",
        "https://p3.\ttest/cb",
        "\x00https://p3.test/cb",
        "https://p3.test/cb\x7f",
        "https://p3.test/cbé",
        "https://p3.test/\u2028",
        "https://p3。test/cb",
        "https://p3%2etest/cb",
    ],
)
def test_any_other_response_url_is_2001(url: object) -> None:
    """T-080, R-036: the result would carry the platform's token there."""
    with pytest.raises(InvalidParameters, match=r"^response_url "):
        check_response_url(url, P3)


@pytest.mark.parametrize(
    ("query", "url", "rest"),
    [
        (f"duration=900&response_url={CALLBACK}", CALLBACK, "duration=900"),  # S22, R-240: un-encoded
        (f"response_url={CALLBACK}&duration=900", CALLBACK, "duration=900"),
        (f"response_url={CALLBACK}", CALLBACK, ""),
        (f"duration=900&response_url={quote(CALLBACK, safe='')}", CALLBACK, "duration=900"),
        (f"response_url={quote(CALLBACK, safe='')}&duration=900&x=%2F", CALLBACK, "duration=900&x=%2F"),
        # Encoded as little as a query allows: `:`, `/` and `?` may stand in it.
        (f"duration=900&response_url={quote(CALLBACK, safe=':/?')}", CALLBACK, "duration=900"),
        (f"response_url={quote(CALLBACK, safe=':/?')}&duration=900", CALLBACK, "duration=900"),
        ("response_url=https%3A//p3.test/cb%3Fa%3Db", "https://p3.test/cb?a=b", ""),
        ("response_url=https://p3.test/cb?to=a%26b%3Dc", "https://p3.test/cb?to=a%26b%3Dc", ""),
        ("response_url=https://p3.test/cb%2F1", "https://p3.test/cb%2F1", ""),
        ("response_url=HTTPS://p3.test/cb?a=b&c=d", "HTTPS://p3.test/cb?a=b&c=d", ""),
        ("response_url=https://p3.test/cb?response_url=x", "https://p3.test/cb?response_url=x", ""),
        ("x_response_url=1&response_url=https://p3.test/cb", "https://p3.test/cb", "x_response_url=1"),
        ("response_url=", "", ""),
        ("response_url=nonsense&duration=1", "nonsense", "duration=1"),
    ],
)
def test_the_response_url_is_taken_out_of_the_query(query: str, url: str, rest: str) -> None:
    """T-082."""
    assert take_response_url(query) == (url, rest)


@pytest.mark.parametrize(
    "query", ["", "duration=900", "x_response_url=https://p3.test", "response_url", "Response_url=x"]
)
def test_a_query_without_a_response_url_is_2001(query: str) -> None:
    with pytest.raises(InvalidParameters, match="response_url is missing"):
        take_response_url(query)


@pytest.mark.parametrize(
    "query",
    [
        "response_url=https%3A%2F%2Fp3.test&response_url=https%3A%2F%2Fp3.test",
        "response_url=https%3A%2F%2Fp3.test&duration=1&response_url=x",
        "response_url=https://p3.test/cb&duration=1&response_url=x",
    ],
)
def test_two_response_urls_are_2001(query: str) -> None:
    with pytest.raises(InvalidParameters, match="more than once"):
        take_response_url(query)


VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
OTHERS = st.lists(
    st.tuples(st.sampled_from(["duration", "x", "a_b"]), st.text("abc%2F", max_size=5)).map("=".join), max_size=3
).map("&".join)


@given(OTHERS, st.text(VISIBLE, max_size=40), OTHERS)
def test_an_encoded_response_url_survives_the_query_it_is_in(before: str, rest: str, after: str) -> None:
    url = f"https://p3.test/{rest}"
    query = "&".join(part for part in (put_response_url(before, url), after) if part)

    assert take_response_url(query) == (url, "&".join(part for part in (before, after) if part))


@given(OTHERS, st.text(VISIBLE, max_size=40), OTHERS)
def test_a_response_url_encoded_as_little_as_possible_survives_too(before: str, rest: str, after: str) -> None:
    url = f"https://p3.test/cb?id={rest}"
    parameter = f"response_url={quote(url, safe=':/?@!$()*,;')}"

    taken = take_response_url("&".join(part for part in (before, parameter, after) if part))

    assert taken == (url, "&".join(part for part in (before, after) if part))


@given(OTHERS, st.text("abc?=&./:_", max_size=30), st.booleans())
def test_an_unencoded_response_url_survives_the_query_it_is_in(before: str, rest: str, duration: bool) -> None:
    assume("response_url=" not in rest)
    url = f"https://p3.test/{rest}"
    query = f"{before}&response_url={url}" + "&duration=900" * duration

    assert take_response_url(query.removeprefix("&")) == (
        url,
        "&".join(part for part in (before, "duration=900" * duration) if part),
    )


def test_ours_is_put_last_and_encoded() -> None:
    """T-082: duration first."""
    assert put_response_url("duration=900", CALLBACK) == (
        "duration=900&response_url=https%3A%2F%2Fp3.test%2Fcb%3Frequest_id%3D5678%26flag%3D1"
    )
    assert put_response_url("", "https://h") == "response_url=https%3A%2F%2Fh"


# Other parameters


@pytest.mark.parametrize(
    ("query", "value", "rest"),
    [
        ("offset=5&hub_alias=abc&limit=5", "abc", "offset=5&limit=5"),
        ("hub_alias=abc", "abc", ""),
        ("hub_alias=a%2Fb&x=%2F", "a/b", "x=%2F"),
        ("hub%5Falias=abc&&x", "abc", "x"),
        ("hub_alias=1&hub_alias=2", "1", ""),
        ("hub_alias", "", ""),
        ("xhub_alias=1", None, "xhub_alias=1"),
        ("", None, ""),
    ],
)
def test_a_parameter_is_taken_out_of_the_query(query: str, value: str | None, rest: str) -> None:
    assert take_parameter(query, "hub_alias") == (value, rest)
    assert has_parameter(query, "hub_alias") is (value is not None)


# A member of a JSON object, in place


@pytest.mark.parametrize(
    ("body", "replaced"),
    [
        (b'{"response_url":"x"}', b'{"response_url":"NEW"}'),
        (b' { "response_url" : "x" } ', b' { "response_url" : "NEW" } '),
        (b'{"a":4.00,"response_url":"x","b":null}', b'{"a":4.00,"response_url":"NEW","b":null}'),
        (b'{"a":{"response_url":"y"},"response_url":"x"}', b'{"a":{"response_url":"y"},"response_url":"NEW"}'),
        (b'{"response_url":"x","a":[{"response_url":"y"}]}', b'{"response_url":"NEW","a":[{"response_url":"y"}]}'),
        (b'{"a":"response_url","response_url":"x"}', b'{"a":"response_url","response_url":"NEW"}'),
        (b'{"a":["response_url","x"],"response_url":"x"}', b'{"a":["response_url","x"],"response_url":"NEW"}'),
        (rb'{"response\u005furl":"x"}', rb'{"response\u005furl":"NEW"}'),
        (rb'{"response_url":"h\u0074tp:\/\/x\"}"}', b'{"response_url":"NEW"}'),
        (b'{"a":":","b":"{","c":"}","response_url":""}', b'{"a":":","b":"{","c":"}","response_url":"NEW"}'),
        ('{"ä":"Köln€","response_url":"x","ö":"ü"}'.encode(), '{"ä":"Köln€","response_url":"NEW","ö":"ü"}'.encode()),
    ],
)
def test_a_member_is_replaced_and_every_other_byte_stays(body: bytes, replaced: bytes) -> None:
    """R-113, R-227."""
    assert replace_member(body, "response_url", "NEW") == replaced


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "is missing"),
        (b'{"a":{"response_url":"x"}}', "is missing"),
        (b'[{"response_url":"x"}]', "is missing"),
        (b'["response_url","x"]', "is missing"),
        (b'"response_url"', "is missing"),
        (b"5", "is missing"),
        (b"null", "is missing"),
        (b"[]", "is missing"),
        (b'{"Response_url":"x","response_url":"y"}', "more than once"),
        (b'{"response_url":"x","RESPONSE_URL":"y"}', "more than once"),
        (b'{"a":"response_url"}', "is missing"),
        (b'{"response_url":"x","response_url":"x"}', "more than once"),
        (b'{"response_url":"x","a":1,"response_url":5}', "more than once"),
        (rb'{"response_url":"x","response\u005furl":"y"}', "more than once"),
        (b'{"response_url":5}', "is no string"),
        (b'{"response_url":null}', "is no string"),
        (b'{"response_url":{"response_url":"x"}}', "is no string"),
        (b'{"response_url":["x"]}', "is no string"),
        (b'{"response_url":true}', "is no string"),
    ],
)
def test_a_member_that_is_missing_doubled_or_no_string_is_2001(body: bytes, words: str) -> None:
    with pytest.raises(InvalidParameters, match=words):
        replace_member(body, "response_url", "NEW")


@pytest.mark.parametrize(
    ("body", "values"),
    [
        (b'{"a":1}', [b"1"]),
        (b'{ "a" : [1, {"a":2}] , "b":3}', [b'[1, {"a":2}]']),
        (b'{"a":{"a":{}}, "a":-1.5e3}', [b'{"a":{}}', b"-1.5e3"]),
        (b'{"b":{"a":1}}', []),
        (b'{"b":"a"}', []),
    ],
)
def test_the_values_of_a_member_are_found_where_they_stand(body: bytes, values: list[bytes]) -> None:
    assert [body[start:end] for start, end in member_spans(body, "a")] == values


TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["response_url", '"response_url":"x"', "{", "}]", ",", ":", "\\", '\\"', "https://x/"]),
)
VALUES: Any = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.one_of(st.just("response_url"), TEXTS), inner, max_size=3)
    ),
    max_leaves=10,
)


class Writer:
    """Writes JSON with any white space and any escapes, taken in turn from lists."""

    def __init__(self, spaces: list[str], escapes: list[int]) -> None:
        self._spaces, self._escapes = itertools.cycle(spaces), itertools.cycle(escapes)

    def text(self, value: str) -> str:
        match next(self._escapes):
            case 0:
                return json.dumps(value)
            case 1:
                return json.dumps(value, ensure_ascii=False)
            case _:  # every UTF-16 unit escaped
                units = value.encode("utf-16-be").hex()
                return '"' + "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4)) + '"'

    def value(self, value: Any) -> str:
        if isinstance(value, dict):
            return self.object([(name, self.value(inner)) for name, inner in value.items()])
        if isinstance(value, list):
            return f"[{self.space()}{','.join(self.space() + self.value(inner) + self.space() for inner in value)}]"
        return self.text(value) if isinstance(value, str) else json.dumps(value)

    def object(self, members: list[tuple[str, str]]) -> str:
        space = self.space
        inside = ",".join(
            f"{space()}{self.text(name)}{space()}:{space()}{literal}{space()}" for name, literal in members
        )
        return f"{{{space()}{inside}}}"

    def space(self) -> str:
        return next(self._spaces)


@given(
    others=st.dictionaries(TEXTS.filter(lambda name: name != "response_url"), VALUES, max_size=4),
    theirs=TEXTS,
    place=st.integers(0, 4),
    spaces=st.lists(st.sampled_from(["", " ", "\n", "\t ", "\r\n"]), min_size=1, max_size=7),
    escapes=st.lists(st.integers(0, 2), min_size=1, max_size=7),
)
def test_in_any_json_object_only_the_members_literal_changes(
    others: dict[str, Any], theirs: str, place: int, spaces: list[str], escapes: list[int]
) -> None:
    ours = "https://hub.test/ocpi/2.2.1/sender/commands/-/Xy12"
    writer = Writer(spaces, escapes)
    marker = "\N{BLACK STAR}" * 9
    members = [(name, writer.value(value)) for name, value in others.items()]
    members.insert(place, ("response_url", marker))
    before, _, after = (writer.space() + writer.object(members) + writer.space()).partition(marker)
    body = f"{before}{writer.text(theirs)}{after}".encode()
    assert json.loads(body) == others | {"response_url": theirs}

    replaced = replace_member(body, "response_url", ours)

    assert replaced == f'{before}"{ours}"{after}'.encode()
    assert json.loads(replaced) == others | {"response_url": ours}
    assert orjson.loads(replaced)["response_url"] == ours
