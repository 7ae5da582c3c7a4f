"""A small DNS server for tests: zone lines in, answers over UDP and TCP on one port of 127.0.0.1,
which it has again when it is started again.

    async with DnsServer("example.test. 300 IN MX 10 mx.example.test.") as dns:
        Resolver([dns.address])

`rules` overrides answers by (name, type): a response code, `silent`, `truncate` (UDP answers are cut, TCP is whole) or
`cut` (both are).
"""

import asyncio
from types import TracebackType
from typing import Any, Self, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import dns.zone

from tests.support.ports import free_port

Rule = dns.rcode.Rcode | str


class DnsServer:
    """Answers from its records; a name without any is NXDOMAIN. `asked` lists (name, type, 'udp' or 'tcp')."""

    def __init__(self, *records: str, rules: dict[tuple[str, str], Rule] | None = None, secure: bool = False) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self.ids: list[int] = []
        self.ports: list[int] = []
        self.rules = rules or {}
        self._port = 0
        self._secure = secure
        self._records: dict[tuple[dns.name.Name, dns.rdatatype.RdataType], dns.rrset.RRset] = {}
        for record in records:
            self.add(record)

    def add(self, record: str) -> None:
        """Add one line: name, TTL, class, type, data."""
        name, ttl, kind_of, kind, data = record.split(None, 4)
        new = dns.rrset.from_text(name, int(ttl), kind_of, kind, data)
        old = self._records.setdefault((new.name, new.rdtype), new)
        if old is not new:
            old.update(new)

    @property
    def address(self) -> str:
        """Give `host:port`."""
        return f"127.0.0.1:{self._port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._port = self._port or free_port()  # of both kinds, and nobody has it when it is started again
        self._tcp = await asyncio.start_server(self._serve_tcp, "127.0.0.1", self._port)
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Udp(self), ("127.0.0.1", self._port))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._udp.close()
        self._tcp.close()
        await asyncio.sleep(0)

    def receive(self, transport: asyncio.DatagramTransport, data: bytes, address: tuple[str, int]) -> None:
        """Answer a datagram."""
        self.ports.append(address[1])
        answer = self.answer(data, "udp")
        if answer is not None:
            transport.sendto(answer, address)

    def answer(self, wire: bytes, way: str) -> bytes | None:
        """Give the response to a query, None for silence."""
        query = dns.message.from_wire(wire)
        question = query.question[0]
        kind = dns.rdatatype.to_text(question.rdtype)
        name = question.name.to_text(omit_final_dot=True)
        self.asked.append((name, kind, way))
        self.ids.append(query.id)
        response = dns.message.make_response(query, recursion_available=True)
        rule = self.rules.get((name, kind))
        if rule == "silent":
            return None
        if isinstance(rule, dns.rcode.Rcode):
            response.set_rcode(rule)
        else:
            self._fill(response, question.name, question.rdtype)
        if rule == "cut" or (rule == "truncate" and way == "udp"):
            response.answer = []
            response.flags |= dns.flags.TC
        return response.to_wire(max_size=65_535)

    def _fill(self, response: Any, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> None:
        if self._secure:
            response.flags |= dns.flags.AD
        known = False
        for _ in range(20):
            alias = self._records.get((name, dns.rdatatype.CNAME))
            known = known or any(owner == name for owner, _ in self._records)
            if alias is None or kind == dns.rdatatype.CNAME:
                break
            response.answer.append(alias)
            name = alias[0].target
            known = any(owner == name for owner, _ in self._records)
        found = self._records.get((name, kind))
        if found is not None:
            response.answer.append(found)
        elif not known:
            response.set_rcode(dns.rcode.NXDOMAIN)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        length = int.from_bytes(await reader.readexactly(2), "big")
        answer = self.answer(await reader.readexactly(length), "tcp")
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
            await writer.drain()
        writer.close()


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: DnsServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        self._server.receive(self._transport, data, address)
