"""The server machine: what no transcript shows. The rules themselves are dialogs in tests/conformance/."""

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.reply import Reply
from protocol.smtp.conversation import Peer, TlsInfo
from protocol.smtp.server import ServerMachine, make_dialect
from protocol.smtp.settings import ServerSettings
from protocol.smtp.states import Phase, State
from tests.support.smtp_session import Recorder

PEER = Peer("192.0.2.1", 4000, "192.0.2.2", 25)
ENVELOPE = b"HELO c\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n"
TLS = TlsInfo("TLSv1.3", "TLS_AES_128_GCM_SHA256")


def incident(error: Exception) -> Reply:
    reply = getattr(error, "reply", None)
    return reply if isinstance(reply, Reply) else Reply(451, "4.3.0", "Internal error")


def machine(book: Recorder | None = None, wake: Callable[[], None] = lambda: None, **options: Any) -> ServerMachine:
    book = book or Recorder()
    made = ServerMachine(make_dialect(ServerSettings("mx.test", **options)), book.session(), incident, wake)
    made.connect(PEER)
    return made


def codes(octets: bytes) -> list[int]:
    return [int(line[:3]) for line in octets.split(b"\r\n")[:-1] if line[3:4] == b" "]


def test_a_client_that_talks_first_is_refused():
    book = Recorder()
    talkative = ServerMachine(make_dialect(ServerSettings("mx.test")), book.session(), incident, lambda: None)
    talkative.receive(b"EHLO x\r\n")
    assert codes(talkative.take()) == [554]
    assert talkative.closed
    talkative.connect(PEER)
    assert talkative.take() == b""
    assert book.events == []


def test_a_refusing_greeting_closes():
    book = Recorder(greeting=Reply(554, "5.7.1", "No"))
    refused = machine(book)
    assert codes(refused.take()) == [554]
    refused.receive(b"QUIT\r\n")
    assert refused.take() == b""
    refused.disconnect("gone")
    refused.disconnect("gone")
    assert book.events[-1] == "closed: 554 5.7.1 No"


def test_a_disconnect_in_the_content_leaves_nothing():
    for content in (b"DATA\r\npart of it\r\n", b"BDAT 10\r\nabc", b"BDAT 3\r\nabc"):
        book = Recorder()
        left = machine(book)
        left.receive(ENVELOPE + content)
        left.disconnect("closed by the peer")
        assert book.messages == []
        assert book.sinks[0].discarded
        assert book.events[-2:] == ["aborted", "closed: closed by the peer"]


def test_input_waits_for_an_answer_and_a_late_or_second_one_is_ignored():
    acts: list[Callable[[], None]] = []
    woken: list[int] = []
    book = Recorder(defer=acts.append)
    waiting = machine(book, lambda: woken.append(1))
    waiting.receive(ENVELOPE + b"DATA\r\nx\r\n.\r\nNOOP\r\n")
    assert codes(waiting.take()) == [220, 250, 250, 250, 354]
    assert (waiting.waiting, waiting.phase, waiting.held) == (True, Phase.ANSWER, 6)
    acts[0]()
    assert codes(waiting.take()) == [250, 250]
    assert woken == [1]
    acts[0]()
    assert waiting.take() == b""
    assert waiting.accepted == 1


def test_an_answer_after_the_end_is_ignored():
    acts: list[Callable[[], None]] = []
    book = Recorder(defer=acts.append)
    gone = machine(book)
    gone.receive(ENVELOPE + b"DATA\r\nx\r\n.\r\n")
    gone.take()
    gone.disconnect("gone")
    acts[0]()
    assert gone.take() == b""
    assert book.events[-1] == "closed: gone"
    assert "aborted" not in book.events


def test_replies_that_nobody_takes_stop_the_reading():
    flooded = machine(output_limit=1000, junk_limit=0)
    flooded.receive(b"NOOP\r\n" * 10_000)
    assert 1000 <= len(flooded.take()) < 1100
    assert flooded.held > 50_000
    flooded.run()
    assert 1000 <= len(flooded.take()) < 1100


def test_an_endless_line_takes_no_memory():
    endless = machine()
    endless.take()
    for _ in range(1000):
        endless.receive(b"x" * 1000)
        assert endless.held <= 2000
    assert codes(endless.take()) == [500]
    endless.receive(b"\r\nNOOP\r\n")
    assert codes(endless.take()) == [250]


def test_octets_behind_starttls_never_count():
    book = Recorder()
    injected = machine(book, starttls=True)
    injected.receive(b"EHLO c\r\nSTARTTLS\r\n")
    injected.take()
    injected.receive(b"MAIL FROM:<x@c.test>\r\n")
    assert injected.closed
    injected.secured(TLS)
    assert injected.take() == b""
    assert book.parameters == []


def test_implicit_tls_is_secure_from_the_greeting_on():
    book = Recorder()
    secure = ServerMachine(
        make_dialect(ServerSettings("mx.test", starttls=True)), book.session(), incident, lambda: None
    )
    secure.connect(PEER, TLS)
    secure.receive(b"EHLO c\r\n")
    assert b"STARTTLS" not in secure.take()
    assert book.events[:2] == ["connected", "secured TLSv1.3"]


