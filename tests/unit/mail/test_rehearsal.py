"""`trace` shows what the session and the pipeline decide, and leaves nothing behind."""

from typing import Any

import pytest

from core.errors import GatepostError
from mail.access import build_access
from mail.config import ListenerSection
from mail.filter.compiler import Around, compile_filters
from mail.pipeline import Pipeline
from mail.rehearsal import Findings, Trial, rehearse
from mail.rewrite.config import AliasSection
from mail.rewrite.tables import rewriting_of

HOSTNAME = "esa.example.test"
CONTENT = b"From: joe@in.example\r\nSubject: [hold] it\r\n\r\nbody\r\n"
FILTERS = """
skipped: if subject == 'never' { drop(); }
tag: if true { insert-header('X-Tag', 'yes'); }
hold: if subject == '^\\\\[hold\\\\]' { quarantine('Policy'); } else { no-op(); }
"""


def trial(*recipients: str, sender: str = "joe@in.example", address: str = "192.0.2.9") -> Trial:
    return Trial(address, "", sender, recipients, CONTENT)


def rehearsed(one: Trial, filters: str = FILTERS, **section: Any) -> Findings:
    listener = ListenerSection(**{"name": "InboundMail", "rat": ("example.test",), **section})
    aliases = (
        AliasSection(alias="help@example.test", to=("bob@example.test", "eve@out.example")),
        AliasSection(alias="none@example.test", to=("/dev/null",)),
    )
    tables = rewriting_of([listener], aliases, HOSTNAME)
    program = compile_filters(filters, around=Around(HOSTNAME))
    return rehearse(one, build_access(listener), Pipeline(lambda: program, rewriting=lambda: tables), HOSTNAME)


def decided(found: Findings, stage: str) -> list[tuple[str, str, str]]:
    return [(one.rule, one.input, one.verdict) for one in found.decisions if one.stage == stage]


def test_every_stage_is_recorded_in_the_order_in_which_it_is_passed() -> None:
    found = rehearsed(
        trial("help@old.example"),
        domain_map=[{"match": "old.example", "to": "example.test"}],
        masquerade=[{"match": "@in.example", "to": "@out.example"}],
        masquerade_in=["Envelope Sender", "From"],
        bounce_profile="",
    )
    assert [one.stage for one in found.decisions] == [
        "host-access-table",
        "default-domain",
        "masquerade-sender",
        "default-domain",
        "domain-map",
        "recipient-access-table",
        "alias-table",
        "virtual-gateway",
        "bounce-profile",
        "masquerade",
        "message-filters",
        "message-filters",
        "message-filters",
        "message-filters",
        "quarantine",
    ]
    assert decided(found, "host-access-table") == [("ALL", "192.0.2.9", "ACCEPT group None policy DEFAULT")]
    assert decided(found, "masquerade-sender") == [("", "joe@in.example", "joe@out.example")]
    assert decided(found, "domain-map") == [("old.example", "help@old.example", "help@example.test")]
    assert decided(found, "recipient-access-table") == [("example.test", "help@example.test", "accepted")]
    assert decided(found, "alias-table") == [
        ("help@example.test", "help@example.test", "bob@example.test, eve@out.example")
    ]
    assert decided(found, "message-filters")[:3] == [
        ("skipped", "", "no action"),
        ("tag", "", "insert-header X-Tag"),
        ("hold", "[hold]", 'quarantine "Policy"'),
    ]
    assert found.outcome is not None
    assert found.outcome.verdict == "quarantine"
    assert found.content.endswith(b"X-Tag: yes\r\n" + CONTENT.replace(b"joe@in.example", b"joe@out.example"))
    assert any(line.startswith("Alias match: MID 1 RID 0") for line in found.lines)


def test_a_recipient_that_is_refused_stays_out_and_the_others_go_on() -> None:
    found = rehearsed(trial("x@else.example", "bob@example.test"))
    assert decided(found, "recipient-access-table") == [
        ("ALL", "x@else.example", "550 #5.1.0 Address rejected."),
        ("example.test", "bob@example.test", "accepted"),
    ]
    assert found.accepted is not None
    assert [one.address for one in found.accepted.recipients] == ["bob@example.test"]


@pytest.mark.parametrize("rule", ["REJECT", "TCPREFUSE"])
def test_a_host_that_is_refused_ends_it(rule: str) -> None:
    found = rehearsed(
        trial("bob@example.test"), sender_group=[{"name": "BAD", "entries": ["192.0.2.0/24"], "rule": rule}]
    )
    assert [one.stage for one in found.decisions] == ["host-access-table"]
    assert found.refused.startswith("554")
    assert found.outcome is None


def test_nothing_is_decided_of_a_message_without_recipients() -> None:
    found = rehearsed(trial("x@else.example"))
    assert found.refused == "550 5.1.0 #5.1.0 Address rejected."
    assert found.accepted is None


def test_a_message_for_nobody_is_dropped() -> None:
    found = rehearsed(trial("none@example.test"))
    assert found.outcome is not None
    assert (found.outcome.verdict, found.outcome.reason) == ("drop", "Dropped by the alias table")


def test_a_sinkhole_drops() -> None:
    for kind in ("sinkhole", "sinkhole-queuing"):
        found = rehearsed(trial("bob@example.test"), kind=kind, rat=())
        assert found.outcome is not None
        assert found.outcome.verdict == "drop"


def test_a_policy_that_wants_tls_is_met() -> None:
    assert rehearsed(trial("bob@example.test"), policy={"tls": "required"}).outcome is not None


def test_an_address_that_cannot_be_read_is_told() -> None:
    with pytest.raises(GatepostError, match="'bob at' is not an address"):
        rehearsed(trial("bob at"))
