"""One support session that lives on the appliance, whatever becomes of the channel it is shown on.

To what runs in it (the console, a shell) it is the channel; to the channel it is the session. In between it feeds
the customer's recording, keeps the screen, and lets an engineer whose link broke come back to it. The owner is
`desk.py`; loop thread only. What it calls inside is guarded: a fault ends this session, not the connection.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncssh

from core import clock
from core.diagnostic import incident
from core.errors import EX_TEMPFAIL
from core.ssh import unsent
from tunnel.recording.recording import Recording
from tunnel.recording.screen import Screen
from tunnel.service.visitor import ServiceLogin

KEPT = 256 * 1024
"""Octets of output that are kept for one who comes back."""
CONSOLE, COMMAND, SHELL, FILES, HOP = "console", "command", "shell", "files", "hop"


@dataclass(frozen=True, slots=True)
class Plan:
    """What a session is to be."""

    kind: str
    what: str
    """The command, or '' for an interactive one."""
    term: str | None = None
    """None without a terminal."""
    size: tuple[int, int] = (80, 24)

    @property
    def announced(self) -> bool:
        """Whether administrators are told at once: somebody is in, and not only for one command."""
        return self.kind in (CONSOLE, SHELL)

    @property
    def survives(self) -> bool:
        """Whether it goes on when its channel drops: somebody has a screen there to come back to."""
        return self.term is not None and self.announced


class Live(asyncssh.SSHServerSession[bytes]):
    """The session. `ended` is called once, when it is over."""

    def __init__(
        self, number: str, login: ServiceLogin, plan: Plan, recording: Recording, ended: Callable[["Live"], None]
    ) -> None:
        self.number = number
        self.login = login
        self.plan = plan
        self.recording = recording
        self.since_at = clock.now()
        self.detached_at = 0.0
        self._left = 0.0
        self.how = ""
        """How it ended; '' while it lives."""
        self._size = plan.size
        self._screen = Screen(*plan.size, kept=KEPT)
        self._inner: asyncssh.SSHServerSession[bytes] | None = None
        self._guest: asyncssh.SSHServerSession[bytes] | None = None
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._ended = ended
        self._close: Callable[[], None] = lambda: None
        self._begun = self._heard = clock.monotonic()
        self.greeting = b""
        """Shown before anything else."""

    def start(self, inner: asyncssh.SSHServerSession[bytes], chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Begin: put `inner` behind the channel."""
        self._inner, self._chan = inner, chan
        if self.greeting:
            self.write(self.greeting)
        inner.connection_made(self)  # type: ignore[arg-type]
        if self.plan.term is not None:
            inner.pty_requested(self.plan.term, (*self._size, 0, 0), {})
        if self.plan.kind == COMMAND:
            inner.exec_requested(self.plan.what)
        else:
            inner.shell_requested()
        inner.session_started()

    def start_plain(self, inner: asyncssh.SSHServerSession[bytes], chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Begin a session that speaks to its channel itself: file transfer, of which the names are recorded."""
        self._inner, self._chan = inner, chan
        inner.connection_made(chan)
        inner.session_started()

    def carry(self, close: Callable[[], None]) -> None:
        """Be the entry of something that is only carried; `close` ends it."""
        self._close = close
        if self.how:
            close()

    @property
    def idle_s(self) -> float:
        """Seconds since anything came from the engineer."""
        return round(clock.monotonic() - self._heard, 1)

    @property
    def away_s(self) -> float:
        """Seconds since its channel dropped; 0 while there is one."""
        return clock.monotonic() - self._left if self.detached_at else 0.0

    def stale(self, idle_s: float, longest_s: float) -> bool:
        """Tell whether nothing came for so long, or it lasts so long already."""
        now = clock.monotonic()
        return now - self._heard > idle_s or now - self._begun > longest_s

    def attach(self, chan: asyncssh.SSHServerChannel[bytes], login: ServiceLogin, size: tuple[int, int]) -> None:
        """Go on on another channel: show the screen as it is; the channel before is closed."""
        before, self._chan = self._chan, chan
        self.detached_at = 0.0
        self.recording.marker("attached", key_id=login.key_id, source=login.source)
        if before is not None:
            with suppress(OSError):
                before.write(b"\r\nThis session goes on elsewhere.\r\n")
                before.exit(EX_TEMPFAIL)
        self._show(self._screen.restore())
        # Full-screen programs draw anew when the size changes, so it changes.
        self.terminal_size_changed(max(1, size[0] - 1), size[1], 0, 0)
        self.terminal_size_changed(*size, 0, 0)

    def detach(self, chan: object) -> bool:
        """The channel is gone; True if the session goes on without."""
        if self._chan is not chan or self.how:
            return False
        self._chan = None
        if not self.plan.survives:
            self.kill("the connection ended")
            return False
        self.detached_at, self._left = clock.now(), clock.monotonic()
        self.recording.marker("detached")
        self.resume_writing()
        return True

    def kill(self, why: str) -> None:
        """End it now, with what it started."""
        if self.how:
            return
        self.recording.marker("killed", why=why)
        chan = self._chan
        if chan is not None and not chan.is_closing():
            with suppress(OSError):
                text = f"\r\n{why}\r\n".encode()
                chan.write(text) if self.plan.term is not None else chan.write_stderr(text)
        self._finish(why, EX_TEMPFAIL)

    async def lend(self, guest: asyncssh.SSHServerSession[bytes]) -> int:
        """Let another session have the screen and the keys until it ends; gives its exit status."""
        outlet = _Loan(self)
        self._guest = guest
        try:
            guest.connection_made(outlet)  # type: ignore[arg-type]
            guest.pty_requested(self.plan.term or "", (*self._size, 0, 0), {})
            guest.session_started()
            return await outlet.status
        finally:
            self._guest = None
            guest.connection_lost(None)

    def facts(self) -> dict[str, Any]:
        """Say who this is, for `techsupport status`."""
        return {
            "id": self.number,
            **self.login.facts(),
            "since": self.since_at,
            "kind": self.plan.kind,
            "what": self.plan.what,
            "detached_since": self.detached_at or None,
        }

    # --- what the channel tells ------------------------------------------------------------------------------

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self._heard = clock.monotonic()
        self.recording.input(data, getattr(self._guest or self._inner, "echoes", None))
        self._into(lambda front: front.data_received(data, datatype))

    def eof_received(self) -> bool:
        self._into(lambda front: front.eof_received())
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._size = (width, height)
        self._screen.resize(width, height)
        self.recording.resize(width, height)
        self._into(lambda front: front.terminal_size_changed(width, height, pixwidth, pixheight))
        if self._guest is not None and self._inner is not None:
            self._inner.terminal_size_changed(width, height, pixwidth, pixheight)

    def signal_received(self, signal: str) -> None:
        self.recording.marker("signal", name=signal)
        self._into(lambda front: front.signal_received(signal))

    def break_received(self, msec: int) -> bool:
        self.recording.marker("break")
        self._into(lambda front: front.break_received(msec))
        return True

    def pause_writing(self) -> None:
        self._into(lambda front: front.pause_writing())

    def resume_writing(self) -> None:
        self._into(lambda front: front.resume_writing())

    def _into(self, tell: Callable[[asyncssh.SSHServerSession[bytes]], object]) -> None:
        front = self._guest or self._inner
        if front is None or self.how:
            return
        try:
            tell(front)
        except Exception as error:  # out of here it would close every session of the connection
            number = incident(f"support session {self.number}", error)
            self.kill(f"internal error, incident {number}")

    # --- what runs in it uses as its channel -----------------------------------------------------------------

    def write(self, data: bytes, datatype: int | None = None) -> None:
        """Show output: on the channel, if there is one, on the kept screen, in the recording."""
        if self.how:
            return
        self.recording.output(data, datatype)
        self._screen.output(data)
        self._show(data, datatype)

    def write_stderr(self, data: bytes) -> None:
        """Show what goes to standard error."""
        self.write(data, asyncssh.EXTENDED_DATA_STDERR)

    def exit(self, status: int) -> None:
        """End with a status."""
        self._finish("ended", status)

    def exit_with_signal(self, signal: str, core_dumped: bool = False, msg: str = "", lang: str = "en-US") -> None:
        """End as a program that a signal has ended."""
        if self._chan is not None and not self._chan.is_closing():
            self._chan.exit_with_signal(signal, core_dumped, msg, lang)
        self._finish("ended", 255)

    def is_closing(self) -> bool:
        """Whether nothing can be shown any more."""
        return bool(self.how)

    def pause_reading(self) -> None:
        """Take no more input for now."""
        if self._chan is not None:
            self._chan.pause_reading()

    def resume_reading(self) -> None:
        """Take input again."""
        if self._chan is not None:
            self._chan.resume_reading()

    def get_write_buffer_size(self) -> int:
        """Give how many octets wait for the engineer."""
        return unsent(self._chan) if self._chan is not None and not self._chan.is_closing() else 0

    def abort(self) -> None:
        """End it without waiting for whoever does not read."""
        self.kill("what was to be shown was not read")

    def _show(self, data: bytes, datatype: int | None = None) -> None:
        if self._chan is not None and not self._chan.is_closing():
            with suppress(OSError):
                self._chan.write(data, datatype)

    def _finish(self, how: str, status: int) -> None:
        if self.how:
            return
        self.how = how
        self.recording.finish(how=how, status=status)
        self._screen.end()
        chan, self._chan = self._chan, None
        if chan is not None and not chan.is_closing():
            with suppress(OSError):
                chan.exit(status)
        inner, self._inner = self._inner, None
        if inner is not None:
            try:
                inner.connection_lost(None)
            except Exception as error:  # the session is over either way
                incident(f"support session {self.number}", error)
        self._close()
        self._ended(self)


class _Loan:
    """What a guest uses as its channel."""

    def __init__(self, live: Live) -> None:
        self.status: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.write = live.write
        self.pause_reading = live.pause_reading
        self.resume_reading = live.resume_reading

    def exit(self, status: int) -> None:
        if not self.status.done():
            self.status.set_result(status)
