"""A tiny soak, so that every change meets one: a few platforms, both hubs, one kill -9."""

from tests.soak.soak import Soak, Wish


async def test_a_small_soak_ends_with_every_copy_true(database_url: str) -> None:
    soak = Soak(Wish(seconds=10, platforms=12, seed=3, rate=20), database_url, print)
    await soak.run()
    failed = {check.name: check.problems for check in soak.checks if not check.passed and "flat" not in check.name}
    assert not failed
    assert soak.disturbances.done["kill"] == 1
