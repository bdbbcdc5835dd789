"""URLs of ours that stand for a party's URL: give them out, and read them again.

Sealed into the URL wherever OCPI's 255 characters suffice; else a stored row, committed before anyone sees the URL.
"""

import time
from datetime import UTC, datetime
from uuid import UUID, uuid4

import structlog

from config.ocpi import URL_MAX, InterfaceRole
from config.operations import ALIAS_PATH
from hub.database import Database
from parties import store
from parties.tokens import SecretKeys
from routing.aliases import Alias, unpack
from routing.message import UnknownAlias

log = structlog.get_logger()
_STORED = "."
"""First character of a stored alias: none of the URL-safe Base64 alphabet."""


class Aliases:
    """Gives out and reads the hub's own URLs for those of parties."""

    def __init__(self, keys: SecretKeys, public_url: str, database: Database) -> None:
        self._keys = keys
        self._base = f"{public_url}/ocpi"
        self._database = database

    def module_url(self, version: str, interface: InterfaceRole, module: str) -> str:
        """Give the URL of a module's interface at this hub; it ends in a slash, since some members just append."""
        return f"{self._base}/{version}/{interface.lower()}/{module}/"

    async def give_url(self, alias: Alias, version: str, interface: InterfaceRole, module: str) -> str:
        """Give a URL of at most 255 characters that stands for this alias. Raises DatabaseAway."""
        base = self.module_url(version, interface, module) + ALIAS_PATH[0] + "/"
        return base + await self.give_text(alias, URL_MAX - len(base))

    async def give_text(self, alias: Alias, room: int) -> str:
        """Give an alias as text of at most `room` characters, sealed or stored."""
        packed = alias.pack()
        sealed = self._keys.seal_alias(packed)
        if len(sealed) <= room:
            return sealed
        alias_id = uuid4()
        expires = datetime.fromtimestamp(alias.expires, UTC) if alias.expires else None
        async with self._database.connection() as connection:
            await store.put_alias(connection, alias_id, packed, expires)
        return _STORED + alias_id.hex

    async def read(self, text: str) -> Alias:
        """Give what an alias of ours stands for. Raises UnknownAlias, and DatabaseAway for a stored one."""
        packed = await self._read_stored(text) if text.startswith(_STORED) else self._keys.open_alias(text)
        try:
            alias = unpack(packed) if packed is not None else None
        except ValueError:
            alias = None
        if alias is None or (alias.expires and alias.expires < time.time()):
            raise UnknownAlias
        return alias

    async def _read_stored(self, text: str) -> bytes | None:
        try:
            alias_id = UUID(hex=text.removeprefix(_STORED))
        except ValueError:
            return None
        async with self._database.connection() as connection:
            return await store.get_alias(connection, alias_id)
