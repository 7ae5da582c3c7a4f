"""What a benchmark asks of a mail system: start as a relay to the sink, stop, tell what it has cost."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from bench.process import Usage


@dataclass(frozen=True)
class Keys:
    """A certificate and its key that every system shows when TLS is measured."""

    certificate: Path
    key: Path


class System(Protocol):
    """A mail system that relays to the sink."""

    name: ClassVar[str]
    share: ClassVar[float]
    """Part of a case's messages that it gets: a slow one would take the whole day."""

    def __init__(self, folder: Path, keys: Keys) -> None: ...

    def start(self, sink_port: int) -> int:
        """Start, and give the port that it takes mail at. Raises `SystemExit` saying why it cannot."""

    def stop(self) -> None:
        """Stop, and leave nothing behind."""

    def usage(self) -> Usage:
        """Tell what it has cost so far."""
