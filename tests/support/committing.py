"""A gateway's real daemons on one machine, for commits that go wrong at every point."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core import clock
from core.control import call
from core.errors import GatepostError
from daemons.candidate import faults_in
from daemons.initial import make
from ops.configuration.commit import Committer
from ops.configuration.editing import Editing
from ops.configuration.handover import Handover
from ops.configuration.place import Place
from tests.support.ports import free_ports
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
DAEMONS = ("gateway", "delivery-queue", "console")
LONGEST_S = 30.0


class Site:
    """One machine of role esa in a folder."""

    def __init__(self, folder: Path) -> None:
        make("esa", folder, hostname="esa.example.test")
        self.config = folder / "gatepost.toml"
        self.folder = folder
        ports = iter(free_ports(4))
        text = self.config.read_text()
        for section in ("console", "web", "cpq"):
            place = f'[{section}]\naddress = "127.0.0.1"\nport = {next(ports)}'
            text = re.sub(rf"(?m)^\[{section}\]$", place, text)
        self.smtp = next(ports)
        listener = f'[[listener]]\nname = "In"\naddress = "127.0.0.1"\nport = {self.smtp}\nrat = ["example.test"]\n'
        self.config.write_text(f"{text}\n# Written by hand.\n{listener}")
        self.place = Place(self.config)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *daemons: str) -> None:
        """Start daemons; `ready` waits for them."""
        for name in daemons:
            argv = [sys.executable, "-m", "daemons.gatepost", "run", name, "--config", str(self.config)]
            with (self.folder / f"{name}.err").open("ab") as err:
                self._running[name] = subprocess.Popen(argv, cwd=ROOT, stderr=err, env=_environment())

    async def ready(self, *daemons: str) -> None:
        """Wait until daemons do their work."""
        for name in daemons:
            await self.until(lambda name=name: self._is_ready(name))  # type: ignore[misc]

    async def _is_ready(self, name: str) -> bool:
        try:
            return bool((await call(self.socket(name), "health", timeout_s=5))["state"] == "ready")
        except GatepostError:
            return False

    async def until(self, holds: Callable[[], Any]) -> None:
        """Wait until something holds."""
        await until(holds, within_s=LONGEST_S)

    def socket(self, name: str) -> Path:
        """Give the control socket of a daemon."""
        return self.place.run / f"{'gateway-0' if name == 'gateway' else name}.sock"

    def signal(self, name: str, number: int) -> None:
        """Send a signal to a daemon; after SIGKILL it is gone."""
        process = self._running[name]
        process.send_signal(number)
        if number == signal.SIGKILL:
            process.wait(LONGEST_S)

    def stop(self) -> None:
        """End every daemon."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(LONGEST_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def cli(self, *words: str, stdin: str = "", kill_at: str = "") -> subprocess.CompletedProcess[str]:
        """Run `gatepost cli`, killed at a named point if one is given."""
        argv = [sys.executable, "-m", "daemons.gatepost", "cli", "--config", str(self.config), *words]
        environment = _environment() | ({"GATEPOST_KILL_AT": kill_at} if kill_at else {})
        return subprocess.run(
            argv, cwd=ROOT, input=stdin, env=environment, capture_output=True, text=True, timeout=90, check=False
        )

    @property
    def tables(self) -> dict[str, Any]:
        """The configuration in force."""
        return tomllib.loads(self.config.read_text())

    @property
    def digest(self) -> str:
        """What tells the file in force."""
        return hashlib.sha256(self.config.read_bytes()).hexdigest()

    async def agrees(self) -> bool:
        """Tell whether every daemon goes by the file."""
        found = [await call(self.socket(name), "configuration_state", timeout_s=10) for name in DAEMONS]
        return all(one["digest"] == self.digest for one in found)

    async def held(self) -> bool:
        """Tell whether any daemon holds a candidate."""
        return any([(await call(self.socket(name), "configuration_state"))["held"] for name in DAEMONS])

    def editing(self, place: Place | None = None) -> Editing:
        """Give the pending copy of `local`."""
        return Editing(place or self.place, "local", self._faults, note=_silent, now=clock.now)

    def committer(
        self, handover: type[Handover] = Handover, place: Place | None = None, patience_s: float = 30.0
    ) -> Committer:
        """Give a way to commit in this process, which waits so long for each step of a daemon."""
        where = place or self.place
        run = where.run

        def made(role: str) -> Handover:
            return handover(run, role, prepare_s=patience_s, apply_s=patience_s)

        return Committer(where, self._faults, note=_silent, now=clock.now, handover=made)

    def _faults(self, tables: Any) -> Any:
        return faults_in(self.config, "esa", tables)


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != "GATEPOST_KILL_AT"} | {"PYTHONPATH": str(ROOT)}


def _silent(_text: str) -> None:
    """Note nothing."""
