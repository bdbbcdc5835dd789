"""Who a simulated platform is, and which URL of its own means what."""

import secrets
from base64 import b64encode
from urllib.parse import parse_qsl

from config.ocpi import CORRELATION_ID, FROM_COUNTRY, FROM_PARTY, InterfaceRole, PartyID
from config.operations import CLIENT_INFO, HOSTS, INTERFACES
from hub.simulator.messages import Received, read_party
from hub.simulator.objects import Object
from hub.simulator.requests import Request


def hosted_modules(*roles: str) -> tuple[tuple[str, InterfaceRole], ...]:
    """Give the modules and interfaces that a platform with these roles has."""
    return tuple(sorted({hosted for role in roles for hosted in HOSTS.get(role, ())}))


class Identity:
    """The part of a platform that knows its parties, its modules and its URLs."""

    name: str
    roles: list[tuple[str, str]]
    """Parties and their roles, like `("BE-BEC", "CPO")`."""
    token_base64: bool
    endpoint_suffix: str
    versions: list[str]
    base_path: str
    _modules: tuple[tuple[str, InterfaceRole], ...] | None
    """None: those of its roles."""
    _client_info: bool
    """Whether it is told of ClientInfo, beside its other modules."""
    _port: int = 0

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def versions_url(self) -> str:
        return f"{self.origin}{self.base_path}/versions"

    @property
    def parties(self) -> list[PartyID]:
        return list(dict.fromkeys(PartyID.parse(party) for party, _ in self.roles))

    @property
    def modules(self) -> tuple[tuple[str, InterfaceRole], ...]:
        """What its version details name beside credentials."""
        hosted = hosted_modules(*(role for _, role in self.roles)) if self._modules is None else self._modules
        return (*hosted, (CLIENT_INFO, "RECEIVER")) if self._client_info else hosted

    def endpoint(self, module: str, interface: InterfaceRole = "SENDER", version: str | None = None) -> str:
        """Give the URL of a module's interface, as the version details have it."""
        below = "credentials" if module == "credentials" else f"{interface.lower()}/{module}"
        return f"{self.origin}{self.base_path}/{version or self.versions[-1]}/{below}{self.endpoint_suffix}"

    def new_response_url(self, module: str, name: str) -> str:
        """Make a URL for the asynchronous result of one command or charging profile request."""
        return f"{self.endpoint(module).rstrip('/')}/{name}/{secrets.token_hex(8)}"

    def credentials(self, token: str) -> Object:
        """Give the credentials object with which a partner reaches this platform."""
        roles = []
        for name, role in self.roles:
            party = PartyID.parse(name)
            details = {"name": self.name, "website": None, "logo": None}
            ids = {"party_id": party.party_id, "country_code": party.country_code}
            roles.append({"role": role, "business_details": details} | ids)
        return {"token": token, "url": self.versions_url, "roles": roles}

    def authorization(self, token: str) -> str:
        """Give the Authorization header with this token, sent or awaited."""
        # OCPI 2.2.1, Authorization header: the Base64 of the token; many send it raw.
        return "Token " + (b64encode(token.encode()).decode() if self.token_base64 else token)

    def _read_request(self, received: Received) -> Request | None:
        """Give what is asked for; None when there is nothing at this URL."""
        path, _, query = received.path.partition("?")
        if not path.startswith(self.base_path + "/"):
            return None
        version, module, interface, below = "", "", INTERFACES["sender"], list[str]()
        match path.removeprefix(self.base_path + "/").removesuffix("/").split("/"):
            case ["versions"]:
                module = "versions"
            case [version]:
                module = "details"
            case [version, "credentials"]:
                module = "credentials"
            case [version, word, module, *below] if word in INTERFACES:
                interface = INTERFACES[word]
                if (module, interface) not in self.modules:
                    return None
            case _:
                return None
        if version not in ("", *self.versions):
            return None
        return Request(
            method=received.method,
            version=version,
            module=module,
            interface=interface,
            endpoint=self.endpoint(module, interface, version),
            segments=tuple(below),
            query=dict(parse_qsl(query, keep_blank_values=True)),
            body=received.body,
            owner=next((party for party in self.parties if str(party).upper() == (received.to or "").upper()), None),
            sender=read_party(received.headers, FROM_COUNTRY, FROM_PARTY),
            correlation_id=received.headers.get(CORRELATION_ID),
        )
