"""The dialogs of docs/protocol/quarantine.md, played against the session whole, byte by byte, and all at once."""

import base64
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from core.content import Content, ContentStore
from core.lifecycle import Scope
from core.maillog import MailLog
from cpq.listener import Binding, listener_settings
from cpq.pairing import Pairing, Pairings
from cpq.receive import CpqSession, Delivery, Names
from protocol.quarantine.frame import decode_frame
from protocol.quarantine.grammar import Readiness
from protocol.reply import Reply
from protocol.smtp.conversation import Answer, Peer, TlsInfo
from protocol.smtp.server import ServerMachine, make_dialect
from tests.support.dialog import matches, unescape

PAGE = (Path(__file__).parents[2] / "docs/protocol/quarantine.md").read_text(encoding="utf-8")
FRAME = re.findall(r"```json\n(.*?)\n```", PAGE, re.DOTALL)[0].encode("utf-8")
DIALOGS = dict(re.findall(r"### ([^\n]+)\n\n```dialog\n(.*?)```", PAGE, re.DOTALL))
PEER = Peer("127.0.0.1", 4000, "127.0.0.2", 7025)


class OnePairing(Pairings):
    """Knows the octets b"ESA-1" as the certificate of ESA-1."""

    def __init__(self) -> None:
        self.pairing = Pairing(serial="ESA-1", certificate="", role="esa", address="127.0.0.1", port=7025)

    def identify(self, certificate_der: bytes | None) -> Pairing | None:
        return self.pairing if certificate_der == b"ESA-1" else None

    def named(self, serial: str) -> Pairing | None:
        return self.pairing if serial == "ESA-1" else None


@dataclass
class FakeIntake:
    contents: ContentStore
    stored: list[Delivery] = field(default_factory=list)
    settled: list[bytes] = field(default_factory=list)

    def readiness(self) -> Readiness:
        return Readiness("SMA-1", "hold", True, "", ("Policy", "Virus mail"))

    def content(self) -> Content:
        return self.contents.new()

    def store(self, delivery: Delivery, answer: Answer) -> None:
        if all(one.frame.transfer_id != delivery.frame.transfer_id for one in self.stored):
            self.stored.append(delivery)
        answer(Reply(250, "2.6.0", f"Ok: Message {len(self.stored)} accepted"))

    def settle(self, peer: str, transfer_ids: list[bytes], answer: Answer) -> None:
        self.settled += transfer_ids
        answer(Reply(250, "2.0.0", f"{len(transfer_ids)} settled"))

    async def open(self, scope: Scope) -> None: ...

    async def close(self) -> None: ...


@dataclass
class Conversation:
    """One machine with a session, fed in pieces of `step` octets."""

    machine: ServerMachine
    intake: FakeIntake
    step: int
    sent: bytes = b""

    def feed(self, data: bytes) -> None:
        for start in range(0, len(data), self.step):
            self.machine.receive(data[start : start + self.step])
            self.sent += self.machine.take()

    def line(self) -> bytes:
        self.sent += self.machine.take()
        line, _, self.sent = self.sent.partition(b"\r\n")
        return line

    def beside(self, text: str) -> None:
        """Do what a `--` line says."""
        if text.startswith("TLS"):
            certificate = b"ESA-1" if text.endswith("ESA-1") else b"stranger"
            tls = TlsInfo("TLSv1.3", "AES", certificate)
            if "first octet" in text:
                self.machine.connect(PEER, tls)
            else:
                self.machine.secured(tls)
        elif text == "closed":
            assert self.line() == b""
            assert self.machine.closed
        else:
            assert text in (
                f"stored and durable as MID {len(self.intake.stored)}",
                "known already, so not stored again",
            )


def payload(text: str) -> bytes:
    """Give the octets of a `C*` line."""
    if text == "the frame":
        return FRAME
    if found := re.match(r"(\d+) octets", text):
        return b"\x07" * int(found[1])
    return unescape(text.encode("utf-8"))


