"""A screen on a pseudo terminal that somebody else owns: line editing, completion, history through prompt_toolkit.

The SSH channel feeds keys in and takes what is drawn; nothing here touches a file descriptor, so a peer that
sends a lot can fill a bounded buffer but never block the process. Only this and `keyboard.py` import prompt_toolkit.
"""

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, WordCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.history import DummyHistory, History
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from ops.cli.dialogue import Aborted, at_once
from ops.cli.display import is_plain, unpainted
from ops.cli.history import KEPT, HistoryFile
from ops.cli.keyboard import LONGEST_LINE, Keyboard

Complete = Callable[[str], Iterable[str]]
Take = Callable[[bytes], None]
NARROWEST, LARGEST = 20, 1000
"""Columns or rows that a terminal has at least and at most, whatever it says: it draws, and we lay out, by them."""
_REDRAW_S = 0.05


class _Output(Vt100_Output):
    """Draws; a terminal is to send what is pasted as if it were typed, each line an answer."""

    def enable_bracketed_paste(self) -> None:
        """Leave it off."""


def _bounded(session: PromptSession[str]) -> PromptSession[str]:
    """Have a question take no more than a line, and keep no history of each key: the library has no bounds."""

    def cut(buffer: Buffer) -> None:
        if len(buffer.text) > LONGEST_LINE:
            buffer.text = buffer.text[:LONGEST_LINE]

    for buffer in (session.default_buffer, session.search_buffer):
        buffer.on_text_changed += cut
        buffer.save_to_undo_stack = _nothing  # type: ignore[method-assign]
    return session


def _nothing(clear_redo_stack: bool = True) -> None:
    """Keep no state to go back to."""


def bounds(columns: int, rows: int) -> tuple[int, int]:
    """Give columns and rows of a terminal from what it says; 0 = it does not know."""
    columns, rows = columns or 80, rows or 24
    return min(max(columns, NARROWEST), LARGEST), min(max(rows, 2), LARGEST)


def _size(columns: int, rows: int) -> Size:
    columns, rows = bounds(columns, rows)
    return Size(rows=rows, columns=columns)


class _Display:
    """The text stream that the library draws on."""

    encoding = "utf-8"

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write

    def flush(self) -> None:
        """Nothing is held back."""

    def isatty(self) -> bool:
        return True


class _Completer(Completer):
    def __init__(self, complete: Complete) -> None:
        self._complete = complete

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor.lstrip()
        partial = text.rpartition(" ")[2]
        for word in self._complete(text):
            yield Completion(word, start_position=-len(partial))


class _History(History):
    """The lines of this session, and those that the user's file kept of earlier ones."""

    def __init__(self, file: HistoryFile | None) -> None:
        super().__init__()
        self._file = file

    def load_history_strings(self) -> Iterable[str]:
        return reversed(self._file.lines()) if self._file is not None else ()

    def append_string(self, string: str) -> None:
        super().append_string(string)
        del self._loaded_strings[KEPT:]

    def store_string(self, string: str) -> None:
        if self._file is not None:
            self._file.add(string)


