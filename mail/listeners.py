"""The listeners of one gateway process: the service that runs them, their control verbs, which are suspended.

Built by the gateway root. What `prepare` gives goes over to other listeners that can be had: those that
are new open, those that are gone give their connections the usual delay, the others go by their new settings. What an
operator suspends stays suspended, by name, over a restart (core/suspension.py) and over a change. Raises
`GatepostError` (66) for a name that is no listener, (69) when a port to be opened is taken.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from socket import socket
from typing import Any, Final

from core import port
from core.condition import Concern, Condition, Figure
from core.errors import EX_NOINPUT, EX_TEMPFAIL, EX_UNAVAILABLE, GatepostError
from core.lifecycle import Scope
from core.maillog import MailLog
from core.smtp.door import Door
from core.smtp.listener import SmtpListener
from core.smtp.session import SessionFactory
from core.smtp.settings import ListenerSettings
from core.suspension import Suspended
from core.switch import Prepared

DELAY_S: Final = 30.0
WILDCARDS: Final = frozenset({"0.0.0.0", "::"})


@dataclass(frozen=True, slots=True)
class Ways:
    """What a listener goes by."""

    settings: ListenerSettings
    session: SessionFactory
    door: Door


Make = Callable[[Ways, bool], SmtpListener]
"""Makes a listener; the flag says that it begins suspended."""
Shared = Callable[[str, int], Awaitable[bool]]
"""Tells whether another process of this gateway listens at an address."""


async def nobody_shares(_host: str, _port: int) -> bool:
    """Say that there is no other process."""
    return False


class Listeners:
    """See the module."""

    name = "listeners"

    def __init__(
        self, ways: Sequence[Ways], make: Make, *, state: Path, log: MailLog, shared: Shared = nobody_shares
    ) -> None:
        self._log = log
        self._make = make
        self._shared = shared
        self._scope: Scope | None = None
        self._suspended = Suspended(state)
        self.services: dict[str, SmtpListener] = {}
        for one in ways:
            self.services[one.settings.name] = make(one, one.settings.name in self._suspended)
        self._retired: set[SmtpListener] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self.held = False
        """Whether the listeners are closed for want of room (`hold`), whatever the operator wants."""

    def condition(self) -> Condition:
        """Say which ports are closed, and what came to each."""
        closed = [name for name, one in self.services.items() if one.suspended]
        concerns: tuple[Concern, ...] = ()
        if closed:
            why = "the work queue is too long" if self.held else "open them with resumelistener"
            text = f"suspended: {', '.join(closed)}; {why}"
            concerns = (Concern("receiving", len(closed) == len(self.services), text),)
        figures = [
            figure
            for name, one in self.services.items()
            for figure in (
                Figure("listener_connections", one.connections, {"listener": name}),
                Figure("listener_turned_away_total", one.turned_away, {"listener": name}),
            )
        ]
        return Condition(concerns, tuple(figures))

    async def run(self, scope: Scope) -> None:
        """Open every port, and serve until stopping and until the last listener has ended."""
        for one in self.services.values():
            await one.open()
        self._scope = scope
        for one in self.services.values():
            self._serve(one)
        scope.ready()
        await scope.stopping.wait()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _serve(self, one: SmtpListener) -> None:
        assert self._scope is not None
        task = self._scope.start(one.serve(self._scope), name=one.name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: self._retired.discard(one))

    async def prepare(self, ways: Sequence[Ways]) -> Prepared:
        """Find out whether these listeners can be had, and take hold of their addresses. Raises all that is wrong."""
        if self._scope is None:
            raise GatepostError("the listeners are still being opened; try again in a moment", EX_TEMPFAIL)
        socks: dict[str, socket] = {}
        problems: list[str] = []
        kept = self._kept([one.settings for one in ways])
        for one in ways:
            try:
                sock = await self._socket_for(one.settings, kept.get(one.settings.name))
            except GatepostError as error:
                problems.append(error.text)
                continue
            if sock is not None:
                socks[one.settings.name] = sock

        def drop() -> None:
            for sock in socks.values():
                sock.close()

        if problems:
            drop()
            raise GatepostError("; ".join(problems), EX_UNAVAILABLE)
        return Prepared(partial(self._switch, {one.settings.name: one for one in ways}, socks), drop)

    def _kept(self, wanted: Sequence[ListenerSettings]) -> dict[str, SmtpListener]:
        """Give the listeners that go on by their names to come: under the same one, or another at the same address."""
        kept = {one.name: self.services[one.name] for one in wanted if one.name in self.services}
        left = {(one.settings.host, one.settings.port): one for name, one in self.services.items() if name not in kept}
        for one in wanted:
            if one.name not in kept and (renamed := left.pop((one.host, one.port), None)):
                kept[one.name] = renamed
        return kept

    async def _socket_for(self, wanted: ListenerSettings, known: SmtpListener | None) -> socket | None:
        """Give a socket bound to the address of a listener that is new or moves; None for one that stays there."""
        if known is not None and (known.settings.host, known.settings.port) == (wanted.host, wanted.port):
            return None
        for one in self.services.values():
            if (one.settings.host, one.settings.port) == (wanted.host, wanted.port) and (sock := one.lend()):
                return sock
        who = f"listener {wanted.name}"
        if port.taken(wanted.host, wanted.port, who) and not (
            self._own(wanted.host, wanted.port) or await self._shared(wanted.host, wanted.port)
        ):
            raise port.taken_by_others(who, wanted.host, wanted.port)
        return port.bind(who, wanted.host, wanted.port, reuse_port=wanted.reuse_port)

    def _own(self, host: str, number: int) -> bool:
        """Tell whether one of these listens at an address that is part of the other one."""
        return any(
            one.port == number and not one.suspended and WILDCARDS & {host, one.settings.host}
            for one in self.services.values()
        )

    async def _switch(self, ways: Mapping[str, Ways], socks: Mapping[str, socket]) -> None:
        """Have these listeners instead, with the sockets of those that are new or move."""
        kept = self._kept([one.settings for one in ways.values()])
        gone = [one for one in self.services.values() if one not in kept.values()]
        self._remember(kept, gone)
        self.services = {}
        for name, one in ways.items():
            if name in kept:
                await self._follow(kept[name], one, socks.get(name))
                self.services[name] = kept[name]
            else:
                self.services[name] = await self._begin(one, socks.get(name))
        for former in gone:
            self._retired.add(former)
            former.suspend(DELAY_S, for_good=True)
            self._log.info(f"Listener {former.settings.name} deleted.")

    async def _follow(self, listener: SmtpListener, ways: Ways, sock: socket | None) -> None:
        old, new = listener.settings, ways.settings
        await listener.follow(new, ways.session, ways.door, sock)
        if old.name != new.name:
            self._log.info(f"Listener {old.name} is called {new.name} now.")
        if sock is not None:
            self._log.info(f"Listener {new.name} moved from {old.host}:{old.port} to {new.host}:{new.port}.")

    async def _begin(self, ways: Ways, sock: socket | None) -> SmtpListener:
        made = self._make(ways, True)
        await made.open()
        name = ways.settings.name
        if sock is not None and (self.held or name in self._suspended):
            sock.close()
        elif sock is not None:
            await made.begin(sock)
        self._serve(made)
        self._log.info(f"Listener {name} created on {ways.settings.host}:{ways.settings.port}.")
        return made

    def _remember(self, kept: Mapping[str, SmtpListener], gone: Sequence[SmtpListener]) -> None:
        """Forget that a deleted listener was suspended; one that has another name now stays suspended."""
        renamed = {one.settings.name: name for name, one in kept.items() if one.settings.name != name}
        left = [name for name in (*renamed, *(one.settings.name for one in gone)) if name in self._suspended]
        new = [renamed[name] for name in left if name in renamed]
        if left:
            self._suspended.resume(left)
        if new:
            self._suspended.suspend(new)

    def _chosen(self, args: dict[str, Any]) -> list[str]:
        names = args.get("listeners")
        if names is None:
            return list(self.services)
        unknown = [name for name in names if name not in self.services]
        if unknown:
            there = ", ".join(self.services)
            raise GatepostError(f"no listener is called {unknown[0]!r}; there are: {there}", EX_NOINPUT)
        return list(names)

    async def suspend(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: close the ports of `listeners` (all if left out); connections get `delay_s` to finish."""
        names = self._chosen(args)
        self._suspended.suspend(names)
        for name in names:
            self.services[name].suspend(float(args.get("delay_s", DELAY_S)))
            self._log.info(f"Receiving suspended for {name}.")
        return {"listeners": names, "state": "suspended"}

    async def resume(self, args: dict[str, Any]) -> dict[str, Any]:
        """Control verb: open the ports of `listeners` (all if left out) again."""
        names = self._chosen(args)
        for name in names:
            await self.services[name].resume()
            self._suspended.resume([name])
            self._log.info(f"Receiving resumed for {name}.")
        return {"listeners": names, "state": "listening"}

    def hold(self, reason: str) -> None:
        """Close all ports for a while; connections get the usual delay. What the operator suspended stays apart."""
        self.held = True
        for name, one in self.services.items():
            if one.state != "suspended":
                one.suspend(DELAY_S)
                self._log.warning(f"Receiving suspended for {name}: {reason}.")

    async def let_go(self, reason: str) -> None:
        """Open the ports that `hold` closed and the operator has not suspended; one that is taken is tried again."""
        self.held = False
        for name, one in self.services.items():
            if one.suspended and name not in self._suspended:
                try:
                    await one.resume()
                except GatepostError as error:
                    self.held = True
                    self._log.warning(f"Receiving not resumed for {name}: {error.text}")
                    continue
                self._log.info(f"Receiving resumed for {name}: {reason}.")

    async def topin(self, _: dict[str, Any]) -> dict[str, Any]:
        """Control verb: who has how many connections open, by address and listener."""
        hosts = [
            {"host": host, "address": address, "listener": name, "connections": count}
            for name, one in self.services.items()
            for (address, host), count in one.peers().items()
        ]
        return {"hosts": hosts}

    async def show(self, _: dict[str, Any]) -> dict[str, Any]:
        """Control verb `listeners`: each with its address, state and open connections."""
        rows = [
            {
                "name": name,
                "address": one.settings.host,
                "port": one.port,
                "state": one.state,
                "connections": one.connections,
            }
            for name, one in self.services.items()
        ]
        ending = [{"listener": one.settings.name, "connections": one.connections} for one in self._retired]
        return {"listeners": rows, "ending": ending}

    @property
    def suspended(self) -> list[str]:
        """The listeners that are closed, by an operator or for want of room."""
        return [name for name, one in self.services.items() if one.suspended]

    @property
    def state(self) -> str:
        """`Receiving suspended` only when every listener is; else `Online`."""
        suspended = [one.suspended for one in self.services.values()]
        return "Receiving suspended" if suspended and all(suspended) else "Online"

    @property
    def connections(self) -> int:
        """Open connections of all listeners."""
        return sum(one.connections for one in (*self.services.values(), *self._retired))
