"""Ports for daemons that are told theirs before they start.

A port that the kernel has just given away is free for the next who asks: for another test worker, or for a connection
that anybody on the machine opens. So these come from below what the kernel gives away by itself, each process has a
block of its own, and gives out no number twice before it has been through all of them.
"""

import itertools
import os
import socket
from collections.abc import Iterator

_FIRST, _BLOCK, _BLOCKS = 12_000, 200, 100
"""Up to 32,000: the kernel's own begin at 32,768 unless somebody has set that."""
_HELD: list[socket.socket] = []
"""Names of the blocks of this process: abstract ones, which end with it and are a network namespace's, as ports are."""


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port that nobody listens on, and that nobody else is told of."""
    return next(port for port in _numbers if _is_free(host, port))


def free_ports(count: int) -> list[int]:
    """Find several."""
    return [free_port() for _ in range(count)]


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _own_numbers() -> Iterator[int]:
    """Give the numbers of this process's first block, then of further ones; when none is left, those again."""
    first = os.getpid() % _BLOCKS
    used: list[int] = []
    for block in itertools.chain(range(first, _BLOCKS), range(first)):
        held = socket.socket(socket.AF_UNIX)
        try:
            held.bind(f"\0gatepost-test-ports-{block}")
        except OSError:
            held.close()
            continue
        _HELD.append(held)
        used += range(_FIRST + block * _BLOCK, _FIRST + (block + 1) * _BLOCK)
        yield from used[-_BLOCK:]
    yield from itertools.cycle(used)


_numbers = _own_numbers()
