"""A request's facts: the URL called, who sends, to whom, for which object, and the message ids."""

import re
import string
from urllib.parse import unquote

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict

from config.ocpi import (
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    InvalidParameters,
    NotFound,
    OCPIError,
    WrongSender,
)
from config.operations import AliasKind
from parties.model import Platform, Switches
from routing.aliases import Alias
from routing.message import (
    Message,
    MessageIDs,
    Target,
    UnknownAlias,
    WrongOwner,
    read_aliased_message,
    read_ids,
    read_message,
    read_party,
    read_target,
)
from tests.routing.cast import IDS, OPERATIONS, a_message, a_platform, party, routing_headers

P1 = a_platform("BE-BEC:CPO")
P2 = a_platform("NL-ALF:CPO", "NL-ALF:EMSP", id=2)
P3 = a_platform("DE-TNM:EMSP", id=3)
P4 = a_platform("NL-TST:EMSP", "NL-MSP:EMSP", id=4)

# The URL called


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("/ocpi/2.2.1/sender/locations", Target("2.2.1", "SENDER", "locations", "", "")),
        ("/ocpi/2.2.1/sender/locations/", Target("2.2.1", "SENDER", "locations", "", "")),
        ("/ocpi/2.2.1/sender/locations?limit=5", Target("2.2.1", "SENDER", "locations", "", "limit=5")),
        ("/ocpi/2.2.1/sender/locations/?limit=5", Target("2.2.1", "SENDER", "locations", "", "limit=5")),
        ("/ocpi/2.2.1/receiver/cdrs//", Target("2.2.1", "RECEIVER", "cdrs", "", "")),
        (
            "/ocpi/2.2.1/receiver/sessions/be/bec/S%2F1%23a",  # S08
            Target("2.2.1", "RECEIVER", "sessions", "be/bec/S%2F1%23a", ""),
        ),
        ("/ocpi/2.2.1/receiver/sessions//BE/BEC/1", Target("2.2.1", "RECEIVER", "sessions", "BE/BEC/1", "")),  # quirk 3
        ("/ocpi/2.2.1/receiver/sessions///BE//BEC/1/", Target("2.2.1", "RECEIVER", "sessions", "BE/BEC/1/", "")),
        (
            "/ocpi/2.2.1/sender/tokens/%2A%41/authorize?type=%41+b&x=?y",
            Target("2.2.1", "SENDER", "tokens", "%2A%41/authorize", "type=%41+b&x=?y"),
        ),
        ("/ocpi/2.2.1/sender/x-custom/a:b@c;d", Target("2.2.1", "SENDER", "x-custom", "a:b@c;d", "")),
        # What should have come percent-encoded, as the server reads it.
        ("/ocpi/2.2.1/sender/tokens/Kö", Target("2.2.1", "SENDER", "tokens", "K%C3%B6", "")),
        ("/ocpi/2.2.1/sender/tokens/%41\udcff?ö", Target("2.2.1", "SENDER", "tokens", "%41%FF", "%C3%B6")),
    ],
)
def test_the_url_called_is_read_raw(url: str, target: Target) -> None:
    """R-112: ids keep their letters and their encoding."""
    assert read_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/",
        "/ocpi",
        "/ocpi/",
        "/ocpi/2.2.1",
        "/ocpi/2.2.1/sender",
        "/ocpi/2.2.1/sender/",
        "/ocpi/2.2.1/sender//x",
        "/ocpi/2.2.1/SENDER/locations",
        "/ocpi/2.2.1/cpo/locations",
        "/OCPI/2.2.1/sender/locations",
        "/x/ocpi/2.2.1/sender/locations",
        "ocpi/2.2.1/sender/locations",
        "/ocpi//2.2.1/sender/locations",
        "*",
        "?",
    ],
)
def test_what_is_no_functional_modules_url_is_not_found(url: str) -> None:
    with pytest.raises(NotFound):
        read_target(url)


@pytest.mark.parametrize("path", [".", "..", "a/..", "%2e%2E", "a%2f..", "..%5cb", "BE/BEC/../x"])
def test_a_path_that_climbs_is_not_found(path: str) -> None:
    """Behind it a receiver might find its credentials module, and answer there with the hub's token."""
    with pytest.raises(NotFound):
        read_target(f"/ocpi/2.2.1/receiver/sessions/{path}")


SEGMENT = st.text("".join(set(map(chr, range(0x21, 0x7F))) - set("/?#")), min_size=1, max_size=12)
QUERY = st.text("".join(set(map(chr, range(0x21, 0x7F))) - {"#"}), max_size=20)


