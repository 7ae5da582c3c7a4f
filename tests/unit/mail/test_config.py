from pathlib import Path

import pytest
from pydantic import ValidationError

from core.config.document import load_document
from core.errors import ConfigError
from mail.config import ListenerSection, MailSections
from mail.delivery.config import RouteSection


def problems(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    file = tmp_path / "gatepost.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_document(file, MailSections)
    return [(problem.key, problem.reason) for problem in caught.value.problems]


def test_a_listener_reads_with_rows_written_either_way(tmp_path: Path) -> None:
    file = tmp_path / "gatepost.toml"
    file.write_text(
        """
        [[listener]]
        name = "InboundMail"
        port = 2525
        rat = ["example.test", {recipient = "no@example.org", rule = "REJECT", text = "gone"}]
        policy = {max_message_size = "12M"}
        [[listener.sender_group]]
        name = "RELAYLIST"
        entries = ["10.0.0.0/8", ".partner.example", "ALL"]
        rule = "RELAY"
        policy = {max_messages_per_session = 7}
        """
    )
    listener = load_document(file, MailSections).listener[0]
    assert [row.recipient for row in listener.rat] == ["example.test", "no@example.org"]
    merged = listener.inherited(listener.sender_group[0])
    assert merged.max_message_size == 12 << 20
    assert merged.max_messages_per_session == 7
    assert merged.max_recipients_per_message == 100, "inherited from the kind of listener"


def test_all_faults_are_reported_at_once(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [[listener]]
        name = "a b"
        address = "nowhere"
        port = 70000
        [[listener.sender_group]]
        name = "G"
        entries = ["10.0.0.0/33", "1.2.3.9-4", "SBRS[-10:-3]", "ok.example"]
        [[route]]
        domain = "ALL"
        hosts = ["host:99999", "a b"]
        [queue]
        colour = "blue"
        """,
    )
    keys = [key for key, _ in found]
    assert keys == [
        "listener[1].name",
        "listener[1].address",
        "listener[1].port",
        "listener[1].sender_group[1].entries[1]",
        "listener[1].sender_group[1].entries[2]",
        "listener[1].sender_group[1].entries[3]",
        "route[1].hosts[1]",
        "route[1].hosts[2]",
        "queue.colour",
    ]
    assert "above 32" in found[3][1]
    assert "backwards" in found[4][1]


def test_names_and_addresses_used_twice_are_all_named(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        """
        [[listener]]
        name = "In"
        [[listener]]
        name = "in"
        kind = "private"
        rat = ["example.test"]
        [[route]]
        domain = "example.test"
        hosts = ["a"]
        [[route]]
        domain = "Example.Test"
        hosts = ["b"]
        """,
    )
    reasons = {key: reason for key, reason in found}
    assert "the name in twice; 127.0.0.1:25 is used twice; in: only a public listener" in reasons["listener"]
    assert reasons["route[2].domain"] == "route[1] is about example.test already"


@pytest.mark.parametrize(
    "hosts", [("h.example", "10.0.0.1:25/pri=3"), ("/dev/null",), ("USEDNS",), ("[::1]:25", "::1")]
)
def test_the_hosts_of_a_route_are_those_that_delivery_can_read(hosts: tuple[str, ...]) -> None:
    assert RouteSection(domain="ALL", hosts=hosts).hosts == hosts


@pytest.mark.parametrize(
    ("hosts", "key"),
    [
        ("[]", "route[1]"),
        ('["USEDNS", "h.example"]', "route[1]"),
        ('["h:0"]', "route[1].hosts[1]"),
        ('["h.example", "h/pri=70000"]', "route[1].hosts[2]"),
        ('["a_b c"]', "route[1].hosts[1]"),
        ('["[nowhere"]', "route[1].hosts[1]"),
        ('["h:25:26:x"]', "route[1].hosts[1]"),
    ],
)
def test_a_route_that_delivery_cannot_read_is_a_fault_of_the_document(tmp_path: Path, hosts: str, key: str) -> None:
    found = problems(tmp_path, f'[[route]]\ndomain = "x.example"\nhosts = {hosts}\n')
    assert [at for at, _ in found] == [key]


def test_sinkholes_have_the_model_defaults() -> None:
    policy = ListenerSection(name="s", kind="sinkhole").inherited()
    assert (policy.max_message_size, policy.max_connections_per_address) == (100 << 20, 600)
    assert (policy.max_messages_per_session, policy.max_recipients_per_message) == (10_000, 100_000)


NAMED = {
    "name": "In",
    "policy": {"max_message_size": "5M", "tls": "off"},
    "mail_flow_policy": [
        {"name": "THROTTLED", "max_message_size": "1M", "max_recipients_per_hour": 20},
        {"name": "BLOCKED", "rule": "REJECT", "comment": "nobody we know"},
    ],
    "sender_group": [
        {"name": "SUSPECTLIST", "entries": ["10.0.0.1 (a relay (old))"], "mail_flow_policy": "throttled"},
        {"name": "SLOW", "mail_flow_policy": "THROTTLED", "policy": {"max_recipients_per_hour": 5}},
        {"name": "BLACKLIST", "entries": ["10.0.0.2"], "mail_flow_policy": "BLOCKED"},
    ],
}


def test_a_group_inherits_from_its_own_parameters_its_policy_the_listener_and_the_kind_in_this_order() -> None:
    listener = ListenerSection.model_validate(NAMED)
    suspect, slow, _ = (listener.inherited(group) for group in listener.sender_group)
    assert (suspect.max_message_size, suspect.max_recipients_per_hour) == (1 << 20, 20)
    assert (suspect.tls, suspect.max_messages_per_session) == ("off", 10)
    assert (slow.max_message_size, slow.max_recipients_per_hour) == (1 << 20, 5)
    assert listener.inherited().max_message_size == 5 << 20
    assert [listener.rule_of(group) for group in listener.sender_group] == ["ACCEPT", "ACCEPT", "REJECT"]


def test_a_policy_that_is_not_there_or_stands_beside_a_rule_is_named() -> None:
    groups = [{"name": "A", "mail_flow_policy": "NONE"}, {"name": "B", "rule": "RELAY", "mail_flow_policy": "BLOCKED"}]
    wrong = NAMED | {"sender_group": groups, "default_policy": "LATER"}
    wrong["mail_flow_policy"] = [*NAMED["mail_flow_policy"], {"name": "LATER", "rule": "CONTINUE"}, {"name": "blocked"}]
    with pytest.raises(ValidationError) as caught:
        MailSections.model_validate({"listener": [wrong]})
    text = str(caught.value)
    assert "the sender group A names the policy NONE; there are: THROTTLED, BLOCKED, LATER, blocked" in text
    assert "the sender group B has a rule of its own and a named policy" in text
    assert "default_policy names a policy with the rule CONTINUE" in text
    assert "the mail flow policy blocked twice" in text
