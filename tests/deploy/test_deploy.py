"""What `deploy/` promises, held against the hub that really runs: its settings, its ports and its metrics."""

import asyncio
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import promql_parser
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from config.settings import CONFIG_VARIABLE, PREFIX, Settings, read_settings
from hub.simulator import Misbehaviour, SimulatedPlatform
from hub.simulator.objects import location, session
from routing.pulling import lists_of
from tests.hubs import HubOnTest, registered
from tests.waiting import until

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
FILES = sorted(
    path
    for path in [*DEPLOY.rglob("*"), ROOT / ".dockerignore"]
    if path.is_file() and path.name != ".env" and "secrets" not in path.relative_to(ROOT).parts
)
DASHBOARD = json.loads((DEPLOY / "grafana/dashboards/ocpi-hub.json").read_text())
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
ALERTS = [
    rule
    for group in yaml.safe_load((DEPLOY / "prometheus/alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
DEFAULTS = Settings()
CLOSE_SECONDS = 8
"""More than a hub takes, after its two timeouts, to give up its work and leave the database."""

PROMETHEUS_OWN = {"up": {"job", "instance"}, "ALERTS": {"alertname", "alertstate"}}
"""What Prometheus makes itself, and the labels of it that we ask for."""
TARGET_LABELS = {"job", "instance"}
GRAFANA_VARIABLES = {"$__rate_interval": "1m", "$platform": ".*"}


# What the hub really exports


@pytest.fixture
async def exported(start_hub: Callable[..., Awaitable[HubOnTest]]) -> list[Sample]:
    """Every sample of a hub with members well and unwell, and messages that end in many ways."""
    hub = await start_hub(forward_timeout=0.3, connect_timeout=0.3, max_in_flight=1, in_flight_wait=0.05, pulls=True)
    await hub.invite("NL-NEW:CPO")
    cpo, emsp = SimulatedPlatform("Cpo", [("BE-BEC", "CPO")]), SimulatedPlatform("Emsp", [("DE-TNM", "EMSP")])
    unwell: dict[str, Misbehaviour] = {"FR-GAR": "garbage", "FR-SIL": "silent", "FR-HTM": "html"}
    others = {party: SimulatedPlatform(party, [(party, "EMSP")]) for party in unwell}
    async with registered(hub, cpo, emsp, *others.values()):
        # The lists first: with one place at each platform, a reading would stand in the way of what follows.
        await until(lambda: shares(hub), "every platform has its lane, and every list was read")
        for party, kind in unwell.items():
            others[party].misbehave(kind)

        async def push(to: str, headers: dict[str, str | None] | None = None) -> None:
            body = session("BE-BEC", "S1")
            await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/S1", to=to, body=body, headers=headers)

        for to in ("DE-TNM", "XX-NOP", *unwell):
            await push(to)
        await push("DE-TNM", {"Authorization": "Token bm9ib2R5"})
        await asyncio.gather(*(push("FR-SIL") for _ in range(3)))
        await cpo.call("POST", "credentials", "SENDER", body={})
        await cpo.call("PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", body=location("BE-BEC", "LOC1"))
        await hub.hub.mirror.count_listed()
        async with aiohttp.ClientSession() as http, http.get(hub.ops_url + "/metrics") as answer:
            text = await answer.text()
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


def shares(hub: HubOnTest) -> bool:
    registered_ones = [each for each in hub.hub.live.table.platforms.values() if each.state == "registered"]
    lists = sum(len(lists_of(platform, hub.hub.mirror.keeps)) for platform in registered_ones)
    rounds = re.findall(r'ocpi_hub_pull_rounds_total{.*outcome="finished"} (\S+)', hub.hub.metrics.render().decode())
    return len(list(hub.hub.metrics.lanes())) == len(registered_ones) and sum(map(float, rounds)) >= lists > 0


def queries() -> Iterator[tuple[str, str]]:
    """Give each PromQL of the dashboard and the alerts, with where it stands."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield f"panel {panel['title']!r} {target['refId']}", _without_variables(target["expr"])
    for annotation in DASHBOARD["annotations"]["list"]:
        yield f"annotation {annotation['name']!r}", annotation["target"]["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        inner = re.fullmatch(r"query_result\((.*)\)", variable["query"]["query"])
        assert inner, variable
        yield f"variable {variable['name']!r}", inner[1]
    for rule in ALERTS:
        yield f"alert {rule['alert']}", rule["expr"]


def _without_variables(query: str) -> str:
    for name, value in GRAFANA_VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


def nodes(node: Any) -> Iterator[Any]:
    """Give a PromQL expression and every one inside it."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if type(inner).__module__.startswith("promql_parser") or type(inner).__module__ == "builtins":
            yield from nodes(inner) if hasattr(inner, "prettify") else ()
    for inner in getattr(node, "args", None) or ():
        yield from nodes(inner)


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    return [node for node in nodes(promql_parser.parse(query)) if isinstance(node, promql_parser.VectorSelector)]


def is_matched(sample: Sample, selector: promql_parser.VectorSelector) -> bool:
    """Whether a selector picks a sample; labels of the target are given to it by Prometheus."""
    if sample.name != selector.name:
        return False
    for matcher in selector.matchers.matchers:
        if matcher.name in TARGET_LABELS:
            continue
        value = sample.labels.get(matcher.name, "")
        kind = str(matcher.op).removeprefix("MatchOp.")
        is_same = bool(re.fullmatch(matcher.value, value)) if kind in ("Re", "NotRe") else value == matcher.value
        if is_same == kind.startswith("Not"):
            return False
    return True


async def test_every_query_asks_for_what_a_real_hub_exports(exported: list[Sample]) -> None:
    labels = {sample.name: set(sample.labels) for sample in exported}
    asked_for: set[str] = set()
    for where, query in queries():
        found = selectors(query)
        assert found, f"{where} asks for nothing"
        known = set(TARGET_LABELS)
        for selector in found:
            named = {matcher.name for matcher in selector.matchers.matchers}
            asked_for.add(selector.name)
            if selector.name in PROMETHEUS_OWN:
                assert named <= PROMETHEUS_OWN[selector.name], f"{where}: {selector}"
                continue
            assert selector.name in labels, f"{where}: the hub exports no {selector.name}"
            known |= labels[selector.name]
            assert named <= known, f"{where}: {selector.name} has no label {named - known}"
            assert any(is_matched(sample, selector) for sample in exported), f"{where}: {selector} finds nothing"
        for node in nodes(promql_parser.parse(query)):
            if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
                assert set(node.modifier.labels) <= known, f"{where}: {node.modifier}"
    exported_names = {re.sub("_(bucket|sum|count|created)$", "", name) for name in labels}
    outcomes = {sample.labels["outcome"] for sample in exported if sample.name == "ocpi_hub_requests_total"}
    assert outcomes >= {"ok", "refused", "overloaded", "4000", "4001", "4002", "4003"}
    own = {name for name in exported_names if name.startswith("ocpi_hub_")}  # the rest is any process's
    missing = own - {name.removesuffix("_bucket") for name in asked_for}
    assert not missing, f"neither the dashboard nor an alert shows {missing}"


def kept_labels(query: str) -> set[str]:
    """Give the labels that what a query finds certainly has."""
    aggregates = [node for node in nodes(promql_parser.parse(query)) if isinstance(node, promql_parser.AggregateExpr)]
    return {name for node in aggregates if node.modifier for name in node.modifier.labels} or TARGET_LABELS


def test_a_legend_names_labels_that_its_query_keeps() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            also = {"version"} if "ocpi_hub_build_info" in target["expr"] else set()
            assert named <= kept_labels(_without_variables(target["expr"])) | also, panel["title"]


def test_an_alert_speaks_of_labels_that_it_has() -> None:
    for rule in ALERTS:
        named = set(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values())))
        assert named <= kept_labels(rule["expr"]), rule["alert"]
        assert set(rule["annotations"]) == {"summary", "description"}, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning"), rule["alert"]


# The dashboard


def test_every_panel_says_what_it_shows() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    for panel in PANELS:
        assert len(panel["description"]) > 20, panel["title"]
        assert panel["fieldConfig"]["defaults"]["thresholds"]["steps"], panel["title"]
        if panel["type"] == "timeseries":
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]


