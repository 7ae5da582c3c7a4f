"""One DNS question to one server and the whole answer, as `dig` and `nslookup` show it.

The cached lookups of mail are `core/dns.py`; here nothing is cached and nothing is followed. Raises `GatepostError`:
65 for a name or type that is none, 75 when no server answers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.reversename

from core.errors import EX_DATAERR, EX_TEMPFAIL, GatepostError
from core.name_server import NameServer

_UDP_OCTETS = 1232
_ROWS = 500
"""Records of one section that are kept."""


@dataclass(frozen=True)
class Row:
    """One record."""

    name: str
    ttl_s: int
    kind: str
    text: str


@dataclass(frozen=True)
class Reply:
    """What a server said."""

    server: str
    code: str
    """NOERROR, NXDOMAIN, SERVFAIL …"""
    flags: tuple[str, ...]
    question: tuple[str, str]
    sections: dict[str, list[Row]] = field(default_factory=dict)
    """`answer`, `authority`, `additional`."""
    octets: int = 0
    took_ms: float = 0.0


def question_of(name: str, kind: str) -> tuple[str, str]:
    """Check a name and a type; for PTR an address may stand for its name. Raises status 65."""
    try:
        code = dns.rdatatype.from_text(kind.upper())
        if code == dns.rdatatype.PTR and _reversed(name):
            name = _reversed(name)
        text = dns.name.from_text(name).to_text(omit_final_dot=name != ".")
    except (dns.exception.DNSException, UnicodeError, ValueError) as error:
        raise GatepostError(f"{name!r} {kind}: no name or type of the DNS: {error}", EX_DATAERR) from None
    if dns.rdatatype.is_metatype(code) and code != dns.rdatatype.ANY:
        raise GatepostError(f"{kind} cannot be asked for here", EX_DATAERR)
    return text, dns.rdatatype.to_text(code)


def _reversed(name: str) -> str:
    try:
        return dns.reversename.from_address(name).to_text()
    except (dns.exception.DNSException, ValueError):
        return ""


async def ask(servers: Sequence[NameServer], name: str, kind: str, *, timeout_s: float = 5.0) -> Reply:
    """Ask the servers in turn until one answers anything. Raises status 65 and 75."""
    name, kind = question_of(name, kind)
    query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_OCTETS)
    reason = "no name server is configured"
    for server in servers:
        begun = time.monotonic()
        try:
            response, _ = await dns.asyncquery.udp_with_fallback(
                query, server.host, timeout=timeout_s, port=server.port, ignore_unexpected=True, ignore_errors=True
            )
        except dns.exception.Timeout:
            reason = f"{server} did not answer within {timeout_s:g} s"
        except (OSError, EOFError, dns.exception.DNSException) as error:
            reason = f"{server}: {error or type(error).__name__}"
        else:
            return _reply(response, str(server), (name, kind), (time.monotonic() - begun) * 1000)
    raise GatepostError(f"{name} {kind}: {reason}", EX_TEMPFAIL)


def _reply(response: dns.message.Message, server: str, question: tuple[str, str], took_ms: float) -> Reply:
    sections: dict[str, list[Row]] = {}
    for title, records in zip(("answer", "authority", "additional"), response.sections[1:], strict=True):
        rows = [
            Row(
                group.name.to_text(omit_final_dot=group.name != dns.name.root),
                group.ttl,
                dns.rdatatype.to_text(group.rdtype),
                one.to_text(),
            )
            for group in records
            for one in group
        ]
        sections[title] = rows[:_ROWS]
    flags = dns.flags.to_text(response.flags).lower().split()
    code, size = dns.rcode.to_text(response.rcode()), len(response.wire or b"")
    return Reply(server, code, tuple(flags), question, sections, size, round(took_ms, 1))
