"""What senders are told: reports, durable in the queue's own journal.

The settlement hands in what failed, waits or was passed on; the journal's entry comes back through the importer like
any other mail. What is handed in within a moment is gathered, so that recipients of one message that fail together
are told of in one report, and is then worked off in slices, so that many failures at once neither hold up the loop
nor are synced one by one. The null sender is never told: the settlement logs a double bounce.

Logs each report, and why one was not made or could not be recorded.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.clock import Clock
from core.diagnostic import incident
from core.ids import IdBlocks
from core.journal import Journal, JournalDamaged
from core.killpoint import killpoint
from core.maillog import Log, clean
from core.record import Outcome, encode
from mail.bounce.cap import Cap
from mail.bounce.notice import KINDS, Fate, Frame, Original, head_size, make_notice
from mail.bounce.profile import BounceProfile
from mail.bounce.rule import Event, silenced, wants
from mail.bounce.text import Text
from mail.content import render_chunks
from mail.queue.message import Message, Parcel
from mail.queue.phrase import rid_list

Told = Callable[[bool], None]
GATHER_S = 0.05
DRAIN_S = 5.0
AGAIN_S = 60.0
"""A success report or delay warning that the journal refuses is tried again after this."""
MOST_PUT_OFF = 1000
"""So many of them at most; a restart forgets them."""
ENOUGH = 500
"""Recipients in a report; with more the next begins, so that none takes long to make."""
SLICE_S = 0.01
"""Longest time that reports are made without letting others run."""
_WORDS = {"failed": "bounce", "delayed": "delay warning", "relayed": "success report"}


class Counter(Protocol):
    """The daemon's counters."""

    def add(self, name: str, n: int = 1) -> None: ...


@dataclass(slots=True)
class _Job:
    """One report to make."""

    event: Event
    message: Message
    to: str
    profile: BounceProfile
    original: Original | None = None
    fates: list[Fate] = field(default_factory=list)
    told: list[Told] = field(default_factory=list)

    def tell(self, durable: bool) -> None:
        for told in self.told:
            told(durable)


@dataclass(frozen=True)
class ReportSettings:
    """What reports are made with."""

    texts: Mapping[str, Text] = field(default_factory=dict)
    """Of the configuration, by lower case name."""
    per_hour: int = 0
    per_domain_per_hour: int = 0
    """Caps against backscatter; 0 = none. Senders who logged in are not counted."""


