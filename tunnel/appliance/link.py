"""One outer connection to the bastion: log in, register, take our name, carry channels to the console.

Made by `client.py`, one at a time, over a wire whose banner is ours. Knows no activation file and no retry. What goes
wrong comes out of `open` as a `LinkFailed` with the verdict to show and the stage that was reached.
"""

import asyncio
import itertools
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
    fingerprint,
    known_hosts_authority,
    known_hosts_line,
    splice_to_unix,
)
from tunnel.appliance.registration import Control, GenerationFile, LinkFailed
from tunnel.appliance.road import CLIENT_VERSION
from tunnel.appliance.verdict import BROKEN, BUSY, KEY_CHANGED, LOGIN_REFUSED, NAME_REFUSED, NO_CONTROL, Stage
from tunnel.appliance.wire import Wire
from tunnel.control_message import Register
from tunnel.identity import LIVENESS_ORIGIN, SERVICE_PORT

FAREWELL_S = 2.0
"""How long the bastion gets to hear that access was disabled."""
LONGEST_ASKED_S = 600.0
"""Of a wait that is asked for before anybody has proved to be the bastion."""
_DIAGNOSED = ("ssh-ed25519", "ecdsa-sha2-nistp256", "rsa-sha2-512", "rsa-sha2-256")
"""Host key algorithms offered besides those that can be trusted, so that a foreign key can be named."""


@dataclass(frozen=True, slots=True)
class LinkTerms:
    """Who we are, whom we trust, and where channels go."""

    name: str
    key: asyncssh.SSHKey
    bastion_keys: Sequence[str]
    bastion_cas: Sequence[str]
    console: Path
    login_timeout_s: float = 20
    keepalive_s: float = 15
    registration: str = "required"

    def known_hosts(self, bastion: str) -> str:
        """Give the pins as known_hosts text, under the name that was asked for."""
        lines = [known_hosts_line(bastion, key) for key in self.bastion_keys]
        lines += [known_hosts_authority([bastion], ca) for ca in self.bastion_cas]
        return "".join(line + "\n" for line in lines)


@dataclass(slots=True, eq=False)
class Carried:
    """One channel that is carried to the console."""

    origin: str
    since_at: float
    half: Half | None = None


class Witness(asyncssh.SSHClient):
    """Sees how far the handshake comes, and a host key that is not trusted."""

    def __init__(self) -> None:
        self.foreign = ""
        self.logged_in = False
        self._connection: asyncssh.SSHClientConnection | None = None

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection = conn

    def auth_completed(self) -> None:
        self.logged_in = True

    def validate_host_public_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.foreign = f"the key shown is {key.get_algorithm()} {fingerprint(key)}"
        return False

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        self.foreign = f"the key shown is signed by {key.get_algorithm()} {fingerprint(key)}"
        return False

    @property
    def stage(self) -> Stage:
        """How far it came."""
        if self.logged_in:
            return Stage.REGISTER
        proved = self._connection is not None and self._connection.get_server_host_key() is not None
        return Stage.AUTH if proved else Stage.KEX


async def handshake(
    wire: Wire, terms: LinkTerms, bastion: str, keys: Sequence[asyncssh.SSHKey]
) -> asyncssh.SSHClientConnection:
    """Speak SSH on a wire and log in with these keys. Raises LinkFailed; the wire is closed then."""
    witness = Witness()
    options = client_options(
        terms.name,
        terms.known_hosts(bastion),
        host_key_alias=bastion,
        keys=keys,
        client_factory=lambda: witness,
        version=CLIENT_VERSION,
        connect_timeout_s=terms.login_timeout_s,
        login_timeout_s=terms.login_timeout_s,
        keepalive_s=terms.keepalive_s,
        diagnosed=_DIAGNOSED,
    )
    try:
        return await dial(None, wire, options)
    except (OSError, asyncssh.Error) as error:
        wire.close()
        raise _failed(error, witness) from error
    except BaseException:
        wire.close()
        raise


