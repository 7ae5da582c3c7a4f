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
