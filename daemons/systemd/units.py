"""The units that the suite brings, and where each of its files goes on a machine.

They lie in `systemd/` of a checkout and inside the installed package. As they are they start /usr/bin/gatepost; for
another executable that path is replaced. What depends on a machine's configuration is beside them (tailoring.py).
"""

import re
from collections.abc import Mapping
from pathlib import Path

from core.disk import Disk, replace_file

STANDARD = "/usr/bin/gatepost"
"""The executable of the Debian package, which brings the same files in /usr/lib."""
SYSTEM = Path("etc/systemd/system")
LINK, LINKED = SYSTEM / "gatepost-@.service.d", "gatepost-.service.d"
"""An instance's name matches no drop-in of its prefix alone: the same folder under the template's prefix."""
_CREDENTIAL = re.compile(r"^LoadCredential=(\w+):", re.MULTILINE)
_PLACES = {"sysusers.d": Path("etc/sysusers.d"), "tmpfiles.d": Path("etc/tmpfiles.d")}


def source() -> Path:
    """Give the folder of the units, installed or in a checkout."""
    installed = Path(__file__).parent / "units"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "systemd"


def unit_files(executable: Path) -> dict[Path, str]:
    """Give every file for a machine by its place below `/`; units start `executable`."""
    found = {}
    folder = source()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] != LINK.name:
            place = _PLACES.get(name.parts[0])
            target = SYSTEM / name if place is None else place / name.name
            found[target] = path.read_text(encoding="utf-8").replace(STANDARD, str(executable))
    return found


def credentials() -> list[str]:
    """Name the keys that systemd hands to units."""
    texts = (path.read_text(encoding="utf-8") for path in source().glob("*.service"))
    return sorted({name for text in texts for name in _CREDENTIAL.findall(text)})


def write(root: Path, files: Mapping[Path, str]) -> list[Path]:
    """Write files below `root`, but for those that a package has there in /usr/lib; gives those that were written."""
    written = []
    for name, text in files.items():
        path = root / name
        if _text(root / packaged(name)) == text:
            path.unlink(missing_ok=True)
        elif _text(path) != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(Disk(), path, text.encode(), mode=0o644)
            path.chmod(0o644)  # whatever the umask is
            written.append(name)
    link = root / LINK
    if not link.is_symlink() and (root / SYSTEM / LINKED).is_dir():
        link.symlink_to(LINKED)
    return written


def remove(root: Path, files: Mapping[Path, str]) -> list[Path]:
    """Remove what `write` made and folders that are empty then; gives the names."""
    gone = [name for name in files if (root / name).exists()]
    for name in gone:
        (root / name).unlink()
    (root / LINK).unlink(missing_ok=True)
    for folder in {(root / name).parent for name in gone}:
        if folder.name.startswith("gatepost-") and not any(folder.iterdir()):
            folder.rmdir()
    return gone


def packaged(name: Path) -> Path:
    """Give the place of a file where a package has brought it."""
    return Path("usr/lib", *name.parts[1:])


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None
