"""How real OCPI systems deviate, and that each of them can be a member all the same."""

from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from config.ocpi import (
    AUTHORIZATION,
    CORRELATION_ID,
    FROM_COUNTRY,
    FROM_PARTY,
    REQUEST_ID,
    TO_COUNTRY,
    TO_PARTY,
    PartyID,
)
from hub.simulator import Behaviour, Received, Reply, SimulatedPlatform, envelope
from hub.simulator.objects import cdr, start_session, token
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import messages_to, p1, p2, p3, p4

HTML = {"Content-Type": "text/html"}
ONLY_AUTHORIZATION = {REQUEST_ID: None, CORRELATION_ID: None}


async def set_switches(hub: HubOnTest, party: str, *assignments: str) -> None:
    """Do what `ocpi-hub party set` does."""
    platform = await hub.members.platform_of(PartyID.parse(party))
    await hub.members.set_switches(platform, assignments, hub.hub.guard)
    await hub.hub.live.refresh()


def redirect_unless(ends: str, status: int, body: Behaviour | None = None) -> Behaviour:
    """Answer a redirect, with an HTML page, to every path that does not end so."""

    def answer(received: Received) -> Reply:
        path, question, query = received.path.partition("?")
        if path.endswith(ends):
            return Reply(body=envelope(received.body.decode() or []))
        wanted = path.rstrip("/") + ends if ends == "/" else path
        return Reply(status, b"<html>Redirecting</html>", HTML | {"Location": wanted + question + query})

    return answer


# URLs


@pytest.mark.parametrize("suffix", ["/", ""])
async def test_a_url_is_called_with_the_final_slash_that_it_was_advertised_with(hub: HubOnTest, suffix: str) -> None:
    """Quirk 1: one slash less is 307 at some, one more is 308 at others."""
    async with registered(hub, p1(), p3(endpoint_suffix=suffix)) as (cpo, emsp):
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", query="limit=1"))
        expect.envelope(await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", body=cdr("BE-BEC", "1")), 201)
        listed, posted = emsp.received
        assert listed.path == f"/ocpi/2.2.1/sender/tokens{suffix}?limit=1"
        assert posted.path == f"/ocpi/2.2.1/receiver/cdrs{suffix}"


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_to_the_same_origin_is_followed_with_everything(hub: HubOnTest, status: int) -> None:
    """Quirk 2, R-118: method, body and token stay; the page's HTML never reaches the requester."""
    async with registered(hub, p1(), p3(endpoint_suffix="")) as (cpo, emsp):
        emsp.answer("GET", "tokens", "SENDER", redirect_unless("/", status))
        emsp.answer("POST", "cdrs", "RECEIVER", redirect_unless("/", status))
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS, query="limit=1")
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM")
        answer = await cpo.call("POST", "cdrs", "RECEIVER", to="DE-TNM", headers=expect.IDS, body=b'{"id":"1"}')
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM")
        assert [received.path.partition("/2.2.1")[2] for received in emsp.received] == [
            "/sender/tokens?limit=1",
            "/sender/tokens/?limit=1",
            "/receiver/cdrs",
            "/receiver/cdrs/",
        ]
        assert [received.body for received in emsp.received[2:]] == [b'{"id":"1"}'] * 2
        for received in emsp.received:
            expect.forwarded(received, emsp, to="DE-TNM", sender="BE-BEC")


ELSEWHERE = [
    "{other}/ocpi/2.2.1/sender/tokens/",
    "//127.0.0.1:1/x",
    "https://evil.test/",
    "{loop}",
    "http://[::1/",
    "/a b",
    "http://user@{host}/x",
]


async def test_a_redirect_elsewhere_or_for_ever_is_not_followed(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3(), p4()) as (cpo, emsp, other):
        for location in ELSEWHERE:
            with subtests.test(location):
                emsp.clear()
                target = location.format(
                    other=other.origin, loop=emsp.endpoint("tokens"), host=emsp.origin.removeprefix("http://")
                )
                emsp.answer("GET", "tokens", "SENDER", Reply(308, b"<html>", HTML | {"Location": target}))
                answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
                expect.refusal(answer, 4000, to="BE-BEC")
                assert len(messages_to(emsp)) <= 2
                expect.untouched(other)


