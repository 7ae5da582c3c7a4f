"""Aliases, domain maps and masquerading as a client of a listener meets them, down to the octets that leave."""

from pathlib import Path
from typing import Any

from core.journal.entry import Position
from core.journal.tail import Tail
from core.record import Accepted, Outcome, decode_accepted, decode_outcome
from mail.config import ListenerSection
from mail.content import render
from mail.rewrite.config import AliasSection
from mail.rewrite.tables import rewriting_of
from tests.support.gateway import HOSTNAME, Client, GatewayUnderTest, gateway

CONTENT = (
    b'From: "Joe, the (first)" <joe@in.example>\r\nX-Kept:  odd \t\r\nTO: ann@in.example (joe@in.example),\r\n'
    b"\tbob@example.test\r\nSubject: hi\r\n\r\nFrom: joe@in.example\r\n"
)


def stored(under_test: GatewayUnderTest) -> list[tuple[Accepted, Outcome, bytes]]:
    tail = Tail(under_test.directory / "journal", Position())
    found = tail.read(1 << 24)
    tail.close()
    return [(decode_accepted(item.accepted), decode_outcome(item.outcome), item.data or b"") for item in found]


def connect(under_test: GatewayUnderTest, *aliases: dict[str, Any], **section: Any) -> Client:
    listener = ListenerSection(**{"name": "InboundMail", "rat": ("example.test",), **section})
    tables = rewriting_of([listener], tuple(AliasSection(**one) for one in aliases), HOSTNAME)
    under_test.pipeline.rewriting = lambda: tables
    return under_test.connect(**section)


