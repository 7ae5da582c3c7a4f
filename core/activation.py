"""Listening sockets that the service manager hands to a daemon (systemd.socket(5), sd_listen_fds(3)).

`core/port.py` takes one whose address is the configured one in the place of a socket of its own; gateways, which share
their ports among processes, never do. The manager keeps a copy of each: closing ours would leave peers waiting in a
queue that nobody empties. So a port that is suspended is shut down, which refuses them, and listens again when it is
resumed or when the daemon has ended. Raises nothing.
"""

import os
import socket
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address

FIRST = 3
REMEDY = "`gatepost systemd install` writes the socket units anew"
_BACKLOG = 512
_MOST = 1024
"""Sockets that are looked for, whatever number is told."""


@dataclass
class _Held:
    """A socket that was handed over; `used` once somebody here has gone by its address."""

    name: str
    sock: socket.socket
    used: bool = False

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.sock.getsockname()[:2]
        return host, port


_held: list[_Held] = []
_own: list[str] = []
"""Addresses that this process listens on by itself."""


def inherit(environ: MutableMapping[str, str] = os.environ) -> None:
    """Take over what was handed to this process; children are handed nothing."""
    told = {name: environ.pop(f"LISTEN_{name}", "") for name in ("FDS", "PID", "FDNAMES")}
    if told["PID"] != str(os.getpid()) or not told["FDS"].isdecimal():
        return
    names = told["FDNAMES"].split(":")
    for place in range(min(int(told["FDS"][:6]), _MOST)):
        with suppress(OSError):  # no socket: not ours to use
            sock = socket.socket(fileno=FIRST + place)
            sock.set_inheritable(False)
            if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
                _held.append(_Held(names[place] if place < len(names) else "", sock))
            else:
                sock.detach()  # nor to close


def adopt(host: str, port: int) -> socket.socket | None:
    """Give a copy of the socket that was handed over for an address, None if none was."""
    for one in _at(host, port):
        one.used = True
        return one.sock.dup()
    if _held:
        _own.append(_text(host, port))
    return None


def withdraw(host: str, port: int) -> None:
    """Have the socket that was handed over for an address refuse connections, until somebody listens again."""
    for one in _at(host, port):
        one.used = True
        with suppress(OSError):
            one.sock.shutdown(socket.SHUT_RDWR)


def unused() -> list[str]:
    """Say of each socket that fits nothing here what to do about it, and have it refuse connections."""
    found = [one for one in _held if not one.used]
    own = f"; this daemon listens on {', '.join(_own)} by itself" if _own else ""
    for one in found:
        withdraw(*one.address)
    return [
        f"the socket unit's {_text(*one.address)} ({one.name}) is not configured here{own}; {REMEDY}" for one in found
    ]


def in_use() -> bool:
    """Tell whether this process listens on something that was handed over."""
    return any(one.used for one in _held)


def misfits() -> str:
    """Name the addresses that were handed over and that nobody here has gone by, '' if there are none."""
    return ", ".join(_text(*one.address) for one in _held if not one.used)


def give_back() -> None:
    """Have all of them listen at the end: a manager that finds one shut down would give up its unit."""
    for one in _held:
        with suppress(OSError):
            one.sock.listen(_BACKLOG)


def _at(host: str, port: int) -> Iterator[_Held]:
    return (one for one in _held if one.address[1] == port and _same(one.address[0], host))


def _same(here: str, there: str) -> bool:
    try:
        return ip_address(here) == ip_address(there)
    except ValueError:
        return here == there


def _text(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
