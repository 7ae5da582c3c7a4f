"""One side of the central quarantine as a process that may be killed at a named point (GATEPOST_KILL_AT).

`python -m tests.support.quarantine_child WHAT DIR [PORT]`: `hold` and `resume` listen and print their port, `release`
releases all that is held, `send` sends three messages to PORT. The parent kills what listens.
"""

import asyncio
import sys
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from core import runtime
from core.journal import Journal
from core.record import CPQ_HOST
from cpq.content import ContentFolder
from cpq.exchange.seen import SeenTransfers
from cpq.handover import HandOver
from cpq.held import Order, Search
from cpq.state import Cause, Event
from cpq.store import SqliteStore
from tests.support.quarantine import Gateway, Machine, Pokes, Quarantine, courier, gateway, job, machines, quarantine

MESSAGES = (1, 2, 3)


async def listen(side: AbstractAsyncContextManager[Quarantine | Gateway]) -> None:
    async with side as running:
        print(running.listener.port, flush=True)
        await asyncio.Event().wait()


async def release(sma: Machine) -> None:
    store = SqliteStore(sma.dir / "quarantine.db")
    seen = SeenTransfers()
    journal = Journal.open(sma.dir / "spool/journal/release-host", show=seen.see)
    held = await store.catalogue.find(Search())
    await store.decisions.apply([Order(one.id, Event.RELEASE, Cause.MANUAL) for one in held], 1.0)
    handover = HandOver(store.outbox, ContentFolder(sma.dir / "spool/content"), journal, Pokes(), sma.log, seen=seen)
    await handover.turn()
    journal.close()
    store.close()


async def send(esa: Machine, sma: Machine, port: int) -> None:
    esa.paired_with(sma, port)
    async with courier(esa) as post:
        line = await post.open(CPQ_HOST, "")
        for mid in MESSAGES:
            results = await line.send(job(mid))
            assert results[0].kind == "delivered", results
        await line.close()


async def main(what: str, folder: Path, *rest: str) -> int:
    esa, sma = machines(folder)
    if what == "hold":
        await listen(quarantine(sma))
    elif what == "resume":
        await listen(gateway(esa))
    elif what == "release":
        await release(sma)
    else:
        await send(esa, sma, int(rest[0]))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])))
