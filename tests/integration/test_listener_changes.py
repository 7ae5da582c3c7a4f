"""Listeners that come, go, move and change by `commit`, through the real console and the real gateway."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from core.control import call
from core.pki import make_server_certificate
from core.ssh import make_key, public_text
from tests.support.lab import short_folder
from tests.support.ports import free_port
from tests.support.road import DaemonProcess, make_gateway
from tests.support.smtp_client import SmtpClient, refused
from tests.support.waiting import until

pytestmark = pytest.mark.slow
HOST = "127.0.0.1"
CONSOLE = """
[console]
address = "127.0.0.1"
port = {port}

[[user]]
name = "admin"
role = "administrator"
keys = ["{key}"]
"""


@dataclass
class Site:
    """A machine whose gateway and console run, and the way in of an administrator."""

    folder: Path
    port: int
    gateway: DaemonProcess
    dial: Callable[[], AbstractAsyncContextManager[asyncssh.SSHClientConnection]]

    async def ran(self, line: str, stdin: str = "") -> tuple[int | None, str, str]:
        async with asyncio.timeout(60), self.dial() as console:
            done = await console.run(line, input=stdin)
        return done.exit_status, str(done.stdout), str(done.stderr)

    async def must(self, line: str, stdin: str = "") -> str:
        status, output, error = await self.ran(line, stdin)
        assert (status, error) == (0, ""), f"{line}: {error}"
        return output

    async def typed(self, *lines: str) -> str:
        """Type into the console itself; gives what it showed."""
        async with asyncio.timeout(60), self.dial() as console:
            done = await console.run(None, input="".join(f"{line}\n" for line in (*lines, "exit")))
        return str(done.stdout)

    async def states(self) -> dict[str, tuple[int, str]]:
        rows = json.loads(await self.must("listenerconfig list --json"))["listeners"]
        return {row["name"]: (row["port"], row["state"]) for row in rows}

    async def counted(self, name: str, count: int) -> Any:
        """Wait until a counter has come to a number; gives all counters."""

        async def look() -> Any:
            counters = (await call(self.folder / "run" / "gateway-0.sock", "status"))["counters"]
            return counters if counters.get(name, {}).get("uptime", 0) == count else None

        return await until(look, f"{name} is {count}")

    def log(self) -> str:
        file = self.folder / "log" / "mail_logs" / "mail.current"
        return file.read_text() if file.exists() else ""

    async def logged(self, text: str) -> None:
        await until(lambda: text in self.log(), lambda: f"{text!r} in the log; {self.gateway.errors.read_text()}")


@contextlib.asynccontextmanager
async def dialled(port: int) -> AsyncIterator[SmtpClient]:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(HOST, port)
    client = SmtpClient(reader, writer)
    try:
        assert (await client.hear()).startswith("220")
        yield client
    finally:
        writer.transport.abort()


@contextlib.asynccontextmanager
async def site(more: str = "") -> AsyncIterator[Site]:
    key = make_key()
    with short_folder() as folder:
        console_port = free_port()
        console_text = CONSOLE.format(port=console_port, key=public_text(key))
        port = make_gateway(folder, 9, console_text + more)
        gateway = DaemonProcess(folder, "gateway", "gateway-0")
        console = DaemonProcess(folder, "console", "console")
        try:
            for one in (gateway, console):
                await one.start()
            for one in (gateway, console):
                await one.until_ready()
            options: dict[str, Any] = {"username": "admin", "client_keys": [key], "known_hosts": None}
            options |= {"config": None, "agent_path": None}
            yield Site(folder, port, gateway, partial(asyncssh.connect, HOST, console_port, **options))
        finally:
            for one in (gateway, console):
                await one.end()


async def test_a_listener_is_made_by_the_dialogue_takes_mail_moves_and_goes_while_connections_last() -> None:
    first, second = free_port(), free_port()
    async with site() as one, dialled(one.port) as old:
        answers = ["new", "2", "Extra", "1", "1", str(first), "extra.test", "n", "n", ""]
        shown = await one.typed("listenerconfig", *answers, "commit", "another way in", "")
        assert "Listener Extra created." in shown
        assert (await one.states())["Extra"] == (first, "listening"), shown
        async with dialled(first) as extra:
            assert (await extra.send("a@extra.test")).startswith("250")
            assert (await extra.send("a@example.test")).startswith("550"), "a table of its own"
            assert (await old.send()).startswith("250"), "who was there before goes on"

            await one.must(f"listenerconfig edit Extra interface 127.0.0.1 {second}")
            await one.must("listenerconfig edit Extra name Other")
            await one.must("commit moved")
            assert await refused(HOST, first)
            async with dialled(second) as other:
                assert (await other.send("a@extra.test")).startswith("250")
            assert (await extra.send("a@extra.test")).startswith("250")

            await one.must("listenerconfig edit InboundMail name Incoming")
            await one.must("commit renamed")
            await one.logged("Listener InboundMail is called Incoming now.")

            await one.must("listenerconfig delete Other")
            await one.must("commit gone")
            assert await refused(HOST, second)
            assert list(await one.states()) == ["Incoming"]
            assert (await extra.say("NOOP")).startswith("250"), "the usual delay to finish"
        assert (await old.send()).startswith("250")
        await one.logged("Listener Other deleted.")
        assert "New SMTP ICID" in one.log()


async def test_a_port_that_is_taken_refuses_the_whole_commit_and_nothing_changes() -> None:
    free = free_port()
    async with site() as one:
        with socket.create_server((HOST, 0), reuse_port=True) as stranger:
            taken = stranger.getsockname()[1]
            await one.must(f"listenerconfig new Free public 127.0.0.1 {free} example.test")
            await one.must(f"listenerconfig new Taken public 127.0.0.1 {taken} example.test")
            status, output, error = await one.ran("commit")
            assert status != 0
            assert f"listener Taken: cannot listen on 127.0.0.1:{taken}" in output + error
            assert "choose another port" in output + error
            assert await refused(HOST, free)
            assert "Taken" not in (one.folder / "gatepost.toml").read_text()
            assert (await one.states())["Free"] == (free, "not in force")
        await one.must("commit")
        async with dialled(free) as client:
            assert (await client.send()).startswith("250")


async def test_policies_and_limits_change_for_new_connections_only() -> None:
    async with site() as one, dialled(one.port) as old:
        table = "$SLOW ACCEPT { max_rcpts_per_msg = 1 }\nLOCAL:\n  127.0.0.1 (this machine)\n    $SLOW\nALL REJECT\n"
        await one.must("listenerconfig edit InboundMail hostaccess import -", table)
        await one.must("listenerconfig edit InboundMail limits --max-connections 3")
        await one.must("commit")
        async with dialled(one.port) as new:
            for client, answer in ((old, "250"), (new, "452")):
                await client.say("EHLO c.test")
                await client.say("MAIL FROM:<s@c.test>")
                await client.say("RCPT TO:<a@example.test>")
                assert (await client.say("RCPT TO:<b@example.test>")).startswith(answer)
            async with dialled(one.port):
                reader, writer = await asyncio.open_connection(HOST, one.port)
                assert (await reader.readline()).startswith(b"421"), "three is the limit now"
                writer.transport.abort()
        await one.logged("ACCEPT SG LOCAL match 127.0.0.1 SBRS None")


async def test_sinkholes_take_mail_count_it_and_keep_nothing() -> None:
    queuing, plain = free_port(), free_port()
    async with site() as one:
        await one.must(f"listenerconfig new Queuing sinkhole-queuing 127.0.0.1 {queuing} 127.0.0.1")
        await one.must(f"listenerconfig new Plain sinkhole 127.0.0.1 {plain} 127.0.0.1")
        await one.must("commit")
        for received, port in enumerate((queuing, plain), 1):
            async with dialled(port) as client:
                assert (await client.send("anybody@anywhere.test")).startswith("250")
            await one.counted("inj_msgs", received)
            await one.counted("dropped_msgs", 1)  # what a queuing sinkhole takes is dropped, the other keeps none
            segments = [path for path in (one.folder / "spool" / "journal" / "gateway-0").iterdir() if path.is_file()]
            assert sum(path.read_bytes().count(b"Subject: hello") for path in segments) == 1
        await one.logged("Dropped by sinkhole listener")


async def test_a_file_changed_by_hand_brings_listeners_certificates_and_conservation() -> None:
    port = free_port()
    async with site() as one, dialled(one.port) as old:
        key, certificate = make_server_certificate("www.example.test")
        (one.folder / "keys" / "www.key").write_bytes(key)
        (one.folder / "keys" / "www.crt").write_bytes(certificate)
        config = one.folder / "gatepost.toml"
        listener = f'[[listener]]\nname = "More"\naddress = "127.0.0.1"\nport = {port}\ntls = "implicit"\n'
        named = '[[certificate]]\ncertificate = "keys/www.crt"\nkey = "keys/www.key"\n'
        pressed = '[conservation]\nmemory_limit = "20M"\n'
        config.write_text(config.read_text() + listener + named)
        os.kill(one.gateway.pid, signal.SIGHUP)
        await one.logged(f"Listener More created on 127.0.0.1:{port}.")
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        async with asyncio.timeout(30):
            _, writer = await asyncio.open_connection(HOST, port, ssl=anybody, server_hostname="www.example.test")
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        assert shown == ssl.PEM_cert_to_DER_cert(certificate.decode())
        config.write_text(config.read_text() + pressed)
        os.kill(one.gateway.pid, signal.SIGHUP)
        await one.logged("refusing mail: memory")
        await old.say("EHLO c.test")
        assert (await old.say("MAIL FROM:<s@c.test>")).startswith("452"), "conservation holds for all"


async def test_a_second_gateway_process_shares_new_ports_and_a_late_one_is_no_stranger() -> None:
    committed, by_hand = free_port(), free_port()
    async with site() as one:
        second = DaemonProcess(one.folder, "gateway", "gateway-1", instance=1)
        try:
            await second.start()
            await second.until_ready()
            await one.must(f"listenerconfig new Both public 127.0.0.1 {committed} example.test")
            await one.must("commit")
            for name in ("gateway-0", "gateway-1"):
                assert await listens(one.folder, name, committed)
            config = one.folder / "gatepost.toml"
            config.write_text(
                config.read_text() + f'[[listener]]\nname = "Late"\naddress = "127.0.0.1"\nport = {by_hand}\n'
            )
            for name, process in (("gateway-0", one.gateway), ("gateway-1", second)):
                os.kill(process.pid, signal.SIGHUP)
                await until(lambda name=name: listens(one.folder, name, by_hand))  # type: ignore[misc]
        finally:
            await second.end()


async def listens(folder: Path, process: str, port: int) -> bool:
    rows = (await call(folder / "run" / f"{process}.sock", "listeners"))["listeners"]
    return any((row["port"], row["state"]) == (port, "listening") for row in rows)


async def test_a_listener_that_a_commit_made_is_suspended_by_name_and_stays_so_when_it_moves() -> None:
    first, second = free_port(), free_port()
    async with site() as one:
        await one.must(f"listenerconfig new Extra public 127.0.0.1 {first} example.test")
        await one.must("commit")
        await one.must("suspendlistener Extra --seconds 0")
        assert (await one.states())["Extra"] == (first, "suspended")
        await one.must(f"listenerconfig edit Extra interface 127.0.0.1 {second}")
        await one.must("commit")
        assert (await one.states())["Extra"] == (second, "suspended")
        assert await refused(HOST, second)
        await one.must("resumelistener Extra")
        async with dialled(second) as client:
            assert (await client.send()).startswith("250")


async def test_mail_flows_over_kept_and_new_connections_through_one_commit_after_the_other() -> None:
    other = free_port()
    async with site() as one:
        done = asyncio.Event()
        sent: list[str] = []

        async def kept() -> None:
            async with dialled(one.port) as client:
                while not done.is_set():
                    sent.append(await client.send())

        async def fresh() -> None:
            while not done.is_set():
                async with dialled(one.port) as client:
                    sent.append(await client.send())

        async with asyncio.TaskGroup() as tasks:
            for work in (kept, kept, fresh, fresh):
                tasks.create_task(work())
            for queue in (10, 300, 40):
                await one.must(f"listenerconfig edit InboundMail limits --tcp-queue {queue}")
                await one.must(f"listenerconfig new Other{queue} private 127.0.0.1 {other} 10.0.0.0/8")
                await one.must("commit")
                await one.must(f"listenerconfig delete Other{queue}")
                await one.must("listenerconfig edit InboundMail hostaccess reset")
                await one.must("commit")
            done.set()
        assert {answer[:3] for answer in sent} == {"250"}
        assert len(sent) > 20
