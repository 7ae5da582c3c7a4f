"""A small HTTPS server for tests: one answer for everything, and what it was asked.

async with HttpsServer(context, body=b"...") as server: server.port
"""

import asyncio
import ssl
from types import TracebackType


class HttpsServer:
    """Answers each connection once; `status`, `body`, `headers` may be changed at any time."""

    def __init__(
        self, context: ssl.SSLContext, *, body: bytes = b"", address: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.status = "200 OK"
        self.body = body
        self.headers = {"Content-Type": "text/plain"}
        self.silent = False
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self._context = context
        self._where = (address, port)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.sockets[0].getsockname()[1])

    async def __aenter__(self) -> "HttpsServer":
        self._server = await asyncio.start_server(self._serve, *self._where, ssl=self._context)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in head[1:-2])}
            content = await reader.readexactly(int(fields.get("content-length", 0)))
            self.asked.append((head[0], fields, content))
            if self.silent:
                await reader.read()
                return
            headers = {"Content-Length": str(len(self.body)), "Connection": "close", **self.headers}
            lines = "".join(f"{key}: {value}\r\n" for key, value in headers.items())
            writer.write(f"HTTP/1.1 {self.status}\r\n{lines}\r\n".encode("latin-1") + self.body)
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
