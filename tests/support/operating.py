"""Operator commands on a machine whose configuration can be edited: in batch form and as a dialogue."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from core.alert.config import alerting_of
from core.alert.direct import DirectPath
from core.alert.record import AlertRecords
from core.dns import Resolver
from ops.cli.account import LOCAL, Caller
from ops.cli.commands import registry
from ops.cli.execute import Executor, Result, split
from ops.cli.registry import Call
from ops.cli.session import Session
from tests.support.appliance import Audit
from tests.support.editing import TEXT, editable, write


class Screen:
    """A screen without colours on which the answers are already typed; keeps all that stood on it."""

    def __init__(self, *lines: str, width: int = 0) -> None:
        self.width = width
        self.lines = list(lines)
        self.shown = ""

    def write(self, text: str) -> None:
        self.shown += text

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        if not self.lines:
            raise EOFError
        line = self.lines.pop(0)
        self.shown += f"{prompt}{line}\n"
        return line

    async def command(self, prompt: str) -> str:
        if not self.lines:
            raise EOFError
        return await self.read(prompt)


def direct(tables: Mapping[str, Any]) -> DirectPath:
    """Give the way of mail past the queue, without name servers."""
    resolver = Resolver(["127.0.0.1:9"], timeout_s=0.2)
    return DirectPath(alerting_of(tables).alerts, hostname="esa.example.test", resolver=resolver)


class Operating:
    """One machine in `folder`, and what operators do on it."""

    def __init__(self, folder: Path, text: str = TEXT, **more: Any) -> None:
        self.audit = Audit()
        records = AlertRecords(folder / "state" / "alerts")
        self.appliance = editable(write(folder, text), **{"direct": direct, "alert_records": records, **more})
        self.executor = Executor(registry(self.appliance.schema), self.appliance, self.audit)

    def tables(self) -> Any:
        """Give the pending configuration."""
        return self.appliance.editing("local").tables()

    async def ran(self, line: str, caller: Caller = LOCAL, stdin: bytes = b"") -> Result:
        """Run one line in batch form."""

        async def read() -> bytes:
            return stdin

        return await self.executor.batch(Call(self.appliance, caller, self.executor.registry, read), split(line))

    async def talked(self, *lines: str, caller: Caller = LOCAL, width: int = 0, leave: str = "exit") -> str:
        """Type lines into the console, then `exit` (or end the input); gives all that stood on the screen."""
        screen = Screen(*lines, *leave.split(), width=width)
        await Session(self.executor, caller, screen, idle_s=30).run()
        assert screen.lines == []
        return screen.shown
