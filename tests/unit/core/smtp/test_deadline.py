"""Deadlines belong to records, not to reads: a peer that trickles octets gains nothing."""

from core.smtp.deadline import OVERSTAYED, TIMED_OUT, UNSUCCESSFUL, Deadline
from core.smtp.settings import Timeouts
from protocol.smtp.conversation import Peer
from protocol.smtp.server import ServerMachine, make_dialect
from protocol.smtp.settings import ServerSettings
from tests.support.smtp_session import Recorder

LIMITS = Timeouts(greeting_s=20, command_s=30, data_block_s=18, answer_s=60, linger_s=5)
ENVELOPE = b"HELO c\r\nMAIL FROM:<a@c.test>\r\nRCPT TO:<b@d.test>\r\n"


class Watched:
    """A machine and its deadline, swept by the test."""

    def __init__(self, limits: Timeouts = LIMITS, book: Recorder | None = None) -> None:
        settings = ServerSettings("mx.test")
        book = book or Recorder()
        self.machine = ServerMachine(make_dialect(settings), book.session(), lambda _: TIMED_OUT, lambda: None)
        self.machine.connect(Peer("192.0.2.1", 1, "192.0.2.2", 25))
        self._limits = limits
        self._deadline = Deadline()
        self.sweep(0)

    def sweep(self, now: float, *, held_up: bool = False):
        return self._deadline.overdue(self.machine, self._limits, now, held_up=held_up)

    def receive(self, octets: bytes) -> None:
        self.machine.receive(octets)


def test_the_first_command_has_its_own_limit():
    silent = Watched()
    assert silent.sweep(19) is None
    assert silent.sweep(20) is TIMED_OUT


def test_a_command_counts_when_it_is_complete():
    slow = Watched()
    slow.receive(b"HELO c\r\n")
    assert slow.sweep(10) is None
    for second in range(11, 40):
        slow.receive(b"N")
        assert slow.sweep(second) is None
    assert slow.sweep(40) is TIMED_OUT


def test_complete_commands_start_the_time_again():
    talking = Watched()
    for second in range(0, 200, 25):
        talking.receive(b"NOOP\r\n")
        assert talking.sweep(second) is None


def test_content_that_trickles_is_ended():
    trickling = Watched()
    trickling.receive(ENVELOPE + b"DATA\r\n")
    assert trickling.sweep(1) is None
    for second in range(2, 19):
        trickling.receive(b"x")
        assert trickling.sweep(second) is None
    assert trickling.sweep(19) is TIMED_OUT


def test_content_that_comes_by_the_block_goes_on():
    steady = Watched()
    steady.receive(ENVELOPE + b"DATA\r\n")
    for second in range(0, 600, 15):
        steady.receive(b"x" * 998 + b"\r\n")
        assert steady.sweep(second) is None


def test_chunks_and_refused_chunks_are_content():
    for octets in (ENVELOPE + b"BDAT 5000\r\n", b"BDAT 5000\r\n"):
        chunk = Watched()
        chunk.receive(octets)
        assert chunk.sweep(1) is None
        assert chunk.sweep(18) is None
        assert chunk.sweep(19) is TIMED_OUT


def test_our_own_slowness_is_not_the_peers():
    held = Watched()
    held.receive(ENVELOPE + b"DATA\r\nx\r\n")
    for second in range(0, 100, 10):
        assert held.sweep(second, held_up=True) is None


def test_a_session_that_never_answers_is_ended():
    stuck = Watched(book=Recorder(defer=lambda act: None))
    stuck.receive(ENVELOPE + b"DATA\r\nx\r\n.\r\n")
    assert stuck.sweep(1) is None
    assert stuck.sweep(60) is None
    assert stuck.sweep(61) is TIMED_OUT


def test_a_peer_that_does_not_read_the_last_reply_is_cut():
    deaf = Watched()
    deaf.machine.refuse(TIMED_OUT)
    assert deaf.sweep(1) is None
    assert deaf.sweep(6) is TIMED_OUT


def test_a_long_connection_ends_between_messages():
    long = Watched(Timeouts(command_s=0, greeting_s=0, total_s=100))
    assert long.sweep(79) is None
    assert long.sweep(80) is OVERSTAYED
    long.receive(ENVELOPE)
    assert long.sweep(81) is None
    assert long.sweep(100) is OVERSTAYED


def test_a_connection_without_a_message_ends():
    idle = Watched(Timeouts(unsuccessful_s=50))
    idle.receive(b"HELO c\r\n")
    assert idle.sweep(49) is None
    assert idle.sweep(50) is UNSUCCESSFUL
    idle.receive(ENVELOPE + b"DATA\r\nx\r\n.\r\n")
    assert idle.sweep(51) is None