def test_no_panel_covers_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24, panel["title"]
        for cell in ((at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])):
            assert taken.setdefault(cell, panel["title"]) == panel["title"]


def test_the_dashboard_asks_the_provisioned_data_source() -> None:
    (source,) = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    uids = set(re.findall(r'"datasource": {"type": "prometheus", "uid": "(.*?)"}', json.dumps(DASHBOARD)))
    assert uids == {source["uid"]}
    service = COMPOSE["services"]["prometheus"]
    assert source["url"] == "http://prometheus:9090"
    assert "127.0.0.1:9090:9090" in service["ports"]
    scrape = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    assert source["jsonData"]["timeInterval"] == scrape["global"]["scrape_interval"]


def test_the_platform_variable_is_found_in_a_sample() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    pattern = variable["regex"].strip("/").replace("(?<", "(?P<")
    match = re.search(pattern, '{name="Tnm "x" (DE)",platform="12"} 1 1790000000000')
    assert match
    assert match.groupdict() == {"text": 'Tnm "x" (DE)', "value": "12"}


# Settings


def settings_variables() -> set[str]:
    return {PREFIX + name.upper() for name in Settings.model_fields} | {CONFIG_VARIABLE}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_named_is_a_setting(path: Path) -> None:
    named = set(re.findall(r"\bOCPI_HUB_[A-Z_]*[A-Z]", path.read_text()))
    assert named <= settings_variables()


