"""A gateway without sockets: sessions driven by the real server machine, storing into a real journal."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.content import ContentSettings
from core.ids import IdBlocks
from core.journal.journal import Journal, JournalSettings
from core.maillog import MailLog
from core.metrics import Counters
from mail.access import build_access, listener_settings
from mail.config import ListenerSection
from mail.filter.compiler import Around, compile_filters
from mail.gateway import Gateway
from mail.intake import Intake, IntakeSettings
from mail.pipeline import Pipeline
from mail.receive import GatewaySession
from protocol.reply import Reply
from protocol.smtp.conversation import Peer, TlsInfo
from protocol.smtp.server import ServerMachine, make_dialect

HOSTNAME = "esa.example.test"


class GatewayUnderTest:
    """One gateway process, its journal and its log under `directory`."""

    def __init__(self, directory: Path, filters: str = "", **intake: Any) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        settings = JournalSettings(
            segment_bytes=1 << 20, backlog_bytes=1 << 26, reserve_bytes=0, content=ContentSettings(64 * 1024, 1 << 20)
        )
        self.journal = Journal.open(directory / "journal", settings)
        self.log = MailLog(directory / "mail.current", level=4)
        self.counters = Counters(directory / "counters")
        self.pokes = 0
        program = compile_filters(filters, around=Around(HOSTNAME))
        self.pipeline = Pipeline(lambda: program)
        self.intake = Intake(
            IntakeSettings(HOSTNAME, **intake),
            self.journal,
            self.pipeline,
            log=self.log,
            counters=self.counters,
            poke=self._poke,
        )
        ids = directory / "ids"
        ids.mkdir()
        self.gateway = Gateway(
            HOSTNAME, self.intake, self.log, IdBlocks(ids / "mid"), IdBlocks(ids / "icid"), now=lambda: 0.0
        )

    def _poke(self) -> None:
        self.pokes += 1

    def connect(self, host: str = "192.0.2.9", **section: Any) -> "Client":
        """Open a connection to a listener of that configuration."""
        return Client(self, ListenerSection(**{"name": "InboundMail", "rat": ("example.test",), **section}), host)

    def lines(self) -> list[str]:
        """Give the mail log without its time stamps."""
        self.log.flush()
        file = self.directory / "mail.current"
        return [line.split(" ", 5)[5] for line in file.read_text().splitlines()] if file.exists() else []

    def close(self) -> None:
        """End the journal's threads."""
        self.journal.close()
        self.log.close()


class Client:
    """The other end of one connection."""

    def __init__(self, under_test: GatewayUnderTest, section: ListenerSection, host: str) -> None:
        logins = under_test.gateway.logins
        mechanisms = logins.users.mechanisms if logins is not None else ()
        settings = listener_settings(section, HOSTNAME, tls=True, mechanisms=mechanisms)
        self._woken = asyncio.Event()
        self.session = GatewaySession(under_test.gateway, build_access(section))
        self.machine = ServerMachine(make_dialect(settings.server), self.session, _incident, self._woken.set)
        self.machine.connect(Peer(host, 40000, section.address, section.port))
        self.greeting = self.machine.take().decode()

    def say(self, *lines: str) -> list[str]:
        """Send lines; give the reply lines that are there at once."""
        self.machine.receive("".join(f"{line}\r\n" for line in lines).encode())
        return self.machine.take().decode().splitlines()

    async def deliver(self, content: bytes, *, octets: bool = True) -> str:
        """Send content by BDAT (or behind DATA, dots and all) and wait for its reply."""
        self._woken.clear()
        if octets:
            self.machine.receive(b"BDAT %d LAST\r\n" % len(content) + content)
        else:
            assert self.say("DATA")[0].startswith("354")
            self.machine.receive(content + b"\r\n.\r\n")
        return await self._reply()

    async def answered(self, line: str) -> str:
        """Send a line whose answer comes later, and wait for it."""
        self._woken.clear()
        self.machine.receive(f"{line}\r\n".encode())
        return await self._reply()

    def secure(self, name: str = "client.example") -> list[str]:
        """Go through STARTTLS and greet again; give the extensions."""
        assert self.say(f"EHLO {name}", "STARTTLS")[-1].startswith("220 ")
        self.machine.secured(TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
        return [line[4:] for line in self.say(f"EHLO {name}")[1:]]

    async def deliver_rest(self, content: bytes) -> str:
        """Send the rest of content that has begun and wait for its reply."""
        self._woken.clear()
        self.machine.receive(content)
        return await self._reply()

    async def _reply(self) -> str:
        out = self.machine.take()
        if not out:
            async with asyncio.timeout(30):
                await self._woken.wait()
            out = self.machine.take()
        return out.decode().strip()


def _incident(error: Exception) -> Reply:
    raise error


@contextmanager
def gateway(directory: Path, filters: str = "", **intake: Any) -> Iterator[GatewayUnderTest]:
    """Run a gateway for the length of a block."""
    under_test = GatewayUnderTest(directory, filters, **intake)
    try:
        yield under_test
    finally:
        under_test.close()
