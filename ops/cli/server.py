"""The console's SSH server: who may log in, with which key, and what a connection may open.

Two listeners from one `ConsoleServer`: the operators' (TCP) and the support sessions' (a unix socket behind the
tunnel, user `service` only, certificates of the engineer authority only). Login is by public key, always;
forwards, agents, subsystems are refused. The limits that asyncssh lacks are here (tries, channels) and in
`core/ssh` (connections, time to log in). Writes the audit log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from core.ssh import AcceptLimits, Refusal, SshListener, certificate_of, parse_public, same_key, server_options
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
    service_socket: Path | None = None
    idle_s: float = 1800.0
    login_timeout_s: float = 20.0
    connections: int = 100
    unauthenticated_per_source: int = 10


class Sessions:
    """Who is logged in now."""

    def __init__(self) -> None:
        self._open: dict[int, Session] = {}

    def add(self, session: Session) -> None:
        """A session began."""
        self._open[id(session)] = session

    def remove(self, session: Session) -> None:
        """A session ended."""
        self._open.pop(id(session), None)

    def list(self) -> list[dict[str, Any]]:
        """Give what `who` shows, oldest first."""
        return [session.facts() for session in sorted(self._open.values(), key=lambda one: one.since_at)]


class ConsoleServer:
    """Makes the listeners, and a guard for every connection."""

    def __init__(
        self,
        executor: Executor,
        settings: ConsoleSettings,
        host_key: asyncssh.SSHKey,
        accounts: Accounts,
        audit: AuditLog,
        *,
        sessions: Sessions | None = None,
        engineer_authorities: Sequence[str] = (),
    ) -> None:
        self.executor = executor
        self.settings = settings
        self.accounts = accounts
        self.sessions = sessions or Sessions()
        self.authorities = tuple(parse_public(line) for line in engineer_authorities)
        self._audit = audit
        self._host_key = host_key

    def listeners(self) -> list[SshListener]:
        """Give the services that accept connections: the operators', and support's where it has a socket."""
        settings = self.settings
        limits = AcceptLimits(
            unauthenticated_per_source=settings.unauthenticated_per_source,
            connections=settings.connections,
            login_timeout_s=settings.login_timeout_s,
        )

        def options(service: bool) -> asyncssh.SSHServerConnectionOptions:
            return server_options(
                lambda: Guard(self, service=service),
                [self._host_key],
                version="GatepostConsole_1.0",
                login_timeout_s=settings.login_timeout_s,
            )

        endpoint = (settings.address, settings.port)
        made = [SshListener("console", [endpoint], options(False), limits=limits, refused=self.refused)]
        if settings.service_socket is not None and self.authorities:
            made.append(
                SshListener(
                    "console service",
                    [settings.service_socket],
                    options(True),
                    limits=limits,
                    refused=self.refused,
                )
            )
        return made

    def refused(self, refusal: Refusal) -> None:
        """Log a connection that did not get in."""
        self._audit.info(clean(f"CLI connection from {refusal.source or 'the tunnel'} refused: {refusal.reason}"))

    def channel(self, caller: Caller) -> Channel:
        """Make the session of one channel."""
        return Channel(
            self.executor,
            caller,
            idle_s=self.settings.idle_s,
            opened=self.sessions.add,
            closed=self.sessions.remove,
        )


class Guard(asyncssh.SSHServer):
    """One connection: checks keys, knows who logged in, opens channels up to a limit."""

    def __init__(self, console: ConsoleServer, *, service: bool) -> None:
        self._console = console
        self._service = service
        self._source = ""
        self._tries = 0
        self._channels = 0
        self._connection: asyncssh.SSHServerConnection | None = None
        self._account: Account | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """Note where the client comes from."""
        self._connection = conn
        peer = conn.get_extra_info("peername")
        self._source = "the tunnel" if self._service or not isinstance(peer, tuple) else str(peer[0])

    def begin_auth(self, username: str) -> bool:
        """Demand authentication, whoever it is: False would let everyone in."""
        self._account = None
        return True

    def public_key_auth_supported(self) -> bool:
        """Offer login by key."""
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Tell whether the key is one of that user's; never on the service socket."""
        self._count_try()
        self._account = None
        if self._service:
            return False
        for account in self._console.accounts(username):
            if any(same_key(key, line) for line in account.keys):
                self._account = account
                return True
        return False

    def validate_ca_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Tell whether the authority is the engineers'; only on the service socket, only for user `service`."""
        self._count_try()
        if not self._service or username != SERVICE_USER:
            return False
        return any(same_key(key, authority) for authority in self._console.authorities)

    def _count_try(self) -> None:
        self._tries += 1
        if self._tries > _TRIES:
            raise asyncssh.PermissionDenied("too many keys were tried")

    def session_requested(self) -> Channel | bool:
        """Open a channel for the account that logged in."""
        caller = self._caller()
        if caller is None or self._channels >= _CHANNELS:
            return False
        self._channels += 1
        return self._console.channel(caller)

    def _caller(self) -> Caller | None:
        if self._service:
            certificate = certificate_of(self._connection) if self._connection is not None else None
            if certificate is None:
                return None
            return Caller(SERVICE_USER, Role.SUPPORT, self._source, certificate.key_id)
        account = self._account
        if account is None:
            return None
        return Caller(account.name, account.role, self._source, commands=account.commands)
