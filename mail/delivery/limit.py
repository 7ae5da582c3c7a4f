"""What a destination is granted: connections, messages, recipients, and how long its mail is tried.

Made from the configuration by the root; the queue counts by it, the SMTP courier where limits are for each address.
"""

from dataclasses import dataclass, field

from mail.bounce.profile import BounceProfile


@dataclass(frozen=True, slots=True)
class Limits:
    """What a destination is granted."""

    connections: int = 500
    messages_per_connection: int = 50
    recipients_per_message: int = 1000
    profile: BounceProfile = field(default_factory=BounceProfile)
    recipient_limit: int = 0
    """Recipients in `recipient_minutes`, 0 = no limit."""
    recipient_minutes: int = 60
    per_address: bool = False
    """Whether connections and recipients are limited for each address of its hosts, not for the whole domain."""
    per_gateway: bool = False
    """Whether each virtual gateway has these limits for itself, not all together."""
