"""What follows from an attempt: finished recipients, waits, failures, with their log lines and counts.

The dispatcher calls `started`, then `results` or `unreachable`; the scheduler hands in expired parcels, the importer
what a filter bounced, the operator's verbs what they end. A finished recipient is in the done log when the call
returns, so before the next attempt of that connection. A failed one goes to the reports first, which call back when
its bounce is durable.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from core.clock import Clock
from core.log.detail import Details
from core.maillog import Log, clean
from core.record import CHANNEL, Recipient
from mail.bounce.notice import Fate
from mail.bounce.profile import BounceProfile
from mail.delivery.courier import Carried, Line, Result
from mail.delivery.unsubscribe import Action, Unsubscribed
from mail.queue.book import Book
from mail.queue.destination import Destination
from mail.queue.donelog import DoneLog
from mail.queue.message import Parcel
from mail.queue.outcome_log import OutcomeLogs, response
from mail.queue.phrase import (
    EXPIRED,
    FILTERED,
    OPERATOR,
    UNSUBSCRIBED,
    detail,
    phrase,
    reply_text,
    rid_list,
    status,
)
from mail.queue.report import Counter, Told
from mail.queue.schedule import Scheduler
from mail.queue.state import Reason, State
from mail.queue.tally.tally import Tally
from mail.queue.warn import Delayed, Warnings
from protocol.reply import Reply

REACHABLE = frozenset({State.NEW, State.READY, State.WAITING, State.PARKED})
"""States in which an operator's verb takes hold of a parcel."""
UNREPORTED_S = 60.0
"""Wait when a bounce could not be recorded."""


class Reports(Delayed, Protocol):
    """Makes known to the sender what became of recipients."""

    def failed(self, parcel: Parcel, fates: Sequence[Fate], profile: BounceProfile, told: Told) -> None:
        """Durably, then calls back: true if it is."""

    def relayed(self, parcel: Parcel, fates: Sequence[Fate], profile: BounceProfile) -> None:
        """As well as it goes."""


