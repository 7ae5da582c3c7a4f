"""One accepted SSH connection: the limits within it, the turn for its key exchange, and the certificate behind it.

What asyncssh does not do, done in the few places where it can be: tries, global requests, key exchanges that the
client asks for, channels; agent and X11 forwarding told to the owner; certificates shown, and none taken that has no
principals. A test fails if one of the private methods goes away. Made by `core/ssh/server.py`.

An owner (the `SSHServer`) may have more methods: `limited(rule, why)` is told what was refused here;
`certified(facts)` is awaited when a certificate is good, before the login is, so that it can look up what its holder
may do; `rejected(certificate)` is told of one that is not, whoever signed it; `proven(method)` is told that a method
succeeded, and says whether that is enough or another must follow (RFC 4252 5.1, partial success); `entering()` is
awaited before the client is told that it is in.
"""

import asyncio
import copy
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import asyncssh
from asyncssh import SSHKey, SSHServerConnectionOptions
from asyncssh.packet import SSHPacket

from core import clock
from core.ssh.key import CertificateFacts, certificate_facts
from core.ssh.option import WINDOW

MOST_FAILURES = 6
"""Keys and passwords that one connection may try in vain."""
BEFORE_LOGIN = 100
"""Packets that a client may send before it has logged in; a login takes about a dozen."""
VARIABLES, VARIABLE_OCTETS = 64, 4096
"""Environment variables that a channel may set, and how large the request for one may be: asyncssh keeps them all."""
DISCONNECT, KEXINIT, NEWKEYS, GLOBAL_REQUEST, CHANNEL_OPEN = 1, 20, 21, 80, 90
_RESOURCE_SHORTAGE = 4
PACKET = 128 * 1024
"""Most octets of a packet that we take on a forwarded channel; four times the usual, whose cost is by packet."""
_KEEPALIVE = b"keepalive@openssh.com"
_KEEPALIVE_COST = 0.2
"""A client that asks every second whether we live is no flood."""
_DECIDED = frozenset({b"session", b"direct-tcpip", b"direct-streamlocal@openssh.com", b"tun@openssh.com"})
"""Channel types that the owner is asked about; of any other it is told."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may do at most."""

    tries: int = MOST_FAILURES
    channels: int = 100
    """Open at once."""
    requests_a_minute: float = 50
    """Global requests."""
    rekey_s: float = 60
    """Between key exchanges that the client asks for; two may come at once."""


class Bucket:
    """So many at once, so many a second after that."""

    def __init__(self, size: float, each_s: float) -> None:
        self._size = size
        self._each_s = each_s
        self._left = size
        self._at = clock.monotonic()

    def take(self, cost: float = 1.0) -> bool:
        """Take from the bucket; false if there is not enough in it."""
        now = clock.monotonic()
        self._left = min(self._size, self._left + (now - self._at) / self._each_s)
        self._at = now
        if self._left < cost:
            return False
        self._left -= cost
        return True


class Turnstile:
    """Lets so many key exchanges compute at once, first come first served, and the loop turn between two.

    A key exchange holds the loop for some milliseconds. Without this, a thousand appliances that come back in one
    moment would hold it for seconds, and nobody's keystroke would pass. Only computing takes a turn, not waiting for
    the peer: one who is slow or silent holds nobody up.
    """

    def __init__(self, places: int) -> None:
        self._places = asyncio.Semaphore(places)

    async def __aenter__(self) -> None:
        await self._places.acquire()

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0)
        self._places.release()


class Stage(IntEnum):
    """How far a client has come before its login."""

    NOTHING = 0
    """It is still about TLS."""
    BANNER = 1
    """It has our banner and has asked for nothing."""
    EXCHANGE = 2
    """It has begun a key exchange."""
    EXCHANGED = 3
    """It has said something, a farewell for one, under the new keys."""


