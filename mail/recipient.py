"""Whether a recipient is taken: postmaster, detours, the recipient access table.

Asked by the session (`mail/receive.py`) for every RCPT; limits and counts are the session's. Synchronous, a few
table look-ups. Knows no connection; logs nothing; raises nothing.
"""

from typing import Final

from mail.access import Access
from mail.decide import Decide, taking
from protocol.address import Path
from protocol.reply import Reply

DETOUR: Final = Reply(550, "5.7.1", "#5.7.1 Relaying by a forwarding address is refused.")


def judge(
    recipient: Path, access: Access, hostname: str, *, relay: bool, decide: Decide | None = None
) -> tuple[Reply | None, bool]:
    """Give the refusal of a recipient, if any, and whether it is free of the hourly limit; `relay`: the peer may."""
    refusal, bypass, entry = _judged(recipient, access, hostname, relay)
    if decide is not None:
        decide(taking(recipient.text, entry, refusal))
    return refusal, bypass


def _judged(recipient: Path, access: Access, hostname: str, relay: bool) -> tuple[Reply | None, bool, str]:
    """Give also by what it was decided: the row of the table, or the reason in its place."""
    if relay or not access.public:
        return None, False, "not asked: the peer may relay"
    if _is_postmaster(recipient, access, hostname):
        return None, True, "postmaster"
    if not access.forbidden_characters.isdisjoint(recipient.mailbox):
        return DETOUR, False, "reject_local_characters"
    row = access.recipients.lookup(recipient.mailbox, recipient.domain)
    if not row.accept:
        return Reply(row.code, f"{row.code // 100}.1.0", row.text), False, row.pattern
    return None, row.bypass_limits, row.pattern


def _is_postmaster(recipient: Path, access: Access, hostname: str) -> bool:
    """RFC 5321 4.5.1: accepted whatever the recipient table says, for our own domains."""
    if recipient.local.lower() != "postmaster":
        return False
    return recipient.domain in ("", hostname.lower()) or access.recipients.serves(recipient.domain)
