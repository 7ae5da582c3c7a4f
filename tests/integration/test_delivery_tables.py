"""Destinations, routes, virtual gateways and the unsubscribe list through real daemons, and their reload by SIGHUP.

A gateway and its delivery queue are processes; the outside hosts are servers of this test, which see who calls.
"""

import asyncio
import contextlib
import os
import signal
import smtplib
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from core.control import call
from daemons.initial import make
from tests.support.lab import short_folder
from tests.support.ports import free_port
from tests.support.road import DaemonProcess
from tests.support.waiting import until

NET = "127.37.1"
HEAD = """
[appliance]
role = "esa"
serial = "{serial}"
hostname = "esa.example.test"

[dns]
servers = ["127.0.0.1:9"]

[[listener]]
name = "InboundMail"
address = "127.0.0.1"
port = {port}
rat = ["ALL"]

[listener.policy]
max_messages_per_session = 0
max_connections_per_address = 0
tls = "off"
"""
INTERFACES = f"""
[[interface]]
name = "Out1"
address = "{NET}.2"
hostname = "out1.example.test"
[[interface]]
name = "Out2"
address = "{NET}.3"
hostname = "out2.example.test"
[[interface]]
name = "Out3"
address = "{NET}.4"
hostname = "out3.example.test"
[[interface_group]]
name = "Pool"
interfaces = ["Out2", "Out3"]
"""


class Seen(NamedTuple):
    """One message that an outside host got."""

    peer: str
    helo: str
    sender: str
    recipients: tuple[str, ...]


