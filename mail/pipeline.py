"""The work queue's stages: every accepted message goes through them once and comes out with an `Outcome`.

`receive` runs a small message inside the SMTP conversation (`run`, synchronous) and a large one off the loop
(`run_in_thread`); `recover` runs what a crash left; `trace` runs the same pipeline with its own notes and delivers
nothing. Stages are known by name: mail that comes back from a quarantine goes on behind the ones it has finished.
The pipeline writes no file and sends nothing: it decides, and each decision is a record. It never raises on what is
in a message.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Final

from core import clock
from core.maillog import MailLog, clean
from core.record import CPQ_HOST, HOLD_QUEUE, MAX_HOLDS, Accepted, Decision, Edit, Hold, Outcome
from mail.alternate import AlternateSources
from mail.content import replacements
from mail.filter.compiler import STAGE as MESSAGE_FILTERS
from mail.filter.compiler import Program
from mail.filter.view import ScanSettings, View
from mail.mime import Headers
from mail.rewrite.masquerade import Masquerade
from mail.rewrite.session import MASQUERADE, SHOWN
from mail.rewrite.tables import NOTHING, Rewriting
from mail.stamp import NO_DISCLAIMERS, STAMP, Disclaimer, Disclaimers, NotStamped, Where, requests, stamp

QUARANTINE: Final = "quarantine"
GATEWAY: Final = "virtual-gateway"
"""Marks the record of which virtual gateway a message leaves by: no stage, it is settled before them."""
BOUNCE_PROFILE: Final = "bounce-profile"
STAGES: Final = (MESSAGE_FILTERS, QUARANTINE)


@dataclass(slots=True)
class Notes:
    """What a run says: mail log lines by level, and decisions. A recorder of one's own has the same fields."""

    every: bool = False
    """Record also what was looked at and did nothing (trace)."""
    lines: list[tuple[str, str]] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    def write(self, log: MailLog) -> None:
        """Put the lines into the mail log."""
        for level, text in self.lines:
            if level == "info":
                log.info(text)
            else:
                (log.warning if level == "warning" else log.critical)(text)


@dataclass(frozen=True, slots=True)
class Readable:
    """Content that a run may look into: its indexed headers, and a way to read all of it (may block)."""

    headers: Headers
    read: Callable[[], bytes]

    @classmethod
    def of(cls, content: bytes) -> "Readable":
        """Make one from octets in memory."""
        return cls(Headers(content), lambda: content)


@dataclass(slots=True)
class _Run:
    accepted: Accepted
    content: Readable
    notes: Notes
    hold_count: int
    finished: list[str] = field(default_factory=list)
    verdict: str = "deliver"
    reason: str = ""
    destination: str = ""
    transfer_id: bytes = b""
    gateway: str = ""
    bounce_profile: str = ""
    flags: list[Hold] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)

    def say(self, text: str, level: str = "info") -> None:
        self.notes.lines.append((level, text))

    def hold(self, reason: str, level: str) -> None:
        """Keep the message on this machine."""
        self.verdict, self.destination, self.reason = "hold", HOLD_QUEUE, reason
        self.say(f"MID {self.accepted.mid} held in {HOLD_QUEUE}: {reason}", level)


def held(accepted: Accepted, notes: Notes, reason: str) -> Outcome:
    """Give the outcome of a message that cannot be decided about: kept on this machine, with an alert."""
    run = _Run(accepted, Readable.of(b""), notes, 0)
    run.hold(reason, "critical")
    return Outcome(mid=accepted.mid, verdict=run.verdict, destination=run.destination, reason=run.reason)


