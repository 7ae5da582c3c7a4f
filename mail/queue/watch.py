"""One connection of the dispatcher, and how long it may stand still.

The watchdog is for faults of our own: a courier has time-outs for all that a peer does or leaves undone, so a task
that has not moved for longer than any of them allows will never move again. A line says when it last moved
(`moved_at_s`, loop time). Knows no scheduler.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from mail.delivery.courier import Line
from mail.queue.destination import Destination
from mail.queue.message import Parcel


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a task may stand still."""

    open_s: float = 5400.0
    """While a connection is made, all addresses and all steps together."""
    step_s: float = 720.0
    """While a message is sent: the longest single time-out, and a margin."""


@dataclass(slots=True, eq=False)
class Slot:
    """One connection: its line once it is open, what it carries, and while it is idle who wakes it."""

    destination: Destination
    parcel: Parcel | None
    """What it is opened for or carries; None while it is idle."""
    since_s: float
    """Loop time at which it began with that."""
    line: Line | None = None
    task: "asyncio.Task[Any] | None" = None
    begun: bool = False
    """Whether its task has taken its first step; one that has not would never hear of a cancellation."""
    carried: int = 0
    stuck: str = ""
    """What it was doing when it was given up, by the watchdog or by an operator's order."""
    cut: str = ""
    """Why it was given up, if an operator's order is the reason."""
    wake: "asyncio.Future[Parcel | None] | None" = field(default=None)

    @property
    def address(self) -> str:
        """The peer's address, '' before there is a connection."""
        return self.line.remote_ip if self.line is not None else ""

    @property
    def dcid(self) -> int:
        """The connection's number, 0 before there is one."""
        return self.line.dcid if self.line is not None else 0

    def cancel(self) -> None:
        """Have its task end; before its first step it looks itself whether it was given up."""
        if self.begun and self.task is not None:
            self.task.cancel()

    @property
    def why(self) -> str:
        """Why it was given up, in words."""
        return f"{self.cut} while {self.stuck}" if self.cut else f"stuck while {self.stuck}"

    @property
    def usable(self) -> bool:
        """Whether another message may be sent."""
        return self.line is not None and self.line.usable

    @property
    def doing(self) -> str:
        """What it is at, for the log."""
        what = f"MID {self.parcel.mid}" if self.parcel is not None else "nothing"
        return f"sending {what}" if self.line is not None else f"connecting for {what}"


def stuck_for(slot: Slot, now_s: float, patience: Patience) -> float:
    """Give for how long a connection has stood still, if that is too long, else 0."""
    if slot.parcel is None:
        return 0.0
    since_s, allowed_s = slot.since_s, patience.open_s
    if slot.line is not None:
        since_s, allowed_s = max(since_s, slot.line.moved_at_s), patience.step_s
    return now_s - since_s if now_s - since_s > allowed_s else 0.0


def abandoned(slot: Slot) -> bool:
    """Tell, in a task that was cancelled, whether it was given up; the task then goes on."""
    if slot.stuck and slot.task is not None:
        slot.task.uncancel()
    return bool(slot.stuck)


def forget_frames(failure: BaseException | None) -> None:
    """Let go of the frames that a failure came through.

    They refer to it and it to them; with thousands of hosts that do not answer such rings would fill memory until the
    collector stops everything to find them.
    """
    while failure is not None:
        failure.__traceback__ = None
        failure = failure.__cause__ or failure.__context__
