"""The machines of the measurement: a bastion with keyd, one real ESA with its tunnel, and a fleet of simulated ones.

Made with the lab's own parts on a net of its own; nothing of it is left at the end. Simulated appliances are enrolled
in the bastion's store before it starts, each with an address of its own, so that limits by source hold as they do
outside. The bastion runs with its defaults but for the number of appliances.
"""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from bench.process import Usage, usage_of
from bench.tunnels.crew import Fleet, crew
from bench.tunnels.fleet import Plan
from core.control import call
from core.errors import GatepostError
from core.ssh import make_key, public_text, read_key
from ops.lab.build import Lab
from ops.lab.layout import Layout
from ops.lab.machines import gatepost, make_machines
from ops.lab.support import open_access
from tunnel.bastion.store import Enrolled, open_store

BASTION = "bastion/bastion"
NAME = "upgrades.gatepost.test"
DAEMONS = ("lab/dns", "bastion/keyd", BASTION, "esa/console", "esa/tunnel-client", "sma/tunnel-client")
_EACH = 250
_UNLIMITED = "unlimited_sources"


class World:
    """See the module."""

    def __init__(self, folder: Path, net: str, appliances: int) -> None:
        self.folder = folder
        self.layout = Layout.of(folder / "lab", net)
        self.lab = Lab(self.layout)
        self.appliances = appliances
        self._rows: list[tuple[str, str, str]] = []

    @property
    def serials(self) -> set[str]:
        """Of the simulated appliances."""
        return {serial for serial, _, _ in self._rows}

    @property
    def bastion_pid(self) -> int:
        """Its process, which changes when it is started again."""
        return self.lab.pids[BASTION][0]

    async def up(self) -> None:
        """Make and start everything but the fleet."""
        self.layout.dir.mkdir(parents=True)
        self.lab.facts = make_machines(self.layout)
        self._settings()
        await self._enrol()
        for name in DAEMONS:
            self.lab.start(name)
        await self.lab.wait(list(DAEMONS))
        await open_access(self.layout, self.lab.facts, _run, self.control)

    @property
    def control(self) -> Path:
        """The bastion's control socket."""
        return self.layout.control(*BASTION.split("/"))

    def _settings(self) -> None:
        config = self.layout.config("bastion")
        lines = [line for line in config.read_text().splitlines() if not line.startswith(_UNLIMITED)]
        lines.insert(lines.index("[bastion]") + 1, f"connections = {self.appliances + 100}")
        config.write_text("\n".join(lines) + "\n")

    async def _enrol(self) -> None:
        store = open_store("", self.layout.dir / "bastion")
        await store.begin()
        host_key = public_text(make_key())
        wanted = []
        for number in range(self.appliances):
            key, serial = make_key(), f"bench-{number:05}"
            source = f"{self.layout.net}.{100 + number // _EACH}.{1 + number % _EACH}"
            self._rows.append((serial, source, key.export_private_key().decode()))
            wanted.append(Enrolled(serial=serial, tunnel_key=public_text(key), host_key=host_key, exchange_key=""))
        await asyncio.gather(*(store.appliances.enroll(one) for one in wanted))
        await store.close()

    @asynccontextmanager
    async def fleet(self, over_s: float) -> AsyncIterator[Fleet]:
        """Run the simulated appliances; the first dialling is spread over so many seconds."""
        authority = read_key(self.layout.dir / "bastion" / "keyd" / "host_ca_ed25519")
        plan = Plan(
            address=self.layout.bastion,
            ports=self.layout.ports.bastion,
            authority=public_text(authority),
            console=str(self.folder / "console.sock"),
            rows=tuple(self._rows),
            name=NAME,
            over_s=over_s,
        )
        async with crew(plan, self.folder) as fleet:
            yield fleet

    def usage(self) -> Usage:
        """What the bastion has cost so far, and what it holds."""
        return usage_of({self.bastion_pid})

    async def until_online(self, count: int, within_s: float) -> None:
        """Wait until the bastion finds so many alive."""
        online = 0
        deadline = time.monotonic() + within_s
        while online < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"bench: the bastion found {online} of {count} alive in {within_s:.0f} s")
            await asyncio.sleep(0.2)
            with suppress(GatepostError):  # it is being started again
                online = (await call(self.control, "status", timeout_s=20))["gauges"]["tunnels_online"]

    async def online(self) -> tuple[set[str], int]:
        """Give the simulated appliances that the bastion finds alive, and how many rows it has of them."""
        rows = (await call(self.control, "tunnels", timeout_s=60))["tunnels"]
        ours = [row for row in rows if row["serial"] in self.serials]
        return {row["serial"] for row in ours if row["online"]}, len(ours)

    async def restart_bastion(self) -> dict[str, float]:
        """End the bastion as its supervisor would, and start it again; gives how long each took until it was ready."""
        begun = time.monotonic()
        await self.lab.stop(BASTION)
        stopped = time.monotonic()
        self.lab.start(BASTION)
        await self.lab.wait([BASTION])
        return {"stop_s": round(stopped - begun, 1), "start_s": round(time.monotonic() - stopped, 1)}

    async def down(self) -> None:
        """Stop everything, and remove it unless GATEPOST_BENCH_KEEP is set."""
        if self.lab.facts:
            await self.lab.down()
        if not os.environ.get("GATEPOST_BENCH_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


async def _run(*args: str, stdin: str = "") -> str:
    return await asyncio.to_thread(partial(gatepost, stdin=stdin), *args)
