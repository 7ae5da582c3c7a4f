"""The configuration of mail: listeners, access tables, filters, routes, delivery, bounces, journal and queue.

`daemons/config.py` derives its documents from `MailSections` and `DeliverySections`; the roots read the frozen
sections and hand them to the objects. Everything that can be checked without looking outside is checked here, all
faults at once.
A value that a listener or sender group does not set is inherited: group, then listener, then kind of listener.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from core.config import Count, Ip, Name, Port, Section, Size, checked, repeated
from mail.alternate import parse_match
from mail.bounce.config import Address
from mail.delivery.config import DeliveryTables
from mail.edge.config import ConservationSection, EdgeSection
from mail.hat import parse_entry
from mail.login.config import SmtpLoginSection, SmtpUserSection, check_users
from mail.rat import parse_recipient
from mail.rewrite.config import AliasSection, DomainMapSection, MasqueradeSection, Place, check_aliases


def _header_line(value: str) -> None:
    name, separator, text = value.partition(":")
    if not separator or not re.fullmatch(r"[!-9;-~]{1,76}", name) or not text.isprintable() or not text.isascii():
        raise ValueError('a header field is written "Name: value", in ASCII')


SenderEntry = Annotated[str, AfterValidator(checked(parse_entry))]
Comment: str = Field(default="", max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$", description="a remark for people")
TlsMode = Literal["off", "preferred", "required"]
AuthMode = Literal["off", "offered", "required"]


Text = Annotated[str, Field(min_length=1, max_length=400, pattern=r"^[\x20-\x7e]*$")]


class PolicySection(Section):
    """Mail flow policy parameters; a key that is left out is inherited."""

    max_message_size: Size | None = Field(default=None, description="largest message, octets or 20M; 0 = no limit")
    max_connections_per_address: Count | None = Field(
        default=None, description="open connections from one address; 0 = no limit"
    )
    max_messages_per_session: Count | None = Field(default=None, description="messages a connection; 0 = no limit")
    max_recipients_per_message: Count | None = Field(default=None, description="recipients a message; 0 = no limit")
    max_recipients_per_hour: Count | None = Field(
        default=None, description="recipients an hour from one address; 0 = no limit"
    )
    max_invalid_recipients_per_hour: Count | None = Field(
        default=None, description="refused recipients an hour from one address (harvesting); 0 = no limit"
    )
    tls: TlsMode | None = Field(default=None, description="TLS with this peer: off, preferred or required")
    auth: AuthMode | None = Field(
        default=None,
        description="log-in by this peer, under TLS: off, offered or required; who has logged in may relay",
    )
    limit_code: Annotated[int, Field(ge=400, le=599)] | None = Field(
        default=None, description="reply code beyond max_recipients_per_hour; 421 ends the connection"
    )
    limit_text: Text | None = Field(default=None, description="its text, with the same filled in as in banner_text")
    harvest_code: Annotated[int, Field(ge=400, le=599)] | None = Field(
        default=None, description="reply code beyond max_invalid_recipients_per_hour; 421 ends the connection"
    )
    harvest_text: Text | None = Field(default=None, description="its text, with the same filled in as in banner_text")
    banner_text: Text | None = Field(
        default=None,
        description="greeting behind the 220, with $Group, $HATEntry, $Hostname and $RemoteIP filled in",
    )
    reject_code: Annotated[int, Field(ge=400, le=599)] | None = Field(
        default=None, description="reply code that a REJECT greets with"
    )
    reject_text: str | None = Field(
        default=None,
        max_length=400,
        description="reply text of a REJECT, with $Group, $HATEntry, $Hostname and $RemoteIP filled in",
    )


_ROOMY = PolicySection(
    max_message_size=100 << 20,
    max_connections_per_address=600,
    max_messages_per_session=10_000,
    max_recipients_per_message=100_000,
    max_recipients_per_hour=0,
    max_invalid_recipients_per_hour=0,
)
_PUBLIC = PolicySection(
    max_message_size=20 << 20,
    max_connections_per_address=10,
    max_messages_per_session=10,
    max_recipients_per_message=100,
    max_recipients_per_hour=0,
    max_invalid_recipients_per_hour=25,
)
KIND_POLICY = {"public": _PUBLIC, "private": _ROOMY, "sinkhole": _ROOMY, "sinkhole-queuing": _ROOMY}
KIND_RULE = {"public": "ACCEPT", "private": "REJECT", "sinkhole": "ACCEPT", "sinkhole-queuing": "ACCEPT"}


class MailFlowPolicySection(PolicySection):
    """A mail flow policy that sender groups refer to by its name."""

    name: Name = Field(description="name of the policy; shown in the log and in exported tables as $NAME")
    rule: Literal["ACCEPT", "RELAY", "REJECT", "TCPREFUSE", "CONTINUE"] = Field(
        default="ACCEPT", description="ACCEPT, RELAY, REJECT, TCPREFUSE or CONTINUE (look further down)"
    )
    comment: str = Comment


class SenderGroupSection(Section):
    """A row group of the host access table."""

    name: Name = Field(description="name of the group, shown in the log")
    entries: tuple[SenderEntry, ...] = Field(
        default=(),
        description="addresses, partial addresses, ranges, CIDR blocks, names, .partial names, ALL; (remark) behind",
    )
    rule: Literal["ACCEPT", "RELAY", "REJECT", "TCPREFUSE", "CONTINUE"] = Field(
        default="CONTINUE", description="ACCEPT, RELAY, REJECT, TCPREFUSE or CONTINUE (look further down)"
    )
    mail_flow_policy: str = Field(
        default="", description="named policy of this listener that gives rule and parameters; empty = `rule` counts"
    )
    policy: PolicySection = Field(default=PolicySection(), description="parameters that differ from those above it")
    comment: str = Comment


class RatSection(Section):
    """A row of the recipient access table; a bare string is a row that accepts."""

    recipient: Annotated[str, AfterValidator(checked(parse_recipient))] = Field(
        description="user@domain, user@, domain, .partial, user@[ip], [ip] or ALL"
    )
    rule: Literal["ACCEPT", "REJECT"] = Field(default="ACCEPT", description="ACCEPT or REJECT")
    code: int = Field(default=550, ge=400, le=599, description="reply code of a refusal")
    text: str = Field(default="#5.1.0 Address rejected.", max_length=400, description="reply text of a refusal")
    bypass_limits: bool = Field(default=False, description="not counted to recipients an hour")
    comment: str = Comment


_NAMING = {"name", "rule", "comment"}


def _rat_row(value: Any) -> Any:
    return {"recipient": value} if isinstance(value, str) else value


class ListenerSection(EdgeSection):
    """An SMTP listener."""

    name: Name = Field(description="name of the listener, shown in the log and known to filters")
    kind: Literal["public", "private", "sinkhole", "sinkhole-queuing"] = Field(
        default="public",
        description="public (recipient table), private (relays), sinkhole (drops) or sinkhole-queuing (stores, drops)",
    )
    address: Ip = Field(default="127.0.0.1", description="IP address to listen on")
    port: Port = Field(default=25, description="TCP port")
    max_connections: int = Field(default=600, ge=1, le=100_000, description="open connections of this listener")
    tcp_queue: int = Field(default=1024, ge=1, le=65_535, description="connections that may wait in the port")
    policy: PolicySection = Field(
        default=PolicySection(tls="preferred"), description="default policy parameters; the rest come with the kind"
    )
    default_rule: Literal["", "ACCEPT", "RELAY", "REJECT", "TCPREFUSE"] = Field(
        default="", description="for peers in no group; empty = ACCEPT, on a private listener REJECT"
    )
    default_policy: str = Field(
        default="", description="named policy for peers in no group; empty = `default_rule` and `policy`"
    )
    mail_flow_policy: tuple[MailFlowPolicySection, ...] = Field(
        default=(), description="policies that sender groups name"
    )
    sender_group: tuple[SenderGroupSection, ...] = Field(
        default=(), description="host access table, first match decides"
    )
    rat: tuple[Annotated[RatSection, BeforeValidator(_rat_row)], ...] = Field(
        default=(), description="recipient access table of a public listener; others are refused"
    )
    domain_map: tuple[DomainMapSection, ...] = Field(
        default=(), max_length=40_000, description="other names of domains that mail goes to, before the rat"
    )
    masquerade: tuple[MasqueradeSection, ...] = Field(
        default=(), max_length=400_000, description="what addresses of senders become, the first row that matches"
    )
    masquerade_in: tuple[Place, ...] = Field(
        default=("From", "To", "CC", "Reply-To"),
        description="where they are looked for: Envelope Sender, From, To, CC, Reply-To",
    )
    reject_local_characters: str = Field(
        default="%!@", description="characters in a user name that mark a forbidden detour, unless the peer may relay"
    )
    handler: str = Field(
        default="", description="aiosmtpd handler that decides first, as module:attribute; modules lie in handlers/"
    )
    eight_bit_headers: Literal["pass", "reject"] = Field(
        default="pass", description="header fields with 8-bit octets: pass unchanged, or reject the message"
    )
    bounce_profile: str = Field(
        default="", description="bounce profile of what comes in here, where no destination or filter chooses another"
    )
    heading: str = Field(default="", description="name of a [[text]] of kind disclaimer that messages begin with")
    footer: str = Field(default="", description="name of a [[text]] of kind disclaimer that messages end with")
    bounce_verification: Literal["off", "reject", "header"] = Field(
        default="off",
        description="bounces to addresses without a valid tag: off (taken), reject, or header (taken, but marked)",
    )
    bounce_verification_header: Annotated[str, AfterValidator(checked(_header_line))] = Field(
        default="X-Bounce-Verification: failed", description="header field that marks them"
    )
    max_received: int = Field(default=100, ge=10, le=1000, description="more Received fields than this are a loop")
    max_errors: int = Field(
        default=20, ge=0, le=10_000, description="refused commands since the last message that end it; 0 = no limit"
    )
    max_idle_commands: int = Field(
        default=100, ge=0, le=100_000, description="commands without progress (NOOP, RSET …) that end it; 0 = no limit"
    )
    error_delay_s: float = Field(
        default=1.0, ge=0, le=60, description="each further error has its reply wait so much longer; 0 = never"
    )
    error_delay_after: int = Field(
        default=10, ge=0, le=10_000, description="errors since the last message answered at once; idle ones count 1/5"
    )
    max_error_delay_s: float = Field(default=10.0, ge=0, le=300, description="longest wait of a reply to an error")
    command_timeout_s: float = Field(default=300.0, gt=0, le=3600, description="longest wait for a command")
    data_timeout_s: float = Field(default=180.0, gt=0, le=3600, description="longest silence within content")
    success_timeout_s: float = Field(
        default=300.0, ge=0, le=86400, description="a connection must bring a message within this; 0 = no limit"
    )
    max_connection_s: float = Field(default=900.0, ge=0, le=86400, description="longest connection; 0 = no limit")

    @property
    def implied_rule(self) -> str:
        """The rule for peers in no group that comes with the kind of listener."""
        return KIND_RULE[self.kind]

    def named(self, name: str) -> MailFlowPolicySection | None:
        """Find a mail flow policy by its name, in any case."""
        return next((one for one in self.mail_flow_policy if one.name.lower() == name.lower()), None)

    def rule_of(self, group: SenderGroupSection | None = None) -> str:
        """The rule of a group, or of peers in no group."""
        named = self.named(group.mail_flow_policy if group else self.default_policy)
        if named is not None:
            return named.rule
        return group.rule if group else self.default_rule or self.implied_rule

    def inherited(self, group: SenderGroupSection | None = None) -> PolicySection:
        """Fill in what a group leaves out from its named policy, then the listener, then the kind of listener.

        Without a group: what counts for peers in none.
        """
        named = self.named(group.mail_flow_policy if group else self.default_policy)
        values = KIND_POLICY[self.kind].model_dump(exclude_none=True)
        values |= self.policy.model_dump(exclude_none=True)
        values |= named.model_dump(exclude_none=True, exclude=_NAMING) if named else {}
        values |= group.policy.model_dump(exclude_none=True) if group is not None else {}
        return PolicySection(**values)


class FiltersSection(Section):
    """Message filters, in the language of docs/filters.md."""

    file: str = Field(default="", description="file with filters; relative to this document's folder")
    text: str = Field(default="", description="filters written here; run after those of the file")
    unscannable_matches: bool = Field(
        default=False, description="body and attachment rules match a message whose parts cannot be read"
    )
    thread_above: Size = Field(default=256 << 10, description="larger messages are filtered in a thread")
    max_scan_size: Size = Field(default=32 << 20, description="a larger message counts as unscannable for body rules")


class SpoolSection(Section):
    """The journals: what has been accepted and not yet been imported by the queue."""

    segment_size: Size = Field(default=64 << 20, ge=1 << 20, description="size of a journal segment")
    reserve_percent: float = Field(
        default=5.0,
        ge=0,
        le=90,
        description="mail is refused when less of the disk is free (of 40 GiB at most); removals still work",
    )
    max_backlog: Size = Field(default=2 << 30, description="mail is refused when more is waiting for import")
    inline_size: Size = Field(default=256 << 10, description="content above this goes to a file of its own")
    content_memory: Size = Field(default=64 << 20, description="memory of a process for content being received")


class QueueSection(Section):
    """The delivery queue."""

    ready_per_destination: int = Field(default=1_000, ge=1, le=100_000, description="messages of one domain in memory")


def _listeners(rows: tuple[ListenerSection, ...]) -> tuple[ListenerSection, ...]:
    faults = [f"the name {name} twice" for name in repeated(row.name for row in rows)]
    faults += [f"{where} is used twice" for where in repeated(f"{row.address}:{row.port}" for row in rows)]
    for row in rows:
        names = repeated(group.name for group in row.sender_group)
        faults += [f"{row.name}: the sender group {name} twice" for name in names]
        faults += [f"{row.name}: {fault}" for fault in _policies_fit(row)]
        if row.rat and row.kind != "public":
            faults.append(f"{row.name}: only a public listener has a recipient table (rat)")
    if faults:
        raise ValueError("; ".join(faults))
    return rows


def _policies_fit(row: ListenerSection) -> list[str]:
    """Say what is wrong with the named policies of a listener and with who refers to them."""
    faults = [f"the mail flow policy {name} twice" for name in repeated(one.name for one in row.mail_flow_policy)]
    there = ", ".join(one.name for one in row.mail_flow_policy) or "none"
    users = [(f"the sender group {one.name}", one.mail_flow_policy, one.rule != "CONTINUE") for one in row.sender_group]
    for who, name, rule in [*users, ("default_policy", row.default_policy, bool(row.default_rule))]:
        if name and row.named(name) is None:
            faults.append(f"{who} names the policy {name}; there are: {there}")
        if name and rule:
            faults.append(f"{who} has a rule of its own and a named policy, which brings one; leave one of them out")
    if row.default_policy and row.rule_of() == "CONTINUE":
        faults.append("default_policy names a policy with the rule CONTINUE, and there is nothing further down")
    return faults


class AlternateSourceSection(Section):
    """A row of the alternate source table: mail of these senders leaves by an interface or group of its own."""

    match: Annotated[str, AfterValidator(checked(parse_match))] = Field(
        description="address or block of the sending host, user@domain, user@ or @domain of the envelope sender"
    )
    interface: Name = Field(description="name of an interface or group, or auto")


class DnsCheckSection(Section):
    """The dnscheck auto-responder: mail to its address is answered with what the DNS says of the sending host."""

    address: Address = Field(
        default="", description="address that is answered, in a domain that a listener takes mail for; empty = off"
    )
    per_hour: int = Field(default=100, ge=1, le=10_000, description="answers within an hour")
    per_domain_per_hour: int = Field(default=10, ge=1, le=10_000, description="the same to one domain")


class ReceivingSections(Section):
    """What a document of a machine has that takes mail from anybody."""

    listener: Annotated[tuple[ListenerSection, ...], AfterValidator(_listeners)] = Field(
        default=(), description="SMTP listeners"
    )
    conservation: ConservationSection = Field(
        default=ConservationSection(), description="when and how receiving slows down"
    )
    smtp_user: Annotated[tuple[SmtpUserSection, ...], AfterValidator(check_users)] = Field(
        default=(), description="users that may log in at SMTP listeners"
    )
    smtp_login: SmtpLoginSection = Field(default=SmtpLoginSection(), description="log-in at SMTP listeners")
    filters: FiltersSection = Field(default=FiltersSection(), description="message filters")
    alias: Annotated[tuple[AliasSection, ...], AfterValidator(check_aliases)] = Field(
        default=(), max_length=40_000, description="recipients that stand for others, behind the recipient tables"
    )
    dnscheck: DnsCheckSection = Field(default=DnsCheckSection(), description="the dnscheck auto-responder")
    alt_source: tuple[AlternateSourceSection, ...] = Field(
        default=(), max_length=40_000, description="which interface mail leaves by, from who sent it"
    )


class DeliverySections(DeliveryTables):
    """What a document of a machine has that queues and delivers."""

    spool: SpoolSection = Field(default=SpoolSection(), description="journals")
    queue: QueueSection = Field(default=QueueSection(), description="delivery queue")


class MailSections(DeliverySections, ReceivingSections):
    """What a document of a mail gateway has."""
