"""Programs of the system that a command runs for its caller: ping, traceroute, tcpdump, ip, ss.

Never a shell: a program is found in the system's own folders and gets its words as a list, a bare environment, no
standard input but what is given, a session of its own. What it writes is read up to a limit, and it ends with the
block, the time-out or the task that runs it, also when this process is killed. Who uses it makes sure that no word
of a peer or operator can be taken for an option. Raises `GatepostError` 69 for a program that is not installed, 75
when time is up.
"""

import asyncio
import os
import shutil
import signal
import subprocess
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

from core.errors import EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError

FOLDERS: Final = "/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT: Final[Mapping[str, str]] = {"PATH": FOLDERS, "LC_ALL": "C", "TZ": "UTC"}
PACKAGES: Final[Mapping[str, str]] = {
    "ip": "iproute2",
    "ss": "iproute2",
    "ping": "iputils-ping",
    "traceroute": "traceroute",
    "tcpdump": "tcpdump",
    "setpriv": "util-linux",
}
LINE_LIMIT: Final = 16 * 1024
OUTPUT_LIMIT: Final = 4 << 20
_END_S = 5.0


@dataclass(frozen=True)
class Finished:
    """A program that has ended."""

    status: int
    """Its exit status; -N for signal N."""
    output: str
    error: str
    whole: bool
    """False if it wrote more than was wanted and was ended for that."""

    @property
    def reason(self) -> str:
        """The last thing that it said about a failure, or its status."""
        lines = (self.error.strip() or self.output.strip()).splitlines()
        return lines[-1].strip() if lines else f"status {self.status}"


def find(name: str) -> str:
    """Give the path of a system program. Raises status 69 with the package to install."""
    path = shutil.which(name, path=FOLDERS)
    if path is None:
        package = PACKAGES.get(name, name)
        raise GatepostError(f"{name} is not installed; as root: apt-get install {package}", EX_UNAVAILABLE)
    return path


def is_there(name: str) -> bool:
    """Tell whether a system program is installed."""
    return shutil.which(name, path=FOLDERS) is not None


def command_line(words: Sequence[str], on_death: str = "KILL") -> list[str]:
    """Give the words that start a program so that it gets the signal `on_death` when whoever started it dies."""
    argv = [find(words[0]), *words[1:]]
    return [find("setpriv"), "--pdeathsig", on_death, "--", *argv] if is_there("setpriv") else argv


class Program:
    """A program that runs; `running` makes one."""

    def __init__(self, transport: asyncio.SubprocessTransport, process: Process) -> None:
        self._transport = transport
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def lines(self) -> AsyncIterator[str]:
        """Give what it writes (its errors too) line by line, each cut at a limit, until it ends."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # a line over the limit: the reader has dropped it
                continue
            if not line:
                return
            yield line.decode("utf-8", "replace").rstrip("\r\n")

    def interrupt(self) -> None:
        """Send it SIGINT, as Ctrl-C would."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    def release(self) -> None:
        """Close its standard input: a program that was started by `kept` ends itself then."""
        if self._process.stdin is not None:
            self._process.stdin.close()

    async def wait(self) -> int:
        """Wait for its end; gives its exit status."""
        return await self._process.wait()

    async def finish(self, limit: int) -> Finished:
        """Read what it writes until it ends, or until it has written more than `limit` octets, which ends it."""
        process = self._process
        assert process.stdout is not None
        assert process.stderr is not None
        async with asyncio.TaskGroup() as tasks:
            errors = tasks.create_task(_read(process.stderr, LINE_LIMIT, drain=True))
            output, whole = await _read(process.stdout, limit, drain=False)
            if not whole:
                process.kill()
        status, (error, _) = await process.wait(), errors.result()
        return Finished(status, output.decode("utf-8", "replace"), error.decode("utf-8", "replace"), whole)

    async def end(self) -> None:
        """Kill it and what it started, if it still runs."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                self._process.kill()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._process.wait()
        finally:
            self._transport.close()


async def _start(words: Sequence[str], *, stderr: int, stdin: int = subprocess.DEVNULL) -> Program:
    """Start a program; one that gets an open standard input watches that for its end and is not killed by the kernel.

    The transport is kept beside the process: only it can let go of pipes that were not read to their end.
    """
    loop = asyncio.get_running_loop()
    try:
        transport, protocol = await loop.subprocess_exec(
            lambda: SubprocessStreamProtocol(limit=LINE_LIMIT, loop=loop),
            *(command_line(words) if stdin == subprocess.DEVNULL else [find(words[0]), *words[1:]]),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=dict(ENVIRONMENT),
            cwd="/",
            start_new_session=True,
        )
    except OSError as error:
        raise GatepostError(f"{words[0]} cannot be started: {error.strerror or error}", EX_UNAVAILABLE) from None
    return Program(transport, Process(transport, protocol, loop))


@asynccontextmanager
async def running(*words: str) -> AsyncIterator[Program]:
    """Run a program while the block runs. Raises status 69."""
    program = await _start(words, stderr=subprocess.STDOUT)
    try:
        yield program
    finally:
        await program.end()


async def kept(*words: str) -> Program:
    """Start a program that stays: it ends itself when its standard input does. `end` is the caller's to call."""
    return await _start(words, stderr=subprocess.STDOUT, stdin=subprocess.PIPE)


async def run(*words: str, timeout_s: float = 10.0, limit: int = OUTPUT_LIMIT) -> Finished:
    """Run a program to its end. Raises status 69, and 75 when it takes longer than `timeout_s`."""
    program = await _start(words, stderr=subprocess.PIPE)
    try:
        async with asyncio.timeout(timeout_s):
            return await program.finish(limit)
    except TimeoutError:
        raise GatepostError(f"{words[0]} gave no result within {timeout_s:g} s", EX_TEMPFAIL) from None
    finally:
        await program.end()


async def _read(stream: asyncio.StreamReader, limit: int, *, drain: bool) -> tuple[bytes, bool]:
    """Read up to `limit` octets; of what comes after them nothing is kept, and without `drain` nothing is read."""
    kept = bytearray()
    while data := await stream.read(64 * 1024):
        kept += data[: limit - len(kept)]
        if len(kept) >= limit and not drain:
            return bytes(kept), False
    return bytes(kept), True
