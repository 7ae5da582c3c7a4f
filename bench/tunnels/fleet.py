"""Simulated appliances, in a process of their own: the appliance's own code from dialling to the open tunnel.

Each has a tunnel key, an address and a back-off of its own, and makes its rounds with `tunnel/appliance`: ports in
order, banner, login, registration with its generation counter, name. Only what would wear out one disk is left out:
the generation stays in memory, as two thousand machines have two thousand disks. Behind every tunnel is one console
that says an SSH banner, so that the bastion finds it alive.

`python -m bench.tunnels.fleet PLAN` reads words from standard input (`cut`, `end`), and writes a line of JSON
four times a second: how many are open, since when, what rounds came to.
"""

import asyncio
import gc
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import uvloop

from tunnel.appliance.activation import TUNNEL, Activation
from tunnel.appliance.backoff import Backoff
from tunnel.appliance.link import Link, LinkTerms
from tunnel.appliance.place import Found, Place
from tunnel.appliance.registration import Generation, GenerationFile
from tunnel.appliance.road import Road
from tunnel.appliance.round import Dialler, Failed, Rows
from tunnel.config import TunnelSection
from tunnel.control_message import Register

BANNER = b"SSH-2.0-Gatepost_simulated\r\n"
_TELL_S = 0.25
_TCP_REPAIR = 19
_LIFE_S = 86_400.0


class Plan(msgspec.Struct, frozen=True):
    """What a fleet is told."""

    address: str
    ports: tuple[int, ...]
    authority: str
    """Public line of the authority of host keys."""
    console: str
    """Where the console that all of them share listens."""
    rows: tuple[tuple[str, str, str], ...]
    """Serial, source address, private tunnel key."""
    name: str
    """Host name of the bastion."""
    over_s: float = 0.0
    """The first dialling is spread over so long."""


class Memory(GenerationFile):
    """A generation that is kept in memory."""

    def __init__(self) -> None:
        self.current = Generation()

    def save(self, new: Generation) -> None:
        """Keep it."""
        self.current = new


class Known:
    """Where the bastion is, without asking."""

    def __init__(self, name: str, address: str) -> None:
        self.names = (name,)
        self._found = Found((Place(name, (address,)),))

    async def find(self) -> Found:
        """Give the one place."""
        return self._found

    def remember(self, found: Found) -> None:
        """There is nothing to keep."""


async def _connect_from(source: str, address: str, port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((source, 0))
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


@dataclass(slots=True)
class Told:
    """What a fleet tells of itself; times are of the machine's monotonic clock."""

    wanted: int
    open: int = 0
    cut_at: float = 0.0
    back_s: list[float] = field(default_factory=list)
    """For each appliance that came back since the last cut: how long after it."""
    rounds: int = 0
    asked_to_wait: int = 0
    longest_wait_s: float = 0.0
    troubles: Counter[str] = field(default_factory=Counter)


class Simulated:
    """One appliance."""

    def __init__(self, plan: Plan, row: tuple[str, str, str], told: Told) -> None:
        serial, source, secret = row
        section = TunnelSection(host=plan.name, port=plan.ports[0], ports=plan.ports, tls_ports=())
        terms = LinkTerms(
            name=serial,
            key=asyncssh.import_private_key(secret),
            bastion_keys=(),
            bastion_cas=(plan.authority,),
            console=Path(plan.console),
        )
        road = Road(section.connect_timeout_s, connect=partial(_connect_from, source))
        places: Any = Known(plan.name, plan.address)
        self._dialler = Dialler(section, terms, places, road, Memory(), _silent)
        self._backoff = Backoff(section.retry_first_s, section.retry_max_s, section.healthy_s)
        until_at = time.time() + _LIFE_S
        self._activation = Activation(mode=TUNNEL, activation_id=f"bench-{serial}", proved=True)
        self._register = Register(
            product="Gatepost bench",
            series="c",
            activation_id=f"bench-{serial}",
            mode=TUNNEL,
            until_at=until_at,
            generation=0,
        )
        self._told = told
        self.link: Link | None = None

    async def keep(self, first_wait_s: float) -> None:
        """Hold the tunnel as `tunnel/appliance/client.py` does."""
        await asyncio.sleep(first_wait_s)
        while True:
            await asyncio.sleep(self._wait_s())
            rows = Rows()
            result = await self._dialler.dial(self._activation, self._register, rows)
            self._told.rounds += 1
            if isinstance(result, Failed):
                self._failed(result, rows)
                continue
            await self._hold(result.link)

    def _wait_s(self) -> float:
        wait_s = self._backoff.wait_s()
        self._told.longest_wait_s = max(self._told.longest_wait_s, wait_s)
        return wait_s

    def _failed(self, failed: Failed, rows: Rows) -> None:
        self._told.asked_to_wait += failed.retry_after_s > 0
        for attempt in rows.by_road.values():
            if attempt.verdict.name != "ours":
                self._told.troubles[f"{attempt.verdict.name} {attempt.verdict.stage}"] += 1
        self._backoff.failed(failed.retry_after_s)

    async def _hold(self, link: Link) -> None:
        told = self._told
        self.link = link
        told.open += 1
        if told.cut_at:
            told.back_s.append(round(time.monotonic() - told.cut_at, 3))
        try:
            await link.wait_closed()
        finally:
            told.open -= 1
            self.link = None
        self._backoff.lost(time.monotonic() - link.begun, link.retry_after_s)

    def cut(self, *, silently: bool) -> None:
        """Lose the connection; silently: nothing is sent, as when a link breaks (needs root)."""
        link = self.link
        if link is None:
            return
        if silently:
            _vanish(link)
        link.cut()


def _vanish(link: Link) -> None:
    """Have the kernel forget the connection without a word to the other end."""
    found = link._connection.get_extra_info("socket")
    if found is None:
        return
    with suppress(OSError), socket.socket(fileno=os.dup(found.fileno())) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)


def _silent(_text: str) -> None:
    return


class Fleet:
    """All appliances of a plan."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.told = Told(len(plan.rows))
        self._all = [Simulated(plan, row, self.told) for row in plan.rows]

    async def run(self) -> None:
        """Keep all tunnels until told to end."""
        loop = asyncio.get_running_loop()
        server = await asyncio.start_unix_server(_console, self._plan.console, backlog=1024)
        words = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
        async with server, asyncio.TaskGroup() as group:
            tasks = [group.create_task(one.keep(random.uniform(0, self._plan.over_s))) for one in self._all]
            tasks.append(group.create_task(self._tell()))
            while (word := (await words.readline()).decode().strip()) not in ("", "end"):
                self._do(word)
            for task in tasks:
                task.cancel()
        for one in self._all:
            one.cut(silently=False)

    def _do(self, word: str) -> None:
        told = self.told
        told.cut_at, told.back_s = time.monotonic(), []
        told.rounds = told.asked_to_wait = 0
        told.longest_wait_s = 0.0
        told.troubles.clear()
        if word == "cut":  # `mark` only begins to count anew
            for number, one in enumerate(self._all):
                one.cut(silently=number % 2 == 0)

    async def _tell(self) -> None:
        while True:
            told = self.told
            facts = {name: getattr(told, name) for name in Told.__slots__}
            print(json.dumps(facts | {"cpu_s": time.process_time()}), flush=True)
            await asyncio.sleep(_TELL_S)


async def _console(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(BANNER)
    with suppress(OSError):
        await reader.read(1)
    writer.close()


def main() -> None:
    """Be a fleet."""
    plan = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Plan)
    fleet = Fleet(plan)
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(fleet.run())


if __name__ == "__main__":
    main()
