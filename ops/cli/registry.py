"""The command registry: every operator command once, for the console, `gatepost cli`, the web UI and the docs.

A command is a typed async function that takes a `Call` and gives a JSON-able document; beside it stand its
renderer, its dialogue, and who may run it. `@command(...)` makes one. The registry finds commands by their
words, says what a caller may run, and derives help and completion. It runs nothing: `ops/cli/execute.py` does.

A word in capitals in a command's name is a place for any word: `listenerconfig edit NAME hostaccess print` runs for
`listenerconfig edit InboundMail hostaccess print`, and its function's first positional parameter gets `InboundMail`.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, Protocol

from core.errors import EX_NOPERM, GatepostError
from ops.cli.account import EVERYONE, Caller, Role
from ops.cli.appliance import Appliance
from ops.cli.argument import Parameter, UsageProblem, on_the_line, parameters_of, usage
from ops.cli.dialogue import Dialogue, at_once
from ops.cli.display import as_json
from ops.cli.progress import Progress, silent
from ops.configuration.editing import Editing

Document = dict[str, Any]
MACHINES = frozenset({"esa", "sma", "bastion"})
MAIL_MACHINES = frozenset({"esa", "sma"})
_BRIEF = 160
"""Characters of a line of usage that an error shows whole."""
_COMPLETIONS = 200
"""Most words that a completion shows."""
_SAME = {"tcpdump": "packetcapture", "tlsconfig": "sslconfig", "tzconfig": "settz"}
"""Names that people type who know other releases (behaviour 2.27, 10); neither listed nor completed."""
_ASKING = frozenset({"--help", "-h"})


async def _no_input() -> bytes:
    return b""


def _shown_to_nobody(_text: str) -> None:
    """Take a line that nobody waits for."""


class Lent(Protocol):
    """A terminal that a command has to itself."""

    def write(self, text: str) -> None:
        """Show text; lines end in `\\n`."""

    async def drain(self) -> None:
        """Wait while the terminal takes no more."""


Lend = Callable[[Callable[[bytes], None]], AbstractContextManager[Lent]]
"""Lends the terminal: while the context is open, what is typed is handed on as octets, b'' when no more can come."""


@dataclass(frozen=True)
class Call:
    """What a command function is given besides its arguments."""

    appliance: Appliance
    caller: Caller
    registry: "Registry"
    stdin: Callable[[], Awaitable[bytes]] = _no_input
    """Reads what the caller sends on standard input, bounded; empty in a dialogue."""
    show: Callable[[str], None] = _shown_to_nobody
    """Shows a line at once, while the command runs: progress, a row of a continuous display. Nothing with `--json`."""
    progress: Progress = silent
    """Shows how far a long command is."""
    draw: Callable[[str], None] = _shown_to_nobody
    """Writes to the caller's screen as it is: only what `Drawing` gave, or plain text."""
    width: int = 0
    """Columns of the caller's terminal; 0 = there is none."""
    places: tuple[str, ...] = ()
    """In a dialogue: the words that stood in the places of the command's name."""
    lend: Lend | None = None
    """Lends the caller's terminal; None = there is none."""
    drained: Callable[[], Awaitable[None]] = at_once
    """Waits while the caller does not read: for whoever shows things without end. Raises `TimeoutError`."""
    at_end: Callable[[Callable[[], None]], None] | None = None
    """Has something done when the session ends; None = there is no session, only this command."""

    @property
    def editing(self) -> Editing:
        """Give the caller's pending copy of the configuration. Raises `GatepostError` where there can be none."""
        editing = self.appliance.editing(self.caller.name)
        return editing if self.caller.role is Role.ADMINISTRATOR else editing.bounded()

    def may(self, name: str) -> bool:
        """Tell whether there is a command of that name and the caller may run it here."""
        try:
            item = self.registry.named(name)
        except KeyError:
            return False
        return not self.registry.refusal(item, self.appliance.role, self.caller)

    @property
    def watched(self) -> bool:
        """Whether anybody sees what `show` shows."""
        return self.show is not _shown_to_nobody

    def quiet(self) -> "Call":
        """Give the same call for a document that stands alone."""
        return replace(self, show=_shown_to_nobody, progress=silent, draw=_shown_to_nobody, lend=None)


Run = Callable[..., Awaitable[Document]]
Render = Callable[[Document, int], str]
Ask = Callable[[Call, Dialogue], Awaitable[Document | None]]
"""A dialogue: gives the arguments to run the command with, or None when there is nothing (more) to run."""


