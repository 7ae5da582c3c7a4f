"""The command lines that a user typed, kept over sessions: one file per user, for its owner only, bounded.

Two sessions of a user write to the same file, each its own lines. What may hold a secret is not kept: options whose
name says so, lines that begin with a blank, and never an answer to a question, which is no command line. A file that
cannot be read or written costs nobody his session. Knows no terminal.
"""

import contextlib
import os
from pathlib import Path

from core.config import is_secret
from core.disk import Disk, replace_file

KEPT = 500
LONGEST = 1000
"""Characters of a line that is kept."""


class HistoryFile:
    """The history of one user."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0

    def lines(self) -> list[str]:
        """Give what is kept, the oldest first."""
        with contextlib.suppress(OSError):
            found = self._path.read_text("utf-8", "replace").splitlines()
            self._count = len(found)
            return found[-KEPT:]
        return []

    def add(self, line: str) -> None:
        """Keep a line."""
        if not remembered(line):
            return
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self._count >= 2 * KEPT:
                kept = "".join(f"{one}\n" for one in self.lines())
                replace_file(Disk(), self._path, kept.encode("utf-8", "replace"), mode=0o600)
                self._count = KEPT
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(file, f"{line}\n".encode("utf-8", "replace"))
            finally:
                os.close(file)
            self._count += 1


def remembered(line: str) -> bool:
    """Tell whether a command line may be kept."""
    if not line.strip() or line[0].isspace() or len(line) > LONGEST or not line.isprintable():
        return False
    return not any(is_secret(word.strip("-").partition("=")[0]) for word in line.split() if word.startswith("--"))
