"""Gateway and delivery-queue in a control group with a memory limit, flooded with messages that never end.

Resource conservation holds them below the limit; should the kernel kill one all the same, whoever supervises it starts
it again and nothing that was answered 250 is lost. When the flood ends mail flows again, without anybody's help.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from tests.support.load import RETRY_SOON, Road, Sink, road
from tests.support.long import either
from tests.support.memory_group import MEBIBYTE, memory_group

LIMIT = 192 * MEBIBYTE
"""The two daemons hold 85 MiB before any mail, and `content_memory` is 64."""
CONSERVATION = """
[conservation]
memory_start = 55
memory_halt = 70
"""
TOO_LITTLE = 128 * MEBIBYTE
NO_CONSERVATION = """
[conservation]
memory_start = 0
memory_halt = 0
"""
CROWD = 500
UNFINISHED = b"Subject: flood\r\n\r\n" + (b"y" * 76 + b"\r\n") * 1500
"""All of them together stay just below what may be kept in memory."""
ROUNDS = either(1, 8)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(either(240, 1800))]


class Flood:
    """Hosts that begin messages and do not end them; those who are refused come again."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.holding = 0
        """Messages that are under way."""
        self.refused: Counter[str] = Counter()

    async def one(self) -> None:
        """Be one of them, for ever."""
        while True:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    await self._begin(reader, writer)
                finally:
                    writer.close()
            await asyncio.sleep(0.2)

    async def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in (b"", b"HELO flood.test", b"MAIL FROM:<a@flood.test>", b"RCPT TO:<b@example.test>", b"DATA"):
            if line:
                writer.write(line + b"\r\n")
            reply = await reader.readuntil(b"\r\n")
            if reply[:1] not in b"23":
                self.refused[reply.decode().strip()] += 1
                return
        writer.write(UNFINISHED)
        self.holding += 1
        try:
            await writer.drain()
            await reader.read()  # nothing is said until the connection ends
        finally:
            self.holding -= 1

    @asynccontextmanager
    async def pouring(self, count: int) -> AsyncIterator[None]:
        """Let so many of them be there while the block runs."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.one()) for _ in range(count)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()


@asynccontextmanager
async def supervised(whole: Road) -> AsyncIterator[list[int]]:
    """Start each daemon again that ends; gives how each of them ended."""
    ends: list[int] = []

    async def watch() -> None:
        while True:
            for daemon in (whole.gateway, whole.queue):
                if daemon.status is not None:
                    ends.append(daemon.status)
                    if daemon is whole.queue:  # nobody saw what it had open at that moment
                        whole.in_flight += whole.sink.most_connections
                    await daemon.start()
            await asyncio.sleep(0.02)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(watch())
        try:
            yield ends
        finally:
            task.cancel()


def judgements(whole: Road) -> list[str]:
    """Give what the mail log says of resource conservation."""
    log = whole.folder / "log" / "mail_logs" / "mail.current"
    if not log.exists():
        return []
    whole_lines = log.read_text(errors="replace").rpartition("\n")[0].splitlines()
    return [line for line in whole_lines if "Resource conservation: " in line]


async def conserving(whole: Road, *, wanted: bool, within_s: float) -> None:
    """Wait until receiving is slowed down for want of memory, or is not any more."""
    async with asyncio.timeout(within_s):
        while True:
            lines = judgements(whole)
            if bool(lines and "-> off" not in lines[-1]) is wanted:
                return
            await asyncio.sleep(0.2)


async def flooded(whole: Road, flood: Flood, reached: Callable[[], Awaitable[None]]) -> None:
    """Pour until something is reached, and a while longer."""
    await whole.more_accepted(100)
    async with flood.pouring(CROWD):
        await reached()
        await asyncio.sleep(either(5, 20))
        print(f"{flood.holding} messages under way, {len(whole.accepted)} accepted, refused: {flood.refused}")


def none_lost(whole: Road, flood: Flood) -> None:
    assert all(reply.startswith(("421 ", "451 ", "452 ")) for reply in [*flood.refused, *whole.refused])
    assert not whole.sink.damaged
    assert whole.sink.repeats <= whole.in_flight


async def test_a_flood_under_a_memory_limit_is_got_over_without_help(tmp_path: Path) -> None:
    with memory_group(LIMIT) as group:
        async with road(tmp_path / "esa", Sink(refuses=0.1), RETRY_SOON + CONSERVATION, group.wrap) as whole:
            whole.patience_s = 150.0  # 60 s before the greeting, as many before the 250
            await whole.start()
            flood = Flood(whole.port)
            async with supervised(whole) as ends, whole.load():
                for _ in range(ROUNDS):
                    await flooded(whole, flood, lambda: conserving(whole, wanted=True, within_s=60))
                    try:
                        await conserving(whole, wanted=False, within_s=60)
                    except TimeoutError:
                        pytest.fail(f"it does not end: {judgements(whole)}\n{whole.last_words()}")
                    await whole.more_accepted(100, 60)
            await whole.empty(60)
        kills = group.kills
    print("\n".join(judgements(whole)))
    assert any("memory" in line for line in judgements(whole))
    assert len(ends) == kills, f"{ends}: ended by themselves\n{whole.last_words()}"
    assert len(ends) <= ROUNDS, "it is not held below the limit"
    none_lost(whole, flood)


async def test_a_daemon_that_the_kernel_kills_for_its_memory_loses_nothing(tmp_path: Path) -> None:
    """Resource conservation is off, and there is less memory than the flood takes."""
    with memory_group(TOO_LITTLE) as group:
        async with road(tmp_path / "esa", Sink(refuses=0.1), RETRY_SOON + NO_CONSERVATION, group.wrap) as whole:
            await whole.start()
            flood = Flood(whole.port)

            async def killed(before: int) -> None:
                async with asyncio.timeout(60):
                    while group.kills == before:
                        await asyncio.sleep(0.1)

            async with supervised(whole) as ends, whole.load():
                for _ in range(ROUNDS):
                    await flooded(whole, flood, partial(killed, group.kills))
                    await whole.more_accepted(100, 60)
            await whole.empty(60)
        kills = group.kills
    print(f"{kills} kills, {whole.sink.repeats} repeats, {whole.in_flight} in flight")
    assert len(ends) == kills, f"{ends}: ended by themselves\n{whole.last_words()}"
    none_lost(whole, flood)
