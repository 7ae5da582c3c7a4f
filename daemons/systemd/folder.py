"""The machine's folder as the units have it: users, `run` and `log` where the system keeps such things, ownership.

`run` becomes a link to /run/gatepost, `log` one to /var/log/gatepost; what was in `log` goes along. All of the folder
belongs to the user gatepost but `keyd/`, which is keyd's user's. Doing it again changes nothing. Raises `GatepostError`
with the remedy.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from core.control import peer_pid
from core.errors import EX_CANTCREAT, EX_OSERR, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from tunnel.keyd.keyring import FOLDER as KEYD

FOLDER = Path("var/lib/gatepost")
CONFIG = FOLDER / "gatepost.toml"
_LINKS = {"run": Path("/run/gatepost"), "log": Path("/var/log/gatepost")}
_OWNER, _KEYD_OWNER = "gatepost", "gatepost-keyd"


def prepare(root: Path) -> None:
    """Make users and folders, link and give away the machine's folder below `root`."""
    _system("systemd-sysusers", root, "gatepost.conf")
    folder = root / FOLDER
    _check_stopped(folder / "run")
    _system("systemd-tmpfiles", root, "--create", "gatepost.conf")
    try:
        for name, target in _LINKS.items():
            _link(root, folder / name, target)
        _give_away(root, folder)
    except OSError as error:
        raise GatepostError(f"{error.filename or folder}: {error.strerror}; it is left as it is", EX_OSERR) from error


def release(root: Path) -> None:
    """Have sockets in the machine's own folder again, for daemons that are started without the units."""
    run = root / FOLDER / "run"
    if run.is_symlink():
        facts = run.parent.stat()
        run.unlink()
        run.mkdir(mode=0o700)
        os.chown(run, facts.st_uid, facts.st_gid)
        run.chmod(0o1770)


def _system(program: str, root: Path, *words: str) -> None:
    """Run one of systemd's own tools on the files that were just written."""
    path = shutil.which(program, path="/usr/bin:/bin")
    if path is None:
        raise GatepostError(f"{program} is not installed; as root: apt-get install systemd", EX_UNAVAILABLE)
    done = subprocess.run([path, f"--root={root}", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise GatepostError(f"{program}: {done.stderr.strip() or f'status {done.returncode}'}", EX_OSERR)


def _check_stopped(run: Path) -> None:
    """Refuse to move the sockets of daemons that run."""
    if run.is_symlink() or not run.is_dir():
        return
    alive = sorted(path.stem for path in run.glob("*.sock") if peer_pid(path))
    if alive:
        raise GatepostError(f"daemons of this machine run without units ({', '.join(alive)}); stop them", EX_TEMPFAIL)


def _link(root: Path, place: Path, target: Path) -> None:
    if place.is_symlink():
        return
    if place.name == "run":
        shutil.rmtree(place, ignore_errors=True)
    elif place.is_dir():
        _move(place, root / target.relative_to("/"))
    place.symlink_to(target)


def _move(old: Path, new: Path) -> None:
    taken = sorted({path.name for path in old.iterdir()} & {path.name for path in new.iterdir()})
    if taken:
        text = f"{old} and {new} both have {', '.join(taken)}; move one of each away, and do this again"
        raise GatepostError(text, EX_CANTCREAT)
    for path in list(old.iterdir()):
        shutil.move(path, new / path.name)
    old.rmdir()


def _give_away(root: Path, folder: Path) -> None:
    users = dict(_users(root))
    (owner, group), (keyd, _) = users[_OWNER], users[_KEYD_OWNER]
    logs = root / _LINKS["log"].relative_to("/")
    for place in (folder, logs):
        for path in [place, *place.rglob("*")]:
            user = keyd if path.is_relative_to(folder / KEYD) else owner
            facts = path.lstat()
            if (facts.st_uid, facts.st_gid) != (user, group):
                os.chown(path, user, group, follow_symlinks=False)
    folder.chmod(0o750)


def _users(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Give the users below `root` with the numbers of user and group."""
    for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines():
        fields = line.split(":")
        yield fields[0], (int(fields[2]), int(fields[3]))
