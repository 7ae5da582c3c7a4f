"""tunnel.appliance.dial: the race of addresses, decided by the banner, which stays in the socket."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

from tunnel.appliance.dial import Attempt, attempt, connect_tcp, interleave, peek_banner, reach

OURS = b"SSH-2.0-Gatepost_1.0 GatepostTunnels1\r\n"


def test_families_take_turns_and_the_number_is_bounded() -> None:
    assert interleave(["1.1.1.1", "2.2.2.2", "::1", "3.3.3.3"]) == ["::1", "1.1.1.1", "2.2.2.2", "3.3.3.3"]
    assert len(interleave([f"192.0.2.{n}" for n in range(50)])) == 8


def _peer(*said: bytes) -> tuple[Callable[[str, int], Awaitable[socket.socket]], list[socket.socket]]:
    """Give a connector to peers that each say one text; None-like b"" closes at once."""
    others: list[socket.socket] = []
    texts = iter(said)

    async def connect(_address: str, _port: int) -> socket.socket:
        ours, other = socket.socketpair()
        ours.setblocking(False)
        others.append(other)
        if text := next(texts):
            other.sendall(text)
        else:
            other.close()
        return ours

    return connect, others


async def test_the_banner_is_left_for_ssh_to_read() -> None:
    connect, others = _peer(OURS)
    sock, result = await attempt("192.0.2.1", 25, 1, connect)
    assert sock is not None
    assert result.verdict.name == "ours"
    assert sock.recv(255) == OURS
    sock.close()
    others[0].close()


async def test_a_banner_in_two_pieces_is_read_whole() -> None:
    ours, other = socket.socketpair()
    ours.setblocking(False)
    other.sendall(OURS[:5])
    async with asyncio.TaskGroup() as group:
        peeking = group.create_task(peek_banner(ours))
        await asyncio.sleep(0)
        other.sendall(OURS[5:])
    assert peeking.result() == OURS
    ours.close()
    other.close()


async def test_silence_closing_and_refusal_are_told_apart() -> None:
    async def silent(_address: str, _port: int) -> socket.socket:
        ours, other = socket.socketpair()
        ours.setblocking(False)
        kept.append(other)
        return ours

    kept: list[socket.socket] = []
    assert (await attempt("192.0.2.1", 25, 0.05, silent))[1].verdict.name == "silent"
    connect, _ = _peer(b"")
    assert (await attempt("192.0.2.1", 25, 1, connect))[1].verdict.name == "closed"
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        assert (await attempt("127.0.0.1", port, 1, connect_tcp))[1].verdict.name == "refused"
    kept[0].close()


async def test_a_bad_address_does_not_delay_a_good_one() -> None:
    connect, others = _peer(b"220 mail\r\n", OURS)
    notes: list[Attempt] = []
    loop = asyncio.get_running_loop()
    begun = loop.time()
    won = await reach(["192.0.2.1", "192.0.2.2"], 25, 5, notes.append, connect)
    assert loop.time() - begun < 0.2
    assert won is not None
    assert won[1].address == "192.0.2.2"
    assert [note.verdict.name for note in notes] == ["smtp", "ours"]
    won[0].close()
    for other in others:
        other.close()


async def test_no_good_banner_anywhere_gives_nothing() -> None:
    connect, others = _peer(b"220 mail\r\n", b"SSH-2.0-Other\r\n")
    assert await reach(["192.0.2.1", "192.0.2.2"], 25, 5, lambda _note: None, connect) is None
    for other in others:
        other.close()
