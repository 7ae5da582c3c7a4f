"""A destination's line of ready parcels, and whose turn it is: deficit round robin over senders, then messages.

Each sender in turn may hand out `QUANTUM` recipients; a parcel with more waits until its sender has saved up for it,
and nobody saves while it has nothing in line. A sender's messages come in the order in which they joined; of a message
with several parcels one stands in the sender's line at a time, and the next one joins at its end.

The bound: a parcel of a sender that has nothing else in line is preceded, for each other sender in line, by at most
`QUANTUM` recipients and one parcel more. Used by the scheduler; knows no clock. Empty lines are small.
"""

import re
from collections import deque
from collections.abc import Iterator
from itertools import chain

from mail.queue.message import Parcel

QUANTUM = 50
"""Recipients of one sender before the next sender's turn."""
_TAGGED = re.compile(r"[^+=-]+(?=[+=-])")


def flow_of(sender: str) -> str:
    """Name the sender whose turn it is when a message is sent: its address, in lower case.

    A local part ends at its first `+`, `-` or `=`, so that lists which give each recipient a sender of its own
    (VERP), tagged senders (BATV) and rewritten ones (SRS) count as one.
    """
    low = sender.lower()
    found = _TAGGED.match(low)
    return f"{found[0]}@{low.rpartition('@')[2]}" if found is not None and found.end() < low.rfind("@") else low


class Flow:
    """What one sender has in a line."""

    __slots__ = ("behind", "count", "deficit", "name", "parcels")

    def __init__(self, name: str) -> None:
        self.name = name
        self.parcels: deque[Parcel] = deque()
        """One of each message."""
        self.behind: dict[int, deque[Parcel]] = {}
        """The other parcels of messages that have several."""
        self.count = 0
        self.deficit = QUANTUM
        """Recipients that it may still hand out in this turn."""

    def add(self, parcel: Parcel) -> None:
        """Put a parcel at the end, or behind its message's other one."""
        self.count += 1
        if len(parcel.message.parcels) > 1:
            behind = self.behind.get(parcel.message.mid)
            if behind is not None:
                behind.append(parcel)
                return
            self.behind[parcel.message.mid] = deque()
        self.parcels.append(parcel)

    def pop(self) -> Parcel:
        """Take the first parcel; the next one of its message joins at the end."""
        self.count -= 1
        parcel = self.parcels.popleft()
        if self.behind:
            self._follow(parcel)
        return parcel

    def remove(self, parcel: Parcel) -> None:
        """Take a parcel out, wherever it stands. Raises `ValueError` if it is not here."""
        behind = self.behind.get(parcel.message.mid)
        if behind is not None and parcel in behind:
            behind.remove(parcel)
        else:
            self.parcels.remove(parcel)
            self._follow(parcel)
        self.count -= 1

    def _follow(self, parcel: Parcel) -> None:
        behind = self.behind.get(parcel.message.mid)
        if behind:
            self.parcels.append(behind.popleft())
        elif behind is not None:
            del self.behind[parcel.message.mid]


class Line:
    """The ready parcels of one destination."""

    __slots__ = ("_count", "_flows", "_ring")

    def __init__(self) -> None:
        self._count = 0
        self._flows: dict[str, Flow] | None = None
        self._ring: deque[Flow] | None = None
        """Whose turn it is stands first."""

    def __len__(self) -> int:
        """Give how many parcels are in line."""
        return self._count

    def __iter__(self) -> Iterator[Parcel]:
        """Give the parcels, in no order that matters."""
        for flow in (self._flows or {}).values():
            yield from flow.parcels
            yield from chain.from_iterable(flow.behind.values())

    def share(self, sender: str) -> tuple[int, int]:
        """Give how many parcels a sender has in line, and how many senders there would be with it."""
        flows = self._flows or {}
        flow = flows.get(flow_of(sender))
        return (flow.count, len(flows)) if flow is not None else (0, len(flows) + 1)

    def append(self, parcel: Parcel) -> None:
        """Put a parcel in line."""
        self._flow(parcel).add(parcel)
        self._count += 1

    def appendleft(self, parcel: Parcel) -> None:
        """Put a parcel back that was taken: it is the next one."""
        flow = self._flow(parcel)
        flow.parcels.appendleft(parcel)
        flow.count += 1
        flow.deficit += len(parcel.recipients)
        self._count += 1
        ring = self._ring
        if ring is not None and ring[0] is not flow:
            ring.remove(flow)
            ring.appendleft(flow)

    def popleft(self) -> Parcel:
        """Take the parcel whose turn it is. Raises `IndexError` if there is none."""
        ring = self._ring
        if ring is None:
            raise IndexError("nobody is in line")
        flow = ring[0]
        if len(ring) > 1:
            while flow.deficit < len(flow.parcels[0].recipients):
                flow.deficit += QUANTUM
                ring.rotate(-1)
                flow = ring[0]
            flow.deficit -= len(flow.parcels[0].recipients)
        parcel = flow.pop()
        self._taken(flow)
        return parcel

    def remove(self, parcel: Parcel) -> None:
        """Take a parcel out of the line. Raises `ValueError` if it is not in it."""
        flow = (self._flows or {}).get(flow_of(parcel.sender))
        if flow is None:
            raise ValueError("not in line")
        flow.remove(parcel)
        self._taken(flow)

    def cut(self, most: float) -> list[Parcel]:
        """Keep the first `most` parcels, by turns; take the others out and give them."""
        if self._count <= most:
            return []
        kept = [self.popleft() for _ in range(int(most))]
        rest = list(self)
        self._flows = self._ring = None
        self._count = 0
        for parcel in kept:
            self.append(parcel)
        return rest

    def _flow(self, parcel: Parcel) -> Flow:
        name = flow_of(parcel.message.accepted.sender)
        flows, ring = self._flows, self._ring
        if flows is None or ring is None:
            flow = Flow(name)
            self._flows, self._ring = {name: flow}, deque((flow,))
            return flow
        flow_or_none = flows.get(name)
        if flow_or_none is None:
            flow_or_none = flows[name] = Flow(name)
            if len(ring) == 1:
                ring[0].deficit = QUANTUM
            ring.append(flow_or_none)
        return flow_or_none

    def _taken(self, flow: Flow) -> None:
        """Forget a sender that has nothing more in line, and all of them with the last one."""
        self._count -= 1
        if not self._count:
            self._flows = self._ring = None
        elif not flow.count and self._flows is not None and self._ring is not None:
            del self._flows[flow.name]
            self._ring.remove(flow)
