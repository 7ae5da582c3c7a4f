"""How often logins as `service` failed, who is locked out for it, and which one-time passwords are spent.

One JSON file, `state/service.json`, written by the console only and on disk before an answer is given: neither a
crash nor a restart makes a password good again or forgets a failure. All of it belongs to one activation; another
activation begins at nothing.

Two ways in are counted apart. Wrong passwords close the *password* way, for the origin that typed them and for the
whole activation, because their number is what protects a password. Wrong keys close the *key* way of their own
origin only: a key cannot be guessed, so nobody's failures keep an engineer out who has a good one. Both add up to
the failures after which remote access is disabled.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec

from core import clock
from core.diagnostic import CRITICAL, say
from core.disk import Disk, replace_file
from tunnel.seed.password import accept

FILE_NAME = "service.json"
"""In the machine's state directory."""
PASSWORD, KEY = "password", "key"
LOCK_AFTER = 5
LOCK_S = 15 * 60.0
LONGEST_LOCK_S = 24 * 3600.0
GIVE_UP_AFTER = 20
"""Failures in one activation, however they came, after which remote access is disabled."""
ORIGINS = 200
"""Origins that are remembered; the one that was quiet for longest is forgotten first."""


class Lock(msgspec.Struct):
    """The failures of one scope, and until when it is closed."""

    failures: int = 0
    locks: int = 0
    until_at: float = 0.0


class Ledger(msgspec.Struct):
    """What is on disk."""

    activation_id: str = ""
    passwords_used: int = 0
    failures: int = 0
    given_up: bool = False
    latest_at: float = 0.0
    """The latest time that was ever seen: a clock that is set back opens no lock."""
    scopes: dict[str, Lock] = msgspec.field(default_factory=dict)


class Attempts:
    """The counts of the activation that is in force.

    Where the file cannot be read nobody knows which passwords are spent: that activation is closed, the next is not.
    """

    def __init__(self, path: Path, now: clock.Clock = clock.now) -> None:
        self._path = path
        self._now = now
        self._ledger, self._lost = _load(path)
        self._writing = asyncio.Lock()

    def begin(self, activation_id: str) -> None:
        """Count for this activation from now on; the counts of another are dropped."""
        if self._ledger.activation_id != activation_id:
            self._ledger = Ledger(activation_id=activation_id, given_up=self._lost)
            self._lost = False

    @property
    def failures(self) -> int:
        """Failed logins of this activation."""
        return self._ledger.failures

    @property
    def given_up(self) -> bool:
        """Whether there were so many failures that nobody is let in any more."""
        return self._ledger.given_up

    def passwords_left(self, verifiers: Sequence[str]) -> Sequence[str]:
        """Give the verifiers that are still good, of those that the activation began with."""
        return verifiers[self._ledger.passwords_used :]

    def locked_until(self, way: str, origin: str) -> float:
        """Give until when this way is closed for this origin; 0 if it is open."""
        now = self._time()
        return max((lock.until_at for lock in self._scopes(way, origin) if lock.until_at > now), default=0.0)

    async def failed(self, way: str, origin: str) -> float:
        """Count one failure; returns when it is on disk, with the time until which the way is now closed."""
        ledger = self._ledger
        ledger.failures += 1
        ledger.given_up = ledger.given_up or ledger.failures >= GIVE_UP_AFTER
        for name in _names(way, origin):
            lock = ledger.scopes.pop(name, None) or Lock()
            ledger.scopes[name] = lock  # at the end: the quiet ones come to the front
            lock.failures += 1
            if lock.failures % LOCK_AFTER == 0:
                lock.until_at = self._time() + min(LOCK_S * 2**lock.locks, LONGEST_LOCK_S)
                lock.locks = min(lock.locks + 1, 10)
        while len(ledger.scopes) > ORIGINS:
            oldest = next(name for name in ledger.scopes if name != PASSWORD)
            del ledger.scopes[oldest]
        try:
            await self._save()
        except OSError as error:
            # The count stands in memory; only a restart would lose it.
            say(CRITICAL, f"{self._path}: failed service logins cannot be kept: {error.strerror}")
        return self.locked_until(way, origin)

    async def redeem(self, verifiers: Sequence[str], typed: str) -> int:
        """Take a one-time password; gives its number from 1 on once it is spent on disk, 0 if it is not good.

        Raises OSError if it cannot be made durable: then it is not taken.
        """
        async with self._writing:
            ledger = self._ledger
            left = verifiers[ledger.passwords_used :]
            rest = await asyncio.to_thread(accept, left, typed)
            if rest is None or ledger is not self._ledger:
                return 0
            ledger.passwords_used = len(verifiers) - len(rest)
            await asyncio.to_thread(self._write, self._encoded())
            return ledger.passwords_used

    def _scopes(self, way: str, origin: str) -> list[Lock]:
        return [lock for name in _names(way, origin) if (lock := self._ledger.scopes.get(name))]

    def _time(self) -> float:
        self._ledger.latest_at = max(self._ledger.latest_at, self._now())
        return self._ledger.latest_at

    async def _save(self) -> None:
        async with self._writing:
            await asyncio.to_thread(self._write, self._encoded())

    def _encoded(self) -> bytes:
        return msgspec.json.format(msgspec.json.encode(self._ledger)) + b"\n"

    def _write(self, document: bytes) -> None:
        replace_file(Disk(), self._path, document, mode=0o600)


def _names(way: str, origin: str) -> list[str]:
    """Name the scopes that a failure belongs to; wrong keys of nobody in particular lock nobody."""
    own = [f"{way}/{origin[:100]}"] if origin else []
    return [PASSWORD, *own] if way == PASSWORD else own


def _load(path: Path) -> tuple[Ledger, bool]:
    """Read the file; True with it if there is one that cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ledger), False
    except FileNotFoundError:
        return Ledger(), False
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        remedy = "support is let in again when remote access is enabled anew"
        say(CRITICAL, f"{path}: what is known of service logins cannot be read: {error}; {remedy}")
        return Ledger(), True
