"""Commands are run as the batch form does, against fake daemons behind real control sockets."""

import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ops.cli.account import LOCAL, Caller
from ops.cli.commands import registry
from ops.cli.execute import Executor, Result, split
from ops.cli.registry import Call
from tests.support.appliance import Audit, Daemons, machine

Runner = Callable[..., Awaitable[Result]]


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def daemons(tmp_path: Path) -> Daemons:
    return Daemons(tmp_path / "run")


@pytest.fixture
def audit() -> Audit:
    return Audit()


@pytest.fixture
def run(daemons: Daemons, audit: Audit) -> Runner:
    async def runner(line: str, *, role: str = "esa", caller: Caller = LOCAL, width: int = 0, **more: Any) -> Result:
        stdin = more.pop("stdin", b"")

        async def read() -> bytes:
            return bytes(stdin)

        appliance = machine(daemons.run, role, **more)
        executor = Executor(registry(appliance.schema), appliance, audit)
        return await executor.batch(Call(executor.appliance, caller, executor.registry, read), split(line), width)

    return runner
