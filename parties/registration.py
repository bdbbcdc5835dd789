"""The credentials exchange as pure steps: what was read, whether it will do, and what the hub says of itself.

OCPI 2.2.1, Credentials and Version information. The network and the database are others' business.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from config.ocpi import (
    EndpointsMissing,
    InterfaceRole,
    InvalidParameters,
    PartnerUnusable,
    PartyID,
    VersionUnsupported,
    is_success,
)
from config.operations import HOSTS, OPERATIONS
from parties.model import Platform, Role
from parties.tokens import Secret, is_token

CONFIGURATION_MODULES = frozenset({"credentials", "versions", "hubclientinfo"})

_MODULE = re.compile(r"[!-~]{1,100}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """A credentials object: how to reach a platform, and for whom it speaks."""

    token: Secret
    url: str
    """Its versions endpoint."""
    roles: tuple[Role, ...]


def read_credentials(value: Any, hub: PartyID) -> Credentials:
    """Read a credentials object. Raises InvalidParameters naming the field (R-081)."""
    if not isinstance(value, dict):
        raise InvalidParameters("The body is no credentials object.")
    token, url, listed = value.get("token"), value.get("url"), value.get("roles")
    if not isinstance(token, str) or not is_token(token):
        raise InvalidParameters("token: 1 to 64 printable ASCII characters without blanks are needed.")
    if not isinstance(url, str) or not url:
        raise InvalidParameters("url: the URL of the versions endpoint is needed.")
    if isinstance(listed, list) and len(listed) == 1 and isinstance(listed[0], list):
        listed = listed[0]  # seen from a library that wraps its roles twice
    if not isinstance(listed, list) or not listed:
        raise InvalidParameters("roles: at least one role is needed.")
    roles = tuple(_read_role(item, f"roles[{number}]", hub) for number, item in enumerate(listed))
    if len({role.key for role in roles}) < len(roles):
        raise InvalidParameters("roles: a party is there twice in the same role.")
    return Credentials(Secret(token), url, roles)


def _read_role(value: Any, where: str, hub: PartyID) -> Role:
    if not isinstance(value, dict):
        raise InvalidParameters(f"{where}: an object is needed.")
    country, party, role = value.get("country_code"), value.get("party_id"), value.get("role")
    if not isinstance(country, str) or not (len(country) == 2 and country.isascii() and country.isalpha()):
        raise InvalidParameters(f"{where}.country_code: two letters are needed.")
    if not isinstance(party, str) or not (len(party) == 3 and party.isascii() and party.isalnum()):
        raise InvalidParameters(f"{where}.party_id: three letters or digits are needed.")
    if not isinstance(role, str) or not 1 <= len(role) <= 20 or not (role.isascii() and role.isprintable()):
        raise InvalidParameters(f"{where}.role: a role like CPO or EMSP is needed.")
    details = value.get("business_details") or {}
    if not isinstance(details, dict):
        raise InvalidParameters(f"{where}.business_details: an object is needed.")
    if not _can_be_stored(details):
        raise InvalidParameters(f"{where}.business_details: nested too deep, or with a NUL character.")
    read = PartyID(country, party)
    if read.key == hub.key:
        raise InvalidParameters(f"{where}: {read} is this hub itself.")
    return Role(read, role.upper(), business_details=details)


def check_roles(claimed: Iterable[Role], platform: Platform, others: Iterable[Platform]) -> None:
    """Refuse what the operator did not allow and what another platform holds (R-084). Raises InvalidParameters."""
    allowed = {role.key for role in platform.roles if role.state != "dropped"}
    held = {role.key for other in others if other.id != platform.id for role in other.roles}
    for role in claimed:
        if role.key in held:
            raise InvalidParameters(f"{role} is held by another platform at this hub.")
        if role.key not in allowed:
            raise InvalidParameters(f"{role} was not agreed with this hub's operator.")


def read_data(envelope: Any) -> Any:
    """Give the data of a partner's envelope. Raises PartnerUnusable (3001)."""
    if not isinstance(envelope, dict) or type(envelope.get("status_code")) is not int:
        raise PartnerUnusable("The answer is no OCPI message.")
    if not is_success(envelope["status_code"]):
        raise PartnerUnusable(f"The answer has status_code {envelope['status_code']}.")
    return envelope.get("data")


