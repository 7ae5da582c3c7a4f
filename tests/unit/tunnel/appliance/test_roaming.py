"""tunnel.appliance.roaming: whether an address is ours, and that watching the kernel ends cleanly."""

import asyncio

from tunnel.appliance.roaming import is_ours, watch


def test_an_address_of_this_machine_is_told_from_one_that_is_gone() -> None:
    assert is_ours("127.0.0.1")
    assert is_ours("")
    assert not is_ours("192.0.2.77")


async def test_watching_can_be_ended_at_any_time() -> None:
    task = asyncio.get_running_loop().create_task(watch(lambda: None))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled() or task.result() is None
