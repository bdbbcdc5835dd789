"""Settings: defaults, where each may come from, and what is refused in which words."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from config.settings import CONFIG_VARIABLE, PREFIX, Settings, SettingsError, read_settings

KEY = "0123456789abcdef0123456789abcdef"
PUBLIC = {"public_url": "https://hub.example.com", "country_code": "NL", "party_id": "HUB"}

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8080,
    "public_url": "http://127.0.0.1:8080",
    "tls_certificate": None,
    "tls_key": None,
    "country_code": "NL",
    "party_id": "HUB",
    "name": "OCPI Hub",
    "website": None,
    "workers": 1,
    "database_url": None,
    "secret_key": None,
    "secret_key_file": None,
    "ops_host": "127.0.0.1",
    "ops_port": 8081,
    "log_format": "auto",
    "log_level": "info",
    "forward_timeout": 25,
    "authorize_timeout": 8,
    "connect_timeout": 5,
    "idle_timeout": 30,
    "max_body": 32 * 1024 * 1024,
    "held_body": 256 * 1024,
    "max_in_flight": 64,
    "urgent_in_flight": 16,
    "in_flight_wait": 1,
    "fast_lane": True,
    "drain_timeout": 6,
    "allowed_networks": (),
    "forward_headers": (),
    "custom_modules": (),
    "invitation_days": 14,
    "link_days": 7,
    "result_hours": 24,
    "network": "open",
    "broadcast_without_receiver": True,
    "ask_for_unknown_tokens": False,
    "shared_body": 1024 * 1024,
    "retention": {"sessions": 30, "cdrs": 90},
    "page_limit": 100,
    "broadcast_timeout": 10,
    "lane_in_flight": 8,
    "lane_queue": 1000,
    "breaker_time": 5,
    "lane_drain_timeout": 10,
    "silence": 300,
    "pulls": True,
    "pull_interval": 3600,
}


@pytest.mark.parametrize(("name", "value"), DEFAULTS.items())
def test_a_setting_has_its_default(name: str, value: Any) -> None:
    assert getattr(read_settings(), name) == value


def test_every_setting_but_the_data_folder_is_in_the_table_of_defaults() -> None:
    assert set(Settings.model_fields) == {*DEFAULTS, "data_dir"}


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


@pytest.mark.parametrize(
    ("user_id", "environment", "folder"),
    [
        (0, {"XDG_DATA_HOME": "/elsewhere"}, "/var/lib/ocpi-hub"),
        (1000, {"XDG_DATA_HOME": "/elsewhere"}, "/elsewhere/ocpi-hub"),
        (1000, {"HOME": "/home/ada"}, "/home/ada/.local/share/ocpi-hub"),
    ],
)
def test_the_data_folder_is_one_that_the_user_may_write(
    monkeypatch: pytest.MonkeyPatch, user_id: int, environment: dict[str, str], folder: str
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: user_id)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert read_settings().data_dir == Path(folder)


# Where a setting comes from


@pytest.fixture
def toml(tmp_path: Path) -> Path:
    file = tmp_path / "hub.toml"
    file.write_text('port = 1111\nops_port = 2222\nforward_headers = ["X-One", "X-Two"]\n')
    return file


def test_environment_comes_before_the_file_and_the_file_before_the_defaults(
    monkeypatch: pytest.MonkeyPatch, toml: Path
) -> None:
    monkeypatch.setenv(PREFIX + "PORT", "3333")

    settings = read_settings(toml)

    assert (settings.port, settings.ops_port, settings.link_days) == (3333, 2222, 7)


def test_an_argument_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PREFIX + "PORT", "3333")

    assert read_settings(port=4444).port == 4444


def test_the_environment_names_the_file(monkeypatch: pytest.MonkeyPatch, toml: Path) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(toml))

    assert read_settings().port == 1111


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch, toml: Path) -> None:
    monkeypatch.setenv(PREFIX + "PORT", "")

    assert read_settings(toml).port == 1111


def test_a_list_is_comma_separated_in_the_environment_and_an_array_in_the_file(
    monkeypatch: pytest.MonkeyPatch, toml: Path
) -> None:
    monkeypatch.setenv(PREFIX + "CUSTOM_MODULES", " nltnm-tokens, ,deabc-x ,")
    monkeypatch.setenv(PREFIX + "ALLOWED_NETWORKS", "10.1.0.0/16,fd00::/8")

    settings = read_settings(toml)

    assert settings.custom_modules == ("nltnm-tokens", "deabc-x")
    assert settings.allowed_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))
    assert settings.forward_headers == ("X-One", "X-Two")


@pytest.mark.parametrize(
    ("given", "days"),
    [
        ("tokens=0", {"sessions": 30, "cdrs": 90, "tokens": 0}),
        ("sessions=60, locations=365", {"sessions": 60, "cdrs": 90, "locations": 365}),
    ],
)
def test_a_limit_of_days_that_is_not_named_stays_in_force(
    monkeypatch: pytest.MonkeyPatch, given: str, days: dict[str, int]
) -> None:
    monkeypatch.setenv(PREFIX + "RETENTION", given)

    assert read_settings().retention == days


@pytest.mark.parametrize("name", ["OCPI_HUB_PROT", "OCPI_HUB_", "ocpi_hub_port", "OCPI_HUB_Port"])
def test_an_unknown_variable_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")

    with pytest.raises(SettingsError, match=rf"Unknown setting in the environment: {name}$"):
        read_settings()


def test_unknown_settings_in_the_file_are_an_error_that_names_them_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "hub.toml"
    file.write_text("prot = 1\nport = 2\nhots = 'x'\n")

    with pytest.raises(SettingsError, match=r"Unknown setting in .*hub\.toml: hots, prot$"):
        read_settings(file)


@pytest.mark.parametrize("content", [b"port = = 1", b"\xff\xfe", None])
def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "hub.toml"
    if content is not None:
        file.write_bytes(content)

    with pytest.raises(SettingsError, match=r"The settings file .*hub\.toml cannot be read"):
        read_settings(file)


# What is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", "eighty"),
        ("port", "65536"),
        ("port", "-1"),
        ("ops_port", "65536"),
        ("country_code", "nl"),
        ("country_code", "NLD"),
        ("party_id", "HU"),
        ("party_id", "H-B"),
        ("name", "x" * 101),
        ("log_format", "xml"),
        ("log_level", "loud"),
        ("forward_timeout", "0"),
        ("authorize_timeout", "-1"),
        ("connect_timeout", "nan"),
        ("idle_timeout", "soon"),
        ("max_body", "1"),
        ("held_body", "1023"),
        ("max_in_flight", "0"),
        ("urgent_in_flight", "0"),
        ("in_flight_wait", "0"),
        ("retention", "toknes=0"),
        ("retention", "tokens"),
        ("retention", "cdrs=-1"),
        ("drain_timeout", "0"),
        ("allowed_networks", "10.1.2.3/16"),
        ("allowed_networks", "10.1.0.0/16,example.com"),
        ("invitation_days", "0"),
        ("link_days", "0"),
        ("result_hours", "0"),
        ("public_url", "hub.example.com"),
        ("public_url", "ftp://hub.example.com"),
        ("public_url", "https://"),
        ("public_url", "https://hub.example.com?x=1"),
        ("public_url", "https://hub.example.com#x"),
        ("public_url", "https://hub.example.com:99999"),
        ("public_url", "https://hub.example.com:port"),
        ("public_url", "https://someone:secret@hub.example.com"),
        ("public_url", "https://hub .example.com"),
        ("public_url", "https://hub.example.com/a b"),
        ("public_url", "https://hüb.example.com"),
        ("public_url", "https://["),
        ("public_url", "https://hub.example.com/" + "x" * 77),
    ],
)
def test_an_unusable_value_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for other, own in PUBLIC.items():
        monkeypatch.setenv(PREFIX + other.upper(), own)
    monkeypatch.setenv(PREFIX + name.upper(), value)

    with pytest.raises(SettingsError, match=rf"(^|; ){name}\b"):
        read_settings()


def test_all_unusable_values_are_named_at_once() -> None:
    with pytest.raises(SettingsError, match=r"port: .*; log_level: "):
        read_settings(port="x", log_level="loud")


def test_no_refusal_repeats_a_secret() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(database_url="postgresql://hub:sesame@db/hub", party_id="sesame")

    assert "sesame" not in str(caught.value)
    assert "sesame" not in repr(caught.value.__cause__)


@pytest.mark.parametrize(("given", "missing"), [("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")])
def test_certificate_and_key_go_together(given: str, missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        read_settings(**{given: "file.pem"})


def test_two_sources_of_the_secret_key_exclude_each_other() -> None:
    with pytest.raises(SettingsError, match="secret_key and secret_key_file"):
        read_settings(secret_key=KEY, secret_key_file="key.txt")


def test_a_shared_database_needs_a_shared_secret_key() -> None:
    with pytest.raises(SettingsError, match=r"secret_key is missing.*openssl rand -hex 32"):
        read_settings(database_url="postgresql://db/hub")


@pytest.mark.parametrize("given", [{"secret_key": KEY}, {"secret_key_file": "key.txt"}])
def test_a_shared_database_is_taken_with_a_secret_key(given: dict[str, str]) -> None:
    assert read_settings(database_url="postgresql://db/hub", **given).database_url is not None


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "country_code and party_id must be set"),
        ({"party_id": "HUB"}, "country_code must be set"),
        ({"country_code": "NL"}, "party_id must be set"),
    ],
)
def test_own_ids_are_required_off_loopback(given: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError, match=missing):
        read_settings(public_url="https://hub.example.com", **given)


# What follows from several


@pytest.mark.parametrize(
    ("settings", "public_url"),
    [
        ({"port": 9000}, "http://127.0.0.1:9000"),
        ({"host": "::1"}, "http://[::1]:8080"),
        ({"tls_certificate": "c.pem", "tls_key": "k.pem"}, "https://127.0.0.1:8080"),
        (PUBLIC | {"port": 9000}, "https://hub.example.com"),
        (PUBLIC | {"public_url": "https://hub.example.com/roaming//"}, "https://hub.example.com/roaming"),
        (PUBLIC | {"public_url": "https://hub.example.com:8443/"}, "https://hub.example.com:8443"),
        ({"public_url": "http://localhost:1"}, "http://localhost:1"),
    ],
)
def test_the_public_url_follows_host_and_port_unless_set(settings: dict[str, Any], public_url: str) -> None:
    read = read_settings(**settings)

    assert read.public_url == public_url
    assert read.versions_url == f"{public_url}/ocpi/versions"


@pytest.mark.parametrize(
    ("public_url", "is_loopback"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8080", True),
        ("http://localhost", True),
        ("http://LOCALHOST", True),
        ("https://hub.example.com", False),
        ("http://0.0.0.0:8080", False),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
    ],
)
def test_loopback_is_read_from_the_public_url(public_url: str, is_loopback: bool) -> None:
    assert read_settings(**PUBLIC | {"public_url": public_url}).is_loopback is is_loopback


LOOPBACK = ("127.0.0.0/8", "::1/128")


@pytest.mark.parametrize(
    ("public_url", "allowed", "member_networks"),
    [
        ("http://127.0.0.1", "", LOOPBACK),
        ("http://127.0.0.1", "10.0.0.0/8", ("10.0.0.0/8", *LOOPBACK)),
        ("https://hub.example.com", "", ()),
        ("https://hub.example.com", "10.0.0.0/8,fd00::/8", ("10.0.0.0/8", "fd00::/8")),
    ],
)
def test_members_live_on_loopback_only_while_the_hub_does(
    public_url: str, allowed: str, member_networks: tuple[str, ...]
) -> None:
    settings = read_settings(**PUBLIC | {"public_url": public_url, "allowed_networks": allowed})

    assert settings.member_networks == tuple(ip_network(network) for network in member_networks)


@pytest.mark.parametrize("allowed", ["127.0.0.0/8", "127.0.0.1/32,10.0.0.0/8", "::1/128", "0.0.0.0/0", "::/0"])
def test_a_network_with_loopback_in_it_is_refused_off_loopback(allowed: str) -> None:
    with pytest.raises(SettingsError, match="allowed_networks"):
        read_settings(**PUBLIC | {"public_url": "https://hub.example.com", "allowed_networks": allowed})


def test_settings_are_shown_with_secrets_masked() -> None:
    settings = read_settings(database_url="postgresql://hub:sesame@db/hub", secret_key=KEY)

    shown = settings.shown()

    assert (shown["database_url"], shown["secret_key"]) == ("********", "********")
    assert shown["port"] == 8080
    assert set(shown) == set(Settings.model_fields)
    for text in (str(shown), repr(settings), str(settings)):
        assert "sesame" not in text
        assert KEY not in text


def test_an_absent_secret_is_shown_as_absent() -> None:
    assert read_settings().shown()["secret_key"] is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_hub_on_every_address_must_say_which_one_members_call(host: str) -> None:
    with pytest.raises(SettingsError, match="public_url"):
        read_settings(host=host)
    assert read_settings(host=host, public_url="http://localhost:8080").host == host
