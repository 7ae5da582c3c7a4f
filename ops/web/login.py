"""HTTP Basic log-in of the users of the console, those who have a password (RFC 7617).

The gate is the console's own: the same locks, the same record, the same lines in the audit log. Who needs a one-time
code, or a new password, does not get in here: Basic has no place to ask. Raises `Busy` when too many wait to be
checked: right or wrong, nobody looked.
"""

import base64
import binascii
from collections.abc import Mapping

from core import clock
from core.errors import GatepostError
from ops.access import store
from ops.access.gate import Gate, Verdict
from ops.access.store import Attempt
from ops.cli.account import KEY, PASSWORD, Account

FRONT = "web"
_NOTED_S = 3600.0
_NOTED = 1000


class Busy(Exception):
    """Too many log-ins wait; to be tried again."""


class Logins:
    """Checks the `Authorization` field of requests; `users` may be changed while it is in use."""

    def __init__(self, users: Mapping[str, Account], gate: Gate, *, now: clock.Clock = clock.now) -> None:
        self._users = users
        self._gate = gate
        self._now = now
        self._noted: dict[tuple[str, str], float] = {}

    async def user_of(self, authorization: str, source: str) -> Account | None:
        """Give the user whom a field proves, None if it proves none. Raises `Busy`."""
        claim = _claim(authorization)
        if claim is None:
            return None
        name, password = claim
        user = self._users.get(name)
        attempt = Attempt(name[:64], source, FRONT, self._now())
        verdict = await self._gate.password(user if user and enough(user) else None, attempt, password)
        if verdict is Verdict.BUSY:
            raise Busy
        if verdict is not Verdict.GOOD:
            return None
        await self._note(attempt)
        return user

    async def _note(self, attempt: Attempt) -> None:
        """Write the log-in down: of a collector that comes every few seconds, once an hour."""
        key, last = (attempt.name, attempt.source), self._noted.pop((attempt.name, attempt.source), 0.0)
        recent = 0 <= attempt.at - last < _NOTED_S
        self._noted[key] = last if recent else attempt.at
        if len(self._noted) > _NOTED:
            del self._noted[next(iter(self._noted))]
        if recent:
            return
        try:
            number, _ = await self._gate.records.change(store.open_login, attempt, PASSWORD)
            await self._gate.records.change(store.close_login, number, attempt.at)
        except GatepostError:
            # The record is for people; whoever has the right password is not kept out for it.
            return


def enough(user: Account) -> bool:
    """Tell whether a password alone is enough for this user here."""
    return bool(user.password) and not user.must_change and bool(user.ways & {KEY, PASSWORD})


def _claim(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic" or len(value) > 1024:
        return None
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
