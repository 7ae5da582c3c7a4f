"""What one gateway listener lets in: its tables and limits, built from configuration and shared by its sessions.

The gateway root calls `build_access` and `listener_settings` for each `ListenerSection`. Knows no connection.
"""

from dataclasses import dataclass
from typing import Final

from core.smtp.settings import ListenerSettings, Timeouts
from mail.bounce.verify import Verification
from mail.config import ListenerSection, SenderGroupSection
from mail.hat import Group, HostAccessTable, Policy, Rule, parse_entries
from mail.rat import RatEntry, RecipientAccessTable
from protocol.smtp.settings import ServerSettings

UNLIMITED: Final = 1_000_000
_MIN_RECIPIENTS: Final = 1


@dataclass(frozen=True, slots=True)
class Access:
    """One listener's policy."""

    name: str
    kind: str
    address: str
    hosts: HostAccessTable
    recipients: RecipientAccessTable
    forbidden_characters: frozenset[str]
    eight_bit_headers: bool
    max_received: int
    bounce_profile: str = ""
    verification: Verification | None = None
    """Of bounces; None where this machine has no keys for it."""

    @property
    def public(self) -> bool:
        """Whether the recipient table counts."""
        return self.kind == "public"


def build_access(section: ListenerSection, verification: Verification | None = None) -> Access:
    """Build the tables of one listener."""
    groups = [
        Group(group.name, Rule(section.rule_of(group)), parse_entries(group.entries), _policy(section, group))
        for group in section.sender_group
    ]
    default = Rule(section.rule_of())
    rows = [RatEntry(row.recipient, row.rule == "ACCEPT", row.code, row.text, row.bypass_limits) for row in section.rat]
    return Access(
        name=section.name,
        kind=section.kind,
        address=section.address,
        hosts=HostAccessTable(groups, default, _policy(section)),
        recipients=RecipientAccessTable(rows),
        forbidden_characters=frozenset(section.reject_local_characters),
        eight_bit_headers=section.eight_bit_headers == "pass",
        max_received=section.max_received,
        bounce_profile=section.bounce_profile,
        verification=verification,
    )


def listener_settings(
    section: ListenerSection, hostname: str, *, tls: bool, reuse_port: bool = False, mechanisms: tuple[str, ...] = ()
) -> ListenerSettings:
    """Give the listener's settings; `tls` tells whether there is a certificate to offer, `mechanisms` how to log in.

    The machine enforces the widest limits of all groups, the session those of the peer's own group.
    """
    policies = [section.inherited(), *(section.inherited(group) for group in section.sender_group)]
    recipients = [policy.max_recipients_per_message or UNLIMITED for policy in policies]
    sizes = [policy.max_message_size or 0 for policy in policies]
    by_address = [policy.max_connections_per_address or 0 for policy in policies]
    return ListenerSettings(
        name=section.name,
        host=section.address,
        port=section.port,
        server=ServerSettings(
            hostname=hostname,
            size_limit=0 if 0 in sizes else max(sizes),
            recipient_limit=max(*recipients, _MIN_RECIPIENTS),
            starttls=tls and section.tls != "implicit" and any(policy.tls != "off" for policy in policies),
            error_limit=section.max_errors,
            junk_limit=section.max_idle_commands,
            error_delay_s=section.error_delay_s,
            error_delay_after=section.error_delay_after,
            error_delay_limit_s=section.max_error_delay_s,
            auth_mechanisms=mechanisms if any(policy.auth not in (None, "off") for policy in policies) else (),
        ),
        max_connections=section.max_connections,
        backlog=section.tcp_queue,
        max_per_address=0 if 0 in by_address else max(by_address),
        reuse_port=reuse_port,
        implicit_tls=section.tls == "implicit",
        timeouts=Timeouts(
            command_s=section.command_timeout_s,
            data_block_s=section.data_timeout_s,
            unsuccessful_s=section.success_timeout_s if section.kind == "public" else 0,
            total_s=section.max_connection_s,
            handshake_s=section.opening_timeout_s,
            greet_delay_s=section.greet_delay_s,
        ),
    )


def _policy(section: ListenerSection, group: SenderGroupSection | None = None) -> Policy:
    """Merge what counts for a group; the log knows it by the name of the policy, else by the group's own."""
    merged = section.inherited(group)
    named = section.named(group.mail_flow_policy if group else section.default_policy)
    name = f"${named.name}" if named else group.name if group else "DEFAULT"
    plain = Policy()
    return Policy(
        name=name,
        max_message_size=merged.max_message_size or 0,
        max_connections_per_address=merged.max_connections_per_address or 0,
        max_messages_per_session=merged.max_messages_per_session or 0,
        max_recipients_per_message=merged.max_recipients_per_message or 0,
        max_recipients_per_hour=merged.max_recipients_per_hour or 0,
        max_invalid_recipients_per_hour=merged.max_invalid_recipients_per_hour or 0,
        tls=merged.tls or "preferred",
        auth=merged.auth or "off",
        limit_code=merged.limit_code or plain.limit_code,
        limit_text=merged.limit_text or plain.limit_text,
        harvest_code=merged.harvest_code or plain.harvest_code,
        harvest_text=merged.harvest_text or plain.harvest_text,
        banner_text=merged.banner_text or plain.banner_text,
        reject_code=merged.reject_code or plain.reject_code,
        reject_text=merged.reject_text or plain.reject_text,
    )
