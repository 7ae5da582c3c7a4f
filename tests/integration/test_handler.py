"""An unmodified aiosmtpd handler, named in the configuration, decides first on a real gateway."""

import os
import signal
import smtplib
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.lab import GATEPOST, gatepost, is_ready
from tests.support.ports import free_port
from tests.support.waiting import eventually

HANDLER = '''
class Choosy:
    """Written for aiosmtpd; knows nothing of Gatepost."""

    def __init__(self):
        self.seen = []

    async def handle_MAIL(self, server, session, envelope, address, options):
        if address.startswith("spam@"):
            return "550 5.7.1 not you"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        if b"forbidden" in envelope.content:
            return "554 5.6.0 no such words here"
        return "250 never seen: the journal's reply counts"
'''


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    directory = tmp_path / "m"
    assert gatepost("init", "--role", "esa", "--dir", str(directory), "--hostname", "mx.example.org").status == 0
    (directory / "handlers").mkdir()
    (directory / "handlers" / "choosy.py").write_text(HANDLER)
    return directory


def configure(machine: Path, handler: str) -> int:
    port = free_port()
    config = machine / "gatepost.toml"
    text = f'\n[[listener]]\nname = "In"\nport = {port}\nrat = ["example.test"]\nhandler = "{handler}"\n'
    config.write_text(config.read_text() + text)
    return port


@pytest.fixture
def port(machine: Path) -> Iterator[int]:
    port = configure(machine, "choosy:Choosy")
    argv = [*GATEPOST, "run", "gateway", "--config", str(machine / "gatepost.toml")]
    with subprocess.Popen(argv, stderr=subprocess.DEVNULL) as process:
        eventually(lambda: is_ready(machine / "run" / "gateway-0.sock"), "the gateway is ready")
        yield port
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(60) == 0


def test_the_handler_decides_first_and_the_journal_has_the_last_word(machine: Path, port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port) as client:
        with pytest.raises(smtplib.SMTPSenderRefused, match="not you"):
            client.sendmail("spam@x.test", ["a@example.test"], "Subject: x\r\n\r\nhello\r\n")
        with pytest.raises(smtplib.SMTPDataError, match="no such words"):
            client.sendmail("a@x.test", ["a@example.test"], "Subject: x\r\n\r\nforbidden\r\n")
        with pytest.raises(smtplib.SMTPRecipientsRefused, match="Address rejected"):
            client.sendmail("a@x.test", ["a@elsewhere.test"], "Subject: x\r\n\r\nhello\r\n")
        client.ehlo("client.test")
        client.mail("a@x.test")
        client.rcpt("a@example.test")
        code, text = client.data("Subject: x\r\n\r\nhello\r\n")
    assert code == 250
    assert b"Message" in text
    assert b"accepted" in text
    log = machine / "log" / "mail_logs" / "mail.current"
    eventually(lambda: log.exists() and " ready " in log.read_text(), "the mail log")
    assert log.read_text().count(" ready ") == 1


def test_a_handler_that_cannot_be_loaded_names_the_key_and_starts_nothing(machine: Path) -> None:
    configure(machine, "choosy:Missing")
    config = machine / "gatepost.toml"
    for words in (["check"], ["run", "gateway"]):
        ran = gatepost(*words, "--config", str(config))
        assert ran.status == 78
        assert "listener.In.handler" in ran.err
        assert "Missing" in ran.err
    assert tomllib.loads(config.read_text())["listener"][0]["handler"] == "choosy:Missing"
    assert not list((machine / "run").glob("*.sock"))
