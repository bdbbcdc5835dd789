"""The credentials module, served: who may register, change and leave, and what the hub calls meanwhile.

The scenarios tell the story once; here are its forks: failures, races, lost answers, odd partners and hostile URLs.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import orjson
import pytest

from hub.simulator import Answer, Received, Reply, SimulatedPlatform, envelope
from parties.model import Platform, Role
from tests.hubs import HubOnTest, registered
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]

BEC = ("BE-BEC", "CPO")
TNM = ("DE-TNM", "EMSP")
ROUTING = ("OCPI-to-country-code", "OCPI-to-party-id", "OCPI-from-country-code", "OCPI-from-party-id")


def a_cpo(**options: Any) -> SimulatedPlatform:
    return SimulatedPlatform("Bec", [BEC], **options)


def an_emsp(**options: Any) -> SimulatedPlatform:
    return SimulatedPlatform("Tnm", [TNM], **options)


@pytest.fixture
async def cpo() -> AsyncIterator[SimulatedPlatform]:
    """A CPO's platform that has not registered anywhere."""
    async with a_cpo() as platform:
        yield platform


@pytest.fixture
async def emsp(hub: HubOnTest) -> AsyncIterator[SimulatedPlatform]:
    """An eMSP's platform that is registered at the hub."""
    async with registered(hub, an_emsp()) as (platform,):
        yield platform


def carries(token: str | None, *, token_base64: bool = True) -> str:
    assert token is not None
    return "Token " + (b64encode(token.encode()).decode() if token_base64 else token)


async def ask(
    platform: SimulatedPlatform,
    hub: HubOnTest,
    method: str,
    path: str,
    token: str | None,
    body: Any = None,
    *,
    token_base64: bool = True,
) -> Answer:
    """Call the hub below /ocpi with any token."""
    authorization = None if token is None else carries(token, token_base64=token_base64)
    return await platform.request(
        method,
        f"{hub.url}/ocpi/{path}",
        sender=None,
        body=body,
        headers={"Authorization": authorization},
    )


async def send_credentials(
    platform: SimulatedPlatform, hub: HubOnTest, method: str, token: str | None, body: Any = None
) -> Answer:
    return await ask(platform, hub, method, "2.2.1/credentials", token, body)


async def put(platform: SimulatedPlatform, new_token: str, *, keeps_old: bool = False, **changes: Any) -> Answer:
    """Send PUT credentials with this token B and take no notice of the answer."""
    before = platform.own_token
    platform.own_token = new_token
    if keeps_old:
        platform._replaced_token, platform._is_exchanging = before, True
    return await platform.call("PUT", "credentials", "SENDER", body=platform.credentials(new_token) | changes)


def known(hub: HubOnTest, party: str = "BE-BEC") -> Platform:
    """Give the platform of a party as the hub knows it."""
    wanted = Role.parse(f"{party}:X").party.key
    (found,) = hub.hub.live.table.holders[wanted]
    return found


def statuses(hub: HubOnTest) -> dict[str, str]:
    return {
        str(role): platform.status_of(role).value
        for platform in hub.hub.live.table.platforms.values()
        for role in platform.roles
    }


async def can_reach(sender: SimulatedPlatform, receiver: str, module: str = "locations") -> Answer:
    return await sender.call("GET", module, "SENDER", to=receiver)


class OddServer:
    """A server that takes any token and answers as it is told; gives its origin."""

    def __init__(self, reply: Callable[[Received], Awaitable[Reply]]) -> None:
        self._reply = reply
        self._platform = SimulatedPlatform("Odd", [])

    async def __aenter__(self) -> str:
        self._platform._authenticate = lambda request, received: True  # type: ignore[method-assign]
        for module in ("versions", "details"):
            self._platform.answer("GET", module, "SENDER", self._reply)
        await self._platform.start()
        return self._platform.origin

    async def __aexit__(self, *_: object) -> None:
        await self._platform.stop()


# Registering


