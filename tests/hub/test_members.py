"""What the operator does with members: each command, each way it can fail, and that a failure leaves all as it was."""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from config.ocpi import EndpointsMissing, OCPIError, PartnerUnusable, VersionUnsupported
from hub.members import MemberError
from hub.simulator import Answer, Received, Reply, SimulatedPlatform, envelope
from parties.model import Platform, Role, Switches
from parties.tokens import Secret
from tests.hubs import HubOnTest, registered
from tests.waiting import until

StartHub = Callable[..., Awaitable[HubOnTest]]

BEC = Role.parse("BE-BEC:CPO")
TNM = Role.parse("DE-TNM:EMSP")


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


def carries(token: str | None, *, token_base64: bool = True) -> str:
    assert token is not None
    return "Token " + (b64encode(token.encode()).decode() if token_base64 else token)


def parse(*roles: str) -> list[Role]:
    return [Role.parse(role) for role in roles]


async def stored(database_url: str) -> dict[str, set[tuple[Any, ...]]]:
    """Give everything in the database about members."""
    connection = await asyncpg.connect(database_url)
    try:
        return {
            table: {tuple(row) for row in await connection.fetch(f"SELECT {columns} FROM {table}")}  # noqa: S608
            for table, columns in {
                "platform": "id, name, state, version, versions_url, details_url, token_base64, switches, "
                "outbound_token",
                "endpoint": "platform_id, module, role, url",
                "party": "platform_id, country_code, party_id, role, state, suspended, business_details",
                "inbound_token": "platform_id, kind, digest, expires_at",
            }.items()
        }
    finally:
        await connection.close()


async def statuses(hub: HubOnTest) -> dict[str, str]:
    return {
        str(role): platform.status_of(role).value
        for platform in await hub.members.platforms()
        for role in platform.roles
    }


async def platform_of(hub: HubOnTest, role: Role = BEC) -> Platform:
    return await hub.members.platform_of(role.party, role.role)


async def knows(hub: HubOnTest, member: SimulatedPlatform, token: str | None) -> bool:
    """Whether the hub takes this token."""
    url = f"{hub.url}/ocpi/versions"
    headers = {"Authorization": carries(token, token_base64=member.token_base64)}
    return (await member.request("GET", url, sender=None, headers=headers)).is_success


async def connect(
    hub: HubOnTest, cpo: SimulatedPlatform, *roles: str, token: str | None = None, name: str | None = None
) -> list[str]:
    """Register the hub at a platform as the command does; gives what the operator is told."""
    told: list[str] = []
    secret = Secret(token or cpo.offer_token_a())
    found = await hub.members.discover(cpo.versions_url, secret, hub.caller, told.append)
    await hub.members.connect(found, secret, parse(*(roles or ("BE-BEC:CPO",))), hub.caller, told.append, name)
    await hub.hub.live.refresh()
    return told


# Inviting


async def test_an_invitation_names_what_the_member_needs(hub: HubOnTest) -> None:
    made = await hub.members.invite(parse("BE-BEC:CPO", "BE-BEC:EMSP"), "Bec")
    assert made.versions_url == hub.versions_url
    assert 32 <= len(made.token.reveal()) <= 64
    assert 13 <= (made.expires_at - type(made.expires_at).now(made.expires_at.tzinfo)).days <= 14
    platform = await platform_of(hub)
    assert (platform.id, platform.name, platform.state) == (made.platform_id, "Bec", "planned")
    assert await statuses(hub) == {"BE-BEC:CPO": "PLANNED", "BE-BEC:EMSP": "PLANNED"}


async def test_inviting_again_changes_roles_and_name_of_the_same_platform(hub: HubOnTest) -> None:
    first = await hub.members.invite(parse("BE-BEC:CPO", "BE-OLD:CPO"), "Bec")
    second = await hub.members.invite(parse("be-bec:CPO", "BE-NEW:CPO"))
    assert second.platform_id == first.platform_id
    assert second.token != first.token
    assert (await platform_of(hub)).name == "Bec"
    third = await hub.members.invite(parse("BE-BEC:CPO"), "Other")
    assert third.platform_id == first.platform_id
    assert (await platform_of(hub)).name == "Other"
    invited = [str(role) for role in (await platform_of(hub)).roles if role.state == "invited"]
    assert invited == ["BE-BEC:CPO"]


