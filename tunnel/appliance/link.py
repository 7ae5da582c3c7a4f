"""One outer connection to the bastion: log in over a probed socket, take our name, carry channels to the console.

Made by `client.py`, one at a time. Knows no state file and no retry. What goes wrong comes out of `open`
as a `LinkFailed` with the verdict to show.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh

from core import clock
from core.ssh import (
    Half,
    client_options,
    dial,
    known_hosts_authority,
    known_hosts_line,
    splice_to_unix,
)
from tunnel.appliance.verdict import BROKEN, KEY_CHANGED, LOGIN_REFUSED, NAME_REFUSED, Verdict
from tunnel.identity import LIVENESS_ORIGIN, SERVICE_PORT

CLIENT_VERSION = "GatepostAppliance_1.0"


class LinkFailed(Exception):
    """The handshake or the registration failed; carries what to tell the administrator."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(detail)
        self.verdict = verdict
        self.detail = detail


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """Who we are, whom we trust, and where channels go."""

    name: str
    key: asyncssh.SSHKey
    bastion: str
    bastion_keys: Sequence[str]
    bastion_cas: Sequence[str]
    console: Path
    login_timeout_s: float = 20
    keepalive_s: float = 15

    def known_hosts(self) -> str:
        """Give the pins as known_hosts text, under the bastion's name."""
        lines = [known_hosts_line(self.bastion, key) for key in self.bastion_keys]
        lines += [known_hosts_authority([self.bastion], ca) for ca in self.bastion_cas]
        return "".join(line + "\n" for line in lines)


@dataclass(slots=True, eq=False)
class Carried:
    """One channel that is carried to the console."""

    origin: str
    since_at: float
    half: Half | None = None


class Link:
    """A live connection that holds our name at the bastion."""

    def __init__(self, terms: LinkTerms, connection: asyncssh.SSHClientConnection) -> None:
        self._terms = terms
        self._connection = connection
        self._listener: asyncssh.SSHListener | None = None
        self._carried: set[Carried] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self.opened_at = clock.now()

    @classmethod
    async def open(cls, sock: socket.socket, terms: LinkTerms) -> "Link":
        """Log in over a connected socket and take our name. Raises LinkFailed; the socket is closed then."""
        options = client_options(
            terms.name,
            terms.known_hosts(),
            host_key_alias=terms.bastion,
            keys=[terms.key],
            version=CLIENT_VERSION,
            connect_timeout_s=terms.login_timeout_s,
            login_timeout_s=terms.login_timeout_s,
            keepalive_s=terms.keepalive_s,
        )
        try:
            connection = await dial(sock, None, options)
        except (OSError, asyncssh.Error) as error:
            sock.close()
            raise _failed(error) from error
        link = cls(terms, connection)
        try:
            await link.register()
        except BaseException:
            connection.abort()
            raise
        return link

    async def register(self) -> None:
        """Take our name at the bastion. Raises LinkFailed."""
        try:
            async with asyncio.timeout(self._terms.login_timeout_s):
                self._listener = await self._connection.create_server(
                    self._accept, self._terms.name, SERVICE_PORT, encoding=None
                )
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError) as error:
            raise LinkFailed(NAME_REFUSED, str(error)) from error

    def withdraw(self) -> None:
        """Give the name back: no new connections; what is carried goes on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def cut(self) -> None:
        """End the connection and all that it carries, now."""
        for carried in tuple(self._carried):
            if carried.half is not None:
                carried.half.close()
        self._connection.abort()

    async def wait_idle(self) -> None:
        """Wait until nothing is carried."""
        await self._idle.wait()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone, by either side or by a lost keepalive."""
        await self._connection.wait_closed()

    def sessions(self) -> list[dict[str, Any]]:
        """List what is carried for engineers, as `techsupport status` shows it."""
        return [
            {"from": carried.origin, "since": carried.since_at}
            for carried in sorted(self._carried, key=lambda carried: carried.since_at)
            if carried.origin != LIVENESS_ORIGIN
        ]

    async def _accept(self, origin: str, _port: int) -> Half:
        if self._listener is None:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "this tunnel takes no new connections"
            )
        carried = Carried(origin, clock.now())
        self._carried.add(carried)
        self._idle.clear()
        carried.half = await splice_to_unix(self._terms.console, self._ended(carried))
        return carried.half

    def _ended(self, carried: Carried) -> Callable[[], None]:
        def ended() -> None:
            self._carried.discard(carried)
            if not self._carried:
                self._idle.set()

        return ended


def _failed(error: Exception) -> LinkFailed:
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return LinkFailed(KEY_CHANGED, error.reason)
    if isinstance(error, asyncssh.PermissionDenied):
        return LinkFailed(LOGIN_REFUSED, error.reason)
    return LinkFailed(BROKEN, getattr(error, "reason", "") or str(error) or type(error).__name__)
