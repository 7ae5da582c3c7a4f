"""The lab's name server: a small zone served over UDP and TCP with dnspython.

Run as `python -m ops.lab.nameserver ADDRESS PORT ZONEFILE`. The zone file holds one record a line,
`name ttl type data`, all names absolute; whatever is not in it does not exist.
"""

import asyncio
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from core.runtime import run, spawn

_Zone = dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset]


def read_zone(text: str) -> _Zone:
    """Read the records of a zone file."""
    rows: dict[tuple[str, str], list[str]] = {}
    ttls: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            name, ttl, kind, data = line.split(None, 3)
            rows.setdefault((name, kind), []).append(data)
            ttls[name, kind] = int(ttl)
    zone: _Zone = {}
    for (name, kind), data_rows in rows.items():
        rrset = dns.rrset.from_text_list(name, ttls[name, kind], "IN", kind, data_rows)
        zone[rrset.name, rrset.rdtype] = rrset
    return zone


def answer(zone: _Zone, wire: bytes) -> bytes | None:
    """Answer one question; what is no question is not answered."""
    try:
        query = dns.message.from_wire(wire)
        question = query.question[0]
    except Exception:  # whatever a stranger sends, the server goes on
        return None
    response = dns.message.make_response(query)
    response.flags |= dns.flags.AA | dns.flags.RA
    rrset = zone.get((question.name, question.rdtype))
    if rrset is not None:
        response.answer.append(rrset)
    elif not any(name == question.name for name, _ in zone):
        response.set_rcode(dns.rcode.NXDOMAIN)
    return response.to_wire()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, zone: _Zone) -> None:
        self._zone = zone

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if (reply := answer(self._zone, data)) is not None:
            self._transport.sendto(reply, addr)


async def _tcp(zone: _Zone, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(10):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            if (reply := answer(zone, await reader.readexactly(length))) is not None:
                writer.write(struct.pack("!H", len(reply)) + reply)
                await writer.drain()
    except (OSError, EOFError, TimeoutError):
        pass
    finally:
        writer.close()


async def serve(host: str, port: int, zone: _Zone) -> int:
    """Answer until SIGTERM."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    transport, _ = await loop.create_datagram_endpoint(lambda: _Udp(zone), local_addr=(host, port))
    server = await asyncio.start_server(lambda r, w: spawn(_tcp(zone, r, w), "dns over tcp"), host, port)
    await stop.wait()
    server.close()
    transport.close()
    return 0


if __name__ == "__main__":
    sys.exit(run(serve(sys.argv[1], int(sys.argv[2]), read_zone(Path(sys.argv[3]).read_text()))))
