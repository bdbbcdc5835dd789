"""`ocpi-hub` as operators and their scripts run it: what it prints, where, with which exit code, and what follows."""

import asyncio
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from hub.simulator import Reply, SimulatedPlatform, envelope
from hub.simulator.objects import location
from tests.commands import Done, assert_plain_failure, environment, environment_of, run
from tests.hubs import HubOnTest, registered
from tests.sender_lists import failed, finished, member
from tests.waiting import until

Run = Callable[..., Awaitable[Done]]

COMMANDS = [
    [],
    ["serve"],
    ["routes"],
    ["demo"],
    ["config"],
    ["config", "show"],
    ["party"],
    *(
        ["party", name]
        for name in ("invite", "connect", "list", "show", "allow", "suspend", "resume", "remove", "rotate", "set")
    ),
    ["contract"],
    *(["contract", name] for name in ("add", "remove", "list", "export", "import", "check")),
]


@pytest.fixture
def alone(database_url: str) -> Run:
    """Runs commands on a database that no hub serves."""
    env = environment(database_url, port=9, public_url="http://127.0.0.1:9")
    return lambda *arguments, **options: run(*arguments, env=env, **options)


@pytest.fixture
def beside(hub: HubOnTest, database_url: str) -> Run:
    """Runs commands beside a running hub."""
    env = environment_of(hub, database_url)
    return lambda *arguments, **options: run(*arguments, env=env, **options)


@pytest.fixture
async def cpo() -> AsyncIterator[SimulatedPlatform]:
    """A CPO's platform that waits for the hub to register."""
    async with SimulatedPlatform("Bec", [("BE-BEC", "CPO")]) as platform:
        yield platform


@pytest.fixture
async def emsp(hub: HubOnTest) -> AsyncIterator[SimulatedPlatform]:
    """An eMSP's platform that is registered at the hub."""
    async with registered(hub, SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])) as (platform,):
        yield platform


def assert_done(done: Done) -> Done:
    assert (done.code, done.err) == (0, ""), done
    assert "\x1b" not in done.out, done
    return done


# Help and completion


async def test_each_command_explains_itself() -> None:
    env = environment(data_dir="/nowhere", unknown="ignored here") | {"COLUMNS": "200"}
    answers = await asyncio.gather(*(run(*command, "--help", env=env) for command in COMMANDS))
    for command, done in zip(COMMANDS, answers, strict=True):
        assert (done.code, done.err) == (0, ""), (command, done)
        assert " ".join(["Usage: ocpi-hub", *command]) in done.out
        assert "Traceback" not in done.out
    text = answers[0].out
    for name in ("serve", "party", "contract", "routes", "config", "demo"):
        assert re.search(rf"│ {name} +\w", text), name
    assert "0 done; 1 it could not be done; 2 the command was not understood" in text


async def test_no_arguments_show_the_help() -> None:
    done = await run(env=environment())
    assert "Usage: ocpi-hub" in done.out + done.err
    assert done.code in (0, 2)


async def test_shells_complete_commands() -> None:
    env = environment()
    script = await run(env=env | {"_OCPI_HUB_COMPLETE": "source_bash"})
    assert "complete " in script.out
    assert "ocpi-hub" in script.out
    words = {"_OCPI_HUB_COMPLETE": "complete_bash", "COMP_WORDS": "ocpi-hub party re", "COMP_CWORD": "2"}
    assert (await run(env=env | words)).out.split() == ["resume", "remove"]


# Settings


async def test_settings_are_shown_with_secrets_masked(tmp_path: Path) -> None:
    key, password = "k" * 40, "verysecretpassword"
    env = environment(f"postgresql://hub:{password}@127.0.0.1:9/x", secret_key=key, forward_timeout=7)
    plain, as_json = await asyncio.gather(run("config", "show", env=env), run("config", "show", "--json", env=env))
    for done in (plain, as_json):
        assert_done(done)
        assert key not in done.out
        assert password not in done.out
    assert set(as_json.json) == set(Settings.model_fields)
    assert as_json.json["database_url"] == as_json.json["secret_key"] == "********"
    assert as_json.json["forward_timeout"] == 7
    lines = dict(line.split("=", 1) for line in plain.out.splitlines())
    assert lines["OCPI_HUB_FORWARD_TIMEOUT"] == "7.0"
    assert set(lines) == {f"OCPI_HUB_{name.upper()}" for name in Settings.model_fields}


