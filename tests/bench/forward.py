"""A direct forward of 1 kB: the hub's CPU for each request beside a bare proxy's and nginx's."""

from contextlib import AsyncExitStack

from tests.bench.load import Ask
from tests.bench.members import Member, Wish, add_members
from tests.bench.opponents import NO_NGINX, asking, bare_proxy, find_nginx, nginx
from tests.bench.requests import CORRELATION_ID, get_session, put_session
from tests.bench.stage import (
    Contestant,
    Outcome,
    RunningHub,
    Stage,
    WrongAnswer,
    ask_once,
    cpu_per_request,
    ratios,
    refused,
)

CPO, EMSP = "NL-AMB", "DE-VOL"
NOT_MIRRORED = {"RETENTION": "sessions=0"}
"""Without the mirror, which `write_behind` measures by itself."""


def two_members(upstream_port: int) -> list[Wish]:
    """Give a CPO, and an eMSP whose sessions go to the bench's receiver."""
    url = f"http://127.0.0.1:{upstream_port}/ocpi/2.2.1/receiver/sessions"
    return [Wish((f"{CPO}:CPO",), {}), Wish((f"{EMSP}:EMSP",), {("sessions", "RECEIVER"): url})]


async def check_duties(stage: Stage, hub: RunningHub, ask: Ask, receiver: Member) -> None:
    """Make sure that the hub forwards as OCPI wants it, with the answer byte for byte. Raises WrongAnswer."""
    await ask_once(hub.port, [ask], "the hub")
    head = stage.upstream.last.partition(b"\r\n\r\n")[0].decode().lower()
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:])
    expected = {
        "authorization": receiver.hub_authorization.lower(),
        "x-correlation-id": CORRELATION_ID,
        "ocpi-from-party-id": CPO[3:].lower(),
        "ocpi-to-party-id": EMSP[3:].lower(),
    }
    wrong = {name: fields.get(name) for name, value in expected.items() if fields.get(name) != value}
    if wrong or fields.get("x-request-id", "6f1b0a3e").startswith("6f1b0a3e"):
        raise WrongAnswer(f"the receiver was not sent what it should be: {wrong or 'the same X-Request-ID'}")
    if stage.upstream.last.partition(b"\r\n\r\n")[2] != ask.request.partition(b"\r\n\r\n")[2]:
        raise WrongAnswer("the receiver was sent another body")


async def check_refusals(hub: RunningHub, ask: Ask, member: Member, receiver: Member) -> None:
    """Make sure that who is not known, has no contract or sends no JSON is refused. Raises WrongAnswer."""
    request = ask.request
    theirs = request.replace(member.authorization.encode(), receiver.hub_authorization.encode())
    await refused(hub.port, theirs, 401, "a token that the hub did not give out")
    itself = request.replace(f"OCPI-to-party-id: {EMSP[3:]}".encode(), f"OCPI-to-party-id: {CPO[3:]}".encode())
    itself = itself.replace(f"OCPI-to-country-code: {EMSP[:2]}".encode(), f"OCPI-to-country-code: {CPO[:2]}".encode())
    await refused(hub.port, itself, 200, "a receiver that no contract allows")
    head, _, body = request.partition(b"\r\n\r\n")
    await refused(hub.port, head + b"\r\n\r\n" + body[:-1] + b" ", 400, "what is no JSON")


async def measure(stage: Stage) -> Outcome:
    """Measure GET and PUT."""
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        database, keys, settings = await stack.enter_async_context(stage.database("forward"))
        cpo, emsp = await add_members(database, keys, two_members(stage.upstream_port))
        hub = await stack.enter_async_context(stage.hub(settings | NOT_MIRRORED))
        found = {"bare proxy": await stack.enter_async_context(bare_proxy(stage))}
        if find_nginx() is not None:
            found["nginx"] = await stack.enter_async_context(nginx(stage))
        else:
            outcome.notes.append(NO_NGINX)
        found["hub"] = Contestant(hub.measured, hub.port, ())
        stack.enter_context(stage.profiling("forward", hub, outcome))
        await check_refusals(hub, put_session(cpo, CPO, EMSP), cpo, emsp)
        for method, ask in (("get", get_session(cpo, CPO, EMSP)), ("put", put_session(cpo, CPO, EMSP))):
            await check_duties(stage, hub, ask, emsp)
            contestants = {f"{name}, {method.upper()}": asking(each, ask) for name, each in found.items()}
            cpu = await cpu_per_request(stage, outcome, contestants)
            ours = cpu[f"hub, {method.upper()}"]
            outcome.values[f"{method}_proxy"] = ratios(ours, cpu[f"bare proxy, {method.upper()}"])
            if find_nginx() is not None:
                outcome.values[f"{method}_nginx"] = ratios(ours, cpu[f"nginx, {method.upper()}"])
        await hub.check_accounts(outcome.answers["hub, GET"] + outcome.answers["hub, PUT"])
    return outcome
