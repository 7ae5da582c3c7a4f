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
