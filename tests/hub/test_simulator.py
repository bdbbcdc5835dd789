"""Simulated platforms, two of them talking directly to each other: the eMSP's platform takes the hub's place."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import pytest

from config.ocpi import VersionUnsupported
from hub.simulator import (
    Answer,
    Received,
    Reply,
    SimulatedPlatform,
    envelope,
    hosted_modules,
)
from hub.simulator import objects as ocpi

BEC = ("BE-BEC", "CPO")
TNM = ("DE-TNM", "EMSP")
ROUTING = ("OCPI-to-country-code", "OCPI-to-party-id", "OCPI-from-country-code", "OCPI-from-party-id")


@pytest.fixture
async def cpo() -> AsyncIterator[SimulatedPlatform]:
    async with SimulatedPlatform("Bec", [BEC]) as platform:
        yield platform


@pytest.fixture
async def emsp(cpo: SimulatedPlatform) -> AsyncIterator[SimulatedPlatform]:
    """An eMSP at which the CPO is registered; what the registration left behind is cleared."""
    async with SimulatedPlatform("Tnm", [TNM]) as platform:
        assert (await cpo.register_at(platform.versions_url, platform.offer_token_a())).is_success
        cpo.clear()
        platform.clear()
        yield platform


def carries(token: str | None) -> str:
    assert token is not None
    return "Token " + b64encode(token.encode()).decode()


async def post_credentials(platform: SimulatedPlatform, token: str, body: Any, method: str = "POST") -> Answer:
    """Call a platform's credentials endpoint with any token, as somebody it may not know."""
    async with SimulatedPlatform("Someone", [("XX-ONE", "CPO")]) as someone:
        someone.hub_token = token
        return await someone.request(method, platform.endpoint("credentials"), sender=None, body=body)


# Registration


async def test_registration_leaves_both_sides_with_the_other_sides_token_and_endpoints() -> None:
    async with SimulatedPlatform("Bec", [BEC]) as cpo, SimulatedPlatform("Tnm", [TNM]) as emsp:
        answer = await cpo.register_at(emsp.versions_url, emsp.offer_token_a())
        assert (answer.http_status, answer.status_code) == (200, 1000)
        assert cpo.hub_token == emsp.own_token == answer.data["token"]
        assert emsp.hub_token == cpo.own_token
        assert cpo.hub_endpoints[("sessions", "RECEIVER")] == f"{emsp.origin}/ocpi/2.2.1/receiver/sessions/"
        assert emsp.hub_endpoints[("sessions", "SENDER")] == f"{cpo.origin}/ocpi/2.2.1/sender/sessions/"
        assert answer.data["roles"] == [
            {
                "role": "EMSP",
                "business_details": {"name": "Tnm", "website": None, "logo": None},
                "party_id": "TNM",
                "country_code": "DE",
            }
        ]
        assert [seen.path for seen in emsp.received] == ["/ocpi/versions", "/ocpi/2.2.1", "/ocpi/2.2.1/credentials/"]


async def test_registration_is_called_back_with_token_b_and_without_routing_headers() -> None:
    async with SimulatedPlatform("Bec", [BEC]) as cpo, SimulatedPlatform("Tnm", [TNM]) as emsp:
        await cpo.register_at(emsp.versions_url, emsp.offer_token_a())
        assert [seen.path for seen in cpo.received] == ["/ocpi/versions", "/ocpi/2.2.1"]
        for seen in (*cpo.received, *emsp.received):
            assert not any(name in seen.headers for name in ROUTING)
            assert seen.headers["X-Request-ID"]
            assert seen.headers["X-Correlation-ID"]
        assert {seen.headers["Authorization"] for seen in cpo.received} == {carries(emsp.received[2].json["token"])}


async def test_registration_ends_token_a(cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM]) as emsp:
        token_a = emsp.offer_token_a()
        assert (await post_credentials(emsp, token_a, None, "GET")).data["token"] == token_a
        await cpo.register_at(emsp.versions_url, token_a)
        assert (await post_credentials(emsp, token_a, None, "GET")).http_status == 401


@pytest.mark.parametrize(
    ("method", "is_registered"), [("POST", True), ("PATCH", True), ("PUT", False), ("DELETE", False)]
)
async def test_credentials_answer_405_in_the_wrong_state(
    method: str, is_registered: bool, emsp: SimulatedPlatform
) -> None:
    token = emsp.own_token if is_registered else emsp.offer_token_a()
    answer = await post_credentials(emsp, token or "", {}, method)
    assert (answer.http_status, answer.status_code) == (405, 2000)
    assert method not in answer.headers["Allow"]


async def test_failed_registration_can_be_repeated(cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM]) as emsp:
        token_a = emsp.offer_token_a()
        cpo.answer("GET", "details", "SENDER", Reply(500))
        answer = await cpo.register_at(emsp.versions_url, token_a)
        assert (answer.http_status, answer.status_code) == (200, 3001)
        assert (emsp.hub_token, emsp.own_token, cpo.own_token) == (None, None, None)
        cpo.answer("GET", "details", "SENDER", None)
        assert (await cpo.register_at(emsp.versions_url, token_a)).is_success


async def test_registration_gives_the_answer_that_stopped_it(cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM]) as emsp:
        answer = await cpo.register_at(emsp.versions_url, "wrong")
        assert (answer.http_status, answer.status_code) == (401, 2000)


async def test_registration_uses_the_latest_version_of_both() -> None:
    newer = SimulatedPlatform("Bec", [BEC], versions=("2.2.1", "2.3.0", "2.10.0"))
    both = SimulatedPlatform("Tnm", [TNM], versions=("2.1.1", "2.2.1", "2.3.0"))
    async with newer as cpo, both as emsp:
        assert (await cpo.register_at(emsp.versions_url, emsp.offer_token_a())).is_success
        assert cpo.hub_endpoints[("cdrs", "RECEIVER")] == f"{emsp.origin}/ocpi/2.3.0/receiver/cdrs/"