class Pipeline:
    """The stages of one machine. `program` gives the filters that run now, so that they can be replaced."""

    def __init__(
        self,
        program: Callable[[], Program],
        *,
        scan: ScanSettings | None = None,
        sources: Callable[[], AlternateSources] = AlternateSources,
        rewriting: Callable[[], Rewriting] = lambda: NOTHING,
        disclaimers: Callable[[], Disclaimers] = lambda: NO_DISCLAIMERS,
    ) -> None:
        """`sources` gives the table of who leaves by which virtual gateway, `rewriting` those that change addresses,

        `disclaimers` the texts that are put into messages.
        """
        self._program = program
        self._sources = sources
        self.rewriting = rewriting
        self.disclaimers = disclaimers
        self._scan = scan or ScanSettings()
        self._stages: tuple[tuple[str, Callable[[_Run], None]], ...] = (
            (MESSAGE_FILTERS, self._filter),
            (QUARANTINE, self._quarantine),
        )

    def run(
        self,
        accepted: Accepted,
        content: bytes | Readable,
        *,
        finished: Sequence[str] = (),
        hold_count: int = 0,
        before: Sequence[Decision] = (),
        notes: Notes | None = None,
    ) -> Outcome:
        """Decide about a message, from the first stage that is not in `finished`; fills `notes` as it goes.

        `before` are the decisions of the stages that are finished: what a filter chose then still holds.
        """
        readable = Readable.of(content) if isinstance(content, bytes) else content
        run = _Run(accepted, readable, notes if notes is not None else Notes(), hold_count, list(finished))
        unknown = [name for name in finished if name not in STAGES]
        if unknown:
            reason = f"it finished a stage that is not known here: {', '.join(unknown)}"
            run.hold(reason, "critical")
        else:
            self._begin(run, before)
            self._walk(run)
        if run.verdict in ("deliver", "quarantine"):
            run.say(f"MID {accepted.mid} queued for delivery")
        return Outcome(
            mid=accepted.mid,
            verdict=run.verdict,
            finished=run.finished,
            destination=run.destination,
            edits=run.edits,
            decisions=run.notes.decisions,
            holds=run.flags if run.verdict in ("quarantine", "hold") else [],
            transfer_id=run.transfer_id,
            hold_count=run.hold_count,
            reason=run.reason,
            gateway=run.gateway,
            bounce_profile=run.bounce_profile,
        )

    async def run_in_thread(
        self,
        accepted: Accepted,
        content: Readable,
        *,
        finished: Sequence[str] = (),
        hold_count: int = 0,
        before: Sequence[Decision] = (),
        notes: Notes | None = None,
    ) -> Outcome:
        """The same off the loop, for content that is large or on the disk."""
        return await asyncio.to_thread(
            self.run, accepted, content, finished=finished, hold_count=hold_count, before=before, notes=notes
        )

    def _begin(self, run: _Run, before: Sequence[Decision]) -> None:
        """Settle which virtual gateway a message leaves by unless a filter says otherwise, or has said so already."""
        table = self._sources()
        if table:
            choice = table.choose(run.accepted.remote_ip, run.accepted.original_sender or run.accepted.sender)
            if choice.match:
                run.gateway = choice.gateway
                run.notes.decisions.append(Decision(GATEWAY, "", choice.match, choice.gateway, 0, clock.now()))
        for decision in before:
            if decision.rule and decision.stage == GATEWAY:
                run.gateway = table.named(decision.verdict)
            elif decision.stage == BOUNCE_PROFILE:
                run.bounce_profile = decision.verdict
        if not run.finished and (masquerades := self.rewriting().masquerades):
            self._masquerade(run, masquerades.get(run.accepted.listener))

    def _masquerade(self, run: _Run, table: Masquerade | None) -> None:
        """Exchange addresses in the header fields that the listener's table is for (behaviour 6.2)."""
        for name, key in table.headers if table is not None else ():
            started = perf_counter_ns()
            changes = table.changes(raw for field, raw in run.content.headers.fields if field == key) if table else {}
            if not changes:
                continue
            run.edits += replacements(name, changes)
            shown = list(changes.items())
            for old, new in shown[:SHOWN]:
                run.say(f"MID {run.accepted.mid} masquerading header '{name}' from '{clean(old)}' to '{clean(new)}'")
            if len(shown) > SHOWN:
                run.say(f"MID {run.accepted.mid} masquerading header '{name}': {len(shown) - SHOWN} more")
            spent = (perf_counter_ns() - started) // 1000
            first = f"{clean(shown[0][0])} to {clean(shown[0][1])}"
            verdict = first if len(shown) == 1 else f"{first} and {len(shown) - 1} more"
            run.notes.decisions.append(
                Decision(MASQUERADE, name, f"{len(shown)} addresses", verdict, spent, clock.now())
            )

    def _walk(self, run: _Run) -> None:
        for name, stage in self._stages:
            if name in run.finished:
                continue
            stage(run)
            run.finished.append(name)
            if run.verdict in ("drop", "bounce"):
                return

    def _filter(self, run: _Run) -> None:
        """Run the message filters (behaviour 5)."""
        program = self._program()
        started = perf_counter_ns()
        view = View(run.accepted, run.content.headers, run.content.read, self._scan, run.edits)
        decisions = run.notes.decisions
        program.run(view, decisions.append, every=run.notes.every)
        acted = len(decisions)
        run.edits = view.edits
        run.flags = [Hold(name, f"message filter:{by.filter}", by.matched) for name, by in view.holds.items()]
        mid = run.accepted.mid
        if view.unscannable:
            run.say(f"MID {mid} unscannable: {view.unscannable}")
        for entry in view.entries:
            run.say(f"MID {mid} Custom Log Entry: {entry}")
        if view.final in ("drop", "bounce"):
            self._end(run, view)
        elif (table := self.disclaimers()) is not NO_DISCLAIMERS:
            self._stamp(run, view, requests(table, run.accepted.listener, view.stamps))
        self._choose(run, view)
        decisions.append(
            Decision(
                MESSAGE_FILTERS,
                "",
                f"{len(program.filters)} filters, {acted} acted",
                run.verdict,
                (perf_counter_ns() - started) // 1000,
                clock.now(),
            )
        )

    def _stamp(self, run: _Run, view: View, wanted: Sequence[tuple[Where, Disclaimer]]) -> None:
        """Put headings and footers in, or say why not."""
        for where, text in wanted:
            started = perf_counter_ns()
            try:
                if run.accepted.size > self._scan.max_scan_size:
                    raise NotStamped(f"it is larger than {self._scan.max_scan_size} octets")
                run.edits.append(stamp(run.content.read(), run.content.headers, where, text.fill(view)))
                verdict = "stamped"
            except NotStamped as reason:
                verdict = f"not stamped: {clean(str(reason))}"
            run.say(f"MID {run.accepted.mid} {where} '{text.name}' {verdict}")
            spent = (perf_counter_ns() - started) // 1000
            run.notes.decisions.append(Decision(STAMP, text.name, where, verdict, spent, clock.now()))

    def _choose(self, run: _Run, view: View) -> None:
        """Note what filters chose; the records carry it through a quarantine."""
        if view.gateway is not None:
            run.gateway = self._sources().named(view.gateway.name)
            chosen = Decision(GATEWAY, view.gateway.filter, "", run.gateway, 0, clock.now())
            run.notes.decisions.append(chosen)
        if view.bounce_profile is not None:
            run.bounce_profile = view.bounce_profile.name
            chosen = Decision(BOUNCE_PROFILE, view.bounce_profile.filter, "", run.bounce_profile, 0, clock.now())
            run.notes.decisions.append(chosen)

    def _end(self, run: _Run, view: View) -> None:
        run.verdict = view.final
        word = "Dropped" if view.final == "drop" else "Bounced"
        run.reason = f"{word} by filter '{view.final_by}'"
        run.say(f"Message aborted MID {run.accepted.mid} {run.reason}")
        if view.final == "drop":
            run.say(f"Message finished MID {run.accepted.mid} aborted")

    def _quarantine(self, run: _Run) -> None:
        """Let the flags that stages have raised take effect, once nothing can drop or bounce the message any more."""
        if not run.flags:
            return
        started = perf_counter_ns()
        mid = run.accepted.mid
        run.hold_count += 1
        run.verdict, run.destination = "quarantine", CPQ_HOST
        run.transfer_id = secrets.token_bytes(16)
        if run.hold_count > MAX_HOLDS:
            run.say(f"MID {mid} is held for the {run.hold_count}th time: it stays held until it is deleted", "critical")
        for flag in run.flags:
            run.say(f'MID {mid} enqueued for transfer to centralized quarantine "{flag.quarantine}" ({flag.reason})')
        names = ", ".join(flag.quarantine for flag in run.flags)
        spent = (perf_counter_ns() - started) // 1000
        run.notes.decisions.append(Decision(QUARANTINE, run.flags[0].reason, names, run.verdict, spent, clock.now()))
