"""One SMTP connection: the transport's callbacks on one side, the server machine on the other.

Made by the listener for every accepted socket. Replies of one read event go out in one write. Reading pauses while
the peer does not take its replies, while the session owes an answer and much input waits, and while the content
sink lags behind. No task and no timer belong to a command; a handshake has a task, and a reply that must wait
because the peer has made many errors has a timer.
Knows nothing of policy. Logs nothing: what happened is told to the session and to `core/smtp/admission.py`.
"""

import asyncio
import socket
import struct
from typing import Any, Final, cast

from core.runtime import spawn
from core.smtp.admission import Admission
from core.smtp.deadline import Deadline
from core.smtp.door import named
from protocol.reply import Reply
from protocol.smtp.conversation import Peer, TlsInfo
from protocol.smtp.server import ServerMachine
from protocol.smtp.states import State
from protocol.smtp.xclient import introduced

HELD_LIMIT: Final = 64 * 1024
"""Input kept unread while an answer is owed, before reading pauses."""
_NEVER: Final = float("inf")


class Connection(asyncio.Protocol):
    """The protocol object of one connection."""

    __slots__ = (
        "_admission",
        "_blocked",
        "_early",
        "_ending",
        "_half_closed",
        "_host",
        "_listed",
        "_slowed",
        "_stall",
        "_transport",
        "_write_paused",
        "deadline",
        "machine",
        "peer",
        "reading",
        "wait_s",
    )

    _transport: asyncio.Transport
    deadline: Deadline
    machine: ServerMachine
    peer: Peer

    def __init__(self, admission: Admission, entered: Peer | None = None) -> None:
        """Take the peer that has come through the door, for a port that has seen to that already."""
        self._admission = admission
        self._host = ""
        """Address of the peer while this connection is counted, else empty."""
        if entered is not None:
            self.peer = entered
        self._early = b""
        """What followed XCLIENT, kept until the greeting is said again."""
        self.wait_s = 0.0
        """How long after it was first seen the sweep shall greet this connection."""
        self.reading = True
        """Whether the peer's octets are being read."""
        self._stall: asyncio.TimerHandle | None = None
        """Runs while a reply has to wait."""
        self._slowed = False
        self._blocked = self._write_paused = self._half_closed = self._ending = False

    # Callbacks of the transport.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection in, or turn it away with 421 before anything is built for it."""
        transport = cast(asyncio.Transport, transport)  # the loop's own class, which does not derive from it
        self._transport = transport
        address = transport.get_extra_info("peername")
        if not address:
            transport.abort()  # gone before it was accepted
            return
        entered: Peer | None = getattr(self, "peer", None)
        if entered is None:
            local = transport.get_extra_info("sockname")
            self.peer = Peer(address[0], address[1], local[0], local[1])
        self.deadline = Deadline()
        self._listed = self._admission.door.introduces(self.peer.host)
        if not self._begin():
            transport.close()
        elif entered is not None:
            self._enter()
        else:
            self._approach()

    def _begin(self) -> bool:
        """Count the connection and make its machine; else say why not."""
        admission, host = self._admission, self.peer.host
        refusal = admission.admit(self, host)
        if refusal is not None:
            self._transport.write(refusal)
            return False
        try:
            self.machine = admission.make_machine(self.pump, listed=self._listed)
        except Exception as error:  # the session boundary: no session, no conversation
            admission.forget(self, host)
            self._transport.write(Reply(421, "4.3.0", admission.incident(error).lines[0]).encode())
            return False
        self._host = host
        return True

    def _approach(self) -> None:
        """Come to the door; where the peer's name is needed and not known, it is waited for."""
        names = self._admission.door.names
        if names is None or self.peer.name:
            self._enter_unless_refused()
            return
        found = names.known(self.peer.host)
        if found is not None:
            self.peer = named(self.peer, found)
            self._enter_unless_refused()
        else:
            self.wait_s = _NEVER
            spawn(self._find_name(), "reverse DNS")

    async def _find_name(self) -> None:
        names, asked = self._admission.door.names, self.peer
        assert names is not None
        found = await names.find(asked.host)
        if self._host and self.machine.state is State.NEW:
            self.peer = named(asked, found)
            self._enter_unless_refused()

    def _enter_unless_refused(self) -> None:
        refuses = self._admission.door.refuses
        if refuses is None or not refuses(self.peer):
            self._enter()
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            reset(sock)
        self._transport.abort()

    def _enter(self) -> None:
        """Greet, or have the sweep greet when the time has come."""
        brake = self._admission.door.brake
        wait_s = self._admission.settings.timeouts.greet_delay_s + (brake.delay_s if brake is not None else 0.0)
        if wait_s:
            self.wait_s = wait_s
        else:
            self.greet()

    def data_received(self, data: bytes) -> None:
        """Feed the machine and send what it says."""
        if self.wait_s and self._host and not self._admission.door.reject_early_talk:
            self._early += data
            self._set_reading(False)  # not earlier: the loop begins to read only after `connection_made`
        elif self._host:
            self.machine.receive(data)
            self.pump()

    def eof_received(self) -> bool:
        """Keep the way back open while an answer is owed: some clients close their side behind the content."""
        if self._host and not self._ending and self.machine.waiting and not self.machine.secure:
            self._half_closed = True
        return self._half_closed

    def pause_writing(self) -> None:
        """Stop reading commands: the peer does not read its replies."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Go on: the peer has caught up."""
        self._write_paused = False
        self.proceed()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the machine, hence the session, and the listener."""
        self._gone("connection lost" if exc is not None else "closed by the peer")

    # Between transport and machine.

    def pump(self) -> None:
        """Send what the machine has said, then do what its state asks for."""
        machine = self.machine
        out = machine.take()
        if out:
            self._transport.write(out)
            self._blocked = len(out) >= self._admission.settings.server.output_limit
        elif machine.stalled_s and self._stall is None:
            self._hold_back(machine.stalled_s)
        if machine.state >= State.DATA or machine.held or not self.reading or self._write_paused or self._half_closed:
            self._attend(machine)

    def greet(self) -> None:
        """Send the greeting; the handshake of implicit TLS is over by now."""
        secure = self._transport.get_extra_info("ssl_object") is not None
        self.wait_s = 0.0
        self._set_reading(True)
        self.machine.connect(self.peer, _tls_info(self._transport) if secure else None)
        early, self._early = self._early, b""
        if early:
            self.machine.receive(early)
        self.pump()

    def proceed(self) -> None:
        """Go on with input that was held back, and read again if all is clear."""
        if self._host and not self._write_paused and self.machine.state is not State.HANDSHAKE:
            self._blocked = False
            self.machine.run()
            self.pump()

    def end(self, reply: Reply) -> None:
        """End the conversation with a reply; at once when it has ended before or no reply can be read."""
        if self.machine.closed or self.machine.state is State.HANDSHAKE:
            self._transport.abort()
        else:
            self.machine.refuse(reply)
            self.pump()

    def _hold_back(self, delay_s: float) -> None:
        """Let replies wait: the peer makes too many errors."""
        if not self._slowed:
            self._slowed = True
            self._admission.note_slowed(self._host)
        self._stall = self._admission.loop.call_later(delay_s, self._let_go)

    def _let_go(self) -> None:
        self._stall = None
        self.machine.stalled_s = 0.0
        self.pump()
        self.proceed()

    def _attend(self, machine: ServerMachine) -> None:
        if machine.state is State.CLOSED:
            self._finish()
        elif machine.state is State.HANDSHAKE:
            self._start_tls()
        elif self._half_closed and not machine.waiting and not self._blocked:
            self._transport.close()
        else:
            self._regulate(machine)

    def _regulate(self, machine: ServerMachine) -> None:
        blocked = self._write_paused
        if self._blocked and not blocked:
            self._admission.loop.call_soon(self.proceed)  # others get their turn in between
            blocked = True
        flooded = machine.held > HELD_LIMIT and machine.waiting
        self._set_reading(not (blocked or flooded or self._congested(machine.sink)))

    def _congested(self, sink: Any) -> bool:
        if sink is None or not getattr(sink, "congested", False):
            return False
        sink.on_drained = self.proceed
        return True

    def _set_reading(self, wanted: bool) -> None:
        if wanted != self.reading and not self._transport.is_closing():
            self.reading = wanted
            if wanted:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

    def _finish(self) -> None:
        """Close once the last reply is sent; to close with input unread would destroy that reply on its way."""
        transport = self._transport
        if self._ending or transport.is_closing():
            return
        if self.machine.introduction is not None:
            self._begin_again()
            return
        self._ending = True
        fault = self.machine.fault
        self._admission.note_end(self._host, fault)
        if fault == "QUIT" or self._half_closed or not transport.can_write_eof():
            transport.close()
        else:
            self._set_reading(True)
            transport.write_eof()

    def _begin_again(self) -> None:
        """Start over as the client that a listed peer speaks for (XCLIENT)."""
        said = self.machine.introduction
        assert said is not None
        self._gone("XCLIENT")
        self.peer, self._early = introduced(self.peer, said.attributes), said.rest
        if self._begin():
            self._approach()
        else:
            self._transport.close()

    # TLS.

    def _start_tls(self) -> None:
        if self.reading:
            self._set_reading(False)
            spawn(self._handshake(), "TLS handshake")

    async def _handshake(self) -> None:
        """Put TLS between; whatever fails ends the connection (RFC 3207 4.1)."""
        admission, plain = self._admission, self._transport
        try:
            transport = await admission.loop.start_tls(
                plain,
                self,
                admission.tls_context(),
                server_side=True,
                ssl_handshake_timeout=admission.settings.timeouts.handshake_s,
            )
        except OSError as error:
            plain.abort()
            self._gone(f"TLS handshake failed: {getattr(error, 'reason', None) or error}")
            return
        if transport is None or not self._host:
            plain.abort()
            self._gone("TLS handshake failed: the peer left")
            return
        self._transport = transport
        self.reading = True
        self.machine.secured(_tls_info(transport))
        self.pump()

    def _gone(self, reason: str) -> None:
        host, self._host = self._host, ""
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
        if host:
            self._admission.forget(self, host)
            self.machine.disconnect(reason)


def _tls_info(transport: asyncio.BaseTransport) -> TlsInfo:
    tls = transport.get_extra_info("ssl_object")
    cipher = tls.cipher()
    return TlsInfo(tls.version() or "", cipher[0] if cipher else "", tls.getpeercert(binary_form=True))


def reset(sock: Any) -> None:
    """Have a socket answer its close with a reset, as a port does that nobody listens on."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
