"""What the client machine has to be told besides the messages, and the reading of an EHLO answer.

Made by the couriers, used by `protocol/smtp/client.py` and `core/smtp/client.py`.
"""

from dataclasses import dataclass
from enum import Enum

from protocol.reply import Reply


class TlsUse(Enum):
    """Whether to ask for STARTTLS."""

    NEVER = "never"
    OFFERED = "offered"
    """If the peer offers it."""
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """What the machine needs to know besides the messages."""

    helo: str
    pipelining: bool = True
    """Use PIPELINING where it is offered."""
    chunking: bool = True
    """Use BDAT where CHUNKING is offered and the peer's replies can be told apart."""
    overlap: bool = True
    """Send the next envelope behind the final dot."""
    convert_bare_newlines: bool = True
    """Turn a CR or LF outside CRLF into CRLF; else such a message is refused."""


def offered(reply: Reply) -> dict[str, str]:
    """Give the keywords of an EHLO answer, in upper case, with their parameters (RFC 5321 4.1.1.1)."""
    offers: dict[str, str] = {}
    for line in reply.lines[1:]:
        keyword, _, parameters = line.partition(" ")
        offers[keyword.upper()] = parameters.strip()
    return offers