async def test_settings_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text('name = "Aus der Datei"\nport = 1234\n')
    shown = await asyncio.gather(
        run("--config", str(file), "config", "show", "--json", env=environment(port=99)),
        run("config", "show", "--json", env=environment() | {"OCPI_HUB_CONFIG": str(file)}),
    )
    assert [(done.json["name"], done.json["port"]) for done in shown] == [
        ("Aus der Datei", 99),
        ("Aus der Datei", 1234),
    ]


async def test_a_setting_that_is_unknown_or_unusable_is_named(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("prot = 1\n")
    broken = tmp_path / "broken.toml"
    broken.write_text("port = \n")
    bad = {
        ("OCPI_HUB_PROT",): environment(prot=8080),
        ("port:",): environment(port="70000"),
        ("secret_key is missing", "OCPI_HUB_SECRET_KEY_FILE"): environment()
        | {"OCPI_HUB_DATABASE_URL": "postgresql://h/x"},
        ("country_code", "must be set"): environment(public_url="https://hub.example"),
        ("prot", str(file)): environment() | {"OCPI_HUB_CONFIG": str(file)},
        ("broken.toml cannot be read",): environment() | {"OCPI_HUB_CONFIG": str(broken)},
        ("nowhere.toml cannot be read",): environment() | {"OCPI_HUB_CONFIG": str(tmp_path / "nowhere.toml")},
    }
    commands = [["config", "show"], ["party", "list"], ["serve"]]
    runs = [(said, run(*commands[number % 3], env=env)) for number, (said, env) in enumerate(bad.items())]
    for (said, _), done in zip(runs, await asyncio.gather(*(each for _, each in runs)), strict=True):
        assert_plain_failure(done, *said)


# Inviting and showing


async def test_an_invitation_for_scripts(alone: Run, database_url: str) -> None:
    done = assert_done(await alone("party", "invite", "DE-ABC:EMSP", "de*abc:cpo", "--name", "ABC", "--json"))
    made = done.json
    assert list(made) == ["platform", "versions_url", "token", "expires_at"]
    assert made["platform"] == 1
    assert made["versions_url"] == "http://127.0.0.1:9/ocpi/versions"
    assert re.fullmatch(r"[!-~]{32,64}", made["token"])
    left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=13, hours=23) < left <= timedelta(days=14)
    listed = assert_done(await alone("party", "list", "--json"))
    assert sorted(listed.json, key=lambda row: row["role"]) == [
        {"party": "de-abc", "role": "CPO", "status": "PLANNED", "platform": 1, "name": "ABC", "version": None},
        {"party": "DE-ABC", "role": "EMSP", "status": "PLANNED", "platform": 1, "name": "ABC", "version": None},
    ]


async def test_an_invitation_for_people(alone: Run) -> None:
    done = assert_done(await alone("party", "invite", "DE-ABC:EMSP"))
    assert done.out.startswith("Platform 1: DE-ABC:EMSP\n")
    assert "Versions URL         http://127.0.0.1:9/ocpi/versions\n" in done.out
    (token,) = re.findall(r"CREDENTIALS_TOKEN_A  (\S+)\n", done.out)
    assert "`ocpi-hub party invite` again replaces it" in done.out
    again = assert_done(await alone("party", "invite", "DE-ABC:EMSP"))
    assert again.out.startswith("Platform 1:")
    assert token not in again.out


async def test_nobody_is_there_yet(alone: Run) -> None:
    listed, routed, listed_json, routed_json = await asyncio.gather(
        alone("party", "list"), alone("routes"), alone("party", "list", "--json"), alone("routes", "--json")
    )
    for done in (listed, routed):
        assert assert_done(done).out == "There are no parties yet. Invite one with: ocpi-hub party invite DE-ABC:EMSP\n"
    assert assert_done(listed_json).json == assert_done(routed_json).json == []


