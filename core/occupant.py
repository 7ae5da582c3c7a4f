"""Who listens on a port: the process, as far as this user may know it.

Reads /proc/net/tcp and tcp6 for the socket and /proc/PID/fd for who holds it; other users' processes are root's to see,
and a unit may see none (ProtectProc=). Blocks for some milliseconds. Raises nothing.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Final

from core.name_server import is_address

_PROC: Final = Path("/proc")
_LISTENING: Final = "0A"


def occupant(host: str, port: int, proc: Path = _PROC) -> str:
    """Name the process that listens on an address, or on all of them: `exim4 (process 712)`; '' if it is not known."""
    if not is_address(host):  # a name
        return ""
    sockets = {f"socket:[{inode}]" for inode in _listening(host, port, proc)}
    if not sockets:
        return ""
    for folder in sorted(proc.glob("[0-9]*"), key=lambda one: int(one.name)):
        with suppress(OSError):
            if any(os.readlink(one) in sockets for one in (folder / "fd").iterdir()):
                name = (folder / "comm").read_text(errors="replace").strip()  # which a process gives to itself
                return f"{''.join(one if one.isprintable() else '?' for one in name)} (process {folder.name})"
    return ""


def _listening(host: str, port: int, proc: Path) -> Iterator[str]:
    """Give the inodes of listening sockets that stand in the way of an address."""
    wanted = ip_address(host)
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text("ascii").splitlines()[1:]:
                words = line.split()
                where, _, number = words[1].partition(":")
                if words[3] == _LISTENING and int(number, 16) == port and _meet(_address(where), wanted):
                    yield words[9]


def _address(digits: str) -> IPv4Address | IPv6Address:
    """Read an address as the kernel writes it: words of 32 bits in the order of this machine's octets."""
    words = [int(digits[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(digits), 8)]
    found = ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found


def _meet(there: IPv4Address | IPv6Address, wanted: IPv4Address | IPv6Address) -> bool:
    """Tell whether two addresses cannot both be listened on; a wildcard of version 6 may take version 4 as well."""
    if there.version == wanted.version:
        return there == wanted or there.is_unspecified or wanted.is_unspecified
    return there.is_unspecified if there.version == 6 else wanted.is_unspecified and wanted.version == 6
