"""A name server that can be dead, slow or lie, by the first label of the name that is asked for, and that can heal.

    async with HostileDns("servfail.test. 1 IN MX 10 mx.test.") as dns:
        dns.hostile = False    # from now on it answers from its records

`MODES` are the labels; a name with another first label is answered well at any time. What nobody should believe leads
to `evil.test`, whose records the test gives, so that it sees where mail goes.
"""

import asyncio
import socket
from itertools import pairwise

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rrset

from tests.support.dns_server import DnsServer

CODES = {
    "servfail": dns.rcode.SERVFAIL,
    "refused": dns.rcode.REFUSED,
    "nxdomain": dns.rcode.NXDOMAIN,
}
WAITS = (
    "silent",
    "slow",
    "garbage",
    "short",
    "wrong-id",
    "wrong-port",
    "other-name",
    "not-asked",
    "cut",
    "cut-for-good",
    "loop",
    "long-loop",
    "servfail",
    "refused",
)
"""Modes that say nothing about the name: its mail has to wait."""
MODES = (*WAITS, "nxdomain")


class HostileDns(DnsServer):
    """Does wrong as the names say as long as `hostile`; `slow_s` is how late it answers a name that is slow."""

    def __init__(self, *records: str, slow_s: float = 2.0) -> None:
        super().__init__(*records)
        self.hostile = True
        self.deaf = False
        """Nothing at all is answered."""
        self._slow_s = slow_s

    def answer(self, wire: bytes, way: str) -> bytes | None:
        """Give the response to a query, true or not."""
        if self.deaf:
            self._note(wire, way)
            return None
        mode = self._mode(wire)
        if mode in ("", "slow", "wrong-port"):
            return super().answer(wire, way)
        self._note(wire, way)
        if mode in ("silent", "cut") and (mode, way) != ("cut", "udp"):
            return None
        if mode in ("garbage", "short"):
            return b"\xff" * 600 if mode == "garbage" else wire[:7]
        return self._lie(dns.message.from_wire(wire), mode)

    def receive(self, transport: asyncio.DatagramTransport, data: bytes, address: tuple[str, int]) -> None:
        """Answer a datagram: late, or from another port, where the name says so."""
        mode = self._mode(data)
        if mode == "slow":
            answer = self.answer(data, "udp")
            asyncio.get_running_loop().call_later(self._slow_s, self._say, transport, answer, address)
        elif mode == "wrong-port":
            response = dns.message.make_response(dns.message.from_wire(data))
            self._mislead(response)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(response.to_wire(), address)
        else:
            super().receive(transport, data, address)

    @staticmethod
    def _say(transport: asyncio.DatagramTransport, answer: bytes | None, address: tuple[str, int]) -> None:
        if answer is not None and not transport.is_closing():
            transport.sendto(answer, address)

    def _mode(self, wire: bytes) -> str:
        first = dns.message.from_wire(wire).question[0].name.labels[0].decode().lower()
        return first if self.hostile and first in MODES else ""

    def _note(self, wire: bytes, way: str) -> None:
        question = dns.message.from_wire(wire).question[0]
        self.asked.append((question.name.to_text(omit_final_dot=True), dns.rdatatype.to_text(question.rdtype), way))

    def _lie(self, query: dns.message.Message, mode: str) -> bytes:
        response = dns.message.make_response(query, recursion_available=True)
        if mode in CODES:
            response.set_rcode(CODES[mode])
        elif mode in ("cut", "cut-for-good"):
            response.flags |= dns.flags.TC
        elif mode in ("loop", "long-loop"):
            response.answer = _loop(query.question[0].name, 2 if mode == "loop" else 40)
        else:
            self._mislead(response)
            if mode == "wrong-id":
                response.id ^= 1
            elif mode == "other-name":
                response.question[0].name = dns.name.from_text("evil.test.")
            elif mode == "not-asked":
                response.question = []
        return response.to_wire(max_size=65_535)

    @staticmethod
    def _mislead(response: dns.message.Message) -> None:
        """Answer that mail goes to the host `evil.test`."""
        name = response.question[0].name
        response.answer = [dns.rrset.from_text(name, 300, "IN", "MX", "1 evil.test.")]


def _loop(name: dns.name.Name, length: int) -> list[dns.rrset.RRset]:
    """Give aliases that lead back to a name."""
    names = [name, *(dns.name.from_text(f"{number}.ring.test.") for number in range(1, length)), name]
    return [dns.rrset.from_text(one, 300, "IN", "CNAME", other.to_text()) for one, other in pairwise(names)]
