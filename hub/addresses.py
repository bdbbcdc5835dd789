"""Which addresses and URLs the hub may call: it is called by many, and must not be led into its own network."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from ssrfguard import BlockedAddressError, Policy

MAX_URL_CHARACTERS = 255  # OCPI 2.2.1, types, URL: string(255)

_UNPRINTABLE = r"\x00-\x20\x7f-\U0010ffff"  # and what is outside ASCII, for use in a character class
_URL = re.compile(rf"(https?)://([^/?#{_UNPRINTABLE}]*)([^#{_UNPRINTABLE}]*)", re.IGNORECASE | re.ASCII)
_AUTHORITY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?")
# WHATWG URL, "ends in a number": resolvers read such a host as an IPv4 address, in octal and hexadecimal too.
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)\.?")


class URLRefused(ValueError):
    """The URL may not be called."""


class AddressDenied(URLRefused):
    """The address may not be called."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a URL leads: what is connected to."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Lower-case name or IP address, without brackets."""
    port: int
    authority: str
    """Host and port as the URL writes them: the value of the Host header."""
    is_address: bool
    """Whether the host is an IP address, which needs no look-up."""


def split_url(url: str) -> tuple[Origin, str]:
    """The origin of an absolute URL, and the path and query behind it exactly as written.

    Raises URLRefused when it is no http or https URL in plain ASCII, or has user information or a fragment.
    """
    match = _URL.fullmatch(url)
    if match is None:
        if re.search(f"[{_UNPRINTABLE}]", url):
            raise URLRefused("The URL has a space, a control character or a character outside ASCII.")
        if "#" in url:
            raise URLRefused("The URL has a fragment (#).")
        raise URLRefused("The URL does not begin with https:// and a host.")
    scheme, authority, target = match.groups()
    origin = _read_origin(scheme.lower(), authority)
    return origin, target if target.startswith("/") else "/" + target


@lru_cache(maxsize=4096)
def _read_origin(scheme: str, authority: str) -> Origin:
    if "@" in authority:
        raise URLRefused("The URL has user information (@) before its host.")
    match = _AUTHORITY.fullmatch(authority)
    if match is None or not match[1]:
        raise URLRefused("The URL has no host, or one that is not written as a host and a port.")
    host = match[1].lower()
    port = int(match[2]) if match[2] else {"http": 80, "https": 443}[scheme]
    if not 1 <= port <= 65535:
        raise URLRefused(f"The URL's port {port} does not exist.")
    if host.startswith("["):
        return Origin(scheme, str(_literal(host[1:-1], IPv6Address)), port, authority, True)
    if _ENDS_IN_NUMBER.fullmatch(host):
        return Origin(scheme, str(_literal(host, IPv4Address)), port, authority, True)
    if not _NAME.fullmatch(host):
        raise URLRefused("The URL's host is neither a host name nor an IP address.")
    return Origin(scheme, host, port, authority, False)


def _literal(text: str, kind: type[IPv4Address | IPv6Address]) -> IPv4Address | IPv6Address:
    try:
        address = kind(text)
    except ValueError:
        raise URLRefused("The URL's host is an IP address in an unusual or broken spelling.") from None
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise URLRefused("The URL's host is an IP address with a zone (%).")
    return address


class AddressGuard:
    """Which addresses a member's URL may lead to.

    Public ones; and of those that are loopback, private, link-local, multicast or otherwise reserved, the ones
    inside `allowed_networks`. Raises ValueError when an allowed network is itself a wrapper around IPv4 addresses
    (as NAT64 is), since that would allow every address.
    """

    def __init__(self, allowed_networks: Sequence[IPv4Network | IPv6Network] = (), *, allow_http: bool = False) -> None:
        self._policy = Policy(allowed_networks=tuple(allowed_networks))
        self.allow_http = allow_http

    def check_url(self, url: str) -> None:
        """Check a URL that a member has given, before it is kept. Any port is fine.

        Raises URLRefused with one plain sentence. A host name is not looked up here: what it leads to is checked
        when it is connected to, each time.
        """
        if len(url) > MAX_URL_CHARACTERS:
            raise URLRefused(f"The URL is longer than {MAX_URL_CHARACTERS} characters.")
        origin, _ = split_url(url)
        self.check_scheme(origin)
        if origin.is_address:
            self.check_address(origin.host)

    def check_scheme(self, origin: Origin) -> None:
        """Raises URLRefused for http where only https may be called."""
        if origin.scheme != "https" and not self.allow_http:
            raise URLRefused("The URL does not begin with https://.")

    def check_address(self, address: str) -> None:
        """Check an IP address that is about to be connected to. Raises AddressDenied, or ValueError if it is none."""
        parsed = ip_address(address)
        if isinstance(parsed, IPv6Address):
            # The kernel sends ::ffff:10.0.0.1 to 10.0.0.1, so what is allowed for that is allowed for this.
            parsed = parsed.ipv4_mapped or parsed
        try:
            self._policy.check_address(parsed)
        except BlockedAddressError as exc:
            raise AddressDenied(f"The address {exc.address} may not be called: {exc.reason}.") from None
