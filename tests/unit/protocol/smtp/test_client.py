"""The client machine as dialogs: `S:` is what the peer says, `C:` what we say, each dialog whole and byte by byte."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.reply import Reply
from protocol.smtp.client import ClientMachine
from protocol.smtp.client_settings import ClientSettings, TlsUse
from protocol.smtp.client_state import TRANSITIONS, Event, State, after
from protocol.smtp.failure import (
    ClientFailure,
    LocalError,
    PeerClosed,
    ProtocolError,
    Refused,
    Stage,
    TimedOut,
    TlsError,
)
from protocol.smtp.transaction import Transaction, TransactionResult

SETTINGS = ClientSettings("client.test")
GREETING = "S: 220 mx.test ESMTP\nC: EHLO client.test\n"
PIPELINING = GREETING + "S: 250-mx.test\nS: 250-PIPELINING\nS: 250 SIZE 100000\n"
PLAIN = GREETING + "S: 250 mx.test\n"


@pytest.fixture(params=["whole", "bytewise"])
def play(request: pytest.FixtureRequest) -> Callable[[ClientMachine, str], None]:
    """Give a player that checks after each run of `S:` lines that exactly the next `C:` lines come out."""

    def play(machine: ClientMachine, dialog: str) -> None:
        turns: list[tuple[str, bytes]] = []
        for line in dialog.splitlines():
            side, data = line[0], line[3:].encode("latin-1") + b"\r\n"
            if turns and turns[-1][0] == side:
                turns[-1] = (side, turns[-1][1] + data)
            else:
                turns.append((side, data))
        sent = sent_now(machine)
        for side, data in turns:
            if side == "S":
                assert sent == b""
                pieces = [data] if request.param == "whole" else [bytes([octet]) for octet in data]
                for piece in pieces:
                    machine.receive(piece)
                    sent += sent_now(machine)
            else:
                assert sent == data
                sent = b""
        assert sent == b""

    return play


Play = Callable[[ClientMachine, str], None]


def sent_now(machine: ClientMachine) -> bytes:
    sent = b""
    while out := machine.take():
        sent += b"".join(out)
    return sent


def mail(*recipients: str, content: Iterable[bytes] = (b"Hi\r\n",), **more: object) -> Transaction:
    return Transaction("a@x.test", recipients or ("b@y.test",), content, **more)  # type: ignore[arg-type]


def submit(machine: ClientMachine, transaction: Transaction) -> list[TransactionResult]:
    """Queue a message; the list holds its result when it has one."""
    results: list[TransactionResult] = []
    machine.submit(transaction, results.append)
    return results


def codes(result: TransactionResult) -> list[int | None]:
    return [reply.code if reply else None for reply in result.replies]


def test_an_envelope_goes_out_in_one_piece_where_pipelining_is_offered(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail("b@y.test", "c@y.test", size=4))
    play(
        machine,
        PIPELINING
        + """C: MAIL FROM:<a@x.test> SIZE=4
C: RCPT TO:<b@y.test>
C: RCPT TO:<c@y.test>
C: DATA
S: 250 2.1.0 Ok
S: 250 2.1.5 Ok
S: 250 2.1.5 Ok
S: 354 go
C: Hi
C: .
S: 250 2.0.0 Ok: queued as 12""",
    )
    (result,) = results
    assert result.delivered == [0, 1]
    assert result.final == Reply(250, "2.0.0", "Ok: queued as 12")
    assert (result.failed_stage, result.error, result.maybe_delivered) == (None, None, False)
    assert machine.state is State.READY


def test_commands_go_one_by_one_where_it_is_not_offered(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail("b@y.test", "c@y.test"))
    play(
        machine,
        PLAIN
        + """C: MAIL FROM:<a@x.test>