@pytest.fixture
def conversation(tmp_path: Path, request: pytest.FixtureRequest) -> Conversation:
    intake = FakeIntake(ContentStore(tmp_path))
    session = CpqSession(Names("cpq_listener", "sma.example.test"), intake, OnePairing(), 1, MailLog(tmp_path / "log"))
    settings = listener_settings(Binding("sma.example.test", "127.0.0.2", 7025)).server
    machine = ServerMachine(make_dialect(settings), session, lambda error: pytest.fail(repr(error)), lambda: None)
    return Conversation(machine, intake, 1 << 20)


@pytest.mark.parametrize("step", [1 << 20, 1, 7])
@pytest.mark.parametrize("title", sorted(DIALOGS))
async def test_dialog(conversation: Conversation, title: str, step: int) -> None:
    conversation.step = step
    steps = DIALOGS[title].strip().split("\n")
    if not steps[0].startswith("--"):
        conversation.machine.connect(PEER)
    for step_line in steps:
        kind, text = step_line[:2], step_line[3:]
        if kind == "C:":
            conversation.feed(text.encode("ascii") + b"\r\n")
        elif kind == "C*":
            conversation.feed(payload(text))
        elif kind == "S:":
            got = conversation.line()
            assert matches(text.encode("ascii"), got), (step_line, got)
        else:
            assert kind == "--"
            conversation.beside(text)


def test_the_page_has_dialogs() -> None:
    assert len(DIALOGS) == 4


def test_the_frame_of_the_page_is_valid_and_as_long_as_it_says() -> None:
    frame = decode_frame(FRAME)
    assert f"XCPQMETA {len(FRAME)}\n" in PAGE
    assert f"this text, {len(FRAME)} octets" in PAGE
    assert frame.sha256 == hashlib.sha256(b"Subject: hello\r\n").digest(), base64.b64encode(
        hashlib.sha256(b"Subject: hello\r\n").digest()
    )


async def test_what_a_stranger_sends_after_the_handshake_reaches_nobody(conversation: Conversation) -> None:
    conversation.machine.connect(PEER)
    conversation.feed(b"EHLO x\r\nSTARTTLS\r\n")
    conversation.machine.secured(TlsInfo("TLSv1.3", "AES", b"stranger"))
    conversation.feed(b"EHLO x\r\nXCPQMETA %d\r\n" % len(FRAME) + FRAME)
    assert conversation.machine.closed
    assert conversation.intake.stored == []


async def test_a_repeated_frame_replaces_the_first(conversation: Conversation) -> None:
    conversation.machine.connect(PEER, TlsInfo("TLSv1.3", "AES", b"ESA-1"))
    conversation.feed(b"EHLO x\r\n" + (b"XCPQMETA %d\r\n" % len(FRAME) + FRAME) * 2)
    conversation.feed(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.test>\r\nRCPT TO:<rid-1@xcpq.invalid>\r\n")
    conversation.feed(b"BDAT 16 LAST\r\nSubject: hello\r\n")
    assert conversation.sent.endswith(b"250 2.6.0 Ok: Message 1 accepted\r\n")
    (delivery,) = conversation.intake.stored
    assert delivery.frame_octets == FRAME
    assert delivery.content.inline == b"Subject: hello\r\n"


async def test_reset_ends_the_frame(conversation: Conversation) -> None:
    conversation.machine.connect(PEER, TlsInfo("TLSv1.3", "AES", b"ESA-1"))
    conversation.feed(b"EHLO x\r\nXCPQMETA %d\r\n" % len(FRAME) + FRAME)
    conversation.feed(b"MAIL FROM:<a@example.com>\r\nRSET\r\nMAIL FROM:<a@example.com>\r\n")
    assert conversation.sent.endswith(b"503 5.5.1 send XCPQMETA first\r\n")
