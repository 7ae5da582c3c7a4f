"""Debian's OpenSMTPD as a relay. It syncs nothing before its `250`, and waits between connections to one host."""

import shutil
from pathlib import Path
from typing import ClassVar

from bench.peer.extracted import Extracted
from bench.process import Usage, free_port, wait_for_banner
from bench.system import Keys

_CONF = """\
pki bench cert "{cert}"
pki bench key "{key}"
listen on 127.0.0.1 port {port} tls pki bench hostname bench.example.test
action out relay host smtp://127.0.0.1:{sink}
match from any for any action out
smtp limit max-mails 1000000
smtp max-message-size 100M
queue ttl 1h
"""


class OpenSmtpd:
    """One instance."""

    name: ClassVar[str] = "opensmtpd"
    share: ClassVar[float] = 0.1

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._program = Extracted(folder / self.name, "smtpd")
        self._keys = keys

    def start(self, sink_port: int) -> int:
        """Write a configuration, start it in the foreground."""
        port, folder = free_port(), self._program.folder
        (folder / "spool/smtpd").mkdir(mode=0o711)
        (folder / "lib/opensmtpd/empty").mkdir(parents=True, mode=0o711)
        key = folder / "key.pem"
        shutil.copy(self._keys.key, key)
        key.chmod(0o600)
        conf = folder / "smtpd.conf"
        conf.write_text(_CONF.format(cert=self._keys.certificate, key=key, port=port, sink=sink_port))
        self._program.start("-d", "-f", str(conf))
        wait_for_banner(port)
        return port

    def stop(self) -> None:
        """Kill it."""
        self._program.stop()

    def usage(self) -> Usage:
        """Sum up its processes."""
        return self._program.usage()