S: 250 Ok
C: RCPT TO:<b@y.test>
S: 550 5.1.1 no
C: RCPT TO:<c@y.test>
S: 250 Ok
C: DATA
S: 354 go
C: Hi
C: .
S: 250 Ok""",
    )
    assert results[0].delivered == [1]
    assert codes(results[0]) == [550, 250]


def test_each_recipient_keeps_its_own_reply(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail("b@y.test", "c@y.test", "d@y.test"))
    play(machine, PIPELINING + envelope("b@y.test", "c@y.test", "d@y.test"))
    play(machine, "S: 250 Ok\nS: 550 5.1.1 nobody\nS: 250 Ok\nS: 452 4.2.2 full\nS: 354 go\nC: Hi\nC: .\nS: 250 fine")
    assert codes(results[0]) == [550, 250, 452]
    assert results[0].replies[0] == Reply(550, "5.1.1", "nobody")
    assert results[0].delivered == [1]


def envelope(*recipients: str) -> str:
    lines = [f"C: RCPT TO:<{recipient}>" for recipient in recipients]
    return "\n".join(["C: MAIL FROM:<a@x.test>", *lines, "C: DATA\n"])


def test_content_for_nobody_is_a_lone_dot(play: Play) -> None:
    """RFC 2920 3.1: the peer may answer 354 although it refused every recipient."""
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail("b@y.test", "c@y.test"))
    play(machine, PIPELINING + envelope("b@y.test", "c@y.test"))
    play(machine, "S: 250 Ok\nS: 550 no\nS: 550 no\nS: 354 go\nC: .\nS: 250 queued")
    assert codes(results[0]) == [550, 550]
    assert results[0].delivered == []
    assert results[0].failed_stage is Stage.RCPT
    assert machine.state is State.READY


@pytest.mark.parametrize(
    ("replies", "expected", "stage"),
    [
        ("S: 550 no\nS: 503 mail first\nS: 503 mail first", [550], Stage.MAIL),
        ("S: 250 Ok\nS: 550 no\nS: 503 rcpt first", [550], Stage.RCPT),
        ("S: 250 Ok\nS: 450 later\nS: 554 no valid recipients", [450], Stage.RCPT),
        ("S: 250 Ok\nS: 250 Ok\nS: 451 disk full", [451], Stage.DATA),
        ("S: 250 Ok\nS: 250 Ok\nS: 554 no", [554], Stage.DATA),
    ],
)
def test_a_transaction_without_content_is_closed_by_rset(
    play: Play, replies: str, expected: list[int], stage: Stage
) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, f"{PIPELINING}{envelope('b@y.test')}{replies}\nC: RSET")
    assert results == []
    play(machine, "S: 250 Ok")
    assert codes(results[0]) == expected
    assert (results[0].failed_stage, results[0].error) == (stage, None)
    assert machine.state is State.READY


def test_a_refused_sender_stops_the_envelope_step_by_step(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, PLAIN + "C: MAIL FROM:<a@x.test>\nS: 553 no\nC: RSET\nS: 250 Ok")
    assert codes(results[0]) == [553]


@pytest.mark.parametrize("code", [452, 550])
def test_refused_content_decides_for_all(play: Play, code: int) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, PIPELINING + envelope("b@y.test"))
    play(machine, f"S: 250 Ok\nS: 250 Ok\nS: 354 go\nC: Hi\nC: .\nS: {code} no")
    assert codes(results[0]) == [code]
    assert (results[0].failed_stage, results[0].delivered) == (Stage.FINAL, [])
    assert machine.state is State.READY


def test_the_next_envelope_follows_the_final_dot(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    first, second = submit(machine, mail()), submit(machine, mail("c@y.test", content=[b"Two\r\n"]))
    play(machine, PIPELINING + envelope("b@y.test"))
    play(machine, "S: 250 Ok\nS: 250 Ok\nS: 354 go\nC: Hi\nC: .\n" + envelope("c@y.test"))
    assert first == []
    play(machine, "S: 550 not this one\nS: 250 Ok\nS: 250 Ok\nS: 354 go\nC: Two\nC: .\nS: 250 Ok")
    assert (codes(first[0]), codes(second[0])) == ([550], [250])


def test_a_message_queued_behind_content_already_sent_is_overlapped_too(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    submit(machine, mail())
    play(machine, PIPELINING + envelope("b@y.test") + "S: 250 Ok\nS: 250 Ok\nS: 354 go\nC: Hi\nC: .")
    submit(machine, mail("c@y.test"))
    play(machine, envelope("c@y.test") + "S: 250 Ok")


def test_nothing_overlaps_if_told_so(play: Play) -> None:
    machine = ClientMachine(ClientSettings("client.test", overlap=False))
    submit(machine, mail())
    submit(machine, mail("c@y.test"))
    play(machine, PIPELINING + envelope("b@y.test") + "S: 250 Ok\nS: 250 Ok\nS: 354 go\nC: Hi\nC: .")
    play(machine, "S: 250 Ok\n" + envelope("c@y.test"))


def test_helo_is_the_fallback(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    play(machine, GREETING + "S: 502 what\nC: HELO client.test\nS: 250 mx.test PIPELINING")
    assert machine.state is State.READY
    assert machine.offers == {}


@pytest.mark.parametrize(
    ("dialog", "stage"),
    [
        ("S: 554 go away", Stage.GREETING),
        ("S: 421 busy", Stage.GREETING),
        (GREETING + "S: 421 busy", Stage.EHLO),
        (GREETING + "S: 450 not now", Stage.EHLO),
        (GREETING + "S: 500 no\nC: HELO client.test\nS: 550 no", Stage.EHLO),
    ],
)
def test_a_refused_connection_carries_the_peers_reply(play: Play, dialog: str, stage: Stage) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, dialog)
    assert isinstance(machine.error, Refused)
    assert machine.error.stage is stage
    assert machine.error.text == f"answered {dialog.rpartition('S: ')[2]}"
    assert codes(results[0]) == [None]
    assert results[0].failed_stage is Stage.IDLE


@pytest.mark.parametrize(("code", "stage"), [(250, Stage.GREETING), (354, Stage.GREETING), (200, Stage.GREETING)])
def test_a_wrong_greeting_is_a_fault(code: int, stage: Stage) -> None:
    machine = ClientMachine(SETTINGS)
    machine.receive(b"%d hello\r\n" % code)
    assert isinstance(machine.error, ProtocolError)
    assert machine.error.stage is stage


ROAD = [
    ("", "S: 220 mx.test", Stage.GREETING),
    ("C: EHLO client.test", "S: 250-mx.test\nS: 250 PIPELINING", Stage.EHLO),
    (envelope("b@y.test").strip(), "S: 250 Ok", Stage.MAIL),
    ("", "S: 250 Ok", Stage.RCPT),
    ("", "S: 354 go", Stage.DATA),
    ("C: Hi\nC: .", "S: 250 Ok", Stage.FINAL),
]


def until(number: int) -> str:
    """Give the dialog of the good road up to, and without, the answer of a step."""
    lines = [line for step in ROAD[:number] for line in step[:2]] + [ROAD[number][0]]
    return "\n".join(line for line in lines if line)


@pytest.mark.parametrize("number", range(len(ROAD)))
def test_421_ends_the_connection_at_every_stage(play: Play, number: int) -> None:
    machine = ClientMachine(SETTINGS)
    results, waiting = submit(machine, mail()), submit(machine, mail())
    machine_overlaps = number == len(ROAD) - 1
    play(machine, until(number) + ("\n" + envelope("b@y.test") if machine_overlaps else ""))
    play(machine, "S: 421 4.3.2 shutting down")
    assert machine.state is State.CLOSED
    assert isinstance(machine.error, Refused)
    (result,) = results
    assert not result.delivered
    assert not result.maybe_delivered
    assert codes(result) == ([421] if number >= 2 else [None])
    assert codes(waiting[0]) == [None]
    assert isinstance(waiting[0].error, Refused)


@pytest.mark.parametrize("number", range(len(ROAD)))
def test_a_lost_connection_says_whether_the_message_may_be_there(play: Play, number: int) -> None:
    machine = ClientMachine(ClientSettings("client.test", overlap=False))
    results = submit(machine, mail())
    play(machine, until(number))
    machine.peer_closed("[Errno 104] Connection reset by peer")
    (result,) = results
    assert isinstance(result.error, PeerClosed)
    assert result.error.text == "[Errno 104] Connection reset by peer"
    assert result.failed_stage is (ROAD[number][2] if number >= 2 else Stage.IDLE)
    assert result.maybe_delivered is (ROAD[number][2] is Stage.FINAL)
    assert codes(result) == [None]


@pytest.mark.parametrize("number", range(2, len(ROAD)))
@pytest.mark.parametrize("extra", ["S: 250 Ok", "S: 354 go", "S: 550 no", "S: 220 mx.test"])
def test_a_doubled_reply_never_counts(play: Play, number: int, extra: str) -> None:
    """Whatever is said once too often, no message is taken for delivered that was not, none for refused."""
    machine = ClientMachine(ClientSettings("client.test", overlap=False))
    first = submit(machine, mail())
    play(machine, until(number))
    rest = b"".join(step[1][3:].encode() + b"\r\n" for step in ROAD[number + 1 :])
    machine.receive(f"{ROAD[number][1][3:]}\r\n{extra[3:]}\r\n".encode())
    finished = number == len(ROAD) - 1
    sent_now(machine)
    machine.receive(rest + b"250 Ok\r\n")
    sent_now(machine)
    assert machine.state is State.CLOSED
    assert isinstance(machine.error, ProtocolError)
    if finished:
        assert codes(first[0]) == [250]
    else:
        assert codes(first[0]) == [None]
        assert isinstance(first[0].error, ProtocolError)


@pytest.mark.parametrize("extra", [b"250 Ok\r\n", b"550 no\r\n", b"354 go\r\n"])
@pytest.mark.parametrize("overlap", [False, True])
def test_a_late_reply_is_not_taken_for_the_next_message(play: Play, extra: bytes, overlap: bool) -> None:
    machine = ClientMachine(ClientSettings("client.test", overlap=overlap))
    first = submit(machine, mail())
    play(machine, until(5))
    second = submit(machine, mail("c@y.test", "d@y.test"))
    sent_now(machine)
    machine.receive(b"250 Ok\r\n")
    sent_now(machine)
    for reply in (extra, b"250 Ok\r\n", b"250 Ok\r\n", b"550 no\r\n", b"354 go\r\n", b"250 Ok\r\n", b"250 Ok\r\n"):
        machine.receive(reply)
        assert b"Hi" not in sent_now(machine)
    assert codes(first[0]) == [250]
    assert codes(second[0]) == [None, None]
    assert isinstance(machine.error, ProtocolError)


def test_a_shift_that_looks_like_a_refusal_is_found_by_the_rset(play: Play) -> None:
    """MAIL gets a late 550, so everything moves by one: the reply to DATA then comes as that to RSET."""
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, PIPELINING + envelope("b@y.test"))
    play(machine, "S: 550 late\nS: 250 Ok\nS: 550 nobody\nC: RSET")
    assert results == []
    play(machine, "S: 503 rcpt first")
    assert codes(results[0]) == [None]
    assert isinstance(results[0].error, ProtocolError)


def test_replies_stand_if_the_peer_leaves_instead_of_answering_rset(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, PIPELINING + envelope("b@y.test") + "S: 554 blocked\nS: 503 no\nS: 503 no\nC: RSET")
    machine.peer_closed()
    assert codes(results[0]) == [554]
    assert results[0].error is None


def test_a_reply_while_content_is_under_way_ends_it(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    chunks = iter([b"a" * 200_000, b"b" * 200_000])
    results = submit(machine, mail(content=chunks))
    play(machine, PIPELINING + envelope("b@y.test"))
    machine.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    assert b"".join(machine.take()) == b"a" * 200_000
    machine.receive(b"552 too much\r\n")
    assert machine.take() == []
    assert isinstance(results[0].error, ProtocolError)
    assert not results[0].maybe_delivered


def test_421_on_an_idle_connection_is_no_fault(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    play(machine, PIPELINING + "S: 421 idle too long")
    assert isinstance(machine.error, Refused)
    assert machine.error.stage is Stage.IDLE


STARTTLS = GREETING + "S: 250-mx.test\nS: 250-PIPELINING\nS: 250 STARTTLS\nC: STARTTLS\n"


@pytest.mark.parametrize("injected", [b"250 fake\r\n", b"2", b"250-mx\r\n", b"\r\n"])
@pytest.mark.parametrize("together", [True, False])
def test_octets_behind_the_reply_to_starttls_are_an_attack(play: Play, injected: bytes, together: bool) -> None:
    machine = ClientMachine(SETTINGS, tls=TlsUse.OFFERED)
    play(machine, STARTTLS)
    if together:
        machine.receive(b"220 go\r\n" + injected)
    else:
        machine.receive(b"220 go\r\n")
        assert machine.state is State.HANDSHAKE
        machine.receive(injected)
    assert machine.state is State.CLOSED
    assert isinstance(machine.error, ProtocolError)
    assert machine.take() == []


def test_what_was_learnt_before_tls_is_forgotten(play: Play) -> None:
    machine = ClientMachine(SETTINGS, tls=TlsUse.REQUIRED)
    results = submit(machine, mail())
    play(machine, STARTTLS + "S: 220 go")
    machine.tls_done()
    play(machine, "C: EHLO client.test\nS: 250-mx.test\nS: 250 STARTTLS\nC: MAIL FROM:<a@x.test>")
    assert machine.offers == {"STARTTLS": ""}
    assert results == []


def test_a_close_right_after_the_handshake_is_a_refused_certificate(play: Play) -> None:
    machine = ClientMachine(SETTINGS, tls=TlsUse.REQUIRED)
    play(machine, STARTTLS + "S: 220 go")
    machine.tls_done()
    play(machine, "C: EHLO client.test")
    machine.peer_closed()
    assert isinstance(machine.error, TlsError)
    assert "refused our certificate" in machine.error.text


@pytest.mark.parametrize(
    "dialog", [PIPELINING, STARTTLS + "S: 454 not now", GREETING + "S: 502 no\nC: HELO client.test\nS: 250 ok"]
)
def test_required_tls_that_is_not_to_be_had_is_an_error(play: Play, dialog: str) -> None:
    machine = ClientMachine(SETTINGS, tls=TlsUse.REQUIRED)
    results = submit(machine, mail())
    play(machine, dialog)
    assert isinstance(machine.error, TlsError)
    assert codes(results[0]) == [None]


def test_opportunistic_tls_that_is_refused_leaves_the_connection_in_the_clear(play: Play) -> None:
    machine = ClientMachine(SETTINGS, tls=TlsUse.OFFERED)
    play(machine, STARTTLS + "S: 454 not now")
    assert machine.state is State.READY


def test_a_message_over_the_peers_limit_is_not_offered(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail(size=100_001))
    play(machine, PIPELINING)
    assert results[0].replies[0] is not None
    assert (results[0].replies[0].code, results[0].replies[0].enhanced) == (552, "5.3.4")
    assert machine.state is State.READY


def test_parameters_are_given_where_they_are_offered(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    submit(machine, mail(size=9, body="8BITMIME", mail_parameters=("RET=HDRS",)))
    play(
        machine,
        GREETING
        + "S: 250-mx.test\nS: 250-8bitmime\nS: 250 SIZE\nC: MAIL FROM:<a@x.test> RET=HDRS SIZE=9 BODY=8BITMIME",
    )


def test_a_message_that_needs_smtputf8_is_refused_where_it_is_not_offered(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    utf8 = submit(machine, Transaction("ä@x.test", ["b@y.test"], [b""], smtputf8=True))
    one = submit(machine, mail("ü@y.test"))
    play(machine, PLAIN)
    assert [results[0].replies[0].enhanced for results in (utf8, one) if results[0].replies[0]] == ["5.6.7"] * 2


def test_smtputf8_goes_out_as_utf8(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    submit(machine, Transaction("ä@x.test", ["b@y.test"], [b""], smtputf8=True))
    play(machine, GREETING + "S: 250-mx.test\nS: 250 SMTPUTF8\nC: MAIL FROM:<\xc3\xa4@x.test> SMTPUTF8")


@pytest.mark.parametrize(
    "address",
    ["b@y.test\r\nDATA", "b\n@y.test", "b\0@y.test", "b@y.test> SIZE=1", "b c@y.test", "<b@y.test", '"a\r"@y.test', ""],
)
def test_an_address_cannot_carry_a_command(play: Play, address: str) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail(address, "c@y.test"))
    play(machine, PIPELINING + envelope("c@y.test") + "S: 250 Ok\nS: 250 Ok\nS: 354 go\nC: Hi\nC: .\nS: 250 Ok")
    assert codes(results[0]) == [553, 250]


def test_a_quoted_local_part_goes_out_as_it_is(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    submit(machine, mail('"a b>c\\""@y.test'))
    play(machine, PIPELINING + envelope('"a b>c\\""@y.test') + "S: 250 Ok")


def test_a_helo_name_cannot_carry_a_command() -> None:
    with pytest.raises(ValueError, match="one line"):
        ClientMachine(ClientSettings("x\r\nMAIL FROM:<>"))


@pytest.mark.parametrize("line", ["XCPQ 1\r\nMAIL", "a\0b", "", "ü"])
def test_a_command_is_one_line(line: str) -> None:
    with pytest.raises(ValueError, match=r"one line|ascii"):
        ClientMachine(SETTINGS).command(line, b"", print)


def test_a_command_carries_its_payload_and_waits_for_one_reply(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    answers: list[Reply | ClientFailure] = []
    machine.command("XCPQ META 6", b"a\r\n.\r\n", answers.append)
    results = submit(machine, mail())
    play(machine, PIPELINING + "C: XCPQ META 6\nC: a\nC: .\nS: 250 2.0.0 taken\n" + envelope("b@y.test") + "S: 250 Ok")
    assert answers == [Reply(250, "2.0.0", "taken")]
    machine.peer_closed()
    assert len(results) == 1


def test_a_command_learns_of_the_end_of_the_connection(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    answers: list[Reply | ClientFailure] = []
    machine.command("NOOP", b"", answers.append)
    machine.peer_closed()
    machine.command("NOOP", b"", answers.append)
    assert [type(answer) for answer in answers] == [PeerClosed, PeerClosed]


@pytest.mark.parametrize(
    "bomb",
    [
        b"250-x\r\n" * 10_000,
        b"2" * 100_000,
        b"250 " + b"x" * 100_000,
        b"250-a\r\n350 b\r\n",
        b"nonsense\r\n",
        b"250 a\n",
    ],
)
def test_replies_are_bounded(play: Play, bomb: bytes) -> None:
    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail())
    play(machine, PIPELINING + envelope("b@y.test"))
    machine.receive(bomb)
    assert isinstance(machine.error, ProtocolError)
    assert codes(results[0]) == [None]


SMUGGLING = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\r\n",
    b".\n",
    b".\r\n",
]


@pytest.mark.parametrize("ending", SMUGGLING)
def test_content_never_ends_early(play: Play, ending: bytes) -> None:
    """CVE-2023-51764 and its kin: what a lax peer takes for the end must not go out inside content."""
    machine = ClientMachine(SETTINGS)
    submit(machine, mail(content=[b"Subject: x\r\n\r\nhi" + ending + b"MAIL FROM:<evil@x.test>\r\n"]))
    play(machine, PIPELINING + envelope("b@y.test"))
    machine.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    sent = sent_now(machine)
    assert sent.endswith(b"\r\n.\r\n")
    inner = sent[:-5]
    rest = inner.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest
    assert b"\r\n.\r\n" not in inner


def test_bare_line_ends_are_refused_if_told_so(play: Play) -> None:
    machine = ClientMachine(ClientSettings("client.test", convert_bare_newlines=False))
    results = submit(machine, mail(content=[b"a\nb\r\n"]))
    play(machine, PIPELINING + envelope("b@y.test"))
    machine.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    assert sent_now(machine) == b""
    assert machine.state is State.CLOSED
    assert results[0].replies[0] is not None
    assert results[0].replies[0].enhanced == "5.6.11"


def test_content_that_cannot_be_read_gets_no_final_dot(play: Play) -> None:
    def broken() -> Iterable[bytes]:
        yield b"a" * 200_000
        raise OSError(5, "Input/output error")

    machine = ClientMachine(SETTINGS)
    results = submit(machine, mail(content=broken()))
    play(machine, PIPELINING + envelope("b@y.test"))
    machine.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    assert sent_now(machine) == b"a" * 200_000
    assert isinstance(results[0].error, LocalError)
    assert machine.state is State.CLOSED


def test_content_is_closed_when_it_is_not_wanted(play: Play) -> None:
    closed = []

    def content() -> Iterable[bytes]:
        try:
            yield b"a" * 200_000
            yield b"b"
        finally:
            closed.append(True)

    machine = ClientMachine(SETTINGS)
    submit(machine, mail(content=content()))
    play(machine, PIPELINING + envelope("b@y.test"))
    machine.receive(b"250 Ok\r\n250 Ok\r\n354 go\r\n")
    machine.take()
    machine.fail(TimedOut("timeout", Stage.CONTENT))
    assert closed == [True]


def test_quit_is_said_when_idle_only(play: Play) -> None:
    machine = ClientMachine(SETTINGS)
    assert machine.quit() is False
    play(machine, PIPELINING)
    assert machine.quit() is True
    play(machine, "C: QUIT\nS: 221 bye")
    assert machine.state is State.CLOSED
    assert machine.error is None
    assert submit(machine, mail())[0].failed_stage is Stage.IDLE


def test_the_table_refuses_what_is_not_in_it() -> None:
    with pytest.raises(LookupError):
        after(State.READY, Event.GO_AHEAD)
    reachable = {State.GREETING} | set(TRANSITIONS.values())
    assert reachable == set(State)


LINES = st.sampled_from(
    [
        b"220 mx\r\n",
        b"250 Ok\r\n",
        b"250-mx\r\n250 PIPELINING\r\n",
        b"354 go\r\n",
        b"550 no\r\n",
        b"451 later\r\n",
        b"421 bye\r\n",
        b"250-",
        b"\r\n",
        b"\n",
        b"xx\r\n",
        b"250-STARTTLS\r\n",
    ]
)


@given(st.lists(LINES, max_size=30), st.booleans(), st.booleans())
def test_no_peer_gets_the_machine_out_of_step(lines: list[bytes], tail: bool, close: bool) -> None:
    """Whatever is said: nothing is raised, each message has one result, delivered only for content and a 2yz."""
    machine = ClientMachine(SETTINGS)
    results: list[TransactionResult] = []
    for number in range(3):
        machine.submit(mail(f"{number}@y.test", content=[b"body\r\n"]), results.append)
    dots = 0
    start = [b"220 mx\r\n", b"250-mx\r\n250 PIPELINING\r\n"] if tail else []
    for line in start + lines:
        machine.receive(line)
        dots += sent_now(machine).count(b"body\r\n.\r\n")
    if close:
        machine.peer_closed()
    machine.fail(TimedOut("timeout", machine.stage))
    assert len(results) == 3
    delivered = [result for result in results if result.delivered]
    assert len(delivered) <= dots
    assert all(result.final is not None and result.final.code < 300 for result in delivered)
    assert all(None not in result.replies or result.error is not None for result in results)
