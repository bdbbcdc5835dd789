"""Every row of the operations: it reaches the right interface of the right platform, and comes back, untouched.

[R-111, R-112, R-113, R-114, R-225, R-248, R-259, R-270, R-272, R-279]
"""

from urllib.parse import quote

import pytest

from config.operations import OPERATIONS, Operation
from hub.simulator import Reply, SimulatedPlatform, envelope
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import EVERY_MODULE

ROWS = OPERATIONS["2.2.1"]
ANSWER = b'{ "data": {"a": 1.50, "b": null} , "status_code":1000,"timestamp":"2019-06-24T12:39:09" }'
BODY = b'{ "a" : 4.00, "b":null,"c":"K\xc3\xb6ln" }'
QUERY = "type=A%2FB&x=1"


def everything(name: str, party: str) -> SimulatedPlatform:
    """A platform that has every interface of every module, so that the wrong one would answer too."""
    return SimulatedPlatform(name, [(party, "CPO"), (party, "EMSP")], modules=EVERY_MODULE)


def path_of(row: Operation) -> str:
    """Give a path of this row's shape, with ids that re-encoding would spoil."""
    ids = {"{country_code}": "BE", "{party_id}": "BEC"}
    return "/".join(ids.get(part, f"{part[1:-1]}%2F*+1" if part.startswith("{") else part) for part in row.path)


async def test_an_operation_arrives_and_returns_as_it_was(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    asking, asked, other = everything("asking", "BE-BEC"), everything("asked", "DE-TNM"), everything("other", "NL-ALF")
    async with registered(hub, asking, asked, other):
        for row in ROWS:
            if row.alias is None:
                with subtests.test(f"{row.label} {row.method}"):
                    await expect_row(row, hub, asking, asked)
                    expect.untouched(asking, other)


async def expect_row(row: Operation, hub: HubOnTest, asking: SimulatedPlatform, asked: SimulatedPlatform) -> None:
    asked.clear()
    asked.answer(row.method, row.module, row.interface, Reply(201 if row.method == "POST" else 200, ANSWER))
    theirs = asking.new_response_url(row.module, "answer")
    body, query = None if row.body == "none" else BODY, QUERY
    if row.response_url == "body":
        body = b'{"response_url":"' + theirs.encode() + b'",' + BODY.lstrip(b"{")
    if row.response_url == "query":
        query += "&response_url=" + quote(theirs, safe="")
    answer = await asking.call(
        row.method,
        row.module,
        row.interface,
        path_of(row),
        to="DE-TNM",
        headers=expect.IDS,
        body=body,
        query=query,
    )

    expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=ANSWER, http_status=201 if row.method == "POST" else 200)
    (received,) = asked.received
    expect.forwarded(received, asked, to="DE-TNM", sender="BE-BEC")
    assert received.method == row.method
    got_body, (got_path, _, got_query) = received.body, received.path.partition("?")
    wanted = asked.endpoint(row.module, row.interface).removeprefix(asked.origin) + path_of(row)
    assert got_path == wanted
    if row.response_url == "body":
        ours = received.json["response_url"]
        expect.at_hub(ours, hub)
        got_body = got_body.replace(ours.encode(), theirs.encode())
    if row.response_url == "query":
        got_query, _, ours = got_query.partition("&response_url=")
        query = QUERY
        assert ours.startswith(quote(hub.url, safe=""))
    assert (got_query, got_body) == (query, body or b"")
    assert ("Content-Type" in received.headers) == (body is not None)


