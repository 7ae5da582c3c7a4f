"""Opening a port to listen on, over IPv4 or IPv6, with an error that an operator can act on.

Used by every listener. A socket that the service manager handed over for the address is taken in the place of one of
our own. Raises `GatepostError` (69) naming who wanted which address, and which process has it.
"""

import errno
import os
import socket

from core import activation
from core.errors import EX_UNAVAILABLE, GatepostError
from core.occupant import occupant

REMEDIES = {
    errno.EADDRINUSE: "; stop it, or choose another port",
    errno.EADDRNOTAVAIL: "; this machine does not have that address",
    errno.EACCES: "; a port below 1024 needs the capability CAP_NET_BIND_SERVICE, or "
    "sysctl net.ipv4.ip_unprivileged_port_start",
}


def listen(name: str, host: str, port: int, *, backlog: int, reuse_port: bool = False) -> socket.socket:
    """Give a bound, listening, non-blocking socket; `reuse_port`: several processes may share the port."""
    given = None if reuse_port else activation.adopt(host, port)
    if given is not None:
        given.setblocking(False)
    sock = given or bind(name, host, port, reuse_port=reuse_port)
    start(name, sock, backlog)
    return sock


def bind(name: str, host: str, port: int, *, reuse_port: bool = False) -> socket.socket:
    """Give a bound, non-blocking socket that does not listen yet: what can be refused is refused here."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise _refusal(name, f"{host}:{port}", error) from error
    return sock


def start(name: str, sock: socket.socket, backlog: int) -> None:
    """Listen on a bound socket; close it where that fails: somebody else listens there since it was bound."""
    try:
        sock.listen(backlog)
    except OSError as error:
        host, port = sock.getsockname()[:2]
        sock.close()
        raise _refusal(name, f"{host}:{port}", error) from error


def taken(host: str, port: int, name: str = "a port") -> bool:
    """Tell whether anybody listens there, also one who shares the port with SO_REUSEPORT.

    Sockets that are bound and do not listen do not count. Raises `GatepostError` with `name` for an address that is not
    there.
    """
    try:
        bind(name, host, port).close()
    except GatepostError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE:
            return True
        raise
    return False


def taken_by_others(name: str, host: str, port: int) -> GatepostError:
    """Give the error for a port that somebody else uses and would share with us unknowingly."""
    return _refusal(name, f"{host}:{port}", OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))


def _refusal(name: str, where: str, error: OSError) -> GatepostError:
    reason, remedy = error.strerror or str(error), REMEDIES.get(error.errno or 0, "")
    if error.errno == errno.EADDRINUSE:
        host, _, port = where.rpartition(":")
        who = occupant(host, int(port))
        remedy = f" by {who}{remedy}" if who else f"; as root, ss -ltnp 'sport = :{port}' shows by whom{remedy}"
    if given := activation.misfits():
        remedy += f"; the service manager hands over {given} instead: {activation.REMEDY}"
    return GatepostError(f"{name}: cannot listen on {where}: {reason}{remedy}", EX_UNAVAILABLE)
