"""One SSH connection of the console before and at its login: which factors were given, who it is, what it may open.

`ops/cli/server.py` makes one per connection. What is offered does not depend on the user name, nor does the time an
answer takes: a name that is no user's is asked what a user would be. A connection of several factors gets a partial
success for its key (RFC 4252 5.1) and is then asked for a code. Nothing that was given for one name counts for the
next. Raises asyncssh's `DisconnectError` for too many tries; writes log-ins to the store, no log.
"""

import asyncio
import hashlib
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncssh
from asyncssh.auth import KbdIntChallenge, KbdIntResponse

from core import clock
from core.errors import GatepostError
from core.runtime import spawn
from ops.access import store
from ops.access.gate import Gate, Verdict
from ops.access.store import Attempt
from ops.cli.account import KEY, KEY_CODE, PASSWORD, PASSWORD_CODE, Account, Accounts, Caller, Grant

FRONT: Final = "cli"
KEYS_TRIED: Final = 12
TRIES: Final = 3
"""Passwords and codes that one connection may try."""
_SECRET: Final = secrets.token_bytes(32)


@dataclass(frozen=True)
class Door:
    """What guards of connections go by; replaced as a whole when the configuration changes."""

    accounts: Accounts
    passwords: bool = False
    """Whether anybody may log in with a password."""
    codes: bool = False
    """Whether anybody is asked for a code."""
    banner: str = ""
    """What is shown before the login."""
    password_age_s: float = 0.0
    """How old a password may be; 0 = as old as it likes."""
    now: clock.Clock = clock.now

    def pretends(self, name: str) -> bool:
        """Say whether a name that is no user's is asked for a code: for each name always the same."""
        return self.codes and bool(hmac.digest(_SECRET, name.encode(), hashlib.sha256)[0] & 1)

    def outdated(self, account: Account) -> bool:
        """Say whether the account's password has to be changed now."""
        old = self.password_age_s and account.password_at and self.now() - account.password_at > self.password_age_s
        return account.must_change or bool(old)

    def current(self, account: Account, way: str, key: bytes) -> bool:
        """Say whether an account that is in is still one, with the rights, the way in and the key that it had."""
        return any(
            (one.role, one.commands) == (account.role, account.commands)
            and way in one.ways
            and (key in one.blobs if way in (KEY, KEY_CODE) else bool(one.password))
            for one in self.accounts(account.name)
        )


