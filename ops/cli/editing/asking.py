"""The questions of a dialogue that fills in a row or a section.

`Asking` keeps a draft and the answers in words, which are the arguments of the batch form: the command that runs in
the end is the same. A default is always shown; a wrong answer is told with its reason at once and asked again; `-`
takes a value away. Who declares a table gives questions in order, or a function that calls `key`, `yes` and `set`.
"""

import re
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any

from core.schema import Fault, Key, Refused, Row, get, put
from ops.cli.dialogue import Dialogue
from ops.cli.editing.row import names_of
from ops.cli.editing.table import Question, Questions, Reference
from ops.cli.editing.words import meaning
from ops.cli.registry import Call

NOTHING = "-"
"""The answer that takes a value away."""
_MOST_CHOICES = 40
_WIDTH = 79
_FOUND = re.compile(r" \(found [^\n]*\)$")
"""What somebody has just typed need not be told again."""


class Asking:
    """The draft of one row or section, and the answers so far."""

    def __init__(
        self,
        call: Call,
        dialogue: Dialogue,
        keys: Sequence[Key],
        row: Row,
        *,
        tables: Mapping[str, Any],
        refers: Mapping[str, Reference],
        effective: Row | None = None,
        taken: Sequence[str] = (),
        name_key: str = "",
        new: bool = True,
    ) -> None:
        """`row` holds what is written down, `effective` what counts; `taken` are names that other rows have."""
        self.call = call
        self.dialogue = dialogue
        self.tables = tables
        self.new = new
        self.row = row
        self.answers: dict[str, str] = {}
        self.away: list[str] = []
        self._keys = {key.name: key for key in keys}
        self._effective = effective or {}
        self._refers = refers
        self._taken = {name.lower() for name in taken}
        self._name_key = name_key

    @property
    def names(self) -> list[str]:
        """Give the keys that there are, in their order."""
        return list(self._keys)

    def value(self, name: str) -> Any:
        """Give what counts for a key now."""
        found = get(self.row, name)
        found = get(self._effective, name) if found is None else found
        return self._keys[name].default if found is None else found

    def set(self, name: str, value: Any) -> None:
        """Answer for the operator; None takes the value away."""
        if value is None:
            if get(self.row, name) is not None:
                put(self.row, name, None)
                self.away.append(name)
            self.answers.pop(name, None)
            return
        key = self._keys[name]
        if value != self.value(name) or (self.new and self._needed(key)):
            put(self.row, name, value)
            self.answers[name] = key.show(value)
            self.away = [one for one in self.away if one != name]

    def count(self, name: str, value: Any) -> None:
        """Say what counts for a key that is not written down, where the declaration knows better than the schema."""
        if value is not None:
            put(self._effective, name, value)

    async def yes(self, question: str, *, default: bool = False) -> bool:
        """Ask for yes or no."""
        return await self.dialogue.confirm(question, default=default)

    async def key(self, name: str, question: str = "", labels: Mapping[str, str] | None = None) -> Any:
        """Ask for the value of a key until it is right; gives what counts then. `labels` word numbered choices."""
        key = self._keys[name]
        text = question or worded(key)
        choices = [((labels or {}).get(shown, shown), value) for shown, value in self._choices(key)]
        if choices:
            await self._choose(key, text, choices)
        elif key.kind == "yes-no" and not key.optional:
            self.set(name, await self.yes(text, default=bool(self.value(name))))
        else:
            await self._ask(key, text)
        return self.value(name)

    def _choices(self, key: Key) -> list[tuple[str, Any]]:
        """Give the numbered choices of a key with their values; the first one may be to have none."""
        if key.name in self._refers:
            names = names_of(self._refers[key.name], self.tables)
            if key.kind == "list" or len(names) > _MOST_CHOICES:
                return []
        elif key.kind == "choice":
            names = list(key.choices)
        elif key.kind == "yes-no" and key.optional:
            return [("Leave it open", None), ("Yes", True), ("No", False)]
        else:
            return []
        without = [] if key.required or (key.default not in (None, "") and key.default in names) else [("None", None)]
        return [*without, *((name, name) for name in names)]

    async def _choose(self, key: Key, question: str, choices: Sequence[tuple[str, Any]]) -> None:
        current = str(self.value(key.name) or "").lower()
        present = [place for place, (_, value) in enumerate(choices, 1) if str(value or "").lower() == current]
        chosen = await self.dialogue.choose(question, [text for text, _ in choices], present[0] if present else 1)
        # The name that stands there stays as it is written.
        self.set(key.name, self.value(key.name) if chosen + 1 in present else choices[chosen][1])

    async def _ask(self, key: Key, question: str) -> None:
        *before, question = [line for part in question.split("\n") for line in wrap(part, _WIDTH)]
        for line in before:
            self.dialogue.say(line)
        while True:
            current = self._shown(key)
            if key.secret:
                answer = (await self.dialogue.secret(question.removesuffix(":"))).strip()
            else:
                answer = await self.dialogue.ask(question + _way_out(key, current), current)
            if answer == current and (answer or not self._needed(key)):
                return
            if answer == NOTHING and not self._needed(key):
                self.set(key.name, None)
                return
            reason = self._refusal(key, answer)
            if not reason:
                self.set(key.name, key.read(answer))
                return
            self.dialogue.say(_FOUND.sub("", f"{reason[:1].upper()}{reason[1:]}"))

    def _shown(self, key: Key) -> str:
        """Give the answer that Enter stands for; a new row has no name to begin with."""
        nameless = self.new and key.name == self._name_key and get(self.row, key.name) is None
        return "" if key.secret or nameless else key.show(self.value(key.name))

    def _needed(self, key: Key) -> bool:
        return key.required or key.name == self._name_key

    def _refusal(self, key: Key, answer: str) -> str:
        """Say why an answer cannot be taken, '' if it can."""
        if not answer:
            return "An answer is needed here."
        try:
            key.read(answer)
        except Refused as error:
            return str(error)
        if key.name == self._name_key and answer.lower() in self._taken:
            return f"{answer} is there already."
        return self._unknown(key, answer)

    def _unknown(self, key: Key, answer: str) -> str:
        reference = self._refers.get(key.name)
        if reference is None:
            return ""
        known = names_of(reference, self.tables)
        there = {name.lower() for name in known}
        words = key.read(answer) if key.kind == "list" else [answer]
        missing = [word for word in words if str(word).lower() not in there]
        shown = ", ".join(known[:20]) or "none"
        return f"There is no {', '.join(missing)}; there are: {shown}." if missing else ""

    async def ask_all(self, questions: Questions) -> None:
        """Put the questions of a declaration."""
        if callable(questions):
            await questions(self)
            return
        for question in questions or [Question(name) for name in self._keys]:
            await self.key(question.key, question.text)

    async def mend(self, faults: Sequence[Fault]) -> bool:
        """Say what is wrong with the draft as a whole and ask for those keys again; False if none can be asked."""
        for fault in faults:
            self.dialogue.say(str(fault))
        names = dict.fromkeys(fault.key.partition("[")[0] for fault in faults)
        known = [name for name in names if name in self._keys]
        for name in known:
            await self.key(name)
        return bool(known)


def _way_out(key: Key, current: str) -> str:
    """Say how a value is taken away, where there is one that need not be."""
    return (
        f" ({NOTHING} for none)" if current and key.kind in {"text", "list"} and key.default in ("", None, []) else ""
    )


def worded(key: Key) -> str:
    """Word the question for a key from its description."""
    text = meaning(key, required=False)
    return f"{text[:1].upper()}{text[1:]}:"
