"""The console's SSH server: who may log in, with which key, and what a connection may open.

`ConsoleServer` gives the service that operators connect to, and the sessions for support engineers, whose
connections `tunnel/` takes in and checks. Login is by public key, always; forwards, agents, subsystems are
refused. The limits that asyncssh lacks are here (tries, channels) and in `core/ssh` (connections, time to log
in). Writes the audit log. Account and key are looked up at every login, so a change needs no restart.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import asyncssh

from core.ssh import AcceptLimits, Refusal, SshListener, same_key, server_options
from ops.cli.account import Account, Accounts, Caller, Role
from ops.cli.channel import Channel
from ops.cli.display import clean
from ops.cli.execute import AuditLog, Executor
from ops.cli.session import Session

SERVICE_USER = "service"
_TRIES = 12
_CHANNELS = 10


@dataclass(frozen=True)
class ConsoleSettings:
    """Where the console listens and how patient it is."""

    address: str
    port: int
    idle_s: float = 1800.0
    login_timeout_s: float = 20.0
    connections: int = 100
    unauthenticated_per_source: int = 10


class ServiceLogin(Protocol):
    """A support engineer who was let in; `tunnel.service.ServiceLogin` is one."""

    @property
    def key_id(self) -> str:
        """Who, as logs name it."""

    @property
    def shell(self) -> Callable[[], Awaitable[int]] | None:
        """Lends the session's terminal to a login shell."""

    @property
    def over(self) -> str:
        """By what way: the tunnel, or the address of another appliance."""


Wrap = Callable[[Callable[[], asyncssh.SSHServer]], Callable[[], asyncssh.SSHServer]]
"""Puts something before the guards of connections."""


class Sessions:
    """Who is logged in now."""

    def __init__(self) -> None:
        self.others: Callable[[], list[dict[str, Any]]] = list
        """Gives those who are in otherwise: support's shells and file transfers."""
        self._open: dict[int, Session] = {}

    def add(self, session: Session) -> None:
        """A session began."""
        self._open[id(session)] = session

    def remove(self, session: Session) -> None:
        """A session ended."""
        self._open.pop(id(session), None)

    def announce(self, text: str) -> None:
        """Show a line to every administrator who is logged in."""
        for session in tuple(self._open.values()):
            if session.administrator:
                session.notice(text)

    def facts(self) -> list[dict[str, Any]]:
        """Give what `who` shows, oldest first."""
        everybody = [*(session.facts() for session in self._open.values()), *self.others()]
        return sorted(everybody, key=lambda one: float(one["since_at"]))


class ConsoleServer:
    """Makes the listener, a guard for every connection, and the sessions."""

    def __init__(
        self,
        executor: Executor,
        settings: ConsoleSettings,
        host_key: asyncssh.SSHKey,
        *,
        accounts: Accounts,
        audit: AuditLog,
        sessions: Sessions,
    ) -> None:
        self.accounts = accounts
        self._executor = executor
        self._settings = settings
        self._sessions = sessions
        self._audit = audit
        self._host_key = host_key

    def listener(self, wrap: Wrap | None = None) -> SshListener:
        """Give the service that takes operators' connections, and whoever else `wrap` lets in there."""
        settings = self._settings
        limits = AcceptLimits(
            unauthenticated_per_source=settings.unauthenticated_per_source,
            connections=settings.connections,
            login_timeout_s=settings.login_timeout_s,
        )

        def guard() -> asyncssh.SSHServer:
            return Guard(self.accounts, self._session)

        options = server_options(
            wrap(guard) if wrap else guard,
            [self._host_key],
            version="GatepostConsole_1.0",
            login_timeout_s=settings.login_timeout_s,
            interactive=wrap is not None,
        )
        endpoint = (settings.address, settings.port)
        return SshListener("console", [endpoint], options, limits=limits, refused=self._refused)

    def service_session(self, login: ServiceLogin) -> Channel:
        """Give the session of a support engineer; the tunnel's endpoint asks for it."""
        return self._session(Caller(SERVICE_USER, Role.SUPPORT, login.over, login.key_id, shell=login.shell))

    def _session(self, caller: Caller) -> Channel:
        return Channel(
            self._executor,
            caller,
            idle_s=self._settings.idle_s,
            opened=self._sessions.add,
            closed=self._sessions.remove,
        )

    def _refused(self, refusal: Refusal) -> None:
        self._audit.info(clean(f"CLI connection from {refusal.source} refused: {refusal.reason}"))


class Guard(asyncssh.SSHServer):
    """One connection: checks keys, knows who logged in, opens channels up to a limit."""

    def __init__(self, accounts: Accounts, session: Callable[[Caller], Channel]) -> None:
        self._accounts = accounts
        self._session = session
        self._source = ""
        self._tries = 0
        self._channels = 0
        self._account: Account | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note where the client comes from."""
        peer = conn.get_extra_info("peername")
        self._source = str(peer[0]) if isinstance(peer, tuple) else "local"

    def begin_auth(self, username: str) -> bool:
        """Demand authentication, whoever it is: False would let everyone in."""
        self._account = None
        return True

    def kbdint_auth_supported(self) -> bool:
        """Offer no login by questions, whatever the port offers to others."""
        return False

    def public_key_auth_supported(self) -> bool:
        """Offer login by key."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Tell whether the key is one of that user's; the account it belongs to is remembered."""
        self._tries += 1
        if self._tries > _TRIES:
            raise asyncssh.PermissionDenied("too many keys were tried")
        self._account = next(
            (account for account in self._accounts(username) if any(_is(key, line) for line in account.keys)),
            None,
        )
        return self._account is not None

    def session_requested(self) -> Channel | bool:
        """Open a channel for the account that logged in."""
        self._channels += 1
        if self._account is None or self._channels > _CHANNELS:
            return False
        account = self._account
        return self._session(Caller(account.name, account.role, self._source, commands=account.commands))


def _is(key: asyncssh.SSHKey, line: str) -> bool:
    try:
        return same_key(key, line)
    except ValueError:
        # One damaged line, in a pairing say, must not lock the others out.
        return False
