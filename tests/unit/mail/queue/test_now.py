"""`mail.queue.now`: what waits is tried at once, in memory and in the index."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.errors import GatepostError
from mail.queue.fair.store import make_several_due
from protocol.errors import TemporaryFailure
from protocol.reply import Reply
from tests.support.queue_machine import Machine

DOWN = TemporaryFailure(Reply(451, "4.4.1", "nobody there"), "nobody there")
HOSTS = 100


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    one = Machine(tmp_path)
    one.courier.refuse = DOWN
    queue = await one.start()
    for number in range(HOSTS):
        await one.accept(f"a@d{number}.test", f"b@d{number}.test")
    await one.until(
        lambda: not queue._book.messages and not queue._book.changed and len(queue._scheduler.by_name) == HOSTS
    )
    one.courier.refuse = None
    yield one
    await one.close()


async def test_many_hosts_are_woken_with_few_transactions(machine: Machine) -> None:
    queue = machine.queue
    assert queue is not None
    wakings: list[int] = []
    change = queue._loader._database.change

    async def counted(work, *args, **kwargs):  # type: ignore[no-untyped-def]
        if work is make_several_due:
            wakings.append(len(args[0]))
        return await change(work, *args, **kwargs)

    queue._loader._database.change = counted  # type: ignore[method-assign]
    assert await queue.verbs()["deliver_now"]({"all": True}) == {"recipients": 2 * HOSTS}
    await machine.until(lambda: len(machine.courier.mids()) == HOSTS)
    assert sum(wakings) == HOSTS
    assert len(wakings) <= 4


async def test_one_host_is_woken_and_the_others_wait(machine: Machine) -> None:
    queue = machine.queue
    assert queue is not None
    assert await queue.verbs()["deliver_now"]({"host": "D7.test"}) == {"recipients": 2}
    await machine.until(lambda: len(machine.courier.mids()) == 1)
    assert queue._scheduler.by_name["d8.test"][0].active == 2
    with pytest.raises(GatepostError, match="no mail has been queued"):
        await queue.verbs()["deliver_now"]({"host": "nowhere.test"})


async def test_impatience_lengthened_the_wait_and_used_up_retries(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.courier.refuse = DOWN
    queue = await machine.start()
    await machine.accept("a@there.test")
    try:
        await machine.until(lambda: machine.log.having("pending till"))
        first = machine.log.having("pending till")[0]
        for number in (2, 3, 4):
            await queue.verbs()["deliver_now"]({"host": "there.test"})
            await machine.until(lambda: len(machine.log.having("pending till")) == number)  # noqa: B023
        lines = machine.log.having("pending till")
        assert {line.partition("till")[2] for line in lines} == {first.partition("till")[2]}
    finally:
        await machine.close()
