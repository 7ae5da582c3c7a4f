"""The tunnel itself: who may hold which name, which port is found, what happens at loss, expiry and disabling."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import clock, ssh
from core.dns import Answer
from core.errors import GatepostError
from tests.support.ports import free_ports
from tests.support.remote import BASTION, NAME, SERIAL, Appliance, Engineer, Loopback, Support, connected
from tests.support.service import running
from tests.support.waiting import until
from tunnel.appliance import activation


def _outer(support: Support, appliance: Appliance, **changes: Any) -> Any:
    """Connect to the bastion as the appliance does, with plain asyncssh."""
    options = ssh.client_options(
        changes.pop("username", NAME),
        ssh.known_hosts_line("bastion", support.public["host"]),
        host_key_alias="bastion",
        keys=[changes.pop("key", appliance.tunnel_key)],
        keepalive_s=15,
    )
    return asyncssh.connect("127.0.0.1", support.ports[0], config=None, options=options)


def _carry(_origin: str, _port: int) -> ssh.Half:
    return ssh.Half()


@asynccontextmanager
async def _bastion(folder: Path, **settings: Any) -> AsyncIterator[tuple[Support, Appliance]]:
    # Connections of tests are plain: they speak no control channel.
    support = Support(folder / "bastion", **{"registration": "optional", **settings})
    appliance = Appliance(support, folder / "esa")
    await appliance.enroll(support)
    async with running(*support.services):
        yield support, appliance


def _listening(pid: int) -> set[str]:
    """Give the local addresses on which a process listens, from the kernel's own tables."""
    inodes = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # one that was closed meanwhile
            target = os.readlink(entry.path)
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:
                found.add(fields[1])
    return found


async def test_an_appliance_may_take_its_own_name_and_nothing_else(tmp_path: Path) -> None:
    async with _bastion(tmp_path) as (support, appliance):
        before = _listening(os.getpid())
        async with _outer(support, appliance) as connection:
            for host, port in (("other-1", 22), (NAME, 23), ("", 22), ("127.0.0.1", 8022), (NAME, 0)):
                with pytest.raises(asyncssh.ChannelListenError):
                    await connection.create_server(_carry, host, port)
            assert await connection.create_server(_carry, NAME, 22)
            assert _listening(os.getpid()) <= before
            assert support.bastion.presence.get(NAME)
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.create_server(_carry, NAME, 22)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection(NAME, 22, encoding=None)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.create_process("id", encoding=None)
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.start_unix_server(lambda: None, "/tmp/gatepost-never")
        await until(lambda: not support.bastion.presence.all())


async def test_unknown_appliances_and_wrong_keys_do_not_get_in(tmp_path: Path) -> None:
    async with _bastion(tmp_path) as (support, appliance):
        for changes in ({"username": "other-1"}, {"key": ssh.make_key()}, {"username": "*"}, {"username": "../x"}):
            with pytest.raises(asyncssh.PermissionDenied):
                await _outer(support, appliance, **changes)


async def test_a_connection_that_tries_many_keys_is_cut_off(tmp_path: Path) -> None:
    async with _bastion(tmp_path) as (support, _):
        options = ssh.client_options(
            NAME,
            ssh.known_hosts_line("bastion", support.public["host"]),
            host_key_alias="bastion",
            keys=[ssh.make_key() for _ in range(20)],
        )
        with pytest.raises(asyncssh.DisconnectError, match="too many authentication failures"):
            await asyncssh.connect("127.0.0.1", support.ports[0], config=None, options=options)
        assert support.refusals("key") == ["not the enrolled key"], "logged once, however often it is tried"
        often = [each for each in support.audit() if each["event"] == "refused-often"]
        assert [(each["rule"], each["times"]) for each in often] == [("key", 3)]


async def test_the_newest_connection_takes_the_name_over_and_the_older_ones_end_does_not_matter(
    tmp_path: Path,
) -> None:
    async with _bastion(tmp_path) as (support, appliance):
        first = await _outer(support, appliance)
        await first.create_server(_carry, NAME, 22)
        old = support.bastion.presence.get(NAME)
        second = await _outer(support, appliance)
        await second.create_server(_carry, NAME, 22)
        async with asyncio.timeout(30):
            await first.wait_closed()
        new = support.bastion.presence.get(NAME)
        assert new is not None
        assert new is not old
        assert not second.is_closed()
        assert any(each["event"] == "takeover" for each in support.audit())
        second.abort()
        await second.wait_closed()
        await until(lambda: not support.bastion.presence.all())


