"""Other releases for the tests of upgrade and downgrade, and what a machine's folder holds before and after.

A release here is a copy of the tree with some lines changed and a version of its own. A daemon is of that release when
its folder stands first in PYTHONPATH.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("core", "cpq", "daemons", "mail", "ops", "protocol", "tunnel")
LAST_FIELD = """    noted: list[tuple[str, str]] = msgspec.field(default_factory=list)
"""


def files_below(folder: Path) -> dict[str, bytes]:
    """Read every file of a machine but what lies in `run`, `log`, and the shared memory of databases."""
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and file.relative_to(folder).parts[0] not in ("run", "log") and not file.name.endswith("-shm")
    }


class Release:
    """A copy of the tree."""

    def __init__(self, folder: Path, version: str, changes: Mapping[str, Mapping[str, str]]) -> None:
        """Copy; `changes` gives by file which text stands in the place of which, each there exactly once."""
        self.folder, self.version = folder, version
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package)  # with what is compiled: the times stay
        for name, pairs in changes.items():
            text = (folder / name).read_text()
            for old, new in pairs.items():
                assert text.count(old) == 1, f"{name} has {text.count(old)} times: {old}"
                text = text.replace(old, new)
            (folder / name).write_text(text)
        facts = folder / f"gatepost-{version}.dist-info"
        facts.mkdir()
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: gatepost\nVersion: {version}\n")

    @property
    def environment(self) -> dict[str, str]:
        """Environment of a process of this release; it must not be started in the tree."""
        return {**os.environ, "PYTHONPATH": str(self.folder)}


def additions(*, compatible: bool) -> dict[str, dict[str, str]]:
    """Give the changes of a release whose stores have more in them; with or without leave to go back."""

    def layout(old: int, oldest: int) -> str:
        return f"Layout({old + 1}, {oldest if compatible else old + 1})"

    queue, quarantine = (4, 1) if compatible else (5, 2)
    return {
        "daemons/formats.py": {
            '"machine": Layout(1)': f'"machine": {layout(1, 1)}',
            '"journal": Layout(1)': f'"journal": {layout(1, 1)}',
            '"queue": Layout(4, compatible=4)': f'"queue": {layout(4, 4)}',
            '"quarantine": Layout(1)': f'"quarantine": {layout(1, 1)}',
        },
        "core/journal/segment.py": {"LAYOUT = Layout(1)": f"LAYOUT = {layout(1, 1)}"},
        "core/record.py": {LAST_FIELD: LAST_FIELD + '    brand_new: str = "of the next release"\n'},
        "mail/queue/store.py": {
            '"queue",\n    4,': '"queue",\n    5,',
            "compatible=4,": f"compatible={queue},",
            "    upgrades={\n": "    upgrades={\n        4: \"ALTER TABLE message ADD COLUMN colour TEXT DEFAULT 'red';"
            " ALTER TABLE recipient ADD COLUMN mood TEXT NOT NULL DEFAULT '';\",\n",
        },
        "cpq/store.py": {
            "    version=1,\n    compatible=1,\n": f'    version=2,\n    compatible={quarantine},\n    upgrades={{1: "'
            "ALTER TABLE message ADD COLUMN score REAL NOT NULL DEFAULT 0;"
            " ALTER TABLE hold ADD COLUMN note TEXT NOT NULL DEFAULT '';\"},\n",
        },
    }
