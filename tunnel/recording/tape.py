"""The lines of an asciicast v2 file, and text made of octets so that the octets can be had back.

Used by `recording.py` and `file.py` to write, by `verify.py` and `replay.py` to read. Does no I/O. An `o` or `i`
event that is followed by a marker of kind `octets` stands for the octets in that marker; any other stands for
its text in UTF-8. So what passed can be had back octet by octet, whatever it was.
"""

import base64
import codecs
from typing import Any

import msgspec

FORMAT = 2
"""What a header's `gatepost.format` says: chain, close record and signature as described in docs/recording.md."""
MARK = "m"
CHAIN = "chain"
CLOSE = "close"


def line(at_s: float, code: str, text: str) -> bytes:
    """Give one event: seconds since the beginning, code, text."""
    return msgspec.json.encode([round(at_s, 6), code, text]) + b"\n"


def mark(at_s: float, kind: str, facts: dict[str, Any]) -> bytes:
    """Give a marker, whose text is a JSON object."""
    return line(at_s, MARK, msgspec.json.encode({"kind": kind, **facts}).decode("utf-8"))


class Words:
    """Turns octets into text piece by piece; a character that was cut waits for its rest."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes, *, final: bool = False) -> tuple[str, str]:
        """Give the text, and the octets in base64 where they are no UTF-8 ('' where they are)."""
        data = self._rest + data
        try:
            text, used = codecs.utf_8_decode(data, "strict", final)
            kept = ""
        except UnicodeDecodeError:
            text, used = codecs.utf_8_decode(data, "replace", final)
            kept = base64.b64encode(data[:used]).decode("ascii")
        self._rest = data[used:]
        return text, kept
