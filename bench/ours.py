"""Gatepost itself as the benchmark runs it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from bench.process import Usage, end, free_port, usage_of, wait_for_banner
from bench.system import Keys
from ops.lab.document import appliance_table


class Gatepost:
    """This project's road: `gateway` and `delivery-queue`, durable, with policy, filters and mail log on."""

    name: ClassVar[str] = "gatepost"
    share: ClassVar[float] = 1.0

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._keys = keys
        self._folder = folder / "gatepost"
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, sink_port: int) -> int:
        """Make a machine with `gatepost init`, point it at the sink, start its two daemons."""
        port = free_port()
        run = [sys.executable, "-m", "daemons.gatepost"]
        subprocess.run([*run, "init", "--role", "esa", "--dir", str(self._folder)], check=True, capture_output=True)
        config = self._folder / "gatepost.toml"
        config.write_text(appliance_table(config.read_text()) + _GATEPOST_TOML.format(port=port, sink=sink_port))
        (self._folder / "filters.txt").write_text(_FILTERS)
        shutil.copy(self._keys.certificate, self._folder / "keys/tls.crt")
        shutil.copy(self._keys.key, self._folder / "keys/tls.key")
        with (self._folder / "daemons.log").open("ab") as log:
            for daemon in ("delivery-queue", "gateway"):
                argv = [*run, "run", daemon, "--config", str(config)]
                self._processes[daemon] = subprocess.Popen(argv, stdout=log, stderr=log)
        try:
            wait_for_banner(port)
        except SystemExit as failure:
            raise SystemExit(f"bench: our gateway: {failure}\n{self._said()}") from failure
        return port

    def stop(self) -> None:
        """Let both finish what they have in hand, but not for ever."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            end(process, 30)

    def usage(self) -> Usage:
        """Sum up both daemons. Raises `SystemExit` if one has ended."""
        if any(process.poll() is not None for process in self._processes.values()):
            raise SystemExit(f"bench: a daemon of ours has ended\n{self._said()}")
        return usage_of({process.pid for process in self._processes.values()})

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by daemon."""
        return {name: process.pid for name, process in self._processes.items()}

    def _said(self) -> str:
        return (self._folder / "daemons.log").read_text()[-2000:]


_GATEPOST_TOML = """
[dns]
servers = ["127.0.0.1:9"]

[filters]
file = "filters.txt"

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
max_recipients_per_message = 1000
max_invalid_recipients_per_hour = 0
max_message_size = "100M"
"""

_FILTERS = """\
hold_it: if (subject == "\\\\[hold\\\\]") { quarantine("Policy"); }
virus_it: if (subject == "\\\\[virus\\\\]") { quarantine("Virus"); }
drop_it: if (subject == "\\\\[drop\\\\]") { drop(); }
"""
