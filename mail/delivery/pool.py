"""Open connections by what makes one as good as another, so that a destination can use one that another has left idle.

The SMTP courier puts every line in and asks here before it connects. Two domains whose exchangers share an address
share its connections, if both go out from the same source, under the same name, with the same protection. A line is
given up by its destination only while it is idle; from then on it counts for the other one. Logs nothing.
"""

from typing import NamedTuple

from core.smtp.client_settings import ConnectionSettings, TlsSettings
from core.smtp.target import Target
from mail.delivery.smtp_line import SmtpLine


class Key(NamedTuple):
    """What two connections must have in common."""

    gateway: str
    address: str
    port: int
    source: str
    helo: str
    tls: str


def key_of(gateway: str, target: Target, settings: ConnectionSettings, tls: TlsSettings) -> Key:
    """Give the key of a connection. Where certificates are judged, it counts for the names they were judged by."""
    judged = tls.context is not None or tls.judge is not None or tls.fingerprints
    name = tls.server_name or (target.host if judged else "")
    protection = f"{tls.use.value} {tls.identity} {name} {tls.implicit}"
    return Key(gateway, target.address, target.port, settings.source_address, settings.client.helo, protection)


class Pool:
    """All open lines."""

    def __init__(self) -> None:
        self._lines: dict[Key, dict[SmtpLine, None]] = {}

    def add(self, key: Key, line: SmtpLine) -> None:
        """Put in an open line."""
        self._lines.setdefault(key, {})[line] = None

    def drop(self, key: Key, line: SmtpLine) -> None:
        """Take out a line that is closed or goes by another object now."""
        lines = self._lines.get(key, {})
        lines.pop(line, None)
        if not lines:
            self._lines.pop(key, None)

    def outdate(self) -> None:
        """Have no open line carry another message: where mail goes has changed."""
        for lines in self._lines.values():
            for line in lines:
                line.outdated = True

    def borrow(self, key: Key, most: int) -> SmtpLine | None:
        """Give a line that its destination has left idle and that has carried fewer than `most` messages."""
        for line in list(self._lines.get(key, ())):
            if line.carried < most and line.usable and line.recall():
                self.drop(key, line)
                successor = line.hand_over()
                self.add(key, successor)
                return successor
        return None
