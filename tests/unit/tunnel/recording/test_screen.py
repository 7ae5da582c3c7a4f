"""tunnel.recording.screen: a late watcher sees the screen, a slow one is dropped, memory is bounded."""

import asyncio

from tunnel.recording.screen import KEPT, QUEUE, WATCHERS, Screen, Watch


async def _all(watch: Watch) -> list[tuple[str, bytes]]:
    return [frame async for frame in watch]


async def test_who_comes_late_sees_what_came_since_the_last_clear_and_then_the_rest() -> None:
    screen = Screen(100, 30)
    screen.output(b"old\x1b[?1049h stuff \x1b[2")
    screen.output(b"Jnew")
    watch = screen.watch()
    assert watch is not None
    screen.output(b" more")
    screen.resize(120, 40)
    screen.end()
    assert await _all(watch) == [
        ("r", b"100x30"),
        ("o", b"\x1bc\x1b[?1049h\x1b[2Jnew"),
        ("o", b" more"),
        ("r", b"120x40"),
    ]
    assert watch.ended == "session ended"


async def test_a_slow_watcher_is_dropped_and_the_others_are_not() -> None:
    screen = Screen(80, 24)
    slow, quick = screen.watch(), screen.watch()
    assert slow is not None
    assert quick is not None
    seen = 0
    reader = aiter(quick)
    for _ in range(QUEUE // 1024 + 10):
        screen.output(b"x" * 1024)
        while quick.ready:
            seen += len((await anext(reader))[1])
    assert slow.ended == "too slow"
    assert await _all(slow) == []
    assert (quick.ended, seen > QUEUE) == ("", True)


async def test_a_watcher_that_waits_is_woken_and_one_that_left_hears_no_more() -> None:
    screen = Screen(80, 24)
    watch = screen.watch()
    assert watch is not None
    assert [await anext(watch), await anext(watch)]
    asyncio.get_running_loop().call_soon(screen.output, b"news")
    assert await anext(watch) == ("o", b"news")
    watch.close()
    screen.output(b"unseen")
    assert await _all(watch) == []


def test_what_is_kept_and_who_watches_is_bounded() -> None:
    async def check() -> None:
        screen = Screen(80, 24)
        screen.output(b"\x1b[?25l")
        for _ in range(100):
            screen.output(b"no clear here " * 1000)
        assert len(screen._kept) <= KEPT
        first = screen.watch()
        assert first is not None
        await anext(first)
        assert b"\x1b[?25l" in (await anext(first))[1]
        for _ in range(WATCHERS - 1):
            assert screen.watch() is not None
        assert screen.watch() is None

    asyncio.run(check())
