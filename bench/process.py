"""Processes of a benchmark: ports, waiting for a banner, and what a process tree has used."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Usage:
    """CPU seconds used since the start; octets resident now that are not shared with other processes."""

    cpu_s: float
    rss: int


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


def tree(roots: set[int]) -> dict[int, list[str]]:
    """Give the stat fields of `roots` and of the processes below them, by process id."""
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
    return {pid: rows[pid] for pid in wanted & rows.keys()}


def usage_of(roots: set[int]) -> Usage:
    """Sum up a process tree; time of children that have ended is in their parent's account."""
    ticks = pages = 0
    for fields in tree(roots).values():
        ticks += sum(int(value) for value in fields[11:15])
        pages += int(fields[21])
    return Usage(ticks / _TICK, pages * _PAGE)


def end(process: subprocess.Popen[bytes], grace_s: float = 10.0) -> None:
    """Terminate a process that may have ended, kill it when it does not obey."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def end_tree(root: int) -> None:
    """Kill a process that we started and everything below it."""
    for pid in tree({root}):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
