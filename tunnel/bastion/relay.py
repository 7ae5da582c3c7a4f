"""A terminated session: the engineer's channel on one side, the appliance's console on the other, recorded.

Made by `session.py` for each session channel. `Down` is what asyncssh sees of the engineer, `Up` (`upstream.py`) of
the appliance; between them go octets, sizes, signals, ends of input and the exit status: a shell, a command, SFTP and
SCP alike. Each request leaves a marker in the recording. Input that arrives before the appliance is reached waits,
within bounds. No exception leaves a callback: asyncssh would end all sessions of the connection for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import asyncssh

from core.diagnostic import incident
from core.errors import EX_NOPERM, EX_UNAVAILABLE, GatepostError
from core.runtime import spawn
from tunnel.bastion.entitlement import Denied
from tunnel.bastion.reach import Reached
from tunnel.bastion.upstream import Up, guarded
from tunnel.recording.recording import Recording
from tunnel.recording.tap import tap_for

PASSED_ENVIRONMENT = ("LANG", "LC_")
NOT_REACHED = EX_UNAVAILABLE
EARLY = 256 * 1024
"""Octets that wait for the appliance to be reached; then the engineer's channel is paused."""
OPEN_S = 30.0
"""How long an appliance that has let us in may take to open a session."""
FAREWELL_S = 5.0
"""How long an engineer whose session was cut may take to read why; then it is over without."""
_VARIABLES, _LONGEST = 32, 1024


def _not_noted(*_: Any, **_facts: Any) -> None:
    return


@dataclass(slots=True)
class Request:
    """What the engineer asked for before the session starts."""

    term_type: str | None = None
    term_size: tuple[int, int, int, int] = (0, 0, 0, 0)
    term_modes: dict[int, int] = field(default_factory=dict)
    command: str | None = None
    subsystem: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def transfers(self) -> bool:
        """Whether this is a transfer of files: SFTP, or SCP in its older form, which is a command."""
        return tap_for(self.command, self.subsystem, _not_noted) is not None


@dataclass(frozen=True, slots=True)
class Terms:
    """What one relayed session needs of its surroundings."""

    forbidden: Callable[[Request], str]
    """Says why a request is not allowed; '' if it is. Takes note of it."""
    begin: Callable[[Request, "Down"], None]
    """Takes note that a session wants to begin. Raises OSError if it cannot be noted."""
    reach: Callable[[Request, "Down"], Awaitable[Reached]]
    """Checks what may have changed, opens the recording, logs in to the appliance; GatepostError with a line."""
    ended: Callable[[int], None]
    """Told the exit status when the channel is gone; 255 for a session that ended without one."""


