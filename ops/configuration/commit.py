"""Putting a configuration in force: all of it, at every daemon, or nothing.

Order, each step with a kill point: validate, write the candidate (synced), have every daemon prepare, write the
version, rename the candidate to `gatepost.toml`, have the daemons apply, count the version, drop the pending copy. A
crash leaves the old or the new file, whole; `resume` does what was left over, and daemons go by the file in the end
(core/switch.py). Whoever commits holds the lock in `Place.kept`. Raises `GatepostError`: 75 while another
commit is under way, 65 where somebody else changed the same sections, `ConfigError` with every fault and its daemon.
"""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core import clock
from core.errors import EX_CANTCREAT, EX_DATAERR, ConfigError, GatepostError, Problem
from core.killpoint import killpoint
from ops.configuration.confirm import Confirmations, Waiting
from ops.configuration.difference import Overlap, merged, sections
from ops.configuration.editing import Note, Validate
from ops.configuration.handover import Answer, Handover
from ops.configuration.pending import Pending, PendingFiles
from ops.configuration.place import Place, Reading, Tables, parse
from ops.configuration.rewrite import rewrite
from ops.configuration.version import Version, Versions, version_of

BY_HAND = "by hand"


@dataclass(frozen=True)
class Wish:
    """Who commits, and how."""

    user: str
    source: str = ""
    comment: str = ""
    save: bool = True
    """Whether the version is offered to be gone back to."""
    confirm_s: float | None = None
    """Go back by itself after so long, unless it is confirmed."""


@dataclass(frozen=True)
class Done:
    """What a commit came to."""

    version: Version
    daemons: tuple[Answer, ...]
    merged_with: tuple[str, ...] = ()
    """Sections that somebody else had changed since the pending copy was begun."""
    confirmed: bool = False
    """Whether it confirmed the version that waited for that."""
    until_at: float | None = None


