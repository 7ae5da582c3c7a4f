"""Machines that boot a real systemd: Debian roots of `tests/setup-root` in systemd-nspawn, on a disk of their own.

A machine is layers that are only read (Debian, what was installed) below a small ext4 in a file, joined by overlayfs.
It stands in a network namespace (`tests/support/namespaces.py`) and in a control group of its own. Its mounts live in
a mount namespace that ends with it, and it ends with the tests, however they end. `cut_power` leaves on the disk what
was synced; `boot` goes on with that.
"""

import contextlib
import fcntl
import os
import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.lab import Ran, ran
from tests.support.namespaces import Host
from tests.support.need import not_allowed
from tests.support.volume import EXT4_IOC_SHUTDOWN, MEBIBYTE, NO_LOG_FLUSH
from tests.support.waiting import eventually

PROGRAMS = ("systemd-nspawn", "mmdebstrap", "mkfs.ext4", "nsenter", "unshare", "setpriv", "ip", "nft")
SETUP_ROOT = Path(__file__).parents[1] / "setup-root"
_GROUPS = Path("/sys/fs/cgroup")
_BOOT_S = 90.0
_DISK = 2048 * MEBIBYTE

_NAMESPACES = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
"""Mounts and processes of a machine vanish with one process, and that with the tests."""
_START = """
set -e
for group in $1; do echo $$ >"$group/cgroup.procs"; done
mount -o loop "$3/image" "$3/disk"
mkdir -p "$3/disk/upper" "$3/disk/work"
mount -t overlay overlay -o "lowerdir=$2,upperdir=$3/disk/upper,workdir=$3/disk/work" "$3/root"
shift 3
exec systemd-nspawn "$@"
"""
_INSTALL = """
set -e
for group in $1; do echo $$ >"$group/cgroup.procs"; done
mount -t overlay overlay -o "lowerdir=$2,upperdir=$3/layer,workdir=$3/work" "$3/root"
shift 3
exec systemd-nspawn "$@"
"""
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}


def debian() -> Path:
    """Give the folder of the Debian root, made if need be; skips where none can be made."""
    made = subprocess.run([SETUP_ROOT, "--tree"], capture_output=True, text=True, check=False)
    if made.returncode:
        not_allowed(made.stderr.strip())
    return Path(made.stdout.strip())


