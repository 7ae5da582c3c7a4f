"""An operator who types rows of a table into the dialogue of its command, question by question.

The questions say on the screen what they want; which key each one is about is told by `Asking`, so that the answers
follow the row whatever the order and the wording of the questions.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from core.schema import Key, Row, get
from ops.cli.editing.asking import Asking
from tests.support.operating import Screen

_YES_OR_NO = re.compile(r"\[[YN]\]> $")
_OPTION = re.compile(r"^(\d+)\. (.+)$", re.M)
_PATIENCE = 150
"""Questions about one row after which something must be wrong."""


class Typist(Screen):
    """A screen at which somebody sits who has one row to put in."""

    def __init__(self, row: Row, before: Sequence[str], after: Sequence[str]) -> None:
        """`before` and `after` are the lines that lead to the questions and away from them."""
        super().__init__(*before)
        self.row = row
        self.questions = 0
        self.asked: set[str] = set()
        self._after = list(after)
        self._open: Asking | None = None
        self._key: tuple[Asking, Key] | None = None
        self._body: list[str] | None = None

    async def read(self, prompt: str, words: Sequence[str] = (), *, hidden: bool = False) -> str:
        self.questions += 1
        assert self.questions < _PATIENCE, self.shown[-500:]
        self.lines.insert(0, self._answer(prompt) if self._open and not self.lines else "")
        if not self._open and len(self.lines) == 1:
            self.lines = self._after
        elif not self._open:
            del self.lines[0]
        return await super().read(prompt, words, hidden=hidden)

    def _answer(self, prompt: str) -> str:
        assert self._open is not None
        if prompt == "":
            return self._line_of_body()
        if self._key is None:
            return self._yes_or_no(prompt) if _YES_OR_NO.search(prompt) else self._choice_of_rule()
        asking, key = self._key
        return answer(asking, key, get(self.row, key.name))

    def _yes_or_no(self, prompt: str) -> str:
        """Say yes to further questions, but to those about a limit that there is not."""
        return "n" if "recipient limit" in prompt and not self.row.get("recipient_limit") else "y"

    def _choice_of_rule(self) -> str:
        """Choose from the list just shown: the rule of a sender group, or whether TLS and log-in are offered."""
        question, _, listed = self.shown.rpartition("\n1. ")
        options = dict(_OPTION.findall("1. " + listed))
        if "Off" in options.values():
            name = "tls" if "TLS" in question.rpartition("\n")[2] else "auth"
            wanted = str(self.row.get(name) or "").capitalize()
        else:
            self.asked |= {"rule", "mail_flow_policy"}
            policy = self.row.get("mail_flow_policy")
            wanted = f"${policy}" if policy else str(self.row.get("rule") or "")
        return next((number for number, text in options.items() if wanted and text.split()[0] == wanted), "")

    def _line_of_body(self) -> str:
        if self._body is None:
            self.asked.add("text")
            self._body = [*str(self.row.get("text", "")).split("\n"), "."]
        return self._body.pop(0)

    @contextmanager
    def sits(self, monkeypatch: Any) -> Iterator[None]:
        """Hear of the questions while the block runs."""
        typist, whole, one = self, Asking.ask_all, Asking.key

        async def ask_all(self: Asking, questions: Any) -> None:
            typist._open = self
            try:
                await whole(self, questions)
            finally:
                typist._open = None

        async def key(self: Asking, name: str, question: str = "", labels: Mapping[str, str] | None = None) -> Any:
            typist.asked.add(name)
            typist._key = (self, self._keys[name])
            try:
                return await one(self, name, question, labels)
            finally:
                typist._key = None

        with monkeypatch.context() as patch:
            patch.setattr(Asking, "ask_all", ask_all)
            patch.setattr(Asking, "key", key)
            yield


def answer(asking: Asking, key: Key, value: Any) -> str:
    """Say what to type for a value of a key; Enter for what the row does not say."""
    if value is None:
        return ""
    choices = [str(said or "").lower() for _, said in asking._choices(key)]
    if choices:
        return str(choices.index(str(value or "").lower()) + 1)
    if key.kind == "yes-no":
        return "y" if value else "n"
    return key.show(value)