@given(st.lists(SEGMENT, max_size=6), st.lists(st.integers(1, 3), min_size=7, max_size=7), st.booleans(), QUERY)
def test_any_raw_path_is_kept_but_for_doubled_slashes(
    segments: list[str], slashes: list[int], ends_in_slash: bool, query: str
) -> None:
    """S08, T-036, T-037."""
    assume(not {".", ".."} & set(re.split(r"[/\\]", unquote("/".join(segments)))))
    path = "".join("/" * count + segment for count, segment in zip(slashes, segments, strict=False))
    path += "/" * slashes[-1] if ends_in_slash else ""

    target = read_target(f"/ocpi/2.2.1/receiver/sessions{path}?{query}")

    assert target.segments == tuple(segments)
    assert target.path == "/".join(segments) + ("/" if segments and ends_in_slash else "")
    assert target.query == query


AS_READ_BY_THE_SERVER = st.binary(max_size=20).map(lambda raw: raw.decode(errors="surrogateescape"))


@given(st.one_of(st.text(max_size=20), AS_READ_BY_THE_SERVER))
def test_any_url_is_read_to_what_can_be_sent_or_not_found(url: str) -> None:
    for start in ("", "/ocpi/2.2.1/sender/", "/ocpi/2.2.1/receiver/sessions/BE/BEC/"):
        try:
            target = read_target(start + url)
        except NotFound as error:
            error.message.encode()
        else:
            assert target.path.isascii()
            assert target.query.isascii()


# Message ids


@pytest.mark.parametrize(
    ("given_ids", "read"),
    [
        ({REQUEST_ID: "r", CORRELATION_ID: "c"}, MessageIDs("r", "c")),
        ({"x-request-id": "r", "X-CORRELATION-ID": "c"}, MessageIDs("r", "c")),
        ({REQUEST_ID: "r"}, MessageIDs("r", "new")),
        ({CORRELATION_ID: "c"}, MessageIDs("new", "c")),
        ({}, MessageIDs("new", "new")),
        ({REQUEST_ID: "", CORRELATION_ID: "ü"}, MessageIDs("new", "new")),
        ({REQUEST_ID: "a\tb", CORRELATION_ID: "a b"}, MessageIDs("new", "a b")),
        ({REQUEST_ID: "\udcff", CORRELATION_ID: "x" * 300}, MessageIDs("new", "x" * 300)),
    ],
)
def test_missing_or_garbled_ids_are_replaced(given_ids: dict[str, str], read: MessageIDs) -> None:
    """R-171."""
    assert read_ids(CIMultiDict(given_ids), "new") == read


# Routing headers


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ([(TO_COUNTRY, "DE"), (TO_PARTY, "TNM")], "DE-TNM"),
        ([("ocpi-to-country-code", "de"), ("OCPI-TO-PARTY-ID", "tnm")], "de-tnm"),
        ([(TO_COUNTRY, " DE "), (TO_PARTY, "TNM\t")], "DE-TNM"),
        ([(TO_COUNTRY, "DE"), (TO_COUNTRY, "DE"), (TO_PARTY, "TNM")], "DE-TNM"),
        ([], None),
        ([(TO_COUNTRY, ""), (TO_PARTY, "")], None),
        ([(FROM_COUNTRY, "DE"), (FROM_PARTY, "TNM")], None),
    ],
)
def test_a_pair_of_routing_headers_is_a_party(fields: list[tuple[str, str]], read: str | None) -> None:
    found = read_party(CIMultiDict(fields), TO_COUNTRY, TO_PARTY)

    assert (None if found is None else str(found)) == read


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ([(TO_COUNTRY, "DE")], TO_PARTY),  # R-105, T-028
        ([(TO_PARTY, "TNM")], TO_COUNTRY),
        ([(TO_COUNTRY, "DE"), (TO_PARTY, " ")], TO_PARTY),
        ([(TO_COUNTRY, "DE"), (TO_COUNTRY, "NL"), (TO_PARTY, "TNM")], TO_COUNTRY),
        ([(TO_COUNTRY, "DE"), (TO_PARTY, "TNM"), ("ocpi-to-PARTY-id", "XYZ")], TO_PARTY),
        ([(TO_COUNTRY, "DÉ"), (TO_PARTY, "TNM")], TO_COUNTRY),
        ([(TO_COUNTRY, "DE"), (TO_PARTY, "\udcff")], TO_PARTY),
    ],
)
def test_half_a_pair_or_a_contradiction_is_2001_and_names_the_header(fields: list[tuple[str, str]], named: str) -> None:
    with pytest.raises(InvalidParameters) as caught:
        read_party(CIMultiDict(fields), TO_COUNTRY, TO_PARTY)

    assert (caught.value.http_status, caught.value.status_code) == (200, 2001)
    assert named in caught.value.message