async def test_an_alias_becomes_what_it_stands_for_behind_the_recipient_table(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = connect(
            under_test,
            {"alias": "help@example.test", "to": ["bob@example.test", "Team@outside.example"]},
            {"alias": "x@refused.example", "to": ["y@example.test"]},
        )
        assert client.say(
            "EHLO c.example",
            "MAIL FROM:<a@x.example>",
            "RCPT TO:<Help@example.test> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;given@example.test",
            "RCPT TO:<x@refused.example>",
            "RCPT TO:<bob@example.test>",
        )[-3:] == ["250 2.1.5 recipient ok", "550 5.1.0 #5.1.0 Address rejected.", "250 2.1.5 recipient ok"]
        await client.deliver(CONTENT)
        ((accepted, _, _),) = stored(under_test)
        assert [(one.rid, one.address, one.original, one.notify, one.orcpt) for one in accepted.recipients] == [
            (0, "bob@example.test", "Help@example.test", "SUCCESS,FAILURE", "rfc822;given@example.test"),
            (1, "Team@outside.example", "Help@example.test", "FAILURE", "rfc822;given@example.test"),
        ]
        assert "Info: MID 1 ICID 1 RID 0 To: <Help@example.test>" in under_test.lines()
        line = "Alias match: MID 1 RID 0 recipient Help@example.test mapped to bob@example.test, Team@outside.example"
        assert f"Info: {line}" in under_test.lines()


async def test_a_recipient_for_nobody_is_taken_and_counted_as_dropped(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        none, nil = ({"alias": name, "to": ["/dev/null"]} for name in ("none", "nil"))
        client = connect(under_test, none, nil)
        mail = ("EHLO c.example", "MAIL FROM:<a@x.example>", "RCPT TO:<none@example.test>")
        assert client.say(*mail, "RCPT TO:<bob@example.test>")[-2:] == ["250 2.1.5 recipient ok"] * 2
        assert (await client.deliver(CONTENT)).startswith("250 2.0.0 Ok:  Message 1 accepted")
        client.say(*mail, "RCPT TO:<none@example.test>", "RCPT TO:<nil@example.test>")
        assert (await client.deliver(CONTENT)).startswith("250 2.0.0 Ok:  Message 2 accepted")
        first, second = stored(under_test)
        assert [one.address for one in first[0].recipients] == ["bob@example.test"]
        assert first[1].verdict == "deliver"
        assert second[0].recipients == []
        assert second[1].verdict == "drop"
        assert under_test.counters.snapshot()["dropped_msgs"]["uptime"] == 3
        assert "Info: Message aborted MID 2 Dropped by the alias table" in under_test.lines()


async def test_the_limit_of_recipients_counts_those_that_were_named(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        alias = {"alias": "all", "to": [f"u{n}@example.test" for n in range(50)]}
        client = connect(under_test, alias, policy={"max_recipients_per_message": 2})
        replies = client.say(
            "EHLO c.example",
            "MAIL FROM:<a@x.example>",
            "RCPT TO:<all@example.test>",
            "RCPT TO:<b@example.test>",
            "RCPT TO:<c@example.test>",
        )
        assert [reply[:3] for reply in replies[-3:]] == ["250", "250", "452"]


async def test_a_domain_is_mapped_before_the_recipient_table_and_before_aliases(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        client = connect(
            under_test,
            {"alias": "help@example.test", "to": ["bob@example.test"]},
            domain_map=[
                {"match": "old.example", "to": "example.test"},
                {"match": "out@example.test", "to": "out@else.example"},
            ],
        )
        replies = client.say(
            "EHLO c.example",
            "MAIL FROM:<a@x.example>",
            "RCPT TO:<joe@old.example>",
            "RCPT TO:<help@old.example>",
            "RCPT TO:<out@example.test>",
        )
        assert [reply[:3] for reply in replies[-3:]] == ["250", "250", "550"]
        await client.deliver(CONTENT)
        ((accepted, outcome, content),) = stored(under_test)
        assert [(one.address, one.original) for one in accepted.recipients] == [
            ("joe@example.test", "joe@old.example"),
            ("bob@example.test", "help@old.example"),
        ]
        assert render(accepted, outcome, content).endswith(CONTENT)


async def test_masquerading_exchanges_addresses_and_nothing_else(tmp_path: Path) -> None:
    filters = "seen: if header('From') == 'JD@out' { insert-header('X-Seen', '$EnvelopeFrom'); }"
    with gateway(tmp_path, filters) as under_test:
        client = connect(
            under_test,
            kind="private",
            rat=(),
            default_rule="RELAY",
            masquerade=[
                {"match": "joe@in.example", "to": "JD@out.example"},
                {"match": "@in.example", "to": "@out.example"},
            ],
            masquerade_in=["Envelope Sender", "From", "To"],
        )
        client.say("EHLO c.example", "MAIL FROM:<joe@in.example>", "RCPT TO:<ann@in.example>")
        await client.deliver(CONTENT)
        ((accepted, outcome, content),) = stored(under_test)
        assert content == CONTENT
        assert (accepted.sender, accepted.original_sender) == ("JD@out.example", "joe@in.example")
        assert [one.address for one in accepted.recipients] == ["ann@in.example"]
        assert render(accepted, outcome, content) == accepted.trace + b"X-Seen: JD@out.example\r\n" + CONTENT.replace(
            b"<joe@in.example>", b"<JD@out.example>"
        ).replace(b"TO: ann@in.example", b"TO: ann@out.example")
        lines = under_test.lines()
        assert "Info: MID 1 masquerading envelope sender from 'joe@in.example' to 'JD@out.example'" in lines
        assert "Info: MID 1 masquerading header 'From' from 'joe@in.example' to 'JD@out.example'" in lines
        assert "Info: MID 1 masquerading header 'To' from 'ann@in.example' to 'ann@out.example'" in lines


async def test_the_null_sender_is_never_masqueraded(tmp_path: Path) -> None:
    with gateway(tmp_path) as under_test:
        rows = [{"match": "ALL", "to": "x@out.example"}]
        client = connect(under_test, masquerade=rows, masquerade_in=["Envelope Sender"])
        client.say("EHLO c.example", "MAIL FROM:<>", "RCPT TO:<bob@example.test>")
        await client.deliver(CONTENT)
        ((accepted, outcome, _),) = stored(under_test)
        assert (accepted.sender, accepted.original_sender, outcome.edits) == ("", "", [])
