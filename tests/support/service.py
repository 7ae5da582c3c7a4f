"""Run one service inside a test the way a daemon runs it, without the daemon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from core.lifecycle import Activities, Service, Signals, run_service


@asynccontextmanager
async def running(*services: Service, within_s: float = 60) -> AsyncIterator[Signals]:
    """Start services, wait until all are ready, stop them on leaving; their failures come out here."""
    signals = Signals(service.name for service in services)
    async with asyncio.TaskGroup() as group:
        for service in services:
            group.create_task(run_service(service, signals, Activities()), name=service.name)
        async with asyncio.timeout(within_s):
            for event in signals.ready.values():
                await event.wait()
        try:
            yield signals
        finally:
            signals.stopping.set()
