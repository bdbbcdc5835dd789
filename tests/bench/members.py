"""Members by the thousand: rows in the hub's tables, as registrations would have left them."""

from collections.abc import Sequence
from dataclasses import dataclass

from hub.database import Database
from parties.model import Role
from parties.tokens import SecretKeys, make_token, write_authorization

VERSION = "2.2.1"


@dataclass(frozen=True, slots=True)
class Wish:
    """A platform to be made."""

    roles: tuple[str, ...]
    """Like `NL-AMB:CPO`."""
    endpoints: dict[tuple[str, str], str]
    """URLs by module and interface role."""


@dataclass(frozen=True, slots=True)
class Member:
    """A platform that the hub knows."""

    id: int
    parties: tuple[str, ...]
    authorization: str
    """The header by which the hub recognises it."""
    hub_authorization: str
    """The header that the hub sends it."""


async def add_members(database: Database, keys: SecretKeys, wishes: Sequence[Wish]) -> list[Member]:
    """Add platforms that are registered and connected."""
    async with database.connection() as connection, connection.transaction():
        rows = await connection.fetch(
            "INSERT INTO platform (name, state, version, versions_url)"
            " SELECT 'Bench ' || number, 'registered', $2, 'http://127.0.0.1:9/ocpi/versions'"
            " FROM generate_series(1, $1::integer) AS number RETURNING id",
            len(wishes),
            VERSION,
        )
        members, sealed, digests, parties, endpoints = [], [], [], [], []
        for (platform_id,), wish in zip(rows, wishes, strict=True):
            theirs, ours = make_token(), make_token()
            roles = [Role.parse(role) for role in wish.roles]
            sealed.append(keys.seal_token(ours, platform_id))
            digests.append(keys.digests(theirs.reveal())[0])
            parties += [
                (platform_id, role.party.country_code, role.party.party_id, role.role, "claimed") for role in roles
            ]
            endpoints += [(platform_id, module, role, url) for (module, role), url in wish.endpoints.items()]
            members.append(
                Member(
                    platform_id,
                    tuple(dict.fromkeys(str(role.party) for role in roles)),
                    write_authorization(theirs, token_base64=True),
                    write_authorization(ours, token_base64=True),
                )
            )
        ids = [member.id for member in members]
        await connection.execute(
            "UPDATE platform SET outbound_token = given.sealed"
            " FROM unnest($1::integer[], $2::bytea[]) AS given (id, sealed) WHERE platform.id = given.id",
            ids,
            sealed,
        )
        await connection.execute(
            "INSERT INTO inbound_token (digest, platform_id, kind)"
            " SELECT digest, id, 'current' FROM unnest($1::integer[], $2::bytea[]) AS given (id, digest)",
            ids,
            digests,
        )
        columns = ("platform_id", "country_code", "party_id", "role", "state")
        await connection.copy_records_to_table("party", records=parties, columns=columns)
        await connection.copy_records_to_table(
            "endpoint", records=endpoints, columns=("platform_id", "module", "role", "url")
        )
        await connection.execute(
            "INSERT INTO platform_work (platform_id, progress) SELECT unnest($1::integer[]), 0", ids
        )
        # Contracts decide about every message, as in a closed network.
        await connection.execute(
            "INSERT INTO contract (sender, receiver, allowed)"
            " VALUES ('*:CPO', '*:EMSP', true), ('*:EMSP', '*:CPO', true)"
        )
    return members


def party_name(number: int) -> str:
    """Give the party of this number, each another: `AA-000` and so on, 46,656 for each country code."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    country, rest = divmod(number, 36**3)
    party_id = digits[rest // 1296] + digits[rest // 36 % 36] + digits[rest % 36]
    return f"A{digits[10 + country]}-{party_id}"
