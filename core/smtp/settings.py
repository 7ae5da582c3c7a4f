"""What one SMTP listener needs to know beside the protocol's own limits. Frozen, built from configuration."""

from dataclasses import dataclass, field

from protocol.smtp.settings import ServerSettings


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long a peer may take, in seconds; 0 = no limit. Checked once a second."""

    greeting_s: float = 300
    """From the greeting to the first complete command."""
    command_s: float = 300
    """From one complete command to the next (RFC 5321 4.5.3.2.7)."""
    data_block_s: float = 180
    """For `data_block_octets` of content, or the rest of it (RFC 5321 4.5.3.2.5): idle and trickling peers both."""
    data_block_octets: int = 1000
    answer_s: float = 600
    """What a session may take to answer, at most the ten minutes that a client waits (RFC 5321 4.5.3.2.6)."""
    handshake_s: float = 30
    linger_s: float = 5
    """What a peer may take to read the last reply before the connection is reset."""
    unsuccessful_s: float = 0
    """Until the first message is accepted."""
    total_s: float = 0
    """For the whole connection; from four fifths of it on it ends when no message is under way."""
    greet_delay_s: float = 0
    """Wait this long with the greeting; who talks meanwhile is refused."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One listener: where it binds, how many may come, how long they may take."""

    name: str
    host: str
    port: int
    server: ServerSettings
    max_connections: int = 600
    max_per_address: int = 0
    """Connections at a time from one address; 0 = no limit of its own."""
    reuse_port: bool = False
    """Bind with SO_REUSEPORT, so that several processes share the port."""
    implicit_tls: bool = False
    """Start with the handshake (RFC 8314)."""
    backlog: int = 1024
    timeouts: Timeouts = field(default_factory=Timeouts)
