"""The load: smtp-source in front, smtp-sink behind, both from Debian's postfix package; and a probe for latency.

For the cases with TLS a stunnel stands before smtp-source and says STARTTLS for it: a full handshake for each
connection. Neither it nor source and sink count as cost of the system.
"""

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, cast

from bench.case import Case
from bench.process import HOST, end, free_port, wait_for_banner
from bench.system import System

_SINK, _SOURCE, _STUNNEL = "/usr/sbin/smtp-sink", "/usr/sbin/smtp-source", "/usr/bin/stunnel4"
_LIMIT_S = 180
_LOOK_S = 0.25
"""Between looks at memory: each walks through all processes."""
_PROBES = 1000
_PAUSE_S = 0.05


class Failed(Exception):
    """A system did not manage a case."""


@dataclass(frozen=True)
class Measure:
    """What one turn of one system came to. Memory is resident and private, of all its processes together."""

    accepted_per_s: float
    delivered_per_s: float
    cpu_ms_per_message: float
    peak_mib: float


@dataclass(frozen=True)
class Latency:
    """Milliseconds from the end of the data to the 250."""

    p50_ms: float
    p99_ms: float


class _Source:
    """smtp-source, wave after wave: each opens its connections anew."""

    def __init__(self, case: Case, port: int, system: str) -> None:
        self._system = system
        self._left = max(1, case.waves)
        argv = [_SOURCE, *(["-d"] if case.kept else []), "-s", str(case.sessions)]
        argv += ["-m", str(case.count // self._left), "-l", str(case.size)]
        self._argv = [*argv, "-f", "sender@example.test", "-t", "user@example.test", f"inet:{HOST}:{port}"]
        self._process = self._begin()

    def _begin(self) -> subprocess.Popen[bytes]:
        self._left -= 1
        return subprocess.Popen(self._argv, stderr=subprocess.PIPE)

    def done(self) -> bool:
        """Tell whether all is sent; starts the next wave. Raises `Failed` when the system refused something."""
        if self._process.poll() is None:
            return False
        said = self._process.stderr.read().decode() if self._process.stderr else ""
        if self._process.returncode:
            raise Failed(f"smtp-source failed against {self._system}: {said}")
        if not self._left:
            return True
        self._process = self._begin()
        return False

    def end(self) -> None:
        """Stop it."""
        end(self._process)


def _sink(port: int, stop_after: int) -> subprocess.Popen[bytes]:
    argv = [_SINK, "-u", "nobody", "-M", str(stop_after), f"inet:{HOST}:{port}", "512"]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(case: Case, system: System, folder: Path) -> Measure:
    """Run one case against one system that is started and stopped for it."""
    with _running(system, case.count) as (port, sink), _tls(case, port, folder) as front:
        source = _Source(case, front, system.name)
        try:
            return _measure(case, system, source, sink)
        finally:
            source.end()


@contextmanager
def loaded(case: Case, system: System, folder: Path) -> Iterator[None]:
    """Keep a system busy with one case's load, over and over."""
    with _running(system, 1_000_000_000) as (port, _), _tls(case, port, folder) as front:
        source = _Source(
            replace(case, waves=case.waves and 1_000_000, count=case.count * 1_000_000), front, system.name
        )
        stop = threading.Event()
        feeder = threading.Thread(target=_feed, args=(source, stop), daemon=True)
        feeder.start()
        try:
            yield
        finally:
            stop.set()
            feeder.join()
            source.end()


def _feed(source: _Source, stop: threading.Event) -> None:
    while not stop.wait(0.01):
        source.done()


def _measure(case: Case, system: System, source: _Source, sink: subprocess.Popen[bytes]) -> Measure:
    before = system.usage()
    peak, look_at = before.rss, _LOOK_S
    began = time.monotonic()
    accepted_s = delivered_s = 0.0
    while not (accepted_s and delivered_s):
        now = time.monotonic() - began
        if now > _LIMIT_S:
            raise Failed(f"{system.name} did not get through {case.name} within {_LIMIT_S} s")
        if not accepted_s and source.done():
            accepted_s = now
        if not delivered_s and sink.poll() is not None:
            delivered_s = now
        if now >= look_at:
            peak, look_at = max(peak, system.usage().rss), now + _LOOK_S
        time.sleep(0.004)
    after = system.usage()
    cpu = (after.cpu_s - before.cpu_s) / case.count * 1000
    return Measure(case.count / accepted_s, case.count / delivered_s, cpu, max(peak, after.rss) / (1 << 20))


@contextmanager
def _running(system: System, count: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """Have a system and its sink run; whatever happens, nothing of them is left."""
    sink_port = free_port()
    sink = _sink(sink_port, count)
    try:
        yield system.start(sink_port), sink
    finally:
        try:
            system.stop()
        finally:
            end(sink)


_STUNNEL_CONF = """\
foreground = yes
pid =
syslog = no
debug = err
[smtp]
client = yes
protocol = smtp
sessionResume = no
accept = 127.0.0.1:{port}
connect = 127.0.0.1:{target}
"""


@contextmanager
def _tls(case: Case, port: int, folder: Path) -> Iterator[int]:
    """Give the port that smtp-source talks to: the system's, or that of a stunnel before it."""
    if not case.tls:
        yield port
        return
    front = free_port()
    conf = folder / "stunnel.conf"
    conf.write_text(_STUNNEL_CONF.format(port=front, target=port))
    process = subprocess.Popen([_STUNNEL, str(conf)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for_banner(front)
        yield front
    finally:
        end(process)


def latency(case: Case, system: System) -> Latency:
    """Time from the final dot to the 250 at the case's number of sessions (100 at most), unhurried."""
    times: list[float] = []
    line = b"x" * 76 + b"\r\n"
    content = b"Subject: probe\r\n\r\n" + line * (case.size // len(line))
    sessions = min(case.sessions, 100)
    each = round(_PROBES * system.share) // sessions or 1
    with _running(system, each * sessions) as (port, _):
        threads = [
            threading.Thread(target=_probe, args=(port, case.tls, content, each, times), daemon=True)
            for _ in range(sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(times) < each * sessions:
        raise Failed(f"{system.name} did not take all probes of {case.name}")
    times.sort()
    return Latency(*(round(times[int(len(times) * part) - 1] * 1000, 2) for part in (0.5, 0.99)))


def _probe(port: int, tls: bool, content: bytes, count: int, times: list[float]) -> None:
    """Send `count` messages over one connection; who is cut off leaves `times` short."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 60) as plain:
        sock = _secured(plain) if tls else plain
        if not tls:
            sock.makefile("rb", 0).readline()
        stream = cast(BinaryIO, sock.makefile("rwb"))
        _say(stream, b"HELO probe.example.test")
        for _ in range(count):
            _say(stream, b"MAIL FROM:<sender@example.test>")
            _say(stream, b"RCPT TO:<user@example.test>")
            _say(stream, b"DATA")
            stream.write(content)
            began = time.monotonic()
            _say(stream, b".")
            times.append(time.monotonic() - began)
            time.sleep(_PAUSE_S)
        _say(stream, b"QUIT")


def _secured(sock: socket.socket) -> socket.socket:
    """Read the greeting and say STARTTLS."""
    stream = cast(BinaryIO, sock.makefile("rwb"))
    stream.readline()
    stream.write(b"EHLO probe.example.test\r\n")
    stream.flush()
    while stream.readline()[3:4] == b"-":
        pass
    _say(stream, b"STARTTLS")
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(sock)


def _say(stream: BinaryIO, line: bytes) -> None:
    stream.write(line + b"\r\n")
    stream.flush()
    reply = stream.readline()
    if reply[:1] not in b"23":
        raise SystemExit(f"bench: {line!r} was answered {reply!r}")
