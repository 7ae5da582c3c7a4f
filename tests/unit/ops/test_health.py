"""What makes a machine unready, what only degrades it, and that no check waits for ever."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from core.control import ControlServer
from ops import health
from ops.health import DEGRADED, FAILED, OK, Check, Place
from tests.support.service import running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    (tmp_path / "run").mkdir()
    (tmp_path / "spool").mkdir()
    return Place("esa", "esa.example.test", tmp_path, reserve_percent=0.0)


@asynccontextmanager
async def daemons(
    place: Place, *more: str, without: str = "", problem: str = "", **said: Mapping[str, Any]
) -> AsyncIterator[None]:
    """Run control sockets that answer as the daemons of a machine do; `said` is what some say in place of that."""
    names = {path.stem for path in place.sockets()} | set(more)

    async def probe(_: dict[str, Any]) -> dict[str, Any]:
        return {"problem": problem}

    async with AsyncExitStack() as stack:
        for name in names - {without}:
            document = {"state": "ready", "pid": 7, "concerns": [], **said.get(name.replace("-", "_"), {})}

            async def answer(_: dict[str, Any], document: dict[str, Any] = document) -> dict[str, Any]:
                return document

            verbs = {"health": answer, "dns_probe": probe, "database_probe": probe}
            server = ControlServer(place.dir / "run" / f"{name}.sock", verbs)
            server.claim()
            await stack.enter_async_context(running(server))
        yield


def concern(check: str, grave: bool) -> dict[str, Any]:
    return {"concerns": [{"check": check, "grave": grave, "text": "why"}]}


async def test_a_machine_whose_daemons_are_ready_is_ready(place: Place) -> None:
    async with daemons(place):
        report = await health.ready(place)
    assert report.state == OK
    assert [check.check for check in report.checks] == [
        *("gateway-0", "cpq-listener", "delivery-queue", "tunnel-client", "console", "web", "disk", "dns")
    ]


async def test_a_daemon_that_does_not_run_is_named_and_the_machine_is_neither_alive_nor_ready(place: Place) -> None:
    async with daemons(place, without="delivery-queue"):
        for report in (await health.alive(place), await health.ready(place)):
            assert report.state == FAILED
            assert [one for one in report.checks if one.state != OK] == [
                Check("delivery-queue", FAILED, "does not run")
            ]


async def test_a_daemon_left_out_is_not_missed(place: Place) -> None:
    place = Place("esa", place.hostname, place.dir, 0.0, frozenset({"tunnel-client"}))
    async with daemons(place, without="tunnel-client"):
        assert (await health.ready(place)).state == OK


async def test_a_gateway_that_never_came_is_missed(place: Place) -> None:
    place = Place("esa", place.hostname, place.dir, 0.0, gateways=2)
    async with daemons(place, without="gateway-1"):
        report = await health.alive(place)
    assert [one.check for one in report.checks if one.state == FAILED] == ["gateway-1"]


async def test_every_gateway_that_ever_ran_counts(place: Place) -> None:
    (place.dir / "run" / "gateway-1.sock").touch()
    async with daemons(place, without="gateway-1"):
        report = await health.alive(place)
    assert [(one.check, one.text) for one in report.checks if one.state != OK] == [("gateway-1", "does not run")]


async def test_a_daemon_that_starts_is_alive_and_not_ready(place: Place) -> None:
    async with daemons(place, gateway_0={"state": "starting", "waiting_for": ["journal"]}):
        assert (await health.alive(place)).state == OK
        report = await health.ready(place)
    assert Check("gateway-0", FAILED, "starting, waits for journal") in report.checks


@pytest.mark.parametrize(("grave", "state"), [(True, FAILED), (False, DEGRADED)])
async def test_what_daemons_say_of_themselves_counts_once_and_by_its_weight(
    place: Place, grave: bool, state: str
) -> None:
    both = concern("spool", grave)
    async with daemons(place, "gateway-1", gateway_0=both, gateway_1=both):
        report = await health.ready(place)
        assert (await health.alive(place)).state == OK
    assert [one for one in report.checks if one.state != OK] == [Check("spool", state, "why")]
    assert report.state == state


async def test_a_disk_below_its_reserve_makes_a_machine_unready(place: Place) -> None:
    full = Place("esa", place.hostname, place.dir, reserve_percent=10_000.0)
    assert (await health.disk(place)).state == OK
    found = await health.disk(full)
    assert found.state == FAILED
    assert "the reserve is" in found.text
    gone = await health.disk(Place("esa", "", place.dir / "nowhere"))
    assert (gone.state, gone.text) == (
        FAILED,
        "the folder of the machine cannot be looked at: No such file or directory",
    )


async def test_silent_name_servers_degrade_a_machine_and_a_silent_database_fails_a_bastion(place: Place) -> None:
    async with daemons(place, problem="A esa.example.test: Timeout"):
        report = await health.ready(place)
        assert (report.state, report.checks[-1]) == (DEGRADED, Check("dns", DEGRADED, "A esa.example.test: Timeout"))
    bastion = Place("bastion", "b.example.test", place.dir / "spool", 0.0)
    async with daemons(bastion, problem="the database does not answer"):
        report = await health.ready(bastion)
        assert report.checks[-1] == Check("database", FAILED, "the database does not answer")


async def test_a_daemon_that_hangs_is_waited_for_no_longer_than_the_bound(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_ASK_S", 0.2)
    monkeypatch.setattr(health, "_PROBE_S", 0.2)
    path = place.dir / "run" / "gateway-0.sock"

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(30)
        writer.close()

    async with daemons(place, without="gateway-0"), asyncio.timeout(10):
        server = await asyncio.start_unix_server(hang, path)
        report = await health.ready(place)
        server.close()
    assert Check("gateway-0", FAILED, "gateway-0 did not answer within 0.2 s") in report.checks
    assert report.checks[-1].text == "no answer within 0.2 s"


async def test_the_document_has_a_row_for_each_daemon(place: Place) -> None:
    async with daemons(place, web={"uptime_s": 3.5, "loop_lag_s": 0.25}, without="console"):
        document = (await health.alive(place)).document()
    rows = {row["daemon"]: row for row in document["daemons"]}
    assert rows["web"] == {"daemon": "web", "state": "ready", "pid": 7, "uptime_s": 3.5, "loop_lag_s": 0.25}
    assert rows["console"] == {"daemon": "console", "state": "down"}
    assert document["state"] == FAILED
