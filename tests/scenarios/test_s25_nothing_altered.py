"""S25 (i): between two parties of one version not a byte of a body changes.

[R-007, R-016, R-113, R-287, T-038, T-039]
"""

import orjson
import pytest

from hub.simulator import Reply
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import p1, p3

PATCH = '{"status":null,"x_vendor":{"a":4.00},"note":"Köln","last_updated":"2019-06-24T12:39:09"}'.encode()


async def test_an_evses_patch_arrives_byte_for_byte(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await cpo.call(
            "PATCH", "locations", "RECEIVER", "BE/BEC/LOC1/3256", to="DE-TNM", headers=expect.IDS, body=PATCH
        )
        (received,) = emsp.received
        assert received.method == "PATCH"
        expect.path(received, emsp, "locations", "RECEIVER", "BE/BEC/LOC1/3256")
        expect.forwarded(received, emsp, to="DE-TNM", sender="BE-BEC")
        assert received.body == PATCH
        assert received.headers["Content-Type"] == "application/json"


BODIES = [
    b' \r\n\t{"a" : 1}\r\n ',
    b'{"n":12345678901234567890123456789.0000,"e":1e300,"m":-0.0,"x":1E+2}',
    b'{"a":1,"a":2}',
    b'{"z":1,"a":2,"m":{"y":[],"x":null}}',
    b'{"u":"\\u00e9\\/\\ud83d\\ude00","v":"\xc3\xa9\xf0\x9f\x98\x80"}',
    b"[]",
    b"null",
    b'"text"',
    b'{"a":"' + b"x" * 20_000 + b'"}',
    b'{"deep":' + b"[" * 100 + b"]" * 100 + b"}",
]


async def test_whatever_is_json_passes_as_it_is_in_both_directions(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for body in BODIES:
            with subtests.test(body[:40]):
                emsp.clear()
                answered = b'{"data":' + body + b',"status_code":1000,"timestamp":"2019-06-24T12:39:09"}\n'
                emsp.answer("PUT", "sessions", "RECEIVER", Reply(body=answered))
                answer = await cpo.call(
                    "PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=expect.IDS, body=body
                )
                assert emsp.received[0].body == body
                expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=answered)


async def test_the_content_type_of_the_sender_is_kept(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        headers = expect.IDS | {"Content-Type": "application/json; charset=UTF-8"}
        await cpo.call("PATCH", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers=headers, body=PATCH)
        await cpo.call(
            "PATCH", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", headers={"Content-Type": None}, body=PATCH
        )
        kept, filled_in = emsp.received
        assert kept.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert filled_in.headers["Content-Type"] == "application/json"


async def test_a_delete_goes_without_a_body(hub: HubOnTest) -> None:
    """R-280, T-044."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        await cpo.call("DELETE", "tariffs", "RECEIVER", "BE/BEC/T1", to="DE-TNM", headers=expect.IDS)
        (received,) = emsp.received
        assert (received.method, received.body) == ("DELETE", b"")
        assert "Content-Type" not in received.headers
        assert "Transfer-Encoding" not in received.headers


async def test_ten_thousand_odd_numbers_survive(hub: HubOnTest) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        body = b'{"n":[' + b",".join(b"%d.%04d0" % (n, n) for n in range(10_000)) + b"]}"
        assert orjson.loads(body)
        await cpo.call("PUT", "sessions", "RECEIVER", "BE/BEC/1", to="DE-TNM", body=body)
        assert emsp.received[0].body == body


async def test_a_byte_order_mark_is_all_that_is_ever_left_out(hub: HubOnTest) -> None:
    """T-040: strip it, in both directions."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        envelope = b'{"status_code":1000,"timestamp":"2019-06-24T12:39:09Z"}'
        emsp.answer("PATCH", "locations", "RECEIVER", Reply(200, b"\xef\xbb\xbf" + envelope))
        answer = await cpo.call(
            "PATCH", "locations", "RECEIVER", "BE/BEC/LOC1", to="DE-TNM", body=b"\xef\xbb\xbf" + PATCH
        )
        assert emsp.received[0].body == PATCH
        assert answer.body == envelope
