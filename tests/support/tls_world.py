"""The outside world of outbound TLS: mail hosts with and without TLS, a policy host, signed zones, and a gateway.

The gateway and its delivery queue are real processes; they find the hosts by MX through a validating resolver.

    async with TlsWorld(tmp_path, net="127.35.2") as world:
        world.domain("good.test", context, ["_{port}._tcp.mx TLSA 3 1 1 …"])
        await world.start()
        await world.send("a@good.test")
"""

import asyncio
import os
import signal
import smtplib
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from core.control import call
from daemons.initial import make
from tests.support.authority import Authority, server_context
from tests.support.dnssec import DnssecLab
from tests.support.https_server import HttpsServer
from tests.support.ports import free_port
from tests.support.road import DaemonProcess
from tests.support.waiting import until

_CONFIG = """
[appliance]
role = "esa"
serial = "{serial}"
hostname = "esa.example.test"

[dns]
servers = ["{resolver}"]
timeout_s = 4

[delivery]
port = {port}
idle_close_s = 0.5

[delivery_tls]
authorities = "ca.pem"
mta_sts_port = {https}
mta_sts_timeout_s = 5

[[listener]]
name = "InboundMail"
address = "127.0.0.1"
port = {listener}
rat = ["ALL"]

[listener.policy]
max_messages_per_session = 0
max_connections_per_address = 0
tls = "preferred"
"""


class MailHost:
    """One outside mail host; notes who had mail from it, whether TLS was on, and what MAIL asked for."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self.seen: list[tuple[tuple[str, ...], bool, bytes]] = []
        self.mails: list[str] = []
        self.offers: list[str] = []
        """More keywords for EHLO under TLS."""
        self.reused = 0
        self.most_open = 0
        """Connections at once, at the most; one that has said QUIT is over."""
        self._open = 0
        self._context = context

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak to one client."""
        self._open += 1
        self.most_open = max(self.most_open, self._open)
        try:
            writer.write(b"220 outside.test\r\n")
            await self._talk(reader, writer)
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open -= 1
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        secure, recipients = False, []
        while line := await reader.readline():
            words = line.decode().strip()
            verb = words[:4].upper()
            answer = "250 2.0.0 ok"
            if verb == "EHLO":
                offers = self.offers if secure else ["STARTTLS"] if self._context is not None else []
                answer = "\r\n".join(["250-outside.test", *(f"250-{one}" for one in offers), "250 PIPELINING"])
            elif verb == "STAR":
                writer.write(b"220 go\r\n")
                await writer.drain()
                await writer.start_tls(self._context)  # type: ignore[arg-type]
                secure = True
                self.reused += writer.get_extra_info("ssl_object").session_reused
                continue
            elif verb == "MAIL":
                recipients = []
                self.mails.append(words)
            elif verb == "RCPT":
                recipients.append(words.partition("<")[2].partition(">")[0])
            elif verb == "DATA":
                writer.write(b"354 go\r\n")
                content = await reader.readuntil(b"\r\n.\r\n")
                self.seen.append((tuple(recipients), secure, content))
            writer.write(answer.encode() + b"\r\n")
            if verb == "QUIT":
                return


