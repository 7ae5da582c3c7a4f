"""Mail for fault tests: clients that note what was answered 250, and a sink that notes what arrived whole.

Between them stands a `Road`: a real gateway and a real delivery-queue of one machine, as processes.
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.road import DaemonProcess, make_gateway
from tests.support.waiting import until

RETRY_SOON = """
[[bounce_profile]]
name = "Default"
initial_retry_s = 1
max_retry_s = 2
"""


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
    """Open now: a queue that dies can repeat one message for each."""
    most_connections: int = 0
    """The most that were open at a time: for a queue that ends when nobody looks."""
    transactions: int = 0
    """Content answered for, whatever it was."""
    refuses: float = 0.0
    """Share of the messages that are answered 451 at the first look."""
    chance: random.Random = field(default_factory=random.Random)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.most_connections = max(self.most_connections, self.connections)
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
                if self.chance.random() < self.refuses:
                    writer.write(b"451 4.3.0 later\r\n")
                    continue
                self._keep(data[:-3].replace(b"\r\n.", b"\r\n"))
                writer.write(b"250 kept\r\n")
            elif verb == b"QUIT":
                writer.write(b"221 bye\r\n")
                return
            else:
                writer.write(b"250-sink\r\n250 PIPELINING\r\n" if verb == b"EHLO" else b"250 ok\r\n")

    def _keep(self, data: bytes) -> None:
        self.transactions += 1
        trace, found, rest = data.partition(b"X-Mark: ")
        mark = rest.partition(b"\r\n")[0].decode("ascii", "replace")
        if found and trace.startswith(b"Received: ") and found + rest == content_of(mark):
            self.arrived[mark] += 1
        else:
            self.damaged.append(data[:500])

    @property
    def repeats(self) -> int:
        """Copies beyond the first."""
        return sum(count - 1 for count in self.arrived.values())


class Refused(Exception):
    """The gateway answered 4xx: the client comes back later."""


class Client:
    """One sending host. What got no 250 is not sent again, so that every repeat is the queue's."""

    def __init__(
        self,
        port: int,
        name: str,
        accepted: set[str],
        refused: Counter[str],
        *,
        pause_s: float = 0.004,
        patience_s: float = 60.0,
    ) -> None:
        """`patience_s` is the longest that a whole connection may take."""
        self._port = port
        self._name = name
        self._accepted = accepted
        self._refused = refused
        self._pause_s = pause_s
        self._patience_s = patience_s
        self._number = 0

    async def send_until(self, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            try:
                async with asyncio.timeout(self._patience_s):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
                    try:
                        await self._converse(reader, writer, stopping)
                    finally:
                        writer.close()
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)
            except Refused:
                await asyncio.sleep(0.05)

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
            await asyncio.sleep(self._pause_s)

    async def _say(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: bytes, want: bytes) -> None:
        writer.write(line)
        reply = await reader.readuntil(b"\r\n")
        if reply.startswith(b"4"):
            self._refused[reply.decode().strip()] += 1
            raise Refused
        assert reply.startswith(want), f"{line[:40]!r} was answered {reply!r}"


class Road:
    """One machine with its two daemons, eight clients in front of it and a sink behind it."""

    def __init__(self, folder: Path, sink: Sink, sink_port: int, more: str = "", wrap: Iterable[str] = ()) -> None:
        self.folder = folder
        self.sink = sink
        self.port = make_gateway(folder, sink_port, more)
        self.gateway = DaemonProcess(folder, "gateway", "gateway-0", wrap)
        self.queue = DaemonProcess(folder, "delivery-queue", "delivery-queue", wrap)
        self.errors = folder.parent.parent / "daemons.log"
        """Not on the disk that a test breaks."""
        self.gateway.errors = self.queue.errors = self.errors
        self.accepted: set[str] = set()
        self.refused: Counter[str] = Counter()
        self.in_flight = 0
        """Connections to the sink at the moments when the queue was killed: each can repeat one message."""
        self.patience_s = 60.0
        """The longest that a whole connection of a client may take."""

    async def start(self) -> None:
        """Start both daemons and wait until they are ready."""
        await self.gateway.start()
        await self.queue.start()
        await self.gateway.until_ready()
        await self.queue.until_ready()

    async def kill(self) -> None:
        """Kill both, if they live."""
        self.stop_queue()
        for daemon in (self.queue, self.gateway):
            await daemon.end()

    def stop_queue(self) -> None:
        """Stop the queue, which is to be killed then, and count what it has open: it opens nothing more."""
        if self.queue.running:
            os.kill(self.queue.pid, signal.SIGSTOP)
        self.in_flight += self.sink.connections

    @asynccontextmanager
    async def load(self, sessions: int = 8, pause_s: float = 0.004) -> AsyncIterator[None]:
        """Send while the block runs."""
        stopping = asyncio.Event()
        name = f"{len(self.accepted)}-client"
        async with asyncio.TaskGroup() as group:
            for number in range(sessions):
                client = Client(
                    self.port,
                    f"{name}{number}",
                    self.accepted,
                    self.refused,
                    pause_s=pause_s,
                    patience_s=self.patience_s,
                )
                group.create_task(client.send_until(stopping))
            try:
                yield
            finally:
                stopping.set()

    async def more_accepted(self, count: int, within_s: float = 60) -> None:
        """Wait until so many more messages were answered 250."""
        goal = len(self.accepted) + count
        async with asyncio.timeout(within_s):
            while len(self.accepted) < goal:
                await asyncio.sleep(0.02)

    async def refuses(self, since: int, within_s: float = 90) -> None:
        """Wait until more were refused than at a former moment."""
        await until(lambda: self.refused.total() > since, "clients are refused", within_s=within_s)

    async def nothing_accepted(self, for_s: float, within_s: float = 60) -> None:
        """Wait until for so long nothing was answered 250, though clients try."""
        async with asyncio.timeout(within_s):
            before = -1
            while before != len(self.accepted):
                before = len(self.accepted)
                await asyncio.sleep(for_s)

    async def empty(self, within_s: float = 60) -> None:
        """Wait until everything that was accepted has arrived; `within_s` is the longest without any of it.

        What a fault held up may be very much, and takes as long as the machine needs. It is looked at now and then: to
        look at all of it for each message that arrives took the processor from those who deliver.
        """
        lost: set[str] | None = None
        patience = asyncio.get_running_loop().time() + within_s
        while left := self.accepted - self.sink.arrived.keys():
            now = asyncio.get_running_loop().time()
            if lost is None or len(left) < len(lost):
                patience = now + within_s
            lost = left
            if now > patience:
                pytest.fail(
                    f"{len(lost)} messages that got 250 did not arrive: {sorted(lost)[:20]}\n{self.last_words()}"
                )
            await asyncio.sleep(0.1)

    def last_words(self) -> str:
        """Give the ends of the logs."""
        files = (self.errors, self.folder / "log" / "mail_logs" / "mail.current")
        return "\n".join(file.read_text(errors="replace")[-2000:] for file in files if file.exists())


@asynccontextmanager
async def road(folder: Path, sink: Sink, more: str = "", wrap: Iterable[str] = ()) -> AsyncIterator[Road]:
    """Make the machine and the sink; nothing is started."""
    server = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=4 << 20)
    whole = Road(folder, sink, server.sockets[0].getsockname()[1], more, wrap)
    try:
        yield whole
    finally:
        await whole.kill()
        server.close()
