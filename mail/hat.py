"""The host access table: which sender group a connecting host falls into, and what that group may do.

`receive` asks it once per connection; `config` uses `parse_entry` to check what the operator wrote.
Groups are walked top to bottom, the first match acts at once; a group with CONTINUE is passed over, so that the
groups below it decide (behaviour 2.14). Names match only if the caller hands in a name that was
verified by a double lookup; this module asks no DNS. Reputation entries are refused: there is no source for them.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mail.netblock import Address, Netblock, looks_like_netblock, parse_address, parse_netblock
from protocol.reply import Reply

_VARIABLE = re.compile(r"\$(Group|HATEntry|Hostname|RemoteIP)\b", re.IGNORECASE)


class Rule(StrEnum):
    """What a sender group may do."""

    ACCEPT = "ACCEPT"
    RELAY = "RELAY"
    REJECT = "REJECT"
    TCPREFUSE = "TCPREFUSE"
    CONTINUE = "CONTINUE"


@dataclass(frozen=True, slots=True)
class Policy:
    """Mail flow policy parameters, all inherited values filled in. 0 = unlimited."""

    name: str = "$ACCEPTED"
    max_message_size: int = 0
    max_connections_per_address: int = 0
    max_messages_per_session: int = 0
    max_recipients_per_message: int = 0
    max_recipients_per_hour: int = 0
    max_invalid_recipients_per_hour: int = 0
    tls: str = "off"
    auth: str = "off"
    """`off`, `offered` or `required`: whether peers may, or have to, log in."""
    limit_code: int = 452
    limit_text: str = "Too many recipients received this hour"
    harvest_code: int = 550
    harvest_text: str = "Too many invalid recipients"
    banner_text: str = "$Hostname ESMTP"
    reject_code: int = 554
    reject_text: str = "Your access to this mail system has been refused."


@dataclass(frozen=True, slots=True)
class Entry:
    """One sender entry: an address range or a host name, or everything."""

    text: str
    block: Netblock | None = None
    name: str = ""
    """Exact lower case host name, or `.suffix`; '' with no block = ALL."""

    def matches(self, address: Address | None, host: str) -> bool:
        """Tell whether the peer falls under this entry. `host` is a verified lower case name or ''."""
        if self.block is not None:
            return address is not None and self.block.contains(address)
        if not self.name:
            return True
        return host.endswith(self.name) if self.name[0] == "." else host == self.name


@dataclass(frozen=True, slots=True)
class Group:
    """One sender group."""

    name: str
    rule: Rule
    entries: tuple[Entry, ...]
    policy: Policy


@dataclass(frozen=True, slots=True)
class Match:
    """The table's answer for one peer."""

    rule: Rule
    group: str
    """'None' for the implicit ALL at the end."""
    entry: str
    policy: Policy

    def greeting(self, ip: str, hostname: str) -> Reply:
        """Give the first reply of a connection: that of the policy, or its refusal (behaviour 2.14)."""
        refused, policy = self.rule in (Rule.REJECT, Rule.TCPREFUSE), self.policy
        text = policy.reject_text if refused else policy.banner_text
        return Reply(policy.reject_code if refused else 220, "", self._filled(text, ip, hostname))

    def over_limit(self, ip: str, hostname: str) -> Reply:
        """Give the reply to a recipient beyond those of an hour."""
        code = self.policy.limit_code
        return Reply(code, f"{code // 100}.5.3", self._filled(self.policy.limit_text, ip, hostname))

    def harvesting(self, ip: str, hostname: str) -> Reply:
        """Give the reply to whoever tries out too many recipients."""
        code = self.policy.harvest_code
        return Reply(code, f"{code // 100}.7.1", self._filled(self.policy.harvest_text, ip, hostname))

    def _filled(self, text: str, ip: str, hostname: str) -> str:
        values = {"group": self.group, "hatentry": self.entry, "hostname": hostname, "remoteip": ip}
        return _VARIABLE.sub(lambda found: values[found[1].lower()], text)


class HostAccessTable:
    """All sender groups of one listener, in order, with the rule for everybody else."""

    def __init__(self, groups: Sequence[Group], default_rule: Rule, default_policy: Policy) -> None:
        self._groups = tuple(groups)
        self._otherwise = Match(default_rule, "None", "ALL", default_policy)

    def lookup(self, ip: str, host: str = "") -> Match:
        """Decide for a peer. `host` is its verified name, '' if there is none."""
        try:
            address: Address | None = parse_address(ip)
        except ValueError:
            address = None
        host = host.lower()
        for group in self._groups:
            if group.rule is Rule.CONTINUE:
                continue
            for entry in group.entries:
                if entry.matches(address, host):
                    return Match(group.rule, group.name, entry.text, group.policy)
        return self._otherwise

    @property
    def needs_names(self) -> bool:
        """Whether an entry of a group that decides names hosts."""
        return any(entry.name for group in self._groups if group.rule is not Rule.CONTINUE for entry in group.entries)

    def may_answer(self, rule: Rule) -> bool:
        """Tell whether some peer could be answered with a rule."""
        return self._otherwise.rule is rule or any(group.rule is rule for group in self._groups)


def parse_entry(text: str) -> Entry:
    """Read one sender entry; ` (comment)` behind it is for people. Raises `ValueError` with the reason."""
    text = without_comment(text)
    if text.upper() == "ALL":
        return Entry(text)
    if looks_like_netblock(text):
        return Entry(text, block=parse_netblock(text))
    if "[" in text or text.upper().startswith("SBO:"):
        raise ValueError(f"'{text}': reputation, network owner and DNS list entries are not available")
    return Entry(text, name=check_host_name(text))


def parse_entries(texts: Iterable[str]) -> tuple[Entry, ...]:
    """Read a group's entries; duplicates inside one group are dropped."""
    return tuple(parse_entry(text) for text in dict.fromkeys(map(without_comment, texts)))


def without_comment(text: str) -> str:
    """Give a sender entry without the remark in parentheses behind it."""
    return text.partition(" (")[0].rstrip() if text.endswith(")") else text


def check_host_name(text: str) -> str:
    """Give a host name or `.suffix` in lower case. Raises `ValueError`."""
    labels = text.removeprefix(".").removesuffix(".").split(".")
    for label in labels:
        plain = label.replace("-", "").replace("_", "")
        if not plain.isascii() or not plain.isalnum() or len(label) > 63 or label[0] == "-" or label[-1] == "-":
            raise ValueError(f"'{text}' is not a host name")
    return text.lower().removesuffix(".")
