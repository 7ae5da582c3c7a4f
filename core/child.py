"""Daemons as children of one process: started, started again with a growing pause, stopped in order, heard.

Used by `gatepost serve`, which is one machine in a container or on a laptop. Every `Child` is a service: it is ready
when its daemon answers so on the control socket, and it ends when its daemon has. What a daemon writes is passed on
line by line with its name (`core/relay.py`). One that gives no answer any more is killed and started again, and so is
one that was told to end and does not. A daemon that ends with status 64 or 78 would do so again: it is left alone until
`again` (SIGHUP) or `resume`; when all are left alone, the last one's status ends the process.

`Reaper` is what process 1 owes to the processes that lost their parents. Knows no daemon and no configuration.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
from asyncio.subprocess import Process, SubprocessStreamProtocol
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from core import clock
from core.control import call
from core.diagnostic import CRITICAL, ERROR, WARNING, say
from core.errors import EX_CONFIG, EX_OSERR, EX_USAGE, GatepostError
from core.lifecycle import Scope
from core.relay import LINE_LIMIT, Relay

FINAL: Final = (EX_USAGE, EX_CONFIG)
"""Exit statuses after which a daemon is not started again by itself."""
_NOT_PASSED_ON: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM")
"""What a service manager means for this process, not for its children."""
_ASK_S, _ASK_EVERY_S, _REAP_EVERY_S = 2.0, 0.1, 1.0
_UNANSWERED: Final = 6
"""So many questions in a row without an answer, and a daemon does not turn any more. Questions are counted and not
seconds: who was frozen together with its daemons (a container that is paused) must not kill them when it goes on."""


@dataclass(frozen=True)
class Pace:
    """How long to wait before a daemon that ended is started again."""

    first_s: float = 0.5
    longest_s: float = 30.0
    well_s: float = 60.0
    """After a run of this length the next wait is the first one again."""

    def after(self, pause_s: float, lasted_s: float) -> float:
        """Give the wait that follows one of `pause_s` and a run of `lasted_s`; 0 as the wait before the first run."""
        return self.first_s if not pause_s or lasted_s >= self.well_s else min(2 * pause_s, self.longest_s)


@dataclass
class Household:
    """What the children of one process share."""

    relay: Relay
    pace: Pace = field(default_factory=Pace)
    patience_s: float = 15.0
    """How long a daemon may take to end before it is killed."""
    look_every_s: float = 10.0
    """A daemon that is ready is asked so often whether it still answers, and given as long to do so."""
    children: list["Child"] = field(default_factory=list)
    starting: int = 0

    def pids(self) -> set[int]:
        """Give the processes of the children."""
        return {child.pid for child in self.children if child.pid}

    def nothing_left(self) -> bool:
        """Tell whether every daemon was left alone for the status that it ended with."""
        return all(child.refused for child in self.children)


class Child:
    """One daemon that is kept running."""

    def __init__(
        self, name: str, argv: Sequence[str], control: Path, home: Household, after: Sequence["Child"] = ()
    ) -> None:
        """`after` are those that have to be gone before this one is told to stop."""
        self.name = name
        self.state = "starting"
        self.refused = 0
        self.pid = 0
        self.starts = 0
        self._argv = argv
        self._control = control
        self._home = home
        self._after = after
        self._wanted = True
        self._process: Process | None = None
        self._transport: asyncio.SubprocessTransport | None = None
        self._hears = False
        """Whether it has answered: only then does it know what SIGHUP means, before that it would die of it."""
        self._gone = asyncio.Event()
        self._nudge = asyncio.Event()
        home.children.append(self)

    async def run(self, scope: Scope) -> None:
        """Keep the daemon running until stopping; then let it finish, after those that come first."""
        try:
            keeper = scope.start(self._keep(scope), name="keep")
            await scope.stopping.wait()
            for other in self._after:
                await other._gone.wait()
            with scope.activity(self.name):
                self._tell_to_end()
                self._nudge.set()
                await asyncio.wait([keeper])
        finally:
            self.signal(signal.SIGKILL)
            self._gone.set()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon, if it runs."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _tell_to_end(self) -> None:
        """Have it end, and kill it if it takes too long."""
        self.signal(signal.SIGTERM)
        asyncio.get_running_loop().call_later(self._home.patience_s, self._kill, self.pid, "did not end in time")

    def _kill(self, pid: int, why: str) -> None:
        if pid and pid == self.pid:
            say(CRITICAL, f"{self.name}: {why}; it is killed")
            self.signal(signal.SIGKILL)

    def again(self) -> None:
        """Have the daemon read its configuration, or start it again now if it was left alone."""
        if self._hears:
            self.signal(signal.SIGHUP)
        else:
            self._nudge.set()

    def want(self, wanted: bool) -> None:
        """Stop the daemon until it is wanted again."""
        changed, self._wanted = wanted != self._wanted, wanted
        if changed and not wanted:
            self._tell_to_end()
        if changed or self._process is None:
            self._nudge.set()

    def show(self) -> dict[str, Any]:
        """Say how it is."""
        return {"daemon": self.name, "state": self.state, "pid": self.pid, "starts": self.starts}

    async def _keep(self, scope: Scope) -> None:
        pause_s = 0.0
        while not scope.stopping.is_set():
            if not self._wanted:
                self.state = "halted"
                await self._nudged()
                continue
            began = clock.monotonic()
            self._nudge.clear()
            status = await self._once(scope)
            if scope.stopping.is_set() or not self._wanted:
                continue
            if status in FINAL:
                pause_s = 0.0
                await self._left_alone(status)
            else:
                pause_s = self._home.pace.after(pause_s, clock.monotonic() - began)
                self.state = "waiting"
                say(WARNING, f"{self.name}: ended ({_said(status)}); is started again in {pause_s:g} s")
                await self._nudged(pause_s)

    async def _left_alone(self, status: int) -> None:
        """Wait for a reason to try again. Raises the status if no daemon is left that runs or may run again."""
        self.state, self.refused = "refused", status
        text = f"{self.name}: ended with status {status}, which another start would not change"
        if self._home.nothing_left():
            raise GatepostError(f"{text}; no daemon is left", status)
        say(ERROR, f"{text}; it is left alone until this process gets SIGHUP, the others go on")
        await self._nudged()
        self.refused = 0

    async def _nudged(self, seconds: float | None = None) -> None:
        """Wait for a change of what is wanted, or so long; one that came since the daemon was started counts."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._nudge.wait()
        self._nudge.clear()

    async def _once(self, scope: Scope) -> int:
        """Run the daemon to its end; give its exit status."""
        self.state, self.starts = "starting", self.starts + 1
        try:
            process = await self._start()
        except OSError as error:  # no memory, no process or no descriptor to be had: that may pass
            say(ERROR, f"{self.name}: cannot be started: {error.strerror or error}")
            return EX_OSERR
        assert process.stdout is not None
        assert self._transport is not None
        heard = scope.start(self._home.relay.pass_on(self.name, process.stdout), name="what it writes")
        watch = scope.start(self._watch(scope, process.pid), name="watch")
        try:
            if scope.stopping.is_set() or not self._wanted:  # it was told before it was there to hear it
                self._tell_to_end()
            status = await process.wait()
            await asyncio.wait([heard], timeout=1)  # what it started may hold its end of the pipe
            return status
        finally:
            watch.cancel()
            heard.cancel()
            self._transport.close()
            self._process, self._transport, self.pid, self._hears = None, None, 0, False

    async def _start(self) -> Process:
        """Start it. The transport is kept: only it can let go of a pipe that somebody else holds open."""
        loop = asyncio.get_running_loop()
        self._home.starting += 1
        try:
            transport, protocol = await loop.subprocess_exec(
                lambda: SubprocessStreamProtocol(limit=LINE_LIMIT, loop=loop),
                *self._argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON},
                cwd="/",
                start_new_session=True,  # Ctrl-C on a terminal is for this process, which stops them in order
            )
            self._process, self._transport = Process(transport, protocol, loop), transport
            self.pid = self._process.pid
        finally:
            self._home.starting -= 1
        return self._process

    async def _watch(self, scope: Scope, pid: int) -> None:
        """Ask until it is ready, then now and then whether it still answers; kill it if it does not."""
        while await self._answer(pid, _ASK_S) != "ready":  # noqa: ASYNC110 - this happens in another process
            await asyncio.sleep(_ASK_EVERY_S)
        self.state = "ready"
        scope.ready()
        unanswered = 0
        while unanswered < _UNANSWERED:
            await asyncio.sleep(self._home.look_every_s)
            unanswered = 0 if await self._answer(pid, self._home.look_every_s) else unanswered + 1
        self._kill(pid, f"gave no answer {unanswered} times")

    async def _answer(self, pid: int, timeout_s: float) -> str:
        """Give the state that it says it is in, '' without an answer."""
        with contextlib.suppress(GatepostError):
            health = await call(self._control, "health", timeout_s=timeout_s)
            if health["pid"] == pid:
                self._hears = True
                return str(health["state"])
        return ""


class Reaper:
    """The service that takes in what ended without a parent: process 1 gets them all."""

    name = "reaper"

    def __init__(self, home: Household) -> None:
        self._home = home

    async def run(self, scope: Scope) -> None:
        """Look every second until stopping."""
        scope.ready()
        while await scope.pause(_REAP_EVERY_S):
            self.reap()

    def reap(self) -> int:
        """Take in the strays that have ended; give their number. Children of our own are for the event loop."""
        count = 0
        while not self._home.starting:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is None or found.si_pid in self._home.pids():
                break
            with contextlib.suppress(ChildProcessError):
                os.waitpid(found.si_pid, os.WNOHANG)
                count += 1
        return count


def _said(status: int) -> str:
    if status >= 0:
        return f"status {status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"
