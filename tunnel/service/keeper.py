"""Keeps hold of a login shell and of whatever it starts: a small process of its own between the console and the shell.

Run by `pty.py` as `python -I keeper.py COMMAND…` with the terminal as its standard streams; standard library only. It
is the parent to whom all that detaches itself falls (a subreaper): a program that has left its session, its process
group and its terminal is still ours. When the shell ends, when the console asks (SIGTERM) and when the console dies,
everything below is hung up on and killed; then it ends with the shell's status. It keeps the console's rights, so who
runs in the shell cannot end it.
"""

import ctypes
import fcntl
import os
import signal
import sys
import termios
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_NOT_STARTED = 127
HANGUP_S = 2.0
"""How long they have to end by themselves when asked to, before they are killed."""
_ROUNDS = 200


def children(parents: set[int]) -> set[int]:
    """Find every process below these, in /proc."""
    below: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with suppress(OSError, ValueError, IndexError):
                above = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                below.setdefault(above, []).append(int(folder.name))
    found: set[int] = set()
    new = list(parents)
    while new:
        new = [child for one in new for child in below.get(one, ()) if child not in found]
        found.update(new)
    return found


def _signal(number: signal.Signals) -> None:
    for process in children({os.getpid()}):
        with suppress(OSError):
            os.kill(process, number)


def _reap(shell: int) -> tuple[int | None, bool]:
    """Take what has ended; gives the shell's status if it was among them, and whether anything is left."""
    status = None
    try:
        while True:
            process, code = os.waitpid(-1, os.WNOHANG)
            if not process:
                return status, True
            if process == shell:
                status = os.waitstatus_to_exitcode(code)
    except ChildProcessError:
        return status, False


def _end_all(shell: int) -> None:
    for _ in range(_ROUNDS):  # what forks while it is killed is met in the next round
        _signal(signal.SIGKILL)
        if not _reap(shell)[1]:
            break
        time.sleep(0.01)


def _become(command: Sequence[str]) -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execvp(command[0], list(command))  # noqa: S606 - the command is ours


def main(command: Sequence[str]) -> int:
    """Run the command on the terminal; returns its status when nothing of it is left, 128 + N for signal N."""
    ours = {signal.SIGTERM, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, ours)
    console = os.getppid()
    library = ctypes.CDLL(None)
    library.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    library.prctl(_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    shell = os.fork()
    if not shell:
        try:
            _become(command)
        finally:
            os._exit(_NOT_STARTED)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the terminal hangs up when the shell lets go of it, not when we do
        os.dup2(nothing, stream)
    status, until = _reap(shell)[0], 0.0
    while status is None:
        came = signal.sigtimedwait({signal.SIGCHLD} if until else ours, 0.05 if until else 1.0)
        status, _ = _reap(shell)
        asked = came is not None and came.si_signo == signal.SIGTERM
        if not until and (asked or os.getppid() != console):
            until = time.monotonic() + HANGUP_S
            _signal(signal.SIGHUP)
        elif until and status is None and time.monotonic() > until:
            status = -signal.SIGKILL
    _end_all(shell)
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