def test_numbers_follow_the_defaults_of_the_settings() -> None:
    nginx = (DEPLOY / "nginx/ocpi-hub.conf").read_text()
    assert f"client_max_body_size {DEFAULTS.max_body // 2**20}m;" in nginx
    assert f"server 127.0.0.1:{DEFAULTS.port} " in nginx
    assert f"client_body_timeout {DEFAULTS.idle_timeout:.0f}s;" in nginx
    read_timeout = re.search(r"proxy_read_timeout (\d+)s;", nginx)
    assert read_timeout
    assert int(read_timeout[1]) > DEFAULTS.forward_timeout + DEFAULTS.connect_timeout + DEFAULTS.in_flight_wait
    (busy,) = (rule for rule in ALERTS if rule["alert"] == "OcpiHubPlatformBusy")
    assert busy["expr"].endswith(f">= {round(DEFAULTS.max_in_flight * 0.9)}")


def test_whatever_stops_the_hub_gives_it_time_to_finish() -> None:
    needed = DEFAULTS.drain_timeout + DEFAULTS.lane_drain_timeout + CLOSE_SECONDS
    grace = COMPOSE["services"]["hub"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) >= needed
    unit = (DEPLOY / "systemd/ocpi-hub.service").read_text()
    stop = re.search(r"^TimeoutStopSec=(\d+)$", unit, flags=re.MULTILINE)
    assert stop
    assert int(stop[1]) >= needed
    for text in (unit, (DEPLOY / "compose.yaml").read_text()):
        assert f"(OCPI_HUB_DRAIN_TIMEOUT, {DEFAULTS.drain_timeout:.0f} s)" in text
        assert f"(OCPI_HUB_LANE_DRAIN_TIMEOUT, {DEFAULTS.lane_drain_timeout:.0f} s)" in text


# The image


