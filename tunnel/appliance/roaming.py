"""Notices that this machine's addresses or links changed, so that the tunnel follows at once.

The kernel tells over a netlink socket (rtnetlink(7)); what it says is not read, only that it spoke, and after a moment
of quiet the owner looks for itself: is the address that the tunnel was opened from still ours? Where no netlink is to
be had, keepalive and the back-off do the work alone. Used by `client.py`. Raises nothing but cancellation.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable

_NETLINK_ROUTE = 0
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""Links, IPv4 addresses and routes, IPv6 addresses and routes."""
SETTLE_S = 0.5
"""Changes come in bursts."""


def is_ours(address: str) -> bool:
    """Tell whether an address is on this machine now."""
    if not address:
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            return error.errno != errno.EADDRNOTAVAIL
    return True


async def watch(changed: Callable[[], None]) -> None:
    """Call `changed` whenever addresses, links or routes have changed and come to rest; ends where that is unknown."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_ROUTE)
    except OSError:
        return
    with sock:
        try:
            sock.bind((0, _GROUPS))
        except OSError:
            return
        sock.setblocking(False)
        await _listen(sock, changed)


async def _listen(sock: socket.socket, changed: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    news = asyncio.Event()

    def told() -> None:
        _drain(sock)
        news.set()

    loop.add_reader(sock, told)
    try:
        while True:
            await news.wait()
            await asyncio.sleep(SETTLE_S)
            news.clear()
            changed()
    finally:
        loop.remove_reader(sock)


def _drain(sock: socket.socket) -> None:
    # ENOBUFS says that messages were lost: that is a change, too.
    with contextlib.suppress(OSError):
        while sock.recv(65536):
            pass
