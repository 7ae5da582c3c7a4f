"""A process that deletes and redirects in the queue until it is done, or until it is killed at a named point.

`verb_child ROOT`: queues 60 messages for two dead hosts, then deletes those for the first and redirects those for the
second. What an operation reports as done is noted in ROOT/told, after it was reported.
"""

import asyncio
import sys
from pathlib import Path

import uvloop

from mail.queue import operate
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_child import note
from tests.support.queue_machine import Machine

MESSAGES = 60


async def main(root: Path) -> None:
    operate.STEP = operate.COMMIT = 4
    machine = Machine(root)
    machine.courier.refuse = TemporaryFailure(Reply(451, "4.4.1", "nobody there"), "nobody there")
    queue = await machine.start()
    for number in range(MESSAGES):
        await machine.accept(f"a{number}@dead.test", f"b{number}@else.test")
    note(root / "told", "ready")
    verbs = queue.verbs()
    for order in (
        {"action": "delete", "host": "dead.test"},
        {"action": "redirect", "host": "else.test", "to": "x.test"},
    ):
        document = await verbs["operate"](order)
        while document["state"] in ("waiting", "running"):
            document = await verbs["operation"]({"id": document["id"]})
            note(root / "told", f"{document['action']} {document['recipients']}")
            await asyncio.sleep(0)
    await machine.close()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
