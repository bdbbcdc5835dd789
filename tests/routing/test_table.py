"""The routing table: who presents which token, and who holds which party."""

from parties.model import Access
from routing.table import EMPTY, make_table
from tests.routing.cast import a_platform, a_table

P1 = a_platform("BE-BEC:CPO", "be-bec:EMSP", "BE-OLD:CPO/dropped", id=1)
P2 = a_platform("BE-BEC:PTP", id=2)


def test_a_party_is_held_by_every_platform_that_names_it_in_any_letters() -> None:
    table = a_table(P1, P2)

    assert table.holders[("BE", "BEC")] == (P1, P2)
    assert table.holders[("BE", "OLD")] == (P1,)
    assert table.platforms == {1: P1, 2: P2}


def test_the_first_digest_known_opens() -> None:
    access = {b"new": Access(P1, "current"), b"old": Access(P1, "previous"), b"x": Access(P2, "invitation")}
    table = make_table(1, [P1, P2], access)

    assert table.authenticate([b"unknown", b"old", b"x"]) == Access(P1, "previous")
    assert table.authenticate([b"unknown"]) is None
    assert table.authenticate([]) is None


def test_a_platform_with_a_previous_token_is_known_as_such() -> None:
    """T-006."""
    access = {b"new": Access(P1, "current"), b"old": Access(P1, "previous"), b"x": Access(P2, "current")}

    assert make_table(1, [P1, P2], access).replaced == {1}


def test_the_empty_table_opens_nothing() -> None:
    assert EMPTY.authenticate([b"x"]) is None
    assert (EMPTY.platforms, EMPTY.holders, EMPTY.replaced) == ({}, {}, frozenset())
