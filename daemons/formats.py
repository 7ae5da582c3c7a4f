"""The layouts that this release writes, of every store of a machine: the one list to change with a layout.

`machine` stands for all small files without a number of their own: gatepost.toml and its versions, pending
configurations, `state/`, id blocks, pairings, keyd's folder, recordings, alerts, captures. docs/upgrade.md says which
store has which, and what a change of one asks for; a test holds the list against the stores.
"""

import contextlib
import importlib.metadata
import os
from pathlib import Path

from core.errors import EX_NOPERM, GatepostError
from core.format import Layout, Written, check_layouts, read_written, stamp
from daemons.owner import acting_as

LAYOUTS = {
    "machine": Layout(1),
    "journal": Layout(1),
    "queue": Layout(4, compatible=4),
    "quarantine": Layout(1),
    "transfers": Layout(1),
    "settlements": Layout(1),
    "delivery-tls": Layout(1),
    "access": Layout(1),
    "bastion": Layout(1),
}


def release() -> str:
    """Give the version of this release."""
    return importlib.metadata.version("gatepost")


def refuse_newer(folder: Path) -> Written:
    """Refuse the machine in `folder` if a store there is too new; gives what is known of it. Raises `FormatRefused`.

    keyd's user may not read the record where the folder is closed to it; its keys have no layout but their own files.
    Whose folder it is has to read it: a record that root has left there could be of a newer release. Raises status 77.
    """
    written = Written()
    try:
        written = read_written(folder / "state")
    except PermissionError as error:
        if folder.stat().st_uid == os.geteuid():
            text = (
                f"{error.filename}: {error.strerror}; `gatepost systemd install`, or chown, gives it back to its user"
            )
            raise GatepostError(text, EX_NOPERM) from error
    check_layouts(written, LAYOUTS, folder, release())
    return written


def begin_use(folder: Path) -> None:
    """Note, before a daemon opens a store, that this release uses the machine.

    A user who may not write there, and a full disk, leave it to the numbers that databases and journals carry. Root
    writes as whose folder it is, who has to read it.
    """
    with contextlib.suppress(OSError), acting_as(folder.stat().st_uid):
        stamp(folder / "state", LAYOUTS, release())
