"""What Prometheus sees: that it can be read, and that it counts what happened."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from itertools import product
from typing import Any, get_args

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from hub.lane import Outcome
from hub.metrics import BUCKETS, Metrics
from hub.simulator import SimulatedPlatform
from hub.simulator.objects import location, session
from hub.trace import Trace
from routing.pulling import MODULES
from tests.hubs import HubOnTest, registered
from tests.waiting import until


def samples(text: str) -> list[Sample]:
    """Parse the text format."""
    return [sample for family in text_string_to_metric_families(text) for sample in family.samples]


async def scrape(hub: HubOnTest) -> list[Sample]:
    """Read /metrics as Prometheus does."""
    async with aiohttp.ClientSession() as session, session.get(f"{hub.ops_url}/metrics") as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/plain; version=0.0.4"
        return samples(await response.text())


def value(found: Iterable[Sample], name: str, /, **labels: str) -> float | None:
    """Give the one value with these labels."""
    values = [each.value for each in found if each.name == name and labels.items() <= each.labels.items()]
    assert len(values) <= 1, (name, labels)
    return values[0] if values else None


def by_label(found: Iterable[Sample], name: str, label: str) -> dict[str, float]:
    return {each.labels[label]: each.value for each in found if each.name == name}


def a_trace(**facts: Any) -> Trace:
    trace = Trace("GET")
    for name, fact in facts.items():
        setattr(trace, name, fact)
    return trace


async def test_a_hub_that_has_done_nothing_can_be_read(hub: HubOnTest) -> None:
    found = await scrape(hub)
    assert value(found, "ocpi_hub_build_info") == 1
    assert value(found, "ocpi_hub_in_flight") == 0
    assert value(found, "ocpi_hub_connections") == 0
    assert value(found, "ocpi_hub_database_up") == 1
    assert value(found, "ocpi_hub_routing_generation") == hub.hub.live.table.generation
    assert not [each for each in found if each.name.startswith("ocpi_hub_platform")]


async def test_requests_are_counted_by_what_became_of_them(hub: HubOnTest) -> None:
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(hub, *platforms) as (cpo, emsp):
        for _ in range(3):
            await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
        await emsp.call("GET", "locations", "SENDER", to="XX-NOT")
        await emsp.call("GET", "locations", "SENDER", "nothing", to="BE-BEC")
        await emsp.call("GET", "locations", "SENDER", to="BE-BEC", headers={"Authorization": "Token nobody"})
        cpo.misbehave("html")
        await emsp.call("GET", "tariffs", "SENDER", to="BE-BEC")
        cpo.misbehave("close")
        await emsp.call("GET", "tariffs", "SENDER", to="BE-BEC")
        cpo.misbehave("silent")
        await emsp.call("GET", "tariffs", "SENDER", to="BE-BEC")
        await cpo.stop()
        await emsp.call("GET", "tariffs", "SENDER", to="BE-BEC")
        await cpo.start()

        found = await scrape(hub)
        counted = {
            tuple(each.labels[name] for name in ("module", "method", "scenario", "outcome")): each.value
            for each in found
            if each.name == "ocpi_hub_requests_total"
        }
        assert counted == {
            ("versions", "GET", "configuration", "ok"): 4,  # the details too
            ("credentials", "POST", "configuration", "ok"): 2,
            ("locations", "GET", "direct", "ok"): 3,
            ("locations", "GET", "direct", "4001"): 1,
            ("locations", "GET", "direct", "receiver_error"): 1,
            ("unknown", "GET", "none", "refused"): 1,
            ("tariffs", "GET", "direct", "4003"): 2,  # a proxy's 502; nobody there
            ("tariffs", "GET", "direct", "4002"): 2,  # closed; silent
        }
        assert value(found, "ocpi_hub_own_seconds_count", module="locations") == 5
        assert value(found, "ocpi_hub_receiver_seconds_count", module="locations") == 4
        assert value(found, "ocpi_hub_receiver_seconds_bucket", module="tariffs", le="0.5") == 3
        assert value(found, "ocpi_hub_receiver_seconds_bucket", module="tariffs", le="+Inf") == 4


async def test_each_platform_has_its_own_numbers(hub: HubOnTest) -> None:
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(hub, *platforms) as (cpo, emsp):
        await hub.invite("FR-NEW:CPO", name="New")
        before = await scrape(hub)
        assert by_label(before, "ocpi_hub_platform_registered", "name") == {"Bec": 1, "Tnm": 1, "New": 0}
        assert by_label(before, "ocpi_hub_platform_up", "name") == {}

        await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
        await emsp.call("GET", "locations", "SENDER", "nothing", to="BE-BEC")
        found = await scrape(hub)
        assert value(found, "ocpi_hub_platform_sent_total", name="Bec") == 2
        assert value(found, "ocpi_hub_platform_errors_total", name="Bec") == 0
        assert value(found, "ocpi_hub_platform_up", name="Bec") == 1
        assert value(found, "ocpi_hub_platform_received_total", name="Tnm") == 5
        assert value(found, "ocpi_hub_platform_in_flight", name="Bec") == 0
        seen = value(found, "ocpi_hub_platform_last_seen_timestamp_seconds", name="Bec")
        assert seen is not None
        assert seen > 1.7e9

        cpo.misbehave("close")
        await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
        found = await scrape(hub)
        assert value(found, "ocpi_hub_platform_errors_total", name="Bec") == 1
        assert value(found, "ocpi_hub_platform_up", name="Bec") == 0
        assert value(found, "ocpi_hub_platform_last_seen_timestamp_seconds", name="Bec") == seen
        cpo.misbehave(None)
        await emsp.call("GET", "locations", "SENDER", to="BE-BEC")
        assert value(await scrape(hub), "ocpi_hub_platform_up", name="Bec") == 1


@pytest.mark.parametrize("kind", ["html", "unauthorized", "garbage", "close"])
async def test_an_answer_that_cannot_be_used_is_an_error_of_the_platform(hub: HubOnTest, kind: Any) -> None:
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(hub, *platforms) as (cpo, emsp):
        cpo.misbehave(kind)
        assert (await emsp.call("GET", "locations", "SENDER", to="BE-BEC")).status_code in (4000, 4002, 4003)
        found = await scrape(hub)
        assert value(found, "ocpi_hub_platform_sent_total", name="Bec") == 1
        assert value(found, "ocpi_hub_platform_errors_total", name="Bec") == 1


async def test_parties_are_counted_by_role_and_status(hub: HubOnTest) -> None:
    async with registered(hub, SimulatedPlatform("Two", [("BE-BEC", "CPO"), ("BE-TWO", "CPO")])):
        await hub.invite("DE-TNM:EMSP")
        found = await scrape(hub)
        parties = {
            (each.labels["role"], each.labels["status"]): each.value
            for each in found
            if each.name == "ocpi_hub_parties"
        }
        assert parties == {("CPO", "CONNECTED"): 2, ("EMSP", "PLANNED"): 1}


async def test_requests_under_way_and_connections_are_seen(hub: HubOnTest) -> None:
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(hub, *platforms) as (cpo, emsp):
        cpo.misbehave("slow", seconds=0.4)
        calls = [asyncio.create_task(emsp.call("GET", "locations", "SENDER", to="BE-BEC")) for _ in range(3)]
        await cpo.wait_for(3)
        found = await scrape(hub)
        assert value(found, "ocpi_hub_in_flight") == 3
        assert value(found, "ocpi_hub_platform_in_flight", name="Bec") == 3
        assert (value(found, "ocpi_hub_connections") or 0) >= 3
        await asyncio.gather(*calls)
        assert value(await scrape(hub), "ocpi_hub_in_flight") == 0


async def test_a_blocked_event_loop_is_seen_once_at_its_worst(hub: HubOnTest) -> None:
    import time

    await until(lambda: hub.hub.metrics.loop_lag_max_seconds, "the hub has begun to measure")
    time.sleep(0.5)  # noqa: ASYNC251  (this is what is measured)
    worst = await until(lambda: hub.hub.metrics.loop_lag_max_seconds > 0.2 and hub.hub.metrics.loop_lag_max_seconds)
    found = await scrape(hub)
    assert value(found, "ocpi_hub_event_loop_lag_max_seconds") == worst
    await until(lambda: hub.hub.metrics.loop_lag_seconds < 0.1)
    await scrape(hub)
    assert (value(await scrape(hub), "ocpi_hub_event_loop_lag_max_seconds") or 0) < 0.2


def test_a_histogram_adds_up() -> None:
    metrics = Metrics("1")
    for seconds in (0.0001, 0.0005, 0.003, 7.0, 100.0):
        metrics.count(a_trace(operation="cdrs.list", seconds=seconds))
    found = samples(metrics.render().decode())
    buckets = by_label(found, "ocpi_hub_own_seconds_bucket", "le")
    assert list(buckets) == [*map(str, BUCKETS), "+Inf"]
    assert list(buckets.values()) == sorted(buckets.values())
    assert (buckets["0.0005"], buckets["0.005"], buckets["10.0"], buckets["+Inf"]) == (2, 3, 4, 5)
    assert value(found, "ocpi_hub_own_seconds_count") == 5
    assert value(found, "ocpi_hub_own_seconds_sum") == pytest.approx(107.0036)


async def test_names_of_platforms_are_escaped(hub: HubOnTest) -> None:
    await hub.invite("BE-BEC:CPO", name='quote " slash \\ line\nend')
    found = await scrape(hub)
    assert by_label(found, "ocpi_hub_platform_registered", "name") == {'quote " slash \\ line\nend': 0}


async def test_methods_that_nobody_knows_make_no_series_of_their_own(hub: HubOnTest) -> None:
    """Whoever has no token must not be able to fill the memory."""
    for method in ("GET", "BREW", "X" * 30, "PROPFIND", "MKCOL"):
        async with aiohttp.ClientSession() as session:
            try:
                async with session.request(method, f"{hub.url}/ocpi/versions"):
                    pass
            except aiohttp.ClientError:
                pass
    found = await scrape(hub)
    methods = {each.labels["method"] for each in found if each.name == "ocpi_hub_requests_total"}
    assert methods <= {"GET", "POST", "PUT", "PATCH", "DELETE", "OTHER"}


async def test_what_is_shared_is_counted_from_zero_on(hub: HubOnTest) -> None:
    """Prometheus' increase() does not see the first of what appears late."""
    found = await scrape(hub)
    assert by_label(found, "ocpi_hub_deliveries_total", "outcome") == dict.fromkeys(get_args(Outcome), 0)
    rounds = {(each.labels["module"], each.labels["outcome"]) for each in found if "pull_rounds_total" in each.name}
    assert rounds == set(product(MODULES, ("finished", "failed")))
    assert value(found, "ocpi_hub_mirror_dropped_total") == 0
    assert value(found, "ocpi_hub_mirror_waiting") == 0


