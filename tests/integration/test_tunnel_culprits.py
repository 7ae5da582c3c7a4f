"""What stands in the way is named, and gone round where it can be: with programs that this project did not write."""

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core import ssh
from tests.support.authority import Authority, server_context
from tests.support.need import needs
from tests.support.ports import free_ports
from tests.support.pump import joined
from tests.support.remote import BASTION, Appliance, Support
from tests.support.service import running
from tests.support.waiting import until


@asynccontextmanager
async def _program(port: int, *command: str) -> AsyncIterator[None]:
    """Run a program that listens on a port, until the end of the test."""
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await until(lambda: _listens(port))
        yield
    finally:
        process.kill()
        await process.wait()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _status(status: Any) -> dict[int, tuple[str, str]]:
    return {each["port"]: (each["verdict"], each["stage"]) for each in status["attempts"]}


@asynccontextmanager
async def _machines(folder: Path, **settings: Any) -> AsyncIterator[tuple[Support, Any]]:
    support = Support(folder / "bastion")
    ports = {"ports": (support.ports[0],)} if "ports" not in settings else {}
    appliance = Appliance(support, folder / "esa", **ports, **settings)
    client = appliance.client()
    async with running(*support.services):
        await appliance.enroll(support)
        async with running(appliance.endpoint, client):
            yield support, client


