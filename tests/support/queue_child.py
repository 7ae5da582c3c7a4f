"""A process that runs the queue until everything is delivered, or until it is killed at a named point.

`queue_child ROOT MESSAGES`: accepts so many messages (each noted in ROOT/accepted once durable), delivers them (each
noted in ROOT/delivered before the queue hears of it), and ends when nothing is left.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from mail.delivery.courier import Carried, Job
from tests.support.queue_machine import Machine


def note(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


def body(mid: int) -> bytes:
    return b"Subject: x\r\n\r\n" + f"message {mid} ".encode() * (mid % 40) + b"\r\n"


async def main(root: Path, messages: int) -> None:
    machine = Machine(root, ready_limit=8, resident=40, patience_s=0.0)
    tried: set[tuple[int, str]] = set()

    async def behave(job: Job, dcid: int) -> Sequence[Carried]:
        await asyncio.sleep(0)
        results = []
        for one in job.recipients:
            if one.address.startswith("later") and (job.mid, one.address) not in tried:
                tried.add((job.mid, one.address))
                results.append(Carried(one.rid, "soft", 450, "4.2.1", "busy"))
            elif one.address.startswith("never"):
                results.append(Carried(one.rid, "hard", 550, "5.1.1", "no"))
            else:
                report_of = job.accepted.bounce_of
                name = f"bounce {report_of}" if report_of else f"{job.mid} {one.rid}"
                note(root / "delivered", name)
                results.append(Carried(one.rid, "delivered", 250, "2.0.0", "ok"))
        return results

    machine.courier.behave = behave
    queue = await machine.start()
    for number in range(messages):
        kinds = ("now", "later", "never") if number % 3 == 0 else ("now",)
        mid = await machine.accept(*(f"{kind}{number}@d{number % 3}.test" for kind in kinds), content=b"x" * 3000)
        note(root / "accepted", f"{mid} {' '.join(kinds)}")
    async with asyncio.timeout(30):
        while queue.views.gauges()["active_recips"] or queue.importer.read():
            machine.time += 40
            await asyncio.sleep(0.05)
    await queue._reclaimer.turn()
    await machine.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), int(sys.argv[2])))
