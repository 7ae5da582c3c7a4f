"""A real PostgreSQL for one test run: Debian's package, its data in a folder of the test's, reached over a socket.

It runs as `postgres` where the tests run as root, since it refuses to be root itself.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
BIN = _PROGRAMS[-1] if _PROGRAMS else Path("/usr/lib/postgresql/none/bin")
INITDB = str(BIN / "initdb")


class Server:
    """A server that can be stopped, killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"
        self._count = 0
        self._run(INITDB, "--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "-D", str(self._data))

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=60"
        log = str(self.folder / "log")
        self._run(str(BIN / "pg_ctl"), "-w", "-D", str(self._data), "-l", log, "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: `fast`, or `immediate` as if it had died."""
        self._run(str(BIN / "pg_ctl"), "-w", "-D", str(self._data), "-m", mode, "stop")

    def database(self) -> str:
        """Make a new database and give its address."""
        self._count += 1
        name = f"test{self._count}"
        self._run(str(BIN / "createdb"), "-h", str(self.folder), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def _run(self, *words: str) -> None:
        as_postgres = ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []
        done = subprocess.run(
            [*as_postgres, *words], cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{words[0]}: {done.stdout}{done.stderr}"


@contextmanager
def server() -> Iterator[Server]:
    """Run a server; its folder is short, since a socket's name may have 107 octets only."""
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        if os.getuid() == 0:
            shutil.chown(folder, "postgres")
        running = Server(folder)
        running.start()
        try:
            yield running
        finally:
            running.stop()
    finally:
        shutil.rmtree(folder)
