"""Which URLs and addresses may be called."""

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.addresses import AddressDenied, AddressGuard, URLRefused, split_url

PUBLIC = AddressGuard()
TRIAL = AddressGuard([ip_network("127.0.0.0/8"), ip_network("::1/128"), ip_network("10.1.0.0/16")], allow_http=True)


@pytest.mark.parametrize(
    "url",
    [
        "https://ocpi.example.com/ocpi/versions",
        "https://ocpi.example.com",
        "https://ocpi.example.com.:8443/ocpi/2.2.1?x=%2F",
        "HTTPS://OCPI.Example.COM/",
        "https://xn--bcher-kva.example/ocpi",
        "https://my_service/ocpi",
        "https://93.184.216.34:65535/ocpi",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/ocpi",
        "https://[::ffff:93.184.216.34]/ocpi",
        "https://3com.example/",
        "https://0x7f.example/",
        "https://example.com/" + "a" * 235,
    ],
)
def test_a_public_https_url_may_be_called(url: str) -> None:
    PUBLIC.check_url(url)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://ocpi.example.com/ocpi", "does not begin with https://"),
        ("ftp://ocpi.example.com/ocpi", "does not begin with https://"),
        ("file:///etc/passwd", "does not begin with https://"),
        ("//ocpi.example.com/ocpi", "does not begin with https://"),
        ("ocpi.example.com", "does not begin with https://"),
        ("", "does not begin with https://"),
        ("http\u017f://ocpi.example.com", "outside ASCII"),
        ("https://", "no host"),
        ("https:///ocpi", "no host"),
        ("https://:8443/ocpi", "no host"),
        ("https://example.com:/ocpi", "no host"),
        ("https://example.com:http/ocpi", "no host"),
        ("https://example.com:99999/ocpi", "port 99999"),
        ("https://example.com:0/ocpi", "port 0"),
        ("https://user@example.com/ocpi", "user information"),
        ("https://example.com@127.0.0.1/ocpi", "user information"),
        ("https://example.com\\@127.0.0.1/ocpi", "user information"),
        ("https://example.com\\.evil.example/ocpi", "neither a host name"),
        ("https://example.com/ocpi#fragment", "fragment"),
        ("https://example.com#", "fragment"),
        ("https://exam ple.com/ocpi", "a space"),
        ("https://example.com/oc\tpi", "control character"),
        ("https://example.com/ocpi\r\nX: y", "control character"),
        ("https://example.com/ocpi\n", "control character"),
        ("https://example.com/\x00", "control character"),
        ("https://b\u00fccher.example/ocpi", "outside ASCII"),
        ("https://\uff11\uff12\uff17.0.0.1/", "outside ASCII"),
        ("https://\u2460\u2461\u2466.0.0.1/", "outside ASCII"),
        ("https://%31%32%37.0.0.1/", "unusual or broken spelling"),
        ("https://a..b/", "neither a host name"),
        ("https://" + "a" * 64 + ".example/", "neither a host name"),
        ("https://example.com/" + "a" * 236, "longer than 255"),
        ("https://127.0.0.1/", "Loopback"),
        ("https://127.0.0.1:8443/", "Loopback"),
        ("https://[::1]/", "Loopback"),
        ("https://[0:0:0:0:0:0:0:1]:8443/", "Loopback"),
        ("https://2130706433/", "unusual or broken spelling"),
        ("https://0177.0.0.1/", "unusual or broken spelling"),
        ("https://0x7f.0.0.1/", "unusual or broken spelling"),
        ("https://0x7f000001/", "unusual or broken spelling"),
        ("https://127.1/", "unusual or broken spelling"),
        ("https://127.0.0.1./", "unusual or broken spelling"),
        ("https://1.2.3.4.5/", "unusual or broken spelling"),
        ("https://example.0x7f/", "unusual or broken spelling"),
        ("https://[127.0.0.1]/", "unusual or broken spelling"),
        ("https://[fe80::1%25eth0]/", "a zone"),
        ("https://[::1/", "no host"),
        ("https://[::ffff:127.0.0.1]/", "Loopback"),
        ("https://[::ffff:7f00:1]/", "Loopback"),
        ("https://[::127.0.0.1]/", "Loopback"),
        ("https://[64:ff9b::127.0.0.1]/", "Loopback"),
        ("https://[64:ff9b::a9fe:a9fe]/", "metadata"),
        ("https://[64:ff9b:1::1]/", "Translation"),
        ("https://[2002:7f00:1::]/", "Loopback"),
        ("https://[2001:0:4136:e378:8000:63bf:80ff:fffe]/", "Loopback"),
        ("https://0.0.0.0/", "This host"),
        ("https://169.254.169.254/latest/meta-data", "metadata"),
        ("https://[fd00:ec2::254]/", "metadata"),
        ("https://10.0.0.1/", "Private-Use"),
        ("https://192.168.1.1/", "Private-Use"),
        ("https://100.64.0.1/", "Shared Address"),
        ("https://[fe80::1]/", "Link-Local"),
        ("https://[fc00::1]/", "Unique-Local"),
        ("https://224.0.0.1/", "Multicast"),
        ("https://[ff02::1]/", "Multicast"),
        ("https://255.255.255.255/", "Broadcast"),
        ("https://240.0.0.1/", "Reserved"),
    ],
)
def test_what_may_not_be_called_is_refused_with_one_plain_sentence(url: str, reason: str) -> None:
    with pytest.raises(URLRefused, match=reason) as refused:
        PUBLIC.check_url(url)

    assert str(refused.value).endswith(".")
    assert "\n" not in str(refused.value)


