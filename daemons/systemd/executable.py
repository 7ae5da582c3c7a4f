"""The executable that the units are to start: found, and tried with the eyes of the daemons' users.

Raises `GatepostError` with the remedy for one that they could not start.
"""

import os
import stat
import sys
from pathlib import Path

from core.errors import EX_CONFIG, GatepostError
from daemons.systemd.units import STANDARD

_HIDDEN = tuple(Path(name) for name in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108
_REMEDY = "install into a folder such as /opt/gatepost (python3 -m venv /opt/gatepost) and run its gatepost"


def executable_for(root: Path, named: Path | None) -> Path:
    """Give the executable's path as the machine below `root` will see it; by default the one that runs this."""
    found = named or _running()
    for place in (root, root.resolve()):
        if found.is_relative_to(place):
            found = Path("/") / found.relative_to(place)
            break
    if root == Path("/") or (root / found.relative_to("/")).exists():
        _check(root, found)
    standard = Path(STANDARD)
    return standard if root == Path("/") and standard.exists() and standard.samefile(found) else found


def _running() -> Path:
    started = Path(sys.argv[0]).absolute()
    return started if started.name == "gatepost" else Path(sys.executable).with_name("gatepost")


def _check(root: Path, path: Path) -> None:
    inside = root / path.relative_to("/")
    if not inside.exists():
        raise GatepostError(f"{path}: is not there; {_REMEDY}", EX_CONFIG)
    needed = [inside.resolve()]
    if root == Path("/"):
        needed += [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), Path(__file__).resolve()]
    for place in needed:
        seen = Path("/") / place.relative_to(root.resolve()) if place.is_relative_to(root.resolve()) else place
        if any(seen.is_relative_to(folder) for folder in _HIDDEN):
            raise GatepostError(f"{seen}: units see neither home folders nor /tmp; {_REMEDY}", EX_CONFIG)
        closed = [one for one in (place, *place.parents) if not _passable(one)]
        if closed:
            text = f"{closed[0]}: closed to other users, and daemons are not root; chmod o+rx it, or {_REMEDY}"
            raise GatepostError(text, EX_CONFIG)


def _passable(path: Path) -> bool:
    mode = os.stat(path).st_mode
    needed = stat.S_IROTH | stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
    return mode & needed == needed
