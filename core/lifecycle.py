"""How a daemon's services start, say that they are ready, and stop.

A daemon is a list of services. Each runs in its own `TaskGroup`; a service that fails ends the daemon.
Stopping has two stages: `Scope.stopping` is set and services refuse new work and return; those that have not
returned after the grace are cancelled, and what was still busy is named.

Used by `core/runtime.py` and by every service. Knows no signals and no sockets.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol


class Service(Protocol):
    """A part of a daemon that runs until it is told to stop."""

    name: str

    async def run(self, scope: "Scope") -> None:
        """Open what is needed, call `scope.ready()`, work until `scope.stopping` is set."""


class Activities:
    """What is being worked on, by name, so that a slow stop can say what it waits for."""

    def __init__(self) -> None:
        self._busy: Counter[str] = Counter()

    @contextmanager
    def activity(self, name: str) -> Iterator[None]:
        """Count `name` as work in hand while the block runs."""
        self._busy[name] += 1
        try:
            yield
        finally:
            self._busy[name] -= 1
            if not self._busy[name]:
                del self._busy[name]

    def names(self) -> list[str]:
        """Name what is in hand, with a count where there are several."""
        return [name if n == 1 else f"{name} ({n})" for name, n in sorted(self._busy.items())]


class Signals:
    """What the daemon and its services tell each other: stop, and which of them are ready."""

    def __init__(self, names: Iterable[str]) -> None:
        self.stopping = asyncio.Event()
        self.ready = {name: asyncio.Event() for name in names}

    def waiting_for(self) -> list[str]:
        """Name the services that are not ready yet."""
        return [name for name, event in self.ready.items() if not event.is_set()]


class Scope:
    """What a running service gets: its tasks, the stop signal, and the way to say `ready`."""

    def __init__(self, name: str, tasks: asyncio.TaskGroup, signals: "Signals", work: Activities) -> None:
        self.name = name
        self.stopping = signals.stopping
        self.ready = signals.ready[name].set
        """Say that this service does its work now (listening, store open). Once is enough."""
        self.activity = work.activity
        self._tasks = tasks
        self._running: set[asyncio.Task[Any]] = set()
        self._failed = False

    def start(self, coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
        """Start a task that belongs to this service; if it fails, the service fails."""
        try:
            task = self._tasks.create_task(coro, name=f"{self.name}: {name}")
        except RuntimeError:  # the service is ending; what was to be started is let go in order
            coro.close()
            raise
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._failed = self._failed or _has_failed(task)

    @property
    def failed(self) -> bool:
        """Whether one of the service's tasks has failed: what it was changing may be half done."""
        return self._failed or any(map(_has_failed, self._running))

    def cancel(self) -> None:
        """Cancel the tasks that this service started and that still run."""
        for task in tuple(self._running):
            task.cancel()

    async def pause(self, seconds: float) -> bool:
        """Wait for `seconds` or until stopping; true if the service should go on."""
        try:
            async with asyncio.timeout(seconds):
                await self.stopping.wait()
        except TimeoutError:
            return True
        return False


def _has_failed(task: asyncio.Task[Any]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is not None


async def run_service(service: Service, signals: Signals, work: Activities) -> None:
    """Run one service with a task group of its own; leave when it returns, with its tasks cancelled."""
    async with asyncio.TaskGroup() as tasks:
        scope = Scope(service.name, tasks, signals, work)
        await service.run(scope)
        scope.ready()
        scope.cancel()