class TlsWorld:
    """Everything, on one network of loopback addresses."""

    def __init__(self, folder: Path, net: str) -> None:
        self.ca = Authority("lab root")
        self.net = net
        self.names = DnssecLab(folder / "dns", net)
        self.hosts: dict[str, MailHost] = {}
        self.policies: dict[str, HttpsServer] = {}
        self.port = free_port(f"{net}.10")
        self.https_port = free_port(f"{net}.10")
        self.machine = folder / "esa"
        self._addresses: dict[str, str] = {}
        self._servers: list[asyncio.AbstractServer] = []
        self._daemons: list[DaemonProcess] = []
        self._listener = free_port()

    def address(self) -> str:
        """Give an address of this network that nobody has."""
        return f"{self.net}.{100 + len(self._addresses) + len(self.policies)}"

    def domain(
        self,
        name: str,
        context: ssl.SSLContext | None,
        records: Sequence[str] = (),
        *,
        signed: bool = True,
        bogus: bool = False,
        mx: str = "mx",
    ) -> None:
        """Add a domain whose host `mx` has its own address; `{port}` in a record stands for the mail hosts' port."""
        address = self.address()
        self._addresses[name] = address
        self.hosts[name] = MailHost(context)
        lines = [f"@ MX 10 {mx}", f"mx A {address}", *(one.format(port=self.port) for one in records)]
        self.names.zone(name, lines, signed=signed, bogus=bogus)

    def policy(self, domain: str, text: str, *, context: ssl.SSLContext | None = None) -> list[str]:
        """Add a policy host for a domain; gives the records for its zone."""
        address = self.address()
        default = server_context(*self.ca.host(f"mta-sts.{domain}"))
        body = text.replace("\n", "\r\n").encode()
        self.policies[domain] = HttpsServer(context or default, body=body, address=address, port=self.https_port)
        return [f"mta-sts A {address}", '_mta-sts TXT "v=STSv1; id=1;"']

    async def __aenter__(self) -> "TlsWorld":
        return self

    async def start(self, extra: str = "", prepare: Callable[[Path], None] = lambda _folder: None) -> None:
        """Start hosts, zones and the gateway with `extra` in its configuration; `prepare` gets the machine's folder."""
        for name, address in self._addresses.items():
            self._servers.append(await asyncio.start_server(self.hosts[name].serve, address, self.port))
        for server in self.policies.values():
            await server.__aenter__()
        await asyncio.to_thread(self.names.start)
        make("esa", self.machine, hostname="esa.example.test")
        self.configure(extra)
        prepare(self.machine)
        self._daemons = [
            DaemonProcess(self.machine, "gateway", "gateway-0"),
            DaemonProcess(self.machine, "delivery-queue", "delivery-queue"),
        ]
        for daemon in self._daemons:
            await daemon.start()
        for daemon in self._daemons:
            await daemon.until_ready()

    def configure(self, extra: str) -> None:
        """Write the gateway's configuration."""
        config = self.machine / "gatepost.toml"
        lines = config.read_text().splitlines()
        serial = next(line for line in lines if line.startswith("serial =")).split('"')[1]
        (self.machine / "ca.pem").write_bytes(self.ca.pem)
        text = _CONFIG.format(
            serial=serial, resolver=self.names.resolver, port=self.port, https=self.https_port, listener=self._listener
        )
        config.write_text(text + extra)

    async def reload(self) -> None:
        """Have delivery-queue read its configuration again."""
        before = self.log().count("Delivery tables reloaded")
        os.kill(self._daemons[1].pid, signal.SIGHUP)
        await until(lambda: self.log().count("Delivery tables reloaded") > before, self.log)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for daemon in self._daemons:
            await daemon.kill()
        for server in self._servers:
            server.close()
        for policy in self.policies.values():
            await policy.__aexit__(None, None, None)
        self.names.__exit__(None, None, None)

    def log(self) -> str:
        """Give the mail log."""
        file = self.machine / "log" / "mail_logs" / "mail.current"
        return file.read_text() if file.exists() else ""

    async def logged(self, *texts: str) -> None:
        """Wait until the mail log has all of these; it is written a while behind what happens."""
        for text in texts:
            await until(lambda text=text: text in self.log(), lambda text=text: f"{text!r} in {self.log()[-5000:]}")  # type: ignore[misc]

    async def sessions(self) -> list[dict[str, Any]]:
        """Give what is counted for TLS reports."""
        found: list[dict[str, Any]] = (await self.ask("tlsreport"))["sessions"]
        return found

    async def ask(self, verb: str, **args: Any) -> Any:
        """Ask delivery-queue."""
        return await call(self.machine / "run" / "delivery-queue.sock", verb, timeout_s=30, **args)

    async def send(self, *recipients: str, content: str = "Subject: x\r\n\r\nx", strict: bool = False) -> None:
        """Send a message for each recipient, with `strict` asking for REQUIRETLS."""

        def submit() -> None:
            with smtplib.SMTP("127.0.0.1", self._listener, local_hostname="client.test", timeout=60) as client:
                if strict:
                    client.starttls(context=ssl._create_unverified_context())
                options = ["REQUIRETLS"] if strict else []
                for recipient in recipients:
                    client.sendmail("someone@sender.test", [recipient], content, options)

        await asyncio.to_thread(submit)

    async def outcome(self, domain: str, within_s: float = 60) -> str:
        """Wait until mail to a domain was delivered (`tls` or `clear`) or its first attempt failed (`deferred`)."""

        async def look() -> str:
            if self.hosts[domain].seen:
                return "tls" if self.hosts[domain].seen[-1][1] else "clear"
            found = await self.ask("showrecipients", host=domain)
            return "deferred" if any(one["attempts"] for one in found["recipients"]) else ""

        return str(await until(look, lambda: f"an outcome for {domain}: {self.log()[-3000:]}", within_s=within_s))
