"""A signed zone on a real name server (knot) and a real validating resolver (unbound), for tests.

    with DnssecLab(tmp_path, net="127.35.7") as lab:
        lab.zone("signed.test", ["@ MX 10 mx", "mx A 127.35.7.10"])
        lab.zone("bogus.test", [...], bogus=True); lab.zone("plain.test", [...], signed=False)
        lab.start()
        Resolver([lab.resolver])

Zones sit below nothing: unbound is told where each is and trusts the keys of the signed ones. Ports are found free.
"""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from types import TracebackType

import dns.exception
import dns.message
import dns.query
import dns.rcode

from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.waiting import eventually

dnssec_programs = needs("knotd", "keymgr", "unbound")
"""Mark for tests that use this."""

_KNOT = """
server:
  rundir: {dir}
  listen: {address}@{port}
  automatic-acl: off
log:
  - target: stderr
    any: warning
database:
  storage: {dir}
policy:
  - id: lab
    algorithm: ecdsap256sha256
    single-type-signing: on
    rrsig-lifetime: 14d
template:
  - id: default
    storage: {dir}
    zonefile-sync: -1
    journal-content: none
zone:
"""
_UNBOUND = """
server:
  interface: {address}
  port: {port}
  username: ""
  chroot: ""
  directory: {dir}
  pidfile: {dir}/unbound.pid
  use-syslog: no
  logfile: ""
  do-daemonize: no
  access-control: 127.0.0.0/8 allow
  do-not-query-localhost: no
  module-config: "validator iterator"
  local-zone: "test." nodefault
  outgoing-range: 64
  num-threads: 1
  so-rcvbuf: 0
  so-sndbuf: 0
  val-log-level: 1
  aggressive-nsec: no
  harden-below-nxdomain: no
"""


class DnssecLab:
    """Both servers; zones are given before `start`."""

    def __init__(self, folder: Path, net: str = "127.35.1") -> None:
        self._dir = folder
        self._server = f"{net}.53"
        self._validator = f"{net}.54"
        self._zones: dict[str, tuple[bool, bool]] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def resolver(self) -> str:
        """The validating resolver as `host:port`."""
        return f"{self._validator}:{self._validator_port}"

    def zone(self, name: str, records: list[str], *, signed: bool = True, bogus: bool = False) -> None:
        """Add a zone; names in `records` are relative to it. A bogus one is signed with a key nobody trusts."""
        head = ["$TTL 300", "@ SOA ns hostmaster 1 3600 600 86400 300", "@ NS ns", f"ns A {self._server}"]
        (self._dir / f"{name}.zone").write_text(f"$ORIGIN {name}.\n" + "\n".join([*head, *records]) + "\n")
        self._zones[name] = (signed, bogus)

    def __enter__(self) -> "DnssecLab":
        return self

    def start(self) -> None:
        """Start both and wait until each zone answers."""
        self._server_port, self._validator_port = free_port(self._server), free_port(self._validator)
        self._write_knot()
        self._start("knotd", "-c", str(self._dir / "knot.conf"))
        for name in self._zones:
            self._until(self._server, self._server_port, name)
        self._write_unbound()
        self._start("unbound", "-d", "-c", str(self._dir / "unbound.conf"))
        self._until(self._validator, self._validator_port, next(iter(self._zones)))

    def stop_server(self) -> None:
        """End the name server; the resolver stays, without answers."""
        self._end(self._processes[0])

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            self._end(process)

    def _start(self, *words: str) -> None:
        program = shutil.which(words[0])
        assert program is not None
        with (self._dir / f"{words[0]}.log").open("wb") as log:
            self._processes.append(subprocess.Popen([program, *words[1:]], stdout=log, stderr=subprocess.STDOUT))

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> None:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _write_knot(self) -> None:
        text = _KNOT.format(dir=self._dir, address=self._server, port=self._server_port)
        for name, (signed, _) in self._zones.items():
            text += f"  - domain: {name}\n    file: {name}.zone\n"
            text += "    dnssec-signing: on\n    dnssec-policy: lab\n" if signed else ""
        (self._dir / "knot.conf").write_text(text)

    def _write_unbound(self) -> None:
        text = _UNBOUND.format(dir=self._dir, address=self._validator, port=self._validator_port)
        stubs = ""
        for name, (signed, bogus) in self._zones.items():
            if signed:
                text += f'  trust-anchor: "{self._anchor(name, bogus=bogus)}"\n'
            stubs += f'stub-zone:\n  name: "{name}"\n  stub-addr: {self._server}@{self._server_port}\n'
        (self._dir / "unbound.conf").write_text(text + stubs)

    def _anchor(self, name: str, *, bogus: bool) -> str:
        words = ["keymgr", "-c", str(self._dir / "knot.conf"), name, "ds"]
        out = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        fields = next(line for line in out.splitlines() if " DS " in line and " 13 2 " in line).split()
        if bogus:
            fields[-1] = fields[-1][:-4] + ("0000" if not fields[-1].endswith("0000") else "1111")
        return f"{name}. DS {' '.join(fields[2:])}"

    def _until(self, address: str, port: int, name: str) -> None:
        query = dns.message.make_query(f"{name}.", "SOA", want_dnssec=True)

        def logs() -> str:
            said = "".join(file.read_text() for file in self._dir.glob("*.log"))
            return f"{address} answers for {name} (as {os.getuid()}): {said}"

        def answers() -> bool:
            assert all(process.poll() is None for process in self._processes), logs()
            response = dns.query.udp(query, address, timeout=0.5, port=port)
            return bool(response.answer) and response.rcode() == dns.rcode.NOERROR

        eventually(answers, logs, within_s=60, despite=(dns.exception.DNSException, OSError))