async def test_paths_are_joined_to_the_hubs_urls_in_either_way(hub: HubOnTest) -> None:
    """Quirk 3: some just append, others put a slash between whatever is there."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        base = cpo.hub_endpoints["locations", "RECEIVER"]
        for url in (base + "BE/BEC/LOC1", base + "/BE/BEC/LOC1", base + "BE//BEC/LOC1/"):
            await cpo.request("GET", url, to="DE-TNM")
        below = [received.path.removeprefix("/ocpi/2.2.1/receiver/locations") for received in emsp.received]
        assert below == ["/BE/BEC/LOC1", "/BE/BEC/LOC1", "/BE/BEC/LOC1/"]


# Lists


async def test_a_link_with_wrong_scheme_path_and_filters_still_leads_on(hub: HubOnTest) -> None:
    """Quirk 4: only offset and limit are taken from it."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        wrong = (
            "<https://127.0.0.1/ocpi/cpo/VersionNumber.v_2_2_1/ModuleID.locations/"
            '?date_from=None&date_to=None&offset=3&limit=3>; rel="next"'
        )
        cpo.answer("GET", "locations", "SENDER", Reply(body=envelope([]), headers={"Link": wrong}))
        query = "date_from=2026-01-01T00:00:00Z&limit=3"
        answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", query=query)
        url = answer.headers["Link"].partition("<")[2].partition(">")[0]
        assert "None" not in url
        cpo.clear()
        expect.envelope(await emsp.request("GET", url))
        path, _, raw = cpo.received[0].path.partition("?")
        assert path == "/ocpi/2.2.1/sender/locations/"
        assert sorted(raw.split("&")) == ["date_from=2026-01-01T00:00:00Z", "limit=3", "offset=3"]


@pytest.mark.parametrize("headers", [{"Link": ""}, {}], ids=["empty Link", "no pagination headers"])
async def test_a_list_may_lack_pagination(hub: HubOnTest, headers: dict[str, str]) -> None:
    """Quirks 5 and 6."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer("GET", "locations", "SENDER", Reply(body=envelope([1, 2]), headers=headers))
        answer = await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers=expect.IDS, query="from=1&to=2")
        expect.relayed(answer, to="DE-TNM", sender="BE-BEC")
        assert answer.data == [1, 2]
        assert not {"Link", "X-Total-Count", "X-Limit"} & set(answer.headers)
        assert cpo.received[0].path.endswith("?from=1&to=2")


LOCATIONS = ["https://127.0.0.1/ocpi/emsp/VersionNumber.v_2_2_1/ModuleID.cdrs/cdr1", None, "", "http://[bad"]


async def test_a_cdr_is_taken_whatever_its_location_is(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    """Quirk 7."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for location in LOCATIONS:
            with subtests.test(location=location):
                headers = {} if location is None else {"Location": location}
                emsp.answer("POST", "cdrs", "RECEIVER", Reply(200, envelope(), headers))
                answer = await cpo.call(
                    "POST", "cdrs", "RECEIVER", to="DE-TNM", headers=expect.IDS, body=cdr("BE-BEC", "1")
                )
                expect.relayed(answer, to="BE-BEC", sender="DE-TNM")
                assert answer.headers.get("Location", hub.url).startswith(hub.url)


# Bodies


SHAPES = [
    [{"id": "LOC1"}],
    [{"result": "ACCEPTED", "timeout": 30}],
    {"id": "LOC1", "evses": [], "name": None, "related_locations": None},
    None,
    "text",
]


