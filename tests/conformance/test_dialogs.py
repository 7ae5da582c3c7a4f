"""Every dialog, three ways: the machine at once, the machine octet by octet, a live listener over TCP."""

import asyncio
import re
import ssl
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from core.smtp.listener import SmtpListener
from core.smtp.settings import ListenerSettings
from protocol.reply import Reply
from protocol.smtp.conversation import Peer, TlsInfo
from protocol.smtp.server import ServerMachine, make_dialect
from protocol.smtp.settings import ServerSettings
from tests.support.certificate import server_context
from tests.support.dialog import Dialog, Round, matches, read_dialog
from tests.support.service import running
from tests.support.smtp_session import Recorder

DIALOGS = sorted((Path(__file__).parent / "dialogs").glob("*.dialog"))
HOST = "mx.example.test"
TLS = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256")


def settings_of(dialog: Dialog) -> ServerSettings:
    kinds = {field.name: field.type for field in fields(ServerSettings)}
    values: dict[str, Any] = {}
    for name, text in dialog.settings.items():
        kind = str(kinds[name])
        if "bool" in kind:
            values[name] = text == "yes"
        else:
            values[name] = int(text) if "int" in kind else tuple(text.split())
    return ServerSettings(hostname=HOST, **values)


def incident(error: Exception) -> Reply:
    reply = getattr(error, "reply", None)
    return reply if isinstance(reply, Reply) else Reply(451, "4.3.0", "Internal error, incident 0")


def play(dialog: Dialog, size: int) -> tuple[list[bytes], list[bytes], bool]:
    """Feed the machine in pieces of `size`; give the lines it said, what was stored, whether it closed."""
    book = Recorder()
    machine = ServerMachine(make_dialect(settings_of(dialog)), book.session(), incident, lambda: None)
    machine.connect(Peer("127.0.0.1", 1, "127.0.0.1", 25))
    out = machine.take()
    for segment in segments(dialog.rounds()):
        if segment.tls:
            machine.secured(TLS)
        step = size or max(1, len(segment.sent))
        for start in range(0, len(segment.sent), step):
            machine.receive(segment.sent[start : start + step])
            out += machine.take()
            while machine.held and not machine.waiting and not machine.closed:
                before = machine.held
                machine.run()
                out += machine.take()
                if machine.held == before:
                    break
    machine.disconnect("end of the dialog")
    closed = machine.fault != "end of the dialog"
    assert all(sink.discarded or sink.octets in book.messages for sink in book.sinks)
    return out.split(b"\r\n")[:-1], book.messages, closed


def segments(rounds: list[Round]) -> list[Round]:
    """Join what is sent up to a handshake: all that the machine can get at once."""
    joined = [Round()]
    for turn in rounds:
        if turn.tls:
            joined.append(Round(tls=True))
        joined[-1].sent += turn.sent
    return joined


def expect(dialog: Dialog, lines: list[bytes], stored: list[bytes], closed: bool) -> None:
    rounds = dialog.rounds()
    expected = [line for turn in rounds for line in turn.answers]
    for number, (wanted, got) in enumerate(zip(expected, lines, strict=False)):
        assert matches(wanted, got), f"reply {number}: {got!r}, expected {wanted!r}"
    assert len(lines) == len(expected)
    assert stored == dialog.messages
    assert closed == any(turn.closed for turn in rounds)


@pytest.mark.parametrize("size", [0, 1, 7], ids=["whole", "by-octet", "by-seven"])
@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_machine(path: Path, size: int) -> None:
    dialog = read_dialog(path)
    expect(dialog, *play(dialog, size))


ENHANCED = re.compile(rb"([245])[0-9]{2}[ -]\1\.[0-9]{1,3}\.[0-9]{1,3} .*")
WITHOUT = re.compile(rb"(220|250)[ -]mx\.example\.test.*|250[ -][A-Z0-9]+( [A-Z0-9 -]+)?|354 .*|334 .*")
"""RFC 2034 3: the greeting, the answers to EHLO and HELO, go-aheads and challenges."""


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
def test_every_other_reply_carries_an_enhanced_code_of_its_class(path: Path) -> None:
    lines, _, _ = play(read_dialog(path), 0)
    assert [line for line in lines if not ENHANCED.fullmatch(line) and not WITHOUT.fullmatch(line)] == []


@pytest.mark.parametrize("path", DIALOGS, ids=lambda path: path.stem)
async def test_listener(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dialog = read_dialog(path)
    book = Recorder()
    loop = asyncio.get_running_loop()
    book.defer = lambda act: loop.call_soon(act) and None
    listener = SmtpListener(
        ListenerSettings("test", "127.0.0.1", 0, settings_of(dialog)), book.session, tls=server_context
    )
    async with running(listener), asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        lines, closed = await converse(reader, writer, dialog.rounds())
        writer.close()
    expect(dialog, lines, book.messages, closed)
    assert "secret" not in b"".join(lines).decode()
    assert ("incident" in capfd.readouterr().err) == ("incident" in path.read_text())


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rounds: list[Round]
) -> tuple[list[bytes], bool]:
    lines: list[bytes] = []
    for turn in rounds:
        if turn.tls:
            await writer.start_tls(client_context(), server_hostname=HOST)
        writer.write(turn.sent)
        for _ in turn.answers:
            line = await reader.readline()
            assert line.endswith(b"\r\n"), f"closed after {lines[-3:]!r}"
            lines.append(line[:-2])
        if turn.closed:
            rest = await reader.read()
            assert rest == b""
            return lines, True
    return lines, False


def client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