Known = Callable[[Appliance, Sequence[str]], Sequence[str]]
"""Gives what a place of a command's name can hold, from the places before it; bounded by whoever shows it."""


def is_place(word: str) -> bool:
    """Tell whether a word of a command's name stands for any word."""
    return word.isupper()


def _as_json(document: Document, width: int) -> str:
    return as_json(document)


@dataclass(frozen=True)
class Command:
    """One command. Without `run` it is only a menu over the commands that begin with its name."""

    name: str
    summary: str
    run: Run | None
    parameters: tuple[Parameter, ...] = ()
    render: Render = _as_json
    dialogue: Ask | None = None
    roles: frozenset[Role] = EVERYONE
    machines: frozenset[str] = MACHINES
    multiline: frozenset[str] = frozenset()
    """Fields of the document that hold several lines."""
    details: str = ""
    terminal: bool = False
    """Whether it wants the caller's terminal also where it stands alone: `ssh -t HOST telnet …`."""
    known: "Known | None" = None
    """Gives the words that can stand in a place of the name, or be the first argument."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the name."""
        return tuple(self.name.split())

    @property
    def places(self) -> int:
        """How many places the name has; their words become the first positional parameters."""
        return sum(is_place(word) for word in self.words)

    @property
    def further(self) -> tuple[Parameter, ...]:
        """The parameters that stand behind the name."""
        return self.parameters[self.places :]

    @property
    def usage(self) -> str:
        """The line of usage."""
        return usage(self.name, self.further)

    @property
    def brief_usage(self) -> str:
        """The line of usage as an error has room for it: of many options only where they are told."""
        whole = self.usage
        if len(whole) <= _BRIEF:
            return whole
        standing = [item for item in self.further if item.required or item.kind not in {"flag", "option"}]
        return f"{usage(self.name, standing)} [OPTION…]; `help {self.name}` lists the options"

    def safe(self, arguments: Document) -> str:
        """Give the arguments for a log line, secrets masked."""
        secret = {item.name for item in self.parameters if item.help.secret}
        shown = (f"{k}={'***' if k in secret else v}" for k, v in arguments.items() if v not in (None, ""))
        return " ".join([self.name, *shown])


def command(
    name: str,
    summary: str,
    *,
    render: Render = _as_json,
    dialogue: Ask | None = None,
    roles: frozenset[Role] = EVERYONE,
    machines: Collection[str] = MACHINES,
    multiline: Collection[str] = (),
    terminal: bool = False,
) -> Callable[[Run], Command]:
    """Make a command of a function; the rest of the function's docstring becomes the details of its help."""

    def make(run: Run) -> Command:
        details = (run.__doc__ or "").strip()
        return Command(
            name,
            summary,
            run,
            parameters_of(run),
            render,
            dialogue,
            roles,
            frozenset(machines),
            frozenset(multiline),
            " ".join(details.split()),
            terminal,
        )

    return make