async def test_registration_without_a_version_in_common_fails_on_either_side(cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM], versions=("2.1.1",)) as old:
        token_a = old.offer_token_a()
        with pytest.raises(VersionUnsupported):
            await cpo.register_at(old.versions_url, token_a)
        cpo.own_token = "b"
        assert (await post_credentials(old, token_a, cpo.credentials("b"))).status_code == 3002


@pytest.mark.parametrize(
    ("body", "http_status"), [(b"{", 400), ([], 200), ({"token": "b", "url": "http://127.0.0.1:1/versions"}, 200)]
)
async def test_credentials_that_are_none_are_refused(body: Any, http_status: int, emsp: SimulatedPlatform) -> None:
    answer = await post_credentials(emsp, emsp.offer_token_a(), body)
    assert (answer.http_status, answer.status_code) == (http_status, 2001)


async def test_update_gives_new_tokens_to_both_sides(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    before = (cpo.own_token, emsp.own_token)
    during = []

    async def call_back(received: Received) -> Reply:
        for token in (cpo.own_token, before[0]):
            emsp.hub_token = token
            during.append((await emsp.request("GET", cpo.versions_url)).http_status)
        return await emsp.default_reply(received)

    emsp.answer("PUT", "credentials", "SENDER", call_back)
    answer = await cpo.update_at_hub(roles=[BEC, ("BE-TWO", "CPO")])
    assert answer.is_success
    assert during == [200, 200]
    assert (cpo.own_token, emsp.own_token) == (emsp.hub_token, cpo.hub_token)
    assert cpo.own_token != before[0]
    assert emsp.own_token != before[1]
    assert [str(party) for party in cpo.parties] == ["BE-BEC", "BE-TWO"]
    assert [role["party_id"] for role in (emsp.hub_credentials or {})["roles"]] == ["BEC", "TWO"]
    assert (await cpo.call("GET", "credentials", "SENDER")).is_success  # with the new one, which ends the old one
    cpo.hub_token = before[1]
    assert (await cpo.call("GET", "credentials", "SENDER")).http_status == 401


async def test_failed_update_leaves_everything_as_it_was(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    before = (cpo.own_token, cpo.hub_token, emsp.own_token, emsp.hub_token)
    cpo.answer("GET", "versions", "SENDER", Reply(500))
    assert (await cpo.update_at_hub(roles=[("BE-TWO", "CPO")])).status_code == 3001
    assert (cpo.own_token, cpo.hub_token, emsp.own_token, emsp.hub_token) == before
    assert [str(party) for party in cpo.parties] == ["BE-BEC"]


async def test_unregistering_ends_the_connection_on_both_sides(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    assert (await cpo.unregister_at_hub()).is_success
    assert (cpo.own_token, cpo.hub_token, cpo.hub_endpoints) == (None, None, {})
    assert (emsp.own_token, emsp.hub_token, emsp.hub_endpoints) == (None, None, {})
    with pytest.raises(LookupError, match="Bec knows no SENDER endpoint of credentials"):
        await cpo.unregister_at_hub()


async def test_raw_tokens_other_paths_and_urls_without_final_slash_are_possible() -> None:
    def a_platform(role: tuple[str, str]) -> SimulatedPlatform:
        return SimulatedPlatform("Odd", [role], token_base64=False, endpoint_suffix="", base_path="/api/v7")

    async with a_platform(BEC) as cpo, a_platform(TNM) as emsp:
        assert (await cpo.register_at(emsp.versions_url, emsp.offer_token_a())).is_success
        assert cpo.hub_endpoints[("tokens", "SENDER")] == f"{emsp.origin}/api/v7/2.2.1/sender/tokens"
        assert (await cpo.call("GET", "tokens", "SENDER")).is_success
        assert emsp.received[-1].headers["Authorization"] == f"Token {emsp.own_token}"
        assert emsp.received[-1].path == "/api/v7/2.2.1/sender/tokens"


# Authentication and other refusals


async def test_wrong_tokens_are_refused_and_recorded(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    right = carries(emsp.own_token)
    wrong = [None, "", "Token", f"Token {emsp.own_token}", right.replace("Token ", "Bearer "), right + "="]
    for header in wrong:
        answer = await cpo.call("GET", "tokens", "SENDER", headers={"Authorization": header})
        assert (answer.http_status, answer.status_code) == (401, 2000)
    assert len(emsp.received) == len(wrong)


async def test_invitation_is_for_registration_only(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cpo.hub_token = emsp.offer_token_a()
    assert (await cpo.request("GET", emsp.versions_url)).is_success
    assert (await cpo.call("GET", "tokens", "SENDER")).http_status == 401


@pytest.mark.parametrize(
    ("method", "url", "http_status"),
    [
        ("GET", "/elsewhere", 404),
        ("GET", "/ocpi", 404),
        ("GET", "/ocpi/2.1.1", 404),
        ("GET", "/ocpi/2.2.1/sender/locations/", 404),
        ("GET", "/ocpi/2.2.1/sender/tokens/a/b/c", 404),
        ("PUT", "/ocpi/versions", 405),
        ("DELETE", "/ocpi/2.2.1/sender/tokens/", 405),
        ("PATCH", "/ocpi/2.2.1/receiver/tariffs/BE/BEC/T1", 405),
    ],
)
async def test_what_is_not_there_is_answered_in_an_envelope(
    method: str, url: str, http_status: int, cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    answer = await cpo.request(method, emsp.origin + url, body={})
    assert (answer.http_status, answer.status_code) == (http_status, 2000)


# What is sent, what is received


async def test_path_query_and_body_arrive_byte_for_byte(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    body = b'{ "kwh":4.00,\r\n "last_updated":"x", "n":"\xc3\xa9\\u00e9" }\n'
    path = "be/bec/S%2F1%23a%2a*(+)%41/"
    query = "a=https://x/cb?id=5&b=%3A%2f&&c"
    await cpo.call("PATCH", "sessions", "RECEIVER", path, query=query, body=body)
    received = await emsp.wait_for()
    assert received.method == "PATCH"
    assert received.path == f"/ocpi/2.2.1/receiver/sessions/{path}?{query}"
    assert received.body == body


@pytest.mark.parametrize(
    ("suffix", "path"), [("/", "BE/BEC/1"), ("/", "/BE/BEC/1"), ("", "BE/BEC/1"), ("", "/BE/BEC/1")]
)
async def test_one_slash_joins_endpoint_and_path(suffix: str, path: str, cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM], endpoint_suffix=suffix) as emsp:
        await cpo.register_at(emsp.versions_url, emsp.offer_token_a())
        await cpo.call("GET", "sessions", "RECEIVER", path)
        assert emsp.received[-1].path == "/ocpi/2.2.1/receiver/sessions/BE/BEC/1"
        await cpo.call("GET", "sessions", "RECEIVER", "//BE/BEC/1")
        assert emsp.received[-1].path == "/ocpi/2.2.1/receiver/sessions//BE/BEC/1"


async def test_requests_carry_what_ocpi_asks_for(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", body={"id": "1"})
    received = await emsp.wait_for(lambda seen: seen.method == "PUT")
    assert received.json == {"id": "1"}
    assert received.body == b'{"id":"1"}'
    assert (received.to, received.sender) == ("DE-TNM", "BE-BEC")
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Content-Length"] == "10"
    assert received.headers["X-Request-ID"] != received.headers["X-Correlation-ID"]


async def test_requests_without_body_have_no_content_type(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    await cpo.call("POST", "tokens", "SENDER", "1/authorize")
    received = await emsp.wait_for()
    assert received.body == b""
    assert "Content-Type" not in received.headers
    assert received.headers["Content-Length"] == "0"


async def test_headers_can_be_set_and_left_out(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    headers = {"X-Request-ID": "r-1", "x-correlation-id": None, "OCPI-to-PARTY-id": "tnm", "Authorization": None}
    await cpo.call("GET", "tokens", "SENDER", sender=None, headers=headers)
    received = await emsp.wait_for()
    assert received.headers["X-Request-ID"] == "r-1"
    assert [name for name in received.headers if name.lower().startswith("ocpi")] == ["OCPI-to-PARTY-id"]
    assert "X-Correlation-ID" not in received.headers
    assert "Authorization" not in received.headers
    assert (received.to, received.sender) == (None, None)


async def test_answers_repeat_the_ids_and_swap_the_parties(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    ids = {"X-Request-ID": "r-1", "X-Correlation-ID": "c-1"}
    answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=ids)
    assert (answer.to, answer.sender) == ("BE-BEC", "DE-TNM")
    assert {name: answer.headers[name] for name in ids} == ids
    configuration = await cpo.request("GET", emsp.versions_url, to="DE-TNM", headers=ids)
    assert (configuration.to, configuration.sender) == (None, None)
    assert {name: configuration.headers[name] for name in ids} == ids
    emsp.sends_headers = False
    bare = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")
    assert not any(name in bare.headers for name in (*ids, *ROUTING))


async def test_large_bodies_are_taken(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    body = orjson.dumps({"id": "1", "remark": "x" * 3_000_000})
    assert (await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", body=body)).http_status == 201
    assert emsp.received[-1].body == body


async def test_answer_tells_what_came_back(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.answer("GET", "tokens", "SENDER", Reply(404, b"<html>", {"Content-Type": "text/html"}))
    answer = await cpo.call("GET", "tokens", "SENDER")
    assert (answer.http_status, answer.body, answer.status_code, answer.data) == (404, b"<html>", None, None)
    assert not answer.is_success
    assert 0 < answer.milliseconds < 5000
    with pytest.raises(ValueError):
        _ = answer.json


# Waiting, starting, stopping


async def test_wait_for_gives_what_comes_and_what_came(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    waiting = asyncio.ensure_future(emsp.wait_for(lambda received: received.path.endswith("/2")))
    second = asyncio.ensure_future(emsp.wait_for(2))
    for number in (1, 2, 3):
        await cpo.call("GET", "sessions", "RECEIVER", f"BE/BEC/{number}")
    assert (await waiting).path.endswith("/2")
    assert (await second).path.endswith("/2")
    assert (await emsp.wait_for(3)).path.endswith("/3")
    assert emsp.received[0].at < emsp.received[1].at


async def test_wait_for_tells_what_came_instead(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    with pytest.raises(TimeoutError, match=r"Tnm waited 0\.01 s in vain\. It received: nothing"):
        await emsp.wait_for(timeout=0.01)
    await cpo.call("GET", "sessions", "RECEIVER", "BE/BEC/1")
    with pytest.raises(TimeoutError, match=r"It received: GET /ocpi/2\.2\.1/receiver/sessions/BE/BEC/1"):
        await emsp.wait_for(2, timeout=0.01)


async def test_platform_comes_back_at_the_same_place(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    origin = emsp.origin
    await emsp.stop()
    with pytest.raises(aiohttp.ClientConnectionError):
        await cpo.call("GET", "tokens", "SENDER")
    with pytest.raises(RuntimeError, match="Tnm is not started"):
        await emsp.call("GET", "tokens", "RECEIVER")
    await emsp.start()
    assert emsp.origin == origin
    assert (await cpo.call("GET", "tokens", "SENDER")).is_success


async def test_a_taken_port_is_an_error(cpo: SimulatedPlatform) -> None:
    other = SimulatedPlatform("Other", [TNM])
    with pytest.raises(OSError, match="address already in use"):
        await other.start(int(cpo.origin.rpartition(":")[2]))


async def test_on_received_sees_every_request(cpo: SimulatedPlatform) -> None:
    seen: list[str] = []
    async with SimulatedPlatform("Tnm", [TNM], on_received=lambda received: seen.append(received.path)) as emsp:
        await cpo.register_at(emsp.versions_url, emsp.offer_token_a())
    assert seen == ["/ocpi/versions", "/ocpi/2.2.1", "/ocpi/2.2.1/credentials/"]


async def test_a_long_run_keeps_the_last_of_what_was_received(cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM], keep=3) as emsp:
        assert (await cpo.register_at(emsp.versions_url, emsp.offer_token_a())).is_success
        for number in range(20):
            await cpo.call(
                "PUT", "sessions", "RECEIVER", f"BE/BEC/S{number}", body=ocpi.session("BE-BEC", f"S{number}")
            )
            assert emsp.received[-1].path.endswith(f"/S{number}")
            assert len(emsp.received) <= 6
        assert (await emsp.wait_for(lambda received: received.path.endswith("/S18"))).json["id"] == "S18"


async def test_calls_go_where_a_load_balancer_sends_them(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cpo.hub_endpoints = {key: url.replace(emsp.origin, "http://hub.invalid") for key, url in cpo.hub_endpoints.items()}
    cpo.via = lambda url: url.replace("http://hub.invalid", emsp.origin)
    answer = await cpo.call("GET", "tokens", "SENDER", query="limit=1")
    assert answer.is_success
    assert emsp.received[-1].path.endswith("?limit=1")


async def test_repr_tells_the_state(cpo: SimulatedPlatform) -> None:
    assert repr(cpo) == f"<SimulatedPlatform Bec BE-BEC: {cpo.origin}>"
    assert repr(SimulatedPlatform("Tnm", [TNM])) == "<SimulatedPlatform Tnm DE-TNM: stopped>"


async def test_a_caller_that_goes_away_in_mid_body_leaves_nothing(emsp: SimulatedPlatform) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", int(emsp.origin.rpartition(":")[2]))
    writer.write(b"PUT /ocpi/2.2.1/receiver/sessions/BE/BEC/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    with pytest.raises(TimeoutError):
        await emsp.wait_for(timeout=0.05)


# Overrides


async def test_answers_can_be_overridden(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.answer("GET", "tokens", "SENDER", Reply(200, envelope([], 1000), {"X-Limit": "7", "X-Request-ID": "mine"}))
    answer = await cpo.call("GET", "tokens", "SENDER")
    assert (answer.data, answer.headers["X-Limit"], answer.headers.getall("X-Request-ID")) == ([], "7", ["mine"])
    emsp.answer("GET", "tokens", "SENDER", lambda received: Reply(body=envelope(received.sender)))
    assert (await cpo.call("GET", "tokens", "SENDER")).data == "BE-BEC"
    emsp.answer("GET", "tokens", "SENDER", None)
    assert (await cpo.call("GET", "tokens", "SENDER")).data == []


async def test_an_override_can_wait_and_add_to_the_default(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    go_on = asyncio.Event()

    async def wait(received: Received) -> Reply:
        await go_on.wait()
        return await emsp.default_reply(received)

    emsp.answer("PUT", "sessions", "RECEIVER", wait)
    calling = asyncio.ensure_future(
        cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", body=ocpi.session("BE-BEC", "1"))
    )
    await emsp.wait_for()
    assert not calling.done()
    go_on.set()
    assert (await calling).http_status == 201


async def test_a_custom_module_has_the_answers_it_is_given(cpo: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Tnm", [TNM], modules=[("nltnm-wash", "RECEIVER")]) as emsp:
        await cpo.register_at(emsp.versions_url, emsp.offer_token_a())
        assert (await cpo.call("POST", "nltnm-wash", "RECEIVER", "a/b", body={})).http_status == 404
        emsp.answer("POST", "nltnm-wash", "RECEIVER", Reply(body=envelope("washed")))
        assert (await cpo.call("POST", "nltnm-wash", "RECEIVER", "a/b", body={})).data == "washed"


# Lists and single objects


async def test_lists_are_paged(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cpo.store.owned["locations"] = [ocpi.location("BE-BEC", f"LOC{number}") for number in range(5)]
    cpo.store.page_limit = 3
    query = "date_from=2019-01-01T00:00:00Z&limit=2"
    answer = await emsp.call("GET", "locations", "SENDER", query=query)
    ids = [found["id"] for found in answer.data]
    while "Link" in answer.headers:
        assert (answer.headers["X-Total-Count"], answer.headers["X-Limit"]) == ("5", "3")
        link = answer.headers["Link"]
        assert link.startswith(f"<{cpo.origin}/ocpi/2.2.1/sender/locations/?date_from=2019-01-01T00%3A00%3A00Z&offset=")
        assert link.endswith('&limit=2>; rel="next"')
        answer = await emsp.request("GET", link[1 : link.index(">")])
        ids += [found["id"] for found in answer.data]
    assert ids == ["LOC0", "LOC1", "LOC2", "LOC3", "LOC4"]
    assert len((await emsp.call("GET", "locations", "SENDER", query="limit=100")).data) == 3


async def test_lists_are_filtered_by_time_and_party() -> None:
    two = SimulatedPlatform("Two", [BEC, ("BE-TWO", "CPO")])
    async with two as cpo, SimulatedPlatform("Tnm", [TNM]) as emsp:
        await emsp.register_at(cpo.versions_url, cpo.offer_token_a())
        cpo.store.owned["tariffs"] += [
            ocpi.tariff("BE-BEC", "old", last_updated="2020-01-01T00:00:00Z"),
            ocpi.tariff("BE-BEC", "new", last_updated="2021-01-01T00:00:00"),
            ocpi.tariff("BE-TWO", "other", last_updated="2022-01-01T00:00:00Z"),
            ocpi.tariff("BE-TWO", "odd", last_updated="#NA"),
        ]

        async def listed(query: str = "", to: str | None = None) -> list[str]:
            answer = await emsp.call("GET", "tariffs", "SENDER", query=query, to=to)
            return [found["id"] for found in answer.data]

        assert await listed() == ["old", "new", "other", "odd"]
        assert await listed("date_from=2021-01-01T00:00:00Z&date_to=2022-01-01T00:00:00Z") == ["new", "odd"]
        assert await listed(to="BE-BEC") == ["old", "new"]
        assert await listed(to="be-two") == ["other", "odd"]


@pytest.mark.parametrize("query", ["offset=-1", "offset=x", "limit=0", "date_from=None"])
async def test_bad_paging_is_refused(query: str, cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    answer = await emsp.call("GET", "locations", "SENDER", query=query)
    assert (answer.http_status, answer.status_code) == (200, 2001)


async def test_locations_evses_and_connectors_are_given(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    location = ocpi.location("BE-BEC", "LOC1")
    cpo.store.owned["locations"].append(location)
    for path, expected in [
        ("loc1", location),
        ("LOC1/LOC1-2", location["evses"][1]),
        ("LOC1/LOC1-2/1", location["evses"][1]["connectors"][0]),
    ]:
        assert (await emsp.call("GET", "locations", "SENDER", path)).data == expected
    for path in ("LOC2", "LOC1/3", "LOC1/3/1", "LOC1/LOC1-2/2"):
        answer = await emsp.call("GET", "locations", "SENDER", path)
        assert (answer.http_status, answer.status_code) == (404, 2003)


# Client owned objects


@pytest.mark.parametrize("module", ["locations", "tariffs", "sessions"])
async def test_pushed_objects_are_kept(module: str, cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    build: Any = {"locations": ocpi.location, "tariffs": ocpi.tariff, "sessions": ocpi.session}[module]
    pushed = build("BE-BEC", "X%1")
    missing = await cpo.call("GET", module, "RECEIVER", "BE/BEC/X%251")
    created = await cpo.call("PUT", module, "RECEIVER", "BE/BEC/X%251", body=pushed)
    updated = await cpo.call("PUT", module, "RECEIVER", "be/bec/x%251", body=pushed)
    given = await cpo.call("GET", module, "RECEIVER", "BE/BEC/X%251")
    assert [answer.http_status for answer in (missing, created, updated, given)] == [404, 201, 200, 200]
    assert "data" not in created.json
    assert given.data == pushed
    assert emsp.store.copy(module, ("BE", "BEC", "X%1")) == pushed


async def test_evses_and_connectors_are_pushed_into_their_location(
    cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    async def push(method: str, path: str, body: Any) -> int:
        return (await cpo.call(method, "locations", "RECEIVER", path, body=body)).http_status

    then = "2030-01-01T00:00:00Z"
    assert await push("PUT", "BE/BEC/LOC1/NEW", ocpi.evse("BE-BEC", "NEW")) == 404
    assert await push("PUT", "BE/BEC/LOC1", ocpi.location("BE-BEC", "LOC1")) == 201
    assert await push("PUT", "BE/BEC/LOC1/NEW", ocpi.evse("BE-BEC", "NEW")) == 201
    assert await push("PUT", "BE/BEC/LOC1/LOC1-1", ocpi.evse("BE-BEC", "LOC1-1", status="BLOCKED")) == 200
    assert await push("PUT", "BE/BEC/LOC1/NEW/2", ocpi.connector("2")) == 201
    assert await push("PATCH", "BE/BEC/LOC1/NEW/2", {"tariff_ids": ["T2"], "last_updated": then}) == 200
    location = (await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1")).data
    assert [(evse["uid"], evse["status"]) for evse in location["evses"]] == [
        ("LOC1-1", "BLOCKED"),
        ("LOC1-2", "CHARGING"),
        ("NEW", "AVAILABLE"),
    ]
    connectors = location["evses"][2]["connectors"]
    assert [connector["tariff_ids"] for connector in connectors] == [["T1"], ["T2"]]
    assert location["last_updated"] == location["evses"][2]["last_updated"] == connectors[1]["last_updated"] == then
    assert (await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1/new/2")).data == connectors[1]


async def test_patch_changes_what_it_names_and_adds_charging_periods(
    cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    session = ocpi.session("BE-BEC", "101")
    await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/101", body=session)
    period = ocpi.charging_period(0, ENERGY=1.5)
    changes = {"kwh": 5.7, "meter_id": None, "charging_periods": [period], "last_updated": "2030-01-01T00:00:00Z"}
    assert (await cpo.call("PATCH", "sessions", "RECEIVER", "BE/BEC/101", body=changes)).is_success
    kept = (await cpo.call("GET", "sessions", "RECEIVER", "BE/BEC/101")).data
    assert kept == session | changes | {"charging_periods": [*session["charging_periods"], period]}


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("BE/BEC/101", {"kwh": 1}, (200, 2001)),
        ("BE/BEC/101", b"{", (400, 2001)),
        ("BE/BEC/101", b"[]", (200, 2001)),
        ("BE/BEC/101", {"last_updated": "2030-01-01T00:00:00Z"}, (404, 2000)),
    ],
)
async def test_patches_that_cannot_be_made_are_refused(
    path: str, body: Any, expected: tuple[int, int], cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    answer = await cpo.call("PATCH", "sessions", "RECEIVER", path, body=body)
    assert (answer.http_status, answer.status_code) == expected


async def test_tariffs_are_deleted(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    await cpo.call("PUT", "tariffs", "RECEIVER", "BE/BEC/T1", body=ocpi.tariff("BE-BEC"))
    assert (await cpo.call("DELETE", "tariffs", "RECEIVER", "BE/BEC/T1")).http_status == 200
    assert (await cpo.call("DELETE", "tariffs", "RECEIVER", "BE/BEC/T1")).http_status == 404


async def test_tokens_are_kept_by_type(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    card = ocpi.token("DE-TNM", "1")
    app = ocpi.token("DE-TNM", "1", type="APP_USER")
    await emsp.call("PUT", "tokens", "RECEIVER", "DE/TNM/1", body=card)
    await emsp.call("PUT", "tokens", "RECEIVER", "DE/TNM/1", query="type=APP_USER", body=app)
    changes = {"valid": False, "last_updated": "2030-01-01T00:00:00Z"}
    await emsp.call("PATCH", "tokens", "RECEIVER", "DE/TNM/1", query="type=APP_USER", body=changes)
    assert (await emsp.call("GET", "tokens", "RECEIVER", "DE/TNM/1")).data == card
    assert (await emsp.call("GET", "tokens", "RECEIVER", "DE/TNM/1", query="type=APP_USER")).data == app | changes


async def test_a_posted_cdr_is_found_at_its_location(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cdr = ocpi.cdr("BE-BEC", "C/1")
    answer = await cpo.call("POST", "cdrs", "RECEIVER", body=cdr)
    assert (answer.http_status, answer.status_code) == (201, 1000)
    assert answer.headers["Location"] == f"{emsp.origin}/ocpi/2.2.1/receiver/cdrs/BE/BEC/C%2F1"
    assert (await cpo.request("GET", answer.headers["Location"])).data == cdr
    assert (await cpo.request("GET", answer.headers["Location"] + "0")).http_status == 404


async def test_client_info_is_kept_per_role_without_routing_headers(cpo: SimulatedPlatform) -> None:
    modules = [*hosted_modules("EMSP"), ("hubclientinfo", "RECEIVER")]
    async with SimulatedPlatform("Tnm", [TNM], modules=modules) as emsp:
        await cpo.register_at(emsp.versions_url, emsp.offer_token_a())
        for role in ("CPO", "EMSP"):
            info = ocpi.client_info("NL-ALF", role, "OFFLINE")
            answer = await cpo.call("PUT", "hubclientinfo", "RECEIVER", "NL/ALF", body=info)
            assert answer.http_status == 201
        assert not any(name in (*emsp.received[-1].headers, *answer.headers) for name in ROUTING)
        assert sorted(emsp.store.copies["hubclientinfo"]) == [("NL", "ALF", "CPO"), ("NL", "ALF", "EMSP")]
        assert (await cpo.call("GET", "hubclientinfo", "RECEIVER", "nl/alf")).data["status"] == "OFFLINE"
        assert (await cpo.call("GET", "hubclientinfo", "RECEIVER", "NL/XXX")).http_status == 404
        assert (await cpo.call("PUT", "hubclientinfo", "RECEIVER", "NL", body=info)).http_status == 404


# Real-time authorization and preferences


async def test_known_tokens_are_allowed(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    token = ocpi.token("DE-TNM", "ab12")
    emsp.store.owned["tokens"] += [token, ocpi.token("DE-TNM", "lost", valid=False, type="APP_USER")]
    without_body = await cpo.call("POST", "tokens", "SENDER", "AB12/authorize", query="type=RFID", to="DE-TNM")
    assert (without_body.data["allowed"], without_body.data["token"]) == ("ALLOWED", token)
    assert "location" not in without_body.data
    references = ocpi.location_references("LOC1", "LOC1-1")
    with_body = await cpo.call("POST", "tokens", "SENDER", "ab12/authorize", body=references)
    assert with_body.data["location"] == references
    assert with_body.data["authorization_reference"] != without_body.data["authorization_reference"]
    blocked = await cpo.call("POST", "tokens", "SENDER", "lost/authorize", query="type=APP_USER")
    assert blocked.data["allowed"] == "BLOCKED"


@pytest.mark.parametrize(
    ("path", "query", "body", "expected"),
    [
        ("nobody/authorize", "", None, (404, 2004)),
        ("ab12/authorize", "type=APP_USER", None, (404, 2004)),
        ("ab12/authorize", "", b"{", (400, 2001)),
    ],
)
async def test_other_authorizations_are_refused(
    path: str, query: str, body: Any, expected: tuple[int, int], cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    emsp.store.owned["tokens"].append(ocpi.token("DE-TNM", "ab12"))
    answer = await cpo.call("POST", "tokens", "SENDER", path, query=query, body=body)
    assert (answer.http_status, answer.status_code, answer.data) == (*expected, None)


async def test_charging_preferences_are_for_known_sessions(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cpo.store.owned["sessions"].append(ocpi.session("BE-BEC", "101"))
    preferences = ocpi.charging_preferences()
    answer = await emsp.call("PUT", "sessions", "SENDER", "101/charging_preferences", body=preferences)
    assert answer.data == "ACCEPTED"
    answer = await emsp.call("PUT", "sessions", "SENDER", "102/charging_preferences", body=preferences)
    assert answer.http_status == 404


# Commands and charging profiles


def command_body(command: str, response_url: str) -> dict[str, Any]:
    token = ocpi.token("DE-TNM", "1")
    return {
        "START_SESSION": ocpi.start_session(response_url, token, evse_uid="LOC1-1"),
        "STOP_SESSION": ocpi.stop_session(response_url, "101"),
        "RESERVE_NOW": ocpi.reserve_now(response_url, token, "R-7"),
        "CANCEL_RESERVATION": ocpi.cancel_reservation(response_url, "r-7"),
        "UNLOCK_CONNECTOR": ocpi.unlock_connector(response_url),
    }[command]


async def send_command(emsp: SimulatedPlatform, command: str) -> tuple[str, Answer]:
    response_url = emsp.new_response_url("commands", command)
    assert len(response_url) <= 255
    body = command_body(command, response_url)
    answer = await emsp.call("POST", "commands", "RECEIVER", command, to="BE-BEC", body=body)
    return response_url, answer


@pytest.mark.parametrize("command", ["START_SESSION", "STOP_SESSION", "RESERVE_NOW", "UNLOCK_CONNECTOR"])
async def test_commands_are_accepted_and_their_result_follows(
    command: str, cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    response_url, answer = await send_command(emsp, command)
    assert answer.data == {"result": "ACCEPTED", "timeout": 30}
    result = await emsp.wait_for()
    assert (result.method, emsp.origin + result.path, result.json) == ("POST", response_url, {"result": "ACCEPTED"})
    assert (result.to, result.sender) == ("DE-TNM", "BE-BEC")
    assert result.headers["Authorization"] == carries(cpo.hub_token)
    asked = cpo.received[0]
    assert result.headers["X-Correlation-ID"] == asked.headers["X-Correlation-ID"]
    assert result.headers["X-Request-ID"] != asked.headers["X-Request-ID"]


async def test_a_result_is_sent_after_the_answer(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    order: list[str] = []
    emsp.on_received = lambda received: order.append("result")
    for _ in range(20):
        await send_command(emsp, "STOP_SESSION")
        order.append("answer")
    await emsp.wait_for(20)
    assert order.index("answer") <= order.index("result")
    await cpo.settle()
    assert {(answer.http_status, answer.status_code, answer.data) for answer in cpo.results} == {(200, 1000, None)}


async def test_a_reservation_is_cancelled_by_the_emsp(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    results = []
    for number, command in enumerate(("RESERVE_NOW", "CANCEL_RESERVATION", "CANCEL_RESERVATION"), start=1):
        await send_command(emsp, command)
        results.append((await emsp.wait_for(number)).json["result"])
    assert results == ["ACCEPTED", "ACCEPTED", "UNKNOWN_RESERVATION"]


async def test_a_reservation_is_cancelled_by_the_cpo(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    response_url, _ = await send_command(emsp, "RESERVE_NOW")
    await emsp.wait_for()
    assert (await cpo.cancel_reservation("r-7")).is_success
    cancelled = await emsp.wait_for(2)
    assert (emsp.origin + cancelled.path, cancelled.json) == (response_url, {"result": "CANCELED_RESERVATION"})
    with pytest.raises(LookupError, match="Bec has no reservation R-7"):
        await cpo.cancel_reservation("R-7")


async def test_a_command_needs_a_response_url(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    for body in ({}, {"response_url": "ftp://x"}):
        answer = await emsp.call("POST", "commands", "RECEIVER", "STOP_SESSION", body=body)
        assert (answer.http_status, answer.status_code) == (200, 2001)


async def test_stop_drops_results_that_wait(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cpo.result_delay_seconds = 3600
    await send_command(emsp, "START_SESSION")
    await cpo.stop()
    assert emsp.received == []


async def test_a_result_that_cannot_be_sent_is_a_failure_told(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    cpo.result_delay_seconds = 0.01
    _, answer = await send_command(emsp, "START_SESSION")
    assert answer.is_success
    await emsp.stop()
    await cpo.settle()
    assert isinstance(cpo.failures[0], aiohttp.ClientError)


async def test_charging_profiles_are_set_given_and_cleared(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    async def ask(method: str, body: Any = None, query: str = "") -> Any:
        emsp.clear()
        answer = await emsp.call(method, "chargingprofiles", "RECEIVER", "101", body=body, query=query)
        assert answer.data == {"result": "ACCEPTED", "timeout": 30}
        received = await emsp.wait_for()
        assert (received.method, emsp.origin + received.path) == ("POST", response_url)
        return received.json

    response_url = emsp.new_response_url("chargingprofiles", "101")
    profile = ocpi.set_charging_profile(response_url)
    assert await ask("PUT", profile) == {"result": "ACCEPTED"}
    active = await ask("GET", query=f"duration=900&response_url={response_url}")
    assert active["profile"]["charging_profile"] == profile["charging_profile"]
    assert await ask("DELETE", query=f"response_url={response_url}") == {"result": "ACCEPTED"}
    assert await ask("DELETE", query=f"response_url={response_url}") == {"result": "UNKNOWN"}


async def test_the_cpo_tells_of_a_changed_profile(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    changed = ocpi.active_charging_profile()
    assert (await cpo.call("PUT", "chargingprofiles", "SENDER", "101", body=changed)).is_success
    assert (await emsp.wait_for()).json == changed


# Misbehaviour


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("close", aiohttp.ServerDisconnectedError),
        ("garbage", aiohttp.ClientResponseError),
        ("die_mid_body", aiohttp.ClientPayloadError),
        ("silent", TimeoutError),
    ],
)
async def test_misbehaviour_on_the_connection(
    kind: Any, error: type[Exception], cpo: SimulatedPlatform, emsp: SimulatedPlatform
) -> None:
    emsp.misbehave(kind)
    with pytest.raises(error):
        async with asyncio.timeout(0.1 if kind == "silent" else 5):
            await cpo.call("POST", "tokens", "SENDER", "1/authorize")
    assert [seen.method for seen in emsp.received] == ["POST"]
    assert (await cpo.request("GET", emsp.versions_url)).is_success
    emsp.misbehave(None)
    assert (await cpo.call("GET", "tokens", "SENDER")).is_success


async def test_silence_ends_when_the_platform_stops(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.misbehave("silent")
    calling = asyncio.ensure_future(cpo.call("POST", "tokens", "SENDER", "1/authorize"))
    await emsp.wait_for()
    begin = asyncio.get_running_loop().time()
    await emsp.stop()
    assert asyncio.get_running_loop().time() - begin < 1
    with pytest.raises(aiohttp.ClientConnectionError):
        await calling


async def test_half_an_answer_arrives_before_it_dies(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.answer("GET", "tokens", "SENDER", Reply(200, b"0123456789"))
    emsp.misbehave("die_mid_body")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(emsp.origin.rpartition(":")[2]))
    writer.write(
        b"GET /ocpi/2.2.1/sender/tokens/ HTTP/1.1\r\nHost: x\r\n"
        b"Authorization: " + carries(emsp.own_token).encode() + b"\r\n\r\n"
    )
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert b"Content-Length: 10" in head
    assert body == b"01234"
    writer.close()
    await writer.wait_closed()


async def test_html_in_place_of_an_answer(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.misbehave("html")
    answer = await cpo.call("GET", "tokens", "SENDER")
    assert (answer.http_status, answer.status_code) == (502, None)
    assert answer.headers["Content-Type"].startswith("text/html")


async def test_every_token_unauthorized(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.misbehave("unauthorized")
    answer = await cpo.call("GET", "tokens", "SENDER")
    assert (answer.http_status, answer.status_code) == (401, 2000)
    assert (await cpo.call("GET", "credentials", "SENDER")).is_success


async def test_a_slow_answer_is_right_but_late(cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    emsp.misbehave("slow", seconds=0.05)
    answer = await cpo.call("GET", "tokens", "SENDER")
    assert answer.is_success
    assert answer.milliseconds >= 45


# Objects

REQUIRED = {
    "location": "country_code party_id id publish address city country coordinates time_zone last_updated",
    "evse": "uid status connectors last_updated",
    "connector": "id standard format power_type max_voltage max_amperage last_updated",
    "tariff": "country_code party_id id currency elements last_updated",
    "token": "country_code party_id uid type contract_id issuer valid whitelist last_updated",
    "cdr_token": "country_code party_id uid type contract_id",
    "session": "country_code party_id id start_date_time kwh cdr_token auth_method location_id evse_uid connector_id "
    "currency status last_updated",
    "cdr": "country_code party_id id start_date_time end_date_time cdr_token auth_method cdr_location currency "
    "charging_periods total_cost total_energy total_time last_updated",
    "cdr_location": "id address city country coordinates evse_uid evse_id connector_id connector_standard "
    "connector_format connector_power_type",
    "signed_data": "encoding_method signed_values",
    "start_session": "response_url token location_id",
    "stop_session": "response_url session_id",
    "reserve_now": "response_url token expiry_date reservation_id location_id",
    "cancel_reservation": "response_url reservation_id",
    "unlock_connector": "response_url location_id evse_uid connector_id",
    "set_charging_profile": "charging_profile response_url",
    "charging_preferences": "profile_type",
    "location_references": "location_id",
    "client_info": "country_code party_id role status last_updated",
}
"""Fields of cardinality 1 and + in the tables of OCPI 2.2.1."""

TOKEN = ocpi.token("DE-TNM", "012345678")
OBJECTS: dict[str, dict[str, Any]] = {
    "location": ocpi.location("BE-BEC", "LOC1"),
    "evse": ocpi.evse("BE-BEC", "LOC1-1"),
    "connector": ocpi.connector(),
    "tariff": ocpi.tariff("BE-BEC"),
    "token": TOKEN,
    "cdr_token": ocpi.cdr_token(TOKEN),
    "session": ocpi.session("BE-BEC", "101"),
    "cdr": ocpi.cdr("BE-BEC", "12345", TOKEN),
    "cdr_location": ocpi.cdr_location(ocpi.location("BE-BEC", "LOC1")),
    "signed_data": ocpi.signed_data(),
    "start_session": ocpi.start_session("https://x", TOKEN),
    "stop_session": ocpi.stop_session("https://x", "101"),
    "reserve_now": ocpi.reserve_now("https://x", TOKEN, "R-7"),
    "cancel_reservation": ocpi.cancel_reservation("https://x", "R-7"),
    "unlock_connector": ocpi.unlock_connector("https://x"),
    "set_charging_profile": ocpi.set_charging_profile("https://x"),
    "charging_preferences": ocpi.charging_preferences(),
    "location_references": ocpi.location_references("LOC1"),
    "client_info": ocpi.client_info("BE-BEC", "CPO"),
}


@pytest.mark.parametrize("name", REQUIRED)
def test_objects_have_what_ocpi_requires(name: str) -> None:
    missing = [field for field in REQUIRED[name].split() if OBJECTS[name].get(field) in (None, [], "")]
    assert missing == []


def test_overrides_win() -> None:
    assert ocpi.location("BE-BEC", "LOC1", name="Elsewhere", x_unknown=1)["name"] == "Elsewhere"
    assert ocpi.session("BE-BEC", "101", ocpi.token("NL-TST", "9"))["cdr_token"]["party_id"] == "TST"


def test_the_costs_of_a_cdr_add_up() -> None:
    cdr = ocpi.cdr("BE-BEC", "12345")
    parts = ("total_fixed_cost", "total_energy_cost", "total_parking_cost")
    assert cdr["total_cost"] == {"excl_vat": 7.69, "incl_vat": 9.3049}
    for kind, total in cdr["total_cost"].items():
        assert sum(cdr[part][kind] for part in parts) == pytest.approx(total)
