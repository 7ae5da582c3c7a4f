"""The questions of a dialogue, in the forms that operators of mail gateways know.

`Question [default]> ` takes the default on empty input; choices are numbered; a menu lists its operations and ends
on empty input. A command's dialogue gets a `Dialogue` and knows nothing of terminals; the session gives it a
`Screen`. Ctrl-C raises `Aborted` out of any question, the end of input `EOFError`.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from textwrap import fill
from typing import Any, Protocol, TypeVar

from core.errors import EX_DATAERR, EX_NOINPUT, EX_USAGE, GatepostError
from ops.cli.display import clean, fitted

Perform = Callable[[str, dict[str, Any]], Awaitable[dict[str, Any] | None]]
_T = TypeVar("_T")
_WRONG = frozenset({EX_USAGE, EX_DATAERR, EX_NOINPUT})
"""Statuses of errors that another answer can mend."""
_WIDTH = 79
_YES, _NO = {"y", "yes"}, {"n", "no"}


async def at_once() -> None:
    """Wait for nobody: what a screen does whose reader is never behind."""


class Aborted(Exception):
    """The operator broke the command off with Ctrl-C."""


class Screen(Protocol):
    """Where a dialogue happens: a terminal, a pipe, or a test."""

    @property
    def width(self) -> int:
        """Columns of the terminal, 0 = no limit."""

    def write(self, text: str) -> None:
        """Show text as it is; lines end in `\\n`."""

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        """Ask for a line; `words` can be completed, a hidden one is not shown. Raises `Aborted`, `EOFError`."""


class Dialogue:
    """Questions on one screen; `perform` runs a command, shows its result or error, and gives its document."""

    def __init__(self, screen: Screen, perform: Perform) -> None:
        self._screen = screen
        self.perform = perform

    def say(self, text: str = "") -> None:
        """Show lines of text."""
        self._screen.write(fitted(clean(text, lines=True), self._screen.width) + "\n")

    async def ask(self, question: str, default: str = "", *, below: bool = False) -> str:
        """Ask for a value; empty input gives the default. `below`: the answer stands on a line of its own."""
        if below:
            self.say(question)
            return (await self._screen.read(f"[{clean(default)}]> ")).strip() or default
        return (await self._screen.read(self._prompt(question, default))).strip() or default

    def _prompt(self, question: str, default: str) -> str:
        """Show the lines of a question that a terminal has no room for beside the answer; gives the last one."""
        *before, last = fitted(f"{clean(question)} [{clean(default)}]>", max(self._screen.width - 1, 0)).split("\n")
        for line in before:
            self._screen.write(line + "\n")
        return f"{last} "

    async def text(self, question: str) -> str:
        """Take lines until one that is a full stop alone, or until Ctrl-D; gives them with their line ends."""
        self.say(question)
        lines: list[str] = []
        try:
            while (line := await self._screen.read("")) != ".":
                lines.append(line + "\n")
        except EOFError:
            self.say()
        return "".join(lines)

    async def secret(self, question: str) -> str:
        """Ask for a value that nobody is to read on the screen; blanks count."""
        return await self._screen.read(f"{clean(question)}: ", hidden=True)

    async def until_right(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Put questions again, saying why, as long as their answers name what there is not or cannot be read."""
        while True:
            try:
                return await attempt()
            except GatepostError as error:
                if error.status not in _WRONG:
                    raise
                self.say(error.text)

    async def choose(self, question: str, options: Sequence[str], default: int = 1) -> int:
        """Let one of numbered options be chosen; gives its index, from 0."""
        self.say(question)
        for place, option in enumerate(options, 1):
            self.say(f"{place}. {option}")
        while True:
            answer = (await self._screen.read(f"[{default}]> ")).strip() or str(default)
            if is_number(answer, len(options), least=1):
                return int(answer) - 1
            self.say(f"Please answer with a number from 1 to {len(options)}.")

    async def choose_several(self, question: str, options: Sequence[str], default: int = 1) -> list[int]:
        """Let several numbered options be chosen, separated by commas; gives their indexes."""
        self.say(question)
        for place, option in enumerate(options, 1):
            self.say(f"{place}. {option}")
        while True:
            answer = (await self._screen.read(f"[{default}]> ")).strip() or str(default)
            parts = [part.strip() for part in answer.split(",")]
            if all(is_number(part, len(options), least=1) for part in parts):
                return sorted({int(part) - 1 for part in parts})
            self.say(f"Please answer with numbers from 1 to {len(options)}, separated by commas.")

    async def menu(self, operations: Mapping[str, str]) -> str:
        """Let an operation be chosen by its name, in any case; empty input gives ''."""
        self.say("\nChoose the operation you want to perform:")
        for name, description in operations.items():
            self.say(f"- {name} - {description}")
        names = {name.lower(): name for name in operations}
        while True:
            answer = (await self._screen.read("[]> ", tuple(operations))).strip().lower()
            if not answer or answer in names:
                return names.get(answer, "")
            known = fill(f"Please answer with one of: {', '.join(operations)}; or press Enter to leave.", _WIDTH)
            self.say(known)

    async def confirm(self, question: str, *, default: bool = False) -> bool:
        """Ask for yes or no."""
        while True:
            answer = (await self._screen.read(self._prompt(question, "Y" if default else "N"))).strip().lower()
            if not answer:
                return default
            if answer in _YES | _NO:
                return answer in _YES
            self.say("Please answer y or n.")

    async def number(self, question: str, default: int, most: int) -> int:
        """Ask for a number from 0 to `most`."""
        while True:
            answer = await self.ask(question, str(default))
            if is_number(answer, most):
                return int(answer)
            self.say(f"Please answer with a number from 0 to {most}.")


def is_number(answer: str, most: int, *, least: int = 0) -> bool:
    """Tell whether an answer is a number in these bounds; of thousands of digits `int` makes an error."""
    return answer.isdecimal() and answer.isascii() and len(answer) < 10 and least <= int(answer) <= most
