"""The hub's settings: name, type, default and help of each; from `OCPI_HUB_*` and a TOML file."""

import os
import tomllib
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from config.operations import OPERATIONS

PREFIX = "OCPI_HUB_"
CONFIG_VARIABLE = "OCPI_HUB_CONFIG"


class SettingsError(ValueError):
    """A setting is unknown or has an unusable value; the message names it and the way out."""


def _default_data_dir() -> Path:
    if os.geteuid() == 0:  # the server runs as another user then, who could not enter root's home
        return Path("/var/lib/ocpi-hub")
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "ocpi-hub"


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _read_days(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    pairs = (part.partition("=") for part in _split(value))
    return {name.strip(): days.strip() for name, _, days in pairs}


_RETENTION = {"sessions": 30, "cdrs": 90}


def _with_default_days(days: dict[str, int]) -> dict[str, int]:
    """Keep the limits that are not named: who leaves tokens out must not keep everybody's sessions for ever by it."""
    kept = sorted({row.module for rows in OPERATIONS.values() for row in rows if row.merged})
    if unknown := sorted(set(days) - set(kept)):
        raise ValueError(f"the mirror keeps no {', '.join(unknown)}; it keeps {', '.join(kept)}")
    return _RETENTION | days


Days = Annotated[
    dict[str, Annotated[int, Field(ge=0)]], BeforeValidator(_read_days), AfterValidator(_with_default_days)
]
Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
Networks = Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(_split)]
Network = IPv4Network | IPv6Network


