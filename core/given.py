"""Keys that the service manager hands to a daemon (systemd's LoadCredential=, systemd.exec(5)).

A key that is in $CREDENTIALS_DIRECTORY under its name is taken from there, any other from the machine's own folder.
Used for keys that stay as they are while a daemon runs. Raises nothing.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

_SHORTEST: Final = 32
"""Octets of a key. What the units give for a key that is missing (SetCredential=) is shorter, and no key."""


def given_or(own: Path) -> Path:
    """Give the credential that has the name of a file, and the file where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    with suppress(OSError):
        if folder and Path(folder, own.name).stat().st_size >= _SHORTEST:
            return Path(folder, own.name)
    return own
