"""Programs of Debian packages that cannot be installed beside each other: unpacked, run in a mount namespace.

`bench/setup-peers` unpacks them into `bench/.peers/unpacked`. In the namespace their programs lie over `/usr/sbin`, and
folders of the benchmark lie over `/var/spool`, `/var/lib` and `/run`; the machine itself is not changed.
"""

import contextlib
import os
import subprocess
import time
from pathlib import Path

from bench.process import Usage, end_tree, usage_of

PEERS = Path(__file__).parents[1] / ".peers"
UNPACKED = PEERS / "unpacked"
_GROUPS = Path("/sys/fs/cgroup/cpuacct")

_COUNTED = """\
mkdir "$1" 2>/dev/null && echo $$ >"$1/cgroup.procs"
shift
exec unshare --mount --pid --fork --kill-child "$@"
"""
_ENTER = """\
set -e
mount -t overlay overlay -o "lowerdir=$1/usr/sbin:/usr/sbin" /usr/sbin
mount --bind "$2/spool" /var/spool
mount --bind "$2/lib" /var/lib
mount --bind "$2/run" /run
shift 2
exec "$@"
"""


class Extracted:
    """One such program with its folders."""

    def __init__(self, folder: Path, program: str) -> None:
        """`program` is its path below `/usr/sbin`. Raises `SystemExit` if it is not there."""
        if os.geteuid() != 0:
            raise SystemExit(f"bench: {program} starts as root only; run as root or leave it out of PEERS")
        if not (UNPACKED / "usr/sbin" / program).exists():
            raise SystemExit(f"bench: {program} is not unpacked; run bench/setup-peers")
        self._program = f"/usr/sbin/{program}"
        self.folder = folder
        for name in ("spool", "lib", "run"):
            (folder / name).mkdir(parents=True)
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None
        self._group = _GROUPS / f"gatepost-bench-{os.getpid()}-{program}"

    def start(self, *arguments: str) -> None:
        """Run it in the foreground."""
        # In a process namespace of its own, what it orphans becomes its child again, and counts as its cost.
        inner = ["sh", "-c", _ENTER, "enter", str(UNPACKED), str(self.folder), self._program, *arguments]
        argv = ["sh", "-c", _COUNTED, "counted", str(self._group), *inner]
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def usage(self) -> Usage:
        """Sum up its processes. Exim's children are nobody's children: only a control group knows what they used."""
        used = usage_of({self._process.pid} if self._process else set())
        with contextlib.suppress(OSError):
            used = Usage(int((self._group / "cpuacct.usage").read_text()) / 1e9, used.rss)
        return used

    def stop(self) -> None:
        """Kill it with all that it started."""
        if self._process is not None:
            end_tree(self._process.pid)
            self._process.wait()
        for _ in range(40):
            with contextlib.suppress(OSError):
                self._group.rmdir()
                return
            time.sleep(0.05)
