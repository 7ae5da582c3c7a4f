"""The listeners of one gateway process: their control verbs, and a memory of which are suspended.

Built by the gateway root. What an operator suspends stays suspended over a restart (core/suspension.py). Raises
`GatepostError` (66) for a name that is no listener, (69) when a port to be opened again is taken.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.errors import EX_NOINPUT, GatepostError
from core.maillog import MailLog
from core.smtp.listener import SmtpListener
from core.suspension import Suspended

DELAY_S = 30.0
Make = Callable[[str, bool], SmtpListener]
"""Makes the listener of a name; the flag says that it begins suspended."""


class Listeners:
    """See the module."""

    def __init__(self, names: Sequence[str], make: Make, *, state: Path, log: MailLog) -> None:
        self._log = log
        self._suspended = Suspended(state)
        self.services = {name: make(name, name in self._suspended) for name in names}
        self.held = False
        """Whether the listeners are closed for want of room (`hold`), whatever the operator wants."""

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
            if not one.suspended:
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
                "state": "suspended" if one.suspended else "listening",
                "connections": one.connections,
            }
            for name, one in self.services.items()
        ]
        return {"listeners": rows}

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
        return sum(one.connections for one in self.services.values())
