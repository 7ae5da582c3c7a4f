"""A terminated session: the engineer's channel on one side, the appliance's console on the other, recorded.

Made by `engineer_side.py` for each session channel. `Down` is what asyncssh sees of the engineer, `Up` of
the appliance; between them go octets, sizes, signals, ends of input and the exit status, and each request leaves
a marker in the recording. Input that arrives before the appliance is reached waits.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from core.diagnostic import incident
from core.errors import EX_UNAVAILABLE
from core.runtime import spawn
from tunnel.recording.cast import Recording

PASSED_ENVIRONMENT = ("LANG", "LC_")
DEFAULT_SIZE = (80, 24)
NOT_REACHED = EX_UNAVAILABLE


@dataclass(slots=True)
class Request:
    """What the engineer asked for before the session starts."""

    term_type: str | None = None
    term_size: tuple[int, int, int, int] = (0, 0, 0, 0)
    term_modes: dict[int, int] = field(default_factory=dict)
    command: str | None = None


Reach = Callable[[], Awaitable[asyncssh.SSHClientConnection]]
"""Logs in to the appliance's console for this engineer; raises GatepostError with a line to show."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What one relayed session needs of its surroundings."""

    reach: Reach
    record: Callable[[Request, "Down"], Recording | None]
    """Opens the recording; None where it fails and the policy is best-effort; OSError where it is strict."""
    started: Callable[[Request], None]
    ended: Callable[[int], None]
    """Told the exit status when the channel is gone; 255 for a session that ended without one."""
    refused: Callable[[str], None]
    """Told what was asked for in vain."""


class Down(asyncssh.SSHServerSession[bytes]):
    """The engineer's side."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._request = Request()
        self._up: Up | None = None
        self._early: list[bytes] = []
        self._eof = False
        self._status = 255
        self._gone = False
        self.recording: Recording | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self.chan = chan

    def connection_lost(self, exc: Exception | None) -> None:
        if self._gone:
            return
        self._gone = True
        if self._up is not None:
            self._up.leave()
        if self.recording is not None:
            self.recording.finish(status=self._status, why=str(exc) if exc else "")
        self._terms.ended(self._status)

    def pty_requested(
        self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Mapping[int, int]
    ) -> bool:
        self._request.term_type, self._request.term_size = term_type, term_size
        self._request.term_modes = dict(term_modes)
        return True

    def shell_requested(self) -> bool:
        return self._start()

    def exec_requested(self, command: str) -> bool:
        self._request.command = command
        return self._start()

    def subsystem_requested(self, subsystem: str) -> bool:
        self._terms.refused(f"may not use the subsystem {subsystem[:64]!r}")
        return False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._up is None:
            self._early.append(data)
        else:
            self._up.chan.write(data)

    def eof_received(self) -> bool:
        self._eof = True
        self._mark("eof")
        if self._up is not None:
            self._up.chan.write_eof()
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._request.term_size = (width, height, pixwidth, pixheight)
        if self.recording is not None:
            self.recording.resize(width, height)
        if self._up is not None:
            self._up.chan.change_terminal_size(width, height, pixwidth, pixheight)

    def signal_received(self, signal: str) -> None:
        self._mark("signal", signal=signal)
        if self._up is not None:
            self._up.chan.send_signal(signal)

    def break_received(self, msec: int) -> bool:
        self._mark("break", msec=msec)
        if self._up is not None:
            self._up.chan.send_break(msec)
        return True

    def pause_writing(self) -> None:
        if self._up is not None:
            self._up.chan.pause_reading()

    def resume_writing(self) -> None:
        if self._up is not None:
            self._up.chan.resume_reading()

    def end(self, status: int, text: str = "") -> None:
        """End the session towards the engineer, with a line on standard error where there is one to say."""
        if self._gone or self.chan.is_closing():
            return
        self._status = status
        if text:
            self.chan.write_stderr(f"{text}\r\n".encode())
        self.chan.exit(status)

    def end_by_signal(self, signal: str, core_dumped: bool, text: str) -> None:
        """End the session as the appliance's program ended: by a signal."""
        if not self._gone and not self.chan.is_closing():
            self.chan.exit_with_signal(signal, core_dumped, text)

    def _start(self) -> bool:
        try:
            self.recording = self._terms.record(self._request, self)
            self._terms.started(self._request)
        except OSError as error:
            incident("a session was refused, it cannot be recorded", error)
            return False
        spawn(self._join(), "relayed session")
        return True

    async def _join(self) -> None:
        try:
            connection = await self._terms.reach()
        except Exception as error:  # whatever stands in the way, the engineer gets one line
            text = getattr(error, "text", "") or f"incident {incident('relay', error)}"
            self._mark("not-reached", why=text)
            self.end(NOT_REACHED, text)
            return
        try:
            await self._open(connection)
        except (OSError, asyncssh.Error) as error:
            self._mark("not-opened", why=str(error))
            self.end(NOT_REACHED, "the appliance refused the session")
            connection.abort()

    async def _open(self, connection: asyncssh.SSHClientConnection) -> None:
        if self._gone:
            connection.abort()
            return
        request = self._request
        options: dict[str, Any] = {"request_pty": False}
        if request.term_type is not None:
            options = {
                "request_pty": "force",
                "term_type": request.term_type,
                "term_size": request.term_size,
                "term_modes": request.term_modes,
            }
        await connection.create_session(
            lambda: Up(self, connection), request.command, env=self._environment(), encoding=None, **options
        )

    def joined(self, up: "Up") -> None:
        """Take the appliance's side into use and hand over what has waited."""
        if self._gone:
            up.leave()
            return
        self._up = up
        for data in self._early:
            up.chan.write(data)
        self._early.clear()
        if self._eof:
            up.chan.write_eof()

    def _environment(self) -> Mapping[bytes | str, bytes | str]:
        passed: dict[bytes | str, bytes | str] = {}
        for name, value in self.chan.get_environment().items():
            if name.startswith(PASSED_ENVIRONMENT):
                passed[name] = value
                self._mark("environment", name=name, value=value)
        return passed

    def _mark(self, kind: str, **facts: Any) -> None:
        if self.recording is not None:
            self.recording.marker(kind, **facts)


class Up(asyncssh.SSHClientSession[bytes]):
    """The appliance's side. Its connection serves this one session and ends with it."""

    chan: asyncssh.SSHClientChannel[bytes]

    def __init__(self, down: Down, connection: asyncssh.SSHClientConnection) -> None:
        self._down = down
        self._connection = connection
        self._end: Callable[[], None] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self.chan = chan

    def session_started(self) -> None:
        self._down.joined(self)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._down.recording is not None:
            self._down.recording.output(data)
        if not self._down.chan.is_closing():
            self._down.chan.write(data, datatype)

    def eof_received(self) -> bool:
        if not self._down.chan.is_closing():
            self._down.chan.write_eof()
        return True

    def pause_writing(self) -> None:
        self._down.chan.pause_reading()

    def resume_writing(self) -> None:
        self._down.chan.resume_reading()

    def exit_status_received(self, status: int) -> None:
        # It overtakes output that is still held back: the session ends when the channel does.
        self._end = lambda: self._down.end(status)

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:
        self._end = lambda: self._down.end_by_signal(signal, core_dumped, msg)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._end is not None:
            self._end()
        else:
            self._down.end(255, "the connection to the appliance was lost" if exc else "")
        self._connection.abort()

    def leave(self) -> None:
        """The engineer has gone: hang up."""
        self.chan.close()
        self._connection.close()
