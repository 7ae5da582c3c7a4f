"""A recording played again: on a terminal at its own pace, or as text with what happened between the lines.

Called by `gatepost bastion replay`. Reads any asciicast v2 file, so recordings of the first form too. Raises
GatepostError (65, 66) for what is none.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from core.drawing import END, Drawing
from core.errors import EX_DATAERR, EX_NOINPUT, GatepostError
from tunnel.recording.archive import facts_of, read_line
from tunnel.recording.tape import CHAIN, MARK

Event = tuple[float, str, str]


def read(path: Path) -> tuple[dict[str, Any], Iterator[Event]]:
    """Give the header and the events; a line that a crash cut ends them."""
    try:
        with path.open("rb") as file:
            header = read_line(file.readline())
    except OSError as error:
        raise GatepostError(f"{path}: cannot be read: {error.strerror}", EX_NOINPUT) from error
    if not isinstance(header, dict):
        raise GatepostError(f"{path}: not a recording (asciicast v2)", EX_DATAERR)

    def events() -> Iterator[Event]:
        with path.open("rb") as file:
            for line in file:
                event = read_line(line)
                if event is None:
                    return
                if isinstance(event, dict):
                    continue
                yield float(event[0]), event[1], event[2]

    return header, events()


def play(
    path: Path,
    write: Callable[[str], None],
    *,
    speed: float = 1.0,
    max_idle_s: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write a recording's output to a terminal as fast as it came; max_idle_s > 0 shortens long silences.

    What a terminal would answer or remember is left out. Whatever ends the replay, the terminal is put back.
    """
    drawing = Drawing()
    last_s = 0.0
    try:
        for at_s, code, text in read(path)[1]:
            pause_s = max(0.0, at_s - last_s)
            last_s = max(last_s, at_s)
            if max_idle_s:
                pause_s = min(pause_s, max_idle_s)
            if pause_s:
                sleep(pause_s / speed)
            if code == "o":
                write(drawing.for_terminal(text))
    finally:
        write(END + "\n")


def transcript(path: Path) -> Iterator[str]:
    """Give a recording as text that is safe in a pager; markers stand on lines of their own, with the time."""
    header, events = read(path)
    drawing, keys = Drawing(), Drawing()
    yield _title(header)
    fresh = True
    for at_s, code, text in events:
        if code == "o":
            words = drawing.plain(text)
        else:
            words = _between(at_s, code, text, keys)
            if words and not fresh:
                words = "\n" + words
        if words:
            fresh = words.endswith("\n")
            yield words
    if not fresh:
        yield "\n"


def _between(at_s: float, code: str, text: str, keys: Drawing) -> str:
    if code == "i":
        return f"--- {at_s:.1f} s typed: {keys.plain(text)!r}\n"
    if code == "r":
        return ""
    facts = facts_of(text) if code == MARK else {}
    kind = facts.pop("kind", code)
    if kind in (CHAIN, "octets"):
        return ""
    told = " ".join(f"{name}={value!r}" for name, value in facts.items()) or ("" if facts else repr(text)[:200])
    return Drawing().plain(f"--- {at_s:.1f} s {kind} {told if facts or kind == code else ''}".rstrip()) + "\n"


def _title(header: dict[str, Any]) -> str:
    own = header.get("gatepost")
    facts = own if isinstance(own, dict) else {}
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(float(header.get("timestamp") or 0)))
    who = f"{facts.get('key_id') or facts.get('engineer') or 'somebody'} on {facts.get('serial', '?')}"
    return Drawing().plain(f"--- {began} {who}, {header.get('width')}x{header.get('height')}") + "\n"
