"""The login shell of a support session: whose it is, what it may see, and its place in an SSH channel.

Only where `techsupport` was enabled with a full shell and `[tunnel] service_user` names who it runs as. The shell
gets none of our rights: it is started through `setpriv` as that user, with that user's groups, without capabilities
and without a way to gain any. Changing the user needs a console that runs as root (or with CAP_SETUID,
CAP_SETGID, CAP_SETPCAP, CAP_CHOWN and CAP_KILL); naming the console's own user works without, and is for laboratories:
such a shell reads our keys.
"""

import asyncio
import os
import pwd
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncssh

from core.diagnostic import incident
from core.errors import EX_CONFIG, EX_NOPERM, EX_OSERR, EX_SOFTWARE, GatepostError
from core.runtime import spawn
from tunnel.service.pty import PtyChild

PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
_LOCALE = re.compile(r"(?:LANG|LC_[A-Z]{1,20})")
_VALUE = re.compile(r"[A-Za-z0-9_.@:+=-]{0,64}")
_SHELLS = ("/bin/bash", "/bin/sh")


class Outlet(Protocol):
    """Where a shell's output goes: a channel, or what stands for one."""

    def write(self, data: bytes) -> None:
        """Send output."""

    def exit(self, status: int) -> None:
        """Say how it ended, and end."""

    def pause_reading(self) -> None:
        """Take no more input for now."""

    def resume_reading(self) -> None:
        """Take input again."""


@dataclass(frozen=True, slots=True)
class ShellAccount:
    """Who the shell runs as."""

    name: str
    number: int
    group: int
    home: Path
    shell: str
    own: bool
    """Whether it is the user that we run as ourselves."""


def account(name: str) -> ShellAccount:
    """Look up `[tunnel] service_user`. Raises status 77 or 78 with what is to be changed."""
    if not name:
        raise GatepostError("no login shell here: [tunnel] service_user names nobody to run it as", EX_NOPERM)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise GatepostError(f"[tunnel] service_user: this machine has no user {name!r}", EX_CONFIG) from None
    own = entry.pw_uid == os.geteuid()
    if entry.pw_uid == 0:
        raise GatepostError("[tunnel] service_user: support gets no shell as root", EX_CONFIG)
    home = Path(entry.pw_dir) if Path(entry.pw_dir).is_dir() else Path("/")
    known = entry.pw_shell if entry.pw_shell in _known_shells() else ""
    shell = known or next((path for path in _SHELLS if Path(path).exists()), "/bin/sh")
    return ShellAccount(name, entry.pw_uid, entry.pw_gid, home, shell, own)


def command(who: ShellAccount) -> list[str]:
    """Give the command that becomes the login shell."""
    shell = [who.shell, "-l"]
    if who.own:
        return ["setpriv", "--no-new-privs", *shell]
    drop = ["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return ["setpriv", f"--reuid={who.number}", f"--regid={who.group}", "--init-groups", *drop, *shell]


def environment(who: ShellAccount, asked: Mapping[str, str], term: str) -> dict[str, str]:
    """Give the shell's environment: ours, and of what the client asked for only language and terminal."""
    taken = {name: value for name, value in asked.items() if _LOCALE.fullmatch(name) and _VALUE.fullmatch(value)}
    return {
        **taken,
        "TERM": term if _VALUE.fullmatch(term) and term else "vt100",
        "PATH": PATH,
        "HOME": str(who.home),
        "USER": who.name,
        "LOGNAME": who.name,
        "SHELL": who.shell,
    }


class ShellSession(asyncssh.SSHServerSession[bytes]):
    """A login shell behind a channel, or behind what stands for one. Exceptions end it alone."""

    def __init__(self, who: ShellAccount, asked: Mapping[str, str]) -> None:
        self._who = who
        self._asked = asked
        self._outlet: Outlet | None = None
        self._term = "vt100"
        self._size = (80, 24)
        self._child: PtyChild | None = None
        self._early = bytearray()
        self._task: asyncio.Task[None] | None = None
        self.over = asyncio.Event()
        """Set when nothing of it runs any more."""

    def connection_made(self, chan: Any) -> None:
        """Keep where the output goes."""
        self._outlet = chan

    def pty_requested(self, term_type: str | None, term_size: tuple[int, ...], term_modes: Any) -> bool:
        """Take note of the terminal."""
        self._term = term_type or "vt100"
        self._size = (term_size[0], term_size[1])
        return True

    def session_started(self) -> None:
        """Start the shell."""
        self._task = spawn(self._main(), f"support shell as {self._who.name}")

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Type it."""
        if self._child is None:
            self._early += data[: max(0, 65536 - len(self._early))]
        else:
            self._child.write(data)

    @property
    def echoes(self) -> bool | None:
        """Whether the terminal shows what is typed; None = not known."""
        return None if self._child is None else self._child.echoes

    def eof_received(self) -> bool:
        """Type the end of input."""
        self.data_received(b"\x04", None)
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """Pass the new size on."""
        self._size = (width, height)
        if self._child is not None:
            self._child.resize(width, height)

    def signal_received(self, signal: str) -> None:
        """Pass a signal on."""
        if self._child is not None:
            self._child.signal(signal)

    def break_received(self, msec: int) -> bool:
        """A break interrupts, as on a serial console."""
        self.signal_received("INT")
        return True

    def pause_writing(self) -> None:
        """Produce no more for now."""
        if self._child is not None:
            self._child.pause()

    def resume_writing(self) -> None:
        """Produce again."""
        if self._child is not None:
            self._child.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let nothing live on."""
        if self._task is not None:
            self._task.cancel()

    async def _main(self) -> None:
        status = EX_SOFTWARE
        assert self._outlet is not None
        try:
            status = await self._run(self._outlet)
        except OSError as error:
            self.over.set()
            self._outlet.write(f"the shell cannot be started: {error.strerror}\r\n".encode())
            status = EX_OSERR
        except Exception as error:  # one shell takes neither the connection nor the console down
            number = incident(f"support shell as {self._who.name}", error)
            self._outlet.write(f"internal error, incident {number}\r\n".encode())
        finally:
            self._outlet.exit(status)

    async def _run(self, outlet: Outlet) -> int:
        who = self._who
        child = await PtyChild.start(
            command(who),
            outlet.write,
            environment=environment(who, self._asked, self._term),
            folder=who.home,
            size=self._size,
            owner=None if who.own else who.number,
        )
        try:
            child.full = lambda full: outlet.pause_reading() if full else outlet.resume_reading()
            child.resize(*self._size)
            self._child = child
            child.write(bytes(self._early))
            return await child.wait()
        finally:
            self._child = None
            spawn(self._end(child), "end of a support shell")

    async def _end(self, child: PtyChild) -> None:
        try:
            await child.kill()
        finally:
            self.over.set()


def _known_shells() -> set[str]:
    try:
        return {line.strip() for line in Path("/etc/shells").read_text().splitlines() if line.startswith("/")}
    except OSError:
        return set()
