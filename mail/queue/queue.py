"""The delivery queue: the service that puts its parts together, starts them from what is on the disk, and stops.

The root (`daemons/delivery_queue.py`) makes one `DeliveryQueue`, hands in the couriers and registers `verbs()` on the
control socket. Start: the index is opened, the done logs are replayed over it, then importing and delivering begin;
how long the queue is does not matter. Stop: no new attempts, those on their way finish, then a last checkpoint.

Raises `core.sqlite.SchemaRefused` and `OSError` on opening. Logs in the mail log what an operator must know.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from core import clock
from core.condition import Concern, Condition
from core.control import Handler
from core.errors import GatepostError
from core.ids import IdBlocks
from core.journal import Journal
from core.lifecycle import Scope
from core.maillog import Log, clean
from core.memory import give_back
from core.record import Recipient
from core.sqlite import Database, DatabaseThread
from mail.bounce.profile import BounceProfile
from mail.delivery.courier import Courier
from mail.delivery.limit import Limits
from mail.delivery.unsubscribe import Unsubscribed
from mail.queue import donelog, store
from mail.queue.book import Book
from mail.queue.checkpoint import BookTorn, Checkpointer
from mail.queue.clockwatch import ClockWatch, pull_in
from mail.queue.dispatch import Dispatcher
from mail.queue.documents import trouble_of
from mail.queue.importer import Importer
from mail.queue.load import Loader
from mail.queue.memory import forget_idle
from mail.queue.message import Message, Parcel, destination_of, divide
from mail.queue.now import DeliverNow
from mail.queue.operate import Hands, Operations
from mail.queue.outcome_log import OutcomeLogs
from mail.queue.overdue import Overdue
from mail.queue.places import Places
from mail.queue.profile import Profiles
from mail.queue.reading import Reading
from mail.queue.reclaim import Reclaimer
from mail.queue.report import Counter, Reporter, ReportSettings
from mail.queue.rule import moving
from mail.queue.schedule import Scheduler
from mail.queue.select import Picker
from mail.queue.settle import Settlement
from mail.queue.space import Space
from mail.queue.suspension import Suspension
from mail.queue.tally.store import tallies
from mail.queue.turns import Turns
from mail.queue.verb import Figures, Parts, Verbs
from mail.queue.view import Facts, Views
from mail.queue.watch import Patience

TICK_S = 0.25
MOST_A_TURN = 250
"""Things of the timer that are looked at before others have their turn of the loop."""
FORGET_TURNS = 240
AHEAD = 300
"""Messages ready for destinations that move; with more, importing only fills the index."""


@dataclass(frozen=True)
class QueueSettings:
    """What the queue of one machine is told."""

    hostname: str
    """Who reports failures."""
    limits: Callable[[str], Limits] = lambda _name: Limits()
    """What a destination name is granted."""
    unsubscribed: Unsubscribed = field(default_factory=Unsubscribed)
    """Recipients that get no mail."""
    profiles: Mapping[str, BounceProfile] = field(default_factory=dict)
    """Bounce profiles by name, for the choices of listeners and filters."""
    reports: ReportSettings = field(default_factory=ReportSettings)
    always: tuple[str, ...] = ()
    """Pseudo hosts that are shown even when idle: `the.cpq.host` on an ESA, `the.cpq.release.host` on an SMA."""
    ready_limit: int = 1000
    resident: int = 10_000
    """Messages in memory."""
    connections: int = 10_000
    idle_close_s: float = 5.0
    checkpoint_s: float = 1.0
    patience_s: float = 30.0
    """How long a journal segment may wait for deferred mail before its content is moved."""
    patience: Patience = field(default_factory=Patience)
    """How long a connection may stand still before the watchdog ends it."""


class Counters(Counter, Figures, Protocol):
    """The daemon's counters."""


