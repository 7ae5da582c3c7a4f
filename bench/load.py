"""The load: smtp-source in front, smtp-sink behind, both from Debian's postfix package; and a probe for latency."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, cast

from bench.case import Case
from bench.system import HOST, System, free_port

_SINK, _SOURCE = "/usr/sbin/smtp-sink", "/usr/sbin/smtp-source"
_LIMIT_S = 180
_LOOK_S = 0.25
"""Between looks at memory: each walks through all processes."""
_PROBES = 1000
_PAUSE_S = 0.05


@dataclass(frozen=True)
class Measure:
    """What one turn of one system came to. Memory is resident and private, of all its processes together."""

    accepted_per_s: float
    delivered_per_s: float
    cpu_ms_per_message: float
    peak_mib: float


def _source(case: Case, port: int) -> subprocess.Popen[bytes]:
    argv = [_SOURCE, *(["-d"] if case.kept else []), "-s", str(case.sessions), "-m", str(case.count)]
    argv += ["-l", str(case.size), "-f", "sender@example.test", "-t", "user@example.test", f"inet:{HOST}:{port}"]
    return subprocess.Popen(argv, stderr=subprocess.PIPE)


def _sink(port: int, stop_after: int) -> subprocess.Popen[bytes]:
    argv = [_SINK, "-u", "nobody", "-M", str(stop_after), f"inet:{HOST}:{port}", "512"]
    return subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def measure(case: Case, system: System) -> Measure:
    """Run one case against one system that is started and stopped for it."""
    with _running(system, case.count) as (port, sink):
        source = _source(case, port)
        try:
            return _measure(case, system, source, sink)
        finally:
            _end(source)


def _measure(case: Case, system: System, source: subprocess.Popen[bytes], sink: subprocess.Popen[bytes]) -> Measure:
    before = system.usage()
    peak, look_at = before.rss, _LOOK_S
    began = time.monotonic()
    accepted_s = delivered_s = 0.0
    while not (accepted_s and delivered_s):
        now = time.monotonic() - began
        if now > _LIMIT_S:
            raise SystemExit(f"bench: {system.name} did not get through {case.name} within {_LIMIT_S} s")
        if not accepted_s and source.poll() is not None:
            accepted_s = now
            if source.returncode:
                said = source.stderr.read().decode() if source.stderr else ""
                raise SystemExit(f"bench: smtp-source failed against {system.name}: {said}")
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
            _end(sink)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.kill()
    process.wait()


def latency_p99_ms(case: Case, system: System) -> float:
    """Time from the final dot to the 250, 99th percentile, at the case's number of sessions, unhurried."""
    times: list[float] = []
    line = b"x" * 76 + b"\r\n"
    content = b"Subject: probe\r\n\r\n" + line * (case.size // len(line))
    each = _PROBES // case.sessions
    with _running(system, _PROBES) as (port, _):
        threads = [
            threading.Thread(target=_probe, args=(port, content, each, times), daemon=True)
            for _ in range(case.sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if len(times) < each * case.sessions:
        raise SystemExit(f"bench: {system.name} did not take all probes of {case.name}")
    times.sort()
    return round(times[int(len(times) * 0.99) - 1] * 1000, 2)


def _probe(port: int, content: bytes, count: int, times: list[float]) -> None:
    with socket.create_connection((HOST, port), 10) as sock:
        stream = cast(BinaryIO, sock.makefile("rwb"))
        stream.readline()
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


def _say(stream: BinaryIO, line: bytes) -> None:
    stream.write(line + b"\r\n")
    stream.flush()
    reply = stream.readline()
    if reply[:1] not in b"23":
        raise SystemExit(f"bench: {line!r} was answered {reply!r}")
