"""The state of this machine's network as `ip` and `ss` give it: the five views of `netstat`, and its neighbours.

The programs write JSON or plain columns, numbers only; this module reads them into rows. Raises `GatepostError` 69
when they are missing, 70 when what they say makes no sense.
"""

import json
from typing import Any, Literal

from core.errors import EX_SOFTWARE, GatepostError
from core.program import run

Family = Literal["any", "4", "6"]
MOST_ROWS = 10_000
_FLAGS = {"4": ["-4"], "6": ["-6"], "any": []}
_TIMEOUT_S = 20.0


async def _ip(family: Family, *words: str) -> list[dict[str, Any]]:
    done = await run("ip", "-json", *_FLAGS[family], *words, timeout_s=_TIMEOUT_S)
    if done.status or not done.whole:
        raise GatepostError(f"ip: {done.reason}", EX_SOFTWARE)
    try:
        rows = json.loads(done.output or "[]")
    except ValueError:
        raise GatepostError("ip gave no JSON", EX_SOFTWARE) from None
    return [row for row in rows if isinstance(row, dict) and row]


async def _ss(family: Family, words: str) -> list[list[str]]:
    done = await run("ss", "-H", "-n", words, *_FLAGS[family], timeout_s=_TIMEOUT_S)
    if done.status:
        raise GatepostError(f"ss: {done.reason}", EX_SOFTWARE)
    return [line.split() for line in done.output.splitlines() if line.strip()]


def _end(text: str) -> tuple[str, str]:
    """Split `[::1]:25`, `10.0.0.1%eth0:25`, `*:*` into address and port."""
    host, _, port = text.rpartition(":")
    return host.strip("[]").partition("%")[0].strip("[]"), port


async def sockets(family: Family) -> list[dict[str, Any]]:
    """Give open TCP and UDP sockets, those that listen too."""
    rows = []
    for cells in await _ss(family, "-tua"):
        if len(cells) < 6:
            continue
        local, remote = _end(cells[4]), _end(cells[5])
        row = {"protocol": cells[0], "state": cells[1], "received": int(cells[2]), "to_send": int(cells[3])}
        row |= {"local_address": local[0], "local_port": local[1]}
        rows.append(row | {"remote_address": remote[0], "remote_port": remote[1]})
    return rows


async def listeners(family: Family) -> list[dict[str, Any]]:
    """Give the ports that listen: connections that wait to be accepted, and how many may."""
    rows = []
    for cells in await _ss(family, "-tl"):
        if len(cells) >= 5:
            address, port = _end(cells[3])
            rows.append({"waiting": int(cells[1]), "most": int(cells[2]), "address": address, "port": port})
    return rows


async def interfaces(family: Family) -> list[dict[str, Any]]:
    """Give the network devices with their addresses."""
    rows = []
    for item in await _ip(family, "address", "show"):
        addresses = [
            f"{one['local']}/{one['prefixlen']}" for one in item.get("addr_info", ()) if one.get("local") is not None
        ]
        row = {"name": item.get("ifname", ""), "state": item.get("operstate", ""), "mtu": item.get("mtu", 0)}
        row |= {"flags": item.get("flags", []), "hardware": item.get("address", ""), "addresses": addresses}
        rows.append(row)
    return rows


async def routes(family: Family) -> list[dict[str, Any]]:
    """Give the routing table, of IPv4 first."""
    rows = []
    for version in ("4", "6") if family == "any" else (family,):
        for item in await _ip("4" if version == "4" else "6", "route", "show"):
            row = {"destination": item.get("dst", ""), "gateway": item.get("gateway", ""), "version": int(version)}
            row |= {"interface": item.get("dev", ""), "source": item.get("prefsrc", "")}
            rows.append(row | {"metric": item.get("metric", 0), "protocol": item.get("protocol", "")})
    return rows


async def traffic() -> list[dict[str, Any]]:
    """Give the counters of packets by network device."""
    rows = []
    for item in await _ip("any", "-statistics", "link", "show"):
        counted = item.get("stats64") or item.get("stats") or {}
        row: dict[str, Any] = {"name": item.get("ifname", "")}
        for way, name in (("rx", "in"), ("tx", "out")):
            figures = counted.get(way, {})
            row |= {f"{name}_{key}": figures.get(key, 0) for key in ("packets", "bytes", "errors", "dropped")}
        rows.append(row)
    return rows


async def neighbours() -> list[dict[str, Any]]:
    """Give the neighbours whose hardware addresses are known or asked for (ARP and neighbour discovery)."""
    rows = []
    for item in await _ip("any", "neighbour", "show"):
        row = {"address": item.get("dst", ""), "interface": item.get("dev", ""), "hardware": item.get("lladdr", "")}
        rows.append(row | {"state": " ".join(item.get("state", []))})
    return rows


async def forget_neighbours() -> str:
    """Flush the table of neighbours and the cache of routes; gives '' or why that could not be done."""
    for words in (("neighbour", "flush", "all"), ("route", "flush", "cache")):
        for version in ("-4", "-6"):
            done = await run("ip", version, *words, timeout_s=_TIMEOUT_S)
            if done.status and "Nothing to flush" not in done.reason:
                return done.reason
    return ""
