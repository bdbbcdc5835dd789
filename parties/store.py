"""Platforms and parties in the database. The caller opens the transaction where more than one step belongs together."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from importlib import resources
from typing import TypeAlias
from uuid import UUID

import asyncpg
import orjson
from asyncpg.pool import PoolConnectionProxy

from config.ocpi import InterfaceRole, PartyID
from parties.contracts import Rule, Selector
from parties.model import Access, PartyState, Platform, PlatformState, Role, Switches, TokenKind
from parties.tokens import Secret, SecretKeys

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


@cache
def queries(package: str = "parties", file: str = "queries.sql") -> Mapping[str, str]:
    """Give every statement of a package's SQL file by its name."""
    text = resources.files(package).joinpath(file).read_text()
    _, *parts = re.split(r"^-- (\w+) --$", text, flags=re.MULTILINE)
    return {name: statement.strip() for name, statement in zip(parts[::2], parts[1::2], strict=True)}


async def read_generation(connection: Connection) -> int:
    """Give the count of changes to anything that routing needs."""
    return int(await connection.fetchval(queries()["generation"]))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that is stored of members, as of one moment."""

    generation: int
    """The count of changes."""
    platforms: list[Platform]
    access: dict[bytes, Access]
    """What each keyed digest of a credentials token opens."""
    rules: list[Rule]
    """The contracts, those removed lately included."""


async def read_members_at_once(connection: Connection, keys: SecretKeys) -> Snapshot:
    """Read all members as of one moment, in a transaction of its own."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return await read_members(connection, keys)


async def read_members(connection: Connection, keys: SecretKeys) -> Snapshot:
    """Read the count of changes, all platforms, what each token opens, and the contracts."""
    generation = await read_generation(connection)
    endpoints: dict[int, dict[tuple[str, InterfaceRole], str]] = {}
    for row in await connection.fetch(queries()["endpoints"]):
        endpoints.setdefault(row["platform_id"], {})[(row["module"], row["role"])] = row["url"]
    roles: dict[int, list[Role]] = {}
    for row in await connection.fetch(queries()["parties"]):
        roles.setdefault(row["platform_id"], []).append(
            Role(
                PartyID(row["country_code"], row["party_id"]),
                row["role"],
                state=row["state"],
                suspended=row["suspended"],
                business_details=orjson.loads(row["business_details"]),
                status_changed_at=row["status_changed_at"],
            )
        )
    platforms = [
        _platform(row, keys, tuple(roles.get(row["id"], ())), endpoints.get(row["id"], {}))
        for row in await connection.fetch(queries()["platforms"])
    ]
    by_id = {platform.id: platform for platform in platforms}
    access = {
        row["digest"]: Access(by_id[row["platform_id"]], row["kind"], row["expires_at"])
        for row in await connection.fetch(queries()["tokens"])
    }
    return Snapshot(generation, platforms, access, await read_contracts(connection))


def _platform(
    row: asyncpg.Record,
    keys: SecretKeys,
    roles: tuple[Role, ...],
    endpoints: Mapping[tuple[str, InterfaceRole], str],
) -> Platform:
    sealed = row["outbound_token"]
    return Platform(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        roles=roles,
        version=row["version"],
        versions_url=row["versions_url"],
        details_url=row["details_url"],
        published=endpoints,
        token=keys.open_token(sealed, row["id"]) if sealed else None,
        token_base64=row["token_base64"],
        switches=read_switches(row["switches"]),
        is_online=row["is_online"],
        status_changed_at=row["status_changed_at"],
    )


def read_switches(text: str) -> Switches:
    """Read a platform's switches as stored."""
    values = orjson.loads(text)
    return Switches(
        token=values.get("token", "auto"),
        foreign_owner=values.get("foreign_owner", False),
        origins=tuple(values.get("origins", ())),
        pull=values.get("pull", True),
        catch_up=values.get("catch_up", False),
        owner_as_sender=values.get("owner_as_sender", False),
        endpoints=values.get("endpoints", {}),
    )