class Settlement:
    """Applies results to parcels."""

    def __init__(
        self,
        scheduler: Scheduler,
        book: Book,
        done: DoneLog,
        *,
        profile_of: Callable[[Parcel], BounceProfile],
        reports: Reports,
        log: Log,
        counters: Counter,
        now: Clock,
        broken: Callable[[str], None],
    ) -> None:
        """`broken` is told why the done log cannot be written; attempts must stop then."""
        self.warnings = Warnings(reports, log=log, now=now)
        self.tally = Tally(now)
        self.outcome_logs = OutcomeLogs()
        """The bounce log and the delivery log."""
        self._details: Details = getattr(log, "details", None) or Details()
        self._scheduler = scheduler
        self._book = book
        self._done = done
        self._profile_of = profile_of
        self._reports = reports
        self._log = log
        self._counters = counters
        self._now = now
        self._broken = broken
        self.unsubscribed = Unsubscribed()
        """Recipients that get no mail; replaced on reload."""

    def cleared(self, parcel: Parcel, remote_ip: str = "") -> bool:
        """Take recipients that have unsubscribed out of a parcel about to be sent; false if that leaves nobody.

        `remote_ip` is the host at the other end, '' before there is a connection.
        """
        table = self.unsubscribed
        if not table or parcel.destination[0] in CHANNEL:
            return True
        hits = [(one, entry) for one in parcel.recipients if (entry := table.match(one.address, remote_ip))]
        left = len(parcel.recipients) - len(hits)
        if hits:
            self._unsubscribe(parcel, hits, table.action)
        return left > 0

    def started(self, parcel: Parcel, line: Line) -> None:
        """Log that a connection begins with a parcel."""
        words = " to Centralized Policy Quarantine" if parcel.destination[0] in CHANNEL else ""
        self._log.info(f"Delivery start DCID {line.dcid} MID {parcel.mid} to RID {_rids(parcel.recipients)}{words}")

    def results(self, parcel: Parcel, line: Line, results: Sequence[Result]) -> None:
        """Apply what a line says about each recipient of a parcel."""
        destination = self._scheduler.destinations[parcel.destination]
        destination.last_activity_at = self._now()
        self._book.drop_content(parcel.message)
        first = results[0]
        if all(result.kind == "delivered" for result in results):
            self._delivered(parcel, line, results, destination)
            self._finish(parcel, [result.rid for result in results], Reason.DELIVERED)
        elif first.kind == "returned":
            self._scheduler.give_back(parcel, line.remote_ip)
        else:
            self._mixed(parcel, line, results, destination)

    def _mixed(self, parcel: Parcel, line: Line, results: Sequence[Result], destination: Destination) -> None:
        delivered = [result for result in results if result.kind == "delivered"]
        hard = [result for result in results if result.kind == "hard"]
        soft = [result for result in results if result.kind not in ("delivered", "hard")]
        for result in hard:
            if result.code >= 500:
                destination.last_5xx = {"at": self._now(), "ip": line.remote_ip, "text": reply_text(result)}
        self._tried(parcel, destination)
        if delivered:
            self._delivered(parcel, line, delivered, destination)
            self._part(parcel, [result.rid for result in delivered])
        if hard:
            failed = self._split(parcel, hard) if soft else parcel
            self._fail(failed, hard, Reason.HARD_BOUNCED, "5xx_hard_bounced_recips", line)
        if soft:
            self._delay(parcel, soft, Reason.SOFT_BOUNCED, line)

    def unreachable(self, parcel: Parcel, text: str, enhanced: str, code: int = 0) -> None:
        """Apply that no connection came about: the parcel waits."""
        destination = self._scheduler.destinations[parcel.destination]
        destination.last_activity_at = self._now()
        destination.last_failure = clean(text)
        self._book.drop_content(parcel.message)
        # An operator's impatience neither lengthens the wait nor uses up retries.
        if not (destination.ordered and parcel.attempts):
            self._tried(parcel, destination)
        destination.ordered = False
        results = [Carried(one.rid, "soft", code, enhanced, text) for one in parcel.recipients]
        self._delay(parcel, results, Reason.UNREACHABLE, None)

    def impossible(self, parcel: Parcel, text: str, enhanced: str, code: int = 0) -> None:
        """Apply that the destination cannot exist: the parcel fails (a DNS hard bounce)."""
        self._tried(parcel, self._scheduler.destinations[parcel.destination])
        results = [Carried(one.rid, "hard", code, enhanced, text) for one in parcel.recipients]
        self._fail(parcel, results, Reason.HARD_BOUNCED, "dns_hard_bounced_recips")

    def expired(self, parcel: Parcel) -> None:
        """Fail a parcel whose time in the queue is over (already FAILING)."""
        text = f"{EXPIRED[1]}{f'; the last reply was: {parcel.last_reply}' if parcel.last_reply else ''}"
        results = [Carried(one.rid, "hard", 0, EXPIRED[0], text) for one in parcel.recipients]
        self._fail(parcel, results, None, "expired_hard_bounced_recips")

    def aged(self, parcel: Parcel) -> None:
        """Look at the age of a parcel that gets no attempt: fail it, or warn its sender; one in work is left alone."""
        if parcel.state not in REACHABLE:
            return
        profile, now = self._profile_of(parcel), self._now()
        if parcel.next_attempt_at <= now and profile.expired(parcel.message.received_at, now):
            self._scheduler.withdraw(parcel)
            parcel.move(Reason.EXPIRED)
            self.expired(parcel)
            return
        destination = self._scheduler.destinations[parcel.destination]
        text = parcel.last_reply or destination.last_failure or "its destination does not answer"
        self.warnings.send_due(parcel, profile, Reply(450, "4.4.1", text))

    def filtered(self, parcel: Parcel) -> None:
        """Fail a parcel that a filter bounced, unless an operator has dealt with it meanwhile."""
        if parcel.state not in (State.NEW, State.READY):
            return
        text = parcel.outcome.reason or FILTERED[1]
        results = [Carried(one.rid, "hard", 0, FILTERED[0], text) for one in parcel.recipients]
        self._fail(parcel, results, Reason.FILTER_BOUNCED, "filter_hard_bounced_recips")

    def bounced_by_operator(self, parcel: Parcel) -> bool:
        """Return a parcel's recipients to the sender; false if it is on a connection or being reported already.

        Only for a parcel in memory, or one made of index rows and counted in its destination.
        """
        if parcel.state not in REACHABLE:
            return False
        self._scheduler.withdraw(parcel)
        results = [Carried(one.rid, "hard", 0, *OPERATOR) for one in parcel.recipients]
        self._fail(parcel, results, Reason.OPERATOR_BOUNCED, "other_hard_bounced_recips")
        return True

    def deleted(self, parcel: Parcel) -> bool:
        """Remove a parcel's recipients without a word to the sender; false as `bounced_by_operator` says."""
        if parcel.state not in REACHABLE:
            return False
        self._scheduler.withdraw(parcel)
        rids = [one.rid for one in parcel.recipients]
        self._log.info(f"Deleted: MID {parcel.mid} to {rid_list(rids)}")
        self.tally.counts(self._scheduler.destinations[parcel.destination]).deleted_recips += len(rids)
        for name in ("deleted_recips", "completed_recips"):
            self._counters.add(name, len(rids))
        self._finish(parcel, rids, Reason.DELETED)
        return True

    # Inside

    def _delivered(self, parcel: Parcel, line: Line, results: Sequence[Result], destination: Destination) -> None:
        rids = rid_list([result.rid for result in results])
        info = self._log.info
        words = " (centralized policy quarantine)" if parcel.destination[0] in CHANNEL else ""
        noted = parcel.message.accepted.noted
        info(f"Message done DCID {line.dcid} MID {parcel.mid} to RID {rids}{words}{f' {noted!r}' if noted else ''}")
        if self._details.remote_response:
            info(f"MID {parcel.mid} RID {rids} Response '{response(results[0].text)}'")
        self.outcome_logs.delivered(parcel, line, results)
        n = len(results)
        self.tally.counts(destination).delivered_recips += n
        self._counters.add("delivered_recips", n)
        self._counters.add("completed_recips", n)
        if any(recipient.notify for recipient in parcel.recipients):
            self._passed_on(parcel, line, results)

    def _passed_on(self, parcel: Parcel, line: Line, results: Sequence[Result]) -> None:
        """Tell senders that asked for it what was given to a host that will not report itself (RFC 3461 5.2.2).

        Neither a quarantine nor /dev/null (DCID 0) is a success.
        """
        if parcel.destination[0] in CHANNEL or not line.dcid:
            return
        given = {result.rid: result for result in results if not result.dsn}
        now, host = self._now(), _host(parcel, line)
        fates = [Fate(one, _reply(given[one.rid], "2.0.0"), host, now) for one in parcel.recipients if one.rid in given]
        self._reports.relayed(parcel, fates, self._profile_of(parcel))

    def _unsubscribe(self, parcel: Parcel, hits: Sequence[tuple[Recipient, str]], action: Action) -> None:
        words = {"drop": "dropped", "bounce": "bounced"}[action]
        for one, entry in hits:
            self._log.info(
                f"MID {parcel.mid} Global unsubscribe matched entry {clean(entry)} RID {one.rid}"
                f" Address {clean(one.address)} Action {words}"
            )
        self._counters.add("global_unsub_hits", len(hits))
        self._book.drop_content(parcel.message)
        results = [Carried(one.rid, "hard", 0, *UNSUBSCRIBED) for one, _ in hits]
        whole = len(hits) == len(parcel.recipients)
        if action == "bounce":
            failed = parcel if whole else self._split(parcel, results)
            self._fail(failed, results, Reason.HARD_BOUNCED, "other_hard_bounced_recips")
            return
        self.tally.counts(self._scheduler.destinations[parcel.destination]).deleted_recips += len(hits)
        for name in ("deleted_recips", "completed_recips"):
            self._counters.add(name, len(hits))
        rids = [one.rid for one, _ in hits]
        if whole:
            self._finish(parcel, rids, Reason.UNSUBSCRIBED)
        else:
            self._part(parcel, rids)

    def _tried(self, parcel: Parcel, destination: Destination) -> None:
        if not parcel.attempts:
            destination.attempted += len(parcel.recipients)
        parcel.attempts += 1

    def _split(self, parcel: Parcel, results: Sequence[Result]) -> Parcel:
        """Give a new parcel, in the same state's stead, of the recipients that the results are about."""
        rids = {result.rid for result in results}
        return parcel.split([one for one in parcel.recipients if one.rid in rids])

    def _part(self, parcel: Parcel, rids: list[int]) -> None:
        """Finish some recipients of a parcel that goes on with the others."""
        gone = set(rids)
        parcel.recipients = [one for one in parcel.recipients if one.rid not in gone]
        self._record(parcel, rids)

    def _finish(self, parcel: Parcel, rids: list[int], reason: Reason) -> None:
        parcel.move(reason)
        self._record(parcel, rids)

    def _record(self, parcel: Parcel, rids: list[int]) -> None:
        destination = self._scheduler.destinations[parcel.destination]
        destination.active -= len(rids)
        if parcel.attempts:
            destination.attempted -= len(rids)
        self._done.add(parcel.mid, rids)
        if self._done.broken:
            self._broken(self._done.broken)
        if self._book.finish(parcel, rids):
            self._log.info(f"Message finished MID {parcel.mid} done")

    def _delay(self, parcel: Parcel, results: Sequence[Result], reason: Reason, line: Line | None) -> None:
        destination = self._scheduler.destinations[parcel.destination]
        profile = self._profile_of(parcel)
        dcid = line.dcid if line is not None else 0
        for result in results:
            enhanced = status("soft", result)
            self._log.info(
                f"Delayed: DCID {dcid} MID {parcel.mid} to RID {result.rid} - {enhanced} - {phrase(enhanced)}"
                f" {detail(result)}"
            )
        self.outcome_logs.delayed(parcel, results)
        self.tally.counts(destination).soft_bounced_evts += len(results)
        self._counters.add("soft_bounced_evts", len(results))
        parcel.last_reply = reply_text(results[0])
        parcel.host_level = reason is Reason.UNREACHABLE
        if profile.spent(parcel.attempts):
            self._fail(parcel, results, Reason.RETRIES_SPENT, "expired_hard_bounced_recips", line)
            return
        parcel.move(reason)
        host = _host(parcel, line) if line is not None and results[0].code else ""
        self.warnings.send_due(parcel, profile, _reply(results[0], status("soft", results[0])), host)
        self._wait(parcel, self._now() + profile.wait_s(parcel.attempts), profile)

    def _wait(self, parcel: Parcel, until: float, profile: BounceProfile) -> None:
        self._scheduler.wait(parcel, until)
        self._book.touch(parcel.message)
        rids = _rids(parcel.recipients)
        self._log.info(f"MID {parcel.mid} to RID {rids} pending till {time.ctime(until)} [{profile.name}]")

    def _fail(
        self, parcel: Parcel, results: Sequence[Result], reason: Reason | None, kind: str, line: Line | None = None
    ) -> None:
        dcid = line.dcid if line is not None else 0
        if reason is not None:
            parcel.move(reason)
        self._book.touch(parcel.message)
        for result in results:
            enhanced = status("hard", result)
            if parcel.sender:
                self._log.info(
                    f"Bounced: DCID {dcid} MID {parcel.mid} to RID {result.rid} - {enhanced} - {phrase(enhanced)}"
                    f" {detail(result)}"
                )
            else:
                self._log.info(
                    f"Double bounce: MID {parcel.mid} to RID {result.rid} - {enhanced} - {reply_text(result)}"
                )

        self.outcome_logs.failed(parcel, line, results)

        def reported(durable: bool) -> None:
            self._reported(parcel, durable, kind)

        if not parcel.sender:
            reported(True)
            return
        by_rid = {result.rid: result for result in results}
        self._reports.failed(
            parcel,
            [self._fate(parcel, one, by_rid[one.rid], line) for one in parcel.recipients],
            self._profile_of(parcel),
            reported,
        )

    def _fate(self, parcel: Parcel, recipient: Recipient, result: Result, line: Line | None) -> Fate:
        host = _host(parcel, line) if line is not None and result.code else ""
        return Fate(recipient, _reply(result, status("hard", result)), host, self._now() if parcel.attempts else 0.0)

    def _reported(self, parcel: Parcel, durable: bool, kind: str) -> None:
        if not durable:
            parcel.move(Reason.NOT_REPORTED)
            self._wait(parcel, self._now() + UNREPORTED_S, self._profile_of(parcel))
            return
        rids = [one.rid for one in parcel.recipients]
        counts = self.tally.counts(self._scheduler.destinations[parcel.destination])
        counts.hard[kind] = counts.hard.get(kind, 0) + len(rids)
        for name in (kind, "hard_bounced_recips", "completed_recips"):
            self._counters.add(name, len(rids))
        self._finish(parcel, rids, Reason.REPORTED)


def _host(parcel: Parcel, line: Line) -> str:
    """Name who answered."""
    return line.remote_host or parcel.destination[0]


def _reply(result: Result, enhanced: str) -> Reply:
    return Reply(result.code or (250 if enhanced[0] == "2" else 554), enhanced, result.text)


def _rids(recipients: Sequence[Recipient]) -> str:
    return rid_list([one.rid for one in recipients])
