"""Which addresses are this machine's own: those that it listens on, and behind a wildcard all that the kernel has.

Used where delivery looks for loops. The kernel is asked through /proc/net, again after a minute, since addresses come
and go; without /proc the loopback is still known. Raises nothing, logs nothing.
"""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Final

from core import clock

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

KEPT_S: Final = 60.0
_PROC: Final = Path("/proc/net")
_LOCAL: Final = re.compile(r"\|-- ([0-9.]+)\n((?:\s+/\d+ [^\n]+\n)*)")
_HOST: Final = re.compile(r"/(\d+) host LOCAL")
_LOOPBACK: Final[tuple[Network, ...]] = (ip_network("127.0.0.0/8"), ip_network("::1"))


class OwnAddresses:
    """Tells own addresses from others: `"192.0.2.1" in own`."""

    def __init__(
        self, listening: Iterable[str], *, proc: Path = _PROC, monotonic: clock.Clock = clock.monotonic
    ) -> None:
        """`listening` are the addresses of listeners, wildcards too."""
        addresses = {ip_address(one) for one in listening}
        self._named = {one for one in addresses if not one.is_unspecified}
        self._wildcards = {one.version for one in addresses if one.is_unspecified}
        self._proc = proc
        self._monotonic = monotonic
        self._read_at = -KEPT_S
        self._networks: tuple[Network, ...] = ()

    def __contains__(self, text: object) -> bool:
        try:
            address = ip_address(str(text).partition("%")[0])
        except ValueError:
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if address in self._named:
            return True
        if address.version not in self._wildcards:
            return False
        # Who calls the unspecified address reaches this machine (connect(2) on Linux).
        return address.is_unspecified or any(address in network for network in self._of_kernel())

    def _of_kernel(self) -> tuple[Network, ...]:
        now = self._monotonic()
        if now - self._read_at >= KEPT_S:
            self._read_at = now
            self._networks = tuple({*_LOOPBACK, *local_networks(self._proc)})
        return self._networks


def local_networks(proc: Path = _PROC) -> list[Network]:
    """Give what the kernel takes for itself: addresses, and networks such as 127.0.0.0/8."""
    found: list[Network] = []
    for address, lines in _LOCAL.findall(_text(proc / "fib_trie")):
        found += [ip_network(f"{address}/{length}", strict=False) for length in _HOST.findall(lines)]
    for line in _text(proc / "if_inet6").splitlines():
        digits = line.partition(" ")[0]
        if len(digits) == 32:
            found.append(IPv6Network(int(digits, 16)))
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text("ascii", "replace")
    except OSError:
        return ""
