"""The age of mail that gets no attempt: expiry and delay warnings for what waits behind a host that is down.

An attempt looks at the age of its own message. This service does it for the rest, also for what is in the index
only: each message's row says when to look (`review_at`), and a bounded number is looked at a second, so that a host
with a million messages costs no more than one with few. Nothing is looked at while attempts are stopped. Logs a
failing index once.
"""

from core.clock import Clock
from core.errors import GatepostError
from core.lifecycle import Scope
from core.maillog import Log
from core.sqlite import DatabaseThread
from mail.queue.book import Book
from mail.queue.load import Loader
from mail.queue.message import NEVER, Message, Parcel
from mail.queue.profile import Profiles
from mail.queue.schedule import Scheduler
from mail.queue.settle import Settlement
from mail.queue.state import Reason, State
from mail.queue.store import messages, never_overdue, overdue

STEP_S = 1.0
MOST = 500
"""Messages a step."""
AGAIN_S = 30.0
"""A message that could not be dealt with is looked at again after this."""


class Overdue:
    """Looks at the age of messages."""

    name = "age of mail"

    def __init__(
        self,
        database: DatabaseThread,
        book: Book,
        scheduler: Scheduler,
        *,
        loader: Loader,
        settlement: Settlement,
        profiles: Profiles,
        log: Log,
        now: Clock,
    ) -> None:
        self._database = database
        self._book = book
        self._scheduler = scheduler
        self._loader = loader
        self._settlement = settlement
        self._profiles = profiles
        self._log = log
        self._now = now
        self._failing = False

    def review_at(self, message: Message) -> float:
        """Give what the row of a message says."""
        times = [self._parcel_review_at(parcel) for parcel in message.parcels if parcel.state is not State.DONE]
        soonest = min(times, default=NEVER)
        return max(soonest, self._now() + AGAIN_S) if message.stored else soonest

    def _parcel_review_at(self, parcel: Parcel) -> float:
        destination = self._scheduler.destinations.get(parcel.destination)
        if destination is None or destination.held:
            return NEVER
        profile = self._profiles.of(parcel)
        warned = parcel.warned if self._settlement.warnings.wanted(parcel, profile) else None
        return profile.review_at(parcel.message.received_at, parcel.next_attempt_at, warned)

    async def run(self, scope: Scope) -> None:
        """Look at what has become old, until stopping."""
        while await scope.pause(STEP_S):
            if not self._scheduler.stopped and self._book.room:
                try:
                    await self._look()
                except GatepostError as error:
                    if not self._failing:
                        self._log.critical(f"The queue's index cannot be read for what is too old: {error.text}")
                    self._failing = True

    async def _look(self) -> None:
        mids = [mid for mid in await self._database.run(overdue, self._now(), MOST) if mid not in self._book.gone]
        self._failing = False
        absent = [mid for mid in mids if mid not in self._book.messages]
        rows = await self._database.run(messages, absent) if absent else []
        if self._scheduler.stopped:
            return
        for row, recipients in rows:
            self._loader.lift(row, recipients)
        damaged = [mid for mid in absent if mid in self._book.damaged]
        if damaged:  # nobody can tell their age, and others would have to wait behind them
            await self._database.change(never_overdue, damaged)
        for mid in mids:
            message = self._book.messages.get(mid)
            if message is not None:
                self._review(message)

    def _review(self, message: Message) -> None:
        """Draw the conclusions for one message, and let go of what was brought for it."""
        now = self._now()
        self._book.touch(message)
        for parcel in list(message.parcels):
            self._settlement.aged(parcel)
            if parcel.state is State.NEW:
                self._leave(parcel, now)

    def _leave(self, parcel: Parcel, now: float) -> None:
        if parcel.next_attempt_at > now:
            parcel.move(Reason.NOT_DUE)
            self._scheduler.wait(parcel, parcel.next_attempt_at)
        else:
            parcel.move(Reason.READY_FULL)
