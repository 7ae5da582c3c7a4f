"""Progress and tables for the lab's commands: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Sequence

_WIDTH = 32


class Bar:
    """A progress bar; without a terminal it prints a line when it is done."""

    def __init__(self, title: str, total: int) -> None:
        self._title = title
        self._total = total
        self._done = 0
        self._drawn_at = 0.0
        self._terminal = sys.stdout.isatty()
        self._draw()

    def step(self, n: int = 1) -> None:
        """Go `n` further."""
        self.to(self._done + n)

    def to(self, done: int) -> None:
        """Stand at `done`."""
        self._done = done
        if time.monotonic() - self._drawn_at > 0.05 or done >= self._total:
            self._draw()

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        if self._terminal:
            filled = _WIDTH * self._done // max(1, self._total)
            end = "\n" if self._done >= self._total else ""
            print(f"\r  {self._title:34} [{'#' * filled:{_WIDTH}}] {self._done}/{self._total}", end=end, flush=True)
        elif self._done >= self._total:
            print(f"  {self._title:34} {self._done}/{self._total}", flush=True)


def say(text: str) -> None:
    """Print one line of what is going on."""
    print(f"  {text}", flush=True)


def table(rows: Sequence[tuple[str, int, int, str]]) -> None:
    """Print what was expected and what was found, row by row."""
    width = max(len(name) for name, *_ in rows)
    print(f"\n  {'':{width}} {'expected':>9} {'found':>9}")
    for name, expected, found, note in rows:
        verdict = "ok" if expected == found and not note else f"WRONG {note}"
        print(f"  {name:{width}} {expected:9} {found:9}  {verdict}")