async def test_the_answer_to_post_is_the_hubs_own_credentials(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    answer = await cpo.register_at(hub.versions_url, token_a)
    assert (answer.http_status, answer.status_code) == (200, 1000)
    assert not [name for name in ROUTING if name in answer.headers]
    assert set(answer.data) == {"token", "url", "roles"}
    assert answer.data["url"] == hub.versions_url
    assert answer.data["token"] not in (token_a, cpo.own_token)
    assert answer.data["roles"] == [
        {
            "role": "HUB",
            "country_code": "NL",
            "party_id": "HUB",
            "business_details": {"name": "OCPI Hub", "website": None, "logo": None},
        }
    ]


async def test_what_a_platform_says_of_itself_is_kept_as_it_is(hub: HubOnTest) -> None:
    async with registered(hub, a_cpo(endpoint_suffix="")) as (cpo,):
        platform = known(hub)
        assert (platform.state, platform.version, platform.name) == ("registered", "2.2.1", "Bec")
        assert platform.versions_url == cpo.versions_url
        assert platform.endpoints[("locations", "SENDER")] == f"{cpo.origin}/ocpi/2.2.1/sender/locations"
        assert platform.origins == {cpo.origin}
        assert [role.business_details for role in platform.roles] == [{"name": "Bec", "website": None, "logo": None}]
        assert (await cpo.call("GET", "credentials", "SENDER")).data == cpo.hub_credentials


async def test_versions_and_details_open_to_token_a_and_to_the_registered_token(
    hub: HubOnTest, cpo: SimulatedPlatform
) -> None:
    paths = ("versions", "2.2.1", "versions/", "2.2.1/")
    token_a = await hub.invite("BE-BEC:CPO")
    for path in paths:
        assert (await ask(cpo, hub, "GET", path, token_a)).is_success
        assert (await ask(cpo, hub, "GET", path, None)).http_status == 401
        assert (await ask(cpo, hub, "GET", path, "unknown")).http_status == 401
    await cpo.register_at(hub.versions_url, token_a)
    for path in paths:
        assert (await ask(cpo, hub, "GET", path, cpo.hub_token)).is_success
        wrong = await ask(cpo, hub, "POST", path, cpo.hub_token, {})
        assert (wrong.http_status, wrong.headers["Allow"]) == (405, "GET")


async def test_token_a_opens_nothing_but_versions_and_credentials(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """R-032."""
    token_a = await hub.invite("BE-BEC:CPO")
    for method, path in (
        ("GET", "2.2.1/sender/locations/"),
        ("PUT", "2.2.1/receiver/sessions/BE/BEC/1"),
        ("GET", "2.2.1/sender/nothing"),
        ("GET", "2.1.1/sender/locations"),
    ):
        answer = await ask(cpo, hub, method, path, token_a, {} if method == "PUT" else None)
        assert (answer.http_status, answer.status_code) == (401, 2000), path
    assert (await send_credentials(cpo, hub, "GET", token_a)).data["token"] == token_a


@pytest.mark.parametrize("is_registered", [True, False], ids=["registered", "invited"])
async def test_405_when_the_registration_stands_differently_whatever_the_body(
    hub: HubOnTest, cpo: SimulatedPlatform, is_registered: bool
) -> None:
    """R-066 to R-068, T-003, T-004."""
    token = await hub.invite("BE-BEC:CPO")
    if is_registered:
        await cpo.register_at(hub.versions_url, token)
        token = cpo.hub_token or ""
        cpo.clear()
    for method in ("POST", "PATCH") if is_registered else ("PUT", "DELETE", "PATCH"):
        for body in (None, b"garbage", {}, cpo.credentials("b")):
            answer = await send_credentials(cpo, hub, method, token, body)
            assert (answer.http_status, answer.status_code) == (405, 2000), (method, body)
            assert method not in answer.headers["Allow"].split(", ")
            assert (await send_credentials(cpo, hub, "GET", token)).is_success
    assert cpo.received == []


async def test_an_unknown_token_is_401_whatever_is_asked(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """T-003: 401 wins."""
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = await send_credentials(cpo, hub, method, "unknown", cpo.credentials("b"))
        assert (answer.http_status, answer.status_code) == (401, 2000), method
    assert cpo.received == []


async def test_a_version_that_the_hub_does_not_speak_is_404(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    for path in ("2.1.1/credentials", "2.2/credentials", "9/credentials", "2.1.1"):
        assert (await ask(cpo, hub, "GET", path, token_a)).http_status == 404, path
        assert (await ask(cpo, hub, "GET", path, "unknown")).http_status == 401, path


# TOKEN_A


async def test_token_a_is_void_after_success(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """R-064."""
    token_a = await hub.invite("BE-BEC:CPO")
    await cpo.register_at(hub.versions_url, token_a)
    for method in ("GET", "POST", "PUT", "DELETE"):
        assert (await send_credentials(cpo, hub, method, token_a, cpo.credentials("x"))).http_status == 401
    assert (await ask(cpo, hub, "GET", "versions", token_a)).http_status == 401


FAILURES: dict[str, tuple[int, dict[str, Any]]] = {
    "nobody listens there": (3001, {"url": "http://127.0.0.1:9/ocpi/versions"}),
    "no such path": (3001, {"url": "/elsewhere"}),
    "no URL": (3001, {"url": "nowhere"}),
    "no HTTP": (3001, {"url": "ftp://127.0.0.1/ocpi"}),
    "too long": (3001, {"url": "http://127.0.0.1/" + "x" * 250}),
    "a role that was not agreed": (2001, {"roles": [{"role": "EMSP", "country_code": "BE", "party_id": "BEC"}]}),
    "no roles": (2001, {"roles": []}),
    "a token too long": (2001, {"token": "t" * 65}),
    "a token with a blank": (2001, {"token": "two words"}),
}


async def test_token_a_still_registers_after_failures(
    hub: HubOnTest, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    """R-065."""
    token_a = await hub.invite("BE-BEC:CPO")
    for failure, (status_code, changes) in FAILURES.items():
        with subtests.test(failure):
            if changes.get("url", "").startswith("/"):
                changes = {"url": cpo.origin + changes["url"]}
            cpo.own_token = "b"
            answer = await send_credentials(cpo, hub, "POST", token_a, cpo.credentials("b") | changes)
            assert (answer.http_status, answer.status_code) == (200, status_code)
            assert answer.data is None
            assert statuses(hub) == {"BE-BEC:CPO": "PLANNED"}
    assert (await cpo.register_at(hub.versions_url, token_a)).is_success
    assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED"}


LOOKED_UP: dict[str, tuple[int, str, str, Reply]] = {
    "versions say 500": (3001, "HTTP 500", "versions", Reply(500)),
    "versions are HTML": (3001, "no JSON", "versions", Reply(200, b"<html>")),
    "versions are a list": (3001, "no OCPI message", "versions", Reply(200, [])),
    "versions are an error": (3001, "status_code 2000", "versions", Reply(200, envelope(None, 2000))),
    "versions have no data": (3001, "no list of versions", "versions", Reply(200, envelope())),
    "versions are text": (3001, "no list of versions", "versions", Reply(200, envelope("2.2.1"))),
    "versions refuse the token": (3001, "token was not accepted", "versions", Reply(401)),
    "no such version": (3002, "2.1.1", "versions", Reply(200, envelope([{"version": "2.1.1", "url": "http://x/"}]))),
    "broken versions": (3002, "none", "versions", Reply(200, envelope([{}, None, {"version": "2.2.1"}, "2.2.1"]))),
    "details say 404": (3001, "HTTP 404", "details", Reply(404)),
    "details are void": (3001, "no list of endpoints", "details", Reply(200, envelope({"version": "2.2.1"}))),
    "no endpoints": (3003, "CPO", "details", Reply(200, envelope({"version": "2.2.1", "endpoints": []}))),
    "broken endpoints": (
        3003,
        "CPO",
        "details",
        Reply(200, envelope({"endpoints": [None, {}, {"identifier": 5, "role": "SENDER", "url": "http://x"}]})),
    ),
    "too large": (3001, "larger", "details", Reply(200, b" " * (1024 * 1024 + 1))),
}


async def test_the_answer_names_what_was_wrong_with_the_platform(
    hub: HubOnTest, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    """R-075 to R-077, T-008."""
    token_a = await hub.invite("BE-BEC:CPO")
    for trouble, (status_code, said, module, reply) in LOOKED_UP.items():
        with subtests.test(trouble):
            cpo.answer("GET", module, "SENDER", reply)
            answer = await cpo.register_at(hub.versions_url, token_a)
            assert (answer.http_status, answer.status_code) == (200, status_code)
            assert said in answer.json["status_message"]
            assert known(hub).state == "planned"
            assert (await send_credentials(cpo, hub, "GET", token_a)).is_success
            cpo.answer("GET", module, "SENDER")


async def test_a_body_that_is_no_credentials_object_is_2001(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    bodies = {b"{": 400, b'{"token": NaN}': 400, b"\xff": 400, b"null": 200, b"[]": 200, b'"text"': 200, None: 200}
    token = await hub.invite("BE-BEC:CPO")
    for method in ("POST", "PUT"):
        for body, http_status in bodies.items():
            answer = await send_credentials(cpo, hub, method, token, body)
            assert (answer.http_status, answer.status_code) == (http_status, 2001), (method, body)
        assert cpo.received == []
        if method == "POST":
            assert (await cpo.register_at(hub.versions_url, token)).is_success
            token = cpo.hub_token or ""
            cpo.clear()


async def test_a_body_that_no_credentials_object_can_have_is_not_read(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    body = orjson.dumps(cpo.credentials("b") | {"more": "x" * 300_000})
    answer = await send_credentials(cpo, hub, "POST", token_a, body)
    assert (answer.http_status, answer.status_code) == (413, 2001)


async def test_of_several_posts_at_once_with_one_token_a_exactly_one_wins(
    hub: HubOnTest, cpo: SimulatedPlatform
) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    arrived = 0
    all_there = asyncio.Event()

    async def versions(received: Received) -> Reply:
        # Nobody is answered before all are under way.
        nonlocal arrived
        arrived += 1
        if arrived == 4:
            all_there.set()
        await asyncio.wait_for(all_there.wait(), 5)
        return await cpo.default_reply(received)

    cpo.answer("GET", "versions", "SENDER", versions)
    cpo.own_token = "b-same"
    answers = await asyncio.gather(
        *(send_credentials(cpo, hub, "POST", token_a, cpo.credentials("b-same")) for _ in range(4))
    )
    assert sorted(answer.http_status for answer in answers) == [200, 401, 401, 401]
    (won,) = (answer for answer in answers if answer.is_success)
    assert (await send_credentials(cpo, hub, "GET", won.data["token"])).is_success
    assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED"}


async def test_a_platform_may_call_the_hub_while_its_post_is_open(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    meanwhile: list[Answer] = []

    async def details(received: Received) -> Reply:
        meanwhile.append(await ask(cpo, hub, "GET", "versions", token_a))
        meanwhile.append(await send_credentials(cpo, hub, "GET", token_a))
        return await cpo.default_reply(received)

    cpo.answer("GET", "details", "SENDER", details)
    assert (await cpo.register_at(hub.versions_url, token_a)).is_success
    assert [answer.status_code for answer in meanwhile] == [1000, 1000]


async def test_an_expired_invitation_opens_nothing(hub: HubOnTest, cpo: SimulatedPlatform, database_url: str) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE inbound_token SET expires_at = now() + interval '0.3 seconds'")
    await connection.close()
    await hub.hub.live.refresh()
    assert (await ask(cpo, hub, "GET", "versions", token_a)).is_success
    generation = hub.hub.live.table.generation

    async def is_refused() -> bool:
        return (await ask(cpo, hub, "GET", "versions", token_a)).http_status == 401

    await until(is_refused, "the token is refused", seconds=2)
    assert hub.hub.live.table.generation == generation  # its time is over, nothing else happened
    assert (await send_credentials(cpo, hub, "POST", token_a, cpo.credentials("b"))).http_status == 401
    assert cpo.received == []


async def test_inviting_again_replaces_the_token(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    first = await hub.invite("BE-BEC:CPO")
    second = await hub.invite("BE-BEC:CPO")
    assert (await ask(cpo, hub, "GET", "versions", first)).http_status == 401
    assert (await cpo.register_at(hub.versions_url, second)).is_success
    assert len(hub.hub.live.table.platforms) == 1


# Leaving


async def test_delete_ends_everything_and_a_new_invitation_opens_the_door_again(
    hub: HubOnTest, emsp: SimulatedPlatform
) -> None:
    """R-074, T-003."""
    async with registered(hub, a_cpo()) as (cpo,):
        before = known(hub).id
        token = cpo.hub_token
        answer = await cpo.unregister_at_hub()
        assert (answer.http_status, answer.status_code) == (200, 1000)
        assert not [name for name in ROUTING if name in answer.headers]
        for method in ("GET", "DELETE", "PUT", "POST"):
            assert (await send_credentials(cpo, hub, method, token, cpo.credentials("b"))).http_status == 401
        assert (await can_reach(emsp, "BE-BEC")).status_code == 4003
        assert statuses(hub)["BE-BEC:CPO"] == "SUSPENDED"
        assert cpo.received == []
        assert known(hub).token is None

        token_a = await hub.invite("BE-BEC:CPO")
        assert statuses(hub)["BE-BEC:CPO"] == "PLANNED"
        assert (await cpo.register_at(hub.versions_url, token_a)).is_success
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert known(hub).id == before


# Changing


async def test_put_looks_the_platform_up_again_and_gives_a_new_token(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """R-069, R-070."""
    async with registered(hub, a_cpo()) as (cpo,):
        old_token, old_own = cpo.hub_token, cpo.own_token
        cpo.endpoint_suffix = ""
        answer = await cpo.update_at_hub()
        assert (answer.http_status, answer.status_code) == (200, 1000)
        assert [each.path for each in cpo.received] == ["/ocpi/versions", "/ocpi/2.2.1"]
        assert cpo.hub_token not in (old_token, None)
        assert known(hub).endpoints[("locations", "SENDER")].endswith("/locations")
        cpo.clear()
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert cpo.received[0].headers["Authorization"] == carries(cpo.own_token)
        assert cpo.own_token != old_own


async def test_the_old_token_is_valid_until_the_new_one_is_first_used(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """R-072, T-006."""
    old = emsp.hub_token
    await emsp.update_at_hub()
    new = emsp.hub_token
    for _ in range(3):
        assert (await send_credentials(emsp, hub, "GET", old)).data["token"] == old
    assert (await send_credentials(emsp, hub, "GET", new)).data["token"] == new
    assert (await send_credentials(emsp, hub, "GET", old)).http_status == 401
    await until(lambda: not hub.hub.live.table.replaced, "the old token is forgotten")
    assert (await send_credentials(emsp, hub, "GET", old)).http_status == 401
    assert (await send_credentials(emsp, hub, "GET", new)).is_success


async def test_a_platform_that_never_got_the_answer_to_its_put_goes_on_with_its_old_token(
    hub: HubOnTest, emsp: SimulatedPlatform
) -> None:
    """T-006."""
    old = emsp.hub_token
    for number in (1, 2, 3):
        assert (await put(emsp, f"b-{number}")).is_success  # and the answer is lost
        assert (await can_reach(emsp, "BE-BEC", "tokens")).status_code == 4001
        assert emsp.hub_token == old
    async with registered(hub, a_cpo()) as (cpo,):
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success
        assert emsp.received[-1].headers["Authorization"] == carries("b-3")
    answer = await emsp.update_at_hub()
    assert answer.is_success
    assert (await emsp.call("GET", "credentials", "SENDER")).data["token"] == answer.data["token"]
    assert (await send_credentials(emsp, hub, "GET", old)).http_status == 401


async def test_a_put_that_fails_leaves_tokens_endpoints_and_roles_as_they_were(
    hub: HubOnTest, subtests: pytest.Subtests
) -> None:
    """R-071."""
    two = SimulatedPlatform("Two", [BEC, ("BE-TWO", "CPO")])
    async with registered(hub, two, an_emsp()) as (cpo, emsp):
        token, before = cpo.hub_token, known(hub)
        for trouble, (status_code, _, module, reply) in LOOKED_UP.items():
            with subtests.test(trouble):
                cpo.answer("GET", module, "SENDER", reply)
                answer = await cpo.update_at_hub(roles=[BEC])
                assert answer.status_code == status_code
                assert known(hub) is before
                assert cpo.hub_token == token
                assert (await cpo.call("GET", "credentials", "SENDER")).data["token"] == token
                assert (await can_reach(emsp, "BE-TWO")).is_success
                cpo.answer("GET", module, "SENDER")


async def test_a_put_is_verified_with_the_old_token_when_the_new_one_is_refused(
    hub: HubOnTest, emsp: SimulatedPlatform
) -> None:
    """T-005."""
    old = emsp.own_token

    async def only_old(received: Received) -> Reply:
        if received.headers["Authorization"] != carries(old):
            return Reply(401, envelope(None, 2000))
        return await emsp.default_reply(received)

    emsp.answer("GET", "versions", "SENDER", only_old)
    emsp.answer("GET", "details", "SENDER", only_old)
    assert (await put(emsp, "b-new", keeps_old=True)).is_success
    assert [each.headers["Authorization"] for each in emsp.received if each.method == "GET"] == [
        carries("b-new"),
        carries("b-new", token_base64=False),
        carries(old),
        carries(old),
    ]
    assert known(hub, "DE-TNM").token is not None
    assert known(hub, "DE-TNM").authorization == carries("b-new")


async def test_a_put_is_3001_when_the_platform_takes_neither_token(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """T-005."""
    old = emsp.own_token
    emsp.answer("GET", "versions", "SENDER", Reply(401, envelope(None, 2000)))
    answer = await put(emsp, "b-new", keeps_old=True)
    assert (answer.http_status, answer.status_code) == (200, 3001)
    assert {each.headers["Authorization"] for each in emsp.received} >= {carries("b-new"), carries(old)}
    assert known(hub, "DE-TNM").authorization == carries(old)


async def test_a_post_never_falls_back_to_a_token_from_before(hub: HubOnTest) -> None:
    async with registered(hub, a_cpo()) as (cpo,):
        await cpo.unregister_at_hub()
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.clear()
        cpo.answer("GET", "versions", "SENDER", Reply(401))
        answer = await cpo.register_at(hub.versions_url, token_a)
        assert answer.status_code == 3001
        assert len(cpo.received) == 2  # Token B in Base64, then raw


async def test_of_two_puts_at_once_both_leave_a_working_registration(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    emsp.own_token = "b-same"
    body = emsp.credentials("b-same")
    answers = await asyncio.gather(*(emsp.call("PUT", "credentials", "SENDER", body=body) for _ in range(4)))
    assert {answer.http_status for answer in answers} <= {200, 401}
    given = [answer.data["token"] for answer in answers if answer.is_success]
    working = [token for token in given if (await send_credentials(emsp, hub, "GET", token)).is_success]
    assert len(working) == 1


# Roles


async def test_a_subset_of_the_agreed_roles_may_register_and_the_rest_stays_planned(hub: HubOnTest) -> None:
    async with a_cpo() as cpo:
        token_a = await hub.invite("BE-BEC:CPO", "BE-TWO:CPO", "BE-BEC:EMSP")
        assert (await cpo.register_at(hub.versions_url, token_a)).is_success
        assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED", "BE-TWO:CPO": "PLANNED", "BE-BEC:EMSP": "PLANNED"}
        answer = await cpo.update_at_hub(roles=[BEC, ("BE-TWO", "CPO")])
        assert answer.is_success
        assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED", "BE-TWO:CPO": "CONNECTED", "BE-BEC:EMSP": "PLANNED"}


@pytest.mark.parametrize("further", [("BE-TWO", "CPO"), ("BE-BEC", "EMSP"), ("NL-HUB", "HUB")], ids=str)
async def test_more_roles_than_agreed_are_refused(hub: HubOnTest, further: tuple[str, str]) -> None:
    async with SimulatedPlatform("Bec", [BEC, further]) as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        answer = await cpo.register_at(hub.versions_url, token_a)
        assert (answer.http_status, answer.status_code) == (200, 2001)
        assert further[0] in answer.json["status_message"]
        assert cpo.received == []
        assert statuses(hub) == {"BE-BEC:CPO": "PLANNED"}


async def test_a_role_added_by_put_is_refused_until_it_is_allowed(hub: HubOnTest) -> None:
    two = Role.parse("BE-TWO:CPO")
    async with registered(hub, a_cpo(), an_emsp()) as (cpo, emsp):
        token = cpo.hub_token
        refused = await cpo.update_at_hub(roles=[BEC, ("BE-TWO", "CPO")])
        assert refused.status_code == 2001
        assert "BE-TWO:CPO was not agreed" in refused.json["status_message"]
        assert cpo.hub_token == token
        assert (await can_reach(emsp, "BE-BEC")).is_success
        await hub.members.allow(two, known(hub))
        await hub.hub.live.refresh()
        assert (await can_reach(emsp, "BE-TWO")).status_code == 4003
        assert (await cpo.update_at_hub(roles=[BEC, ("BE-TWO", "CPO")])).is_success
        assert (await can_reach(emsp, "BE-TWO")).is_success


async def test_a_dropped_role_is_suspended_and_can_be_invited_elsewhere(hub: HubOnTest) -> None:
    """R-096."""
    async with registered(hub, SimulatedPlatform("Two", [BEC, ("BE-TWO", "CPO")]), an_emsp()) as (cpo, emsp):
        assert (await cpo.update_at_hub(roles=[BEC])).is_success
        assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED", "BE-TWO:CPO": "SUSPENDED", "DE-TNM:EMSP": "CONNECTED"}
        assert (await can_reach(emsp, "BE-TWO")).status_code == 4003
        answer = await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", sender="BE-TWO")
        assert (answer.http_status, answer.status_code) == (403, 2001)
        again = await cpo.update_at_hub(roles=[BEC, ("BE-TWO", "CPO")])
        assert again.status_code == 2001  # what was given up needs the operator
        async with SimulatedPlatform("New", [("BE-TWO", "CPO")]) as new:
            await hub.register(new)
            assert (await can_reach(emsp, "BE-TWO")).is_success
            assert [each.path for each in new.received][-1].startswith("/ocpi/2.2.1/sender/locations")


@pytest.mark.parametrize("party", ["BE-BEC", "be-bec"])
async def test_a_party_that_another_platform_holds_cannot_be_taken_over(hub: HubOnTest, party: str) -> None:
    """R-084."""
    async with registered(hub, a_cpo(), an_emsp()) as (cpo, emsp), SimulatedPlatform("Thief", []) as thief:
        thief.roles = [("XX-THF", "CPO"), (party, "CPO")]
        token_a = await hub.invite("XX-THF:CPO")
        answer = await thief.register_at(hub.versions_url, token_a)
        assert answer.status_code == 2001
        assert thief.received == []
        thief.roles = [("XX-THF", "CPO")]
        assert (await thief.register_at(hub.versions_url, token_a)).is_success
        assert (await thief.update_at_hub(roles=[("XX-THF", "CPO"), (party, "CPO")])).status_code == 2001
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert cpo.received
        assert [each.path for each in thief.received] == ["/ocpi/versions", "/ocpi/2.2.1"]


async def test_two_platforms_that_race_for_one_party_cannot_both_have_it(hub: HubOnTest) -> None:
    """The second invitation takes the party over while the first platform is being looked up."""
    async with a_cpo() as first, a_cpo() as second:
        token_first = await hub.invite("BE-BEC:CPO", "BE-ONE:CPO")
        taken: list[str] = []

        async def details(received: Received) -> Reply:
            if not taken:
                # Another platform is given the party just now.
                taken.append(await hub.invite("BE-TWO:CPO"))
                (other,) = hub.hub.live.table.holders[("BE", "TWO")]
                connection = await asyncpg.connect(hub.settings.database_url.get_secret_value())  # type: ignore[union-attr]
                await connection.execute(
                    "UPDATE party SET platform_id = $1, state = 'claimed' WHERE party_id = 'BEC'", other.id
                )
                await connection.close()
            return await first.default_reply(received)

        first.answer("GET", "details", "SENDER", details)
        answer = await first.register_at(hub.versions_url, token_first)
        assert answer.status_code == 2001
        assert "another platform" in answer.json["status_message"]
        assert second.received == []


async def test_the_same_party_may_have_another_role_on_another_platform(hub: HubOnTest) -> None:
    """T-011."""
    async with registered(hub, a_cpo(), SimulatedPlatform("Bec eMSP", [("BE-BEC", "EMSP")])):
        assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED", "BE-BEC:EMSP": "CONNECTED"}
        assert len(hub.hub.live.table.holders[("BE", "BEC")]) == 2


async def test_several_parties_and_roles_register_at_once(hub: HubOnTest) -> None:
    roles = [("NL-ALF", "CPO"), ("NL-ALF", "EMSP"), ("DE-BET", "CPO"), ("FR-GAM", "NSP"), ("FR-DEL", "PTP")]
    async with registered(hub, SimulatedPlatform("Many", roles), an_emsp()) as (many, emsp):
        assert statuses(hub) == {f"{party}:{role}": "CONNECTED" for party, role in [*roles, TNM]}
        for party in ("NL-ALF", "DE-BET"):
            assert (await can_reach(emsp, party)).is_success
            assert many.received[-1].to == party
        for party in ("NL-ALF", "DE-BET", "FR-GAM"):
            answer = await many.call("GET", "tokens", "SENDER", to="DE-TNM", sender=party)
            assert answer.is_success
            assert emsp.received[-1].sender == party


async def test_an_unknown_role_is_kept_as_it_is_named(hub: HubOnTest) -> None:
    """T-012."""
    platform = SimulatedPlatform("Odd", [("NL-ODD", "VENDOR")], modules=[("locations", "SENDER")])
    async with registered(hub, platform):
        assert statuses(hub) == {"NL-ODD:VENDOR": "CONNECTED"}


async def test_lower_case_ids_are_those_of_the_invitation(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    async with SimulatedPlatform("Lower", [("be-bec", "CPO")]) as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        assert (await cpo.register_at(hub.versions_url, token_a)).is_success
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert statuses(hub)["be-bec:CPO"] == "CONNECTED"


# Token forms


async def test_a_platform_that_sends_and_wants_raw_tokens_is_learnt(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """R-029, quirk 18."""
    async with registered(hub, a_cpo(token_base64=False)) as (cpo,):
        assert known(hub).token_base64 is False
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert cpo.received[-1].headers["Authorization"] == f"Token {cpo.own_token}"
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success


async def test_a_raw_platform_is_learnt_when_the_hub_connects(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    async with a_cpo(token_base64=False) as cpo:
        told = await hub.connect(cpo)
        assert any("does not understand Base64" in step for step in told)
        assert known(hub).token_base64 is False
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success


@pytest.mark.parametrize(
    "refusal", [Reply(401), Reply(403), Reply(200, envelope(None, 3000))], ids=["401", "403", "3000"]
)
async def test_a_platform_that_sends_base64_and_understands_raw_tokens_only_is_learnt(
    hub: HubOnTest, cpo: SimulatedPlatform, refusal: Reply
) -> None:
    """Quirks 13 and 20."""
    token_a = await hub.invite("BE-BEC:CPO")

    async def raw_only(received: Received) -> Reply:
        if received.headers["Authorization"] != "Token b-token":
            return refusal
        base = f"http://{received.headers['Host']}/ocpi/2.2.1"
        if received.path.endswith("versions"):
            return Reply(200, envelope([{"version": "2.2.1", "url": base}]))
        listed = {"identifier": "locations", "role": "SENDER", "url": f"{base}/locations"}
        return Reply(200, envelope({"version": "2.2.1", "endpoints": [listed]}))

    async with OddServer(raw_only) as origin:
        body = cpo.credentials("b-token") | {"url": f"{origin}/ocpi/versions"}
        assert (await send_credentials(cpo, hub, "POST", token_a, body)).is_success
    assert known(hub).authorization == "Token b-token"


async def test_a_token_in_base64_with_a_newline_is_understood(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """T-001."""
    token_a = await hub.invite("BE-BEC:CPO")
    assert (await send_credentials(cpo, hub, "GET", token_a + "\n")).data["token"] == token_a


# Odd partners


async def test_versions_in_an_object_and_roles_in_two_lists_are_taken(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """Quirk 22."""
    token_a = await hub.invite("BE-BEC:CPO")
    listed = [{"version": "2.2.1", "url": f"{cpo.origin}/ocpi/2.2.1"}]
    cpo.answer("GET", "versions", "SENDER", Reply(200, envelope({"versions": listed})))
    cpo.own_token = "b"
    body = cpo.credentials("b")
    assert (await send_credentials(cpo, hub, "POST", token_a, body | {"roles": [body["roles"]]})).is_success
    assert statuses(hub) == {"BE-BEC:CPO": "CONNECTED"}


async def test_token_b_may_be_the_same_as_token_a(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """Quirk 24: no business_details, and a PUT without a body."""
    async with a_cpo() as cpo:
        token_a = await hub.invite("BE-BEC:CPO")
        cpo.own_token = token_a
        role = {"role": "CPO", "country_code": "BE", "party_id": "BEC"}
        body = {"token": token_a, "url": cpo.versions_url, "roles": [role]}
        answer = await send_credentials(cpo, hub, "POST", token_a, body)
        assert answer.is_success
        cpo.hub_token = answer.data["token"]
        assert (await send_credentials(cpo, hub, "GET", token_a)).http_status == 401
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert cpo.received[-1].headers["Authorization"] == carries(token_a)
        empty = await send_credentials(cpo, hub, "PUT", cpo.hub_token)
        assert (empty.http_status, empty.status_code) == (200, 2001)
        assert (await send_credentials(cpo, hub, "GET", cpo.hub_token)).is_success


async def test_two_platforms_may_give_the_same_token_b(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    async with a_cpo() as one, SimulatedPlatform("Two", [("BE-TWO", "CPO")]) as two:
        for platform, role in ((one, "BE-BEC:CPO"), (two, "BE-TWO:CPO")):
            token_a = await hub.invite(role)
            platform.own_token = "the-default-token"
            body = platform.credentials("the-default-token")
            assert (await send_credentials(platform, hub, "POST", token_a, body)).is_success
        assert (await send_credentials(one, hub, "GET", "the-default-token")).http_status == 401
        assert (await can_reach(emsp, "BE-BEC")).is_success
        assert (await can_reach(emsp, "BE-TWO")).is_success


async def test_credentials_listed_twice_and_unknown_modules_do_no_harm(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    """Quirk 28, R-048, R-052."""
    async with a_cpo() as cpo:

        async def details(received: Received) -> Reply:
            reply = await cpo.default_reply(received)
            first, *rest = reply.body["data"]["endpoints"]
            listed = [
                {**first, "role": "RECEIVER"},
                {**first, "url": f"{cpo.origin}/other"},
                *rest,
                {"identifier": "nltnm-tokens", "role": "SENDER", "url": f"{cpo.origin}/custom"},
                {"identifier": "hubclientinfo", "role": "RECEIVER", "url": f"{cpo.origin}/clientinfo/"},
                {"identifier": "odd", "role": "BOTH", "url": f"{cpo.origin}/odd"},
            ]
            return Reply(200, envelope({"version": "2.2.1", "endpoints": listed}))

        cpo.answer("GET", "details", "SENDER", details)
        await hub.register(cpo)
        endpoints = known(hub).endpoints
        assert endpoints[("credentials", "SENDER")] == cpo.endpoint("credentials")
        assert endpoints[("nltnm-tokens", "SENDER")] == f"{cpo.origin}/custom"
        assert endpoints[("hubclientinfo", "RECEIVER")] == f"{cpo.origin}/clientinfo/"
        assert "odd" not in {module for module, _ in endpoints}
        assert (await can_reach(emsp, "BE-BEC")).is_success


# Where the hub lets itself be led


INWARD = [
    "http://10.0.0.1/ocpi/versions",
    "http://172.16.3.4:8080/ocpi",
    "http://192.168.1.1/",
    "http://100.64.0.1/cgnat",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/latest/meta-data/",
    "http://[fe80::1]/link-local",
    "http://[::ffff:10.0.0.1]/mapped",
    "http://[64:ff9b::a00:1]/nat64",
    "http://0.0.0.0/",
    "http://224.0.0.1/multicast",
    "http://2130706433/number",
    "http://0x7f000001/hex",
    "http://127.1/short",
    "http://user@127.0.0.1/user",
    "file:///etc/passwd",
    "gopher://127.0.0.1/",
]


def refuses_to_be_led(hub: HubOnTest, answer: Answer) -> None:
    assert (answer.http_status, answer.status_code) == (200, 3001)
    assert all(platform.state == "planned" for platform in hub.hub.live.table.platforms.values())


async def test_no_url_of_a_member_leads_the_hub_inwards(
    hub: HubOnTest, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    """R-036: in the credentials, in the versions and among the endpoints."""
    token_a = await hub.invite("BE-BEC:CPO")
    cpo.own_token = "b"
    body = cpo.credentials("b")
    for url in INWARD:
        with subtests.test(url):
            refuses_to_be_led(hub, await send_credentials(cpo, hub, "POST", token_a, body | {"url": url}))
            assert cpo.received == []

            cpo.answer("GET", "versions", "SENDER", Reply(200, envelope([{"version": "2.2.1", "url": url}])))
            refuses_to_be_led(hub, await send_credentials(cpo, hub, "POST", token_a, body))
            cpo.answer("GET", "versions", "SENDER")

            listed = [{"identifier": "locations", "role": "SENDER", "url": url}]
            cpo.answer("GET", "details", "SENDER", Reply(200, envelope({"version": "2.2.1", "endpoints": listed})))
            answer = await send_credentials(cpo, hub, "POST", token_a, body)
            cpo.answer("GET", "details", "SENDER")
            refuses_to_be_led(hub, answer)
            assert "locations SENDER" in answer.json["status_message"]
            assert [each.path for each in cpo.received] == ["/ocpi/versions", "/ocpi/versions", "/ocpi/2.2.1"]
            cpo.clear()


async def test_a_hub_in_public_is_not_led_to_its_own_machine(
    start_hub: StartHub, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    hub = await start_hub(public_url="http://hub.example", country_code="NL", party_id="HUB")
    token_a = await hub.invite("BE-BEC:CPO")
    cpo.own_token = "b"
    for host in ("127.0.0.1", "localhost", "[::1]", "127.0.0.2", "[::ffff:127.0.0.1]"):
        with subtests.test(host):
            url = cpo.versions_url.replace("127.0.0.1", host)
            answer = await send_credentials(cpo, hub, "POST", token_a, cpo.credentials("b") | {"url": url})
            refuses_to_be_led(hub, answer)
            assert "may not be called" in answer.json["status_message"]
    assert cpo.received == []
    assert hub.hub.client.opened == 0


async def test_a_hub_behind_https_takes_no_plain_http(start_hub: StartHub, cpo: SimulatedPlatform) -> None:
    hub = await start_hub(public_url="https://hub.example", country_code="NL", party_id="HUB")
    token_a = await hub.invite("BE-BEC:CPO")
    body = cpo.credentials("b") | {"url": "http://member.example/ocpi/versions"}
    answer = await send_credentials(cpo, hub, "POST", token_a, body)
    refuses_to_be_led(hub, answer)
    assert "https" in answer.json["status_message"]


async def test_a_redirect_to_another_origin_is_not_followed(
    hub: HubOnTest, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    """R-118, R-036: the token goes nowhere else."""
    async with a_cpo() as other:
        token_a = await hub.invite("BE-BEC:CPO")
        for module, path in (("versions", "/ocpi/versions"), ("details", "/ocpi/2.2.1")):
            for status in (301, 302, 303, 307, 308):
                with subtests.test(module, status=status):
                    cpo.answer("GET", module, "SENDER", Reply(status, headers={"Location": other.origin + path}))
                    answer = await cpo.register_at(hub.versions_url, token_a)
                    assert (answer.http_status, answer.status_code) == (200, 3001)
                    assert f"HTTP {status}" in answer.json["status_message"]
            cpo.answer("GET", module, "SENDER")
        assert other.received == []


async def test_a_redirect_within_the_origin_is_followed(
    hub: HubOnTest, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    for status in (301, 302, 307, 308):
        with subtests.test(status=status):

            async def add_slash(received: Received, status: int = status) -> Reply:
                if received.path.endswith("/"):
                    return await cpo.default_reply(received)
                return Reply(status, headers={"Location": received.path + "/"})

            cpo.answer("GET", "versions", "SENDER", add_slash)
            cpo.answer("GET", "details", "SENDER", add_slash)
            await hub.register(cpo)
            asked = ["/ocpi/versions", "/ocpi/versions/", "/ocpi/2.2.1", "/ocpi/2.2.1/"]
            assert [each.path for each in cpo.received] == asked
            assert {each.headers["Authorization"] for each in cpo.received} == {carries(cpo.own_token)}
            await cpo.unregister_at_hub()
            cpo.clear()


async def test_a_redirect_that_leads_nowhere_is_3001(
    hub: HubOnTest, cpo: SimulatedPlatform, subtests: pytest.Subtests
) -> None:
    token_a = await hub.invite("BE-BEC:CPO")
    host = cpo.origin.removeprefix("http://")
    for location in (
        "/ocpi/versions",
        "http://[",
        "http://[zz]/",
        "//evil.example/x",
        "/with blank",
        f"http://user@{host}/ocpi/versions/",
        f"http://{host}:99999/",
        "/" + "x" * 4000,
        "",
        "/\x80\xff",
        "data:text/plain,x",
    ):
        with subtests.test(location[:40]):
            cpo.answer("GET", "versions", "SENDER", Reply(307, headers={"Location": location}))
            cpo.clear()
            answer = await cpo.register_at(hub.versions_url, token_a)
            assert (answer.http_status, answer.status_code) == (200, 3001)
            assert len(cpo.received) <= 2
