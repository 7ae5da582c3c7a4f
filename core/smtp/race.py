"""Which of several addresses answers first: connections begun one after the other, the first that stands is taken.

Used by `mail/delivery/opening.py` with hosts of equal preference (RFC 8305, "happy eyeballs"): families alternate, the
next attempt begins when the one before has failed or has been silent for a quarter of a second, so that an address
that swallows packets costs that and not its whole time-out. Sockets of the others are closed. Logs nothing.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain, zip_longest

from core.smtp.client_settings import ConnectionSettings
from core.smtp.target import Target
from protocol.smtp.failure import ConnectError, Stage

STAGGER_S = 0.25
"""Wait before the next attempt (RFC 8305 5)."""
_BIND_ADDRESS_NO_PORT = 24
"""Linux: the port is chosen when connecting, so that one source address has 64,000 for each peer, not for all."""

_Running = dict["asyncio.Task[socket.socket | ConnectError]", Target]


async def race(
    targets: Sequence[Target],
    settings: ConnectionSettings,
    *,
    failed: Callable[[Target, ConnectError], None],
    slow: Callable[[Target], None] = lambda _target: None,
) -> tuple[Target, socket.socket] | None:
    """Give the first target that answers with its connected socket, or None if none does.

    `failed` is called for each that fails, `slow` for each that was begun earlier than the winner and had not answered.
    """
    waiting = deque(_alternating(targets))
    running: _Running = {}
    winner: tuple[Target, socket.socket] | None = None
    try:
        async with asyncio.TaskGroup() as attempts:
            while winner is None and (waiting or running):
                if waiting:
                    target = waiting.popleft()
                    running[attempts.create_task(_attempt(target, settings))] = target
                stagger_s = STAGGER_S if waiting else None
                done, _ = await asyncio.wait(running, timeout=stagger_s, return_when=asyncio.FIRST_COMPLETED)
                winner = _first(done, running, failed)
            for task in running:
                task.cancel()
    except BaseException:
        if winner is not None:
            winner[1].close()
        raise
    finally:
        _close(running)
    order = list(_alternating(targets))
    for target in running.values():
        if winner is not None and order.index(target) < order.index(winner[0]):
            slow(target)
    return winner


def _first(
    done: "set[asyncio.Task[socket.socket | ConnectError]]",
    running: _Running,
    failed: Callable[[Target, ConnectError], None],
) -> tuple[Target, socket.socket] | None:
    """Take one socket from the attempts that are over; a second one stays for `_close`."""
    for task in done:
        outcome = task.result()
        if isinstance(outcome, ConnectError):
            failed(running.pop(task), outcome)
    for task in done & running.keys():
        outcome = task.result()
        assert isinstance(outcome, socket.socket)
        return running.pop(task), outcome
    return None


def _close(running: _Running) -> None:
    for task in running:
        if task.done() and not task.cancelled() and isinstance(outcome := task.result(), socket.socket):
            outcome.close()


def _alternating(targets: Sequence[Target]) -> list[Target]:
    """Take the families in turn, beginning with that of the first address; within one the order stays."""
    six = [target for target in targets if ":" in target.address]
    four = [target for target in targets if ":" not in target.address]
    first, second = (six, four) if targets and ":" in targets[0].address else (four, six)
    return [target for target in chain.from_iterable(zip_longest(first, second)) if target is not None]


async def _attempt(target: Target, settings: ConnectionSettings) -> socket.socket | ConnectError:
    """Connect to one address. Gives why not, rather than raise it."""
    limit_s = settings.timeouts.connect_s
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    try:
        connection = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    except OSError as problem:
        return _failure(problem)
    try:
        if settings.source_address:
            connection.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
            connection.bind((settings.source_address, 0))
        async with asyncio.timeout(limit_s):
            await asyncio.get_running_loop().sock_connect(connection, (target.address, target.port))
    except TimeoutError:
        connection.close()
        return ConnectError(f"timeout: no connection within {limit_s:g} seconds", Stage.CONNECT)
    except OSError as problem:
        connection.close()
        return _failure(problem)
    except BaseException:
        connection.close()
        raise
    return connection


def _failure(problem: OSError) -> ConnectError:
    reason = str(problem) if problem.errno is None else f"[Errno {problem.errno}] {os.strerror(problem.errno)}"
    return ConnectError(reason, Stage.CONNECT)
