"""Keys that the service manager hands to a daemon (systemd's LoadCredential=, systemd.exec(5)).

A key that is in $CREDENTIALS_DIRECTORY under its name is taken from there, any other from the machine's own folder.
Used for keys that stay as they are while a daemon runs. Raises nothing.
"""

import os
from pathlib import Path


def given_or(own: Path) -> Path:
    """Give the credential that has the name of a file, and the file where there is none."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    credential = Path(folder, own.name) if folder else own
    return credential if credential.is_file() else own
