"""Whether a password or a one-time code is right, asked by the console's SSH server and by the web side.

A password is checked on one thread of low priority, after the locks of source and user were looked at, so that a flood
of guesses costs a fraction of a processor and nobody's keystroke. A name that is no user's costs the same, is locked
like a user's, and is answered alike. A lock keeps nobody out who logs in by key, and a user's lock nobody who comes
from where that user has been let in before. Codes count once. One audit line per failure, never with what was typed.
Raises nothing: what cannot be counted is not let in.
"""

import asyncio
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from typing import Final

from core import clock
from core.errors import GatepostError
from core.lockout import Lockout, source_of
from core.maillog import clean
from core.password import make_hash, matches
from ops.access import store
from ops.access.record import Records
from ops.access.store import Attempt
from ops.cli.account import PASSWORD, PASSWORD_CODE, Account
from ops.config import LoginSection
from protocol import totp

WAITING: Final = 16
"""Passwords that wait to be checked; more are told to come again."""
_SLOWEST_S: Final = 4.0
_NICE: Final = 10


class Verdict(Enum):
    """What came of a password or code."""

    GOOD = "good"
    WRONG = "wrong"
    LOCKED = "locked"
    """Nobody looked, and nobody is told: to whoever tries it is a wrong one."""
    BUSY = "busy"
    """Nobody looked; it may be tried again."""


@dataclass(frozen=True)
class Terms:
    """How patient the gate is."""

    failures: int = 5
    """Of one source, or with codes of one user, before a lock; three times as many for a user's password."""
    lock_s: float = 60.0
    longest_s: float = 3600.0
    slow_s: float = 0.5
    """What a failure takes longer; twice that for each failure before, up to four seconds."""


def terms_of(section: LoginSection) -> Terms:
    """Give how patient [login] has the gate be."""
    return Terms(section.failures, section.lock_s, section.lock_longest_s)


