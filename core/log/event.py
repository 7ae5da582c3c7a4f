"""What became of messages: from an envelope address, a subject or a MID to every line that is about them.

A message that was split, rewritten, generated or bounced goes on under other MIDs: those are followed in both
directions. Lines of a connection without a MID belong to every message on it. Files are read three times in blocks;
memory holds what was found, within bounds. `Finder` works in steps, as `core/log/search.py` does.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from core.log.reading import blocks, size_of
from core.regex import Pattern, compile_pattern

Kind = Literal["from", "to", "subject", "mid"]
_OWN = r"(?m:^)[^\n'\"<]*\b"
"""The part of a line before anything that a peer said, which may look like a line of ours."""
_SAID = re.compile(rb"['\"<]")
KINDS: Final = {
    "from": _OWN + r"MID \d+ ICID \d+ From: <[^\n]*>",
    "to": _OWN + r"MID \d+ ICID \d+ (RID \d+ )?To: <[^\n]*>",
    "subject": _OWN + r"MID \d+ Subject ['\"][^\n]*",
}
"""Where what is searched for stands."""
_FIELD = re.compile(r"MID (\d+)(?: ICID \d+)?(?: RID \d+)? (?:From: <|To: <|Subject ['\"])(.*?)(?:>|['\"])?$")
_LINKS = compile_pattern(
    _OWN + r"(MID \d+[^\n'\"<]{0,100} (rewritten to|was split creating|Reinjected MID \d+ as) MID \d+"
    r"|MID \d+ (was )?generated (based on|for [a-z ]{1,30} of) MID \d+)"
)
_MID = re.compile(r"\bMID (\d+)")
_CONNECTION = re.compile(rb"\b([ID]CID):? (\d+)")
_MIDS_OF_LINE = re.compile(rb"\bMID (\d+)")
_STEP = 4 << 20
Connections = dict[tuple[str, int], set[int]]
"""The messages that were on a connection, by its kind and number."""
MOST_LINKS: Final = 1_000_000
MOST_FOUND: Final = 1_000_000
LONGEST_LINE: Final = 16_384
"""Octets of a line that are shown."""
MOST_RELATED: Final = 1_000


@dataclass
class Event:
    """One message with all it became."""

    mids: list[int]
    """Those found first, then the related ones."""
    lines: list[str] = field(default_factory=list)


class Finder:
    """One search. Call `step` until it gives False; then `events` holds what was found."""

    def __init__(
        self,
        files: Sequence[Path],
        kind: Kind,
        text: str,
        *,
        insensitive: bool = True,
        most: int = 100,
        most_lines: int = 100_000,
    ) -> None:
        """`text` is a regular expression, of kind `mid` a number. Raises `RegexError`, `ValueError`."""
        self._files = files
        self._kind = kind
        self._most = most
        self._left = most_lines
        self._found: dict[int, None] = {}
        self._wanted: Pattern | None = None
        self._where: Pattern | None = None
        if kind == "mid":
            self._found[int(text)] = None
        else:
            self._wanted = compile_pattern(f"(?i){text}" if insensitive else text)
            self._where = compile_pattern(KINDS[kind])
        self._links: dict[int, set[int]] = defaultdict(set)
        self._work = self._run()
        self.total = 3 * size_of(files)
        self.done = 0
        self.matched = 0
        """Messages that fit, of which `most` at most are in `events`."""
        self.truncated = False
        """There was more than is given."""
        self.events: list[Event] = []

    def step(self) -> bool:
        """Look at some more; false when all is done."""
        until = self.done + _STEP
        for octets in self._work:
            self.done += octets
            if self.done >= until:
                return True
        return False

    def _run(self) -> Iterator[int]:
        for block in blocks(self._files):
            self._look(block)
            yield len(block)
        self.matched = len(self._found)
        self.truncated = self.truncated or self.matched > self._most
        self._gather()
        if self.events:
            yield from self._read()

    def _look(self, block: bytes) -> None:
        """Note who fits, and which message became which."""
        if self._where is not None and self._wanted is not None:
            for text in self._where.found(block):
                parts = _FIELD.search(text)
                if parts is not None and self._wanted.search(parts[2].encode()) is not None:
                    if len(self._found) >= MOST_FOUND:
                        self.truncated = True
                        break
                    self._found[int(parts[1])] = None
        for text in _LINKS.found(block):
            if len(self._links) >= MOST_LINKS:
                self.truncated = True
                return
            one, *_, other = (int(number) for number in _MID.findall(text))
            self._links[one].add(other)
            self._links[other].add(one)

    def _gather(self) -> None:
        taken: set[int] = set()
        for mid in self._found:
            if mid in taken:
                continue
            if len(self.events) >= self._most:
                self.truncated = True
                return
            mids = self._related(mid)
            taken.update(mids)
            self.events.append(Event(mids))

    def _related(self, mid: int) -> list[int]:
        known = {mid: None}
        waiting = [mid]
        while waiting:
            for other in sorted(self._links.get(waiting.pop(), ())):
                if other not in known:
                    if len(known) >= MOST_RELATED:
                        self.truncated = True
                        return list(known)
                    known[other] = None
                    waiting.append(other)
        return list(known)

    def _read(self) -> Iterator[int]:
        """Read the lines: once for the connections that the messages were on, once for all of them."""
        event_of = {mid: event for event in self.events for mid in event.mids}
        by_mid = _numbers("MID", event_of)
        connections: Connections = defaultdict(set)
        for block in blocks(self._files):
            for line in _lines_with(by_mid, block):
                _note_connections(line, event_of.keys(), connections)
            yield len(block)
        parts = [by_mid.text]
        for kind in ("ICID", "DCID"):
            if numbers := [number for word, number in connections if word == kind]:
                parts.append(_numbers(f"{kind}:?", numbers).text)
        wanted = compile_pattern("|".join(parts))
        for block in blocks(self._files):
            for line in _lines_with(wanted, block):
                self._take(line, _owners(line, event_of, connections))
            yield len(block)

    def _take(self, line: bytes, events: Collection[Event]) -> None:
        for event in events:
            if self._left <= 0:
                self.truncated = True
                return
            self._left -= 1
            event.lines.append(line[:LONGEST_LINE].decode("utf-8", "replace"))


def _note_connections(line: bytes, wanted: Set[int], connections: Connections) -> None:
    line = _own(line)
    for mid in _mids(line) & wanted:
        for kind, number in _CONNECTION.findall(line):
            if number != b"0":
                connections[kind.decode(), int(number)].add(mid)


def _owners(line: bytes, event_of: dict[int, Event], connections: dict[tuple[str, int], set[int]]) -> Collection[Event]:
    """Give the events that a line is about."""
    line = _own(line)
    mids = _mids(line)
    if not mids:
        keys = [(kind.decode(), int(number)) for kind, number in _CONNECTION.findall(line)]
        mids = {mid for key in keys for mid in connections.get(key, ())}
    return {id(event_of[mid]): event_of[mid] for mid in mids if mid in event_of}.values()


def _own(line: bytes) -> bytes:
    """Give what of a line is our own, not what it quotes."""
    said = _SAID.search(line)
    return line[: said.start()] if said is not None else line


def _mids(line: bytes) -> set[int]:
    return {int(number) for number in _MIDS_OF_LINE.findall(line)}


def _numbers(word: str, numbers: Collection[int]) -> Pattern:
    # Each line is looked at closely afterwards: many numbers would make a pattern that is too large.
    if len(numbers) > 500:
        return compile_pattern(rf"\b{word} \d")
    return compile_pattern(rf"\b{word} (?:{'|'.join(map(str, sorted(numbers)))})\b")


def _lines_with(pattern: Pattern, block: bytes) -> Iterator[bytes]:
    if pattern.search(block) is None:
        return
    at = 0
    for end in pattern.ends(block):
        if end <= at:
            continue
        begin = block.rfind(b"\n", at, end) + 1 or at
        at = block.find(b"\n", end)
        yield block[begin:at]
