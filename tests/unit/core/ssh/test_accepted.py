"""Limits within one connection, and a server that is busy: told before any key exchange, to stock ssh as well."""

import asyncio
from typing import Any, ClassVar

import asyncssh
import pytest
from asyncssh.packet import String

from core import ssh
from core.ssh import accepted
from tests.support.need import needs
from tests.support.ports import free_port
from tests.support.service import running


class _Owner(asyncssh.SSHServer):
    told: ClassVar[list[tuple[str, str]]] = []

    def begin_auth(self, username: str) -> bool:
        return False

    def limited(self, rule: str, why: str) -> None:
        self.told.append((rule, why))

    def session_requested(self) -> Any:
        return _Idle()


class _Idle(asyncssh.SSHServerSession[bytes]):
    def shell_requested(self) -> bool:
        return True


class _Bench:
    def __init__(self, limits: ssh.AcceptLimits | None = None, **within: Any) -> None:
        _Owner.told = []
        self.key = ssh.make_key()
        self.port = free_port()
        self.refusals: list[ssh.Refusal] = []
        self.listener = ssh.SshListener(
            "bench",
            [("127.0.0.1", self.port)],
            ssh.server_options(_Owner, [self.key]),
            limits=limits,
            within=ssh.ConnectionLimits(**within),
            refused=self.refusals.append,
        )

    def connect(self, **options: Any) -> Any:
        known = asyncssh.import_known_hosts(f"[127.0.0.1]:{self.port} {ssh.public_text(self.key)}\n")
        fixed: dict[str, Any] = {"config": None, "username": "x", "known_hosts": known, "client_keys": None}
        return asyncssh.connect("127.0.0.1", self.port, **fixed, **options)


async def _ended(connection: Any) -> None:
    async with asyncio.timeout(10):
        await connection.wait_closed()


async def test_ten_thousand_global_requests_end_their_connection_and_no_other() -> None:
    bench = _Bench()
    async with running(bench.listener), bench.connect() as other, bench.connect() as flood:
        for _ in range(10_000):
            flood.send_packet(80, String(b"nothing@example.test"), b"\0")
        await _ended(flood)
        assert _Owner.told == [("requests", "too many global requests")]
        assert not other.is_closed()
        for _ in range(100):
            other.send_packet(80, String(b"keepalive@openssh.com"), b"\0")
        async with other.create_process(encoding=None):
            pass


async def test_key_exchanges_that_a_client_asks_for_are_counted() -> None:
    bench = _Bench()
    async with running(bench.listener), bench.connect() as connection:
        for round_ in range(3):
            connection._send_kexinit()
            connection._kexinit_sent = True
            if round_ < 2:
                async with connection.create_process(encoding=None):
                    pass
        await _ended(connection)
    assert _Owner.told == [("rekey", "too many key exchanges")]


async def test_more_channels_than_allowed_are_refused_one_by_one() -> None:
    bench = _Bench(channels=3)
    async with running(bench.listener), bench.connect() as connection:
        held = [await connection.create_process(encoding=None) for _ in range(3)]
        for _ in range(2):
            with pytest.raises(asyncssh.ChannelOpenError, match="more than 3 channels"):
                await connection.create_process(encoding=None)
        held[0].close()
        await held[0].wait_closed()
        await connection.create_process(encoding=None)
    assert [rule for rule, _ in _Owner.told] == ["channels", "channels"]


async def test_handshakes_take_turns_and_none_is_lost() -> None:
    bench = _Bench(ssh.AcceptLimits(handshakes=1, unauthenticated_per_source=100, early_drop=100))
    async with running(bench.listener):
        connections = await asyncio.gather(*(bench.connect() for _ in range(20)))
        assert all(connection.get_extra_info("username") == "x" for connection in connections)
        for connection in connections:
            connection.abort()
    assert bench.refusals == []


async def test_who_finds_the_server_busy_is_told_when_to_come_back() -> None:
    bench = _Bench(ssh.AcceptLimits(unauthenticated=1, unauthenticated_per_source=100, login_timeout_s=3))
    async with running(bench.listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        await reader.readline()
        with pytest.raises(asyncssh.DisconnectError, match=r"busy, come back in \d+ s") as caught:
            await bench.connect()
        assert caught.value.code == asyncssh.DISC_TOO_MANY_CONNECTIONS
        writer.close()


@needs("ssh")
async def test_stock_ssh_is_told_too() -> None:
    bench = _Bench(ssh.AcceptLimits(unauthenticated=1, unauthenticated_per_source=100, login_timeout_s=5))
    async with running(bench.listener):
        reader, writer = await asyncio.open_connection("127.0.0.1", bench.port)
        await reader.readline()
        process = await asyncio.create_subprocess_exec(
            *("ssh", "-F", "none", "-o", "BatchMode=yes", "-p", str(bench.port), "x@127.0.0.1", "true"),
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await process.communicate()
        assert process.returncode == 255
        assert b"busy, come back in 1 s" in errors
        writer.close()


async def test_a_client_that_sets_variables_without_end_fills_no_memory() -> None:
    bench = _Bench()
    async with running(bench.listener), bench.connect() as connection:
        many = {f"LC_{number}": "x" for number in range(200)}
        async with connection.create_process(encoding=None, env=many):
            (server,) = bench.listener.connections
            (channel,) = server._channels.values()
            assert len(channel.get_environment_bytes()) == accepted.VARIABLES
            assert _Owner.told[0] == ("environment", "more than 64 environment variables, or a long one")
        async with connection.create_process(encoding=None, env={"LC_ALL": "x" * 5000, "LANG": "C"}):
            (channel,) = server._channels.values()
            assert channel.get_environment_bytes() == {b"LANG": b"C"}


async def test_thousands_of_logins_asked_for_on_one_connection_end_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Guarded(_Owner):
        asked = 0

        def begin_auth(self, username: str) -> bool:
            Guarded.asked += 1
            return True

    def storm(client: Any, *_: object) -> None:
        for number in range(5000):
            client.send_packet(50, String(f"user{number}"), String("ssh-connection"), String("none"))

    bench = _Bench()
    bench.listener.options = ssh.server_options(Guarded, [bench.key])
    monkeypatch.setattr(asyncssh.SSHClientConnection, "try_next_auth", storm)
    monkeypatch.setitem(asyncssh.SSHClientConnection._packet_handlers, 51, lambda *_: None)
    async with running(bench.listener):
        with pytest.raises((asyncssh.Error, OSError)):
            await bench.connect()
        assert 0 < Guarded.asked <= accepted.BEFORE_LOGIN
        assert ("before-login", "too much was said before the login") in _Owner.told


async def test_forwarded_channels_had_twice_the_window_that_bounds_what_one_can_make_us_hold() -> None:
    bench = _Bench()
    async with running(bench.listener), bench.connect():
        (connection,) = bench.listener.connections
        channel = connection.create_tcp_channel(None, "strict", 2 * ssh.option.WINDOW, 32768)  # as asyncssh asks for it
        assert channel.get_recv_window() == ssh.option.WINDOW
        assert channel._recv_pktsize == accepted.PACKET
