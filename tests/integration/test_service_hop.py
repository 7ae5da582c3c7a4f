"""An appliance without internet is reached over a first one with stock `ssh -J`: both record, and nothing else goes."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from tests.support.need import needs
from tests.support.service import running
from tests.support.visit import PIPE, Credentials, Visited, connect, program
from tests.support.waiting import until
from tunnel.service.hop import HopRule

pytestmark = [needs("ssh")]
LOOPBACK = ("127.0.0.0/8",)


@dataclass
class Pair:
    first: Visited
    second: Visited
    one: Credentials
    two: Credentials
    config: Path

    @property
    def port(self) -> int:
        return int(self.second.port.addresses[0][1])

    async def jump(self, *command: str) -> tuple[int, bytes, bytes]:
        """Run `ssh -J first service@second COMMAND` as docs/remote-access.md tells engineers to."""
        return await program("ssh", "-F", str(self.config), "-J", "first", "second", *command)


@asynccontextmanager
async def pair(
    folder: Path, *, sources: tuple[str, ...] = LOOPBACK, mode: str = "sshaccess", **fields: Any
) -> AsyncIterator[Pair]:
    second = Visited(folder / "second", hop_sources=sources)
    async with running(*second.side.services, second.port):
        port = int(second.port.addresses[0][1])
        first = Visited(folder / "first", hops=HopRule(LOOPBACK, port))
        async with running(*first.side.services, first.port):
            two = second.enable(mode)
            one = first.enable(**({"hops": ("127.0.0.1",)} | fields))
            yield Pair(first, second, one, two, _config(folder, first, second, one, two, port))


def _config(folder: Path, first: Visited, second: Visited, one: Credentials, two: Credentials, port: int) -> Path:
    known = folder / "known_hosts"
    hosts = [
        ssh.known_hosts_line(f"{name}", ssh.public_text(each.host_key))
        for name, each in (("first", first), ("second", second))
    ]
    known.write_text("".join(line + "\n" for line in hosts))
    outer, inner = one.certificate(forwarding=True), two.certificate()
    common = f"User service\nUserKnownHostsFile {known}\nIdentitiesOnly yes\nBatchMode yes\nIdentityAgent none\n"
    text = (
        f"Host first\n{common}IdentityFile {outer[0]}\nCertificateFile {outer[1]}\nHostKeyAlias first\n"
        f"ProxyCommand {sys.executable} {PIPE} {first.socket} ana\n"
        f"Host second\n{common}IdentityFile {inner[0]}\nCertificateFile {inner[1]}\nHostKeyAlias second\n"
        f"HostName 127.0.0.1\nPort {port}\n"
    )
    path = folder / "ssh_config"
    path.write_text(text)
    return path


async def test_support_goes_over_the_first_appliance_to_the_second_and_both_record_it(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        status, out, errors = await both.jump("version --json")
        assert status == 0, errors
        assert b"42AB-CD" in out
        await until(lambda: not both.first.side.desk.live)
        (over,) = await both.first.recordings()
        (there,) = await both.second.recordings()
        assert over[0]["gatepost"]["kind"] == "hop"
        assert f"127.0.0.1:{both.port}" in str(over)
        assert there[0]["command"] == "version --json"
        assert there[0]["gatepost"]["source"] == "127.0.0.1"
        assert [each["engineer"] for each in both.first.log("service-session")] == ["ana"]
        await until(
            lambda: any(
                "service (ana@SR12345#" in line and "from 127.0.0.1 ran: version" in line
                for line in both.second.audit.lines
            )
        )


async def test_a_file_comes_from_the_second_appliance_over_the_first(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        (tmp_path / "second" / "captures" / "a.pcap").write_bytes(b"packets")
        status, _, errors = await program(
            "scp", "-F", str(both.config), "-J", "first", "second:captures/a.pcap", str(tmp_path / "got")
        )
        assert status == 0, errors
    assert (tmp_path / "got").read_bytes() == b"packets"


@pytest.mark.parametrize("why", ["not listed", "tunnel mode", "no source", "not enabled"])
async def test_the_second_appliance_takes_support_only_with_sshaccess_and_only_from_hop_sources(
    tmp_path: Path, why: str
) -> None:
    fields: dict[str, Any] = {
        "not listed": {"sources": ("10.9.8.7/32",)},
        "tunnel mode": {"mode": "tunnel"},
        "no source": {"sources": ()},
    }.get(why, {})
    async with pair(tmp_path, **fields) as both:
        if why == "not enabled":
            both.second.file.unlink()
        status, _, errors = await both.jump("version")
        assert status == 255, errors
        assert (
            both.second.log("service-login") == []
            if both.second.folder.joinpath("log/service.jsonl").exists()
            else True
        )


async def test_nothing_but_the_listed_appliances_and_their_port_can_be_reached(tmp_path: Path) -> None:
    other = socket.create_server(("127.0.0.1", 0))
    async with pair(tmp_path) as both:
        mine = both.one.certificate(forwarding=True)
        async with connect(both.first, *mine) as connection:
            for host, port in (
                ("127.0.0.1", other.getsockname()[1]),
                ("127.0.0.2", both.port),
                ("localhost", both.port),
                ("169.254.169.254", both.port),
                ("::1", both.port),
                ("10.0.0.1", both.port),
            ):
                with pytest.raises(asyncssh.ChannelOpenError):
                    await connection.open_connection(host, port, encoding=None)
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.start_server(lambda _h, _p: None, "", 8080)
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_unix_connection("/run/x.sock")
        assert len(both.first.log("service-hop-refused")) == 6
    other.close()


@pytest.mark.parametrize("listed", ["0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "8.8.8.8"])
async def test_what_an_activation_lists_against_the_configuration_is_not_reached(tmp_path: Path, listed: str) -> None:
    appliance = Visited(tmp_path, hops=HopRule(("10.0.0.0/8",)))
    async with running(*appliance.side.services):
        support = appliance.enable(hops=(listed,))
        async with connect(appliance, *support.certificate(forwarding=True)) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection(listed, 22, encoding=None)


async def test_a_certificate_without_the_right_to_forward_does_not_go_on(tmp_path: Path) -> None:
    async with pair(tmp_path) as both, connect(both.first, *both.one.certificate()) as connection:
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", both.port, encoding=None)


async def test_disabling_access_on_the_first_appliance_cuts_who_went_on(tmp_path: Path) -> None:
    async with pair(tmp_path) as both, connect(both.first, *both.one.certificate(forwarding=True)) as connection:
        reader, _writer = await connection.open_connection("127.0.0.1", both.port, encoding=None)
        assert (await reader.read(4)) == b"SSH-"
        (live,) = (await both.first.verbs["service_sessions"]({}))["sessions"]
        assert live["kind"] == "hop"
        both.first.file.unlink()
        async with asyncio.timeout(30):
            while await reader.read(4096):
                continue


async def test_no_more_than_four_hops_of_one_engineer_at_a_time(tmp_path: Path) -> None:
    async with pair(tmp_path) as both, connect(both.first, *both.one.certificate(forwarding=True)) as connection:
        for _ in range(4):
            await connection.open_connection("127.0.0.1", both.port, encoding=None)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection("127.0.0.1", both.port, encoding=None)


async def test_from_the_second_appliance_there_is_no_way_on(tmp_path: Path) -> None:
    async with pair(tmp_path) as both:
        path, certificate = both.two.certificate(forwarding=True)
        known = ssh.known_hosts_line("second", ssh.public_text(both.second.host_key))
        keys = [(ssh.read_key(path), ssh.read_certificate(certificate))]
        options = ssh.client_options("service", known, host_key_alias="second", keys=keys)
        async with asyncssh.connect("127.0.0.1", both.port, config=None, options=options) as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", both.port, encoding=None)
