"""Bounces and bounce verification on a real gateway and delivery queue, both ways."""

import asyncio
import contextlib
import email
import email.policy
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.control import call
from ops.cli.appliance import Answer
from ops.metrics import metrics_text
from tests.support.dns_server import DnsServer
from tests.support.ports import free_port
from tests.support.road import DaemonProcess, make_gateway
from tests.support.waiting import until

DAEMONS = (("gateway", "gateway-0"), ("delivery-queue", "delivery-queue"))
KEY = "4f1c8a7e2b9d4c6f8e0a1b3d5c7e9f20"
FURTHER = """
bounce_verification = "reject"
bounce_profile = "words"

[[listener]]
name = "Marking"
address = "127.0.0.1"
port = {marking}
rat = ["example.test"]
bounce_verification = "header"

[[destination]]
domain = "tagged.test"
bounce_verification = true

[bounce_verification]
key = [{{ id = "7", file = "keys/bounce-7.key" }}]

[[bounce_profile]]
name = "words"
bounce_text = "ours"

[[text]]
name = "ours"
subject = "Not for $$5"
text = "Alas: $Recipients"
"""


class Host:
    """A host outside: refuses recipients called `no…`, takes the rest; keeps (sender, recipients, content)."""

    def __init__(self) -> None:
        self.taken: asyncio.Queue[tuple[str, list[str], bytes]] = asyncio.Queue()
        self.refused: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 host.test\r\n")
        sender, recipients = "", list[str]()
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                verb = line[:4].upper()
                reply = b"250 2.0.0 ok\r\n"
                if verb == b"MAIL":
                    sender, recipients = line.decode().partition("<")[2].partition(">")[0], []
                elif verb == b"RCPT":
                    address = line.decode().partition("<")[2].partition(">")[0]
                    if address.startswith("no"):
                        self.refused.append(sender)
                        reply = b"550 5.1.1 no such user\r\n"
                    else:
                        recipients.append(address)
                elif verb == b"DATA":
                    writer.write(b"354 go\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    self.taken.put_nowait((sender, recipients, content[:-3]))
                elif verb == b"QUIT":
                    break
                writer.write(reply)
        writer.close()

    async def next(self) -> tuple[str, list[str], bytes]:
        async with asyncio.timeout(30):
            return await self.taken.get()


async def send(port: int, sender: str, *recipients: str, content: bytes = b"Subject: x\r\n\r\nbody\r\n") -> list[str]:
    """Send a message; give the replies to RCPT and to the content."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def say(line: bytes) -> str:
        writer.write(line + b"\r\n")
        while (reply := await reader.readline())[3:4] == b"-":
            pass
        return reply.decode().strip()

    await reader.readline()
    await say(b"EHLO client.test")
    assert (await say(f"MAIL FROM:<{sender}>".encode())).startswith("250")
    paths = [one if ">" in one else f"{one}>" for one in recipients]
    replies = [await say(f"RCPT TO:<{path}".encode()) for path in paths]
    if any(one.startswith("250") for one in replies):
        assert (await say(b"DATA")).startswith("354")
        replies.append(await say(content + b"."))
    writer.close()
    return replies


class World:
    def __init__(self, host: Host, port: int, marking: int, folder: Path) -> None:
        self.host, self.port, self.marking, self.folder = host, port, marking, folder

    async def until_logged(self, words: str) -> None:
        path = self.folder / "log" / "mail_logs" / "mail.current"
        await until(lambda: words in path.read_text(), words, despite=(FileNotFoundError,))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    folder = tmp_path / "esa"
    port = make_gateway(folder, server.sockets[0].getsockname()[1])
    marking = free_port()
    config = folder / "gatepost.toml"
    listener, separator, rest = FURTHER.partition("[[listener]]")
    text = config.read_text().replace('rat = ["example.test"]', 'rat = ["example.test", "tagged.test", "far.test"]')
    text = text.replace("\n[listener.policy]", f"{listener}\n[listener.policy]", 1)
    config.write_text(f"{text}\n{separator}{rest.format(marking=marking)}")
    (folder / "keys" / "bounce-7.key").write_text(KEY)
    daemons = [DaemonProcess(folder, "gateway", "gateway-0"), DaemonProcess(folder, "delivery-queue", "delivery-queue")]
    try:
        for daemon in daemons:
            await daemon.start()
        for daemon in daemons:
            await daemon.until_ready()
        yield World(host, port, marking, folder)
    finally:
        for daemon in daemons:
            await daemon.end()
        server.close()


async def test_a_sender_is_tagged_on_the_way_out_and_its_bounce_is_known_on_the_way_in(world: World) -> None:
    assert (await send(world.port, "joe@example.test", "ann@tagged.test", "bob@far.test"))[-1].startswith("250")
    both = [await world.host.next(), await world.host.next()]
    went = {recipients[0]: sender for sender, recipients, _ in both}
    assert went["bob@far.test"] == "joe@example.test"
    tagged = went["ann@tagged.test"]
    assert re.fullmatch(r"prvs=joe=7\d{3}[a-z2-7]{6}@example\.test", tagged)

    replies = await send(world.port, "", tagged)
    assert replies[-1].startswith("250"), replies
    sender, recipients, _ = await world.host.next()
    assert (sender, recipients) == ("", ["joe@example.test"])

    forged = tagged.replace("joe", "jim")
    for address in (forged, "joe@example.test"):
        assert (await send(world.port, "", address))[0].startswith("550 5.7.1"), address
        await world.until_logged(f"invalid bounce, rcpt address <{address}> rejected by bounce verification.")
    # Other mail may answer a tagged address; it reaches the mailbox.
    assert (await send(world.port, "ann@tagged.test", tagged))[-1].startswith("250")
    assert (await world.host.next())[1] == ["joe@example.test"]
    # Mail that is tagged already is not tagged again.
    assert (await send(world.port, tagged, "ann@tagged.test"))[-1].startswith("250")
    assert (await world.host.next())[0] == tagged


async def test_a_listener_may_mark_invalid_bounces_instead(world: World) -> None:
    assert (await send(world.marking, "", "joe@example.test"))[-1].startswith("250")
    _, recipients, content = await world.host.next()
    assert recipients == ["joe@example.test"]
    assert b"X-Bounce-Verification: failed\r\n" in content


async def test_our_own_bounce_to_a_tagged_sender_goes_out_and_has_the_words_of_its_profile(world: World) -> None:
    assert (await send(world.port, "joe@example.test", "nobody@tagged.test"))[-1].startswith("250")
    sender, recipients, content = await world.host.next()
    assert (sender, recipients) == ("", ["joe@example.test"])
    assert world.host.refused[0].startswith("prvs=joe=7")
    report = email.message_from_bytes(content, policy=email.policy.default)
    assert report["Subject"] == "Not for $$5"
    assert report["Auto-Submitted"] == "auto-replied"
    text, status, original = report.iter_parts()  # type: ignore[attr-defined]
    assert text.get_content().strip() == "Alas: nobody@tagged.test"
    fields = status.get_payload()
    assert fields[1]["Action"] == "failed"
    assert fields[1]["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
    assert original.get_content_type() == "message/rfc822"


async def test_success_is_reported_to_those_who_ask_where_the_next_host_has_no_dsn(world: World) -> None:
    replies = await send(world.port, "joe@example.test", "ann@far.test> NOTIFY=SUCCESS ORCPT=rfc822;a+2Bnn@far.test")
    assert replies[-1].startswith("250"), replies
    first = await world.host.next()
    assert (first[0], first[1]) == ("joe@example.test", ["ann@far.test"])
    sender, recipients, content = await world.host.next()
    assert (sender, recipients) == ("", ["joe@example.test"])
    report = email.message_from_bytes(content, policy=email.policy.default)
    fields = list(report.iter_parts())[1].get_payload()  # type: ignore[attr-defined]
    assert fields[1]["Action"] == "relayed"
    assert fields[1]["Original-Recipient"] == "rfc822; a+nn@far.test"


async def test_figures_that_the_monitoring_page_names_were_in_no_metrics_until_they_counted(world: World) -> None:
    """Conservation, watchdog, TLS failures, capped reports: an alarm on a name that is not there never goes off."""
    answers = [Answer(name, await call(world.folder / "run" / f"{name}.sock", "status")) for _, name in DAEMONS]
    shown = metrics_text(answers).decode()
    page = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
    for name in ("stuck_connections", "tls_failures", "capped_reports"):
        assert f"| `{name}` |" in page
        assert f'gatepost_{name}_total{{daemon="delivery-queue"}} 0.0' in shown
    assert "`resource_conservation`" in page
    assert 'gatepost_resource_conservation{daemon="gateway-0"} 0.0' in shown


async def test_a_missing_key_stops_the_check(world: World) -> None:
    (world.folder / "keys" / "bounce-7.key").unlink()
    command = [sys.executable, "-m", "daemons.gatepost", "check", "--config", str(world.folder / "gatepost.toml")]
    process = await asyncio.create_subprocess_exec(
        *command, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    _, errors = await process.communicate()
    assert process.returncode == 78
    assert b"bounce-7.key" in errors


async def test_a_report_names_the_host_that_refused(tmp_path: Path) -> None:
    """Nothing looked whether `Remote-MTA` is the exchanger that was called, not the domain or ourselves."""
    host = Host()
    server = await asyncio.start_server(host.serve, "127.0.0.1", 0)
    folder = tmp_path / "esa"
    outside = server.sockets[0].getsockname()[1]
    async with DnsServer("mx7.far.test. 60 IN A 127.0.0.1") as names:
        port = make_gateway(folder, outside)
        config = folder / "gatepost.toml"
        text = config.read_text().replace("127.0.0.1:9", names.address)
        config.write_text(text.replace(f'hosts = ["127.0.0.1:{outside}"]', f'hosts = ["mx7.far.test:{outside}"]'))
        daemons = [DaemonProcess(folder, name, instance) for name, instance in DAEMONS]
        try:
            for daemon in daemons:
                await daemon.start()
            for daemon in daemons:
                await daemon.until_ready()
            assert (await send(port, "joe@example.test", "nobody@example.test"))[-1].startswith("250")
            _, recipients, content = await host.next()
        finally:
            for daemon in daemons:
                await daemon.end()
            server.close()
    assert recipients == ["joe@example.test"]
    report = email.message_from_bytes(content, policy=email.policy.default)
    fields = list(report.iter_parts())[1].get_payload()[1]  # type: ignore[attr-defined]
    assert fields["Remote-MTA"] == "dns; mx7.far.test"
    assert fields["Diagnostic-Code"] == "smtp; 550 5.1.1 no such user"
