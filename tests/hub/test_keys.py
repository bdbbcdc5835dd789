"""The secret key: where it comes from, that it is kept from others, and that it can be replaced."""

import asyncio
import stat
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from config.settings import Settings, SettingsError, read_settings
from hub.keys import load_secret_keys
from hub.simulator import Reply, SimulatedPlatform, envelope
from parties.tokens import Secret, SecretKeys
from tests.commands import environment, run_program
from tests.hubs import HubOnTest, registered
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]

OLD, NEW = "old-" + "k" * 32, "new-" + "k" * 32


def settings_in(folder: Path, **settings: object) -> Settings:
    return read_settings(data_dir=folder, **settings)


def are_same(one: SecretKeys, other: SecretKeys) -> bool:
    return one.digests("token") == other.digests("token")


def test_a_key_is_made_once_and_kept_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    made = load_secret_keys(settings_in(folder))
    path = folder / "secret_key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_text().strip()) == 64
    assert [each.name for each in folder.iterdir()] == ["secret_key"]
    assert are_same(load_secret_keys(settings_in(folder)), made)


async def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    program = """
import sys
from config.settings import read_settings
from hub.keys import load_secret_keys
print("ready", flush=True)
sys.stdin.readline()
print(load_secret_keys(read_settings()).digests("token")[0].hex())
"""
    env = environment(data_dir=tmp_path / "data")
    done = await asyncio.gather(*(run_program(sys.executable, "-c", program, env=env, typed="go\n") for _ in range(4)))
    assert [each.err for each in done] == [""] * 4
    assert len({each.out for each in done}) == 1
    assert [each.name for each in (tmp_path / "data").iterdir()] == ["secret_key"]


def test_a_key_may_be_set_or_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text(f"{NEW}\n\n  {OLD}  \n")
    from_file = load_secret_keys(settings_in(tmp_path, secret_key_file=file))
    assert are_same(from_file, load_secret_keys(settings_in(tmp_path, secret_key=f"{NEW},{OLD}")))
    assert from_file.digests("token")[0] == SecretKeys([NEW]).digests("token")[0]
    assert not (tmp_path / "secret_key").exists()


@pytest.mark.parametrize("key", ["short", "k" * 31, f"{NEW},short", ",", " "])
def test_a_short_key_is_refused_by_name_and_never_repeated(tmp_path: Path, key: str) -> None:
    with pytest.raises(SettingsError, match=r"^secret_key: ") as raised:
        load_secret_keys(settings_in(tmp_path, secret_key=key))
    assert "short" not in str(raised.value)
    file = tmp_path / "key"
    file.write_text(key)
    with pytest.raises(SettingsError, match=r"^secret_key_file: "):
        load_secret_keys(settings_in(tmp_path, secret_key_file=file))


def test_a_key_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"^secret_key_file: .*/nowhere cannot be read: No such file"):
        load_secret_keys(settings_in(tmp_path, secret_key_file=tmp_path / "nowhere"))


def test_a_key_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xff\xfe" * 40)
    with pytest.raises(SettingsError, match=r"^secret_key_file: .*/key cannot be read: it is no text"):
        load_secret_keys(settings_in(tmp_path, secret_key_file=file))


def test_a_data_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"^data_dir: no secret key can be kept in"):
        load_secret_keys(settings_in(tmp_path / "file" / "data"))


def test_the_first_key_writes_and_all_of_them_read() -> None:
    old, both, new = SecretKeys([OLD]), SecretKeys([NEW, OLD]), SecretKeys([NEW])
    assert both.digests("token") == [*new.digests("token"), *old.digests("token")]
    sealed = old.seal_token(Secret("theirs"), 7)
    assert both.open_token(sealed, 7) == Secret("theirs")
    assert not both.is_current(sealed, 7)
    assert new.open_token(both.seal_token(Secret("theirs"), 7), 7) == Secret("theirs")
    assert both.open_alias(old.seal_alias(b"packed")) == b"packed"
    assert new.open_alias(both.seal_alias(b"packed")) == b"packed"
    assert new.open_alias(old.seal_alias(b"packed")) is None
    with pytest.raises(ValueError, match="cannot be read with this secret key"):
        new.open_token(sealed, 7)
    with pytest.raises(ValueError, match="cannot be read with this secret key"):
        both.open_token(sealed, 8)


async def test_tokens_and_cdr_locations_outlive_the_key_under_which_they_were_made(start_hub: StartHub) -> None:
    """Old key; then "new,old"; then tokens need the new key alone, and only old URLs the old one."""
    first = await start_hub(secret_key=OLD)
    port = first.settings.port
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(first, *platforms) as (cpo, emsp):
        where = {"Location": f"{emsp.origin}/ocpi/2.2.1/receiver/cdrs/17"}
        emsp.answer("POST", "cdrs", "RECEIVER", Reply(201, envelope(), where))
        emsp.answer("GET", "cdrs", "RECEIVER", Reply(200, envelope({"id": "17"})))
        posted = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body={"id": "17"})
        location = posted.headers["Location"]
        assert location.startswith(first.url)
        await first.stop()

        second = await start_hub(secret_key=f"{NEW},{OLD}", port=port)
        assert (await cpo.request("GET", location, to="DE-TNM")).data == {"id": "17"}
        assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).is_success
        # A token given out now is known by the new key; the old ones by a PUT at the latest.
        assert (await cpo.update_at_hub()).is_success
        assert (await emsp.update_at_hub()).is_success
        assert (await cpo.call("GET", "credentials", "SENDER")).is_success
        assert (await emsp.call("GET", "credentials", "SENDER")).is_success
        await second.stop()

        await start_hub(secret_key=NEW, port=port)
        assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).is_success
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success
        gone = await cpo.request("GET", location, to="DE-TNM")
        assert (gone.http_status, gone.status_code) == (404, 2001)


async def test_hubs_on_one_database_may_be_given_a_new_key_one_after_the_other(start_hub: StartHub) -> None:
    """Whoever has only the old key yet goes on with what it knows."""
    first = await start_hub(secret_key=OLD)
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(first, *platforms) as (_, emsp):
        second = await start_hub(secret_key=f"{NEW},{OLD}")
        await until(lambda: first.hub.live.is_degraded, "the first hub notices")
        for hub in (first, second):
            emsp.hub_endpoints = {
                key: f"{hub.url}/ocpi{url.split('/ocpi')[1]}" for key, url in emsp.hub_endpoints.items()
            }
            assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).is_success
