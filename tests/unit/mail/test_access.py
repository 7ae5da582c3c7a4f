from mail.access import UNLIMITED, build_access, listener_settings
from mail.config import ListenerSection
from mail.hat import Rule

SECTION = ListenerSection.model_validate(
    {
        "name": "In",
        "policy": {"max_message_size": "1M", "max_recipients_per_message": 50},
        "sender_group": [
            {"name": "BIG", "entries": ["10."], "rule": "RELAY", "policy": {"max_message_size": "9M"}},
            {"name": "MANY", "entries": ["11."], "rule": "ACCEPT", "policy": {"max_recipients_per_message": 0}},
        ],
        "rat": ["example.test"],
    }
)


def test_the_machine_has_the_widest_limits_and_each_group_its_own() -> None:
    server = listener_settings(SECTION, "esa.example.test", tls=False).server
    assert (server.size_limit, server.recipient_limit, server.starttls) == (9 << 20, UNLIMITED, False)
    hosts = build_access(SECTION).hosts
    big, many, other = hosts.lookup("10.0.0.1"), hosts.lookup("11.0.0.1"), hosts.lookup("192.0.2.1")
    assert (big.rule, big.policy.name, big.policy.max_message_size) == (Rule.RELAY, "BIG", 9 << 20)
    assert (many.policy.max_message_size, many.policy.max_recipients_per_message) == (1 << 20, 0)
    assert (other.rule, other.policy.max_recipients_per_message) == (Rule.ACCEPT, 50)


def test_no_limit_anywhere_is_no_limit_of_the_machine() -> None:
    section = ListenerSection.model_validate({"name": "In", "policy": {"max_message_size": 0, "tls": "off"}})
    server = listener_settings(section, "esa.example.test", tls=True).server
    assert (server.size_limit, server.starttls) == (0, False)


def test_log_in_is_offered_where_some_group_has_it_and_there_is_a_way() -> None:
    section = ListenerSection.model_validate(
        {"name": "In", "sender_group": [{"name": "A", "policy": {"auth": "required"}}]}
    )
    offered = listener_settings(section, "esa.example.test", tls=True, mechanisms=("PLAIN",)).server
    assert offered.auth_mechanisms == ("PLAIN",)
    assert listener_settings(SECTION, "esa.example.test", tls=True, mechanisms=("PLAIN",)).server.auth_mechanisms == ()


def test_patience_with_errors_and_idling_is_a_choice() -> None:
    chosen = {
        "max_errors": 3,
        "max_idle_commands": 7,
        "error_delay_s": 2,
        "error_delay_after": 1,
        "max_error_delay_s": 5,
    }
    section = ListenerSection.model_validate({"name": "In", **chosen})
    server = listener_settings(section, "esa.example.test", tls=True).server
    assert (server.error_limit, server.junk_limit) == (3, 7)
    assert (server.error_delay_s, server.error_delay_after, server.error_delay_limit_s) == (2, 1, 5)


def test_a_policy_that_does_not_speak_of_tls_offers_it() -> None:
    """Whoever set any other parameter of the default policy was no longer offered STARTTLS."""
    section = ListenerSection.model_validate({"name": "In", "policy": {"max_message_size": "1M"}})
    assert listener_settings(section, "esa.example.test", tls=True).server.starttls
    assert build_access(section).hosts.lookup("192.0.2.1").policy.tls == "preferred"


def test_a_named_policy_is_known_to_the_log_and_comments_to_nobody() -> None:
    section = ListenerSection.model_validate(
        {
            "name": "In",
            "mail_flow_policy": [{"name": "BLOCKED", "rule": "REJECT"}, {"name": "TRUSTED", "max_message_size": "1M"}],
            "sender_group": [
                {"name": "BLOCKED_LIST", "entries": ["10.0.0.1 (spam)"], "mail_flow_policy": "BLOCKED"},
                {"name": "SPECIAL", "entries": ["10.0.0.2"], "rule": "RELAY"},
            ],
            "default_policy": "TRUSTED",
        }
    )
    hosts = build_access(section).hosts
    found = [hosts.lookup(f"10.0.0.{last}") for last in (1, 2, 3)]
    assert [(one.rule, one.group, one.entry, one.policy.name) for one in found] == [
        (Rule.REJECT, "BLOCKED_LIST", "10.0.0.1", "$BLOCKED"),
        (Rule.RELAY, "SPECIAL", "10.0.0.2", "SPECIAL"),
        (Rule.ACCEPT, "None", "ALL", "$TRUSTED"),
    ]
    assert found[2].policy.max_message_size == 1 << 20
