"""The output of somebody else's session made harmless: for a terminal without what talks back, else without controls.

Whoever watches a session or plays its recording gets whatever the far end sent, and a terminal obeys: it can be made
to answer as if somebody had typed, to take a text into the clipboard, to change its title, to show text backwards.
Called by `techsupport watch`, by `watch` of the bastion and by `gatepost bastion replay`.
"""

import re
import unicodedata

_BEGIN = r"(?:\x1b[P\]X^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c\x18\x1a]*"
"""DCS, OSC, SOS, PM, APC: titles, clipboards, downloads, and strings that are answered (ECMA-48 5.6, 8.3)."""
_STRING = _BEGIN + r"(?:\x07|\x1b\\|[\x9c\x18\x1a]|(?=\x1b))"
_SEQUENCE = re.compile(_STRING + r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|\x1b[ -/]*[0-~]|\x1b")
_UNFINISHED = re.compile(r"(?:" + _BEGIN + r"\x1b?|(?:\x1b\[|\x9b)[0-?]*[ -/]*|\x1b[ -/]*|\r)\Z")
_SHOWING = re.compile(r"\x1b\[(?:[0-9;:]*[ABCDEFGHJKLMPSTXZ@`adefgmrsu]|\?[0-9;]*[hl]|[0-9;]*[hl]|!p)")
"""Control sequences that only change what is shown: cursor, erasing, colours, scrolling, modes."""
_SHORT = {
    "\x1b7",
    "\x1b8",
    "\x1bD",
    "\x1bE",
    "\x1bM",
    "\x1bc",
    "\x1b(B",
    "\x1b(0",
    "\x1b)0",
    "\x1b)B",
    "\x1b=",
    "\x1b>",
}
_MODES_THAT_TALK = re.compile(r"\?(?:9|100[0-6]|1015|1016|2004|2026|996|2031)(?![0-9])|\?[0-9;]*;")
_BACK_TO_NORMAL = "\x1b[!p\x1b[?1049l\x1b[?7h\x1b[?25h\x1b[0m\x1b(B"
KEPT = 4096
"""A sequence that is longer than this is none."""
_HIDDEN = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}

END = _BACK_TO_NORMAL
"""What puts a terminal back afterwards, wherever it was stopped."""


class Drawing:
    """Takes text in pieces; a sequence that is cut waits for its rest."""

    def __init__(self) -> None:
        self._rest = ""

    def for_terminal(self, text: str) -> str:
        """Leave what only shows; take away what a terminal would answer or remember."""
        shown = _SEQUENCE.sub(lambda found: found[0] if _shows(found[0]) else "", self._whole(text))
        return shown.translate(_TERMINAL)

    def plain(self, text: str) -> str:
        """Leave lines of text; other controls are shown as ^X or \\u…"""
        text = _SEQUENCE.sub("", self._whole(text))
        return "".join(_visible(one) for one in text.replace("\r\n", "\n").replace("\r", "\n"))

    def _whole(self, text: str) -> str:
        """Hold back a sequence at the end that is not complete."""
        text = self._rest + text
        unfinished = _UNFINISHED.search(text)
        if unfinished is None or len(unfinished[0]) > KEPT:
            self._rest = ""
            return text
        self._rest = unfinished[0]
        return text[: unfinished.start()]


_CONTROLS = [*range(0x08), *range(0x0E, 0x1B), *range(0x1C, 0x20), *range(0x7F, 0xA0)]
_DIRECTIONS = [0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_TERMINAL = dict.fromkeys([*_CONTROLS, *_DIRECTIONS])


def _shows(sequence: str) -> bool:
    if sequence in _SHORT:
        return True
    return _SHOWING.fullmatch(sequence) is not None and _MODES_THAT_TALK.search(sequence) is None


def _visible(one: str) -> str:
    if one in "\n\t" or unicodedata.category(one) not in _HIDDEN:
        return one
    return f"^{chr(ord(one) ^ 64)}" if one < "\x80" else f"\\u{ord(one):04x}"
