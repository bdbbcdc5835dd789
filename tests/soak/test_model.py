"""The soak's truth must itself be true: what an owner's changes make of an object, and who may see it."""

from datetime import datetime

import pytest

from hub.simulator.objects import evse, location, tariff
from tests.soak.cast import Cast
from tests.soak.events import plan
from tests.soak.model import Owned


def a_location() -> Owned:
    return Owned("locations", "NL-C01", "Loc 1", body=location("NL-C01", "Loc 1"))


def test_every_change_is_later_than_the_one_before() -> None:
    owned = a_location()
    times = [owned.patch({"name": str(number)}).at for number in range(50)]
    assert times == sorted(set(times))
    assert [datetime.fromisoformat(each).isoformat(timespec="milliseconds") for each in times]


def test_a_changed_connector_touches_its_parents() -> None:
    owned = a_location()
    change = owned.patch({"max_amperage": 32}, ("Loc 1-1", "1"))
    assert (change.method, change.path) == ("PATCH", "NL/C01/Loc%201/Loc%201-1/1")
    assert change.body == {"max_amperage": 32, "last_updated": change.at}
    assert owned.body is not None
    changed, other = owned.body["evses"]
    assert changed["connectors"][0]["max_amperage"] == 32
    assert (
        owned.body["last_updated"] == changed["last_updated"] == changed["connectors"][0]["last_updated"] == change.at
    )
    assert other["last_updated"] != change.at


def test_an_evse_is_added_or_replaced() -> None:
    owned = a_location()
    owned.put_child(("new",), evse("NL-C01", "new"))
    owned.put_child(("new",), evse("NL-C01", "new", status="REMOVED"))
    assert [(each["uid"], each["status"]) for each in owned.children()][-1] == ("new", "REMOVED")
    assert len(owned.children()) == 3


def test_what_is_sent_again_is_new_and_whole() -> None:
    owned = Owned("tariffs", "NL-C01", "T1", body=tariff("NL-C01", "T1"))
    first = owned.patch({"currency": "SEK"})
    again = owned.repeat()
    assert again.method == "PUT"
    assert again.at > first.at
    assert again.body is not None
    assert again.body["currency"] == "SEK"
    owned.delete()
    assert owned.repeat().method == "DELETE"
    assert owned.body is None


def test_a_delete_is_the_first_that_can_be_meant() -> None:
    owned = Owned("tariffs", "NL-C01", "T1", body=tariff("NL-C01", "T1"))
    changes = [owned.delete(), owned.repeat(), owned.put(tariff("NL-C01", "T1")), owned.delete()]
    owned.sent = {change.at: 0.0 for change in changes}
    first, again, put, last = (change.at for change in changes)
    assert owned.find_deletion("") == first
    assert owned.find_deletion(first) == again
    assert owned.find_deletion(again) == again  # once more, as after a takeover
    assert owned.find_deletion(put) == owned.find_deletion(last) == last
    assert owned.find_deletion("9") is None


@pytest.mark.parametrize("platforms", [8, 12, 50, 200])
def test_the_cast_is_of_the_size_wanted_and_no_party_is_there_twice(platforms: int) -> None:
    cast = Cast(platforms)
    assert len(cast.parts) == platforms
    roles = [role for part in cast.parts for role in part.roles]
    assert len(roles) == len(set(roles))


def test_contracts_and_platforms_bound_what_may_be_seen() -> None:
    cast = Cast(50)
    assert cast.may_see("DE-E14", "NL-C01", "locations")
    assert not cast.may_see("DE-E13", "NL-C01", "locations")  # a contract forbids everything between them
    assert not cast.may_see("NL-C01", "DE-E13", "tokens")
    assert cast.may_see("DE-E14", "NL-C02", "locations")  # there it forbids tokens only
    assert not cast.may_see("NL-C02", "DE-E14", "tokens")
    assert not cast.may_see("NL-C03", "NL-C04", "locations")  # CPOs are told of no locations
    assert not cast.may_see("DE-X15", "DE-E15", "tokens")
    assert not cast.may_see("BE-B43", "BE-B43", "locations")  # its own


def test_the_same_seed_makes_the_same_plan_and_half_stay_healthy() -> None:
    events = plan(7, 300, 50)
    assert events == plan(7, 300, 50) != plan(8, 300, 50)
    hubs, platforms = ("term", "kill"), {each.target for each in events if each.kind not in ("term", "kill")}
    assert len(platforms) <= 25
    assert {each.kind for each in events if each.kind in hubs} == set(hubs)
    assert all(each.at >= 0 and each.at + each.seconds <= 300 + 5 for each in events)
