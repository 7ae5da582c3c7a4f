"""Debian's Postfix as a relay: no chroot, no DNS, no delays of its own, its configuration in a temporary folder."""

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import ClassVar

from bench.process import Usage, free_port, usage_of, wait_for_banner
from bench.system import Keys


class Postfix:
    """One instance."""

    name: ClassVar[str] = "postfix"
    share: ClassVar[float] = 1.0

    def __init__(self, folder: Path, keys: Keys) -> None:
        self._keys = keys
        self._folder = folder / "postfix"
        self._conf = self._folder / "conf"
        self._master = 0

    def start(self, sink_port: int) -> int:
        """Write a configuration, start the master, give the port."""
        if os.geteuid() != 0:
            raise SystemExit("bench: Postfix starts as root only; run as root or with PEERS=none")
        port = free_port()
        conf, queue, data = self._conf, self._folder / "queue", self._folder / "data"
        for folder in (conf, queue, data):
            folder.mkdir(parents=True)
        shutil.chown(data, "postfix")
        for parent in (self._folder, self._folder.parent):
            parent.chmod(0o755)
        (conf / "main.cf").write_text(
            _MAIN_CF.format(
                queue=queue,
                data=data,
                sink=sink_port,
                log=self._folder / "log",
                cert=self._keys.certificate,
                key=self._keys.key,
            )
        )
        (conf / "master.cf").write_text(_MASTER_CF.format(port=port))
        started = subprocess.run(["/usr/sbin/postfix", "-c", str(conf), "start"], check=False, capture_output=True)
        if started.returncode:
            raise SystemExit(f"bench: Postfix does not start: {self._said(started.stderr)}")
        self._master = int((queue / "pid" / "master.pid").read_text())
        wait_for_banner(port)
        return port

    def stop(self) -> None:
        """Stop the master, which takes along what it started."""
        subprocess.run(["/usr/sbin/postfix", "-c", str(self._conf), "stop"], check=False, capture_output=True)
        if self._master:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._master, signal.SIGKILL)

    def _said(self, stderr: bytes) -> str:
        log = self._folder / "log"
        return stderr.decode() or (log.read_text() if log.exists() else "it does not say why")

    def usage(self) -> Usage:
        """Sum up the master and its children."""
        return usage_of({self._master})


_MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {queue}
data_directory = {data}
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = bench.example.test
mydestination =
local_recipient_maps =
relayhost = [127.0.0.1]:{sink}
mynetworks = 127.0.0.0/8
smtp_dns_support_level = disabled
default_process_limit = 100
default_destination_concurrency_limit = 100
in_flow_delay = 0
maillog_file = {log}
maillog_file_prefixes = {log}
message_size_limit = 104857600
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
smtpd_peername_lookup = no
smtpd_tls_security_level = may
smtpd_tls_eccert_file = {cert}
smtpd_tls_eckey_file = {key}
"""

_MASTER_CF = """\
127.0.0.1:{port} inet n - n - 100 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
"""
