"""What a command says about the table or section that it edits; everything else comes from the schema.

Declarations only: `EDITED` of the modules in `ops/cli/commands` is made of these, `build` turns them into commands. A
path names the place in the document: `("route",)`, or `("listener", "NAME", "rat")` where the part in capitals is the
place of the same word in the command's name.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ops.cli.account import EVERYONE, STAFF, Role
from ops.cli.registry import MAIL_MACHINES
from ops.formats import Format

if TYPE_CHECKING:
    from ops.cli.editing.asking import Asking

Path = tuple[str, ...]
Ask = Callable[["Asking"], Awaitable[None]]


@dataclass(frozen=True)
class Question:
    """One question of a dialogue; without a text it is worded from the key's description.

    The last line of the text is the prompt, which a wrong answer shows again; lines before it explain.
    """

    key: str
    text: str = ""


Questions = Sequence[Question] | Ask
"""Questions in order, or a function that asks; none = one for each key."""


@dataclass(frozen=True)
class Reference:
    """A key that names a row of another table."""

    path: Path
    key: str = "name"
    also: tuple[str, ...] = ()
    """Names that there always are."""
    more: tuple[Path, ...] = ()
    """Further tables whose rows may be named, by the same key."""


@dataclass(frozen=True)
class Extra:
    """A further operation of a menu: its name, its text, and the command whose dialogue it is."""

    name: str
    text: str
    command: str


@dataclass(frozen=True)
class Rights:
    """Who may look, who may change, and on which machines."""

    readers: frozenset[Role] = EVERYONE
    writers: frozenset[Role] = STAFF
    machines: frozenset[str] = MAIL_MACHINES


@dataclass(frozen=True)
class Table:
    """A list of rows and the command that edits it."""

    command: str
    path: Path
    key: str
    """The key that names a row; of a list of plain words, what such a word is called."""
    one: str
    many: str
    format: Format
    columns: tuple[tuple[str, str], ...]
    """Keys that `list` shows, each with its title."""
    summary: str = ""
    places: tuple[str, ...] = ()
    """Keys that `new` and `edit` take in this order without an option; the last one may have several values."""
    questions: Questions = ()
    rights: Rights = Rights()
    ordered: bool = False
    """The order of the rows counts: `move`, and `new --before ROW`."""
    fixed: Mapping[str, str] = field(default_factory=dict)
    """Rows that are always there, whether written down or not, with what to say to who deletes one."""
    given: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """What such a row holds beside its name where it is not written down."""
    fallback: str = ""
    """The row whose values count where another one has none."""
    refers: Mapping[str, Reference] = field(default_factory=dict)
    extras: tuple[Extra, ...] = ()
    bare: str = ""
    """A row with nothing but this key may stand as a plain word."""


@dataclass(frozen=True)
class Settings:
    """A section, or some keys of one, and the command that edits it (`deliveryconfig setup`)."""

    command: str
    shown_by: str
    """The command that shows it (`deliveryconfig print`)."""
    path: Path
    title: str
    summary: str
    keys: tuple[str, ...] = ()
    """Keys that it is about, in order; none = all."""
    questions: Questions = ()
    rights: Rights = Rights()
    refers: Mapping[str, Reference] = field(default_factory=dict)


@dataclass(frozen=True)
class Menu:
    """A command that is only a menu over other commands."""

    command: str
    summary: str
    extras: tuple[Extra, ...]
    shown_by: str = ""
    """The command whose result is shown before the menu."""
    rights: Rights = Rights()
