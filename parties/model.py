"""What the hub knows about those connected to it: platforms, their roles, endpoints and switches."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from config.ocpi import ConnectionStatus, InterfaceRole, PartyID
from config.operations import HOSTS
from parties.tokens import Secret, write_authorization

PlatformState = Literal["planned", "registered", "unregistered"]
PartyState = Literal["invited", "claimed", "dropped"]
TokenKind = Literal["invitation", "current", "previous", "offered"]
"""invitation: a CREDENTIALS_TOKEN_A. offered: sent in a POST or PUT of ours that is still open. previous: replaced by
current, valid until current is first used (T-006)."""


@dataclass(frozen=True, slots=True)
class Role:
    """A party in one role: what OCPI calls a CredentialsRole."""

    party: PartyID
    role: str
    state: PartyState = "claimed"
    """invited: may be registered; claimed: in the platform's credentials; dropped: was, and a later PUT left it out."""
    suspended: bool = False
    """Set by the hub's operator."""
    business_details: Mapping[str, Any] = field(default_factory=dict)
    status_changed_at: datetime | None = field(default=None, compare=False)
    """When its state or suspension last changed; None for one not read from the database."""

    @property
    def key(self) -> tuple[str, str, str]:
        """The triple that one platform at most can hold (R-084)."""
        return (*self.party.key, self.role)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `DE-ABC:EMSP`. Raises ValueError with what is expected."""
        party, colon, role = text.partition(":")
        if not colon or not role.isascii() or not role.isalnum():
            raise ValueError(f"{text!r} is no party with a role, like DE-ABC:EMSP")
        return cls(PartyID.parse(party), role.upper())

    def __str__(self) -> str:
        return f"{self.party}:{self.role}"


@dataclass(frozen=True, slots=True)
class Switches:
    """How one platform deviates, as the operator set it with `party set`."""

    token: Literal["auto", "base64", "raw"] = "auto"  # noqa: S105
    """How to send credentials tokens to it; auto: as learnt at registration."""
    foreign_owner: bool = False
    """Whether it may push with another owner than itself in the URL (some put the receiver there)."""
    origins: tuple[str, ...] = ()
    """Further origins (https://host:port) of this platform, for its response_urls."""
    pull: bool = True
    """Whether the hub reads its Sender lists into the mirror."""
    catch_up: bool = False
    """Whether it is brought up to date with what was broadcast while it was away (OCPI leaves that to it)."""
    owner_as_sender: bool = False
    """Whether broadcasts to it name the object's owner in OCPI-from, not the hub as OCPI says (T-059)."""
    endpoints: Mapping[str, str] = field(default_factory=dict)
    """Endpoint URLs in place of, or beside, those it publishes: `commands:RECEIVER` to URL."""


@dataclass(frozen=True)
class Platform:
    """A system connected to the hub, serving one or more parties in one or more roles."""

    id: int
    name: str
    state: PlatformState
    roles: tuple[Role, ...]
    version: str | None = None
    versions_url: str | None = None
    published: Mapping[tuple[str, InterfaceRole], str] = field(default_factory=dict)
    """Endpoint URLs as its version details give them."""
    token: Secret | None = None
    """The credentials token the hub sends to it."""
    token_base64: bool = True
    """What it was learnt to understand: Base64 (as OCPI says) or the raw token."""
    switches: Switches = field(default_factory=Switches)
    details_url: str | None = None
    is_online: bool = True
    """False once it has been silent and did not answer a still-alive check: OFFLINE."""
    status_changed_at: datetime | None = field(default=None, compare=False)
    """When its state, or whether it is online, last changed; None for one not read from the database."""

    @cached_property
    def endpoints(self) -> Mapping[tuple[str, InterfaceRole], str]:
        """Where each module's interface is called: as published, unless the operator set another URL."""
        urls = dict(self.published)
        for name, url in self.switches.endpoints.items():
            module, _, interface = name.partition(":")
            urls[(module, "SENDER" if interface == "SENDER" else "RECEIVER")] = url
        return urls

    @cached_property
    def origins(self) -> frozenset[str]:
        """Where this platform's credentials token may be sent (R-036)."""
        urls = [self.versions_url, self.details_url, *self.endpoints.values(), *self.switches.origins]
        return frozenset(origin_of(url) for url in urls if url)

    @cached_property
    def parties(self) -> Mapping[tuple[str, str], PartyID]:
        """The parties it speaks for, in the letters registered."""
        return {role.party.key: role.party for role in self.roles if role.state == "claimed"}

    @cached_property
    def authorization(self) -> str | None:
        """The Authorization header of every request to it."""
        return write_authorization(self.token, token_base64=self.sends_base64) if self.token else None

    @property
    def sends_base64(self) -> bool:
        """Whether tokens go to it in Base64."""
        return self.token_base64 if self.switches.token == "auto" else self.switches.token == "base64"  # noqa: S105

    def status_of(self, role: Role) -> ConnectionStatus:
        """Give a role's status as HubClientInfo knows it (R-210)."""
        if role.suspended or role.state == "dropped" or self.state == "unregistered":
            return ConnectionStatus.SUSPENDED
        if self.state == "planned" or role.state == "invited":
            return ConnectionStatus.PLANNED
        return ConnectionStatus.CONNECTED if self.is_online else ConnectionStatus.OFFLINE

    def takes_part(self, role: Role) -> bool:
        """Whether it is registered and not suspended in this role, be it online or not."""
        return self.status_of(role) in (ConnectionStatus.CONNECTED, ConnectionStatus.OFFLINE)

    def status_since(self, role: Role) -> datetime | None:
        """Give when the status of this role last changed."""
        moments = [moment for moment in (role.status_changed_at, self.status_changed_at) if moment is not None]
        return max(moments, default=None)

    @cached_property
    def active(self) -> frozenset[tuple[str, str]]:
        """The keys of the parties that take part here, each in one role at least."""
        return frozenset(role.party.key for role in self.roles if self.takes_part(role))

    @cached_property
    def party_keys(self) -> frozenset[tuple[str, str]]:
        """The keys of every party it holds, in whatever state."""
        return frozenset(role.party.key for role in self.roles)

    @cached_property
    def paused(self) -> frozenset[tuple[tuple[str, str], str, InterfaceRole]]:
        """Interfaces of a party that only roles host which take no part: as CPO suspended, as eMSP not."""
        hosts: dict[tuple[tuple[str, str], str, InterfaceRole], bool] = {}
        for role in self.roles:
            takes_part = self.takes_part(role)
            for module, interface in HOSTS.get(role.role, ()):
                key = (role.party.key, module, interface)
                hosts[key] = hosts.get(key, False) or takes_part
        return frozenset(key for key, takes_part in hosts.items() if not takes_part)

    def serves(self, party: PartyID) -> bool:
        """Whether this party takes part here, be the platform online or not."""
        return party.key in self.active

    def is_connected(self, party: PartyID) -> bool:
        """Whether it serves this party and can be called."""
        return self.is_online and party.key in self.active

    def __str__(self) -> str:
        return self.name or ", ".join(str(role) for role in self.roles) or f"platform {self.id}"


@dataclass(frozen=True, slots=True)
class Access:
    """What a credentials token presented to the hub opens."""

    platform: Platform
    kind: TokenKind
    expires_at: datetime | None = None
    """When an invitation ends; None for every other token."""

    @property
    def is_registered(self) -> bool:
        """Whether it opens functional modules; else versions and credentials only (R-032)."""
        return self.kind != "invitation" and self.platform.state == "registered"


def origin_of(url: str) -> str:
    """Give scheme, host and port of a URL in one spelling. Raises ValueError for no absolute HTTP URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no absolute http or https URL")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
