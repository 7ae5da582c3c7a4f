"""What a benchmark asks of a mail system: start as a relay to the sink, stop, tell what it has cost."""

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from bench.process import Usage


@dataclass(frozen=True)
class Keys:
    """A certificate and its key that every system shows when TLS is measured."""

    certificate: Path
    key: Path


def make_keys(folder: Path) -> Keys:
    """Make the certificate that every system shows: ECDSA P-256, self-signed."""
    keys = Keys(folder / "cert.pem", folder / "key.pem")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9"]
    argv += ["-subj", "/CN=bench.example.test", "-keyout", str(keys.key), "-out", str(keys.certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    return keys


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
