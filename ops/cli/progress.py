"""Progress of a long command: a bar that is drawn over itself on a terminal, a line now and then elsewhere.

Commands report to `Call.progress`; whoever has the screen makes one of these for each command. Writes nothing for a
command that is done at once.
"""

from collections.abc import Callable
from shutil import get_terminal_size
from typing import TextIO

from core.clock import Clock, monotonic
from ops.cli.display import cut, number

Progress = Callable[[int, int, str], None]
"""Takes what is done, of how much (0 = not known), and a few words; `done` below 0 ends the display."""

LINE_EVERY_S = 5.0
_BAR = 30
_PATIENCE_S = 0.3


def silent(_done: int, _total: int, _words: str) -> None:
    """Show nothing."""


class ProgressDisplay:
    """Shows one command's progress by writing to a screen or to standard error."""

    def __init__(self, write: Callable[[str], None], *, bar: bool, width: int = 80, now: Clock = monotonic) -> None:
        self._write = write
        self._bar = bar
        self._width = width or 80
        self._now = now
        self._shown_at = now() - (LINE_EVERY_S - _PATIENCE_S)
        self._began_at = now()
        self._drawn = 0

    def __call__(self, done: int, total: int, words: str) -> None:
        """Show how far it is; `done` below 0: take the bar away."""
        if done < 0:
            self._end()
        elif self._bar and self._now() - self._began_at >= _PATIENCE_S:
            self._draw(done, total, words)
        elif not self._bar and self._now() - self._shown_at >= LINE_EVERY_S:
            self._shown_at = self._now()
            self._write(f"{_share(done, total)}{words}\n")

    def _draw(self, done: int, total: int, words: str) -> None:
        filled = min(_BAR, _BAR * done // total) if total else 0
        line = cut(f"[{'#' * filled}{'.' * (_BAR - filled)}] {_share(done, total)}{words}", self._width - 1)
        self._write("\r" + line + " " * max(0, self._drawn - len(line)))
        self._drawn = len(line)

    def _end(self) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0


def progress_on(stream: TextIO) -> ProgressDisplay:
    """Make a display on this process's own terminal, or for lines in a file or pipe."""

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    bar = stream.isatty()
    return ProgressDisplay(write, bar=bar, width=get_terminal_size().columns if bar else 0)


def _share(done: int, total: int) -> str:
    if not total:
        return f"{number(done)} looked at, " if done else ""
    return f"{min(100, 100 * done // total)}% of {number(total)}, "
