"""A child process on a pseudo terminal of its own, pumped through the event loop.

Used by the login shell of support sessions. The child leads its own session and has the terminal as its controlling
one (`keeper.py` sees to that), so job control, Ctrl-C and window changes work. Reading stops while nobody takes the
output; what is typed waits in a bounded buffer. Works on every loop: nothing but `add_reader` and `add_writer`.
"""

import asyncio
import contextlib
import errno
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tunnel.service import keeper

READ_OCTETS = 64 * 1024
WRITE_LIMIT = 64 * 1024
"""Typed octets that wait for the child; with more of them the source is told to stop."""
_LAST_OUTPUT_S = 0.5
_KEEPER = Path(keeper.__file__)
_END_S = keeper.HANGUP_S + 3.0


class PtyChild:
    """One child. `output` and `full` are called from the loop; all else is for the loop's thread as well."""

    def __init__(self, master: int, process: asyncio.subprocess.Process, output: Callable[[bytes], None]) -> None:
        self._master = master
        self._process = process
        self._output = output
        self._typed = bytearray()
        self._reading = False
        self._over = asyncio.Event()
        self.full: Callable[[bool], None] = lambda _full: None
        """Called with True when too much is typed ahead, with False when there is room again."""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        output: Callable[[bytes], None],
        *,
        environment: Mapping[str, str],
        folder: Path,
        size: tuple[int, int],
        owner: int | None = None,
    ) -> "PtyChild":
        """Start a command; owner is the user id that the terminal is given to. Raises OSError."""
        master, slave = pty.openpty()
        try:
            os.set_blocking(master, False)
            _resize(master, *size)
            if owner is not None:
                os.fchmod(slave, 0o600)  # first: afterwards it is another's
                os.fchown(slave, owner, -1)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", str(_KEEPER), *command),
                stdin=slave,
                stdout=slave,
                stderr=slave,
                env=dict(environment),
                cwd=folder,
            )
        except BaseException:
            os.close(master)
            raise
        finally:
            os.close(slave)
        child = cls(master, process, output)
        child.resume()
        return child

    async def wait(self) -> int:
        """Wait for the end of the child and of its output; gives its status, 128 + N for signal N."""
        status = await self._process.wait()
        with contextlib.suppress(TimeoutError):  # something that it left behind may keep the terminal open
            async with asyncio.timeout(_LAST_OUTPUT_S):
                self.resume()
                await self._over.wait()
        self._close()
        return 128 - status if status < 0 else status

    def write(self, data: bytes) -> None:
        """Type something."""
        if self._master < 0:
            return
        if not self._typed:
            data = data[self._send(data) :]
        if data:
            if not self._typed:
                asyncio.get_running_loop().add_writer(self._master, self._flush)
            self._typed += data
            if len(self._typed) > WRITE_LIMIT:
                self.full(True)

    @property
    def echoes(self) -> bool | None:
        """Whether the terminal shows what is typed; None where a program does that itself, as a shell's prompt does."""
        if self._master < 0:
            return None
        try:
            modes = termios.tcgetattr(self._master)[3]
        except termios.error:
            return None
        if modes & termios.ECHO:
            return True
        return False if modes & termios.ICANON else None

    def resize(self, columns: int, rows: int) -> None:
        """Tell the terminal and its foreground programs the size of the window."""
        if self._master >= 0:
            _resize(self._master, columns, rows)

    def signal(self, name: str) -> None:
        """Send a signal, by its name without SIG, to the programs in the foreground; unknown names do nothing."""
        number = getattr(signal, f"SIG{name}", None)
        if self._master >= 0 and isinstance(number, signal.Signals):
            with contextlib.suppress(OSError):
                os.killpg(os.tcgetpgrp(self._master), number)

    def pause(self) -> None:
        """Read no more output for now; the child will block."""
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._master)

    def resume(self) -> None:
        """Read output again."""
        if not self._reading and self._master >= 0:
            self._reading = True
            asyncio.get_running_loop().add_reader(self._master, self._read)

    async def kill(self) -> None:
        """Hang up, and kill what does not go by that; all that it started, wherever that has gone."""
        self._close()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await self._process.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._master, READ_OCTETS)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return
            data = b""  # EIO: nobody has the other side open any more
        if data:
            self._output(data)
        else:
            self.pause()
            self._over.set()

    def _send(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)  # the child is gone

    def _flush(self) -> None:
        del self._typed[: self._send(self._typed)]
        if not self._typed:
            asyncio.get_running_loop().remove_writer(self._master)
        if len(self._typed) <= WRITE_LIMIT // 2:
            self.full(False)

    def _close(self) -> None:
        master = self._master
        if master < 0:
            return
        self.pause()
        asyncio.get_running_loop().remove_writer(master)
        self._master = -1
        self._over.set()
        os.close(master)


def _resize(master: int, columns: int, rows: int) -> None:
    size = struct.pack("HHHH", min(rows, 9999) or 24, min(columns, 9999) or 80, 0, 0)
    with contextlib.suppress(OSError):
        fcntl.ioctl(master, termios.TIOCSWINSZ, size)
