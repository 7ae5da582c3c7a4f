"""What a command edits: the pending copy of its caller.

`Call.editing` gives one; commands read `tables()`, change by `change(what, edit)` and leave the rest to `commit`.
Validation is handed in by daemons/, which knows the models. Raises `GatepostError`: 65 for a change that cannot be,
78 where the file in force cannot be read.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from core import clock
from core.errors import EX_DATAERR, EX_NOPERM, GatepostError, Problem
from ops.configuration.difference import blamed, sections, touched
from ops.configuration.pending import Change, Pending, PendingFiles
from ops.configuration.place import Place, Reading, Tables, copy_of
from ops.configuration.reach import FILE_KEYS, reaching

Validate = Callable[[Mapping[str, Any]], list[Problem]]
"""Gives every fault of a whole configuration; runs in a thread, since large tables take seconds."""
Edit = Callable[[Tables], None]
Note = Callable[[str], None]
LONGEST = 300
"""Characters of what a change is called."""


class Editing:
    """The pending copy of one login. Holds nothing itself: two sessions of a login see the same."""

    def __init__(
        self, place: Place, login: str, validate: Validate, *, note: Note, now: clock.Clock, bounded: bool = False
    ) -> None:
        """`bounded`: for somebody who may not choose what of the machine's disk is read, nor what programs are run."""
        self.login = login
        self.place = place
        self.validate = validate
        self.files = PendingFiles(place)
        self._note = note
        self._now = now
        self._bounded = bounded

    def bounded(self) -> "Editing":
        """Give the same pending copy for somebody who administers mail only."""
        return Editing(self.place, self.login, self.validate, note=self._note, now=self._now, bounded=True)

    @property
    def pending(self) -> bool:
        """Whether there is anything to commit."""
        return self.files.load(self.login) is not None

    @property
    def changes(self) -> Sequence[Change]:
        """The changes that wait, as their makers called them, the oldest first."""
        found = self.files.load(self.login)
        return found.changes if found else ()

    def in_force(self) -> Tables:
        """Give a copy of the configuration in force, as it stands in the file: without defaults."""
        return dict(copy_of(self.place.in_force().tables))

    def tables(self) -> Tables:
        """Give a copy of the pending configuration; of the one in force if nothing is pending."""
        found = self.files.load(self.login)
        return dict(copy_of(found.tables)) if found else self.in_force()

    async def compared(self) -> tuple[Tables, Tables, list[str]]:
        """Give what the pending copy was made from, the copy, and the sections that others committed since."""
        return await asyncio.to_thread(self._compared)

    async def change(self, what: str, edit: Edit) -> list[str]:
        """Edit the pending copy and keep it; gives warnings of what a commit would refuse as it is now.

        `edit` changes the tables that it is given, in a thread; what it raises ends the change. Raises status 65 with
        every fault under what was changed; nothing is kept then. `what` is shown by `showchanges`.
        """
        return await asyncio.to_thread(self._change, what, edit)

    async def replace(self, what: str, tables: Tables, *, anew: bool = False) -> None:
        """Put a whole configuration in the place of the pending copy. Raises status 65 with every fault.

        `anew`: what was pending is forgotten, and what is in force now is what others' changes are told from.
        """
        await asyncio.to_thread(self._replace, what, tables, anew)

    async def clear(self) -> bool:
        """Drop the pending copy; tells whether there was one."""
        return await asyncio.to_thread(self._clear)

    def _change(self, what: str, edit: Edit) -> list[str]:
        with self.place.locked(self.files.lock(self.login)):
            found = self.files.load(self.login)
            base = found.base if found else self.place.in_force()
            before = found.tables if found else base.tables
            tables = copy_of(before)
            edit(tables)
            if tables == before:
                return []
            self._check_reach(before, tables)
            own, others = blamed(self.validate(tables), touched(before, tables))
            if own:
                raise GatepostError("\n".join(told(problem) for problem in own), EX_DATAERR)
            self._keep(what, found, base, tables)
            return [f"commit will refuse: {told(problem)}" for problem in others]

    def _replace(self, what: str, tables: Tables, anew: bool) -> None:
        with self.place.locked(self.files.lock(self.login)):
            if problems := self.validate(tables):
                raise GatepostError("\n".join(told(problem) for problem in problems), EX_DATAERR)
            found = None if anew else self.files.load(self.login)
            self._check_reach(found.tables if found else self.place.in_force().tables, tables)
            self._keep(what, found, found.base if found else self.place.in_force(), tables)

    def _check_reach(self, before: Tables, after: Tables) -> None:
        """Raise status 77 where a change names a file or a program that its maker may not choose."""
        if self._bounded and (new := set(reaching(after)) - set(reaching(before))):
            readable = [one for one in new if one.key in FILE_KEYS and self.place.lent(one.value)]
            if told_off := sorted(str(one) for one in new.difference(readable)):
                why = f"{'; '.join(told_off)}: administrators only, but for files of configuration/ that all may read"
                raise GatepostError(why, EX_NOPERM)

    def _compared(self) -> tuple[Tables, Tables, list[str]]:
        found, force = self.files.load(self.login), self.place.in_force().tables
        return (
            (force, force, [])
            if found is None
            else (found.base.tables, found.tables, sections(found.base.tables, force))
        )

    def _keep(self, what: str, found: Pending | None, base: Reading, tables: Tables) -> None:
        if not sections(base.tables, tables):
            self.files.drop(self.login)
        else:
            earlier = found.changes if found else ()
            self.files.save(self.login, Pending(tables, base, (*earlier, Change(what[:LONGEST], self._now()))))
        self._note(f"{self.login} changed the pending configuration: {what}")

    def _clear(self) -> bool:
        with self.place.locked(self.files.lock(self.login)):
            there = self.login in self.files
            self.files.drop(self.login)
        if there:
            self._note(f"{self.login} cleared the pending configuration")
        return there


def told(problem: Problem) -> str:
    """Say a fault without the file, which is the caller's own copy."""
    return f"{problem.key}: {problem.reason}" if problem.key else problem.reason
