"""Regular expressions that operators write: linear time whatever the pattern and the text, never a frozen loop.

The one module that touches google-re2. Patterns are text, subjects are the octets of a message: they need not be
valid UTF-8, octets that are not simply match nothing but themselves. Look-around and back-references do not exist
here; `compile_pattern` says so with the offset of the offending piece.
"""

import re
from collections.abc import Iterator

import re2

MAX_PATTERN = 8192
_LITERAL = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[^0-9A-Za-z])+")
"""Text without operators, special characters escaped: searched for as octets, ten times as fast."""
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NOT_LINEAR = {
    "(?=": "look-ahead is not available",
    "(?!": "look-ahead is not available",
    "(?<": "look-behind is not available",
    "(?<=": "look-behind is not available",
    "(?<!": "look-behind is not available",
}


class RegexError(ValueError):
    """A pattern that cannot be used: the reason, and the offset in characters where it shows."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.offset = offset


class Pattern:
    """A compiled pattern, searched unanchored."""

    __slots__ = ("_literal", "_regexp", "_words", "text")

    def __init__(self, text: str, regexp: "re2._Regexp") -> None:
        self.text = text
        self._regexp = regexp
        self._words = _ESCAPE.sub(r"\1", text) if _LITERAL.fullmatch(text) else ""
        self._literal = self._words.encode()

    def search(self, subject: bytes) -> str | None:
        """Give the text of the first match, None if there is none."""
        if self._words:
            return self._words if self._literal in subject else None
        match = self._regexp.search(subject)
        return None if match is None else match.group().decode("utf-8", "replace")

    def ends(self, subject: bytes) -> Iterator[int]:
        """Give where each match ends, from left to right."""
        for match in self._regexp.finditer(subject):
            yield match.end()

    def found(self, subject: bytes) -> Iterator[str]:
        """Give the text of each match, from left to right."""
        for match in self._regexp.finditer(subject):
            yield match.group().decode("utf-8", "replace")


def compile_pattern(text: str) -> Pattern:
    """Compile a pattern. Raises `RegexError`."""
    if len(text) > MAX_PATTERN:
        raise RegexError(f"longer than {MAX_PATTERN} characters", MAX_PATTERN)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RegexError("not valid Unicode text", error.start) from None
    options = re2.Options()
    options.log_errors = False
    try:
        return Pattern(text, re2.compile(text, options=options))
    except re2.error as error:
        raise _explained(text, error) from None


def _explained(text: str, error: Exception) -> RegexError:
    detail = error.args[0] if error.args else ""
    said = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
    reason, _, piece = said.partition(": ")
    offset = max(text.find(piece), 0) if piece else 0
    if piece[:1] == "\\" and piece[1:2].isdigit():
        return RegexError(f"back-references are not available: {piece}", offset)
    for opening, plain in sorted(_NOT_LINEAR.items(), reverse=True):
        if reason.startswith("invalid perl operator") and text.startswith(opening, offset):
            return RegexError(f"{plain}: {opening}", offset)
    return RegexError(f"{reason}: {piece}" if piece else reason, offset)
