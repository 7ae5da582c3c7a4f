"""Reading a JSON object from a peer field by field, with a type and a bound for each.

Used by the frame of the quarantine channel. Knows no field by name. Raises `FrameError`, which names the field
and the fault in words that may be shown to the peer.
"""

import base64
import binascii
import json
import math
from collections.abc import Iterable
from typing import Any

_CONTROLS = frozenset(chr(code) for code in [*range(32), 127])
_BREAKS = frozenset("\r\n\t")


class FrameError(ValueError):
    """The peer's metadata breaks a rule; the text says which field and which rule."""


def parse_object(data: bytes) -> dict[str, Any]:
    """Read one JSON object strictly: UTF-8, no duplicate keys, no NaN or Infinity, bounded depth."""
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except FrameError:
        raise
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise FrameError("not a JSON document in UTF-8") from None
    if not isinstance(document, dict):
        raise FrameError("not a JSON object")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FrameError("a key stands twice")
    return found


def _no_constant(_: str) -> float:
    raise FrameError("a number is not finite")


class Reader:
    """Takes typed and bounded fields out of one object; a missing field without default is a fault.

    Unknown keys are ignored: a newer peer of the same version may say more.
    """

    def __init__(self, document: dict[str, Any], where: str = "") -> None:
        self._document = document
        self._where = where

    def text(self, name: str, octets: int, default: str | None = None, *, breaks: bool = False) -> str:
        """Give a string of at most `octets` in UTF-8, free of control characters (CR, LF, TAB with `breaks`)."""
        value: str = self._take(name, str, default)
        try:
            size = len(value.encode("utf-8"))
        except UnicodeEncodeError:
            raise self._fault(name, "is not Unicode text") from None
        if size > octets:
            raise self._fault(name, f"is longer than {octets} octets")
        controls = _CONTROLS.intersection(value)
        if controls and not (breaks and controls <= _BREAKS):
            raise self._fault(name, "contains control characters")
        return value

    def choice(self, name: str, allowed: Iterable[str]) -> str:
        """Give one of the words `allowed`."""
        value = self.text(name, 64)
        if value not in allowed:
            raise self._fault(name, "is not one of the known words")
        return value

    def number(self, name: str, highest: int, default: int | None = None, *, lowest: int = 0) -> int:
        """Give an integer from `lowest` to `highest`."""
        value: int = self._take(name, int, default)
        if isinstance(value, bool) or not lowest <= value <= highest:
            raise self._fault(name, f"is not a number from {lowest} to {highest}")
        return value

    def moment(self, name: str, default: float | None = None) -> float:
        """Give a time in UNIX seconds, 0 or later, before the year 10000."""
        value = self._take(name, (int, float), default)
        if isinstance(value, bool) or not math.isfinite(value) or not 0 <= value < 253_402_300_800:
            raise self._fault(name, "is not a time in UNIX seconds")
        return float(value)

    def flag(self, name: str, default: bool | None = None) -> bool:
        """Give true or false."""
        return bool(self._take(name, bool, default))

    def octets(self, name: str, highest: int, *, exactly: int | None = None) -> bytes:
        """Give binary data written in base64, at most `highest` octets of it."""
        value = self._take(name, str, None)
        try:
            data = base64.b64decode(value.encode("ascii"), validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise self._fault(name, "is not base64") from None
        if len(data) > highest or (exactly is not None and len(data) != exactly):
            raise self._fault(name, f"is not of {exactly if exactly is not None else highest} octets")
        return data

    def rows(self, name: str, highest: int, *, lowest: int = 0) -> list["Reader"]:
        """Give readers for a list of `lowest` to `highest` objects."""
        value = self._take(name, list, None)
        if not lowest <= len(value) <= highest:
            raise self._fault(name, f"has not {lowest} to {highest} entries")
        found = []
        for number, item in enumerate(value):
            if not isinstance(item, dict):
                raise self._fault(name, f"[{number}] is not an object")
            found.append(Reader(item, f"{self._where}{name}[{number}]."))
        return found

    def texts(self, name: str, highest: int, octets: int) -> list[str]:
        """Give a list of at most `highest` strings of at most `octets` each."""
        value = self._take(name, list, None)
        if len(value) > highest:
            raise self._fault(name, f"has more than {highest} entries")
        inner = Reader({str(number): item for number, item in enumerate(value)}, f"{self._where}{name}.")
        return [inner.text(str(number), octets) for number in range(len(value))]

    def _take(self, name: str, kind: type | tuple[type, ...], default: Any) -> Any:
        value = self._document.get(name, default)
        if value is None:
            raise self._fault(name, "is missing")
        if not isinstance(value, kind):
            raise self._fault(name, "is of the wrong type")
        return value

    def _fault(self, name: str, fault: str) -> FrameError:
        return FrameError(f"{self._where}{name} {fault}")