async def set_switches(connection: Connection, platform_id: int, switches: Switches) -> None:
    """Store how one platform deviates."""
    values = {
        "token": switches.token,
        "foreign_owner": switches.foreign_owner,
        "origins": list(switches.origins),
        "pull": switches.pull,
        "catch_up": switches.catch_up,
        "owner_as_sender": switches.owner_as_sender,
        "endpoints": dict(switches.endpoints),
    }
    await connection.execute(queries()["set_switches"], platform_id, orjson.dumps(values).decode())


async def knows_token(connection: Connection, digests: Iterable[bytes]) -> bool:
    """Whether one of these digests is a known token's."""
    return bool(await connection.fetchval(queries()["knows_token"], list(digests)))


async def lock_members(connection: Connection) -> None:
    """Wait for and hold the right to decide who holds which party, until the transaction ends."""
    await connection.execute(queries()["lock_members"])


async def token_kind(connection: Connection, platform_id: int, digests: Iterable[bytes]) -> TokenKind | None:
    """Give what one of these digests opens at this platform."""
    kind: TokenKind | None = await connection.fetchval(queries()["token_kind"], platform_id, list(digests))
    return kind


async def add_platform(connection: Connection, name: str) -> int:
    """Add a planned platform and give its id."""
    return int(await connection.fetchval(queries()["add_platform"], name))


async def set_name(connection: Connection, platform_id: int, name: str) -> None:
    """Store what the operator calls a platform."""
    await connection.execute(queries()["set_name"], platform_id, name)


async def delete_platform(connection: Connection, platform_id: int) -> None:
    """Forget a platform that never was more than planned."""
    await connection.execute(queries()["delete_platform"], platform_id)


async def set_state(connection: Connection, platform_id: int, state: PlatformState) -> None:
    """Store a platform's state."""
    await connection.execute(queries()["set_state"], platform_id, state)


async def set_online(connection: Connection, platform_id: int, *, online: bool) -> bool:
    """Store whether a platform answers; give whether that is news."""
    return await connection.fetchval(queries()["set_online"], platform_id, online) is not None


async def put_roles(connection: Connection, platform_id: int, roles: Iterable[Role], state: PartyState) -> None:
    """Store a platform's parties and roles in this state."""
    for role in roles:
        await connection.execute(
            queries()["put_party"],
            platform_id,
            role.party.country_code,
            role.party.party_id,
            role.role,
            state,
            orjson.dumps(dict(role.business_details)).decode(),
        )


async def drop_role(connection: Connection, platform_id: int, role: Role) -> None:
    """Note that a platform's credentials no longer have this role."""
    await connection.execute(
        queries()["drop_party"], platform_id, role.party.country_code, role.party.party_id, role.role
    )


async def suspend(connection: Connection, party: PartyID, role: str | None, *, suspended: bool) -> int:
    """Suspend or resume a party, in one role or in all; give how many roles that were."""
    rows = await connection.fetch(queries()["suspend_party"], party.country_code, party.party_id, role, suspended)
    return len(rows)


async def register(
    connection: Connection,
    platform_id: int,
    *,
    version: str,
    versions_url: str,
    details_url: str,
    sealed_token: bytes,
    token_base64: bool,
    endpoints: Mapping[tuple[str, InterfaceRole], str],
) -> None:
    """Store what a finished handshake said of a platform."""
    await connection.execute(
        queries()["register_platform"], platform_id, version, versions_url, details_url, sealed_token, token_base64
    )
    await connection.execute(queries()["begin_work"], platform_id)
    await connection.execute(queries()["drop_endpoints"], platform_id)
    await connection.executemany(
        queries()["add_endpoint"], [(platform_id, module, role, url) for (module, role), url in endpoints.items()]
    )


async def unregister(connection: Connection, platform_id: int) -> None:
    """Forget a platform's credentials and endpoints; its parties stay known, as suspended (T-090)."""
    await connection.execute(queries()["unregister_platform"], platform_id)
    await connection.execute(queries()["end_work"], platform_id)
    await connection.execute(queries()["drop_endpoints"], platform_id)
    await drop_tokens(connection, platform_id, "invitation", "current", "previous", "offered")


async def reseal_tokens(connection: Connection, keys: SecretKeys) -> None:
    """Seal every outbound token with the current key, so that an old one is not needed for these."""
    for row in await connection.fetch(queries()["platforms"]):
        if row["outbound_token"] and not keys.is_current(row["outbound_token"], row["id"]):
            token = keys.open_token(row["outbound_token"], row["id"])
            await connection.execute(queries()["reseal_token"], row["id"], keys.seal_token(token, row["id"]))


