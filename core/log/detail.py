"""What the mail log tells of a message beside its road: settings that a log shares with all who write to it."""

from dataclasses import dataclass


@dataclass(slots=True)
class Details:
    """Held by a `MailLog`; follows the configuration."""

    message_id: bool = True
    subject: bool = True
    remote_response: bool = True
    headers: tuple[str, ...] = ()
    """Names of header fields that stand behind `Message done`, as they are shown."""

    def follow(self, other: "Details") -> None:
        """Take the settings of another one."""
        self.message_id, self.subject = other.message_id, other.subject
        self.remote_response, self.headers = other.remote_response, other.headers
