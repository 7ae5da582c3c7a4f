"""Lines of children: named once, never in the child's way, counted when nobody reads them."""

import asyncio
import os

from core.relay import LINE_LIMIT, Relay


async def _fed(relay: Relay, name: str, *chunks: bytes) -> None:
    stream = asyncio.StreamReader(limit=LINE_LIMIT)
    for chunk in chunks:
        stream.feed_data(chunk)
    stream.feed_eof()
    async with asyncio.timeout(30):
        await relay.pass_on(name, stream)


async def test_a_line_gets_the_name_once_and_the_last_one_its_end() -> None:
    reading, writing = os.pipe()
    relay = Relay(writing)
    await _fed(relay, "web", b"web: ready\nTraceback\n", b"no end")
    relay.close()
    os.close(writing)
    with open(reading, "rb") as out:
        assert out.read() == b"web: ready\nweb: Traceback\nweb: no end\n"


async def test_a_line_that_is_too_long_is_said_to_be_left_out_and_the_next_comes_through() -> None:
    reading, writing = os.pipe()
    relay = Relay(writing)
    await _fed(relay, "web", b"x" * (LINE_LIMIT + 100) + b"\nafter\n")
    relay.close()
    os.close(writing)
    with open(reading, "rb") as out:
        lines = out.read().splitlines()
    assert lines[-1] == b"web: after"
    assert b"left out" in lines[0]


async def test_a_reader_that_stands_still_stops_no_child_and_is_told_what_it_missed() -> None:
    reading, writing = os.pipe()
    relay = Relay(writing, waiting=10)
    await _fed(relay, "web", *[b"y" * 1000 + b"\n"] * 500)  # far more than the pipe and the queue hold
    with open(reading, "rb") as out:
        while len(out.readline()) > 1000:
            if relay._lines.empty():
                break
        relay.put("web", b"later\n")
        relay.close()
        os.close(writing)
        rest = out.read()
    assert b"lines were dropped: nobody read them\nweb: later\n" in rest
