"""The health port: what it answers, that it needs no log-in, and that many askers make one look."""

import asyncio
from pathlib import Path

import httpx2
import pytest

from ops.health import DEGRADED, FAILED, OK, Check, Place, Report
from ops.web.health import FRESH_S, Recent, build

PLACE = Place("esa", "esa.example.test", Path("/nowhere"))


def client(*checks: Check, fault: str = "") -> httpx2.AsyncClient:
    async def look(_: Place) -> Report:
        if fault:
            raise RuntimeError(fault)
        return Report((), checks)

    async def metrics(report: Report) -> bytes:
        return f"gatepost_ready {int(report.state != FAILED)}\n".encode()

    application = build(lambda: PLACE, metrics, look)
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(application), base_url="http://127.0.0.1:9825")


async def test_alive_is_whoever_answers() -> None:
    async with client(fault="the rest is broken") as one:
        answer = await one.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"state": "ok"})


@pytest.mark.parametrize(("state", "status"), [(OK, 200), (DEGRADED, 200), (FAILED, 503)])
async def test_readiness_has_its_reasons(state: str, status: int) -> None:
    async with client(Check("web", OK), Check("dns", state, "Timeout")) as one:
        answer = await one.get("/readyz")
    reasons = [] if state == OK else [{"check": "dns", "state": state, "text": "Timeout"}]
    assert (answer.status_code, answer.json()) == (
        status,
        {"ready": state != FAILED, "state": state, "reasons": reasons},
    )


async def test_metrics_are_text_for_a_collector() -> None:
    async with client(Check("dns", FAILED)) as one:
        answer = await one.get("/metrics")
        assert answer.text == "gatepost_ready 0\n"
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        assert (await one.get("/")).status_code == 404
        assert (await one.post("/metrics")).status_code == 405
        assert (await one.get("/xml/status")).status_code == 404


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("rebound.test", 421),
        ("rebound.test:9825", 421),
        ("localhost.rebound.test", 421),
        ("127.0.0.1.rebound.test:9825", 421),
        ("localhost:9825", 200),
        ("ESA.example.test:9825", 200),
        ("127.0.0.1:9825", 200),
        ("[::1]:9825", 200),
    ],
)
async def test_a_page_whose_name_was_turned_to_loopback_could_read_the_metrics(host: str, status: int) -> None:
    async with client() as one:
        assert (await one.get("/metrics", headers={"Host": host})).status_code == status


async def test_beyond_loopback_any_name_of_the_machine_will_do() -> None:
    async with client() as one:
        assert (await one.get("http://192.0.2.1:9825/metrics", headers={"Host": "esa1"})).status_code == 200


async def test_what_went_wrong_inside_is_not_shown() -> None:
    async with client(fault="a path and a password") as one:
        answer = await one.get("/readyz")
    assert answer.status_code == 500
    assert "password" not in answer.text
    assert "incident" in answer.text


async def test_many_who_ask_at_a_time_make_one_look() -> None:
    looks, time = [], [0.0]

    async def look() -> int:
        looks.append(1)
        await asyncio.sleep(0)
        return len(looks)

    recent = Recent(look, now=lambda: time[0])
    assert set(await asyncio.gather(*(recent.get() for _ in range(50)))) == {1}
    time[0] = FRESH_S
    assert await recent.get() == 2


async def test_a_look_that_fails_is_not_remembered() -> None:
    found = [RuntimeError(), 7]

    async def look() -> object:
        one = found.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    recent = Recent(look)
    with pytest.raises(RuntimeError):
        await recent.get()
    assert await recent.get() == 7
