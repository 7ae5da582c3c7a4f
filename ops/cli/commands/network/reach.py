"""`ping` and `traceroute`: can a host be reached, how fast, and by which way.

The system's own programs send the packets: ping has the one right that it needs, traceroute needs none. `ping` in a
dialogue goes on until Ctrl-C, which ends the packets and not the command: the statistics still come.
"""

import asyncio
from typing import Annotated, Any

from core.dns import DnsError, Resolver
from core.errors import EX_UNAVAILABLE, GatepostError
from core.program import Program, running
from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.commands.network.choice import Source, ask_source, source
from ops.cli.dialogue import Dialogue
from ops.cli.registry import Call, Document, command
from ops.network import ping as words
from ops.network.place import Target, find, servers_of

_MOST = 100_000
_LAST_WORDS_S = 3.0
_NAME_S = 2.0


async def _ask_ping(call: Call, dialogue: Dialogue) -> Document | None:
    start = await ask_source(call, dialogue, "Which interface do you want to send the pings from?")
    host = await dialogue.ask("Please enter the host you wish to ping.")
    return {"host": host, "from_": start, "count": 0} if host else None


def render_ping(document: Document, width: int) -> str:
    """Show the statistics; the replies were shown as they came."""
    return words.statistics(document["host"], document)


@command("ping", "Send ICMP echo requests to a host.", render=render_ping, dialogue=_ask_ping, roles=INSPECTORS)
async def ping(
    call: Call,
    host: Annotated[str, Help("name or address")],
    *,
    count: Annotated[int, Help("requests; 0 = until Ctrl-C (with --json: 5)", "N", least=0, most=_MOST)] = 5,
    from_: Source = "",
    wait: Annotated[float, Help("seconds to wait for the last reply", "SECONDS", least=0.1, most=60)] = 2.0,
    interval: Annotated[float, Help("seconds between requests", "SECONDS", least=0.2, most=60)] = 1.0,
) -> Document:
    """Names are looked up in the configured name servers. Statistics come at the end, also after Ctrl-C."""
    target = await find(call.appliance.configuration(), host, start := source(call, from_))
    wanted = count or (_MOST if call.watched else 5)
    reading = words.PingReading()
    call.show(f"PING {target.host} ({target.address}): {words.OCTETS} data bytes")
    async with running(*words.ping_words(target.address, start, wanted, wait, interval)) as program:
        await _read_ping(call, program, reading)
        if reading.complaint or (not reading.transmitted and await program.wait()):
            raise GatepostError(f"ping: {reading.complaint or 'it ended without a word'}", EX_UNAVAILABLE)
    return {"host": target.host, "address": target.address, "from": start or None, **reading.document()}


async def _read_ping(call: Call, program: Program, reading: words.PingReading) -> None:
    async def read() -> None:
        async for line in program.lines():
            if shown := reading.read(line):
                call.show(shown)

    try:
        await read()
    except asyncio.CancelledError:
        # Ctrl-C is how the model's ping ends: what it has counted is still shown.
        program.interrupt()
        async with asyncio.timeout(_LAST_WORDS_S):
            await read()
        if not reading.transmitted or (task := asyncio.current_task()) is None:
            raise
        task.uncancel()
        call.show("^C")


async def _ask_traceroute(call: Call, dialogue: Dialogue) -> Document | None:
    start = await ask_source(call, dialogue, "Which interface do you want to trace from?")
    host = await dialogue.ask("Please enter the host to which you want to trace the route.")
    return {"host": host, "from_": start} if host else None


def _nothing_more(document: Document, width: int) -> str:
    return "" if document["reached"] else f"{document['host']} was not reached."


@command("traceroute", "Show the way to a host.", render=_nothing_more, dialogue=_ask_traceroute, roles=INSPECTORS)
async def traceroute(
    call: Call,
    host: Annotated[str, Help("name or address")],
    *,
    from_: Source = "",
    hops: Annotated[int, Help("most hops", "N", least=1, most=words.HOPS)] = words.HOPS,
    wait: Annotated[float, Help("seconds to wait for a reply", "SECONDS", least=0.2, most=10)] = 3.0,
    numbers: Annotated[bool, Help("addresses only, no names")] = False,
) -> Document:
    """UDP probes with growing time to live, three for each hop."""
    configuration = call.appliance.configuration()
    target = await find(configuration, host, start := source(call, from_))
    octets = 64 if ":" in target.address else 44
    call.show(f"traceroute to {target.host} ({target.address}), {hops} hops max, {octets} byte packets")
    names = _Names(Resolver([str(one) for one in servers_of(configuration)], timeout_s=_NAME_S), off=numbers)
    rows: list[Document] = []
    async with running(*words.traceroute_words(target.address, start, hops, wait)) as program:
        async for line in program.lines():
            hop = words.read_hop(line)
            if hop is not None:
                rows.append(await _hop(call, *hop, names))
            elif not line.startswith("traceroute to"):
                raise GatepostError(f"traceroute: {line}", EX_UNAVAILABLE)
    return {**_whole(target, start), "hops": rows, "reached": _reached(rows, target)}


def _whole(target: Target, start: str) -> Document:
    return {"host": target.host, "address": target.address, "from": start or None}


def _reached(rows: list[Document], target: Target) -> bool:
    return bool(rows) and any(probe["address"] == target.address for probe in rows[-1]["probes"])


async def _hop(call: Call, number: int, probes: list[words.Probe], names: "_Names") -> Document:
    """Show one hop as it is known, and give it."""
    cells: list[str] = []
    before = ""
    for probe in probes:
        if probe.address and probe.address != before:
            name = await names.of(probe.address)
            cells.append(f"{name} ({probe.address})")
            before = probe.address
        cells.append("*" if probe.ms is None else f"{probe.ms:.3f} ms{f' {probe.mark}' if probe.mark else ''}")
    call.show(f"{number:>2}  {'  '.join(cells)}")
    rows: list[dict[str, Any]] = [
        {"address": one.address or None, "ms": one.ms, "mark": one.mark or None} for one in probes
    ]
    return {"hop": number, "probes": rows}


class _Names:
    """The names that addresses claim, asked once each; an address stands for one that has none."""

    def __init__(self, resolver: Resolver, *, off: bool) -> None:
        self._resolver = resolver
        self._off = off

    async def of(self, address: str) -> str:
        if self._off:
            return address
        try:
            found = await self._resolver.ptr(address)
        except DnsError:
            self._off = self._resolver.statistics.failures > 2  # nobody answers: the rest goes without names
            return address
        return found.records[0] if found.records else address


COMMANDS = (ping, traceroute)
