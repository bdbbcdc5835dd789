"""`ocpi-hub demo`: what a newcomer sees first is true, and the whole of it."""

import io
import re
from typing import Any

import pytest
from rich.console import Console

from hub.demo.stage import Show
from tests.commands import environment, run

HOP = {"operation": "locations.list", "method": "GET", "status_code": 1000, "ms": 3.0}


async def test_the_demo_shows_a_charge_and_what_a_hub_shares() -> None:
    done = await run("demo", env=environment())
    assert done.code == 0, done
    for party in ("DE-VOL", "BE-ZAP", "SE-NOR"):  # one request of the CPO's, a push to each eMSP
        assert re.search(rf"hub -> {party} +PUT +locations of NL-AMB +1000", done.out), done
    assert re.search(r"BE-ZAP -> hub +GET +locations.list +1000", done.out), done
    assert re.search(r"X-Total-Count: \d+, on this page .*NL-AMB LOC2", done.out), done
    assert re.search(r"BE-ZAP -> hub -> NL-AMB +POST +commands.start_session +1000", done.out), done
    assert re.search(r"NL-AMB -> hub -> BE-ZAP +POST +commands.command_result +1000", done.out), done
    offline, refused, connected = (
        done.out.index(words) for words in ("SE-NOR is OFFLINE", "4003", "SE-NOR is CONNECTED")
    )
    assert offline < refused < connected
    last = done.out.strip().splitlines()[-1]
    steps = len(re.findall(r"^\S", done.out, re.MULTILINE)) - 2  # all headings but "Setting up", and "Done"
    hops = len(re.findall(r"^  \S+ -> hub ", done.out, re.MULTILINE))
    assert last.startswith(f"Done: {steps} steps, {hops} requests to the hub, 3 deliveries of a broadcast, "), done


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ({"from": "BE-ZAP", "to": "NL-HUB", "scenario": "get_all"}, "BE-ZAP -> hub  "),
        ({"from": "BE-ZAP", "to": "NL-AMB", "scenario": "direct"}, "BE-ZAP -> hub -> NL-AMB"),
        ({"from": "BE-ZAP", "scenario": "open"}, "BE-ZAP -> hub  "),
        ({"platform": 4, "scenario": "configuration"}, "SE-NOR -> hub  "),
    ],
)
def test_a_hop_names_who_asked_whom(line: dict[str, Any], shown: str) -> None:
    written = io.StringIO()
    show = Show(Console(file=written, width=200), names={4: "SE-NOR"})
    show.hop(HOP | line)
    assert written.getvalue().startswith(f"  {shown}")
    assert show.hops == 1
