"""`trace` on a real machine's configuration: the report, the dialogue, and that what is pending counts."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from daemons.initial import make
from daemons.machine import Machine
from daemons.tracing import trace
from tests.support.golden import same_as_golden
from tests.support.operating import Operating

MORE = """
[[listener]]
name = "InboundMail"
address = "127.0.0.1"
port = 2525
rat = ["example.test"]
domain_map = [{ match = "old.example", to = "example.test" }]

[[listener]]
name = "OutboundMail"
kind = "private"
address = "127.0.0.1"
port = 2526
footer = "legal"
masquerade = [{ match = "@in.example", to = "@out.example" }]
masquerade_in = ["Envelope Sender", "From"]
  [[listener.sender_group]]
  name = "OURS"
  entries = ["192.0.2.0/24"]
  rule = "RELAY"

[[text]]
name = "legal"
kind = "disclaimer"
text = "Legal words."

[[alias]]
alias = "help@example.test"
to = ["bob@example.test", "eve@far.example"]

[[route]]
domain = "ALL"
hosts = ["127.0.0.1:2598"]

[unsubscribe]
enabled = true
entries = ["eve@far.example"]

[filters]
text = '''
big: if body-size > 10M { drop(); }
hold: if subject == "hold" { quarantine("Policy"); } else { insert-header("X-Seen", "$MID"); }
'''
"""
CONTENT = "From: Joe <joe@in.example>\nSubject: {}\n\nbody\n"


def machine(folder: Path) -> Operating:
    folder = folder / "esa"
    make("esa", folder, hostname="esa.example.test")
    text = (folder / "gatepost.toml").read_text().partition("[console]")[0] + MORE
    (folder / "gatepost.toml").write_text(text)
    return Operating(folder, text, trace=partial(trace, Machine.open(folder / "gatepost.toml")))


async def traced(one: Operating, options: str, subject: str = "hello") -> Any:
    ran = await one.ran(f"trace --json - {options}", stdin=CONTENT.format(subject).encode())
    assert ran.status == 0, ran
    return json.loads(ran.output)


def verdicts(document: Any, stage: str) -> list[tuple[str, str, str]]:
    return [(one["rule"], one["input"], one["verdict"]) for one in document["decisions"] if one["stage"] == stage]


async def test_each_stage_tells_its_rule_and_verdict(tmp_path: Path) -> None:
    found = await traced(
        machine(tmp_path), "--ip 198.51.100.1 --to help@old.example,x@else.example --sender a@b.example"
    )
    assert verdicts(found, "domain-map")[0] == ("old.example", "help@old.example", "help@example.test")
    assert verdicts(found, "recipient-access-table") == [
        ("example.test", "help@example.test", "accepted"),
        ("ALL", "x@else.example", "550 #5.1.0 Address rejected."),
    ]
    assert verdicts(found, "global-unsubscribe") == [
        ("", "bob@example.test", "no change"),
        ("eve@far.example", "eve@far.example", "dropped"),
    ]
    assert verdicts(found, "destination")[0] == ("SMTP route", "example.test", "127.0.0.1 (127.0.0.1:2598)")
    assert (found["verdict"], found["recipients"]) == ("deliver", ["bob@example.test", "eve@far.example"])
    assert "\r\nX-Seen: 1\r\n" in found["message"]


async def test_a_private_listener_masquerades_and_stamps(tmp_path: Path) -> None:
    found = await traced(
        machine(tmp_path), "--ip 192.0.2.7 --to x@far.example --sender joe@in.example --listener outboundmail"
    )
    assert verdicts(found, "masquerade-sender") == [("", "joe@in.example", "joe@out.example")]
    assert verdicts(found, "stamp") == [("legal", "footer", "stamped")]
    assert found["message"].endswith("From: Joe <joe@out.example>\r\nSubject: hello\r\n\r\nbody\r\nLegal words.\r\n")


async def test_what_is_pending_counts(tmp_path: Path) -> None:
    one = machine(tmp_path)
    assert (await one.ran("aliasconfig edit help@example.test new@example.test")).status == 0
    found = await traced(one, "--ip 198.51.100.1 --to help@example.test")
    assert found["recipients"] == ["new@example.test"]
    assert (await one.ran("aliasconfig delete help@example.test")).status == 0
    assert (await traced(one, "--ip 198.51.100.1 --to help@example.test"))["recipients"] == ["help@example.test"]


async def test_quarantined_mail_and_refused_hosts_end_there(tmp_path: Path) -> None:
    one = machine(tmp_path)
    held = await traced(one, "--ip 198.51.100.1 --to bob@example.test", "hold")
    assert (held["verdict"], [row["name"] for row in held["quarantines"]]) == ("quarantine", ["Policy"])
    refused = await traced(one, "--ip 198.51.100.1 --to bob@example.test --listener OutboundMail")
    assert (refused["verdict"], refused["reason"][:3], len(refused["decisions"])) == ("refused", "554", 1)


async def test_what_cannot_be_traced_is_told(tmp_path: Path) -> None:
    one = machine(tmp_path)
    assert (await one.ran("trace -")).status == 64
    for line, status, words in (
        ("trace --ip 1.2.3 --to a@b.example -", 65, "not an IP address"),
        ("trace --ip 1.2.3.4 --to a@b.example --listener Nowhere -", 66, "InboundMail, OutboundMail"),
        ("trace --ip 1.2.3.4 --to a@ -", 65, "not an address"),
        ("trace --ip 1.2.3.4 --to a@b.example there-is-none", 66, "cannot be read"),
    ):
        ran = await one.ran(line, stdin=b"x: y\n\n")
        assert (ran.status, words in ran.error) == (status, True), ran


async def test_trace_as_it_is_on_the_screen(tmp_path: Path) -> None:
    one = machine(tmp_path)
    shown = await one.talked(
        "trace",
        "198.51.100.1",
        "mx.far.example",
        "1",
        "ann@far.example",
        "help@old.example, x@else.example",
        "n",
        "Subject: hold",
        "",
        "body",
        ".",
        "n",
        "y",
        "",
        "",
        "",
        "",
        "bob@example.test",
        "n",
        "n",
        "Subject: hello",
        "",
        "body",
        ".",
        "n",
        "n",
    )
    same_as_golden(Path(__file__).parent / "golden" / "trace.txt", shown)
    assert not any("body" in line for line in one.audit.lines), "the text of a message is in the audit log"
