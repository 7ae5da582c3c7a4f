"""A machine whose configuration can be edited without a daemon: real files in a folder, the project's own models."""

from pathlib import Path
from typing import Any

from core.disk import Disk
from core.errors import Problem
from ops.cli.appliance import Appliance
from ops.configuration.commit import Committer
from ops.configuration.editing import Editing
from ops.configuration.place import Place
from tests.support.appliance import NOW, machine

TEXT = """\
# Made by hand.
[appliance]
role = "esa"
serial = "42AB-CD"
hostname = "esa.example.test"

# Two listeners.
[[listener]]
name = "InboundMail"
address = "127.0.1.1"
port = 2525
rat = ["example.test"]

[[listener]]
name = "OutboundMail"  # for the company
kind = "private"
address = "127.0.1.1"
port = 2526
"""


def write(folder: Path, text: str = TEXT) -> Path:
    """Write a machine's document; give its path."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "gatepost.toml"
    config.write_text(text)
    return config


class Notes:
    """Keeps the audit lines of changes."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, text: str) -> None:
        self.lines.append(text)


def faults_of_document(config: Path, tables: Any) -> list[Problem]:
    """Check a document as daemons do, but for keys and files, which the folder of a unit test lacks."""
    from core.config.document import check_document
    from core.errors import ConfigError
    from daemons.config import DOCUMENTS

    try:
        check_document(tables, DOCUMENTS[tables["appliance"]["role"]], str(config))
    except ConfigError as error:
        return list(error.problems)
    return []


class NoSync(Disk):
    """A disk that keeps nothing in a power cut, and is fast: for tests that write thousands of files."""

    def fdatasync(self, fd: int) -> None:
        pass

    def fsync_directory(self, directory: Path) -> None:
        pass


def editable(config: Path, note: Notes | None = None, *, disk: Disk | None = None, **more: Any) -> Appliance:
    """Give an appliance whose commands edit the document at `config`; control sockets are in run/ beside it."""
    place = Place(config, disk)

    def editing(login: str) -> Editing:
        return Editing(
            place, login, lambda tables: faults_of_document(config, tables), note=note or Notes(), now=lambda: NOW
        )

    def committer() -> Committer:
        return Committer(
            place, lambda tables: faults_of_document(config, tables), note=note or Notes(), now=lambda: NOW
        )

    role = str(place.in_force().tables["appliance"]["role"])
    files = config.parent / "configuration"
    return machine(config.parent / "run", role, files=files, editing=editing, committer=committer, **more)