def find_version(versions: Any, wanted: str) -> str:
    """Give the details URL of one version. Raises PartnerUnusable (3001) or VersionUnsupported (3002)."""
    found = read_versions(versions)
    if wanted not in found:
        listed = ", ".join(sorted(found)) or "none"
        raise VersionUnsupported(f"OCPI {wanted} is not among the versions listed ({listed}).")
    return found[wanted]


def latest_mutual(versions: Any) -> tuple[str, str]:
    """Give the latest version that both sides speak, and its details URL (R-053)."""
    found = read_versions(versions)
    for version in sorted(OPERATIONS, key=_numbers, reverse=True):
        if version in found:
            return version, found[version]
    raise VersionUnsupported(
        f"The hub speaks OCPI {', '.join(OPERATIONS)}; listed are {', '.join(sorted(found)) or 'none'}."
    )


def read_versions(value: Any) -> dict[str, str]:
    """Read a list of versions; unknown ones stay, broken entries do not (R-052)."""
    if isinstance(value, dict):
        value = value.get("versions")  # seen from a library
    if not isinstance(value, list):
        raise PartnerUnusable("The versions endpoint gives no list of versions.")
    return {
        item["version"]: item["url"]
        for item in value
        if isinstance(item, dict) and isinstance(item.get("version"), str) and isinstance(item.get("url"), str)
    }


def read_endpoints(value: Any) -> dict[tuple[str, InterfaceRole], str]:
    """Read version details: where each module's interface is; unknown modules stay, broken entries do not."""
    listed = value.get("endpoints") if isinstance(value, dict) else None
    if not isinstance(listed, list):
        raise PartnerUnusable("The version details have no list of endpoints.")
    endpoints: dict[tuple[str, InterfaceRole], str] = {}
    for item in listed:
        if not isinstance(item, dict):
            continue
        module, role, url = item.get("identifier"), item.get("role"), item.get("url")
        if not isinstance(module, str) or not isinstance(url, str) or not _MODULE.fullmatch(module):
            continue
        if module == "credentials":
            role = "SENDER"  # OCPI 2.2.1, Endpoint class: the role of credentials is to be ignored
        if role == "SENDER" or role == "RECEIVER":
            endpoints.setdefault((module, role), url)
    return endpoints


def require_endpoints(endpoints: Mapping[tuple[str, InterfaceRole], str], roles: Iterable[Role]) -> None:
    """Require at least one functional endpoint of one of the roles claimed (T-009). Raises EndpointsMissing (3003)."""
    functional = {key for key in endpoints if key[0] not in CONFIGURATION_MODULES}
    expected = [HOSTS.get(role.role) for role in roles]
    if not functional or not any(hosts is None or hosts & functional for hosts in expected):
        names = ", ".join(sorted({role.role for role in roles}))
        raise EndpointsMissing(f"The version details list no module that a {names} offers.")


def credentials_object(
    token: Secret, versions_url: str, hub: PartyID, name: str, website: str | None
) -> dict[str, Any]:
    """Give the hub's own credentials for OCPI 2.2.1: exactly one role, HUB (R-085).

    Some libraries want the optional website and logo to be there, so they are, as null.
    """
    details = {"name": name, "website": website, "logo": None}
    role = {"role": "HUB", "business_details": details, "party_id": hub.party_id, "country_code": hub.country_code}
    return {"token": token.reveal(), "url": versions_url, "roles": [role]}


def _can_be_stored(details: dict[str, Any]) -> bool:
    """Whether PostgreSQL's jsonb takes it: it knows no U+0000."""
    try:
        return b"\\u0000" not in orjson.dumps(details)
    except TypeError:  # nested deeper than orjson writes
        return False


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