async def test_data_of_any_shape_passes(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    """Quirks 9 and 10: lists around single objects, explicit nulls and empty lists."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for data in SHAPES:
            with subtests.test(data=data):
                cpo.clear()
                emsp.clear()
                body = orjson.dumps(
                    {"data": data, "status_code": 1000, "status_message": None, "timestamp": "2026-01-01"}
                )
                emsp.answer("PUT", "locations", "RECEIVER", Reply(body=body))
                cpo.answer("POST", "commands", "RECEIVER", Reply(body=body))
                pushed = orjson.dumps({"id": "LOC1", "evses": [], "name": None})
                answer = await cpo.call(
                    "PUT", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM", headers=expect.IDS, body=pushed
                )
                expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=body)
                assert emsp.received[0].body == pushed
                command = start_session(emsp.new_response_url("commands", "x"), token("DE-TNM", "1"))
                answer = await emsp.call(
                    "POST", "commands", "RECEIVER", "START_SESSION", to="BE-BEC", headers=expect.IDS, body=command
                )
                expect.relayed(answer, to="DE-TNM", sender="BE-BEC", body=body)


ERRORS = [
    (Reply(403, b'{"detail":"Not authenticated"}'), 200, 4003),
    (Reply(401, b'{"detail":"Unauthorized"}'), 200, 4003),
    (Reply(404, b'{"detail":"Not Found"}'), 404, 2000),
    (Reply(422, b'{"detail":[{"loc":["body","evses"],"msg":"Field required"}]}'), 200, 4000),
    (Reply(404, b"<!DOCTYPE html><pre>Cannot PUT /</pre>", HTML), 404, 2000),
]


async def test_an_error_without_an_envelope_gets_one(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    """Quirks 11 to 13."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for reply, http_status, status_code in ERRORS:
            with subtests.test(reply=reply):
                emsp.answer("PUT", "locations", "RECEIVER", reply)
                answer = await cpo.call(
                    "PUT", "locations", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=expect.IDS, body={"id": "1"}
                )
                expect.refusal(answer, status_code, to="BE-BEC", http_status=http_status)


async def test_malformed_json_never_reaches_those_who_answer_it_wrongly(hub: HubOnTest) -> None:
    """Quirk 14."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        answer = await cpo.call("PATCH", "locations", "RECEIVER", "BE/BEC/1", to="DE-TNM", body=b'{"a":,}')
        expect.envelope(answer, 400, 2001)
        expect.untouched(emsp)


# Headers


async def test_the_hub_fills_in_all_six_headers_of_an_answer(hub: HubOnTest) -> None:
    """Quirk 15."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.sends_headers = False
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM")


async def test_a_push_and_a_result_may_carry_the_token_alone(hub: HubOnTest) -> None:
    """Quirk 16: who sends is told by the token, to whom a result goes by its URL."""
    async with registered(hub, p1(), p4()) as (cpo, emsp):
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=envelope({"result": "ACCEPTED", "timeout": 5})))
        command = start_session(emsp.new_response_url("commands", "x"), token("NL-MSP", "1"))
        await emsp.call("POST", "commands", "RECEIVER", "START_SESSION", to="BE-BEC", sender="NL-MSP", body=command)
        url = cpo.received[0].json["response_url"]
        result = {"result": "ACCEPTED"}
        expect.envelope(await cpo.request("POST", url, sender=None, headers=ONLY_AUTHORIZATION, body=result))
        (received,) = emsp.received
        expect.routing(received, to="NL-MSP", sender="BE-BEC")
        assert received.headers[REQUEST_ID]
        assert received.headers[CORRELATION_ID]

        emsp.clear()
        session = {"id": "1"}
        answer = await cpo.call(
            "PUT",
            "sessions",
            "RECEIVER",
            "BE/BEC/1",
            to="NL-TST",
            sender=None,
            headers=ONLY_AUTHORIZATION,
            body=session,
        )
        expect.envelope(answer, 201)
        expect.routing(emsp.received[0], to="NL-TST", sender="BE-BEC")


async def test_the_word_undefined_in_headers_is_overwritten(hub: HubOnTest) -> None:
    """Quirk 17."""
    undefined = dict.fromkeys((TO_COUNTRY, TO_PARTY, FROM_COUNTRY, FROM_PARTY, REQUEST_ID, CORRELATION_ID), "undefined")
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        cpo.answer(
            "POST",
            "commands",
            "RECEIVER",
            Reply(body=envelope({"result": "ACCEPTED", "timeout": 5}), headers=undefined),
        )
        command = start_session(emsp.new_response_url("commands", "x"), token("DE-TNM", "1"))
        answer = await emsp.call(
            "POST", "commands", "RECEIVER", "START_SESSION", to="BE-BEC", headers=expect.IDS, body=command
        )
        expect.relayed(answer, to="DE-TNM", sender="BE-BEC")
        url = cpo.received[0].json["response_url"]
        expect.envelope(await cpo.request("POST", url, headers=undefined, body={"result": "ACCEPTED"}))
        expect.routing(emsp.received[0], to="DE-TNM", sender="BE-BEC")


# Tokens


async def test_raw_tokens_work_in_both_directions(hub: HubOnTest) -> None:
    """Quirk 18: learnt at registration, whoever begins it."""
    async with registered(hub, p3()) as (emsp,), p1(token_base64=False) as cpo:
        await hub.connect(cpo)
        cpo.clear()
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        assert cpo.received[0].headers[AUTHORIZATION] == f"Token {cpo.own_token}"
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))


