"""Reading log files: in blocks of whole lines, from the oldest saved one to the one being written, never all at once.

Used by the search and by `tail`. A file that vanishes meanwhile (it was the oldest) is left out. Raises `OSError`.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.disk import open_regular
from core.log.file import saved_files

BLOCK = 1 << 18
LONGEST_LINE = 1 << 20
"""A line that is longer is taken for several."""


def files_of(path: Path, *, saved: bool = True) -> list[Path]:
    """Give a log's files, oldest first; only the one being written without `saved`."""
    files = saved_files(path) if saved else []
    return [*files, path] if path.exists() else files


def size_of(files: Sequence[Path]) -> int:
    """Add up their sizes."""
    total = 0
    for file in files:
        try:
            total += file.stat().st_size
        except FileNotFoundError:
            continue
    return total


def blocks(files: Sequence[Path]) -> Iterator[bytes]:
    """Give the content of files in blocks that end with a line; a line without an end that is last gets one."""
    for file in files:
        try:
            opened = open_regular(file)
        except FileNotFoundError:
            continue
        rest = b""
        with opened:
            while data := opened.read(BLOCK):
                whole, end, rest_of_data = (rest + data).rpartition(b"\n")
                rest = rest_of_data
                if end:
                    yield whole + end
                elif len(rest) > LONGEST_LINE:
                    yield rest + b"\n"
                    rest = b""
        if rest:
            yield rest + b"\n"


def last_lines(path: Path, count: int) -> list[bytes]:
    """Give the last lines of a file."""
    try:
        opened = open_regular(path)
    except FileNotFoundError:
        return []
    with opened:
        size = at = opened.seek(0, 2)
        while at > 0 and size - at < LONGEST_LINE:
            at = max(0, at - BLOCK)
            opened.seek(at)
            data = opened.read(size - at)
            if data.count(b"\n") > count:
                break
        else:
            opened.seek(at)
            data = opened.read(size - at)
    return data.splitlines()[-count:] if count else []