class Committer:
    """Commits on one machine."""

    def __init__(
        self,
        place: Place,
        validate: Validate,
        *,
        note: Note,
        now: clock.Clock,
        handover: Callable[[str], Handover] | None = None,
    ) -> None:
        self._place = place
        self._validate = validate
        self._note = note
        self._now = now
        self._handover = handover or (lambda role: Handover(place.run, role))
        self._files = PendingFiles(place)
        self.versions = Versions(place)
        self.confirmations = Confirmations(place)

    @contextlib.asynccontextmanager
    async def _alone(self) -> AsyncIterator[None]:
        taken = "another commit is under way; try again in a moment"
        with self._place.locked(self._place.kept / "lock", wait=False, taken=taken):
            await self._resume()
            yield

    async def commit(self, login: str, wish: Wish) -> Done | None:
        """Put a login's pending copy in force; None if there is nothing to commit or to confirm."""
        async with self._alone():
            force = await asyncio.to_thread(self._place.in_force)
            waiting = self.confirmations.waiting(force.digest)
            pending = await asyncio.to_thread(self._files.load, login)
            if pending is None:
                return self._confirmed(waiting, wish)
            tables, others = self._brought_together(pending, force)
            changes = tuple(change.what for change in pending.changes)
            done = await self._put(force, tables, wish, waiting, changes)
            await asyncio.to_thread(self._drop, login, pending)
            killpoint("commit.dropped")
            return replace(done, merged_with=tuple(others))

    async def go_back(self, waiting: Waiting) -> Done | None:
        """Go back to what was in force before a version that nobody confirmed; None if that is settled already."""
        async with self._alone():
            force = await asyncio.to_thread(self._place.in_force)
            if self.confirmations.waiting(force.digest) != waiting:
                return None
            before = await asyncio.to_thread(parse, waiting.before, self._place.config)
            wish = Wish("console", comment=f"version {waiting.number} was not confirmed")
            return await self._put(force, before.tables, wish, None, (), text=before.text)

    async def resume(self) -> None:
        """Do what a commit left over that was killed, unless one is under way."""
        if self.left_over:
            with contextlib.suppress(GatepostError):
                async with self._alone():
                    return

    @property
    def left_over(self) -> bool:
        """Whether a commit is under way, or was broken off."""
        return self._place.candidate.exists() or any(self._place.versions.glob("*.new"))

    async def _resume(self) -> None:
        force = await asyncio.to_thread(self._place.in_force)
        left = self.left_over
        self.versions.settle(force.digest)
        self._place.disk.unlink(self._place.candidate)
        self.confirmations.settle(force.digest)
        if left:
            self._note("a commit that was broken off is settled")
            await self._have_followed(force)

    async def _have_followed(self, force: Reading) -> None:
        """Hand the file in force to daemons that do not go by it; one that cannot take it is told in its own log."""
        handover = self._handover(_role(force.tables))
        behind = await handover.behind(force.digest)
        await handover.drop()
        if behind:
            token = uuid.uuid4().hex
            await handover.prepare(self._place.config, token, len(force.text))
            await handover.apply(token, force.digest)
            self._note(f"handed the configuration in force to {', '.join(one.daemon for one in behind)}")

    def _confirmed(self, waiting: Waiting | None, wish: Wish) -> Done | None:
        newest = self.versions.newest()
        if waiting is None or newest is None:
            return None
        if wish.confirm_s is not None:
            return None
        self.confirmations.clear()
        self._note(f"{wish.user} confirmed version {newest.number}")
        return Done(newest, (), confirmed=True)

    def _brought_together(self, pending: Pending, force: Reading) -> tuple[Tables, Sequence[str]]:
        """Merge a pending copy with what others committed since. Raises status 65 where both changed a section."""
        if pending.base.digest == force.digest:
            return pending.tables, ()
        try:
            return merged(pending.base.tables, force.tables, pending.tables), sections(
                pending.base.tables, force.tables
            )
        except Overlap as overlap:
            newest = self.versions.newest()
            who = f"{newest.user} (version {newest.number})" if newest and newest.digest == force.digest else BY_HAND
            raise GatepostError(
                f"changed since you began, the last time by {who}, and by you as well: {overlap}; see `showchanges`, "
                "then drop your changes with `clear` and make them again on what is there now",
                EX_DATAERR,
            ) from None

    async def _put(
        self,
        force: Reading,
        tables: Tables,
        wish: Wish,
        waiting: Waiting | None,
        changes: tuple[str, ...],
        *,
        text: str | None = None,
    ) -> Done:
        if problems := await asyncio.to_thread(self._validate, tables):
            raise ConfigError([Problem("not committed", problem.key, problem.reason) for problem in problems])
        if text is None:
            text = await asyncio.to_thread(rewrite, force.text, force.tables, tables)
        first = self._by_hand(force)
        number = (first.number if first else self._number()) + 1
        made = version_of(number, text, at=self._now(), user=wish.user, source=wish.source, comment=wish.comment)
        made = replace(made, saved=wish.save, sections=tuple(sections(force.tables, tables)), changes=changes[-100:])
        token = uuid.uuid4().hex
        handover = self._handover(_role(tables))
        try:
            await asyncio.to_thread(self._place.write, self._place.candidate, text)
            killpoint("commit.candidate")
            answers = await handover.prepare(self._place.candidate, token, len(text))
            killpoint("commit.prepared")
            _refuse(answers)
            made = replace(made, restart=tuple(f"{one.daemon}: {key}" for one in answers for key in one.restart))
            await asyncio.to_thread(self.versions.begin, made, text)
            killpoint("commit.version")
            until_at = self._until(wish, waiting, force, made)
            killpoint("commit.confirmation")
            if (await asyncio.to_thread(self._place.in_force)).digest != force.digest:
                raise GatepostError("gatepost.toml was edited by hand in the meantime; commit again", EX_DATAERR)
            self._in_force(self._place.candidate)
        except BaseException:
            self._place.disk.unlink(self._place.candidate)
            self.versions.abandon(made)
            self.confirmations.settle(force.digest)
            await handover.drop(token)
            raise
        killpoint("commit.renamed")
        applied = {one.daemon: one for one in await handover.apply(token, made.digest)}
        killpoint("commit.applied")
        self.versions.finish(made)
        killpoint("commit.counted")
        if until_at is None:
            self.confirmations.clear()
        self._note(f"{wish.user} committed version {number}: {', '.join(made.sections) or 'nothing new'}")
        daemons = tuple(_outcome(one, applied.get(one.daemon)) for one in answers)
        return Done(made, daemons, confirmed=waiting is not None and until_at is None, until_at=until_at)

    def _in_force(self, candidate: Path) -> None:
        """The one step that counts. It is done when the file has its name, whether or not the folder can be synced."""
        try:
            self._place.disk.rename(candidate, self._place.config)
        except OSError as error:
            raise GatepostError(f"{self._place.config} cannot be replaced: {error.strerror}", EX_CANTCREAT) from error
        with contextlib.suppress(OSError):
            self._place.disk.fsync_directory(self._place.config.parent)

    def _number(self) -> int:
        newest = self.versions.newest()
        return newest.number if newest else 0

    def _by_hand(self, force: Reading) -> Version | None:
        """Keep what somebody wrote into the file by hand as a version, so that one can go back to it."""
        newest = self.versions.newest()
        if newest is not None and newest.digest == force.digest:
            return None
        found = version_of(
            self._number() + 1, force.text, at=self._now(), user=BY_HAND, comment="found in gatepost.toml"
        )
        self.versions.begin(found, force.text)
        self.versions.finish(found)
        return found

    def _until(self, wish: Wish, waiting: Waiting | None, force: Reading, made: Version) -> float | None:
        if wish.confirm_s is None:
            return None
        before = waiting.before if waiting else force.text
        until_at = self._now() + wish.confirm_s
        self.confirmations.wait(Waiting(made.number, made.digest, until_at, wish.user, before), also=waiting)
        return until_at

    def _drop(self, login: str, committed: Pending) -> None:
        """Forget a copy that is in force now; what was changed meanwhile stays pending, on top of it."""
        with self._place.locked(self._files.lock(login)):
            now = self._files.load(login)
            if now is None or now.changes == committed.changes:
                self._files.drop(login)
                return
            force = self._place.in_force()
            more = now.changes[len(committed.changes) :]
            self._files.save(login, Pending(merged(committed.tables, force.tables, now.tables), force, more))


def _outcome(before: Answer, after: Answer | None) -> Answer:
    return before if after is None else replace(before, state=after.state, reasons=after.reasons)


def _refuse(answers: Sequence[Answer]) -> None:
    """Raise `ConfigError` with what every daemon said that refused."""
    problems = [Problem(one.daemon, "", reason) for one in answers if one.state == "refused" for reason in one.reasons]
    if problems:
        raise ConfigError(problems)


def _role(tables: Tables) -> str:
    return str(tables["appliance"]["role"])
