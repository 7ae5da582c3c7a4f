"""A screen on a pseudo terminal that somebody else owns: line editing, completion, history through prompt_toolkit.

The SSH channel feeds keys in and takes what is drawn; nothing here touches a file descriptor, so a peer that
sends a lot can fill a bounded buffer but never block the process. The only module that imports prompt_toolkit.
"""

import asyncio
import codecs
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

from prompt_toolkit import PromptSession
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, WordCompleter
from prompt_toolkit.data_structures import Size
from prompt_toolkit.document import Document
from prompt_toolkit.history import DummyHistory, History
from prompt_toolkit.input import Input
from prompt_toolkit.input.typeahead import clear_typeahead, get_typeahead, store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyPress
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.output.vt100 import Vt100_Output
from prompt_toolkit.shortcuts import CompleteStyle

from ops.cli.dialogue import Aborted
from ops.cli.display import is_plain, unpainted
from ops.cli.history import HistoryFile

Complete = Callable[[str], Iterable[str]]
Take = Callable[[bytes], None]
_WAITING_KEYS = 16_384
_slots: set[int] = set()


class _Keys(Input):
    """Input that is fed by calls instead of a descriptor."""

    def __init__(self) -> None:
        self._pressed: list[KeyPress] = []
        self._parser = Vt100Parser(self._pressed.append)
        self.ready: Callable[[], None] | None = None
        self._closed = False
        self._slot = -1

    def feed(self, text: str) -> None:
        if len(self._pressed) < _WAITING_KEYS:
            self._parser.feed(text)
        self._wake()

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
        """How many keys were pressed that no question has used."""
        ahead = get_typeahead(self)
        store_typeahead(self, ahead)
        return len(self._pressed) + len(ahead)

    @property
    def spent(self) -> bool:
        """True when the input has ended and all that was typed before has been used."""
        return self._closed and not self.waiting

    def _wake(self) -> None:
        if self.ready is not None:
            self.ready()

    @property
    def closed(self) -> bool:
        return self._closed

    def read_keys(self) -> list[KeyPress]:
        pressed = self._pressed[:]
        self._pressed.clear()
        return pressed

    def flush_keys(self) -> list[KeyPress]:
        self._parser.flush()
        return self.read_keys()

    def attach(self, input_ready_callback: Callable[[], None]) -> AbstractContextManager[None]:
        return self._switched(input_ready_callback)

    def detach(self) -> AbstractContextManager[None]:
        return self._switched(None)

    @contextmanager
    def _switched(self, ready: Callable[[], None] | None) -> Iterator[None]:
        before, self.ready = self.ready, ready
        if self._pressed or self._closed:
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

    def store_string(self, string: str) -> None:
        if self._file is not None:
            self._file.add(string)


async def _at_once() -> None:
    """Wait for nothing."""


class Terminal:
    """The screen of one channel that has a pseudo terminal."""

    def __init__(self, write: Callable[[str], None], columns: int, rows: int, kind: str, complete: Complete) -> None:
        self._write = write
        self.history: HistoryFile | None = None
        """Where command lines are kept, from `opened` on."""
        self._plain = is_plain(kind)
        self._size = Size(rows=rows or 24, columns=columns or 80)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._keys = _Keys()
        self._output = Vt100_Output(
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
        self._take: Take | None = None
        self.drained: Callable[[], Awaitable[None]] = _at_once
        """Waits for whoever carries what is shown away."""

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Be the terminal of the current task and of the tasks it starts, until the block ends."""
        try:
            with self._keys.named(), create_app_session(self._keys, self._output):
                self._lines = PromptSession(
                    history=_History(self.history),
                    completer=self._completer,
                    complete_while_typing=False,
                    complete_style=CompleteStyle.READLINE_LIKE,
                )
                self._answers = PromptSession(
                    history=DummyHistory(), complete_while_typing=False, complete_style=CompleteStyle.READLINE_LIKE
                )
                yield
        finally:
            self._keys.close()

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

    def resize(self, columns: int, rows: int) -> None:
        """Take the new size of the window."""
        self._size = Size(rows=rows or 24, columns=columns or 80)
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
            )
        except KeyboardInterrupt:
            raise Aborted from None
        finally:
            self._asking = None
            self._resized = lambda: None
