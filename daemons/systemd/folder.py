"""The machine's folder as the units have it: users, `run` and `log` where the system keeps such things, ownership.

`run` becomes a link to /run/gatepost, `log` one to /var/log/gatepost; what was in `log` goes along. All of the folder
belongs to the user gatepost but `keyd/`, which is keyd's user's. Keys that systemd hands over are copied to a folder of
root's. Doing it again changes nothing. Raises `GatepostError` with the remedy.
"""

import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from core.control import peer_pid
from core.disk import Disk, replace_file
from core.errors import EX_CANTCREAT, EX_NOPERM, EX_OSERR, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from daemons.systemd.units import credentials
from tunnel.keyd.keyring import FOLDER as KEYD

FOLDER = Path("var/lib/gatepost")
CONFIG = FOLDER / "gatepost.toml"
_STANDARD = Path("etc/gatepost/gatepost.toml")
_LINKS = {"run": Path("/run/gatepost"), "log": Path("/var/log/gatepost")}
CREDENTIALS = Path("etc/gatepost/credentials")
_LARGEST_KEY = 1 << 16
_HARD_LINKS = Path("/proc/sys/fs/protected_hardlinks")
OWNER, KEYD_OWNER = "gatepost", "gatepost-keyd"


def prepare(root: Path) -> None:
    """Make users and folders, link and give away the machine's folder below `root`."""
    _check_link(root)
    _system("systemd-sysusers", root, "gatepost.conf")
    folder = root / FOLDER
    _check_stopped(folder / "run")
    _system("systemd-tmpfiles", root, "--create", "gatepost.conf")
    users = dict(_users(root))
    try:
        _give_away(folder, users[OWNER], users[KEYD_OWNER][0])
        _give_away(root / _LINKS["log"].relative_to("/"), users[OWNER], users[KEYD_OWNER][0])
        folder.chmod(0o750)
    except OSError as error:
        raise GatepostError(f"{error.filename or folder}: {error.strerror}; it is left as it is", EX_OSERR) from error
    _as_user(root, users[OWNER], _link_all)
    _copy_keys(folder / "keys", root / CREDENTIALS, users[OWNER][0])


def undo(root: Path) -> None:
    """Have sockets in the machine's own folder again, for daemons that are started without the units."""
    shutil.rmtree(root / CREDENTIALS, ignore_errors=True)
    if (root / FOLDER / "run").is_symlink():
        facts = (root / FOLDER).stat()
        _as_user(root, (facts.st_uid, facts.st_gid), _unlink_run)


