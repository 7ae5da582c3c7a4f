"""Pending copies of the configuration: one per login name, on disk, so that every session of that login has the same.

`NAME.toml` in `Place.pending` is the copy; comments at its head say what it was made from and what was changed.
`NAME.base` is the configuration in force when the copy was made: a commit takes it to find what somebody else changed
in the meantime. Used by `editing` and `commit`. Raises `GatepostError`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from ops.configuration.place import Place, Reading, Tables
from ops.configuration.toml import toml

_HEAD = "#pending "


@dataclass(frozen=True)
class Change:
    """One change as its maker called it."""

    what: str
    at: float


@dataclass(frozen=True)
class Pending:
    """One login's copy, what it was made from, and the changes in between."""

    tables: Tables
    base: Reading
    changes: tuple[Change, ...]


class PendingFiles:
    """The pending copies of one machine."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def lock(self, login: str) -> Path:
        """Give the file whose lock a change of this login's copy holds."""
        return self._file(login, "lock")

    def load(self, login: str) -> Pending | None:
        """Read a login's copy, None if there is none."""
        if login not in self:
            return None
        found = self._place.read(self._file(login, "toml"))
        facts: dict[str, Any] = json.loads(found.text.partition("\n")[0].removeprefix(_HEAD))
        base = self._place.read(self._file(login, "base"))
        return Pending(found.tables, base, tuple(Change(what, at) for what, at in facts["changes"]))

    def save(self, login: str, pending: Pending) -> None:
        """Write a login's copy; its base first, since a copy without one is of no use."""
        base = self._file(login, "base")
        if not base.exists() or self._place.read(base).digest != pending.base.digest:
            self._place.write(base, pending.base.text, private=True)
        self._place.write(self._file(login, "toml"), self._head(pending) + toml(pending.tables), private=True)

    def drop(self, login: str) -> None:
        """Forget a login's copy."""
        for kind in ("toml", "base"):
            self._place.disk.unlink(self._file(login, kind))

    def __contains__(self, login: str) -> bool:
        """Tell whether a login has a copy, readable or not."""
        return self._file(login, "toml").exists()

    def logins(self) -> Sequence[str]:
        """Name the logins that have a copy."""
        return sorted(unquote(path.stem) for path in self._place.pending.glob("*.toml"))

    def _head(self, pending: Pending) -> str:
        changes = [(change.what, change.at) for change in pending.changes]
        return _HEAD + json.dumps({"base": pending.base.digest, "changes": changes}).replace("\x7f", "\\u007f") + "\n"

    def _file(self, login: str, kind: str) -> Path:
        name = quote(login, safe="").replace(".", "%2E") or "%"
        return self._place.pending / f"{name[:200]}.{kind}"