async def add_token(
    connection: Connection,
    platform_id: int,
    kind: TokenKind,
    token: Secret,
    keys: SecretKeys,
    expires_at: datetime | None = None,
) -> None:
    """Recognise a token from now on, in place of the platform's earlier one of that kind."""
    digest = keys.digests(token.reveal())[0]
    await connection.execute(queries()["add_token"], platform_id, kind, digest, expires_at)


async def drop_tokens(connection: Connection, platform_id: int, *kinds: TokenKind) -> None:
    """Recognise a platform's tokens of these kinds no more."""
    await connection.execute(queries()["drop_tokens"], platform_id, list(kinds))


async def drop_superseded(connection: Connection, platform_id: int, digests: Iterable[bytes]) -> None:
    """End the previous token's life, if the one just used still is the current one (T-006)."""
    await connection.execute(queries()["drop_superseded"], platform_id, list(digests))


async def keep_as_previous(connection: Connection, platform_id: int, digests: Iterable[bytes]) -> None:
    """Let the token just presented go on being valid until its successor is used; drop all others (R-072)."""
    digests = list(digests)
    kind = await token_kind(connection, platform_id, digests)
    if kind in ("current", "offered"):  # offered: it took our token, and its answer that said so was lost
        await drop_tokens(connection, platform_id, "previous")
        await connection.execute(queries()["demote_token"], platform_id, digests)
    await drop_tokens(connection, platform_id, "current", "invitation", "offered")


async def accept_offered(connection: Connection, platform_id: int) -> None:
    """Make the token that the other side has accepted the current one, the current one the previous."""
    await drop_tokens(connection, platform_id, "previous", "invitation")
    await connection.execute(queries()["current_to_previous"], platform_id)
    await connection.execute(queries()["promote_offered"], platform_id)


async def read_contracts(connection: Connection) -> list[Rule]:
    """Read every rule about who may talk to whom, those removed lately included."""
    return [_rule(row) for row in await connection.fetch(queries()["contracts"])]


async def add_contracts(connection: Connection, rules: Iterable[Rule]) -> list[Rule]:
    """Store rules, and give them with their numbers."""
    rows = [(str(one), str(other), *rest) for one, other, *rest in (rule.terms for rule in rules)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    return [_rule(row) for row in await connection.fetch(queries()["add_contracts"], *columns)] if rows else []


async def remove_contracts(connection: Connection, ids: Iterable[int]) -> list[Rule]:
    """Let rules decide nothing from now on; give those that were removed by this."""
    wanted = list(ids)
    return [_rule(row) for row in await connection.fetch(queries()["remove_contracts"], wanted)] if wanted else []


async def forget_removed_contracts(connection: Connection) -> None:
    """Forget rules that were removed more than 30 days ago. When there is none, no hub has to read anything anew."""
    ids = [row["id"] for row in await connection.fetch(queries()["contracts_to_forget"])]
    if ids:
        await connection.execute(queries()["forget_contracts"], ids)


_read_selector = lru_cache(10_000)(Selector.parse)  # every reading of the table meets the same ones


def _rule(row: asyncpg.Record) -> Rule:
    return Rule(
        _read_selector(row["sender"]),
        _read_selector(row["receiver"]),
        row["module"],
        row["allowed"],
        valid_from=row["valid_from"],
        valid_until=row["valid_until"],
        id=row["id"],
        changed_at=row["changed_at"],
        removed_at=row["removed_at"],
    )


async def put_alias(connection: Connection, alias_id: UUID, packed: bytes, expires_at: datetime | None) -> None:
    """Store a URL of a party that was too long to be sealed into one of ours."""
    await connection.execute(queries()["put_alias"], alias_id, packed, expires_at)


async def get_alias(connection: Connection, alias_id: UUID) -> bytes | None:
    """Give a stored alias, or None when there is none or its time is over."""
    packed: bytes | None = await connection.fetchval(queries()["get_alias"], alias_id)
    return packed


async def drop_expired_aliases(connection: Connection) -> None:
    """Forget stored aliases whose time is over."""
    await connection.execute(queries()["drop_expired_aliases"])
