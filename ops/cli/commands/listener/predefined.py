"""What a new listener begins with: the model's policies and sender groups by kind, and the text of its parameters.

behaviour.md 2.13 and 2.14. Groups go by what operators know; those that the model fills by reputation begin empty.
Where the model's policies repeat what is asked for the listener as a whole, ours leave it out, so that the answer
counts. Pure data and text.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

Row = dict[str, Any]
KINDS: Final = {
    "public": "Public",
    "private": "Private",
    "sinkhole-queuing": "Sinkhole Queuing",
    "sinkhole": "Sinkhole Non-Queuing",
}
"""What the model calls each kind of listener."""
_LARGE: Final = {
    "max_message_size": 100 << 20,
    "max_connections_per_address": 1_000,
    "max_messages_per_session": 1_000,
    "max_recipients_per_message": 1_000,
}
_THROTTLED: Final = {
    "max_message_size": 1 << 20,
    "max_connections_per_address": 10,
    "max_messages_per_session": 10,
    "max_recipients_per_message": 20,
    "max_recipients_per_hour": 20,
}
_BLOCKED: Final = {"name": "BLOCKED", "rule": "REJECT"}
_RELAYED: Final = {"name": "RELAYED", "rule": "RELAY", "max_recipients_per_hour": 0}


def access_of(kind: str, relays: Sequence[str] = ()) -> Row:
    """Give the host access table that a kind of listener begins with; `relays` may relay where the kind relays."""
    if kind == "public":
        return {
            "default_policy": "ACCEPTED",
            "mail_flow_policy": [
                {"name": "TRUSTED", "rule": "ACCEPT", **_LARGE, "max_recipients_per_hour": 0},
                dict(_BLOCKED),
                {"name": "THROTTLED", "rule": "ACCEPT", **_THROTTLED},
                {"name": "ACCEPTED", "rule": "ACCEPT"},
            ],
            "sender_group": [
                _group("ALLOWED_LIST", "TRUSTED", "no rate limit for these"),
                _group("BLOCKED_LIST", "BLOCKED", "refused"),
                _group("SUSPECTLIST", "THROTTLED", "slowed down"),
                _group("UNKNOWNLIST", "ACCEPTED", "looked at, nothing more"),
            ],
        }
    group = _group("RELAYLIST", "RELAYED", "may relay")
    return {
        "default_policy": "BLOCKED",
        "mail_flow_policy": [dict(_RELAYED), dict(_BLOCKED)],
        "sender_group": [{**group, "entries": list(relays)}],
    }


def _group(name: str, policy: str, comment: str) -> Row:
    return {"name": name, "entries": [], "mail_flow_policy": policy, "comment": comment}


TITLE: Final = "Default Policy Parameters"


def parameters_text(policy: Mapping[str, Any]) -> str:
    """Show the parameters of a policy under an underlined title, as the model prints them."""
    rows = [
        ("Maximum Message Size", _size(policy.get("max_message_size"))),
        ("Maximum Number Of Connections From A Single IP", _count(policy.get("max_connections_per_address"))),
        ("Maximum Number Of Messages Per Connection", _count(policy.get("max_messages_per_session"))),
        ("Maximum Number Of Recipients Per Message", _count(policy.get("max_recipients_per_message"))),
        ("Directory Harvest Attack Prevention", _enabled(policy.get("max_invalid_recipients_per_hour"))),
        ("Maximum Number Of Invalid Recipients Per Hour", _count(policy.get("max_invalid_recipients_per_hour"))),
        ("Maximum Number Of Recipients Per Hour", _count(policy.get("max_recipients_per_hour"))),
        ("Use SenderBase for Flow Control", "No"),
        ("Spam Detection Enabled", "No"),
        ("Virus Detection Enabled", "No"),
        ("Allow TLS Connections", _mode(policy.get("tls"))),
        ("Allow SMTP Authentication", _mode(policy.get("auth"))),
        ("Require TLS To Offer SMTP authentication", "Yes"),
    ]
    return "\n".join([TITLE, "=" * len(TITLE), *(f"{name}: {value}" for name, value in rows)])


def _count(value: Any) -> str:
    return f"{value:,}" if value else "Disabled"


def _enabled(value: Any) -> str:
    return "Enabled" if value else "Disabled"


def _mode(value: Any) -> str:
    return "No" if value in (None, "", "off") else str(value).capitalize()


def _size(value: Any) -> str:
    return "Disabled" if value in (None, "", 0, "0") else short_size(value)


def short_size(value: Any) -> str:
    """Give a size as an operator writes it: 20M."""
    if isinstance(value, int) and value:
        for unit, octets in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
            if value % octets == 0:
                return f"{value // octets}{unit}"
    return str(value)