async def test_the_operator_says_which_form_of_token_a_platform_gets(hub: HubOnTest) -> None:
    """Quirk 18: it may also understand Base64 at its versions endpoint, and only raw tokens elsewhere (20)."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        emsp.token_base64 = False
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"), 200, 4003)
        await set_switches(hub, "DE-TNM", "token=raw")
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        assert emsp.received[-1].headers[AUTHORIZATION] == f"Token {emsp.own_token}"
        emsp.token_base64 = True
        await set_switches(hub, "DE-TNM", "token=auto")
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))


async def test_a_push_without_the_word_token_is_401(hub: HubOnTest) -> None:
    """Quirk 19."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for value in (cpo.hub_token, f" {cpo.hub_token}"):
            answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", headers={AUTHORIZATION: value})
            expect.envelope(answer, 401, 2000)
        expect.untouched(emsp)


# Registration


async def test_a_module_that_the_details_leave_out_can_be_set(hub: HubOnTest) -> None:
    """Quirk 21."""
    without_commands = [("locations", "SENDER"), ("sessions", "SENDER")]
    async with registered(hub, p1(modules=without_commands), p3()) as (cpo, emsp):
        theirs = emsp.new_response_url("commands", "x")

        async def send() -> Any:
            return await emsp.call(
                "POST",
                "commands",
                "RECEIVER",
                "STOP_SESSION",
                to="BE-BEC",
                headers=expect.IDS,
                body={"response_url": theirs, "session_id": "1"},
            )

        expect.refusal(await send(), 4000, to="DE-TNM")
        expect.untouched(cpo)
        await set_switches(hub, "BE-BEC", f"endpoint.commands.RECEIVER={cpo.endpoint('commands', 'RECEIVER')}")
        cpo._modules = (*without_commands, ("commands", "RECEIVER"))
        expect.relayed(await send(), to="DE-TNM", sender="BE-BEC")
        await emsp.wait_for(1)


async def test_token_b_may_be_token_a(hub: HubOnTest) -> None:
    """Quirk 24: and roles without business_details, and a PUT without a body."""
    async with registered(hub, p3()) as (emsp,), p1() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token, cpo.own_token = token_a, token_a
        cpo.hub_endpoints = dict(emsp.hub_endpoints)
        offered = cpo.credentials(token_a)
        for role in offered["roles"]:
            del role["business_details"]
        answer = await cpo.call("POST", "credentials", "SENDER", body=offered)
        expect.envelope(answer)
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"), 401, 2000)
        cpo.hub_token = answer.data["token"]
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))
        cpo.clear()
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        expect.authorized(cpo.received[0], token_a)

        expect.envelope(await cpo.call("PUT", "credentials", "SENDER"), 200, 2001)
        expect.envelope(await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"))


def versions_in_an_object(received: Received) -> Reply:
    url = f"http://{received.headers['Host']}/ocpi/2.2.1"
    return Reply(body=envelope({"versions": [{"version": "2.2.1", "url": url}]}))


async def test_versions_may_be_wrapped_and_roles_nested(hub: HubOnTest) -> None:
    """Quirk 22."""
    async with p1() as cpo, p3() as emsp:
        await hub.register(emsp)
        cpo.answer("GET", "versions", "SENDER", versions_in_an_object)
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token, cpo.hub_endpoints = token_a, dict(emsp.hub_endpoints)
        cpo.own_token = "b-token"
        offered = cpo.credentials("b-token")
        answer = await cpo.call("POST", "credentials", "SENDER", body=offered | {"roles": [offered["roles"]]})
        expect.envelope(answer)
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))


