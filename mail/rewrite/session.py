"""What a receiving session does with the tables that rewrite addresses: sender, recipient's domain, aliases.

Called for MAIL and RCPT where there are tables; synchronous look-ups. Every change is a line of the mail log.
Judges nobody; raises nothing.
"""

from collections.abc import Callable, Sequence
from typing import Final

from core.maillog import clean
from mail.decide import ALIAS_TABLE, DOMAIN_MAP, MASQUERADE_SENDER, UNCHANGED, Decide, decision
from mail.envelope import Envelope, Parameters
from mail.rewrite.alias import NOBODY
from mail.rewrite.tables import Rewriting
from protocol.address import Path

MAX_RECIPIENTS: Final = 100_000
"""Recipients of one message after aliases."""
SHOWN: Final = 20
MASQUERADE: Final = "masquerade"
Say = Callable[[str], None]


def masquerade_sender(
    envelope: Envelope, tables: Rewriting, listener: str, say: Say, decide: Decide | None = None
) -> None:
    """Change the envelope sender as the listener's table says; the original one stays known."""
    table = tables.masquerades.get(listener)
    new = table.lookup(envelope.sender) if table is not None and table.sender else ""
    if decide is not None:
        decide(decision(MASQUERADE_SENDER, "", envelope.sender, new or UNCHANGED))
    if new:
        say(f"MID {envelope.mid} masquerading envelope sender from '{clean(envelope.sender)}' to '{clean(new)}'")
        envelope.original_sender, envelope.sender = envelope.sender, new


def map_domain(
    recipient: Path, tables: Rewriting, listener: str, mid: int, *, say: Say, decide: Decide | None = None
) -> Path:
    """Change a recipient as the listener's domain map says."""
    table = tables.domain_maps.get(listener)
    mapped, row = table.lookup(recipient) if table is not None else (recipient, "")
    if decide is not None:
        decide(decision(DOMAIN_MAP, row, recipient.text, mapped.text if row else UNCHANGED))
    if not row:
        return recipient
    say(f"MID {mid} domain map: recipient {clean(recipient.text)} mapped to {clean(mapped.text)} by {clean(row)}")
    return mapped


def add_recipient(
    envelope: Envelope,
    address: str,
    parameters: Parameters,
    tables: Rewriting,
    *,
    given: str,
    icid: int,
    say: Say,
    decide: Decide | None = None,
) -> bool:
    """Add what a recipient stands for; false if the message would have too many, and nothing is added then.

    `given` is the address that the client gave, where the domain map changed it, else ''.
    """
    ends = tables.aliases.lookup(address) if tables.aliases else None
    if decide is not None:
        verdict = UNCHANGED if ends is None else ", ".join(ends) or NOBODY
        decide(decision(ALIAS_TABLE, "" if ends is None else address, address, verdict))
    start = f"MID {envelope.mid} ICID {icid}"
    if ends is None:
        rid = envelope.add(address, parameters, given)
        if rid is not None:
            say(f"{start} RID {rid} To: <{clean(address)}>")
        return True
    if len(envelope.recipients) + len(ends) > MAX_RECIPIENTS:
        return False
    _follow(envelope, address, ends, given or address, parameters, start=start, say=say)
    return True


def _follow(
    envelope: Envelope,
    address: str,
    ends: Sequence[str],
    original: str,
    parameters: Parameters,
    *,
    start: str,
    say: Say,
) -> None:
    """Add what an alias ends in."""
    match = f"Alias match: MID {envelope.mid} RID"
    if not ends:
        if envelope.discard(address):
            say(f"{start} To: <{clean(address)}>")
            say(f"{match} None recipient {clean(address)} mapped to {NOBODY}")
        return
    rid = envelope.expand(ends, original, parameters)
    if rid is not None:
        shown = ", ".join(ends[:SHOWN]) + (f" and {len(ends) - SHOWN} more" if len(ends) > SHOWN else "")
        say(f"{start} RID {rid} To: <{clean(address)}>")
        say(f"{match} {rid} recipient {clean(address)} mapped to {clean(shown)}")
