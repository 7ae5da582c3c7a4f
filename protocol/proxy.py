"""The header that a load balancer puts in front of a connection: the PROXY protocol, versions 1 and 2.

The port that listens for listed peers shows it the octets that have arrived (core/smtp/port.py) and takes from the
socket exactly what it says, so that what follows stays for whoever reads next, TLS included. Knows no socket and no
clock. Raises `ProxyError`, in words for a log, for everything that is not a header: nobody may guess here.
"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, NamedTuple

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_FIXED: Final = 16
_LONGEST_LINE: Final = 107
_LONGEST_BLOCK: Final = 1024
"""Addresses and what balancers add to them (certificate names, ids); the specification asks for 216 at least."""
_ADDRESS_OCTETS: Final = {0x11: 4, 0x21: 16}
_PROXY: Final = 0x21
_LOCAL: Final = 0x20


class ProxyError(ValueError):
    """What arrived is no PROXY header."""


class Ends(NamedTuple):
    """Both ends of the connection that the balancer took in."""

    host: str
    port: int
    local_host: str
    local_port: int


class ProxyHeader:
    """One header on its way in."""

    def __init__(self) -> None:
        self._data = b""
        self.complete = False
        self.ends: Ends | None = None
        """None when the balancer speaks for itself (a health check): the connection's own ends count."""

    def take(self, seen: bytes) -> int:
        """Look at octets that wait to be read; give how many belong to the header. Raises `ProxyError`."""
        data = self._data + seen
        is_block = data.startswith(SIGNATURE[: len(data)])
        used = self._take_block(data) if is_block else self._take_line(data)
        taken = used - len(self._data)
        self._data = data[:used]
        return taken

    def _take_line(self, data: bytes) -> int:
        """Version 1: a line of text."""
        if not data.startswith(b"PROXY "[: len(data)]):
            raise ProxyError("not a PROXY header")
        end = data.find(b"\r\n")
        if end < 0:
            if len(data) >= _LONGEST_LINE:
                raise ProxyError("the PROXY line does not end")
            return len(data)
        if end + 2 > _LONGEST_LINE:
            raise ProxyError("the PROXY line is too long")
        self.ends = _ends_of_line(data[:end])
        self.complete = True
        return end + 2

    def _take_block(self, data: bytes) -> int:
        """Version 2: fixed part, length, addresses, then what we pass over."""
        if len(data) < _FIXED:
            return len(data)
        length = _FIXED + int.from_bytes(data[14:16], "big")
        if length > _FIXED + _LONGEST_BLOCK:
            raise ProxyError("the PROXY header is too long")
        if len(data) < length:
            return len(data)
        self.ends = _ends_of_block(data[12], data[13], data[_FIXED:length])
        self.complete = True
        return length


def _ends_of_line(line: bytes) -> Ends | None:
    words = line.split(b" ")
    if words[1] == b"UNKNOWN":
        return None
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("the PROXY line is malformed")
    try:
        hosts = [ip_address(word.decode("ascii")) for word in words[2:4]]
        ports = [_port(word) for word in words[4:6]]
    except ValueError as error:
        raise ProxyError("the PROXY line is malformed") from error
    if b"%" in line:  # the zone of an address (RFC 4007) may be any text, and means nothing here
        raise ProxyError("the PROXY line is malformed")
    if any(host.version != int(words[1][3:]) for host in hosts):
        raise ProxyError("the PROXY line names another family than its addresses have")
    return Ends(_text(hosts[0]), ports[0], _text(hosts[1]), ports[1])


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise ValueError("not a port")
    return int(word)


def _ends_of_block(command: int, family: int, block: bytes) -> Ends | None:
    if command == _LOCAL:
        return None
    if command != _PROXY:
        raise ProxyError("a PROXY header of a version or command that is not known")
    octets = _ADDRESS_OCTETS.get(family)
    if octets is None or len(block) < 2 * octets + 4:
        raise ProxyError("a PROXY header without TCP addresses")
    hosts = [ip_address(block[at : at + octets]) for at in (0, octets)]
    ports = [int.from_bytes(block[at : at + 2], "big") for at in (2 * octets, 2 * octets + 2)]
    return Ends(_text(hosts[0]), ports[0], _text(hosts[1]), ports[1])


def _text(address: IPv4Address | IPv6Address) -> str:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