class DeliveryQueue:
    """The queue of one machine."""

    name = "delivery queue"

    def __init__(
        self,
        spool: Path,
        state: Path,
        settings: QueueSettings,
        *,
        journal: Journal,
        couriers: Mapping[str, Courier],
        log: Log,
        counters: Counters,
        mids: IdBlocks,
        outcome_logs: OutcomeLogs | None = None,
        facts: Facts = lambda _host: {},
        now: clock.Clock = clock.steady,
        wall: clock.Clock | None = None,
    ) -> None:
        """Open the index under `spool`; `state` is the directory for the suspension, `journal` our own for bounces.

        `couriers` is by destination name, '' for all others; `facts` tells what a courier knows of a host.
        Waiting goes by `now`, which nobody sets; reports are dated by `wall`, if it is given.
        """
        self._settings = settings
        self._log = log
        self._now = now
        self._clock_watch = ClockWatch(log)
        self._places = Places(spool)
        self._places.content.mkdir(parents=True, exist_ok=True, mode=0o750)
        index = self._places.queue / "queue.db"
        self._database = DatabaseThread(index, store.SCHEMA, content=self._places.content)
        try:
            self._restore()
            self._reader = DatabaseThread(index, store.SCHEMA)
        except BaseException:
            self._database.close()
            raise
        self._book = book = Book(settings.resident)
        self._scheduler = scheduler = Scheduler(
            settings.limits, ready_limit=settings.ready_limit, connections=settings.connections
        )
        self.importer = Importer(
            self._places.journals,
            book,
            admit=self._admit,
            enough=lambda: moving(scheduler, now()) >= AHEAD,
            log=log,
            positions=self._positions,
            done=self._replayed,
        )
        self._profiles = profiles = Profiles(settings.profiles, lambda key: scheduler.destination(key).limits.profile)
        self._reporter = reporter = Reporter(
            journal,
            mids,
            settings.hostname,
            settings=settings.reports,
            log=log,
            counters=counters,
            now=wall or now,
            recorded=lambda: self.importer.poke(journal.directory.name),
        )
        self.suspension = self._suspension = Suspension(state / "delivery-suspended", scheduler, log=log, now=now)
        self._settlement = Settlement(
            scheduler,
            book,
            self._done,
            profile_of=profiles.of,
            reports=reporter,
            log=log,
            counters=counters,
            now=now,
            broken=self._suspension.broken,
        )
        scheduler.expire = self._settlement.expired
        scheduler.filtered = self._settlement.filtered
        self._turns = Turns()
        self._settlement.unsubscribed = settings.unsubscribed
        self._settlement.outcome_logs = outcome_logs or OutcomeLogs()
        scheduler.expired = lambda parcel, _, now: profiles.of(parcel).expired(parcel.message.received_at, now)
        self._checkpointer = Checkpointer(
            self._database,
            book,
            self._done,
            scheduler=scheduler,
            importer=self.importer,
            log=log,
            now=now,
            floor=self._floor,
            interval_s=settings.checkpoint_s,
        )
        self._loader = Loader(self._database, book, scheduler, places=self._places, log=log, now=now)
        self._overdue = Overdue(
            self._database,
            book,
            scheduler,
            loader=self._loader,
            settlement=self._settlement,
            profiles=profiles,
            log=log,
            now=now,
        )
        self._checkpointer.review_at = self._overdue.review_at
        self._checkpointer.tally = self._settlement.tally
        self._reclaimer = Reclaimer(
            self._database,
            book,
            self._checkpointer,
            places=self._places,
            log=log,
            now=now,
            patience_s=settings.patience_s,
        )
        self._dispatcher = Dispatcher(
            scheduler,
            self._settlement,
            couriers,
            log=log,
            now=now,
            idle_close_s=settings.idle_close_s,
            patience=settings.patience,
            stuck=lambda: counters.add("stuck_connections"),
        )
        self._suspension.let_go = self._dispatcher.let_go
        self._counters = counters
        for name in ("stuck_connections", "capped_reports"):
            counters.add(name, 0)  # shown from the start
        self._picker = picker = Picker(self._database, book, self._places, now)
        hands = Hands(scheduler, book, self._settlement, self._loader, self._checkpointer)
        self.operations = Operations(picker, hands, log=log, now=now)
        self.views = Views(scheduler, picker, reader=self._reader, now=now, always=settings.always, facts=facts)
        book.segments.update(self._segments)
        self._reclaimer.sweep()
        self._loader.survey(self._loads)
        self._settlement.tally.restore(self._tallies, scheduler)
        self._loads.clear()
        self._tallies.clear()

    def _restore(self) -> None:
        """Read what the index says, with what the done logs say on top."""
        database, queue = self._database, self._places.queue
        self._floor, self._positions = database.submit(store.epoch_and_positions).result()
        self._replayed = donelog.replay(queue, self._floor)
        if self._replayed:
            database.submit(_finish, self._replayed).result()
        known = [self._settings.limits("").profile, *self._settings.profiles.values()]
        pull_in(database, known, self._now(), self._log)
        self._segments = database.submit(store.segments).result()
        self._loads: list[store.Load] = database.submit(store.loads).result()
        self._tallies = database.submit(tallies).result()
        self._done: donelog.DoneLog = donelog.DoneLog(queue, 1 + max([self._floor, *donelog.epochs(queue)]))

    def verbs(self) -> dict[str, Handler]:
        """Give the handlers of the control socket."""
        parts = Parts(
            views=self.views,
            operations=self.operations,
            reading=Reading(self._picker, self._now),
            deliver_now=DeliverNow(self._scheduler, self._book, self._database, self._reader, self._now),
            suspension=self._suspension,
            scheduler=self._scheduler,
            importer=self.importer,
            counters=self._counters,
            reader=self._reader,
            health=self._health,
            reset_counts=self._reset_counts,
            space=Space(self._places, self._now),
            now=self._now,
        )
        return Verbs(parts).all()

    def reconfigure(self, settings: QueueSettings) -> None:
        """Take limits, bounce profiles and their texts, connections and the unsubscribe list anew.

        No connection ends for it. What else `settings` says stays as it was at the start.
        """
        self._settlement.unsubscribed = settings.unsubscribed
        self._profiles.replace(settings.profiles)
        self._reporter.reconfigure(settings.reports)
        scheduler = self._scheduler
        scheduler.max_connections = settings.connections
        for destination in list(scheduler.destinations.values()):
            destination.limits = settings.limits(destination.name)
            scheduler.stir(destination)

    async def is_queued(self, mid: int) -> bool:
        """Tell whether a message that was imported may be tried again, be it after a crash."""
        if mid in self._book.messages or self._checkpointer.failure:
            return True
        return bool(await self._database.run(store.messages, [mid]))

    async def _reset_counts(self) -> None:
        """Count from zero again, for every destination too; durable when this returns, if the index can be written."""
        self._counters.reset()
        self._settlement.tally.reset(self._scheduler.destinations.values())
        await self._checkpointer.make()

    def _health(self) -> list[str]:
        """Name what is wrong."""
        reading = [*self.importer.damaged.values(), *self.importer.unreadable.values()]
        troubles = [*self._unwritable(), *reading, trouble_of(self._book.damaged)]
        return [trouble for trouble in troubles if trouble]

    def _unwritable(self) -> list[str]:
        return [trouble for trouble in (self._checkpointer.failure, self._done.broken) if trouble]

    def condition(self) -> Condition:
        """Say what keeps mail from leaving; what cannot be written down is not delivered at all."""
        broken = [f"the queue cannot be written: {clean(text)}" for text in self._unwritable()]
        concerns = [Concern("delivery", True, text) for text in broken]
        if self._suspension.suspended:
            concerns.append(Concern("delivery", False, "delivery is suspended; resumedel lets it go on"))
        if len(self._health()) > len(broken):
            concerns.append(Concern("delivery", False, "something of the queue cannot be read; status says what"))
        return Condition(tuple(concerns))

    async def run(self, scope: Scope) -> None:
        """Import and deliver until stopping; the last checkpoint is made unless a part has failed."""
        try:
            self._suspension.restore()
            for part in (self._checkpointer, self.importer, self._loader, self._reclaimer, self._overdue):
                scope.start(part.run(scope), name=part.name)
            self._dispatcher.begin(scope)
            self.operations.open(scope)
            scope.ready()
            await self._keep_time(scope)
            self._scheduler.stopped = "the service stops"
            self._dispatcher.release_idle()
            self._dispatcher.give_up_openings()
            with scope.activity("deliveries under way"):
                while self._dispatcher.open_lines:
                    await asyncio.sleep(0.02)
                    self._dispatcher.release_idle()
                await self._reporter.drain()
            await self.operations.close()
        except Exception:
            self._book.torn = True
            raise
        finally:
            self._book.torn = self._book.torn or scope.failed
            self._end()

    async def _keep_time(self, scope: Scope) -> None:
        """Wake what is due and close what is idle, until stopping."""
        turns = 0
        while await scope.pause(TICK_S):
            turns += 1
            while self._scheduler.tick(self._now(), MOST_A_TURN):  # noqa: ASYNC110 - others have their turn
                await asyncio.sleep(0)
            if turns % 4 == 0:
                self._dispatcher.sweep()
                if self._done.broken and self._done.retry():
                    self._suspension.broken("")
            if turns % FORGET_TURNS == 0:
                forget_idle(self._scheduler, forgotten=self._settlement.tally.forget)
                self._clock_watch.look()
                await asyncio.to_thread(give_back)

    def _end(self) -> None:
        """Write down what is left and close; blocking, at the end of the process."""
        try:
            self._checkpointer.last()
        except (BookTorn, GatepostError, OSError) as error:
            self._log.critical(f"The last checkpoint failed; the next start replays the done log: {error}")
        finally:
            self._reader.close()
            self._database.close()
            self._done.close()

    def _admit(self, message: Message, recipients: list[Recipient]) -> None:
        """Put a new message's recipients where they belong."""
        verdict = message.outcome.verdict
        if verdict == "drop":
            self._book.discard(message)
            return
        if verdict == "bounce":
            key = destination_of(message.outcome, recipients[0])
            most = self._settings.limits("").recipients_per_message
            parts = [recipients[start : start + most] for start in range(0, len(recipients), most)]
            parcels = [Parcel(message, key, part) for part in parts]
            message.parcels += parcels
            self._scheduler.destination(key).active += len(recipients)
            for parcel in parcels:
                self._turns.add(partial(self._settlement.filtered, parcel))
            return
        now = self._now()
        for parcel in divide(message, recipients, self._settings.limits("").recipients_per_message):
            self._scheduler.destination(parcel.destination).active += len(parcel.recipients)
            self._scheduler.add(parcel, now)


def _finish(database: Database, done: dict[int, set[int]]) -> None:
    """Apply the done logs to the index in one transaction."""
    with database.transaction():
        store.finish(database, done)