async def test_every_answer_of_the_hub_has_a_status_message(hub: HubOnTest) -> None:
    """Quirk 25: some fail without."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await emsp.stop()
        answers = [
            await cpo.request("GET", hub.versions_url, sender=None),
            await cpo.call("GET", "credentials", "SENDER"),
            await cpo.call("GET", "tokens", "SENDER", to="DE-TNM"),
            await cpo.call("GET", "tokens", "SENDER", to="XX-XXX"),
            await cpo.request("GET", f"{hub.url}/nothing"),
            await cpo.call("DELETE", "credentials", "SENDER"),
        ]
        for answer in answers:
            assert isinstance(answer.json["status_message"], str)
            assert answer.json["status_message"]


async def test_website_and_logo_are_there_as_null(hub: HubOnTest) -> None:
    """Quirk 11: some require the optional fields of business_details."""
    async with registered(hub, p1()) as (cpo,):
        assert cpo.hub_credentials is not None
        details = cpo.hub_credentials["roles"][0]["business_details"]
        assert {"name", "website", "logo"} <= set(details)


@pytest.mark.parametrize("path", ["DE/TNM/SES1", "de/tnm/SES1"])
async def test_the_receivers_ids_in_the_path_need_the_operators_leave(hub: HubOnTest, path: str) -> None:
    """Quirk 26: and even then the path does not decide who receives."""
    async with registered(hub, p2(), p1(), p3()) as (sender, cpo, emsp):

        async def push(to: str) -> Any:
            return await sender.call(
                "PUT", "sessions", "RECEIVER", path, to=to, headers=expect.IDS, body={"id": "SES1"}
            )

        expect.envelope(await push("DE-TNM"), 404, 2001)
        expect.untouched(emsp, cpo)
        await set_switches(hub, "NL-ALF", "foreign_owner=on")
        expect.relayed(await push("DE-TNM"), to="NL-ALF", sender="DE-TNM", http_status=201)
        expect.path(emsp.received[0], emsp, "sessions", "RECEIVER", path)
        emsp.clear()
        expect.refusal(await push("BE-BEC"), 4000, to="NL-ALF")  # BE-BEC has no sessions to receive
        expect.untouched(emsp)
        await set_switches(hub, "NL-ALF", "foreign_owner=off")
        expect.envelope(await push("DE-TNM"), 404, 2001)


async def test_a_separate_callback_host_can_be_allowed(hub: HubOnTest) -> None:
    """R-036: origins beside those of the version details are the operator's to name."""
    async with registered(hub, p1(), p3()) as (cpo, emsp), p3() as callbacks:
        callbacks.own_token = emsp.own_token
        cpo.answer("POST", "commands", "RECEIVER", Reply(body=envelope({"result": "ACCEPTED", "timeout": 5})))
        theirs = callbacks.new_response_url("commands", "x")

        async def send() -> Any:
            return await emsp.call("POST", "commands", "RECEIVER", "STOP_SESSION", to="BE-BEC", body=_stop(theirs))

        expect.envelope(await send(), 200, 2001)
        await set_switches(hub, "DE-TNM", f"origins={callbacks.origin}")
        expect.envelope(await send())
        expect.envelope(await cpo.request("POST", cpo.received[0].json["response_url"], body={"result": "ACCEPTED"}))
        assert [callbacks.origin + received.path for received in callbacks.received] == [theirs]
        await set_switches(hub, "DE-TNM", "origins=")
        answer = await cpo.request("POST", cpo.received[0].json["response_url"], body={"result": "ACCEPTED"})
        expect.envelope(answer, 404, 2000)
        assert len(callbacks.received) == 1


def _stop(response_url: str) -> dict[str, str]:
    return {"response_url": response_url, "session_id": "1"}


def lower(value: Any) -> Any:
    """Do to an object what a library does that lower-cases every CiString."""
    if isinstance(value, dict):
        return {key: lower(item) if key != "token" else item for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [lower(item) for item in value]
    return value.lower() if isinstance(value, str) and "/" not in value else value


async def test_a_platform_that_lower_cases_everything_is_found_in_any_case(hub: HubOnTest) -> None:
    """Quirk 8, R-010."""
    platform = SimulatedPlatform("lower", [("be-bec", "CPO")])
    async with registered(hub, p3()) as (emsp,), platform as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.hub_token, cpo.hub_endpoints, cpo.own_token = token_a, dict(emsp.hub_endpoints), "b-token"
        offered = lower(cpo.credentials("b-token"))
        offered["roles"][0]["role"] = "CPO"
        answer = await cpo.call("POST", "credentials", "SENDER", body=offered)
        expect.envelope(answer)
        cpo.hub_token = answer.data["token"]
        for party in ("BE-BEC", "be-bec", "Be-bEC"):
            expect.envelope(await emsp.call("GET", "locations", "SENDER", to=party))
        for path in ("BE/BEC/1", "be/bec/1"):
            answer = await cpo.call("PUT", "sessions", "RECEIVER", path, to="de-tnm", body={"id": "1"})
            assert answer.is_success
