"""What operators see of the queue: the documents of tophosts, hoststatus, showrecipients and status.

Called by the handlers of `delivery-queue`'s control socket; the shapes are those of `--json`. Reads the scheduler
and the book at once and the index in its own thread; changes nothing.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from core.clock import Clock
from core.errors import EX_USAGE, GatepostError
from core.record import CPQ_HOST, HOLD_QUEUE, RELEASE_HOST, Accepted, decode_accepted, decode_outcome
from core.sqlite import DatabaseThread
from mail.queue.book import Book
from mail.queue.destination import Destination, HostState
from mail.queue.message import NEVER, Message, Parcel
from mail.queue.rule import limiting_rule
from mail.queue.schedule import Scheduler
from mail.queue.store import MessageRow, RecipientRow, chosen, several

SORTS = ("active_recipients", "connections_out", "delivered_recipients", "soft_bounced", "hard_bounced")
HARD_KINDS = (
    "dns_hard_bounced_recips",
    "5xx_hard_bounced_recips",
    "filter_hard_bounced_recips",
    "expired_hard_bounced_recips",
    "other_hard_bounced_recips",
)
_SORT_BY: dict[str, Callable[[Destination], int]] = {
    "active_recipients": lambda one: one.active,
    "connections_out": lambda one: one.lines,
    "delivered_recipients": lambda one: one.counts.delivered_recips,
    "soft_bounced": lambda one: one.counts.soft_bounced_evts,
    "hard_bounced": lambda one: one.counts.hard_bounced_recips,
}
MOST = 10_000
MOST_HOSTS = 1000
PSEUDO_HOSTS = frozenset({CPQ_HOST, RELEASE_HOST, HOLD_QUEUE})
"""Their queues differ by appliance, not by virtual gateway."""
DEFAULT_GATEWAY = "default"

Facts = Callable[[str], dict[str, Any]]
"""What the courier knows of a host: any of `addresses`, `mx`, `last_tls_error`."""


class Views:
    """The documents."""

    def __init__(
        self,
        scheduler: Scheduler,
        book: Book,
        database: DatabaseThread,
        *,
        now: Clock,
        always: Iterable[str] = (),
        facts: Facts = lambda _host: {},
    ) -> None:
        """`always` are the pseudo hosts that are shown even when they are idle."""
        self._scheduler = scheduler
        self._book = book
        self._database = database
        self._now = now
        self._always = tuple(always)
        self._facts = facts

    def tophosts(self, sort: str = SORTS[0], limit: int = 0) -> dict[str, Any]:
        """Give the first destinations by `sort`, `MOST_HOSTS` if there is no limit. Raises status 64 for an unknown
        order."""
        if sort not in SORTS:
            raise GatepostError(f"tophosts cannot sort by {sort!r}: use one of {', '.join(SORTS)}", EX_USAGE)
        by_name = self._scheduler.by_name
        value = _SORT_BY[sort]
        ranked = [(-sum(map(value, found)), name) for name, found in by_name.items()]
        ranked += [(0, name) for name in self._always if name not in by_name]
        first = heapq.nsmallest(limit or MOST_HOSTS, ranked)
        hosts = [_host(name, by_name.get(name, ())) for _, name in first]
        return {"as_of": self._now(), "hosts": hosts, "total": len(ranked)}

    def _of(self, name: str) -> list[Destination]:
        return self._scheduler.by_name.get(name, [])

    def hoststatus(self, host: str) -> dict[str, Any]:
        """Give all about one destination; an unknown one is shown as such, with zeros."""
        name = host.lower()
        found = self._of(name)
        rules = [rule for one in found if (rule := limiting_rule(self._scheduler, one, self._now()))]
        errors = [one.last_5xx for one in found if one.last_5xx]
        active, attempted = sum(one.active for one in found), sum(one.attempted for one in found)
        document: dict[str, Any] = {
            "host": name,
            "state": _state(found),
            "limiting_rule": rules[0] if rules else None,
            "counters": _counters(found),
            "gauges": {
                "active_recips": active,
                "unattempted_recips": active - attempted,
                "attempted_recips": attempted,
                "conn_out": sum(one.lines for one in found),
                "pending_conn_out": sum(one.opening for one in found),
            },
            "addresses": [],
            "mx": [],
            "last_5xx": errors[0] if errors else None,
            "last_tls_error": None,
            "last_activity_at": max((one.last_activity_at for one in found), default=0.0) or None,
            "last_failure": next((one.last_failure for one in found if one.last_failure), None),
            "virtual_gateways": [] if name in PSEUDO_HOSTS else [self._gateway(one) for one in found],
        }
        return document | self._facts(name)

    def _gateway(self, one: Destination) -> dict[str, Any]:
        """Give what is a virtual gateway's own: its queue, its connections, whether it finds the host up."""
        return {
            "name": one.target or DEFAULT_GATEWAY,
            "state": one.state.value,
            "limiting_rule": limiting_rule(self._scheduler, one, self._now()) or None,
            "active_recipients": one.active,
            "connections_out": one.lines,
            "delivered_recipients": one.counts.delivered_recips,
            "last_activity_at": one.last_activity_at or None,
            "last_failure": one.last_failure or None,
        }

    async def showrecipients(
        self, host: str | None = None, sender: str | None = None, limit: int = MOST
    ) -> dict[str, Any]:
        """Give the recipients in the queue, by destination, by sender or all, the oldest message first."""
        wanted_host = host.lower() if host else None
        in_memory = {mid: message for mid, message in self._book.messages.items() if _sent_by(message.accepted, sender)}
        most = limit + len(in_memory)
        mids = await self._database.run(chosen, wanted_host, sender, after=0, most=most)
        rows = await self._database.run(several, mids)
        gone = self._book.gone
        by_mid = {
            row.mid: list(_stored_lines(row, recipients))
            for row, recipients in rows
            if row.mid not in gone and row.mid not in self._book.messages
        }
        by_mid |= {mid: list(_lines(message)) for mid, message in in_memory.items() if mid in self._book.messages}
        lines = [
            line
            for mid in sorted(by_mid)
            for line in by_mid[mid]
            if wanted_host is None or line["destination"] == wanted_host
        ]
        return {"recipients": lines[:limit], "truncated": len(lines) > limit or len(rows) >= limit + len(in_memory)}

    def gauges(self) -> dict[str, Any]:
        """Give the gauges of the status page that the queue knows."""
        destinations = self._scheduler.destinations.values()
        active, attempted = sum(one.active for one in destinations), sum(one.attempted for one in destinations)
        return {
            "conn_out": sum(one.lines for one in destinations),
            "active_recips": active,
            "unattempted_recips": active - attempted,
            "attempted_recips": attempted,
            "dests_in_memory": len(destinations),
        }