class OutsideHost:
    """Takes everything and notes who brought it."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.port = 0

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:
        assert session.peer is not None
        sender, recipients = envelope.mail_from or "", tuple(envelope.rcpt_tos)
        self.seen.append(Seen(session.peer[0], str(session.host_name), sender, recipients))
        return "250 2.0.0 noted"

    def of(self, recipient: str) -> list[Seen]:
        return [one for one in self.seen if recipient in one.recipients]


@contextlib.asynccontextmanager
async def outside_host() -> AsyncIterator[OutsideHost]:
    host = OutsideHost()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(host, hostname="outside.test", loop=loop), "127.0.0.1", 0)
    host.port = server.sockets[0].getsockname()[1]
    try:
        yield host
    finally:
        server.close()


class Gateway:
    """A machine with a gateway and a delivery queue."""

    def __init__(self, folder: Path) -> None:
        make("esa", folder, hostname="esa.example.test")
        self.dir = folder
        self.port = free_port()
        self._config = folder / "gatepost.toml"
        lines = self._config.read_text().splitlines()
        self._serial = next(line for line in lines if line.startswith("serial =")).split('"')[1]
        self._daemons = {
            "gateway": DaemonProcess(folder, "gateway", "gateway-0"),
            "delivery-queue": DaemonProcess(folder, "delivery-queue", "delivery-queue"),
        }

    def configure(self, text: str) -> None:
        self._config.write_text(HEAD.format(serial=self._serial, port=self.port) + text)

    async def start(self) -> None:
        for daemon in self._daemons.values():
            await daemon.start()
        for daemon in self._daemons.values():
            await daemon.until_ready()

    async def restart(self, name: str) -> None:
        await self._daemons[name].kill()
        await self._daemons[name].start()
        await self._daemons[name].until_ready()

    async def kill(self) -> None:
        for daemon in self._daemons.values():
            await daemon.kill()

    async def reload(self, name: str, line: str) -> None:
        """Send SIGHUP and wait for what the log says."""
        before = self.log()
        os.kill(self._daemons[name].pid, signal.SIGHUP)
        await until(lambda: line in self.log()[len(before) :], f"{name}: {line}")

    def log(self) -> str:
        file = self.dir / "log" / "mail_logs" / "mail.current"
        return file.read_text() if file.exists() else ""

    async def ask(self, verb: str, **args: Any) -> Any:
        return await call(self.dir / "run" / "delivery-queue.sock", verb, **args)

    async def counted(self, *names: str) -> dict[str, int]:
        """Give counters of the delivery queue, 0 for one that has counted nothing."""
        counters = (await self.ask("status"))["counters"]
        return {name: counters.get(name, {"reset": 0})["reset"] for name in names}

    async def send(
        self, recipient: str, sender: str = "someone@sender.test", content: str = "Subject: x\r\n\r\nx"
    ) -> None:
        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", self.port, local_hostname="client.test", timeout=60) as client:
                client.sendmail(sender, [recipient], content)

        await asyncio.to_thread(submit)


async def _gives(value: Awaitable[dict[str, int]], wanted: dict[str, int]) -> bool:
    """Tell whether it gives what is wanted, and no more than that."""
    return await value == wanted


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    with short_folder() as folder:
        one = Gateway(folder / "esa")
        yield one
        await one.kill()


def route(port: int, domain: str = "ALL") -> str:
    return f'[[route]]\ndomain = "{domain}"\nhosts = ["127.0.0.1:{port}"]\n'


async def test_each_virtual_gateway_has_its_address_its_name_and_its_queue(gateway: Gateway) -> None:
    """The table by sender, a group in turn, a filter's choice over the table, and the default."""
    async with outside_host() as host:
        gateway.configure(
            f"""
            [filters]
            text = '''a: if subject == 'by filter' {{ alt-src-host("out1"); }}'''
            [[destination]]
            domain = "there.test"
            max_messages_per_connection = 1
            limit_apply = "gateway"
            [[alt_source]]
            match = "@one.test"
            interface = "Out1"
            [[alt_source]]
            match = "bulk@"
            interface = "Pool"
            {route(host.port)}
            {INTERFACES}"""
        )
        await gateway.start()
        await gateway.send("a@there.test", "x@one.test")
        await gateway.send("b@there.test", "bulk@sender.test")
        await until(lambda: host.of("b@there.test"))
        await gateway.send("c@there.test", "bulk@sender.test")
        await gateway.send("d@there.test", "bulk@sender.test", "Subject: by filter\r\n\r\nx")
        await gateway.send("e@there.test")
        await until(lambda: len(host.seen) == 5)

        def came(recipient: str) -> tuple[str, str]:
            (one,) = host.of(recipient)
            return one.peer, one.helo

        assert came("a@there.test") == (f"{NET}.2", "out1.example.test")
        pool = {came("b@there.test"), came("c@there.test")}
        assert pool == {(f"{NET}.3", "out2.example.test"), (f"{NET}.4", "out3.example.test")}
        assert came("d@there.test") == (f"{NET}.2", "out1.example.test")
        assert came("e@there.test") == ("127.0.0.1", "esa.example.test")
        await until(lambda: f" interface {NET}.2 address 127.0.0.1 port {host.port}" in gateway.log())

        async def delivered() -> dict[str, int]:
            found = (await gateway.ask("hoststatus", host="there.test"))["virtual_gateways"]
            assert {one["state"] for one in found} == {"up"}
            return {one["name"]: one["delivered_recipients"] for one in found}

        wanted = {"Out1": 2, "Pool": 2, "default": 1}
        await until(lambda: _gives(delivered(), wanted), "what the host has is counted")


async def test_a_virtual_gateway_that_is_gone_leaves_by_the_default(gateway: Gateway) -> None:
    async with outside_host() as host:
        dead = free_port()
        text = '[[alt_source]]\nmatch = "@one.test"\ninterface = "Out1"\n'
        gateway.configure(text + route(dead) + INTERFACES)
        await gateway.start()
        await gateway.send("a@there.test", "x@one.test")
        await until(lambda: "Delayed: " in gateway.log())
        gateway.configure("[[bounce_profile]]\ninitial_retry_s = 1\n" + route(host.port))
        await gateway.restart("delivery-queue")
        (one,) = await until(lambda: host.of("a@there.test"), within_s=90)
        assert (one.peer, one.helo) == ("127.0.0.1", "esa.example.test")
        line = "virtual gateway Out1 does not exist any more; its mail leaves by the default one"
        await until(lambda: line in gateway.log())


