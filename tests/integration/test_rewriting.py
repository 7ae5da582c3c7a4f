"""Aliases, domain maps, masquerading and texts through a real gateway and delivery queue, by SIGHUP and by commit."""

import asyncio
import contextlib
import json
import os
import shlex
import signal
import smtplib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from core.control import call
from tests.support.lab import gatepost, short_folder
from tests.support.road import DaemonProcess, make_gateway
from tests.support.waiting import until

pytestmark = pytest.mark.slow
CONTENT = (
    b'From: "Joe (x)"\r\n\t<joe@in.example>\r\nX-Odd:  a \t\r\nTo: help@example.test\r\n\r\n.From: joe@in.example\r\n'
)
TABLES = """
domain_map = [{ match = "old.example", to = "example.test" }]
masquerade = [{ match = "@in.example", to = "@out.example" }]
masquerade_in = ["Envelope Sender", "From"]

[[alias]]
alias = "help@example.test"
to = ["bob@example.test", "team"]

[[alias]]
alias = "team@example.test"
to = ["eve@far.example", "/dev/null"]

[[alias]]
alias = "nobody"
to = ["/dev/null"]
"""


class Outside:
    """The host that everything goes to."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, list[str], bytes]] = []
        self.came = asyncio.Event()

    async def handle_DATA(self, _: SMTP, __: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.original_content, bytes)
        self.seen.append((envelope.mail_from or "", sorted(envelope.rcpt_tos), envelope.original_content))
        self.came.set()
        return "250 2.0.0 noted"


class Road:
    """A gateway and its delivery queue."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.gateway = DaemonProcess(folder, "gateway", "gateway-0")
        self.queue = DaemonProcess(folder, "delivery-queue", "delivery-queue")

    def send(self, *recipients: str) -> dict[str, tuple[int, bytes]]:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=30) as client:
            return client.sendmail("joe@in.example", recipients, CONTENT)

    def log(self) -> str:
        file = self.folder / "log" / "mail_logs" / "mail.current"
        return file.read_text() if file.exists() else ""

    async def logged(self, line: str) -> None:
        await until(lambda: line in self.log(), lambda: f"{line} in {self.log()}")

    async def has_dropped(self, count: int) -> bool:
        found = await call(self.folder / "run" / "gateway-0.sock", "status")
        return bool(found["counters"].get("dropped_msgs", {}).get("uptime", 0) == count)


@contextlib.asynccontextmanager
async def road(host: Outside, tables: str) -> AsyncIterator[Road]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(host, hostname="outside.test", loop=loop), "127.0.0.1", 0)
    with short_folder() as folder:
        port = make_gateway(folder, server.sockets[0].getsockname()[1])
        config = folder / "gatepost.toml"
        head, rat, policy = config.read_text().partition('rat = ["example.test"]\n')
        keys, _, aliases = tables.partition("\n\n")
        config.write_text(f"{head}{rat}{keys}\n{policy}\n{aliases}\n")
        one = Road(folder, port)
        try:
            for daemon in (one.queue, one.gateway):
                await daemon.start()
                await daemon.until_ready()
            yield one
        finally:
            await one.gateway.end()
            await one.queue.end()
            server.close()


async def test_addresses_change_on_their_way_and_everything_else_stays() -> None:
    host = Outside()
    async with road(host, TABLES) as one:
        assert await asyncio.to_thread(one.send, "help@old.example", "nobody@example.test", "x@far.example") == {
            "x@far.example": (550, b"5.1.0 #5.1.0 Address rejected.")
        }
        async with asyncio.timeout(30):
            while sum(len(recipients) for _, recipients, _ in host.seen) < 2:
                host.came.clear()
                await host.came.wait()
        assert sorted(address for _, recipients, _ in host.seen for address in recipients) == [
            "bob@example.test",
            "eve@far.example",
        ]
        for sender, _, content in host.seen:
            assert sender == "joe@out.example"
            assert content.endswith(CONTENT.replace(b"<joe@in.example>", b"<joe@out.example>"))
        await until(lambda: one.has_dropped(1))
        assert await asyncio.to_thread(one.send, "nobody@old.example") == {}
        await until(lambda: one.has_dropped(2))
        for line in (
            "domain map: recipient help@old.example mapped to help@example.test by old.example",
            "recipient help@example.test mapped to bob@example.test, eve@far.example",
            "masquerading envelope sender from 'joe@in.example' to 'joe@out.example'",
        ):
            await one.logged(line)


async def test_a_circle_of_aliases_is_refused_and_those_in_force_go_on() -> None:
    host = Outside()
    async with road(host, TABLES) as one:
        config = one.folder / "gatepost.toml"
        good = config.read_text()
        config.write_text(good + '[[alias]]\nalias = "a"\nto = ["b"]\n[[alias]]\nalias = "b"\nto = ["a"]\n')
        checked = await asyncio.to_thread(gatepost, "check", "--config", str(config))
        assert checked.status == 78
        assert "the aliases go round in a circle: a to b to a" in checked.err
        os.kill(one.gateway.pid, signal.SIGHUP)
        await one.logged("go round in a circle")
        assert await asyncio.to_thread(one.send, "help@old.example") == {}

        config.write_text(good.replace('"bob@example.test", "team"', '"new@example.test"'))
        os.kill(one.gateway.pid, signal.SIGHUP)
        await one.logged("Message filters reloaded")
        assert await asyncio.to_thread(one.send, "help@example.test") == {}
        async with asyncio.timeout(30):
            while not any(recipients == ["new@example.test"] for _, recipients, _ in host.seen):
                host.came.clear()
                await host.came.wait()


async def test_what_the_console_commits_counts_for_the_next_message(tmp_path: Path) -> None:
    host = Outside()
    async with road(host, TABLES) as one:
        config = str(one.folder / "gatepost.toml")
        message = "Subject: x\n\nbody\n"

        async def cli(line: str, stdin: str = "") -> str:
            words = shlex.split(line)
            done = await asyncio.to_thread(gatepost, "cli", "--config", config, *words, stdin=stdin)
            assert done.status == 0, done
            return done.out

        await cli("aliasconfig new desk@example.test ann@example.test")
        await cli("listenerconfig edit InboundMail domainmap new older.example example.test")
        await cli("textconfig new legal --kind disclaimer --text 'Legal words.'")
        await cli("listenerconfig edit InboundMail setup --footer legal")
        await cli("filters new --text \"seen: if true { insert-header('X-Seen', 'yes'); }\"")
        ask = "trace --json --ip 127.0.0.1 --to desk@older.example --listener InboundMail -"
        traced = json.loads(await cli(ask, message))
        assert (traced["verdict"], traced["recipients"]) == ("deliver", ["ann@example.test"])
        assert traced["message"].endswith("X-Seen: yes\r\nSubject: x\r\n\r\nbody\r\nLegal words.\r\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            await asyncio.to_thread(one.send, "desk@older.example")
        await cli("commit 'aliases and texts'")
        assert await asyncio.to_thread(one.send, "desk@older.example") == {}
        async with asyncio.timeout(30):
            while not host.seen:
                host.came.clear()
                await host.came.wait()
        _, recipients, content = host.seen[0]
        assert recipients == ["ann@example.test"]
        assert b"\r\nX-Seen: yes\r\n" in content
        assert content.endswith(b"Legal words.\r\n")
