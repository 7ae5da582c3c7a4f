"""From a complete message to its `250`: records, pipeline, journal, mail log and counters of one gateway process.

The sessions of all listeners share one `Intake`. A small message goes through the pipeline at once and is written
with its outcome in one batch; a large one is written first, answered, and then run through the pipeline off the
loop, its outcome following. The reply is given from the journal's callback: 250 means durable. Knows no access
tables. Never raises; what fails is answered 451 and logged.
"""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from core.content import Content
from core.diagnostic import incident
from core.maillog import MailLog, clean
from core.memory import is_shortage
from core.metrics import Counters
from core.record import HOLD_QUEUE, Accepted, Outcome, encode
from core.runtime import spawn
from core.smtp.door import Brake
from mail.mime import Headers
from mail.pipeline import Notes, Pipeline, Readable, held
from mail.rewrite.tables import Rewriting
from protocol.reply import Reply

NOT_STORED: Final = Reply(451, "4.3.0", "The message cannot be stored now, try again later")
RETRY_S: Final = 2.0
MOST_TRIES: Final = 150
"""A message that memory never suffices for is held in the end: it may be its own fault."""
ANSWERED: Final = "Answered by a responder"
Answer = Callable[[Reply], None]
Done = Callable[[Exception | None], None]


class Store(Protocol):
    """What the intake needs of a journal (core/journal)."""

    @property
    def refusal(self) -> Exception | None:
        """Why nothing is taken now."""

    @property
    def room(self) -> int:
        """Octets that messages may still take."""

    def content(self) -> Content:
        """Start the content of a message."""

    def append(self, mid: int, accepted: bytes, content: Content, outcome: bytes | None, done: Done) -> None:
        """Make a message durable; takes the content over."""

    def append_outcome(self, mid: int, outcome: bytes, done: Done) -> None:
        """Make an outcome durable."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Choices of one process."""

    hostname: str
    thread_above: int = 256 * 1024
    """Larger content is filtered off the loop."""


@dataclass(slots=True)
class Taken:
    """One message on its way into the journal."""

    accepted: Accepted
    content: Content
    headers: Headers
    answer: Answer
    drop: str = ""
    """Why it is dropped without a pipeline (a sinkhole), else empty."""
    notes: Notes = field(default_factory=Notes)
    discarded: int = 0
    """Recipients that are counted as dropped messages, besides the message itself."""


class Responder(Protocol):
    """Answers messages to an address of its own; mail/dnscheck.py has one."""

    def asks(self, accepted: Accepted) -> bool:
        """Tell whether a message asks for an answer; its address is taken off one that has other recipients."""

    def is_only(self, accepted: Accepted) -> bool:
        """Tell whether nobody else is to get a message that asks."""

    def answer(self, accepted: Accepted, headers: Headers) -> None:
        """Answer a message that is durable."""


