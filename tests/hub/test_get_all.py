"""GET all in detail: parameters, filters, single objects, and what it answers when it cannot."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.ocpi import PartyID, format_time
from hub.simulator import Answer, SimulatedPlatform
from hub.simulator.objects import evse, location, tariff
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3
from tests.shelf import Shelf

NOW = datetime.now(UTC).replace(microsecond=0)


def other_cpo() -> SimulatedPlatform:
    return SimulatedPlatform("P8", [("SE-VOL", "CPO")])


async def get_all(asking: SimulatedPlatform, path: str = "", query: str = "", module: str = "locations") -> Answer:
    return await asking.call("GET", module, "SENDER", path, to="NL-HUB", query=query, headers=expect.IDS)


def ids(answer: Answer) -> list[str]:
    expect.envelope(answer)
    return [each["id"] for each in answer.data]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("offset=-1", "offset"),
        ("limit=0", "limit"),
        ("limit=ten", "limit"),
        ("after=LOC1", "after"),
        ("date_from=2019-01-28T12:00:00+00:00", "date_from"),  # T-043: the plus is a blank
        ("date_to=yesterday", "date_to"),
        ("limit=1&limit=2", "limit"),
    ],
)
async def test_a_parameter_that_cannot_be_read_is_named(hub: HubOnTest, query: str, named: str) -> None:
    async with registered(hub, p3()) as (emsp,):
        refused = expect.refusal(await get_all(emsp, query=query), 2001, to="DE-TNM")
        assert refused["status_message"].startswith(named + " ")


async def test_a_page_is_no_longer_than_the_hub_gives(start_hub: Any, shelf: Shelf) -> None:
    """R-177: X-Limit is the hub's maximum, whatever was asked for."""
    hub = await start_hub(page_limit=3)
    async with registered(hub, p1(), p3()) as (_, emsp):
        for number in range(5):
            await shelf.put("BE-BEC", tariff("BE-BEC", f"T{number}"), "tariffs")
        for query, wanted in (("", ["T0", "T1", "T2"]), ("limit=50", ["T0", "T1", "T2"]), ("limit=2", ["T0", "T1"])):
            answer = await get_all(emsp, query=query, module="tariffs")
            assert ids(answer) == wanted
            assert (answer.headers["X-Limit"], answer.headers["X-Total-Count"]) == ("3", "5")
            assert f"limit={len(wanted)}&" in answer.headers["Link"]
        answer = await get_all(emsp, query="offset=3", module="tariffs")
        assert ids(answer) == ["T3", "T4"]
        assert "Link" not in answer.headers
        answer = await get_all(emsp, query="offset=5", module="tariffs")
        assert (ids(answer), answer.headers["X-Total-Count"]) == ([], "5")


async def test_date_from_finds_what_reached_the_hub_late(hub: HubOnTest, shelf: Shelf) -> None:
    """T-068, R-164: it means the later of last_updated and received, and last_updated stays the owner's."""
    async with registered(hub, p1(), p3()) as (_, emsp):
        old = format_time(NOW - timedelta(days=9))
        soon = NOW + timedelta(hours=1)
        await shelf.put(
            "BE-BEC", location("BE-BEC", "OLD", last_updated=old, evses=[]), received_at=NOW - timedelta(days=8)
        )
        await shelf.put("BE-BEC", location("BE-BEC", "LATE", last_updated=old, evses=[]), received_at=NOW)
        await shelf.put("BE-BEC", location("BE-BEC", "SOON", last_updated=format_time(soon), evses=[]), received_at=NOW)

        answer = await get_all(emsp, query=f"date_from={NOW:%Y-%m-%dT%H:%M:%SZ}&limit=1")
        assert (ids(answer), answer.headers["X-Total-Count"]) == (["LATE"], "2")
        assert answer.data[0]["last_updated"] == old
        url = answer.headers["Link"].partition("<")[2].partition(">")[0]
        assert f"date_from={NOW:%Y-%m-%dT%H:%M:%SZ}" in url
        assert ids(await emsp.request("GET", url, to="NL-HUB")) == ["SOON"]

        # Inclusive and exclusive.
        late, after = f"{NOW:%Y-%m-%dT%H:%M:%SZ}", f"{NOW:%Y-%m-%dT%H:%M:%S}.001Z"
        assert ids(await get_all(emsp, query=f"date_to={late}")) == ["OLD"]
        assert ids(await get_all(emsp, query=f"date_to={after}")) == ["OLD", "LATE"]
        assert ids(await get_all(emsp, query=f"date_from={after}")) == ["SOON"]
        assert ids(await get_all(emsp, query=f"date_from={late}&date_to={late}")) == []


