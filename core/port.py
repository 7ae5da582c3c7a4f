"""Opening a port to listen on, over IPv4 or IPv6, with an error that an operator can act on.

Used by the SMTP listeners and by the SSH listeners. Raises `GatepostError` (69) naming who wanted which address.
"""

import errno
import socket

from core.errors import EX_UNAVAILABLE, GatepostError

REMEDIES = {
    errno.EADDRINUSE: "; stop the process that uses it, or choose another port",
    errno.EADDRNOTAVAIL: "; this machine does not have that address",
    errno.EACCES: "; a port below 1024 needs the capability CAP_NET_BIND_SERVICE, or "
    "sysctl net.ipv4.ip_unprivileged_port_start",
}


def listen(name: str, host: str, port: int, *, backlog: int, reuse_port: bool = False) -> socket.socket:
    """Give a bound, listening, non-blocking socket; `reuse_port`: several processes may share the port."""
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
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        where = f"{host}:{port}"
        text = f"{name}: cannot listen on {where}: {error.strerror or error}{REMEDIES.get(error.errno or 0, '')}"
        raise GatepostError(text, EX_UNAVAILABLE) from error
    return sock
