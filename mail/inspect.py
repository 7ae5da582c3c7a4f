"""What is refused of a complete message before it is stored: size, loops, header bombs, 8-bit headers.

Asked by the session (`mail/receive.py`) once per message with the indexed headers. Scanning is the pipeline's.
Logs nothing; raises nothing.
"""

from typing import Final

from mail.access import Access
from mail.hat import Policy
from mail.mime import Headers
from mail.trace import runs_in_circles
from protocol.reply import Reply

TOO_LARGE: Final = Reply(552, "5.3.4", "#5.3.4 message size exceeds limit")
HEADER_TOO_LARGE: Final = Reply(552, "5.3.4", "#5.3.4 message header size exceeds limit")
EIGHT_BIT_HEADER: Final = Reply(550, "5.6.0", "#5.6.0 8-bit characters in the message header")
LOOP: Final = Reply(554, "5.4.6", "#5.4.6 Too many hops, this message is looping")


def refuse_content(
    size: int, head: bytes, headers: Headers, access: Access, policy: Policy, *, hostname: str, utf8: bool
) -> tuple[Reply | None, str]:
    """Give the refusal of a message with its reason for the log, or None.

    `head` is its beginning (all of it, if it is small); with `utf8` its header may hold UTF-8 (RFC 6531 3.2).
    """
    if policy.max_message_size and size > policy.max_message_size:
        return TOO_LARGE, "Message size exceeds limit"
    if runs_in_circles(headers, hostname.encode(), access.max_received):
        return LOOP, "Message loop"
    truncated = headers.end == len(head) < size
    if headers.fault or truncated:
        return HEADER_TOO_LARGE, f"Message header: {headers.fault or 'section too large'}"
    if not access.eight_bit_headers and not utf8 and not head[: headers.end].isascii():
        return EIGHT_BIT_HEADER, "8-bit header"
    return None, ""
