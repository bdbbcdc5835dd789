"""One platform's lane: order, collapse, debt and progress, without a network."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from config.ocpi import PartyID
from hub.addressees import Addressee
from hub.lane import Chain, Feed, Item, Lane, Push, State
from hub.mirror import BroadcastRow
from parties.model import Platform

SENDER = ("BE", "BEC")
_PLATFORM = Platform(2, "", "registered", ())
TNM, TST = (
    Addressee(_PLATFORM, party, "locations", PartyID("NL", "HUB"))
    for party in (PartyID("DE", "TNM"), PartyID("NL", "TST"))
)


def a_row(number: int, object_key: str = "LOC1", *, is_complete: bool = True) -> BroadcastRow:
    return BroadcastRow(
        id=number,
        accepted_at=datetime.fromtimestamp(number, UTC),
        platform_id=1,
        sender="BE-BEC",
        version="2.2.1",
        module="locations",
        operation="locations.patch_location",
        method="PATCH",
        path=f"BE/BEC/{object_key}",
        query="",
        content_type=None,
        body=b"{}",
        correlation_id=f"c-{number}",
        owner="BE-BEC",
        object_key=object_key,
        previous=None,
        is_complete=is_complete,
    )


def a_lane(feed: Feed | None = None, *, done: int = 0, queue: int = 100, in_flight: int = 8) -> Lane:
    lane = Lane(2, feed or Feed(0, 0), done=done, queue=queue, in_flight=in_flight)
    lane.is_proven = True
    return lane


def offer(lane: Lane, feed: Feed, row: BroadcastRow, *parties: Addressee) -> None:
    """Offer a row as the reading does: in its order."""
    lane.offer(Push(row), parties or (TNM,), SENDER)
    feed.read = feed.offered = row.id


def ids(item: Item) -> object:
    return item.row.id if isinstance(item, Push) else (item.first, item.last)


def test_pushes_of_one_object_go_one_after_the_other_and_those_of_others_beside_it() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    offer(lane, feed, a_row(1, "LOC1"))
    first = lane.start()
    offer(lane, feed, a_row(2, "LOC1"))
    offer(lane, feed, a_row(3, "LOC2"))
    other = lane.start()
    assert (ids(first[1]), ids(other[1])) == (1, 3)
    assert not lane.can_start
    lane.finish(first[0], "delivered")
    assert ids(lane.start()[1]) == 2


def test_each_party_of_a_platform_has_an_order_of_its_own() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    offer(lane, feed, a_row(1), TNM, TST)
    assert {lane.start()[0].addressee for _ in range(2)} == {TNM, TST}


def test_more_than_one_waiting_push_of_an_object_becomes_one_state() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    offer(lane, feed, a_row(1))
    under_way = lane.start()
    for number in (2, 3, 4):
        offer(lane, feed, a_row(number))
    assert lane.waiting == 1
    assert lane.progress == 0
    lane.finish(under_way[0], "delivered")
    assert lane.progress == 1
    chain, state = lane.start()
    assert isinstance(state, State)
    assert (state.first, state.last, state.correlation_id) == (2, 4, "c-4")
    lane.finish(chain, "delivered")
    assert lane.progress == 4
    assert lane.is_idle
    assert lane.counts["collapsed"] == 2


def test_without_a_whole_object_nothing_collapses() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    for number in (1, 2, 3):
        offer(lane, feed, a_row(number, is_complete=False))
    assert lane.waiting == 3


def test_a_state_drops_what_it_contains_be_it_waiting_or_offered_later() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    offer(lane, feed, a_row(1))
    offer(lane, feed, a_row(2))
    chain, _ = lane.start()
    lane.offer(Push(a_row(3)), (TNM,), SENDER)
    lane.cover(chain, 4)  # the mirror has 4 already, which has not been read yet
    lane.offer(Push(a_row(4)), (TNM,), SENDER)
    lane.finish(chain, "delivered")
    assert lane.is_idle
    lane.offer(Push(a_row(5)), (TNM,), SENDER)
    assert ids(lane.start()[1]) == 5


def test_more_than_the_queue_holds_becomes_a_debt() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed, queue=3)
    for number in range(1, 6):
        offer(lane, feed, a_row(number, f"LOC{number}"))
    assert lane.debt == (0, 5)
    assert lane.waiting == 0
    assert not lane.can_start
    assert lane.progress == 0
    lane.pay(5)
    assert lane.debt is None
    assert lane.progress == 5


def test_a_push_that_no_state_contains_is_queued_in_a_debt_and_not_again_when_it_is_read() -> None:
    feed = Feed(2, 4)
    lane = a_lane(feed, done=1)
    assert lane.debt == (1, 4)
    for number in (2, 4):
        lane.offer_anyway(a_row(number, is_complete=False), (TNM,), SENDER)
    lane.pay(4)
    for number in (3, 4, 5):
        offer(lane, feed, a_row(number, "LOC1" if number != 3 else "LOC2", is_complete=False))
    delivered = []
    while lane.can_start:
        started = lane.start()
        delivered.append(ids(started[1]))
        lane.finish(started[0], "delivered")
    assert sorted(delivered, key=int) == [2, 3, 4, 5]  # type: ignore[call-overload]
    assert lane.progress == 5


def test_a_debt_begins_before_what_is_under_way() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed, queue=2)
    offer(lane, feed, a_row(1, "A"))
    under_way = lane.start()
    for number in (2, 3, 4):
        offer(lane, feed, a_row(number, f"B{number}"))
    assert lane.debt is not None
    assert lane.debt[0] == 0
    lane.finish(under_way[0], "delivered")
    lane.pay(4)
    assert lane.progress == 4


def test_a_debt_is_as_old_as_the_oldest_push_that_it_stands_for() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed, queue=2)
    for number in range(1, 7):
        offer(lane, feed, a_row(number, f"LOC{number}"))
    assert lane.waiting == 0
    assert lane.oldest_at == a_row(1).accepted_at
    lane.pay(4)
    assert lane.oldest_at == a_row(1).accepted_at
    lane.pay(6)
    assert lane.oldest_at is None
    owing = a_lane(Feed(9, 9), done=5)
    assert owing.oldest_at is None
    owing.offer(Push(a_row(10)), (TNM,), SENDER)
    assert owing.oldest_at == a_row(10).accepted_at
    owing.forgive()
    assert owing.oldest_at is None


def test_a_successor_owes_what_came_after_the_saved_progress() -> None:
    lane = a_lane(Feed(9, 9), done=5)
    assert lane.debt == (5, 9)
    assert lane.progress == 5
    lane.forgive()
    assert lane.debt is None
    assert lane.progress == 9


def test_what_comes_while_a_lane_is_given_up_is_left_to_the_successor() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    offer(lane, feed, a_row(1))
    under_way = lane.start()
    lane.is_closed = True
    offer(lane, feed, a_row(2, "LOC2"))
    lane.finish(under_way[0], "delivered")
    assert not lane.can_start
    assert lane.progress == 1
    assert a_lane(feed, done=lane.progress).debt == (1, 2)


def test_a_successor_whose_reading_is_behind_skips_what_was_done() -> None:
    feed = Feed(3, 3)
    lane = a_lane(feed, done=5)
    for number in (4, 5, 6):
        offer(lane, feed, a_row(number, f"L{number}"))
    assert ids(lane.start()[1]) == 6
    assert not lane.can_start


def test_a_platform_that_did_not_answer_is_tried_with_one_request() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    for number in range(1, 5):
        offer(lane, feed, a_row(number, f"L{number}"))
    lane.finish(lane.start()[0], "failed")
    first = lane.start()
    assert not lane.can_start
    lane.finish(first[0], "delivered")
    assert lane.can_start


def test_what_could_not_be_made_ready_waits_again() -> None:
    feed = Feed(0, 0)
    lane = a_lane(feed)
    offer(lane, feed, a_row(1))
    lane.put_back(*lane.start())
    assert lane.waiting == 1
    assert lane.progress == 0
    assert ids(lane.start()[1]) == 1


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from(["offer", "start", "finish", "fail"])))
)
def test_nothing_is_lost_and_no_order_is_broken(steps: list[tuple[str, bool, str]]) -> None:
    """Every broadcast is finished by a delivery of its own, by a state that contains it, or by a debt; in order."""
    feed = Feed(0, 0)
    lane = a_lane(feed, queue=4, in_flight=2)
    running: list[Chain] = []
    seen: dict[str, int] = {}
    number = 0
    for key, is_complete, step in steps:
        if step == "offer":
            number += 1
            offer(lane, feed, a_row(number, key, is_complete=is_complete))
        elif step == "start" and lane.can_start:
            chain, item = lane.start()
            last = item.row.id if isinstance(item, Push) else item.last
            assert last > seen.get(chain.key[1].object_key, 0)
            seen[chain.key[1].object_key] = last
            running.append(chain)
        elif running and step in ("finish", "fail"):
            lane.finish(running.pop(0), "delivered" if step == "finish" else "failed")
        assert lane.waiting <= 4
        assert 0 <= lane.progress <= number
    while running:
        lane.finish(running.pop(), "delivered")
    while lane.can_start:
        lane.finish(lane.start()[0], "delivered")
    if lane.debt is not None:
        lane.pay(lane.debt[1])
    assert lane.is_idle
    assert lane.progress == number
