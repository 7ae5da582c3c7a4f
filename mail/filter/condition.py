"""Conditions over queued messages: one rule of the filter language, with tests of its own for what a queue knows.

Used by the operator's selectors (`deleterecipients --filter "subject == 'x' and age > 3600"`). A condition is asked
about one recipient at a time, so `rcpt-to`, `attempts`, `last-reply` and `destination` speak of that recipient and
everything else of its message. The content is read only when a rule needs it, and once for a message; reading blocks.
Raises `FilterError` for a text that is no rule.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import msgspec

from core.content import HEAD_BYTES
from core.record import Accepted, Recipient
from mail.filter.compiler import compile_rule
from mail.filter.parser import parse
from mail.filter.rule import RULES, Compiled, Faults, Predicate, Spec, any_of, compile_test, number_of
from mail.filter.syntax import Condition, Filter, FilterError, FilterFault, Position
from mail.filter.view import ScanSettings, View
from mail.mime import Headers

_BEFORE, _AFTER = "queue: if (", "\n) { no-op(); }"
MOST = 4000
"""Characters of a condition."""
CONTENT_RULES = frozenset({"header", "body-contains", "attachment-filename", "valid"})
"""Who may ask these can find out what a message says, question by question."""


@dataclass(frozen=True, slots=True)
class Queued:
    """What the queue knows of one recipient."""

    recipient: Recipient
    age_s: float
    attempts: int
    last_reply: str
    destination: str


class QueuedView(View):
    """A queued message as conditions see it; its content is read late."""

    __slots__ = ("_chunks", "_head", "queued", "recipients")

    def __init__(self, accepted: Accepted, chunks: Callable[[], Iterable[bytes]]) -> None:
        super().__init__(accepted, Headers(b""), self._whole, ScanSettings())
        self.recipients = len(accepted.recipients)
        self._chunks = chunks
        self._head = False
        self.queued = Queued(Recipient(0, ""), 0.0, 0, "", "")

    def turn(self, queued: Queued) -> None:
        """Speak of another recipient of the message."""
        self.queued = queued
        self.accepted = msgspec.structs.replace(self.accepted, recipients=[queued.recipient])
        self.matched = []

    def header(self, name: bytes) -> list[bytes]:
        """Give the values of a header as it was received. Raises what reading the content raises."""
        if not self._head:
            self.headers = Headers(_head(self._chunks()))
            self._head = True
        return super().header(name)

    def _whole(self) -> bytes:
        return b"".join(self._chunks())


def _head(chunks: Iterable[bytes]) -> bytes:
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    if isinstance(chunks, Iterator) and (close := getattr(chunks, "close", None)) is not None:
        close()
    return head[:HEAD_BYTES]


def _queued(view: View) -> Queued:
    assert isinstance(view, QueuedView)
    return view.queued


def _recipients(view: View) -> int:
    assert isinstance(view, QueuedView)
    return view.recipients


_QUEUE_RULES: dict[str, Spec] = {
    **RULES,
    "rcpt-count": Spec(number_of(_recipients), "number"),
    "age": Spec(number_of(lambda view: int(_queued(view).age_s)), "number"),
    "attempts": Spec(number_of(lambda view: _queued(view).attempts), "number"),
    "last-reply": Spec(any_of(lambda view: (_queued(view).last_reply.encode(),)), "pattern", cost=2),
    "destination": Spec(any_of(lambda view: (_queued(view).destination.encode(),)), "pattern", cost=2),
}


def compile_condition(text: str, *, content: bool = True) -> Predicate:
    """Make a condition ready; it takes a `QueuedView`. Raises `FilterError` with all that is wrong.

    Without `content` it may ask what lists of the queue show, the subject too, and nothing else of what was written.
    """
    if len(text) > MOST:
        raise FilterError([FilterFault(Position(1, 1), f"the condition is longer than {MOST} characters")])
    parsed = parse(_BEFORE + text + _AFTER)
    faults = parsed.faults
    if not faults and not _is_one_rule(parsed.filters):
        faults = [FilterFault(Position(1, len(_BEFORE) + 1), "one rule is wanted, without actions")]
    made = (
        None
        if faults
        else compile_rule(parsed.filters[0].branch.rule, faults, _content_test if content else _listed_test)
    )
    if made is None or faults:
        raise FilterError([_shifted(fault, text) for fault in faults])
    return made.run


_content_test = partial(compile_test, rules=_QUEUE_RULES)


def _listed_test(test: Condition, faults: Faults) -> Compiled | None:
    if test.name in CONTENT_RULES:
        why = f"{test.name} asks about content, and your role may not see messages"
        faults.append(FilterFault(test.position, why))
        return None
    return _content_test(test, faults)


def _is_one_rule(filters: list[Filter]) -> bool:
    return len(filters) == 1 and len(filters[0].branch.then) == 1 and not filters[0].branch.otherwise


def _shifted(fault: FilterFault, text: str) -> FilterFault:
    """Give a fault its place in the condition alone; behind its end counts as its end."""
    line, column = fault.position.line, fault.position.column
    column -= len(_BEFORE) if line == 1 else 0
    lines = text.split("\n")
    if line > len(lines):
        line, column = len(lines), len(lines[-1]) + 1
    return FilterFault(Position(line, max(1, column)), fault.reason)