@pytest.mark.parametrize(
    ("platform", "sender", "read"),
    [
        (P1, "BE-BEC", "BE-BEC"),
        (P1, "be-bEc", "be-bEc"),
        (P1, None, "BE-BEC"),
        (P2, None, "NL-ALF"),  # S24 (d): one party in two roles
        (P4, "NL-MSP", "NL-MSP"),
        (a_platform("BE-BEC:CPO", "BE-NEW:CPO/invited", "BE-OLD:CPO/dropped"), None, "BE-BEC"),
    ],
)
def test_the_sender_is_a_party_of_the_tokens_platform(platform: Platform, sender: str | None, read: str) -> None:
    assert str(a_message("GET sender/tokens", platform, sender=sender).sender) == read


@pytest.mark.parametrize(
    ("platform", "sender", "error"),
    [
        (P2, "BE-BEC", WrongSender),  # S24 (a), T-021
        (P1, "BE-BEX", WrongSender),
        (P1, "nonsense-undefined", WrongSender),
        (P4, None, InvalidParameters),  # S24 (d), T-024
        (a_platform("BE-BEC:CPO", "BE-NEW:CPO/invited"), "BE-NEW", WrongSender),
        (a_platform("BE-BEC:CPO", "BE-OLD:CPO/dropped"), "BE-OLD", WrongSender),
        (a_platform("BE-BEC:CPO/suspended"), "BE-BEC", WrongSender),
        (a_platform("BE-BEC:CPO/suspended"), None, WrongSender),
        (a_platform("BE-BEC:CPO/dropped"), None, InvalidParameters),
    ],
)
def test_nobody_speaks_for_another(platform: Platform, sender: str | None, error: type[OCPIError]) -> None:
    """R-106."""
    with pytest.raises(OCPIError) as caught:
        a_message("GET sender/tokens", platform, sender=sender)

    assert type(caught.value) is error
    assert (caught.value.http_status, caught.value.status_code) == (403 if error is WrongSender else 200, 2001)


def test_a_message_knows_what_was_sent() -> None:
    message = a_message("PUT receiver/sessions/be/bec/S%2F1?x=y", P1, to="de-tnm", sender="Be-bEc")

    assert (message.operation.label, message.target.path) == ("sessions.put_session", "be/bec/S%2F1")
    assert (str(message.sender), str(message.receiver)) == ("Be-bEc", "de-tnm")
    assert (message.platform, message.ids) == (P1, IDS)


@pytest.mark.parametrize(
    ("request_line", "accepted"),
    [
        ("PUT receiver/tariffs/NL/ALF/1", True),
        ("PUT receiver/tariffs/nl/alf/1", True),
        ("PUT receiver/tariffs/%4e%4C/%41LF/1", True),
        ("GET receiver/tariffs/NL/ALF/1", True),
        ("PUT receiver/tariffs/BE/BEC/1", False),  # S24 (b)
        ("GET receiver/tariffs/BE/BEC/1", False),  # T-022
        ("DELETE receiver/tariffs/BE/BEC/1", False),
        ("PATCH receiver/sessions/DE/TNM/1", False),  # quirk 26: the receiver's ids
        ("PUT receiver/locations/NL/ALX/1/2/3", False),
        ("PUT receiver/locations/%FF/%00/1", False),
        ("GET sender/locations/BE/BEC/1", True),  # T-035: a connector, no owner
        ("PUT sender/sessions/BE/charging_preferences", True),
        ("POST receiver/commands/START_SESSION", True),
        ("PUT receiver/x-custom/BE/BEC/1", True),
    ],
)
def test_the_owner_in_the_url_is_the_sender(request_line: str, accepted: bool) -> None:
    """R-269."""
    if accepted:
        a_message(request_line, P2)
        return
    with pytest.raises(WrongOwner) as caught:
        a_message(request_line, P2)
    assert (caught.value.http_status, caught.value.status_code) == (404, 2001)


def test_one_party_of_a_platform_is_not_the_owner_of_anothers_objects() -> None:
    with pytest.raises(WrongOwner, match="NL-MSP"):
        a_message("PUT receiver/tokens/NL/MSP/1", P4, sender="NL-TST")


def test_a_platform_may_be_allowed_another_owner_in_its_urls() -> None:
    """Quirk 26."""
    platform = a_platform("GB-OCN:CPO", switches=Switches(foreign_owner=True))

    assert a_message("PUT receiver/sessions/DE/TNM/S1", platform).target.path == "DE/TNM/S1"


