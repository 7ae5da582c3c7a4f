"""Joining streams: for whom a unix socket's client says it comes, and hosts that do not answer."""

import asyncio
import socket
from pathlib import Path

import asyncssh
import pytest

from core.ssh.splice import origin_of, splice_to_address, splice_to_unix


@pytest.mark.parametrize("origin", ["ana@SR1#1", "", "häns / x\n", "x" * 500])
async def test_a_client_of_a_unix_socket_says_for_whom_it_comes(tmp_path: Path, origin: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        listening.setblocking(False)
        half = await splice_to_unix(tmp_path / "s", lambda: None, origin=origin)
        sock, address = await asyncio.get_running_loop().sock_accept(listening)
        sock.close()
        half.close()
    assert origin_of(address) == origin.encode()[:80].decode("utf-8", "replace")


@pytest.mark.parametrize("address", ["", None, ("127.0.0.1", 1), "/run/x.sock", b"/run/x", b""])
def test_other_addresses_say_nothing(address: object) -> None:
    assert origin_of(address) == ""


async def test_nobody_there_is_said_with_address_and_port() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        ended: list[bool] = []
        with pytest.raises(asyncssh.ChannelOpenError, match=f"127.0.0.1 port {port}"):
            await splice_to_address("127.0.0.1", port, lambda: ended.append(True), timeout_s=2)
    assert ended == [True]


async def test_a_host_that_vanishes_does_not_hold_its_channel_for_ever() -> None:
    """The kernel asks after it, and gives up on what it does not acknowledge, within a minute or so."""
    accepted: list[asyncio.StreamWriter] = []
    async with await asyncio.start_server(lambda _reader, writer: accepted.append(writer), "127.0.0.1", 0) as server:
        half = await splice_to_address("127.0.0.1", server.sockets[0].getsockname()[1], lambda: None)
        assert half._other is not None
        sock = half._other._transport.get_extra_info("socket")
        idle, interval, count, unanswered = (
            sock.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
        )
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        half.close()
        for writer in accepted:
            writer.close()
    assert idle + interval * count <= 90
    assert 0 < unanswered <= 90_000
