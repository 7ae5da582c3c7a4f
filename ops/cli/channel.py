"""One SSH channel of the console: a session on a terminal, a session on piped lines, or one command.

`ops/cli/server.py` makes one per channel of a logged-in connection. Everything is bytes; every callback that runs
our code is guarded, because an exception out of one would close the whole connection. A client that goes away
cancels its task. Exit statuses are those of sysexits.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncssh

from core.diagnostic import incident
from core.errors import EX_DATAERR, EX_NOPERM, EX_OK, EX_SOFTWARE, GatepostError
from core.runtime import spawn
from core.ssh import unsent
from ops.cli.account import Caller, Role
from ops.cli.display import clean, is_plain, moment, unpainted
from ops.cli.execute import Executor, Result, line_of, split
from ops.cli.history import HistoryFile
from ops.cli.line import LineScreen
from ops.cli.progress import ProgressDisplay
from ops.cli.registry import Call
from ops.cli.session import IdleTooLong, Session
from ops.cli.terminal import Terminal, bounds

INPUT_LIMIT = 4 << 20
"""Octets that a command may be given: the largest table fits in."""
_LINE_LIMIT = 256 * 1024
MOST_UNREAD = 64 << 20
"""Octets that wait for a client that does not read; one that leaves more waiting loses the channel."""
_UNREAD = 1 << 20
"""Octets that wait before whoever can wait does, and before keys are not taken any more but for Ctrl-C."""
_LOOK_S = 0.05
_STDIN_S = 30.0
_TRIES = 3


class Channel(asyncssh.SSHServerSession[bytes]):
    """The console's end of one channel."""

    def __init__(
        self,
        executor: Executor,
        caller: Caller,
        *,
        idle_s: float,
        paging: bool = False,
        history: HistoryFile | None = None,
        admit: Callable[[Caller], None],
        opened: Callable[[Session], None],
        closed: Callable[[Session], None],
    ) -> None:
        self._executor = executor
        self._caller = caller
        self._idle_s = idle_s
        self._paging = paging
        self._history = history
        self._admit = admit
        self._opened = opened
        self._closed = closed
        self._chan: asyncssh.SSHServerChannel[bytes] | None = None
        self._command: str | None = None
        self._pty: tuple[str, int, int] | None = None
        self._terminal: Terminal | None = None
        self._session: Session | None = None
        self._task: asyncio.Task[Any] | None = None
        self._input = asyncio.StreamReader(limit=_LINE_LIMIT)
        self._received = 0
        self._resuming: asyncio.TimerHandle | None = None
        self._held = False

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """Keep the channel."""
        self._chan = chan

    def pty_requested(self, term_type: str | None, term_size: tuple[int, int, int, int], term_modes: Any) -> bool:
        """Take note of the terminal."""
        self._pty = (term_type or "vt100", *bounds(term_size[0], term_size[1]))
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass the new size on."""
        if self._terminal is not None:
            self._terminal.resize(width, height)

    def shell_requested(self) -> bool:
        """Take a session."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Take one command."""
        self._command = command
        return True

    def session_started(self) -> None:
        """Start the task that is this session."""
        # Past its limit the reader stops the channel, so a client cannot make us hold more.
        self._input.set_transport(self._chan)  # type: ignore[arg-type]
        if self._pty is not None and (self._command is None or self._has_dialogue()):
            # Now, not in the task: keys may come before the task gets its turn.
            kind, columns, rows = self._pty
            self._terminal = Terminal(self._write, columns, rows, kind, self._complete)
            self._terminal.history = self._history
            self._terminal.drained = self._drained
        self._task = spawn(self._main(), f"console session of {self._caller}")

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take what the client sends."""
        if self._terminal is not None:
            self._typed(self._terminal, data)
            return
        self._received += len(data)
        if self._command is None or self._received <= INPUT_LIMIT:
            self._input.feed_data(data)

    def _typed(self, terminal: Terminal, data: bytes) -> None:
        if self._unread() > _UNREAD:
            data = data[:0] if b"\x03" not in data else b"\x03"
        if terminal.feed(data) and self._session is not None:
            self._session.interrupt()
        if terminal.busy and self._resuming is None and self._chan is not None:
            self._chan.pause_reading()
            self._resuming = asyncio.get_running_loop().call_later(_LOOK_S, self._resume, terminal)

    def _resume(self, terminal: Terminal) -> None:
        """Read on when there is room for what is typed."""
        self._resuming = None
        if self._chan is None or self._chan.is_closing():
            return
        if terminal.busy:
            self._resuming = asyncio.get_running_loop().call_later(_LOOK_S, self._resume, terminal)
        else:
            self._chan.resume_reading()

    def _unread(self) -> int:
        """Give how many octets wait for the client: in the channel, and for its connection."""
        chan = self._chan
        if chan is None or chan.is_closing():
            return 0
        return unsent(chan)

    def eof_received(self) -> bool:
        """Take the end of what the client sends; the answer still goes out."""
        if self._terminal is not None:
            self._terminal.end()
        elif not self._input.at_eof():
            self._input.feed_eof()
        return True

    def signal_received(self, signal: str) -> None:
        """Break off the command that runs on INT."""
        if signal == "INT" and self._session is not None:
            self._session.interrupt()

    def break_received(self, msec: int) -> bool:
        """Break off the command that runs."""
        if self._session is not None:
            self._session.interrupt()
        return True

    def pause_writing(self) -> None:
        """Take note that a recording is behind, or that the client does not read."""
        self._held = True

    def resume_writing(self) -> None:
        """Take note that whoever was behind is not."""
        self._held = False

    async def _drained(self) -> None:
        """Wait while the client does not read. Raises `TimeoutError` when that takes as long as one may be idle."""
        async with asyncio.timeout(self._idle_s):
            while self._behind():  # noqa: ASYNC110 - nobody tells what waits in the connection
                await asyncio.sleep(_LOOK_S)

    def _behind(self) -> bool:
        closing = self._chan is None or self._chan.is_closing()
        return not closing and (self._held or self._unread() > _UNREAD)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nothing of this session live on."""
        if self._resuming is not None:
            self._resuming.cancel()
        if self._task is not None:
            self._task.cancel()

    def _write(self, text: str) -> None:
        if self._chan is not None and not self._chan.is_closing() and self._in_bounds():
            self._chan.write(text.encode("utf-8", "replace"))

    def _in_bounds(self) -> bool:
        if self._unread() <= MOST_UNREAD or self._chan is None:
            return True
        self._executor.note(self._caller, "what was to be shown was not read; the channel is ended")
        self._chan.abort()
        return False

    def _show(self, text: str) -> None:
        end = "\r\n" if self._pty else "\n"
        self._write(clean(text, lines=True).replace("\n", end) + end)

    def _draw(self, text: str) -> None:
        self._write(text.replace("\n", "\r\n") if self._pty else text)

    def _write_error(self, text: str) -> None:
        if self._chan is not None and not self._chan.is_closing() and self._in_bounds():
            self._chan.write_stderr(text.encode("utf-8", "replace"))

    async def _main(self) -> None:
        status = EX_SOFTWARE
        try:
            status = await self._work()
        except Exception as error:  # one session never takes its siblings down
            number = incident(f"console session of {self._caller}", error)
            self._write_error(f"internal error, incident {number}; see the console's log\n")
        finally:
            if self._chan is not None and not self._chan.is_closing():
                self._chan.exit(status)

    async def _work(self) -> int:
        if self._command is not None and self._terminal is None:
            return self._deliver(await self._batch())
        try:
            self._admit(self._caller)
        except GatepostError as error:
            self._executor.refused(self._caller, "(one session more)")
            self._write_error(line_of(error) + "\n")
            return error.status
        if self._terminal is not None:
            with self._terminal.opened():
                return await self._interactive(self._terminal)
        return await self._interactive(LineScreen(self._read_line, self._write, self._drained))

    def _has_dialogue(self) -> bool:
        try:
            item, left = self._executor.registry.find(split(self._command or ""))
        except GatepostError:
            return False
        return (item.dialogue is not None and not left) or (item.terminal and self._caller.commands is None)

    def _complete(self, text: str) -> list[str]:
        return self._session.complete(text) if self._session is not None else []

    async def _interactive(self, screen: Terminal | LineScreen) -> int:
        if self._caller.commands is not None:
            self._executor.refused(self._caller, "(interactive session)")
            self._write_error("this key runs single commands only; give one after the host name\n")
            return EX_NOPERM
        paging = self._paging and self._pty is not None and self._command is None
        session = self._session = Session(self._executor, self._caller, screen, idle_s=self._idle_s, paging=paging)
        self._opened(session)
        self._executor.note(self._caller, "session opened")
        try:
            if self._command is not None:
                return await session.one(split(self._command))
            if self._pty is not None:
                screen.write(self._greeting())
            if self._caller.grant.must_change and not await self._new_password(session):
                return EX_NOPERM
            return await session.run()
        except (EOFError, IdleTooLong):
            return EX_OK
        finally:
            session.close()
            self._closed(session)
            self._executor.note(self._caller, "session closed")

    async def _new_password(self, session: Session) -> bool:
        """Ask for a new password before anything else; False if none came."""
        for _ in range(_TRIES):
            await session.one(["passwd"])
            if not self._caller.grant.must_change:
                return True
        self._write_error("the password was not changed\n")
        return False

    def _greeting(self) -> str:
        machine = self._executor.appliance
        engineers = [str(one["identity"]) for one in machine.sessions() if one["role"] == Role.SUPPORT]
        notice = f"Support is logged in: {clean(', '.join(engineers))}\n" if engineers else ""
        change = "Your password has to be changed now.\n" if self._caller.grant.must_change else ""
        return (
            f"{_last(self._caller)}{machine.product} {machine.version}\n\n"
            f"Welcome to the console of {machine.hostname},\nserial {machine.serial}. `help` lists the commands.\n"
            f"{notice}{change}"
        )

    async def _batch(self) -> Result:
        try:
            words = split(self._command or "")
        except GatepostError as error:
            return Result(error.status, error=line_of(error))
        columns = self._pty[1] if self._pty else 0
        progress = ProgressDisplay(self._write_error, bar=bool(columns), width=columns)
        call = Call(
            self._executor.appliance,
            self._caller,
            self._executor.registry,
            self._read_all,
            self._show,
            progress,
            self._draw,
            columns,
            drained=self._drained,
        )
        return await self._executor.alone(call, words, columns)

    def _deliver(self, result: Result) -> int:
        end = "\r\n" if self._pty else "\n"
        if result.output:
            output = unpainted(result.output) if self._pty and is_plain(self._pty[0]) else result.output
            self._write(output.replace("\n", end) + end)
        if result.error:
            self._write_error(result.error + end)
        return result.status

    async def _read_line(self) -> str:
        try:
            return (await self._input.readline()).decode("utf-8", "replace")
        except ValueError:
            raise GatepostError("a line of input is too long", EX_DATAERR) from None

    async def _read_all(self) -> bytes:
        try:
            async with asyncio.timeout(_STDIN_S):
                data = await self._input.read()
        except TimeoutError:
            raise GatepostError(f"no end of standard input within {_STDIN_S:g} s", EX_DATAERR) from None
        if self._received > INPUT_LIMIT:
            raise GatepostError(f"more than {INPUT_LIMIT} octets of standard input", EX_DATAERR)
        return data


def _last(caller: Caller) -> str:
    """Tell of the log-in before, as far as there was one, and of failures since."""
    before = caller.before
    line = f"Last login: {moment(before['at'])} from {clean(str(before['source']))}\n" if "at" in before else ""
    if failures := before.get("failures"):
        line += f"Failed logins since then: {failures}; `last --failed` shows them.\n"
    return line