ROUTING = [TO_COUNTRY, TO_PARTY, FROM_COUNTRY, FROM_PARTY]
ANY_CASE = st.sampled_from(ROUTING).flatmap(
    lambda name: st.lists(st.booleans(), min_size=len(name), max_size=len(name)).map(
        lambda ups: "".join(c.upper() if up else c.lower() for c, up in zip(name, ups, strict=True))
    )
)
VALUES = st.one_of(
    st.sampled_from(["BE", "be", "BEC", "bEc", "NL", "TST", "MSP", "DE", "TNM", "", " ", "undefined", "null"]),
    st.text(string.ascii_letters + string.digits, min_size=2, max_size=3),
    st.text(max_size=5),
    AS_READ_BY_THE_SERVER,
)


@given(st.lists(st.tuples(ANY_CASE, VALUES), max_size=8), st.sampled_from([P1, P2, P3, P4]))
def test_any_routing_headers_give_a_message_of_the_platform_or_an_answer(
    fields: list[tuple[str, str]], platform: Platform
) -> None:
    """Halves, doubles, any letters: never another error than one in OCPI's terms."""
    target = read_target("/ocpi/2.2.1/sender/locations")
    operation = OPERATIONS.find("2.2.1", "SENDER", "locations", "GET", ())
    message: Message | OCPIError
    try:
        message = read_message(operation, target, CIMultiDict(fields), platform, IDS)
    except OCPIError as exc:
        message = exc

    if isinstance(message, OCPIError):
        assert (message.http_status, message.status_code) in ((200, 2001), (403, 2001))
        assert message.message.encode()
    else:
        assert message.sender.key in platform.parties
        assert message.receiver is None or str(message.receiver).isascii()
        for given_country, given_party in ((TO_COUNTRY, TO_PARTY), (FROM_COUNTRY, FROM_PARTY)):
            present = [
                any(n.lower() == h.lower() and v.strip() for n, v in fields) for h in (given_country, given_party)
            ]
            assert present[0] == present[1]


# URLs that the hub gave out


def an_alias(kind: AliasKind) -> Alias:
    """BE-BEC at platform 1 was given a URL that leads to DE-TNM at platform 3."""
    return Alias(kind, 1, party("BE-BEC"), 3, party("DE-TNM"))


def read_aliased(kind: AliasKind, platform: Platform, *, to: str | None = None, sender: str | None = None) -> Message:
    target = read_target("/ocpi/2.2.1/sender/commands/-/xyz")
    operation = OPERATIONS.find("2.2.1", "SENDER", "commands", "POST", target.segments)
    return read_aliased_message(operation, target, routing_headers(to, sender), platform, IDS, an_alias(kind))


@pytest.mark.parametrize("kind", ["result", "location", "link"])
@pytest.mark.parametrize(("to", "sender"), [(None, None), ("DE-TNM", "BE-BEC"), ("de-tnm", None), (None, "be-bec")])
def test_an_alias_says_who_sends_to_whom(kind: AliasKind, to: str | None, sender: str | None) -> None:
    """T-074, T-083, quirk 16: with or without routing headers."""
    message = read_aliased(kind, P1, to=to, sender=sender)

    assert (str(message.sender), str(message.receiver)) == ("BE-BEC", "DE-TNM")


@pytest.mark.parametrize(("to", "sender"), [("BE-BEC", "DE-TNM"), ("undefined-undefined", "x-y"), ("XX-XXX", None)])
def test_the_headers_of_a_result_do_not_count(to: str | None, sender: str | None) -> None:
    """Quirk 17; commonly they are not swapped."""
    assert str(read_aliased("result", P1, to=to, sender=sender).receiver) == "DE-TNM"


def test_an_alias_is_of_no_use_to_another_platform() -> None:
    """R-233, R-180."""
    kinds: list[AliasKind] = ["result", "location", "link"]
    for kind in kinds:
        with pytest.raises(UnknownAlias) as caught:
            read_aliased(kind, P2)
        assert (caught.value.http_status, caught.value.status_code) == (404, 2001)  # T-085


@pytest.mark.parametrize("kind", ["location", "link"])
def test_a_link_is_of_no_use_to_another_party_of_the_platform(kind: AliasKind) -> None:
    with pytest.raises(UnknownAlias):
        read_aliased(kind, a_platform("BE-BEC:CPO", "BE-BEX:CPO"), sender="BE-BEX")


@pytest.mark.parametrize("kind", ["location", "link"])
def test_a_link_followed_to_another_party_is_2001(kind: AliasKind) -> None:
    """T-074."""
    with pytest.raises(InvalidParameters, match=r"NL-TST.*DE-TNM"):
        read_aliased(kind, P1, to="NL-TST")


@pytest.mark.parametrize("kind", ["result", "location", "link"])
def test_a_suspended_party_uses_no_alias_either(kind: AliasKind) -> None:
    with pytest.raises(WrongSender, match="suspended"):
        read_aliased(kind, a_platform("BE-BEC:CPO/suspended"))
