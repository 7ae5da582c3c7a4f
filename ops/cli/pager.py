"""A long output on a terminal, page by page: space shows the next page, Enter the next line, q ends it.

Used by the session for what a command gives, never in batch and never for `--json`. Reads keys as they come, so no
Enter is needed; Ctrl-C is q, and where no more keys can come all is shown. Raises `TimeoutError` when nobody presses
anything for too long.
"""

import asyncio

from ops.cli.display import columns
from ops.cli.registry import Lend

PROMPT = "--More--"
HELP = f"{PROMPT} (space: next page, Enter: next line, q: end)"
_ERASE = "\r" + " " * len(HELP) + "\r"
_PAGE, _LINE, _END, _ALL, _OTHER = "page", "line", "end", "all", "other"
_KEYS = {b" ": _PAGE, b"f": _PAGE, b"\r": _LINE, b"\n": _LINE, b"j": _LINE, b"q": _END, b"Q": _END}
_KEYS |= {b"\x03": _END, b"\x04": _END, b"": _ALL}


async def show_paged(text: str, lend: Lend, *, width: int, rows: int, idle_s: float) -> None:
    """Show text that ends with a line end; `rows` and `width` are those of the terminal."""
    lines = text.removesuffix("\n").split("\n")
    keys: asyncio.Queue[bytes] = asyncio.Queue()
    with lend(keys.put_nowait) as terminal:
        page = max(1, rows - 1)
        while lines:
            shown = _fitting(lines, page, width)
            if len(lines) - shown == 1:
                shown += 1  # the line that remains takes the place of the question
            terminal.write("".join(f"{line}\n" for line in lines[:shown]))
            del lines[:shown]
            if not lines:
                return
            terminal.write(HELP if width > len(HELP) else PROMPT)
            try:
                wish = await _asked(keys, idle_s)
            finally:
                terminal.write(_ERASE if width > len(HELP) else "\r" + " " * len(PROMPT) + "\r")
            if wish == _END:
                return
            page = len(lines) * 1000 if wish == _ALL else 1 if wish == _LINE else max(1, rows - 1)


async def _asked(keys: "asyncio.Queue[bytes]", idle_s: float) -> str:
    while True:
        async with asyncio.timeout(idle_s):
            pressed = await keys.get()
        wish = _KEYS.get(pressed[:1], _OTHER)
        if wish != _OTHER:
            return wish


def _fitting(lines: list[str], rows: int, width: int) -> int:
    """Count the lines that fit into so many rows; one that is longer than a page is a page."""
    taken = 0
    for place, line in enumerate(lines):
        taken += max(1, -(-columns(line) // width)) if width else 1
        if taken > rows:
            return max(place, 1)
    return len(lines)


def is_long(text: str, *, width: int, rows: int) -> bool:
    """Tell whether a text is more than one screen."""
    lines = text.removesuffix("\n").split("\n")
    return bool(rows) and _fitting(lines, rows - 1, width) < len(lines)
