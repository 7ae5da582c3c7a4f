"""An SMTP server that does exactly what a test tells it, wrong things included.

    async def script(peer: Peer) -> None:
        await peer.say("220 mx.test")
        await peer.hear("EHLO")
        ...

    async with ScriptedServer(script) as server:
        ... connect to 127.0.0.1:server.port ...

Each connection runs the script anew, or the next of several. A script that fails makes the `async with` fail.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType


class Peer:
    """One connection as the script sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.heard: list[bytes] = []

    async def say(self, *lines: str) -> None:
        """Send lines, in one write."""
        await self.send("".join(f"{line}\r\n" for line in lines).encode())

    async def send(self, data: bytes) -> None:
        """Send octets as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def hear(self, *starts: str) -> list[bytes]:
        """Read one line for each of `starts` and check that it begins so."""
        lines = []
        for start in starts:
            line = await self._reader.readline()
            assert line.startswith(start.encode()), f"expected {start!r}, heard {line!r}"
            lines.append(line)
        self.heard += lines
        return lines

    async def line(self) -> bytes:
        """Read one line, whatever it is; empty at the end."""
        return await self._reader.readline()

    async def content(self) -> bytes:
        """Read content up to and with its final dot."""
        data = b""
        while not data.endswith(b"\r\n.\r\n") and data != b".\r\n":
            line = await self._reader.readline()
            assert line, f"content ended early: {data[-100:]!r}"
            data += line
        return data

    async def octets(self, count: int) -> bytes:
        """Read so many octets."""
        return await self._reader.readexactly(count)

    async def end(self) -> bytes:
        """Read until the other side closes; give what came."""
        try:
            return await self._reader.read()
        except ConnectionError:
            return b""

    async def opening(self, *offers: str) -> None:
        """Greet and answer EHLO."""
        await self.say("220 mx.test ESMTP")
        await self.hear("EHLO")
        names = ["mx.test", *offers]
        await self.say(*[f"250-{name}" for name in names[:-1]], f"250 {names[-1]}")

    async def accept(self, *, recipients: int = 1, final: str = "250 2.0.0 Ok") -> bytes:
        """Take one pipelined transaction."""
        await self.hear("MAIL", *["RCPT"] * recipients, "DATA")
        await self.say("250 Ok", *["250 Ok"] * recipients, "354 go")
        data = await self.content()
        if final:
            await self.say(final)
        return data

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Do the handshake; its failure is not the script's."""
        with contextlib.suppress(OSError):
            await self._writer.start_tls(context)

    def close(self) -> None:
        """Close the connection."""
        self._writer.close()

    def reset(self) -> None:
        """Break the connection off."""
        self._writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class ScriptedServer:
    """Listens on an ephemeral port of 127.0.0.1."""

    def __init__(self, *scripts: Script, context: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.connections = 0
        self._scripts = scripts
        self._context = context
        self._problems: list[BaseException] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> "ScriptedServer":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await asyncio.sleep(0)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.sleep(0)
        if error is None and self._problems:
            raise self._problems[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        script = self._scripts[min(self.connections, len(self._scripts) - 1)]
        self.connections += 1
        self._writers.append(writer)
        try:
            await script(Peer(reader, writer))
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except BaseException as problem:
            self._problems.append(problem)
        finally:
            writer.close()