async def test_the_mirror_tells_how_much_it_holds_and_what_it_lost(hub: HubOnTest) -> None:
    platforms = SimulatedPlatform("Bec", [("BE-BEC", "CPO")]), SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])
    async with registered(hub, *platforms) as (cpo, _):
        for id in ("L1", "L2"):
            body = location("BE-BEC", id)
            await cpo.call("PUT", "locations", "RECEIVER", f"BE/BEC/{id}", to="NL-HUB", body=body)
        await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/S1", to="DE-TNM", body=session("BE-BEC", "S1"))
        await hub.hub.mirror.settled()
        await hub.hub.mirror.count_listed()
        assert by_label(await scrape(hub), "ocpi_hub_mirror_objects", "module") == {"locations": 2, "sessions": 1}
        hub.hub.mirror.dropped += 3
        assert value(await scrape(hub), "ocpi_hub_mirror_dropped_total") == 3


async def test_a_platform_whose_lists_cannot_be_read_is_seen(start_hub: Callable[..., Awaitable[HubOnTest]]) -> None:
    hub = await start_hub(pulls=True)
    cpo = SimulatedPlatform("Bec", [("BE-BEC", "CPO")])
    async with cpo, registered(hub, SimulatedPlatform("Tnm", [("DE-TNM", "EMSP")])):
        token = await hub.invite("BE-BEC:CPO", name="Bec")
        cpo.misbehave("html")
        await cpo.register_at(hub.versions_url, token)

        await until(lambda: any(hub.hub.metrics.pull_failures().values()))
        failures = by_label(await scrape(hub), "ocpi_hub_pull_failures", "name")
        assert failures["Bec"] >= 1
        assert failures["Tnm"] == 0
