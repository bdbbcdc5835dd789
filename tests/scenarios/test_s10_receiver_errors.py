"""S10: the receiver's own errors pass; what concerns the hub's connection with it does not.

[R-115, R-116, R-118, R-125, R-187, R-202, R-203, R-204]
"""

import orjson
import pytest

from hub.simulator import Reply, envelope
from tests.hubs import HubOnTest, registered
from tests.scenarios import expect
from tests.scenarios.cast import messages_to, p1, p3

PUSH = {"method": "PUT", "module": "sessions", "interface": "RECEIVER", "path": "BE/BEC/101", "body": {"id": "101"}}
HTML = {"Content-Type": "text/html"}


ENVELOPES = [
    (200, envelope({"result": "REJECTED", "trace": [1.50]}, 2003, "unknown location")),
    (404, envelope(None, 2004)),
    (200, envelope(None, 3000)),
    (500, envelope(None, 3000)),
    (503, envelope(None, 3000)),
    (400, envelope(None, 2001)),
    (405, envelope(None, 2000)),
    (422, envelope(None, 2001)),
    (429, envelope(None, 3000)),
    (201, envelope(None, 1000)),
    (202, envelope(None, 1000)),
    (200, envelope(None, 2901)),
    (200, envelope(None, 4003)),
]


async def test_an_envelope_passes_with_its_http_status(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for http_status, body in ENVELOPES:
            with subtests.test(http_status=http_status, body=body):
                emsp.clear()
                content = orjson.dumps(body, option=orjson.OPT_INDENT_2)
                emsp.answer("PUT", "sessions", "RECEIVER", Reply(http_status, content))
                answer = await cpo.call(**PUSH, to="DE-TNM", headers=expect.IDS)
                expect.relayed(answer, to="BE-BEC", sender="DE-TNM", body=content, http_status=http_status)
                assert len(messages_to(emsp)) == 1


NO_ENVELOPES = [
    (Reply(401, envelope(None, 2000)), 200, 4003),
    (Reply(403, envelope(None, 2000)), 200, 4003),
    (Reply(403, b'{"detail":"Not authenticated"}'), 200, 4003),
    (Reply(407), 200, 4003),
    (Reply(502, b"<html>Bad Gateway</html>", HTML), 200, 4003),
    (Reply(503, b"", HTML), 200, 4003),
    (Reply(504, b"upstream timed out", {"Content-Type": "text/plain"}), 200, 4003),
    (Reply(500, b"Traceback", {"Content-Type": "text/plain"}), 200, 4000),
    (Reply(200, b"<html>login</html>", HTML), 200, 4000),
    (Reply(200, b""), 200, 4000),
    (Reply(204), 200, 4000),
    (Reply(200, b"[]"), 200, 4000),
    (Reply(200, b'{"status_code":"1000"}'), 200, 4000),
    (Reply(200, b'{"data":{"status_code":1000}}'), 200, 4000),
    (Reply(200, b'{"status_code":1000'), 200, 4000),
    (Reply(200, b'{"status_code":true}'), 200, 4000),
    (Reply(404, b"<html>Cannot PUT</html>", HTML), 404, 2000),
    (Reply(405, b""), 405, 2000),
    (Reply(301, envelope(), {"Location": "http://127.0.0.1:1/"}), 200, 4000),
    (Reply(302, b"", {"Location": "/login"}), 200, 4000),
    (Reply(304), 200, 4000),
]


async def test_anything_else_becomes_an_envelope_of_the_hubs(hub: HubOnTest, subtests: pytest.Subtests) -> None:
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        for reply, http_status, status_code in NO_ENVELOPES:
            with subtests.test(reply=reply):
                emsp.clear()
                emsp.answer("PUT", "sessions", "RECEIVER", reply)
                answer = await cpo.call(**PUSH, to="DE-TNM", headers=expect.IDS)
                expect.refusal(answer, status_code, to="BE-BEC", http_status=http_status)
                assert b"<html" not in answer.body
                assert len(messages_to(emsp)) == 1


async def test_a_new_token_after_a_refusal_needs_no_restart(hub: HubOnTest) -> None:
    """R-202: the connection heals with the member's PUT credentials."""
    async with registered(hub, p1(), p3()) as (cpo, emsp):
        forgotten, emsp.own_token = emsp.own_token, "another"
        expect.refusal(await cpo.call(**PUSH, to="DE-TNM", headers=expect.IDS), 4003, to="BE-BEC")
        emsp.own_token = forgotten
        expect.envelope(await emsp.update_at_hub())
        assert (await cpo.call(**PUSH, to="DE-TNM")).http_status == 201
