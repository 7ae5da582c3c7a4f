"""`mail.queue.turns`: much work does not hold up the loop."""

import asyncio
import time

from mail.queue.turns import SLICE_S, Turns


async def test_others_run_between_slices_and_the_order_is_kept() -> None:
    turns, done, others = Turns(), list[int](), 0

    def work(number: int) -> None:
        until = time.monotonic() + SLICE_S * 0.6  # the loop's clock counts whole milliseconds: two are surely a slice
        while time.monotonic() < until:
            pass
        done.append(number)

    for number in range(10):
        turns.add(lambda number=number: work(number))  # type: ignore[misc]
    while len(done) < 10:
        await asyncio.sleep(0)
        others += 1
    assert done == list(range(10))
    assert others >= 5


async def test_a_piece_that_fails_does_not_stop_the_others() -> None:
    turns, done, seen = Turns(), list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: seen.append(context["exception"]))
    turns.add(lambda: {}["nothing"])
    turns.add(lambda: done.append(1))
    while not done:
        await asyncio.sleep(0)
    assert len(seen) == 1