class Gate:
    """Checks what people type. `terms` may be replaced while it is in use."""

    def __init__(
        self, records: Records, note: Callable[[str], None], *, terms: Terms | None = None, now: clock.Clock = clock.now
    ) -> None:
        """`note` writes one line of the audit log."""
        self.terms = terms or Terms()
        self.records = records
        self._note = note
        self._now = now
        self._waiting = 0
        self._workers = ThreadPoolExecutor(1, "password", _lowered)
        self._nobody = ""

    async def password(self, account: Account | None, attempt: Attempt, typed: str, *, settle: bool = True) -> Verdict:
        """Check a password; `account` is None for a name that is no user's. A failure takes its time.

        With `settle` False a wrong one is told at once, in the time of a right one, and not counted: `settle` does that
        when the code has been asked for as well.
        """
        stored = account.password if account is not None else ""
        counts = self._counts(attempt, "user", 3)
        try:
            verdict = await self._password(stored, attempt, typed, [key for key, _ in counts])
            if verdict is Verdict.WRONG and settle:
                await self._failed(attempt, PASSWORD, "wrong password", counts)
        except GatepostError as error:
            self._refused(attempt, f"nobody can count the failures: {error.text}")
            return Verdict.BUSY
        return verdict

    async def code(self, account: Account, attempt: Attempt, typed: str, way: str) -> Verdict:
        """Check a one-time or recovery code of a user who has given the other factor; a good one is spent."""
        counts = self._counts(attempt, "code", 1)
        try:
            if await self._locked(attempt, [key for key, _ in counts], "code"):
                return Verdict.LOCKED
            if await self._is_code(account, typed):
                return Verdict.GOOD
            await self._failed(attempt, way, "wrong code", counts)
        except GatepostError as error:
            self._refused(attempt, f"nobody can count the failures: {error.text}")
            return Verdict.BUSY
        return Verdict.WRONG

    async def settle(self, attempt: Attempt) -> None:
        """Count a wrong password for which a code was asked, and take the time that a wrong code takes."""
        try:
            await self._failed(attempt, PASSWORD_CODE, "wrong password", self._counts(attempt, "user", 3))
        except GatepostError as error:
            self._refused(attempt, f"nobody can count the failures: {error.text}")

    async def _password(self, stored: str, attempt: Attempt, typed: str, keys: Sequence[str]) -> Verdict:
        if await self._locked(attempt, keys, "password"):
            return Verdict.LOCKED
        if self._waiting >= WAITING:
            self._refused(attempt, "too many log-ins at a time")
            return Verdict.BUSY
        self._waiting += 1
        try:
            fits = await asyncio.get_running_loop().run_in_executor(self._workers, self._matches, stored, typed)
        finally:
            self._waiting -= 1
        # The failures of others who were checked at the same time: whether this one fits is not told.
        if await self._locked(attempt, keys, "password", again=True):
            return Verdict.LOCKED
        return Verdict.GOOD if fits else Verdict.WRONG

    def _matches(self, stored: str, typed: str) -> bool:
        if not stored and not self._nobody:
            self._nobody = make_hash(secrets.token_hex())
        return matches(stored or self._nobody, typed[:1024]) and bool(stored)

    async def _is_code(self, account: Account, typed: str) -> bool:
        if account.totp_secret:
            step = totp.step_of(totp.secret_octets(account.totp_secret), typed, self._now())
            if step is not None:
                return await self.records.change(store.spend_step, account.name, step)
        digest = code_digest(typed)
        return digest in account.recovery and await self.records.change(store.spend_code, account.name, digest)

    async def _locked(self, attempt: Attempt, keys: Sequence[str], what: str, *, again: bool = False) -> bool:
        """Tell whether one of the keys is locked, after the time that a failure takes."""
        lockout = self._lockout(1)
        lockout.put(await self.records.look(store.standings, keys))
        left = {key: lockout.left_s(key) for key in keys}
        user = f"user/{attempt.name}"
        if left.get(user) and await self.records.look(store.was_here, attempt.name, attempt.source):
            left.pop(user)
        longest = max(left, key=lambda key: left[key])
        if not left[longest]:
            return False
        whose = "this address is" if longest.startswith("source/") else "this user is"
        self._refused(attempt, f"{whose} locked out for {left[longest]:.0f} s more; the {what} was not looked at")
        await self.records.change(store.note_failure, attempt, what, "locked out")
        if not again:
            await self._slowly(attempt)
        return True

    async def _failed(self, attempt: Attempt, way: str, why: str, counts: "Counts") -> None:
        locked = await self.records.change(store.count_failure, counts, attempt, way, why)
        self._refused(attempt, why)
        for key in locked:
            kind, _, whose = key.partition("/")
            lockout = self._lockout(1)
            lockout.put(await self.records.look(store.standings, [key]))
            who = f"address {whose}" if kind == "source" else f"{kind} {whose}"
            self._note(clean(f"Access: {who} is locked out for {lockout.left_s(key):.0f} s after too many failures"))
        await self._slowly(attempt)

    def _counts(self, attempt: Attempt, kind: str, times: int) -> "Counts":
        """Name what a failure counts for: the source, and the user for guesses of anybody, by their own limits."""
        return (
            (f"source/{source_of(attempt.source)}", lambda: self._lockout(1)),
            (f"{kind}/{attempt.name[:64]}", lambda: self._lockout(times)),
        )

    def _lockout(self, times: int) -> Lockout:
        terms = self.terms
        return Lockout(terms.failures * times, terms.lock_s, longest_s=terms.longest_s, time=self._now)

    async def _slowly(self, attempt: Attempt) -> None:
        key = f"source/{source_of(attempt.source)}"
        lockout = self._lockout(1)
        lockout.put(await self.records.look(store.standings, [key]))
        before = lockout.failures(key)
        slow_s = self.terms.slow_s
        await asyncio.sleep(min(slow_s * 2 ** max(0.0, before - 1), max(_SLOWEST_S, slow_s)) if slow_s else 0)

    def _refused(self, attempt: Attempt, why: str) -> None:
        who = f"{attempt.front} log-in of {attempt.name[:64]} from {attempt.source}"
        self._note(clean(f"Access: {who} refused: {why}"))


Counts = tuple[tuple[str, Callable[[], Lockout]], ...]


def keys_of(name: str) -> list[str]:
    """Give the keys under which a user, or an address, can be locked."""
    return [f"user/{name}", f"code/{name}", f"source/{source_of(name)}"]


def code_digest(typed: str) -> str:
    """Give the stored form of a recovery code: 80 random bits need no slow hash."""
    plain = "".join(char for char in typed.lower() if char.isascii() and char.isalnum())
    return hashlib.sha256(plain.encode()).hexdigest()


def _lowered() -> None:
    """Let this thread have what others leave: who guesses does not slow down who works."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
