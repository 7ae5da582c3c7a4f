"""An interactive session: prompt, command, prompt, on whatever screen it is given.

The SSH server runs one per channel, `gatepost cli` one on standard input. A command runs in a task of its own, so
that Ctrl-C can break it off and the session goes on. Knows no SSH and no terminal library.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from core import clock
from core.diagnostic import incident
from core.errors import EX_OK, GatepostError
from ops.cli.account import Caller, Role
from ops.cli.dialogue import Aborted, Dialogue, Screen, at_once
from ops.cli.display import clean, fitted
from ops.cli.execute import Executor, Leave, line_of, split
from ops.cli.pager import is_long, show_paged
from ops.cli.progress import ProgressDisplay
from ops.cli.registry import Call, Command, Document, Lend

EX_ABORTED = 130
"""What a shell reports for a command that was interrupted."""


class IdleTooLong(Exception):
    """Nothing was typed for longer than sessions may be idle."""


class Console(Screen, Protocol):
    """A screen that also has the main prompt."""

    async def command(self, prompt: str) -> str:
        """Ask for a command line, with completion and history. Raises `Aborted`, `EOFError`."""

    def interject(self, text: str) -> None:
        """Show a line that nobody asked for, whatever the session is doing."""


@dataclass
class _Timed:
    """A screen that gives up after `idle_s` without input and remembers when the last input came."""

    screen: Console
    idle_s: float
    input_at: float = field(default_factory=clock.now)

    @property
    def width(self) -> int:
        return self.screen.width

    @property
    def lend(self) -> Lend | None:
        return getattr(self.screen, "lend", None)  # only a terminal has something to lend

    @property
    def drained(self) -> Callable[[], Awaitable[None]]:
        return getattr(self.screen, "drain", at_once)

    def write(self, text: str) -> None:
        self.screen.write(text)

    async def present(self, text: str) -> None:
        """Show what a command gave; on a terminal page by page, unless more was typed already."""
        rows, lend = getattr(self.screen, "height", 0), self.lend
        if lend is None or getattr(self.screen, "ahead", False) or not is_long(text, width=self.width, rows=rows):
            self.write(text)
            return
        try:
            await show_paged(text, lend, width=self.width, rows=rows, idle_s=self.idle_s)
        except TimeoutError:
            raise IdleTooLong from None
        self.input_at = clock.now()

    def interject(self, text: str) -> None:
        self.screen.interject(text)

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        return await self._timed(self.screen.read(prompt, words, **({"hidden": True} if hidden else {})))

    async def command(self, prompt: str) -> str:
        return await self._timed(self.screen.command(prompt))

    async def _timed(self, reading: Coroutine[Any, Any, str]) -> str:
        try:
            async with asyncio.timeout(self.idle_s):
                line = await reading
        except TimeoutError:
            raise IdleTooLong from None
        self.input_at = clock.now()
        return line


class Session:
    """One caller on one screen."""

    def __init__(
        self, executor: Executor, caller: Caller, screen: Console, *, idle_s: float, paging: bool = False
    ) -> None:
        self._executor = executor
        self._paging = paging
        self._screen = _Timed(screen, idle_s)
        self._call = Call(executor.appliance, caller, executor.registry, show=self._say)
        self._running: asyncio.Task[Any] | None = None
        self._last_status = EX_OK
        self._warned = False
        self._ends: list[Callable[[], None]] = []
        self.since_at = clock.now()

    @property
    def prompt(self) -> str:
        """The main prompt; a support session is marked in it."""
        return f"{self._executor.appliance.hostname}{' (SERVICE)' if self._call.caller.service else ''}> "

    def facts(self) -> Document:
        """Say who this is, for `who`."""
        caller = self._call.caller
        return {
            "user": caller.name,
            "role": str(caller.role),
            "identity": caller.identity,
            "source": caller.source,
            "since_at": self.since_at,
            "idle_s": round(clock.now() - self._screen.input_at, 1),
            "what": "cli",
        }

    def complete(self, text: str) -> list[str]:
        """Give the words that can follow in a command line."""
        return self._executor.registry.complete(text, self._executor.appliance, self._call.caller)

    def notice(self, text: str) -> None:
        """Show the caller a line that does not belong to any command."""
        self._screen.interject(clean(text))

    @property
    def caller(self) -> Caller:
        """Who it is."""
        return self._call.caller

    @property
    def administrator(self) -> bool:
        """Whether the caller may decide about support."""
        return self._call.caller.role is Role.ADMINISTRATOR

    def close(self) -> None:
        """End what commands have left running; whoever made the session calls it, however the session ended."""
        while self._ends:
            self._ends.pop()()

    def interrupt(self) -> None:
        """Break off the command that runs; without one, nothing happens."""
        if self._running is not None:
            self._running.cancel()

    async def run(self) -> int:
        """Read and run command lines until the caller leaves; gives the status of the last command."""
        while True:
            try:
                line = await self._screen.command(self.prompt)
                await self.one(split(line))
            except Leave:
                if self._may_leave():
                    return self._last_status
            except EOFError:
                return self._last_status
            except Aborted:
                continue
            except GatepostError as error:
                self._complain(error)
            except IdleTooLong:
                self._screen.write("\nIdle for too long; the session ends.\n")
                return self._last_status

    def _may_leave(self) -> bool:
        """Warn once of changes that are not committed; they are kept for the next session of this login."""
        try:
            pending = not self._warned and self._call.editing.pending
        except GatepostError:
            return True
        if pending:
            self._warned = True
            self._say("There are uncommitted changes: `commit` puts them in force, `clear` drops them.")
            self._say("They are kept if you leave; `exit` again leaves.")
        return not pending

    async def one(self, words: Sequence[str]) -> int:
        """Run one command line, with its dialogue if it has one and no arguments are given."""
        if not words:
            return self._last_status
        try:
            status = await self._interruptible(self._one(words))
        except Aborted:
            self._screen.write("^C\n")
            status = EX_ABORTED
        self._last_status = status
        return status

    async def _one(self, words: Sequence[str]) -> int:
        rest = [word for word in words if word != "--json"]
        try:
            item, left = self._executor.registry.find(rest)
        except GatepostError:
            item, left = None, []
        if item is None or item.dialogue is None or len(left) > item.places or len(rest) != len(words):
            return await self._batch(words)
        try:
            return await self._converse(item, tuple(left))
        except (Leave, EOFError, Aborted, IdleTooLong):
            raise
        except Exception as error:  # a broken dialogue ends itself, not the session
            number = incident(f"console: dialogue of {item.name}", error)
            raise GatepostError(f"{item.name}: internal error, incident {number}; see the console's log") from None

    async def _batch(self, words: Sequence[str]) -> int:
        result = await self._executor.batch(self._watched(), words, self._screen.width)
        if result.output:
            await self._present(result.output + "\n", whole="--json" in words)
        if result.error:
            self._screen.write(result.error + "\n")
        return result.status

    async def _converse(self, item: Command, places: tuple[str, ...]) -> int:
        status = EX_OK

        async def perform(name: str, arguments: Document) -> Document | None:
            nonlocal status
            try:
                return await self._show(self._executor.registry.named(name), arguments)
            except GatepostError as error:
                status = error.status
                self._complain(error)
                return None

        assert item.dialogue is not None
        try:
            self._executor.registry.admit(item, self._executor.appliance.role, self._call.caller)
            call = replace(self._watched(), places=places)
            arguments = await item.dialogue(call, Dialogue(self._screen, perform))
            if arguments is not None:
                named = (one.name for one in item.parameters)
                await self._show(item, {**dict(zip(named, places, strict=False)), **arguments})
        except GatepostError as error:
            self._complain(error)
            return error.status
        return status

    def _watched(self) -> Call:
        """Give the call with a display for its progress: a bar on a terminal, lines in a pipe."""
        width, write = self._screen.width, self._screen.write
        progress = ProgressDisplay(write, bar=width > 0, width=width)
        lend, at_end = self._screen.lend, self._ends.append
        call = replace(self._call, progress=progress, draw=write, width=width)
        return replace(call, lend=lend, at_end=at_end, drained=self._screen.drained)

    async def _show(self, item: Command, arguments: Document) -> Document:
        document = await self._executor.perform(self._watched(), item, arguments)
        await self._present("\n" + self._executor.render(item, document, self._screen.width) + "\n")
        return document

    async def _present(self, text: str, *, whole: bool = False) -> None:
        if whole or not self._paging:
            self._screen.write(text)
        else:
            await self._screen.present(text)

    def _say(self, text: str) -> None:
        self._screen.write(fitted(clean(text, lines=True), self._screen.width) + "\n")

    def _complain(self, error: GatepostError) -> None:
        self._last_status = error.status
        self._screen.write(line_of(error) + "\n")

    async def _interruptible(self, work: Coroutine[Any, Any, int]) -> int:
        """Run work as a task that `interrupt` can cancel without ending the session. Raises `Aborted`."""
        outcome: list[int | BaseException] = []

        async def guarded() -> None:
            try:
                outcome.append(await work)
            except (Leave, EOFError, Aborted, IdleTooLong, GatepostError) as signal:
                outcome.append(signal)

        async with asyncio.TaskGroup() as group:
            self._running = group.create_task(guarded(), name="command")
        self._running = None
        if not outcome:
            raise Aborted
        if isinstance(outcome[0], BaseException):
            raise outcome[0]
        return outcome[0]
