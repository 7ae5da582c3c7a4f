"""The limits and choices of one listener's conversations. Frozen; shared by all of them."""

from dataclasses import dataclass

from protocol.smtp.extension import EXTENSIONS, Extension


@dataclass(frozen=True)
class ServerSettings:
    """What the server machine needs to know; sizes in octets, 0 = no limit unless said."""

    hostname: str
    size_limit: int = 0
    recipient_limit: int = 1000
    """Recipients of one message; the next is answered 452 4.5.3. At least 100 (RFC 5321 4.5.3.1.8)."""
    recipient_overshoot: int = 1000
    """How many recipients over the limit are answered patiently before each counts as an error."""
    error_limit: int = 20
    """Errors (5yz) since the last accepted message; the next is answered 421 and closes."""
    junk_limit: int = 100
    """Commands without progress (NOOP, RSET, VRFY, HELP, EHLO, 4yz) since the last accepted message."""
    error_delay_s: float = 0.0
    """How much longer each error beyond `error_delay_after` has its reply wait; 0 = never. See `Engine.stalled_s`."""
    error_delay_after: int = 10
    """Errors since the last accepted message that are answered at once; `JUNK_PER_ERROR` of junk are as one."""
    error_delay_limit_s: float = 10.0
    command_line_limit: int = 512
    """One command line with its CRLF (RFC 5321 4.5.3.1.4); extensions add to it per verb."""
    text_line_limit: int = 0
    """Longest line of content with its CRLF, 1000 to be strict; longer is refused 550 5.6.0. Nothing is ever cut."""
    output_limit: int = 16 * 1024
    """Replies held before the machine stops reading commands until they are taken."""
    starttls: bool = False
    require_tls: bool = False
    """Before TLS nothing but EHLO, NOOP, QUIT and STARTTLS."""
    partial_addresses: bool = False
    """Accept `<joe>` without a domain, for a listener that completes it."""
    auth_mechanisms: tuple[str, ...] = ()
    """Log-in is offered with these under TLS, and never in the clear; the session must be a `LoginSession`."""
    extensions: tuple[Extension, ...] = EXTENSIONS
    extension_verbs: tuple[str, ...] = ()
    """Verbs handed to `Session.extension`, in upper case."""
    extension_keywords: tuple[str, ...] = ()
    """EHLO lines announced for them; with `require_tls`, under TLS only."""
    extension_line_limit: int = 512
    extension_payload_limit: int = 1024 * 1024
    xclient: bool = False
    """The peer may say for whom it speaks (XCLIENT); for the dialect of listed peers only."""
    consulted_verbs: frozenset[str] = frozenset()
    """Which of NOOP, RSET, VRFY, HELP and QUIT `CommandSession.command` is asked about first."""
