"""Programs of Debian packages that cannot be installed beside each other: unpacked, run in a mount namespace.

`bench/setup-peers` unpacks them into `bench/.peers/root`. In the namespace their programs lie over `/usr/sbin`, and
folders of the benchmark lie over `/var/spool`, `/var/lib` and `/run`; the machine itself is not changed.
"""

import os
import subprocess
from pathlib import Path

from bench.process import end_tree

PEERS = Path(__file__).parents[1] / ".peers"
ROOT = PEERS / "root"

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
        if not (ROOT / "usr/sbin" / program).exists():
            raise SystemExit(f"bench: {program} is not unpacked; run bench/setup-peers")
        self._program = f"/usr/sbin/{program}"
        self.folder = folder
        for name in ("spool", "lib", "run"):
            (folder / name).mkdir(parents=True)
        for parent in (folder, *folder.parents[:2]):
            parent.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def roots(self) -> set[int]:
        """The process to begin with."""
        return {self._process.pid} if self._process else set()

    def start(self, *arguments: str) -> None:
        """Run it in the foreground."""
        argv = ["unshare", "-m", "sh", "-c", _ENTER, "enter", str(ROOT), str(self.folder), self._program, *arguments]
        with (self.folder / "output.log").open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log)

    def stop(self) -> None:
        """Kill it with all that it started."""
        if self._process is not None:
            end_tree(self._process.pid)
            self._process.wait()
