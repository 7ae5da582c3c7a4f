"""What operators see of the queue: the documents of tophosts, hoststatus, showrecipients and status.

Called by the handlers of `delivery-queue`'s control socket; the shapes are those of `--json`. Reads the scheduler
and the book at once and the index in its own thread; changes nothing.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any

from core.clock import Clock, monotonic
from core.errors import EX_NOINPUT, EX_USAGE, GatepostError
from core.record import CHANNEL, HOLD_QUEUE, PSEUDO_HOSTS
from core.sqlite import DatabaseThread
from mail.queue.destination import Destination, HostState
from mail.queue.documents import DAMAGED, received_at
from mail.queue.message import NEVER
from mail.queue.rule import limiting_rule
from mail.queue.schedule import Scheduler
from mail.queue.select import Entry, Found, Picker, Selector
from mail.queue.store import oldest_for

HARD_KINDS = (
    "dns_hard_bounced_recips",
    "5xx_hard_bounced_recips",
    "filter_hard_bounced_recips",
    "expired_hard_bounced_recips",
    "other_hard_bounced_recips",
)
_SORT_BY: dict[str, Callable[[Destination], int]] = {
    "active_recipients": attrgetter("active"),
    "connections_out": attrgetter("lines"),
    "delivered_recipients": attrgetter("counts.delivered_recips"),
    "soft_bounced": attrgetter("counts.soft_bounced_evts"),
    "hard_bounced": attrgetter("counts.hard_bounced_recips"),
}
SORTS = tuple(_SORT_BY)
MOST = 10_000
"""Recipients of one answer."""
STEP = 500
LONGEST_S = 2.0
"""A search that takes longer gives what it has, and where to go on."""
MOST_HOSTS = 200
DEFAULT_GATEWAY = "default"

Facts = Callable[[str], dict[str, Any]]
"""What the courier knows of a host: any of `addresses`, `mx`, `last_tls_error`."""


class Views:
    """The documents."""

    def __init__(
        self,
        scheduler: Scheduler,
        picker: Picker,
        *,
        reader: DatabaseThread,
        now: Clock,
        always: Iterable[str] = (),
        facts: Facts = lambda _host: {},
    ) -> None:
        """`always` are the pseudo hosts that are shown even when they are idle; `reader` is a way to the index on
        which nothing is under way that takes long."""
        self._reader = reader
        self._scheduler = scheduler
        self._picker = picker
        self._now = now
        self._always = tuple(always)
        self._facts = facts

    def tophosts(self, sort: str = SORTS[0], limit: int = 0) -> dict[str, Any]:
        """Give the first destinations by `sort`, `MOST_HOSTS` if there is no limit. Raises status 64 for an unknown
        order."""
        if sort not in SORTS:
            raise GatepostError(f"tophosts cannot sort by {sort!r}: use one of {', '.join(SORTS)}", EX_USAGE)
        by_name = self._scheduler.by_name
        idle = [name for name in self._always if name not in by_name]
        first = _greatest(by_name, idle, _SORT_BY[sort], limit or MOST_HOSTS)
        hosts = [_host(name, by_name.get(name, ())) for name in first]
        return {"as_of": self._now(), "hosts": hosts, "total": len(by_name) + len(idle)}

    def _of(self, name: str) -> list[Destination]:
        return self._scheduler.by_name.get(name, [])

    def hoststatus(self, host: str) -> dict[str, Any]:
        """Give all about one destination. Raises status 66 for one that no mail was queued for."""
        name = host.lower()
        found = self._of(name)
        if not found and name not in self._always and name not in PSEUDO_HOSTS:
            raise GatepostError(f"{host}: no mail has been queued for this host", EX_NOINPUT)
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
            "appliances": [self._appliance(one) for one in found] if name in CHANNEL else [],
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

    def _appliance(self, one: Destination) -> dict[str, Any]:
        """Give the same of the queue for one paired appliance, by its serial; '' = the only one."""
        return {**self._gateway(one), "name": one.target}

    async def oldest(self, name: str) -> float | None:
        """Give when the oldest message for a destination was accepted, None if there is none."""
        document = await self._reader.run(oldest_for, name)
        times = [
            message.accepted.received_at
            for message in self._picker.book.messages.values()
            for parcel in message.parcels
            if parcel.destination[0] == name
        ]
        stored = received_at(document)
        return min(times + ([] if stored is None else [stored]), default=None)

    async def showrecipients(
        self, selector: Selector | None = None, *, limit: int = MOST, after: str = ""
    ) -> dict[str, Any]:
        """Give the recipients that are chosen, the oldest message first.

        `next` says where to go on (`after`), None at the end; a long search may give few or none and a `next`.
        """
        selector = selector or Selector()
        begin = _place(after)
        stream = self._picker.stream(selector, begin[0] - 1)
        lines: list[dict[str, Any]] = []
        reached: tuple[int, int] | None = begin
        until = monotonic() + LONGEST_S
        while len(lines) <= limit and monotonic() < until:
            mids = await stream.next(min(STEP, limit + 1))
            if not mids:
                reached = None
                break
            found = await self._picker.look(selector, mids)
            for mid in mids:
                one = found.get(mid)
                entries = sorted(one.entries, key=lambda entry: entry.recipient.rid) if one is not None else []
                lines += [
                    _line(one, entry)  # type: ignore[arg-type]
                    for entry in entries
                    if (mid, entry.recipient.rid) > begin
                ]
            reached = (mids[-1], NO_RID)
        return {"recipients": lines[:limit], "next": _next(lines, limit, reached)}

    def gauges(self) -> dict[str, Any]:
        """Give the gauges of the status page that the queue knows."""
        destinations = self._scheduler.destinations.values()
        active = attempted = connections = down = 0
        for one in destinations:
            down += one.state is HostState.DOWN
            active += one.active
            attempted += one.attempted
            connections += one.busy + len(one.idle)
        return {
            "conn_out": connections,
            "active_recips": active,
            "unattempted_recips": active - attempted,
            "attempted_recips": attempted,
            "dests_in_memory": len(destinations),
            "dests_down": down,
            "cpq_recips": sum(one.active for name in CHANNEL for one in self._of(name)),
            "held_recips": sum(one.active for one in self._of(HOLD_QUEUE)),
        }


def _greatest(
    by_name: Mapping[str, Sequence[Destination]], idle: Sequence[str], value: Callable[[Destination], int], most: int
) -> list[str]:
    """Rank names; makes nothing but numbers for those that are not among the first."""
    values = [value(found[0]) if len(found) == 1 else sum(map(value, found)) for found in by_name.values()]
    values += [0] * len(idle)
    least = min(heapq.nlargest(most, values), default=0)
    names = (*by_name, *idle)
    above = sorted([(-n, name) for n, name in zip(values, names, strict=True) if n > least])
    level = heapq.nsmallest(most - len(above), [name for n, name in zip(values, names, strict=True) if n == least])
    return [name for _, name in above] + level


def _host(name: str, found: Sequence[Destination]) -> dict[str, Any]:
    figures = {key: sum(map(measure, found)) for key, measure in _SORT_BY.items()}
    return {"host": name, "state": _state(found), **figures}


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


NO_RID = 2**31
"""Greater than any RID."""


def _place(after: str) -> tuple[int, int]:
    """Read `MID` or `MID.RID`. Raises status 64."""
    mid, _, rid = after.partition(".")
    if not after:
        return (0, NO_RID)
    if not mid.isdecimal() or not (rid.isdecimal() or not rid) or len(after) > 30 or len(mid) > 18:
        raise GatepostError(f"{after!r} is no place in the list; give the `next` of the page before", EX_USAGE)
    return (int(mid), int(rid) if rid else NO_RID)


def _next(lines: Sequence[dict[str, Any]], limit: int, reached: tuple[int, int] | None) -> str | None:
    if len(lines) > limit:
        return f"{lines[limit - 1]['mid']}.{lines[limit - 1]['rid']}"
    return str(reached[0]) if reached is not None else None


def _line(one: Found, entry: Entry) -> dict[str, Any]:
    accepted = one.accepted
    line = {
        "mid": str(accepted.mid),
        "rid": str(entry.recipient.rid),
        "sender": accepted.sender,
        "recipient": entry.recipient.address,
        "destination": entry.destination,
        "size": accepted.size,
        "subject": accepted.subject,
        "attempts": entry.attempts,
        "next_attempt_at": entry.next_attempt_at if 0 < entry.next_attempt_at < NEVER else None,
        "last_reply": entry.last_reply or None,
    }
    return line | {DAMAGED: one.damaged} if one.damaged else line
