"""Which name servers are asked: as the configuration writes them, or those of the system.

Used by the resolver (core/dns.py) and by single questions (core/lookup.py). Raises `ValueError` for what is no
address.
"""

from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple


class NameServer(NamedTuple):
    """Address and port of one server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def is_address(text: str) -> bool:
    """Tell whether text is an IP address."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def name_server(text: str) -> NameServer:
    """Read `host`, `host:port` or `[IPv6]:port`, where host is an address. Raises `ValueError`."""
    host, colon, port = text.rpartition(":")
    if is_address(text) or not colon:
        host, port = text, "53"
    host = host.strip("[]")
    ip_address(host)
    return NameServer(host, int(port))


def name_servers(texts: Sequence[str]) -> list[NameServer]:
    """Give the configured servers, without any those of /etc/resolv.conf."""
    return [name_server(text) for text in texts or _system_servers()]


def _system_servers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and is_address(word[1])]
    return found or ["127.0.0.1"]
