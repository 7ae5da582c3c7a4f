"""The whole road under load, its two daemons killed again and again: whatever was answered 250 arrives.

A real `gateway` and a real `delivery-queue` run as processes of one machine; the clients and the host that the mail
goes to are here. The moments of the kills come from a seed that is printed; ROAD_KILL_SEED repeats one.
"""

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.road import DaemonProcess, make_gateway

KILLS = 15
"""Of each of the two daemons."""
SESSIONS = 8


def content_of(mark: str) -> bytes:
    """Give a message that only its mark determines: most are small, some are spilled to a file; dots at line starts."""
    chance = random.Random(mark)
    size = chance.choice([300, 4000, 4000, 4000, 30_000]) if chance.random() < 0.98 else 400_000
    line = b"." * chance.randrange(3) + chance.randbytes(33).hex().encode() + b"\r\n"
    return b"X-Mark: %b\r\nSubject: road\r\n\r\n" % mark.encode() + line * (size // len(line))


@dataclass
class Sink:
    """The host that the mail goes to; keeps the content of every transaction that it answered for."""

    arrived: Counter[str] = field(default_factory=Counter)
    damaged: list[bytes] = field(default_factory=list)
    connections: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.connections -= 1
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink\r\n")
        while line := await reader.readline():
            verb = line[:4].upper()
            if verb == b"DATA":
                writer.write(b"354 go\r\n")
                data = await reader.readuntil(b"\r\n.\r\n")
                self._keep(data[:-3].replace(b"\r\n.", b"\r\n"))
                writer.write(b"250 kept\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250-sink\r\n250 PIPELINING\r\n" if verb == b"EHLO" else b"250 ok\r\n")

    def _keep(self, data: bytes) -> None:
        trace, found, rest = data.partition(b"X-Mark: ")
        mark = rest.partition(b"\r\n")[0].decode("ascii", "replace")
        if found and trace.startswith(b"Received: ") and found + rest == content_of(mark):
            self.arrived[mark] += 1
        else:
            self.damaged.append(data[:500])
        self.news.set()


class Client:
    """One sending host. What got no answer is not sent again, so that every repeat is the queue's."""

    def __init__(self, port: int, name: str, accepted: set[str]) -> None:
        self._port = port
        self._name = name
        self._accepted = accepted
        self._number = 0

    async def send_until(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                async with asyncio.timeout(20):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    try:
                        await self._converse(reader, writer, stopping)
                    finally:
                        writer.close()
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)

    async def _converse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stopping: asyncio.Event
    ) -> None:
        await self._say(reader, writer, b"", b"220")
        await self._say(reader, writer, b"HELO client.test\r\n", b"250")
        for _ in range(100):
            if stopping.is_set():
                return
            self._number += 1
            mark = f"{self._name}-{self._number}"
            await self._say(reader, writer, b"MAIL FROM:<from@client.test>\r\n", b"250")
            await self._say(reader, writer, b"RCPT TO:<to@example.test>\r\n", b"250")
            await self._say(reader, writer, b"DATA\r\n", b"354")
            text = content_of(mark).replace(b"\r\n.", b"\r\n..")
            await self._say(reader, writer, text + b".\r\n", b"250")
            self._accepted.add(mark)
            await asyncio.sleep(0.004)

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes, want: bytes) -> None:
        writer.write(line)
        reply = await reader.readuntil(b"\r\n")
        assert reply.startswith(want), f"{line[:40]!r} was answered {reply!r}"


class Road:
    """One machine with its two daemons, eight clients in front of it and a sink behind it."""

    def __init__(self, folder: Path, sink_port: int, chance: random.Random) -> None:
        self.port = make_gateway(folder, sink_port)
        self.gateway = DaemonProcess(folder, "gateway", "gateway-0")
        self.queue = DaemonProcess(folder, "delivery-queue", "delivery-queue")
        self.accepted: set[str] = set()
        self.in_flight = 0
        """Connections to the sink at the moments when the queue was killed: each can repeat one message."""
        self._chance = chance

    async def torture(self, daemon: DaemonProcess, sink: Sink) -> None:
        """Kill a daemon at random moments, now and then before it has come up, and start it again."""
        for _ in range(KILLS):
            if self._chance.random() < 0.8:
                await daemon.until_ready()
                await asyncio.sleep(self._chance.uniform(0, 0.5))
            else:
                await asyncio.sleep(self._chance.uniform(0, 0.8))
            if daemon is self.queue:
                self.in_flight += sink.connections
            await daemon.kill()
            await daemon.start()
        await daemon.until_ready()

    async def empty(self, sink: Sink) -> None:
        """Wait until everything that was accepted has arrived."""
        try:
            async with asyncio.timeout(20):
                while self.accepted - sink.arrived.keys():
                    sink.news.clear()
                    await sink.news.wait()
        except TimeoutError:
            lost = sorted(self.accepted - sink.arrived.keys())
            pytest.fail(f"{len(lost)} messages that got 250 did not arrive: {lost[:20]}")


@asynccontextmanager
async def road(folder: Path, chance: random.Random, sink: Sink) -> AsyncIterator[Road]:
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=4 << 20)
    whole = Road(folder, server.sockets[0].getsockname()[1], chance)
    try:
        await whole.gateway.start()
        await whole.queue.start()
        yield whole
    finally:
        for daemon in (whole.gateway, whole.queue):
            await daemon.kill()
        server.close()


async def test_everything_answered_250_arrives_though_both_daemons_are_killed(tmp_path: Path) -> None:
    seed = int(os.environ.get("ROAD_KILL_SEED") or random.randrange(1 << 32))
    print(f"ROAD_KILL_SEED={seed}")
    sink = Sink()
    async with asyncio.timeout(60), road(tmp_path / "esa", random.Random(seed), sink) as whole:
        await whole.gateway.until_ready()
        stopping = asyncio.Event()
        clients = [Client(whole.port, f"client{number}", whole.accepted) for number in range(SESSIONS)]
        async with asyncio.TaskGroup() as group:
            for client in clients:
                group.create_task(client.send_until(stopping))
            async with asyncio.TaskGroup() as torture:
                for daemon in (whole.gateway, whole.queue):
                    torture.create_task(whole.torture(daemon, sink))
            stopping.set()
        await whole.empty(sink)
    repeats = sum(count - 1 for count in sink.arrived.values())
    print(f"{len(whole.accepted)} accepted, {repeats} repeats, {whole.in_flight} in flight at the kills")
    assert not sink.damaged
    assert len(whole.accepted) > 500, "there was no load worth the name"
    assert repeats <= whole.in_flight
