"""`netstat`: active sockets, interfaces, routing table, listen queues, packet traffic."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, Literal

from core.dns import DnsError, Resolver
from core.name_server import is_address
from ops.cli.account import INSPECTORS
from ops.cli.argument import Help
from ops.cli.dialogue import Dialogue
from ops.cli.display import number, octets
from ops.cli.registry import Call, Document, command
from ops.cli.table import Column, table, tall_table
from ops.network import watch
from ops.network.place import servers_of

View = Literal["sockets", "interfaces", "routes", "listen", "traffic"]
_VIEWS: dict[View, str] = {
    "sockets": "List of active sockets.",
    "interfaces": "State of network interfaces.",
    "routes": "Contents of routing tables.",
    "listen": "Size of the listen queues.",
    "traffic": "Packet traffic information.",
}
_FAMILIES: tuple[watch.Family, ...] = ("4", "6", "any")
_ANY = {"0.0.0.0", "::", "*"}
_NAMES_S = 5.0
_NAMES = 200
"""Addresses of one view whose names are asked."""

_TABLES: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "sockets": (
        ("Proto", "protocol", False),
        ("Recv-Q", "received", True),
        ("Send-Q", "to_send", True),
        ("Local Address", "local", False),
        ("Foreign Address", "remote", False),
        ("State", "state", False),
    ),
    "interfaces": (
        ("Name", "name", False),
        ("State", "state", False),
        ("Mtu", "mtu", True),
        ("Hardware", "hardware", False),
        ("Addresses", "addresses", False),
        ("Flags", "flags", False),
    ),
    "routes": (
        ("Destination", "destination", False),
        ("Gateway", "gateway", False),
        ("Interface", "interface", False),
        ("Source", "source", False),
        ("Metric", "metric", True),
    ),
    "listen": (("Waiting", "waiting", True), ("Most", "most", True), ("Local Address", "local", False)),
    "traffic": (
        ("Name", "name", False),
        ("In\nPackets", "in_packets", True),
        ("\nErrs", "in_errors", True),
        ("\nDrop", "in_dropped", True),
        ("\nBytes", "in_bytes", True),
        ("Out\nPackets", "out_packets", True),
        ("\nErrs", "out_errors", True),
        ("\nDrop", "out_dropped", True),
        ("\nBytes", "out_bytes", True),
    ),
}


async def _ask(call: Call, dialogue: Dialogue) -> Document | None:
    views = list(_VIEWS)
    question = "Choose the information you want to display:"
    view = views[await dialogue.choose(question, list(_VIEWS.values()))]
    if view == "traffic":
        return {"view": view}
    versions = ["IPv4", "IPv6", "IPv4 and IPv6"]
    family = _FAMILIES[await dialogue.choose("Select the version of IP to display:", versions)]
    names = view not in {"interfaces"} and not await dialogue.confirm(
        "Show network addresses as numbers?", default=True
    )
    return {"view": view, "ip": family, "names": names}


def render(document: Document, width: int) -> str:
    """Show a table of the view."""
    heads = _TABLES[document["view"]]
    rows = [[_cell(row, key) for _, key, _ in heads] for row in document["rows"]]
    columns = [Column(title, right=right) for title, _, right in heads]
    keys = [key for _, key, _ in heads]
    tall = "addresses" in keys
    shown = tall_table(columns, rows, width, keys.index("addresses")) if tall else table(columns, rows, width)
    if document["cut"]:
        shown += f"\n({document['cut']:,} more rows are left out.)"
    return shown


def _cell(row: Document, key: str) -> str:
    if key in {"local", "remote"}:
        host = row.get(f"{key}_name") or row.get(f"{key}_address", row.get("address", ""))
        host = "*" if host in _ANY else host
        return f"{host}.{row.get(f'{key}_service') or row.get(f'{key}_port', row.get('port', ''))}"
    value = row.get(f"{key}_name") or row.get(key)
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    if key.endswith("_bytes"):
        return octets(value)
    return number(value) if key.startswith(("in_", "out_")) else str(value if value is not None else "")


@command(
    "netstat", "Show sockets, interfaces, routes, queues or traffic.", render=render, dialogue=_ask, roles=INSPECTORS
)
async def netstat(
    call: Call,
    view: Annotated[View, Help("what to show")] = "sockets",
    *,
    ip: Annotated[watch.Family, Help("version of IP")] = "any",
    names: Annotated[bool, Help("names of hosts and services instead of numbers")] = False,
) -> Document:
    """10,000 rows at most. With --names, the first 200 addresses are looked up, for 5 s in all."""
    looks: dict[str, Callable[[watch.Family], Awaitable[list[dict[str, Any]]]]] = {
        "sockets": watch.sockets,
        "interfaces": watch.interfaces,
        "routes": watch.routes,
        "listen": watch.listeners,
    }
    rows = await (watch.traffic() if view == "traffic" else looks[view](ip))
    cut = max(0, len(rows) - watch.MOST_ROWS)
    rows = rows[: watch.MOST_ROWS]
    if names:
        await _name(call, rows)
    return {"view": view, "rows": rows, "cut": cut}


async def _name(call: Call, rows: Sequence[Document]) -> None:
    """Put names beside addresses and ports, where there are any and as far as time allows."""
    keys = ("local_address", "remote_address", "address", "gateway")
    wanted = {row[key] for row in rows for key in keys if is_address(str(row.get(key, "")))}
    found = await _names(call, sorted(wanted)[:_NAMES])
    for row in rows:
        for key in keys:
            if name := found.get(row.get(key, "")):
                row[f"{'local' if key == 'address' else key.removesuffix('_address')}_name"] = name
        for key in ("local", "remote"):
            port = str(row.get(f"{key}_port", row.get("port", "") if key == "local" else ""))
            if service := _service(port, str(row.get("protocol", "tcp"))):
                row[f"{key}_service"] = service


def _service(port: str, protocol: str) -> str:
    try:
        return socket.getservbyport(int(port), protocol)
    except (OSError, ValueError, OverflowError):
        return ""


async def _names(call: Call, addresses: Sequence[str]) -> dict[str, str]:
    servers = [str(one) for one in servers_of(call.appliance.configuration())]
    resolver, found = Resolver(servers, timeout_s=2.0), dict[str, str]()

    async def one(address: str) -> None:
        try:
            answer = await resolver.ptr(address)
        except DnsError:
            return
        if answer.records:
            found[address] = answer.records[0]

    try:
        async with asyncio.timeout(_NAMES_S), asyncio.TaskGroup() as tasks:
            for address in addresses:
                tasks.create_task(one(address))
    except TimeoutError:
        call.show("Not all names could be looked up in time.")
    return found


COMMANDS = (netstat,)
