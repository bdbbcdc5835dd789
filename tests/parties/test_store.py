"""What is stored of platforms comes back as it went in, and every change of it is counted."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from config.ocpi import PartyID
from parties import store
from parties.model import Platform, Role, Switches, TokenKind
from parties.tokens import Secret, SecretKeys, make_token
from tests.hubs import SECRET_KEY
from tests.parties.cast import a_rule

KEYS = SecretKeys([SECRET_KEY])
BEC = Role.parse("BE-BEC:CPO")
TNM = Role.parse("DE-TNM:EMSP")
ENDPOINTS = {
    ("locations", "SENDER"): "https://bec.example/ocpi/2.2.1/locations",
    ("commands", "RECEIVER"): "https://bec.example/ocpi/2.2.1/commands/",
}

Connection = asyncpg.Connection


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to the test's database."""
    opened = await asyncpg.connect(database_url)
    yield opened
    await opened.close()


async def a_platform(
    connection: Connection, *roles: Role, name: str = "", token: Secret | None = None, token_base64: bool = True
) -> int:
    """Store a registered platform and give its id."""
    platform_id = await store.add_platform(connection, name)
    await store.put_roles(connection, platform_id, roles, "claimed")
    await store.register(
        connection,
        platform_id,
        version="2.2.1",
        versions_url="https://bec.example/ocpi/versions",
        details_url="https://bec.example/ocpi/2.2.1",
        sealed_token=KEYS.seal_token(token or make_token(), platform_id),
        token_base64=token_base64,
        endpoints=ENDPOINTS,
    )
    return platform_id


async def read(connection: Connection, platform_id: int, keys: SecretKeys = KEYS) -> Platform:
    """Give a platform as the hub reads it."""
    platforms = (await store.read_members_at_once(connection, keys)).platforms
    return next(platform for platform in platforms if platform.id == platform_id)


async def opens(connection: Connection, token: Secret) -> tuple[int, str] | None:
    """Give which platform a token opens, and as what."""
    access = (await store.read_members_at_once(connection, KEYS)).access
    found = access.get(KEYS.digests(token.reveal())[0])
    return (found.platform.id, found.kind) if found else None


# The statements


async def test_postgres_prepares_every_statement_on_the_migrated_schema(connection: Connection) -> None:
    refused = {}
    for name, statement in store.queries().items():
        try:
            await connection.prepare(statement)
        except asyncpg.PostgresError as exc:
            refused[name] = str(exc)
    assert refused == {}


def test_every_statement_has_a_line_that_tells_its_purpose() -> None:
    assert len(store.queries()) > 20
    without = [name for name, statement in store.queries().items() if not statement.startswith("-- ")]
    assert without == []


# Round trips


async def test_a_platform_comes_back_as_it_was_stored(connection: Connection) -> None:
    token = make_token()
    details = {"name": "Bec Énergie", "website": None, "logo": {"url": "https://bec.example/l.png", "type": "png"}}
    role = Role(PartyID("be", "Bec"), "CPO", business_details=details)
    platform_id = await a_platform(connection, role, name="Bec", token=token, token_base64=False)
    assert await read(connection, platform_id) == Platform(
        id=platform_id,
        name="Bec",
        state="registered",
        roles=(role,),
        version="2.2.1",
        versions_url="https://bec.example/ocpi/versions",
        details_url="https://bec.example/ocpi/2.2.1",
        published=ENDPOINTS,
        token=token,
        token_base64=False,
    )


async def test_a_new_platform_is_planned_and_knows_nothing(connection: Connection) -> None:
    platform_id = await store.add_platform(connection, "Bec")
    assert await read(connection, platform_id) == Platform(platform_id, "Bec", "planned", ())


