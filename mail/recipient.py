"""Whether a recipient is taken: postmaster, detours, the recipient access table.

Asked by the session (`mail/receive.py`) for every RCPT; limits and counts are the session's. Synchronous, a few
table look-ups. Knows no connection; logs nothing; raises nothing.
"""

from typing import Final

from mail.access import Access
from protocol.address import Path
from protocol.reply import Reply

DETOUR: Final = Reply(550, "5.7.1", "#5.7.1 Relaying by a forwarding address is refused.")


def judge(recipient: Path, access: Access, hostname: str, *, relay: bool) -> tuple[Reply | None, bool]:
    """Give the refusal of a recipient, if any, and whether it is free of the hourly limit; `relay`: the peer may."""
    if relay or not access.public:
        return None, False
    if _is_postmaster(recipient, access, hostname):
        return None, True
    if not access.forbidden_characters.isdisjoint(recipient.mailbox):
        return DETOUR, False
    row = access.recipients.lookup(recipient.mailbox, recipient.domain)
    if not row.accept:
        return Reply(row.code, f"{row.code // 100}.1.0", row.text), False
    return None, row.bypass_limits


def _is_postmaster(recipient: Path, access: Access, hostname: str) -> bool:
    """RFC 5321 4.5.1: accepted whatever the recipient table says, for our own domains."""
    if recipient.local.lower() != "postmaster":
        return False
    return recipient.domain in ("", hostname.lower()) or access.recipients.serves(recipient.domain)
