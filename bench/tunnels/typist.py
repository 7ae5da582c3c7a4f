"""An engineer who types: keys through the bastion's recorded session, and how long each takes to come back."""

import asyncio
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncssh

from core.ssh import client_options, known_hosts_line, read_certificate, read_key

KEY = b"q"
LOST_S = 10.0
"""A key that was not echoed for so long is counted with this, and the session as stuck."""
_RUBOUT = b"\x15"
_LINE = 20


class _Terminal(asyncssh.SSHClientSession[bytes]):
    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.seen = b""
        self.ended = False

    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        self.seen += data
        self.news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self.news.set()

    async def wait_for(self, wanted: bytes, within_s: float) -> bool:
        """Wait until the screen was sent something; false if it was not in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while wanted not in self.seen and not self.ended:
                    self.news.clear()
                    await self.news.wait()
        return wanted in self.seen


class Typist:
    """Types at the console of one appliance until told to stop; `took` gathers (when, milliseconds)."""

    def __init__(self, facts: dict[str, Any]) -> None:
        """`facts` are those of lab.json."""
        self._host, _, port = facts["bastion"]["engineers"].rpartition(":")
        self._port = int(port)
        engineer = facts["engineer"]
        lines = Path(engineer["known_hosts"]).read_text().splitlines()
        pinned = next(line.partition(" ")[2] for line in lines if line.startswith(f"[{self._host}]"))
        self._options = client_options(
            facts["esa"]["serial"].lower(),
            known_hosts_line(self._host, pinned),
            host_key_alias=self._host,
            keys=[(read_key(Path(engineer["key"])), read_certificate(Path(engineer["certificate"])))],
        )
        self.took: list[tuple[float, float]] = []

    async def type(self, pause_s: float = 0.05) -> None:
        """Open a session, then one key after the other until cancelled or cut off."""
        async with asyncssh.connect(self._host, self._port, config=None, options=self._options) as connection:
            channel, terminal = await connection.create_session(
                _Terminal, term_type="xterm", term_size=(80, 24), request_pty="force", encoding=None
            )
            if not await terminal.wait_for(b"(SERVICE)>", 30):
                raise SystemExit(f"bench: the console gave no prompt but {terminal.seen[-200:]!r}")
            await asyncio.sleep(0.5)
            while not terminal.ended:
                for _ in range(_LINE):
                    if not await self._key(channel, terminal):
                        break
                    await asyncio.sleep(pause_s)
                channel.write(_RUBOUT)
                await asyncio.sleep(2 * pause_s)

    async def _key(self, channel: asyncssh.SSHClientChannel[bytes], terminal: _Terminal) -> bool:
        terminal.seen = b""
        begun = time.monotonic()
        channel.write(KEY)
        good = await terminal.wait_for(KEY, LOST_S)
        if terminal.ended:
            return False
        self.took.append((begun, 1000 * (time.monotonic() - begun) if good else 1000 * LOST_S))
        return good

    def between(self, begin: float, end: float) -> dict[str, float]:
        """Give what the keys of some time came to, in milliseconds."""
        took = sorted(each for at, each in self.took if begin <= at <= end)
        if not took:
            return {"keys": 0, "p50_ms": 0.0, "p99_ms": 0.0, "worst_ms": 0.0}
        at = {"p50_ms": 0.5, "p99_ms": 0.99}
        found = {name: round(took[min(len(took) - 1, int(part * len(took)))], 1) for name, part in at.items()}
        return {"keys": len(took), **found, "worst_ms": round(took[-1], 1)}
