"""Where a configuration reaches out of itself: keys that name files of the machine, or programs.

What stands in such a file comes back in reports, footers and faults, so whoever chooses it reads it: the console's own
keys, others' passwords. Pure functions, used by `editing`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

FILE_KEYS = frozenset({"file", "certificate", "key", "authorities"})
PROGRAM_KEYS = frozenset({"handler"})


class Reach(NamedTuple):
    """One key and what it names."""

    section: str
    key: str
    value: str

    def __str__(self) -> str:
        return f"{self.section}.{self.key} = {self.value!r}"


def reaching(tables: Mapping[str, Any]) -> Iterator[Reach]:
    """Give every key of a configuration that names a file or a program, once for each row that has it."""
    for section, value in tables.items():
        yield from _below(section, value)


def _below(section: str, value: Any) -> Iterator[Reach]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in FILE_KEYS | PROGRAM_KEYS and isinstance(item, str) and item:
                yield Reach(section, key, item)
            else:
                yield from _below(section, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _below(section, item)