async def test_switches_come_back_as_they_were_stored(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC)
    switches = Switches(
        token="raw",
        foreign_owner=True,
        origins=("https://one.example:443", "http://127.0.0.1:8000"),
        endpoints={"commands:RECEIVER": "https://bec.example/c"},
    )
    await store.set_switches(connection, platform_id, switches)
    assert (await read(connection, platform_id)).switches == switches


async def test_registering_again_replaces_every_endpoint(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC)
    await store.register(
        connection,
        platform_id,
        version="2.2.1",
        versions_url="https://new.example/versions",
        details_url="https://new.example/2.2.1",
        sealed_token=KEYS.seal_token(Secret("b2"), platform_id),
        token_base64=True,
        endpoints={("cdrs", "SENDER"): "https://new.example/cdrs"},
    )
    platform = await read(connection, platform_id)
    assert platform.published == {("cdrs", "SENDER"): "https://new.example/cdrs"}
    assert (platform.versions_url, platform.token) == ("https://new.example/versions", Secret("b2"))


async def test_unregistering_forgets_credentials_and_endpoints_and_keeps_the_parties(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC)
    token = make_token()
    await store.add_token(connection, platform_id, "current", token, KEYS)
    await store.unregister(connection, platform_id)
    platform = await read(connection, platform_id)
    assert (platform.state, platform.token, platform.published) == ("unregistered", None, {})
    assert [role.key for role in platform.roles] == [BEC.key]
    assert await opens(connection, token) is None


async def test_deleting_a_platform_leaves_nothing_of_it(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC)
    await store.add_token(connection, platform_id, "current", make_token(), KEYS)
    await store.delete_platform(connection, platform_id)
    for table in ("platform", "endpoint", "party", "inbound_token"):
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608


async def test_suspension_outlasts_a_new_registration(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC, TNM)
    assert await store.suspend(connection, PartyID("be", "bec"), None, suspended=True) == 1
    await store.put_roles(connection, platform_id, [BEC, TNM], "claimed")
    assert {role.key: role.suspended for role in (await read(connection, platform_id)).roles} == {
        BEC.key: True,
        TNM.key: False,
    }


async def test_one_role_of_a_party_can_be_suspended_alone(connection: Connection) -> None:
    both = Role.parse("BE-BEC:EMSP")
    platform_id = await a_platform(connection, BEC, both)
    assert await store.suspend(connection, BEC.party, "EMSP", suspended=True) == 1
    assert {role.role: role.suspended for role in (await read(connection, platform_id)).roles} == {
        "CPO": False,
        "EMSP": True,
    }


async def test_suspending_somebody_unknown_changes_nothing(connection: Connection) -> None:
    await a_platform(connection, BEC)
    assert await store.suspend(connection, PartyID("XX", "NOT"), None, suspended=True) == 0
    assert await store.suspend(connection, BEC.party, "EMSP", suspended=True) == 0


@pytest.mark.parametrize("expires_in", [None, timedelta(hours=1)])
async def test_a_stored_alias_comes_back_until_its_time_is_over(
    connection: Connection, expires_in: timedelta | None
) -> None:
    now = datetime.now(UTC)
    kept, over = uuid4(), uuid4()
    await store.put_alias(connection, kept, b"\x00packed", now + expires_in if expires_in else None)
    await store.put_alias(connection, over, b"\x00packed", now - timedelta(seconds=1))
    assert await store.get_alias(connection, kept) == b"\x00packed"
    assert await store.get_alias(connection, over) is None
    await store.drop_expired_aliases(connection)
    assert [row["id"] for row in await connection.fetch("SELECT id FROM stored_alias")] == [kept]


# Who holds a party


async def test_one_platform_at_most_holds_a_party_in_a_role_whatever_the_letters_case(connection: Connection) -> None:
    first, second = await a_platform(connection, BEC), await a_platform(connection)
    await store.put_roles(connection, second, [Role(PartyID("be", "bec"), "CPO")], "invited")
    assert (await read(connection, first)).roles == ()
    assert [(str(role), role.state) for role in (await read(connection, second)).roles] == [("be-bec:CPO", "invited")]
    with pytest.raises(asyncpg.UniqueViolationError):
        await connection.execute(
            "INSERT INTO party (platform_id, country_code, party_id, role, state) VALUES ($1, 'bE', 'BeC', 'CPO', $2)",
            first,
            "claimed",
        )


