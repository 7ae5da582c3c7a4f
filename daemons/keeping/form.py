"""The file that a backup is: a tar archive, so that it can be looked into with what every machine has.

First `backup.json` (what this is), then the machine's folders and files below `machine/`, last `sums.json` with the
SHA-256 of each file: an archive that ends before it is not whole. Used by `backup` and `restore`.
"""

import hashlib
from typing import IO, Annotated

import msgspec

FACTS = "backup.json"
SUMS = "sums.json"
BELOW = "machine/"
CONFIG = "gatepost.toml"
STEP = 1 << 20
Word = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[^\x00-\x20\x7f-\x9f]*$")]
"""What a terminal shows as it is."""
Count = Annotated[int, msgspec.Meta(ge=0, le=1 << 60)]


class Facts(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    serial: Word
    role: Word
    hostname: Word
    release: Word
    made_at: Annotated[float, msgspec.Meta(ge=0, le=1e11)]
    files: Count
    octets: Count
    counters: dict[str, Count] = {}
    """The next number of each id counter."""
    form: int = 1
    """Of the archive; another one is refused."""


class Hashed:
    """A file that is read, or written, with its SHA-256 on the way."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._left = size
        self._sum = hashlib.sha256()

    def read(self, most: int = -1) -> bytes:
        """Read on, up to the size that the file had; zeros stand for what is missing since."""
        wanted = self._left if most < 0 else min(most, self._left)
        data = self._file.read(wanted).ljust(wanted, b"\0")
        self._left -= len(data)
        self._sum.update(data)
        return data

    @property
    def sum(self) -> str:
        """The SHA-256 of what was read."""
        return self._sum.hexdigest()
