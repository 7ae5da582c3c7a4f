"""Joining streams: for whom a unix socket's client says it comes, hosts that do not answer, and how a splice ends."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from core.ssh import splice
from core.ssh.splice import Half, origin_of, splice_to_address, splice_to_channel, splice_to_unix


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


# -- how a splice ends ----------------------------------------------------------------------------------------------


class _Server(asyncssh.SSHServer):
    """Lets everybody in; answers each forwarded connection with what it is given."""

    def __init__(self, answer: Callable[[], Awaitable[Half]]) -> None:
        self._answer = answer

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self.connection = conn

    def begin_auth(self, username: str) -> bool:
        return False

    def connection_requested(self, dest_host: str, dest_port: int, orig_host: str, orig_port: int) -> Any:
        return self._answer()

    def server_requested(self, listen_host: str, listen_port: int) -> Any:
        return True


@asynccontextmanager
async def _connected(
    answer: Callable[[], Awaitable[Half]],
) -> AsyncIterator[tuple[asyncssh.SSHClientConnection, asyncssh.SSHServerConnection]]:
    """Give both ends of an SSH connection whose forwarded connections are answered so."""
    made: list[_Server] = []

    def server() -> _Server:
        made.append(_Server(answer))
        return made[-1]

    listener = await asyncssh.listen("127.0.0.1", 0, server_factory=server, server_host_keys=[ssh.make_key("host")])
    options: dict[str, Any] = {"known_hosts": None, "client_keys": None, "agent_path": None, "username": "ana"}
    try:
        async with asyncssh.connect("127.0.0.1", listener.get_port(), config=None, **options) as connection:
            yield connection, made[0].connection
    finally:
        listener.close()


class _Program(asyncssh.SSHTCPSession[bytes]):
    """The client's end, as OpenSSH's `-W`: it says when its input ends, and waits for the other's close."""

    def __init__(self) -> None:
        self.ended = asyncio.Event()

    def eof_received(self) -> bool:
        self.ended.set()
        return True


async def _open(connection: asyncssh.SSHClientConnection) -> tuple[Any, _Program]:
    channel, program = await connection.create_connection(_Program, "esa", 22)
    return channel, program


@asynccontextmanager
async def _console(folder: Path) -> AsyncIterator[tuple[Path, "asyncio.Queue[socket.socket]"]]:
    """Listen as the console does; gives the socket's path and what is accepted there."""
    accepted: asyncio.Queue[socket.socket] = asyncio.Queue()
    loop, path = asyncio.get_running_loop(), folder / "s"

    async def accept() -> None:
        while True:
            accepted.put_nowait((await loop.sock_accept(listening))[0])

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        listening.setblocking(False)
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(accept())
            yield path, accepted
            accepting.cancel()
        while not accepted.empty():
            accepted.get_nowait().close()


@pytest.mark.parametrize("first", ["console", "client"])
async def test_a_channel_is_closed_when_both_sides_have_ended_their_input_whoever_did_so_first(
    tmp_path: Path, first: str
) -> None:
    """An `ssh -W` whose client had ended stayed for ever when the console had ended its side before."""
    ended: list[bool] = []
    async with asyncio.timeout(30), _console(tmp_path) as (path, accepted):

        async def answer() -> Half:
            return await splice_to_unix(path, lambda: ended.append(True))

        async with _connected(answer) as (connection, _):
            channel, program = await _open(connection)
            console = await accepted.get()
            if first == "console":
                console.close()
                await program.ended.wait()
                channel.write_eof()
            else:
                channel.write_eof()
                console.setblocking(False)
                assert await asyncio.get_running_loop().sock_recv(console, 1) == b""
                console.close()
            await channel.wait_closed()
    assert ended == [True]


@pytest.mark.parametrize("first", ["appliance", "client"])
async def test_two_channels_are_closed_when_both_sides_have_ended_their_input(first: str) -> None:
    """Between two channels, as on the bastion, nobody closed at all if neither end did."""
    appliance: list[tuple[Any, _Program]] = []

    class Carried(_Program):
        def connection_made(self, chan: Any) -> None:
            appliance.append((chan, self))

    async def nobody() -> Half:
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_CONNECT_FAILED, "nobody")

    async with asyncio.timeout(30), _connected(nobody) as (dialled, tunnel):
        name = await dialled.create_server(lambda _host, _port: Carried(), "127.0.0.1", 0)

        async def answer() -> Half:
            return await splice_to_channel(tunnel, ("127.0.0.1", name.get_port()), ("", 0), lambda: None)

        async with _connected(answer) as (connection, _):
            channel, program = await _open(connection)
            far, carried = appliance[0]
            one, other = ((far, program), (channel, carried))[:: 1 if first == "appliance" else -1]
            one[0].write_eof()
            await one[1].ended.wait()
            other[0].write_eof()
            await channel.wait_closed()
            await far.wait_closed()


async def test_a_half_whose_other_has_gone_closes_the_channel_that_it_is_given_later() -> None:
    """Between joining and the channel's own connection nobody was there to close it."""
    other: list[Half] = []
    async with asyncio.timeout(30):

        async def answer() -> Half:
            other.append(Half())
            near = Half().join(other[0])
            other[0].connection_lost(None)
            return near

        async with _connected(answer) as (connection, _):
            channel, _ = await _open(connection)
            await channel.wait_closed()


async def test_what_had_gone_before_it_was_joined_ends_its_other_too() -> None:
    ended: list[bool] = []
    near, far = Half(lambda: ended.append(True)), Half()
    far.connection_lost(ConnectionResetError())
    near.join(far)
    assert ended == [True]


async def test_a_half_that_no_channel_takes_lets_go_of_the_console(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engineer left while the console was dialled: asyncssh gives the session up without a word to it."""
    monkeypatch.setattr(splice, "CONNECTED_S", 0.0)
    ended = asyncio.Event()
    async with asyncio.timeout(30), _console(tmp_path) as (path, accepted):
        half = await splice_to_unix(path, ended.set)
        try:
            await ended.wait()
        finally:
            half.close()
            (await accepted.get()).close()


async def test_what_comes_for_a_channel_that_is_closing_is_dropped_and_ends_no_other() -> None:
    """It raised within the other connection, which ended with all the channels that it carried: the whole tunnel."""
    halves: list[tuple[Half, Half]] = []
    async with asyncio.timeout(30):

        async def answer() -> Half:
            near, far = Half(), Half()
            halves.append((near, far))
            return near.join(far)

        async with _connected(answer) as (connection, _):
            channel, _ = await _open(connection)
            near, far = halves[0]
            near._transport.close()
            far.data_received(b"late")
            await channel.wait_closed()
