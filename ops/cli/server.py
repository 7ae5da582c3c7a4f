"""The console's SSH server: its listener, a guard for every connection (`guard.py`), the sessions.

`ConsoleServer` gives the service that operators connect to, and the sessions for support engineers, whose
connections `tunnel/` takes in and checks. Forwards, agents, subsystems are refused. Users, banner, limits and
algorithms are replaced while it runs; whoever has lost his rights by that is put out. Writes the audit log.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import asyncssh

from core.ssh import AcceptLimits, ConnectionLimits, Refusal, SshListener, server_options
from ops.access.gate import Gate
from ops.cli.account import Caller, Role
from ops.cli.channel import Channel
from ops.cli.display import clean
from ops.cli.execute import AuditLog, Executor
from ops.cli.files import Files, FilesOrChannel
from ops.cli.guard import KEYS_TRIED, TRIES, Door, Guard, SessionMaker
from ops.cli.history import HistoryFile
from ops.cli.sessions import Sessions

SERVICE_USER = "service"
CHANNELS = 10
"""Of one connection, open at once."""
PUT_OUT_S = 1.0
"""How long a connection stays that has lost its rights: the commit that took them may be its own."""


@dataclass(frozen=True)
class ConsoleSettings:
    """Where the console listens and how patient it is. Address and port count from the start only."""

    address: str
    port: int
    idle_s: float = 1800.0
    login_timeout_s: float = 20.0
    connections: int = 100
    unauthenticated_per_source: int = 10
    paging: bool = True
    history: Path | None = None
    """Where the command lines of each user are kept."""
    algorithms: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Names for `core.ssh.server_options`; what is not named is ours."""


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


class ConsoleServer:
    """Makes the listener, a guard for every connection, and the sessions."""

    def __init__(
        self,
        executor: Executor,
        settings: ConsoleSettings,
        host_key: asyncssh.SSHKey,
        *,
        door: Door,
        gate: Gate,
        audit: AuditLog,
        sessions: Sessions,
        files: Files | None = None,
    ) -> None:
        self._executor = executor
        self._settings = settings
        self._door = door
        self._gate = gate
        self._sessions = sessions
        self._audit = audit
        self._files = files
        self._host_key = host_key
        self._guards: weakref.WeakSet[Guard] = weakref.WeakSet()
        self._wrap: Wrap | None = None
        self._listener: SshListener | None = None

    def listener(self, wrap: Wrap | None = None) -> SshListener:
        """Give the service that takes operators' connections, and whoever else `wrap` lets in there."""
        settings, self._wrap = self._settings, wrap
        limits = AcceptLimits(
            unauthenticated_per_source=settings.unauthenticated_per_source,
            connections=settings.connections,
            login_timeout_s=settings.login_timeout_s,
        )
        endpoint = (settings.address, settings.port)
        options = self._options(settings)
        within = ConnectionLimits(tries=KEYS_TRIED + TRIES, channels=CHANNELS)
        self._listener = SshListener(
            "console", [endpoint], options, limits=limits, within=within, refused=self._refused
        )
        return self._listener

    def follow(self, settings: ConsoleSettings, door: Door) -> None:
        """Go by other users and settings from now on; whoever lost his rights is put out."""
        options = self._options(settings)
        self._settings, self._door = settings, door
        if self._listener is not None:
            self._listener.options = options
        over = [guard for guard in self._guards if guard.followed(door)]
        for guard in over:
            self._audit.info(clean(f"CLI {guard}: access was taken away; the connection is ended"))
        if over:
            asyncio.get_running_loop().call_later(PUT_OUT_S, _end, over)

    def service_session(self, login: ServiceLogin) -> Channel:
        """Give the session of a support engineer; the tunnel's endpoint asks for it."""
        return self._session(Caller(SERVICE_USER, Role.SUPPORT, login.over, login.key_id, shell=login.shell))

    def _options(self, settings: ConsoleSettings) -> asyncssh.SSHServerConnectionOptions:
        maker = SessionMaker(self._session, lambda text: self._audit.info(clean(f"CLI {text}")))

        def guard() -> asyncssh.SSHServer:
            made = Guard(lambda: self._door, self._gate, maker)
            self._guards.add(made)
            return made

        return server_options(
            self._wrap(guard) if self._wrap else guard,
            [self._host_key],
            version="GatepostConsole_1.0",
            login_timeout_s=settings.login_timeout_s,
            interactive=True,
            passwords=True,
            algorithms=settings.algorithms,
        )

    def _session(self, caller: Caller) -> Channel:
        return FilesOrChannel(
            self._executor,
            caller,
            idle_s=self._settings.idle_s,
            paging=self._settings.paging,
            history=self._history_of(caller),
            admit=self._sessions.admit,
            opened=self._sessions.add,
            closed=self._sessions.remove,
            files=self._files,
        )

    def _history_of(self, caller: Caller) -> HistoryFile | None:
        """Give the history of a user; what support typed is in its recording."""
        folder = self._settings.history
        return HistoryFile(folder / caller.name) if folder is not None and not caller.service else None

    def _refused(self, refusal: Refusal) -> None:
        self._audit.info(clean(f"CLI connection from {refusal.source} refused: {refusal.reason}"))


def _end(guards: Sequence[Guard]) -> None:
    for guard in guards:
        guard.end("access was taken away")
