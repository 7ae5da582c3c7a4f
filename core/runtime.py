"""The skeleton of every daemon: loop, signals, readiness, two-stage stop, watchdog, exit status.

A daemon root builds a `Daemon` and hands it to `run_daemon`; nothing else in the project chooses the event loop,
handles signals or talks to the service manager. The order is: configuration is already checked, control socket,
services, READY; SIGTERM or `stop` sets `stopping`, services return, after the grace they are cancelled and what
was busy is logged by name; a second signal cuts the grace short.

Logs to stderr in the form of sd-daemon(3) (`<6>text`). Exit status: 0 after a stop that was asked for, the
error's own for `GatepostError`, 70 for anything unforeseen.
"""

import asyncio
import contextlib
import gc
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from core import activation, clock
from core.condition import Condition, Stall, conditions
from core.control import NOBODY, ControlServer, Guests, Handler
from core.diagnostic import CRITICAL, ERROR, INFO, WARNING, incident, say
from core.errors import EX_OK, EX_SOFTWARE, GatepostError
from core.last_resort import LastResort
from core.lifecycle import Activities, Service, Signals, run_service
from core.process import process_figures
from core.service_manager import ServiceManager
from core.switch import Switch

T = TypeVar("T")

_BACKGROUND: set[asyncio.Task[Any]] = set()
_COLLECT_EVERY = 5_000
"""Objects made and not yet freed that start a young collection. A message makes a few hundred and hardly a cycle."""

_ROUNDS = 2
"""More young collections than this and the next older objects are looked at too: each look is a small one."""

_TURN_S = 0.001
"""A thread that works in Python lets the loop have its turn after this; the loop gives it up at each system call."""
_LONGEST_LOOK_S = 0.03
"""A full collection that takes the processor for longer is not repeated on the same objects …"""
_MOST_FREEZES = 1000
"""… unless that has happened so often."""
_STUCK_S = 60.0
"""One write of a thread that takes longer stands still, where no watchdog says how long it waits."""
_LATE_S = 1.0
_LAST_WRITES_S = 10.0
"""After the grace: what is cancelled then has to end, and stores are closed. Then the process is ended."""


@dataclass(frozen=True)
class Daemon:
    """All that the skeleton needs to know of one daemon."""

    name: str
    services: Sequence[Service]
    control: Path
    verbs: Mapping[str, Handler] = field(default_factory=dict)
    grace_s: float = 10.0
    switch: Switch | None = None
    """Its way to another configuration while it runs: SIGHUP, and the verbs that `commit` asks."""
    guests: Guests = NOBODY
    """Other users who may ask some of the verbs."""
    look_again_s: float = 0.0
    """After how long the collector looks again at what it was spared: the console has large and cyclic sessions."""


