"""Bring a lab up and take it down: machines made with the executable, daemons as processes, all facts in lab.json.

Everything is done as an operator would: `gatepost init`, `gatepost pair`, `gatepost bastion …`, `techsupport` on the
console (`ops/lab/join.py`). A failed `up` takes down what it started and removes what it made.
"""

import asyncio
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core.disk import Disk, replace_file
from core.errors import EX_NOINPUT, EX_SOFTWARE, EX_UNAVAILABLE, EX_USAGE, GatepostError
from core.role import ON
from ops.lab import process
from ops.lab.join import join
from ops.lab.layout import Layout
from ops.lab.machines import make_machines

Report = Callable[[str], None]


def read_facts(directory: Path) -> dict[str, Any]:
    """Read lab.json. Raises status 66 if there is no lab in this folder."""
    file = directory / "lab.json"
    try:
        facts: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        raise GatepostError(f"{directory} holds no lab; start one with: gatepost lab up", EX_NOINPUT) from None
    except ValueError as error:
        raise GatepostError(f"{file}: {error}", EX_SOFTWARE) from None
    return facts


def save_facts(layout: Layout, facts: dict[str, Any]) -> None:
    """Write lab.json."""
    replace_file(Disk(), layout.dir / "lab.json", json.dumps(facts, indent=1).encode() + b"\n", mode=0o644)


class Lab:
    """One lab that is or was up; its facts are those of lab.json."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._logs = layout.dir / "log"
        self.facts: dict[str, Any] = {}

    def load(self) -> "Lab":
        """Read lab.json. Raises status 66 if there is no lab in this folder."""
        self.facts = read_facts(self.layout.dir)
        return self

    @property
    def pids(self) -> dict[str, list[int]]:
        """Process ids by `machine/daemon`; the lab's own servers are `lab/dns` and `lab/mailhost`."""
        pids: dict[str, list[int]] = self.facts["pids"]
        return pids

    async def up(self, report: Report) -> None:
        """Make and start everything; leave nothing behind if that fails."""
        existed = self.layout.dir.exists()
        if existed and any(self.layout.dir.iterdir()):
            raise GatepostError(f"{self.layout.dir} is not empty; give an empty or a new folder", EX_USAGE)
        self._check_ports()
        self.layout.dir.mkdir(parents=True, exist_ok=True)
        try:
            await self._build(report)
        except BaseException:
            await self._clear(keep_folder=existed)
            raise

    async def _build(self, report: Report) -> None:
        report("keys and configurations")
        self.facts = make_machines(self.layout)
        report("name server and outside mail host")
        self._start_servers()
        report("daemons")
        for role, daemons in ON.items():
            for daemon in daemons:
                self._spawn(role, daemon)
        await self._wait_all()
        await join(self.layout, self.facts, report)
        save_facts(self.layout, self.facts)

    def _check_ports(self) -> None:
        places = [(name, place, socket.SOCK_STREAM) for name, place in self.layout.sockets().items()]
        dns = (self.layout.dns, self.layout.ports.dns)
        places.append(("dns over UDP", dns, socket.SOCK_DGRAM))
        for name, (host, port), kind in places:
            with socket.socket(type=kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((host, port))
                except OSError:
                    text = f"{host}:{port} is in use ({name}); stop what holds it, or choose another --net 127.N"
                    raise GatepostError(text, EX_UNAVAILABLE) from None

    def _start_servers(self) -> None:
        self.start("lab/dns")
        self.start("lab/mailhost")

    def start(self, name: str) -> list[str]:
        """Start what `name` stands for and does not run; give the names of lab.json.

        Raises status 64 for a name that is not one, 69 if all of it runs.
        """
        names = [one for one in self.names(name) if not self._running([one])]
        if not names:
            where = f"gatepost lab kill {name} --dir {self.layout.dir}"
            raise GatepostError(f"{name} runs already; stop it first with: {where}", EX_UNAVAILABLE)
        for one in names:
            self._spawn(*one.split("/"))
        return names

    def _running(self, names: Iterable[str]) -> list[int]:
        """Give the processes of the lab that go by these names and run."""
        pids = [pid for name in names for pid in self.pids.get(name, [])]
        return [pid for pid in pids if process.belongs(pid, self.layout.dir)]

    def names(self, name: str) -> list[str]:
        """Give the daemons that a name stands for: `esa/gateway`, or `sma` for all of a machine."""
        if name in ON:
            return [f"{name}/{daemon}" for daemon in ON[name]]
        role, _, daemon = name.partition("/")
        if daemon in ON.get(role, ()) or name in ("lab/dns", "lab/mailhost"):
            return [name]
        known = ", ".join([*ON, *(f"{r}/{d}" for r, ds in ON.items() for d in ds)])
        raise GatepostError(f"the lab has nothing called {name}; there are: {known}", EX_USAGE)

    def _spawn(self, role: str, daemon: str) -> None:
        layout, name = self.layout, f"{role}/{daemon}"
        if name == "lab/dns":
            argv = process.module_argv(
                "ops.lab.nameserver", layout.dns, str(layout.ports.dns), str(layout.dir / "zone.txt")
            )
        elif name == "lab/mailhost":
            argv = process.module_argv("ops.lab.mailhost", layout.mailhost, str(layout.ports.smtp), str(layout.maildir))
        else:
            argv = process.gatepost_argv("run", daemon, "--config", str(layout.config(role)))
        self.pids[name] = [process.start(name, argv, self._logs)]

    async def wait(self, names: list[str]) -> None:
        """Wait until what is named is ready."""
        layout = self.layout
        servers = {
            "lab/dns": (layout.dns, layout.ports.dns),
            "lab/mailhost": (layout.mailhost, layout.ports.smtp),
        }
        waits = []
        for name in names:
            pid = self.pids[name][0]
            if name in servers:
                waits.append(process.wait_listening(name, pid, *servers[name]))
            else:
                waits.append(process.wait_ready(name, pid, layout.control(*name.split("/")), self._logs))
        results = await asyncio.gather(*waits, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _wait_all(self) -> None:
        await self.wait(list(self.pids))

    def save(self) -> None:
        """Write lab.json."""
        save_facts(self.layout, self.facts)

    async def kill(self, name: str) -> None:
        """Send SIGKILL to what `name` stands for."""
        await process.end(self._running(self.names(name)), signal.SIGKILL)

    async def stop(self, name: str) -> None:
        """Let what `name` stands for finish and end."""
        await process.end(self._running(self.names(name)), signal.SIGTERM)

    async def restart(self, name: str) -> None:
        """Start what was stopped, and wait until it is ready."""
        await self.wait(self.start(name))

    async def down(self) -> None:
        """Stop every process of the lab; the folder stays for who wants to look at it."""
        await process.end(self._running(self.pids), signal.SIGTERM)
        self.facts["pids"] = {}
        self.save()

    async def _clear(self, *, keep_folder: bool) -> None:
        if self.facts:
            await process.end(self._running(self.pids), signal.SIGKILL)
        if os.environ.get("GATEPOST_LAB_KEEP"):
            return
        if keep_folder:
            for entry in self.layout.dir.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        else:
            shutil.rmtree(self.layout.dir, ignore_errors=True)
