"""A gateway and its delivery queue as real processes of one machine, pointed at a host of the test's own."""

import asyncio
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from core.control import call
from core.errors import GatepostError
from daemons.initial import make
from ops.lab.document import appliance_table
from tests.support.ports import free_port

ROOT = Path(__file__).parents[2]
CONFIG = """
[dns]
servers = ["127.0.0.1:9"]

[[route]]
domain = "ALL"
hosts = ["127.0.0.1:{sink}"]

[[listener]]
name = "InboundMail"
kind = "public"
address = "127.0.0.1"
port = {port}
rat = ["example.test"]

[listener.policy]
max_connections_per_address = 0
max_messages_per_session = 0
max_invalid_recipients_per_hour = 0
max_message_size = "100M"
"""


def make_gateway(folder: Path, sink_port: int, more: str = "") -> int:
    """Make a machine that relays everything to a port of loopback; give the port that its listener will take.

    `more` is added to the configuration.
    """
    make("esa", folder, hostname="esa.example.test")
    port = free_port()
    config = folder / "gatepost.toml"
    config.write_text(appliance_table(config.read_text()) + CONFIG.format(port=port, sink=sink_port) + more)
    return port


class DaemonProcess:
    """One daemon as a process, which may be killed and started again."""

    def __init__(self, machine: Path, name: str, socket: str, wrap: Iterable[str] = (), *, instance: int = 0) -> None:
        """`socket` is the name of its control socket, `instance` the number of a gateway process.

        `wrap` is a program and its arguments that run the daemon, such as `prlimit`; it must keep its pid.
        """
        self.wrap = [*wrap]
        self.environment: dict[str, str] = {}
        self._command = [
            sys.executable,
            "-m",
            "daemons.gatepost",
            "run",
            name,
            "--config",
            str(machine / "gatepost.toml"),
            *(("--instance", str(instance)) if instance else ()),
        ]
        self._socket = machine / "run" / f"{socket}.sock"
        self.errors = machine / "daemons.log"
        """Where its standard error goes."""
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        with self.errors.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self.wrap, *self._command, cwd=ROOT, stderr=log, env={**os.environ, **self.environment}
            )

    async def until_ready(self) -> None:
        assert self._process is not None
        async with asyncio.timeout(60):  # under libfaketime, on a busy machine, a start has taken over 20
            while True:
                assert self._process.returncode is None, f"ended by itself: {self.errors.read_text()[-3000:]}"
                try:
                    health = await call(self._socket, "health", timeout_s=5)
                    if health["pid"] == self._process.pid and health["state"] == "ready":
                        return
                except GatepostError:
                    pass
                await asyncio.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def status(self) -> int | None:
        """How it ended, None while it runs."""
        assert self._process is not None
        return self._process.returncode

    async def ended(self) -> int:
        """Wait until it has ended by itself."""
        assert self._process is not None
        return await self._process.wait()

    async def end(self) -> None:
        """Kill it if it runs."""
        if self._process is not None and self.running:
            self._process.kill()
            await self._process.wait()

    async def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        assert await self._process.wait() == -signal.SIGKILL, self.errors.read_text()[-3000:]