class Settings(BaseModel):
    """Every setting. A list is comma-separated in the environment and an array in TOML."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    host: str = Field("127.0.0.1", description="Address on which members reach the hub.")
    port: int = Field(8080, ge=0, le=65535, description="Port for members. 0 takes a free one.")
    public_url: str = Field(
        "", description="The URL under which members reach the hub, without /ocpi. Default: http://HOST:PORT."
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file of the server certificate and its chain, when no proxy in front terminates TLS."
    )
    tls_key: Path | None = Field(None, description="PEM file of the certificate's private key.")
    country_code: str = Field("NL", pattern=r"^[A-Z]{2}$", description="The hub's own OCPI country code.")
    party_id: str = Field("HUB", pattern=r"^[A-Z0-9]{3}$", description="The hub's own OCPI party id.")
    name: str = Field(
        "OCPI Hub", min_length=1, max_length=100, description="The hub's name, shown to members in its credentials."
    )
    website: str | None = Field(None, description="The hub's website, shown to members in its credentials.")

    workers: int = Field(1, ge=1, description="Processes that serve members, one per core is a good number.")

    database_url: SecretStr | None = Field(
        None, description="PostgreSQL to use, as postgresql://user:password@host/name. Unset: an embedded server."
    )
    data_dir: Path = Field(
        default_factory=_default_data_dir,
        description="Where the embedded PostgreSQL and a generated secret key live; created if missing.",
    )
    secret_key: SecretStr | None = Field(
        None,
        description="The hub's secret, 32 or more characters. Several, comma-separated: the first writes, all read.",
    )
    secret_key_file: Path | None = Field(None, description="A file that holds the secret key instead, one per line.")

    ops_host: str = Field("127.0.0.1", description="Address of /metrics, /health and /ready.")
    ops_port: int = Field(8081, ge=0, le=65535, description="Port of /metrics, /health and /ready. 0 takes a free one.")
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="Log lines as JSON or for reading; auto is for reading on a terminal, else JSON."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least level that is logged."
    )

    forward_timeout: float = Field(25, gt=0, description="Seconds a receiver may take until the head of its answer.")
    authorize_timeout: float = Field(8, gt=0, description="The same for real-time authorization.")
    connect_timeout: float = Field(5, gt=0, description="Seconds for DNS, TCP and TLS towards a member.")
    idle_timeout: float = Field(30, gt=0, description="Seconds without a byte after which a body is given up.")
    max_body: int = Field(32 * 1024 * 1024, ge=1024, description="Largest request body taken, in bytes.")
    held_body: int = Field(
        256 * 1024, ge=1024, description="Bodies up to this many bytes are held and checked; larger ones are streamed."
    )
    max_in_flight: int = Field(64, ge=1, description="Requests open at one receiving platform at a time.")
    urgent_in_flight: int = Field(
        16, ge=1, description="Further ones that only authorizations, commands and their results may use."
    )
    in_flight_wait: float = Field(1, gt=0, description="Seconds to wait for a place before answering 503.")
    fast_lane: bool = Field(True, description="Serve plain forwards without aiohttp's machinery; off for comparison.")
    drain_timeout: float = Field(6, gt=0, le=6, description="Seconds for requests under way to finish after SIGTERM.")

    allowed_networks: Networks = Field(
        (),
        description="Networks members may live in though they are private or reserved, like 10.1.0.0/16. "
        "Loopback is allowed only while the public URL is itself loopback.",
    )
    forward_headers: Words = Field((), description="Further request headers to pass on to the receiver.")
    custom_modules: Words = Field((), description="Module ids to route beside OCPI's own, like nltnm-tokens.")
    invitation_days: int = Field(14, ge=1, description="Days for which a CREDENTIALS_TOKEN_A can be used.")
    link_days: int = Field(7, ge=1, description="Days for which the hub's Link to a next page stays valid.")
    result_hours: int = Field(
        24, ge=1, description="Hours for which a response_url stays valid; for a reservation, after its expiry_date."
    )

    network: Literal["open", "closed"] = Field(
        "open", description="Whether parties may talk without a contract (open) or only where one allows it (closed)."
    )
    broadcast_without_receiver: bool = Field(
        True,
        description="Take a push of a location, tariff or token without OCPI-to headers for a broadcast; else 4001.",
    )
    ask_for_unknown_tokens: bool = Field(
        False,
        description="Ask every eMSP about a token that none has announced, when authorize comes without OCPI-to "
        "headers. Each of them learns that the token was presented.",
    )
    shared_body: int = Field(
        1024 * 1024,
        ge=1024,
        description="Largest object that is broadcast or kept in the mirror, in bytes; with all that pushes of its "
        "EVSEs, or of some of its fields, add to it, 8 times as much.",
    )
    retention: Days = Field(
        _RETENTION,
        description="Days for which the mirror keeps the objects of the modules named, like sessions=60,tokens=0; 0 "
        "leaves the module out. Others keep their default; without one, for as long as their owner is a member.",
    )
    page_limit: int = Field(
        100, ge=1, le=1000, description="Most objects on a page of a list that the hub answers itself (X-Limit)."
    )
    broadcast_timeout: float = Field(
        10, gt=0, description="Seconds a receiver may take to answer a broadcast push or another call of the hub's own."
    )
    lane_in_flight: int = Field(8, ge=1, description="Broadcast pushes open at one receiving platform at a time.")
    lane_queue: int = Field(
        1000,
        ge=1,
        description="Broadcast pushes that wait for one platform; beyond, it gets the objects' latest state.",
    )
    breaker_time: float = Field(
        5,
        gt=0,
        description="Seconds for which broadcasts pass over a platform that did not answer, before the next try.",
    )
    lane_drain_timeout: float = Field(
        10, ge=0, le=30, description="Seconds for accepted broadcasts to be delivered after SIGTERM."
    )
    silence: float = Field(
        300, gt=0, description="Seconds without a message after which the hub checks whether a platform is alive."
    )
    pulls: bool = Field(
        True,
        description="Read the platforms' Sender lists into the mirror, at registration and from time to time. "
        "`party set DE-ABC pull=off` leaves out one platform.",
    )
    pull_interval: float = Field(
        3600, gt=0, description="Seconds between two readings of what changed in a platform's Sender lists."
    )

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if not self.public_url and self.host in ("0.0.0.0", "::"):  # noqa: S104
            raise ValueError(f"public_url must be set with host {self.host}, which is no address that members can call")
        if not self.public_url:
            scheme = "https" if self.tls_certificate else "http"
            host = f"[{self.host}]" if ":" in self.host else self.host
            object.__setattr__(self, "public_url", f"{scheme}://{host}:{self.port}")
        object.__setattr__(self, "public_url", self.public_url.rstrip("/"))
        if not _is_plain_url(self.public_url):
            raise ValueError("public_url: a URL like https://hub.example is needed, without user, query or fragment")
        if len(self.public_url) > 100:
            raise ValueError("public_url: at most 100 characters, since URLs made from it must fit OCPI's 255")
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together: set both or none")
        if self.secret_key and self.secret_key_file:
            raise ValueError("secret_key and secret_key_file exclude each other: set one")
        if self.database_url and not (self.secret_key or self.secret_key_file):
            raise ValueError(
                "secret_key is missing: with database_url set, every hub on that database needs the same key, "
                "or they could not read each other; set OCPI_HUB_SECRET_KEY or OCPI_HUB_SECRET_KEY_FILE "
                "(make one with: openssl rand -hex 32)"
            )
        if not self.is_loopback and len(self.member_networks) < len(self.allowed_networks):
            raise ValueError(
                "allowed_networks: a network with loopback addresses is allowed only while the public URL is loopback"
            )
        own = {"country_code", "party_id"} - self.model_fields_set
        if not self.is_loopback and own:
            raise ValueError(
                f"{' and '.join(sorted(own))} "
                "must be set when the public URL is not loopback: members know the hub by them"
            )
        return self

    @property
    def is_loopback(self) -> bool:
        """Whether the hub's public URL is on this very machine, as in a trial."""
        host = urlsplit(self.public_url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def member_networks(self) -> tuple[Network, ...]:
        """The otherwise refused networks in which members may live."""
        loopback: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
        if self.is_loopback:
            return (*self.allowed_networks, *loopback)
        return tuple(net for net in self.allowed_networks if not any(_overlap(net, own) for own in loopback))

    @property
    def versions_url(self) -> str:
        """What a member is given to register: the hub's versions endpoint."""
        return f"{self.public_url}/ocpi/versions"

    def shown(self) -> dict[str, Any]:
        """Every setting as plain values, secrets masked."""
        values = self.model_dump(mode="json")
        for name in ("database_url", "secret_key"):
            if values[name] is not None:
                values[name] = "********"
        return values


def _is_plain_url(url: str) -> bool:
    """Whether URLs that begin with this one can be called."""
    try:
        parts = urlsplit(url)
        has_origin = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 0) >= 0
    except ValueError:  # a port that is none, half an IPv6 address
        return False
    return has_origin and all("!" <= character <= "~" and character not in "?#@" for character in url)


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def read_settings(config: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings: environment before TOML file (`config`, or the file OCPI_HUB_CONFIG names) before defaults.

    `overrides` come before all of them. Raises SettingsError naming every unknown key and unusable value.
    """
    path = config or (Path(os.environ[CONFIG_VARIABLE]) if os.environ.get(CONFIG_VARIABLE) else None)
    from_file: dict[str, Any] = {}
    if path is not None:
        try:
            from_file = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            raise SettingsError(f"The settings file {path} cannot be read: {exc}") from exc
    variables = {PREFIX + name.upper(): name for name in Settings.model_fields}
    present = [name for name in os.environ if name.upper().startswith(PREFIX) and name.upper() != CONFIG_VARIABLE]
    if unknown := sorted(name for name in present if name not in variables):
        raise SettingsError(f"Unknown setting in the environment: {', '.join(unknown)}")
    if unknown := sorted(set(from_file) - set(Settings.model_fields)):
        raise SettingsError(f"Unknown setting in {path}: {', '.join(unknown)}")
    from_environment = {variables[name]: os.environ[name] for name in present if os.environ[name]}
    try:
        return Settings(**from_file | from_environment | overrides)
    except ValidationError as exc:
        lines = [
            (".".join(str(part) for part in error["loc"]) + ": " if error["loc"] else "")
            + error["msg"].removeprefix("Value error, ")
            for error in exc.errors(include_url=False, include_input=False)
        ]
        raise SettingsError("; ".join(lines)) from exc
