"""HTTP Basic log-in of the users of the console, those who have a password (RFC 7617).

Checked on a thread, two at a time; what fails takes a second longer, in which others are checked, and is written to the
audit log. Raises `Busy` when too many wait to be checked: right or wrong, nobody looked.
"""

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.maillog import clean
from ops.cli.account import Role

_FAILURE_S = 1.0
_AT_ONCE = 2
_WAITING = 20


class Busy(Exception):
    """Too many log-ins wait; to be tried again."""


@dataclass(frozen=True)
class WebUser:
    """A user who may log in over HTTP."""

    name: str
    role: Role
    password: str
    """As it is stored."""


class Logins:
    """Checks the `Authorization` field of requests."""

    def __init__(
        self,
        users: Mapping[str, WebUser],
        matches: Callable[[str, str], bool],
        refused: Callable[[str], None],
        *,
        failure_s: float = _FAILURE_S,
    ) -> None:
        """`matches` compares a stored with a claimed password, blocking; `refused` is told who was not let in."""
        self._users = users
        self._anybody = next((user.password for user in users.values()), "")
        self._matches = matches
        self._refused = refused
        self._failure_s = failure_s
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    async def user_of(self, authorization: str) -> WebUser | None:
        """Give the user whom a field proves, None if it proves none. Raises `Busy`."""
        claim = _claim(authorization)
        if claim is None:
            return None
        if self._waiting >= _WAITING:
            raise Busy
        name, password = claim
        user = self._users.get(name)
        if await self._fits(user, password):
            return user
        self._refused(f"web: {clean(name)} not let in")
        await asyncio.sleep(self._failure_s)
        return None

    async def _fits(self, user: WebUser | None, password: str) -> bool:
        # Somebody else's stored form for a name that is no user's, so that time does not tell.
        stored = user.password if user is not None else self._anybody
        self._waiting += 1
        try:
            async with self._room:
                fits = bool(stored) and await asyncio.to_thread(self._matches, stored, password)
        finally:
            self._waiting -= 1
        return fits and user is not None


def _claim(authorization: str) -> tuple[str, str] | None:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic" or len(value) > 1024:
        return None
    try:
        name, colon, password = base64.b64decode(value.strip(), validate=True).decode("utf-8").partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (name, password) if colon else None
