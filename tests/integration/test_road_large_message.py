"""A message of 50 MiB in lines of ten octets goes through the real gateway and queue, which hardly notice."""

import asyncio
import contextlib
import os
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.processor import queued_s
from tests.support.road import DaemonProcess, make_gateway

BLOCK = b"12345678\r\n" * 26_214
BLOCKS = 200
"""Times a quarter of a MiB."""
TRIES = 3
MOST_KIB = 8 * 1024
MOST_S = 0.050


class Host:
    """Takes mail and counts its octets."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[int] = asyncio.Queue()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 host\r\n")
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"DATA"):
                    writer.write(b"354 go\r\n")
                    self.taken.put_nowait(await self._count(reader))
                writer.write(b"250 ok\r\n")
        writer.close()

    async def _count(self, reader: asyncio.StreamReader) -> int:
        octets, end = 0, b""
        while not end.endswith(b"\r\n.\r\n"):
            data = await reader.read(1 << 20)
            octets += len(data)
            end = (end + data)[-5:]
        return octets


def resident_kib(pid: int) -> int:
    """Give the octets of a process that are in memory and are no file's."""
    found = re.search(r"^RssAnon:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


class Client:
    """One connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, port: int) -> AsyncIterator["Client"]:
        client = cls(*await asyncio.open_connection("127.0.0.1", port))
        try:
            assert (await client._reader.readline()).startswith(b"220")
            await client.say(b"HELO client.test")
            yield client
        finally:
            client._writer.close()

    async def say(self, line: bytes, code: bytes = b"250") -> None:
        self._writer.write(line + b"\r\n")
        reply = await self._reader.readline()
        assert reply.startswith(code), reply

    async def send(self, blocks: int) -> None:
        await self.say(b"MAIL FROM:<from@client.test>")
        await self.say(b"RCPT TO:<to@example.test>")
        await self.say(b"DATA", b"354")
        self._writer.write(b"Subject: large\r\n\r\n")
        for _ in range(blocks):
            self._writer.write(BLOCK)
            await self._writer.drain()
        await self.say(b".")


class Observer:
    """Looks at memory, and asks the gateway small questions all the time: a late answer is a loop that was held.

    What other processes of this machine held, the gateway's loop or ours, does not count.
    """

    def __init__(self, port: int, pids: dict[str, int]) -> None:
        self._port = port
        self._pids = pids
        self._before = {name: resident_kib(pid) for name, pid in pids.items()}
        self.grown_kib = dict.fromkeys(pids, 0)
        self.latest_s = 0.0
        self._loops = pids["gateway"], os.getpid()

    def _clock(self) -> float:
        return time.monotonic() - sum(map(queued_s, self._loops))

    async def watch(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            async with Client.open(self._port) as client:
                for _ in range(50):
                    began = self._clock()
                    await client.say(b"NOOP")
                    self.latest_s = max(self.latest_s, self._clock() - began)
                    for name, pid in self._pids.items():
                        grown = resident_kib(pid) - self._before[name]
                        self.grown_kib[name] = max(self.grown_kib[name], grown)
                    await asyncio.sleep(0.004)


@pytest.mark.slow
async def test_a_large_message_costs_little_memory_and_never_holds_the_gateway(tmp_path: Path) -> None:
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    port = make_gateway(tmp_path / "esa", server.sockets[0].getsockname()[1])
    daemons = [DaemonProcess(tmp_path / "esa", name, at) for name, at in DAEMONS]
    try:
        for daemon in daemons:
            await daemon.start()
            await daemon.until_ready()
        async with Client.open(port) as client:
            await client.send(8)
        async with asyncio.timeout(60):
            await host.taken.get()
        observers = [await observed(port, daemons, host) for _ in range(TRIES)]
    finally:
        for daemon in daemons:
            await daemon.kill()
        server.close()
    for observer in observers:
        assert max(observer.grown_kib.values()) < MOST_KIB, observer.grown_kib
    # What this machine does makes a single answer late (its disk, say), what we do makes all of them late.
    assert min(observer.latest_s for observer in observers) < MOST_S


DAEMONS = (("delivery-queue", "delivery-queue"), ("gateway", "gateway-0"))


async def observed(port: int, daemons: list[DaemonProcess], host: Host) -> Observer:
    """Send one message of 50 MiB and wait until it has arrived; give what was seen meanwhile."""
    observer = Observer(port, {name: daemon.pid for (name, _), daemon in zip(DAEMONS, daemons, strict=True)})
    stopping = asyncio.Event()
    async with asyncio.timeout(120), asyncio.TaskGroup() as group:
        group.create_task(observer.watch(stopping))
        async with Client.open(port) as client:
            await client.send(BLOCKS)
        assert await host.taken.get() > BLOCKS * len(BLOCK)
        stopping.set()
    return observer
