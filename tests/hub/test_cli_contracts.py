"""`ocpi-hub contract` as operators and their scripts run it."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

from hub.simulator import SimulatedPlatform
from parties import store
from parties.contracts import Rule
from parties.model import Role
from tests.commands import Done, assert_plain_failure, environment, environment_of, run
from tests.hubs import HubOnTest, registered
from tests.parties.cast import a_rule
from tests.waiting import until

Run = Callable[..., Awaitable[Done]]

HEAD = "from,to,module,allowed,valid_from,valid_until\n"


@pytest.fixture
def contract(database_url: str) -> Run:
    """Runs `ocpi-hub contract ...` on a database that no hub serves."""
    env = environment(database_url, port=9, public_url="http://127.0.0.1:9")

    def start(*arguments: str, **options: str) -> Awaitable[Done]:
        typed = options.pop("typed", "")
        return run("contract", *arguments, env=env | options, typed=typed)

    return start


@dataclass(frozen=True)
class Stored:
    """The database beside the commands."""

    connection: asyncpg.Connection

    async def add(self, *texts: str, **dates: datetime) -> None:
        """Add rules written `BE-BEC > *:EMSP cdrs no`."""
        await store.add_contracts(self.connection, [a_rule(text, **dates) for text in texts])

    async def rules(self) -> list[Rule]:
        """The rules that were not removed."""
        return [rule for rule in await store.read_contracts(self.connection) if rule.removed_at is None]

    async def ids(self) -> list[int | None]:
        """Their numbers."""
        return [rule.id for rule in await self.rules()]


@pytest.fixture
async def stored(database_url: str) -> AsyncIterator[Stored]:
    """A database that knows BE-BEC, DE-TNM and NL-ALF."""
    connection = await asyncpg.connect(database_url)
    for roles in (["BE-BEC:CPO"], ["DE-TNM:EMSP"], ["NL-ALF:CPO", "NL-ALF:EMSP"]):
        platform_id = await store.add_platform(connection, "")
        await store.put_roles(connection, platform_id, map(Role.parse, roles), "invited")
    yield Stored(connection)
    await connection.close()


def assert_done(done: Done, note: str = "") -> Done:
    assert done.code == 0, done
    assert note in done.err if note else done.err == "", done
    return done


async def test_a_rule_is_added_with_its_dates(contract: Run, stored: Stored) -> None:
    done = assert_done(await contract("add", "be*bec", "*:emsp", "--until", "2999-01-01"))
    assert done.out == "Added: rule 1, BE-BEC to *:EMSP about everything is allowed, until 2999-01-01T00:00:00Z\n"
    dates = ("--from", "2998-12-31", "--until", "2999-01-01T18:00+01:00")
    done = assert_done(await contract("add", "DE-TNM", "BE-BEC:CPO", "--module", "commands", "--deny", *dates))
    assert "rule 2, DE-TNM to BE-BEC:CPO about commands is refused, from 2998-12-31T00:00:00Z" in done.out
    begin, end = datetime(2998, 12, 31, tzinfo=UTC), datetime(2999, 1, 1, 17, tzinfo=UTC)
    assert [rule.terms for rule in await stored.rules()] == [
        a_rule("BE-BEC > *:EMSP", valid_until=end.replace(hour=0)).terms,
        a_rule("DE-TNM > BE-BEC:CPO commands no", valid_from=begin, valid_until=end).terms,
    ]


async def test_rules_are_shown_with_their_state_and_removed_by_number(contract: Run, stored: Stored) -> None:
    begin, end = datetime(2998, 12, 31, tzinfo=UTC), datetime(2999, 1, 1, tzinfo=UTC)
    await stored.add("BE-BEC > *:EMSP")
    await stored.add("DE-TNM > BE-BEC:CPO commands no", valid_from=begin, valid_until=end)
    await stored.add("* > * cdrs", valid_until=datetime(2001, 1, 1, tzinfo=UTC))
    table, listed = await asyncio.gather(contract("list"), contract("list", "--json"))
    lines = [line.split() for line in assert_done(table).out.splitlines()]
    assert lines[0][:5] == ["Id", "From", "To", "Module", "Allowed"]
    assert lines[1][:7] == ["1", "BE-BEC", "*:EMSP", "*", "yes", "in", "force"]
    texts = ["2998-12-31T00:00:00Z", "2999-01-01T00:00:00Z"]
    assert lines[2][:9] == ["2", "DE-TNM", "BE-BEC:CPO", "commands", "no", *texts, "not", "yet"]
    assert table.out.endswith("What no rule is about is allowed: the network is open (OCPI_HUB_NETWORK).\n")
    rows = assert_done(listed).json
    assert [row["state"] for row in rows] == ["in force", "not yet", "over"]
    assert (
        rows[1].items()
        >= {
            "id": 2,
            "from": "DE-TNM",
            "to": "BE-BEC:CPO",
            "module": "commands",
            "allowed": False,
            "valid_from": texts[0],
            "valid_until": texts[1],
        }.items()
    )
    assert datetime.fromisoformat(rows[0]["changed_at"]).tzinfo is not None

    assert_plain_failure(await contract("remove", "1", "9"), "no rule 9", "Nothing was removed")
    done = assert_done(await contract("remove", "3", "1"))
    assert [line.split(",")[0] for line in done.out.splitlines()] == ["Removed: rule 1", "Removed: rule 3"]
    assert await stored.ids() == [2]


async def test_one_command_makes_rules_for_several_modules_and_both_directions(contract: Run, stored: Stored) -> None:
    modules = ("--module", "locations", "--module", "tokens")
    done = assert_done(await contract("add", "BE-BEC", "DE-TNM", *modules, "--both", "--json"))
    assert [(row["id"], row["from"], row["to"], row["module"], row["state"]) for row in done.json] == [
        (1, "BE-BEC", "DE-TNM", "locations", "in force"),
        (2, "BE-BEC", "DE-TNM", "tokens", "in force"),
        (3, "DE-TNM", "BE-BEC", "locations", "in force"),
        (4, "DE-TNM", "BE-BEC", "tokens", "in force"),
    ]
    again = assert_done(await contract("add", "BE-BEC", "DE-TNM", "--module", "tokens", "--module", "cdrs"))
    assert [line.partition(",")[0] for line in again.out.splitlines()] == ["There already: rule 2", "Added: rule 5"]

    assert_plain_failure(await contract("remove", "BE-BEC", "NL-ALF"), "no rule from BE-BEC to NL-ALF")
    removed = assert_done(await contract("remove", "be-bec", "DE-TNM", "--both", "--module", "tokens", "--json"))
    assert [row["id"] for row in removed.json] == [2, 4]
    assert await stored.ids() == [1, 3, 5]


async def test_what_is_unknown_is_noted_and_taken_all_the_same(contract: Run) -> None:
    done = await contract("add", "XX-NEW", "*:EMPS", "--module", "location", "--json")
    assert [row["id"] for row in assert_done(done, "Note: XX-NEW is not known here yet.\n").json] == [1]
    assert "Note: EMPS is no role of OCPI's.\n" in done.err
    assert "Note: location is no module that this hub routes.\n" in done.err
    again = await contract("add", "*", "*", "--module", "x-own", OCPI_HUB_CUSTOM_MODULES="x-own")
    assert_done(again)


async def test_a_refusal_that_goes_on_deciding_is_noted(contract: Run, stored: Stored) -> None:
    await stored.add("BE-BEC > DE-TNM no")
    done = await contract("add", "BE-BEC", "DE-TNM")
    assert_done(
        done, "Note: rule 1, BE-BEC to DE-TNM about everything is refused; of two rules as specific, the refusal"
    )


async def test_what_was_not_understood_is_said_with_what_is_expected(contract: Run) -> None:
    commands = {
        ("add", "NL", "*"): "NL-ABC:CPO",
        ("add", "NL-HUB", "*"): "this hub itself",
        ("add", "*", "*", "--from", "31.12.2026"): "2026-12-31",
        ("add", "*", "*", "--from", "2026-12-31", "--until", "2026-12-31"): "is not after",
        ("add", "*", "*", "--module", "a b"): "no module",
        ("remove", "1", "BE-BEC", "*"): "numbers of rules, or FROM and TO",
        ("remove", "1", "BE-BEC"): "no party",
        ("check", "*", "BE-BEC", "cdrs"): "no party",
        ("check", "NL-HUB", "BE-BEC", "cdrs"): "this hub itself",
        ("check", "DE-TNM", "BE-BEC", "cdrs", "--interface", "CPO"): "SENDER or RECEIVER",
        ("export", "--json", "--csv"): "exclude each other",
    }
    answers = await asyncio.gather(*(contract(*command, COLUMNS="200") for command in commands))
    for (command, said), done in zip(commands.items(), answers, strict=True):
        assert (done.code, done.out) == (2, ""), (command, done)
        assert said in done.err, (command, done)
        assert "Traceback" not in done.err


async def test_a_check_says_whether_and_by_which_rule(contract: Run, stored: Stored) -> None:
    await stored.add("*:CPO > *:EMSP", "BE-BEC > DE-TNM cdrs no")
    closed = {"OCPI_HUB_NETWORK": "closed"}
    by_rule, refused, in_closed, in_open, both, one = await asyncio.gather(
        contract("check", "be-bec", "DE-TNM", "locations", **closed),
        contract("check", "BE-BEC", "DE-TNM", "cdrs"),
        contract("check", "DE-TNM", "BE-BEC", "tokens", **closed),
        contract("check", "DE-TNM", "BE-BEC", "tokens"),
        contract("check", "BE-BEC", "NL-ALF", "tokens", "--json", **closed),
        contract("check", "BE-BEC", "NL-ALF", "tokens", "--interface", "sender", "--json", **closed),
    )
    assert assert_done(by_rule).out == (
        "be-bec to DE-TNM, RECEIVER interface of locations: "
        "allowed by rule 1, *:CPO to *:EMSP about everything is allowed.\n"
    )
    assert assert_done(refused).out.endswith("not allowed by rule 2, BE-BEC to DE-TNM about cdrs is refused.\n")
    assert assert_done(in_closed).out.endswith("not allowed: the network is closed, and no rule is about it.\n")
    assert assert_done(in_open).out.endswith("allowed: the network is open, and no rule is about it.\n")
    decided = [(each["interface"], each["allowed"]) for each in assert_done(both).json["decisions"]]
    assert decided == [("SENDER", True), ("RECEIVER", False)]
    assert both.json["network"] == "closed"
    (decision,) = assert_done(one).json["decisions"]
    assert decision["rule"]["id"] == 1

    unknown = await contract("check", "BE-BEC", "XX-NEW", "cdrs", "--interface", "RECEIVER", **closed)
    assert "not allowed: the network is closed" in assert_done(unknown, "Note: XX-NEW is not known here yet.\n").out


async def test_what_is_exported_can_be_imported(contract: Run, stored: Stored, tmp_path: Path) -> None:
    await stored.add("BE-BEC > *:EMSP")
    await stored.add("DE-TNM > * cdrs no", valid_from=datetime(2026, 1, 1, microsecond=500, tzinfo=UTC))
    before = {rule.terms for rule in await stored.rules()}
    as_csv, as_json = tmp_path / "contracts.csv", tmp_path / "contracts.json"
    written = await asyncio.gather(
        contract("export", str(as_csv)),
        contract("export", str(as_json)),
        contract("export"),
        contract("export", "--json"),
    )
    for file, done, printed in zip((as_csv, as_json), written[:2], written[2:], strict=True):
        assert_done(done, f"2 rules written to {file}.\n")
        assert assert_done(printed).out == file.read_text()
    assert as_csv.read_text().startswith(HEAD + "BE-BEC,*:EMSP,*,true,,\n")

    for done in (contract("import", str(as_csv)), contract("import", "-", typed=as_json.read_text())):
        await store.remove_contracts(stored.connection, [number or 0 for number in await stored.ids()])
        assert assert_done(await done).out == "2 rules added, 0 removed, 0 there already.\n"
        assert {rule.terms for rule in await stored.rules()} == before
    done = assert_done(await contract("import", str(as_csv), "--json"))
    assert done.json == {"added": 0, "removed": 0, "kept": 2, "dry_run": False}


async def test_an_empty_list_can_be_exported(contract: Run) -> None:
    done = await asyncio.gather(
        contract("export"),
        contract("export", "--json"),
        contract("list", "--json"),
        contract("list", OCPI_HUB_NETWORK="closed"),
    )
    only = "What no rule is about is not allowed: the network is closed (OCPI_HUB_NETWORK).\n"
    assert [assert_done(each).out for each in done] == [HEAD, "[]\n", "[]\n", only]


async def test_a_file_can_replace_what_is_there_after_a_dry_run(contract: Run, stored: Stored, tmp_path: Path) -> None:
    await stored.add("BE-BEC > DE-TNM", "BE-BEC > NL-ALF")
    file = tmp_path / "contracts.txt"
    file.write_text(HEAD + "BE-BEC,NL-ALF,*,true,,\nBE-BEC,*,cdrs,false,,\nBE-BEC,*,cdrs,no,,\n")

    done = assert_done(await contract("import", str(file), "--replace", "--dry-run"))
    assert done.out.splitlines() == [
        "- rule 1, BE-BEC to DE-TNM about everything is allowed",
        "+ BE-BEC to * about cdrs is refused",
        "Nothing was changed; it would be: 1 rule added, 1 removed, 1 there already.",
    ]
    assert await stored.ids() == [1, 2]
    done = assert_done(await contract("import", str(file), "--replace", "--json"))
    assert done.json == {"added": 1, "removed": 1, "kept": 1, "dry_run": False}
    assert await stored.ids() == [2, 3]


async def test_of_a_file_with_a_bad_line_nothing_is_imported(contract: Run, stored: Stored, tmp_path: Path) -> None:
    file = tmp_path / "contracts.csv"
    file.write_text(HEAD + "*,*,*,true,,\n*,*:C\x1bPO,*,true,,\n*,*,*,,,\n")
    done = await contract("import", str(file), "--replace")
    assert_plain_failure(done, "line 3, to:", "line 4, allowed: missing", "Nothing was imported")
    assert "\x1b" not in done.err
    assert await stored.rules() == []
    file.write_bytes(b"from,to,allowed\n\xff,*,true\n")
    garbled, unreadable, unwritable = await asyncio.gather(
        contract("import", str(file)), contract("import", str(tmp_path)), contract("export", str(tmp_path))
    )
    assert_plain_failure(garbled, str(file), "not UTF-8")
    assert_plain_failure(unreadable, "cannot be read")
    assert_plain_failure(unwritable, "cannot be written")


async def test_many_rules_are_imported_in_one_go(contract: Run, stored: Stored, tmp_path: Path) -> None:
    rules = [
        {"from": f"NL-A{number:02}", "to": f"DE-{other:03}", "allowed": True}
        for number in range(50)
        for other in range(50)
    ]
    file = tmp_path / "many"
    file.write_text("\ufeff" + json.dumps(rules))
    done = await contract("import", str(file))
    assert assert_done(done, "and 90 more are not known here yet").out.startswith("2500 rules added")
    assert len(await stored.rules()) == 2500


async def test_a_rule_is_in_force_at_a_running_hub_within_a_second(hub: HubOnTest, database_url: str) -> None:
    env = environment_of(hub, database_url)
    cpo, emsp = SimulatedPlatform("P1", [("BE-BEC", "CPO")]), SimulatedPlatform("P3", [("DE-TNM", "EMSP")])

    async def asked() -> int:
        return (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).status_code

    async with registered(hub, cpo, emsp):
        assert await asked() == 1000
        assert (await run("contract", "add", "*:CPO", "*:EMSP", "--deny", env=env)).code == 0
        await until(lambda: hub.hub.live.table.contracts.rules, seconds=1)
        assert await asked() == 4003
        assert (await run("contract", "remove", "*:CPO", "*:EMSP", env=env)).code == 0
        await until(lambda: hub.hub.live.table.contracts.rules[0].removed_at, seconds=1)
        assert await asked() == 1000
