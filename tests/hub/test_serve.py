"""`ocpi-hub serve` as a process of its own: how it starts, what it writes while it works, and how it ends."""

import asyncio
import json
import signal
import socket
import time
from base64 import b64encode
from collections.abc import AsyncIterator

import aiohttp
import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from hub.simulator import Answer, Reply, SimulatedPlatform, envelope
from parties.tokens import Secret, SecretKeys
from tests.commands import COMMAND, Done, Serving, assert_plain_failure, environment, run, serving
from tests.hubs import SECRET_KEY
from tests.waiting import until

BEC, TNM = ("BE-BEC", "CPO"), ("DE-TNM", "EMSP")


@pytest.fixture
async def hub(database_url: str) -> AsyncIterator[Serving]:
    """A hub process on the test's database."""
    async with serving(environment(database_url, forward_timeout=2, drain_timeout=5)) as running:
        yield running


async def invite(database_url: str, role: str) -> str:
    done = await run("party", "invite", role, "--json", env=environment(database_url))
    return str(done.json["token"])


async def register(hub: Serving, database_url: str, platform: SimulatedPlatform, role: str) -> Answer:
    return await platform.register_at(hub.versions_url, await invite(database_url, role))


async def get(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.text()


async def ready(hub: Serving) -> tuple[int, str] | None:
    status, text = await get(f"{hub.ops_url}/ready")
    return (status, text) if status == 200 else None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


# Starting


async def test_a_hub_says_where_it_is(hub: Serving) -> None:
    assert hub.started["level"] == "info"
    assert hub.started["hub"] == "NL-HUB"
    assert hub.started["database"] == "external"
    assert (await get(f"{hub.ops_url}/health")) == (200, '{"status":"ok"}')
    _, text = await until(lambda: ready(hub), "it is ready")
    assert json.loads(text)["status"] == "ready"
    assert (await get(hub.versions_url))[0] == 401
    assert await hub.stop() == 0
    assert hub.err == []
    assert {"started", "draining"} <= {line["action"] for line in hub.lines}


async def test_a_port_that_is_taken_is_told_with_the_setting(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        members, operators = await asyncio.gather(
            run("serve", env=environment(database_url, port=port, ops_port=0)),
            run("serve", env=environment(database_url, port=0, ops_port=port)),
        )
    assert_plain_failure(members, f"127.0.0.1:{port}: Address already in use", "OCPI_HUB_PORT")
    assert_plain_failure(operators, f"127.0.0.1:{port}: Address already in use", "OCPI_HUB_OPS_PORT")


async def test_what_keeps_a_hub_from_starting_is_told_in_a_plain_sentence(database_url: str) -> None:
    await give_a_token(database_url)
    ports = {"port": 0, "ops_port": 0}
    troubles: dict[str, dict[str, str]] = {
        "secret_key is missing": environment(**ports) | {"OCPI_HUB_DATABASE_URL": database_url},
        "32 or more characters": environment(database_url, secret_key="short", **ports),
        "cannot be read with this secret key": environment(database_url, secret_key="x" * 32, **ports),
        "The database cannot be used": environment(database_url.replace("/test_", "/gone_"), **ports),
        "tls_certificate and tls_key go together": environment(database_url, tls_certificate="/nowhere", **ports),
        "The hub cannot listen on 192.0.2.1": environment(
            database_url, host="192.0.2.1", public_url="http://127.0.0.1", **ports
        ),
    }
    answers = await asyncio.gather(*(run("serve", env=env) for env in troubles.values()))
    for said, done in zip(troubles, answers, strict=True):
        assert_plain_failure(done, said)


async def give_a_token(database_url: str) -> None:
    """Let a platform be registered, whose token is sealed with the tests' key."""
    connection = await asyncpg.connect(database_url)
    platform_id = await connection.fetchval("INSERT INTO platform (state) VALUES ('registered') RETURNING id")
    sealed = SecretKeys([SECRET_KEY]).seal_token(Secret("theirs"), platform_id)
    await connection.execute("UPDATE platform SET outbound_token = $1 WHERE id = $2", sealed, platform_id)
    await connection.close()


async def test_a_hub_starts_without_its_database_and_ends_all_the_same() -> None:
    env = environment("postgresql://hub@127.0.0.1:9/hub")
    async with serving(env) as hub:
        warning = await hub.wait_for_line(action="database_away")
        assert warning["level"] == "warning"
        status, text = await get(f"{hub.ops_url}/ready")
        assert (status, json.loads(text)["status"]) == (503, "starting")
        assert await hub.stop() == 0
        assert hub.err == []


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
async def test_requests_under_way_finish_when_the_hub_is_stopped(
    hub: Serving, database_url: str, number: signal.Signals
) -> None:
    async with SimulatedPlatform("Bec", [BEC]) as cpo, SimulatedPlatform("Tnm", [TNM]) as emsp:
        await register(hub, database_url, cpo, "BE-BEC:CPO")
        await register(hub, database_url, emsp, "DE-TNM:EMSP")
        cpo.clear()
        cpo.misbehave("slow", seconds=1)
        calls = [asyncio.create_task(emsp.call("GET", "locations", "SENDER", to="BE-BEC")) for _ in range(20)]
        await cpo.wait_for(20)
        began = time.monotonic()
        hub.process.send_signal(number)
        await hub.wait_for_line(action="draining")
        status, text = await get(f"{hub.ops_url}/ready")
        assert (status, json.loads(text)["status"]) == (503, "draining")
        with pytest.raises(aiohttp.ClientConnectionError):
            async with aiohttp.ClientSession() as session:
                await session.get(hub.versions_url)
        answers = await asyncio.gather(*calls)
        assert [(answer.http_status, answer.status_code) for answer in answers] == [(200, 1000)] * 20
        assert await asyncio.wait_for(hub.process.wait(), 10) == 0
        assert time.monotonic() - began < 10
        await until_read(hub)
        forwarded = [line for line in hub.requests if line["action"] == "forwarded"]
        assert len(forwarded) == 20
        assert hub.err == []


async def until_read(hub: Serving) -> None:
    """Wait until all of the output of an ended hub has been read."""
    assert hub.process.stdout is not None
    while not hub.process.stdout.at_eof():
        await asyncio.sleep(0.01)


async def test_a_receiver_that_never_answers_keeps_no_hub_alive(database_url: str) -> None:
    env = environment(database_url, forward_timeout=60, drain_timeout=1)
    async with (
        serving(env) as hub,
        SimulatedPlatform("Bec", [BEC]) as cpo,
        SimulatedPlatform("Tnm", [TNM]) as emsp,
    ):
        await register(hub, database_url, cpo, "BE-BEC:CPO")
        await register(hub, database_url, emsp, "DE-TNM:EMSP")
        cpo.clear()
        cpo.misbehave("silent")
        call = asyncio.create_task(emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        await cpo.wait_for(1)
        began = time.monotonic()
        assert await hub.stop() == 0
        assert time.monotonic() - began < 8
        await asyncio.gather(call, return_exceptions=True)
        assert hub.err == []


async def test_idle_connections_of_members_do_not_delay_the_end(hub: Serving, database_url: str) -> None:
    async with SimulatedPlatform("Bec", [BEC]) as cpo:
        await register(hub, database_url, cpo, "BE-BEC:CPO")  # its connection stays open
        reader, writer = await asyncio.open_connection("127.0.0.1", int(hub.versions_url.split(":")[2].split("/")[0]))
        began = time.monotonic()
        assert await hub.stop() == 0
        assert time.monotonic() - began < 4
        assert await reader.read() == b""
        writer.close()


# What it writes


async def test_no_credentials_token_is_ever_written_and_everything_else_is(hub: Serving, database_url: str) -> None:
    """Registration in both directions of the tokens, rotation, traffic and every kind of failure."""
    tokens: set[str] = set()
    answers: list[Answer] = []

    def remember(*platforms: SimulatedPlatform) -> None:
        tokens.update(each for platform in platforms for each in (platform.hub_token, platform.own_token) if each)

    async with (
        SimulatedPlatform("Bec", [BEC]) as cpo,
        SimulatedPlatform("Tnm", [TNM], token_base64=False) as emsp,
    ):
        for platform, role in ((cpo, "BE-BEC:CPO"), (emsp, "DE-TNM:EMSP")):
            token_a = await invite(database_url, role)
            tokens.add(token_a)
            platform.answer("GET", "versions", "SENDER", Reply(500, b"broken"))
            answers.append(await platform.register_at(hub.versions_url, token_a))
            remember(platform)
            platform.answer("GET", "versions", "SENDER")
            answers.append(await platform.register_at(hub.versions_url, token_a))
            assert answers[-1].is_success
            remember(platform)
            # With the dead TOKEN_A, in both forms.
            for authorization in (f"Token {token_a}", "Token " + b64encode(token_a.encode()).decode()):
                answers.append(
                    await platform.request("GET", hub.versions_url, headers={"Authorization": authorization})
                )
        answers.append(await cpo.update_at_hub())
        remember(cpo)
        answers.append(await emsp.call("PUT", "credentials", "SENDER", body=b"{"))
        answers.append(await emsp.call("POST", "credentials", "SENDER", body=emsp.credentials("again")))

        answers.append(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        answers.append(await emsp.call("GET", "locations", "SENDER", to="XX-NOT"))
        answers.append(await emsp.call("GET", "locations", "SENDER", "nothing", to="BE-BEC"))
        answers.append(await emsp.call("GET", "locations", "SENDER", to="BE-BEC", sender="XX-NOT"))
        for kind in ("unauthorized", "html", "garbage", "close", "silent"):
            cpo.misbehave(kind)  # type: ignore[arg-type]
            answers.append(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        cpo.misbehave(None)
        cpo.answer(
            "GET", "tariffs", "SENDER", Reply(200, envelope(), {"Location": "http://[", "Link": "<http://[>; rel=next"})
        )
        answers.append(await emsp.call("GET", "tariffs", "SENDER", to="BE-BEC"))
        await cpo.stop()
        answers.append(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        await cpo.start()
        port = int(hub.versions_url.split(":")[2].split("/")[0])
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET /ocpi/versions HTTP/1.1\r\nAuthorization: Token {emsp.hub_token}\r\nbroken\r\n\r\n".encode())
        broken = await reader.read()
        writer.close()

        metrics, ready = (await get(f"{hub.ops_url}/metrics"))[1], (await get(f"{hub.ops_url}/ready"))[1]
        rotated = await run(
            "party", "rotate", "BE-BEC", env=environment(database_url, public_url=hub.versions_url.split("/ocpi")[0])
        )
        assert rotated.code == 0, rotated
        remember(cpo)
        answers.append(await cpo.unregister_at_hub())
        assert await hub.stop() == 0
        await until_read(hub)

    assert len(tokens) >= 8
    errors = b"\n".join(answer.body for answer in answers if not answer.is_success).decode() + broken.decode()
    written = {
        "stdout": "".join(hub.out),
        "stderr": "".join(hub.err),
        "metrics": metrics,
        "ready": ready,
        "errors": errors,
        "command": rotated.out + rotated.err,
    }
    for token in tokens:
        for form in (token, b64encode(token.encode()).decode().rstrip("=")):
            assert [name for name, text in written.items() if form in text] == []

    # And what is written is what happened: one line for each request, as JSON, the metrics as Prometheus reads them.
    assert written["stderr"] == ""
    ids = [line["request_id"] for line in hub.requests if "request_id" in line]
    assert len(ids) == len(set(ids))
    assert {answer.headers["X-Request-ID"] for answer in answers} <= set(ids)
    outcomes = {line["outcome"] for line in hub.requests}
    assert outcomes >= {"ok", "refused", "receiver_error", "hub_error", "4000", "4001", "4002", "4003"}
    for line in hub.requests:
        assert {
            "timestamp",
            "level",
            "action",
            "operation",
            "method",
            "scenario",
            "outcome",
            "http_status",
            "ms",
        } <= set(line)
    assert {line["action"] for line in hub.lines} >= {
        "started",
        "registered",
        "updated",
        "unregistered",
        "token_refused",
    }
    counted = sum(
        sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if sample.name == "ocpi_hub_requests_total"
    )
    assert 20 < counted <= len(hub.requests)


async def test_lines_for_reading_are_for_reading(database_url: str) -> None:
    port = free_port()
    env = environment(database_url, log_format="console", port=port, ops_port=0)
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), "serve", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    out = b""
    while b"started" not in out:
        out += await asyncio.wait_for(process.stdout.readline(), 10)
    async with SimulatedPlatform("Bec", [BEC]) as cpo:
        cpo.hub_token = "nobody"
        await cpo.request("GET", f"http://127.0.0.1:{port}/ocpi/versions", headers={"X-Correlation-ID": "talk-1"})
    process.terminate()
    rest, err = await asyncio.wait_for(process.communicate(), 10)
    lines = (out + rest).decode().splitlines()
    (line,) = [line for line in lines if "talk-1" in line]
    assert "GET" in line
    assert "401" in line
    assert "\x1b" not in "".join(lines)
    assert (process.returncode, err) == (0, b"")


async def test_a_log_level_hides_what_is_below(database_url: str) -> None:
    env = environment(database_url, log_level="error", port=free_port(), ops_port=(ops := free_port()))
    process = await asyncio.create_subprocess_exec(
        str(COMMAND), "serve", env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(15):
        while True:
            try:
                if (await get(f"http://127.0.0.1:{ops}/ready"))[0] == 200:
                    break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.02)
    process.terminate()
    out, err = await asyncio.wait_for(process.communicate(), 10)
    done = Done(process.returncode or 0, out.decode(), err.decode())
    assert (done.code, done.out, done.err) == (0, "", "")
