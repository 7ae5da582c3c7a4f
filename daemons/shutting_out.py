"""Shutting support out when the usual way is not there: a configuration with errors, a tunnel client that is down.

Whoever owns the machine can always end remote access. Without a valid document the control sockets are found beside the
file; without a tunnel client its file is written here, under its lock, so that none can run meanwhile.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from core import toml
from core.disk import read_text
from core.errors import EX_IOERR, EX_TEMPFAIL, GatepostError
from ops.cli.appliance import Appliance
from tunnel.appliance import activation
from tunnel.appliance.activation import Activation

_ALWAYS = (
    ["techsupport", "status"],
    ["techsupport", "disable"],
    ["techsupport", "tunnel", "disable"],
    ["techsupport", "sshaccess", "disable"],
)


def always_possible(words: Sequence[str]) -> bool:
    """Tell whether a command line has to work while the configuration has errors."""
    return [word.lower() for word in words if not word.startswith("-")] in _ALWAYS


def bare_appliance(config: Path) -> Appliance:
    """Describe a machine whose configuration cannot be used, as far as these commands need it."""
    found: dict[str, Any] = {}
    with suppress(OSError, ValueError, KeyError):
        found = dict(toml.loads(read_text(config))["appliance"])
    folder = config.resolve().parent
    return Appliance(
        role="sma" if found.get("role") == "sma" else "esa",
        serial=str(found.get("serial") or "not known: the configuration has errors"),
        hostname=str(found.get("hostname") or ""),
        run=folder / "run",
        shut_out=lambda: shut_out(folder),
    )


def shut_out(folder: Path) -> dict[str, Any]:
    """Bring to disk that remote access is disabled. Raises status 75 if a tunnel client runs, 74 if it cannot be."""
    path = folder / "state" / activation.FILE_NAME
    try:
        with _lone(folder / "run" / "tunnel-client.lock"):
            try:
                before = activation.load(path)
            except GatepostError:
                before = Activation()  # whatever it said, it says disabled now
            activation.end(path, before)
            _given_to_its_owner(path)
    except OSError as error:
        text = f"{path}: {error.strerror or error}; logins stay possible: remove this file"
        raise GatepostError(text, EX_IOERR) from error
    return {"mode": activation.DISABLED, "tunnel": activation.DISABLED}


@contextmanager
def _lone(path: Path) -> Iterator[None]:
    """Hold the lock that a running tunnel client has."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _given_to_its_owner(path)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise GatepostError("tunnel-client runs and does not answer; stop it and try again", EX_TEMPFAIL) from None
    finally:
        os.close(lock)


def _given_to_its_owner(path: Path) -> None:
    """Leave nothing of root's where the daemons are another user."""
    if os.geteuid() == 0 and path.exists():
        folder = path.parent.stat()
        os.chown(path, folder.st_uid, folder.st_gid)