def _copy_keys(keys: Path, copies: Path, owner: int) -> None:
    """Copy what units get by LoadCredential= to where only root can say what a name stands for.

    systemd reads it as root and follows links; here a file counts that is one, and its user's own.
    """
    copies.mkdir(mode=0o700, exist_ok=True)
    for name in credentials():
        data = b""
        with suppress(OSError):
            descriptor = os.open(keys / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:
                facts = os.fstat(descriptor)
                if stat.S_ISREG(facts.st_mode) and facts.st_uid == owner:
                    data = file.read(_LARGEST_KEY)
        if data:
            replace_file(Disk(), copies / name, data, mode=0o600)
        else:
            (copies / name).unlink(missing_ok=True)


def _as_user(root: Path, user: tuple[int, int], work: Callable[[], None]) -> None:
    """Do work in a process that has no more rights than a user, below `root`; raises the `GatepostError` of it.

    The folder belongs to the daemons' user: one that was taken over could put a link in root's way at any moment.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        _end_with(root, user, work, writer)
    os.close(writer)
    with open(reader, "rb") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if said != b"ok":
        status, _, text = said.decode(errors="replace").partition(" ")
        raise GatepostError(text or "ended by itself", int(status or EX_OSERR))


def _end_with(root: Path, user: tuple[int, int], work: Callable[[], None], writer: int) -> NoReturn:
    """Be the process of `_as_user`: tell how the work went, and end."""
    said = f"{EX_OSERR} ended by an error of its own"
    try:
        if root != Path("/"):
            os.chroot(root)
        os.chdir("/")
        os.setgroups([])
        os.setgid(user[1])
        os.setuid(user[0])
        work()
        said = "ok"
    except GatepostError as error:
        said = f"{error.status} {error.text}"
    except OSError as error:
        said = f"{EX_OSERR} {error.filename or Path('/') / FOLDER}: {error.strerror or error}; it is left as it is"
    finally:
        os.write(writer, said.encode(errors="replace"))
        os._exit(0)


def _system(program: str, root: Path, *words: str) -> None:
    """Run one of systemd's own tools on the files that were just written."""
    path = shutil.which(program, path="/usr/bin:/bin")
    if path is None:
        raise GatepostError(f"{program} is not installed; as root: apt-get install systemd", EX_UNAVAILABLE)
    done = subprocess.run([path, f"--root={root}", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise GatepostError(f"{program}: {done.stderr.strip() or f'status {done.returncode}'}", EX_OSERR)


def _check_link(root: Path) -> None:
    """Refuse to go on beside a configuration that commands read and daemons do not."""
    place, ours = root / _STANDARD, root / CONFIG
    if place.is_file() and not place.is_symlink():
        text = f"{place} was a link to {ours}, and is a file of its own: an editor has put it there"
        raise GatepostError(f"{text}; to take it as the configuration: mv {place} {ours}", EX_CANTCREAT)


def _check_stopped(run: Path) -> None:
    """Refuse to move the sockets of daemons that run."""
    if run.is_symlink() or not run.is_dir():
        return
    alive = sorted(path.stem for path in run.glob("*.sock") if peer_pid(path))
    if alive:
        raise GatepostError(f"daemons of this machine run without units ({', '.join(alive)}); stop them", EX_TEMPFAIL)


def _link_all() -> None:
    """Have `run` and `log` lead to where the system keeps such things."""
    for name, target in _LINKS.items():
        place = "/" / FOLDER / name
        if not place.is_symlink():
            if name == "run":
                shutil.rmtree(place, ignore_errors=True)
            elif place.is_dir():
                _move(place, target)
            place.symlink_to(target)


def _unlink_run() -> None:
    run = "/" / FOLDER / "run"
    run.unlink()
    run.mkdir(mode=0o700)
    run.chmod(0o1770)


def _move(old: Path, new: Path) -> None:
    taken = sorted({path.name for path in old.iterdir()} & {path.name for path in new.iterdir()})
    if taken:
        text = f"{old} and {new} both have {', '.join(taken)}; move one of each away, and do this again"
        raise GatepostError(text, EX_CANTCREAT)
    for path in list(old.iterdir()):
        shutil.move(path, new / path.name)
    old.rmdir()


def _give_away(place: Path, user: tuple[int, int], keyd: int) -> None:
    """Give all of a folder to the daemons' user, and keyd's to keyd's, whatever is moved and linked there meanwhile.

    Everything is named by the open folder that it is in. What is keyd's already stays so, wherever it lies.
    """
    owner, group = user
    for number, (inside, folders, names, descriptor) in enumerate(os.fwalk(place)):
        if number == 0:
            os.fchown(descriptor, owner, group)
        top = Path(inside).relative_to(place).parts[:1]
        for name in (*folders, *names):
            wanted = keyd if (top or (name,)) == (KEYD,) else owner
            with suppress(FileNotFoundError):  # daemons may run
                facts = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                if (facts.st_uid, facts.st_gid) != (wanted, group) and (wanted == keyd or facts.st_uid != keyd):
                    _check_alone(Path(inside, name), facts)
                    os.chown(name, wanted, group, dir_fd=descriptor, follow_symlinks=False)


def _check_alone(path: Path, facts: os.stat_result) -> None:
    """Refuse a file with further names where anybody may give a name to a file of anybody."""
    if facts.st_nlink > 1 and stat.S_ISREG(facts.st_mode) and _HARD_LINKS.read_text("ascii").strip() == "0":
        text = f"{path}: has other names, which may be of root's files; sysctl fs.protected_hardlinks=1, and look at it"
        raise GatepostError(text, EX_NOPERM)


def _users(root: Path) -> Iterator[tuple[str, tuple[int, int]]]:
    """Give the users below `root` with the numbers of user and group."""
    for line in (root / "etc/passwd").read_text(encoding="utf-8").splitlines():
        fields = line.split(":")
        yield fields[0], (int(fields[2]), int(fields[3]))
