"""What is typed into a terminal that somebody else owns: keys that wait in bounds, and are used in turns.

For `ops/cli/terminal.py`. Whoever types may be a program that sends megabytes: the loop goes on between some keys and
the next, and what would multiply (counts, macros) is left out. Knows no question and draws nothing.
"""

import asyncio
import re
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import clear_typeahead, get_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.keys import Keys

LONGEST_LINE = 4096
"""Characters of a line that is typed; what goes beyond is dropped."""
_WAITING = 65_536
"""Characters that wait at most, and a packet."""
_A_TURN = 64
"""Characters, or texts, that are used in one turn of the loop: some milliseconds of it."""
_COUNTS = frozenset("0123456789-")
_COSTLY = frozenset({Keys.ControlI, Keys.ControlM, Keys.ControlJ})
"""Keys that do so much, completing for one, that a turn ends with them."""
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f]+")
_slots: set[int] = set()


class _Parser(Vt100Parser):
    """Finds keys in what terminals send. What is pasted is typed: the library would keep a paste until it ends."""

    def __init__(self, take: Callable[[KeyPress], None]) -> None:
        super().__init__(take)
        self.open = 0
        """Characters of a sequence that has not ended."""

    def feed(self, data: str) -> None:
        self.open += len(data)
        super().feed(data)

    def _call_handler(self, key: str | Keys | tuple[Keys, ...], insert_text: str) -> None:
        if not isinstance(key, tuple):
            self.open -= len(insert_text)
        if key != Keys.BracketedPaste:
            super()._call_handler(key, insert_text)


class Keyboard(Input):
    """Input that is fed by calls instead of a descriptor, and used in turns, so that no flood holds the loop up."""

    def __init__(self) -> None:
        self._typed = ""
        self._used = 0
        """How much of that was looked at."""
        self._pressed: deque[KeyPress] = deque()
        self._parser = _Parser(self._take)
        self._after_escape = False
        self.ready: Callable[[], None] | None = None
        self._closed = False
        self._slot = -1

    def feed(self, text: str) -> None:
        if self._left < _WAITING:
            self._typed, self._used = self._typed[self._used :] + text, 0
        self._wake()

    @property
    def _left(self) -> int:
        return len(self._typed) - self._used + len(self._pressed)

    @property
    def full(self) -> bool:
        """Whether enough waits."""
        return self._left >= _WAITING // 2

    def _take(self, press: KeyPress) -> None:
        """Keep a key, unless it is one that multiplies others: ten would insert a gigabyte."""
        after_escape, self._after_escape = self._after_escape, press.key == Keys.Escape
        if press.key != Keys.ControlX and not (after_escape and press.key in _COUNTS):
            self._pressed.append(press)

    def _look(self) -> None:
        """Find the next key; text without control characters, which a paste is, is one."""
        run = None if self._parser.open or self._after_escape else _TEXT.match(self._typed, self._used)
        if run is None:
            self._parser.feed(self._typed[self._used])
            self._used += 1
        else:
            self._pressed.append(KeyPress(run[0][0], run[0][:LONGEST_LINE]))
            self._used = run.end()

    def close(self) -> None:
        self._closed = True
        self._wake()

    @contextmanager
    def named(self) -> Iterator[None]:
        """Have a name. The library keeps type-ahead by it for ever; reused names keep that table small.

        A name is given back only when nothing is left under it: the next who has it is another user.
        """
        self._slot = next(n for n in range(len(_slots) + 1) if n not in _slots)
        _slots.add(self._slot)
        try:
            yield
        finally:
            clear_typeahead(self)
            _slots.discard(self._slot)

    @property
    def waiting(self) -> int:
        """How many keys were pressed that no question has used.

        Those that the last question left over are taken back: the library would use them before the next is ready.
        """
        self._pressed.extendleft(reversed(get_typeahead(self)))
        return self._left

    @property
    def spent(self) -> bool:
        """True when the input has ended and all that was typed before has been used; to be asked before a question."""
        return not self.waiting and self._closed

    def _wake(self) -> None:
        if self.ready is not None:
            self.ready()

    @property
    def closed(self) -> bool:
        return self._closed and not self._left

    def read_keys(self) -> list[KeyPress]:
        for _ in range(_A_TURN):
            if self._used == len(self._typed) or (self._pressed and self._pressed[-1].key in _COSTLY):
                break
            self._look()
        taken = list(self._pressed)
        self._pressed.clear()
        if self._left:
            asyncio.get_running_loop().call_soon(self._wake)
        return taken

    def flush_keys(self) -> list[KeyPress]:
        if self._left:
            return []
        self._parser.flush()
        taken = list(self._pressed)
        self._pressed.clear()
        return taken

    def attach(self, input_ready_callback: Callable[[], None]) -> AbstractContextManager[None]:
        return self._switched(input_ready_callback)

    def detach(self) -> AbstractContextManager[None]:
        return self._switched(None)

    @contextmanager
    def _switched(self, ready: Callable[[], None] | None) -> Iterator[None]:
        before, self.ready = self.ready, ready
        if self._left or self._closed:
            # Typed before the question came.
            asyncio.get_running_loop().call_soon(self._wake)
        try:
            yield
        finally:
            self.ready = before

    def raw_mode(self) -> AbstractContextManager[None]:
        return nullcontext()

    cooked_mode = raw_mode

    def fileno(self) -> int:
        raise NotImplementedError("these keys come from no descriptor")

    def typeahead_hash(self) -> str:
        return f"channel-{self._slot}"
