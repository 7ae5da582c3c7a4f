"""The client machine on a socket: octets to and fro, one deadline, back-pressure, the switch to TLS.

Used by `core/smtp/client.py` alone. Whatever arrives is fed to the machine at once, so nobody waits for what is already
there. No task, timer or time-out context is made per message: one coarse timer per connection looks at one deadline,
which every step moves on.
"""

import asyncio
import functools
import os
import select
import socket
import ssl
from typing import cast

from core.smtp.client_settings import ConnectionSettings, TlsSettings
from core.smtp.client_tls import Handshake, handshake_failure
from core.smtp.target import Target
from protocol.smtp.client import ClientMachine
from protocol.smtp.client_state import State
from protocol.smtp.conversation import TlsInfo
from protocol.smtp.failure import ConnectError, PeerClosed, Stage, TimedOut, TlsError

_TICK_S = 5.0
_TRUST_IDLE_S = 0.05
"""An idle connection is looked at again before reuse if nothing happened on it for this long."""


class Wire(asyncio.Protocol):
    """The transport side of one connection. The public methods without a docstring of their own are asyncio's."""

    def __init__(self, target: Target, settings: ConnectionSettings, machine: ClientMachine) -> None:
        self.machine = machine
        self.tls: TlsInfo | None = None
        self.chain: tuple[bytes, ...] = ()
        """The certificates that the peer showed, in DER form, its own first."""
        self.handshake: Handshake | None = None
        self.transport: asyncio.Transport | None = None
        self._target = target
        self._limits = settings.limits
        self._tick_s = min(_TICK_S, *settings.limits.values())
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._paused = False
        self._turns = -1
        self._last = self._loop.time()
        self._deadline = self._last + self._limits[Stage.CONNECT]
        self._timer: asyncio.TimerHandle | None = None
        self._waiter: asyncio.Future[None] | None = None

    def idle_and_open(self) -> bool:
        """Tell whether a job can be sent now. Notices a peer that closed while nobody looked."""
        transport = self.transport
        if transport is None or transport.is_closing() or not self.machine.ready:
            return False
        if self._loop.time() - self._last < _TRUST_IDLE_S:
            return True
        return not _readable(transport)

    @property
    def moved_at_s(self) -> float:
        """Loop time of the last progress."""
        return self._last

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport and start the clock."""
        self.transport = cast(asyncio.Transport, transport)
        self._timer = self._loop.call_later(self._tick_s, self._look_at_clock)
        self.pump()

    def data_received(self, data: bytes) -> None:
        """Feed the machine and send what it has to say."""
        self.machine.receive(data)
        self.pump()

    def eof_received(self) -> None:
        """Treat the end of the peer's octets as the end: no reply can come any more."""
        self.machine.peer_closed("EOF")
        self.settle()

    def connection_lost(self, error: Exception | None) -> None:
        """Tell the machine, whose jobs then have their results."""
        self.machine.peer_closed(str(error) if error else "EOF")
        if self._timer is not None:
            self._timer.cancel()
        if not self.lost.done():
            self.lost.set_result(None)
        self.settle()

    def pause_writing(self) -> None:
        """Stop reading content: the socket is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """Go on with the content."""
        self._paused = False
        self.pump()

    async def open(self, tls: TlsSettings) -> None:
        """Wait until the peer has greeted, with TLS if wanted. Called by `connect`; raises `ClientFailure`."""
        if self.tls is None and self.handshake is not None:
            self._secured(self.handshake)
        await self._opened()
        if self.machine.state is State.HANDSHAKE:
            await self._start_tls(tls)
            await self._opened()
        if self.handshake is not None:
            self._keep_session(self.handshake)

    async def _opened(self) -> None:
        while self.machine.state not in (State.READY, State.HANDSHAKE, State.CLOSED):
            self._waiter = self._loop.create_future()
            await self._waiter
        if self.machine.state is State.CLOSED:
            raise self.machine.error or PeerClosed("the connection was closed", Stage.GREETING)

    async def _start_tls(self, tls: TlsSettings) -> None:
        assert self.transport is not None
        self.handshake = handshake = Handshake(tls, self._target)
        try:
            transport = await self._loop.start_tls(
                self.transport,
                self,
                handshake.context,
                server_hostname=handshake.name or None,
                ssl_handshake_timeout=self._limits[Stage.TLS],
            )
        except (OSError, EOFError) as problem:
            raise handshake_failure(problem) from problem
        if transport is None:
            raise TlsError("the peer closed the connection during the handshake", Stage.TLS, passing=True)
        self.transport = transport
        self._secured(handshake)
        self.machine.tls_done()
        self.pump()

    def _secured(self, handshake: Handshake) -> None:
        assert self.transport is not None
        session = self.transport.get_extra_info("ssl_object")
        self.chain = handshake.finish(session)
        own = self.chain[0] if self.chain else None
        self.tls = TlsInfo(session.version() or "", (session.cipher() or ("",))[0], own)

    def _keep_session(self, handshake: Handshake) -> None:
        session = self.transport.get_extra_info("ssl_object") if self.transport is not None else None
        if session is not None:
            handshake.keep(session, self.chain)

    def pump(self) -> None:
        """Write what there is to write, as far as the socket takes it."""
        transport = self.transport
        if transport is not None:
            take = self.machine.take
            while not self._paused and (out := take()):
                transport.writelines(out)
        self.settle()

    def settle(self) -> None:
        """Move the deadline on, wake who waits for the opening, hang up when all is said."""
        machine = self.machine
        if machine.turns != self._turns:
            # Octets that complete nothing put nothing off.
            self._turns = machine.turns
            self._last = now = self._loop.time()
            self._deadline = now + self._limits[machine.stage]
        if machine.state is State.CLOSED and self.transport is not None and not self.transport.is_closing():
            if machine.error is None:
                self.transport.close()
            else:
                self.transport.abort()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _look_at_clock(self) -> None:
        if self._loop.time() >= self._deadline:
            stage = self.machine.stage
            self.machine.fail(TimedOut(f"timeout: nothing for {self._limits[stage]:g} seconds", stage))
            self.settle()
        else:
            self._timer = self._loop.call_later(self._tick_s, self._look_at_clock)


async def dial(
    wire: Wire, target: Target, settings: ConnectionSettings, tls: TlsSettings, sock: socket.socket | None = None
) -> None:
    """Open the socket, or take one that is open, with TLS at once if implicit. Raises `ConnectError` or `TlsError`."""
    limit_s = settings.timeouts.connect_s + (settings.timeouts.tls_s if tls.implicit else 0)
    source = (settings.source_address, 0) if settings.source_address else None
    if tls.implicit:
        wire.handshake = Handshake(tls, target)
    context = wire.handshake.context if wire.handshake is not None else None
    name = wire.handshake.name if wire.handshake is not None else None
    create = functools.partial(asyncio.get_running_loop().create_connection, lambda: wire)
    if sock is None:
        connecting = create(target.address, target.port, ssl=context, server_hostname=name, local_addr=source)
    else:
        connecting = create(sock=sock, ssl=context, server_hostname=name)
    try:
        async with asyncio.timeout(limit_s):
            await connecting
    except TimeoutError as problem:
        raise ConnectError(f"timeout: no connection within {limit_s:g} seconds", Stage.CONNECT) from problem
    except ssl.SSLError as problem:
        raise handshake_failure(problem) from problem
    except OSError as problem:
        raise ConnectError(_os_reason(problem), Stage.CONNECT) from problem


def _readable(transport: asyncio.Transport) -> bool:
    """Tell whether something has come that the loop has not read yet: on an idle connection only its end can."""
    number = transport.get_extra_info("socket").fileno()
    poll = select.poll()
    poll.register(number, select.POLLIN | select.POLLRDHUP)
    return bool(poll.poll(0))


def _os_reason(problem: OSError) -> str:
    if problem.errno is None:
        return str(problem)
    return f"[Errno {problem.errno}] {os.strerror(problem.errno)}"
