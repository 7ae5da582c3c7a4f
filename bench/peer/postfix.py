"""The systems under test, each started on loopback as a relay to the same sink, and what they cost.

A system has `start() -> port`, `stop()`, and `usage()`: the CPU seconds it has used so far, its dead children
included, and its resident memory now. Postfix is Debian's package with a configuration of its own in a temporary
folder; it needs root, as on any machine.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

HOST = "127.0.0.1"
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """CPU seconds used since the start; octets resident now that are not shared with other processes."""

    cpu_s: float
    rss: int


class System(Protocol):
    """A mail system that relays to the sink."""

    name: str

    def start(self, sink_port: int) -> int:
        """Start, and give the port that it takes mail at."""

    def stop(self) -> None:
        """Stop, and leave nothing behind."""

    def usage(self) -> Usage:
        """Tell what it has cost so far."""


def free_port() -> int:
    """Find a port that nobody uses just now."""
    with socket.socket() as sock:
        sock.bind((HOST, 0))
        return int(sock.getsockname()[1])


def wait_for_banner(port: int, timeout_s: float = 20.0) -> None:
    """Wait until something on `port` greets with 220."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 2) as sock:
            if sock.recv(99).startswith(b"220"):
                return
        time.sleep(0.05)
    raise SystemExit(f"nothing greets on port {port}")


def _descendants(roots: set[int]) -> Iterator[list[str]]:
    """Stat fields of the processes below `roots`, and of the roots themselves."""
    rows = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                pages = (entry / "statm").read_text().split()
                private = int(pages[1]) - int(pages[2])
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                rows[int(entry.name)] = [*stat[:21], str(private)]
    wanted = set(roots)
    grown = True
    while grown:
        more = {pid for pid, fields in rows.items() if int(fields[1]) in wanted} - wanted
        wanted |= more
        grown = bool(more)
    for pid in wanted & rows.keys():
        yield rows[pid]


def usage_of(roots: set[int]) -> Usage:
    """Sum up a process tree; time of children that have ended is in their parent's account."""
    ticks = pages = 0
    for fields in _descendants(roots):
        ticks += sum(int(value) for value in fields[11:15])
        pages += int(fields[21])
    return Usage(ticks / _TICK, pages * _PAGE)


class Postfix:
    """Debian's Postfix as a relay: no chroot, no DNS, no delays of its own."""

    name = "postfix"

    def __init__(self, folder: Path) -> None:
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
        (conf / "main.cf").write_text(_MAIN_CF.format(queue=queue, data=data, sink=sink_port, log=self._folder / "log"))
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
postlog unix-dgram n - n - 1 postlogd
"""


class Gatepost:
    """This project's road: `gateway` and `delivery-queue`, durable, with policy, filters and mail log on."""

    name = "gatepost"

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "gatepost"
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, sink_port: int) -> int:
        """Make a machine with `gatepost init`, point it at the sink, start its two daemons."""
        port = free_port()
        run = [sys.executable, "-m", "daemons.gatepost"]
        subprocess.run([*run, "init", "--role", "esa", "--dir", str(self._folder)], check=True, capture_output=True)
        config = self._folder / "gatepost.toml"
        config.write_text(_machine_facts(config) + _GATEPOST_TOML.format(port=port, sink=sink_port))
        (self._folder / "filters.txt").write_text(_FILTERS)
        with (self._folder / "daemons.log").open("ab") as log:
            for daemon in ("delivery-queue", "gateway"):
                argv = [*run, "run", daemon, "--config", str(config)]
                self._processes.append(subprocess.Popen(argv, stdout=log, stderr=log))
        wait_for_banner(port)
        return port

    def stop(self) -> None:
        """Let both finish what they have in hand, but not for ever."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def usage(self) -> Usage:
        """Sum up both daemons."""
        return usage_of({process.pid for process in self._processes})


def _machine_facts(config: Path) -> str:
    """Keep the [appliance] table that `gatepost init` wrote."""
    lines = config.read_text().splitlines()
    start = lines.index("[appliance]")
    end = next((n for n in range(start + 1, len(lines)) if lines[n].startswith("[")), len(lines))
    return "\n".join(lines[start:end]) + "\n"


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
