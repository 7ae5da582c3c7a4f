"""The bastion's fronts under fire: algorithms, floods, wrong certificates, clones; others are unharmed each time."""

import asyncio
import socket
import sys
from pathlib import Path
from typing import Any

import asyncssh
import msgspec
import pytest
from asyncssh.packet import String

from core import clock, ssh
from tests.support.need import needs
from tests.support.remote import CASE, NAME, SERIAL, Appliance, Engineer, Support, connected
from tests.support.service import running
from tests.support.waiting import until
from tunnel.bastion.registration import REGISTRATIONS
from tunnel.control_message import Confirm, Frames, Granted, Refused, Register, Withdraw, decode_from_bastion, encode

_SSH_AUDIT = Path(sys.executable).parent / "ssh-audit"


@needs(str(_SSH_AUDIT))
@pytest.mark.parametrize("front", ["appliances", "engineers"])
async def test_ssh_audit_fails_nothing(tmp_path: Path, front: str) -> None:
    support = Support(tmp_path / "bastion")
    async with running(*support.services):
        port = support.ports[0] if front == "appliances" else support.engineers
        process = await asyncio.create_subprocess_exec(
            *(str(_SSH_AUDIT), "--no-colors", "--skip-rate-test", "-p", str(port), "127.0.0.1"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(60):
            said, _ = await process.communicate()
    assert b"SSH-2.0-Gatepost_1.0 GatepostTunnels1" in said
    assert b"mlkem768x25519-sha256" in said
    assert b"[fail]" not in said


async def _works(support: Support, folder: Path) -> bool:
    """Tell whether an engineer still reaches the appliance."""
    async with Engineer(support, folder).connect() as connection:
        return (await connection.run("exit 4", encoding=None)).exit_status == 4


async def test_three_hundred_silent_connections_leave_engineers_and_tunnels_alone(tmp_path: Path) -> None:
    settings = {"unlimited_sources": (), "unauthenticated": 50, "unauthenticated_per_source": 5, "login_timeout_s": 15}
    async with connected(tmp_path, **settings) as (support, _appliance, _client):
        loop = asyncio.get_running_loop()
        held = []
        for _ in range(300):
            sock = socket.socket()
            sock.setblocking(False)
            await loop.sock_connect(sock, ("127.0.0.1", support.ports[0]))
            held.append(sock)
        counted = support.bastion.counters.snapshot
        await until(lambda: counted()["door_refused_source"]["uptime"] == 295, despite=(KeyError,))
        assert support.bastion.appliances.gate.unknown == 5
        assert await _works(support, tmp_path / "ana")
        assert await support.online()
        assert support.bastion.appliances.gate.unknown == 5, "all the while"
        await until(lambda: support.bastion.appliances.gate.unknown == 0)
        lines = [each for each in support.audit() if each["event"] == "refused-at-door"]
        assert [each["rule"] for each in lines] == ["source", "time-out"], "one line for a rule and a minute"
        # Five that said nothing for so long: their source is kept out for a while.
        reader, writer = await asyncio.open_connection("127.0.0.1", support.ports[0])
        assert b"too many attempts from your address, come back in " in await reader.read()
        writer.close()
        await until(lambda: counted()["door_refused_penalty"]["uptime"] == 1, despite=(KeyError,))
        for sock in held:
            sock.close()


async def test_ten_thousand_global_requests_of_an_appliance_end_only_its_own_connection(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, client):
        before = support.bastion.presence.get(NAME)
        link = client._link
        for _ in range(10_000):
            link._connection.send_packet(80, String(b"tcpip-forward"), b"\1", String(b"x"), (1).to_bytes(4, "big"))
        await until(lambda: support.bastion.presence.get(NAME) not in (None, before))
        await until(support.online)
        assert await _works(support, tmp_path / "ana")
        lines = [each for each in support.audit() if each["event"] == "refused"]
        assert [each["rule"] for each in lines if each["side"] == "appliance"].count("requests") == 1
        assert len(lines) < 30


@pytest.mark.parametrize("what", ["slow", "flood"])
async def test_slow_and_endless_banners_end_in_time(tmp_path: Path, what: str) -> None:
    async with connected(tmp_path, login_timeout_s=2) as (support, _appliance, _client):
        reader, writer = await asyncio.open_connection("127.0.0.1", support.ports[0])
        assert (await reader.readline()).startswith(b"SSH-2.0-Gatepost")
        try:
            async with asyncio.timeout(30):
                while not reader.at_eof():
                    writer.write(b"S" if what == "slow" else b"no banner " * 8 + b"\n")
                    await writer.drain()
                    await asyncio.sleep(0.05)
                    if reader._buffer or writer.is_closing():
                        await reader.read(4096)
        except ConnectionError:
            pass
        writer.close()
        await until(lambda: support.bastion.appliances.gate.unknown == 0)
        # In two seconds a busy machine may not come through the handshake: once more then.
        await until(lambda: _works(support, tmp_path / "ana"), despite=(asyncssh.Error, OSError))


@pytest.mark.parametrize(
    "how", ["other CA", "expired", "not yet", "no principals", "pattern", "other serial", "no engineer"]
)
async def test_certificates_that_do_not_let_in_are_refused_and_logged(tmp_path: Path, how: str) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        ana = Engineer(support, tmp_path / "ana")
        ca = ssh.make_key() if how == "other CA" else ssh.read_key(support.directory / "keyd" / "engineer_ca_ed25519")
        times = {"expired": ("-2h", "-1h"), "not yet": ("+1h", "+2h")}.get(how, ("-1m", "+5m"))
        principals = {"no principals": [], "pattern": ["*"], "other serial": ["sn-9"]}.get(how, [NAME])
        key_id = "nobody" if how == "no engineer" else f"ana@{CASE}#{'0' * 36}"
        certificate = ca.generate_user_certificate(
            ssh.read_key(ana.key_path),
            key_id,
            principals=principals,
            valid_after=times[0],
            valid_before=times[1],
        )
        if how == "no engineer":
            async with ana.connect(NAME, certificate) as connection:
                with pytest.raises(asyncssh.ChannelOpenError):
                    await connection.run("who", encoding=None)
            assert support.refusals("certificate")
        else:
            with pytest.raises(asyncssh.PermissionDenied):
                await ana.connect(NAME, certificate)
        assert await _works(support, tmp_path / "ana")


async def test_nobody_gets_in_without_a_key_on_either_front(tmp_path: Path) -> None:
    """With a client that takes whatever it is given: asyncssh lets everybody in where `begin_auth` gives no True."""
    async with connected(tmp_path) as (support, _appliance, _client):
        before = len(support.audit())
        for port in (support.ports[0], support.engineers):
            for user in (NAME, "nobody", "root", "*"):
                with pytest.raises((asyncssh.PermissionDenied, asyncssh.DisconnectError)):
                    await asyncssh.connect(
                        *("127.0.0.1", port),
                        config=None,
                        username=user,
                        known_hosts=None,
                        client_keys=None,
                        agent_path=None,
                    )
        assert not any(each["event"] in ("engineer", "appliance") for each in support.audit()[before:])


@pytest.mark.parametrize("user", ["*", "root", "a'b", 'x"y', "../x", "a b", NAME.upper() + "*"])
async def test_user_names_that_are_patterns_or_hold_quotes_never_reach_an_authorized_key(
    tmp_path: Path, user: str
) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        with pytest.raises(asyncssh.PermissionDenied):
            await Engineer(support, tmp_path / "ana").connect(user)
        assert support.refusals("user-name") or user == "root"


async def test_a_cloned_appliance_freezes_its_serial_and_a_human_thaws_it(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    async with running(*support.services):
        first = await _register(support, appliance, 0, "")
        assert isinstance(first, Granted)
        second = await _register(support, appliance, first.generation, first.nonce)
        assert isinstance(second, Granted)
        assert second.generation == first.generation + 1
        clone = await _register(support, appliance, 0, "")
        assert isinstance(clone, Refused)
        assert clone.frozen
        honest = await _register(support, appliance, second.generation, second.nonce)
        assert isinstance(honest, Refused)
        assert honest.frozen, "who of the two is the copy only a human can tell"
        assert [each["serial"] for each in support.audit() if each["event"] == "clone"] == [NAME]
        await support.bastion.store.appliances.thaw(NAME)
        assert isinstance(await _register(support, appliance, second.generation, second.nonce), Granted)


async def test_a_copy_that_comes_ends_the_tunnel_that_stands_too(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, appliance, _client):
        standing = support.bastion.presence.get(NAME)
        assert standing is not None
        clone = await _register(support, appliance, 0, "")
        assert isinstance(clone, Refused)
        await until(lambda: support.bastion.presence.get(NAME) is None)
        await until(standing.connection.is_closed)


async def test_a_tunnel_ends_when_another_key_is_enrolled(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        standing = support.bastion.presence.get(NAME)
        assert standing is not None
        await support.bastion.oversight.recheck({})
        assert support.bastion.presence.get(NAME) is standing
        known = await support.bastion.store.appliances.get(NAME)
        assert known is not None
        key = ssh.public_text(ssh.make_key())
        await support.bastion.store.appliances.enroll(msgspec.structs.replace(known, tunnel_key=key), replace=True)
        await support.bastion.oversight.recheck({})
        await until(standing.connection.is_closed)
        await until(lambda: "another key is enrolled" in [each.get("why") for each in support.audit()])


async def test_an_appliance_that_registers_without_end_fills_no_log(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    async with running(*support.services), _outer(support, appliance) as connection:
        process = await connection.create_process(subsystem="gatepost-control", encoding=None)
        frames, generation, nonce, rounds = Frames(), 0, "", 0
        async with asyncio.timeout(60):
            while rounds < 100:
                process.stdin.write(encode(_wanted(generation, nonce)))
                while not (data := await process.stdout.read(65536)) or not (content := frames.receive(data)):
                    if not data:
                        break
                if not data:
                    break
                answer = decode_from_bastion(content[0])
                assert isinstance(answer, Granted)
                generation, nonce, rounds = answer.generation, answer.nonce, rounds + 1
                process.stdin.write(encode(Confirm(generation=generation)))
        assert rounds == REGISTRATIONS
        await until(lambda: support.refusals("control") == ["too many registrations"])


async def test_what_was_withdrawn_gives_the_name_no_more(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    async with running(*support.services), _outer(support, appliance) as connection:
        process = await connection.create_process(subsystem="gatepost-control", encoding=None)
        process.stdin.write(encode(_wanted(0, "")))
        content = await _heard(process, Frames())
        answer = decode_from_bastion(content[0])
        assert isinstance(answer, Granted)
        process.stdin.write(encode(Confirm(generation=answer.generation)))
        listener = await connection.create_server(lambda _o, _p: ssh.Half(), NAME, 22)
        assert support.bastion.presence.get(NAME) is not None
        process.stdin.write(encode(Withdraw()))
        await until(lambda: support.bastion.presence.get(NAME) is None)
        listener.close()
        with pytest.raises(asyncssh.ChannelListenError):
            await connection.create_server(lambda _o, _p: ssh.Half(), NAME, 22)
        assert support.refusals("registration") == ["has not registered"]


async def test_who_has_registered_once_may_not_leave_it_out(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion", registration="optional")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    async with running(*support.services):
        async with _outer(support, appliance) as connection:
            assert await connection.create_server(lambda _o, _p: ssh.Half(), NAME, 22), "a stock client may come"
        assert isinstance(await _register(support, appliance, 0, ""), Granted)
        async with _outer(support, appliance) as connection:
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.create_server(lambda _o, _p: ssh.Half(), NAME, 22)
        assert support.refusals("registration") == ["has not registered"]


async def test_the_bastion_ends_an_activation_on_its_own_clock_and_what_is_open_goes_on(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, _appliance, _client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            tunnel = support.bastion.presence.get(NAME)
            assert tunnel is not None
            support.bastion.presence.run_out(tunnel.until_at - 1)
            assert support.bastion.presence.get(NAME) is tunnel
            tunnel.until_at = clock.now() - 1
            support.bastion.presence.run_out(clock.now())
            assert support.bastion.presence.get(NAME) is None
            process.stdin.write(b"still here\n")
            assert await process.stdout.readuntil(b"\n") == b"still here\n"
            assert (await connection.run("who", encoding=None)).exit_status == 69
            process.stdin.write(b"quit")
            assert (await process.wait()).exit_status == 5
        await until(lambda: _ended(support, tunnel))


def _ended(support: Support, tunnel: Any) -> bool:
    support.bastion.presence.run_out(clock.now())
    return bool(tunnel.connection.is_closed())


@pytest.mark.parametrize("octets", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x02{}", b"\0\0\0\x05nojso"])
async def test_what_is_no_control_message_ends_the_channel_and_nothing_else(tmp_path: Path, octets: bytes) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    async with running(*support.services), _outer(support, appliance) as connection:
        process = await connection.create_process(subsystem="gatepost-control", encoding=None)
        process.stdin.write(octets)
        async with asyncio.timeout(30):
            await process.wait_closed()
        assert not connection.is_closed()
        await until(lambda: support.refusals("control"))


def _outer(support: Support, appliance: Appliance) -> Any:
    """Connect to the bastion as an appliance does, with plain asyncssh."""
    options = ssh.client_options(
        NAME,
        ssh.known_hosts_line("bastion", support.public["host"]),
        host_key_alias="bastion",
        keys=[appliance.tunnel_key],
    )
    return asyncssh.connect("127.0.0.1", support.ports[0], config=None, options=options)


def _wanted(generation: int, nonce: str) -> Register:
    return Register(
        activation_id="a1",
        mode="tunnel",
        fingerprint="0" * 16,
        until_at=clock.now() + 3600,
        generation=generation,
        nonce=nonce,
    )


async def _register(support: Support, appliance: Appliance, generation: int, nonce: str) -> Any:
    """Register and, where that is granted, confirm."""
    async with _outer(support, appliance) as connection:
        process = await connection.create_process(subsystem="gatepost-control", encoding=None)
        frames = Frames()
        process.stdin.write(encode(_wanted(generation, nonce)))
        content = await _heard(process, frames)
        answer = decode_from_bastion(content[0])
        if isinstance(answer, Granted):
            process.stdin.write(encode(Confirm(generation=answer.generation)))
            await until(lambda: _generation(support, answer.generation))
        return answer


async def _heard(process: Any, frames: Frames) -> list[bytes]:
    """Read until there is a whole message."""
    async with asyncio.timeout(30):
        while not (content := frames.receive(await process.stdout.read(65536))):
            assert not process.stdout.at_eof()
    return content


async def _generation(support: Support, wanted: int) -> bool:
    enrolled = await support.bastion.store.appliances.get(SERIAL.lower())
    return enrolled is not None and enrolled.generation == wanted
