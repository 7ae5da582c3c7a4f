"""The process that keeps one capture: holds the machine's lock, runs tcpdump, writes the ring, notices every end.

Started by `capture.py` with the plan as one word of JSON; it has a process of its own so that packets never wait for a
console, nor a console for a disk. It ends the capture when its standard input ends (whoever started it has closed it,
or was killed), on SIGTERM (another session's `stop`), when time or size is reached, when the disk has no room, and
when tcpdump ends. tcpdump runs under a user of its own with no right but to listen, cannot write to any file, and is
killed by the kernel if the keeper dies. What happened last stands in `state/capture-last.json`. The standard library
and the ring only: it starts in a moment.
"""

import fcntl
import json
import os
import pwd
import selectors
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from ops.network.capture.ring import NotAPcap, Ring, RingFull

FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
USER = "tcpdump"
_LOOK_S = 0.5
_HELD_S = 1.2
"""The kernel hands packets over when a block of them is full, or after a second: so long a stop waits for the last."""
_END_S = 3.0
_READ = 1 << 18
_ERROR_LIMIT = 4096


def confined(argv: list[str], user: str = USER) -> list[str]:
    """Give the command line that runs tcpdump with as little as it needs: no file, few descriptors, one right."""
    path = {name: shutil.which(name, path=FOLDERS) or name for name in ("prlimit", "setpriv", argv[0])}
    guard = [path["setpriv"], "--no-new-privs", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        try:
            who = pwd.getpwnam(user)
        except KeyError:
            who = pwd.getpwnam("nobody")
        guard += ["--reuid", str(who.pw_uid), "--regid", str(who.pw_gid), "--clear-groups"]
        guard += ["--inh-caps", "-all,+net_raw", "--ambient-caps", "-all,+net_raw", "--bounding-set", "-all,+net_raw"]
    limits = [path["prlimit"], "--fsize=0", "--nofile=64", "--core=0", "--"]
    return [*limits, *guard, "--", path[argv[0]], *argv[1:]]


class Keeper:
    """One capture from its beginning to its end."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._plan = plan
        self._folder = Path(plan["folder"])
        self._stopped = ""
        self._complaint = b""

    def run(self) -> int:
        """Capture; gives the exit status."""
        lock = os.open(self._folder / "run" / "capture.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._say({"refused": "a packet capture runs already; one at a time"})
            return 75
        signal.signal(signal.SIGTERM, self._on_term)
        captures = self._folder / "captures"
        captures.mkdir(mode=0o750, exist_ok=True)
        plan = self._plan
        ring = Ring(
            captures, plan["name"], max_bytes=plan["max_bytes"], parts=plan["parts"], drop=not plan["until_full"]
        )
        facts = {key: plan[key] for key in ("name", "by", "interface", "filter", "max_bytes", "duration_s")}
        facts["started_at"] = time.time()
        self._note(facts)
        try:
            reason = self._capture(ring)
        finally:
            ring.end()
        facts |= {"ended_at": time.time(), "reason": reason, "packets": ring.packets, "bytes": ring.octets}
        facts |= {"dropped_parts": ring.dropped_parts}
        self._note(facts)
        self._say(facts)
        return 0

    def _on_term(self, _number: int, _frame: object) -> None:
        self._stopped = "stopped"

    def _say(self, facts: dict[str, Any]) -> None:
        try:
            sys.stdout.write(json.dumps(facts) + "\n")
            sys.stdout.flush()
        except OSError:
            self._stopped = self._stopped or "its session ended"  # nobody listens any more: the note is there

    def _note(self, facts: dict[str, Any]) -> None:
        file = self._folder / "state" / "capture-last.json"
        draft = file.with_suffix(".new")
        try:
            file.parent.mkdir(mode=0o750, exist_ok=True)
            draft.write_text(json.dumps(facts))
            draft.replace(file)
        except OSError as error:
            sys.stderr.write(f"{file}: {error}\n")

    def _capture(self, ring: Ring) -> str:
        """Run tcpdump and write what it gives; tells why it ended."""
        try:
            child = subprocess.Popen(
                confined(self._plan["argv"]),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env={"PATH": FOLDERS, "LC_ALL": "C", "TZ": "UTC"},
            )
        except OSError as error:
            return f"tcpdump cannot be started: {error.strerror}"
        try:
            return self._follow(child, ring)
        except RingFull:
            return "the maximum size is reached"
        except NotAPcap:
            return "tcpdump wrote what is no capture"
        except OSError as error:
            return f"the disk takes no more: {error.strerror}"
        finally:
            child.kill()
            child.wait()

    def _follow(self, child: "subprocess.Popen[bytes]", ring: Ring) -> str:
        assert child.stdout is not None
        assert child.stderr is not None
        began, ending = time.monotonic(), 0.0
        with selectors.DefaultSelector() as sources:
            for source in (sys.stdin.buffer, child.stdout, child.stderr):
                sources.register(source, selectors.EVENT_READ)
            while True:
                for key, _ in sources.select(_LOOK_S):
                    if not self._take(key.fileobj, child, ring, sources):
                        return self._stopped or self._last_words(child)
                now = time.monotonic()
                reason = self._stopped or self._over(now - began)
                if reason and not ending:
                    self._stopped, ending = reason, now
                if ending and now > ending + _HELD_S:
                    child.send_signal(signal.SIGINT)
                if ending and now > ending + _HELD_S + _END_S:
                    return self._stopped

    def _take(self, source: Any, child: "subprocess.Popen[bytes]", ring: Ring, sources: Any) -> bool:
        """Read from one source; false when tcpdump's output has ended."""
        data = os.read(source.fileno(), _READ)
        if source is child.stdout:
            if data and not ring.octets:  # tcpdump listens: the head of its file comes first
                self._say({"started": self._plan["name"]})
            ring.write(data)
            return bool(data)
        if not data:
            sources.unregister(source)
        if source is child.stderr:
            self._complaint = (self._complaint + data)[-_ERROR_LIMIT:]
        elif not data:
            self._stopped = self._stopped or "its session ended"
        return True

    def _over(self, elapsed_s: float) -> str:
        duration_s = self._plan["duration_s"]
        if duration_s and elapsed_s >= duration_s:
            return "the time is over"
        disk = os.statvfs(self._folder)
        if disk.f_bavail * disk.f_frsize < self._plan["least_free"]:
            return "the disk has no more room for captures"
        return ""

    def _last_words(self, child: "subprocess.Popen[bytes]") -> str:
        assert child.stderr is not None
        self._complaint = (self._complaint + os.read(child.stderr.fileno(), _ERROR_LIMIT))[-_ERROR_LIMIT:]
        lines = self._complaint.decode("utf-8", "replace").strip().splitlines()
        return f"tcpdump ended: {lines[-1] if lines else f'status {child.wait()}'}"


if __name__ == "__main__":
    sys.exit(Keeper(json.loads(sys.argv[1])).run())
