"""Every type of log on a machine of real daemons: two gateways, queue, console; `logconfig` and `commit` live."""

import asyncio
import json
import re
import smtplib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import asyncssh
import pytest
import pytest_asyncio
from aiosmtpd.smtp import SMTP, Envelope, Session

from core.ssh import make_key, public_text
from daemons.initial import make
from ops.lab.document import appliance_table
from tests.support.lab import short_folder
from tests.support.ports import free_port
from tests.support.road import DaemonProcess
from tests.support.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]
NET = "127.74.1"
TEXT = """
[dns]
servers = ["127.0.0.1:9"]
[console]
address = "{net}.1"
port = {console}
status_log_s = 0.2
[[user]]
name = "olga"
role = "operator"
keys = ["{key}"]
[[route]]
domain = "ALL"
hosts = ["127.0.0.1:{outside}"]
[[listener]]
name = "InboundMail"
address = "{net}.1"
port = {port}
rat = ["ALL"]
[listener.policy]
max_messages_per_session = 0
max_connections_per_address = 0
tls = "off"
"""


class Outside:
    """Takes everything but what is for `nobody`."""

    async def handle_RCPT(self, _: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        if address.startswith("nobody"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 Ok"

    async def handle_DATA(self, _: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 2.0.0 Ok: noted by outside"


class Machine:
    """A gateway machine."""

    def __init__(self, folder: Path, outside: int) -> None:
        make("esa", folder, hostname="esa.example.test")
        self.dir, self.port = folder, free_port(f"{NET}.1")
        self.config = folder / "gatepost.toml"
        self.console, self.key = free_port(f"{NET}.1"), make_key()
        places = {"net": NET, "console": self.console, "outside": outside, "port": self.port}
        text = TEXT.format(**places, key=public_text(self.key))
        self.config.write_text(appliance_table(self.config.read_text()) + text)
        names = [("gateway", 0), ("gateway", 1), ("delivery-queue", 0), ("console", 0)]
        self.daemons = [
            DaemonProcess(folder, name, f"gateway-{n}" if name == "gateway" else name, instance=n) for name, n in names
        ]

    async def start(self) -> None:
        for daemon in self.daemons:
            await daemon.start()
        for daemon in self.daemons:
            await daemon.until_ready()

    async def stop(self) -> None:
        for daemon in self.daemons:
            await daemon.kill()

    async def cli(self, *words: str) -> str:
        argv = [sys.executable, "-m", "daemons.gatepost", "cli", "--config", str(self.config), *words]
        process = await asyncio.create_subprocess_exec(*argv, stdout=-1, stderr=-1)
        async with asyncio.timeout(60):
            out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        return out.decode()

    def text(self, log: str) -> str:
        """Give all that a log holds, saved files first."""
        folder = self.dir / "log" / log
        return "".join(file.read_text() for file in [*sorted(folder.glob("*.s")), *folder.glob("*.current")])

    async def send(self, *recipients: str, times: int = 1) -> None:
        def submit() -> None:
            with smtplib.SMTP(f"{NET}.1", self.port, local_hostname="client.test", timeout=30) as client:
                for _ in range(times):
                    client.sendmail("ann@sender.test", recipients, "Subject: plans\r\nX-Kind: test\r\n\r\nx\r\n")

        await asyncio.to_thread(submit)

    async def until(self, log: str, wanted: str, count: int = 1) -> str:
        """Wait until a log has lines that fit; give the last of them."""

        def found() -> list[str]:
            lines = re.findall(wanted, self.text(log), re.MULTILINE)
            return lines if len(lines) >= count else []

        return str((await until(found, lambda: f"{count} of {wanted} in {self.text(log)[-3000:]}"))[-1])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine() -> AsyncIterator[Machine]:
    outside = Outside()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(outside, hostname="out.test", loop=loop), "127.0.0.1", 0)
    with short_folder() as folder:
        made = Machine(folder / "esa", server.sockets[0].getsockname()[1])
        try:
            await made.start()
            yield made
        finally:
            await made.stop()
            server.close()


async def test_every_type_of_log_is_written_after_a_commit_without_a_restart(machine: Machine) -> None:
    await machine.cli("logconfig", "new", "watch", "injection_debug", "--clients", "127.0.0.0/8", "--sessions", "5")
    await machine.cli("logconfig", "new", "domain", "domain_debug", "--domain", "example.test")
    await machine.cli("logconfig", "new", "deliveries", "delivery")
    await machine.cli("logconfig", "logheaders", "--headers", "X-Kind,X-None")
    await machine.cli("commit", "logs")
    for name in ("gateway-0", "gateway-1", "delivery-queue", "console"):
        await machine.until("system_logs", f"Info: {name}: the configuration has been read and is in force")
    await machine.send("bob@example.test", "nobody@example.test")

    mid = await machine.until("mail_logs", r"Info: MID (\d+) was generated for bounce of MID \d+")
    first = await machine.until("mail_logs", r"for bounce of MID (\d+)")
    done = await machine.until("mail_logs", rf"Message done DCID \d+ MID {first} to RID (.*)")
    assert done == "[0] [('X-Kind', 'test')]"
    await machine.until("mail_logs", rf"MID {first} RID \[0\] Response 'noted by outside'")
    await machine.until("bounce_logs", rf"Info: Bounced: {first}:1 From:<ann@sender.test> To:<nobody@example.test>")
    line = await machine.until("deliveries", r"Info: (<success .*</success>)$")
    element = ElementTree.fromstring(line)
    assert (element.get("mid"), element.get("reply")) in {(first, "noted by outside"), (mid, "noted by outside")}
    await machine.until("deliveries", r"Info: (<bounce .*</bounce>)$")

    icid = await machine.until("mail_logs", rf"Start MID {first} ICID (\d+)")
    ip = rf"(?:127\.0\.0\.1|{re.escape(NET)}\.1)"
    await machine.until("watch", rf"Info: {icid} Rcvd from '{ip}': 'mail FROM:<ann@sender.test>")
    await machine.until("watch", rf"Info: {icid} Sent to '{ip}': '250 .*\\015\\012'$")
    await machine.until("watch", r"Subject: plans\\015\\012X-Kind: test\\015\\012")
    await machine.until("domain", r"Info: \d+ Sent: 'MAIL FROM:<ann@sender.test>")
    await machine.until("domain", r"Info: \d+ Rcvd: '550 5.1.1 no such user\\015\\012'$")
    await machine.until("status_logs", r"Info: Status: CPULd ")
    await machine.until("cli_logs", r"CLI local .*ran: commit ")
    await machine.until("system_logs", r"Info: gateway-1: started, version ")
    await machine.until("system_logs", r"Info: local committed version \d+: ")
    for log in ("mail_logs", "watch", "deliveries"):
        assert re.match(
            r".* Info: Begin Logfile\n.* Info: Version: \S+ SN: \S+\n.* Info: Time offset", machine.text(log)
        )


async def test_findevent_shows_the_message_and_the_bounce_that_came_of_it(machine: Machine) -> None:

    async def shown() -> Any:
        event = json.loads(await machine.cli("findevent", "to", "nobody@", "--json"))["events"][0]
        return event if f"Message finished MID {event['mid']}" in "\n".join(event["lines"]) else None

    event = await until(shown, "the log has it to its end")
    lines = "\n".join(event["lines"])
    for text in ("New SMTP ICID", "Bounced: DCID", "was generated for bounce of"):
        assert text in lines
    assert len(event["related"]) == 1


async def test_no_line_is_lost_or_doubled_while_all_daemons_write_and_the_logs_are_rolled_over(
    machine: Machine,
) -> None:
    ended = asyncio.Event()
    sent = 0

    async def roll() -> None:
        for _ in range(3):
            await machine.cli("rollovernow", "mail_logs")
        ended.set()

    async def load(n: int) -> None:
        nonlocal sent
        while not ended.is_set():
            await machine.send(f"u{n}@example.test", times=10)
            sent += 10
            await asyncio.sleep(0.1)  # enough to be between any two roll-overs; other tests want the processors, too

    before = set(re.findall(r"Start MID (\d+) ", machine.text("mail_logs")))
    await asyncio.gather(roll(), *(load(n) for n in range(3)))
    start = r"Start MID (\d+) "
    stages = (r"MID (\d+) ICID \d+ From:", r"MID (\d+) queued for delivery", r"Message finished MID (\d+) done")

    def mids(wanted: str) -> list[str]:
        return [mid for mid in re.findall(wanted, machine.text("mail_logs")) if mid not in before]

    # Each daemon writes 200 ms behind.
    await until(lambda: len(mids(start)) >= sent and all(set(mids(start)) <= set(mids(one)) for one in stages))
    started = mids(start)
    assert len(started) == len(set(started)) == sent
    for wanted in stages:
        assert sorted(mids(wanted)) == sorted(started), wanted
    saved = sorted((machine.dir / "log/mail_logs").glob("*.s"))
    assert len(saved) >= 2
    for file in saved:
        assert file.read_text().endswith("Info: End Logfile\n")
        assert file.read_text().count("Begin Logfile") == 1


async def test_tail_on_a_terminal_shows_what_comes_through_a_roll_over_until_ctrl_c(machine: Machine) -> None:
    connection = asyncssh.connect(
        f"{NET}.1", machine.console, username="olga", client_keys=[machine.key], known_hosts=None, config=None
    )
    async with asyncio.timeout(120), connection as ssh:
        shell = await ssh.create_process(term_type="xterm", term_size=(200, 24), encoding=None)
        await _until(shell, "test>")
        shell.stdin.write(b"tail mail_logs\r")
        await _until(shell, "Press Ctrl-C to stop.")
        await machine.cli("rollovernow", "mail_logs")
        await machine.send("late@example.test")
        await _until(shell, "To: <late@example.test>")
        shell.stdin.write(b"\x03")
        await _until(shell, "test>")
        shell.stdin.write(b"logconfig new x mail\r")
        await _until(shell, "not allowed for the role operator")


async def _until(shell: asyncssh.SSHClientProcess[bytes], wanted: str) -> None:
    shown = ""
    while wanted not in shown:
        part = await shell.stdout.read(4096)
        assert part, shown
        shown += part.decode("utf-8", "replace")