class Link:
    """A live connection that holds our name at the bastion."""

    def __init__(self, terms: LinkTerms, connection: asyncssh.SSHClientConnection, local: str) -> None:
        self.opened_at = clock.now()
        self.begun = clock.monotonic()
        self.local = local
        """Our address on this connection."""
        self._terms = terms
        self._connection = connection
        self._control: Control | None = None
        self._listener: asyncssh.SSHListener | None = None
        self._carried: set[Carried] = set()
        self._idle = asyncio.Event()
        self._idle.set()

    @classmethod
    async def open(
        cls, wire: Wire, terms: LinkTerms, bastion: str, register: Register, generation: GenerationFile
    ) -> "Link":
        """Log in over a wire, register, and take our name. Raises LinkFailed; the connection is closed then."""
        link = cls(terms, await handshake(wire, terms, bastion, [terms.key]), wire.local)
        try:
            await link._register(register, generation)
            await link._take_name()
        except BaseException:
            link._connection.abort()
            raise
        return link

    @property
    def retry_after_s(self) -> float:
        """The wait that the bastion asked for when it said good-bye, or 0."""
        return self._control.bye_s if self._control is not None else 0.0

    def withdraw(self) -> None:
        """Give the name back: no new connections; what is carried goes on."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    def cut(self) -> None:
        """End the connection and all that it carries, now."""
        self._drop()
        self._connection.abort()

    async def farewell(self) -> None:
        """Cut all that is carried, tell the bastion that access was disabled, and end the connection."""
        self._drop()
        self.withdraw()
        try:
            async with asyncio.timeout(FAREWELL_S):
                if self._control is not None:
                    self._control.withdraw()
                self._connection.close()
                await self._connection.wait_closed()
        except (LinkFailed, TimeoutError, OSError, asyncssh.Error):
            pass  # it is told at the latest when the registration runs out
        finally:
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

    async def _register(self, register: Register, generation: GenerationFile) -> None:
        try:
            self._control = await Control.open(self._connection, self._terms.login_timeout_s)
        except LinkFailed as error:
            if error.verdict is NO_CONTROL and self._terms.registration == "optional":
                return
            raise
        await self._control.register(register, generation)

    async def _take_name(self) -> None:
        try:
            async with asyncio.timeout(self._terms.login_timeout_s):
                self._listener = await self._connection.create_server(
                    self._accept, self._terms.name, SERVICE_PORT, encoding=None
                )
        except (OSError, asyncssh.Error, asyncssh.ChannelListenError) as error:
            raise LinkFailed(NAME_REFUSED, str(error), self.retry_after_s) from error

    def _drop(self) -> None:
        for carried in tuple(self._carried):
            if carried.half is not None:
                carried.half.close()

    async def _accept(self, origin: str, _port: int) -> Half:
        if self._listener is None:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "this tunnel takes no new connections"
            )
        carried = Carried(origin, clock.now())
        self._carried.add(carried)
        self._idle.clear()
        carried.half = await splice_to_unix(self._terms.console, self._ended(carried), origin=origin)
        return carried.half

    def _ended(self, carried: Carried) -> Callable[[], None]:
        def ended() -> None:
            self._carried.discard(carried)
            if not self._carried:
                self._idle.set()

        return ended


def _failed(error: Exception, witness: Witness) -> LinkFailed:
    detail = getattr(error, "reason", "") or str(error) or type(error).__name__
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return LinkFailed(KEY_CHANGED, witness.foreign or detail)
    if isinstance(error, asyncssh.PermissionDenied):
        return LinkFailed(LOGIN_REFUSED, detail)
    wait_s = asked_wait(detail)
    return LinkFailed(BUSY if wait_s else BROKEN.at(witness.stage), detail, wait_s)


def asked_wait(reason: str) -> float:
    """Read "come back in N s" out of a disconnect message; 0 if it does not say."""
    words = reason.split()
    for number, unit in itertools.pairwise(words):
        if unit.strip(".,;") in {"s", "seconds"} and number.isdecimal():
            return min(float(number), LONGEST_ASKED_S)
    return 0.0
