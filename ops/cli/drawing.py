"""Another session's screen on this one: raw terminal output, without what would act on the watcher's terminal.

Colours, cursor movements and clearing pass. What is dropped: strings that set a title, a clipboard or keys (OSC, DCS,
APC, PM, SOS), requests that a terminal answers as if its user had typed (reports, attributes), window and printer
operations, C1 controls, and bytes that are no UTF-8. Used by `techsupport watch` and by `watch` of the bastion.
"""

import codecs
import re

_STRING = r"[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"
_CSI = r"\[[0-?]*[ -/]*[@-~]"
_OTHER = r"[ -/]*[0-~]"
_SEQUENCE = re.compile(rf"\x1b(?:{_STRING}|{_CSI}|{_OTHER})")
_OPEN = re.compile(r"\x1b(?:[\]PX^_][^\x07\x1b\x9c]*\x1b?|\[[0-?]*[ -/]*|[ -/]*)?\Z")
"""A sequence that has begun and not ended."""
_PASS = re.compile(
    r"\x1b(?:\[[0-9;:]*[@A-HJKLMPSTXZ`abdefgmrsu]|\[\?[0-9;]*[hl]|\[[0-9;]*[hl]|[78=>DEMHc]|[()][0AB12])"
)
"""Sequences that only draw."""
_CONTROL = re.compile(r"[\x00-\x06\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_MOST_OPEN = 4096
"""What is longer than this is no sequence; it is dropped, so that one that never ends holds nothing."""
_MOUSE = re.compile(r"\x1b\[\?(?:9|100[0-6]|1015|1016|2004)[hl]")
"""Modes that make the watcher's own keys and mouse mean something else."""


class Drawing:
    """Takes output as it comes, in pieces, and gives what may be shown."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> str:
        """Give the text that may be written to the watcher's terminal as it is."""
        text = self._rest + self._decoder.decode(data)
        open_ = _OPEN.search(text)
        at = open_.start() if open_ else len(text)
        self._rest = text[at:] if len(text) - at <= _MOST_OPEN else ""
        return _shown(text[:at])

    def plain(self, data: bytes) -> str:
        """Give it without any sequence, for one who has no terminal."""
        return _SEQUENCE.sub("", self.feed(data)).replace("\r\n", "\n").replace("\r", "")


def _shown(text: str) -> str:
    parts, done = [], 0
    for found in _SEQUENCE.finditer(text):
        parts.append(_CONTROL.sub("", text[done : found.start()]))
        sequence = found.group()
        if _PASS.fullmatch(sequence) and not _MOUSE.fullmatch(sequence):
            parts.append(sequence)
        done = found.end()
    parts.append(_CONTROL.sub("", text[done:]))
    return "".join(parts)