async def test_members_are_shown_for_scripts(beside: Run, emsp: SimulatedPlatform, hub: HubOnTest) -> None:
    await hub.invite("FR-NEW:CPO")
    shown, routed = await asyncio.gather(beside("party", "show", "de-tnm", "--json"), beside("routes", "--json"))
    endpoints = sorted([("credentials", "SENDER"), *emsp.modules])
    found = assert_done(shown).json
    broadcasts = found.pop("broadcasts")
    assert {"waiting", "delivered", "failed", "skipped", "by", "last_seen"} <= broadcasts.keys()
    assert (broadcasts["waiting"], broadcasts["delivered"]) == (0, 0)
    assert found == {
        "platform": 1,
        "name": "Tnm",
        "state": "registered",
        "version": "2.2.1",
        "versions_url": emsp.versions_url,
        "token_form": "base64",
        "parties": [{"party": "DE-TNM", "role": "EMSP", "status": "CONNECTED"}],
        "endpoints": [
            {"module": module, "interface": interface, "url": emsp.endpoint(module, interface)}
            for module, interface in endpoints
        ],
        "switches": {
            "token": "auto",
            "foreign_owner": "off",
            "pull": "on",
            "catch_up": "off",
            "owner_as_sender": "off",
            "origins": "",
        },
        "pulls": [
            {
                "party": "DE-TNM",
                "module": "tokens",
                "state": "off",
                "objects": 0,
                "total": None,
                "finished_at": None,
                "due_at": None,
                "problem": None,
            }
        ],
    }
    there = {"party": "DE-TNM", "roles": "EMSP", "status": "CONNECTED", "platform": 1}
    planned = {"party": "FR-NEW", "roles": "CPO", "status": "PLANNED", "platform": 2}
    assert assert_done(routed).json == [
        *(
            there | {"module": module, "interface": interface, "url": emsp.endpoint(module, interface)}
            for module, interface in endpoints
            if module != "credentials"
        ),
        planned | {"module": "-", "interface": "-", "url": "-"},
    ]


async def test_how_far_each_list_was_read_is_shown(
    start_hub: Callable[..., Awaitable[HubOnTest]], database_url: str
) -> None:
    hub = await start_hub(pulls=True)
    env = environment_of(hub, database_url) | {"OCPI_HUB_PULLS": "on"}
    cpo = SimulatedPlatform("P1", [("BE-BEC", "CPO")], modules=[("locations", "SENDER"), ("tariffs", "SENDER")])
    cpo.store.owned["locations"] = [location("BE-BEC", f"LOC{number}") for number in range(3)]
    cpo.answer("GET", "tariffs", reply=Reply(500, b"oops"))
    async with member(hub, cpo):
        await finished(hub)
        await failed(hub, "HTTP 500", ("BE-BEC", "tariffs"))
        shown, as_json = await asyncio.gather(
            run("party", "show", "BE-BEC", env=env), run("party", "show", "BE-BEC", "--json", env=env)
        )
        off = await run("party", "set", "BE-BEC", "pull=off", "--json", env=env)
        switched_off = await run("party", "show", "BE-BEC", "--json", env=env)
    _, _, table = assert_done(shown).out.partition("  Pulls\n")
    done, broken = table.splitlines()
    assert re.match(r"    BE-BEC   locations  done +3/3  read 2\S+Z  next 2\S+Z$", done)
    assert re.match(r"    BE-BEC   tariffs    failed +0  next 2\S+Z  It answered with HTTP 500", broken)
    locations, tariffs = assert_done(as_json).json["pulls"]
    assert (locations["state"], locations["objects"], locations["total"], locations["problem"]) == ("done", 3, 3, None)
    assert locations["finished_at"] < locations["due_at"]
    assert (tariffs["state"], tariffs["finished_at"]) == ("failed", None)
    assert off.json["switches"]["pull"] == "off"
    assert [pull["state"] for pull in assert_done(switched_off).json["pulls"]] == ["off", "off"]


