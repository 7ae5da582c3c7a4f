"""The packet captures of one machine: starting and ending the one that runs, and the files of all.

The commands use it, and whoever else may show captures. The lock `run/capture.lock` says whether one runs and who
keeps it; `state/capture-last.json` says what it is. Raises `GatepostError` 65 for a filter that tcpdump does not
take, 66 for a file that is not there, 69 without tcpdump or the right to listen, 75 while one runs.
"""

import asyncio
import fcntl
import json
import os
import re
import signal
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from core import clock
from core.disk import Disk, share
from core.errors import EX_CANTCREAT, EX_DATAERR, EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from core.program import Finished, Program, find, kept, run
from core.runtime import spawn
from ops.network.capture.keeper import confined
from ops.network.capture.setting import PARTS, Setting, tcpdump_words

_FLOCK = struct.Struct("@hhqqi4x")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,120}\.pcap")
_CHECK_S = 15.0
_START_S = 15.0
_END_S = 10.0
_RESERVE = 0.05
"""Part of the disk that captures leave free, as mail does."""


class Captures:
    """See the module; `folder` is the machine's."""

    def __init__(self, folder: Path, now: clock.Clock = clock.now) -> None:
        self._folder = folder
        self._now = now

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self._folder / "captures"

    def keeper(self) -> int:
        """Give the process id of the keeper that runs, 0 for none."""
        try:
            descriptor = os.open(self._folder / "run" / "capture.lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        finally:
            os.close(descriptor)
        return 0 if kind == fcntl.F_UNLCK else int(pid)

    def status(self) -> dict[str, Any]:
        """Say what runs: who started it, its size and age; and what the last one came to."""
        last = self._last()
        if not self.keeper() or "ended_at" in last:
            return {"running": False, "last": last or None}
        octets = sum(one["bytes"] for one in self.files() if one["capture"] == last.get("name"))
        elapsed_s = max(0.0, self._now() - float(last.get("started_at") or self._now()))
        return {"running": True, **last, "bytes": octets, "elapsed_s": round(elapsed_s, 1)}

    def _last(self) -> dict[str, Any]:
        try:
            found = json.loads((self._folder / "state" / "capture-last.json").read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    async def check(self, setting: Setting) -> None:
        """Have tcpdump compile the filter on its interface, which takes what capturing takes and captures nothing."""
        words = tcpdump_words(setting)
        for name in ("tcpdump", "setpriv", "prlimit"):
            find(name)
        done = await run(*confined(words.command("-d")), timeout_s=_CHECK_S)
        if done.status:
            raise _refusal(done)

    async def start(self, setting: Setting, by: str) -> Program:
        """Start a capture; it ends with `finish`, or when this process does. Raises status 65, 69, 73, 75."""
        if self.keeper():
            raise GatepostError("a packet capture runs already; one at a time on a machine", EX_TEMPFAIL)
        await self.check(setting)
        plan = self._plan(setting, by)
        program = await kept(sys.executable, "-I", "-m", "ops.network.capture.keeper", json.dumps(plan))
        try:
            async with asyncio.timeout(_START_S):
                said = await said_by(program)
        except TimeoutError:
            said = {}
        except BaseException:  # whoever wanted it is gone before it listened
            finish(program)
            raise
        if "started" in said:
            return program
        await program.end()
        reason = said.get("refused") or said.get("reason") or "it ended without a word"
        raise GatepostError(f"packetcapture: {reason}", EX_TEMPFAIL)

    def _plan(self, setting: Setting, by: str) -> dict[str, Any]:
        words = tcpdump_words(setting)
        try:
            (self._folder / "run").mkdir(exist_ok=True)
            free, total = Disk().space(self._folder)
        except OSError as error:
            raise GatepostError(f"{self._folder}: {error.strerror}", EX_CANTCREAT) from None
        least = share(_RESERVE, total)
        if free < least + setting.max_bytes:
            left = max(0, free - least) >> 20
            text = f"the disk has {left} MiB left for captures: delete some, or choose a smaller size"
            raise GatepostError(text, EX_CANTCREAT)
        name = time.strftime("%Y%m%d-%H%M%S", time.localtime(self._now()))
        taken = {one["capture"] for one in self.files()}
        name = next(one for one in (name, *(f"{name}-{n}" for n in range(2, 1000))) if one not in taken)
        return {
            "folder": str(self._folder),
            "name": name,
            "by": by,
            "argv": words.command("-B", "8192", "-U", "-w", "-"),
            "interface": ",".join(setting.interfaces) or words.interface,
            "filter": words.expression,
            "max_bytes": setting.max_bytes,
            "parts": PARTS,
            "duration_s": setting.duration_s,
            "until_full": setting.until_full,
            "least_free": least,
        }

    async def stop(self) -> dict[str, Any]:
        """End the capture that runs, whoever started it; gives what it came to. Raises status 66, 75."""
        pid = self.keeper()
        if not pid:
            raise GatepostError("no packet capture runs", EX_NOINPUT)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = clock.monotonic() + _END_S
        while self.keeper() == pid:
            if clock.monotonic() > deadline:
                raise GatepostError("the packet capture does not end; try again", EX_TEMPFAIL)
            await asyncio.sleep(0.05)
        return self._last()

    def files(self) -> list[dict[str, Any]]:
        """Give the files, oldest first: name, capture that it is part of, size, time."""
        rows = []
        with suppress(OSError), os.scandir(self.folder) as found:
            for entry in found:
                with suppress(OSError):
                    facts = entry.stat(follow_symlinks=False)
                    if entry.is_file(follow_symlinks=False) and _NAME.fullmatch(entry.name):
                        row = {"name": entry.name, "capture": entry.name.split(".")[0], "bytes": facts.st_size}
                        rows.append(row | {"written_at": facts.st_mtime})
        return sorted(rows, key=lambda row: (row["capture"], row["name"]))

    def delete(self, names: list[str]) -> list[str]:
        """Delete files, or all files of captures, but not of the one that runs. Raises status 66, 75."""
        known = self.files()
        running = self.status()
        gone = []
        for name in names:
            found = [one for one in known if name in (one["name"], one["capture"])]
            if not found:
                raise GatepostError(f"{name!r}: no capture or file of that name; see packetcapture list", EX_NOINPUT)
            if running["running"] and found[0]["capture"] == running.get("name"):
                raise GatepostError(f"{name}: this capture runs; stop it first", EX_TEMPFAIL)
            for one in found:
                with suppress(FileNotFoundError):
                    (self.folder / str(one["name"])).unlink()
                gone.append(str(one["name"]))
        return gone


async def said_by(program: Program) -> dict[str, Any]:
    """Give the next document that the keeper writes; empty at its end."""
    async for line in program.lines():
        with suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                return found
    return {}


def finish(program: Program) -> None:
    """Let a capture end without waiting for it: at the end of a session."""
    program.release()

    async def reap() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await program.wait()
        await program.end()

    spawn(reap(), "packet capture ends")


def _refusal(done: Finished) -> GatepostError:
    reason = done.reason.removeprefix("tcpdump: ")
    if "permission" in reason.lower() or "not permitted" in reason.lower():
        text = "the console may not listen on network interfaces: run it as root, or give its unit CAP_NET_RAW"
        return GatepostError(f"packetcapture: {text} ({reason})", EX_UNAVAILABLE)
    return GatepostError(f"tcpdump does not take that: {reason}", EX_DATAERR)
