"""Records of what the SMTP conversation decides; `trace` has them made (mail/rehearsal.py), ordinary mail does not.

The stages after the conversation make their own records in the pipeline (mail/pipeline.py).
"""

from collections.abc import Callable
from typing import Final

from core import clock
from core.maillog import clean
from core.record import Decision
from mail.hat import Match
from protocol.reply import Reply

HOST_ACCESS: Final = "host-access-table"
DEFAULT_DOMAIN: Final = "default-domain"
MASQUERADE_SENDER: Final = "masquerade-sender"
DOMAIN_MAP: Final = "domain-map"
RECIPIENT_ACCESS: Final = "recipient-access-table"
ALIAS_TABLE: Final = "alias-table"
UNCHANGED: Final = "no change"
Decide = Callable[[Decision], None]


def decision(stage: str, rule: str, given: str, verdict: str) -> Decision:
    """Make a record; texts of a peer are cleaned."""
    return Decision(stage, clean(rule), clean(given), clean(verdict), 0, clock.now())


def admission(ip: str, name: str, match: Match) -> Decision:
    """Record which row of the host access table a peer has matched."""
    given = f"{ip} {name}".strip()
    return decision(HOST_ACCESS, match.entry, given, f"{match.rule} group {match.group} policy {match.policy.name}")


def taking(address: str, entry: str, refusal: Reply | None) -> Decision:
    """Record whether a recipient is taken, and by which row."""
    text = "" if refusal is None else refusal.text if isinstance(refusal.text, str) else " ".join(refusal.text)
    return decision(RECIPIENT_ACCESS, entry, address, "accepted" if refusal is None else f"{refusal.code} {text}")
