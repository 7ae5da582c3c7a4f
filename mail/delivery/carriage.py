"""A message of the queue as a transaction for one peer: content, size, body, DSN and SMTPUTF8 as far as it offers them.

The SMTP courier's line calls `prepare` before it sends. Ordinary mail to an ordinary peer costs nothing here; only
for a peer that takes less than the message holds is the content looked into or converted (`mail/downgrade.py`),
large content in a thread. Raises `PermanentFailure` with the reply of RFC 3461, 6152, 3030 or 6531 for what this peer
can never be sent. Knows no connection and logs nothing.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from core.record import Accepted, Recipient
from mail.content import render, render_chunks
from mail.delivery.choice import EightBit
from mail.delivery.courier import Job
from mail.downgrade import Unconvertible, downgrade, needs_smtputf8
from protocol.domain import canonical
from protocol.dsn import xtext_encode
from protocol.errors import PermanentFailure
from protocol.smtp.envelope import NEEDS_BINARY, NEEDS_UTF8
from protocol.smtp.transaction import Transaction

Offers = Mapping[str, str]
_THREAD_ABOVE = 256 * 1024


async def prepare(job: Job, recipients: Sequence[Recipient], offers: Offers, eight_bit: EightBit) -> Transaction:
    """Make the transaction for some recipients of a job. Raises `PermanentFailure` and `OSError`."""
    transaction = _ordinary(job, recipients, offers, eight_bit)
    if transaction is None:
        transaction = await _special(job, recipients, offers, eight_bit)
    if job.accepted.require_tls == "yes" and "REQUIRETLS" in offers:
        transaction.mail_parameters = ("REQUIRETLS",)
    if "DSN" in offers:
        transaction.dsn_mail = _dsn_mail(job.accepted)
        transaction.dsn_rcpt = _dsn_rcpt(recipients)
    return transaction


def _ordinary(job: Job, recipients: Sequence[Recipient], offers: Offers, eight_bit: EightBit) -> Transaction | None:
    """Make the transaction if the peer takes the message as it is; None if it has to be looked into."""
    accepted = job.accepted
    addresses = [one.address for one in recipients]
    utf8 = accepted.smtputf8 or not (job.sender.isascii() and all(map(str.isascii, addresses)))
    if utf8 and "SMTPUTF8" not in offers:
        return None
    chunks = job.chunks()
    content: Iterable[bytes]
    if isinstance(chunks, tuple):
        whole = render(accepted, job.outcome, chunks[0])
        content, size, plain = (whole,), len(whole), whole.isascii()
    else:
        content, plain = render_chunks(accepted, job.outcome, chunks), False
        size = accepted.size + len(accepted.trace)
    if not _takes(accepted.body, plain or eight_bit == "pass", offers):
        return None
    body = "8BITMIME" if accepted.body == "7BIT" and not plain else accepted.body
    return Transaction(job.sender, addresses, content, size=size, body=body, smtputf8=utf8)


def _takes(body: str, plain: bool, offers: Offers) -> bool:
    if body == "BINARYMIME":
        return "BINARYMIME" in offers and "CHUNKING" in offers
    return plain or "8BITMIME" in offers


async def _special(job: Job, recipients: Sequence[Recipient], offers: Offers, eight_bit: EightBit) -> Transaction:
    """Make the transaction of a message that the peer does not take as it is, as far as that can be done."""
    accepted = job.accepted
    if await _is_large_plain_text(job, recipients):
        size = accepted.size + len(accepted.trace)
        content = render_chunks(accepted, job.outcome, job.chunks())
        return Transaction(job.sender, [one.address for one in recipients], content, size=size, body="7BIT")
    pieces = render_chunks(accepted, job.outcome, job.chunks())
    whole = await asyncio.to_thread(b"".join, pieces) if accepted.size > _THREAD_ABOVE else b"".join(pieces)
    sender, addresses = job.sender, [one.address for one in recipients]
    utf8 = "SMTPUTF8" in offers and (accepted.smtputf8 or not all(map(str.isascii, [sender, *addresses])))
    if "SMTPUTF8" not in offers:
        sender, addresses = _ascii_domain(sender), [_ascii_domain(one) for one in addresses]
        if not sender.isascii() or (accepted.smtputf8 and needs_smtputf8(whole)):
            raise PermanentFailure(NEEDS_UTF8)
    body = accepted.body
    if not _takes(body, whole.isascii() or eight_bit == "pass", offers):
        whole = await _converted(whole, "8BITMIME" in offers, body == "BINARYMIME", eight_bit)
        body = "7BIT"
    if body != "BINARYMIME":
        body = "7BIT" if whole.isascii() else "8BITMIME"
    return Transaction(sender, addresses, (whole,), size=len(whole), body=body, smtputf8=utf8)


async def _is_large_plain_text(job: Job, recipients: Sequence[Recipient]) -> bool:
    """Tell whether a large message turns out to be one that every peer takes; read once, piece by piece."""
    accepted = job.accepted
    if accepted.size <= _THREAD_ABOVE or accepted.body == "BINARYMIME" or accepted.smtputf8:
        return False
    if not (job.sender.isascii() and all(one.address.isascii() for one in recipients)):
        return False
    pieces = render_chunks(accepted, job.outcome, job.chunks())
    return await asyncio.to_thread(all, map(bytes.isascii, pieces))


def _ascii_domain(address: str) -> str:
    """Give an address with its domain in A-labels if that makes it ASCII; else as it is."""
    local, at, domain = address.rpartition("@")
    return f"{local}{at}{canonical(domain)}" if local.isascii() else address


async def _converted(whole: bytes, takes_text: bool, binary: bool, eight_bit: EightBit) -> bytes:
    if eight_bit == "bounce":
        raise PermanentFailure(NEEDS_BINARY) if binary else Unconvertible("it is set to bounce", binary=False)
    if len(whole) > _THREAD_ABOVE:
        return await asyncio.to_thread(downgrade, whole, eight_bit=takes_text, binary=binary)
    return downgrade(whole, eight_bit=takes_text, binary=binary)


def _dsn_mail(accepted: Accepted) -> str:
    ret = f"RET={accepted.ret}" if accepted.ret else ""
    envid = f"ENVID={accepted.envid}" if accepted.envid else ""
    return f"{ret} {envid}".strip()


def _dsn_rcpt(recipients: Sequence[Recipient]) -> Sequence[str]:
    if not any(one.notify or one.orcpt or one.original for one in recipients):
        return ()
    return [" ".join(_dsn_parameters(one)) for one in recipients]


def _dsn_parameters(recipient: Recipient) -> Iterable[str]:
    """Pass on what the sender gave, and name the address that was rewritten (RFC 3461 5.2.1)."""
    if recipient.notify:
        yield f"NOTIFY={recipient.notify}"
    if recipient.orcpt:
        yield f"ORCPT={recipient.orcpt}"
    elif recipient.original.isascii() and recipient.original:
        yield f"ORCPT=rfc822;{xtext_encode(recipient.original)}"