class Machine:
    """One machine; give `lower` from the uppermost layer down, and the far end of its cable: namespace and device."""

    def __init__(self, folder: Path, host: Host, lower: Sequence[Path], cable: tuple[str, str]) -> None:
        self.host, self.lower, self._dir, self._cable = host, lower, folder, cable
        self.name = host.namespace
        self._process: subprocess.Popen[bytes] | None = None
        self._first = 0
        for one in ("disk", "root"):
            (folder / one).mkdir(parents=True)
        with (folder / "image").open("wb") as file:
            file.truncate(_DISK)
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", folder / "image"], check=True, capture_output=True)

    # -- power ---------------------------------------------------------------------------------------------------

    def boot(self) -> None:
        """Switch it on and wait until it has started all that it starts by itself."""
        self.switch_on()
        self.wait_booted()

    def switch_on(self, *options: str) -> None:
        """Start it without waiting; options are those of systemd-nspawn."""
        groups = _make_groups(self.name)
        words = ["--quiet", "--directory", str(self._dir / "root"), "--machine", self.name, "--register=no"]
        words += ["--keep-unit", "--console=pipe", "--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        words += [f"--network-namespace-path=/run/netns/{self.name}", *(options or ["--boot"])]
        places = [" ".join(map(str, groups)), ":".join(map(str, self.lower)), str(self._dir)]
        inside = [*_NAMESPACES, "sh", "-c", _START, "machine", *places, *words]
        self._plug("up")
        with (self._dir / "console").open("ab") as console:
            self._process = subprocess.Popen(
                inside,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                env=_ENVIRONMENT,
            )

    def wait_booted(self) -> None:
        """Wait until the boot has come to its end; a unit that failed is no error here."""

        def up() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, f"{self.name} does not boot:\n{self.console()}"
            self._first = _child(_child(self._process.pid))
            return self._first > 0 and self.state() in ("running", "degraded", "maintenance")

        eventually(up, f"{self.name} has booted", within_s=_BOOT_S, despite=(OSError,))

    def state(self) -> str:
        """Say how systemd finds itself: `running`, `degraded`, `starting` …"""
        return self.run("systemctl", "is-system-running", check=False).out.strip()

    def cut_power(self) -> None:
        """Pull the plug: nobody is told, and what is not on the disk now never will be."""
        assert self._process is not None
        self._plug("down")
        disk = os.open(f"/proc/{_child(self._process.pid)}/root{self._dir}/disk", os.O_RDONLY)
        try:
            fcntl.ioctl(disk, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH)
        finally:
            os.close(disk)
        self._process.kill()
        self._ended()

    def stop(self) -> None:
        """Shut it down as an administrator does, and wait until it is off."""
        assert self._process is not None
        os.kill(_child(self._process.pid), signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(60)
        self.remove()

    def remove(self) -> None:
        """End whatever still runs; the disk stays as it is."""
        if self._process is not None:
            self._process.kill()
            self._ended()

    def _plug(self, state: str) -> None:
        namespace, device = self._cable
        subprocess.run(["ip", "-n", namespace, "link", "set", device, state], check=True, capture_output=True)

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._process, self._first = None, 0
        for group in _groups(self.name):
            eventually(lambda group=group: _remove_group(group), f"{group} is empty")  # type: ignore[misc]
        eventually(self._disk_is_free, f"nobody uses the disk of {self.name}")

    def _disk_is_free(self) -> bool:
        found = subprocess.run(["losetup", "--associated", self._dir / "image"], capture_output=True, check=True)
        return not found.stdout

    # -- inside --------------------------------------------------------------------------------------------------

    def words(self, *command: str) -> list[str]:
        """Give the command line that runs a command in the machine, as root."""
        clean = ["env", "-i", *(f"{name}={value}" for name, value in _ENVIRONMENT.items())]
        return ["nsenter", "--target", str(self._first), "--all", "--", *clean, *command]

    def run(self, *command: str, stdin: str = "", check: bool = True, within_s: float = 60) -> Ran:
        """Run a command in the machine, as root; an AssertionError shows what it said if it fails."""
        done = ran(self.words(*command), stdin=stdin, within_s=within_s)
        assert done.status == 0 or not check, f"{self.name}: {' '.join(command)}: {done}"
        return done

    def start(self, *command: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command in the machine; ending it is the caller's."""
        return subprocess.Popen(self.words(*command), **options)

    def path(self, inside: str) -> Path:
        """Give the way to a file of the machine while it runs."""
        return Path(f"/proc/{self._first}/root{inside}")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Give properties of a unit."""
        shown = self.run("systemctl", "show", unit, "--property", ",".join(properties)).out
        return dict(line.split("=", 1) for line in shown.splitlines())

    def journal(self, unit: str) -> list[str]:
        """Give the messages of a unit and of systemd about it since it was booted."""
        return self.run("journalctl", "--boot", "--output=cat", "--unit", unit).out.splitlines()

    def said(self, unit: str) -> list[str]:
        """Give what a unit itself has said since it was started last."""
        invocation = self.show(unit, "InvocationID")["InvocationID"]
        return self.run("journalctl", "--output=cat", f"_SYSTEMD_INVOCATION_ID={invocation}").out.splitlines()

    def console(self) -> str:
        """Give the end of what it wrote to its console."""
        return (self._dir / "console").read_text(errors="replace")[-3000:]


def install(folder: Path, lower: Sequence[Path], script: str, *options: str) -> Path:
    """Run a script in a root that is not booted, and give the layer of what it wrote; options as of systemd-nspawn."""
    for one in ("layer", "work", "root"):
        (folder / one).mkdir(parents=True)
    words = ["--quiet", "--directory", str(folder / "root"), "--as-pid2", "--register=no", "--keep-unit"]
    words += ["--pipe", "--private-network", "--resolv-conf=off", *options, "sh", "-ec", script]
    name = f"gp{os.getpid()}-install"
    groups = _make_groups(name)
    places = [" ".join(map(str, groups)), ":".join(map(str, lower)), str(folder)]
    try:
        done = ran([*_NAMESPACES, "sh", "-c", _INSTALL, "install", *places, *words], within_s=300)
    finally:
        for group in groups:
            eventually(lambda group=group: _remove_group(group), f"{group} is empty")  # type: ignore[misc]
    assert done.status == 0, done
    return folder / "layer"


def _child(pid: int) -> int:
    """Give the first child of a process, 0 for none."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split() if pid else []
    return int(found[0]) if found else 0


def _groups(name: str) -> list[Path]:
    """Name the control groups of a machine, in each hierarchy that systemd uses."""
    versions = [_GROUPS / one for one in ("systemd", "unified") if (_GROUPS / one).is_dir()]
    return [top / name for top in versions or [_GROUPS]]


def _make_groups(name: str) -> list[Path]:
    """Make the control groups of a machine; those whose tests were killed go."""
    groups = _groups(name)
    for group in groups:
        for old in group.parent.glob("gp*-*"):
            made = re.fullmatch(r"gp(\d+)-\d*-?[a-z]+", old.name)
            if made is not None and not Path(f"/proc/{made[1]}").exists():
                _remove_group(old)
        group.mkdir()
    return groups


def _remove_group(group: Path) -> bool:
    """Remove a group with those in it; False while a process is there."""
    with contextlib.suppress(FileNotFoundError):
        for folder, _, _ in os.walk(group, topdown=False):
            try:
                os.rmdir(folder)
            except OSError:
                return False
    return True