async def test_a_party_may_have_another_role_on_another_platform(connection: Connection) -> None:
    first = await a_platform(connection, BEC)
    second = await a_platform(connection, Role.parse("BE-BEC:EMSP"))
    assert [role.role for role in (await read(connection, first)).roles] == ["CPO"]
    assert [role.role for role in (await read(connection, second)).roles] == ["EMSP"]


# Tokens


async def test_a_platforms_token_cannot_be_read_as_anothers(connection: Connection) -> None:
    first, second = await a_platform(connection, BEC), await a_platform(connection, TNM)
    await connection.execute(
        "UPDATE platform SET outbound_token = (SELECT outbound_token FROM platform WHERE id = $1) WHERE id = $2",
        first,
        second,
    )
    with pytest.raises(ValueError, match="cannot be read"):
        await store.read_members_at_once(connection, KEYS)


async def test_no_token_is_stored_readably(connection: Connection) -> None:
    ours, theirs = make_token(), make_token()
    platform_id = await a_platform(connection, BEC, token=theirs)
    await store.add_token(connection, platform_id, "current", ours, KEYS)
    rows = [
        *await connection.fetch("SELECT outbound_token AS stored FROM platform"),
        *await connection.fetch("SELECT digest AS stored FROM inbound_token"),
    ]
    assert len(rows) == 2
    for row in rows:
        assert ours.reveal().encode() not in row["stored"]
        assert theirs.reveal().encode() not in row["stored"]


async def test_two_platforms_are_never_recognised_by_one_token(connection: Connection) -> None:
    first, second = await a_platform(connection, BEC), await a_platform(connection, TNM)
    token = make_token()
    await store.add_token(connection, first, "current", token, KEYS)
    with pytest.raises(asyncpg.UniqueViolationError):
        await store.add_token(connection, second, "current", token, KEYS)


async def test_a_token_of_the_same_kind_is_replaced(connection: Connection) -> None:
    platform_id = await store.add_platform(connection, "")
    old, new = make_token(), make_token()
    await store.add_token(connection, platform_id, "invitation", old, KEYS)
    await store.add_token(connection, platform_id, "invitation", new, KEYS)
    assert await opens(connection, old) is None
    assert await opens(connection, new) == (platform_id, "invitation")


async def test_an_expired_token_opens_nothing(connection: Connection) -> None:
    platform_id = await store.add_platform(connection, "")
    token = make_token()
    digests = KEYS.digests(token.reveal())
    await store.add_token(connection, platform_id, "invitation", token, KEYS, datetime.now(UTC) + timedelta(minutes=1))
    assert await store.knows_token(connection, digests)
    assert await store.token_kind(connection, platform_id, digests) == "invitation"
    await store.add_token(connection, platform_id, "invitation", token, KEYS, datetime.now(UTC) - timedelta(seconds=1))
    assert await opens(connection, token) is None
    assert not await store.knows_token(connection, digests)
    assert await store.token_kind(connection, platform_id, digests) is None


@pytest.mark.parametrize("presented", ["current", "previous", "offered"])
async def test_of_all_tokens_only_the_one_presented_in_a_put_goes_on(
    connection: Connection, presented: TokenKind
) -> None:
    platform_id = await a_platform(connection, BEC)
    tokens: dict[TokenKind, Secret] = {kind: make_token() for kind in ("current", "previous", "offered")}
    for kind, token in tokens.items():
        await store.add_token(connection, platform_id, kind, token, KEYS)
    await store.keep_as_previous(connection, platform_id, KEYS.digests(tokens[presented].reveal()))
    assert {kind: await opens(connection, token) for kind, token in tokens.items()} == {
        kind: (platform_id, "previous") if kind == presented else None for kind in tokens
    }


