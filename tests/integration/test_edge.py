"""The edge of a real gateway daemon: TLS, certificates, PROXY, XCLIENT, names, refusals, conservation, alerts."""

import asyncio
import contextlib
import hashlib
import os
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.control import call
from core.errors import GatepostError
from core.pki import make_server_certificate
from tests.support.dns_server import DnsServer
from tests.support.lab import short_folder
from tests.support.ports import free_port
from tests.support.road import DaemonProcess, make_gateway
from tests.support.smtp_client import SmtpClient
from tests.support.waiting import until
from tests.unit.core.test_alert import Inbox, receiving

pytestmark = pytest.mark.slow
ZONE = ("1.0.0.127.in-addr.arpa. 300 IN PTR home.client.test.", "home.client.test. 300 IN A 127.0.0.1")


class Edge:
    """A running gateway and the way to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.daemon = DaemonProcess(folder, "gateway", "gateway-0")

    def listener(self, name: str, *lines: str) -> str:
        self.ports[name] = free_port()
        keys = [f'name = "{name}"', 'address = "127.0.0.1"', f"port = {self.ports[name]}", 'rat = ["example.test"]']
        return "\n".join(["[[listener]]", *keys, *lines, ""])

    async def ask(self, verb: str) -> Any:
        return await call(self.folder / "run" / "gateway-0.sock", verb)

    @contextlib.asynccontextmanager
    async def dial(self, name: str, **options: Any) -> AsyncIterator["SmtpClient"]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[name], **options)
        try:
            yield SmtpClient(reader, writer)
        finally:
            writer.transport.abort()

    async def certificate(self, name: str, sni: str = "other.test") -> str:
        """Shake hands as a client does and give the fingerprint of what was shown."""
        async with self.dial(name, ssl=anybody(), server_hostname=sni) as client:
            assert (await client.hear()).startswith("220")
            shown = client.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return hashlib.sha256(shown).hexdigest()

    async def log(self, text: str) -> str:
        """Wait for a text in the mail log and give the log."""
        file = self.folder / "log" / "mail_logs" / "mail.current"
        await until(lambda: text in file.read_text(), text, despite=(FileNotFoundError,))
        return file.read_text()


def anybody() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def put_pair(folder: Path, stem: str, hostname: str) -> str:
    key, certificate = make_server_certificate(hostname)
    (folder / "keys" / f"{stem}.key").write_bytes(key)
    (folder / "keys" / f"{stem}.crt").write_bytes(certificate)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.decode())).hexdigest()


@contextlib.asynccontextmanager
async def edge(dns: DnsServer, *parts: str, make: Any = None) -> AsyncIterator[Edge]:
    with short_folder() as folder:
        make_gateway(folder, 9)
        one = Edge(folder)
        config = folder / "gatepost.toml"
        text = config.read_text().replace('"127.0.0.1:9"]\n', f'"{dns.address}"]\n', 1)
        config.write_text(text + "\n" + "\n".join(parts) + "\n" + (make(one) if make else ""))
        await one.daemon.start()
        try:
            await one.daemon.until_ready()
            yield one
        finally:
            with contextlib.suppress(ProcessLookupError, AssertionError):
                await one.daemon.kill()


async def test_certificates_by_name_are_replaced_while_connections_last_and_a_bad_pair_is_refused() -> None:
    first: dict[str, str] = {}

    def make(one: Edge) -> str:
        first["tls"] = put_pair(one.folder, "tls", "esa.example.test")
        first["www"] = put_pair(one.folder, "www", "www.example.test")
        pair = '[[certificate]]\ncertificate = "keys/www.crt"\nkey = "keys/www.key"\n'
        return pair + one.listener("Implicit", 'tls = "implicit"')

    async with DnsServer(*ZONE) as dns, edge(dns, make=make) as one:
        assert await one.certificate("Implicit") == first["tls"]
        assert await one.certificate("Implicit", "WWW.example.test") == first["www"]
        async with one.dial("Implicit", ssl=anybody()) as lasting:
            await lasting.hear()
            second = put_pair(one.folder, "tls", "esa.example.test")
            os.kill(one.daemon.pid, signal.SIGHUP)
            await one.log("Certificates reloaded")
            assert await one.certificate("Implicit") == second

            (one.folder / "keys" / "tls.key").write_bytes(make_server_certificate("esa.example.test")[0])
            with pytest.raises(GatepostError, match=r"not usable with tls\.key"):
                await one.ask("reload_certificates")
            assert await one.certificate("Implicit") == second, "a bad pair took the place of a good one"
            (one.folder / "keys" / "tls.crt").unlink()
            os.kill(one.daemon.pid, signal.SIGHUP)
            await one.log("No such file")
            assert await one.certificate("Implicit") == second
            third = put_pair(one.folder, "tls", "esa.example.test")
            assert (await one.ask("reload_certificates"))["warnings"] == []
            assert await one.certificate("Implicit") == third
            assert (await lasting.say("NOOP")).startswith("250"), "a connection in progress was dropped"
        log = await one.log("Certificates not reloaded, those in use stay")
        assert "TLS success protocol TLSv1.3" in log


async def test_proxy_xclient_names_and_refusals() -> None:
    group = '[[listener.sender_group]]\nname = "{}"\nrule = "{}"\nentries = ["{}"]\n'

    def make(one: Edge) -> str:
        named = one.listener("Named", 'xclient_from = ["127.0.0.1"]') + group.format("FRIENDS", "RELAY", ".client.test")
        proxied = one.listener("Proxied", 'proxy_from = ["127.0.0.0/8"]')
        proxied += group.format("GONE", "TCPREFUSE", "192.0.2.66")
        return named + proxied + one.listener("Shut", 'default_rule = "TCPREFUSE"')

    async with DnsServer(*ZONE) as dns, edge(dns, make=make) as one:
        async with one.dial("Named") as client:
            assert (await client.hear()).startswith("220")
            await client.say("EHLO client")
            await client.say("MAIL FROM:<a@b.test>")
            assert (await client.say("RCPT TO:<x@elsewhere.test>")).startswith("250"), "the verified name may relay"
            await client.say("RSET")
            said = await client.say("XCLIENT ADDR=192.0.2.7 NAME=mx.stranger.test HELO=stranger PROTO=ESMTP")
            assert said.startswith("220 esa.example.test")
            await client.say("EHLO proxy")
            await client.say("MAIL FROM:<a@b.test>")
            assert (await client.say("RCPT TO:<x@elsewhere.test>")).startswith("550"), "the table was not asked anew"
        log = await one.log("address 192.0.2.7 reverse dns host mx.stranger.test verified yes")
        assert "address 127.0.0.1 reverse dns host home.client.test verified yes" in log
        counters = (await one.ask("status"))["counters"]
        assert counters["dns_requests"]["uptime"] >= 2, "the lookups of this daemon are counted"
        assert "RELAY SG FRIENDS match .client.test" in log

        async with one.dial("Proxied") as client:
            client.writer.write(b"PROXY TCP4 192.0.2.9 198.51.100.1 40000 25\r\n")
            assert (await client.hear()).startswith("220")
        async with one.dial("Proxied") as client:
            client.writer.write(b"PROXY TCP4 192.0.2.66 198.51.100.1 40000 25\r\n")
            with pytest.raises(ConnectionResetError):
                await client.reader.read()
        async with one.dial("Proxied") as client:
            client.writer.write(b"EHLO nobody\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert await client.reader.read() == b""
        with pytest.raises(ConnectionResetError):
            async with one.dial("Shut") as client:
                await client.reader.read()
        log = await one.log("ICID 0 TCPREFUSE SG None match ALL SBRS None")
        assert "(198.51.100.1) address 192.0.2.9" in log
        assert "ICID 0 TCPREFUSE SG GONE match 192.0.2.66" in log
        assert "SMTP Proxied: 127.0.0.1 not a PROXY header" in log


async def test_memory_that_runs_out_refuses_mail_and_alerts_people() -> None:
    inbox = Inbox()
    async with receiving(inbox) as port, DnsServer(*ZONE) as dns:
        alerts = f'[alerts]\nrecipients = ["ops@example.test"]\nhost = "127.0.0.1"\nport = {port}\n'
        pressed = '[conservation]\nmemory_limit = "20M"\ndisk_start = 0\ndisk_halt = 0\n'
        async with edge(dns, alerts + pressed, make=lambda one: one.listener("Pressed")) as one:
            async with one.dial("Pressed") as client:
                assert (await client.hear()).startswith("421 4.3.1")
            gauges = (await one.ask("status"))["gauges"]
            assert gauges["resource_conservation"] == 999
            assert gauges["ram_utilization"] > 60
            await one.log("Warning: Resource conservation: off -> refusing mail: memory")
            await inbox.until(1)
    subject = "Critical MAIL.RES_CON_START_ALERT.MEMORY: esa.example.test"
    assert inbox.messages[0]["Subject"] == subject
    text = inbox.messages[0].get_content()
    assert text.startswith("system (hostname: esa.example.test) has entered a 'resource conservation' mode")


async def test_a_little_pressure_delays_the_answer_to_content() -> None:
    async with DnsServer(*ZONE) as dns:
        pressed = (
            '[conservation]\nmemory_limit = "1G"\nmemory_start = 1\nmemory_halt = 100\ndisk_start = 0\ndisk_halt = 0\n'
        )
        async with edge(dns, pressed, make=lambda one: one.listener("Slow")) as one:
            delay = (await one.ask("status"))["gauges"]["resource_conservation"]
            assert 1 <= delay <= 10
            loop = asyncio.get_running_loop()
            commands = ("EHLO c", "MAIL FROM:<a@b.test>", "RCPT TO:<x@example.test>", "DATA")
            quickest = [float("inf")] * len(commands)
            for _ in range(5):  # where the machine itself is late, once more
                began, took = loop.time(), list[float]()
                async with one.dial("Slow") as client:
                    assert (await client.hear()).startswith("220")
                    said = loop.time()
                    assert said - began >= min(delay * 0.5, 1)
                    for line in commands:
                        await client.say(line)
                        took.append(loop.time() - said)
                        said += took[-1]
                    assert (await client.say("Subject: x\r\n\r\ny\r\n.")).startswith("250")
                assert loop.time() - said >= delay * 0.9
                quickest = [min(pair) for pair in zip(quickest, took, strict=True)]
                if sum(quickest) < delay:
                    break
            assert sum(quickest) < delay, "commands were delayed as well"


async def test_a_hangup_brings_new_tables_for_new_connections_and_ends_none() -> None:
    async with DnsServer(*ZONE) as dns, edge(dns, make=lambda one: one.listener("Tables")) as one:
        async with one.dial("Tables") as old:
            await old.hear()
            for line in ("EHLO c", "MAIL FROM:<a@b.test>"):
                await old.say(line)
            config = one.folder / "gatepost.toml"
            config.write_text(config.read_text().replace('rat = ["example.test"]', 'rat = ["other.test"]'))
            os.kill(one.daemon.pid, signal.SIGHUP)
            await one.log("Listeners reloaded: 2")
            assert (await old.say("RCPT TO:<x@example.test>")).startswith("250"), "a connection keeps its tables"
        async with one.dial("Tables") as new:
            await new.hear()
            for line in ("EHLO c", "MAIL FROM:<a@b.test>"):
                await new.say(line)
            assert (await new.say("RCPT TO:<x@example.test>")).startswith("550")
            assert (await new.say("RCPT TO:<x@other.test>")).startswith("250")


async def test_many_errors_are_answered_later_and_later() -> None:
    keys = ("error_delay_s = 0.3", "error_delay_after = 2", "max_error_delay_s = 0.6")
    async with DnsServer(*ZONE) as dns, edge(dns, make=lambda one: one.listener("Patient", *keys)) as one:
        loop = asyncio.get_running_loop()
        quickest = [float("inf")] * 2
        for _ in range(10):  # where the machine itself is late, once more
            took: list[float] = []
            async with one.dial("Patient") as client:
                await client.hear()
                for _ in range(5):
                    began = loop.time()
                    assert (await client.say("FROB")).startswith("500")
                    took.append(loop.time() - began)
            assert took[2] >= 0.29
            assert min(took[3:]) >= 0.59
            quickest = [min(pair) for pair in zip(quickest, took[:2], strict=True)]
            if max(quickest) < 0.29:
                break
        assert max(quickest) < 0.29, "the first two are not delayed"
        await one.log("SMTP Patient: 127.0.0.1 has made many errors, its replies are delayed")


async def test_the_quarantine_channel_shows_a_new_certificate_from_the_next_handshake_on() -> None:
    with short_folder() as folder:
        make_gateway(folder, 9)
        port = free_port()
        with (folder / "gatepost.toml").open("a") as config:
            config.write(f'\n[cpq]\naddress = "127.0.0.1"\nport = {port}\n')

        async def shown() -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            client = SmtpClient(reader, writer)
            await client.hear()
            await client.say("EHLO sma.example.test")
            assert (await client.say("STARTTLS")).startswith("220")
            await writer.start_tls(anybody())
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.transport.abort()
            return hashlib.sha256(certificate).hexdigest()

        daemon = DaemonProcess(folder, "cpq-listener", "cpq-listener")
        await daemon.start()
        try:
            await daemon.until_ready()
            before = await shown()
            new = put_pair(folder, "cpq", "anything")
            assert await shown() == before
            assert (await call(folder / "run" / "cpq-listener.sock", "reload_certificates"))["reloaded"]
            assert await shown() == new
            (folder / "keys" / "cpq.key").write_text("nothing")
            with pytest.raises(GatepostError, match="cannot be used"):
                await call(folder / "run" / "cpq-listener.sock", "reload_certificates")
            assert await shown() == new != before
        finally:
            await daemon.kill()
