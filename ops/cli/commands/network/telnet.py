"""`telnet`: a conversation with a port of another host, by hand on a terminal, or from lines for scripts."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, Literal

from core.errors import EX_DATAERR, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.commands.network.choice import Source, ask_source, source
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, Lend, Lent, command
from ops.network.place import Target, find
from ops.network.telnet import Keyboard, Shown, Telnet, sent

_READ = 4096
_AHEAD = 64 * 1024
"""Octets typed that wait for a peer that does not read; more are dropped."""
_RECEIVED = 1 << 20
_LINES = 1000
_QUIET_S = 0.3
_CLOSE_S = 2.0

Ended = Literal["peer", "you", "idle"]
_WORDS: dict[str, str] = {
    "peer": "Connection closed by foreign host.",
    "you": "Connection closed.",
    "idle": "Connection closed: nothing was typed and nothing came for too long.",
}


@dataclass(frozen=True)
class _Wire:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@asynccontextmanager
async def _connected(target: Target, port: int, start: str, timeout_s: float) -> AsyncIterator[_Wire]:
    """Connect; the connection ends with the block. Raises status 69 and 75."""
    try:
        async with asyncio.timeout(timeout_s):
            local = (start, 0) if start else None
            reader, writer = await asyncio.open_connection(target.address, port, local_addr=local, limit=_RECEIVED)
    except TimeoutError:
        raise GatepostError(f"{target.host} port {port}: no answer within {timeout_s:g} s", EX_TEMPFAIL) from None
    except OSError as error:
        text = error.strerror or str(error)
        raise GatepostError(f"{target.host} port {port}: {text}", EX_UNAVAILABLE) from None
    try:
        yield _Wire(reader, writer)
    finally:
        writer.close()
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await writer.wait_closed()


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    start = await ask_source(call, dialogue, "Please select which interface you want to telnet from.")
    host = await dialogue.ask("Enter the remote hostname or IP address.")
    if not host:
        return None
    port = await dialogue.number("Enter the remote port.", 25, 65535)
    return {"host": host, "port": port or 25, "from_": start}


def render(document: Document, width: int) -> str:
    """Say how it ended; the rest was shown as it came."""
    return _WORDS[document["closed_by"]]


@command("telnet", "Talk to a port of another host.", render=render, dialogue=_ask, roles=INSPECTORS, terminal=True)
async def telnet(
    call: Call,
    host: Annotated[str, Help("name or address")],
    port: Annotated[int, Help("port", "PORT", least=1, most=65535)] = 25,
    *,
    from_: Source = "",
    timeout: Annotated[float, Help("seconds to connect", "SECONDS", least=1, most=120)] = 30.0,
    idle: Annotated[float, Help("seconds without a word after which it ends", "SECONDS", least=1, most=3600)] = 300.0,
    wait: Annotated[float, Help("in a script: seconds to wait for an answer", "SECONDS", least=0.1, most=120)] = 5.0,
) -> Document:
    """On a terminal `^]` ends it. Without one, lines of standard input are sent, each after the answer to the one
    before (lines after a 354 at once, up to the dot), 1,000 at most.
    """
    start = source(call, from_)
    target = await find(call.appliance.configuration(), host, start)
    lines = [] if call.lend else _script(await call.stdin())
    call.show(f"Trying {target.address}...")
    async with _connected(target, port, start, timeout) as wire:
        call.show(f"Connected to {target.host}.")
        local = wire.writer.get_extra_info("sockname")[0]
        facts = {"host": target.host, "address": target.address, "port": port, "from": local}
        if call.lend:
            call.show("Escape character is '^]'.")
            return {**facts, "exchange": [], "closed_by": await _ByHand(wire, idle).run(call.lend)}
        script = _Script(call, wire, wait)
        return {**facts, "closed_by": await script.run(lines), "exchange": script.exchange}


class _ByHand:
    """Carries keys and text both ways until one side ends it."""

    def __init__(self, wire: _Wire, idle_s: float) -> None:
        self._wire = wire
        self._idle_s = idle_s
        self._idle = asyncio.timeout(idle_s)
        self._machine = Telnet()
        self._keyboard = Keyboard()
        self._shown = Shown()
        self._left = asyncio.Event()
        self._screen: Lent

    async def run(self, lend: Lend) -> Ended:
        """Have the terminal until the end; tells whose it was."""
        with lend(self._typed) as self._screen:
            try:
                async with self._idle, asyncio.TaskGroup() as tasks:
                    both = (tasks.create_task(self._listen()), tasks.create_task(self._left.wait()))
                    await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                    for task in both:
                        task.cancel()
            except TimeoutError:
                self._screen.write("\n")
                return "idle"
            if not self._left.is_set():
                return "peer"
            self._screen.write("\n")
            return "you"

    def _alive(self) -> None:
        if self._idle.when() is not None:
            self._idle.reschedule(asyncio.get_running_loop().time() + self._idle_s)

    def _typed(self, keys: bytes) -> None:
        if not keys or self._left.is_set():
            self._left.set()
            return
        self._alive()
        got = self._keyboard.feed(keys, remote_echo=self._machine.echoes)
        self._show(got.echo)
        if self._wire.writer.transport.get_write_buffer_size() < _AHEAD:
            self._wire.writer.write(got.send)
        if got.leave:
            self._left.set()

    def _show(self, text: str) -> None:
        if text:
            self._screen.write(text)

    async def _listen(self) -> None:
        with suppress(OSError):
            while data := await self._wire.reader.read(_READ):
                self._alive()
                text, answer = self._machine.feed(data)
                self._wire.writer.write(answer)
                self._show(self._shown.feed(text, remote_echo=self._machine.echoes))
                await self._screen.drain()


def _script(data: bytes) -> list[bytes]:
    lines = data.replace(b"\r\n", b"\n").split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) > _LINES:
        raise GatepostError(f"more than {_LINES} lines to send", EX_DATAERR)
    return lines


class _Script:
    """Sends lines and keeps what came between them."""

    def __init__(self, call: Call, wire: _Wire, wait_s: float) -> None:
        self._call = call
        self._wire = wire
        self._wait_s = wait_s
        self._machine = Telnet()
        self._shown = Shown()
        self._octets = 0
        self.exchange: list[Document] = []

    async def run(self, lines: Sequence[bytes]) -> Ended:
        """Send all lines; tells who ended it."""
        content = False
        try:
            open_, answer = await self._answer()
            for line in lines:
                if not open_:
                    return "peer"
                self._wire.writer.write(sent(line) + b"\r\n")
                self.exchange.append({"sent": line.decode("utf-8", "replace")})
                content = line != b"." if content else answer.startswith("354")
                if content:
                    answer = ""
                else:
                    open_, answer = await self._answer()
            return "you" if open_ else "peer"
        except OSError:
            return "peer"

    async def _answer(self) -> tuple[bool, str]:
        """Read until the peer has said something and is quiet, or time is up; gives whether it is still there."""
        await self._wire.writer.drain()
        open_, text = True, ""
        try:
            while self._octets < _RECEIVED:
                async with asyncio.timeout(_QUIET_S if text.endswith("\n") else self._wait_s):
                    data = await self._wire.reader.read(_READ)
                if not data:
                    open_ = False
                    break
                self._octets += len(data)
                plain, reply = self._machine.feed(data)
                self._wire.writer.write(reply)
                text += self._shown.feed(plain)
        except TimeoutError:
            pass
        if text:
            self._call.show(text.rstrip("\n"))
            self.exchange.append({"received": text.splitlines()})
        return open_, text


COMMANDS = (telnet,)
