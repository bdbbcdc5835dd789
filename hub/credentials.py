"""The credentials module, served: GET, POST, PUT and DELETE of a platform's registration (OCPI 2.2.1, Credentials)."""

import contextlib
from typing import Any

import orjson
import structlog

from config.ocpi import (
    InvalidJSON,
    InvalidParameters,
    MethodNotAllowed,
    PartyID,
    Unauthorized,
)
from config.settings import Settings
from hub.database import Database, DatabaseAway
from hub.handshake import Caller, Discovery, TokenRefused
from hub.live_table import LiveTable, Presented
from hub.processes import Processes
from parties import store
from parties.model import Access, Platform
from parties.registration import (
    Credentials,
    check_roles,
    credentials_object,
    read_credentials,
    require_endpoints,
)
from parties.tokens import Secret, SecretKeys, make_token

log = structlog.get_logger()


class Registrar:
    """Registers platforms that call the hub, and lets them change and leave."""

    def __init__(
        self,
        settings: Settings,
        keys: SecretKeys,
        database: Database,
        live: LiveTable,
        caller: Caller,
        processes: Processes,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._database = database
        self._live = live
        self._caller = caller
        self._processes = processes
        self.hub = PartyID(settings.country_code, settings.party_id)

    async def answer(self, method: str, version: str, presented: Presented, body: bytes) -> Any:
        """Give the data of the answer. Raises OCPIError, after which the platform stands as before (R-065, R-071)."""
        if method == "GET":
            return self._own_credentials(presented.token)
        if method == "POST":
            return await self._post(version, presented, body)
        if method == "PUT":
            return await self._put(version, presented, body)
        if method == "DELETE":
            await self._delete(presented.access)
            return None
        raise MethodNotAllowed(allow=("GET", "POST", "PUT", "DELETE"))

    def _read(self, body: bytes) -> Credentials:
        if not body:
            raise InvalidParameters("The body is empty: a credentials object is needed.")
        try:
            value = orjson.loads(body)
        except orjson.JSONDecodeError as exc:
            raise InvalidJSON from exc
        return read_credentials(value, self.hub)

    async def _post(self, version: str, presented: Presented, body: bytes) -> dict[str, Any]:
        access = presented.access
        if access.kind != "invitation":
            raise MethodNotAllowed(
                "This platform is already registered; use PUT to change its credentials.",
                allow=("GET", "PUT", "DELETE"),
            )
        token = await self._register(version, presented, self._read(body))
        log.info("a platform has registered", action="registered", platform=access.platform.id, version=version)
        return self._own_credentials(token)

    async def _put(self, version: str, presented: Presented, body: bytes) -> dict[str, Any]:
        access = presented.access
        if not access.is_registered:
            raise MethodNotAllowed("This platform is not registered; use POST to register.", allow=("GET", "POST"))
        token = await self._register(version, presented, self._read(body))
        log.info("a platform has changed its credentials", action="updated", platform=access.platform.id)
        return self._own_credentials(token)

    async def _delete(self, access: Access) -> None:
        if not access.is_registered:
            raise MethodNotAllowed("This platform is not registered.", allow=("GET", "POST"))
        async with self._database.changing() as connection:
            await store.unregister(connection, access.platform.id)
        await self._follow()
        log.info("a platform has left", action="unregistered", platform=access.platform.id)

    async def _register(self, version: str, presented: Presented, credentials: Credentials) -> Secret:
        """Look the platform up at its own URLs, then store all at once; give its new token for the hub (R-062)."""
        platform = presented.access.platform
        check_roles(credentials.roles, platform, self._live.table.platforms.values())
        found = await self._discover(version, platform, presented.token_base64, credentials)
        require_endpoints(found.endpoints, credentials.roles)
        token = make_token()
        digests = self._keys.digests(presented.token.reveal())
        async with self._database.changing() as connection:
            # Others may have registered, left or been invited while this platform was being called.
            if await store.token_kind(connection, platform.id, digests) is None:
                raise Unauthorized("This credentials token has been used or replaced meanwhile.")
            platforms = (await store.read_members(connection, self._keys)).platforms
            now = next((each for each in platforms if each.id == platform.id), platform)
            check_roles(credentials.roles, now, platforms)
            await store_registration(connection, self._keys, now, credentials, found)
            await store.keep_as_previous(connection, platform.id, digests)
            await store.add_token(connection, platform.id, "current", token, self._keys)
        await self._follow()
        return token

    async def _discover(
        self, version: str, platform: Platform, token_base64: bool, credentials: Credentials
    ) -> Discovery:
        found = self._caller.discover
        key = platform.id
        try:
            return await found(credentials.url, credentials.token, token_base64=token_base64, version=version, key=key)
        except TokenRefused:
            # T-005: OCPI does not say with which token a PUT is verified; the old one is the second guess.
            # It goes only where it has always gone: else whoever holds one token would be given the other.
            if platform.token is None or platform.state != "registered":
                raise
            return await found(
                credentials.url,
                platform.token,
                token_base64=platform.sends_base64,
                version=version,
                key=key,
                origins=platform.origins,
            )

    async def _follow(self) -> None:
        """Let every process route by what has just been committed; should the database be away now, a little later."""
        with contextlib.suppress(DatabaseAway):
            await self._live.refresh()
            await self._processes.all_loaded(self._live.table.generation)

    def _own_credentials(self, token: Secret) -> dict[str, Any]:
        settings = self._settings
        return credentials_object(token, settings.versions_url, self.hub, settings.name, settings.website)


async def store_registration(
    connection: store.Connection, keys: SecretKeys, platform: Platform, credentials: Credentials, found: Discovery
) -> None:
    """Store what a finished handshake says of a platform, in either direction. The caller holds the transaction."""
    await store.register(
        connection,
        platform.id,
        version=found.version,
        versions_url=found.versions_url,
        details_url=found.details_url,
        sealed_token=keys.seal_token(credentials.token, platform.id),
        token_base64=found.token_base64,
        endpoints=found.endpoints,
    )
    if not platform.name:
        named = credentials.roles[0].business_details.get("name")
        if isinstance(named, str) and named.isprintable():
            await store.set_name(connection, platform.id, named[:100])
    claimed = {role.key for role in credentials.roles}
    await store.put_roles(connection, platform.id, credentials.roles, "claimed")
    for role in platform.roles:
        if role.key not in claimed and role.state == "claimed":
            await store.drop_role(connection, platform.id, role)