async def test_objects_are_given_byte_for_byte_as_their_owner_wrote_them(hub: HubOnTest, shelf: Shelf) -> None:
    """R-158: number literals, unknown fields, order and blanks survive."""
    async with registered(hub, p1(), p3()) as (_, emsp):
        body = b'{ "id":"LOC1", "x-price": 4.00, "party_id":"bec", "country_code":"BE", "\xc3\xa9vse": null }'
        await shelf.put("BE-BEC", body)
        assert body in (await get_all(emsp)).body
        assert body in (await get_all(emsp, "LOC1")).body


async def test_a_location_has_its_changed_evses(hub: HubOnTest, shelf: Shelf) -> None:
    async with registered(hub, p1(), p3()) as (_, emsp):
        await shelf.put("BE-BEC", location("BE-BEC", "LOC1"))
        changed = evse("BE-BEC", "LOC1-2", status="OUTOFORDER")
        await shelf.put_evse("BE-BEC", "LOC1", changed)
        (listed,) = (await get_all(emsp)).data
        assert [each["status"] for each in listed["evses"]] == ["AVAILABLE", "OUTOFORDER"]
        assert (await get_all(emsp, "LOC1")).data == listed
        assert (await get_all(emsp, "LOC1/LOC1-2")).data == changed


async def test_single_objects_are_found_by_id(hub: HubOnTest, shelf: Shelf) -> None:
    async with registered(hub, p1(), p3(), other_cpo()) as (_, emsp, _other):
        shared = location("BE-BEC", "LOC/1")
        await shelf.put("BE-BEC", shared)
        for path, wanted in (
            ("LOC%2F1", shared),
            ("loc%2f1", shared),
            ("LOC%2F1/LOC%2F1-2", shared["evses"][1]),
            ("loc%2F1/loc%2F1-2/1", shared["evses"][1]["connectors"][0]),
        ):
            answer = await get_all(emsp, path)
            expect.relayed(answer, to="DE-TNM", sender=expect.HUB)
            assert answer.data == wanted
            assert "X-Total-Count" not in answer.headers
        for path in ("LOC2", "LOC%2F1/LOC%2F1-3", "LOC%2F1/LOC%2F1-2/2", "LOC"):
            expect.refusal(await get_all(emsp, path), 2003, to="DE-TNM", http_status=404)


async def test_an_id_of_two_owners_needs_the_owners_name(hub: HubOnTest, shelf: Shelf) -> None:
    """T-063: and one that the requester may not see does not count."""
    async with registered(hub, p1(), p3(), other_cpo()) as (_, emsp, _other):
        await shelf.put("FR-XXX", location("FR-XXX", "LOC1"))
        expect.refusal(await get_all(emsp, "LOC1"), 2003, to="DE-TNM", http_status=404)
        await shelf.put("BE-BEC", location("BE-BEC", "LOC1"))
        assert (await get_all(emsp, "LOC1")).data["party_id"] == "BEC"
        await shelf.put("SE-VOL", location("SE-VOL", "LOC1"))
        refused = expect.refusal(await get_all(emsp, "LOC1"), 2001, to="DE-TNM")
        assert "OCPI-to" in refused["status_message"]


async def test_a_suspended_owner_is_gone_from_lists_at_once(hub: HubOnTest, shelf: Shelf) -> None:
    async with registered(hub, p1(), p3(), other_cpo()) as (_, emsp, _other):
        await shelf.put("BE-BEC", location("BE-BEC", "LOC1"))
        await shelf.put("SE-VOL", location("SE-VOL", "LOC2"))
        assert ids(await get_all(emsp)) == ["LOC1", "LOC2"]
        await hub.members.suspend(PartyID("BE", "BEC"), None, suspended=True)
        await hub.hub.live.refresh()
        answer = await get_all(emsp)
        assert (ids(answer), answer.headers["X-Total-Count"]) == (["LOC2"], "1")
        expect.refusal(await get_all(emsp, "LOC1"), 2003, to="DE-TNM", http_status=404)


async def test_a_module_that_is_not_kept_has_no_list(start_hub: Any) -> None:
    hub = await start_hub(retention={"cdrs": 0})
    async with registered(hub, p3()) as (emsp,):
        refused = expect.refusal(await get_all(emsp, module="cdrs"), 2001, to="DE-TNM")
        assert "keeps no cdrs" in refused["status_message"]
        assert ids(await get_all(emsp)) == []


async def test_without_the_database_there_is_no_list(hub: HubOnTest) -> None:
    async with registered(hub, p3()) as (emsp,):
        await hub.hub.database.close()
        expect.refusal(await get_all(emsp), 3000, to="DE-TNM")
        expect.refusal(await get_all(emsp, "LOC1"), 3000, to="DE-TNM")


async def test_only_gets_of_sender_lists_can_be_addressed_to_the_hub(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        refused = await cpo.call("GET", "locations", "RECEIVER", "BE/BEC/LOC1", to="NL-HUB", headers=expect.IDS)
        expect.refusal(refused, 2001, to="BE-BEC")
        expect.untouched(emsp)