class Intake:
    """Takes messages for all listeners of a process."""

    def __init__(
        self,
        settings: IntakeSettings,
        store: Store,
        pipeline: Pipeline,
        *,
        log: MailLog,
        counters: Counters,
        poke: Callable[[], None] = lambda: None,
        start: Callable[[Coroutine[Any, Any, None], str], object] = spawn,
        brake: Brake | None = None,
        held: Callable[[Outcome], None] = lambda outcome: None,
    ) -> None:
        """`poke` tells the delivery queue, at most once a loop turn; `start` runs a task; `brake` delays answers;

        `held` learns of messages that nobody will deliver before a person has looked.
        """
        self.settings = settings
        self.store = store
        self.log = log
        self.counters = counters
        self.working = 0
        """Messages in the work queue that the pipeline has: accepted, outcome not written yet."""
        self.held: dict[int, None] = {}
        """MIDs that wait for the pipeline in the journal: the work queue is paused, or was."""
        self.paused: Callable[[], bool] = lambda: False
        """Set by the work queue (mail/workqueue.py), which runs what is held."""
        self.responder: Responder | None = None
        self._brake = brake or Brake()
        self._held = held
        self._pipeline = pipeline
        self._poke = poke
        self._start = start
        self._poked = False

    @property
    def rewriting(self) -> Rewriting:
        """The tables that change addresses, those in force now."""
        return self._pipeline.rewriting()

    def take(self, taken: Taken) -> None:
        """Store a message and answer; the content is the intake's from here."""
        data = taken.content.inline
        if not taken.drop and self.responder is not None and self.responder.asks(taken.accepted):
            self._have_answered(taken, self.responder)
        if taken.drop:
            self._store_with(taken, _sunk(taken))
        elif self.held or self.paused():
            self._store_for_later(taken)
        elif data is not None and len(data) <= self.settings.thread_above:
            self._store_with(taken, self._decide(taken, data))
        else:
            self._store_first(taken, data)

    def _have_answered(self, taken: Taken, responder: Responder) -> None:
        """Have the responder see a message when it is durable; one that is for nobody else goes no further."""
        reply, accepted = taken.answer, taken.accepted
        taken.drop = ANSWERED if responder.is_only(accepted) else ""

        def answer(given: Reply) -> None:
            reply(given)
            if given.code < 400:
                responder.answer(accepted, taken.headers)

        taken.answer = answer

    def submit(self, accepted: Accepted, content: bytes) -> None:
        """Queue a message of our own, past the pipeline; one that cannot be stored is a line in the log."""
        sink = self.store.content()
        sink.write(content)

        def done(error: Exception | None) -> None:
            if error is not None:
                self.log.warning(f"MID {accepted.mid} not stored: {clean(str(error))}")
                return
            self.log.info(f"Start MID {accepted.mid} ICID 0 ({clean(accepted.listener)})")
            self.log.info(f"MID {accepted.mid} queued for delivery")
            self._tell_queue()

        self.store.append(accepted.mid, encode(accepted), sink, encode(Outcome(accepted.mid, "deliver")), done)

    def _decide(self, taken: Taken, data: bytes) -> Outcome:
        try:
            return self._pipeline.run(taken.accepted, Readable(taken.headers, lambda: data), notes=taken.notes)
        except Exception:
            taken.content.discard()  # the session's boundary answers 451
            raise

    def _store_with(self, taken: Taken, outcome: Outcome) -> None:
        """Write message and outcome in one batch."""
        accepted = taken.accepted
        self.store.append(
            accepted.mid, encode(accepted), taken.content, encode(outcome), partial(self._stored, taken, outcome)
        )

    def _stored(self, taken: Taken, outcome: Outcome, error: Exception | None) -> None:
        if self._accept(taken, error):
            self._through(taken.notes, outcome)

    def _accept(self, taken: Taken, error: Exception | None) -> bool:
        """Answer, log and count a message that is durable, or is not."""
        accepted = taken.accepted
        if error is not None:
            self.log.warning(f"MID {accepted.mid} not stored: {clean(str(error))}")
            self.log.info(f"Message aborted MID {accepted.mid} Receiving aborted")
            taken.answer(NOT_STORED)
            return False
        self.note_ready(accepted)
        if taken.discarded:
            self.counters.add("dropped_msgs", taken.discarded)
        reply = Reply(250, "2.0.0", f"Ok:  Message {accepted.mid} accepted")
        if self._brake.delay_s:
            self._brake.hold(partial(taken.answer, reply))
        else:
            taken.answer(reply)
        return True

    def note_ready(self, accepted: Accepted) -> None:
        """Log and count one accepted message."""
        self.log.info(f"MID {accepted.mid} ready {accepted.size} bytes from <{clean(accepted.sender)}>")
        self.counters.add("inj_msgs")
        self.counters.add("inj_recips", len(accepted.recipients))

    def _through(self, notes: Notes, outcome: Outcome) -> None:
        """Log and count an outcome that is durable, and tell the queue."""
        notes.write(self.log)
        if outcome.verdict == "drop":
            self.counters.add("dropped_msgs")
        elif outcome.destination == HOLD_QUEUE:
            self._held(outcome)
        self._tell_queue()

    def _tell_queue(self) -> None:
        if not self._poked:
            self._poked = True
            asyncio.get_running_loop().call_soon(self._poke_now)

    def _poke_now(self) -> None:
        self._poked = False
        self._poke()

    def _store_for_later(self, taken: Taken) -> None:
        """Write the message alone; it is read again when the work queue goes on."""
        mid = taken.accepted.mid

        def done(error: Exception | None) -> None:
            if self._accept(taken, error):
                self.held[mid] = None

        self.store.append(mid, encode(taken.accepted), taken.content, None, done)

    def _store_first(self, taken: Taken, data: bytes | None) -> None:
        """Write the message alone; the pipeline follows off the loop."""
        accepted = taken.accepted
        content = taken.content

        def read() -> bytes:
            return data if data is not None else b"".join(content.chunks())

        def done(error: Exception | None) -> None:
            if self._accept(taken, error):
                self._start(self.work(accepted, Readable(taken.headers, read)), f"MID {accepted.mid}")

        self.store.append(accepted.mid, encode(accepted), content, None, done)

    async def work(self, accepted: Accepted, content: Readable) -> None:
        """Run an accepted message through the pipeline and write its outcome, however long that takes."""
        self.working += 1
        try:
            notes, outcome = await self._decide_late(accepted, content)
            await self._write_outcome(outcome)
            self._through(notes, outcome)
        finally:
            self.working -= 1

    async def _decide_late(self, accepted: Accepted, content: Readable) -> tuple[Notes, Outcome]:
        """Come to an outcome whatever happens: the message is accepted, and without one its segment never goes."""
        for tries in itertools.count(1):
            notes = Notes()
            try:
                return notes, await self._pipeline.run_in_thread(accepted, content, notes=notes)
            except OSError as error:
                self.log.critical(f"MID {accepted.mid} cannot be read now: {clean(str(error))}")
            except Exception as error:  # one message must not end the daemon, at every start again
                if not is_shortage(error) or (isinstance(error, MemoryError) and tries >= MOST_TRIES):
                    number = incident(f"MID {accepted.mid} in the work queue", error)
                    return notes, held(accepted, notes, f"internal error, incident {number}")
                if tries == 1:
                    self.log.critical(f"MID {accepted.mid} waits in the work queue: {clean(repr(error))}")
            await asyncio.sleep(RETRY_S)
        raise AssertionError("it counts for ever")

    async def _write_outcome(self, outcome: Outcome) -> None:
        """Try until the journal takes it; a process that ends before is helped by recovery."""
        data = encode(outcome)
        while True:
            told: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
            self.store.append_outcome(outcome.mid, data, partial(_tell, told))
            error = await told
            if error is None:
                return
            self.log.critical(f"MID {outcome.mid} outcome not stored: {clean(str(error))}")
            await asyncio.sleep(RETRY_S)


def _tell(told: "asyncio.Future[Exception | None]", error: Exception | None) -> None:
    if not told.done():
        told.set_result(error)


def _sunk(taken: Taken) -> Outcome:
    mid = taken.accepted.mid
    taken.notes.lines.append(("info", f"Message aborted MID {mid} {taken.drop}"))
    taken.notes.lines.append(("info", f"Message finished MID {mid} aborted"))
    return Outcome(mid=mid, verdict="drop", reason=taken.drop)