def dockerfile() -> list[tuple[str, str]]:
    """Give the Dockerfile's instructions, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in text.splitlines() if line.strip()]


def test_the_image_is_made_of_files_that_are_there_and_let_in() -> None:
    let_in = {
        line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        source.rstrip("/")
        for name, arguments in dockerfile()
        if name == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    }
    for source in copied:
        assert (ROOT / source).exists(), source
    assert copied == let_in
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {*packages, project["project"]["readme"], *project["project"]["license-files"]} <= copied


def test_the_image_runs_as_somebody_and_tells_its_ports() -> None:
    instructions = dockerfile()
    last = instructions[max(index for index, (name, _) in enumerate(instructions) if name == "FROM") :]
    values = dict(last)
    uid = values["USER"].split(":")[0]
    assert int(uid) >= 1000
    assert re.search(rf"useradd --uid {uid} ", " ".join(text for name, text in last if name == "RUN"))
    assert values["EXPOSE"].split() == [str(DEFAULTS.port), str(DEFAULTS.ops_port)]
    assert values["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(values["ENTRYPOINT"]) + json.loads(values["CMD"]) == ["ocpi-hub", "serve"]
    assert not re.search("(?i)password|secret_key=|token", " ".join(text for name, text in last if name == "ENV"))


def health_check() -> list[str]:
    (arguments,) = (arguments for name, arguments in dockerfile() if name == "HEALTHCHECK")
    command = json.loads(arguments.partition("CMD ")[2])
    assert command[0] == "python"
    assert f"or {DEFAULTS.ops_port})" in command[-1]
    return [sys.executable, *command[1:]]


async def run(*command: str, **environment: str) -> int:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await asyncio.wait_for(process.wait(), 10)


async def test_the_health_check_tells_a_ready_hub_from_a_draining_one(hub: HubOnTest) -> None:
    environment = {"OCPI_HUB_OPS_PORT": hub.ops_url.rpartition(":")[2], "http_proxy": "http://127.0.0.1:9"}
    assert await run(*health_check(), **environment) == 0
    hub.hub.is_draining = True
    assert await run(*health_check(), **environment) == 1


# Compose


def test_compose_opens_ports_on_loopback_only_and_the_ones_the_hub_listens_on() -> None:
    for name, service in COMPOSE["services"].items():
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name}: {port}"
    for name in ("hub", "hub-2"):
        inside = [int(port.rpartition(":")[2]) for port in COMPOSE["services"][name]["ports"]]
        assert inside == [DEFAULTS.port, DEFAULTS.ops_port]
    taken = [port.split(":")[1] for service in COMPOSE["services"].values() for port in service.get("ports", ())]
    assert len(set(taken)) == len(taken)


def test_prometheus_asks_the_hub_of_compose() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = config["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"hub:{DEFAULTS.ops_port}"]}]
    assert f"# - hub-2:{DEFAULTS.ops_port}" in (DEPLOY / "prometheus/prometheus.yml").read_text()
    for name in config["rule_files"]:
        assert (DEPLOY / "prometheus" / name).exists()


def test_what_compose_mounts_is_there() -> None:
    for name, service in COMPOSE["services"].items():
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).is_dir(), f"{name}: {source}"
                assert volume.endswith(":ro"), f"{name}: {volume}"
            else:
                assert source in COMPOSE["volumes"], f"{name}: {source}"
        for secret in service.get("secrets", ()):
            assert (secret["source"] if isinstance(secret, dict) else secret) in COMPOSE["secrets"], name
    build = COMPOSE["services"]["hub"]["build"]
    assert ((DEPLOY / build["context"]).resolve() / build["dockerfile"]).exists()
    dashboards = yaml.safe_load((DEPLOY / "grafana/provisioning/dashboards/ocpi-hub.yaml").read_text())
    grafana = COMPOSE["services"]["grafana"]
    inside = dashboards["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{inside}:ro" in grafana["volumes"]
    assert grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"] == f"{inside}/ocpi-hub.json"


def test_no_secret_stands_in_compose() -> None:
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|TOKEN|DATABASE_URL", variable):
                assert value.startswith("/run/secrets/"), f"{name}: {variable}"


@pytest.fixture
def secrets_made(tmp_path: Path) -> Path:
    """A copy of the folder in which make-secrets.sh has been run."""
    shutil.copy(DEPLOY / "make-secrets.sh", tmp_path)
    subprocess.run(["sh", tmp_path / "make-secrets.sh"], check=True, stdout=subprocess.DEVNULL)
    return tmp_path


def test_the_secrets_made_are_those_that_compose_reads_and_stay(secrets_made: Path) -> None:
    folder = secrets_made / "secrets"
    made = {path.name: path.read_text() for path in folder.iterdir()}
    assert {f"./secrets/{name}" for name in made} == {secret["file"] for secret in COMPOSE["secrets"].values()}
    assert len(set(made.values())) == len(made)
    assert folder.stat().st_mode & 0o777 == 0o700
    subprocess.run(["sh", secrets_made / "make-secrets.sh"], check=True, stdout=subprocess.DEVNULL)
    assert {path.name: path.read_text() for path in folder.iterdir()} == made


def test_the_hub_understands_what_compose_gives_it(secrets_made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = (DEPLOY / ".env.example").read_text()
    given = dict(line.split("=", 1) for line in example.splitlines() if line and not line.startswith("#"))
    service = COMPOSE["services"]["hub"]
    for name, value in (given | service["environment"]).items():
        monkeypatch.setenv(name, value.replace("/run/secrets", str(secrets_made / "secrets")))
    settings = read_settings()
    assert settings.database_url
    password = (secrets_made / "secrets/postgres_password").read_text().strip()
    postgres = COMPOSE["services"]["postgres"]["environment"]
    assert settings.database_url.get_secret_value() == (
        f"postgresql://{postgres['POSTGRES_USER']}:{password}@postgres/{postgres['POSTGRES_DB']}"
    )
    assert settings.secret_key_file
    assert len(settings.secret_key_file.read_text().strip()) == 64


# Words


def test_the_readme_tells_what_each_file_is_for() -> None:
    readme = (DEPLOY / "README.md").read_text()
    for path in FILES:
        name = path.name if path.parent == ROOT else str(path.relative_to(DEPLOY))
        assert name in ("README.md", ".gitignore") or name in readme, name


def test_what_is_secret_stays_out_of_the_repository() -> None:
    assert {".env", "secrets/"} <= set((DEPLOY / ".gitignore").read_text().split())


# With the tools themselves, where they are


def tool(name: str, why: str) -> str:
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/bin:/usr/local/bin")
    if found is None:
        pytest.skip(f"{name} is not installed: {why}")
    return found


def check(*command: str | Path, cwd: Path = DEPLOY) -> str:
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=30)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr


def test_prometheus_understands_its_files_and_the_alerts_fire_when_they_should() -> None:
    promtool = tool("promtool", "the alerts are parsed, but not tested")
    check(promtool, "check", "config", "prometheus.yml", cwd=DEPLOY / "prometheus")
    check(promtool, "test", "rules", "alerts_test.yml", cwd=DEPLOY / "prometheus")


def test_every_alert_is_tested() -> None:
    tests = (DEPLOY / "prometheus/alerts_test.yml").read_text()
    assert [rule["alert"] for rule in ALERTS if rule["alert"] not in tests] == []


def test_nginx_understands_its_file(tmp_path: Path) -> None:
    nginx = tool("nginx", "its file is not parsed")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hub.example")])
    now = datetime.now(UTC)
    ends = now + timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now, ends)
    certificate = builder.sign(key, hashes.SHA256())
    (tmp_path / "fullchain.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "privkey.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    text = (DEPLOY / "nginx/ocpi-hub.conf").read_text()
    for ours, here in (
        ("/etc/ssl/ocpi-hub", str(tmp_path)),
        ("/var/log/nginx", str(tmp_path)),
        ("listen 443 ssl;", f"listen unix:{tmp_path}/socket ssl;"),
        ("listen [::]:443 ssl;", ""),
    ):
        assert ours in text
        text = text.replace(ours, here)
    (tmp_path / "site.conf").write_text(text)
    paths = " ".join(
        f"{kind}_temp_path {tmp_path}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; events {{}} http {{ {paths} include {tmp_path}/site.conf; }}"
    )
    said = check(nginx, "-t", "-e", tmp_path / "error.log", "-c", tmp_path / "nginx.conf")
    assert "warn" not in said


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = tool("systemd-analyze", "the unit is not verified")
    text = (DEPLOY / "systemd/ocpi-hub.service").read_text()
    (command,) = re.findall(r"^ExecStart=(.*)$", text, flags=re.MULTILINE)
    assert shlex.split(command)[1:] == ["serve"]
    (tmp_path / "ocpi-hub.service").write_text(text.replace(command, f"{sys.executable} serve"))
    said = check(analyze, "verify", "--man=no", tmp_path / "ocpi-hub.service")
    assert [line for line in said.splitlines() if "ocpi-hub" in line] == []