class Guard(asyncssh.SSHServer):
    """One connection."""

    def __init__(self, door: Callable[[], Door], gate: Gate, session: "SessionMaker") -> None:
        self._door = door
        self._gate = gate
        self._session = session
        self._conn: asyncssh.SSHServerConnection | None = None
        self._source = ""
        self._keys_tried = 0
        self._tries = 0
        self._shown = False
        self._gone = False
        self._forget()
        self._way = ""
        self._grant = Grant()
        self._login = 0
        self._before: Mapping[str, Any] = {}

    def _forget(self) -> None:
        self._account: Account | None = None
        """Who it is, once enough was given."""
        self._key_of: Account | None = None
        """Whose key was offered last: nothing is proven by that."""
        self._key = b""
        self._half: Account | None = None
        """Whose key was proven, where a code must follow."""
        self._asked = ""
        self._password_right = False

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._conn = conn
        peer = conn.get_extra_info("peername")
        self._source = str(peer[0]) if isinstance(peer, tuple) else "local"

    def connection_lost(self, exc: Exception | None) -> None:
        self._grant.revoked = self._gone = True
        if self._login:
            spawn(self._left(self._login), "end of a log-in")

    def begin_auth(self, username: str) -> bool:
        """Demand authentication, whoever it is: False would let everyone in."""
        self._forget()
        if not self._shown and self._conn is not None and (banner := self._door().banner):
            self._shown = True
            self._conn.send_auth_banner(banner.rstrip("\n") + "\n")
        return True

    def public_key_auth_supported(self) -> bool:
        return self._half is None

    def password_auth_supported(self) -> bool:
        return self._half is None and self._door().passwords

    def kbdint_auth_supported(self) -> bool:
        return self._half is not None or self._door().passwords

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Tell whether the key is one of that user's who may log in with one."""
        self._keys_tried += 1
        if self._keys_tried > KEYS_TRIED:
            raise asyncssh.PermissionDenied("too many keys were tried")
        ways = {KEY, KEY_CODE}
        accounts = self._door().accounts(username)
        self._key = key.public_data
        self._key_of = next((one for one in accounts if self._key in one.blobs and ways & one.ways), None)
        return self._key_of is not None

    async def validate_password(self, username: str, password: str) -> bool:
        """Check a password for a user who needs no more than that."""
        self._try()
        account = self._with(username, PASSWORD)
        if await self._gate.password(account, self._attempt(username), password) is not Verdict.GOOD:
            return False
        self._account, self._way = account, PASSWORD
        return True

    def get_kbdint_challenge(self, username: str, lang: str, submethods: str) -> KbdIntChallenge:
        """Ask for the password, or, after a key, for the code."""
        self._password_right = False
        self._asked = "password" if self._half is None else "code"
        return _question("Password: ") if self._half is None else _question("Verification code: ")

    async def validate_kbdint_response(self, username: str, responses: KbdIntResponse) -> KbdIntChallenge:
        """Check the answer; after a password, right or wrong, whoever needs a code is asked for it."""
        if len(responses) != 1:
            return False
        if self._asked == "code":
            return await self._code(username, responses[0])
        self._try()
        account = self._with(username, PASSWORD)
        asks = self._with(username, PASSWORD_CODE)
        if account is not None or not (asks is not None or self._door().pretends(username)):
            if await self._gate.password(account, self._attempt(username), responses[0]) is not Verdict.GOOD:
                return False
            self._account, self._way = account, PASSWORD
            return True
        verdict = await self._gate.password(asks, self._attempt(username), responses[0], settle=False)
        if verdict is Verdict.BUSY:
            return False
        self._asked, self._password_right = "code", verdict is Verdict.GOOD
        return _question("Verification code: ")

    async def _code(self, username: str, typed: str) -> bool:
        if self._half is not None:
            self._try()
        account = self._half or self._with(username, PASSWORD_CODE)
        way = KEY_CODE if self._half is not None else PASSWORD_CODE
        attempt = self._attempt(username)
        if account is None or (self._half is None and not self._password_right):
            await self._gate.settle(attempt)
            return False
        if await self._gate.code(account, attempt, typed, way) is not Verdict.GOOD:
            return False
        self._account, self._way = account, way
        return True

    def proven(self, method: str) -> bool:
        """Learn that a method succeeded; True if it was enough."""
        if method != "publickey":
            return self._account is not None
        account = self._key_of
        if account is None:
            return False
        if KEY in account.ways:
            self._account, self._way = account, KEY
            return True
        self._half = account
        return False

    async def entering(self) -> None:
        """Write down who is in; whoever comes to run single commands with a key of his own is not worth a line."""
        account = self._account
        if account is None:
            return
        self._grant.must_change = self._way.startswith(PASSWORD) and self._door().outdated(account)
        if account.commands is None:
            # In a task of its own: if the client leaves meanwhile, that is to be in the record as well.
            await asyncio.shield(spawn(self._came(self._attempt(account.name), self._way), "record of a log-in"))

    async def _came(self, attempt: Attempt, way: str) -> None:
        try:
            self._login, self._before = await self._gate.records.change(store.open_login, attempt, way)
        except GatepostError as error:
            # A full disk must not keep the operator out who could make room.
            self._session.complain(f"log-in of {attempt.name} is not in the record: {error.text}")
            return
        if self._gone:
            await self._left(self._login)

    def session_requested(self) -> Any:
        """Open a channel for the account that logged in."""
        if self._account is None or self._grant.revoked:
            return False
        account = self._account
        return self._session(
            Caller(
                account.name,
                account.role,
                self._source,
                commands=account.commands,
                grant=self._grant,
                before=self._before,
            )
        )

    def followed(self, door: Door) -> bool:
        """Take back what the new configuration does not give any more; True if this log-in is over."""
        account = self._account
        if account is None:
            self._forget()
            return False
        if not door.current(account, self._way, self._key):
            self._grant.revoked = True
        return self._grant.revoked

    def end(self, why: str) -> None:
        """End the connection."""
        if self._conn is not None:
            self._conn.disconnect(asyncssh.DISC_BY_APPLICATION, why)

    def __str__(self) -> str:
        name = self._account.name if self._account is not None else "nobody"
        return f"{name} from {self._source}"

    def _with(self, username: str, way: str) -> Account | None:
        return next((one for one in self._door().accounts(username) if way in one.ways and one.password), None)

    def _attempt(self, username: str) -> Attempt:
        return Attempt(username[:64], self._source, FRONT, self._door().now())

    def _try(self) -> None:
        """Count before anything is checked: who breaks a check off has tried as well."""
        self._tries += 1
        if self._tries > TRIES:
            code = asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE
            raise asyncssh.DisconnectError(code, "too many authentication failures")

    async def _left(self, number: int) -> None:
        try:
            await self._gate.records.change(store.close_login, number, self._door().now())
        except GatepostError as error:
            self._session.complain(f"the end of a log-in is not in the record: {error.text}")


class SessionMaker:
    """What a guard needs of the server: the sessions of channels, and somewhere to complain."""

    def __init__(self, make: Callable[[Caller], Any], complain: Callable[[str], None]) -> None:
        self._make = make
        self.complain = complain

    def __call__(self, caller: Caller) -> Any:
        """Give the session of one channel."""
        return self._make(caller)


def _question(text: str) -> tuple[str, str, str, Sequence[tuple[str, bool]]]:
    return "", "", "", [(text, False)]
