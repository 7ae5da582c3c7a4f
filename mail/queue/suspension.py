"""Why deliveries are stopped: an operator's `suspenddel`, for all or by host, kept over restarts, or a done log that
cannot be written.

Used by the control verbs and by the settlement. Connections that carry a message get the time that the operator grants
to finish, then they are cut. Raises `GatepostError` as core/suspension.py does. Logs who is suspended.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from core.alert.kind import CRITICAL, INFO
from core.clock import Clock, monotonic
from core.errors import EX_DATAERR, GatepostError
from core.maillog import Log, clean
from core.suspension import Suspended
from mail.queue.destination import Destination
from mail.queue.rule import halt, resume_hosts, suspend_hosts
from mail.queue.schedule import Scheduler
from protocol.domain import canonical

DELIVERY = "delivery"
SUSPENDED = "delivery is suspended: resume with resumedel"
CUT = "cut, since delivery was suspended"
_HOST = "@"
"""Before the name of a host in the state file."""
_LOOK_S = 0.05

LetGo = Callable[[Callable[[Destination], bool], str], int]
"""Closes idle connections, and with a reason cuts those that carry a message; gives how many of these there are."""


Alert = Callable[[str, str, str], None]
"""Tells people: severity, id, text."""


def _tell_nobody(_severity: str, _kind: str, _text: str) -> None:
    """Tell nobody."""


def _none_open(_chosen: Callable[[Destination], bool], _why: str) -> int:
    return 0


class Suspension:
    """The orders, and the scheduler told of them."""

    def __init__(self, path: Path, scheduler: Scheduler, *, log: Log, now: Clock) -> None:
        self._orders = Suspended(path)
        self._scheduler = scheduler
        self._log = log
        self._now = now
        self._broken = ""
        self.alert: Alert = _tell_nobody
        self.let_go: LetGo = _none_open
        """Set by the one who has the connections."""

    @property
    def suspended(self) -> bool:
        """Whether an operator has suspended all delivery."""
        return DELIVERY in self._orders

    @property
    def hosts(self) -> list[str]:
        """The hosts to which delivery is suspended by name."""
        return sorted(name[1:] for name in self._orders.names if name.startswith(_HOST))

    def restore(self) -> None:
        """Take up the orders that were in force when the daemon ended."""
        suspend_hosts(self._scheduler, self.hosts)
        self._tell()
        self._say(self.hosts)

    async def suspend(self, hosts: list[str] | None, delay_s: float | None) -> dict[str, Any]:
        """Suspend all (None) or some hosts, durably; returns when no connection carries a message to them.

        After `delay_s` those that still do are cut; without it nobody waits. Raises status 65 for a name that is none.
        """
        names = None if hosts is None else [_name(host) for host in hosts]
        for name in names or []:
            if name.isdecimal():
                raise GatepostError(
                    f"{name} is not a domain; seconds to wait are given as --seconds {name}", EX_DATAERR
                )
        self._orders.suspend([DELIVERY] if names is None else [_HOST + name for name in names])
        if names is not None:
            suspend_hosts(self._scheduler, names)
        self._tell()
        self._say(names or [])
        self.alert(INFO, "QUEUE.DELIVERY_SUSPENDED", f"{_whose(names)} is suspended; resume with resumedel.")
        cut = 0
        if delay_s is not None:
            cut = await self._drain(delay_s)
        return {**self.document(), "cut": cut}

    async def _drain(self, delay_s: float) -> int:
        until = monotonic() + delay_s
        while self.let_go(self._concerns, ""):
            if monotonic() >= until:
                return self.let_go(self._concerns, CUT)
            await asyncio.sleep(_LOOK_S)
        return 0

    def _concerns(self, destination: Destination) -> bool:
        return self.suspended or _HOST + destination.name in self._orders

    def resume(self, hosts: list[str] | None) -> dict[str, Any]:
        """Resume all (None), or some hosts. Raises status 65 for hosts that are not suspended by name."""
        if hosts is None:
            names = self.hosts
            self._orders.resume([DELIVERY, *(_HOST + name for name in names)])
        else:
            names = [_name(host) for host in hosts]
            unknown = [name for name in names if _HOST + name not in self._orders]
            if unknown:
                there = ", ".join(self.hosts) or "none"
                raise GatepostError(f"{unknown[0]} is not suspended by name; suspended are: {there}", EX_DATAERR)
            self._orders.resume([_HOST + name for name in names])
        resume_hosts(self._scheduler, names, self._now())
        self._tell()
        self.alert(INFO, "QUEUE.DELIVERY_RESUMED", f"{_whose(None if hosts is None else names)} goes on.")
        return {**self.document(), "resumed": names}

    def document(self) -> dict[str, Any]:
        """Give what is suspended."""
        return {"state": "Delivery suspended" if self.suspended else "Online", "hosts": self.hosts}

    def broken(self, why: str) -> None:
        """Stop while removals cannot be recorded; '' when they can again."""
        if why and not self._broken:
            self.alert(CRITICAL, "QUEUE.REMOVALS_NOT_RECORDED", f"deliveries have stopped: {why}")
        self._broken = why
        self._tell()

    def _tell(self) -> None:
        halt(self._scheduler, self._broken or (SUSPENDED if self.suspended else ""))

    def _say(self, names: Iterable[str]) -> None:
        for name in [*(["ALL"] if self.suspended else []), *names]:
            self._log.info(f"Deliveries are currently suspended [{clean(name)}]")


def _whose(names: list[str] | None) -> str:
    return "delivery" if names is None else f"delivery to {', '.join(names[:20])}"


def _name(host: str) -> str:
    name = canonical(host.strip())
    if not name or any(char.isspace() or char in "@/," for char in name) or len(name) > 300:
        raise GatepostError(f"{host!r} is not a host; give the domain of recipients", EX_DATAERR)
    return name