class Registry:
    """All commands, found by their words."""

    def __init__(self, commands: Iterable[Command]) -> None:
        self._commands = {item.name: item for item in commands}
        self._longest = max((len(item.words) for item in self._commands.values()), default=0)
        self._placed: dict[int, list[Command]] = {}
        for item in self.all():
            if item.places:
                self._placed.setdefault(len(item.words), []).append(item)

    def all(self) -> list[Command]:
        """Give every command by name."""
        return [self._commands[name] for name in sorted(self._commands)]

    def visible(self, role: str, caller: Caller) -> list[Command]:
        """Give the commands that this caller may run on a machine of this role."""
        return [item for item in self.all() if not self.refusal(item, role, caller)]

    def named(self, name: str) -> Command:
        """Give the command of that exact name."""
        return self._commands[name]

    def find(self, words: Sequence[str]) -> tuple[Command, list[str]]:
        """Find the command that the words begin with, in any case; raises status 64.

        The words left over begin with those that stood in the places of its name. `--help` or `-h` as the last word
        finds `help` for the words before it.
        """
        words = self._asking(_known_here(words))
        for count in range(min(len(words), self._longest), 0, -1):
            found = self._at(words[:count])
            if found is not None and (found.run is not None or count == len(words)):
                filled = [word for part, word in zip(found.words, words, strict=False) if is_place(part)]
                return found, [*filled, *words[count:]]
        below = self._nearest(words)
        if below:
            names = ", ".join(item.name for item in below)
            given = " ".join(words[:2])
            raise UsageProblem(f"{given}: no such operation; there are: {names}")
        word = words[0] if words else ""
        raise UsageProblem(f"unknown command {word!r}; `help` lists the commands")

    def _asking(self, words: Sequence[str]) -> Sequence[str]:
        """Put `help` before words that end in an option for it; behind `--` that is an argument like any other."""
        if "help" not in self._commands or not words or words[-1] not in _ASKING or "--" in words:
            return words
        about = words[:-1]
        return ["help", *(about if self.beginning(about) else self.find(about)[0].words)]

    def beginning(self, words: Sequence[str]) -> list[Command]:
        """Give the commands whose names begin with these words; if there are none, those with places for them."""
        words = _known_here(words)
        begun = [item for item in self.all() if _begins(item.words, words)]
        as_written = [word.lower() for word in words]
        return [item for item in begun if item.name.lower().split()[: len(words)] == as_written] or begun

    def _at(self, words: Sequence[str]) -> Command | None:
        """Give the command whose whole name the words are; a word of a name comes before a place."""
        exact = self._commands.get(" ".join(words).lower())
        if exact is not None:
            return exact
        return next((item for item in self._placed.get(len(words), ()) if _fits(item.words, words)), None)

    def _nearest(self, words: Sequence[str]) -> list[Command]:
        """Give the commands that begin as the words do, as far as any command does."""
        found: list[Command] = []
        for count in range(1, len(words) + 1):
            begun = [item for item in self.all() if _begins(item.words, words[:count]) and len(item.words) > count]
            if not begun:
                break
            found = begun
        return found

    def below(self, name: str) -> list[Command]:
        """Give the commands that begin with the word or words `name`."""
        return [item for item in self.all() if item.name.lower().startswith(name.lower() + " ")]

    def refusal(self, item: Command, role: str, caller: Caller) -> str:
        """Say why this caller may not run the command here; '' if it may."""
        if caller.commands is not None and item.name not in caller.commands:
            return f"{item.name}: not in the command set of this key"
        if role not in item.machines:
            there = " and ".join(sorted(item.machines))
            return f"{item.name}: not a command of this machine ({role}); it runs on: {there}"
        if caller.role not in item.roles:
            allowed = ", ".join(sorted(item.roles))
            return f"{item.name}: not allowed for the role {caller.role}; ask someone who is: {allowed}"
        return ""

    def admit(self, item: Command, role: str, caller: Caller) -> None:
        """Raise status 77 with the reason if the caller may not run the command here."""
        reason = self.refusal(item, role, caller)
        if reason:
            raise GatepostError(reason, EX_NOPERM)

    def complete(self, text: str, appliance: Appliance, caller: Caller) -> list[str]:
        """Give the words that can stand where the text ends: commands, operations, names, choices, options."""
        words = text.split(" ")
        done, partial = [word for word in words[:-1] if word], words[-1]
        if [word.lower() for word in done[:1]] == ["help"]:
            done = done[1:]
        found: set[str] = set()
        for item in self.visible(appliance.role, caller):
            if _begins(item.words, done):
                found.update(_next_words(item, done, appliance))
            if done and len(done) >= len(item.words) and _fits(item.words, done[: len(item.words)]):
                found.update(word for parameter in on_the_line(item.further) for word in _words_of(parameter))
                if item.known is not None and not item.places and len(done) == len(item.words):
                    found.update(item.known(appliance, ()))
        fitting = sorted(word for word in found if word.lower().startswith(partial.lower()))
        return fitting[:_COMPLETIONS]


def _known_here(words: Sequence[str]) -> Sequence[str]:
    """Put our name of a command in the place of another release's."""
    return [_SAME.get(words[0].lower(), words[0]), *words[1:]] if words else words


def _fits(name: Sequence[str], words: Sequence[str]) -> bool:
    """Tell whether the words are that name, whatever stands in its places."""
    return len(name) == len(words) and _begins(name, words)


def _begins(name: Sequence[str], words: Sequence[str]) -> bool:
    """Tell whether a name begins with these words."""
    return len(words) <= len(name) and all(
        is_place(part) or part == word.lower() for part, word in zip(name, words, strict=False)
    )


def _next_words(item: Command, done: Sequence[str], appliance: Appliance) -> Sequence[str]:
    """Give the words of a name that can follow those that are there."""
    if len(item.words) <= len(done):
        return ()
    following = item.words[len(done)]
    if not is_place(following):
        return (following,)
    filled = [word for part, word in zip(item.words, done, strict=False) if is_place(part)]
    return item.known(appliance, filled) if item.known is not None else ()


def _words_of(parameter: Parameter) -> Sequence[str]:
    return (parameter.option,) if parameter.kind in {"option", "flag"} else parameter.choices