async def test_an_invitation_ends_with_the_registration(connection: Connection) -> None:
    platform_id = await store.add_platform(connection, "")
    token = make_token()
    await store.add_token(connection, platform_id, "invitation", token, KEYS)
    await store.keep_as_previous(connection, platform_id, KEYS.digests(token.reveal()))
    assert await opens(connection, token) is None


async def test_an_accepted_offer_becomes_current_and_the_current_one_previous(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC)
    older, old, new = make_token(), make_token(), make_token()
    await store.add_token(connection, platform_id, "previous", older, KEYS)
    await store.add_token(connection, platform_id, "current", old, KEYS)
    await store.add_token(connection, platform_id, "offered", new, KEYS)
    await store.accept_offered(connection, platform_id)
    assert await opens(connection, older) is None
    assert await opens(connection, old) == (platform_id, "previous")
    assert await opens(connection, new) == (platform_id, "current")


async def test_tokens_are_sealed_anew_with_the_current_key(connection: Connection) -> None:
    old_key, new_key = "old-" + SECRET_KEY, "new-" + SECRET_KEY
    old, both, new = SecretKeys([old_key]), SecretKeys([new_key, old_key]), SecretKeys([new_key])
    platform_id = await a_platform(connection, BEC)
    await connection.execute(
        "UPDATE platform SET outbound_token = $2 WHERE id = $1",
        platform_id,
        old.seal_token(Secret("theirs"), platform_id),
    )
    await store.reseal_tokens(connection, both)
    assert (await read(connection, platform_id, new)).token == Secret("theirs")
    counted = await store.read_generation(connection)
    await store.reseal_tokens(connection, both)
    assert await store.read_generation(connection) == counted


# Contracts


async def test_contracts_come_back_as_they_were_stored_and_in_their_order(connection: Connection) -> None:
    begin = datetime(2026, 1, 1, tzinfo=UTC)
    rules = [
        a_rule("*:CPO > nl-abc:EMSP"),
        a_rule("* > * x-custom no", valid_from=begin, valid_until=begin + timedelta(microseconds=1)),
    ]
    added = await store.add_contracts(connection, rules)
    assert [(rule.id, rule.terms) for rule in added] == [(1, rules[0].terms), (2, rules[1].terms)]
    found = (await store.read_members_at_once(connection, KEYS)).rules
    assert found == added == await store.read_contracts(connection)
    assert all(rule.changed_at is not None and rule.removed_at is None for rule in found)
    assert await store.add_contracts(connection, []) == []


async def test_a_removed_contract_is_remembered_for_thirty_days(connection: Connection) -> None:
    added = await store.add_contracts(connection, [a_rule(f"* > * {module}") for module in ("a", "b", "c")])
    removed = await store.remove_contracts(connection, [1, 2, 99])
    assert [rule.id for rule in removed] == [1, 2]
    assert await store.remove_contracts(connection, [1]) == []  # it keeps the time of its removal
    assert await store.remove_contracts(connection, []) == []
    assert await store.read_contracts(connection) == [*removed, added[2]]
    await connection.execute("UPDATE contract SET removed_at = now() - interval '30 days 1 minute' WHERE id = 1")
    counted = await store.read_generation(connection)
    await store.forget_removed_contracts(connection)
    assert await store.read_contracts(connection) == [removed[1], added[2]]
    assert await store.read_generation(connection) > counted


