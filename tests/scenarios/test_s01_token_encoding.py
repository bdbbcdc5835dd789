"""S01: how credentials tokens come and go. [R-027, R-029, R-031, T-001]"""

from base64 import b64encode
from collections.abc import Callable

import pytest

from config.ocpi import AUTHORIZATION
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3


def base64(token: str) -> str:
    return b64encode(token.encode()).decode()


FORMS: dict[str, Callable[[str], str | None]] = {
    "Base64": lambda token: f"Token {base64(token)}",
    "Base64 of the token and a newline": lambda token: f"Token {base64(token + chr(10))}",
    "raw": lambda token: f"Token {token}",
    "scheme in lower case": lambda token: f"token {base64(token)}",
    "blanks around": lambda token: f"TOKEN   {base64(token)} ",
    "without padding": lambda token: f"Token {base64(token).rstrip('=')}",
}


async def test_every_form_of_a_token_that_members_send_is_understood(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1()) as (cpo,):
        for form, write in FORMS.items():
            with subtests.test(form):
                headers = {AUTHORIZATION: write(cpo.hub_token)} | expect.IDS
                answer = await cpo.request("GET", hub.versions_url, sender=None, headers=headers)
                expect.envelope(answer)
                expect.ids(answer)
                expect.no_routing(answer)


NO_FORMS: dict[str, Callable[[str], str | None]] = {
    "Bearer": lambda token: f"Bearer {base64(token)}",
    "no header": lambda token: None,
    "no token": lambda token: "Token",
    "no scheme": lambda token: base64(token),
    "one character short": lambda token: f"Token {base64(token[:-1])}",
    "Base64 twice": lambda token: f"Token {base64(base64(token))}",
    "other case": lambda token: f"Token {base64(token.upper())}",
    "no ASCII": lambda token: "Token \xe9\xff",
}


async def test_anything_else_is_401_with_an_envelope_and_reaches_nobody(
    hub: HubOnTest, subtests: pytest.Subtests
) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for form, write in NO_FORMS.items():
            with subtests.test(form):
                headers = {AUTHORIZATION: write(cpo.hub_token)} | expect.IDS
                for url in (
                    hub.versions_url,
                    cpo.hub_endpoints["locations", "RECEIVER"] + "BE/BEC/LOC1",
                    f"{hub.url}/ocpi/x",
                ):
                    answer = await cpo.request("GET", url, to="DE-TNM", headers=headers)
                    expect.envelope(answer, 401, 2000)
                    expect.ids(answer)
                expect.untouched(cpo, emsp)


async def test_every_request_of_the_hub_carries_padded_base64(hub: HubOnTest) -> None:
    async with p1() as cpo, p3() as emsp:
        await hub.register(cpo)
        await hub.register(emsp)
        await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM")
        assert len(emsp.received) == 3  # versions, version details, the forwarded GET
        for received in emsp.received:
            expect.authorized(received, emsp.own_token or "")


async def test_a_platform_that_knows_raw_tokens_only_is_sent_raw_tokens(hub: HubOnTest) -> None:
    """R-029, T-002: what matched at registration is sent back."""
    async with registered(hub, p1(), p3(token_base64=False)) as (cpo, emsp):
        expect.envelope(await emsp.call("GET", "locations", "SENDER", to="BE-BEC"))
        answer = await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM")
        assert (answer.http_status, answer.sender) == (404, "DE-TNM")
        assert [received.headers[AUTHORIZATION] for received in emsp.received] == [f"Token {emsp.own_token}"]
