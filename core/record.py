"""The records of a message: what is written down when it is accepted and when the pipeline is through with it.

The journal stores them, the queue and the quarantine transfer read them. They are msgpack arrays: fields are
only ever added at the end, with a default, so that an older or newer release reads them.
This module knows no file, no socket and no policy.
"""

from typing import Final

import msgspec

CPQ_HOST: Final = "the.cpq.host"
"""Destination of mail that goes into the central quarantine."""
RELEASE_HOST: Final = "the.cpq.release.host"
"""Destination of released mail on its way back to the appliance that received it."""
HOLD_QUEUE: Final = "the.hold.queue"
"""Destination of mail that is kept on this machine and never attempted."""
CHANNEL: Final = frozenset({CPQ_HOST, RELEASE_HOST})
"""The destinations of the quarantine channel, whose queues differ by appliance."""
PSEUDO_HOSTS: Final = CHANNEL | {HOLD_QUEUE}
"""The destinations that are no domains."""
MAX_HOLDS: Final = 5
"""A message that is quarantined more often than this stays held: something in the pipeline holds it for ever."""


class Recipient(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One accepted recipient. `rid` is its 0-based index within the message and never changes."""

    rid: int
    address: str
    original: str = ""
    """The address as the client gave it, where an alias or domain map changed it; else empty."""
    notify: str = ""
    """NOTIFY of RFC 3461 4.1 as given, in upper case: `NEVER` or a list of SUCCESS, FAILURE, DELAY; '' = not given."""
    orcpt: str = ""
    """ORCPT of RFC 3461 4.2 as given (`rfc822;` and xtext), '' = not given."""


class Transfer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How a message came over the quarantine channel: who sent it and under which id."""

    transfer_id: bytes
    """128 random bits made by the sender before its first attempt."""
    peer_serial: str
    peer_mid: int
    sha256: bytes = b""


class Accepted(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Envelope and facts of one accepted message; its content lies beside it, unchanged."""

    mid: int
    icid: int
    """Inbound connection; 0 = made by the system (bounce, notification)."""
    received_at: float
    sender: str
    """Envelope sender, '' for the null sender."""
    recipients: list[Recipient]
    size: int
    """Octets of content, without `trace`."""
    listener: str = ""
    remote_ip: str = ""
    remote_host: str = ""
    """Verified reverse name, '' when there is none."""
    helo: str = ""
    protocol: str = ""
    """Keyword of RFC 3848: SMTP, ESMTP, ESMTPS …"""
    tls: str = ""
    sender_group: str = ""
    policy: str = ""
    """Mail flow policy."""
    body: str = "7BIT"
    smtputf8: bool = False
    trace: bytes = b""
    """Header lines that Gatepost puts on top, each ending in CRLF."""
    subject: str = ""
    """Decoded and cleaned for display; never used for decisions."""
    transfer: Transfer | None = None
    bounce_of: int = 0
    """MID whose failure this message reports, 0 for ordinary mail."""
    origin_serial: str = ""
    """Serial of the appliance that first received it, '' = this one."""
    origin_mid: int = 0
    ret: str = ""
    """RET of RFC 3461 4.3: `FULL`, `HDRS` or '' (not given)."""
    envid: str = ""
    """ENVID of RFC 3461 4.4 as given, in xtext."""
    authenticated: str = ""
    """User that the client logged in as, '' for none."""
    require_tls: str = ""
    """`yes`: REQUIRETLS (RFC 8689 2); `no`: the header `TLS-Required: No` (RFC 8689 5)."""
    bounce_profile: str = ""
    """Of the listener, '' = the destination's."""
    original_sender: str = ""
    """Envelope sender as the client gave it, where masquerading changed it; else empty."""
    noted: list[tuple[str, str]] = msgspec.field(default_factory=list)
    """Header fields that the mail log names when the message is delivered, cleaned for display."""


class Edit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One header edit, applied in order when the message leaves."""

    action: str
    """`insert`, `strip`, `replace` (addresses within the fields of that name as they came) or `splice` (a text behind

    the header section).
    """
    name: str
    value: str = ""
    """Of `replace`: lines of an address as it is written, a TAB, and what is put in its place.

    Of `splice`: offset in the content and character set in one line, then the text.
    """


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One decision about a message: the record that trace, log and quarantine all show."""

    stage: str
    rule: str
    input: str
    verdict: str
    microseconds: int = 0
    at: float = 0.0


class Hold(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One quarantine that a message is to be held in, and why."""

    quarantine: str
    reason: str
    """For example `message filter:hold_it`."""
    matched: str = ""
    expires_at: float = 0.0
    """0 = the quarantine's own retention decides."""


class Outcome(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the pipeline decided. Only messages with an outcome are imported into the queue."""

    mid: int
    verdict: str
    """`deliver`, `quarantine`, `drop`, `bounce` or `hold` (kept on this machine, with `reason`)."""
    finished: list[str] = msgspec.field(default_factory=list)
    """Names of the stages that are done, in order."""
    recipients: list[Recipient] = msgspec.field(default_factory=list)
    """Resulting envelope; empty means: those of `Accepted`."""
    destination: str = ""
    """'' = each recipient's own domain; else one pseudo host for all, such as `the.cpq.host`."""
    target: str = ""
    """Serial of the appliance that `destination` leads to, '' = the paired management host."""
    edits: list[Edit] = msgspec.field(default_factory=list)
    decisions: list[Decision] = msgspec.field(default_factory=list)
    holds: list[Hold] = msgspec.field(default_factory=list)
    transfer_id: bytes = b""
    """Made durable with the outcome, hence before the first attempt to transfer."""
    hold_count: int = 0
    reason: str = ""
    """Why the message was dropped, bounced or kept, in plain words."""
    gateway: str = ""
    """Virtual gateway (interface or group) that it leaves by, '' = the default one; see docs/glossary.md."""
    bounce_profile: str = ""
    """Chosen by a filter, '' = the listener's, else the destination's."""


_encode = msgspec.msgpack.Encoder().encode
_accepted = msgspec.msgpack.Decoder(Accepted).decode
_outcome = msgspec.msgpack.Decoder(Outcome).decode


def encode(record: Accepted | Outcome) -> bytes:
    """Give the stored form of a record."""
    return _encode(record)


def decode_accepted(data: bytes | memoryview) -> Accepted:
    """Read a stored `Accepted`. Raises `msgspec.DecodeError` if it is not one."""
    try:
        return _accepted(data)
    except UnicodeDecodeError as error:  # the one thing that msgspec says in words of its own
        raise msgspec.DecodeError(str(error)) from error


def decode_outcome(data: bytes | memoryview) -> Outcome:
    """Read a stored `Outcome`. Raises `msgspec.DecodeError` if it is not one."""
    try:
        return _outcome(data)
    except UnicodeDecodeError as error:
        raise msgspec.DecodeError(str(error)) from error