def test_a_password_in_a_url_is_not_repeated_in_the_refusal() -> None:
    with pytest.raises(URLRefused) as refused:
        PUBLIC.check_url("https://user:secret@example.com/")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8080/ocpi", "http://[::1]:8080/ocpi", "https://10.1.2.3/", "http://[::ffff:10.1.2.3]/"]
)
def test_allowed_networks_and_http_open_what_they_name(url: str) -> None:
    TRIAL.check_url(url)


@pytest.mark.parametrize("address", ["10.2.0.1", "169.254.169.254", "::ffff:10.2.0.1", "fe80::1", "64:ff9b::7f00:1"])
def test_allowed_networks_open_nothing_else(address: str) -> None:
    with pytest.raises(AddressDenied):
        TRIAL.check_address(address)


def test_a_network_that_wraps_every_ipv4_address_cannot_be_allowed() -> None:
    with pytest.raises(ValueError, match="64:ff9b"):
        AddressGuard([ip_network("64:ff9b::/96")])


@pytest.mark.parametrize("text", ["localhost", "2130706433", "", "127.0.0.1:80"])
def test_only_an_address_can_be_checked_as_an_address(text: str) -> None:
    with pytest.raises(ValueError, match="does not appear to be"):
        TRIAL.check_address(text)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "authority", "target"),
    [
        ("https://Example.com", "https", "example.com", 443, "Example.com", "/"),
        ("HTTP://example.com:8080?a=b", "http", "example.com", 8080, "example.com:8080", "/?a=b"),
        ("https://e.com/a%2Fb/../*+%41//", "https", "e.com", 443, "e.com", "/a%2Fb/../*+%41//"),
        ("http://[0::1]:1/x?u=http://y/?z", "http", "::1", 1, "[0::1]:1", "/x?u=http://y/?z"),
    ],
)
def test_a_url_is_split_and_its_path_left_as_it_stands(
    url: str, scheme: str, host: str, port: int, authority: str, target: str
) -> None:
    origin, found = split_url(url)

    assert (origin.scheme, origin.host, origin.port, origin.authority) == (scheme, host, port, authority)
    assert found == target


@given(st.text(max_size=40), st.sampled_from(["", "https://", "https://[", "https://a.example/"]))
def test_any_text_is_either_a_url_or_refused(text: str, start: str) -> None:
    try:
        origin, target = split_url(start + text)
    except URLRefused:
        return

    assert (start + text)[8:].startswith(origin.authority) or origin.scheme == "http"
    assert target.startswith("/")
    assert target.isascii()
    assert target.isprintable()