def spawn(coro: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
    """Start a task from a transport's callback, where no service scope is at hand; its failure is logged."""
    task = asyncio.create_task(coro, name=name)
    _BACKGROUND.add(task)
    task.add_done_callback(_reap)
    return task


def _reap(task: asyncio.Task[Any]) -> None:
    _BACKGROUND.discard(task)
    if not task.cancelled() and (error := task.exception()):
        say(ERROR, f"{task.get_name()} failed: {''.join(traceback.format_exception(error))}")


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run one coroutine on the project's event loop and give its result."""
    if not gc.isenabled():  # a command that was built without
        _collect_from_now_on()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


def run_daemon(daemon: Daemon, manager: ServiceManager | None = None) -> int:
    """Run a daemon until it is told to stop; give its exit status. `manager` knows already that it starts.

    The last thing that a process does: it is gone some seconds later, whatever still runs in it.
    """
    _spare_collections(daemon.look_again_s)
    sys.setswitchinterval(_TURN_S)
    _allow_descriptors()
    activation.inherit()
    if manager is None:
        manager = ServiceManager()
        manager.begin()
    try:
        return run(_Supervisor(daemon, manager).main())
    except GatepostError as error:
        say(ERROR, f"{daemon.name}: {error.text}")
        return error.status
    finally:
        activation.give_back()


def _allow_descriptors() -> None:
    """Take as many descriptors as the system allows: the usual 1,024 are fewer than connections that are allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _spare_collections(look_again_s: float) -> None:
    """Keep the collector from looking at what lives as long as the process, and from looking often."""
    _collect_from_now_on()
    gc.callbacks.append(_Patience(look_again_s).looked)


def _collect_from_now_on() -> None:
    """Collect only what is made from here on: a look at all that was imported finds some hundred objects to free."""
    gc.freeze()
    gc.collect()  # it remembers how many objects it knows: a full collection is due when a quarter more have come
    gc.set_threshold(_COLLECT_EVERY, _ROUNDS, _ROUNDS)
    gc.enable()


class _Patience:
    """Takes what has lived long out of the collector's sight when a look at all of it took too long.

    What is taken out is freed like anything else that nobody refers to, but for a cycle that was in use at this very
    moment and is given up later. So that happens only so often, or all is looked at again every `again_s` (0 = never).
    """

    def __init__(self, again_s: float) -> None:
        self._again_s = again_s
        self._begun = 0.0
        self._left = _MOST_FREEZES
        self._all_at = time.monotonic()

    def looked(self, phase: str, facts: dict[str, int]) -> None:
        """Take note of a collection: the collector calls it before and after each."""
        if facts["generation"] < 2:
            return
        if phase == "start":
            if self._again_s and time.monotonic() - self._all_at > self._again_s:
                self._all_at = time.monotonic()
                gc.unfreeze()
            self._begun = time.thread_time()
        elif self._left and time.thread_time() - self._begun > _LONGEST_LOOK_S:
            self._left -= not self._again_s
            gc.freeze()


class _Supervisor:
    def __init__(self, daemon: Daemon, manager: ServiceManager) -> None:
        self._daemon = daemon
        self._manager = manager
        self._work = Activities()
        self._state = "starting"
        self._started = clock.monotonic()
        self._started_at = clock.now()
        self._lag_s = 0.0
        self._stuck = False
        self._grace: asyncio.Timeout | None = None
        self._hurry = False
        self._hung_up = self._rereading = False
        self._last = LastResort(daemon.name)

    async def main(self) -> int:
        verbs = {**self._daemon.verbs, "health": self._health, "stop": self._stop}
        if self._daemon.switch is not None:
            self._daemon.switch.spawn = spawn
            verbs |= {**self._daemon.switch.verbs(), "reload": self._on_reload_verb}
        control = ControlServer(self._daemon.control, verbs, guests=self._daemon.guests)
        control.claim()
        services: list[Service] = [*self._daemon.services, control]
        self._signals = Signals(service.name for service in services)
        self._stopping = self._signals.stopping
        self._catch_signals()
        status = EX_OK
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(run_service(service, self._signals, self._work), name=service.name)
                    for service in services
                ]
                own = [group.create_task(self._announce()), group.create_task(self._watch())]
                try:
                    await self._stopping.wait()
                except asyncio.CancelledError:  # a service has failed
                    self._last.within(_LAST_WRITES_S)
                    raise
                await self._wind_down(tasks)
                for task in own:
                    task.cancel()
        except* GatepostError as errors:
            status = self._complain(errors)
        except* Exception as errors:  # the daemon's outermost boundary: whatever failed ends it
            say(CRITICAL, f"{self._daemon.name}: {''.join(traceback.format_exception(errors))}")
            status = EX_SOFTWARE
        return status

    def _complain(self, errors: BaseExceptionGroup[GatepostError]) -> int:
        status = EX_SOFTWARE
        for error in _leaves(errors):
            if isinstance(error, GatepostError):
                say(ERROR, f"{self._daemon.name}: {error.text}")
                status = error.status
        return status

    def _catch_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_stop_signal)
        loop.add_signal_handler(signal.SIGHUP, self._on_reload_signal)

    def _on_stop_signal(self) -> None:
        self._hurry = self._stopping.is_set()
        if self._hurry and self._grace is not None:
            self._grace.reschedule(asyncio.get_running_loop().time())
        self._stopping.set()

    def _on_reload_signal(self) -> None:
        self._hung_up = True
        if self._daemon.switch is not None and not self._rereading:
            self._rereading = True
            spawn(self._reread(self._daemon.switch), "reload")

    async def _reread(self, switch: Switch) -> None:
        """Take the machine's file; once more if it was asked for meanwhile, however often."""
        try:
            while self._hung_up:
                self._hung_up = False
                await self._refused(partial(self._reload, switch))
        finally:
            self._rereading = False

    async def _on_reload_verb(self, _: dict[str, Any]) -> dict[str, Any]:
        """Control verb: take the machine's own configuration, both steps; every reason why not is the answer."""
        assert self._daemon.switch is not None
        try:
            return {"restart": list(await self._reload(self._daemon.switch))}
        except GatepostError as error:
            self._say_refused(error)
            raise

    async def _reload(self, switch: Switch) -> tuple[str, ...]:
        """Go over to the machine's file, and have the service manager know; it hears of readiness only once."""
        if self._state != "ready":
            return await switch.take()
        self._manager.reloading()
        try:
            return await switch.take()
        finally:
            self._manager.ready()

    async def _refused(self, take: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Go over to another configuration; say so if it cannot be."""
        try:
            await take()
        except GatepostError as error:
            self._say_refused(error)

    def _say_refused(self, error: GatepostError) -> None:
        say(ERROR, f"{self._daemon.name}: reload refused, the running configuration stays: {error.text}")

    async def _announce(self) -> None:
        for event in self._signals.ready.values():
            await event.wait()
        if not self._stopping.is_set():
            self._state = "ready"
            for line in activation.unused():
                say(WARNING, f"{self._daemon.name}: {line}")
            say(INFO, f"{self._daemon.name}: ready")
            self._manager.ready()
            self._manager.status("ready")
            if self._daemon.switch is not None:
                spawn(self._refused(self._daemon.switch.catch_up), "configuration since the start")

    async def _watch(self) -> None:
        """Measure how late the loop is; give a sign of life only from a loop that turns, while its threads get on."""
        bound_s = self._manager.watchdog_s
        interval_s = min(1.0, bound_s / 2) if bound_s else 1.0
        while True:
            told = self._condition()
            stuck = [one for one in told.stalls if one.seconds > (bound_s or _STUCK_S)]
            self._say_stuck(stuck)
            if not stuck:
                self._manager.alive()
            self._manager.status(self._how(told, stuck))
            before = clock.monotonic()
            await asyncio.sleep(interval_s)
            self._lag_s = max(0.0, clock.monotonic() - before - interval_s)

    def _condition(self) -> Condition:
        """Ask the services how they are, while they do their work."""
        try:
            return conditions(self._daemon.services) if self._state == "ready" else Condition()
        except Exception as error:  # a figure that cannot be told ends no daemon
            incident("condition", error)
            return Condition()

    def _say_stuck(self, stuck: Sequence[Stall]) -> None:
        """Log that a thread does not get on, once, and that it does again."""
        if bool(stuck) != self._stuck:
            self._stuck = bool(stuck)
            text = _stalled(stuck) if stuck else "what stood still gets on again"
            say(CRITICAL if stuck else INFO, f"{self._daemon.name}: {text}")

    def _how(self, told: Condition, stuck: Sequence[Stall]) -> str:
        """Say in one line how the daemon is."""
        if stuck:
            return f"{self._state}, but {_stalled(stuck)}"
        if self._state == "starting":
            return f"starting, waiting for: {', '.join(self._signals.waiting_for())}"
        if self._state == "stopping":
            return f"stopping, busy with: {', '.join(self._work.names()) or 'the end'}"
        late = [f"the loop was {self._lag_s:.1f} s late"] if self._lag_s > _LATE_S else []
        return "; ".join([self._state, *late, *(concern.text for concern in told.concerns)])

    async def _wind_down(self, tasks: list[asyncio.Task[None]]) -> None:
        self._state = "stopping"
        self._manager.stopping(self._daemon.grace_s + _LAST_WRITES_S)
        self._last.within(self._daemon.grace_s + _LAST_WRITES_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self._hurry else self._daemon.grace_s) as self._grace:
                await asyncio.wait(tasks)
        self._grace = None
        self._last.within(_LAST_WRITES_S)
        for task in tasks:
            if not task.done():
                busy = ", ".join(self._work.names()) or "nothing it named"
                say(WARNING, f"{self._daemon.name}: {task.get_name()} did not stop in time; busy with: {busy}")
                task.cancel()

    async def _health(self, _: dict[str, Any]) -> dict[str, Any]:
        told = conditions(self._daemon.services)
        return {
            "daemon": self._daemon.name,
            "state": self._state,
            "pid": os.getpid(),
            "uptime_s": round(clock.monotonic() - self._started, 3),
            "started_at": self._started_at,
            "loop_lag_s": round(self._lag_s, 6),
            "busy": self._work.names(),
            "waiting_for": self._signals.waiting_for(),
            "process": process_figures(),
            "concerns": [concern._asdict() for concern in told.concerns],
            "figures": [figure._asdict() for figure in told.figures],
        }

    async def _stop(self, _: dict[str, Any]) -> dict[str, Any]:
        asyncio.get_running_loop().call_later(0.05, self._stopping.set)
        return {"stopping": self._daemon.name}


def _stalled(stuck: Sequence[Stall]) -> str:
    """Name what stands still; the seconds are left out, so that the line stays as it is while that lasts."""
    return f"{', '.join(one.what for one in stuck)} does not end; is the disk alive?"


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [error]
