"""Which name servers are asked: as the configuration writes them, or those of the system; and which for which name.

Used by the configuration, the resolver (core/dns.py) and by single questions (core/lookup.py). Raises `ValueError` for
what is no address.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

MOST_PRIORITY = 65_535


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
    """Read `host`, `host:port` or `[IPv6]:port`, where host is an address; a priority (`/pri=N`) is passed over.

    Raises `ValueError`.
    """
    return _ranked(text)[1]


def _ranked(text: str) -> tuple[int, NameServer]:
    text, slash, more = text.partition("/")
    key, _, digits = more.partition("=")
    priority = int(digits) if digits.isdecimal() and len(digits) < 6 else -1
    if slash and (key.strip().lower() != "pri" or not 0 <= priority <= MOST_PRIORITY):
        raise ValueError(f"after the address only a priority may stand, such as /pri=1 (0 to {MOST_PRIORITY})")
    host, colon, port = text.rpartition(":")
    if is_address(text.strip("[]")) or not colon:
        host, port = text, "53"
    host = host.strip("[]")
    ip_address(host)
    if not 0 < int(port) < 65_536:
        raise ValueError(f"{port} is no port")
    return priority if slash else 0, NameServer(host, int(port))


def name_servers(texts: Sequence[str]) -> list[NameServer]:
    """Give the configured servers, lowest priority number first; without any those of /etc/resolv.conf."""
    return [server for _, server in sorted(map(_ranked, texts or _system_servers()), key=lambda one: one[0])]


class NameServers:
    """Who is asked for a name: the servers of the private domain that it is in, else the general ones."""

    def __init__(self, servers: Sequence[str], private: Iterable[tuple[str, Sequence[str]]] = ()) -> None:
        self.general = name_servers(servers)
        self._private = {domain.lower().rstrip("."): name_servers(texts) for domain, texts in private}

    def private(self, name: str) -> list[NameServer]:
        """Give the servers of the longest private domain that a name is in; none if it is in none."""
        rest = name.lower().rstrip(".") if self._private else ""
        while rest:
            if rest in self._private:
                return self._private[rest]
            rest = rest.partition(".")[2]
        return []

    def of(self, name: str) -> list[NameServer]:
        """Give the servers to ask for a name, in the order of asking."""
        return self.private(name) or self.general

    @property
    def local(self) -> bool:
        """Whether all general ones are on this machine."""
        return all(ip_address(host).is_loopback for host, _ in self.general)


def _system_servers() -> list[str]:
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    found = [word[1] for word in words if len(word) > 1 and word[0] == "nameserver" and is_address(word[1])]
    return found or ["127.0.0.1"]