async def test_tables_are_plain_when_piped(beside: Run, hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    name = "A name that is much longer than eighty characters, so that a table on a terminal would have to fold it [/]"
    await beside("party", "set", "DE-TNM", f"name={name}")
    listed, routed, shown = await asyncio.gather(
        beside("party", "list"), beside("routes"), beside("party", "show", "DE-TNM")
    )
    for done in (listed, routed, shown):
        assert_done(done)
        assert not re.search(r"[│─┃━…]", done.out)
    head, row = listed.out.splitlines()
    assert head.split() == ["Party", "Role", "Status", "Platform", "Name", "Version"]
    assert row.split()[:4] == ["DE-TNM", "EMSP", "CONNECTED", "1"]
    assert name in row
    assert len(routed.out.splitlines()) == 1 + len(emsp.modules)
    for module, interface in emsp.modules:
        assert any(line.rstrip().endswith(emsp.endpoint(module, interface)) for line in routed.out.splitlines())
    assert name in shown.out


async def test_what_members_write_cannot_break_a_table(beside: Run, hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    odd = f"{cpo.origin}/[/red]/[bold]/locations"
    listed = [{"identifier": "locations", "role": "SENDER", "url": odd}]
    cpo.answer("GET", "details", "SENDER", Reply(200, envelope({"version": "2.2.1", "endpoints": listed})))
    await hub.register(cpo)
    done = assert_done(await beside("routes"))
    assert odd in done.out


# What was not understood, and what could not be done


async def test_what_is_not_understood_is_exit_code_2(alone: Run) -> None:
    wrong = [
        ["party", "invite", "DEABCD"],
        ["party", "invite", "DE-ABC"],
        ["party", "invite", "DE-ABC:EMSP", "--version", "9.9"],
        ["party", "allow", "DE-ABC"],
        ["party", "connect", "http://127.0.0.1:9/"],
        ["nothing"],
        ["routes", "--nothing"],
    ]
    for arguments, done in zip(wrong, await asyncio.gather(*(alone(*each) for each in wrong)), strict=True):
        assert done.code == 2, (arguments, done)
        assert done.out == "", (arguments, done)
        assert "Traceback" not in done.err, (arguments, done)
        assert "Usage: ocpi-hub" in done.err, (arguments, done)


async def test_what_cannot_be_done_is_exit_code_1_and_says_why(beside: Run, emsp: SimulatedPlatform) -> None:
    impossible = {
        ("party", "show", "XX-NOT"): "XX-NOT is not known here; `ocpi-hub party list` shows all",
        ("party", "suspend", "XX-NOT"): "XX-NOT is not known here",
        ("party", "rotate", "XX-NOT"): "XX-NOT is not known here",
        ("party", "allow", "DE-TNM:EMSP"): "DE-TNM:EMSP is allowed here already",
        ("party", "invite", "NL-HUB:CPO"): "NL-HUB is this hub itself",
        ("party", "invite", "DE-TNM:EMSP", "--json"): "DE-TNM:EMSP is registered already",
    }
    for said, done in zip(
        impossible.values(), await asyncio.gather(*(beside(*each) for each in impossible)), strict=True
    ):
        assert_plain_failure(done, said)
        assert done.out == ""


async def test_bad_switches_name_what_can_be_set(beside: Run, emsp: SimulatedPlatform) -> None:
    bad = {
        "token=x": "auto (as learnt), base64 or raw",
        "speed=fast": "these can: name, token, foreign_owner, pull",
        "token": "NAME=VALUE",
    }
    for said, done in zip(
        bad.values(), await asyncio.gather(*(beside("party", "set", "DE-TNM", each) for each in bad)), strict=True
    ):
        assert done.code == 1, done
        assert said in done.err, done
        assert "Traceback" not in done.err
    assert (await beside("party", "show", "DE-TNM", "--json")).json["switches"]["token"] == "auto"


@pytest.fixture
def gone_url(database_url: str) -> str:
    """A database that is not there, on a server that is."""
    return database_url.replace("/test_", "/gone_")


async def test_a_database_that_cannot_be_used_is_told_in_a_plain_sentence(
    database_url: str, gone_url: str, emsp: SimulatedPlatform
) -> None:
    troubles = {
        "nobody listens": environment("postgresql://hub@127.0.0.1:9/hub"),
        "no such database": environment(gone_url),
        "no such user": environment(database_url.replace("//hub@", "//nobody_here@")),
        "no URL": environment("mysql://somewhere"),
    }
    answers = await asyncio.gather(*(run("party", "list", env=env) for env in troubles.values()))
    for trouble, done in zip(troubles, answers, strict=True):
        assert_plain_failure(done, "database", "OCPI_HUB_DATABASE_URL")
        assert done.out == "", trouble


async def test_a_secret_key_of_another_hub_is_told_in_a_plain_sentence(
    database_url: str, emsp: SimulatedPlatform
) -> None:
    env = environment(database_url, secret_key="x" * 32)
    commands = [["party", "invite", "DE-ABC:EMSP"], ["routes", "--json"]]
    for done in await asyncio.gather(*(run(*each, env=env) for each in commands)):
        assert_plain_failure(done, "secret key", "OCPI_HUB_SECRET_KEY")
        assert done.out == ""


async def test_what_happens_beside_a_command_is_not_printed_with_its_result(postgres: str, folder: Path) -> None:
    """The embedded server and its new database, made by the first command."""
    env = environment(data_dir=folder)
    made = await run("party", "invite", "DE-ABC:EMSP", "--json", env=env)
    assert made.code == 0, made
    assert made.err == ""
    assert list(made.json) == ["platform", "versions_url", "token", "expires_at"]
    assert (folder / "secret_key").exists()
    listed = assert_done(await run("party", "list", "--json", env=env))
    assert [row["party"] for row in listed.json] == ["DE-ABC"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data directory that the server's account may enter, also when tests run as root."""
    made = Path(tempfile.mkdtemp(prefix="ocpi-hub-cli-"))
    made.chmod(0o755)
    yield made / "data"
    shutil.rmtree(made, ignore_errors=True)


# Beside a running hub


async def test_a_running_hub_follows_within_a_second(
    beside: Run, hub: HubOnTest, emsp: SimulatedPlatform, cpo: SimulatedPlatform
) -> None:
    await hub.register(cpo)

    async def answers(status_code: int) -> bool:
        return (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).status_code == status_code

    assert await answers(1000)
    done = assert_done(await beside("party", "suspend", "BE-BEC"))
    assert done.out == "BE-BEC is suspended.\n"
    await until(lambda: answers(4003), "the party is suspended", seconds=1)
    done = assert_done(await beside("party", "resume", "BE-BEC:CPO"))
    assert done.out == "BE-BEC:CPO is taking part again.\n"
    await until(lambda: answers(1000), "the party takes part", seconds=1)

    await beside("party", "set", "BE-BEC", "token=raw", "name=Bec 2", f"endpoint.locations.SENDER={cpo.origin}/x")
    cpo.clear()
    await until(lambda: answers(4003), "the switch is in force", seconds=1)  # it does not take a raw token
    assert cpo.received[-1].headers["Authorization"] == f"Token {cpo.own_token}"
    assert (await beside("party", "show", "BE-BEC", "--json")).json["switches"] == {
        "token": "raw",
        "foreign_owner": "off",
        "pull": "on",
        "catch_up": "off",
        "owner_as_sender": "off",
        "origins": "",
        "endpoint.locations.SENDER": f"{cpo.origin}/x",
    }
    await beside("party", "set", "BE-BEC", "token=auto", "endpoint.locations.SENDER=")
    await until(lambda: answers(1000), "the switch is taken back", seconds=1)

    done = await beside("party", "allow", "BE-TWO:CPO", "--on", "BE-BEC")
    assert done.out == "BE-TWO:CPO may be registered by Bec 2.\n"
    await until(lambda: ("BE", "TWO") in hub.hub.live.table.holders, seconds=1)
    assert (await cpo.update_at_hub(roles=[("BE-BEC", "CPO"), ("BE-TWO", "CPO")])).is_success

    made = (await beside("party", "invite", "FR-NEW:CPO", "--json")).json
    async with SimulatedPlatform("New", [("FR-NEW", "CPO")]) as new:
        assert (await new.register_at(made["versions_url"], made["token"])).is_success


async def test_connecting_tells_each_step(beside: Run, cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    done = assert_done(
        await beside(
            *("party", "connect", cpo.versions_url, "--token", cpo.offer_token_a()),
            *("--party", "BE-BEC:CPO", "--name", "Bec"),
        )
    )
    steps = [line.strip() for line in done.out.splitlines()]
    assert [step.split(" ")[0] for step in steps] == ["The", "Versions", "Version", "A", "It"]
    assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).is_success


async def test_connecting_for_scripts_prints_the_platform(beside: Run, cpo: SimulatedPlatform) -> None:
    arguments = ("party", "connect", cpo.versions_url, "--token", cpo.offer_token_a())
    unnamed = await beside(*arguments, "--json")
    assert_plain_failure(unnamed, "--party")
    assert unnamed.out == ""
    done = assert_done(await beside(*arguments, "--party", "BE-BEC:CPO", "--json"))
    assert done.json["parties"] == [{"party": "BE-BEC", "role": "CPO", "status": "CONNECTED"}]
    assert done.json["versions_url"] == cpo.versions_url


async def test_connecting_without_a_party_says_for_whom_the_platform_speaks(
    beside: Run, cpo: SimulatedPlatform
) -> None:
    done = await beside("party", "connect", cpo.versions_url, "--token", cpo.offer_token_a())
    assert_plain_failure(done, "Name the parties that may take part with --party DE-ABC:ROLE")
    assert "It speaks for BE-BEC:CPO." in done.out
    assert [each.method for each in cpo.received] == ["GET", "GET", "GET"]


async def test_a_failure_to_connect_is_told_in_a_plain_sentence(beside: Run, cpo: SimulatedPlatform) -> None:
    arguments = ("--party", "BE-BEC:CPO")
    refused, away, inwards = await asyncio.gather(
        beside("party", "connect", cpo.versions_url, "--token", "wrong", *arguments),
        beside("party", "connect", "http://127.0.0.1:9/versions", "--token", "x", *arguments),
        beside("party", "connect", "http://169.254.169.254/versions", "--token", "x", *arguments),
    )
    assert_plain_failure(refused, "HTTP 401: the credentials token was not accepted")
    assert_plain_failure(away, "No connection to 127.0.0.1: connection refused")
    assert_plain_failure(inwards, "may not be called")
    assert (await beside("party", "list", "--json")).json == []


async def test_who_is_to_be_called_back_must_be_there(alone: Run, cpo: SimulatedPlatform) -> None:
    token = cpo.offer_token_a()
    done = await alone("party", "connect", cpo.versions_url, "--token", token, "--party", "BE-BEC:CPO")
    assert_plain_failure(done, "No hub answers at http://127.0.0.1:9/ocpi/versions", "ocpi-hub serve", "PUBLIC_URL")
    assert cpo.received == []


async def test_rotating_tells_each_step(beside: Run, hub: HubOnTest, emsp: SimulatedPlatform, alone: Run) -> None:
    before = emsp.hub_token
    done = await beside("party", "rotate", "DE-TNM")
    assert done.code == 0, done
    assert done.out.splitlines()[-1].strip().startswith("Both sides have new tokens")
    assert emsp.hub_token != before
    token = emsp.hub_token
    nobody = await alone("party", "rotate", "DE-TNM")
    assert_plain_failure(nobody, "No hub answers at http://127.0.0.1:9/ocpi/versions")
    assert emsp.hub_token == token


async def test_what_hits_several_parties_is_asked_for(beside: Run, hub: HubOnTest) -> None:
    two = SimulatedPlatform("Two", [("BE-BEC", "CPO"), ("BE-TWO", "CPO")])
    async with registered(hub, two) as (cpo,):
        commands: list[list[str]] = [["remove"], ["rotate"], ["set"]]
        for (name,), done in zip(
            commands,
            await asyncio.gather(
                beside("party", "remove", "BE-BEC"),
                beside("party", "rotate", "BE-BEC"),
                beside("party", "set", "BE-BEC", "token=raw"),
            ),
            strict=True,
        ):
            assert done.code == 1, (name, done)
            assert "serves BE-BEC:CPO, BE-TWO:CPO." in done.err
            assert "say --yes if that is meant" in done.err
        assert cpo.received == []
        done = await beside("party", "remove", "BE-BEC", "--yes")
        assert done.code == 0
        assert "was told with DELETE credentials" in done.out
        assert "`ocpi-hub party invite` opens the door again" in done.out
        assert [each.method for each in cpo.received] == ["DELETE"]
    listed: Any = json.loads((await beside("party", "list", "--json")).out)
    assert {row["status"] for row in listed} == {"SUSPENDED"}
