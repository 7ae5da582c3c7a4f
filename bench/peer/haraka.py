"""Haraka, from npm, as a relay: one process, no plugins but the one that sends everything to the sink."""

import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

from bench.peer.extracted import PEERS
from bench.process import Usage, end, free_port, usage_of, wait_for_banner
from bench.system import Keys

_HOME = PEERS / "haraka/node_modules/Haraka"
_PLUGIN = """\
exports.hook_connect = (next, connection) => {{ connection.relaying = true; next(); }};
exports.hook_rcpt = (next) => next(OK);
exports.hook_get_mx = (next) => next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {sink} }});
"""


class Haraka:
    """One instance."""

    name: ClassVar[str] = "haraka"
    share: ClassVar[float] = 0.3

    def __init__(self, folder: Path, keys: Keys) -> None:
        if not _HOME.exists():
            raise SystemExit("bench: Haraka is not installed; run bench/setup-peers")
        self._folder = folder / self.name
        self._keys = keys
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, sink_port: int) -> int:
        """Write its folder, start it in the foreground."""
        port, config = free_port(), self._folder / "config"
        for name in ("config", "plugins", "queue"):
            (self._folder / name).mkdir(parents=True)
        shutil.copy(_HOME / "config/connection.ini", config)
        shutil.copy(self._keys.certificate, config / "tls_cert.pem")
        shutil.copy(self._keys.key, config / "tls_key.pem")
        (config / "smtp.ini").write_text(f"listen=127.0.0.1:{port}\nnodes=0\ndaemonize=false\n")
        (config / "me").write_text("bench.example.test\n")
        (config / "plugins").write_text("tls\nto_sink\n")
        (config / "outbound.ini").write_text("concurrency_max=100\n")
        (config / "loglevel").write_text("LOGWARN\n")
        (self._folder / "plugins/to_sink.js").write_text(_PLUGIN.format(sink=sink_port))
        argv = ["node", str(_HOME / "bin/haraka"), "-c", str(self._folder)]
        with (self._folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)
        wait_for_banner(port)
        return port

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            end(self._process)

    def usage(self) -> Usage:
        """Sum up its processes."""
        return usage_of({self._process.pid} if self._process else set())
