"""The processes of a lab: start, wait until ready, stop, kill; their ids live in `lab.json`.

A lab's processes are sessions of their own, hold none of the caller's descriptors, and write to `log/NAME.log`.
Only processes whose id is in `lab.json` and whose command line names the lab's folder are ever signalled.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from core.control import call
from core.errors import EX_TEMPFAIL, GatepostError


def started_at(pid: int) -> str:
    """Start time of a process in clock ticks since boot, '' if there is none or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def belongs(pid: int, folder: Path) -> bool:
    """Tell whether a process runs and is of the lab in `folder`: ids are used again, after a reboot at the latest."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return started_at(pid) != "" and b"\0" + os.fsencode(folder) + b"/" in words


def start(name: str, argv: Sequence[str], log_dir: Path) -> int:
    """Start a process and give its id."""
    log_dir.mkdir(parents=True, exist_ok=True)
    with (log_dir / f"{name.replace('/', '-')}.log").open("ab") as log:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True, cwd="/"
        )
    # The lab outlives this object; `stop` waits by the process id.
    process.returncode = 0
    return process.pid


def module_argv(module: str, *args: str) -> list[str]:
    """Command line of one of the lab's own servers."""
    return [sys.executable, "-m", module, *args]


def gatepost_argv(*args: str) -> list[str]:
    """Command line of the executable, run by the same interpreter."""
    return [sys.executable, "-m", "daemons.gatepost", *args]


async def wait_ready(name: str, pid: int, control: Path, log_dir: Path, timeout_s: float = 30.0) -> None:
    """Wait until a daemon answers that it is ready. Raises with the end of its log if it does not."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with contextlib.suppress(GatepostError):
            health = await call(control, "health", timeout_s=2)
            if health["state"] == "ready" and health["pid"] == pid:
                return
        if not started_at(pid):
            break
        await asyncio.sleep(0.05)
    log = log_dir / f"{name.replace('/', '-')}.log"
    last = (log.read_text(errors="replace").strip().splitlines() or ["nothing"])[-1]
    raise GatepostError(f"{name} did not become ready; its log ({log}) ends with: {last}", EX_TEMPFAIL)


async def wait_listening(name: str, pid: int, host: str, port: int, timeout_s: float = 30.0) -> None:
    """Wait until a server of the lab's own accepts connections. Raises status 75 if it does not."""
    deadline = time.monotonic() + timeout_s
    while started_at(pid) and time.monotonic() < deadline:
        try:
            async with asyncio.timeout(2):
                _, writer = await asyncio.open_connection(host, port)
        except (OSError, TimeoutError):
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return
    raise GatepostError(f"{name} did not start to listen on {host}:{port}", EX_TEMPFAIL)


async def end(pids: Iterable[int], number: signal.Signals, patience_s: float = 15.0) -> None:
    """Signal processes, wait until they are gone, and kill what does not go."""
    known = {pid: started_at(pid) for pid in pids}
    alive = {pid for pid, at in known.items() if at}
    for pid in alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
    deadline = time.monotonic() + patience_s
    while alive := {pid for pid in alive if started_at(pid) == known[pid]}:
        if time.monotonic() > deadline:
            for pid in alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + patience_s
        for pid in alive:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG does not wait
        await asyncio.sleep(0.02)
