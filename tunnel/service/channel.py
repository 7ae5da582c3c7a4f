"""One SSH session channel of a support engineer: what was asked for, the customer's yes, and then the session.

Made by the desk for each channel. Takes the requests of the client, decides what kind of session it is to be, and
hands the channel to it: the console, one console command, the login shell, file transfer, or a session of before
that is taken up again with `attach`. What is typed before that waits here.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

import asyncssh

from core.diagnostic import incident
from core.errors import EX_SOFTWARE, GatepostError
from core.runtime import spawn
from tunnel.identity import SESSION_ENDED
from tunnel.service.live import COMMAND, CONSOLE, FILES, SHELL, Plan
from tunnel.service.visitor import ServiceLogin

SFTP = "sftp"
ATTACH = "attach"
EARLY = 256 * 1024
"""Octets that wait for the session to begin; then the client is paused."""


class Host(Protocol):
    """What a channel needs of the desk."""

    async def admit(self, login: ServiceLogin, plan: Plan) -> None:
        """Return when the session may begin. Raises GatepostError with what to tell the engineer."""

    def begin(
        self,
        login: ServiceLogin,
        plan: Plan,
        chan: asyncssh.SSHServerChannel[bytes],
        asked: Mapping[str, str],
    ) -> asyncssh.SSHServerSession[bytes]:
        """Start the session behind the channel. Raises GatepostError."""

    def take_up(
        self, login: ServiceLogin, number: str, chan: asyncssh.SSHServerChannel[bytes], size: tuple[int, int]
    ) -> asyncssh.SSHServerSession[bytes]:
        """Put a session of before behind the channel. Raises GatepostError."""

    def dropped(self, front: asyncssh.SSHServerSession[bytes], chan: object) -> None:
        """The channel is gone."""

    def ended(self, front: asyncssh.SSHServerSession[bytes] | None) -> None:
        """The bastion has ended the session: it is not kept."""


class ServiceChannel(asyncssh.SSHServerSession[bytes]):
    """The channel's side of a session."""

    def __init__(self, host: Host, login: ServiceLogin) -> None:
        self._host = host
        self._login = login
        self._term: str | None = None
        self._size = (80, 24)
        self._command: str | None = None
        self._subsystem = ""
        self._front: asyncssh.SSHServerSession[bytes] | None = None
        self._early: list[tuple[bytes, asyncssh.DataType]] = []
        self._early_octets = 0
        self._eof = False
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._chan = chan

    def pty_requested(self, term_type: str | None, term_size: tuple[int, int, int, int], term_modes: Any) -> bool:
        self._term = term_type or "vt100"
        self._size = (term_size[0] or 80, term_size[1] or 24)
        return True

    def shell_requested(self) -> bool:
        return True

    def exec_requested(self, command: str) -> bool:
        self._command = command.strip()
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        self._subsystem = subsystem
        return subsystem == SFTP

    def session_started(self) -> None:
        self._task = spawn(self._begin(), f"support session of {self._login.key_id}")

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        if self._front is not None:
            self._front.data_received(data, datatype)
            return
        self._early.append((data, datatype))
        self._early_octets += len(data)
        if self._early_octets > EARLY:
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        self._eof = True
        if self._front is not None:
            return bool(self._front.eof_received())
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        self._size = (width, height)
        if self._front is not None:
            self._front.terminal_size_changed(width, height, pixwidth, pixheight)

    def signal_received(self, signal: str) -> None:
        if signal == SESSION_ENDED:
            self._host.ended(self._front)
        elif self._front is not None:
            self._front.signal_received(signal)

    def break_received(self, msec: int) -> bool:
        return self._front is not None and self._front.break_received(msec)

    def pause_writing(self) -> None:
        if self._front is not None:
            self._front.pause_writing()

    def resume_writing(self) -> None:
        if self._front is not None:
            self._front.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        front, self._front = self._front, None
        if front is not None:
            self._host.dropped(front, self._chan)

    async def _begin(self) -> None:
        try:
            plan = self._plan()
            await self._host.admit(self._login, plan)
            self._front = self._opened(plan)
            early, self._early = self._early, []
            for data, datatype in early:
                self._front.data_received(data, datatype)
            if self._eof:
                self._front.eof_received()
            if self._early_octets > EARLY:
                self._chan.resume_reading()
        except GatepostError as error:
            self._end(error.text, error.status)
        except Exception as error:  # one session never takes its siblings down
            number = incident(f"support session of {self._login.key_id}", error)
            self._end(f"internal error, incident {number}", EX_SOFTWARE)

    def _plan(self) -> Plan:
        command = self._command
        if self._subsystem == SFTP or (command or "").startswith("scp "):
            return Plan(FILES, command or SFTP)
        if command == SHELL:
            return Plan(SHELL, "", self._term, self._size)
        if command and command.split()[0] == ATTACH:
            return Plan(ATTACH, command.removeprefix(ATTACH).strip(), self._term, self._size)
        return Plan(CONSOLE if command is None else COMMAND, command or "", self._term, self._size)

    def _opened(self, plan: Plan) -> asyncssh.SSHServerSession[bytes]:
        if plan.kind == ATTACH:
            return self._host.take_up(self._login, plan.what, self._chan, self._size)
        asked = {_text(name): _text(value) for name, value in self._chan.get_environment_bytes().items()}
        return self._host.begin(self._login, plan, self._chan, asked)

    def _end(self, text: str, status: int) -> None:
        if not self._chan.is_closing():
            end = "\r\n" if self._term is not None else "\n"
            self._chan.write_stderr((text + end).encode("utf-8", "replace"))
            self._chan.exit(status)


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace")
