"""Making values fit for an operator's terminal: cleaning, times, ages, numbers, JSON.

Every renderer uses it. Whatever came from mail or from a peer may hold control sequences, line ends or direction
marks; `scrub` shows those escaped, so that no message can draw on the screen of whoever looks at it.
"""

import json
import re
import textwrap
import time
import unicodedata
from collections.abc import Collection
from typing import Any

from core import maillog

_TEXT_LIMIT = 20_000
_STYLES = {"bold": "1", "good": "32", "bad": "31", "notice": "33"}
_STYLED = re.compile(r"\x1b\[[0-9;]*m")
_NUMBERED = re.compile(r"\[Errno -?\d+\] ")


def clean(text: str, *, lines: bool = False) -> str:
    """Show what a terminal must not get as escapes; with `lines`, line ends stay and the text may be long."""
    return maillog.clean(text, None if lines else _TEXT_LIMIT, lines=lines)


def scrub(value: Any, *, multiline: Collection[str] = (), key: str = "") -> Any:
    """Clean every string of a document, keys too; values under a key of `multiline` keep their line ends."""
    if isinstance(value, str):
        return clean(value, lines=key in multiline)
    if isinstance(value, dict):
        return {clean(str(k)): scrub(v, multiline=multiline, key=str(k)) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item, multiline=multiline, key=key) for item in value]
    return value


def paint(text: str, style: str, width: int) -> str:
    """Show text `bold`, `good`, `bad` or as a `notice` on a terminal, which has a width; elsewhere as it is.

    Only for text that is clean already, and after it was laid out: the marks count as columns.
    """
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if width else text


def unpainted(text: str) -> str:
    """Take the marks of `paint` out again, for a terminal that does not know them."""
    return _STYLED.sub("", text)


def is_plain(kind: str) -> bool:
    """Tell whether a terminal of this kind (TERM) shows no styles."""
    return kind in {"", "dumb", "unknown"}


def columns(text: str) -> int:
    """Count the columns that text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(_columns_of(char) for char in text)


def _columns_of(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Me"}:
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: str, width: int) -> str:
    """Shorten text to `width` columns; an ellipsis shows that something is missing."""
    if columns(text) <= width:
        return text
    room, kept = width - 1, ""
    for char in text:
        room -= _columns_of(char)
        if room < 0:
            break
        kept += char
    return kept + "…"


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill text with blanks to `width` columns."""
    fill = " " * max(0, width - columns(text))
    return fill + text if right else text + fill


def folded(lead: str, text: str, width: int) -> str:
    """Put a long text behind its label in lines of `width` columns (0 = no limit), all under the first one."""
    room = max(20, width - columns(lead))
    lines = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) if width else [text]
    return ("\n" + " " * columns(lead)).join([lead + (lines or [""])[0], *lines[1:]])


def fitted(text: str, width: int) -> str:
    """Break the lines of a text that are longer than `width` columns at blanks, under their indent (0 = no limit)."""
    return "\n".join(_broken(line, width) if 0 < width < columns(line) else line for line in text.split("\n"))


def _broken(line: str, width: int) -> str:
    indent = " " * (len(line) - len(line.lstrip()))
    return "\n".join(
        textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, tabsize=1)
    )


def with_article(noun: str) -> str:
    """Put `a` or `an` before a noun."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def reason(text: object) -> str:
    """Give why a host did not answer, without the system's number for it, which the mail log has."""
    return _NUMBERED.sub("", str(text or ""))


def moment(at: float | None, none: str = "Never") -> str:
    """Show a point in time in the form of ctime with the time zone."""
    if not at:
        return none
    return time.strftime("%a %b %d %H:%M:%S %Y %Z", time.localtime(at))


def stamp(at: float | None, none: str = "-") -> str:
    """Show a point in time in the short form for table cells."""
    return time.strftime("%d %b %H:%M", time.localtime(at)) if at else none


def day(at: float | None, none: str = "-") -> str:
    """Show a day in the short form for table cells."""
    return time.strftime("%d %b %Y", time.localtime(at)) if at else none


def brief(seconds: float) -> str:
    """Show a duration as `1d 2h 3m 4s`, without leading zeros."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count or parts or unit == "s":
            parts.append(f"{count}{unit}")
    return " ".join(parts)


def age(seconds: float) -> str:
    """Show an age in words: `1 week 2 days 4 secs`; units that are zero are left out."""
    rest = max(0, int(seconds))
    parts = []
    for unit, length in (("week", 604800), ("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(parts) or "0 secs"


def number(value: Any) -> str:
    """Show a number with thousands separated, text as it is, and what is not known as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}"


def octets(value: Any) -> str:
    """Show a size: `830`, `14K`, `2.5M`."""
    if not isinstance(value, int | float):
        return "-"
    for unit in ("", "K", "M", "G"):
        if value < 1024 or unit == "G":
            return f"{value:.1f}{unit}" if unit and value < 10 else f"{value:.0f}{unit}"
        value /= 1024
    return "-"


def as_json(document: Any) -> str:
    """Give the `--json` form: one document; pure ASCII, so that nothing in it can steer a terminal."""
    return json.dumps(document, ensure_ascii=True, indent=None, separators=(", ", ": "))
