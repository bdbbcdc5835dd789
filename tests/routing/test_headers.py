"""Header fields onward and back: allow-lists, the two sides swapped, nothing that is not plain."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from routing.headers import answer_headers, check_forward_headers, onward_headers, relayed_headers
from tests.routing.cast import IDS, party

OURS = {
    "Authorization": "Token b2th",
    "X-Request-ID": "request-1",
    "X-Correlation-ID": "correlation-1",
    "OCPI-to-country-code": "DE",
    "OCPI-to-party-id": "TNM",
    "OCPI-from-country-code": "BE",
    "OCPI-from-party-id": "BEC",
    "Accept-Encoding": "identity",
}


def onward(
    incoming: dict[str, str] | CIMultiDict[str], *, has_body: bool = False, further: tuple[str, ...] = ()
) -> list[tuple[str, str]]:
    return onward_headers(
        CIMultiDict(incoming),
        authorization="Token b2th",
        sender=party("BE-BEC"),
        receiver=party("DE-TNM"),
        ids=IDS,
        has_body=has_body,
        further=further,
    )


def test_a_forwarded_request_has_the_receivers_token_new_ids_and_the_same_parties() -> None:
    """R-035, R-100, R-167, R-168."""
    assert dict(onward({})) == OURS


def test_routing_headers_keep_the_letters_of_the_parties() -> None:
    """R-011."""
    fields = dict(
        onward_headers(
            CIMultiDict(),
            authorization="Token x",
            sender=party("be-bEc"),
            receiver=party("De-tnm"),
            ids=IDS,
            has_body=False,
        )
    )

    assert [fields[name] for name in list(OURS)[3:7]] == ["De", "tnm", "be", "bEc"]


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "authorization",
        "X-Request-ID",
        "X-Correlation-ID",
        "OCPI-to-party-id",
        "ocpi-FROM-party-id",
        "Connection",
        "Keep-Alive",
        "Transfer-Encoding",
        "Content-Length",
        "Content-Encoding",
        "Expect",
        "Upgrade",
        "Host",
        "Cookie",
        "Proxy-Authorization",
        "TE",
        "Trailer",
        "X-Forwarded-For",
        "Forwarded",
        "Via",
        "User-Agent",
        "Content-Type",
        "Accept-Encoding",
        "X-Vendor",
        "Referer",
        "Origin",
        "If-None-Match",
        "Range",
    ],
)
def test_what_is_not_on_the_list_does_not_go_onward(name: str) -> None:
    assert dict(onward({name: "theirs"})) == OURS


@pytest.mark.parametrize("name", ["Accept", "traceparent", "tracestate"])
@pytest.mark.parametrize(
    ("value", "goes"), [("plain, value", True), ("Köln", False), ("a\tb", False), ("\udcff", False)]
)
def test_what_is_on_the_list_goes_onward_when_it_is_plain_ascii(name: str, value: str, goes: bool) -> None:
    assert (dict(onward({name.upper(): value})).get(name) == value) is goes


@pytest.mark.parametrize(
    ("content_type", "onward_type"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; charset=utf-8", "Application/JSON; charset=utf-8"),
        ("text/plain", "text/plain"),
        (None, "application/json"),
        ("", "application/json"),
        ("applicätion/json", "application/json"),
        ("a\x00b", "application/json"),
    ],
)
def test_a_body_goes_with_its_content_type_or_as_json(content_type: str | None, onward_type: str) -> None:
    incoming = {} if content_type is None else {"Content-Type": content_type}

    assert dict(onward(incoming, has_body=True))["Content-Type"] == onward_type


def test_without_a_body_there_is_no_content_type() -> None:
    """R-004, T-044."""
    assert "Content-Type" not in dict(onward({"Content-Type": "application/json"}))


def test_further_headers_go_onward_as_configured() -> None:
    incoming = {"x-vendor": "a", "X-Other": "b", "X-Odd": "ü"}

    assert dict(onward(incoming, further=("X-Vendor", "X-Odd", "X-Missing"))) == OURS | {"X-Vendor": "a"}


@pytest.mark.parametrize(
    "name",
    ["authorization", "Host", "CONTENT-LENGTH", "Transfer-Encoding", "Cookie", "OCPI-to-party-id", "x-request-id"],
)
def test_a_header_of_the_hubs_own_cannot_be_configured(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        check_forward_headers(["X-Vendor", name])


@pytest.mark.parametrize("name", ["", "X Vendor", "X-Vendor:", "X-Vendor\r\nHost", "X-Värdig", "(x)"])
def test_what_is_no_header_name_cannot_be_configured(name: str) -> None:
    with pytest.raises(ValueError, match="forward_headers"):
        check_forward_headers([name])


def test_a_header_configured_twice_or_passed_on_anyway_goes_once() -> None:
    further = check_forward_headers(["X-Vendor", "accept", "x-vendor", "TraceParent"])

    fields = onward({"X-Vendor": "a", "Accept": "b", "traceparent": "c"}, further=further)

    assert [value for _, value in fields if value in ("a", "b", "c")] == ["b", "c", "a"]


HEADER_NAMES = st.one_of(
    st.sampled_from([*OURS, "Accept", "Content-Type", "X-Vendor", "Host", "Cookie", "Transfer-Encoding"]),
    st.text("abcXYZ-", min_size=1, max_size=8),
)


@given(st.dictionaries(HEADER_NAMES, st.text(max_size=10)), st.booleans())
def test_whatever_came_in_each_header_goes_onward_once_and_in_plain_ascii(
    incoming: dict[str, str], has_body: bool
) -> None:
    fields = onward(incoming, has_body=has_body, further=("X-Vendor",))

    names = [name.lower() for name, _ in fields]
    assert len(names) == len(set(names))
    assert set(names) <= {name.lower() for name in OURS} | {
        "accept",
        "traceparent",
        "tracestate",
        "x-vendor",
        "content-type",
    }
    assert all(value.isascii() and value.isprintable() for _, value in fields)
    assert {name: value for name, value in fields if name in OURS} == OURS


# Back


def test_an_answer_has_the_requesters_ids_and_the_two_sides_swapped() -> None:
    """R-101, R-102, R-169: set from the request, whatever the receiver sent."""
    fields = answer_headers(IDS, to=party("BE-BEC"), sender=party("De-tnm"))

    assert fields["X-Request-ID"] == "request-1"
    assert fields["X-Correlation-ID"] == "correlation-1"
    assert fields["OCPI-to-country-code"] == "BE"
    assert fields["OCPI-to-party-id"] == "BEC"
    assert fields["OCPI-from-country-code"] == "De"
    assert fields["OCPI-from-party-id"] == "tnm"
    assert fields["Content-Type"] == "application/json"


def test_an_answer_of_a_configuration_module_has_no_routing_headers() -> None:
    """R-098."""
    assert not [name for name in answer_headers(IDS) if name.lower().startswith("ocpi-")]


@pytest.mark.parametrize(
    ("received", "relayed"),
    [
        ({"x-total-count": "120", "X-LIMIT": "50"}, {"X-Total-Count": "120", "X-Limit": "50"}),
        ({"Retry-After": "5"}, {"Retry-After": "5"}),
        ({"X-Total-Count": "١٢"}, {}),
        ({"X-Total-Count": ""}, {"X-Total-Count": ""}),
        ({}, {}),
        (
            dict.fromkeys(
                [
                    "Set-Cookie",
                    "Server",
                    "Content-Length",
                    "Connection",
                    "Location",
                    "Link",
                    "Content-Type",
                    "Via",
                    "Transfer-Encoding",
                    "Content-Encoding",
                    "OCPI-to-party-id",
                    "X-Request-ID",
                    "WWW-Authenticate",
                ],
                "theirs",
            ),
            {},
        ),
    ],
)
def test_of_the_receivers_answer_only_these_are_relayed(received: dict[str, str], relayed: dict[str, str]) -> None:
    """R-117."""
    assert relayed_headers(CIMultiDict(received)) == relayed
