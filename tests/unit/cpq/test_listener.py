import asyncio
import contextlib
import socket
import ssl
from pathlib import Path

import pytest

from core.record import CPQ_HOST
from cpq.held import Search
from protocol.errors import TemporaryFailure
from tests.support.quarantine import courier, job, machines, quarantine


async def greeting(port: int) -> bytes:
    """Do what a telnet test does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    line = await reader.readline()
    writer.write(b"MAIL FROM:<a@b>\r\n")
    line += await reader.readline()
    writer.close()
    return line


async def test_a_telnet_test_sees_the_banner_and_nothing_more_is_allowed_in_the_clear(tmp_path: Path) -> None:
    _, sma = machines(tmp_path)
    async with quarantine(sma) as held:
        banner = await greeting(held.listener.port)
        assert banner.startswith(b"220 sma.example.test ESMTP\r\n530 ")


async def test_a_suspension_closes_the_port_and_outlives_a_restart(tmp_path: Path) -> None:
    esa, sma = machines(tmp_path)
    async with quarantine(sma) as held:
        port = held.listener.port
        assert (await held.listener.status({}))["state"] == "listening"
        assert (await held.listener.suspend({"delay_s": 0}))["state"] == "suspended"
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 1)
    async with quarantine(sma) as held:
        status = await held.listener.status({})
        assert (status["state"], status["accepting"], status["reason"]) == (
            "suspended",
            False,
            "suspended by the operator",
        )
        (concern,) = held.listener.condition().concerns
        assert (concern.check, concern.grave) == ("quarantine", True)
        assert "resumelistener" in concern.text
        await held.listener.resume({})
        assert (await greeting(held.listener.port)).startswith(b"220 ")
        esa.paired_with(sma, held.listener.port)
        async with courier(esa) as post:
            line = await post.open(CPQ_HOST, "")
            assert (await line.send(job()))[0].kind == "delivered"
            await line.close()
        status = await held.listener.status({})
        assert (status["state"], status["accepting"], status["takes"]) == ("listening", True, "hold")
        assert [one["serial"] for one in status["peers"]] == ["ESA-1"]
        concerns, figures, _ = held.listener.condition()
        assert (concerns, {one.name: one.value for one in figures}["cpq_peers"]) == ((), 1)
    async with quarantine(sma) as held:
        assert (await held.listener.status({}))["state"] == "listening"


async def test_a_full_quarantine_takes_no_more(tmp_path: Path) -> None:
    esa, sma = machines(tmp_path)
    async with quarantine(sma) as held:
        esa.paired_with(sma, held.listener.port)
        async with courier(esa) as post:
            line = await post.open(CPQ_HOST, "")
            await line.send(job())
            await line.close()
    async with quarantine(sma, quota_octets=10) as held:
        assert (await held.listener.status({}))["reason"] == "the quarantine is full"
        assert "the quarantine is full" in held.listener.condition().concerns[0].text
        esa.paired_with(sma, held.listener.port)
        async with courier(esa) as post:
            with pytest.raises(TemporaryFailure, match="the quarantine is full"):
                await post.open(CPQ_HOST, "")


async def test_files_that_a_crash_left_are_removed_at_start(tmp_path: Path) -> None:
    esa, sma = machines(tmp_path)
    async with quarantine(sma) as held:
        esa.paired_with(sma, held.listener.port)
        async with courier(esa) as post:
            line = await post.open(CPQ_HOST, "")
            await line.send(job())
            await line.close()
        held.folder.write("orphan00", [b"x"])
        (sma.dir / "spool/incoming/left.content").write_bytes(b"x")
    async with quarantine(sma):
        assert len([path for path in (sma.dir / "spool/content").rglob("*") if path.is_file()]) == 1
    assert "removed 1 content files of no message" in sma.logged()
    assert not (sma.dir / "spool/incoming/left.content").exists()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_stranger_that_is_refused_in_the_handshake_leaves_a_line(
    tmp_path: Path, version: ssl.TLSVersion
) -> None:
    _, sma = machines(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    async with quarantine(sma) as held:
        reader, writer = await asyncio.open_connection("127.0.0.1", held.listener.port)
        writer.write(b"EHLO stranger.test\r\n")
        await reader.readuntil(b"250 ")
        await reader.readline()
        writer.write(b"STARTTLS\r\n")
        assert (await reader.readline()).startswith(b"220")
        # TLS 1.3 lets the client's half of the handshake succeed.
        with contextlib.suppress(ssl.SSLError, ConnectionError):
            await writer.start_tls(context)
            writer.write(b"EHLO stranger.test\r\n")
            assert await reader.read() == b""
        writer.transport.abort()
        async with asyncio.timeout(30):
            while "close" not in sma.logged():
                await asyncio.sleep(0)
    (line,) = [line for line in sma.logged().splitlines() if "TLS failed" in line]
    assert "Warning: CPQ ICID " in line
    assert "centralized policy quarantine on port " in line


async def test_a_connection_that_is_open_ends_with_its_next_message_once_the_pairing_is_removed(tmp_path: Path) -> None:
    esa, sma = machines(tmp_path)
    async with quarantine(sma) as held, courier(esa) as post:
        esa.paired_with(sma, held.listener.port)
        line = await post.open(CPQ_HOST, "")
        assert (await line.send(job(1)))[0].kind == "delivered"
        sma.pairings.remove("ESA-1")
        result = (await line.send(job(2)))[0]
        assert result.kind == "soft"
        assert "not paired" in result.text
        assert (await line.send(job(3)))[0].kind == "soft"
        assert not line.usable
        await line.close()
        assert [one.origin_mid for one in await held.store.catalogue.find(Search())] == [1]
    assert "REJECT certificate is not paired any more" in sma.logged()
