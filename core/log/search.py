"""Searching logs line by line for a regular expression, in linear time whatever the expression.

`Search` works in steps, so that whoever runs it may do so in a thread and show what was found in between. Blocks that
cannot hold a match are not split into lines.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from core.log.reading import blocks, size_of
from core.regex import compile_pattern

_ANCHORS = ("\\A", "\\z", "^", "$")
_STEP = 4 << 20


class Search:
    """One search over files."""

    def __init__(
        self,
        regex: str,
        files: Sequence[Path],
        *,
        insensitive: bool = False,
        inverted: bool = False,
        context: int = 0,
    ) -> None:
        """Raises `RegexError`."""
        flags = "(?i)" if insensitive else ""
        self._pattern = compile_pattern(f"{flags}{regex}" if flags else regex)
        self._whole_blocks = not (inverted or context or any(one in regex for one in _ANCHORS))
        self._inverted = inverted
        self._context = context
        self._blocks = blocks(files)
        self._before: deque[bytes] = deque(maxlen=context)
        self._after = 0
        self._gap = False
        self._any = False
        self.total = size_of(files)
        self.done = 0
        """Octets looked at."""
        self.ended = False

    def step(self) -> list[bytes]:
        """Look at some more; give the lines found, with those around them. A line `--` parts groups of those."""
        found: list[bytes] = []
        until = self.done + _STEP
        while self.done < until and len(found) < 10_000:
            block = next(self._blocks, None)
            if block is None:
                self.ended = True
                break
            self.done += len(block)
            if self._whole_blocks and self._pattern.search(block) is None:
                continue
            found += self._lines(block)
        return found

    def fits(self, line: bytes) -> bool:
        """Tell whether a single line is one of those searched for."""
        return (self._pattern.search(line) is None) is self._inverted

    def _lines(self, block: bytes) -> Iterator[bytes]:
        fits = self.fits
        for line in block[:-1].split(b"\n"):
            if fits(line):
                if self._gap and self._any:
                    yield b"--"
                self._any = True
                yield from self._before
                self._before.clear()
                self._after, self._gap = self._context, False
                yield line
            elif self._after:
                self._after -= 1
                yield line
            elif self._context:
                self._gap = self._gap or len(self._before) == self._context
                self._before.append(line)
