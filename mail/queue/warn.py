"""Delay warnings: whether a sender is told that its mail waits, and when.

Used by the settlement after an attempt that failed softly, and for mail that gets no attempt. How many were sent is in
the parcel's row, so a restart repeats none; one at most may be repeated after a crash.
"""

from collections.abc import Sequence
from typing import Protocol

from core.clock import Clock
from core.maillog import Log
from mail.bounce.notice import Fate
from mail.bounce.profile import BounceProfile
from mail.bounce.rule import any_wants
from mail.queue.message import Parcel
from mail.queue.phrase import rid_list
from protocol.reply import Reply


class Delayed(Protocol):
    """Who makes the warning."""

    def delayed(self, parcel: Parcel, fates: Sequence[Fate], profile: BounceProfile) -> None: ...


class Warnings:
    """Sends what is due."""

    def __init__(self, reports: Delayed, *, log: Log, now: Clock) -> None:
        self._reports = reports
        self._log = log
        self._now = now

    def wanted(self, parcel: Parcel, profile: BounceProfile) -> bool:
        """Tell whether anybody may ever get a warning."""
        return bool(parcel.sender) and any_wants(parcel.recipients, "delayed", profile)

    def send_due(self, parcel: Parcel, profile: BounceProfile, reply: Reply, remote_host: str = "") -> None:
        """Warn of a parcel that waits, if it is time; several that are due at once make one.

        `reply` is the last that was heard; `remote_host` who gave it, '' = nobody.
        """
        now, received_at = self._now(), parcel.message.received_at
        if now < profile.warning_at(received_at, parcel.warned) or not self.wanted(parcel, profile):
            return
        parcel.warned = min(profile.delay_count, int((now - received_at) // profile.delay_interval_s))
        until = received_at + profile.max_in_queue_s
        tried_at = now if remote_host else 0.0
        rids = rid_list([one.rid for one in parcel.recipients])
        self._log.info(f"MID {parcel.mid} to RID {rids} delay warning {parcel.warned} of {profile.delay_count}")
        fates = [Fate(one, reply, remote_host, tried_at, until) for one in parcel.recipients]
        self._reports.delayed(parcel, fates, profile)