@needs("sshd", "ssh-keygen")
async def test_a_foreign_ssh_server_is_named_and_gone_round(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    key = tmp_path / "foreign"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = ("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", str(key), "-o", f"Port={port}")
    async with (
        _program(port, *sshd, "-o", "ListenAddress=127.0.0.1"),
        _machines(tmp_path, port=port) as (support, client),
    ):
        status = await client.enable({"mode": "tunnel"})
        assert _status(status)[port] == ("foreign-ssh", "banner")
        assert (status["tunnel"], status["port"]) == ("open", support.ports[0])
        assert "OpenSSH" in next(each["detail"] for each in status["attempts"] if each["port"] == port)


@needs("sshd", "ssh-keygen")
async def test_a_firewall_that_decrypts_ssh_is_told_by_the_fingerprint_of_its_key(tmp_path: Path) -> None:
    """A real sshd that shows our banner: only the host key tells."""
    (port,) = free_ports(1)
    key = tmp_path / "foreign"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    (inner,) = free_ports(1)
    Path("/run/sshd").mkdir(exist_ok=True)
    sshd = ("/usr/sbin/sshd", "-D", "-e", "-f", "/dev/null", "-h", str(key), "-o", f"Port={inner}")

    async def disguise(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Stand between, and put our banner in place of sshd's; the key exchange goes on from the wrong banner."""
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", inner)
        await far_reader.readline()
        writer.write(b"SSH-2.0-Gatepost_1.0 GatepostTunnels1\r\n")
        await joined(reader, writer, far_reader, far_writer)

    server = await asyncio.start_server(disguise, "127.0.0.1", port)
    async with (
        _program(inner, *sshd, "-o", "ListenAddress=127.0.0.1"),
        _machines(tmp_path, port=port, ports=(port,)) as (_, client),
    ):
        status = await client.enable({"mode": "tunnel"})
        assert _status(status)[port] == ("host-key", "kex")
        shown = subprocess.run(["ssh-keygen", "-lf", str(key)], check=True, capture_output=True, text=True).stdout
        assert shown.split()[1] in status["problem"]
    server.close()


@needs("smtp-sink")
async def test_a_mail_server_is_named(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    sink = ("smtp-sink", "-u", "nobody", f"127.0.0.1:{port}", "10")
    async with _program(port, *sink), _machines(tmp_path, port=port) as (support, client):
        status = await client.enable({"mode": "tunnel"})
        assert _status(status)[port] == ("smtp", "banner")
        assert status["port"] == support.ports[0]


@needs("openssl")
@pytest.mark.parametrize("tls_ca", ["", "ca.pem"])
async def test_a_tls_middlebox_is_named_and_its_foreign_certificate_where_that_is_asked_for(
    tmp_path: Path, tls_ca: str
) -> None:
    """`openssl s_server` waits for a ClientHello: it is silent until we speak, then it answers with an alert."""
    (tmp_path / "esa").mkdir()
    (tmp_path / "esa" / "ca.pem").write_bytes(Authority("bastion's").pem)
    (port,) = free_ports(1)
    key, chain = Authority("middlebox").host(BASTION)
    (tmp_path / "box.pem").write_bytes(key + chain)
    box = ("openssl", "s_server", "-quiet", "-accept", f"127.0.0.1:{port}", "-cert", str(tmp_path / "box.pem"))
    settings = {"port": port, "ports": (port,), "tls_ports": (port,), "tls_ca": tls_ca, "connect_timeout_s": 3}
    async with _program(port, *box), _machines(tmp_path, **settings) as (_, client):
        status = await client.enable({"mode": "tunnel"})
        by_way = {each["way"]: each for each in status["attempts"]}
        assert by_way["ssh"]["verdict"] in ("tls", "closed", "reset")
        seen = by_way["tls"]["verdict"], by_way["tls"]["stage"]
        assert seen == (("tls-certificate", "tls") if tls_ca else ("tls", "banner"))
        assert ("tunnel.tls_ca" in by_way["tls"]["advice"]) == bool(tls_ca)


@pytest.mark.parametrize("whose", ["the bastion's", "a middlebox's"])
async def test_without_authorities_the_host_key_inside_tls_decides(tmp_path: Path, whose: str) -> None:
    """A bastion with the certificate that `gatepost init` makes for it was taken for TLS inspection."""
    (port,) = free_ports(1)
    support = Support(tmp_path / "bastion")
    context = server_context(*Authority("nobody's").host(BASTION))
    key = ssh.read_key(support.directory / "keys" / "bastion_host_ed25519")
    box = ssh.SshListener(
        "box",
        [("127.0.0.1", port)],
        ssh.server_options(asyncssh.SSHServer, [key if whose == "the bastion's" else ssh.make_key()]),
        entrance=ssh.Entrance(shared_ports=frozenset({port}), tls=lambda: context),
    )
    pinned = {"bastion_cas": (), "bastion_keys": (support.public["host"],)}
    appliance = Appliance(support, tmp_path / "esa", port=port, ports=(port,), tls_ports=(port,), **pinned)
    client = appliance.client()
    async with running(box, appliance.endpoint, client):
        rows = {each["way"]: each for each in (await client.probe({}))["attempts"]}
    expected = ("ours", "banner") if whose == "the bastion's" else ("host-key", "kex")
    assert (rows["tls"]["verdict"], rows["tls"]["stage"]) == expected


async def test_ssh_in_tls_goes_where_plain_ssh_is_inspected(tmp_path: Path) -> None:
    authority = Authority("bastion's")
    (tmp_path / "esa").mkdir()
    (tmp_path / "esa" / "ca.pem").write_bytes(authority.pem)
    (port,) = free_ports(1)
    settings = {"port": port, "ports": (port,), "tls_ports": (port,), "tls_ca": "ca.pem", "connect_timeout_s": 3}
    async with _machines(tmp_path, **settings) as (support, client):
        context = server_context(*authority.host(BASTION))
        context.set_alpn_protocols(["ssh"])
        chosen: list[str | None] = []

        async def inner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
            chosen.append(tls.selected_alpn_protocol())
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", support.ports[0])
            await joined(reader, writer, far_reader, far_writer)

        server = await asyncio.start_server(inner, "127.0.0.1", port, ssl=context)
        status = await client.enable({"mode": "tunnel"})
        assert (status["tunnel"], {each["way"]: each["verdict"] for each in status["attempts"]}["tls"]) == (
            "open",
            "ours",
        )
        assert chosen[-1] == "ssh"
        await until(support.online)
        server.close()


@asynccontextmanager
async def _behind(folder: Path, program: tuple[str, ...], url: str, credentials: str) -> AsyncIterator[Any]:
    """Give the status after enabling with the bastion behind a proxy, which resolves the name itself."""
    port = int(url.rpartition(":")[2])
    support = Support(folder / "bastion")
    (folder / "esa").mkdir()
    (folder / "esa" / "proxy").write_text(f"{credentials}\n")
    appliance = Appliance(
        support,
        folder / "esa",
        host="localhost",
        proxy=url,
        proxy_credentials="proxy",
        bastion_cas=(),
        bastion_keys=(support.public["host"],),
        ports=(support.ports[0],),
    )
    client = appliance.client()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_program(port, *program))
        await stack.enter_async_context(running(*support.services))
        await appliance.enroll(support)
        await stack.enter_async_context(running(appliance.endpoint, client))
        status = await client.enable({"mode": "tunnel"})
        if status["tunnel"] == "open":
            await until(support.online)
        yield status


def _tinyproxy(folder: Path, port: int) -> tuple[str, ...]:
    config = folder / "tinyproxy.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 600", "Allow 127.0.0.1", "BasicAuth ana right"]
    config.write_text("\n".join([*lines, "LogLevel Error", ""]))
    return "tinyproxy", "-d", "-c", str(config)


@needs("tinyproxy")
async def test_the_tunnel_goes_through_an_http_proxy(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with _behind(tmp_path, _tinyproxy(tmp_path, port), f"http://127.0.0.1:{port}", "ana:right") as status:
        assert (status["tunnel"], status["attempts"][0]["way"]) == ("open", "proxy")


@needs("tinyproxy")
async def test_a_proxy_that_wants_other_credentials_is_named(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    async with _behind(tmp_path, _tinyproxy(tmp_path, port), f"http://127.0.0.1:{port}", "ana:wrong") as status:
        (attempt,) = status["attempts"]
        assert (attempt["verdict"], attempt["stage"]) == ("proxy-login", "proxy")
        assert "tunnel.proxy_credentials" in status["problem"]


@needs("microsocks")
@pytest.mark.parametrize("password", ["secret", "wrong"])
async def test_the_tunnel_goes_through_a_socks_proxy(tmp_path: Path, password: str) -> None:
    (port,) = free_ports(1)
    socks = ("microsocks", "-i", "127.0.0.1", "-p", str(port), "-u", "ana", "-P", "secret")
    async with _behind(tmp_path, socks, f"socks5://127.0.0.1:{port}", f"ana:{password}") as status:
        if password == "secret":
            assert (status["tunnel"], status["attempts"][0]["way"]) == ("open", "proxy")
        else:
            assert status["attempts"][0]["verdict"] == "proxy-login"


async def test_a_probe_tells_of_every_port_without_enabling_anything(tmp_path: Path) -> None:
    (closed,) = free_ports(1)
    async with _machines(tmp_path, port=closed) as (support, client):
        probe = await client.probe({})
        assert {each["port"]: each["verdict"] for each in probe["attempts"]} == {
            closed: "refused",
            support.ports[0]: "ours",
        }
        assert probe["host"] == BASTION
        status = await client.status({})
        assert (status["mode"], status["tunnel"]) == ("disabled", "disabled")
        assert status["last_probe"]["attempts"] == probe["attempts"]
        assert (await support.bastion.tunnels({}))["tunnels"] == []


async def test_a_probe_sees_a_host_key_that_is_not_the_bastions(tmp_path: Path) -> None:
    async with _machines(tmp_path, bastion_cas=(), bastion_keys=(ssh.public_text(ssh.make_key()),)) as (
        support,
        client,
    ):
        (attempt,) = (await client.probe({}))["attempts"]
        assert (attempt["verdict"], attempt["stage"]) == ("host-key", "kex")
        assert ssh.fingerprint(support.public["host"]) in attempt["detail"]