async def test_a_tunnel_whose_console_is_gone_is_not_online(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion", liveness_s=0.1)
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    client = appliance.client()
    async with running(*support.services, client):
        await client.enable({"mode": "tunnel"})
        await until(lambda: support.bastion.presence.get(NAME))
        await asyncio.sleep(0.3)
        assert not await support.online()
        async with running(appliance.endpoint):
            await until(support.online)
        await until(lambda: (there := support.bastion.presence.get(NAME)) and not there.online)


@asynccontextmanager
async def _saying(text: bytes) -> AsyncIterator[int]:
    """Listen on a port where something else than our bastion speaks first."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(text)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_mail_server_on_the_first_port_is_named_and_the_next_port_used(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    async with _saying(b"220 ************************\r\n") as wrong:
        appliance = Appliance(support, tmp_path / "esa", port=wrong)
        await appliance.enroll(support)
        client = appliance.client()
        async with running(*support.services, appliance.endpoint, client):
            await client.enable({"mode": "tunnel"})
            await until(support.online)
            status = await client.status({})
        verdicts = {each["port"]: each["verdict"] for each in status["attempts"]}
        assert verdicts == {wrong: "smtp", support.ports[0]: "ours"}
        assert (status["tunnel"], status["port"], status["problem"]) == ("open", support.ports[0], "")


@pytest.mark.parametrize("pin", ["bastion_keys", "bastion_cas"])
async def test_a_bastion_with_another_key_is_not_trusted_and_status_says_so(tmp_path: Path, pin: str) -> None:
    support = Support(tmp_path / "bastion")
    pins = {"bastion_cas": (), "bastion_keys": (), pin: (ssh.public_text(ssh.make_key()),)}
    appliance = Appliance(support, tmp_path / "esa", **pins)
    await appliance.enroll(support)
    client = appliance.client()
    async with running(*support.services, appliance.endpoint, client):
        await client.enable({"mode": "tunnel"})
        status = await until(lambda: _with_verdict(client, "host-key"))
        assert status["tunnel"] in ("waiting", "connecting")
        assert "the host key is not ours: SSH inspection" in status["problem"]
        assert not support.bastion.presence.all()


async def _with_verdict(client: Any, name: str) -> Any:
    status = await client.status({})
    return any(each["verdict"] == name for each in status["attempts"]) and status


async def test_the_host_key_itself_may_be_pinned_instead_of_the_authority(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa", bastion_cas=(), bastion_keys=(support.public["host"],))
    await appliance.enroll(support)
    client = appliance.client()
    async with running(*support.services, appliance.endpoint, client):
        await client.enable({"mode": "tunnel"})
        await until(support.online)


async def test_a_certificate_of_the_authority_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa", host="elsewhere.example.test")
    await appliance.enroll(support)
    client = appliance.client()
    async with running(*support.services, appliance.endpoint, client):
        await client.enable({"mode": "tunnel"})
        await until(lambda: _with_verdict(client, "host-key"))


async def test_an_appliance_that_is_not_enrolled_is_told_so(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    client = appliance.client()
    async with running(*support.services, appliance.endpoint, client):
        await client.enable({"mode": "tunnel"})
        status = await until(lambda: _with_verdict(client, "login"))
        assert "enroll it again" in status["problem"]


async def test_an_appliance_that_is_not_enrolled_stays_out_of_the_penalties_and_says_why(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion", unlimited_sources=())
    appliance = Appliance(support, tmp_path / "esa", retry_max_s=300)
    client = appliance.client()
    async with running(*support.services, appliance.endpoint, client):
        await client.enable({"mode": "tunnel"})
        await asyncio.sleep(3)
        await until(lambda: _with_verdict(client, "login"))
        assert len([line for line in appliance.log if ": login: " in line]) == 1


async def test_the_tunnel_comes_back_after_the_bastion_was_restarted(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    client = appliance.client()
    async with running(appliance.endpoint, client):
        async with running(*support.services):
            enabled = await client.enable({"mode": "tunnel"})
            await until(support.online)
            await _let_in(support, enabled["seed"])
        await until(lambda: _in_state(client, "waiting", "connecting"))
        support.build()
        async with running(*support.services):
            await until(support.online)
            async with Engineer(support, tmp_path / "ana").connect() as connection:
                assert (await connection.run("exit 4", encoding=None)).exit_status == 4


async def _let_in(support: Support, seed: str) -> None:
    """Open a case for ana and take the customer's seed string."""
    await support.employ("ana")
    await support.open_case(engineers=("ana",))
    await support.take_seed(seed)


async def _in_state(client: Any, *names: str) -> bool:
    return (await client.status({}))["tunnel"] in names


async def test_at_expiry_what_is_established_goes_on_and_nothing_new_comes_in(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa", life_hours=1)
    await appliance.enroll(support)
    ahead_s = [0.0]
    client = appliance.client(now=lambda: clock.now() + ahead_s[0])
    async with running(*support.services, appliance.endpoint, client):
        enabled = await client.enable({"mode": "tunnel"})
        await until(support.online)
        await _let_in(support, enabled["seed"])
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            ahead_s[0] = 3601
            await until(lambda: _in_state(client, "draining"))
            await until(lambda: not support.bastion.presence.all())
            process.stdin.write(b"still here\n")
            assert await process.stdout.readuntil(b"\n") == b"still here\n"
            late = await connection.run("exit 0", encoding=None)
            assert late.exit_status == 69
            process.stdin.write(b"quit")
            assert (await process.wait()).exit_status == 5
        await until(lambda: _in_state(client, "expired"))
        ahead_s[0] = 0
        await asyncio.sleep(0.3)
        assert await _in_state(client, "expired"), "a clock that was set back must not reopen the tunnel"
    assert activation.load(appliance.state_file).account_open(clock.now())


async def test_disabling_cuts_live_sessions_at_once_and_outlives_a_restart(tmp_path: Path) -> None:
    async with connected(tmp_path) as (support, appliance, client):
        async with Engineer(support, tmp_path / "ana").connect() as connection:
            process = await connection.create_process(term_type="xterm", encoding=None)
            await process.stdout.readexactly(15)
            status = await client.disable({})
            assert (status["mode"], status["tunnel"], status["sessions"]) == ("disabled", "disabled", [])
            async with asyncio.timeout(30):
                assert (await process.wait()).exit_status == 255
        await until(lambda: not support.bastion.presence.all())
    assert await _in_state(appliance.client(), "disabled")


async def test_a_restart_of_the_client_opens_the_tunnel_again_by_itself(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa")
    await appliance.enroll(support)
    async with running(*support.services, appliance.endpoint):
        first = appliance.client()
        async with running(first):
            before = await first.enable({"mode": "tunnel", "port": support.ports[1]})
            assert before["tunnel"] == "open"
            await until(support.online)
        await until(lambda: not support.bastion.presence.all())
        second = appliance.client()
        async with running(second):
            await until(support.online)
            after = await second.status({})
    assert (after["until"], after["since"], after["port"]) == (before["until"], before["since"], support.ports[1])


async def test_enabling_without_any_pin_is_refused(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    client = Appliance(support, tmp_path / "esa", bastion_cas=()).client()
    with pytest.raises(GatepostError, match="pins no key"):
        await client.enable({"mode": "tunnel"})
    for wrong in ({"mode": "open"}, {"port": 70000}, {"port": "x"}):
        with pytest.raises(GatepostError):
            await client.enable(wrong)


class _Slow(Loopback):
    """A name server that keeps one waiting."""

    def __init__(self) -> None:
        self.answers = asyncio.Event()

    async def addresses(self, name: str) -> Answer[str]:
        await self.answers.wait()
        return await super().addresses(name)


async def test_what_a_round_is_at_can_be_seen_while_it_lasts(tmp_path: Path) -> None:
    resolver = _Slow()
    async with _bastion(tmp_path) as (support, appliance):
        client = appliance.client(resolver=resolver)

        async def looking() -> bool:
            return bool((await client.status({}))["doing"] == f"looking up {BASTION}")

        async with running(appliance.endpoint, client):
            async with asyncio.TaskGroup() as tasks:
                enabled = tasks.create_task(client.enable({"mode": "tunnel"}))
                await until(looking)
                assert not enabled.done()
                resolver.answers.set()
            await until(support.online)
        assert enabled.result()["tunnel"] == "open"
        assert enabled.result()["doing"] == ""


async def test_no_port_answers_then_the_bastion_appears(tmp_path: Path) -> None:
    support = Support(tmp_path / "bastion")
    appliance = Appliance(support, tmp_path / "esa", port=free_ports(1)[0])
    await appliance.enroll(support)
    client = appliance.client()
    async with running(appliance.endpoint, client):
        await client.enable({"mode": "tunnel"})
        await until(lambda: _with_verdict(client, "refused"))
        async with running(*support.services):
            await until(support.online)
    assert SERIAL.lower() == NAME
