"""Which machine a command is about where none is named, and the user whom it belongs to.

Commands that take `--config` describe it by `add_config`. Those that read and write a machine's files act as its owner:
root becomes that user before anything is opened, so that no file is left that the daemons cannot write. What the
command line names and root may read, such as a key in root's home folder, a command reads before that: its parser's
default `read_first`. Raises nothing for a machine that is not there: whoever opens it says so.
"""

import argparse
import os
import pwd
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from core.errors import EX_NOPERM, GatepostError

STANDARD = Path("/etc/gatepost/gatepost.toml")
VARIABLE = "GATEPOST_CONFIG"
_MOST_LINKS = 40
_HELP = f"the machine's gatepost.toml (default: ${VARIABLE}, else {STANDARD})"


def standard_config() -> Path:
    """Give the configuration of this machine where the command line names none."""
    return Path(os.environ.get(VARIABLE) or STANDARD)


def add_config(parser: argparse.ArgumentParser, *, as_owner: bool = True) -> None:
    """Give a command its `--config`; with `as_owner` root becomes the machine's owner before it acts."""
    parser.add_argument("--config", type=Path, default=standard_config(), metavar="FILE", help=_HELP)
    parser.set_defaults(as_owner=as_owner)


def owner_of(config: Path) -> int:
    """Give the user id whom the machine's folder belongs to; that of this process where there is no folder.

    A link counts with the folder that it stands in: where root follows the link of another user, that user decides
    where it leads, so root acts as that user.
    """
    return _owner_of(config)[0]


def _owner_of(config: Path) -> tuple[int, int]:
    place = Path(os.path.abspath(config))
    try:
        for _ in range(_MOST_LINKS):
            folder = place.parent.resolve()
            facts = folder.stat()
            if facts.st_uid != 0 or not place.is_symlink():
                return facts.st_uid, facts.st_gid
            place = Path(os.path.abspath(folder / place.readlink()))
    except OSError:
        pass
    return os.geteuid(), os.getegid()


def name_of(uid: int) -> str:
    """Give a user's name, or the number of one who has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def act_as_owner(config: Path) -> bool:
    """Have root go on as the machine's owner, for good; tell whether that was done. Raises status 77."""
    uid = owner_of(config)
    if os.geteuid() != 0 or uid == 0:
        return False
    try:
        _become(uid, config)
    except PermissionError as error:  # a container's root may have no right to
        text = f"{config}: the machine is of {name_of(uid)}; root may not become that user here: run it as that user"
        raise GatepostError(text, EX_NOPERM) from error
    return True


def _become(uid: int, config: Path) -> None:
    try:
        user = pwd.getpwuid(uid)
    except KeyError:  # a container's user, say: only the numbers are known
        os.setgroups([])
        os.setgid(_owner_of(config)[1])
    else:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.environ.update(HOME=user.pw_dir, USER=user.pw_name, LOGNAME=user.pw_name)
    os.setuid(uid)


@contextmanager
def acting_as(uid: int) -> Iterator[None]:
    """Have root open and write files as another user for a while: what that user's folders lead to is that user's."""
    before = os.geteuid(), os.getegid(), os.getgroups()
    if os.getuid() != 0 or uid == before[0]:
        yield
        return
    try:
        user = pwd.getpwuid(uid)
        groups, group = os.getgrouplist(user.pw_name, user.pw_gid), user.pw_gid
    except KeyError:
        groups, group = [], uid
    _switch(uid, group, groups)
    try:
        yield
    finally:
        _switch(*before)


def _switch(uid: int, gid: int, groups: Sequence[int]) -> None:
    os.seteuid(0)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)


def remark(error: BaseException) -> str:
    """Say what to do about a file that root could have opened and the owner may not; '' for other errors."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, PermissionError):
        cause = cause.__cause__ or cause.__context__
    if cause is None:
        return ""
    return f"; root acts as {name_of(os.geteuid())}, whose machine this is: use a file that this user may get at"
