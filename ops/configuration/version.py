"""The numbered versions of the configuration: `NNNNNN.toml` in `Place.versions`, the last twenty.

Each is what the file in force was, below two lines of comment that say when, by whom and why. A version that is being
committed ends in `.new` until the daemons go by it; what a crash leaves of that, `settle` finishes or removes.
Used by `commit` and the commands about versions, under the lock of a commit. Raises `GatepostError`.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import msgspec

from core.errors import EX_NOINPUT, GatepostError
from core.switch import content_digest
from ops.configuration.place import Place, Tables, parse

KEPT = 20
OFFERED = 10
_HEAD = "#version "
_LONGEST_HEAD = 1 << 20
"""Characters; a head of a hundred changes and a long comment has some 200,000."""


@dataclass(frozen=True)
class Version:
    """What is known of one version."""

    number: int
    at: float
    user: str
    source: str
    comment: str
    digest: str
    """Of the text without the head."""
    saved: bool = True
    """Whether it is offered to be gone back to."""
    sections: tuple[str, ...] = ()
    """What it changed."""
    changes: tuple[str, ...] = ()
    """The changes as their makers called them."""
    restart: tuple[str, ...] = ()
    """What of it counts after a restart, as `DAEMON: KEY`."""


class Versions:
    """The versions of one machine."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def all(self) -> list[Version]:
        """Give the versions that there are, the newest first."""
        found = [_read(path) for path in self._place.versions.glob("*.toml")]
        return sorted((one for one in found if one is not None), key=lambda one: -one.number)

    def offered(self) -> Sequence[Version]:
        """Give those that one can go back to, the newest first."""
        return [one for one in self.all() if one.saved][:OFFERED]

    def newest(self) -> Version | None:
        """Give the newest."""
        return next(iter(self.all()), None)

    def text(self, number: int) -> str:
        """Give the configuration of a version. Raises status 66 if there is none of that number."""
        try:
            text = self._path(number).read_text(encoding="utf-8")
        except OSError:
            there = ", ".join(str(one.number) for one in self.offered())
            raise GatepostError(f"there is no version {number}; there are: {there or 'none'}", EX_NOINPUT) from None
        return _body(text)

    def tables(self, number: int) -> Tables:
        """Give the configuration of a version as plain tables. Raises status 66 if there is none of that number."""
        return parse(self.text(number), self._path(number)).tables

    def begin(self, version: Version, text: str) -> None:
        """Write a version that is about to be in force."""
        self._place.write(self._begun(version.number), _with_head(version, text))

    def finish(self, version: Version) -> None:
        """Count a version that is in force now, and forget the oldest."""
        disk = self._place.disk
        disk.rename(self._begun(version.number), self._path(version.number))
        disk.fsync_directory(self._place.versions)
        for path in sorted(self._place.versions.glob("*.toml"))[:-KEPT]:
            disk.unlink(path)

    def abandon(self, version: Version) -> None:
        """Forget a version that was begun."""
        self._place.disk.unlink(self._begun(version.number))

    def settle(self, digest: str) -> None:
        """Finish what a commit left that was killed: a version that is in force counts, another never was."""
        for path in self._place.versions.glob("*.toml.new"):
            version = _read(path)
            if version is not None and version.digest == digest:
                self.finish(version)
            else:
                self._place.disk.unlink(path)
        for path in self._place.versions.glob("*.new.new"):
            self._place.disk.unlink(path)

    def _path(self, number: int) -> Path:
        return self._place.versions / f"{number:06}.toml"

    def _begun(self, number: int) -> Path:
        return self._place.versions / f"{number:06}.toml.new"


def _with_head(version: Version, text: str) -> str:
    facts = json.dumps(asdict(version)).replace("\x7f", "\\u007f")
    return f"{_HEAD}{facts}\n# A copy for `rollbackconfig`; what is in force is gatepost.toml.\n{text}"


def _body(text: str) -> str:
    return text.split("\n", 2)[2] if text.startswith(_HEAD) else text


def _read(path: Path) -> Version | None:
    """Read the head of a version; None for a file that is none; what a newer release noted besides is passed over."""
    try:
        with path.open(encoding="utf-8") as file:
            head = file.readline(_LONGEST_HEAD)
        return msgspec.json.decode(head.removeprefix(_HEAD), type=Version)
    except (OSError, ValueError, msgspec.DecodeError):
        return None


def version_of(number: int, text: str, *, at: float, user: str, source: str = "", comment: str = "") -> Version:
    """Make the facts of a version of that text."""
    return Version(number, at, user, source, comment, content_digest(text.encode()))
