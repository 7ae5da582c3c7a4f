"""Nobody gets figures without a password; a daemon that is away is an answer, not an accident."""

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from ops.access.gate import Gate
from ops.access.record import Records
from ops.cli.account import Account, Role
from ops.health import Place, ready
from ops.metrics import metrics_of
from ops.web.application import build
from ops.web.login import Busy, Logins
from tests.support.access import Time, gate_in, stored
from tests.support.appliance import Audit, Daemons, machine

STATUS = {"state": "Online", "counters": {"inj_msgs": {"reset": 1, "uptime": 2, "lifetime": 3}}, "gauges": {}}


@pytest.fixture
async def client(daemons: Daemons, audit: Audit, tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    users = {"ana": Account("ana", Role.GUEST, (), password=stored("a secret word"))}
    async with gate_in(tmp_path, audit, Time()) as gate:
        esa = machine(daemons.run)
        place = Place(esa.role, esa.hostname, esa.dir)

        async def text() -> bytes:
            return await metrics_of(esa, place, await ready(place))

        transport = httpx2.ASGITransport(build(esa, text, Logins(users, gate)))
        async with httpx2.AsyncClient(transport=transport, base_url="https://esa.example.test") as made:
            yield made


@pytest.mark.parametrize("path", ["/xml/status", "/metrics"])
@pytest.mark.parametrize(
    "field",
    [
        "",
        "Basic",
        "Basic !!!",
        "Bearer abc",
        "Basic " + base64.b64encode(b"ana").decode(),
        "Basic " + base64.b64encode(b"ana:wrong").decode(),
        "Basic " + base64.b64encode(b"eve:a secret word").decode(),
        "Basic " + base64.b64encode(b"ana:\xff").decode(),
        "Basic " + "A" * 5000,
    ],
)
async def test_without_a_right_password_there_is_nothing(client: httpx2.AsyncClient, path: str, field: str) -> None:
    answer = await client.get(path, headers={"Authorization": field})
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert "inj_msgs" not in answer.text


async def test_a_user_gets_xml_and_metrics(client: httpx2.AsyncClient, daemons: Daemons) -> None:
    async with daemons.up(gateway_0={"status": STATUS}, delivery_queue={"status": STATUS}):
        xml = await client.get("/xml/status", auth=("ana", "a secret word"))
        metrics = await client.get("/metrics", auth=("ana", "a secret word"))
    assert xml.status_code == metrics.status_code == 200
    assert '<counter name="inj_msgs" reset="2" uptime="4" lifetime="6" />' in xml.text
    assert 'gatepost_inj_msgs_total{daemon="gateway-0"} 2.0' in metrics.text
    assert xml.headers["cache-control"] == "no-store"


async def test_with_no_daemon_there_is_a_sentence(client: httpx2.AsyncClient) -> None:
    answer = await client.get("/xml/status", auth=("ana", "a secret word"))
    assert (answer.status_code, answer.text[:16]) == (503, "no daemon answer")


async def test_who_was_not_let_in_is_in_the_audit_log_without_the_password(
    client: httpx2.AsyncClient, audit: Audit
) -> None:
    await client.get("/metrics", auth=("eve\x1b[2J", "hunter2"))
    assert "eve" in audit.lines[0]
    assert "hunter2" not in audit.lines[0]
    assert "\x1b" not in audit.lines[0]


async def test_nothing_else_is_served_and_nothing_is_written(client: httpx2.AsyncClient) -> None:
    assert (await client.get("/")).status_code == 404
    assert (await client.post("/metrics", auth=("ana", "a secret word"))).status_code == 405


async def test_who_could_not_be_checked_is_told_to_come_again(daemons: Daemons, audit: Audit, tmp_path: Path) -> None:
    """The right password got a 401 while guesses were checked."""
    gate = Gate(Records(tmp_path / "access.db"), audit.info)

    async def nothing() -> bytes:
        return b""

    class Full(Logins):
        async def user_of(self, authorization: str, source: str) -> Account | None:
            raise Busy

    transport = httpx2.ASGITransport(build(machine(daemons.run), nothing, Full({}, gate)))
    async with httpx2.AsyncClient(transport=transport, base_url="https://esa.example.test") as full:
        answer = await full.get("/metrics", auth=("ana", "a secret word"))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    assert "www-authenticate" not in answer.headers
