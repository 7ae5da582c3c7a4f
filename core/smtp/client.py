"""Connections to other mail hosts. Couriers call `connect`, then `send`, `submit` or `command`, then `close`.

`connect` raises a `protocol.smtp.failure.ClientFailure`; `send` and `submit` never do, their result carries it.
Nothing is logged here; which destination to call, and when, is not known here.
"""

import asyncio
import functools
import socket
from collections.abc import Callable
from typing import TypeVar

from core.log.debug import Recording
from core.smtp.client_settings import NO_TLS, ConnectionSettings, TlsSettings
from core.smtp.client_wire import Wire, dial
from core.smtp.target import Target
from core.smtp.watched import WatchedClient
from protocol.reply import Reply
from protocol.smtp.client import ClientMachine
from protocol.smtp.client_settings import TlsUse
from protocol.smtp.conversation import TlsInfo
from protocol.smtp.failure import ClientFailure, LocalError, TlsError
from protocol.smtp.transaction import Transaction, TransactionResult

_Answer = TypeVar("_Answer")


class ClientConnection:
    """An open connection. Messages on it go one after the other, in the order of `submit` and `send`."""

    def __init__(self, target: Target, wire: Wire) -> None:
        self.target = target
        self.tls_error: TlsError | None = None
        """Why the connection is in the clear although TLS was tried."""
        self.transactions = 0
        """Messages given to this connection so far: a PeerClosed of a later one at MAIL is an ordinary idle close."""
        self._wire = wire
        self._machine = wire.machine
        self._loop = asyncio.get_running_loop()

    @property
    def tls(self) -> TlsInfo | None:
        """The TLS in use, None in the clear."""
        return self._wire.tls

    @property
    def chain(self) -> tuple[bytes, ...]:
        """The certificates that the peer showed, in DER form, its own first; empty in the clear."""
        return self._wire.chain

    @property
    def offers(self) -> dict[str, str]:
        """The extensions that the peer offers, keyword in upper case to parameters."""
        return self._machine.offers

    @property
    def local_address(self) -> str:
        """The address that this side has, '' if the connection is gone."""
        transport = self._wire.transport
        name = transport.get_extra_info("sockname") if transport is not None else None
        return str(name[0]) if name else ""

    @property
    def usable(self) -> bool:
        """Tell whether another message can be sent now. Notices a peer that closed while nobody looked."""
        return self._wire.idle_and_open()

    @property
    def moved_at_s(self) -> float:
        """Loop time of the last reply or the last octets sent: what a watchdog has to know."""
        return self._wire.moved_at_s

    def when_lost(self, call: Callable[[], None]) -> None:
        """Have `call` made once the socket is closed, by whomever."""
        self._wire.lost.add_done_callback(lambda _lost: call())

    def submit(self, transaction: Transaction) -> asyncio.Future[TransactionResult]:
        """Queue a message and give its result as a future that never fails.

        With a second one queued before the first is through, its envelope goes out behind the first's content.
        """
        future: asyncio.Future[TransactionResult] = self._loop.create_future()
        self.transactions += 1
        self._machine.submit(transaction, functools.partial(_resolve, future))
        self._wire.pump()
        return future

    async def send(self, transaction: Transaction) -> TransactionResult:
        """Send a message and wait for its result. Cancelling it ends the connection."""
        try:
            return await self.submit(transaction)
        except asyncio.CancelledError:
            self.abort()
            raise

    async def command(self, line: str, payload: bytes = b"") -> Reply:
        """Send a command outside a transaction, with a payload whose length the line tells; give the reply.

        Raises `ClientFailure` if the connection fails, `ValueError` if `line` is not one line of printable ASCII.
        """
        future: asyncio.Future[Reply | ClientFailure] = self._loop.create_future()
        self._machine.command(line, payload, functools.partial(_resolve, future))
        self._wire.pump()
        try:
            answer = await future
        except asyncio.CancelledError:
            self.abort()
            raise
        if isinstance(answer, ClientFailure):
            raise answer
        return answer

    def close(self) -> None:
        """Take leave with QUIT if the connection is idle, else cut it. Does not wait."""
        if self._machine.quit():
            self._wire.pump()
        else:
            self.abort()

    def abort(self) -> None:
        """Cut the connection now; messages in hand fail."""
        self._machine.fail(LocalError("the connection was given up", self._machine.stage))
        self._wire.settle()

    async def wait_closed(self) -> None:
        """Wait until the socket is closed; with `close` that takes `Timeouts.quit_s` at most."""
        await asyncio.shield(self._wire.lost)


async def connect(
    target: Target,
    settings: ConnectionSettings,
    tls: TlsSettings = NO_TLS,
    sock: socket.socket | None = None,
    *,
    recording: Recording | None = None,
) -> ClientConnection:
    """Connect, greet and, if wanted, start TLS; give a connection that is ready for messages.

    `sock`, if given, is already connected to the target; it is closed in any case. `recording` sees every octet.

    Where TLS was only offered and fails, connects once more in the clear (`tls_error` says why). Raises `ConnectError`,
    `TlsError`, `Refused`, `PeerClosed`, `TimedOut` or `ProtocolError`.
    """
    try:
        return await _connect(target, settings, tls, sock, recording=recording)
    except TlsError as problem:
        if tls.use is not TlsUse.OFFERED or tls.fingerprints:
            raise
        connection = await _connect(target, settings, NO_TLS, recording=recording)
        connection.tls_error = problem
        return connection


async def _connect(
    target: Target,
    settings: ConnectionSettings,
    tls: TlsSettings,
    sock: socket.socket | None = None,
    *,
    recording: Recording | None,
) -> ClientConnection:
    secured = tls.implicit and tls.use is not TlsUse.NEVER
    use = TlsUse.NEVER if secured else tls.use
    if recording is None:
        machine = ClientMachine(settings.client, tls=use, secured=secured)
    else:
        machine = WatchedClient(settings.client, recording, tls=use, secured=secured)
    wire = Wire(target, settings, machine)
    connection = ClientConnection(target, wire)
    try:
        await dial(wire, target, settings, tls if secured else NO_TLS, sock)
        await wire.open(tls)
    except BaseException:
        if wire.handshake is not None:
            wire.handshake.forget()
        connection.abort()
        raise
    return connection


def _resolve(future: asyncio.Future[_Answer], answer: _Answer) -> None:
    if not future.done():
        future.set_result(answer)
