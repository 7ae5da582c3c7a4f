"""Content on its way out by BDAT: framing, and whether a chunk may go out before the envelope was answered (RFC 3030).

Used by the client machine. Where CHUNKING is offered, the reply to a chunk follows the replies to RCPT without a 354
between them, so a reply that came once too often could be taken for the answer to the content. The machine therefore
looks at the enhanced codes: subject 1 (addressing, RFC 3463 3.2) belongs to RCPT, any other to content.
"""

import re
from collections.abc import Iterable

from protocol.reply import Reply

EARLY_SIZE = 64 * 1024
"""Octets of content that may go out in one flight with its envelope."""
_MAIL = re.compile(rb"(?:^|[\r\n])[ \t]*mail\b")


def frame(data: list[bytes], *, last: bool) -> list[bytes]:
    """Put the command in front of a chunk."""
    size = sum(map(len, data))
    return [b"BDAT %d LAST\r\n" % size if last else b"BDAT %d\r\n" % size, *data]


def names_recipient(reply: Reply) -> bool:
    """Tell whether a reply says by its enhanced code that it is about an address."""
    return reply.enhanced[1:3] == ".1" and reply.enhanced[3:4] == "."


def may_answer_content(reply: Reply) -> bool:
    """Tell whether a reply to a chunk is certainly about the content: not one to a recipient that came late, nor one
    to the command, from a peer that offers CHUNKING and does not understand BDAT (500 to 504, x.5.z)."""
    if names_recipient(reply) or not_understood(reply):
        return False
    return reply.code < 400 or reply.enhanced != ""


def not_understood(reply: Reply) -> bool:
    """Tell whether a reply says of a command that it is unknown, malformed, not implemented or out of order."""
    return 500 <= reply.code <= 504 and reply.enhanced[1:3] in ("", ".5")


def harmless(content: Iterable[bytes]) -> bool:
    """Tell whether content could do nothing if a peer took it for commands.

    A peer that refused all recipients has to read the chunk nevertheless (RFC 3030 2); some do not, and obey it. No
    transaction can begin without a line that begins with MAIL.
    """
    data = b"".join(content).lower()
    return b"mail" not in data or _MAIL.search(data) is None