class Down(asyncssh.SSHServerSession[bytes]):
    """The engineer's side."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self.request = Request()
        self.recording: Recording | None = None
        self._up: Up | None = None
        self._early: list[bytes] = []
        self._early_size = 0
        self._eof = False
        self._status = 255
        self._reached: Reached | None = None
        self._gone = False
        self._over = False
        """Whether it was ended from here; the engineer's client may not have heard of it yet."""
        self._started = False
        self._why = ""
        self.left: Callable[[], object] | None = None
        """Called when the engineer leaves, by whoever waits for something until then."""

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.chan = chan

    @guarded
    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone:
            return
        self._gone = True
        if self.left is not None:
            self.left()
        self._hang_up()
        if self.recording is not None and exc is not None:
            self.recording.marker("gap", why="the engineer's connection was lost")
        self._finish(str(exc) if exc else "")
        self._terms.ended(self._status)

    @guarded
    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        self.request.term_type, self.request.term_size = term_type, term_size
        self.request.term_modes = dict(term_modes)
        return True

    @guarded
    def shell_requested(self) -> bool:
        return self._start()

    @guarded
    def exec_requested(self, command: str) -> bool:
        self.request.command = command
        return self._start()

    @guarded
    def subsystem_requested(self, subsystem: str) -> bool:
        self.request.subsystem = subsystem
        return self._start()

    @guarded
    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._up is not None:
            self._pass(data, self._up)
            return
        self._early.append(data)
        self._early_size += len(data)
        if self._early_size > EARLY:
            self.chan.pause_reading()

    @guarded
    def eof_received(self) -> bool:
        self._eof = True
        self.mark("eof")
        if self._up is not None:
            self._up.chan.write_eof()
        return True

    @guarded
    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self.request.term_size = (width, height, pixwidth, pixheight)
        if self.recording is not None:
            self.recording.resize(width, height, pixwidth, pixheight)
        if self._up is not None:
            self._up.chan.change_terminal_size(width, height, pixwidth, pixheight)

    @guarded
    def signal_received(self, signal: str) -> None:
        self.mark("signal", signal=signal)
        if self._up is not None:
            self._up.chan.send_signal(signal)

    @guarded
    def break_received(self, msec: int) -> bool:
        self.mark("break", msec=msec)
        if self._up is not None:
            self._up.chan.send_break(msec)
        return True

    @guarded
    def pause_writing(self) -> None:
        if self._up is not None:
            self._up.hold("engineer", True)

    @guarded
    def resume_writing(self) -> None:
        if self._up is not None:
            self._up.hold("engineer", False)

    def hold(self, on: bool) -> None:
        """Hold the appliance's output back while the recording's disk is slow."""
        if self._up is not None:
            self._up.hold("recording", on)

    def tell(self, text: str) -> None:
        """Say a line to the engineer, on standard error."""
        if not self._gone and not self.chan.is_closing():
            self.chan.write_stderr(f"{text}\r\n".encode())

    def end(self, status: int, text: str = "") -> None:
        """End the session towards the engineer, with a line on standard error where there is one to say."""
        if self._gone or self.chan.is_closing():
            return
        self._over = True
        self._status = status
        self._why = self._why or text
        if text:
            self.tell(text)
        self.chan.exit(status)

    def cut(self, why: str) -> None:
        """End the session at once, whether the engineer's client reads why, and closes its channel, or not."""
        self.end(255, why)
        self._hang_up()
        asyncio.get_running_loop().call_later(FAREWELL_S, self._lapse)

    def end_by_signal(self, signal: str, core_dumped: bool, text: str) -> None:
        """End the session as the appliance's program ended: by a signal."""
        if not self._gone and not self.chan.is_closing():
            self._over = True
            self.chan.exit_with_signal(signal, core_dumped, text)

    def crashed(self, number: str) -> None:
        """End the session after an error of our own."""
        self.end(255, f"internal error, incident {number}")

    def mark(self, kind: str, **facts: Any) -> None:
        """Leave a marker in the recording, where there is one."""
        if self.recording is not None:
            self.recording.marker(kind, **facts)

    def joined(self, up: Up) -> None:
        """Take the appliance's side into use and hand over what has waited."""
        self._up = up
        if self._gone or self._over:
            self._hang_up()
            return
        early, self._early = self._early, []
        for data in early:
            self._pass(data, up)
        if self._early_size > EARLY:
            self.chan.resume_reading()
        if self._eof:
            up.chan.write_eof()

    def _hang_up(self) -> None:
        """Let go of the appliance."""
        if self._up is not None:
            self._up.leave(ended=self._over)
        elif self._reached is not None:
            self._reached.abort()

    def _finish(self, why: str = "") -> None:
        if self.recording is not None:
            self.recording.finish(status=self._status, why=self._why or why)

    def _lapse(self) -> None:
        if not self._gone:
            self.chan.abort()
            self.connection_lost(None)

    def _pass(self, data: bytes, up: Up) -> None:
        if self.recording is not None:
            self.recording.input(data)
        if not up.chan.is_closing():
            up.chan.write(data)

    def _start(self) -> bool:
        if self._started:
            return False
        self._started = True
        environment = self.chan.get_environment()
        for name in sorted(environment)[:_VARIABLES]:
            self.request.environment[name] = environment[name][:_LONGEST]
        if why := self._terms.forbidden(self.request):
            if self.request.subsystem:
                return False
            # The answer to the request goes out first: a channel that ends before it would leave the client waiting.
            asyncio.get_running_loop().call_soon(self.end, EX_NOPERM, why)
            return True
        try:
            self._terms.begin(self.request, self)
        except OSError as error:
            incident("a session was refused, it cannot be logged", error)
            return False
        spawn(self._join(), "relayed session")
        return True

    async def _join(self) -> None:
        try:
            reached = await self._terms.reach(self.request, self)
        except Exception as error:  # whatever stands in the way, the engineer gets one line
            text = error.text if isinstance(error, GatepostError) else f"incident {incident('relay', error)}"
            self.mark("not-reached", why=text)
            self.end(EX_NOPERM if isinstance(error, Denied) else NOT_REACHED, text)
            return
        finally:
            if self._gone:  # it was only opened after the engineer had left
                self._finish()
        try:
            async with asyncio.timeout(OPEN_S):
                await self._open(reached)
        except Exception as error:  # the same
            self.mark("not-opened", why=str(error))
            self.end(NOT_REACHED, "the appliance refused the session")
            reached.abort()

    async def _open(self, reached: Reached) -> None:
        self._reached = reached
        if self._gone or self._over:
            self._hang_up()
            return
        request = self.request
        options: dict[str, Any] = {"request_pty": False}
        if request.term_type is not None:
            options = {
                "request_pty": "force",
                "term_type": request.term_type,
                "term_size": request.term_size,
                "term_modes": request.term_modes,
            }
        passed = {name: value for name, value in request.environment.items() if name.startswith(PASSED_ENVIRONMENT)}
        await reached.connection.create_session(
            lambda: Up(self, reached),
            request.command,
            subsystem=request.subsystem or None,
            env=cast(Mapping[bytes | str, bytes | str], passed),
            encoding=None,
            **options,
        )
