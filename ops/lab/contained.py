"""A lab whose machines are containers (compose.yaml): its folders are the machines' volumes, mounted side by side.

`gatepost lab make` makes the folders before the machines start, `gatepost lab join` makes a lab of machines that run.
A machine's daemons are stopped and started through the control socket of its `gatepost serve`, which stays: process 1
of a container cannot be ended from another container, and `docker compose stop` does that from outside.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.control import call
from core.errors import EX_TEMPFAIL, EX_USAGE, GatepostError
from ops.lab.build import read_facts, save_facts
from ops.lab.join import join, run_gatepost
from ops.lab.layout import CONTAINERS, Layout
from ops.lab.machines import make_machines
from ops.lab.support import certify

_PATIENCE_S, _ASK_EVERY_S = 90.0, 0.2
Report = Callable[[str], None]


def make(directory: Path, database: str, report: Report) -> None:
    """Make the machines' folders, the zone and lab.json; a lab that is there stays as it is."""
    layout = Layout.containers(directory)
    if (layout.dir / "lab.json").exists():
        report(f"{layout.dir} holds a lab already; it stays")
        return
    save_facts(layout, make_machines(layout, database))
    report(f"machines are made: {', '.join(layout.machines)}")


class Contained:
    """A lab in containers that is up."""

    def __init__(self, directory: Path) -> None:
        self.facts: dict[str, Any] = read_facts(directory)
        if self.facts.get("place") != CONTAINERS:
            raise GatepostError(f"{directory} holds a lab of this machine; use: gatepost lab demo", EX_USAGE)
        self.layout = Layout.containers(directory)

    async def join(self, report: Report) -> None:
        """Pair and enrol machines that are ready, once; after that the engineer gets a new certificate."""
        if self.facts.get("joined"):
            await self.certify()
            report("the lab is joined already; the engineer's certificate is new")
            return
        await join(self.layout, self.facts, report)
        self.facts["joined"] = True
        save_facts(self.layout, self.facts)

    async def certify(self) -> None:
        """Sign the engineer's certificate anew, for an hour."""
        await certify(self.layout, self.facts, run_gatepost)

    async def stop(self, name: str) -> None:
        """Let a machine's daemons finish and end."""
        await call(self.layout.control(name, "serve"), "halt")
        await self._until(name, "halted")

    async def restart(self, name: str) -> None:
        """Start them again, and wait until they are ready."""
        await call(self.layout.control(name, "serve"), "resume")
        await self._until(name, "ready")

    async def _until(self, name: str, state: str) -> None:
        for _ in range(int(_PATIENCE_S / _ASK_EVERY_S)):
            rows = (await call(self.layout.control(name, "serve"), "status"))["daemons"]
            others = [f"{row['daemon']} ({row['state']})" for row in rows if row["state"] != state]
            if not others:
                return
            await asyncio.sleep(_ASK_EVERY_S)
        raise GatepostError(f"{name} is not {state} within {_PATIENCE_S:g} s: {', '.join(others)}", EX_TEMPFAIL)
