"""How long a peer may take: the deadlines of one connection, judged by the listener's sweep once a second.

A deadline belongs to a record, not to a read: a command counts when it is complete, content counts by the block,
so that a peer that trickles octets gains nothing by it. No clock is read here; the sweep brings the time.
"""

from typing import Final

from core.smtp.settings import Timeouts
from protocol.reply import Reply
from protocol.smtp.exchange import Exchange
from protocol.smtp.states import Phase, State

TIMED_OUT: Final = Reply(421, "4.4.2", "Timeout exceeded, disconnecting")
UNSUCCESSFUL: Final = Reply(421, "4.4.2", "Timed out waiting for successful message injection, disconnecting.")
OVERSTAYED: Final = Reply(421, "4.4.2", "Exceeded allowable connection time, disconnecting.")


class Deadline:
    """What the sweep remembers of one connection."""

    __slots__ = ("_phase", "_progress", "_since", "began")

    def __init__(self) -> None:
        self.began = -1.0
        """When the sweep first saw the connection, -1 before."""
        self._since = 0.0
        self._phase = Phase.COMMAND
        self._progress = -1

    def overdue(self, machine: Exchange, limits: Timeouts, now: float, *, held_up: bool) -> Reply | None:
        """Give the reply that ends the connection if it is time; `held_up` when it is we who do not read."""
        if self.began < 0:
            self.began = now
        phase = machine.phase
        content = phase is Phase.CONTENT
        progress = machine.received // max(1, limits.data_block_octets) if content else machine.records
        if phase is not self._phase or progress != self._progress or (content and held_up):
            self._phase, self._progress, self._since = phase, progress, now
        allowed = _allowed(phase, limits, first=not machine.records)
        if 0 < allowed <= now - self._since:
            return TIMED_OUT
        return _stay(machine, limits, now - self.began)


def _allowed(phase: Phase, limits: Timeouts, *, first: bool) -> float:
    if phase is Phase.COMMAND:
        return limits.greeting_s if first else limits.command_s
    if phase is Phase.CONTENT:
        return limits.data_block_s
    return limits.answer_s if phase is Phase.ANSWER else limits.linger_s


def _stay(machine: Exchange, limits: Timeouts, age: float) -> Reply | None:
    """Judge the age of the connection as a whole; between messages a little earlier than within one."""
    idle = is_idle(machine)
    if 0 < limits.total_s <= (age / 0.8 if idle else age):
        return OVERSTAYED
    if idle and not machine.accepted and 0 < limits.unsuccessful_s <= age:
        return UNSUCCESSFUL
    return None


def is_idle(machine: Exchange) -> bool:
    """Say whether nothing is under way that ending the connection would lose."""
    return machine.state <= State.GREETED and (machine.phase is Phase.COMMAND or machine.stalled_s > 0)