async def test_a_registered_party_and_the_hub_itself_cannot_be_invited(
    hub: HubOnTest, emsp: SimulatedPlatform, database_url: str
) -> None:
    before = await stored(database_url)
    with pytest.raises(MemberError, match=r"DE-TNM:EMSP is registered already.*party remove.*party allow"):
        await hub.members.invite(parse("XX-NEW:CPO", "de-tnm:EMSP"))
    with pytest.raises(MemberError, match="is this hub itself"):
        await hub.members.invite(parse("NL-HUB:CPO"))
    assert await stored(database_url) == before
    assert await knows(hub, emsp, emsp.hub_token)


async def test_two_invitations_at_once_for_one_party_leave_one_platform(hub: HubOnTest) -> None:
    made = await asyncio.gather(*(hub.members.invite([BEC]) for _ in range(4)))
    assert len({each.platform_id for each in made}) == 1
    assert len(await hub.members.platforms()) == 1


async def test_a_party_is_found_by_its_role_when_it_is_on_two_platforms(hub: HubOnTest) -> None:
    await hub.members.invite(parse("BE-BEC:CPO"))
    await hub.members.invite(parse("BE-BEC:EMSP"))
    with pytest.raises(MemberError, match=r"BE-BEC is on 2 platforms; name the role too, like BE-BEC:CPO"):
        await hub.members.platform_of(BEC.party)
    assert (await hub.members.platform_of(BEC.party, "EMSP")).roles[0].role == "EMSP"
    with pytest.raises(MemberError, match="BE-BEC:NSP is not known here"):
        await hub.members.platform_of(BEC.party, "NSP")


# The hub as the one that starts


async def test_connecting_tells_each_step(hub: HubOnTest, cpo: SimulatedPlatform, emsp: SimulatedPlatform) -> None:
    told = await connect(hub, cpo, name="Bec")
    assert [line.split(";")[0] for line in told] == [
        "Versions read",
        told[1],
        "A token for it is in force",
        "It answered with its own token. BE-BEC:CPO can be reached now.",
    ]
    assert told[1].startswith("Version details read: cdrs SENDER, ")
    assert [each.method for each in cpo.received] == ["GET", "GET", "POST"]
    platform = await platform_of(hub)
    assert (platform.name, platform.state, platform.version) == ("Bec", "registered", "2.2.1")
    assert platform.authorization == carries(cpo.own_token)
    assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).is_success
    assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success