@pytest.mark.parametrize(
    "values",
    [
        "('nl-abc', '*', '*', true, NULL, NULL)",
        "('*', '*:', '*', true, NULL, NULL)",
        "('*', '*', '*', true, '2026-01-02', '2026-01-02')",
        "('*', '*', '*', true, '-infinity', NULL)",
    ],
)
async def test_no_contract_can_be_stored_that_a_hub_could_not_read(connection: Connection, values: str) -> None:
    columns = "sender, receiver, module, allowed, valid_from, valid_until"
    with pytest.raises(asyncpg.CheckViolationError):
        await connection.execute(f"INSERT INTO contract ({columns}) VALUES {values}")  # noqa: S608


# The count of changes

Change = Callable[[Connection, int], Awaitable[Any]]

CHANGES: dict[str, Change] = {
    "a platform is added": lambda connection, _: store.add_platform(connection, "x"),
    "a name": lambda connection, platform: store.set_name(connection, platform, "y"),
    "a state": lambda connection, platform: store.set_state(connection, platform, "planned"),
    "switches": lambda connection, platform: store.set_switches(connection, platform, Switches(foreign_owner=True)),
    "a role is invited": lambda connection, platform: store.put_roles(connection, platform, [TNM], "invited"),
    "a role is claimed": lambda connection, platform: store.put_roles(connection, platform, [TNM], "claimed"),
    "a role is dropped": lambda connection, platform: store.drop_role(connection, platform, TNM),
    "a party is suspended": lambda connection, _: store.suspend(connection, BEC.party, None, suspended=True),
    "a party is resumed": lambda connection, _: store.suspend(connection, BEC.party, None, suspended=False),
    "a token": lambda connection, platform: store.add_token(connection, platform, "current", Secret("one"), KEYS),
    "a token is replaced": lambda connection, platform: store.add_token(
        connection, platform, "current", Secret("two"), KEYS
    ),
    "a token is offered": lambda connection, platform: store.add_token(
        connection, platform, "offered", Secret("three"), KEYS
    ),
    "an offer is accepted": store.accept_offered,
    "a token is dropped": lambda connection, platform: store.drop_tokens(connection, platform, "previous"),
    "an endpoint": lambda connection, platform: connection.execute(
        store.queries()["add_endpoint"], platform, "cdrs", "SENDER", "https://bec.example/cdrs"
    ),
    "a contract": lambda connection, _: store.add_contracts(connection, [a_rule("* > *")]),
    "a contract is removed": lambda connection, _: store.remove_contracts(connection, [1]),
    "a platform leaves": store.unregister,
    "a platform is deleted": store.delete_platform,
}


async def test_the_generation_grows_on_every_change_of_what_routing_needs(connection: Connection) -> None:
    platform_id = await a_platform(connection, BEC)
    for name, change in CHANGES.items():
        before = await store.read_generation(connection)
        await change(connection, platform_id)
        assert await store.read_generation(connection) > before, name


async def test_the_generation_stays_when_nothing_changes_for_routing(connection: Connection) -> None:
    await a_platform(connection, BEC)
    before = await store.read_generation(connection)
    await store.read_members_at_once(connection, KEYS)
    await store.put_alias(connection, uuid4(), b"packed", None)
    await store.drop_expired_aliases(connection)
    await store.forget_removed_contracts(connection)
    async with connection.transaction():
        await store.lock_members(connection)
    assert await store.read_generation(connection) == before


async def test_a_change_that_is_rolled_back_was_none(connection: Connection) -> None:
    before = await store.read_generation(connection)
    transaction = connection.transaction()
    await transaction.start()
    await store.add_platform(connection, "x")
    await transaction.rollback()
    assert await store.read_generation(connection) == before


async def test_a_change_is_announced_once_it_is_committed(connection: Connection, database_url: str) -> None:
    heard: list[str] = []
    listener = await asyncpg.connect(database_url)
    try:
        await listener.add_listener("ocpi_hub_routing", lambda *_: heard.append("changed"))
        async with connection.transaction():
            await store.add_platform(connection, "x")
            await listener.fetchval("SELECT 1")
            assert heard == []
        await listener.fetchval("SELECT 1")
        assert heard
    finally:
        await listener.close()
