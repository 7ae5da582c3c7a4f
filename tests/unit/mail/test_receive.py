import asyncio
from pathlib import Path

import pytest

from core.journal.entry import Position
from core.journal.tail import Tail
from core.record import Accepted, Outcome, decode_accepted, decode_outcome
from mail.content import render
from protocol.smtp.conversation import TlsInfo
from tests.support.gateway import GatewayUnderTest, gateway
from tests.support.waiting import until

MESSAGE = b"From: a@x.example\r\nSubject: hi\x1b there\r\nMessage-ID: <1@x.example>\r\n\r\nbody\r\n"
ENVELOPE = ("EHLO client.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@example.test>")


def stored(under_test: GatewayUnderTest) -> list[tuple[Accepted, Outcome, bytes]]:
    tail = Tail(under_test.directory / "journal", Position())
    found = tail.read(1 << 24)
    tail.close()
    return [(decode_accepted(item.accepted), decode_outcome(item.outcome), item.data or b"") for item in found]


async def test_one_message_from_banner_to_close(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        assert client.greeting == "220 esa.example.test ESMTP\r\n"
        replies = client.say(*ENVELOPE)
        assert replies[-2:] == ["250 2.1.0 sender ok", "250 2.1.5 recipient ok"]
        assert await client.deliver(MESSAGE) == "250 2.0.0 Ok:  Message 1 accepted"
        client.say("QUIT")
        client.machine.disconnect("closed by the peer")
        assert under_test.lines() == [
            "Info: New SMTP ICID 1 interface InboundMail (127.0.0.1) address 192.0.2.9 "
            "reverse dns host unknown verified no",
            "Info: ICID 1 ACCEPT SG None match ALL SBRS None",
            "Info: Start MID 1 ICID 1",
            "Info: MID 1 ICID 1 From: <a@x.example>",
            "Info: MID 1 ICID 1 RID 0 To: <b@example.test>",
            "Info: MID 1 Message-ID '<1@x.example>'",
            'Info: MID 1 Subject "hi\\x1b there"',
            f"Info: MID 1 ready {len(MESSAGE)} bytes from <a@x.example>",
            "Info: MID 1 queued for delivery",
            "Info: ICID 1 close",
        ]
        ((accepted, outcome, content),) = stored(under_test)
        assert content == MESSAGE
        assert outcome.verdict == "deliver"
        assert render(accepted, outcome, content) == (
            b"Received: from client.example (unknown [192.0.2.9])\r\n\tby esa.example.test with ESMTP\r\n"
            b"\tid 1; Thu, 01 Jan 1970 00:00:00 +0000\r\n" + MESSAGE
        )
        assert under_test.counters.snapshot()["inj_msgs"]["uptime"] == 1
        await asyncio.sleep(0)
        assert under_test.pokes == 1


async def test_the_reply_waits_for_the_journal(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        client.machine.receive(b"BDAT 5 LAST\r\nhello")
        assert client.machine.take() == b""
        assert client.machine.waiting


async def test_a_journal_that_fails_is_answered_451(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)

        def refuse(mid: int, accepted: bytes, content: object, outcome: object, done: object) -> None:
            done(OSError("disk\ngone"))  # type: ignore[operator]

        under_test.intake.store.append = refuse  # type: ignore[method-assign, assignment]
        assert (await client.deliver(MESSAGE)).startswith("451 4.3.0 ")
        assert under_test.lines()[-2:] == [
            "Warning: MID 1 not stored: disk\\x0agone",
            "Info: Message aborted MID 1 Receiving aborted",
        ]
        assert "inj_msgs" not in under_test.counters.snapshot()


async def test_a_large_message_is_answered_first_and_filtered_afterwards(tmp_path: Path) -> None:
    with gateway(tmp_path, "f: if body-contains('needle') { drop(); }") as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        content = b"Subject: big\r\n\r\n" + b"0123456789abcdef\r\n" * 10_000 + b"needle\r\n"
        assert (await client.deliver(content)).startswith("250 2.0.0 ")
        await until(lambda: not under_test.intake.working and stored(under_test))
        ((_, outcome, _),) = stored(under_test)
        assert outcome.verdict == "drop"
        assert under_test.lines()[-2:] == [
            "Info: Message aborted MID 1 Dropped by filter 'f'",
            "Info: Message finished MID 1 aborted",
        ]


@pytest.mark.parametrize(
    ("recipient", "reply"),
    [
        ("joe@example.test", "250 2.1.5"),
        ("JOE@EXAMPLE.TEST", "250 2.1.5"),
        ("postmaster", "250 2.1.5"),
        ("Postmaster@esa.example.test", "250 2.1.5"),
        ("postmaster@example.test", "250 2.1.5"),
        ("postmaster@elsewhere.example", "550 5.1.0 #5.1.0 Address rejected."),
        ("joe@esa.example.test", "550 5.1.0"),
        ("joe@elsewhere.example", "550 5.1.0 #5.1.0 Address rejected."),
        ("joe@sub.example.test", "550 5.1.0"),
        ("victim%elsewhere.example@example.test", "550 5.7.1"),
        ("elsewhere.example!victim@example.test", "550 5.7.1"),
        ('"victim@elsewhere.example"@example.test', "550 5.7.1"),
        ("@example.test:victim@elsewhere.example", "550 5.1.0"),
        ("victim@[192.0.2.1]", "550 5.1.0"),
        ('"victim\\@elsewhere.example"@example.test', "550 5.7.1"),
    ],
)
async def test_recipients_of_a_peer_that_may_not_relay(tmp_path: Path, recipient: str, reply: str) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<>")
        assert client.say(f"RCPT TO:<{recipient}>")[0].startswith(reply)


async def test_a_refused_recipient_is_logged_and_counted(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<>", "RCPT TO:<a@no.example>")
        assert under_test.lines()[-2:] == [
            "Info: MID 1 ICID 1 From: <>",
            "Info: MID 1 ICID 1 To: <a@no.example> Rejected by RAT",
        ]
        assert under_test.counters.snapshot()["rejected_recips"]["uptime"] == 1
        assert under_test.counters.snapshot()["smtp_refused_recipient_access"]["uptime"] == 1


async def test_sender_groups(tmp_path: Path) -> None:
    groups = (
        {"name": "BAD", "entries": ("192.0.2.66",), "rule": "REJECT"},
        {"name": "GONE", "entries": ("192.0.2.67",), "rule": "TCPREFUSE"},
        {"name": "RELAYLIST", "entries": ("10.",), "rule": "RELAY"},
    )
    with gateway(tmp_path) as under_test:
        assert under_test.connect("192.0.2.66", sender_group=groups).greeting.startswith("554 ")
        assert under_test.connect("192.0.2.67", sender_group=groups).greeting.startswith("554 ")
        client = under_test.connect("10.1.1.1", sender_group=groups)
        client.say("EHLO x.example", "MAIL FROM:<>")
        assert client.say("RCPT TO:<any!x%y@where.example>")[0].startswith("250")
        lines = under_test.lines()
        assert "Info: ICID 1 REJECT SG BAD match 192.0.2.66 SBRS None" in lines
        assert "Info: ICID 0 TCPREFUSE SG GONE match 192.0.2.67 SBRS None" in lines
        assert "Info: ICID 2 RELAY SG RELAYLIST match 10. SBRS None" in lines


async def test_a_refusal_names_what_its_policy_asks_for(tmp_path: Path) -> None:
    text = "$remoteip is in $Group by $HATEntry, says $Hostname; $Groups and $OrgID stay"
    groups = ({"name": "BAD", "entries": ("192.0.2.",), "rule": "REJECT", "policy": {"reject_text": text}},)
    with gateway(tmp_path) as under_test:
        greeting = under_test.connect("192.0.2.66", sender_group=groups).greeting
        assert greeting == "554 192.0.2.66 is in BAD by 192.0.2., says esa.example.test; $Groups and $OrgID stay\r\n"


async def test_the_greeting_is_that_of_the_policy(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        plain = {"banner_text": "$Hostname no spam, $RemoteIP"}
        groups = ({"name": "QUIET", "entries": ("192.0.2.7",), "rule": "ACCEPT", "policy": {"banner_text": "ESMTP"}},)
        assert under_test.connect("192.0.2.8", policy=plain).greeting == "220 esa.example.test no spam, 192.0.2.8\r\n"
        assert under_test.connect("192.0.2.7", policy=plain, sender_group=groups).greeting == "220 ESMTP\r\n"


async def test_a_private_listener_refuses_who_is_in_no_group(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        assert under_test.connect(kind="private", rat=()).greeting.startswith("554 ")


async def test_limits_of_session_message_and_size(tmp_path: Path) -> None:
    policy = {"max_messages_per_session": 1, "max_recipients_per_message": 2, "max_message_size": 500}
    with gateway(tmp_path) as under_test:
        client = under_test.connect(policy=policy)
        client.say("EHLO x.example")
        assert client.say("MAIL FROM:<a@x.example> SIZE=501")[0] == "552 5.3.4 #5.3.4 message size exceeds limit"
        client.say("MAIL FROM:<a@x.example>")
        replies = client.say(*(f"RCPT TO:<r{number}@example.test>" for number in range(3)))
        assert [line[:9] for line in replies] == ["250 2.1.5", "250 2.1.5", "452 4.5.3"]
        assert (await client.deliver(MESSAGE)).startswith("250")
        assert client.say("MAIL FROM:<a@x.example>")[0].startswith("421 4.7.0 #4.7.0 Too many messages")
        failed = [line for line in under_test.lines() if "Receiving Failed" in line]
        assert failed == ["Info: ICID 1 Receiving Failed: Too Many Messages"]


async def test_a_groups_smaller_size_limit_holds_without_a_declared_size(tmp_path: Path) -> None:
    groups = ({"name": "SMALL", "entries": ("192.0.2.9",), "rule": "ACCEPT", "policy": {"max_message_size": 100}},)
    with gateway(tmp_path) as under_test:
        client = under_test.connect(sender_group=groups)
        client.say(*ENVELOPE)
        assert (await client.deliver(b"Subject: x\r\n\r\n" + b"a" * 200)).startswith("552 5.3.4")
        assert "Info: ICID 1 Receiving Failed: Message size exceeds limit" in under_test.lines()


async def test_connections_of_one_address_are_limited(tmp_path: Path) -> None:
    policy = {"max_connections_per_address": 1}
    with gateway(tmp_path) as under_test:
        first = under_test.connect(policy=policy)
        assert under_test.connect(policy=policy).greeting.startswith("421 4.4.5 #4.4.5 Too many connections")
        assert under_test.connect("192.0.2.10", policy=policy).greeting.startswith("220")
        first.machine.disconnect("QUIT")
        assert under_test.gateway.connections["192.0.2.9"] == 1, "the refused one is still counted until it closes"


async def test_recipients_an_hour_and_harvesting(tmp_path: Path) -> None:
    policy = {"max_recipients_per_hour": 2, "max_invalid_recipients_per_hour": 1}
    with gateway(tmp_path) as under_test:
        client = under_test.connect(policy=policy)
        client.say("EHLO x.example", "MAIL FROM:<>")
        replies = client.say(*(f"RCPT TO:<r{number}@example.test>" for number in range(3)))
        assert replies[2] == "452 4.5.3 Too many recipients received this hour"
        refused = client.say("RCPT TO:<a@no.example>", "RCPT TO:<b@no.example>")
        assert refused[0].startswith("550 5.1.0")
        assert refused[1] == "550 5.7.1 Too many invalid recipients"
        assert "Info: MID 1 ICID 1 To: <r2@example.test> Rejected by Receiving Control" in under_test.lines()


async def test_what_limits_answer_is_the_policys_and_421_ends_the_connection(tmp_path: Path) -> None:
    policy = {"max_recipients_per_hour": 1, "limit_code": 550, "limit_text": "No more from $RemoteIP"}
    policy |= {"max_invalid_recipients_per_hour": 1, "harvest_code": 421, "harvest_text": "Good bye, $Group"}
    with gateway(tmp_path) as under_test:
        client = under_test.connect(policy=policy)
        client.say("EHLO x.example", "MAIL FROM:<>", "RCPT TO:<a@example.test>")
        assert client.say("RCPT TO:<b@example.test>") == ["550 5.5.3 No more from 192.0.2.9"]
        refused = client.say("RCPT TO:<a@no.example>", "RCPT TO:<b@no.example>", "NOOP")
        assert refused == ["550 5.1.0 #5.1.0 Address rejected.", "421 4.7.1 Good bye, None"]


async def test_a_row_of_the_recipient_table_may_be_free_of_the_limit_an_hour(tmp_path: Path) -> None:
    rat = ({"recipient": "desk@example.test", "bypass_limits": True}, "example.test")
    with gateway(tmp_path) as under_test:
        client = under_test.connect(policy={"max_recipients_per_hour": 1}, rat=rat)
        client.say("EHLO x.example")
        for _ in range(2):
            replies = client.say("MAIL FROM:<>", "RCPT TO:<desk@example.test>", "RSET")
            assert replies[1].startswith("250 ")
        client.say("MAIL FROM:<>")
        replies = client.say("RCPT TO:<a@example.test>", "RCPT TO:<b@example.test>", "RCPT TO:<desk@example.test>")
        assert [line[:3] for line in replies] == ["250", "452", "250"]


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("connection lost", "lost"),
        ("TLS handshake failed: no shared cipher", "TLS failed: TLS handshake failed: no shared cipher"),
        (
            "Timed out waiting for successful message injection, disconnecting.",
            "disconnected address 192.0.2.9, no messages injected within timeout period",
        ),
        (
            "Exceeded allowable connection time, disconnecting.",
            "disconnected address 192.0.2.9, exceeded allowable connection time",
        ),
    ],
    ids=["lost", "tls", "unsuccessful", "overstayed"],
)
def test_each_end_of_a_connection_has_its_line_before_the_last(tmp_path: Path, reason: str, line: str) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.machine.disconnect(reason)
        assert under_test.lines()[-2:] == [f"Info: ICID 1 {line}", "Info: ICID 1 close"]


async def test_what_a_filter_drops_is_counted(tmp_path: Path) -> None:
    with gateway(tmp_path, "gone: if true { drop(); }") as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        assert (await client.deliver(MESSAGE)).startswith("250")
        counted = under_test.counters.snapshot()
        assert (counted["inj_msgs"]["uptime"], counted["dropped_msgs"]["uptime"]) == (1, 1)


async def test_tls_required(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect(policy={"tls": "required"})
        client.say("EHLO x.example")
        assert client.say("MAIL FROM:<>")[0] == "530 5.7.0 #5.7.0 Must issue a STARTTLS command first"
        assert "Info: ICID 1 TLS was required but remote host did not initiate it" in under_test.lines()
        client.say("STARTTLS")
        client.machine.secured(TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384"))
        client.say("EHLO x.example")
        assert client.say("MAIL FROM:<>")[0].startswith("250")
        client.say("RCPT TO:<b@example.test>")
        assert (await client.deliver(MESSAGE)).startswith("250")
        assert "Info: ICID 1 TLS success protocol TLSv1.3 cipher TLS_AES_256_GCM_SHA384" in under_test.lines()
        ((accepted, _, _),) = stored(under_test)
        assert b"with ESMTPS (TLSv1.3 TLS_AES_256_GCM_SHA384)\r\n" in accepted.trace


@pytest.mark.parametrize(
    ("head", "reply"),
    [
        (b"Received: from a by b\r\n" * 101, "554 5.4.6"),
        (b"X: " + b"a" * (300 * 1024), "552 5.3.4"),
        (b"X: y\r\n" * 1001, "552 5.3.4"),
    ],
)
async def test_loops_and_header_bombs_are_refused(tmp_path: Path, head: bytes, reply: str) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        assert (await client.deliver(head + b"\r\nbody\r\n")).startswith(reply)
        assert under_test.lines()[-1] == "Info: Message aborted MID 1 Receiving aborted"
        assert client.say("MAIL FROM:<>")[0].startswith("250")


async def test_8_bit_headers_pass_unchanged_or_are_refused(tmp_path: Path) -> None:
    message = b"Subject: caf\xe9\r\n\r\nx\r\n"
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        assert (await client.deliver(message)).startswith("250")
        assert stored(under_test)[0][2] == message
        strict = under_test.connect(eight_bit_headers="reject")
        strict.say(*ENVELOPE)
        assert (await strict.deliver(message)).startswith("550 5.6.0")


async def test_a_dropped_connection_leaves_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        client.machine.receive(b"BDAT 100\r\npart")
        client.machine.disconnect("connection lost")
        assert under_test.lines()[-3:] == [
            "Info: Message aborted MID 1 Receiving aborted",
            "Info: ICID 1 lost",
            "Info: ICID 1 close",
        ]
        assert stored(under_test) == []


async def test_a_queuing_sinkhole_stores_and_drops(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect(kind="sinkhole-queuing", rat=())
        client.say("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<any@where.example>")
        assert (await client.deliver(MESSAGE)).startswith("250 2.0.0 Ok:  Message 1 accepted")
        ((_, outcome, _),) = stored(under_test)
        assert outcome.verdict == "drop"
        counters = under_test.counters.snapshot()
        assert (counters["inj_msgs"]["uptime"], counters["dropped_msgs"]["uptime"]) == (1, 1)


async def test_a_sinkhole_stores_nothing(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect(kind="sinkhole", rat=())
        client.say("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<any@where.example>")
        assert await client.deliver(MESSAGE) == "250 2.0.0 Ok:  Message 1 accepted"
        assert stored(under_test) == []
        assert under_test.counters.snapshot()["inj_msgs"]["uptime"] == 1


async def test_the_same_recipient_twice_is_one_recipient(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE, "RCPT TO:<b@example.test>", "RCPT TO:<c@example.test>")
        await client.deliver(MESSAGE)
        ((accepted, _, _),) = stored(under_test)
        assert [(item.rid, item.address) for item in accepted.recipients] == [
            (0, "b@example.test"),
            (1, "c@example.test"),
        ]


async def test_content_that_is_spilled_early_still_shows_its_whole_header(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        hog = under_test.journal.content()
        hog.write(b"x" * 60_000)
        under_test.journal._content.held += 1 << 20  # the budget of the process is used up by others
        client = under_test.connect()
        client.say(*ENVELOPE)
        client.machine.receive(b"BDAT %d LAST\r\nFrom: a" % (len(MESSAGE)))
        reply = await client.deliver_rest(MESSAGE[len(b"From: a") :])
        under_test.journal._content.held -= 1 << 20
        hog.discard()
        assert reply.startswith("250")
        await until(lambda: stored(under_test))
        assert 'Info: MID 1 Subject "hi\\x1b there"' in under_test.lines()


async def test_content_that_cannot_be_written_is_not_taken_for_a_header_without_end(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        folder = under_test.journal.directory / "content"
        folder.rmdir()
        folder.write_bytes(b"")  # no file can be made in it
        body = b"line of text\r\n" * 40_000
        client.machine.receive(b"BDAT %d LAST\r\n" % (len(MESSAGE) + len(body)) + MESSAGE + body[:-2])
        await until(lambda: client.machine.sink.failure is not None)
        reply = await client.deliver_rest(body[-2:])
        assert reply.startswith("451 4.3.0")
        said = under_test.lines()
        assert any(line.startswith("Warning: MID 1 not stored: [Errno") for line in said)
        assert "Info: Message aborted MID 1 Receiving aborted" in said


OPEN_RELAY_FORMS = (
    "<victim@elsewhere.example>",
    "<victim%elsewhere.example@example.test>",
    "<victim%elsewhere.example@[127.0.0.1]>",
    "<victim%elsewhere.example@esa.example.test>",
    '<"victim@elsewhere.example"@example.test>',
    '<"victim%elsewhere.example"@example.test>',
    '<"victim@elsewhere.example">',
    '<"victim%elsewhere.example">',
    "<@example.test:victim@elsewhere.example>",
    "<@[127.0.0.1]:victim@elsewhere.example>",
    "<@esa.example.test:victim@elsewhere.example>",
    "<elsewhere.example!victim>",
    "<elsewhere.example!victim@example.test>",
    "<elsewhere.example!victim@[127.0.0.1]>",
    "<victim@elsewhere.example@example.test>",
    "<victim@[192.0.2.1]>",
    "<victim@>",
    "<victim>",
)
OPEN_RELAY_SENDERS = ("<spammer@elsewhere.example>", "<>", "<postmaster@example.test>", "<x@esa.example.test>")


@pytest.mark.parametrize("sender", OPEN_RELAY_SENDERS)
@pytest.mark.parametrize("recipient", OPEN_RELAY_FORMS)
async def test_no_form_of_address_relays_for_a_stranger(tmp_path: Path, sender: str, recipient: str) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say("EHLO esa.example.test")
        assert client.say(f"MAIL FROM:{sender}")[0].startswith("250 ")
        assert client.say(f"RCPT TO:{recipient}")[0][:1] == "5"
        assert client.say("DATA")[0].startswith("554 5.5.1 ")


async def test_a_peer_that_leaves_behind_the_final_dot_has_sent_its_message_once(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE, "DATA")
        client.machine.receive(MESSAGE + b".\r\n")
        client.machine.disconnect("connection lost")
        await until(lambda: under_test.counters.snapshot().get("inj_msgs"))
        assert [content for _, _, content in stored(under_test)] == [MESSAGE]
        assert client.machine.take() == b""


async def test_the_record_keeps_what_the_parameters_ask_for(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.secure()
        replies = client.say(
            "MAIL FROM:<a@x.example> RET=HDRS ENVID=QQ+2B1 REQUIRETLS BODY=8BITMIME",
            "RCPT TO:<b@example.test> NOTIFY=success,DELAY ORCPT=rfc822;Bob@example.test",
            "RCPT TO:<c@example.test> NOTIFY=NEVER",
            "RCPT TO:<d@example.test>",
        )
        assert all(reply.startswith("250 ") for reply in replies)
        await client.deliver(b"TLS-Required: No\r\n\r\nx\r\n")
        ((accepted, _, _),) = stored(under_test)
        assert (accepted.ret, accepted.envid, accepted.require_tls, accepted.body) == (
            "HDRS",
            "QQ+2B1",
            "yes",
            "8BITMIME",
        )
        assert [(one.notify, one.orcpt) for one in accepted.recipients] == [
            ("SUCCESS,DELAY", "rfc822;Bob@example.test"),
            ("NEVER", ""),
            ("", ""),
        ]


async def test_a_header_field_may_renounce_tls(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say(*ENVELOPE)
        await client.deliver(b"Subject: x\r\nTLS-Required: No\r\n\r\nx\r\n")
        assert [accepted.require_tls for accepted, _, _ in stored(under_test)] == ["no"]


async def test_binary_content_passes_the_filters_and_is_kept_octet_for_octet(tmp_path: Path) -> None:
    message = (
        b"Subject: b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\0\n.\n\r\xff\r\n--b--"
    )
    filters = (
        "f: if (body-contains('nowhere')) or (attachment-filename == 'x') { drop(); }"
        " g: if subject == 'b' { insert-header('X-Seen', 'yes'); }"
    )
    with gateway(tmp_path, filters) as under_test:
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<a@x.example> BODY=BINARYMIME", "RCPT TO:<b@example.test>")
        assert (await client.deliver(message)).startswith("250 2.0.0 ")
        ((accepted, outcome, content),) = stored(under_test)
        assert (accepted.body, outcome.verdict, content) == ("BINARYMIME", "deliver", message)
        assert render(accepted, outcome, content).endswith(b"X-Seen: yes\r\n" + message)


async def test_utf8_headers_come_with_smtputf8_only_where_8_bit_headers_are_refused(tmp_path: Path) -> None:
    message = "From: j\u00f6@x.example\r\n\r\nx\r\n".encode()
    with gateway(tmp_path) as under_test:
        client = under_test.connect(eight_bit_headers="reject", rat=("xn--bcher-kva.test",))
        client.say("EHLO x.example", "MAIL FROM:<a@x.example>", "RCPT TO:<b@xn--bcher-kva.test>")
        assert (await client.deliver(message)).startswith("550 5.6.0 ")
        client.say("MAIL FROM:<j\u00f6@x.example> SMTPUTF8", "RCPT TO:<j\u00f6@B\u00fccher.test>")
        assert (await client.deliver(message)).startswith("250 2.0.0 ")
        ((accepted, _, _),) = stored(under_test)
        assert accepted.recipients[0].address == "j\u00f6@B\u00fccher.test"
        assert accepted.smtputf8
        assert b" with UTF8SMTP\r\n" in accepted.trace


async def test_a_size_for_which_there_is_no_room_is_refused_at_once(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        under_test.journal._keeper.room = 1000
        client = under_test.connect()
        client.say("EHLO x.example")
        assert client.say("MAIL FROM:<> SIZE=1001")[0].startswith("452 4.3.1 ")
        assert client.say("MAIL FROM:<> SIZE=1000")[0].startswith("250 ")


async def test_8_bit_content_that_was_called_7_bit_is_taken_and_logged(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = under_test.connect()
        client.say("EHLO x.example", "MAIL FROM:<> BODY=7BIT", "RCPT TO:<b@example.test>")
        assert (await client.deliver(b"\r\ncaf\xe9\r\n")).startswith("250 ")
        assert "Info: MID 1 BODY=7BIT was declared for content with 8-bit octets" in under_test.lines()