class ServerConnection(asyncssh.SSHServerConnection):
    """A server connection within limits, that knows whose certificate it took."""

    certificate: CertificateFacts | None = None
    limits = ConnectionLimits()
    turnstile: Turnstile | None = None
    failures = 0
    """Keys and passwords tried in vain."""
    exchange_s = 0.0
    """How long the key exchange computed."""
    stage = Stage.NOTHING
    """How far the client has come."""
    farewell = False
    """The client said that it ends the connection."""
    _before_login = 0
    _requests: Bucket | None = None
    _exchanges: Bucket | None = None
    _owner: Any

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the banner."""
        self.stage = Stage.BANNER
        super().connection_made(transport)

    async def reload_config(self) -> None:
        """There is no configuration file: asyncssh would build all options again for each login."""

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        """Hold the connection to its limits, then do as asyncssh does."""
        if not self._auth_complete:
            self._count_before_login(pkttype)
        if pkttype == GLOBAL_REQUEST:
            self._count_request(packet.get_full_payload())
        elif pkttype == KEXINIT:
            if self._session_id and not self._kexinit_sent:
                self._count_exchange()
            if not self._session_id:
                return self._exchange(pkttype, pktid, packet)
        elif pkttype == CHANNEL_OPEN and not self._may_open(packet.get_full_payload()):
            return True
        return super().process_packet(pkttype, pktid, packet)

    async def _exchange(self, pkttype: int, pktid: int, packet: SSHPacket) -> None:
        """Begin the first key exchange, each part of it in its turn."""
        result = super().process_packet(pkttype, pktid, packet)
        if not isinstance(result, bool):
            await result
        self._ignore_first_kex = wrong_guess(self._client_kexinit, self._server_kexinit)
        kex, turnstile = self._kex, self.turnstile
        if kex is None or turnstile is None:
            return
        within = kex.process_packet

        async def in_turn(pkttype: int, pktid: int, packet: SSHPacket) -> None:
            async with turnstile:
                if self.is_closed():
                    return
                begun = clock.monotonic()
                result = within(pkttype, pktid, packet)
                if not isinstance(result, bool):
                    await result
                self.exchange_s += clock.monotonic() - begun

        kex.process_packet = in_turn  # type: ignore[method-assign]

    def _count_before_login(self, pkttype: int) -> None:
        self.farewell = pkttype == DISCONNECT
        if self._recv_encryption:
            self.stage = Stage.EXCHANGED
        elif not self.farewell:
            self.stage = Stage.EXCHANGE
        self._before_login += 1
        if self._before_login > BEFORE_LOGIN:
            self._end("before-login", "too much was said before the login")

    def _count_request(self, payload: bytes) -> None:
        if self._requests is None:
            rate = self.limits.requests_a_minute
            self._requests = Bucket(rate, 60.0 / rate)
        name = payload[5 : 5 + int.from_bytes(payload[1:5], "big")]
        if not self._requests.take(_KEEPALIVE_COST if name == _KEEPALIVE else 1.0):
            self._end("requests", "too many global requests")

    def _count_exchange(self) -> None:
        if self._exchanges is None:
            self._exchanges = Bucket(2, self.limits.rekey_s)
        if not self._exchanges.take():
            self._end("rekey", "too many key exchanges")

    def _end(self, rule: str, why: str) -> None:
        self._tell(rule, why)
        raise asyncssh.DisconnectError(asyncssh.DISC_BY_APPLICATION, why)

    def _tell(self, rule: str, why: str) -> None:
        """Tell the owner what was refused, where it wants to know."""
        told = getattr(self._owner, "limited", None)
        if told is not None:
            told(rule, why)

    def _may_open(self, payload: bytes) -> bool:
        size = int.from_bytes(payload[1:5], "big")
        kind, number = payload[5 : 5 + size], payload[5 + size : 9 + size]
        if kind not in _DECIDED:
            self._tell("channel", f"a channel of the type {kind[:64].decode('ascii', 'replace')!r}")
        if len(self._channels) < self.limits.channels or len(number) < 4:
            return True
        why = f"more than {self.limits.channels} channels at once"
        self._tell("channels", why)
        self.send_channel_open_failure(int.from_bytes(number, "big"), _RESOURCE_SHORTAGE, why, "")
        return False

    def create_server_channel(self, *args: Any, **options: Any) -> "asyncssh.SSHServerChannel[Any]":
        """Make a channel that does not keep whatever a client says of its environment, without end."""
        channel = super().create_server_channel(*args, **options)
        take = channel._process_env_request

        def bounded(packet: SSHPacket) -> bool:
            if len(channel._env) < VARIABLES and len(packet.get_full_payload()) <= VARIABLE_OCTETS:
                return take(packet)
            self._tell("environment", f"more than {VARIABLES} environment variables, or a long one")
            return False

        channel._process_env_request = bounded  # type: ignore[method-assign]
        return channel

    def create_tcp_channel(
        self, encoding: str | None = None, errors: str = "strict", window: int = WINDOW, max_pktsize: int = PACKET
    ) -> asyncssh.SSHTCPChannel[bytes]:
        """Make a forwarded channel with our window, and packets that are worth their cost."""
        made: asyncssh.SSHTCPChannel[bytes] = super().create_tcp_channel(
            encoding, errors, min(window, WINDOW), max(max_pktsize, PACKET)
        )
        return made

    async def create_agent_listener(self) -> bool:
        """Refuse to forward an agent, and tell."""
        self._tell("agent", "agent forwarding")
        return False

    async def attach_x11_listener(self, *_: Any) -> str | None:
        """Refuse to forward X11, and tell."""
        self._tell("x11", "X11 forwarding")
        return None

    async def send_userauth_success(self) -> None:
        """Let the client in, or ask for another factor: the method that succeeded is only a part."""
        proven, method = getattr(self._owner, "proven", None), getattr(self._auth, "_method", b"")
        if proven is not None and not proven(method.decode("ascii", "replace")):
            self.send_userauth_failure(True)
            return
        entering = getattr(self._owner, "entering", None)
        if entering is not None:
            await entering()
        await super().send_userauth_success()

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Count what asyncssh does not count: tries."""
        return self._counted(await super().validate_public_key(username, key_data, msg, signature))

    async def validate_password(self, username: str, password: str) -> bool:
        """Count what asyncssh does not count: tries."""
        return self._counted(await super().validate_password(username, password))

    def _counted(self, good: bool) -> bool:
        self.failures += not good
        if self.failures >= self.limits.tries:
            self._tell("tries", "too many authentication failures")
            code = asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE
            raise asyncssh.DisconnectError(code, "too many authentication failures")
        return good

    async def _validate_openssh_certificate(self, username: str, cert: asyncssh.SSHCertificate) -> SSHKey | None:
        facts = certificate_facts(cert)
        key: SSHKey | None = None
        if facts.principals:
            key = await super()._validate_openssh_certificate(username, cert)  # type: ignore[arg-type]
        self.certificate = facts if key is not None else None
        if key is None:
            told = getattr(self._owner, "rejected", None)
            if told is not None:
                told(cert)
            return None
        asked = getattr(self._owner, "certified", None)
        if asked is not None:
            await asked(facts)
        return key


