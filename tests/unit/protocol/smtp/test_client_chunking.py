"""The client machine where the peer offers CHUNKING: BDAT, with and without the envelope in the same flight."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.smtp.chunking import harmless
from protocol.smtp.client import ClientMachine
from protocol.smtp.client_settings import ClientSettings
from protocol.smtp.client_state import State
from protocol.smtp.failure import LocalError, PeerClosed, ProtocolError, Stage
from protocol.smtp.transaction import Transaction, TransactionResult

SETTINGS = ClientSettings("client.test")
OFFERS = b"220 mx\r\n", b"250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-BINARYMIME\r\n250-8BITMIME\r\n250 SIZE\r\n"
ENVELOPE = b"MAIL FROM:<a@x.test> SIZE=4\r\nRCPT TO:<b@y.test>\r\n"
TAKEN = b"250 2.1.0 Ok\r\n", b"250 2.1.5 Ok\r\n"


def opened(*offers: bytes, **settings: bool) -> ClientMachine:
    machine = ClientMachine(ClientSettings("client.test", **settings))
    sent(machine)
    for line in offers or OFFERS:
        machine.receive(line)
        sent(machine)
    return machine


def sent(machine: ClientMachine) -> bytes:
    out = b""
    while pieces := machine.take():
        out += b"".join(pieces)
    return out


def submit(machine: ClientMachine, content: Iterable[bytes] = (b"Hi\r\n",), **more: object) -> list[TransactionResult]:
    results: list[TransactionResult] = []
    given: dict[str, object] = {"size": 4} | more
    recipients = given.pop("recipients", ["b@y.test"])
    machine.submit(Transaction("a@x.test", recipients, content, **given), results.append)  # type: ignore[arg-type]
    return results


def known() -> ClientMachine:
    """Give a machine whose peer has taken one message and so shown that its replies can be told apart."""
    machine = opened()
    submit(machine)
    for reply in (*TAKEN, b"250 2.0.0 Ok queued\r\n"):
        sent(machine)
        machine.receive(reply)
    assert machine.state is State.READY
    return machine


def codes(result: TransactionResult) -> list[int | None]:
    return [reply.code if reply else None for reply in result.replies]


def test_the_first_message_waits_for_the_replies_to_its_envelope() -> None:
    machine = opened()
    results = submit(machine)
    assert sent(machine) == ENVELOPE
    machine.receive(TAKEN[0])
    assert sent(machine) == b""
    machine.receive(TAKEN[1])
    assert sent(machine) == b"BDAT 4 LAST\r\nHi\r\n"
    machine.receive(b"250 2.6.0 queued\r\n")
    assert codes(results[0]) == [250]
    assert results[0].delivered == [0]


def test_a_small_message_then_goes_out_with_its_envelope() -> None:
    machine = known()
    results = submit(machine)
    assert sent(machine) == ENVELOPE + b"BDAT 4 LAST\r\nHi\r\n"
    machine.receive(b"".join(TAKEN) + b"250 2.0.0 Ok\r\n")
    assert results[0].delivered == [0]
    assert machine.state is State.READY


def test_dots_are_not_doubled_and_a_missing_line_end_is_added() -> None:
    machine = known()
    submit(machine, (b".a\r\n..\r\n.",), size=9)
    assert sent(machine).endswith(b"BDAT 11 LAST\r\n.a\r\n..\r\n.\r\n")


def test_bare_line_ends_become_crlf_before_they_are_counted() -> None:
    machine = known()
    submit(machine, (b"a\n.\n", b"b\r", b"\nc\r\n"), size=9)
    assert sent(machine).endswith(b"BDAT 12 LAST\r\na\r\n.\r\nb\r\nc\r\n")


def test_binary_content_goes_out_octet_for_octet() -> None:
    machine = opened()
    submit(machine, (b"a\n\0", b"\r"), body="BINARYMIME")
    assert sent(machine).startswith(b"MAIL FROM:<a@x.test> SIZE=4 BODY=BINARYMIME\r\n")
    machine.receive(b"".join(TAKEN))
    assert sent(machine) == b"BDAT 4 LAST\r\na\n\0\r"


def test_binary_content_needs_a_peer_for_it() -> None:
    machine = opened(b"220 mx\r\n", b"250-mx\r\n250 CHUNKING\r\n")
    results = submit(machine, body="BINARYMIME")
    assert results[0].replies[0] is not None
    assert results[0].replies[0].enhanced == "5.6.1"
    assert sent(machine) == b""


@pytest.mark.parametrize("line", [b"MAIL FROM:<evil>", b"mail from:<evil>", b" \tMail x", b"\rMAIL"])
def test_content_that_reads_as_commands_never_goes_out_with_its_envelope(line: bytes) -> None:
    """A peer that refused the recipients and does not skip the chunk would obey it."""
    machine = known()
    content = b"Subject: x\r\n\r\nhi\r\n" + line + b"\r\n"
    submit(machine, (content,), size=len(content))
    assert b"BDAT" not in sent(machine)
    assert harmless((b"Subject: my mail\r\n\r\ne-mail\r\nmailing list\r\n",))


def test_large_content_goes_in_chunks_without_waiting() -> None:
    machine = opened()
    results = submit(machine, (b"a" * 70_000 for _ in range(4)), size=280_000)
    sent(machine)
    machine.receive(b"".join(TAKEN))
    out = sent(machine)
    assert out == b"BDAT 140000\r\n" + b"a" * 140_000 + b"BDAT 140000\r\n" + b"a" * 140_000 + b"BDAT 2 LAST\r\n\r\n"
    machine.receive(b"250 2.0.0 140000 octets\r\n" * 2 + b"250 2.6.0 Ok\r\n")
    assert results[0].delivered == [0]


def test_without_pipelining_each_chunk_waits_for_the_one_before() -> None:
    machine = opened(b"220 mx\r\n", b"250-mx\r\n250 CHUNKING\r\n")
    results = submit(machine, (b"a" * 200_000, b"b"), size=200_001)
    flights = []
    for reply in (*TAKEN, b"250 2.0.0 more\r\n", b"250 2.0.0 Ok\r\n"):
        flights.append(sent(machine)[:12])
        machine.receive(reply)
    assert flights == [b"MAIL FROM:<a", b"RCPT TO:<b@y", b"BDAT 200000\r", b"BDAT 3 LAST\r"]
    assert results[0].delivered == [0]


def test_a_refused_chunk_ends_the_content_and_is_followed_by_rset() -> None:
    machine = opened()
    results = submit(machine, (b"a" * 140_000 for _ in range(9)), size=9)
    sent(machine)
    machine.receive(b"".join(TAKEN))
    assert b"".join(machine.take()).startswith(b"BDAT 140000\r\n")
    machine.take()
    machine.receive(b"552 5.2.2 full\r\n")
    assert sent(machine) == b"RSET\r\n"
    machine.receive(b"503 5.5.1 no\r\n")
    assert results == []
    machine.receive(b"250 2.0.0 Ok\r\n")
    assert codes(results[0]) == [552]
    assert (results[0].failed_stage, machine.state) == (Stage.CONTENT, State.READY)


def test_a_refused_last_chunk_is_followed_by_rset() -> None:
    machine = known()
    results = submit(machine)
    sent(machine)
    machine.receive(b"".join(TAKEN) + b"554 5.7.1 spam\r\n")
    assert (sent(machine), results) == (b"RSET\r\n", [])
    machine.receive(b"250 2.0.0 Ok\r\n")
    assert (codes(results[0]), results[0].failed_stage) == ([554], Stage.FINAL)


@pytest.mark.parametrize("reply", [b"502 5.5.1 no BDAT here\r\n", b"500 5.5.2 what?\r\n", b"503 5.5.0 no\r\n"])
@pytest.mark.parametrize("size", [4, 200_000])
def test_a_peer_that_offers_chunking_and_does_not_know_bdat_had_its_mail_bounced(reply: bytes, size: int) -> None:
    """The reply is about the command: the recipients are tried again, by DATA."""
    machine = opened()
    results = submit(machine, (b"a" * size,) * 2)
    sent(machine)
    machine.receive(b"".join(TAKEN))
    machine.take()
    machine.receive(reply)
    assert isinstance(machine.error, ProtocolError)
    assert (codes(results[0]), results[0].delivered) == ([None], [])


@pytest.mark.parametrize(
    ("replies", "expected", "stage"),
    [
        (b"250 2.1.0 Ok\r\n550 5.1.1 no\r\n503 5.5.1 no recipients\r\n", 550, Stage.RCPT),
        (b"250 2.1.0 Ok\r\n450 4.2.0 grey\r\n554 no valid recipients\r\n", 450, Stage.RCPT),
        (b"553 5.1.8 no\r\n503 no mail\r\n503 no rcpt\r\n", 553, Stage.MAIL),
    ],
)
def test_a_refused_envelope_decides_whatever_is_said_to_the_chunk(replies: bytes, expected: int, stage: Stage) -> None:
    machine = known()
    results = submit(machine)
    sent(machine)
    machine.receive(replies)
    assert (sent(machine), results) == (b"RSET\r\n", [])
    machine.receive(b"250 2.0.0 Ok\r\n")
    assert (codes(results[0]), results[0].failed_stage) == ([expected], stage)
    assert machine.state is State.READY


def test_some_recipients_refused_leaves_the_message_to_the_others() -> None:
    machine = known()
    results = submit(machine, recipients=["b@y.test", "c@y.test"])
    sent(machine)
    machine.receive(TAKEN[0] + b"550 5.1.1 no\r\n" + TAKEN[1] + b"250 2.0.0 Ok\r\n")
    assert codes(results[0]) == [550, 250]
    assert results[0].delivered == [1]


@pytest.mark.parametrize("late", [b"250 Ok\r\n", b"250 2.0.0 Ok queued\r\n", b"250 2.1.5 Ok\r\n", b"550 5.7.1 no\r\n"])
@pytest.mark.parametrize("truth", [b"250 2.0.0 Ok\r\n", b"451 4.3.0 disk full\r\n", b"554 5.7.1 spam\r\n"])
@pytest.mark.parametrize("recipient", [b"250 2.1.5 Ok\r\n", b"550 5.1.1 nobody\r\n", b"450 later\r\n"])
def test_a_late_reply_is_never_taken_for_the_fate_of_content(late: bytes, truth: bytes, recipient: bytes) -> None:
    """Everything moves by one reply: that to RCPT must not count as that to the last chunk."""
    machine = known()
    results = submit(machine)
    sent(machine)
    machine.receive(late + b"250 2.1.0 Ok\r\n" + recipient)
    sent(machine)
    machine.receive(truth)
    sent(machine)
    machine.receive(b"250 2.0.0 reset\r\n")
    assert isinstance(machine.error, ProtocolError)
    assert results[0].delivered == []


def test_a_peer_whose_replies_look_alike_gets_data() -> None:
    machine = opened()
    results = submit(machine)
    sent(machine)
    machine.receive(b"250 Ok\r\n250 Ok\r\n")
    assert sent(machine) == b"DATA\r\n"
    machine.receive(b"354 go\r\n")
    assert sent(machine) == b"Hi\r\n.\r\n"
    machine.receive(b"250 Ok\r\n")
    assert results[0].delivered == [0]
    submit(machine)
    assert b"BDAT" not in sent(machine)


def test_a_positive_reply_for_nobody_is_a_fault() -> None:
    machine = known()
    results = submit(machine)
    sent(machine)
    machine.receive(b"250 2.1.0 Ok\r\n550 5.1.1 no\r\n250 2.0.0 Ok\r\n")
    assert isinstance(machine.error, ProtocolError)
    assert "250 2.0.0 Ok" in machine.error.text
    assert codes(results[0]) == [None]


def test_nothing_goes_out_behind_a_last_chunk() -> None:
    machine = known()
    submit(machine)
    sent(machine)
    submit(machine)
    assert sent(machine) == b""
    machine.receive(b"".join(TAKEN) + b"250 2.0.0 Ok\r\n")
    assert sent(machine).startswith(b"MAIL")


def test_a_connection_lost_after_the_flight_may_have_delivered() -> None:
    machine = known()
    results = submit(machine)
    sent(machine)
    machine.peer_closed()
    assert isinstance(results[0].error, PeerClosed)
    assert (results[0].failed_stage, results[0].maybe_delivered) == (Stage.MAIL, True)


def test_content_that_cannot_be_read_gets_no_last_chunk() -> None:
    def broken() -> Iterable[bytes]:
        yield b"a" * 140_000
        raise OSError(5, "Input/output error")

    machine = opened()
    results = submit(machine, broken(), size=9)
    sent(machine)
    machine.receive(b"".join(TAKEN))
    assert b"LAST" not in sent(machine)
    assert isinstance(results[0].error, LocalError)


def test_chunking_can_be_switched_off() -> None:
    machine = opened(chunking=False)
    submit(machine)
    assert sent(machine) == ENVELOPE + b"DATA\r\n"


def test_octets_that_complete_no_reply_are_no_progress() -> None:
    """One octet now and then put off the time-out for as long as the peer liked."""
    machine = opened()
    submit(machine)
    sent(machine)
    before = machine.turns
    machine.receive(b"250")
    machine.receive(b" 2.1")
    assert machine.turns == before
    machine.receive(b".0 Ok\r\n")
    assert machine.turns == before + 1


def test_half_a_reply_on_an_idle_connection_makes_it_unfit() -> None:
    machine = opened()
    assert machine.ready
    machine.receive(b"25")
    assert not machine.ready


LINES = st.sampled_from(
    [*TAKEN, b"250 2.0.0 Ok\r\n", b"250 Ok\r\n", b"550 5.1.1 no\r\n", b"554 5.7.1 no\r\n", b"451 x\r\n", b"354 go\r\n"]
)


@given(st.lists(LINES, max_size=20), st.booleans())
def test_whatever_is_said_each_message_has_one_result(lines: list[bytes], early: bool) -> None:
    machine = known() if early else opened()
    results = [submit(machine) for _ in range(3)]
    chunks = 0
    for line in lines:
        out = sent(machine)
        chunks += out.count(b" LAST\r\n") + out.count(b"Hi\r\n.\r\n")
        machine.receive(line)
    machine.fail(LocalError("end", Stage.IDLE))
    assert [len(one) for one in results] == [1, 1, 1]
    assert len([one for one in results if one[0].delivered]) <= chunks


def test_dsn_parameters_go_to_a_peer_that_offers_dsn_only() -> None:
    given = {"dsn_mail": "RET=HDRS ENVID=q", "dsn_rcpt": ["NOTIFY=NEVER"]}
    machine = opened(b"220 mx\r\n", b"250-mx\r\n250-PIPELINING\r\n250 DSN\r\n")
    submit(machine, **given)
    assert sent(machine).startswith(
        b"MAIL FROM:<a@x.test> RET=HDRS ENVID=q\r\nRCPT TO:<b@y.test> NOTIFY=NEVER\r\nDATA\r\n"
    )
    machine = opened()
    submit(machine, **given)
    assert b"NOTIFY" not in sent(machine)


def test_a_dsn_parameter_cannot_carry_a_command() -> None:
    machine = opened(b"220 mx\r\n", b"250-mx\r\n250-PIPELINING\r\n250 DSN\r\n")
    results = submit(machine, dsn_rcpt=["ORCPT=rfc822;x\r\nDATA"])
    assert codes(results[0]) == [501]