def _host(name: str, found: Sequence[Destination]) -> dict[str, Any]:
    return {
        "host": name,
        "state": _state(found),
        "active_recipients": sum(one.active for one in found),
        "connections_out": sum(one.lines for one in found),
        "delivered_recipients": sum(one.counts.delivered_recips for one in found),
        "soft_bounced": sum(one.counts.soft_bounced_evts for one in found),
        "hard_bounced": sum(one.counts.hard_bounced_recips for one in found),
    }


def _state(found: Sequence[Destination]) -> str:
    states = {one.state for one in found}
    for state in (HostState.DOWN, HostState.UP):
        if state in states:
            return state.value
    return HostState.UNKNOWN.value


def _counters(found: Sequence[Destination]) -> dict[str, int]:
    hard = {kind: sum(one.counts.hard.get(kind, 0) for one in found) for kind in HARD_KINDS}
    delivered = sum(one.counts.delivered_recips for one in found)
    deleted = sum(one.counts.deleted_recips for one in found)
    bounced = sum(one.counts.hard_bounced_recips for one in found)
    return {
        "soft_bounced_evts": sum(one.counts.soft_bounced_evts for one in found),
        "completed_recips": delivered + deleted + bounced,
        "hard_bounced_recips": bounced,
        **hard,
        "delivered_recips": delivered,
        "deleted_recips": deleted,
    }


def _sent_by(accepted: Accepted, sender: str | None) -> bool:
    """Match an address, `user@` or `@domain`, without regard to case; as `store.matching` does."""
    if sender is None:
        return True
    low, own = sender.lower(), accepted.sender.lower()
    if low.startswith("@"):
        return own.endswith(low)
    return own.startswith(low) if low.endswith("@") else own == low


def _lines(message: Message) -> Iterable[dict[str, Any]]:
    for parcel in message.parcels:
        yield from _parcel_lines(message, parcel)


def _parcel_lines(message: Message, parcel: Parcel) -> Iterable[dict[str, Any]]:
    for recipient in parcel.recipients:
        line = _line(message.accepted, recipient.rid, recipient.address, parcel.destination[0])
        yield line | _history(parcel.attempts, parcel.next_attempt_at, parcel.last_reply)


def _stored_lines(row: MessageRow, recipients: Sequence[RecipientRow]) -> Iterable[dict[str, Any]]:
    accepted, outcome = decode_accepted(row.accepted), decode_outcome(row.outcome)
    addresses = {one.rid: one.address for one in outcome.recipients or accepted.recipients}
    for one in recipients:
        line = _line(accepted, one.rid, addresses.get(one.rid, ""), one.destination)
        yield line | _history(one.attempts, one.next_attempt_at, one.last_reply)


def _line(accepted: Accepted, rid: int, address: str, destination: str) -> dict[str, Any]:
    return {
        "mid": str(accepted.mid),
        "rid": str(rid),
        "sender": accepted.sender,
        "recipient": address,
        "destination": destination,
        "size": accepted.size,
        "subject": accepted.subject,
    }


def _history(attempts: int, at: float, reply: str) -> dict[str, Any]:
    next_attempt_at = at if 0 < at < NEVER else None
    return {"attempts": attempts, "next_attempt_at": next_attempt_at, "last_reply": reply or None}
