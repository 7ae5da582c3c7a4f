"""Alerts, names, certificates, TLS and the time zone through real daemons: set from the console, brought by commit.

The peers are real: a mail host that gets the alerts, SMTP and HTTPS clients of OpenSSL, a name server.
"""

import asyncio
import contextlib
import json
import smtplib
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from core.credential import describe
from daemons.initial import make
from tests.support.dns_server import DnsServer
from tests.support.lab import short_folder
from tests.support.ports import free_port
from tests.support.road import ROOT, DaemonProcess
from tests.support.sink import Inbox, receiving
from tests.support.waiting import until

HOST = "127.78.1.1"
TEXT = """
[appliance]
role = "esa"
serial = "{serial}"
hostname = "esa.example.test"

[dns]
servers = ["127.0.0.1:9"]
timeout_s = 1

[alerts]
host = "127.0.0.1"
port = {sink}

[disk_quota]
disk = false
configuration = "4K"

[delivery_tls]
alert = true

[console]
address = "{host}"
port = {console}

[web]
address = "{host}"
port = {web}

[health]
address = "{host}"

[cpq]
address = "{host}"
port = {cpq}

[[listener]]
name = "InboundMail"
address = "{host}"
port = {smtp}
rat = ["example.test"]

[listener.policy]
max_invalid_recipients_per_hour = 2
tls = "preferred"
"""


class Esa:
    """A gateway with its queue, console and web side."""

    def __init__(self, folder: Path, sink: int, more: str = "") -> None:
        make("esa", folder, hostname="esa.example.test")
        self.dir, self.config = folder, folder / "gatepost.toml"
        serial = json.loads(next(line for line in self.config.read_text().splitlines() if "serial =" in line)[9:])
        self.smtp, self.web, console, cpq = (free_port(HOST) for _ in range(4))
        ports = {"smtp": self.smtp, "web": self.web, "console": console, "cpq": cpq, "sink": sink}
        self.config.write_text(TEXT.format(serial=serial, host=HOST, **ports) + more)
        names = {"gateway": "gateway-0", "delivery-queue": "delivery-queue", "console": "console", "web": "web"}
        self.daemons = [DaemonProcess(folder, name, at) for name, at in names.items()]

    async def start(self) -> None:
        for one in self.daemons:
            await one.start()
        for one in self.daemons:
            await one.until_ready()

    async def cli(self, *words: str, stdin: bytes = b"") -> str:
        """Run a command on the machine; gives what it printed."""
        command = [sys.executable, "-m", "daemons.gatepost", "cli", "--config", str(self.config), *words]
        done = await asyncio.to_thread(
            subprocess.run, command, cwd=ROOT, input=stdin, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.decode()

    async def alerts(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(await self.cli("displayalerts", "50", "--json"))["alerts"]
        return found

    def log(self) -> str:
        return "".join(file.read_text() for file in sorted((self.dir / "log" / "mail_logs").glob("mail.*")))


@contextlib.asynccontextmanager
async def machine(inbox: Inbox, more: str = "", before: Callable[[Path], None] = lambda _: None) -> AsyncIterator[Esa]:
    with short_folder() as folder:
        async with receiving(inbox, within_s=150) as sink:
            esa = Esa(folder / "esa", sink, more)
            before(esa.dir)
            try:
                await esa.start()
                yield esa
            finally:
                for one in esa.daemons:
                    await one.kill()


def client(versions: tuple[ssl.TLSVersion, ssl.TLSVersion]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version, context.maximum_version = versions
    return context


OLD = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2)
NEW = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_3)


def over_smtp(port: int, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]) -> bytes:
    """Give the certificate that a listener shows after STARTTLS."""
    with smtplib.SMTP(HOST, port, local_hostname="client.test", timeout=60) as session:
        session.starttls(context=client(versions))
        return ssl.DER_cert_to_PEM_cert(session.sock.getpeercert(binary_form=True)).encode()  # type: ignore[union-attr]


def over_https(port: int, versions: tuple[ssl.TLSVersion, ssl.TLSVersion]) -> bytes:
    with (
        socket.create_connection((HOST, port), timeout=60) as plain,
        client(versions).wrap_socket(plain, server_hostname="mx.example.test") as session,
    ):
        return ssl.DER_cert_to_PEM_cert(session.getpeercert(binary_form=True) or b"").encode()