def test_a_refusal_ends_the_conversation_once():
    ended = machine()
    ended.take()
    ended.receive(ENVELOPE + b"DATA\r\nx")
    ended.take()
    ended.refuse(Reply(421, "4.4.2", "Timeout"))
    ended.refuse(Reply(421, "4.4.2", "Timeout"))
    assert codes(ended.take()) == [421]
    assert ended.state is State.CLOSED


def test_a_failing_sink_is_answered_once_at_the_end():
    class Full:
        def write(self, chunk: bytes) -> None:
            raise OSError("no space left on /secret/path")

        def discard(self) -> None:
            pass

    book = Recorder(make_sink=Full)
    full = machine(book)
    full.receive(ENVELOPE + b"DATA\r\n")
    full.take()
    full.receive(b"one\r\n")
    full.receive(b"two\r\n.\r\nNOOP\r\n")
    said = full.take()
    assert codes(said) == [451, 250]
    assert b"secret" not in said


def test_talk_behind_the_end_of_a_group_is_noted():
    polite, rude = machine(), machine()
    for line in (ENVELOPE + b"DATA\r\n").splitlines(keepends=True):
        polite.receive(line)
    rude.receive(ENVELOPE + b"DATA\r\nx\r\n")
    assert not polite.early_talk
    assert rude.early_talk


def test_a_session_is_consulted_where_the_settings_say_so():
    class Opinionated(type(Recorder().session())):  # type: ignore[misc]
        def command(self, verb: str, argument: str) -> Reply | None:
            return Reply(252, "2.1.5", f"{argument} it is") if verb == "VRFY" else None

    dialect = make_dialect(ServerSettings("mx.test", consulted_verbs=frozenset({"VRFY", "NOOP"})))
    asked = ServerMachine(dialect, Opinionated(Recorder()), incident, lambda: None)
    asked.connect(PEER)
    asked.receive(b"VRFY joe\r\nNOOP\r\nRSET\r\n")
    assert asked.take().endswith(b"252 2.1.5 joe it is\r\n250 2.0.0 Ok\r\n250 2.0.0 Ok\r\n")


PIECES = st.sampled_from(
    (
        *(b"EHLO c\r\n", b"HELO c\r\n", b"NOOP\r\n", b"RSET\r\n", b"QUIT\r\n", b"VRFY\r\n", b"STARTTLS\r\n"),
        *(b"MAIL FROM:<a@c.test>\r\n", b"RCPT TO:<b@d.test>\r\n", b"RCPT TO:<550-x@d.test>\r\n", b"XT PUT 4\r\n"),
        *(b"DATA\r\n", b".\r\n", b"..\r\n", b"x\r\n", b"BDAT 5\r\n", b"BDAT 3 LAST\r\n", b"BDAT x\r\n"),
        *(b"AUTH PLAIN\r\n", b"AUTH LOGIN\r\n", b"AUTH PLAIN AHVzZXIAcGVuY2ls\r\n", b"dXNlcg==\r\n", b"*\r\n", b"\r\n"),
        *(b"AUTH SCRAM-SHA-256\r\n", b"AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9YWJj\r\n", b"Yz1iaXdzLHI9eCxwPWFiYw==\r\n"),
        *(b"MAIL FROM:<a@c.test> BODY=BINARYMIME\r\n", b"MAIL FROM:<\xc3\xb6@c.test> SMTPUTF8 RET=FULL\r\n"),
        *(
            b"RCPT TO:<\xc3\xb6@d.test> NOTIFY=NEVER ORCPT=utf-8;\xc3\xb6\r\n",
            b"BDAT 0\r\n",
            b"VRFY \xc3\xb6 SMTPUTF8\r\n",
        ),
        *(b"\r", b"\n", b".", b"\0", b" ", b"z" * 700),
    )
)
INPUT = st.lists(PIECES | st.binary(max_size=6), max_size=30).map(b"".join)


def converse(octets: bytes, cuts: list[int], *, secure: bool = False) -> tuple[bytes, list[bytes]]:
    book = Recorder()
    options = {"size_limit": 60, "text_line_limit": 40, "extension_verbs": ("XT",), "starttls": not secure}
    mechanisms = ("PLAIN", "LOGIN", "SCRAM-SHA-256")
    dialect = make_dialect(ServerSettings("mx.test", auth_mechanisms=mechanisms, output_limit=10**6, **options))
    talk = ServerMachine(dialect, book.session(), incident, lambda: None)
    talk.connect(PEER, TLS if secure else None)
    start, said = 0, b""
    for cut in [*sorted(cuts), len(octets)]:
        talk.receive(octets[start:cut])
        said += talk.take()
        start = max(start, cut)
    talk.disconnect("end")
    return said, book.messages