class Terminal:
    """The screen of one channel that has a pseudo terminal."""

    def __init__(self, write: Callable[[str], None], columns: int, rows: int, kind: str, complete: Complete) -> None:
        self._write = write
        self.history: HistoryFile | None = None
        """Where command lines are kept, from `opened` on."""
        self._plain = is_plain(kind)
        self._size = _size(columns, rows)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keys = Keyboard()
        self._output = _Output(
            _Display(write),  # type: ignore[arg-type]
            lambda: self._size,
            term=kind,
            default_color_depth=ColorDepth.DEPTH_1_BIT,
            enable_cpr=False,
        )
        self._lines: PromptSession[str] | None = None
        self._answers: PromptSession[str] | None = None
        self._completer = _Completer(complete)
        self._asking: PromptSession[str] | None = None
        self._resized: Callable[[], None] = lambda: None
        self._redrawing: asyncio.TimerHandle | None = None
        self._take: Take | None = None
        self.drained: Callable[[], Awaitable[None]] = at_once
        """Waits for whoever carries what is shown away."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Be the terminal of the current task and of the tasks it starts, until the block ends."""
        try:
            with self._keys.named(), create_app_session(self._keys, self._output):
                self._lines = _bounded(
                    PromptSession(
                        history=_History(self.history),
                        completer=self._completer,
                        complete_while_typing=False,
                        complete_style=CompleteStyle.READLINE_LIKE,
                    )
                )
                self._answers = _bounded(
                    PromptSession(
                        history=DummyHistory(), complete_while_typing=False, complete_style=CompleteStyle.READLINE_LIKE
                    )
                )
                yield
        finally:
            self._keys.close()
            self._redraw()

    @property
    def width(self) -> int:
        """Columns."""
        return self._size.columns

    @property
    def height(self) -> int:
        """Rows."""
        return self._size.rows

    @property
    def ahead(self) -> bool:
        """Whether somebody has typed on while a command ran."""
        return bool(self._keys.waiting)

    @property
    def busy(self) -> bool:
        """Whether a question is open that has enough to use already."""
        return self._keys.ready is not None and self._keys.full

    def resize(self, columns: int, rows: int) -> None:
        """Take the new size of the window; it is drawn anew once for all that come together."""
        self._size = _size(columns, rows)
        if self._redrawing is None:
            self._redrawing = asyncio.get_running_loop().call_later(_REDRAW_S, self._redraw)

    def _redraw(self) -> None:
        if self._redrawing is not None:
            self._redrawing.cancel()
            self._redrawing = None
        self._resized()

    def feed(self, data: bytes) -> bool:
        """Take what was typed. True if it holds Ctrl-C while no question is open."""
        if self._take is not None:
            self._take(data)
            return False
        if self._keys.ready is None and b"\x03" in data:
            return True
        self._keys.feed(self._decoder.decode(data))
        return False

    def end(self) -> None:
        """Take the end of input."""
        self._keys.close()
        if self._take is not None:
            self._take(b"")

    async def drain(self) -> None:
        """Wait while nobody takes what is shown."""
        await self.drained()

    @contextmanager
    def lend(self, take: Take) -> Iterator["Terminal"]:
        """Hand on what is typed as it is, b'' at its end, until the block ends."""
        self._take = take
        try:
            if self._keys.closed:
                take(b"")
            yield self
        finally:
            self._take = None

    def write(self, text: str) -> None:
        """Show text; a terminal in raw mode needs the carriage return as well."""
        self._write((unpainted(text) if self._plain else text).replace("\n", "\r\n"))

    def interject(self, text: str) -> None:
        """Show a line that nobody asked for: above the question that is open, which is drawn again."""
        asking = self._asking
        if asking is None or not asking.app.is_running:
            self.write(text + "\n")
            return
        asking.app.renderer.erase()
        self.write(text + "\n")
        asking.app.invalidate()

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        """Ask for an answer; a hidden one is not shown. Raises `Aborted`, `EOFError`."""
        assert self._answers is not None
        completer = WordCompleter(list(words), ignore_case=True) if words else None
        return await self._ask(self._answers, prompt, completer, hidden=hidden)

    async def command(self, prompt: str) -> str:
        """Ask for a command line. Raises `Aborted`, `EOFError`."""
        assert self._lines is not None
        return await self._ask(self._lines, prompt, self._completer)

    async def _ask(
        self, session: PromptSession[str], prompt: str, completer: Completer | None, *, hidden: bool = False
    ) -> str:
        if self._keys.spent:
            raise EOFError
        session.completer = completer
        self._resized = session.app._on_resize
        self._asking = session
        try:
            # The library keeps `is_password` for the next question, so it is said each time.
            return await session.prompt_async(
                prompt,
                set_exception_handler=False,
                handle_sigint=False,
                is_password=hidden,
                pre_run=session.default_buffer.load_history_if_not_yet_loaded,  # before keys that wait are used
            )
        except KeyboardInterrupt:
            raise Aborted from None
        finally:
            self._asking = None
            self._resized = lambda: None
