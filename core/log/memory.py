"""What the keeper of the logs remembers between runs: what it has sent, and when it last looked.

One small file, replaced as a whole. One that cannot be read is begun anew: files are then sent once more.
"""

import json
from pathlib import Path
from typing import Any

from core.disk import Disk, replace_file
from core.log.follow import Place


class Memory:
    """The file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._disk = Disk()
        self.checked_at = 0.0
        """When roll-overs by time were last looked after, 0 = never."""
        self.sent: dict[str, set[str]] = {}
        """Names of the saved files that were sent, by subscription."""
        self.places: dict[str, Place] = {}
        """How far each syslog push has come, by subscription."""
        try:
            found = json.loads(path.read_text())
            self._take(found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self.sent, self.places = {}, {}

    def _take(self, found: dict[str, Any]) -> None:
        self.checked_at = float(found["checked_at"])
        self.sent = {name: {str(one) for one in names} for name, names in found["sent"].items()}
        self.places = {name: Place(int(inode), int(at)) for name, (inode, at) in found["places"].items()}

    def text(self) -> bytes:
        """Give what is to be written."""
        document = {
            "checked_at": self.checked_at,
            "sent": {name: sorted(names) for name, names in self.sent.items()},
            "places": self.places,
        }
        return json.dumps(document).encode()

    def save(self, text: bytes) -> None:
        """Write it, where that may take a while. Raises `OSError`."""
        replace_file(self._disk, self._path, text)
