"""Failures made known: the bounce of a message, durable in the queue's own journal before its recipients are done.

The settlement calls `Reporter.report`; the journal's entry comes back through the importer like any other mail. The
null sender is not told here: the settlement logs a double bounce. Logs the new message and what could not be
recorded.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from core.clock import Clock
from core.ids import IdBlocks
from core.journal import Journal, JournalDamaged
from core.maillog import clean
from core.record import Outcome, Recipient, encode
from mail.bounce import Failure, make_bounce
from mail.content import render_chunks
from mail.delivery.courier import Result
from mail.queue.importer import Log
from mail.queue.message import Parcel
from mail.queue.phrase import status
from mail.queue.retry import BounceProfile
from mail.queue.settle import Counter
from protocol.reply import Reply

Told = Callable[[bool], None]


class Reporter:
    """Makes bounces."""

    def __init__(
        self,
        journal: Journal,
        mids: IdBlocks,
        hostname: str,
        *,
        profile: Callable[[str], BounceProfile],
        log: Log,
        counters: Counter,
        now: Clock,
        recorded: Callable[[], None],
    ) -> None:
        """`profile` is by destination name; `recorded` is called when the journal has news."""
        self._journal = journal
        self._mids = mids
        self._hostname = hostname
        self._profile = profile
        self._log = log
        self._counters = counters
        self._now = now
        self._recorded = recorded

    def report(self, parcel: Parcel, results: Sequence[Result], told: Told) -> None:
        """Record a bounce for a parcel's recipients; `told` is called later in the loop, true when it is durable."""
        profile = self._profile(parcel.destination[0])
        if not profile.hard_bounce:
            told(True)
            return
        try:
            self._append(parcel, results, profile, told)
        except (OSError, JournalDamaged) as error:
            self._unrecorded(parcel, error, told)

    def _append(self, parcel: Parcel, results: Sequence[Result], profile: BounceProfile, told: Told) -> None:
        mid = self._mids.next()
        made = make_bounce(
            parcel.accepted,
            self._failures(parcel, results),
            hostname=self._hostname,
            now=self._now(),
            mid=mid,
            content=_head(render_chunks(parcel.accepted, parcel.outcome, parcel.chunks()), profile.max_bounce_copy),
            max_copy=profile.max_bounce_copy,
        )
        if made is None:
            told(True)
            return
        accepted, report = made
        content = self._journal.content()
        content.write(report)

        def done(error: Exception | None) -> None:
            if error is not None:
                self._unrecorded(parcel, error, told)
                return
            self._log.info(f"MID {mid} was generated for bounce of MID {parcel.mid}")
            self._log.info(f"Start MID {mid} ICID 0")
            self._log.info(f"MID {mid} ICID 0 From: <>")
            self._log.info(f"MID {mid} ICID 0 RID 0 To: <{clean(parcel.sender)}>")
            self._log.info(f"MID {mid} queued for delivery")
            self._counters.add("gen_bounce_recips", len(accepted.recipients))
            told(True)
            self._recorded()

        self._journal.append(mid, encode(accepted), content, encode(Outcome(mid, "deliver")), done)

    def _unrecorded(self, parcel: Parcel, error: Exception, told: Told) -> None:
        self._log.warning(f"MID {parcel.mid}: its bounce could not be recorded and will be tried again: {error}")
        asyncio.get_running_loop().call_soon(told, False)

    def _failures(self, parcel: Parcel, results: Sequence[Result]) -> list[Failure]:
        by_rid = {result.rid: result for result in results}
        return [_failure(recipient, by_rid[recipient.rid], parcel, self._now()) for recipient in parcel.recipients]


def _failure(recipient: Recipient, result: Result, parcel: Parcel, now: float) -> Failure:
    host = parcel.destination[0] if result.code else ""
    return Failure(recipient, _reply(result), host, now if parcel.attempts else 0.0)


def _reply(result: Result) -> Reply:
    return Reply(result.code or 554, status("hard", result), result.text)


def _head(chunks: Iterable[bytes], enough: int) -> bytes:
    """Give the beginning of a message, at least `enough` octets of it and its headers."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= enough:
            break
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
    return head
