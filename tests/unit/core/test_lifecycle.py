"""Services of one daemon: ready, stopping, tasks that belong to them, and the names of what is in hand."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from core.lifecycle import Activities, Scope, Signals, run_service

Body = Callable[[Scope], Awaitable[None]]


class Sample:
    name = "sample"

    def __init__(self, body: Body) -> None:
        self._body = body

    async def run(self, scope: Scope) -> None:
        await self._body(scope)


async def run(body: Body, signals: Signals | None = None) -> Signals:
    signals = signals or Signals(["sample"])
    async with asyncio.timeout(30):
        await run_service(Sample(body), signals, Activities())
    return signals


async def test_a_service_that_returns_takes_its_tasks_with_it() -> None:
    ended = []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")

    async def body(scope: Scope) -> None:
        scope.start(forever(), name="forever")
        await asyncio.sleep(0)

    signals = await run(body)
    assert ended == ["forever"]
    assert signals.waiting_for() == []


async def test_a_task_that_fails_ends_its_service() -> None:
    async def fails() -> None:
        raise ValueError("broken")

    async def body(scope: Scope) -> None:
        scope.start(fails(), name="fails")
        await asyncio.Event().wait()

    with pytest.raises(ExceptionGroup) as caught:
        await run(body)
    assert [str(one) for one in caught.value.exceptions] == ["broken"]


async def test_a_service_that_fails_is_not_ready() -> None:
    async def body(_: Scope) -> None:
        raise ValueError("no store")

    signals = Signals(["sample", "other"])
    with pytest.raises(ExceptionGroup, match="unhandled"):
        await run(body, signals)
    assert signals.waiting_for() == ["sample", "other"]


async def test_a_pause_ends_early_when_the_daemon_stops() -> None:
    went_on = []

    async def body(scope: Scope) -> None:
        went_on.append(await scope.pause(0))
        asyncio.get_running_loop().call_soon(scope.stopping.set)
        went_on.append(await scope.pause(3600))

    await run(body)
    assert went_on == [True, False]


async def test_cancel_ends_only_what_still_runs() -> None:
    async def quick() -> str:
        return "done"

    async def body(scope: Scope) -> None:
        first = scope.start(quick(), name="quick")
        assert await first == "done"
        second = scope.start(asyncio.Event().wait(), name="slow")
        scope.cancel()
        await asyncio.wait([second])
        assert second.cancelled()
        assert second.get_name() == "sample: slow"

    await run(body)


def test_what_is_in_hand_is_named_with_its_count() -> None:
    work = Activities()
    with work.activity("SMTP connection"), work.activity("import"), work.activity("SMTP connection"):
        assert work.names() == ["SMTP connection (2)", "import"]
    assert work.names() == []


def test_an_activity_that_fails_is_no_longer_in_hand() -> None:
    work = Activities()
    with pytest.raises(ValueError, match="x"), work.activity("import"):
        raise ValueError("x")
    assert work.names() == []