class Reporter:
    """Makes reports."""

    def __init__(
        self,
        journal: Journal,
        mids: IdBlocks,
        hostname: str,
        *,
        settings: ReportSettings,
        log: Log,
        counters: Counter,
        now: Clock,
        recorded: Callable[[], None],
    ) -> None:
        """`recorded` is called when the journal has news."""
        self._journal = journal
        self._mids = mids
        self._hostname = hostname
        self._settings = settings
        self._log = log
        self._counters = counters
        self._now = now
        self._recorded = recorded
        self._cap = Cap(settings.per_hour, settings.per_domain_per_hour, now)
        self._jobs: dict[tuple[int, Event, str, str], _Job] = {}
        self._armed = False
        self._writing = 0
        self._put_off = 0
        self._quiet = asyncio.Event()
        """Whether the journal has all that it was given."""
        self._quiet.set()

    def reconfigure(self, settings: ReportSettings) -> None:
        """Take other texts, and caps if they differ; those begin anew then."""
        before, self._settings = self._settings, settings
        if (before.per_hour, before.per_domain_per_hour) != (settings.per_hour, settings.per_domain_per_hour):
            self._cap = Cap(settings.per_hour, settings.per_domain_per_hour, self._now)

    async def drain(self) -> None:
        """Make and record at once whatever is gathered; at the end of the service, which waits no longer than this."""
        while self._jobs:
            self._make_next()
            await asyncio.sleep(0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._quiet.wait()

    def failed(self, parcel: Parcel, fates: Sequence[Fate], profile: BounceProfile, told: Told) -> None:
        """Tell of recipients that failed for good; `told` is called with true once that is durable, or not wanted."""
        self._take(parcel, "failed", fates, profile, told)

    def delayed(self, parcel: Parcel, fates: Sequence[Fate], profile: BounceProfile) -> None:
        """Tell of recipients that wait; one that cannot be recorded is tried again a minute later."""
        self._take(parcel, "delayed", fates, profile, None)

    def relayed(self, parcel: Parcel, fates: Sequence[Fate], profile: BounceProfile) -> None:
        """Tell of recipients that were passed on to a host that does not report; as `delayed`."""
        self._take(parcel, "relayed", fates, profile, None)

    def _take(
        self, parcel: Parcel, event: Event, fates: Sequence[Fate], profile: BounceProfile, told: Told | None
    ) -> None:
        wanted = [fate for fate in fates if wants(fate.recipient, event, profile)]
        if event == "failed" and len(wanted) < len(fates):
            unwanted = [fate.recipient.rid for fate in fates if not wants(fate.recipient, event, profile)]
            why = "the bounce profile says so" if profile.hard_bounce == "off" else "its sender asked for that (NOTIFY)"
            self._log.info(f"MID {parcel.mid} to RID {rid_list(unwanted)} not reported: {why}")
        if not wanted or not parcel.sender:
            if told is not None:
                told(True)
            return
        job = self._job(parcel.message, event, profile)
        if told is not None:
            job.told.append(told)
        elif not self._read(job):  # now, since the message may be gone by the time the report is made
            return
        job.fates += wanted
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_later(GATHER_S, self._work)

    def _job(self, message: Message, event: Event, profile: BounceProfile) -> _Job:
        """Give the report that is being gathered about an event of a message, or begin one."""
        fixed = {"failed": profile.bounce_to, "delayed": profile.delay_to, "relayed": ""}[event]
        to = fixed or message.accepted.sender
        key = (message.mid, event, to, profile.name)
        job = self._jobs.get(key)
        if job is not None and len(job.fates) >= ENOUGH:
            self._jobs[message.mid, event, to, f"{profile.name}/{id(job)}"] = job  # full: nothing is added any more
            job = None
        if job is None:
            job = self._jobs[key] = _Job(event, message, to, profile)
        return job

    def _work(self) -> None:
        """Make reports for a slice of time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + SLICE_S
        while self._jobs and loop.time() < until:
            self._make_next()
        self._armed = bool(self._jobs)
        if self._armed:
            loop.call_soon(self._work)

    def _make_next(self) -> None:
        """Make the oldest report; one that cannot be made for a fault of ours must not keep the others waiting."""
        job = self._jobs.pop(next(iter(self._jobs)))
        try:
            self._make(job)
        except Exception as error:
            number = incident(f"{_WORDS[job.event]} of MID {job.message.mid}", error)
            self._unrecorded(job, f"internal error, incident {number}")

    def _read(self, job: _Job) -> bool:
        """Read what is returned of the message; false after a fault."""
        if job.original is not None:
            return True
        message = job.message
        try:
            size = head_size(message.accepted, job.event, job.profile)
            chunks = render_chunks(message.accepted, message.outcome, message.chunks())
            job.original = Original(message.accepted, *_head(chunks, size))
        except (OSError, JournalDamaged) as error:
            self._unrecorded(job, error)
            return False
        return True

    def _make(self, job: _Job) -> None:
        if not job.fates or not self._read(job):
            return
        assert job.original is not None
        why = self._refusal(job, job.original)
        if why:
            rids = rid_list([fate.recipient.rid for fate in job.fates])
            self._log.info(f"MID {job.message.mid} to RID {rids} not reported to <{clean(job.to)}>: {why}")
            job.tell(True)
            return
        try:
            self._append(job, job.original)
        except (OSError, JournalDamaged) as error:
            self._unrecorded(job, error)

    def _refusal(self, job: _Job, original: Original) -> str:
        """Say why a report is not made, '' if it is."""
        asked = any(fate.recipient.notify for fate in job.fates)
        if silenced(job.event, original.head, job.profile, asked=asked):
            return "a list or a program sent the message"
        why = "" if original.accepted.authenticated else self._cap.take(job.to)
        if why:
            self._counters.add("capped_reports")
        return why

    def _append(self, job: _Job, original: Original) -> None:
        mid = self._mids.next()
        kind = KINDS[job.event]
        named = {
            "bounce": job.profile.bounce_text,
            "delay": job.profile.delay_text,
            "success": job.profile.success_text,
        }
        text = self._settings.texts.get(named[kind].lower())
        frame = Frame(self._hostname, self._now(), mid, job.to, job.profile, text)
        accepted, report = make_notice(original, job.event, job.fates, frame)
        content = self._journal.content()
        content.write(report)

        def done(error: Exception | None) -> None:
            self._wrote()
            if error is not None:
                self._unrecorded(job, error)
                return
            killpoint("report.durable")
            self._log.info(f"MID {mid} was generated for {_WORDS[job.event]} of MID {job.message.mid}")
            self._log.info(f"Start MID {mid} ICID 0")
            self._log.info(f"MID {mid} ICID 0 From: <>")
            self._log.info(f"MID {mid} ICID 0 RID 0 To: <{clean(job.to)}>")
            self._log.info(f"MID {mid} queued for delivery")
            self._counters.add("gen_bounce_recips", len(accepted.recipients))
            job.tell(True)
            self._recorded()

        killpoint("report.before")
        self._writing += 1
        self._quiet.clear()
        try:
            self._journal.append(mid, encode(accepted), content, encode(Outcome(mid, "deliver")), done)
        except BaseException:
            self._wrote()
            raise

    def _wrote(self) -> None:
        self._writing -= 1
        if not self._writing:
            self._quiet.set()

    def _unrecorded(self, job: _Job, error: Exception | str) -> None:
        ours = isinstance(error, str)  # a fault of ours comes again each time
        again = bool(job.told) or (not ours and job.original is not None and self._put_off < MOST_PUT_OFF)
        then = "could not be recorded and will be tried again" if again else "could not be recorded"
        self._log.warning(f"MID {job.message.mid}: its {_WORDS[job.event]} {then}: {error}")
        loop = asyncio.get_running_loop()
        if again and not job.told:
            # Nobody else remembers it: a bounce comes again with its parcel, this would not.
            self._put_off += 1
            loop.call_later(AGAIN_S, self._again, job)
        loop.call_soon(job.tell, False)

    def _again(self, job: _Job) -> None:
        self._put_off -= 1
        self._jobs[job.message.mid, job.event, job.to, f"{job.profile.name}/{id(job)}"] = job
        if not self._armed:
            self._armed = True
            asyncio.get_running_loop().call_soon(self._work)


def _head(chunks: Iterable[bytes], enough: int) -> tuple[bytes, bool]:
    """Give the beginning of a message, at least `enough` octets of it, and whether it is all."""
    head: list[bytes] = []
    size = 0
    complete = True
    for chunk in chunks:
        if size >= enough and chunk:
            complete = False
            break
        head.append(chunk)
        size += len(chunk)
    close = getattr(chunks, "close", None)
    if close is not None:
        close()
    return b"".join(head), complete