def wrong_guess(theirs: bytes, ours: bytes) -> bool:
    """Tell whether a packet follows a client's KEXINIT that guessed wrong and has to be dropped (RFC 4253 7).

    The guess is right only if both ends prefer the same; asyncssh takes it for right if the client's preference is
    chosen, and dropbear's client, which sends a guess and knows the rule, could never log in.
    """
    kex, host_keys, follows = _preferences(theirs)
    own_kex, own_host_keys, _ = _preferences(ours)
    return follows and (kex, host_keys) != (own_kex, own_host_keys)


def _preferences(kexinit: bytes) -> tuple[bytes, bytes, bool]:
    packet = SSHPacket(kexinit)
    packet.get_byte()
    packet.get_bytes(16)
    lists = [packet.get_namelist() for _ in range(10)]
    return lists[0][0], lists[1][0], packet.get_boolean()


def certificate_of(connection: asyncssh.SSHServerConnection) -> CertificateFacts | None:
    """Give the certificate that a connection logged in with; None if it was a plain key or password."""
    return connection.certificate if isinstance(connection, ServerConnection) else None


def unsent(channel: Any) -> int:
    """Give the octets that wait for a peer: in a channel, or what stands for one, and in its connection.

    A peer that opens a large window and reads nothing has them all in the connection, of which a channel knows nothing.
    """
    connection = channel.get_connection() if isinstance(channel, asyncssh.SSHServerChannel) else None
    transport = getattr(connection, "_transport", None)
    waiting: int = channel.get_write_buffer_size()
    return waiting + (transport.get_write_buffer_size() if transport is not None else 0)


async def handshake(
    sock: socket.socket,
    options: SSHServerConnectionOptions,
    *,
    limits: ConnectionLimits | None = None,
    turnstile: Turnstile | None = None,
    tls: ssl.SSLContext | None = None,
    source: tuple[str, int] | None = None,
    made: Callable[[ServerConnection], None] | None = None,
) -> ServerConnection:
    """Speak SSH as the server on an accepted socket, in TLS where a context is given; returns after the login.

    `source` is who comes through a balancer. `made` is told the connection before it has logged in.
    """
    loop = asyncio.get_running_loop()
    own = copy.copy(options)
    own.waiter = loop.create_future()

    connection = ServerConnection(loop, own, wait="auth")
    connection.limits = limits or connection.limits
    connection.turnstile = turnstile
    if source is not None:
        connection.set_extra_info(peername=source)
    if made is not None:
        made(connection)
    # What uvloop gives back for TLS is its own wrapping, not the protocol that was made.
    await loop.connect_accepted_socket(lambda: connection, sock, ssl=tls)
    try:
        await own.waiter
    except BaseException:
        connection.abort()
        raise
    return connection