async def test_a_reload_brings_new_tables_to_mail_in_the_queue(gateway: Gateway) -> None:
    """New routes at the next attempt, new limits at once; a bad document changes nothing and is told line by line."""
    async with outside_host() as host:
        profile = "[[bounce_profile]]\ninitial_retry_s = 2\nmax_retry_s = 2\n"
        gateway.configure(profile + route(free_port()))
        await gateway.start()
        await gateway.send("a@there.test")
        await until(lambda: "Delayed: " in gateway.log())

        gateway.configure(profile + route(host.port) + '[[destination]]\ndomain = "x.test"\nbounce_profile = "none"\n')
        await gateway.reload("delivery-queue", "Warning: delivery-queue: Configuration not reloaded: ")
        line = "destination[1].bounce_profile: x.test: there is no [[bounce_profile]] of the name none"
        await until(lambda: line in gateway.log())
        gateway.configure(profile + route(host.port) + '[[destination]]\ndomain = "there.test"\nmax_connections = 7\n')
        await gateway.reload("delivery-queue", "Delivery tables reloaded: 1 destinations, 1 routes")
        await until(lambda: host.of("a@there.test"))


async def test_those_who_unsubscribed_get_no_mail_that_was_queued_before(gateway: Gateway) -> None:
    """Drop and bounce, by a file that is read again on SIGHUP, with the model's line and counts."""
    async with outside_host() as host:
        file = gateway.dir / "unsubscribed.txt"
        file.write_text("nobody@nowhere.test\n")
        profile = "[[bounce_profile]]\ninitial_retry_s = 2\nmax_retry_s = 2\n"

        def table(action: str) -> str:
            return f'[unsubscribe]\nenabled = true\nfile = "unsubscribed.txt"\naction = "{action}"\n'

        gateway.configure(table("drop") + profile + route(free_port()))
        await gateway.start()
        await gateway.send("gone@there.test")
        await gateway.send("stays@there.test")
        await until(lambda: gateway.log().count("Delayed: ") >= 2)
        file.write_text("Gone@there.test\n@left.test\n")
        gateway.configure(table("drop") + profile + route(host.port))
        await gateway.reload("delivery-queue", "2 unsubscribed")
        await until(lambda: host.of("stays@there.test"))
        line = "Global unsubscribe matched entry gone@there.test RID 0 Address gone@there.test Action dropped"
        await until(lambda: line in gateway.log())

        gateway.configure(table("bounce") + profile + route(host.port))
        await gateway.reload("delivery-queue", "2 unsubscribed")
        await gateway.send("x@left.test", "writer@sender.test")
        (report,) = await until(lambda: host.of("writer@sender.test"))
        assert report.sender == "<>"
        await until(lambda: "matched entry @left.test RID 0 Address x@left.test Action bounced" in gateway.log())
        assert not host.of("gone@there.test")
        assert not host.of("x@left.test")
        wanted = {"global_unsub_hits": 2, "deleted_recips": 1, "other_hard_bounced_recips": 1}
        await until(lambda: _gives(gateway.counted(*wanted), wanted), "all three are counted")


async def test_a_gateway_takes_a_new_alternate_source_table_on_sighup(gateway: Gateway) -> None:
    async with outside_host() as host:
        gateway.configure(INTERFACES + route(host.port))
        await gateway.start()
        await gateway.send("a@there.test", "x@one.test")
        gateway.configure(INTERFACES + route(host.port) + '[[alt_source]]\nmatch = "@one.test"\ninterface = "Out1"\n')
        await gateway.reload("gateway", "Message filters reloaded: 0 in force")
        await gateway.send("b@there.test", "x@one.test")
        await until(lambda: len(host.seen) == 2)
        assert [one.peer for one in sorted(host.seen, key=lambda one: one.recipients)] == ["127.0.0.1", f"{NET}.2"]


async def test_routed_to_dev_null_mail_ends_counted_and_logged(gateway: Gateway) -> None:
    gateway.configure('[[route]]\ndomain = ".gone.test"\nhosts = ["/dev/null"]\n')
    await gateway.start()
    await gateway.send("a@sub.gone.test")
    await until(lambda: "discarded: routed to /dev/null" in gateway.log())
    assert "New SMTP DCID" not in gateway.log()
    await until(lambda: _gives(gateway.counted("delivered_recips"), {"delivered_recips": 1}))