@settings(max_examples=400, deadline=None)
@given(INPUT, st.lists(st.integers(0, 300), max_size=12), st.booleans())
def test_a_split_changes_nothing(octets: bytes, cuts: list[int], secure: bool):
    octets = (b"HELO c\r\n" if secure else ENVELOPE) + octets
    cuts = [cut for cut in cuts if cut <= len(octets)]
    assert converse(octets, cuts, secure=secure) == converse(octets, [], secure=secure)


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=300))
def test_no_octets_raise(octets: bytes):
    said, _ = converse(octets, [])
    assert said.startswith(b"220 ")
    assert all(200 <= code <= 599 for code in codes(said))


def logging_in(book: Recorder) -> ServerMachine:
    dialect = make_dialect(ServerSettings("mx.test", auth_mechanisms=("PLAIN", "LOGIN", "SCRAM-SHA-256")))
    talk = ServerMachine(dialect, book.session(), incident, lambda: None)
    talk.connect(PEER, TLS)
    talk.receive(b"HELO c\r\n")
    talk.take()
    return talk


def test_a_session_hears_of_a_log_in_that_is_broken_off():
    for response in (b"*\r\n", b"not base64\r\n", b"x" * 13000 + b"\r\n", b"dXNl\n"):
        book = Recorder()
        talk = logging_in(book)
        talk.receive(b"AUTH LOGIN\r\n" + response)
        assert book.events[-1] == "login broken off"
        assert not talk.authenticated


def test_a_response_is_awaited_like_a_command():
    talk = logging_in(Recorder())
    talk.receive(b"AUTH LOGIN\r\n")
    assert talk.phase is Phase.COMMAND
    assert talk.records == 2
    talk.receive(b"dXNlcg==\r\n")
    assert talk.records == 3


def test_an_error_of_the_session_in_a_log_in_is_451_and_the_next_line_is_a_command():
    class Failing(type(Recorder().session())):  # type: ignore[misc]
        def login(self, mechanism: str, initial: bytes | None) -> Reply:
            raise RuntimeError("secret detail")

    talk = logging_in(Recorder())
    talk._session = Failing(Recorder())
    talk.receive(b"AUTH LOGIN\r\nNOOP\r\n")
    assert codes(talk.take()) == [451, 250]


def test_a_long_challenge_goes_out_whole():
    talk = logging_in(Recorder())
    nonce = b"n" * 500
    talk.receive(b"AUTH SCRAM-SHA-256 " + b64encode(b"n,,n=user,r=" + nonce) + b"\r\n")
    assert nonce in b64decode(talk.take().removeprefix(b"334 "))


@pytest.mark.parametrize("limit", [0, 1000])
def test_stored_content_is_what_was_sent(limit: int):
    lines = [b"", b".", b"..", b"a" * 998, b".hidden", b"\xff\x00"] * 50
    content = b"".join(line + b"\r\n" for line in lines)
    wire = b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in lines) + b".\r\n"
    for size in (1, 3, 1000, len(wire)):
        book = Recorder()
        store = machine(book, text_line_limit=limit)
        store.receive(ENVELOPE + b"DATA\r\n")
        for start in range(0, len(wire), size):
            store.receive(wire[start : start + size])
        assert book.messages == [content]


TARPIT = {"error_delay_s": 1.5, "error_delay_after": 2, "error_delay_limit_s": 4.0}


def test_errors_beyond_patience_have_their_replies_wait_longer_and_longer():
    slow = machine(**TARPIT)
    slow.receive(b"FROB\r\nFROB\r\n")
    assert (codes(slow.take()), slow.stalled_s) == ([220, 500, 500], 0)
    for expected in (1.5, 3.0, 4.0, 4.0):
        slow.receive(b"FROB\r\nNOOP\r\n")
        assert (slow.take(), slow.stalled_s, slow.held) == (b"", expected, 6), "pipelined input is kept unread"
        assert slow.phase is Phase.ANSWER
        slow.stalled_s = 0.0
        assert codes(slow.take()) == [500]
        slow.run()
        assert (slow.take(), slow.stalled_s) == (b"", expected), "commands without progress wait as well"
        slow.stalled_s = 0.0
        assert codes(slow.take()) == [250]
        assert slow.phase is Phase.COMMAND


def test_five_commands_without_progress_are_as_one_error():
    idle = machine(**TARPIT)
    idle.receive(b"NOOP\r\n" * 20)
    assert codes(idle.take()) == []
    assert (idle.stalled_s, idle.held) == (1.5, 5 * 6), "fifteen were read"


def test_a_message_that_is_accepted_ends_the_waiting():
    slow = machine(Recorder(), **TARPIT)
    slow.receive(b"HELO c\r\n" + b"FROB\r\n" * 3)
    slow.stalled_s = 0.0
    slow.receive(ENVELOPE.partition(b"\r\n")[2] + b"DATA\r\n.\r\n")
    assert codes(slow.take())[-2:] == [354, 250]
    slow.receive(b"FROB\r\nFROB\r\n")
    assert slow.stalled_s == 0


def test_the_end_does_not_wait():
    slow = machine(**TARPIT)
    slow.receive(b"FROB\r\n" * 3)
    slow.refuse(Reply(421, "4.3.2", "Shutdown"))
    assert codes(slow.take()) == [220, 500, 500, 500, 421]
