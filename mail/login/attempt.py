"""Log-ins at a gateway's listeners: the mechanism is run, the claim checked off the loop, failures slowed and counted.

The gateway root makes one `Logins` for its process; each session that is asked makes a `Login`. Nothing is shared
between connections but counts of failures: an address that has logged in once is no more trusted for it.
Logs one line per attempt with the user's name, never a password or what the peer sent. Raises nothing.
"""

import asyncio
import secrets
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from core.lockout import Lockout, source_of
from core.maillog import MailLog, clean
from core.runtime import spawn
from core.smtp.session import Challenge, Later
from mail.login.config import SmtpLoginSection
from mail.login.users import Users
from protocol.reply import Reply
from protocol.smtp import sasl

SUCCEEDED: Final = Reply(235, "2.7.0", "Authentication succeeded")
FAILED: Final = Reply(535, "5.7.8", "Authentication credentials invalid")
MALFORMED: Final = Reply(501, "5.5.2", "Response not understood")
LOCKED: Final = Reply(454, "4.7.0", "Temporary authentication failure")
TOO_OFTEN: Final = Reply(421, "4.7.0", "Too many failed log-ins, disconnecting")
WORKERS: Final = 2
"""Passwords checked at a time: each takes memory and a processor."""
WAITING_LIMIT: Final = 100
"""Log-ins waiting for their turn; more are told to come again."""


class Logins:
    """What all sessions of one process share."""

    def __init__(self, users: Users, settings: SmtpLoginSection, log: MailLog) -> None:
        self.users = users
        self.settings = settings
        self.log = log
        self.by_user = Lockout(settings.max_user_failures, settings.window_s)
        self.by_source = Lockout(settings.max_source_failures, settings.window_s)
        self._waiting = 0
        self._workers = ThreadPoolExecutor(WORKERS, "password")

    def follow(self, users: Users, settings: SmtpLoginSection) -> None:
        """Go by other users and settings; failures that were counted stay counted while the limits are the same."""
        limits = (settings.max_user_failures, settings.max_source_failures, settings.window_s)
        if limits != (self.settings.max_user_failures, self.settings.max_source_failures, self.settings.window_s):
            self.by_user = Lockout(settings.max_user_failures, settings.window_s)
            self.by_source = Lockout(settings.max_source_failures, settings.window_s)
        self.users, self.settings = users, settings

    async def check(self, claim: sasl.Claim) -> bool | None:
        """Check a password on a thread; None when too many wait."""
        if self._waiting >= WAITING_LIMIT:
            return None
        self._waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._workers, self.users.check, claim.user, claim.password)
        finally:
            self._waiting -= 1


class Login:
    """The log-ins of one connection; `user` is who it is, '' as long as nobody has proven to be somebody."""

    __slots__ = ("_exchange", "_failures", "_icid", "_ip", "_mechanism", "_shared", "user")

    def __init__(self, shared: Logins, icid: int, ip: str) -> None:
        self._shared = shared
        self._icid = icid
        self._ip = ip
        self._failures = 0
        self._mechanism = ""
        self._exchange: sasl.Exchange | None = None
        self.user = ""

    def start(self, mechanism: str, initial: bytes | None) -> Reply | Later | Challenge:
        """Begin an exchange."""
        self._mechanism = mechanism
        if self._shared.by_source.locked(source_of(self._ip)):
            self._log(f"failed for user: unknown using AUTH mechanism: {mechanism}, this address is locked out")
            return self._slowly(LOCKED)
        exchange = self._exchange = self._made(mechanism)
        return self._run(lambda: exchange.start(initial))

    def respond(self, response: bytes | None) -> Reply | Later | Challenge:
        """Go on, or, with None, forget the exchange."""
        exchange = self._exchange
        if response is None or exchange is None:
            self._exchange = None
            return MALFORMED
        return self._run(lambda: exchange.respond(response))

    def _made(self, mechanism: str) -> sasl.Exchange:
        if mechanism == "PLAIN":
            return sasl.Plain()
        if mechanism == "LOGIN":
            return sasl.Login()
        return sasl.Scram(self._shared.users.verifier, secrets.token_urlsafe(24))

    def _run(self, act: Callable[[], sasl.Step]) -> Reply | Later | Challenge:
        try:
            step = act()
        except sasl.Malformed:
            self._exchange = None
            return MALFORMED
        if isinstance(step, sasl.Prompt):
            return Challenge(step.octets)
        self._exchange = None
        return self._judge(step)

    def _judge(self, step: sasl.Claim | sasl.Proof | sasl.Failure) -> Reply | Later:
        if self._shared.by_user.locked(step.user):
            return self._locked_out(step.user, "user")
        if isinstance(step, sasl.Claim):
            later = Later()
            spawn(self._check(step, later), "password")
            return later
        return self._succeed(step.user) if isinstance(step, sasl.Proof) else self._fail(step.user)

    async def _check(self, claim: sasl.Claim, later: Later) -> None:
        fits = await self._shared.check(claim)
        if fits is None:
            self._log_failure(claim.user, ", too many log-ins at a time")
            later.answer(LOCKED)
        elif self._shared.by_user.locked(claim.user):
            # The failures of others who were checked at the same time: whether this one fits is not told.
            self._locked_out(claim.user, "user", later)
        elif self._shared.by_source.locked(source_of(self._ip)):
            self._locked_out(claim.user, "address", later)
        elif fits:
            later.answer(self._succeed(claim.user))
        else:
            self._fail(claim.user, later)

    def _succeed(self, user: str) -> Reply:
        self.user = user
        self._log(f"succeeded for user: {clean(user)} using AUTH mechanism: {self._mechanism} with profile: local")
        return SUCCEEDED

    def _fail(self, user: str, later: Later | None = None) -> Later:
        shared = self._shared
        self._failures += 1
        locked = shared.by_user.fail(user)
        locked = shared.by_source.fail(source_of(self._ip)) or locked
        self._log_failure(user, " with profile: local" + (", locked out from now on" if locked else ""))
        return self._slowly(TOO_OFTEN if self._failures >= shared.settings.max_failures else FAILED, later)

    def _slowly(self, reply: Reply, later: Later | None = None) -> Later:
        """Answer after the delay that makes guessing slow."""
        later = later or Later()
        asyncio.get_running_loop().call_later(self._shared.settings.failure_delay_s, later.answer, reply)
        return later

    def _locked_out(self, user: str, what: str, later: Later | None = None) -> Later:
        self._log_failure(user, f", this {what} is locked out")
        return self._slowly(LOCKED, later)

    def _log_failure(self, user: str, note: str) -> None:
        self._log(f"failed for user: {clean(user)} using AUTH mechanism: {self._mechanism}{note}")

    def _log(self, text: str) -> None:
        self._shared.log.info(f"SMTP Auth (ICID {self._icid}) {text}")