async def test_the_hub_sends_token_a_only_until_it_has_token_c(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """R-079."""
    token_a = cpo.offer_token_a()
    await connect(hub, cpo, token=token_a)
    assert {each.headers["Authorization"] for each in cpo.received} == {carries(token_a)}
    cpo.clear()
    await hub.members.rotate(await platform_of(hub), hub.caller, lambda _: None)
    assert carries(token_a) not in {each.headers["Authorization"] for each in cpo.received}


async def test_a_platform_that_speaks_for_more_than_was_agreed_takes_part_with_what_was(hub: HubOnTest) -> None:
    async with SimulatedPlatform("Two", [("BE-BEC", "CPO"), ("BE-TWO", "CPO")]) as two:
        told = await connect(hub, two, "be-bec:CPO")
        assert "BE-TWO:CPO, which was not agreed" in told[-1]
        assert await statuses(hub) == {"BE-BEC:CPO": "CONNECTED"}


async def test_a_platform_says_for_whom_it_speaks(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    token = Secret(cpo.offer_token_a())
    found = await hub.members.discover(cpo.versions_url, token, hub.caller, lambda _: None)
    assert await hub.members.claimed_roles(found, token, hub.caller) == (
        Role(BEC.party, "CPO", business_details={"name": "Bec", "website": None, "logo": None}),
    )


async def test_connecting_to_a_version_that_both_speak_takes_the_latest(hub: HubOnTest) -> None:
    """R-053."""
    async with SimulatedPlatform("Bec", [("BE-BEC", "CPO")], versions=("2.0", "2.2.1", "2.1.1")) as cpo:
        cpo.versions.sort(key=lambda version: version == "2.2.1")  # the simulator's own endpoints are its last one's
        await connect(hub, cpo)
        assert (await platform_of(hub)).version == "2.2.1"


async def test_a_refused_token_is_told_in_plain_words(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    before = await stored(database_url)
    with pytest.raises(OCPIError, match=r"/ocpi/versions answered HTTP 401: the credentials token was not accepted"):
        await connect(hub, cpo, token="wrong")
    assert await stored(database_url) == before
    assert [each.method for each in cpo.received] == ["GET", "GET"]


async def test_a_platform_that_cannot_be_reached_is_told_in_plain_words(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    before = await stored(database_url)
    token = cpo.offer_token_a()
    await cpo.stop()
    with pytest.raises(PartnerUnusable, match=r"GET http://127.0.0.1:\d+/ocpi/versions failed: No connection to"):
        await connect(hub, cpo, token=token)
    assert await stored(database_url) == before


async def test_no_version_in_common_is_told_in_plain_words(hub: HubOnTest, database_url: str) -> None:
    before = await stored(database_url)
    async with SimulatedPlatform("Old", [("BE-BEC", "CPO")], versions=("2.0", "2.1.1")) as old:
        with pytest.raises(VersionUnsupported, match=r"The hub speaks OCPI 2.2.1.*listed are 2.0, 2.1.1"):
            await connect(hub, old)
    assert await stored(database_url) == before


@pytest.mark.parametrize("modules", [[], [("cdrs", "RECEIVER")], [("hubclientinfo", "RECEIVER")]], ids=str)
async def test_no_post_is_sent_when_endpoints_are_missing(
    hub: HubOnTest, database_url: str, modules: list[tuple[str, Any]]
) -> None:
    """R-078."""
    before = await stored(database_url)
    async with SimulatedPlatform("Bec", [("BE-BEC", "CPO")], modules=modules) as cpo:
        with pytest.raises(EndpointsMissing, match="no module that a CPO offers"):
            await connect(hub, cpo)
        assert [each.method for each in cpo.received] == ["GET", "GET"]
    assert await stored(database_url) == before


async def test_no_post_is_sent_when_there_is_no_credentials_endpoint(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    before = await stored(database_url)
    listed = [{"identifier": "locations", "role": "SENDER", "url": cpo.endpoint("locations")}]
    cpo.answer("GET", "details", "SENDER", Reply(200, envelope({"version": "2.2.1", "endpoints": listed})))
    with pytest.raises(EndpointsMissing, match="no credentials endpoint"):
        await connect(hub, cpo)
    assert [each.method for each in cpo.received] == ["GET", "GET"]
    assert await stored(database_url) == before


async def test_a_registered_party_is_not_connected_a_second_time(
    hub: HubOnTest, emsp: SimulatedPlatform, database_url: str
) -> None:
    before = await stored(database_url)
    async with SimulatedPlatform("Again", [("DE-TNM", "EMSP")]) as again:
        with pytest.raises(MemberError, match="DE-TNM:EMSP is registered already"):
            await connect(hub, again, "DE-TNM:EMSP")
        assert [each.method for each in again.received] == ["GET", "GET"]
    assert await stored(database_url) == before


def answers(**changes: Any) -> Callable[[SimulatedPlatform], Reply]:
    """Answer POST credentials with a credentials object changed so."""
    return lambda cpo: Reply(200, envelope(cpo.credentials("c-token") | changes))


POSTED: dict[str, tuple[str, Reply | Callable[[SimulatedPlatform], Reply]]] = {
    "401": ("HTTP 401: the credentials token was not accepted", Reply(401)),
    "405": ("HTTP 405", Reply(405, envelope(None, 2000))),
    "500": ("HTTP 500", Reply(500, b"oops")),
    "a redirect": ("HTTP 302", Reply(302, headers={"Location": "http://127.0.0.1:9/"})),
    "HTML": ("something that is no JSON", Reply(200, b"<html>")),
    "nothing": ("something that is no JSON", Reply(200, b"")),
    "an error": ("status_code 3001", Reply(200, envelope(None, 3001))),
    "no envelope": ("no OCPI message", Reply(200, {"token": "c"})),
    "no data": ("no credentials object", Reply(200, envelope())),
    "no token": ("token:", answers(token=None)),
    "a long token": ("token:", answers(token="t" * 65)),
    "no roles": ("roles:", answers(roles=[])),
    "other roles": (
        "registered as XX-OTH:EMSP, not as BE-BEC:CPO",
        answers(roles=[{"role": "EMSP", "country_code": "XX", "party_id": "OTH"}]),
    ),
    "a URL that is none": ("url", answers(url="garbage")),
    "a URL inwards": ("may not be called", answers(url="http://169.254.169.254/ocpi/versions")),
}


MAY_HAVE_REGISTERED = {"500", "HTML", "nothing", "no envelope", "no data", "no token", "a long token", "no roles"}
"""Answers after which the operator is told that the other side may take the registration as done."""


async def before_nothing(_: HubOnTest) -> None:
    """Nobody is known."""


async def before_invitation(hub: HubOnTest) -> None:
    """The party and another are invited."""
    await hub.members.invite(parse("BE-BEC:CPO", "BE-TWO:CPO"), "Invited")


async def before_registration(hub: HubOnTest) -> None:
    """The party was registered, and has left; one of its parties is suspended."""
    async with registered(hub, SimulatedPlatform("Left", [("BE-BEC", "CPO"), ("BE-TWO", "CPO")])) as (left,):
        await hub.members.suspend(Role.parse("BE-TWO:CPO").party, None, suspended=True)
        await left.unregister_at_hub()


async def before_dropping(hub: HubOnTest) -> None:
    """Another platform had the party and gave it up."""
    async with registered(hub, SimulatedPlatform("Other", [("BE-BEC", "CPO"), ("BE-TWO", "CPO")])) as (other,):
        assert (await other.update_at_hub(roles=[("BE-TWO", "CPO")])).is_success


@pytest.mark.parametrize("before", [before_nothing, before_invitation, before_registration, before_dropping])
async def test_a_post_that_fails_leaves_everything_as_it_was(
    hub: HubOnTest,
    cpo: SimulatedPlatform,
    database_url: str,
    subtests: pytest.Subtests,
    before: Callable[[HubOnTest], Awaitable[None]],
) -> None:
    await before(hub)
    was = await stored(database_url)
    for name, (said, reply) in POSTED.items():
        with subtests.test(name):
            cpo.answer("POST", "credentials", "SENDER", reply if isinstance(reply, Reply) else reply(cpo))
            with pytest.raises((OCPIError, MemberError)) as raised:
                await connect(hub, cpo)
            assert said in str(raised.value)
            assert isinstance(raised.value, MemberError) == (name in MAY_HAVE_REGISTERED)
            assert await stored(database_url) == was
            await hub.hub.live.refresh()
            assert not await knows(hub, cpo, cpo.received[-1].json["token"])
    cpo.answer("POST", "credentials", "SENDER")
    await connect(hub, cpo)
    assert (await statuses(hub))["BE-BEC:CPO"] == "CONNECTED"


async def test_an_answer_that_never_comes_ends_the_offer(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.handshake.TIMEOUT_SECONDS", 0.2)
    was = await stored(database_url)
    over = asyncio.Event()

    async def silent(_: Received) -> Reply:
        await over.wait()
        return Reply(500)

    cpo.answer("POST", "credentials", "SENDER", silent)
    with pytest.raises(MemberError, match="may hold the registration as done"):
        await connect(hub, cpo)
    over.set()
    assert await stored(database_url) == was


async def test_a_connection_given_up_half_way_leaves_everything_as_it_was(
    hub: HubOnTest, cpo: SimulatedPlatform, database_url: str
) -> None:
    was = await stored(database_url)
    over = asyncio.Event()

    async def silent(_: Received) -> Reply:
        await over.wait()
        return Reply(500)

    cpo.answer("POST", "credentials", "SENDER", silent)
    connecting = asyncio.create_task(connect(hub, cpo))
    await cpo.wait_for(lambda received: received.method == "POST")
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    over.set()
    assert await stored(database_url) == was


async def test_no_lock_is_held_while_the_post_is_open(hub: HubOnTest, cpo: SimulatedPlatform) -> None:
    """R-080, T-007: others register meanwhile."""
    async with SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")]) as emsp:

        async def posted(received: Received) -> Reply:
            await hub.register(emsp)
            return await cpo.default_reply(received)

        cpo.answer("POST", "credentials", "SENDER", posted)
        await connect(hub, cpo)
        assert await statuses(hub) == {"BE-BEC:CPO": "CONNECTED", "DE-TNM:EMSP": "CONNECTED"}


async def test_a_party_that_registers_elsewhere_meanwhile_is_not_taken_over(
    hub: HubOnTest, cpo: SimulatedPlatform
) -> None:
    async with SimulatedPlatform("Quicker", [("BE-BEC", "CPO")]) as quicker:

        async def posted(received: Received) -> Reply:
            connection = await asyncpg.connect(hub.settings.database_url.get_secret_value())  # type: ignore[union-attr]
            await connection.execute("DELETE FROM party")
            await connection.close()
            await hub.register(quicker)
            return await cpo.default_reply(received)

        cpo.answer("POST", "credentials", "SENDER", posted)
        with pytest.raises((MemberError, OCPIError), match=r"BE-BEC:CPO is (registered already|held by another)"):
            await connect(hub, cpo)
        platform = await platform_of(hub)
        assert platform.origins == {quicker.origin}
        assert len(await hub.members.platforms()) == 1


# Allowing, suspending, removing


async def test_allowing_what_somebody_holds_says_who(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    platform = await platform_of(hub, TNM)
    with pytest.raises(MemberError, match="DE-TNM:EMSP is allowed here already"):
        await hub.members.allow(TNM, platform)
    await hub.members.invite([BEC], "Bec")
    with pytest.raises(MemberError, match="BE-BEC:CPO is held by Bec"):
        await hub.members.allow(BEC, platform)
    await hub.members.allow(Role.parse("DE-TNM:CPO"), platform)
    assert await statuses(hub) == {"BE-BEC:CPO": "PLANNED", "DE-TNM:EMSP": "CONNECTED", "DE-TNM:CPO": "PLANNED"}


async def test_a_suspended_party_neither_sends_nor_receives_until_it_is_resumed(
    hub: HubOnTest, emsp: SimulatedPlatform
) -> None:
    async with registered(hub, SimulatedPlatform("Two", [("BE-BEC", "CPO"), ("BE-TWO", "CPO")])) as (cpo,):

        async def asked() -> tuple[Answer, Answer, Answer]:
            await hub.hub.live.refresh()
            return (
                await emsp.call("GET", "locations", "SENDER", to="BE-BEC"),
                await cpo.call("GET", "tokens", "SENDER", to="DE-TNM", sender="BE-BEC"),
                await emsp.call("GET", "locations", "SENDER", to="BE-TWO"),
            )

        await hub.members.suspend(BEC.party, None, suspended=True)
        to_it, from_it, to_other = await asked()
        assert (to_it.http_status, to_it.status_code) == (200, 4003)
        assert (from_it.http_status, from_it.status_code) == (403, 2001)
        assert to_other.is_success
        assert (await cpo.call("GET", "credentials", "SENDER")).is_success
        await hub.members.suspend(BEC.party, None, suspended=False)
        assert all(answer.is_success for answer in await asked())


async def test_one_role_can_be_suspended_and_the_other_goes_on(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    async with registered(hub, SimulatedPlatform("Alf", [("NL-ALF", "CPO"), ("NL-ALF", "EMSP")])) as (alf,):
        await hub.members.suspend(Role.parse("NL-ALF:CPO").party, "EMSP", suspended=True)
        assert await statuses(hub) == {
            "NL-ALF:CPO": "CONNECTED",
            "NL-ALF:EMSP": "SUSPENDED",
            "DE-TNM:EMSP": "CONNECTED",
        }
        await hub.hub.live.refresh()
        assert (await emsp.call("GET", "locations", "SENDER", to="NL-ALF")).is_success
        assert (await alf.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success


async def test_suspending_somebody_unknown_says_so(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    for role in (None, "CPO"):
        with pytest.raises(MemberError, match=r"is not known here; `ocpi-hub party list` shows all"):
            await hub.members.suspend(BEC.party, role, suspended=True)
    with pytest.raises(MemberError, match="DE-TNM:CPO is not known"):
        await hub.members.suspend(TNM.party, "CPO", suspended=True)


async def test_removing_tells_the_other_side_and_voids_its_token(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    told: list[str] = []
    token, own = emsp.hub_token, emsp.own_token
    await hub.members.remove(await platform_of(hub, TNM), hub.caller, told.append)
    assert told == ["Tnm was told with DELETE credentials."]
    assert [(each.method, each.path) for each in emsp.received] == [("DELETE", "/ocpi/2.2.1/credentials/")]
    assert emsp.received[0].headers["Authorization"] == carries(own)
    await hub.hub.live.refresh()
    assert not await knows(hub, emsp, token)
    assert await statuses(hub) == {"DE-TNM:EMSP": "SUSPENDED"}
    assert (await platform_of(hub, TNM)).token is None


async def test_removing_somebody_who_is_away_works_and_says_that_it_was_not_told(
    hub: HubOnTest, emsp: SimulatedPlatform
) -> None:
    told: list[str] = []
    await emsp.stop()
    await hub.members.remove(await platform_of(hub, TNM), hub.caller, told.append)
    (said,) = told
    assert said.startswith("Tnm could not be told: DELETE http://127.0.0.1:")
    assert "No connection" in said
    assert await statuses(hub) == {"DE-TNM:EMSP": "SUSPENDED"}


async def test_removing_somebody_who_was_only_invited_tells_nobody(hub: HubOnTest) -> None:
    told: list[str] = []
    token = await hub.invite("BE-BEC:CPO")
    await hub.members.remove(await platform_of(hub), hub.caller, told.append)
    assert told == []
    await hub.hub.live.refresh()
    async with SimulatedPlatform("Bec", [("BE-BEC", "CPO")]) as cpo:
        assert not await knows(hub, cpo, token)
        await hub.register(cpo)


# Rotating


async def test_rotating_gives_both_sides_new_tokens(hub: HubOnTest, emsp: SimulatedPlatform) -> None:
    told: list[str] = []
    ours, theirs = emsp.hub_token, emsp.own_token
    emsp.endpoint_suffix = ""
    await hub.members.rotate(await platform_of(hub, TNM), hub.caller, told.append)
    assert told[-1] == "Both sides have new tokens; the old one for the hub ends when the new one is first used."
    assert emsp.hub_token != ours
    assert emsp.own_token != theirs
    platform = await platform_of(hub, TNM)
    assert platform.authorization == carries(emsp.own_token)
    assert platform.endpoints[("tokens", "SENDER")].endswith("/tokens")
    await hub.hub.live.refresh()
    assert await knows(hub, emsp, ours)
    assert await knows(hub, emsp, emsp.hub_token)
    assert not await knows(hub, emsp, ours)
    async with registered(hub, SimulatedPlatform("Bec", [("BE-BEC", "CPO")])) as (cpo,):
        assert (await cpo.call("GET", "tokens", "SENDER", to="DE-TNM")).is_success


async def test_a_refused_rotation_leaves_everything_as_it_was(
    hub: HubOnTest, emsp: SimulatedPlatform, database_url: str, subtests: pytest.Subtests
) -> None:
    was = await stored(database_url)
    for name in ("401", "405", "an error", "a redirect"):
        with subtests.test(name):
            said, reply = POSTED[name]
            assert isinstance(reply, Reply)
            emsp.answer("PUT", "credentials", "SENDER", reply)
            with pytest.raises(OCPIError) as raised:
                await hub.members.rotate(await platform_of(hub, TNM), hub.caller, lambda _: None)
            assert said in raised.value.message
            assert await stored(database_url) == was
            await hub.hub.live.refresh()
            assert not await knows(hub, emsp, emsp.received[-1].json["token"])
            assert await knows(hub, emsp, emsp.hub_token)


async def test_a_rotation_of_somebody_who_is_away_leaves_everything_as_it_was(
    hub: HubOnTest, emsp: SimulatedPlatform, database_url: str
) -> None:
    was = await stored(database_url)
    await emsp.stop()
    with pytest.raises(PartnerUnusable, match="No connection"):
        await hub.members.rotate(await platform_of(hub, TNM), hub.caller, lambda _: None)
    assert await stored(database_url) == was


@pytest.mark.parametrize("loss", ["silence", "closed", "garbage", "HTML", "no token"])
async def test_after_a_lost_answer_the_old_and_the_new_token_are_valid(
    hub: HubOnTest, emsp: SimulatedPlatform, monkeypatch: pytest.MonkeyPatch, loss: str
) -> None:
    """The other side may have taken the new token: it must not be locked out."""
    monkeypatch.setattr("hub.handshake.TIMEOUT_SECONDS", 0.3)
    over = asyncio.Event()
    old = emsp.hub_token
    real = emsp._serve

    async def lose(received: Received) -> Reply:
        reply = await emsp.default_reply(received)  # it does adopt the new token
        if loss == "silence":
            await over.wait()
        if loss == "HTML":
            return Reply(502, b"<html>")
        if loss == "no token":
            return Reply(200, envelope({}))
        if loss == "garbage":
            return Reply(200, b"\x00")
        return reply

    async def serve(http: Any) -> Any:
        response = await real(http)
        if loss == "closed" and http.method == "PUT":
            http.transport.close()
        return response

    emsp.answer("PUT", "credentials", "SENDER", lose)
    monkeypatch.setattr(emsp._runner.server, "request_handler", serve)  # type: ignore[union-attr]
    with pytest.raises(MemberError, match="may have changed its tokens all the same"):
        await hub.members.rotate(await platform_of(hub, TNM), hub.caller, lambda _: None)
    over.set()
    await hub.hub.live.refresh()
    assert emsp.hub_token != old
    assert await knows(hub, emsp, old)
    assert await knows(hub, emsp, emsp.hub_token)
    # It goes on with the new one, and its own next PUT works and survives a lost answer too.
    emsp.answer("PUT", "credentials", "SENDER")
    offered = emsp.hub_token
    assert (await emsp.update_at_hub()).is_success
    assert await knows(hub, emsp, offered)
    assert await knows(hub, emsp, emsp.hub_token)
    await until(lambda: not hub.hub.live.table.replaced)
    assert not await knows(hub, emsp, offered)


async def test_a_rotation_whose_details_cannot_be_read_again_keeps_the_known_ones(
    hub: HubOnTest, emsp: SimulatedPlatform
) -> None:
    told: list[str] = []
    before = await platform_of(hub, TNM)

    async def put(received: Received) -> Reply:
        reply = await emsp.default_reply(received)
        return Reply(200, envelope(reply.body["data"] | {"url": "garbage"}))

    emsp.answer("PUT", "credentials", "SENDER", put)
    await hub.members.rotate(before, hub.caller, told.append)
    assert any("could not be read again" in line for line in told)
    after = await platform_of(hub, TNM)
    assert after.endpoints == before.endpoints
    assert after.versions_url == before.versions_url
    assert after.origins == before.origins
    assert after.authorization == carries(emsp.own_token)


async def test_who_is_not_registered_has_no_tokens_to_rotate(hub: HubOnTest) -> None:
    await hub.members.invite([BEC], "Bec")
    with pytest.raises(MemberError, match="Bec is not registered, so there are no tokens to rotate"):
        await hub.members.rotate(await platform_of(hub), hub.caller, lambda _: None)


# Switches and names

SWITCHES: dict[str, tuple[list[str], Switches]] = {
    "raw": (["token=raw"], Switches(token="raw")),
    "base64": (["token=base64"], Switches(token="base64")),
    "auto": (["token=raw", "token=auto"], Switches()),
    "foreign owner": (["foreign_owner=on"], Switches(foreign_owner=True)),
    "no foreign owner": (["foreign_owner=on", " foreign_owner = off "], Switches()),
    "no pull": (["pull=off"], Switches(pull=False)),
    "pull": (["pull=off", "pull=on"], Switches()),
    "catching up": (["catch_up=on"], Switches(catch_up=True)),
    "the owner as sender": (["owner_as_sender=on"], Switches(owner_as_sender=True)),
    "origins": (
        ["origins=http://127.0.0.1:9000/any/path, https://cb.example"],
        Switches(origins=("http://127.0.0.1:9000", "https://cb.example:443")),
    ),
    "no origins": (["origins=https://cb.example", "origins="], Switches()),
    "an endpoint": (
        ["endpoint.commands.RECEIVER=https://bec.example/c?x=y"],
        Switches(endpoints={"commands:RECEIVER": "https://bec.example/c?x=y"}),
    ),
    "a module with a dot": (
        ["endpoint.nltnm.x.SENDER=https://bec.example/c"],
        Switches(endpoints={"nltnm.x:SENDER": "https://bec.example/c"}),
    ),
    "no endpoint": (["endpoint.cdrs.SENDER=https://bec.example/c", "endpoint.cdrs.SENDER="], Switches()),
    "several": (
        ["token=raw", "foreign_owner=on", "origins=https://a.example"],
        Switches(token="raw", foreign_owner=True, origins=("https://a.example:443",)),
    ),
}

BAD_SWITCHES = {
    "token": "no NAME=VALUE",
    "": "no NAME=VALUE",
    "token=": "auto (as learnt), base64 or raw",
    "token=RAW": "auto (as learnt), base64 or raw",
    "foreign_owner=yes": "on or off",
    "pull=no": "pull is on or off",
    "catch_up=": "catch_up is on or off",
    "origins=nowhere": "origins:",
    "origins=https://user@a.example": "origins:",
    "origins=http://10.0.0.1": "may not be called",
    "origins=ftp://a.example": "origins:",
    "endpoint.commands=https://a.example": "named like endpoint.commands.RECEIVER=",
    "endpoint.SENDER=https://a.example": "named like endpoint.commands.RECEIVER=",
    "endpoint.commands.BOTH=https://a.example": "named like endpoint.commands.RECEIVER=",
    "endpoint.commands.RECEIVER=nowhere": "endpoint.commands.RECEIVER:",
    "endpoint.commands.RECEIVER=http://169.254.169.254/": "may not be called",
    "speed=fast": "these can: name, token, foreign_owner, pull, catch_up, owner_as_sender, origins, endpoint.MODULE",
}


async def test_every_switch_is_set_and_read_back(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    await hub.members.invite([BEC])
    for name, (assignments, expected) in SWITCHES.items():
        with subtests.test(name):
            platform = await platform_of(hub)
            reset = ["token=auto", "foreign_owner=off", "pull=on", "catch_up=off", "owner_as_sender=off", "origins="]
            reset += [f"endpoint.{key.replace(':', '.')}=" for key in platform.switches.endpoints]
            await hub.members.set_switches(platform, reset, hub.hub.guard)
            given = await hub.members.set_switches(await platform_of(hub), assignments, hub.hub.guard)
            assert given == expected
            assert (await platform_of(hub)).switches == expected


async def test_a_bad_switch_is_refused_and_changes_nothing(
    hub: HubOnTest, database_url: str, subtests: pytest.Subtests
) -> None:
    await hub.members.invite([BEC])
    was = await stored(database_url)
    for assignment, said in BAD_SWITCHES.items():
        with subtests.test(assignment):
            with pytest.raises(MemberError) as raised:
                await hub.members.set_switches(await platform_of(hub), ["foreign_owner=on", assignment], hub.hub.guard)
            assert said in str(raised.value)
            assert await stored(database_url) == was


async def test_a_switch_is_in_force_at_once(hub: HubOnTest, emsp: SimulatedPlatform, cpo: SimulatedPlatform) -> None:
    await hub.register(cpo)
    platform = await platform_of(hub)
    elsewhere = cpo.endpoint("locations") + "?tenant=1"
    await hub.members.set_switches(platform, ["token=raw", f"endpoint.locations.SENDER={elsewhere}"], hub.hub.guard)
    await hub.hub.live.refresh()
    cpo.clear()
    await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
    assert cpo.received[0].headers["Authorization"] == f"Token {cpo.own_token}"
    assert cpo.received[0].path == "/ocpi/2.2.1/sender/locations/?tenant=1"


async def test_a_name_is_what_a_platform_is_called(hub: HubOnTest) -> None:
    await hub.members.invite(parse("BE-BEC:CPO", "BE-TWO:CPO"))
    platform = await platform_of(hub)
    assert str(platform) == "BE-BEC:CPO, BE-TWO:CPO"
    await hub.members.set_name(platform, "Bec [/] Énergie")
    assert str(await platform_of(hub)) == "Bec [/] Énergie"


# The way back


async def test_the_public_url_is_looked_at_before_anybody_is_asked_to_call_it(
    hub: HubOnTest, start_hub: StartHub
) -> None:
    await hub.members.check_public_url()
    gone = await start_hub(public_url="http://127.0.0.1:9")
    with pytest.raises(MemberError, match=r"No hub answers at http://127.0.0.1:9/ocpi/versions .*OCPI_HUB_PUBLIC_URL"):
        await gone.members.check_public_url()
    elsewhere = await start_hub(public_url=hub.ops_url)
    with pytest.raises(MemberError, match="is no OCPI hub; correct OCPI_HUB_PUBLIC_URL"):
        await elsewhere.members.check_public_url()