@pytest.mark.parametrize("row", [row for row in ROWS if row.alias == "result"], ids=lambda row: row.label)
async def test_a_result_arrives_and_returns_as_it_was(hub: HubOnTest, row: Operation) -> None:
    asking, asked, other = everything("asking", "BE-BEC"), everything("asked", "DE-TNM"), everything("other", "NL-ALF")
    async with registered(hub, asking, asked, other):
        cause = next(each for each in ROWS if each.module == row.module and each.response_url == "body")
        asked.answer(cause.method, cause.module, cause.interface, Reply(body=envelope({"result": "ACCEPTED"})))
        asking.answer(row.method, row.module, row.interface, Reply(body=ANSWER))
        theirs = asking.new_response_url(row.module, "answer") + "?" + QUERY
        call = {"to": "DE-TNM", "body": {"response_url": theirs}}
        expect.envelope(await asking.call(cause.method, cause.module, cause.interface, path_of(cause), **call))
        answer = await asked.request(
            row.method, asked.received[0].json["response_url"], sender=None, headers=expect.IDS, body=BODY
        )
        expect.relayed(answer, to="DE-TNM", sender="BE-BEC", body=ANSWER)
        (received,) = asking.received
        expect.forwarded(received, asking, to="BE-BEC", sender="DE-TNM")
        assert (received.method, asking.origin + received.path, received.body) == (row.method, theirs, BODY)
        expect.untouched(other)


@pytest.mark.parametrize("row", [row for row in ROWS if row.alias == "location"], ids=lambda row: row.label)
async def test_a_location_leads_to_what_was_created(hub: HubOnTest, row: Operation) -> None:
    asking, asked, other = everything("asking", "BE-BEC"), everything("asked", "DE-TNM"), everything("other", "NL-ALF")
    async with registered(hub, asking, asked, other):
        (cause,) = [each for each in ROWS if each.module == row.module and each.gives_location]
        made = Reply(201, envelope(), {"Location": "made/1%2F2?a=%2F"})
        asked.answer(cause.method, cause.module, cause.interface, made)
        asked.answer(row.method, row.module, row.interface, Reply(body=ANSWER))
        posted = await asking.call(cause.method, cause.module, cause.interface, to="DE-TNM", body=BODY)
        answer = await asking.request(row.method, posted.headers["Location"], headers=expect.IDS)
        expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=ANSWER)
        received = asked.received[-1]
        expect.forwarded(received, asked, to="DE-TNM", sender="BE-BEC")
        expect.path(received, asked, row.module, row.interface, "made/1%2F2?a=%2F")
        expect.untouched(asking, other)


@pytest.mark.parametrize("row", [row for row in ROWS if row.paged], ids=lambda row: row.label)
async def test_a_list_is_read_to_its_end(hub: HubOnTest, row: Operation) -> None:
    asking, asked, other = everything("asking", "BE-BEC"), everything("asked", "DE-TNM"), everything("other", "NL-ALF")
    async with registered(hub, asking, asked, other):
        asked.store.owned[row.module] = [
            {"country_code": "DE", "party_id": "TNM", "id": f"{number}"} for number in range(5)
        ]
        answer = await asking.call(row.method, row.module, row.interface, to="DE-TNM", query="limit=2")
        seen = list(answer.data)
        while "Link" in answer.headers:
            url = answer.headers["Link"].partition("<")[2].partition(">")[0]
            expect.envelope(answer := await asking.request(row.method, url))
            seen += answer.data
        assert [each["id"] for each in seen] == ["0", "1", "2", "3", "4"]
        assert len(asked.received) == 3
        expect.untouched(asking, other)


async def test_every_endpoint_of_the_version_details_is_one_of_these(hub: HubOnTest) -> None:
    """R-043, R-046: both interfaces of each routed module, and credentials once."""
    platform = everything("asking", "BE-BEC")
    async with registered(hub, platform):
        details = await platform.request("GET", f"{hub.url}/ocpi/2.2.1", sender=None)
        listed = [(each["identifier"], each["role"]) for each in details.data["endpoints"]]
        assert len(listed) == len(set(listed))
        assert {*EVERY_MODULE, ("credentials", "SENDER")} <= set(listed)
        for each in details.data["endpoints"]:
            expect.at_hub(each["url"], hub)
