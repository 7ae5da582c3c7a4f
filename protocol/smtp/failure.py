"""What can go wrong with a connection to another mail host, and whose doing it is.

Made by the client machine (`protocol/smtp/client.py`) and its transport (`core/smtp/client.py`), read by the delivery
and quarantine couriers. All are temporary: a fault of one connection never decides the fate of a message; only a
reply of the peer does.
"""

from enum import StrEnum

from protocol.errors import TemporaryFailure
from protocol.reply import Reply


class Stage(StrEnum):
    """The step of a connection that something happened in."""

    CONNECT = "connect"
    TLS = "TLS handshake"
    GREETING = "greeting"
    EHLO = "EHLO"
    STARTTLS = "STARTTLS"
    IDLE = "idle"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    CONTENT = "content"
    CHUNK = "BDAT"
    FINAL = "reply to the content"
    RSET = "RSET"
    COMMAND = "command"
    QUIT = "QUIT"


class Party(StrEnum):
    """Who caused a failure."""

    HERE = "this host"
    PEER = "the peer"
    NETWORK = "the network"


class ClientFailure(TemporaryFailure):
    """A connection that failed. `text` is for logs and operators; it holds nothing that the peer chose unescaped."""

    party = Party.PEER

    def __init__(self, text: str, stage: Stage, *, party: Party | None = None, maybe_delivered: bool = False) -> None:
        super().__init__(Reply(451, self.enhanced, text))
        self.text = text
        self.stage = stage
        self.party = party or type(self).party
        self.maybe_delivered = maybe_delivered
        """The whole content was sent and its reply never came: the peer may have taken the message."""

    enhanced = "4.4.0"

    def __str__(self) -> str:
        return f"{self.text} ({self.stage})"


class ConnectError(ClientFailure):
    """No TCP connection came about."""

    party = Party.NETWORK
    enhanced = "4.4.1"


class TlsError(ClientFailure):
    """TLS was wanted and did not come about, or the certificate is not the right one."""

    enhanced = "4.7.5"

    def __init__(self, text: str, stage: Stage, *, kind: str = "", passing: bool = False) -> None:
        super().__init__(text, stage)
        self.passing = passing
        """Whether it says nothing about the next attempt: broken off, or refused for the moment."""
        self.kind = kind or ("validation-failure" if stage is Stage.TLS else "starttls-not-supported")
        """Result type of RFC 8460 4.3."""


class ProtocolError(ClientFailure):
    """The peer broke the protocol; the connection was given up at once."""

    enhanced = "4.5.0"


class PeerClosed(ClientFailure):
    """The connection ended before its work was done."""

    enhanced = "4.4.2"


class TimedOut(ClientFailure):
    """The peer kept silent longer than the limit of the stage."""

    enhanced = "4.4.2"


_SAID = 300
"""Characters of a peer's answer that are told; who logs or shows them cleans them."""


def said(reply: Reply) -> str:
    """Give a peer's reply on one line, cut to what a log line can hold."""
    return str(reply)[:_SAID]


class Refused(ClientFailure):
    """The peer answered the connection itself, not a message, with an error: greeting, EHLO, or 421 later on."""

    def __init__(self, reply: Reply, stage: Stage) -> None:
        super().__init__(f"answered {said(reply)}", stage)


class LocalError(ClientFailure):
    """This side could not go on, for example because the content could not be read."""

    party = Party.HERE
    enhanced = "4.3.0"
