"""The load: smtp-source in front, smtp-sink behind, both from Debian's postfix package; and a probe for latency."""

import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from bench.case import Case
from bench.system import HOST, Gatepost, System, free_port, wait_for_banner

_SINK, _SOURCE = "/usr/sbin/smtp-sink", "/usr/sbin/smtp-source"
_LIMIT_S = 180


@dataclass(frozen=True)
class Measure:
    """What one turn of one system came to."""

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
    sink_port = free_port()
    sink = _sink(sink_port, case.count)
    port = system.start(sink_port)
    try:
        return _measure(case, system, sink, port)
    finally:
        system.stop()
        if sink.poll() is None:
            sink.kill()
        sink.wait()


def _measure(case: Case, system: System, sink: subprocess.Popen[bytes], port: int) -> Measure:
    before = system.usage()
    peak = 0
    began = time.monotonic()
    source = _source(case, port)
    accepted_s = delivered_s = 0.0
    while not (accepted_s and delivered_s):
        now = time.monotonic() - began
        if now > _LIMIT_S:
            raise SystemExit(f"bench: {system.name} did not get through {case.name} within {_LIMIT_S} s")
        if not accepted_s and source.poll() is not None:
            accepted_s = now
            if source.returncode:
                raise SystemExit(f"bench: smtp-source failed against {system.name}: {source.stderr.read().decode()}")
        if not delivered_s and sink.poll() is not None:
            delivered_s = now
        peak = max(peak, system.usage().rss) if int(now * 100) % 25 == 0 else peak
        time.sleep(0.004)
    after = system.usage()
    cpu = (after.cpu_s - before.cpu_s) / case.count * 1000
    return Measure(case.count / accepted_s, case.count / delivered_s, cpu, max(peak, after.rss) / (1 << 20))


@contextmanager
def _running(system: System, count: int) -> Iterator[int]:
    sink_port = free_port()
    sink = _sink(sink_port, count)
    try:
        yield system.start(sink_port)
    finally:
        system.stop()
        sink.kill()
        sink.wait()


def latency_p99_ms(case: Case, folder: Path, count: int = 400) -> float:
    """Time from the final dot to the 250, 99th percentile, at the case's number of sessions, unhurried."""
    folder.mkdir(parents=True)
    times: list[float] = []
    content = b"Subject: probe\r\n\r\n" + b"x" * 76 + b"\r\n"
    content *= max(1, case.size // len(content))
    with _running(Gatepost(folder), count) as port:
        wait_for_banner(port)
        threads = [
            threading.Thread(target=_probe, args=(port, content, count // case.sessions, times))
            for _ in range(case.sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
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
            time.sleep(0.02)
        _say(stream, b"QUIT")


def _say(stream: BinaryIO, line: bytes) -> None:
    stream.write(line + b"\r\n")
    stream.flush()
    reply = stream.readline()
    if reply[:1] not in b"23":
        raise SystemExit(f"bench: {line!r} was answered {reply!r}")