async def test_versions_and_certificates_come_with_commit_and_no_connection_ends() -> None:
    async with machine(Inbox()) as esa:
        for shown in (over_smtp, over_https):
            port = esa.smtp if shown is over_smtp else esa.web
            assert describe(await asyncio.to_thread(shown, port, OLD)).names == ("esa.example.test",)
        kept = await asyncio.to_thread(smtplib.SMTP, HOST, esa.smtp, "client.test", 60)
        await esa.cli("sslconfig", "inbound", "--versions", "1.3")
        await esa.cli("sslconfig", "gui", "--versions", "1.3")
        await esa.cli("certconfig", "generate", "mail", "--names", "mx.example.test", "--days", "90")
        await esa.cli("certconfig", "setup", "--receiving", "mail", "--https", "mail")
        assert describe(await asyncio.to_thread(over_smtp, esa.smtp, OLD)).names == ("esa.example.test",)
        assert "restart" not in (await esa.cli("commit", "modern")).lower()
        for shown in (over_smtp, over_https):
            port = esa.smtp if shown is over_smtp else esa.web
            with pytest.raises((ssl.SSLError, ConnectionError, smtplib.SMTPException)):
                await asyncio.to_thread(shown, port, OLD)
            assert describe(await asyncio.to_thread(shown, port, NEW)).names == ("mx.example.test",)
        assert (await asyncio.to_thread(kept.noop))[0] == 250
        kept.close()
        listed = json.loads(await esa.cli("certconfig", "list", "--json"))["certificates"]
        assert {row["name"]: row["used_for"] for row in listed}["mail"] == ["receiving", "https"]


def harvest(port: int) -> None:
    with smtplib.SMTP(HOST, port, local_hostname="client.test", timeout=60) as session:
        session.ehlo()
        session.docmd("MAIL FROM:<a@sender.test>")
        for number in range(4):
            session.docmd(f"RCPT TO:<nobody{number}@elsewhere.test>")


ALL_ALERTS = '[[alert_recipient]]\naddress = "ops@example.test"\n'


async def test_what_happens_is_mailed_to_who_is_to_know_and_remembered() -> None:
    def fill(folder: Path) -> None:
        (folder / "configuration" / "old.toml").write_bytes(b"x" * 20_000)

    inbox = Inbox()
    async with machine(inbox, ALL_ALERTS, fill) as esa:
        subjects: Callable[[], dict[str, Any]] = lambda: {  # noqa: E731
            str(one["Subject"]).split(":")[0]: one for one in inbox.messages
        }
        quota = await until(lambda: subjects().get("Critical DISK.QUOTA"))
        text = quota.get_content()
        assert "old.toml (20.0 KiB)" in text
        assert "What to do: delete files that were saved or exported." in text
        await asyncio.to_thread(harvest, esa.smtp)
        attack = await until(lambda: subjects().get("Warning DHAP.HARVEST"))
        assert "Potential Directory Harvest Attack from host=127.0.0.1, dhap_limit=2" in attack.get_content()
        await esa.cli("alertconfig", "new", "queue@example.test", "--classes", "Queue")
        assert "restart" not in (await esa.cli("commit")).lower()
        await esa.cli("suspenddel", "--seconds", "0")
        await until(lambda: "queue@example.test" in [to for _, (to,) in inbox.envelopes])
        assert "queue@example.test" not in [m["To"] for m in inbox.messages if "QUEUE" not in m["Subject"]]

        async def remembered() -> dict[str, dict[str, Any]]:
            found = {str(row["alert"]): row for row in await esa.alerts()}
            return found if found.keys() >= {"DISK.QUOTA", "DHAP.HARVEST", "QUEUE.DELIVERY_SUSPENDED"} else {}

        kinds = await until(remembered)
        assert (kinds["DHAP.HARVEST"]["class"], kinds["DHAP.HARVEST"]["daemon"]) == ("DirectoryHarvest", "gateway-0")
        await until(lambda: "A DirectoryHarvest/Warning alert was sent to ops@example.test" in esa.log(), esa.log)


async def test_mail_that_must_not_go_without_tls_is_an_alert_and_names_follow_commit() -> None:
    """The host of the domain has no TLS; the domain is known to the second name server only."""
    alerts, host = Inbox(), Inbox()
    more = ALL_ALERTS + '[[destination]]\ndomain = "there.test"\ntls = "required"\n'
    async with receiving(host, within_s=150) as port, DnsServer("there.test. 60 IN A 127.0.0.1") as dns:
        more += f"[delivery]\nport = {port}\n"
        private = (
            '[[listener]]\nname = "Out"\nkind = "private"\naddress = "127.0.0.1"\nport = {}\ndefault_rule = "RELAY"\n'
        )
        out = free_port()
        async with machine(alerts, more + private.format(out)) as esa:
            await esa.cli("dnsconfig", "new", dns.address, "--domain", "there.test")
            await esa.cli("settz", "Asia/Kathmandu")
            assert "restart" not in (await esa.cli("commit")).lower()

            def submit() -> None:
                with smtplib.SMTP("127.0.0.1", out, local_hostname="client.test", timeout=60) as session:
                    session.sendmail("a@sender.test", ["b@there.test"], "Subject: x\r\n\r\nx")

            await asyncio.to_thread(submit)
            waits = await until(lambda: next((m for m in alerts.messages if "TLS.REQUIRED" in m["Subject"]), None))
            assert "mail to there.test waits: TLS is required there and not to be had" in waits.get_content()
            assert not host.messages
            assert ("there.test", "A", "udp") in dns.asked
            flushed = json.loads(await esa.cli("dnsflush", "--yes", "--json"))["daemons"]
            assert next(row for row in flushed if row["daemon"] == "delivery-queue")["flushed"] > 0
            assert "zone +0545." in await esa.cli("ntpconfig")
