"""What an operator does with quarantined messages: release and delete, with the control verbs of `release-host`.

A decision is one transaction in the store; with the last hold it makes the outbox row that cpq/handover.py carries
to the queue, or the removal row. Everything here may be repeated. Raises `GatepostError` (64, 65, 66) for the
operator; logs each quarantine that a message leaves.
"""

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

from core.clock import Clock, now
from core.errors import EX_DATAERR, EX_NOINPUT, EX_USAGE, GatepostError
from core.maillog import MailLog, clean
from cpq.content import ContentFolder
from cpq.held import Departure, Order, QuarantineStore, Search, StaysHeld
from cpq.locate import Locator
from cpq.state import Cause, Event, NotPossible, State
from cpq.view import HEADER_LIMIT, list_document, show_document

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100
_PAST = {Event.RELEASE: "released", Event.DELETE: "deleted"}


class Release:
    """The verbs."""

    def __init__(
        self,
        store: QuarantineStore,
        folder: ContentFolder,
        locator: Locator,
        log: MailLog,
        *,
        quarantines: Collection[str] = (),
        clock: Clock = now,
        decided: Callable[[], None] = lambda: None,
    ) -> None:
        """`quarantines` are the names an operator may use; `decided` wakes the hand-over."""
        self._store = store
        self._folder = folder
        self._locator = locator
        self._log = log
        self._quarantines = quarantines
        self._clock = clock
        self._decided = decided

    def verbs(self) -> dict[str, Any]:
        """Give the control verbs of release-host."""
        return {
            "quarantine_list": self.list,
            "quarantine_show": self.show,
            "quarantine_release": self.release,
            "quarantine_delete": self.delete,
            "locate": self.locate,
            "status": self.status,
        }

    async def status(self, _: dict[str, Any]) -> dict[str, Any]:
        """Give the gauges of the quarantine, by the names of the status page."""
        messages, octets = await self._store.catalogue.held()
        gauges = {"msgs_in_quarantine": messages, "kbytes_in_quarantine": -(-octets // 1024)}
        held = {name: await self._store.catalogue.held_in(name) for name in self._quarantines}
        figures = [
            {"name": "quarantine_messages", "value": count, "labels": {"quarantine": name}}
            for name, count in held.items()
        ]
        return {"state": "Online", "gauges": gauges, "figures": figures}

    async def list(self, args: dict[str, Any]) -> dict[str, Any]:
        """Give held messages, newest first."""
        limit = args.get("limit") or DEFAULT_LIMIT
        if not isinstance(limit, int) or not 1 <= limit <= MAX_LIMIT:
            raise GatepostError(f"quarantine list: the limit is a number from 1 to {MAX_LIMIT}", EX_USAGE)
        texts = {name: str(args.get(name) or "") for name in ("quarantine", "sender", "recipient", "subject", "after")}
        found = await self._store.catalogue.find(Search(**texts, limit=limit + 1))
        if not found:
            await self._check_name(texts["quarantine"])
        return list_document(found[:limit], more=len(found) > limit)

    async def show(self, args: dict[str, Any]) -> dict[str, Any]:
        """Give one message with its headers and decisions."""
        id = str(args.get("id") or "")
        message = await self._store.catalogue.message(id)
        if message is None:
            raise _unknown(id)
        head = await asyncio.to_thread(self._head, id)
        return show_document(message, head)

    def _head(self, id: str) -> bytes:
        """Read the beginning of the content; empty once the message has left."""
        try:
            return self._folder.read(id, HEADER_LIMIT)
        except FileNotFoundError:
            return b""

    async def release(self, args: dict[str, Any]) -> dict[str, Any]:
        """Release messages, all or none; gives those that are on their way, and those a deletion vetoed."""
        return await self._decide(args, Event.RELEASE)

    async def delete(self, args: dict[str, Any]) -> dict[str, Any]:
        """Delete messages, all or none."""
        return await self._decide(args, Event.DELETE)

    async def locate(self, args: dict[str, Any]) -> dict[str, Any]:
        """Give where released mail of an appliance is handed back."""
        location = await self._locator.locate(str(args.get("serial") or ""))
        return {"serial": location.serial, "address": location.address, "port": location.port}

    async def _check_name(self, quarantine: str) -> None:
        """Raise status 66 for a name that is no quarantine; one that was configured before may still hold mail."""
        if not quarantine or quarantine in self._quarantines:
            return
        if not await self._store.catalogue.find(Search(quarantine=quarantine, limit=1)):
            there = ", ".join(self._quarantines)
            raise GatepostError(f"no quarantine is called {clean(quarantine)!r}; there are: {there}", EX_NOINPUT)

    async def _decide(self, args: dict[str, Any], event: Event) -> dict[str, Any]:
        ids = [str(one) for one in args.get("ids") or []]
        if not ids:
            raise GatepostError(f"quarantine {event.value}: give the id of at least one message", EX_USAGE)
        quarantine = str(args.get("quarantine") or "")
        await self._check_name(quarantine)
        orders = [Order(one, event, Cause.MANUAL, quarantine) for one in dict.fromkeys(ids)]
        try:
            departures = await self._store.decisions.apply(orders, self._clock())
        except KeyError as error:
            raise _unknown(str(error.args[0])) from None
        except NotPossible as error:
            raise GatepostError(f"quarantine {event.value}: {error}; nothing was changed", EX_DATAERR) from None
        except StaysHeld as error:
            text = f"MID {error.mid} was quarantined {error.hold_count} times: it stays held until it is deleted"
            self._log.critical(text)
            raise GatepostError(f"{error.id}: {text}; nothing was changed", EX_DATAERR) from None
        log_departures(self._log, departures)
        self._decided()
        vetoed = {one.id for one in departures if event is Event.RELEASE and one.resolved is State.DELETED}
        document: dict[str, Any] = {_PAST[event]: [one.id for one in orders if one.id not in vetoed]}
        if vetoed:
            document["deleted"] = sorted(vetoed)
        return document


def log_departures(log: MailLog, departures: Sequence[Departure]) -> None:
    """Write the lines for messages that have left quarantines."""
    for one in departures:
        past = _PAST[one.event]
        log.info(
            f'MID {one.mid} {past} from quarantine "{clean(one.quarantine)}" ({one.cause.value}) t={one.held_s:.0f}'
        )
        if one.resolved is not None:
            log.info(f"MID {one.mid} {one.resolved.value} from all quarantines")


def _unknown(id: str) -> GatepostError:
    return GatepostError(f"no message {clean(id)!r} in quarantine; `quarantine list` shows the ids", EX_NOINPUT)
