"""Commands of the executable in forks of a process that has imported them, since imports are most of their time.

Each is a process with streams, a status and a user of its own that runs `main`, as `python -m daemons.gatepost` does.
That the executable finds and imports what it needs is proved where it is started as such: by labs for what they are
made of, by GATEPOST in tests, and as /usr/bin/gatepost by the package's tests and the walk-through of the operations.
"""

import atexit
import gc
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
MOST_TYPED = 60_000
"""Octets of standard input that a pipe takes before anybody reads."""
_LONGEST = 1 << 20
"""Octets of a command line, more than a socket takes: what is too long for that fails where it is sent."""


class Forks:
    """The process that has imported everything, for as long as this one lives."""

    def __init__(self) -> None:
        self.environment = environment()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = [sys.executable, "-m", __name__, str(theirs.fileno())]
            null = subprocess.DEVNULL
            started = subprocess.Popen(words, pass_fds=[theirs.fileno()], cwd=ROOT, stdin=null, stdout=null)
        atexit.register(started.wait, 10)
        atexit.register(self._socket.close)  # it ends with this, even if this process is killed

    def run(self, words: Sequence[str], stdin: bytes, within_s: float) -> tuple[int, str, str]:
        """Run a command to its end: status, output, errors. Raises TimeoutExpired when it has been killed for that."""
        message = json.dumps([os.getcwd(), *words]).encode()
        (typed, typing), *ends = [os.pipe() for _ in range(4)]
        given = [typed, *(end[1] for end in ends)]
        try:
            with open(typing, "wb") as keys:
                keys.write(stdin)
            socket.send_fds(self._socket, [message], given)
        finally:
            for number in given:
                os.close(number)
        out, err, said = _read([end[0] for end in ends], words, within_s)
        _, status = said.split()
        return int(status), _text(out), _text(err)


@cache
def forks() -> Forks:
    """Give the one of this process."""
    return Forks()


def environment() -> dict[str, str]:
    """Give what a command sees of the environment; pytest notes there where it is."""
    return {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}


def _text(octets: bytes) -> str:
    return octets.decode().replace("\r\n", "\n").replace("\r", "\n")


def _read(numbers: Sequence[int], words: Sequence[str], within_s: float) -> list[bytes]:
    """Read descriptors to their ends; the last says the process id and the status. Kills what is not waited for."""
    read = {number: b"" for number in numbers}
    try:
        for number, some in _pieces(numbers, words, within_s):
            read[number] += some
    except BaseException:
        if read[numbers[-1]].count(b"\n") == 1:
            os.kill(int(read[numbers[-1]]), signal.SIGKILL)
        raise
    finally:
        for number in numbers:
            os.close(number)
    return list(read.values())


def _pieces(numbers: Sequence[int], words: Sequence[str], within_s: float) -> Iterator[tuple[int, bytes]]:
    deadline = time.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        for number in numbers:
            selector.register(number, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(max(0.0, deadline - time.monotonic()))
            if not ready:
                raise subprocess.TimeoutExpired(["gatepost", *words], within_s)
            for key, _ in ready:
                some = os.read(key.fd, 65536)
                if not some:
                    selector.unregister(key.fd)
                yield key.fd, some


def serve(number: int) -> None:
    """Fork for each command; comes back in the fork that is to run it, and leaves when nobody can ask any more."""
    import daemons.check
    import daemons.gatepost
    import daemons.operator
    import ops.lab.command  # noqa: F401

    daemons.gatepost.parser(None)
    gc.collect()
    gc.freeze()
    assert threading.active_count() == 1
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=number) as asked:
        while True:
            message, given, _, _ = socket.recv_fds(asked, _LONGEST, 4)
            if not message:
                sys.exit(0)
            if os.fork() == 0:
                break
            for one in given:
                os.close(one)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _become(json.loads(message), given)


def _become(message: Sequence[str], given: Sequence[int]) -> None:
    """Fork once more: one process becomes the command, one waits for it and says how it ended."""
    *streams, told = given
    folder, *words = message
    if child := os.fork():
        for one in streams:
            os.close(one)
        with suppress(BrokenPipeError):  # who asked is not waiting any more
            os.write(told, f"{child}\n".encode())
            os.write(told, f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n".encode())
        os._exit(0)
    os.close(told)
    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
    os.chdir(folder)
    sys.argv = [str(ROOT / "daemons" / "gatepost.py"), *words]


if __name__ == "__main__":
    serve(int(sys.argv[1]))
    from daemons.gatepost import main

    sys.exit(main())
