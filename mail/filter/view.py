"""One message as the filters see it while they run, and what they have decided about it so far.

Made by the pipeline for each message, read by rules, written by actions. Everything that costs is done at most
once and only when a rule asks: the subject is decoded on first use, parts are read on first use. Header tests see
the current header, after the edits of earlier filters.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from core.record import Accepted, Edit
from mail.content import edited_values
from mail.mime import Headers, Parts, decode_words, read_parts

MAX_MATCHED = 200


@dataclass(frozen=True, slots=True)
class ScanSettings:
    """How far rules look into a message."""

    unscannable_matches: bool = False
    max_scan_size: int = 32 << 20


@dataclass(frozen=True, slots=True)
class Raised:
    """A quarantine flag: which filter raised it and on what content."""

    filter: str
    matched: str


@dataclass(frozen=True, slots=True)
class Chosen:
    """Something chosen by its name, and the filter that chose it."""

    name: str
    filter: str


class View:
    """A message under evaluation. The pipeline hands in the headers it has indexed and a way to read the content."""

    __slots__ = (
        "_current",
        "_parts",
        "_read",
        "_subject",
        "accepted",
        "actions",
        "bounce_profile",
        "edits",
        "entries",
        "filter",
        "final",
        "final_by",
        "gateway",
        "headers",
        "holds",
        "matched",
        "settings",
        "stamps",
        "unscannable",
    )

    def __init__(
        self,
        accepted: Accepted,
        headers: Headers,
        read: Callable[[], bytes],
        settings: ScanSettings,
        edits: Sequence[Edit] = (),
    ) -> None:
        """`edits` were decided before the filters."""
        self.accepted = accepted
        self.headers = headers
        self.settings = settings
        self._read = read
        self._current: dict[bytes, list[bytes]] = {}
        self._subject: bytes | None = None
        self._parts: Parts | None = None
        self.filter = ""
        """Name of the filter that runs."""
        self.matched: list[str] = []
        """What the rules of this filter matched."""
        self.actions: list[str] = []
        """Names of the actions that this filter took."""
        self.edits: list[Edit] = list(edits)
        self.holds: dict[str, Raised] = {}
        self.entries: list[str] = []
        """Texts of `log-entry`."""
        self.final = ""
        """`deliver`, `drop`, `bounce` or `skip-filters`."""
        self.final_by = ""
        self.gateway: Chosen | None = None
        """Interface or group to leave by."""
        self.bounce_profile: Chosen | None = None
        self.stamps: list[tuple[Literal["heading", "footer"], str]] = []
        """Texts to put in, by lower case name."""
        self.unscannable = ""
        if edits:
            self._current = edited_values(headers, edits)

    def begin(self, name: str) -> None:
        """Start the next filter."""
        self.filter = name
        if self.matched:
            self.matched = []
        if self.actions:
            self.actions = []

    def subject(self) -> bytes:
        """Give the decoded subject as UTF-8, b'' if there is none."""
        if self._subject is None:
            raw = self.header(b"subject")
            value = raw[0] if raw else b""
            self._subject = decode_words(value).encode("utf-8", "replace") if b"=?" in value else value
        return self._subject

    def header(self, name: bytes) -> list[bytes]:
        """Give the current values of a lower case header name."""
        if name in self._current:
            return self._current[name]
        return self.headers.values(name)

    def insert(self, name: str, value: str) -> None:
        """Put a header on top."""
        key = name.lower().encode()
        self._current[key] = [value.encode("utf-8", "replace"), *self.header(key)]
        self.edits.append(Edit("insert", name, value))
        self._subject = None

    def strip(self, name: str) -> None:
        """Take all headers of a name away, inserted ones too."""
        self._current[name.lower().encode()] = []
        self.edits.append(Edit("strip", name))
        self._subject = None

    def parts(self) -> Parts:
        """Give the leaves of the message; the fault, if any, is kept in `unscannable`."""
        if self._parts is None:
            if self.accepted.size > self.settings.max_scan_size:
                self._parts = Parts((), f"larger than {self.settings.max_scan_size} octets")
            else:
                self._parts = read_parts(self._read())
            self.unscannable = self._parts.fault
        return self._parts

    def matched_text(self) -> str:
        """Give what the rules of this filter matched, clipped."""
        return ", ".join(self.matched)[:MAX_MATCHED]
